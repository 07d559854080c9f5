"""From the summed gradient to the step: normalisation, penalties, decay, constraints, statistics."""

import numpy as np
import pytest
from nn_support import chain, examples

from ndarena import ConfigurationError, nn

GRADIENT = np.random.default_rng(0).normal(size=5 * 4 + 4 + 4 * 3 + 3)
LAYERS = [slice(0, 24), slice(24, 39)]
PARAMS = [slice(0, 20), slice(20, 24), slice(24, 36), slice(36, 39)]
WEIGHTS, BIASES = PARAMS[::2], PARAMS[1::2]


def network(**fields):
    return chain(5, 4, 3, **{"dtype": "float64", "updater": nn.Sgd(1.0), **fields})


def step_of(net, gradient=GRADIENT, batch_size=1, iteration=0, epoch=0):
    given = gradient.copy()
    step = net.updater.update(given, iteration=iteration, epoch=epoch, batch_size=batch_size)
    assert step is given
    return step


@pytest.mark.parametrize(
    ("kind", "parts", "wanted"),
    [
        ("RenormalizeL2PerLayer", LAYERS, lambda g: g / np.linalg.norm(g)),
        ("RenormalizeL2PerParamType", PARAMS, lambda g: g / np.linalg.norm(g)),
        ("ClipL2PerLayer", LAYERS, lambda g: g * min(1.0, 0.5 / np.linalg.norm(g))),
        ("ClipL2PerParamType", PARAMS, lambda g: g * min(1.0, 0.5 / np.linalg.norm(g))),
        ("ClipElementWiseAbsoluteValue", LAYERS, lambda g: np.clip(g, -0.5, 0.5)),
        ("None", LAYERS, lambda g: g),
        (None, LAYERS, lambda g: g),
    ],
)
def test_gradients_are_normalised(kind, parts, wanted):
    net = network(gradient_normalization=kind, gradient_normalization_threshold=0.5)
    gradient = GRADIENT.copy()
    gradient[PARAMS[3]] *= 1e-3  # below the threshold
    got = step_of(net, gradient, batch_size=4)
    for part in parts:
        np.testing.assert_allclose(got[part], wanted(gradient[part] / 4))


class Cubic(nn.Sgd):
    """A rule that makes more of a gradient than a multiple."""

    def move(self, gradient, state, step, scratch, factors):
        np.multiply(gradient**3, factors[0], out=step)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (nn.Sgd(0.3), lambda g: 0.3 * g),
        (nn.Sgd(nn.StepSchedule("ITERATION", 0.3, 0.5, 1)), lambda g: 0.3 * g),
        (nn.Nesterovs(0.3, momentum=0.9), lambda g: 1.9 * 0.3 * g),
        (nn.AdaGrad(0.3, epsilon=0.0), lambda g: 0.3 * g / np.sqrt(1e-6 + g * g)),
        (Cubic(0.3), lambda g: 0.3 * g**3),
        (nn.NoOp(), lambda g: g),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 3, 128])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_a_rule_is_given_the_mean_gradient(rule, wanted, batch_size, l2):
    net = network(updater=rule, l2=l2, l2_bias=l2)
    gradient = GRADIENT / batch_size + l2 * net.params()
    np.testing.assert_allclose(step_of(net, batch_size=batch_size), wanted(gradient), rtol=1e-12)


@pytest.mark.parametrize("kind", ["RenormalizeL2PerLayer", "ClipL2PerLayer"])
def test_a_norm_is_known_where_squares_are_not(kind):
    net = network(gradient_normalization=kind, dtype="float32")
    got = step_of(net, (GRADIENT * 1e25).astype("f4"))
    for part in LAYERS:
        assert np.linalg.norm(got[part]) == pytest.approx(1.0, rel=1e-5)
    assert not step_of(net, np.zeros(39, "f4")).any()


def test_a_layer_has_its_own_normalisation():
    layers = [
        nn.DenseLayer(n_in=5, n_out=4, gradient_normalization="None"),
        nn.OutputLayer(n_in=4, n_out=3, gradient_normalization_threshold=0.1),
    ]
    conf = nn.MultiLayerConfiguration(
        layers=layers, updater=nn.Sgd(1.0), gradient_normalization="ClipL2PerLayer", dtype="float64"
    )
    got = step_of(nn.MultiLayerNetwork(conf))
    np.testing.assert_array_equal(got[LAYERS[0]], GRADIENT[LAYERS[0]])
    assert np.linalg.norm(got[LAYERS[1]]) == pytest.approx(0.1)


def test_penalties_follow_their_schedules():
    l1 = nn.MapSchedule("iteration", {0: 0.25, 3: 0.0})
    l2 = nn.StepSchedule("epoch", 0.5, 0.5, 1)
    net = network(l1=l1, l2=l2, l2_bias=0.125, bias_init=1.0)
    w = net.params().copy()
    for iteration, epoch, a, b in ((0, 0, 0.25, 0.5), (3, 2, 0.0, 0.125)):
        got = step_of(net, iteration=iteration, epoch=epoch)
        for part in WEIGHTS:
            np.testing.assert_allclose(got[part], GRADIENT[part] + a * np.sign(w[part]) + b * w[part])
        for part in BIASES:
            np.testing.assert_allclose(got[part], GRADIENT[part] + 0.125 * w[part])
        net.iteration_count, net.epoch_count = iteration, epoch
        wanted = sum(a * abs(w[part]).sum() + b / 2 * (w[part] ** 2).sum() for part in WEIGHTS)
        wanted += sum(0.0625 * (w[part] ** 2).sum() for part in BIASES)
        assert net.calc_regularization_score() == pytest.approx(wanted)


def test_penalties_and_decay_are_the_same_in_pieces(monkeypatch):
    fields = {"l1": 0.25, "l2_bias": 0.5, "weight_decay": 0.125, "bias_init": 1.0}
    steps, scores = [], []
    for piece in (1 << 16, 7):
        monkeypatch.setattr("ndarena.nn.update.PIECE", piece)
        net = network(**fields)
        steps.append(step_of(net))
        scores.append(net.calc_regularization_score())
    np.testing.assert_array_equal(*steps)
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)


@pytest.mark.parametrize(
    ("rule", "apply_lr", "factor"),
    [(nn.Sgd(0.5), True, 0.5), (nn.Sgd(0.5), False, 1.0), (nn.NoOp(), True, 1.0), (nn.AdaDelta(), True, 1.0)],
)
def test_weight_decay_acts_once(rule, apply_lr, factor):
    net = network(
        updater=rule, weight_decay=0.25, weight_decay_bias=0.125, weight_decay_apply_lr=apply_lr, bias_init=2
    )
    without = step_of(network(updater=rule, bias_init=2, seed=3))
    got, w = step_of(net), net.params()
    for parts, decay in ((WEIGHTS, 0.25), (BIASES, 0.125)):
        for part in parts:
            np.testing.assert_allclose(got[part] - without[part], decay * factor * w[part])
    wanted = sum((w[part] ** 2).sum() / 8 for part in WEIGHTS) + sum((w[p] ** 2).sum() / 16 for p in BIASES)
    assert net.calc_regularization_score() == pytest.approx(wanted)


def test_adamw_is_adam_that_shrinks_all_parameters():
    plain, shrinking = network(updater=nn.Adam(0.5)), network(updater=nn.AdamW(0.5, weight_decay=0.25))
    difference = step_of(shrinking) - step_of(plain)
    np.testing.assert_allclose(difference, 0.125 * shrinking.params())
    assert shrinking.calc_regularization_score() == 0.0


def test_weight_decay_and_l2_exclude_each_other_in_one_place_and_replace_each_other():
    for field in ("", "_bias"):
        both = {f"l2{field}": 0.1, f"weight_decay{field}": nn.FixedSchedule(0.1)}
        with pytest.raises(ConfigurationError, match=f"l2{field}=0.1 already") as caught:
            nn.DenseLayer(n_out=3, **both)
        assert caught.value.field == f"weight_decay{field}"
        with pytest.raises(ConfigurationError, match=f"MultiLayerConfiguration: weight_decay{field}="):
            network(**both)
    for networks, own in (({"l2": 0.1}, {"weight_decay": 0.2}), ({"weight_decay": 0.1}, {"l2": 0.2})):
        layers = [nn.DenseLayer(n_in=5, n_out=4, **own), nn.OutputLayer(n_in=4, n_out=3)]
        first, last = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, **networks)).layers
        for layer, has in ((first, own), (last, networks)):
            assert {"l2": layer.l2, "weight_decay": layer.weight_decay} == {"l2": 0, "weight_decay": 0} | has


def test_running_statistics_are_not_divided_nor_regularised_and_have_no_state():
    layers = [nn.BatchNormalization(n_in=3), nn.OutputLayer(n_in=3, n_out=2)]
    conf = nn.MultiLayerConfiguration(
        layers=layers, updater=nn.Adam(0.1), l2=0.5, weight_decay_bias=0.5, seed=1
    )
    net = nn.MultiLayerNetwork(conf)
    places = {
        part["name"]: slice(part["offset"], part["offset"] + part["length"]) for part in net.param_layout
    }
    gradient = np.arange(1.0, net.num_params() + 1)
    step = step_of(net, gradient, batch_size=4)
    assert len(net.updater_state()) == 2 * (net.num_params() - 6)
    for name in ("0_mean", "0_var"):
        np.testing.assert_array_equal(step[places[name]], gradient[places[name]])
    np.testing.assert_allclose(step[places["0_gamma"]], 0.1, rtol=1e-5)  # Adam's first step


def test_parameters_fulfil_their_constraints_after_every_update():
    x, y = examples(16, 5, 3, "float64")
    limits = [nn.MaxNormConstraint(0.5), nn.NonNegativeConstraint(apply_to_biases=True)]
    net = network(updater=nn.Sgd(2.0), constraints=limits[:1], bias_init=-1.0)
    seen = []

    class Watch(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            seen.append(np.linalg.norm(model.param_table()["0_W"], axis=1).max())

    net.set_listeners(Watch())
    for _ in range(3):
        net.fit(x, y)
    assert len(seen) == 3
    assert max(seen) <= 0.5
    assert net.param_table()["0_b"].max() < 0.0
    positive = network(updater=nn.Sgd(2.0), constraints=limits[1], bias_init=-1.0)
    positive.fit(x, y)
    assert positive.params().min() == 0.0


@pytest.mark.parametrize(
    ("constraint", "norms"),
    [
        (nn.MaxNormConstraint(2.0), [1.0, 2.0, 2.0]),
        (nn.MinMaxNormConstraint(1.5, 3.0), [1.5, 2.5, 3.0]),
        (nn.MinMaxNormConstraint(2.0, 3.0, rate=0.5), [1.5, 2.5, 4.0]),
        (nn.UnitNormConstraint(), [1.0, 1.0, 1.0]),
    ],
    ids=repr,
)
def test_norms_are_constrained(constraint, norms):
    rows = np.random.default_rng(0).normal(size=(3, 4))
    rows *= np.array([[1.0], [2.5], [5.0]]) / np.linalg.norm(rows, axis=1, keepdims=True)
    for param, axes in ((rows.copy(), 1), (rows.reshape(3, 2, 2, 1).copy(), (1, 2, 3))):
        constraint.apply(param)
        np.testing.assert_allclose(np.sqrt((param**2).sum(axis=axes)), norms, rtol=1e-5)
    columns = type(constraint)(**{**vars(constraint), "dimensions": (0,)})
    param = np.asfortranarray(rows.T)
    columns.apply(param)
    np.testing.assert_allclose(np.linalg.norm(param, axis=0), norms, rtol=1e-5)
    bias = rows[1].copy()
    constraint.apply(bias)
    np.testing.assert_allclose(np.linalg.norm(bias), norms[1], rtol=1e-5)


def test_unit_norms_are_exact_and_nothing_stays_nothing():
    param = np.random.default_rng(0).normal(size=(3, 4)) * np.array([[1e-6], [0.0], [1e6]])
    nn.UnitNormConstraint().apply(param)
    np.testing.assert_allclose(np.linalg.norm(param, axis=1), [1.0, 0.0, 1.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: nn.DenseLayer(n_out=2, l1=-1.0), "l1"),
        (lambda: nn.DenseLayer(n_out=2, weight_decay_apply_lr="yes"), "weight_decay_apply_lr"),
        (lambda: nn.DenseLayer(n_out=2, gradient_normalization="much"), "gradient_normalization"),
        (
            lambda: nn.DenseLayer(n_out=2, gradient_normalization_threshold=-1),
            "gradient_normalization_threshold",
        ),
        (lambda: nn.DenseLayer(n_out=2, constraints=["small"]), "constraints"),
        (lambda: network(constraints=3), "constraints"),
        (lambda: network(weight_decay="much"), "weight_decay"),
        (lambda: nn.MaxNormConstraint(-1.0), "max_norm"),
        (lambda: nn.MinMaxNormConstraint(2.0, 1.0), "max"),
        (lambda: nn.MinMaxNormConstraint(1.0, 2.0, rate=0.0), "rate"),
        (lambda: nn.UnitNormConstraint(dimensions=1), "dimensions"),
        (lambda: nn.UnitNormConstraint(apply_to_biases=1), "apply_to_biases"),
    ],
)
def test_a_wrong_field_is_named(make, field):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("layer", "decayed"),
    [
        (nn.DenseLayer(n_in=3, n_out=2, has_layer_norm=True), {"W", "g"}),
        (nn.SimpleRnn(n_in=3, n_out=2, has_layer_norm=True), {"W", "RW", "g"}),
        (nn.BatchNormalization(n_in=3), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_gain_of_a_layer_norm_is_a_weight_as_in_dl4j(layer, decayed):
    last = nn.RnnLossLayer(loss="mse") if isinstance(layer, nn.SimpleRnn) else nn.LossLayer(loss="mse")
    conf = nn.MultiLayerConfiguration(
        layers=[layer, last], l2=0.5, updater=nn.Sgd(1.0), dtype="float64", seed=1
    )
    net = nn.MultiLayerNetwork(conf)
    net.set_params(np.arange(1.0, net.num_params() + 1))
    step = step_of(net, np.zeros(net.num_params()))
    for part in net.param_layout:
        where = slice(part["offset"], part["offset"] + part["length"])
        factor = 0.5 * (part["name"].removeprefix("0_") in decayed)
        np.testing.assert_allclose(step[where], factor * net.params()[where])
