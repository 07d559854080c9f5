"""Errors that come from outside a network: forward, keeping what is needed, and backward from there."""

import numpy as np
import pytest
from nn_support import examples

from ndarena import nn
from ndarena.data import DataSet, MultiDataSet

X, Y = examples(6, 4, 3, "float64")


def layers():
    return [
        nn.DenseLayer(n_in=4, n_out=5, activation="tanh"),
        nn.OutputLayer(n_in=5, n_out=3, loss="mse", activation="sigmoid"),
    ]


def chain(mode="ENABLED"):
    conf = nn.MultiLayerConfiguration(
        layers=layers(), dtype="float64", seed=1, l2=0.1, training_workspace_mode=mode
    )
    return nn.MultiLayerNetwork(conf)


def graph(outputs=1):
    dense, out = layers()
    names = [f"out{i}" for i in range(outputs)]
    conf = nn.ComputationGraphConfiguration(
        inputs=["in"],
        vertices={"dense": (dense, "in"), **dict.fromkeys(names, (out, "dense"))},
        outputs=names,
        dtype="float64",
        seed=1,
    )
    return nn.ComputationGraph(conf)


def slope(output):
    """Return the derivative of the squared error to the output: each is divided by the columns."""
    return 2.0 / 3.0 * (output - Y)


@pytest.mark.parametrize("mode", ["NONE", "ENABLED"])
def test_the_slope_of_the_loss_gives_what_the_loss_gives(mode):
    net = chain(mode)
    table, below = net.calculate_gradients(X, Y)
    activations = net.feed_forward(X, training=True, keep_inputs=True)
    gradient, epsilon = net.backprop_gradient(slope(activations[-1]))
    assert [a.shape for a in activations] == [(6, 4), (6, 5), (6, 3)]
    np.testing.assert_allclose(gradient, np.concatenate([g.ravel("F") for g in table.values()]))
    np.testing.assert_allclose(epsilon, below)


def test_a_graph_takes_an_error_per_output():
    net = graph(2)
    _, want = net.compute_gradient_and_score(MultiDataSet([X], [Y, Y]))
    activations = net.feed_forward(X, training=True, keep_inputs=True)
    errors = [slope(activations[name]) for name in ("out0", "out1")]
    gradient, (below,) = net.backprop_gradient(*errors)
    np.testing.assert_allclose(gradient, want)
    _, (epsilon,) = net.calculate_gradients([X], [Y, Y])
    np.testing.assert_allclose(below, epsilon)
    assert net.feed_forward(X).keys() == activations.keys() == {"in", "dense", "out0", "out1"}


def test_series_are_masked_as_in_the_forward_pass():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 2, 5))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0.0]])
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.LSTM(n_in=4, n_out=3),
            nn.RnnOutputLayer(n_in=3, n_out=2, loss="l2", activation="identity"),
        ],
        dtype="float64",
        seed=1,
    )
    net = nn.MultiLayerNetwork(conf)
    _, want = net.compute_gradient_and_score(DataSet(x, y, mask, mask))
    out = net.feed_forward(x, training=True, features_mask=mask, labels_mask=mask, keep_inputs=True)[-1]
    gradient, _ = net.backprop_gradient(2.0 * (out - y))
    np.testing.assert_allclose(gradient, want)


def test_every_backward_pass_needs_a_forward_pass():
    net = chain()
    with pytest.raises(RuntimeError, match="must come first"):
        net.backprop_gradient(Y)
    net.feed_forward(X, training=True, keep_inputs=True)
    net.backprop_gradient(Y)
    with pytest.raises(RuntimeError, match="must come first"):
        net.backprop_gradient(Y)


def test_the_network_goes_on_as_if_nothing_had_been():
    net, other = chain(), chain()
    for each in (net, other):
        each.fit(X, Y)
    out = net.feed_forward(X, training=True, keep_inputs=True)[-1]
    assert net.output(X).tobytes() == other.output(X).tobytes()
    net.backprop_gradient(slope(out))
    for each in (net, other):
        each.fit(X, Y)
    assert net.params().tobytes() == other.params().tobytes()


def test_what_does_not_fit_is_refused():
    net = chain()
    net.feed_forward(X, training=True, keep_inputs=True)
    with pytest.raises(ValueError, match=r"epsilon .*\[6, 3\]"):
        net.backprop_gradient(Y[:, :2])
    two = graph(2)
    two.feed_forward(X, training=True, keep_inputs=True)
    with pytest.raises(ValueError, match="2 arrays of epsilons"):
        two.backprop_gradient(Y)
