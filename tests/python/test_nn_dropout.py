"""Dropout and noise on weights: what they do to numbers, to gradients, and where their memory is."""

import copy

import numpy as np
import pytest
from nn_support import assert_steady, differences, examples

from ndarena import ArrayType, ConfigurationError, LayerWorkspaceMgr, get_workspace_for_current_thread, nn

pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated")

MGR = LayerWorkspaceMgr.no_workspaces()
DROPOUTS = [
    nn.Dropout(0.6),
    nn.AlphaDropout(0.8),
    nn.GaussianDropout(0.3),
    nn.GaussianNoise(0.5),
    nn.Dropout(1.0),
]
NOISES = [
    nn.DropConnect(0.6, apply_to_biases=True),
    nn.WeightNoise(nn.NormalDistribution(0.0, 0.5)),
    nn.WeightNoise(nn.TruncatedNormalDistribution(0.0, 0.5)),
    nn.WeightNoise(nn.UniformDistribution(0.5, 1.5), apply_to_biases=True, additive=False),
]
every_dropout = pytest.mark.parametrize("dropout", [*DROPOUTS, nn.SpatialDropout(0.6)], ids=repr)
RNG = np.random.default_rng(0)


class Plain(nn.Layer):
    """A layer that hands on what it is given."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        return x

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        return epsilon


def forward(layer, x, *, training=True):
    return layer.activate(x, training=training, workspace_mgr=MGR)


@every_dropout
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_mean_and_dtype_stay_and_inference_is_not_touched(dropout, dtype):
    twin = Plain(dropout=dropout).instantiate(rng=np.random.default_rng(3))
    x = np.random.default_rng(1).normal(size=(300, 20, 10)).astype(dtype)
    assert forward(twin, x, training=False) is x
    out = forward(twin, x)
    assert out.dtype == x.dtype
    assert out.mean() == pytest.approx(x.mean(), abs=0.02)
    assert np.array_equal(out, x) == (dropout == nn.Dropout(1.0))


def test_kept_values_are_divided_by_their_probability():
    out = forward(nn.DropoutLayer(0.25).instantiate(rng=np.random.default_rng(0)), np.ones((100, 100)))
    assert set(np.unique(out)) == {0.0, 4.0}
    assert (out > 0).mean() == pytest.approx(0.25, abs=0.02)


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(1).normal(size=(400, 500))
    out = forward(Plain(dropout=nn.AlphaDropout(0.7)).instantiate(rng=np.random.default_rng(0)), x)
    assert out.mean() == pytest.approx(0.0, abs=0.01)
    assert out.var() == pytest.approx(1.0, abs=0.02)
    values, counts = np.unique(out, return_counts=True)
    assert counts.max() / out.size == pytest.approx(0.3, abs=0.01)
    assert values[counts.argmax()] < -1.0


def test_gaussian_noises_have_their_deviation():
    ones = np.ones((400, 500))
    factors = forward(Plain(dropout=nn.GaussianDropout(0.2)).instantiate(rng=np.random.default_rng(0)), ones)
    assert factors.std() == pytest.approx(0.5, abs=0.01)
    added = forward(Plain(dropout=nn.GaussianNoise(0.1)).instantiate(rng=np.random.default_rng(0)), ones)
    assert added.std() == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("shape", [(8, 5, 7), (8, 5, 3, 4)])
def test_spatial_dropout_drops_whole_channels(shape):
    twin = Plain(dropout=nn.SpatialDropout(0.5)).instantiate(rng=np.random.default_rng(0))
    out = forward(twin, np.ones(shape)).reshape(8, 5, -1)
    assert set(np.unique(out)) == {0.0, 2.0}
    assert (out == out[:, :, :1]).all()
    with pytest.raises(ValueError, match=r"not an input of shape \[2, 3\]"):
        forward(twin, np.ones((2, 3)))


def trained(layer, params, x, epsilon):
    """Forward and backward with the same draws every time."""
    twin = layer.instantiate(params=params, rng=np.random.default_rng(7))
    out = forward(twin, x)
    below = twin.backprop_gradient(epsilon, workspace_mgr=MGR)
    return twin, out, below


@pytest.mark.parametrize(
    "fields",
    [
        *({"dropout": d} for d in DROPOUTS),
        *({"weight_noise": n} for n in NOISES),
        {"dropout": 0.7, "weight_noise": NOISES[0]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["dense", "bidirectional", "custom"])
def test_gradients_are_those_of_what_was_drawn(fields, kind):
    if kind == "dense":
        layer, x = nn.DenseLayer(n_in=4, n_out=3, activation="tanh", **fields), RNG.normal(size=(5, 4))
    elif kind == "custom":
        layer, x = Plain(dropout=fields.get("dropout")), RNG.normal(size=(5, 4))
    else:
        layer, x = nn.LSTM(n_in=3, n_out=2, activation="tanh", **fields), RNG.normal(size=(2, 3, 3))
        layer = nn.Bidirectional(layer)
    params = RNG.normal(size=layer.num_params())
    epsilon = RNG.normal(size=forward(layer.instantiate(params=params), x, training=False).shape)
    before = params.copy(), x.copy(), epsilon.copy()
    twin, _, below = trained(layer, params, x, epsilon)
    for array, kept in zip((params, x, epsilon), before, strict=True):
        np.testing.assert_array_equal(array, kept)

    def total():
        return float((trained(layer, params, x, epsilon)[1] * epsilon).sum())

    np.testing.assert_allclose(below, differences(total, x), atol=1e-6)
    np.testing.assert_allclose(twin.gradient, differences(total, params), atol=1e-6)
    assert all(np.shares_memory(view, params) for view in twin.param_table.values())


def test_noisy_weights_are_those_of_one_step_only():
    layer = nn.DenseLayer(
        n_in=50, n_out=40, activation="identity", weight_noise=nn.DropConnect(0.5), bias_init=1.0
    )
    twin = layer.instantiate(rng=np.random.default_rng(0))
    seen = forward(twin, np.eye(50)) - 1.0
    weights = twin.param_table["W"]
    kept = seen != 0.0
    np.testing.assert_allclose(seen[kept], weights[kept])
    assert kept.mean() == pytest.approx(0.5, abs=0.05)
    assert (forward(twin, np.eye(50)) != seen + 1.0).any()
    np.testing.assert_allclose(forward(twin, np.eye(50), training=False), weights + 1.0)


def network(mode, **fields):
    layers = [
        nn.DenseLayer(n_out=16, activation="relu", weight_noise=nn.DropConnect(0.9)),
        nn.ActivationLayer("tanh"),
        nn.DropoutLayer(nn.GaussianDropout(0.2)),
        nn.DenseLayer(n_out=16, activation="tanh", dropout=nn.GaussianNoise(0.1)),
        nn.OutputLayer(n_out=3),
    ]
    conf = nn.MultiLayerConfiguration(
        layers=layers,
        input_type=nn.InputType.feed_forward(6),
        updater=nn.Adam(0.01),
        seed=5,
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
        **{"dropout": 0.8, **fields},
    )
    return nn.MultiLayerNetwork(conf)


@pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")
def graph(mode):
    vertices = {
        "a": (nn.DenseLayer(n_out=8, weight_noise=NOISES[1], dropout=0.0), "x"),
        "b": (nn.DenseLayer(n_out=8), "x"),
        "sum": (nn.ElementWiseVertex("add"), "a", "b"),
        "dropped": (nn.DropoutLayer(0.8), "sum"),
        "y": (nn.OutputLayer(n_out=3), "dropped", "b"),
    }
    conf = nn.ComputationGraphConfiguration(
        inputs=["x"],
        input_types=[nn.InputType.feed_forward(6)],
        vertices=vertices,
        outputs=["y"],
        dropout=nn.GaussianDropout(0.1),
        constraints=[nn.MaxNormConstraint(1.0)],
        activation="tanh",
        updater=nn.Adam(0.01),
        seed=5,
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
    )
    return nn.ComputationGraph(conf)


def of_series(mode):
    layers = [nn.LSTM(n_out=5, activation="tanh", weight_noise=NOISES[0]), nn.RnnOutputLayer(n_out=3)]
    conf = nn.MultiLayerConfiguration(
        layers=layers,
        input_type=nn.InputType.recurrent(6),
        dropout=0.8,
        backprop_type="truncated_bptt",
        tbptt_fwd_length=3,
        seed=5,
        updater=nn.Adam(0.01),
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
    )
    return nn.MultiLayerNetwork(conf)


@pytest.mark.parametrize("make", [network, graph, of_series])
def test_all_modes_draw_the_same(make):
    x, y = examples(32, 6, 3)
    if make is of_series:
        x, y = (np.repeat(part[:, :, None], 7, axis=2) for part in (x, y))
    results = []
    for mode in nn.WorkspaceMode:
        with make(mode.name) as net:
            for _ in range(4):
                net.fit(x, y)
            outputs = [net.output(x, training=training) for training in (True, False)]
            results.append((net.params().copy(), *(np.squeeze(output) for output in outputs)))
            assert net.score() < 2.0 if make is not of_series else net.score() > 0.0
    for result in results[1:]:
        for got, wanted in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("mode", ["ENABLED", "SINGLE", "SEPARATE"])
def test_steady_training_takes_nothing(mode):
    x, y = examples(48, 6, 3)
    fields = {"gradient_normalization": "ClipL2PerLayer", "weight_decay": 0.1}
    with network(mode, constraints=[nn.MaxNormConstraint(2.0)], **fields) as net:
        assert_steady(lambda: net.fit(x, y))


def test_a_graph_constrains_its_parameters():
    x, y = examples(48, 6, 3)
    with graph("ENABLED") as net:
        for _ in range(3):
            net.fit(x, y)
        for name, weights in net.param_table().items():
            assert not name.endswith("_W") or np.linalg.norm(weights, axis=1).max() <= 1.0


def test_training_output_differs_from_call_to_call_and_the_other_does_not():
    x, _ = examples(32, 6, 3)
    with network("ENABLED") as net:
        assert (net.output(x, training=True) != net.output(x, training=True)).any()
        assert len(net.feed_forward(x, training=True)) == 6
        np.testing.assert_array_equal(net.output(x), net.output(x))


def test_a_copy_at_work_draws_for_itself():
    twin = nn.DenseLayer(n_in=4, n_out=3, dropout=0.5, weight_noise=NOISES[1]).instantiate()
    other = copy.copy(twin)
    x = RNG.normal(size=(6, 4))
    forward(other, x)
    with pytest.raises(RuntimeError, match="must come first"):
        twin.backprop_gradient(np.ones((6, 3)), workspace_mgr=MGR)
    other.backprop_gradient(np.ones((6, 3)), workspace_mgr=MGR)
    assert all(np.shares_memory(view, twin.params) for view in other.param_table.values())


def test_what_is_drawn_lies_where_the_input_does():
    mgr = (
        LayerWorkspaceMgr.builder()
        .with_(ArrayType.ACTIVATIONS, "ACT", get_workspace_for_current_thread(id="ACT").configuration)
        .with_(ArrayType.INPUT, "IN", get_workspace_for_current_thread(id="IN").configuration)
        .build()
    )
    twin = nn.DropoutLayer(0.5).instantiate()
    with mgr.notify_scope_entered(ArrayType.INPUT), mgr.notify_scope_entered(ArrayType.ACTIVATIONS):
        out = twin.activate(np.ones((4, 5)), training=True, workspace_mgr=mgr)
        assert mgr.validate_array_location(ArrayType.ACTIVATIONS, out) is out


def test_the_network_drops_inputs_where_dl4j_does():
    layers = [
        nn.EmbeddingLayer(n_in=5, n_out=4),
        nn.BatchNormalization(),
        nn.ActivationLayer("relu"),
        nn.DenseLayer(n_out=4),
        nn.DenseLayer(n_out=4, dropout=0),
        nn.OutputLayer(n_out=3, dropout=nn.AlphaDropout(0.5)),
    ]
    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, dropout=0.5, updater=nn.Sgd(0.1)))
    assert [layer.dropout for layer in net.layers] == [None] * 3 + [
        nn.Dropout(0.5),
        0.0,
        nn.AlphaDropout(0.5),
    ]
    net.fit(np.arange(5.0)[:, None], np.eye(3)[[0, 1, 2, 0, 1]])  # indices are not halved nor doubled
    explicit = nn.ActivationLayer("identity", dropout=0.5).instantiate(rng=np.random.default_rng(0))
    assert set(np.unique(forward(explicit, np.ones((9, 9))))) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.DenseLayer(n_out=2, dropout=1.5), "probability to keep"),
        (lambda: nn.DenseLayer(n_out=2, dropout=-0.5), "from 0 on"),
        (lambda: nn.DenseLayer(n_out=2, dropout="much"), "must be a number"),
        (lambda: nn.Dropout(0.0), "probability to keep"),
        (lambda: nn.AlphaDropout(1.1), "probability to keep"),
        (lambda: nn.GaussianDropout(1.0), "below 1"),
        (lambda: nn.GaussianNoise(-1.0), "from 0 on"),
        (lambda: nn.DropConnect(0.0), "probability to keep"),
        (lambda: nn.DropConnect(0.5, apply_to_biases=1), "True or False"),
        (lambda: nn.WeightNoise(0.5), "must be a Distribution"),
        (lambda: nn.UniformDistribution(1.0, 0.0), "must not be below lower"),
        (lambda: nn.NormalDistribution(std=-1.0), "from 0 on"),
        (lambda: nn.BinomialDistribution(3, 1.5), "is above 1"),
        (lambda: nn.BinomialDistribution(0, 0.5), "whole number from 1 on"),
        (lambda: nn.DenseLayer(n_out=2, weight_noise=0.5), "must be an IWeightNoise"),
    ],
)
def test_a_wrong_field_is_refused(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()
