"""Networks of images: flat memory, gradients, masks."""

import dataclasses

import numpy as np
import pytest
from support import measure

import ndarena
from ndarena import nn
from ndarena.nn import InputType


def images(batch=2, channels=3, height=7, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, channels, height, width))


# In a network.


def lenet(**fields):
    layers = [
        nn.ConvolutionLayer(n_out=4, kernel_size=3, activation="relu"),
        nn.SubsamplingLayer(kernel_size=2),
        nn.ConvolutionLayer(n_out=5, kernel_size=2, activation="tanh"),
        nn.SubsamplingLayer(kernel_size=2, pooling_type="avg"),
        nn.DenseLayer(n_out=6),
        nn.OutputLayer(n_out=3),
    ]
    settings = {
        "input_type": InputType.convolutional(10, 11, 2),
        "updater": nn.Adam(0.01),
        "seed": 4,
        **fields,
    }
    return nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, **settings))


def digits(batch=6, dtype="float32"):
    rng = np.random.default_rng(5)
    return rng.normal(size=(batch, 2, 10, 11)).astype(dtype), np.eye(3, dtype=dtype)[np.arange(batch) % 3]


@pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")
@pytest.mark.parametrize("mode", ["ENABLED", "SINGLE", "SEPARATE"])
def test_a_network_of_images_trains_with_flat_memory(mode):
    net, (x, y) = lenet(training_workspace_mode=mode, inference_workspace_mode=mode), digits()

    def turn():
        net.fit(x, y)
        net.output(x)

    newly_faulted, newly_held = measure(turn, warm=100, turns=20)
    assert (newly_faulted, newly_held) == (0, 0)
    assert not any(ws.spilled_size for ws in ndarena.get_all_workspaces_for_current_thread())


@pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")
def test_modes_differ_in_memory_as_they_promise():
    sizes, (x, y) = {}, digits(32)
    for mode in ("SEPARATE", "ENABLED", "SINGLE"):
        net = lenet(training_workspace_mode=mode, inference_workspace_mode=mode)
        for _ in range(4):
            net.fit(x, y)
            net.output(x)
        workspaces = ndarena.get_all_workspaces_for_current_thread()
        sizes[mode] = sum(ws.current_size for ws in workspaces)
        ndarena.destroy_all_workspaces_for_current_thread()
    assert 0 < sizes["SEPARATE"] <= sizes["ENABLED"] < sizes["SINGLE"]


def test_the_gradient_of_the_input_is_computed_only_where_it_is_asked_for():
    net, (x, y) = lenet(dtype="float64"), digits(dtype="float64")
    asked = []
    plain = type(net.layers[0]).backprop_gradient

    class Watched(nn.ConvolutionLayer):
        def backprop_gradient(self, epsilon, *, workspace_mgr):
            asked.append(self.epsilon_is_read)
            return plain(self, epsilon, workspace_mgr=workspace_mgr)

    first = Watched(n_out=4, kernel_size=3, activation="relu")
    layers = [first, *net.configuration.layers[1:]]
    net = nn.MultiLayerNetwork(dataclasses.replace(net.configuration, layers=layers))
    net.fit(x, y)
    table, below = net.calculate_gradients(x, y)
    assert asked == [False, True]
    assert below.shape == x.shape and below.any() and "0_W" in table


def of_pixels(x, y):
    """Make a network whose output is an image."""
    layers = [
        nn.ConvolutionLayer(n_out=4, kernel_size=3, convolution_mode="same", activation="tanh"),
        nn.ConvolutionLayer(n_out=y.shape[1], kernel_size=1, activation="identity"),
        nn.CnnLossLayer(activation="softmax"),
    ]
    given = InputType.convolutional(*x.shape[2:], x.shape[1])
    return nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=layers, input_type=given, dtype="float64", seed=2, updater=nn.Adam(0.01)
        )
    )


def test_pixels_are_told_apart():
    x = images(8, 1)
    y = np.concatenate([x > 0.2, x <= 0.2], axis=1).astype(float)
    net = of_pixels(x, y)
    net.fit(x, y, epochs=150)
    assert np.mean(net.output(x).argmax(axis=1) == y.argmax(axis=1)) > 0.95


@pytest.mark.parametrize("shape", [(4, 1), (4, 7, 6), (4, 1, 7, 6)])
def test_examples_that_are_masked_add_nothing(shape):
    x = images(4)
    y = np.eye(3)[np.random.default_rng(3).integers(0, 3, (4, 7, 6))].transpose(0, 3, 1, 2)
    mask = np.ones(shape)
    mask[1] = 0.0
    kept, net = [0, 2, 3], of_pixels(x, y)
    masked, fewer = ndarena.data.DataSet(x, y, None, mask), ndarena.data.DataSet(x[kept], y[kept])
    assert np.isclose(net.score(masked) * 4, net.score(fewer) * 3)
    gradients = [net.compute_gradient_and_score(data)[1] for data in (masked, fewer)]
    assert np.allclose(*gradients, rtol=1e-10)
    assert not net.output(x, labels_mask=mask)[1].any()


@pytest.mark.parametrize(
    ("shape", "height", "width"), [((3, 1, 7, 6), 5, 5), ((3, 1, 7, 1), 5, 6), ((3, 1, 1, 6), 7, 5)]
)
def test_masks_of_images_go_through_a_network(shape, height, width):
    layers = [
        nn.ConvolutionLayer(n_out=4, kernel_size=2, activation="tanh"),
        nn.GlobalPoolingLayer(pooling_type="avg"),
        nn.OutputLayer(n_out=3),
    ]
    conf = nn.MultiLayerConfiguration(
        layers=layers, input_type=InputType.convolutional(7, 6, 3), dtype="float64", seed=2
    )
    net, x, mask = nn.MultiLayerNetwork(conf), images(3), np.ones(shape)
    mask[:, :, 4:] = 0.0
    mask[..., 4:] = 0.0
    seen = x[:, :, :height, :width]
    assert np.allclose(net.output(x, features_mask=mask), net.output(seen))
