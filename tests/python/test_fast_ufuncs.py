"""Every ufunc on every dtype, kind of operand, layout and size: fast path, general path and NumPy."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from fast_support import (
    BINARY,
    DTYPES,
    ONE_RESULT,
    UNARY,
    edges,
    fast_paths,
    laid_out,
    misaligned,
    numbers,
    numpys_scalars,
    packed,
    three_ways,
)
from support import output_of

import ndarena
from ndarena._core import _set_fast_paths

SIZES = [1, 15, 16, 17, 2049, 32_768, 32_769]
"""Around the widths of registers, and around the size from which other threads may run."""

SHAPES = [(2, 3, 4), (17, 1), (1, 17), (1, 1), (3, 1, 4), (300, 7)]
ROWS = [((5, 17), (17,)), ((5, 1), (1,)), ((1, 17), (17,)), ((2, 3, 4), (4,)), ((700, 4), (4,))]
"""Rows against one row: broadcasting that the fast path does itself."""
OTHERS = [((5, 17), (5, 1)), ((5, 17), (1, 17)), ((5, 1), (17,)), ((17,), (1,)), ((2, 3, 4), (3, 4))]
REFUSED = [((5, 17), (5,)), ((3,), (4,))]
NOTHING = [((0,), (0,)), ((0, 3), (3,)), ((3, 0), (0,)), ((), ()), ((), (3,)), ((1,), (0,))]


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with np.errstate(all="ignore"), workspace:
        yield workspace


class Marked(np.ndarray):
    """A subclass that does nothing."""


def shaped(dtype, shape, start=0):
    return packed(numbers(dtype, int(np.prod(shape)), start).reshape(shape))


def test_the_tables_are_not_empty():
    assert len(UNARY) >= 38
    assert len(BINARY) >= 36
    assert len(DTYPES) == 20


@pytest.mark.parametrize("name", UNARY)
def test_unary(ws, name):
    ufunc = UNARY[name]
    for dtype in DTYPES:
        for n in SIZES:
            three_ways(ws, ufunc, packed(numbers(dtype, n)))
        for shape in [*SHAPES, (), (0,), (0, 3)]:
            three_ways(ws, ufunc, shaped(dtype, shape))
        for layout in laid_out(numbers(dtype, 35).reshape(5, 7)).values():
            three_ways(ws, ufunc, layout)


@pytest.mark.parametrize("name", BINARY)
def test_two_arrays(ws, name):
    ufunc = BINARY[name]
    for dtype in DTYPES:
        for n in SIZES:
            three_ways(ws, ufunc, packed(numbers(dtype, n)), packed(numbers(dtype, n, 3)))
        left, right = numbers(dtype, 17), numbers(dtype, 17, 4)
        three_ways(ws, ufunc, packed(left), right)
        three_ways(ws, ufunc, left, packed(right))
        three_ways(ws, lambda a: ufunc(a, a), packed(left))
        three_ways(ws, ufunc, packed(left), misaligned(right))


@pytest.mark.parametrize("name", BINARY)
def test_layouts(ws, name):
    ufunc = BINARY[name]
    for dtype in DTYPES:
        left = laid_out(numbers(dtype, 35).reshape(5, 7))
        right = laid_out(numbers(dtype, 35, 4).reshape(5, 7))
        for layout in left:
            three_ways(ws, ufunc, left[layout], right[layout])
            three_ways(ws, ufunc, left["C"], right[layout])
            three_ways(ws, ufunc, left[layout], right["F"])


@pytest.mark.parametrize("name", BINARY)
def test_broadcasting(ws, name):
    ufunc = BINARY[name]
    for dtype in DTYPES:
        for one, other in [*ROWS, *OTHERS, *REFUSED, *NOTHING]:
            three_ways(ws, ufunc, shaped(dtype, one), shaped(dtype, other, 2))
            three_ways(ws, ufunc, shaped(dtype, other, 2), shaped(dtype, one))
        for shape in SHAPES:
            three_ways(ws, ufunc, shaped(dtype, shape), shaped(dtype, shape, 2))
        row = shaped(dtype, (7,))
        for rows in laid_out(numbers(dtype, 35, 3).reshape(5, 7)).values():
            three_ways(ws, ufunc, rows, row)
            three_ways(ws, ufunc, row, rows)


@pytest.mark.parametrize("name", BINARY)
def test_scalars(ws, name):
    ufunc = BINARY[name]
    for dtype in DTYPES:
        array = packed(numbers(dtype, 31))
        for scalar in [*edges(dtype), *numpys_scalars()]:
            three_ways(ws, ufunc, array, scalar)
            three_ways(ws, ufunc, scalar, array)


@pytest.mark.parametrize("name", BINARY)
def test_operands_of_different_dtypes(ws, name):
    """The dtypes of the operands decide, not those of the loop that would fit one of them."""
    ufunc = BINARY[name]
    pairs = [("f4", "f8"), ("i8", "f8"), ("?", "i1"), ("l", "q"), ("L", "Q"), ("u8", "i8"), ("e", "f")]
    for one, other in pairs:
        three_ways(ws, ufunc, packed(numbers(one, 17)), packed(numbers(other, 17)))
        three_ways(ws, ufunc, packed(numbers(other, 17)), packed(numbers(one, 17)))
        three_ways(ws, ufunc, shaped(one, (3, 4)), shaped(other, (4,)))


@pytest.mark.parametrize("name", ONE_RESULT)
def test_a_dtype_with_metadata_or_a_subclass_is_not_the_builtin_one(ws, name):
    ufunc = ONE_RESULT[name]
    marked = np.dtype("f8", metadata={"unit": "m"})
    array = numbers("f8", 9).astype(marked)
    three_ways(ws, ufunc, *[packed(array)] * ufunc.nin)
    subclass = numbers("f8", 9).view(Marked)
    three_ways(ws, ufunc, packed(numbers("f8", 9)), *[subclass] * (ufunc.nin - 1))


# ---------------------------------------------------------------- that it is a path of its own


def peak_bytes(call):
    """Give what Python's heap needs at most for a call that was made before."""
    call()
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "call",
    [
        lambda a, m: a + a,
        lambda a, m: a * 2.5,
        lambda a, m: 2 - a,
        lambda a, m: a > 1.0,
        lambda a, m: -a,
        lambda a, m: a**2,
        lambda a, m: a.__iadd__(a),
        lambda a, m: m + m[0],
        lambda a, m: m @ m,
        lambda a, m: np.add(a, a),
        lambda a, m: np.exp(a),
        lambda a, m: a[2:5],
        lambda a, m: m[1],
        lambda a, m: a.workspace.empty((3, 4), np.float32),
    ],
)
def test_fast_paths_are_taken(ws, call):
    """Without them, leased views and dictionaries are made on the way."""
    a, m = ws.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), ws.array([[1.0, 2.0], [3.0, 4.0]])
    with fast_paths(on=True):
        fast = peak_bytes(lambda: call(a, m))
    with fast_paths(on=False):
        general = peak_bytes(lambda: call(a, m))
    assert fast < general


def test_the_switch_tells_what_it_was():
    with fast_paths(on=True):
        assert _set_fast_paths(False) is True
        assert _set_fast_paths(False) is False
        assert _set_fast_paths(True) is False


@pytest.mark.parametrize(("value", "is_on"), [("0", False), ("1", True), ("", True), ("no", True)])
def test_the_environment_is_read_at_import(value, is_on):
    program = """
        import os
        from ndarena import _core
        os.environ["NDARENA_FAST"] = "0"
        print(_core._set_fast_paths(True))
    """
    assert output_of(program, env={"NDARENA_FAST": value}) == f"{is_on}\n"


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("n", [1, 7, 1023, 1024, 1025, 40_000])
def test_bools_against_numbers(ws, name, n):
    """`gradient * (h > 0)`: bools become numbers of the other operand's dtype, on either side."""
    ufunc = BINARY[name]
    flags = packed(np.resize([True, False, False, True, True], n))
    table = packed(np.resize([True, False, True], (n, 3)))
    for dtype in DTYPES:
        values = packed(numbers(dtype, n, 2))
        with np.errstate(all="ignore"):
            three_ways(ws, ufunc, flags, values)
            three_ways(ws, ufunc, values, flags)
            three_ways(ws, ufunc, table, packed(numbers(dtype, 3 * n, 5).reshape(n, 3)))
            three_ways(ws, ufunc, table, packed(numbers(dtype, 3, 1)))


def test_bytes_of_bools_that_are_neither_0_nor_1(ws):
    """NumPy takes every byte but 0 for true."""
    flags = packed(np.arange(256, dtype=np.uint8).view(bool))
    values = packed(np.arange(256.0) + 1.0)
    three_ways(ws, np.multiply, flags, values)
    three_ways(ws, np.add, values, flags)
