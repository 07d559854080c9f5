"""What `fit` and `output` of a network take, against a step written by hand, and against torch's network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena import nn
from ndarena.data import DataSet

from .networks import CHECKED_STEPS, LARGE, RATE, SMALL, Shape, data, peer_side, torch_data

BY_HAND = "torch, by hand"
FIT = "MultiLayerNetwork.fit(dataset)"
OUTPUT = "MultiLayerNetwork.output(x)"
PARAMETERS = {"w1": "0_W", "b1": "0_b", "w2": "1_W", "b2": "1_b"}


def rows() -> list[Row]:
    """Return the rows of training and inference."""
    fits: dict[Shape, dict[str, float | None]] = {
        LARGE: {"NumPy, out=": 1.08, "torch": 0.9, BY_HAND: None},
        SMALL: {"NumPy": 2.0, "torch": 0.5, BY_HAND: None},
    }
    outputs = {"NumPy": 2.2, "torch": 1.2, BY_HAND: None}
    single = Shape(SMALL.inputs, SMALL.hidden, SMALL.classes, 1)
    return [
        *(
            row(FIT, shape, peer, bar, fit_sides)
            for shape, bars in fits.items()
            for peer, bar in bars.items()
        ),
        *mode_rows(),
        *memory_rows(),
        *(row(OUTPUT, single, peer, bar, output_sides) for peer, bar in outputs.items()),
    ]


def mode_rows() -> list[Row]:
    """Return the rows of the workspace modes, which are published: how many examples each learns a second."""
    return [
        Row(
            "fit",
            f"{FIT}, mode {mode}",
            str(shape),
            "float32",
            "mode NONE",
            None,
            partial(mode_sides, shape, mode),
            Place.FRESH,
            examples=shape.batch,
        )
        for shape in (LARGE, SMALL)
        for mode in ("ENABLED", "SINGLE", "SEPARATE")
    ]


def memory_rows() -> list[Row]:
    """Return the rows of what training takes above its data."""
    bars = {"ENABLED": 1.15, "SEPARATE": 1.05}
    path = "peak resident kB of training above the data, mode "
    return [
        Row(
            "fit",
            path + mode,
            "784-3x1000-10, batch 128",
            "float32",
            "mode NONE",
            Bar(bar),
            no_sides,
            Place.RESIDENT,
        )
        for mode, bar in bars.items()
    ]


def no_sides(_: ExitStack) -> Sides:
    """Refuse: processes are compared, not turns."""
    raise NotImplementedError("measured by a module of its own")


def row(path: str, shape: Shape, peer: str, limit: float | None, sides: Any) -> Row:
    """Return one row."""
    make = partial(sides, shape, peer)
    needs = "torch" if peer.startswith("torch") else None
    bar = None if limit is None else Bar(limit)
    return Row("fit", path, str(shape), "float32", peer, bar, make, Place.FRESH, needs=needs)


def network(shape: Shape, mode: str = "ENABLED") -> tuple[nn.MultiLayerNetwork, dict[str, Any]]:
    """Return the network with the parameters of the peers, and the batch."""
    names = data(shape, "float32")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # SINGLE and SEPARATE
        conf = nn.MultiLayerConfiguration(
            layers=[
                nn.DenseLayer(n_in=shape.inputs, n_out=shape.hidden, activation="relu"),
                nn.OutputLayer(n_in=shape.hidden, n_out=shape.classes),
            ],
            updater=nn.Sgd(RATE),
            training_workspace_mode=mode,
        )
    net = nn.MultiLayerNetwork(conf)
    table = net.param_table()
    for name, theirs in PARAMETERS.items():
        table[theirs][...] = names.pop(name)
    return net, names


def fit_sides(shape: Shape, peer: str, _: ExitStack) -> Sides:
    """Make the sides of a training step."""
    net, names = network(shape)

    def result() -> list[Any]:
        trained, batch = network(shape)
        for _ in range(CHECKED_STEPS):
            trained.fit(DataSet(batch["x"], batch["y"]))
        table = trained.param_table()
        return [np.array(table[name]) for name in PARAMETERS.values()]

    ours = Side("net.fit(batch)", {"net": net, "batch": DataSet(**renamed(names))}, result=result)
    if peer == "torch":
        return Sides(ours, torch_side(shape), check=Check.CLOSE)
    theirs = peer_side(shape, "float32", "torch" if peer == BY_HAND else peer)
    return Sides(ours, theirs, check=Check.CLOSE)


def torch_side(shape: Shape) -> Side:
    """Return the step of torch's network: it records a graph, goes back along it, and has an optimizer."""

    def result() -> list[Any]:
        step, parameters = torch_fit(shape)
        for _ in range(CHECKED_STEPS):
            step()
        return [parameter.detach().numpy().T for parameter in parameters]

    return Side("step()", {"step": torch_fit(shape)[0]}, result=result)


def torch_fit(shape: Shape) -> tuple[Callable[[], None], list[Any]]:
    """Return a step, and the parameters that it moves, a row per unit."""
    import torch  # noqa: PLC0415 - only where it is installed

    net, names = torch_network(shape)
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    x, classes = names["x"], names["y"].argmax(dim=1)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), classes).backward()
        optimizer.step()

    return step, list(net.parameters())


def torch_network(shape: Shape) -> tuple[Any, dict[str, Any]]:
    """Return torch's network without the softmax, with the parameters of the peers, and the batch."""
    import torch  # noqa: PLC0415 - only where it is installed

    names = torch_data(shape, "float32")
    hidden = torch.nn.Linear(shape.inputs, shape.hidden)
    output = torch.nn.Linear(shape.hidden, shape.classes)
    with torch.no_grad():
        for part, name in (
            (hidden.weight, "w1"),
            (hidden.bias, "b1"),
            (output.weight, "w2"),
            (output.bias, "b2"),
        ):
            part.copy_(names.pop(name).t())
    return torch.nn.Sequential(hidden, torch.nn.ReLU(), output), names


def torch_output(shape: Shape) -> Callable[[Any], Any]:
    """Return what answers with torch's network."""
    import torch  # noqa: PLC0415 - only where it is installed

    net = torch.nn.Sequential(torch_network(shape)[0], torch.nn.Softmax(dim=1))

    def output(x: Any) -> Any:
        with torch.inference_mode():
            return net(x)

    return output


def mode_sides(shape: Shape, mode: str, _: ExitStack) -> Sides:
    """Make the sides of a training step in two modes, which learn the same bits."""

    def side(mode: str) -> Side:
        net, names = network(shape, mode)
        batch = DataSet(**renamed(names))

        def result() -> Any:
            trained, _ = network(shape, mode)
            for _ in range(CHECKED_STEPS):
                trained.fit(batch)
            return trained.params().copy()

        return Side("net.fit(batch)", {"net": net, "batch": batch}, result=result)

    return Sides(side(mode), side("NONE"))


def renamed(names: dict[str, Any]) -> dict[str, Any]:
    """Return a batch under the names of a data set."""
    return {"features": names["x"], "labels": names["y"]}


def forward(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Go forward as one writes it."""
    z = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def torch_forward(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Do the same with torch's tensors."""
    return ((x @ w1 + b1).clamp(min=0) @ w2 + b2).softmax(dim=1)


def output_sides(shape: Shape, peer: str, _: ExitStack) -> Sides:
    """Make the sides of an answer to one example."""
    net, names = network(shape)
    ours = Side("net.output(x)", {"net": net, "x": names["x"]})
    if peer == "torch":
        x = torch_data(shape, "float32")["x"]
        return Sides(ours, Side("output(x)", {"output": torch_output(shape), "x": x}), check=Check.CLOSE)
    plain = data(shape, "float32") if peer == "NumPy" else torch_data(shape, "float32")
    del plain["y"]
    function = forward if peer == "NumPy" else torch_forward
    return Sides(ours, Side("forward(x, w1, b1, w2, b2)", {"forward": function, **plain}), check=Check.CLOSE)
