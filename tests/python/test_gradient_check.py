"""check_gradients: right networks pass, wrong ones are told where."""

import numpy as np
import pytest
from nn_support import chain, examples

from ndarena import nn
from ndarena.data import DataSet, MultiDataSet

RNG = np.random.default_rng(0)
Y = np.eye(3)[[0, 2, 1, 1]]


def network(*layers, **fields):
    fields = {"dtype": "float64", "seed": 3, "l2": 0.1, "activation": "tanh", **fields}
    return nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, **fields))


def images():
    layers = [
        nn.ConvolutionLayer(n_out=2, kernel_size=(2, 2)),
        nn.BatchNormalization(),
        nn.SubsamplingLayer(pooling_type="avg", kernel_size=(2, 2), stride=(1, 1)),
        nn.GlobalPoolingLayer(pooling_type="avg"),
        nn.OutputLayer(n_out=3),
    ]
    input_type = nn.InputType.convolutional(height=4, width=4, channels=2)
    return network(*layers, input_type=input_type), DataSet(RNG.normal(size=(4, 2, 4, 4)), Y)


def series():
    layers = [nn.LSTM(n_out=3), nn.RnnOutputLayer(n_out=2, loss="mse", activation="identity")]
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    data = DataSet(RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 2, 4)), labels_mask=mask)
    return network(*layers, input_type=nn.InputType.recurrent(3)), data


def graph():
    vertices = {
        "a": (nn.DenseLayer(n_out=3), "x"),
        "b": (nn.BatchNormalization(), "z"),
        "scaled": (nn.ScaleVertex(2.0), "b"),
        "y": (nn.OutputLayer(n_out=3), "a", "scaled"),
        "also": (nn.OutputLayer(n_out=2, loss="mse", activation="tanh"), "a"),
    }
    conf = nn.ComputationGraphConfiguration(
        inputs=["x", "z"],
        input_types=[nn.InputType.feed_forward(4), nn.InputType.feed_forward(2)],
        vertices=vertices,
        outputs=["y", "also"],
        dtype="float64",
        l1=0.1,
        seed=3,
    )
    features, labels = [RNG.normal(size=(4, 4)), RNG.normal(size=(4, 2))], [Y, RNG.normal(size=(4, 2))]
    return nn.ComputationGraph(conf), MultiDataSet(features, labels)


def rows():
    return chain(5, 4, 3, dtype="float64", weight_decay=0.5), DataSet(RNG.normal(size=(4, 5)), Y)


@pytest.mark.parametrize("make", [rows, images, series, graph])
def test_right_networks_pass_and_stay_as_they_are(make):
    net, data = make()
    before = net.params().copy()
    found = nn.check_gradients(net, data)
    assert found, str(found)
    assert found.max_relative_error < 1e-5
    statistics = sum(
        part["length"] for part in net.param_layout if part["name"] in {"1_mean", "1_var", "b_mean", "b_var"}
    )
    assert found.checked == net.num_params() - statistics
    np.testing.assert_array_equal(net.params(), before)
    assert nn.check_gradients(net, data, max_per_param=2, seed=1).checked <= 2 * len(net.param_layout)


class Wrong(nn.DenseLayer):
    """A dense layer that forgets one derivative."""

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        below = super().backprop_gradient(epsilon, workspace_mgr=workspace_mgr)
        self.gradient_table["W"][1, 2] *= 2.0
        return below


def test_a_wrong_derivative_is_named():
    net = network(nn.DenseLayer(n_in=5, n_out=4), Wrong(n_in=4, n_out=4), nn.OutputLayer(n_in=4, n_out=3))
    found = nn.check_gradients(net, DataSet(RNG.normal(size=(4, 5)), Y))
    assert not found
    (wrong,) = found.mismatches
    assert (wrong.name, wrong.place) == ("1_W", (1, 2))
    assert wrong.gradient == pytest.approx(2 * wrong.difference, rel=1e-5)
    assert found.max_relative_error == wrong.relative_error == pytest.approx(1 / 3, rel=1e-4)
    assert "1_W[1, 2]: gradient" in str(found)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (lambda: chain(5, 4, 3), "float64, not float32"),
        (lambda: chain(5, 4, 3, dtype="float64", dropout=0.5), r"layer 0 \(DenseLayer\) draws"),
        (lambda: chain(5, 4, 3, dtype="float64", weight_noise=nn.DropConnect(0.5)), "draws numbers"),
    ],
)
def test_what_cannot_be_compared_is_refused(net, words):
    with pytest.raises(ValueError, match=words):
        nn.check_gradients(net(), DataSet(*examples(4, 5, 3, "float64")))
