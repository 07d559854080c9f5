"""What the tests of arrays share: samples of every dtype, outcomes of calls, and where results lie."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import ndarena

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NUMERIC = ["?", *"bhilqpBHILQP", *"efdg", *"FDG"]
DTYPES = [
    *NUMERIC,
    "S3",
    "U3",
    "V3",
    "M8[D]",
    "M8[ns]",
    "m8[s]",
    ">i4",
    ">f8",
    ">c16",
    ">U3",
    ">M8[ms]",
    [("x", "<i4"), ("y", "<f8")],
    [("x", ">i2"), ("inner", [("y", "<f4", (2,)), ("z", "S2")])],
    np.dtype([("x", "i1"), ("y", "f8")], align=True),
]
"""A dtype of every kind without references, in both byte orders."""


def sample(dtype: Any, shape: Sequence[int] = (2, 3), order: str = "C", start: int = 1) -> np.ndarray:
    """Make an array of distinct, tame values: `start`, `start + 1`, …, in the manner of its dtype."""
    dtype = np.dtype(dtype)
    numbers = np.arange(start, start + math.prod(shape)).reshape(shape)
    array = np.zeros(shape, dtype, order)
    if dtype.names is not None:
        for name in dtype.names:
            field = array[name]
            field[...] = sample(field.dtype, field.shape, start=start)
    elif dtype.kind == "b":
        array[...] = numbers % 2 == 0
    elif dtype.kind in "fc":
        array[...] = numbers / 2 + (0.25j if dtype.kind == "c" else 0)
    elif dtype.kind in "SU":
        array[...] = numbers.astype(dtype)
    elif dtype.kind == "V":
        array[...] = numbers.astype(f"S{dtype.itemsize}").view(dtype)
    else:
        array[...] = numbers.astype(np.int64).astype(dtype)
    return array


def plain(value: Any) -> np.ndarray:
    """Show the values of `value` in an ordinary array, without a copy."""
    return value.numpy() if isinstance(value, ndarena.WorkspaceArray) else np.asarray(value)


def address(array: Any) -> int:
    """Where the first element of an array lies."""
    return int(plain(array).__array_interface__["data"][0])


def bounds(array: Any) -> tuple[int, int]:
    """Tell the first byte of an array and the one past its last."""
    return np.lib.array_utils.byte_bounds(plain(array))


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays have a byte of memory in common."""
    (start_a, stop_a), (start_b, stop_b) = bounds(a), bounds(b)
    return a.nbytes > 0 and b.nbytes > 0 and start_a < stop_b and start_b < stop_a


def assert_equal(got: Any, want: Any) -> None:
    """Equal dtype, shape and values; a not-a-number equals itself."""
    np.testing.assert_array_equal(plain(got), plain(want), strict=True)


@dataclass(frozen=True)
class Refusal:
    """An exception as a value."""

    kind: type[BaseException]
    message: str


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the exception it raises as a `Refusal`."""
    try:
        return call()
    except Exception as error:
        # Messages may name the type of the operand, which is ours in one of the two calls.
        return Refusal(type(error), str(error).replace("ndarena.WorkspaceArray", "numpy.ndarray"))


@dataclass(frozen=True)
class Scopes:
    """Two open workspaces: operands lie in `outer`, results belong in `inner`, the current one."""

    outer: ndarena.Workspace
    inner: ndarena.Workspace

    def check(self, call: Callable[..., Any], *operands: Any) -> Any:
        """Assert that `call` does on copies in `outer` what it does on the plain operands.

        The result has the same type, dtype and values and lies where the contract puts it, the operands are
        left in the same state, and an error has the same class and message. Returns the result.
        """
        ours = [self.outer.array(x) if type(x) is np.ndarray else x for x in operands]
        want = outcome(lambda: call(*operands))
        got = outcome(lambda: call(*ours))
        pairs = [(o, p) for o, p in zip(ours, operands, strict=True) if type(p) is np.ndarray]
        assert_result(got, want, pairs, self.inner)
        for our, theirs in pairs:
            assert_equal(our, theirs)
        return got


@contextlib.contextmanager
def open_scopes(**fields: Any) -> Iterator[Scopes]:
    """Two nested scopes over arenas that are large enough, floating-point warnings off."""
    fields = {"initial_size": "4 MiB", **fields}
    configuration = ndarena.WorkspaceConfiguration(**fields)
    outer = ndarena.Workspace(configuration, "OUTER")
    inner = ndarena.Workspace(configuration, "INNER")
    with np.errstate(all="ignore"), outer, inner:
        yield Scopes(outer, inner)
    for workspace in (outer, inner):  # a reduction that is refused keeps its operands: numpy#31677
        workspace.destroy_workspace()


def assert_result(
    got: Any, want: Any, pairs: Sequence[tuple[Any, np.ndarray]], current: ndarena.Workspace
) -> None:
    """Assert that `got` is what NumPy's `want` becomes when its operands are workspace arrays.

    `pairs` are the operands: (workspace array, plain array).
    """
    if isinstance(want, Refusal) or isinstance(got, Refusal):
        assert got == want, f"{got!r} instead of {want!r}"
    elif type(want) is np.ndarray:
        assert_array(got, want, pairs, current)
    elif isinstance(want, tuple | list):
        assert type(got) is type(want)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert_result(g, w, pairs, current)
    elif isinstance(want, np.ndarray | np.generic):
        assert type(got) is type(want)
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want), strict=True)
    else:
        assert type(got) is type(want)
        if isinstance(want, bool | int | float | complex | str | bytes | np.dtype | type | None):
            np.testing.assert_equal(got, want)


def assert_array(
    got: Any, want: np.ndarray, pairs: Sequence[tuple[Any, np.ndarray]], current: ndarena.Workspace
) -> None:
    """Check values of an array and the place where they lie; a part of `assert_result`."""
    if want.dtype.hasobject:
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, want, strict=True)
        return
    assert type(got) is ndarena.WorkspaceArray, f"{type(got)}"
    assert_equal(got, want)
    for ours, theirs in pairs:
        if want is theirs:
            assert got is ours
            return
    for ours, theirs in pairs:
        if want.size > 0 and np.may_share_memory(want, theirs):
            assert got.workspace is ours.workspace, f"{got.workspace!r} instead of {ours.workspace!r}"
            assert address(got) - address(ours) == address(want) - address(theirs)
            assert got.strides == want.strides
            return
    assert got.is_attached
    if want.size > 0:
        assert got.workspace is current, f"{got.workspace!r} instead of {current!r}"
        assert not any(overlap(got, ours) for ours, _ in pairs)
        same_order = got.flags.c_contiguous == want.flags.c_contiguous
        assert same_order or not want.flags.forc, f"strides {got.strides} instead of {want.strides}"
