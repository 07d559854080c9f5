"""Elements picked out of packed arrays, and sorted ones: fast path, general path and NumPy."""

from __future__ import annotations

import operator
import threading

import numpy as np
import pytest
from fast_support import DTYPES, fast_paths, laid_out, numbers, packed, three_ways

import ndarena

LONG = 40_000
LAYOUTS = list(laid_out(np.ones((2, 2))))


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="8 MiB"), "W")
    with workspace:
        yield workspace


def mask_of(n):
    return np.random.default_rng(n).random(n) < 0.5


@pytest.mark.parametrize("dtype", [*DTYPES, np.dtype(">f8"), np.dtype("M8[s]"), np.dtype("S3")], ids=str)
@pytest.mark.parametrize("n", [1, 9, LONG])
def test_every_dtype(ws, dtype, n):
    plain = numbers("i4", n).astype(dtype) if dtype.kind in "MS" else numbers(dtype, n)
    array, other, mask = packed(plain), packed(plain[::-1].copy()), packed(mask_of(n))
    places = packed(np.random.default_rng(n).integers(-n, n, n))
    three_ways(ws, np.where, mask, array, other)
    three_ways(ws, operator.getitem, array, mask)
    three_ways(ws, operator.getitem, array, places)
    three_ways(ws, np.sort, array)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(ws, layout):
    array = laid_out(numbers("f4", 12).reshape(3, 4))[layout]
    mask = laid_out((np.arange(12) % 3 == 0).reshape(3, 4))[layout]
    for other in laid_out(numbers("f4", 12, 3).reshape(3, 4)).values():
        three_ways(ws, np.where, mask, array, other)
        three_ways(ws, np.where, mask, other, array)
    for key in laid_out((np.arange(12) % 2 == 0).reshape(3, 4)).values():
        three_ways(ws, operator.getitem, array, key)
    for places in ([0, 2], [-1], [[0, 1], [2, 0]], []):
        three_ways(ws, operator.getitem, array, packed(np.array(places, int)))
    three_ways(ws, np.sort, array)


@pytest.mark.parametrize("places", [[0], [3], [-4], [-5], [4], [0, 2**62], [-(2**63)], [2**63 - 1]], ids=str)
@pytest.mark.parametrize("dtype", ["i8", "q", "u8", "i4", ">i8"])
def test_places_inside_and_outside(ws, places, dtype):
    key = packed(np.array(places).astype(dtype))
    three_ways(ws, operator.getitem, packed(np.arange(4.0)), key)
    three_ways(ws, operator.getitem, packed(np.arange(8.0).reshape(4, 2)), key)


@pytest.mark.parametrize(
    "mask", [[False] * 4, [True] * 4, [True, False, True, False], [True] * 3, [True] * 5]
)
def test_masks_that_fit_and_others(ws, mask):
    array, key = packed(np.arange(4.0)), packed(np.array(mask))
    three_ways(ws, operator.getitem, array, key)
    three_ways(ws, operator.getitem, packed(np.arange(8.0).reshape(4, 2)), key)
    three_ways(ws, np.where, key, array, packed(np.ones(4)))


def test_bools_of_other_bits_are_true(ws):
    key = packed(np.array([0, 2, 255, 0], "u1").view(bool))
    three_ways(ws, operator.getitem, packed(np.arange(4.0)), key)
    three_ways(ws, np.where, key, packed(np.arange(4.0)), packed(-np.ones(4)))


def test_where_of_other_arguments(ws):
    mask, x, y = packed(mask_of(6)), packed(np.arange(6.0)), packed(np.ones(6))
    three_ways(ws, np.where, mask)
    three_ways(ws, np.where, mask, x)
    three_ways(ws, np.where, mask, x, 1.0)
    three_ways(ws, np.where, mask, 1, y)
    three_ways(ws, np.where, packed(np.arange(6)), x, y)
    three_ways(ws, np.where, mask, x, packed(np.ones(6, "f4")))
    three_ways(ws, np.where, packed(mask_of(1)), x, y)
    three_ways(ws, np.where, mask, packed(np.ones((2, 6))), y)


def test_sort_of_other_arguments(ws):
    array = packed(np.array([[3.0, 1.0, np.nan], [0.0, -0.0, 2.0]]))
    for kwargs in ({"axis": 0}, {"axis": None}, {"kind": "stable"}, {"axis": 5}, {"order": "x"}):
        three_ways(ws, lambda a, k=kwargs: np.sort(a, **k), array)
    three_ways(ws, lambda a: np.sort(a, 0), array)
    three_ways(ws, np.sort, packed(np.array(1.0)))
    three_ways(ws, np.sort, packed(np.array([(2, 1.0), (1, 2.0)], "i4,f8")))
    three_ways(ws, ndarena.sort, packed(np.array([2.0, 1.0])))


def test_operands_are_left_as_they_are(ws):
    array = ws.array([3.0, 1.0, 2.0])
    assert np.sort(array).tolist() == [1.0, 2.0, 3.0]
    array[np.array([0, 0])].fill(9)
    array[np.array([True, False, True])].fill(9)
    assert array.tolist() == [3.0, 1.0, 2.0]


def test_results_lie_in_the_current_workspace(ws):
    array, inner = ws.array(np.arange(LONG * 1.0)), ndarena.Workspace(id="INNER")
    mask = array > 7
    with fast_paths(on=True), inner:
        for result in (array[mask], array[np.arange(LONG)], np.where(mask, array, array), np.sort(array)):
            assert result.workspace is inner
    for result in (array[mask], np.where(mask, array, array)):
        assert result.workspace is ws


def test_what_is_stale_is_not_picked():
    ws = ndarena.Workspace(id="W")
    with ws:
        array, mask = ws.ones(4), ws.array([True] * 4)
    with ws:
        fresh = ws.ones(4)
        calls = [
            (lambda: array[np.array([0])], "self"),
            (lambda: fresh[mask], "key"),
            (lambda: np.where(mask, fresh, fresh), "condition"),
            (lambda: np.where(fresh > 0, fresh, array), "y"),
            (lambda: np.sort(array), "a"),
        ]
        for call, argument in calls:
            with pytest.raises(ndarena.StaleArrayError) as refused:
                call()
            assert refused.value.argument in {argument, None}


def test_places_that_change_meanwhile_never_lead_outside(ws):
    """Another thread makes them wrong and right again: a result of elements of the array, or an error."""
    array = ws.array(np.arange(1, 60_001))
    places = np.arange(60_000)
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            places[-1] = 2**62
            places[-1] = 0

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(200):
            try:
                result = array[places]
            except IndexError:
                continue
            assert result.min() >= 1
            assert result.max() <= 60_000
            del result
    finally:
        stop.set()
        thread.join()
