"""Layers with a loss, alone: scores of series, masks, labels that do not fit; layer norm."""

import numpy as np
import pytest
from nn_support import differences

from ndarena import ConfigurationError, LayerWorkspaceMgr, nn

MGR = LayerWorkspaceMgr.no_workspaces()
RNG = np.random.default_rng(7)


def scored(twin, x, labels, mask=None):
    """Return the summed loss of an output layer."""
    twin.clear()
    twin.labels = labels
    twin.activate(x, training=True, workspace_mgr=MGR, mask=mask)
    return twin.compute_score(0.0, training=True, workspace_mgr=MGR) * len(x)


@pytest.mark.parametrize("order", ["batch first", "steps first"])
@pytest.mark.parametrize("mask", [None, "steps", "elements"])
@pytest.mark.parametrize("kind", ["rnn-output", "rnn-loss"])
def test_losses_of_series_are_sums_over_steps(kind, mask, order):
    x, labels = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 3, 4))
    if order == "steps first":
        x = np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)
    kept = {"steps": [[1, 1, 0, 1], [1, 0, 0, 0]], "elements": RNG.integers(0, 2, (2, 3, 4)), None: None}[
        mask
    ]
    kept = None if kept is None else np.asarray(kept, float)
    twin = {
        "rnn-output": nn.RnnOutputLayer(n_in=3, n_out=3, loss="mse", activation="tanh"),
        "rnn-loss": nn.RnnLossLayer(loss="mse", activation="tanh"),
    }[kind].instantiate(rng=np.random.default_rng(1))
    total = scored(twin, x, labels, kept)
    output = np.tanh(x)
    if kind == "rnn-output":
        output = np.tanh(np.einsum("nit,io->not", x, twin.param_table["W"]))
    weights = 1.0 if kept is None else kept[:, None] if kept.ndim == 2 else kept
    assert np.isclose(total, ((output - labels) ** 2 * weights).sum() / 3)
    per_example = twin.compute_score_for_examples(0.0, workspace_mgr=MGR)
    assert np.allclose(per_example, ((output - labels) ** 2 * weights).sum(axis=(1, 2)) / 3)
    below = twin.backprop_gradient(None, workspace_mgr=MGR)
    assert np.allclose(below, differences(lambda: scored(twin, x, labels, kept), x), atol=1e-7)
    if kind == "rnn-output":
        scored(twin, x, labels, kept)
        twin.backprop_gradient(None, workspace_mgr=MGR)
        expected = differences(lambda: scored(twin, x, labels, kept), twin.params)
        assert np.allclose(twin.gradient, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("thing", "shape", "words"),
    [
        (nn.RnnOutputLayer(n_in=3, n_out=2), (2, 3), "expected input of shape [batch, 3, time], not [2, 3]"),
        (nn.RnnOutputLayer(n_in=3, n_out=2), (2, 4, 5), "expected input of shape [batch, 3, time]"),
        (nn.RnnLossLayer(), (2, 3), "expected input of shape [batch, features, time]"),
        (nn.LossLayer(), (2, 3, 4), "expected input of shape [batch, features]"),
    ],
)
def test_an_input_of_a_wrong_shape_is_refused(thing, shape, words):
    with pytest.raises(ValueError) as info:
        thing.instantiate().activate(np.ones(shape), workspace_mgr=MGR)
    assert words in str(info.value) and type(thing).__name__ in str(info.value)


def test_labels_of_a_wrong_shape_are_refused():
    twin = nn.RnnOutputLayer(n_in=3, n_out=2).instantiate()
    twin.labels = np.ones((2, 3, 4))
    twin.activate(np.ones((2, 3, 4)), workspace_mgr=MGR)
    with pytest.raises(ValueError, match=r"expected labels of shape \[2, 2, 4\], not \[2, 3, 4\]"):
        twin.compute_score(workspace_mgr=MGR)


@pytest.mark.parametrize("thing", [nn.LossLayer(), nn.RnnLossLayer(), nn.OutputLayer(n_in=2, n_out=2)])
def test_a_loss_without_forward_pass_is_refused(thing):
    twin = thing.instantiate()
    twin.labels = np.ones((2, 2))
    with pytest.raises(RuntimeError, match="must come first"):
        twin.backprop_gradient(None, workspace_mgr=MGR)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ConfigurationError, match="loss"):
        nn.LossLayer(loss="distance")


@pytest.mark.parametrize("has_bias", [True, False])
def test_layer_norm_has_the_gradient_of_its_forward_pass(has_bias):
    thing = nn.DenseLayer(
        n_in=4, n_out=3, activation="tanh", has_bias=has_bias, has_layer_norm=True, gain_init=0.5
    )
    twin = thing.instantiate(rng=np.random.default_rng(2))
    assert np.array_equal(twin.param_table["g"], [0.5] * 3)
    x, epsilon = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 3))

    def total():
        return float((twin.activate(x, workspace_mgr=MGR) * epsilon).sum())

    twin.activate(x, training=True, workspace_mgr=MGR)
    below = twin.backprop_gradient(epsilon, workspace_mgr=MGR)
    assert np.allclose(below, differences(total, x), atol=1e-7)
    assert np.allclose(twin.gradient, differences(total, twin.params), atol=1e-7)


def test_layer_norm_of_equal_sums_is_the_bias():
    twin = nn.DenseLayer(n_in=2, n_out=2, activation="identity", has_layer_norm=True).instantiate()
    twin.param_table["W"][...] = 1.0
    twin.param_table["b"][...] = 3.0
    out = twin.activate(np.ones((1, 2)), training=True, workspace_mgr=MGR)
    assert np.array_equal(out, [[3.0, 3.0]])
    assert np.array_equal(twin.backprop_gradient(np.ones((1, 2)), workspace_mgr=MGR), [[0.0, 0.0]])
