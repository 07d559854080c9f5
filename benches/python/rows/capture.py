"""NumPy's own allocations, captured."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from benches.python.model import Bar, Check, Row, Side, Sides

from .scopes import LOCK, lock
from .stage import DTYPES, Stage, np, size_of

COUNT = 10**5


def rows() -> list[Row]:
    """Return the rows of capture."""
    path = "with ws.notify_scope_entered(capture_numpy=True):"
    return [
        Row("capture", path, "", "", LOCK, Bar(2.0), scope_sides, needs="capture"),
        *(
            Row(
                "capture",
                "np.empty(n, dtype) inside",
                size_of(COUNT),
                dtype,
                "outside",
                Bar(1.0),
                partial(empty_sides, dtype),
                needs="capture",
            )
            for dtype in DTYPES
        ),
    ]


def scope_sides(stack: ExitStack) -> Sides:
    """Make the sides of an empty scope that captures."""
    stage = Stage(stack)
    code = "with ws.notify_scope_entered(capture_numpy=True):\n    pass"
    with stage.turn as ws:
        ws.empty((16,))
    return Sides(Side(code, {"ws": stage.turn}), lock(), check=Check.NOTHING)


def empty_sides(dtype: str, stack: ExitStack) -> Sides:
    """Make the sides of an array without values."""
    stage = Stage(stack)
    names = {"np": np, "n": COUNT, "dtype": np.dtype(dtype).type}
    code = "np.empty(n, dtype)"

    def captured() -> Any:
        return stage.turn.notify_scope_entered(capture_numpy=True)

    return Sides(Side(code, names, captured), Side(code, names), check=Check.KIND)
