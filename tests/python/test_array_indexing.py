"""Reading and writing by index: basic indices give views, fancy ones copies, errors are NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from array_support import address, assert_equal, open_scopes, sample

import ndarena

CUBE = (2, 3, 4)
BASIC = {
    "first": 0,
    "last": -1,
    "row": (1, 2),
    "element": (1, 2, 3),
    "slice": slice(0, 1),
    "step": (slice(None), slice(None, None, 2)),
    "reversed": (slice(None, None, -1), ..., slice(None, None, -2)),
    "ellipsis": ...,
    "ellipsis and column": (..., 1),
    "element with ellipsis": (0, 1, 2, ...),
    "new axis": (None, 0, None),
    "all": (),
    "empty slice": slice(5, 9),
    "numpy integer": np.int8(1),
    "zero-dimensional integer": np.array(1),
}
FANCY = {
    "list": [1, 0, 1],
    "lists": ([0, 1], [2, 0]),
    "array": np.array([[0, 1], [1, 0]]),
    "uint8 array": np.array([0, 1], np.uint8),
    "mixed": (slice(None), [2, 0], slice(1, 3)),
    "separated": ([0, 1], slice(None), [3, 1]),
    "with new axis": (None, [0, 1]),
    "mask": np.arange(24).reshape(CUBE) % 5 == 0,
    "mask of rows": np.array([False, True]),
    "list of bool": [True, False],
    "true": True,
    "false": False,
    "empty list": [],
    "open mesh": np.ix_([0, 1], [2, 0], [3, 1]),
}
WRONG = {
    "too large": 2,
    "too small": (0, -4),
    "too many": (0, 0, 0, 0),
    "float": 1.5,
    "text": "x",
    "none of these": object(),
    "two ellipses": (..., ...),
    "mask of wrong length": np.array([True, False, True]),
    "array too large": np.array([0, 7]),
    "array of floats": np.array([0.0]),
    "lists that do not match": ([0, 1], [0, 1, 2]),
    "step of zero": slice(None, None, 0),
}


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


@pytest.mark.parametrize("index", [*BASIC.values(), *FANCY.values()], ids=[*BASIC, *FANCY])
@pytest.mark.parametrize("dtype", ["d", "?", "U3", "M8[D]", ">i4"])
class TestEveryIndex:
    def test_reading(self, scopes, index, dtype):
        """Views lie in the array, copies in the current workspace, elements are NumPy's scalars."""
        scopes.check(lambda a: a[index], sample(dtype, CUBE))

    def test_writing_a_scalar(self, scopes, index, dtype):
        def write(a):
            a[index] = a[1, 1, 1]

        scopes.check(write, sample(dtype, CUBE))

    def test_writing_an_array(self, scopes, index, dtype):
        values = sample(dtype, CUBE, start=50)[index]

        def write(a, b):
            a[index] = b

        scopes.check(write, sample(dtype, CUBE), np.array(values))

    def test_writing_into_a_plain_array(self, scopes, index, dtype):
        target, want = sample(dtype, CUBE), sample(dtype, CUBE)
        values = np.array(sample(dtype, CUBE, start=50)[index])
        want[index] = values
        target[index] = scopes.outer.array(values)[()]
        np.testing.assert_array_equal(target, want)


@pytest.mark.parametrize("index", WRONG.values(), ids=WRONG)
def test_wrong_indices_raise_numpys_error(scopes, index):
    def write(a):
        a[index] = 0

    assert issubclass(scopes.check(lambda a: a[index], sample("d", CUBE)).kind, Exception)
    assert issubclass(scopes.check(write, sample("d", CUBE)).kind, Exception)


def test_wrong_values_raise_numpys_error(scopes):
    def write(value):
        def call(a):
            a[:, 0] = value

        return call

    for value in [np.ones(3), "text", [1, [2]], 1j, None, object()]:
        scopes.check(write(value), sample("d"))
    scopes.check(write(2**80), sample("l"))


def test_elements_cannot_be_deleted(scopes):
    def delete(a):
        del a[0]

    got = scopes.check(delete, sample("d"))
    assert issubclass(got.kind, ValueError)


def test_workspace_arrays_as_indices(scopes):
    cube = sample("d", CUBE)
    scopes.check(lambda a, i: a[i], cube, np.array([1, 0]))
    scopes.check(lambda a, i: a[:, i, 0], cube, np.array([2, 2]))
    scopes.check(lambda a, m: a[m], cube, cube > 4)
    scopes.check(lambda a, i: a[i], cube, np.array(1))

    def write(a, m):
        a[m] = -1

    scopes.check(write, cube, cube > 4)


def test_a_workspace_array_indexes_a_plain_one(scopes):
    x = sample("d", (5,))
    got = x[scopes.outer.array([3, 1])]
    np.testing.assert_array_equal(got, x[[3, 1]])
    np.testing.assert_array_equal(x[scopes.outer.array(x) > 1], x[x > 1])


def test_writing_an_overlapping_part_of_itself(scopes):
    def shift(a):
        a[1:] = a[:-1]

    def reverse(a):
        a[...] = a[::-1]

    scopes.check(shift, sample("d", (9,)))
    scopes.check(reverse, sample("d", (9,)))


def test_a_view_writes_through(scopes):
    def write(a):
        a[1][2][0] = 77
        a[:, 0][1] = 5
        a.T[0, 0] = 9

    scopes.check(write, sample("d", CUBE))


def test_fields_of_a_structured_array(scopes):
    dtype = [("x", "i4"), ("y", "f8", (2,)), ("z", "S2")]
    for index in ["x", "y", "z", ["x", "z"], [], 0, slice(1, None), (0, 1)]:
        scopes.check(lambda a, index=index: a[index], sample(dtype))
    for name in ["nothing", ["x", "nothing"], ("x", 0)]:
        scopes.check(lambda a, name=name: a[name], sample(dtype))

    def write(a):
        a["x"] = 3
        a["y"][0] = 1.5
        a[1] = (7, [8, 9], b"q")

    scopes.check(write, sample(dtype))


def test_a_structured_scalar_is_a_leased_view(scopes):
    """It shares memory as in NumPy, and shows the old values after the memory of the array is given up."""
    a = scopes.inner.array(sample([("x", "i4"), ("y", "f8")], (3,)))
    row = a[1]
    assert type(row) is np.void
    row["x"] = 42
    assert a["x"][1] == 42
    del a
    for _ in range(8):
        scopes.inner.full(6, 99.0)
    assert row["x"] == 42
    assert row["y"] == 1.0


def test_iteration_gives_rows_as_views(scopes):
    a = scopes.outer.array(sample("d", (3, 2)))
    rows = list(a)
    assert [type(r) for r in rows] == [ndarena.WorkspaceArray] * 3
    for k, row in enumerate(rows):
        assert row.workspace is scopes.outer
        assert address(row) == address(a) + k * a.strides[0]
    rows[2][0] = -1
    assert a[2, 0] == -1


def test_iteration_over_a_vector_gives_scalars(scopes):
    for dtype in ["d", "?", "U3", "M8[D]"]:
        scopes.check(list, sample(dtype, (4,)))
    scopes.check(list, np.array(3.0))
    scopes.check(list, np.empty((0, 3)))
    scopes.check(lambda a: list(reversed(a)), sample("d", (4,)))
    scopes.check(lambda a: [*a, *enumerate(a)], sample("l", (3,)))


def test_iteration_checks_at_every_step():
    ws = ndarena.Workspace(id="STEPS")
    with ws:
        steps = iter(ws.ones((3, 2)))
        next(steps)
    with pytest.raises(ndarena.LeakedArrayError):
        next(steps)


def test_membership(scopes):
    for value in [1.5, 99, np.nan, "text", None, [0.5, 1.0, 1.5], [1, 2]]:
        scopes.check(lambda a, value=value: value in a, sample("d"))


def test_unpacking(scopes):
    a, b = scopes.outer.array([[1.0, 2.0], [3.0, 4.0]])
    assert_equal(a, np.array([1.0, 2.0]))
    assert_equal(b, np.array([3.0, 4.0]))


def test_pattern_matching_sees_no_sequence(scopes):
    """As an ndarray, a workspace array is no `collections.abc.Sequence`."""
    match scopes.outer.zeros(2):
        case [_, _]:
            matched = True
        case _:
            matched = False
    assert not matched


def test_items_of_a_read_only_view_cannot_be_written(scopes):
    def write(a):
        np.broadcast_to(a, (2, 2, 3))[0] = 1

    got = scopes.check(write, sample("d"))
    assert issubclass(got.kind, ValueError)


def test_indexing_in_another_workspace_gives_views_there_and_copies_here(scopes):
    a = scopes.outer.array(sample("d", CUBE))
    assert a[0].workspace is scopes.outer
    assert a[[0]].workspace is scopes.inner
    assert a[...].workspace is scopes.outer
