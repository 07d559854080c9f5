"""What `fit` of a LeNet takes, against torch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena import nn
from ndarena.data import DataSet

from .networks import CHECKED_STEPS, RATE
from .training import FIT

BATCH = 64
SHAPE = f"LeNet 5x5x20, 5x5x50, 500 on 28x28, batch {BATCH}"


def rows() -> list[Row]:
    """Return the row of images."""
    return [Row("fit", FIT, SHAPE, "float32", "torch", Bar(1.5), sides, Place.FRESH, needs="torch")]


def network() -> nn.MultiLayerNetwork:
    """Return a LeNet, always with the same parameters."""
    return nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[
                nn.ConvolutionLayer(n_out=20, kernel_size=5),
                nn.SubsamplingLayer(kernel_size=2),
                nn.ConvolutionLayer(n_out=50, kernel_size=5),
                nn.SubsamplingLayer(kernel_size=2),
                nn.DenseLayer(n_out=500),
                nn.OutputLayer(n_out=10),
            ],
            input_type=nn.InputType.convolutional(height=28, width=28, channels=1),
            activation="relu",
            updater=nn.Sgd(RATE),
            seed=7,
        )
    )


def batch() -> DataSet:
    """Return images and labels."""
    random = np.random.default_rng(7)
    images = random.random((BATCH, 1, 28, 28)).astype(np.float32)
    return DataSet(images, np.eye(10, dtype=np.float32)[random.integers(0, 10, BATCH)])


def sides(_: ExitStack) -> Sides:
    """Make the sides of a training step."""

    def result() -> list[Any]:
        trained = network()
        for _ in range(CHECKED_STEPS):
            trained.fit(batch())
        return list(trained.param_table().values())

    ours = Side("net.fit(batch)", {"net": network(), "batch": batch()}, result=result)
    return Sides(ours, torch_side(), check=Check.CLOSE)


def torch_side() -> Side:
    """Return the step with torch: its convolutions, its graph, a step down the gradient."""

    def result() -> list[Any]:
        x, y, parameters = torch_data()
        for _ in range(CHECKED_STEPS):
            torch_step(x, y, parameters)
        return [parameter.detach().numpy() for parameter in parameters]

    x, y, parameters = torch_data()
    names = {"step": torch_step, "x": x, "y": y, "parameters": parameters}
    return Side("step(x, y, parameters)", names, result=result)


def torch_data() -> tuple[Any, Any, list[Any]]:
    """Return the batch and the parameters as tensors, the parameters in our order."""
    import torch  # noqa: PLC0415 - only where it is installed

    torch.set_num_threads(1)
    parameters = [torch.tensor(np.array(p), requires_grad=True) for p in network().param_table().values()]
    data = batch()
    return torch.from_numpy(data.features), torch.from_numpy(data.labels), parameters


def torch_step(x: Any, y: Any, parameters: list[Any]) -> None:
    """Do what `fit` does with torch's tensors."""
    import torch  # noqa: PLC0415 - only where it is installed

    f = torch.nn.functional
    b1, w1, b2, w2, w3, b3, w4, b4 = parameters
    h = f.max_pool2d(f.conv2d(x, w1, b1).relu(), 2)
    h = f.max_pool2d(f.conv2d(h, w2, b2).relu(), 2)
    z = (h.flatten(1) @ w3 + b3).relu() @ w4 + b4
    gradients = torch.autograd.grad(f.cross_entropy(z, y), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= RATE * gradient
