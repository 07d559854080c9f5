"""Sums into arrays whose elements overlap: the sums one after the other, or nothing at all."""

import itertools

import numpy as np
import pytest
from array_support import NUMERIC
from fast_support import fast_paths

from ndarena._core import _add_overlapping

SHAPE, STEPS = (2, 3, 4, 5), (7, 1, 2, 1)  # of the target, in elements; where they overlap
REACH = 1 + sum((length - 1) * step for length, step in zip(SHAPE, STEPS, strict=True))


def operands(dtype="f8", *, rows=True):
    """Make the memory of a target, the target, and what is added; ``rows`` lie in one piece, or in steps."""
    dtype = np.dtype(dtype)
    memory = np.arange(REACH).astype(dtype)
    target = np.ndarray(SHAPE, dtype, memory, 0, tuple(step * dtype.itemsize for step in STEPS))
    values = (np.arange(np.prod(SHAPE)) % 11).astype(dtype).reshape(SHAPE)
    return memory, target, values if rows else np.repeat(values, 2, axis=-1)[..., ::2]


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("dtype", [dtype for dtype in NUMERIC if dtype != "?"])
def test_every_element_gets_all_sums_in_their_order(dtype, rows):
    memory, target, values = operands(dtype, rows=rows)
    expected = memory.copy()
    for place in itertools.product(*map(range, SHAPE)):
        expected[np.dot(place, STEPS)] += values[place]
    assert _add_overlapping(target, values)
    np.testing.assert_array_equal(memory, expected)


def test_axes_that_go_on_from_one_to_the_other_are_one():
    target, values = np.zeros((3, 4, 5)), np.arange(60.0).reshape(3, 4, 5)
    assert _add_overlapping(target, values)
    np.testing.assert_array_equal(target, values)


def refused():
    """Go through what is left to others: by name, a target, the memory it is in, and what is added."""
    memory, target, values = operands()
    yield "another dtype", memory, target, values.astype("f4")
    yield "another byte order", memory, target, values.astype(">f8")
    yield "another shape", memory, target, values[..., :4]
    yield "another rank", memory, target, values[0]
    yield "no array", memory, target, values.tolist()
    yield "objects", memory, target, values.astype(object)
    yield "its own elements", memory, target, target
    yield "one element along a row", memory, np.broadcast_to(memory[:1], (9,)), np.ones(9)
    locked = np.ndarray(target.shape, "f8", memory.tobytes(), 0, target.strides)
    yield "a read-only target", np.asarray(locked), locked, values
    odd = np.zeros(8 * REACH + 1, "u1")[1:].view("f8")
    yield "memory that is not aligned", odd, np.ndarray(SHAPE, "f8", odd, 0, target.strides), values
    yield "nothing", memory, memory[:0], values[:0, 0, 0, 0]


@pytest.mark.parametrize(
    ("memory", "target", "values"), [pytest.param(*case, id=name) for name, *case in refused()]
)
def test_what_does_not_suit_is_left_alone(memory, target, values):
    before = memory.tobytes()
    assert not _add_overlapping(target, values)
    assert memory.tobytes() == before


def test_without_fast_paths_nothing_is_done():
    memory, target, values = operands()
    before = memory.copy()
    with fast_paths(on=False):
        assert not _add_overlapping(target, values)
    np.testing.assert_array_equal(memory, before)


def test_errors_are_numpys():
    target, values = np.full((2, 2), 1e308), np.full((2, 2), 1e308)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow encountered in add"):
        _add_overlapping(target, values)
    with np.errstate(over="ignore"):
        assert _add_overlapping(target, values)
