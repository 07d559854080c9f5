"""Elements, rows and slices: fast path, general path and NumPy."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from array_support import DTYPES
from fast_support import (
    close_scopes,
    fast_paths,
    heard,
    in_numpys_words,
    laid_out,
    numbers,
    packed,
    read_only,
    three_ways,
    tried,
)
from hypothesis import given
from hypothesis import strategies as st

import ndarena

INTS = [0, 1, -1, 2, -3, 3, -4, 5, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63), 2**63, 10**30, -(10**30)]
BOUNDS = [None, 0, 1, -1, 2, -2, 7, -9, 2**62, -(2**63), 10**30, -(10**30)]
STEPS = [None, 1, 2, -1, -2, 3, 2**62, -(2**63), 10**30, 0]
SLICES = [slice(*parts) for parts in itertools.product(BOUNDS, BOUNDS, STEPS)]
OTHERS = [
    None,
    ...,
    True,
    False,
    np.True_,
    np.int64(1),
    np.int8(-1),
    np.uint8(9),
    np.array(1),
    [0, 1],
    np.array([True, False, True]),
    1.0,
    "x",
    slice(np.int64(1), None),
    slice(None, np.int8(2), np.int64(-1)),
    slice(1.0),
    slice("a", None),
    (),
    ((0, 1),),
]


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with workspace:
        yield workspace


def place(part, whole):
    """Tell where a part of an array begins, seen from the whole."""
    if isinstance(part, ndarena.WorkspaceArray):
        assert part.workspace is whole.workspace
        part, whole = part.numpy(), whole.numpy()
    if not isinstance(part, np.ndarray) or part.size == 0 or not np.may_share_memory(part, whole):
        return None
    return part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]


def compare(ws, make, key):
    """Assert that all three ways give the same part at the same place."""

    def get(array):
        part = array[key]
        return part, place(part, array)

    return three_ways(ws, get, make)


@pytest.mark.parametrize("shape", [(4,), (0,), (1,), (), (2, 3), (3, 0), (0, 2), (2, 3, 4)])
def test_one_int_or_slice(ws, shape):
    array = packed(numbers("f8", int(np.prod(shape))).reshape(shape))
    for key in [*INTS, *SLICES, *OTHERS]:
        compare(ws, array, key)


@pytest.mark.parametrize("layout", list(laid_out(np.ones((2, 2)))))
def test_tuples_in_every_layout(ws, layout):
    array = laid_out(numbers("f4", 12).reshape(3, 4))[layout]
    some = [*INTS[:8], 2**62, -(2**63), 10**30, *SLICES[::53], *OTHERS]
    for key in itertools.product(some, some):
        compare(ws, array, key)


def test_tuples_of_three(ws):
    array = packed(numbers("i4", 60).reshape(3, 4, 5))
    some = [
        0,
        -1,
        4,
        slice(None),
        slice(1, None),
        slice(None, None, -1),
        slice(3, 0, -2),
        slice(2, 2),
        None,
        ...,
    ]
    for n in (0, 1, 2, 3, 4):
        for key in itertools.islice(itertools.product(some, repeat=n), 1200):
            compare(ws, array, key)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(ws, dtype):
    """Elements of numbers are copies; a record is a view, and what has a unit keeps it."""
    array = packed(
        np.arange(12).reshape(3, 4).astype(np.dtype(dtype))
        if np.dtype(dtype).kind != "V"
        else np.zeros((3, 4), dtype)
    )
    for key in [(0, 1), (-1, -1), (3, 0), 1, slice(1, 2), (slice(None), 0), ..., ()]:
        compare(ws, array, key)
        compare(ws, lambda make: array(make)[1], key)


@pytest.mark.parametrize("ndim", [7, 8, 9, 12])
def test_many_axes(ws, ndim):
    array = packed(np.arange(2**ndim, dtype="i2").reshape((2,) * ndim))
    for key in [1, (1,) * ndim, (1,) * (ndim + 1), (slice(None, None, -1),) * ndim, (0, slice(1, 2)) * 3]:
        compare(ws, array, key)


def test_a_part_of_what_is_read_only_is_read_only(ws):
    for key in [0, slice(1), (slice(None), 1), (0, slice(None)), (0, 0)]:
        three_ways(ws, operator.itemgetter(key), lambda make: read_only(make(np.ones((2, 3)))))


def test_a_part_of_a_part(ws):
    keys = [slice(None, None, -2), slice(1, None), 0, slice(2, 0, -1), (slice(None), 1)]
    for path in itertools.product(keys, repeat=3):

        def follow(array, path=path):
            for key in path:
                array = array[key]
            return array

        three_ways(ws, follow, packed(numbers("f8", 6 * 5 * 4).reshape(6, 5, 4)))


def test_writing_into_a_part_writes_into_the_array(ws):
    with fast_paths(on=True):
        a = ws.array(np.zeros((4, 6)))
        a[1:3, ::-2][:, 1] = 7
        a[-1][2:4] += 1
    want = np.zeros((4, 6))
    want[1:3, ::-2][:, 1] = 7
    want[-1][2:4] += 1
    assert a.tolist() == want.tolist()


PARTS = st.one_of(st.none(), st.integers(-8, 8), st.sampled_from([2**62, -(2**63), 2**65]))
KEYS = st.one_of(
    st.integers(-6, 6),
    st.slices(5),
    st.builds(slice, PARTS, PARTS, PARTS),
    st.just(...),
    st.none(),
    st.booleans(),
)


@given(
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    key=st.one_of(KEYS, st.lists(KEYS, max_size=5).map(tuple)),
    layout=st.sampled_from(["C", "F", "reversed", "strided"]),
)
def test_any_key(ws, shape, key, layout):
    array = numbers("f8", int(np.prod(shape))).reshape(shape)
    makers = {
        "C": lambda make: make(array),
        "F": lambda make: make(array.T.copy()).T,
        "reversed": lambda make: make(array)[(slice(None, None, -1),) * array.ndim],
        "strided": lambda make: make(np.stack([array, array], -1))[..., 0],
    }
    compare(ws, makers[layout], key)


# ---------------------------------------------------------------- keys that run code


class Index:
    """An index that does something when it is asked for its value."""

    def __init__(self, value=1, action=lambda: None):
        self.value, self.action, self.asked = value, action, 0

    def __index__(self):
        self.asked += 1
        self.action()
        return self.value


@pytest.mark.parametrize(
    "key",
    [
        lambda i: i,
        lambda i: slice(i, None),
        lambda i: slice(None, None, i),
        lambda i: (slice(i), None),
        lambda i: (slice(i), 9),
        lambda i: (0, slice(i), slice(i)),
        lambda i: (slice(i), ...),
    ],
)
def test_a_key_is_asked_as_often_as_by_numpy(ws, key):
    """And never for a part that is then not taken."""

    def asked(array):
        index = Index()
        return heard(lambda: array[key(index)])[0], index.asked

    three_ways(ws, asked, packed(np.arange(12.0).reshape(3, 4)))


def test_an_error_of_a_key_comes_through(ws):
    def fail():
        raise LookupError("in the key")

    for key in (slice(Index(action=fail), None), (0, slice(None, Index(action=fail)))):
        answer = three_ways(ws, operator.itemgetter(key), packed(np.arange(12.0).reshape(3, 4)))
        assert answer.facts == ("in the key",)
    three_ways(ws, lambda a: a[Index(action=fail)], packed(np.ones(3)))


@pytest.mark.parametrize(
    "make_key", [lambda i: slice(i, None), lambda i: (slice(0, i), slice(1)), lambda i: i]
)
@pytest.mark.parametrize("end", ["close", "leave", "destroy"])
def test_a_key_that_ends_the_array(make_key, end):
    """The part is stale, or refused; the memory belongs to nobody else meanwhile."""
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="1 MiB"), "ENDS")
            workspace.notify_scope_entered()
            array = workspace.array(np.arange(12.0).reshape(3, 4))

            def action(workspace=workspace, array=array):
                {
                    "close": array.close,
                    "leave": workspace.notify_scope_left,
                    "destroy": workspace.destroy_workspace,
                }[end]()

            index = Index(1, action)
            key = make_key(index)
            answer = tried(lambda key=key, array=array: array[key].validity)
            found.append((answer.kind, [in_numpys_words(str(fact)) for fact in answer.facts], index.asked))
            close_scopes(workspace)
    assert found[0] == found[1]
