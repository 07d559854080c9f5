"""Several operations at once: temporaries, and names for every step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides

from .operators import same
from .stage import DTYPES, Stage, operands, size_of, values

BARS = {1000: 0.6, 10**5: 1.0, 3 * 10**5: 1.02, 10**6: 1.02, 4 * 10**6: 1.0}
CODE = "a*b + a - b"
NAMED_BYTES = 8_000_000


def rows() -> list[Row]:
    """Return the rows of expressions."""
    return [row for dtype in DTYPES for row in rows_of(dtype)]


def rows_of(dtype: str) -> list[Row]:
    """Return the rows of one dtype."""

    def row(
        n: int, peer: str, make: Callable[[ExitStack], Sides], bar: Bar | None = None, **fields: Any
    ) -> Row:
        return Row("expression", CODE, size_of(n), dtype, peer, bar, make, **fields)

    def plain(n: int) -> Callable[[ExitStack], Sides]:
        return same(CODE, partial(operands, n, dtype))

    others = (1000, 10**5, 10**6)
    return [
        *(row(n, "NumPy", plain(n), Bar(limit)) for n, limit in BARS.items()),
        *(row(n, "NumPy, out=", by_hand(n, dtype)) for n in others),
        *(row(n, "NumPy, tuned malloc", plain(n), place=Place.TUNED) for n in others[1:]),
        *(row(n, "torch", by_torch(n, dtype), needs="torch") for n in others),
        named_row(dtype),
    ]


def by_hand(n: int, dtype: str) -> Callable[[ExitStack], Sides]:
    """Return how to make sides whose peer reuses one buffer."""

    def out(a: Any, b: Any, t: Any) -> Any:
        np.multiply(a, b, out=t)
        np.add(t, a, out=t)
        return np.subtract(t, b, out=t)

    def make(stack: ExitStack) -> Sides:
        sides = same(CODE, partial(operands, n, dtype))(stack)
        plain = operands(n, dtype)
        lines = "np.multiply(a, b, out=t)\nnp.add(t, a, out=t)\nnp.subtract(t, b, out=t)"
        names = {**plain, "t": np.empty(n, dtype)}
        peer = Side(lines, {"np": np, **names}, result=lambda: out(**names))
        return Sides(sides.ours, peer)

    return make


def by_torch(n: int, dtype: str) -> Callable[[ExitStack], Sides]:
    """Return how to make sides whose peer is torch, eager."""

    def make(stack: ExitStack) -> Sides:
        import torch  # noqa: PLC0415 - only where it is installed

        torch.set_num_threads(1)
        sides = same(CODE, partial(operands, n, dtype))(stack)
        names = {name: torch.from_numpy(x) for name, x in operands(n, dtype).items()}
        return Sides(sides.ours, Side(CODE, names), check=Check.CLOSE)

    return make


def steps(a: Any, b: Any, c: Any) -> Any:
    """Give a name to every step; all of them die together at the end."""
    t = a * b
    u = t + c
    v = a - b
    w = u * v
    x = c * 0.5
    return w + x


def named_row(dtype: str) -> Row:
    """Return the row of named steps in a worker thread, whose heap glibc cannot keep."""
    n = NAMED_BYTES // np.dtype(dtype).itemsize

    def make(stack: ExitStack) -> Sides:
        stage = Stage(stack)
        plain = {**operands(n, dtype), "c": values(n, dtype, 3)}
        code = "steps(a, b, c)"
        ours = {"steps": steps, "ws": stage.turn, **stage.keep_all(plain)}

        def result() -> Any:
            with stage.turn:
                return np.array(steps(ours["a"], ours["b"], ours["c"]))

        return Sides(
            Side(f"with ws:\n    {code}", ours, result=result), Side(code, {"steps": steps, **plain})
        )

    peer = "NumPy, tuned malloc"
    path = "six named steps, 8 MB, worker thread"
    return Row("expression", path, size_of(n), dtype, peer, Bar(0.6), make, Place.TUNED, in_thread=True)
