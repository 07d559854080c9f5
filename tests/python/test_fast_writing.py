"""Numbers and arrays written into packed memory: fast path, general path and NumPy."""

from __future__ import annotations

import operator
import threading

import numpy as np
import pytest
from fast_support import (
    DTYPES,
    edges,
    fast_paths,
    laid_out,
    numbers,
    numpys_scalars,
    packed,
    read_only,
    three_ways,
)

import ndarena

KEYS = [
    ...,
    slice(None),
    slice(1, 3),
    slice(3, 1),
    slice(None, None, 2),
    slice(None, None, -1),
    0,
    -1,
    7,
    (0, 1),
    (1, slice(1, 3)),
    (slice(None), 1),
    (0, 1, 2),
    (),
    (slice(1), ...),
    None,
    True,
    1.5,
    np.int64(1),
]


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with np.errstate(all="ignore"), workspace:
        yield workspace


def filled(array, value):
    array.fill(value)
    return array


def assigned(key):
    def assign(array, value):
        array[key] = value
        return array

    return assign


@pytest.mark.parametrize("dtype", [*DTYPES, np.dtype(">f4"), np.dtype("M8[s]")], ids=str)
def test_fill_and_assignment_of_every_number_into_every_dtype(ws, dtype):
    array = packed(np.zeros((3, 5)).astype(dtype))
    for value in [*edges(dtype), *numpys_scalars(), None, "1", [1], np.array(2), np.ones(5)]:
        three_ways(ws, filled, array, value)
        three_ways(ws, assigned(...), array, value)
        three_ways(ws, assigned(1), array, value)


@pytest.mark.parametrize("layout", list(laid_out(np.ones((2, 2)))))
def test_every_layout_and_key(ws, layout):
    array = laid_out(numbers("f4", 12).reshape(3, 4))[layout]
    three_ways(ws, filled, array, 2.5)
    for key in KEYS:
        three_ways(ws, assigned(key), array, 2.5)
        three_ways(ws, assigned(key), array, packed(np.float32([7])))
    for source in laid_out(numbers("f4", 12, 5).reshape(3, 4)).values():
        for key in (..., slice(None), (slice(None), slice(None))):
            three_ways(ws, assigned(key), array, source)
    for other in ("f8", "i4"):
        three_ways(ws, assigned(...), array, packed(np.arange(12).reshape(3, 4).astype(other)))
    three_ways(ws, assigned(slice(1)), array, packed(np.float32([[1, 2, 3, 4]])))
    three_ways(ws, assigned(0), array, packed(np.float32([1, 2, 3, 4])))
    three_ways(ws, assigned(...), array, packed(np.float32([[1], [2], [3]])))


@pytest.mark.parametrize("n", [1, 7, 2048, 2049, 100_000, 400_000])
@pytest.mark.parametrize("dtype", ["i1", "f2", "f4", "f8"])
def test_short_and_long_ones(ws, n, dtype):
    array = packed(np.zeros(n, dtype))
    three_ways(ws, filled, array, 3)
    three_ways(ws, assigned(slice(n // 3, None)), array, 3)
    three_ways(ws, assigned(...), array, packed(np.arange(n).astype(dtype)))


MATRICES = [(1, 9), (9, 1), (2, 2), (3, 5), (4, 4), (15, 17), (16, 16), (33, 70), (257, 130), (0, 3)]


@pytest.mark.parametrize("shape", MATRICES, ids=str)
@pytest.mark.parametrize("dtype", ["i1", "f4", "i8", "f8", "c16", ">f4", "M8[s]"])
def test_a_matrix_that_lies_the_other_way_round(ws, dtype, shape):
    def by_rows(values):
        return lambda make: make(values)

    def by_columns(values):
        return lambda make: make(values.T.copy()).T

    zeros = np.zeros(shape, dtype)
    values = np.arange(zeros.size).reshape(shape).astype(dtype)
    for target, source in ((by_rows, by_columns), (by_columns, by_rows)):
        three_ways(ws, assigned(...), target(zeros), source(values))
        three_ways(ws, assigned(slice(1, None)), target(zeros), source(values[1:]))
        three_ways(ws, assigned(...), target(zeros), source(np.ones(shape, "f2")))


@pytest.mark.parametrize("dtype", ["c8", "S8", "V4", "U1", "f8"])
def test_a_matrix_at_any_address_is_turned(ws, dtype):
    def shifted(array, flat):
        array[1:][: flat.size] = flat
        return array[1:][: flat.size]

    def turn(make):
        size = 9 * 21 * np.dtype(dtype).itemsize
        source = shifted(make(np.zeros(size + 9, "u1")), np.arange(size, dtype="u1")).view(dtype)
        target = shifted(make(np.zeros(size + 9, "u1")), np.zeros(size, "u1")).view(dtype)
        target.reshape(9, 21)[...] = source.reshape(21, 9).T
        return np.asarray(target).tobytes()

    three_ways(ws, lambda made: made, turn)


@pytest.mark.parametrize("n", [1, 2, 16, 33, 100])
def test_a_matrix_is_turned_in_its_own_place(ws, n):
    def turn(array):
        array[...] = array.T
        return array

    def turn_onto_the_next(line):
        line[1 : n * n + 1].reshape(n, n)[...] = line[: n * n].reshape(n, n).T
        return line

    square = np.arange(n * n, dtype="f4")
    three_ways(ws, turn, packed(square.reshape(n, n)))
    three_ways(ws, turn_onto_the_next, packed(np.append(square, 7)))


def test_a_matrix_that_may_not_be_written_is_not_turned(ws):
    ones = np.ones((7, 5))
    three_ways(ws, assigned(...), lambda make: read_only(make(ones.T)), lambda make: make(ones).T)


def test_parts_of_one_array_that_overlap(ws):
    def shift(step):
        def write(array):
            if step > 0:
                array[step:] = array[:-step]
            else:
                array[:step] = array[-step:]
            return array

        return write

    for step in (1, -1, 5, -7):
        three_ways(ws, shift(step), packed(np.arange(40.0)))


def test_arrays_without_axes_or_elements(ws):
    for shape in ((), (0,), (3, 0)):
        for write in (filled, assigned(...), assigned(())):
            three_ways(ws, write, packed(np.zeros(shape)), 4)
            three_ways(ws, write, packed(np.zeros(shape)), packed(np.ones(shape)))


def test_fill_answers_as_numpy_does(ws):
    three_ways(ws, operator.methodcaller("fill", 1), packed(np.zeros(3)))
    for args, kwargs in [((), {}), ((1, 2), {}), ((), {"value": 1})]:
        three_ways(ws, lambda a, x=args, k=kwargs: a.fill(*x, **k), packed(np.zeros(3)))


def test_what_is_stale_is_not_written():
    ws = ndarena.Workspace(id="W")
    with ws:
        a = ws.zeros(4)
    for write in (lambda: a.fill(1), lambda: assigned(...)(a, 1), lambda: assigned(0)(a, 1)):
        with pytest.raises(ndarena.StaleArrayError) as refused:
            write()
        assert refused.value.argument == "self"
    with ws:
        b, other = ws.zeros(4), ndarena.Workspace(id="O")
        with other:
            c = other.ones(4)
        with pytest.raises(ndarena.StaleArrayError):
            b[...] = c
        assert b.tolist() == [0] * 4


def test_another_thread_writes_into_an_array_of_ours(ws):
    a = ws.zeros(5000)

    def write():
        a.fill(2)
        a[1:3] = 7

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (a.sum(), a[:4].tolist()) == (2 * 4998 + 14, [2, 7, 7, 2])


def test_a_written_array_takes_no_memory_and_no_lease():
    ws = ndarena.Workspace(id="W")
    with fast_paths(on=True), ws:
        a, b = ws.zeros((8, 8)), ws.ones((8, 8))
        before = ws.this_cycle_allocations
        a.fill(3)
        a[...] = b
        a[2:4] = 5.0
        assert ws.this_cycle_allocations == before
    assert ws.escaped_count == 0
