"""Entering and leaving, against a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from benches.python.model import Bar, Check, Row, Side, Sides

from .stage import DTYPES, Stage, np

LOCK = "with Lock()"


def rows() -> list[Row]:
    """Return the rows of scopes."""
    entering = {
        "with ws:": Bar(0.75),
        "with ws.notify_scope_entered():": Bar(0.85),
    }
    return [
        *(Row("scope", code, "", "", LOCK, bar, against_lock(code)) for code, bar in entering.items()),
        *(lease_row(dtype) for dtype in DTYPES),
        *(leaving_row(dtype) for dtype in DTYPES),
    ]


def lock() -> Side:
    """Return the side of an empty block under a lock."""
    return Side("with lock:\n    pass", {"lock": threading.Lock()})


def against_lock(code: str) -> Callable[[ExitStack], Sides]:
    """Return how the sides of an empty scope are made."""

    def make(stack: ExitStack) -> Sides:
        stage = Stage(stack)
        with stage.turn as ws:
            ws.empty((16,))
        ours = Side(f"{code}\n    pass", {"ws": stage.turn})
        return Sides(ours, lock(), check=Check.NOTHING)

    return make


def lease_row(dtype: str) -> Row:
    """Return the row of a turn whose view outlives it, beyond one whose array does not."""
    path = "a view kept beyond its turn, less a turn without"
    return kept_view(dtype, path, "ws.empty(shape, dtype)", None)


def leaving_row(dtype: str) -> Row:
    """Return the row of leaving alone, where both sides make a view: 60 ns where `with Lock()` takes 120."""
    path = "leaving with a live lease, less without"
    return kept_view(dtype, path, "ws.empty(shape, dtype).numpy()", Bar(0.5))


def kept_view(dtype: str, path: str, without: str, bar: Bar | None) -> Row:
    """Return a row of what a living lease costs, in turns of `with Lock()`."""

    def make(stack: ExitStack) -> Sides:
        names = {"ws": Stage(stack).turn, "shape": (32, 128), "dtype": np.dtype(dtype).type}
        ours = Side("with ws:\n    v = ws.empty(shape, dtype).numpy()", names)
        base = Side(f"with ws:\n    {without}", names)
        return Sides(ours, lock(), base, check=Check.NOTHING)

    return Row("scope", path, "32 x 128", dtype, LOCK, bar, make)
