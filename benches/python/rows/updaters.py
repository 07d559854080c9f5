"""A step of Adam with a name for every intermediate, where plain NumPy takes page faults."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

import ndarena
from benches.python.model import Bar, Place, Row, Side, Sides

from .stage import DTYPES, Stage, size_of, values

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
CHECKED_STEPS = 3


def rows() -> list[Row]:
    """Return the rows of updaters."""
    bar = Bar(0.3, faulting_peer=True)
    return [row for dtype in DTYPES for row in rows_of(dtype, bar)]


def rows_of(dtype: str, bar: Bar) -> list[Row]:
    """Return the rows of one dtype: in workspaces, captured, and against hand-written code."""

    def row(n: int, path: str, peer: str, bar: Bar | None, **fields: Any) -> Row:
        where = ", worker thread" if fields.get("in_thread") else ""
        make = partial(sides, n, dtype, path, peer)
        return Row("updater", path + where, size_of(n), dtype, peer, bar, make, Place.FRESH, **fields)

    small, large = 10**5, 10**6
    return [
        row(small, IN_WORKSPACE, "NumPy", bar),
        row(large, IN_WORKSPACE, "NumPy", bar, in_thread=True),
        row(small, CAPTURED, "NumPy", bar, needs="capture"),
        row(large, CAPTURED, "NumPy", bar, in_thread=True, needs="capture"),
        *(
            row(n, IN_WORKSPACE, peer, None, in_thread=n == large)
            for n in (small, large)
            for peer in (TWO_BUFFERS, BUFFER_PER_NAME)
        ),
    ]


IN_WORKSPACE = "Adam, state in an outer workspace"
CAPTURED = "Adam, captured"
TWO_BUFFERS, BUFFER_PER_NAME = "NumPy, out=", "NumPy, out= with a buffer per name"


def data(n: int, dtype: str) -> dict[str, Any]:
    """Return parameters, moments and a gradient."""
    return {
        "p": values(n, dtype),
        "m": values(n, dtype, 1),
        "v": values(n, dtype, 2),
        "g": values(n, dtype, 3),
    }


def step(p: Any, m: Any, v: Any, g: Any) -> None:
    """Update in place; all intermediates are alive until the end."""
    m_old = m * BETA1
    m_new = g * (1 - BETA1)
    square = g * g
    v_old = v * BETA2
    v_new = square * (1 - BETA2)
    m[...] = m_old + m_new
    v[...] = v_old + v_new
    m_hat = m * (1 / (1 - BETA1))
    v_hat = v * (1 / (1 - BETA2))
    root = np.sqrt(v_hat)
    divisor = root + EPSILON
    change = m_hat / divisor
    scaled = change * RATE
    p -= scaled


def by_hand(p: Any, m: Any, v: Any, g: Any, s: Any, t: Any) -> None:
    """Do the same with two buffers."""
    np.multiply(m, BETA1, out=m)
    np.multiply(g, 1 - BETA1, out=s)
    np.add(m, s, out=m)
    np.multiply(g, g, out=s)
    np.multiply(v, BETA2, out=v)
    np.multiply(s, 1 - BETA2, out=s)
    np.add(v, s, out=v)
    np.multiply(m, 1 / (1 - BETA1), out=s)
    np.multiply(v, 1 / (1 - BETA2), out=t)
    np.sqrt(t, out=t)
    np.add(t, EPSILON, out=t)
    np.divide(s, t, out=s)
    np.multiply(s, RATE, out=s)
    np.subtract(p, s, out=p)


def with_buffers(p: Any, m: Any, v: Any, g: Any, b: Any) -> None:
    """Do the same with a buffer for every name: what moves the same bytes, and takes no memory."""
    m_old = np.multiply(m, BETA1, out=b[0])
    m_new = np.multiply(g, 1 - BETA1, out=b[1])
    square = np.multiply(g, g, out=b[2])
    v_old = np.multiply(v, BETA2, out=b[3])
    v_new = np.multiply(square, 1 - BETA2, out=b[4])
    np.add(m_old, m_new, out=m)
    np.add(v_old, v_new, out=v)
    m_hat = np.multiply(m, 1 / (1 - BETA1), out=b[5])
    v_hat = np.multiply(v, 1 / (1 - BETA2), out=b[6])
    root = np.sqrt(v_hat, out=b[7])
    divisor = np.add(root, EPSILON, out=b[8])
    change = np.divide(m_hat, divisor, out=b[9])
    scaled = np.multiply(change, RATE, out=b[10])
    np.subtract(p, scaled, out=p)


def sides(n: int, dtype: str, path: str, peer: str, stack: ExitStack) -> Sides:
    """Make the sides."""
    ours = captured(n, dtype) if path == CAPTURED else in_workspace(n, dtype, Stage(stack))
    if peer == "NumPy":
        return Sides(ours, plain(n, dtype, "step(p, m, v, g)", {"step": step}))
    if peer == BUFFER_PER_NAME:
        buffers = {"step": with_buffers, "b": [np.zeros(n, dtype) for _ in range(11)]}
        return Sides(ours, plain(n, dtype, "step(p, m, v, g, b)", buffers))
    scratch = {"s": np.empty(n, dtype), "t": np.empty(n, dtype)}
    hand = {"step": by_hand, **scratch}
    return Sides(ours, plain(n, dtype, "step(p, m, v, g, s, t)", hand))


def plain(n: int, dtype: str, code: str, names: dict[str, Any]) -> Side:
    """Return a side on plain arrays."""

    def result() -> list[Any]:
        own = data(n, dtype)
        for _ in range(CHECKED_STEPS):
            exec(code, {**names, **own})  # noqa: S102 - the code above
        return [own["p"], own["m"], own["v"]]

    return Side(code, {**names, **data(n, dtype)}, result=result)


def captured(n: int, dtype: str) -> Side:
    """Return the side whose plain arrays lie in a workspace's memory."""
    code = "with ndarena.capture_numpy():\n    step(p, m, v, g)"
    return plain(n, dtype, code, {"step": step, "ndarena": ndarena})


def in_workspace(n: int, dtype: str, stage: Stage) -> Side:
    """Return the side whose state lives in an outer workspace; the gradient comes from outside."""

    def names() -> dict[str, Any]:
        own = data(n, dtype)
        g = own.pop("g")
        return {**stage.keep_all(own), "g": g}

    def result() -> list[Any]:
        p, m, v, g = names().values()
        for _ in range(CHECKED_STEPS):
            with stage.turn as ws:
                step(p, m, v, ws.array(g))
        return [p, m, v]

    code = "with ws:\n    step(p, m, v, ws.array(g))"
    return Side(code, {"step": step, "ws": stage.turn, **names()}, result=result)
