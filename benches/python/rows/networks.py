"""A training step of a small network, written as one writes it, with `out=`, and with torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides

from .stage import DTYPES, Stage

RATE = 1e-4
CHECKED_STEPS = 3


@dataclass(frozen=True)
class Shape:
    """Units of the three layers, and rows of a batch."""

    inputs: int
    hidden: int
    classes: int
    batch: int

    def __str__(self) -> str:
        """Return it as it stands in the table."""
        return f"{self.inputs}-{self.hidden}-{self.classes}, batch {self.batch}"


LARGE = Shape(784, 1000, 10, 128)
SMALL = Shape(64, 64, 10, 32)


def rows() -> list[Row]:
    """Return the rows of networks."""
    return [
        *rows_of(LARGE, "float32", {"NumPy": 1.03, "NumPy, out=": 1.05, "torch": 1.0}),
        *(row for dtype in DTYPES for row in rows_of(SMALL, dtype, {"NumPy": 1.0, "torch": 0.5})),
        *rows_of(SMALL, "float32", {"NumPy, out=": None}),
    ]


def rows_of(shape: Shape, dtype: str, limits: dict[str, float | None]) -> list[Row]:
    """Return the rows of one network, one for each peer."""
    return [
        Row(
            "network",
            "training step",
            str(shape),
            dtype,
            peer,
            None if limit is None else Bar(limit),
            partial(sides, shape, dtype, peer),
            Place.FRESH,
            needs="torch" if peer == "torch" else None,
        )
        for peer, limit in limits.items()
    ]


def data(shape: Shape, dtype: str) -> dict[str, Any]:
    """Return a batch and the first parameters."""
    random = np.random.default_rng(7)

    def normal(*size: int) -> np.ndarray[Any, Any]:
        drawn: np.ndarray[Any, Any] = random.standard_normal(size) / np.sqrt(size[0])
        return drawn.astype(dtype)

    return {
        "x": random.random((shape.batch, shape.inputs)).astype(dtype),
        "y": np.eye(shape.classes, dtype=dtype)[random.integers(0, shape.classes, shape.batch)],
        "w1": normal(shape.inputs, shape.hidden),
        "b1": np.zeros(shape.hidden, dtype),
        "w2": normal(shape.hidden, shape.classes),
        "b2": np.zeros(shape.classes, dtype),
    }


def step(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> None:
    """Go forward, back, and down the gradient: dense, ReLU, dense, softmax with cross entropy."""
    h = x @ w1 + b1
    a = np.maximum(h, 0)
    z = a @ w2 + b2
    e = np.exp(z - z.max(axis=1, keepdims=True))
    q = e / e.sum(axis=1, keepdims=True)
    dz = (q - y) * (1 / len(x))
    dw2 = a.T @ dz
    db2 = dz.sum(axis=0)
    dh = (dz @ w2.T) * (h > 0)
    dw1 = x.T @ dh
    db1 = dh.sum(axis=0)
    w1 -= dw1 * RATE
    b1 -= db1 * RATE
    w2 -= dw2 * RATE
    b2 -= db2 * RATE


def by_hand(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Callable[[], None]:
    """Return the step into buffers made once."""
    batch, dtype = len(x), x.dtype
    h, a, dh = (np.empty((batch, w1.shape[1]), dtype) for _ in range(3))
    z = np.empty((batch, w2.shape[1]), dtype)
    top = np.empty((batch, 1), dtype)
    positive = np.empty(h.shape, bool)
    dw1, db1, dw2, db2 = (np.empty_like(parameter) for parameter in (w1, b1, w2, b2))

    def forward() -> None:
        np.matmul(x, w1, out=h)
        np.add(h, b1, out=h)
        np.maximum(h, 0, out=a)
        np.matmul(a, w2, out=z)
        np.add(z, b2, out=z)
        np.max(z, axis=1, keepdims=True, out=top)
        np.subtract(z, top, out=z)
        np.exp(z, out=z)
        np.sum(z, axis=1, keepdims=True, out=top)
        np.divide(z, top, out=z)

    def turn() -> None:
        forward()
        np.subtract(z, y, out=z)
        np.multiply(z, 1 / batch, out=z)
        np.matmul(a.T, z, out=dw2)
        np.sum(z, axis=0, out=db2)
        np.matmul(z, w2.T, out=dh)
        np.greater(h, 0, out=positive)
        np.multiply(dh, positive, out=dh)
        np.matmul(x.T, dh, out=dw1)
        np.sum(dh, axis=0, out=db1)
        for parameter, gradient in ((w1, dw1), (b1, db1), (w2, dw2), (b2, db2)):
            np.multiply(gradient, RATE, out=gradient)
            np.subtract(parameter, gradient, out=parameter)

    return turn


def torch_step(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> None:
    """Do the same with torch's tensors: no graph is recorded."""
    h = x @ w1 + b1
    a = h.clamp(min=0)
    z = a @ w2 + b2
    dz = (z.softmax(dim=1) - y) * (1 / len(x))
    dw2 = a.T @ dz
    db2 = dz.sum(dim=0)
    dh = (dz @ w2.T) * (h > 0)
    dw1 = x.T @ dh
    db1 = dh.sum(dim=0)
    w1 -= dw1 * RATE
    b1 -= db1 * RATE
    w2 -= dw2 * RATE
    b2 -= db2 * RATE


def sides(shape: Shape, dtype: str, peer: str, stack: ExitStack) -> Sides:
    """Make the sides: ours copies the batch into its workspace in every step."""
    return Sides(
        ours(shape, dtype, Stage(stack)),
        peer_side(shape, dtype, peer),
        check=Check.CLOSE if peer == "torch" else Check.BITS,
    )


def ours(shape: Shape, dtype: str, stage: Stage) -> Side:
    """Return the step in a workspace; the parameters lie in an outer one."""
    ws = stage.turn

    def names() -> dict[str, Any]:
        plain = data(shape, dtype)
        batch = {name: plain.pop(name) for name in ("x", "y")}
        return {**batch, **stage.keep_all(plain)}

    def result() -> list[Any]:
        x, y, *parameters = names().values()
        for _ in range(CHECKED_STEPS):
            with ws:
                step(ws.array(x), ws.array(y), *parameters)
        return parameters

    code = "with ws:\n    step(ws.array(x), ws.array(y), w1, b1, w2, b2)"
    return Side(code, {"step": step, "ws": ws, **names()}, result=result)


def peer_side(shape: Shape, dtype: str, peer: str) -> Side:
    """Return the step on plain arrays."""
    if peer == "NumPy, out=":
        made = by_hand(**data(shape, dtype))
        return Side("step()", {"step": made}, result=lambda: result_by_hand(shape, dtype))
    function, names = step, partial(data, shape, dtype)
    if peer == "torch":
        function, names = torch_step, partial(torch_data, shape, dtype)

    def result() -> list[Any]:
        x, y, *parameters = names().values()
        for _ in range(CHECKED_STEPS):
            function(x, y, *parameters)
        return parameters

    return Side("step(x, y, w1, b1, w2, b2)", {"step": function, **names()}, result=result)


def torch_data(shape: Shape, dtype: str) -> dict[str, Any]:
    """Return the same numbers as tensors."""
    import torch  # noqa: PLC0415 - only where it is installed

    torch.set_num_threads(1)
    return {name: torch.from_numpy(x) for name, x in data(shape, dtype).items()}


def result_by_hand(shape: Shape, dtype: str) -> list[Any]:
    """Return the parameters after some steps with `out=`."""
    names = data(shape, dtype)
    turn = by_hand(**names)
    for _ in range(CHECKED_STEPS):
        turn()
    return [names[name] for name in ("w1", "b1", "w2", "b2")]
