"""Configurations: fields, inheritance, values, twins, and what is refused by which words."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from nn_support import chain

from ndarena import ConfigurationError, LayerWorkspaceMgr, nn

DENSE = nn.DenseLayer(n_in=2, n_out=3)
OUTPUT = nn.OutputLayer(n_in=3, n_out=2)
MGR = LayerWorkspaceMgr.no_workspaces()


def configuration(**fields):
    return nn.MultiLayerConfiguration(**{"layers": [DENSE, OUTPUT], **fields})


def test_names_members_and_objects_mean_the_same():
    layers = {
        nn.DenseLayer(n_out=3, activation=form, weight_init=init)
        for form in ("tanh", "TANH", "TanH", nn.Activation.TANH, nn.ActivationTanH())
        for init in ("xavier_uniform", "XavierUniform", nn.WeightInit.XAVIER_UNIFORM)
    }
    assert len(layers) == 1
    layer = layers.pop()
    assert layer.activation == nn.ActivationTanH()
    assert layer.weight_init is nn.WeightInit.XAVIER_UNIFORM
    losses = {nn.OutputLayer(n_out=3, loss=form) for form in ("mse", nn.LossFunction.MSE, nn.LossMSE())}
    assert len(losses) == 1
    named = configuration(training_workspace_mode="enabled", seed=1)
    assert named == configuration(training_workspace_mode=nn.WorkspaceMode.ENABLED, seed=1)


def test_configurations_compare_and_pickle_by_value():
    conf = configuration(seed=1)
    assert conf == configuration(seed=1) != configuration(seed=2)
    assert hash(conf) == hash(configuration(seed=1))
    for again in (pickle.loads(pickle.dumps(conf)), copy.deepcopy(conf), dataclasses.replace(conf)):
        assert again == conf
    assert configuration().seed is not None
    assert configuration() != configuration()


def test_fields_of_a_layer_win_over_those_of_the_network():
    conf = configuration(
        layers=[nn.DenseLayer(n_in=2, n_out=3, activation="relu", l2=0.0), nn.DenseLayer(n_out=3), OUTPUT],
        activation="tanh",
        l2=0.5,
        updater=nn.Adam(0.5),
        bias_init=0.25,
    )
    first, second, last = nn.MultiLayerNetwork(conf).layers
    assert (first.activation, second.activation) == (nn.ActivationReLU(), nn.ActivationTanH())
    assert last.activation == nn.ActivationSoftmax()
    assert (first.l2, second.l2) == (0.0, 0.5)
    assert second.updater == nn.Adam(0.5)
    assert (second.param_table["b"] == 0.25).all()
    assert (first.name, second.name, second.index) == ("layer0", "layer1", 1)
    assert conf.layers[1].n_in is None  # the configuration is not touched


def test_sizes_follow_from_the_input_or_the_layer_before():
    assert [layer.n_in for layer in chain(5, 7, 3).layers] == [5, 7]
    conf = nn.MultiLayerConfiguration(layers=[nn.DenseLayer(n_in=5, n_out=7), nn.OutputLayer(n_out=3)])
    assert nn.MultiLayerNetwork(conf).num_params() == 5 * 7 + 7 + 7 * 3 + 3


def test_a_twin_works_and_its_configuration_stays():
    twin = DENSE.instantiate(index=4, dtype="float32", rng=np.random.default_rng(0))
    assert twin == dataclasses.replace(DENSE, name="layer4")
    assert (twin.num_params(), twin.params.dtype, twin.index) == (9, np.float32, 4)
    assert twin.params.any()
    assert not twin.gradient.any()
    assert [part["name"] for part in twin.param_layout] == ["W", "b"]
    twin.anything = 3
    assert twin.anything == 3
    del twin.anything
    for broken in (lambda: setattr(twin, "n_out", 4), lambda: delattr(twin, "n_out")):
        with pytest.raises(dataclasses.FrozenInstanceError, match=r"DenseLayer\.n_out"):
            broken()
    with pytest.raises(dataclasses.FrozenInstanceError, match="instantiate"):
        DENSE.anything = 3
    with pytest.raises(AttributeError, match="instantiate"):
        _ = DENSE.params


def test_a_twin_takes_views_of_the_vectors_given():
    params, gradient = np.arange(9.0), np.zeros(9)
    twin = DENSE.instantiate(params=params, gradient=gradient)
    assert twin.param_table["W"].tolist() == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    twin.param_table["b"][:] = -1.0
    assert (params[6:] == -1.0).all()
    assert np.shares_memory(twin.gradient_table["W"], gradient)
    for name in ("params", "gradient"):
        with pytest.raises(ValueError, match=rf"layer0: {name} must have shape \(9,\), not \(3,\)"):
            DENSE.instantiate(**{name: np.zeros(3)})


def test_the_identity_is_for_square_matrices():
    twin = nn.DenseLayer(n_in=3, n_out=3, weight_init="identity").instantiate()
    np.testing.assert_array_equal(twin.param_table["W"], np.eye(3))
    with pytest.raises(ConfigurationError, match="square"):
        nn.DenseLayer(n_in=3, n_out=4, weight_init="identity").instantiate()


@pytest.mark.parametrize("scheme", [s for s in nn.WeightInit if s.name != "IDENTITY"], ids=str)
def test_weights_begin_as_their_scheme_says(scheme):
    n_in, n_out = 300, 200
    twin = nn.DenseLayer(n_in=n_in, n_out=n_out, weight_init=scheme).instantiate(rng=np.random.default_rng(0))
    variance = {
        "ZERO": 0.0,
        "ONES": 0.0,
        "XAVIER": 2 / (n_in + n_out),
        "XAVIER_UNIFORM": 2 / (n_in + n_out),
        "XAVIER_FAN_IN": 1 / n_in,
        "RELU": 2 / n_in,
        "RELU_UNIFORM": 2 / n_in,
        "LECUN_NORMAL": 1 / n_in,
        "LECUN_UNIFORM": 3 / n_in,
        "UNIFORM": 1 / (3 * n_in),
        "NORMAL": 1 / n_in,
        "SIGMOID_UNIFORM": 32 / (n_in + n_out),
        "XAVIER_LEGACY": 1 / (n_in + n_out),
        "VAR_SCALING_NORMAL_FAN_IN": 1 / n_in,
        "VAR_SCALING_NORMAL_FAN_OUT": 1 / n_out,
        "VAR_SCALING_NORMAL_FAN_AVG": 2 / (n_in + n_out),
        "VAR_SCALING_UNIFORM_FAN_IN": 3 / n_in,
        "VAR_SCALING_UNIFORM_FAN_OUT": 3 / n_out,
        "VAR_SCALING_UNIFORM_FAN_AVG": 6 / (n_in + n_out),
    }[scheme.name]
    weights = twin.param_table["W"]
    assert weights.mean() == pytest.approx(float(scheme.name == "ONES"), abs=1e-3)
    assert weights.var() == pytest.approx(variance, rel=0.03)
    if "UNIFORM" in scheme.name:
        assert np.abs(weights).max() <= np.sqrt(3 * variance)
    assert not twin.param_table["b"].any()


@pytest.mark.parametrize("options", [{}, {"max": 1.0}, {"threshold": 0.5}, {"negative_slope": 0.1}])
def test_relu_and_its_derivative(options):
    function = nn.ActivationReLU(**options)
    x = np.linspace(-2.01, 2.0, 41)
    top, threshold = options.get("max", np.inf), options.get("threshold", 0.0)
    slope = options.get("negative_slope", 0.0)
    wanted = np.where(x >= threshold, np.minimum(x, top), slope * (x - threshold))
    np.testing.assert_allclose(function(x), wanted)
    out = np.empty_like(x)
    assert function.forward(x, out=out) is out
    np.testing.assert_allclose(out, wanted)
    derivative = (function(x + 1e-7) - function(x - 1e-7)) / 2e-7
    smooth = (np.abs(x - threshold) > 1e-3) & (np.abs(x - top) > 1e-3)
    got = function.backprop(x, np.full_like(x, 3.0))
    np.testing.assert_allclose(got[smooth], 3.0 * derivative[smooth], atol=1e-6)


@pytest.mark.parametrize("name", list(nn.Activation))
def test_activations_neither_overflow_nor_change_the_dtype(name):
    function = name.get_activation_function()
    for dtype in ("f4", "f8"):
        x = np.array([[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]], dtype)
        assert np.isfinite(function(x)).all()
        assert np.isfinite(function.backprop(x, np.ones_like(x))).all()
        assert function(x).dtype == function.backprop(x, np.ones_like(x)).dtype == dtype


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (lambda: nn.DenseLayer(n_out=0), "n_out", "DenseLayer: n_out=0"),
        (lambda: nn.DenseLayer(n_out=True), "n_out", "whole number"),
        (lambda: nn.DenseLayer(n_out=2.5), "n_out", "whole number"),
        (lambda: nn.DenseLayer(name="h", n_in=-1, n_out=3), "n_in", "DenseLayer 'h': n_in=-1"),
        (lambda: nn.DenseLayer(n_out=3, activation="rellu"), "activation", "IDENTITY, LEAKYRELU"),
        (lambda: nn.DenseLayer(n_out=3, activation=np.tanh), "activation", "IActivation"),
        (lambda: nn.DenseLayer(n_out=3, weight_init="he"), "weight_init", "XAVIER"),
        (lambda: nn.DenseLayer(n_out=3, updater="adam"), "updater", "IUpdater"),
        (lambda: nn.DenseLayer(n_out=3, l2=-0.1), "l2", "from 0 on"),
        (lambda: nn.DenseLayer(n_out=3, l1=float("nan")), "l1", "finite"),
        (lambda: nn.DenseLayer(n_out=3, bias_init="0"), "bias_init", "number"),
        (lambda: nn.DenseLayer(n_out=3, has_bias=1), "has_bias", "True or False"),
        (lambda: nn.DenseLayer(n_out=3, name=3), "name", "str"),
        (lambda: nn.OutputLayer(n_out=3, loss="mxcent"), "loss", "MCXENT, MEAN_ABS"),
        (lambda: nn.OutputLayer(n_out=3, loss=None), "loss", "ILossFunction"),
        (lambda: nn.Adam(-1.0), "learning_rate", "Adam"),
        (lambda: nn.Adam(beta1=1.0), "beta1", "below 1"),
        (lambda: nn.Sgd(float("inf")), "learning_rate", "finite"),
        (lambda: nn.LossMSE(weights=()), "weights", "finite numbers"),
        (lambda: nn.LossMCXENT(softmax_clip_eps=0.5), "softmax_clip_eps", "below 0.5"),
        (lambda: nn.InputType.feed_forward(0), "size", "whole number"),
        (lambda: configuration(layers=[]), "layers", "at least one"),
        (lambda: configuration(layers=DENSE), "layers", "sequence"),
        (lambda: configuration(layers=[DENSE, "dense"]), "layers[1]", "no layer"),
        (lambda: configuration(layers=[DENSE]), "layers", "loss"),
        (lambda: configuration(layers=[OUTPUT, OUTPUT]), "layers", "last"),
        (lambda: configuration(layers=[DENSE, nn.OutputLayer(n_in=4, n_out=2)]), "n_in", "layer 1"),
        (lambda: configuration(layers=[nn.OutputLayer(n_out=2)]), "n_in", "layer 0"),
        (lambda: configuration(input_type=nn.InputType.feed_forward(9)), "n_in", "layer 0"),
        (
            lambda: configuration(layers=[nn.DenseLayer(name="a", n_in=2, n_out=3)] * 2 + [OUTPUT]),
            "layers",
            "name of two",
        ),
        (lambda: configuration(input_type=(2,)), "input_type", "InputType"),
        (lambda: configuration(updater=None), "updater", "must be given"),
        (lambda: configuration(seed=-1), "seed", "whole number"),
        (lambda: configuration(seed=1.5), "seed", "whole number"),
        (lambda: configuration(dtype="int32"), "dtype", "float32, float64"),
        (lambda: configuration(dtype="nonsense"), "dtype", "float32, float64"),
        (lambda: configuration(mini_batch=1), "mini_batch", "True or False"),
        (
            lambda: configuration(training_workspace_mode="BOTH"),
            "training_workspace_mode",
            "NONE, ENABLED, SINGLE",
        ),
        (lambda: configuration(activation=None), "activation", "must be given"),
    ],
)
def test_a_wrong_field_is_named(make, field, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field
    assert words in str(caught.value)
    assert caught.value.reason
    assert pickle.loads(pickle.dumps(caught.value)).field == field


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.DenseLayer(n_out=3, units=4),
        lambda: nn.DenseLayer(3),
        nn.DenseLayer,
        lambda: configuration(tbptt_length=20),
        lambda: nn.MultiLayerConfiguration([DENSE, OUTPUT]),
        lambda: nn.Adam(0.1, 0.9),
    ],
)
def test_unknown_fields_and_positions_are_type_errors(make):
    with pytest.raises(TypeError):
        make()


def test_a_layer_alone_says_what_is_missing():
    twin = OUTPUT.instantiate()
    with pytest.raises(RuntimeError, match="must come first"):
        twin.backprop_gradient(None, workspace_mgr=MGR)
    twin.activate(np.ones((4, 3)), training=True, workspace_mgr=MGR)
    with pytest.raises(RuntimeError, match="no labels"):
        twin.compute_score(workspace_mgr=MGR)
    twin.labels = np.ones((4, 5))
    with pytest.raises(ValueError, match="expected labels"):
        twin.backprop_gradient(None, workspace_mgr=MGR)
    with pytest.raises(NotImplementedError):
        nn.Layer().instantiate().activate(np.ones(3), workspace_mgr=MGR)


def test_weights_of_a_loss_fit_the_columns():
    loss = nn.LossMSE(weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="2 weights for 3 columns"):
        loss.compute_score(np.ones((4, 3)), np.zeros((4, 3)), nn.ActivationIdentity())


@pytest.mark.parametrize(
    ("scheme", "mean", "deviation"),
    [
        (nn.NormalDistribution(0.5, 0.25), 0.5, 0.25),
        (nn.GaussianDistribution(0.5, 0.25), 0.5, 0.25),
        (nn.LogNormalDistribution(0.0, 0.25), 1.0317, 0.2620),
        (nn.TruncatedNormalDistribution(0.5, 0.25), 0.5, 0.2199),
        (nn.BinomialDistribution(1, 0.25), 0.25, np.sqrt(0.1875)),
        (nn.UniformDistribution(-1.0, 2.0), 0.5, np.sqrt(0.75)),
        (nn.WeightInitDistribution(nn.ConstantDistribution(3.0)), 3.0, 0.0),
        (nn.WeightInitConstant(2), 2.0, 0.0),
    ],
    ids=repr,
)
def test_weights_begin_as_a_distribution_says(scheme, mean, deviation):
    for layer in (
        nn.DenseLayer(n_in=200, n_out=300, weight_init=scheme),
        nn.LSTM(n_in=100, n_out=100, weight_init=scheme),
    ):
        weights = layer.instantiate(dtype="float32", rng=np.random.default_rng(0)).param_table["W"]
        assert weights.mean() == pytest.approx(mean, abs=0.01)
        assert weights.std() == pytest.approx(deviation, abs=0.01)
    again = nn.SimpleRnn(n_in=20, n_out=20, weight_init_recurrent=scheme).instantiate().param_table["RW"]
    assert again.mean() == pytest.approx(mean, abs=0.2)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (2, 3, 2, 2), (5,)])
def test_orthogonal_weights_have_orthogonal_rows_or_columns(shape):
    weights = np.empty(shape, "f4", order="F")
    scheme = nn.WeightInitDistribution(nn.OrthogonalDistribution(gain=2.0))
    scheme.fill(weights, np.random.default_rng(0), fan_in=1, fan_out=1)
    matrix = weights.reshape(len(weights), -1)
    matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(matrix @ matrix.T, 4.0 * np.eye(len(matrix)), atol=1e-6)


def test_truncated_numbers_are_within_two_deviations():
    drawn = np.empty(10_000)
    nn.TruncatedNormalDistribution(1.0, 0.5).fill(drawn, np.random.default_rng(0))
    assert (drawn.min() >= 0.0) & (drawn.max() <= 2.0)


def test_weights_begin_by_a_scheme_that_is_known():
    for wrong in (3.0, nn.Adam()):
        with pytest.raises(
            ConfigurationError, match="must be a name, a WeightInit, an IWeightInit or a Distribution"
        ):
            nn.DenseLayer(n_out=3, weight_init=wrong)
    with pytest.raises(ConfigurationError, match="must be a Distribution"):
        nn.WeightInitDistribution(1.0)


@pytest.mark.parametrize("scheme", list(nn.WeightInit))
@pytest.mark.parametrize("shape", [(7, 7), (5,), (4, 3, 2, 2)])
def test_weights_are_the_same_however_many_are_drawn_at_a_time(scheme, shape, monkeypatch):
    if scheme is nn.WeightInit.IDENTITY and shape != (7, 7):
        return

    def drawn(order):
        weights = np.empty(shape, "f4", order=order)
        scheme.fill(weights, np.random.default_rng(3), fan_in=7, fan_out=5)
        return weights

    whole = drawn("C")
    monkeypatch.setattr("ndarena.nn.weights.DRAWN", 10)
    np.testing.assert_array_equal(drawn("C"), whole)
    np.testing.assert_array_equal(drawn("F"), whole)
