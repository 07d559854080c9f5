"""Arrays made, viewed and cut into pieces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benches.python.model import Bar, Check, Row, Side, Sides
from ndarena import ArrayType, LayerWorkspaceMgr, WorkspaceConfiguration, get_workspace_for_current_thread

from .stage import DTYPES, Stage, np, operands, size_of, values

SIZES = {"64 B": 64, "16 KiB": 1 << 14, "400 KB": 400_000, "4 MB": 4_000_000, "40 MB": 40_000_000}
PIECES = {"a[10:500]": Bar(1.1), "a[5] of two dimensions": Bar(1.2), "a[7]": Bar(1.4)}


def rows() -> list[Row]:
    """Return the rows of arrays."""
    return [row for dtype in DTYPES for row in rows_of(dtype)]


def rows_of(dtype: str) -> list[Row]:
    """Return the rows of one dtype."""
    made = [
        row
        for size, count in SIZES.items()
        for row in (
            created("empty", dtype, (size, count), Check.KIND, Bar(0.75)),
            created("zeros", dtype, (size, count), Check.BITS, Bar(1.0)),
        )
    ]
    return [
        *made,
        *(piece(path, dtype, bar) for path, bar in PIECES.items()),
        view_row(dtype),
        manager_row(dtype),
    ]


def created(maker: str, dtype: str, size: tuple[str, int], check: Check, bar: Bar) -> Row:
    """Return a row of a new array; one of zeros is written to afterwards."""
    label, count = size
    touch = "\nz.fill(1)" if maker == "zeros" else ""
    target = "z = " if touch else ""

    def make(stack: ExitStack) -> Sides:
        stage = Stage(stack)
        names = {"shape": (count // np.dtype(dtype).itemsize,), "dtype": np.dtype(dtype).type}

        def side(name: str, module: Any, scope: Any = None) -> Side:
            one = f"{name}.{maker}(shape, dtype)"
            names_of = {**names, name: module}
            return Side(f"{target}{one}{touch}", names_of, scope, result_in(scope, one, names_of))

        return Sides(side("ws", stage.turn, stage.scope), side("np", np), check=check)

    path = f"ws.{maker}(shape, dtype)" + (", then filled" if touch else "")
    return Row("array", path, label, dtype, f"np.{maker}", bar, make)


def result_in(scope: Any, code: str, names: dict[str, Any]) -> Callable[[], Any]:
    """Return what gives the value of some code as a plain array."""

    def result() -> Any:
        if scope is None:
            return eval(code, dict(names))  # noqa: S307 - the code of our own rows
        with scope():
            return np.array(eval(code, dict(names)))  # noqa: S307

    return result


def piece(path: str, dtype: str, bar: Bar) -> Row:
    """Return a row of indexing."""
    two = "two" in path

    def make(stack: ExitStack) -> Sides:
        stage = Stage(stack)
        a = values(1024, dtype)
        names = {"a": a.reshape(32, 32) if two else a}
        code = path.split(" ", 1)[0]
        return Sides(Side(code, stage.keep_all(names), stage.scope), Side(code, names))

    return Row("array", path, "32 x 32" if two else "1024", dtype, "NumPy", bar, make)


def view_row(dtype: str) -> Row:
    """Return the row of a leased view."""

    def make(stack: ExitStack) -> Sides:
        stage = Stage(stack)
        names = operands(1000, dtype)
        ours = Side("a.numpy()", stage.keep_all(names), stage.scope)
        return Sides(ours, Side("n.view()", {"n": names["a"]}))

    return Row("array", "a.numpy()", size_of(1000), dtype, "n.view()", Bar(1.8), make)


def manager_row(dtype: str) -> Row:
    """Return the row of an array made by its role."""

    def make(stack: ExitStack) -> Sides:
        role = ArrayType.ACTIVATIONS
        manager = LayerWorkspaceMgr.builder().with_(role, "ACT", WorkspaceConfiguration()).build()

        def scope() -> Any:
            return manager.notify_scope_entered(role)

        with scope():
            ws = get_workspace_for_current_thread(id="ACT")
        stack.callback(ws.destroy_workspace)
        names = {"shape": (32, 128), "dtype": np.dtype(dtype).type}
        code = "mgr.create_uninitialized(ArrayType.ACTIVATIONS, shape, dtype)"
        ours = Side(code, {"mgr": manager, "ArrayType": ArrayType, **names}, scope)
        return Sides(ours, Side("ws.empty(shape, dtype)", {"ws": ws, **names}, scope), check=Check.KIND)

    path = "mgr.create_uninitialized(ArrayType.ACTIVATIONS, …)"
    return Row("array", path, "32 x 128", dtype, "ws.empty", Bar(1.3), make)
