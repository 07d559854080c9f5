"""What `fit` and `output` of a network take, against the same step written by hand."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena import nn
from ndarena.data import DataSet

from .networks import CHECKED_STEPS, LARGE, RATE, SMALL, Shape, data, peer_side, torch_data

FIT = "MultiLayerNetwork.fit(dataset)"
OUTPUT = "MultiLayerNetwork.output(x)"
PARAMETERS = {"w1": "0_W", "b1": "0_b", "w2": "1_W", "b2": "1_b"}


def rows() -> list[Row]:
    """Return the rows of training and inference."""
    fits = {LARGE: {"NumPy, out=": 1.08, "torch": 0.9}, SMALL: {"NumPy": 2.0, "torch": 0.5}}
    single = Shape(SMALL.inputs, SMALL.hidden, SMALL.classes, 1)
    return [
        *(
            row(FIT, shape, peer, bar, fit_sides)
            for shape, bars in fits.items()
            for peer, bar in bars.items()
        ),
        *mode_rows(),
        *memory_rows(),
        *(row(OUTPUT, single, peer, bar, output_sides) for peer, bar in {"NumPy": 2.2, "torch": 1.2}.items()),
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


def row(path: str, shape: Shape, peer: str, bar: float, sides: Any) -> Row:
    """Return one row."""
    make = partial(sides, shape, peer)
    needs = "torch" if peer == "torch" else None
    return Row("fit", path, str(shape), "float32", peer, Bar(bar), make, Place.FRESH, needs=needs)


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
    return Sides(ours, peer_side(shape, "float32", peer), check=Check.CLOSE)


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
    plain = data(shape, "float32") if peer == "NumPy" else torch_data(shape, "float32")
    del plain["y"]
    function = forward if peer == "NumPy" else torch_forward
    return Sides(ours, Side("forward(x, w1, b1, w2, b2)", {"forward": function, **plain}), check=Check.CLOSE)
