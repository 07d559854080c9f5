"""What workers share of their steps: thresholds, messages, residuals, and that all stay the same."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_support import CLASSES, INPUTS, batches, dense, graph, rows

from ndarena import nn
from ndarena.errors import ConfigurationError
from ndarena.nn import InputType
from ndarena.nn.updater_base import PIECE
from ndarena.parallel import (
    AdaptiveThresholdAlgorithm,
    EncodedGradientsAccumulator,
    FixedThresholdAlgorithm,
    ParallelWrapper,
    ResidualClippingPostProcessor,
    ResidualPostProcessor,
    TargetSparsityThresholdAlgorithm,
    ThresholdAlgorithm,
)
from ndarena.parallel.encoding import Encoder

RATE = 0.5**0.05


def following(algorithm, ratios):
    """Return the thresholds of iterations, each after a part of the elements was shared."""
    found, last = [], {"last_threshold": None, "last_sparsity_ratio": None}
    for ratio in [*ratios, None]:
        threshold = algorithm.calculate_threshold(
            iteration=len(found), epoch=0, last_was_dense=False, updates_plus_residual=None, **last
        )
        found.append(threshold)
        last = {"last_threshold": threshold, "last_sparsity_ratio": ratio}
    return found


@pytest.mark.parametrize(
    ("algorithm", "ratios", "factors"),
    [
        (FixedThresholdAlgorithm(0.25), [0.0, 1.0, 0.5], [2500] * 4),
        (AdaptiveThresholdAlgorithm(), [1e-3, 1e-4, 1e-2], [1] * 4),
        (AdaptiveThresholdAlgorithm(), [0.0] * 20, [RATE**k for k in range(21)]),
        (AdaptiveThresholdAlgorithm(), [1 / 16] * 20, [RATE**-k for k in range(21)]),
        (AdaptiveThresholdAlgorithm(1e-4, 0.2, 0.3, 0.5), [0.1, 0.25, 0.4], [1, 0.5, 0.5, 1]),
        (TargetSparsityThresholdAlgorithm(), [1e-3, 9e-4, 2e-3, 0], [1, 1, RATE, 1, RATE]),
        (TargetSparsityThresholdAlgorithm(1e-4, 0.05, 0.8), [0.06, 0.04], [1, 1.25, 1]),
    ],
)
def test_thresholds_follow_on_what_was_shared(algorithm, ratios, factors):
    assert following(algorithm, ratios) == pytest.approx([1e-4 * factor for factor in factors], rel=1e-12)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: FixedThresholdAlgorithm(0), "threshold"),
        (lambda: FixedThresholdAlgorithm(float("nan")), "threshold"),
        (lambda: FixedThresholdAlgorithm("1"), "threshold"),
        (lambda: AdaptiveThresholdAlgorithm(initial_threshold=-1), "initial_threshold"),
        (lambda: AdaptiveThresholdAlgorithm(min_target_sparsity=0), "min_target_sparsity"),
        (lambda: AdaptiveThresholdAlgorithm(min_target_sparsity=0.5), "min_target_sparsity"),
        (lambda: AdaptiveThresholdAlgorithm(decay_rate=1.0), "decay_rate"),
        (lambda: AdaptiveThresholdAlgorithm(decay_rate=0.49), "decay_rate"),
        (lambda: TargetSparsityThresholdAlgorithm(sparsity_target=1 / 16), "sparsity_target"),
        (lambda: TargetSparsityThresholdAlgorithm(decay_rate=2), "decay_rate"),
        (lambda: ResidualClippingPostProcessor(0.9), "threshold_multiple_clip_value"),
        (lambda: ResidualClippingPostProcessor(5, 0), "frequency"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(make, field):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field


def test_residuals_are_clipped_when_it_is_time():
    post_processor = ResidualClippingPostProcessor(5, 3)
    for iteration in range(7):
        residual = np.array([-2.0, -0.4, 0.3, 0.6])
        post_processor.process_residual(iteration=iteration, epoch=0, last_threshold=0.1, residual=residual)
        clipped = [-0.5, -0.4, 0.3, 0.5] if iteration in {3, 6} else [-2.0, -0.4, 0.3, 0.6]
        np.testing.assert_array_equal(residual, clipped)


# ---------------------------------------------------------------- messages


def encoder(size, threshold, dtype="float64", post_processor=None):
    return Encoder(size, np.dtype(dtype), FixedThresholdAlgorithm(threshold), post_processor)


def message_of(sender):
    """Return what another worker makes of a message."""
    update = np.zeros_like(sender.residual)
    encoder(len(update), 1.0, update.dtype).add(sender, update)
    return update


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 7, 8, 100, PIECE, PIECE + 3, 3 * PIECE + 8])
@pytest.mark.parametrize("part", [0, 0.01, 1 / 16, 0.5, 1])
def test_a_message_is_plus_or_minus_the_threshold_where_that_was_reached(size, part, dtype):
    rng = np.random.default_rng(size)
    update = rng.uniform(0.25, 0.45, size).astype(dtype)
    update[rng.permutation(size)[: int(part * size)]] += 0.25
    update *= rng.choice([-1, 1], size)
    sender = encoder(size, 0.5, dtype)
    sender.encode(update, iteration=0, epoch=0)
    expected = np.where(np.abs(update) >= 0.5, np.sign(update) * 0.5, 0).astype(dtype)
    np.testing.assert_array_equal(message_of(sender), expected)
    np.testing.assert_array_equal(sender.residual, update - expected)


@given(st.data())
def test_what_was_shared_and_what_is_left_is_what_was_given(data):
    """In eighths, so that sums are exact; over several updates with a threshold each."""
    size = data.draw(st.integers(1, 200))
    sender = encoder(size, 1.0)
    given_so_far, shared = np.zeros(size), np.zeros(size)
    for iteration in range(3):
        eighths = data.draw(st.lists(st.integers(-20, 20), min_size=size, max_size=size))
        update = np.array(eighths) / 8
        given_so_far += update
        sender.encode(update, iteration=iteration, epoch=0)
        message = message_of(sender)
        assert set(np.unique(message)) <= {-1.0, 0.0, 1.0}
        shared += message
        np.testing.assert_array_equal(shared + sender.residual, given_so_far)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_shared(value):
    sender = encoder(5, 1.0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        sender.encode(np.array([0, 1, value, 0, 0]), iteration=0, epoch=0)


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan, np.inf])
def test_a_threshold_of_ones_own_is_checked(threshold):
    class Wrong(ThresholdAlgorithm):
        def calculate_threshold(self, **_):
            return threshold

    wrapper = ParallelWrapper(
        dense(), workers=2, training_mode="SHARED_GRADIENTS", threshold_algorithm=Wrong()
    )
    with pytest.raises(ValueError, match=r"Wrong.*no threshold"):
        wrapper.fit(batches())


def test_algorithms_are_told_how_it_went():
    told, lock = {}, threading.Lock()

    class Notes(ThresholdAlgorithm):
        def calculate_threshold(self, *, updates_plus_residual, **facts):
            with lock:
                told.setdefault(threading.current_thread().name, []).append(facts)
            assert updates_plus_residual.shape == (net.num_params(),)
            return 1e-9 if facts["iteration"] == 0 else 1e3

    class Empties(ResidualPostProcessor):
        def process_residual(self, *, iteration, epoch, last_threshold, residual):
            assert last_threshold == (1e-9 if iteration == 0 else 1e3)
            residual[:] = 0

    net = dense()
    mode = {"training_mode": "SHARED_GRADIENTS"}
    wrapper = ParallelWrapper(
        net, workers=2, **mode, threshold_algorithm=Notes(), residual_post_processor=Empties()
    )
    wrapper.fit(batches(60, size=10))
    for first, second, third in told.values():
        assert first == {
            "iteration": 0,
            "epoch": 0,
            "last_threshold": None,
            "last_was_dense": False,
            "last_sparsity_ratio": None,
        }
        assert (second["last_threshold"], second["last_was_dense"], second["last_sparsity_ratio"]) == (
            1e-9,
            True,
            1.0,
        )
        assert (third["last_threshold"], third["last_was_dense"], third["last_sparsity_ratio"]) == (
            1e3,
            False,
            0.0,
        )
    assert len(told) == 2


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("kind", [dense, graph])
def test_everybody_subtracts_the_sum_of_what_all_have_shared(kind):
    """Against the same by hand: two networks, their steps, residuals, and a threshold."""
    threshold, data = 0.03, list(batches(70, size=10))
    ours = kind()
    fixed = FixedThresholdAlgorithm(threshold)
    ParallelWrapper(ours, workers=2, training_mode="SHARED_GRADIENTS", threshold_algorithm=fixed).fit(data)
    twins = [kind(), kind()]
    residuals = [np.zeros(ours.num_params()) for _ in twins]
    for first in range(0, 7, 2):
        change = 0
        for k, batch in enumerate(data[first : first + 2]):
            before = twins[k].params().copy()
            twins[k].fit(batch)
            residuals[k] += before - twins[k].params()
            shared = np.where(np.abs(residuals[k]) >= threshold, np.sign(residuals[k]) * threshold, 0)
            residuals[k] -= shared
            change += shared
        for twin in twins:
            twin.set_params(before - change)
    np.testing.assert_allclose(ours.params(), twins[0].params(), rtol=1e-12, atol=1e-15)
    assert ours.iteration_count == 4


def test_parameters_of_all_workers_are_the_same_at_any_time():
    seen, lock = {}, threading.Lock()

    class Keep(nn.TrainingListener):
        def on_forward_pass(self, model, activations):
            with lock:
                seen.setdefault(model.iteration_count, []).append(model.params().tobytes())

    net = dense(updater=nn.Adam(0.01))
    wrapper = ParallelWrapper(net, workers=3, training_mode="SHARED_GRADIENTS")
    wrapper.set_listeners(Keep())
    wrapper.fit(batches(130, size=10))
    assert [len(seen[round_]) for round_ in range(5)] == [3, 3, 3, 3, 1]
    assert all(len(set(params)) == 1 for params in seen.values())
    assert len({params[0] for params in seen.values()}) == 5


def test_running_means_and_variances_are_averaged_not_shared():
    conf = nn.MultiLayerConfiguration(
        layers=[nn.BatchNormalization(decay=0.5), nn.OutputLayer(n_out=CLASSES)],
        input_type=InputType.feed_forward(INPUTS),
        updater=nn.Sgd(0.1),
        dtype="float64",
        seed=1,
    )
    net = nn.MultiLayerNetwork(conf)
    data = [rows(10, seed=k) for k in range(4)]
    ParallelWrapper(net, workers=2, training_mode="SHARED_GRADIENTS").fit(data)
    mean = np.zeros(INPUTS)
    for first in (0, 2):
        of_batches = [np.mean(batch.features, axis=0) for batch in data[first : first + 2]]
        mean = 0.5 * mean + 0.5 * np.mean(of_batches, axis=0)
    np.testing.assert_allclose(net.param_table()["0_mean"], mean, rtol=1e-12)


def test_constraints_hold_where_a_worker_has_no_batch():
    net = dense(constraints=[nn.NonNegativeConstraint()])
    fixed = FixedThresholdAlgorithm(1e-3)
    wrapper = ParallelWrapper(net, workers=3, training_mode="SHARED_GRADIENTS", threshold_algorithm=fixed)
    wrapper.fit(batches(50, size=10), epochs=2)
    assert net.param_table()["0_W"].min() >= 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"threshold_algorithm": FixedThresholdAlgorithm(1.0)}, "threshold_algorithm"),
        ({"residual_post_processor": ResidualClippingPostProcessor()}, "residual_post_processor"),
        ({"gradients_accumulator": EncodedGradientsAccumulator()}, "gradients_accumulator"),
    ],
)
def test_what_the_training_mode_does_not_use_is_refused(options, field):
    with pytest.raises(ConfigurationError, match="not used in training_mode AVERAGING") as caught:
        ParallelWrapper(dense(), **options)
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["threshold_algorithm", "residual_post_processor"])
def test_something_else_is_refused(field):
    with pytest.raises(TypeError, match=field):
        ParallelWrapper(dense(), training_mode="SHARED_GRADIENTS", **{field: 1e-3})


def test_the_default_accumulator_may_be_given_as_a_custom_one():
    ours, theirs = dense(), dense()
    ParallelWrapper(ours, workers=2, training_mode="SHARED_GRADIENTS").fit(batches())
    wrapper = ParallelWrapper(
        theirs, workers=2, training_mode="CUSTOM", gradients_accumulator=EncodedGradientsAccumulator()
    )
    wrapper.fit(batches())
    np.testing.assert_array_equal(ours.params(), theirs.params())
