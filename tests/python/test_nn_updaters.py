"""Updaters and schedules alone: states, places of results, edges, what is refused."""

import math

import numpy as np
import pytest

from ndarena import ConfigurationError, get_workspace_for_current_thread, nn

RULES = [
    nn.Sgd(0.1),
    nn.NoOp(),
    nn.Nesterovs(0.1, momentum=nn.StepSchedule("iteration", 0.9, 0.5, 2)),
    nn.Adam(0.1),
    nn.AdamW(0.1),
    nn.AMSGrad(0.1),
    nn.Nadam(0.1),
    nn.AdaMax(0.1),
    nn.AdaGrad(nn.ExponentialSchedule("epoch", 0.1, 0.9)),
    nn.RmsProp(0.1),
    nn.AdaDelta(),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
GRADIENTS = np.random.default_rng(0).normal(size=(4, 5))
GRADIENTS[:, 2] = 0.0


def steps(rule, convert=np.asarray, dtype="float64"):
    state = convert(rule.init_state(5, dtype))
    for i, gradient in enumerate(GRADIENTS.astype(dtype)):
        yield rule.apply(convert(gradient), state, iteration=i, epoch=i // 2)


@every_rule
def test_a_gradient_of_zero_makes_no_step_and_others_do(rule):
    for step in steps(rule):
        assert np.isfinite(step).all()
        assert (step != 0.0).tolist() == [True, True, False, True, True]


@every_rule
def test_states_and_steps_have_the_dtype_of_the_parameters(rule):
    state = rule.init_state(5, "float32")
    assert (state.shape, state.dtype) == ((rule.state_size(5),), np.float32)
    for single, double in zip(steps(rule, dtype="float32"), steps(rule), strict=True):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-4)


@every_rule
def test_the_gradient_may_take_the_step(rule):
    given, state = GRADIENTS[0].copy(), rule.init_state(5)
    wanted = rule.apply(given, rule.init_state(5), iteration=0, epoch=0)
    np.testing.assert_array_equal(given, GRADIENTS[0])
    assert not np.shares_memory(wanted, given)
    assert rule.apply(given, state, iteration=0, epoch=0, out=given) is given
    np.testing.assert_array_equal(given, wanted)


@every_rule
def test_arrays_of_workspaces_give_the_same_bits(rule):
    wanted = list(steps(rule))
    with get_workspace_for_current_thread(id="WORK") as ws:
        for step, plain in zip(steps(rule, ws.array), wanted, strict=True):
            np.testing.assert_array_equal(step.detach(), plain)


@every_rule
def test_a_rate_of_zero_makes_no_step(rule):
    if rule.get_learning_rate(0, 0) is None:
        return
    still = type(rule)(nn.FixedSchedule(0.0))
    assert not any(step.any() for step in steps(still))


def test_rules_compare_by_value():
    assert nn.Adam(0.1) == nn.Adam(0.1) != nn.Adam(0.2)
    assert nn.Adam(0.1) != nn.AMSGrad(0.1)
    assert len({nn.Nesterovs(1), nn.Nesterovs(1.0), nn.Nesterovs(momentum=0.5)}) == 2


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: nn.Sgd(-1.0), "learning_rate"),
        (lambda: nn.Adam("fast"), "learning_rate"),
        (lambda: nn.Nesterovs(momentum=None), "momentum"),
        (lambda: nn.Nadam(beta2=1.0), "beta2"),
        (lambda: nn.AdaGrad(epsilon=-1.0), "epsilon"),
        (lambda: nn.RmsProp(rms_decay=1.0), "rms_decay"),
        (lambda: nn.AdaDelta(rho=math.nan), "rho"),
        (lambda: nn.AdamW(weight_decay=-0.1), "weight_decay"),
        (lambda: nn.StepSchedule("minute", 0.1, 0.5, 2), "schedule_type"),
        (lambda: nn.StepSchedule("epoch", 0.1, 0.5, 0), "step"),
        (lambda: nn.PolySchedule("epoch", 0.1, 0.5, 0), "max_iter"),
        (lambda: nn.MapSchedule("epoch", {1: 0.5}), "values"),
        (lambda: nn.MapSchedule("epoch", {0: 0.5, -1: 0.2}), "values"),
        (lambda: nn.RampSchedule(0.1, 5), "base_schedule"),
        (lambda: nn.CycleSchedule("epoch", 0.1, 0.5, 3, 2), "cycle_length"),
        (lambda: nn.FixedSchedule("slow"), "value"),
    ],
)
def test_a_wrong_field_is_named(make, field):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field


def test_schedules_count_what_they_are_told_to():
    by_iteration = nn.MapSchedule("Iteration", {0: 1.0, 3: 0.5})
    assert [by_iteration.value_at(i, 0) for i in range(5)] == [1.0, 1.0, 1.0, 0.5, 0.5]
    by_epoch = nn.MapSchedule(nn.ScheduleType.EPOCH, {3: 0.5, 0: 1.0})
    assert by_epoch.value_at(9, 2) == 1.0
    assert hash(by_epoch) == hash(nn.MapSchedule("epoch", {0: 1, 3: 0.5}))
    falling = [nn.PolySchedule("iteration", 2.0, 2.0, 4).value_at(i, 0) for i in range(6)]
    assert falling == [2.0, 1.125, 0.5, 0.125, 0.0, 0.0]
    ramp = nn.RampSchedule(by_epoch, 4)
    assert [ramp.value_at(i, 5) for i in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.5]


def test_a_far_sigmoid_does_not_overflow():
    schedule = nn.SigmoidSchedule("iteration", 2.0, -5.0, 10)
    assert schedule.value_at(10, 0) == 1.0
    assert schedule.value_at(10**6, 0) == 0.0


@every_rule
def test_pieces_make_the_same_steps(rule, monkeypatch):
    whole = list(steps(rule))
    monkeypatch.setattr("ndarena.nn.updater_base.PIECE", 2)
    for step, wanted in zip(steps(rule), whole, strict=True):
        np.testing.assert_array_equal(step, wanted)
