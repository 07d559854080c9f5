"""Operators, ufuncs and reductions on arrays of a workspace, against the same on plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

import ndarena
from benches.python.model import Bar, Row, Side, Sides

from .stage import DTYPES, Stage, operands, size_of

SIZES = (16, 1000, 10**5, 10**6)
BARS = {
    "a + b": (0.5, 0.5, 1.0, 1.0),
    "np.add(a, b)": (1.5, 1.0, 1.02, 1.02),
    "np.exp(a)": (1.6, 1.15, 1.02, 1.02),
}
MODULE_BARS = {"exp(a)": (0.6, 1.0)}


def rows() -> list[Row]:
    """Return the rows of operators."""
    return [row for dtype in DTYPES for row in rows_of(dtype)]


def rows_of(dtype: str) -> list[Row]:
    """Return the rows of one dtype."""
    return [
        *(
            row(code, size_of(n), dtype, Bar(limit), partial(operands, n, dtype))
            for code, limits in BARS.items()
            for n, limit in zip(SIZES, limits, strict=True)
        ),
        *(
            module_row(call, dtype, n, Bar(limit))
            for call, limits in MODULE_BARS.items()
            for n, limit in zip(SIZES, limits, strict=False)
        ),
        *reductions(dtype),
    ]


def row(code: str, size: str, dtype: str, bar: Bar, names: Callable[[], dict[str, Any]]) -> Row:
    """Return a row whose sides have the same code."""
    return Row("operator", code, size, dtype, "NumPy", bar, same(code, names))


def same(code: str, names: Callable[[], dict[str, Any]]) -> Callable[[ExitStack], Sides]:
    """Return how to make sides of the same code, ours on copies of the operands in a workspace."""

    def make(stack: ExitStack) -> Sides:
        stage, plain = Stage(stack), names()
        ours = Side(code, {"np": np, **stage.keep_all(plain)}, stage.scope)
        return Sides(ours, Side(code, {"np": np, **plain}))

    return make


def module_row(call: str, dtype: str, n: int, bar: Bar) -> Row:
    """Return a row of a function of the module, which skips the override protocol."""

    def make(stack: ExitStack) -> Sides:
        stage, plain = Stage(stack), operands(n, dtype)
        ours = Side(f"ndarena.{call}", {"ndarena": ndarena, **stage.keep_all(plain)}, stage.scope)
        return Sides(ours, Side(f"np.{call}", {"np": np, **plain}))

    name = call.partition("(")[0]
    return Row("operator", f"ndarena.{call}", size_of(n), dtype, f"np.{name}", bar, make, needs=name)


def reductions(dtype: str) -> list[Row]:
    """Return the rows of sums and of a small product."""
    return [
        row("a.sum()", size_of(1000), dtype, Bar(1.0), partial(operands, 1000, dtype)),
        row("a.sum()", size_of(10**5), dtype, Bar(1.0), partial(operands, 10**5, dtype)),
        row("a.sum(axis=0)", "32 x 128", dtype, Bar(1.05), partial(matrices, 32, 128, dtype)),
        row("a @ b", "16 x 16", dtype, Bar(1.10), partial(matrices, 16, 16, dtype)),
    ]


def matrices(lines: int, columns: int, dtype: str) -> dict[str, Any]:
    """Return two plain arrays of two dimensions."""
    plain = operands(lines * columns, dtype)
    return {name: x.reshape(lines, columns) for name, x in plain.items()}
