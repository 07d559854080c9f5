"""Masks, places and what is sorted, changed by another thread meanwhile: never a byte of somebody else's."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import ndarena

N = 60_000
RACE = """
import threading
from collections import namedtuple
import numpy as np, ndarena

N, stop = {n}, threading.Event()
ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="64 MiB"))
with ws, np.errstate(all="ignore"):
    before, a, after = ws.full(4096, 7, "u1"), ws.zeros(N, {dtype!r}), ws.full(4096, 7, "u1")
    rows, b = ws.ones((2, N)), ws.ones(N)
    places, small, mask = np.arange(N), np.arange(N, dtype="i4"), np.zeros(N, bool)
    view, counts, bools = a.numpy(), ws.zeros(N, "i8"), ws.zeros((4, N // 4), bool)
    Key, bits, times = namedtuple("Key", "row places"), bools.numpy(), ws.zeros(N, "i8")

    def disturb():
        while not stop.is_set():
            places[-1000:], small[-1000:], counts[-1000:], mask[N // 2 :] = 2**40, 2**31 - 1, 2**22, True
            bits[2:], times[-5000:] = True, 500
            view[:3000], view[-3000:] = 120, 0
            places[-1000:], small[-1000:], counts[-1000:], mask[N // 2 :] = 0, 0, 0, False
            bits[2:], times[-5000:] = False, 0
            view[:3000], view[-3000:] = 0, 120

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range({turns}):
            try:
                {call}
            except (IndexError, ValueError):
                pass
            assert (before.numpy() == 7).all() and (after.numpy() == 7).all()
    finally:
        stop.set()
        thread.join()
"""
CALLS = [
    "rows[:, mask]",
    "rows.reshape(4, -1)[mask.reshape(4, -1)[:, : N // 2]]",
    "b[::-1][mask]",
    "b[places] = 1.0",
    "b[small] = b.copy()",
    "rows[1, places] = 2.0",
    "np.add.at(b, places, 1.0)",
    "np.add.reduceat(b, places)",
    "np.put_along_axis(b, places, 2.0, 0)",
    "np.delete(b, obj=places)",
    "np.bincount(counts)",
    "np.add.at(rows, Key(1, places), 1.0)",
    "rows[Key(1, places)] = 2.0",
    "np.where(bools)",
    "bools.nonzero()",
    "np.repeat(b, times)",
    "b.repeat(times)",
    "np.argwhere(bools)",
]
SORTS = [
    "a.sort()",
    "a.partition([100, N // 2])",
    "a.argsort()",
    "np.argsort(a)",
    "a.argpartition(N // 2)",
    "np.histogram(a, bins=[0, 1, 5, 200], weights=b)",
]


def run(call, dtype, turns):
    code = RACE.format(n=N, dtype=dtype, call=call, turns=turns)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("call", CALLS)
def test_masks_and_places_that_change_meanwhile(call):
    run(call, "f8", 200)


@pytest.mark.parametrize("dtype", ["f8", "g"])
@pytest.mark.parametrize("call", SORTS)
def test_what_is_sorted_and_changes_meanwhile(call, dtype):
    run(call, dtype, 60)


LATE = """
import threading
import numpy as np, ndarena

N = 200_000

class Value:
    def __array__(self, dtype=None, copy=None):
        threading.Thread(target=disturb).start()
        begun.wait()
        return np.ones(N)

def disturb():
    begun.set()
    while not stop.is_set():
        places[-1000:] = 2**40
        places[-1000:] = 0

with ndarena.Workspace(id="W") as ws:
    b, places = ws.zeros(N), np.arange(N)
    for _ in range(60):
        begun, stop = threading.Event(), threading.Event()
        try:
            {call}
        except IndexError:
            pass
        stop.set()
        while threading.active_count() > 1:
            pass
"""


@pytest.mark.parametrize("call", ["b[places] = Value()", "np.add.at(b, places, Value())"])
def test_a_thread_that_begins_meanwhile(call):
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(call=call)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture
def company():
    """Another thread, which waits."""
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    yield
    leave.set()
    thread.join()


@pytest.mark.parametrize("dtype", ["i8", "i4"])
def test_places_count_as_they_were(company, dtype):
    """What is written may run code that changes them: it comes too late."""
    places = np.arange(3, dtype=dtype)

    class Value:
        def __array__(self, dtype=None, copy=None):
            places[:] = 99
            return np.ones(3)

    with ndarena.Workspace(id="W") as ws:
        a = ws.zeros(5)
        a[places] = Value()
        assert a.tolist() == [1, 1, 1, 0, 0]
        assert places.tolist() == [99] * 3


def test_in_company_the_same_is_done(company):
    with ndarena.Workspace(id="W") as ws:
        a = ws.array([3.0, 1.0, 2.0])
        view = a.numpy()
        assert a.sort() is None
        assert view.tolist() == [1.0, 2.0, 3.0]
        assert a[::-1].argsort().tolist() == [2, 1, 0]
        a[::-1].partition(1)
        assert view.tolist() == [3.0, 2.0, 1.0]
        matrix = ws.array([[2, 1], [4, 3]])
        matrix.sort(axis=0)
        matrix.sort()
        assert matrix.tolist() == [[1, 2], [3, 4]]
        assert matrix[np.array([0, 1]), [1, 0]].tolist() == [2, 3]
        assert matrix[np.array([[True, False], [False, True]])].tolist() == [1, 4]
        fixed = np.broadcast_to(a, (3,))
        with pytest.raises(ValueError, match="sort array is read-only"):
            fixed.sort()
        with pytest.raises(np.exceptions.AxisError):
            a.sort(axis=3)
        assert a.nonzero()[0].tolist() == [0, 1, 2]
        assert a.compress(ws.array([True, False, True])).tolist() == [3.0, 1.0]
        assert np.where(a > 1, a, 0.0).tolist() == [3.0, 2.0, 0.0]
        assert [places.tolist() for places in np.where(a > 1)] == [[0, 1]]
        assert (
            a.repeat(ws.array([2, 0, 1])).tolist()
            == np.repeat(a, np.array([2, 0, 1])).tolist()
            == [3.0, 3.0, 1.0]
        )
        assert np.median(a, overwrite_input=True) == np.median(a, None, None, True) == 2.0
        assert view.tolist() == [3.0, 2.0, 1.0]
        assert ws.escaped_count == 0
