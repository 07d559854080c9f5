"""Sums and extremes by NumPy's loops: the same bits, dtypes and warnings as NumPy's own `reduce`."""

from __future__ import annotations

from itertools import product
from operator import methodcaller

import numpy as np
import pytest
from fast_support import DTYPES, fast_paths, three_ways

import ndarena

SHAPES = [
    (1,),
    (7,),
    (8,),
    (129,),
    (1000,),
    (8192,),
    (8193,),
    (20_001,),
    (100_000,),
    (32, 128),
    (3, 2),
    (5, 1),
    (1, 9),
    (1, 333),
    (3, 4, 5),
]
METHODS = ["sum", "prod", "max", "min"]


def example(dtype, shape):
    """Numbers of both signs where there are two, none of which meets the limits of its dtype."""
    numbers = np.random.default_rng(len(shape)).standard_normal(shape) * 3
    return (abs(numbers) if dtype.kind == "u" else numbers).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_reductions_have_numpys_bits(dtype, name):
    ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with ws:
        for shape in SHAPES:
            for axis, keepdims in product((None, 0, -1), (False, True)):
                numbers = example(dtype, shape)
                reduce = methodcaller(name, axis=axis, keepdims=keepdims)
                three_ways(ws, reduce, lambda make, numbers=numbers: make(numbers))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "values", [[-0.0, -0.0], [np.nan, 1.0], [np.inf, -np.inf], [1e38, 3e38], [np.inf, 1.0]], ids=str
)
def test_what_is_special_in_a_sum_is_numpys(dtype, values):
    ws = ndarena.Workspace(id="W")
    with ws:
        for name in METHODS:
            for shaped in (values, [values], [values, values]):
                numbers = np.array(shaped, dtype)
                for axis in (None, 0, -1):
                    reduce = methodcaller(name, axis=axis)
                    three_ways(ws, reduce, lambda make, numbers=numbers: make(numbers))


def test_a_sum_that_overflows_raises_as_numpy_has_it():
    x = np.full(16, 3e38, np.float32)
    with ndarena.Workspace(id="W") as ws, np.errstate(over="raise"):
        a = ws.array(x)
        with pytest.raises(FloatingPointError) as ours:
            a.sum()
        with pytest.raises(FloatingPointError) as numpys:
            np.add.reduce(x)
    assert str(ours.value) == str(numpys.value)


def test_a_sum_of_a_stale_array_is_refused():
    ws = ndarena.Workspace(id="W")
    with ws:
        a = ws.ones(16)
        assert a.sum() == 16
    with pytest.raises(ndarena.StaleArrayError):
        a.sum()


def test_the_switch_leaves_sums_to_numpy():
    with ndarena.Workspace(id="W") as ws, fast_paths(on=False):
        assert ws.ones((3, 4)).sum(axis=0).tolist() == [3.0] * 4
