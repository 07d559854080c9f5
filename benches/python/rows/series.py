"""What `fit` of an LSTM takes, against the same step with torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena import nn
from ndarena.data import DataSet

from .networks import CHECKED_STEPS, RATE

STEPS, BATCH, UNITS, CLASSES = 50, 32, 128, 10
FIT = "MultiLayerNetwork.fit(dataset) of an LSTM and a softmax of every step"
BLOCKS = (3, 1, 0, 2)
"""Where torch's input gate, forget gate, block input and output gate stand among ours."""


def rows() -> list[Row]:
    """Return the row of training."""
    size = f"{STEPS} steps x {BATCH} x {UNITS}"
    return [Row("fit", FIT, size, "float32", "torch", Bar(1.3), sides, Place.FRESH, needs="torch")]


def batch() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return series, and the class of every step."""
    random = np.random.default_rng(5)
    x = random.standard_normal((BATCH, UNITS, STEPS)).astype(np.float32)
    return x, random.integers(0, CLASSES, (BATCH, STEPS))


def network() -> nn.MultiLayerNetwork:
    """Return the network, always with the same parameters."""
    layers = [
        nn.LSTM(n_in=UNITS, n_out=UNITS, activation="tanh"),
        nn.RnnOutputLayer(n_in=UNITS, n_out=CLASSES),
    ]
    return nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, updater=nn.Sgd(RATE), seed=7))


def sides(_: ExitStack) -> Sides:
    """Make both sides."""
    return Sides(ours(), theirs(), check=Check.CLOSE)


def ours() -> Side:
    """Return the step of a network."""
    x, classes = batch()
    labels = np.eye(CLASSES, dtype=np.float32)[classes].transpose(0, 2, 1).copy()

    def result() -> list[Any]:
        trained = network()
        for _ in range(CHECKED_STEPS):
            trained.fit(DataSet(x, labels))
        return [np.array(part) for part in trained.param_table().values()]

    return Side("net.fit(batch)", {"net": network(), "batch": DataSet(x, labels)}, result=result)


def theirs() -> Side:
    """Return the step of torch's layers, from the same parameters."""

    def result() -> list[Any]:
        step, table = torch_step()
        for _ in range(CHECKED_STEPS):
            step()
        return table()

    return Side("step()", {"step": torch_step()[0]}, result=result)


def torch_step() -> tuple[Callable[[], None], Callable[[], list[Any]]]:
    """Return a step, and what gives its parameters as ours lie."""
    import torch  # noqa: PLC0415 - only where it is installed

    torch.set_num_threads(1)
    table = network().param_table()
    lstm, output = torch.nn.LSTM(UNITS, UNITS), torch.nn.Linear(UNITS, CLASSES)
    lstm.bias_hh_l0.requires_grad = False  # one bias is enough
    pairs = [
        (lstm.weight_ih_l0, "0_W"),
        (lstm.weight_hh_l0, "0_RW"),
        (lstm.bias_ih_l0, "0_b"),
        (output.weight, "1_W"),
        (output.bias, "1_b"),
    ]
    with torch.no_grad():
        lstm.bias_hh_l0.zero_()
        for theirs_, name in pairs:
            theirs_.copy_(torch.from_numpy(to_torch(name, table[name])))
    learned = [parameter for parameter, _ in pairs]
    optimizer = torch.optim.SGD(learned, RATE)
    x, classes = batch()
    series = torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))
    wanted = torch.from_numpy(classes.T.reshape(-1).copy())

    def step() -> None:
        optimizer.zero_grad()
        scores = output(lstm(series)[0]).reshape(-1, CLASSES)
        loss = torch.nn.functional.cross_entropy(scores, wanted, reduction="sum") / BATCH
        loss.backward()
        optimizer.step()

    return step, lambda: [from_torch(name, part.detach().numpy()) for part, name in pairs]


def to_torch(name: str, part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a parameter of ours as torch has it: a row per unit, blocks in its order."""
    rows_ = np.array(part.T, order="C")
    if not name.startswith("0_"):
        return rows_
    return np.concatenate([rows_[at * UNITS : (at + 1) * UNITS] for at in BLOCKS])


def from_torch(name: str, part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a parameter of torch's as we have it."""
    rows_ = np.array(part, order="C")
    if name.startswith("0_"):
        blocks = np.split(rows_, len(BLOCKS))
        rows_ = np.concatenate([blocks[BLOCKS.index(at)] for at in range(len(BLOCKS))])
    return np.asarray(rows_.T)
