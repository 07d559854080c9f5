"""Functions of the module, reductions and joins: fast path, general path and NumPy."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from fast_support import DTYPES, UFUNCS, fast_paths, heard, laid_out, numbers, packed, read_only, three_ways
from support import KIB, fixed

import ndarena
from ndarena._core import functions

NAMES = [name for name in vars(functions) if not name.startswith("_")]
OF_UFUNCS = [name for name in NAMES if isinstance(getattr(np, name), np.ufunc)]
REDUCTIONS = ["sum", "prod", "max", "min"]
SHAPES = [
    (5,),
    (3, 4),
    (2, 3, 4),
    (0,),
    (0, 3),
    (3, 0),
    (),
    (1,),
    (1, 1),
    (3, 1),
    (1, 3),
    (2, 1, 3),
    (300, 7),
]
AXES = [(), (0,), (-1,), (1,), (2,), (None,), (-3,), (5,), (2**70,), (True,), ((0,),), ((0, 1),), (1.0,)]


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="8 MiB"), "W")
    with np.errstate(all="ignore"), workspace:
        yield workspace


def of_module(name):
    """Give the module's function where an array is ours, NumPy's elsewhere."""

    def call(*args, **kwargs):
        ours = any(type(x) is ndarena.WorkspaceArray for x in [*args, *kwargs.values()])
        return getattr(ndarena if ours else np, name)(*args, **kwargs)

    return call


def test_the_table_is_numpys():
    assert len(OF_UFUNCS) > 85
    assert all(getattr(ndarena, name) is getattr(functions, name) for name in NAMES)
    assert all(getattr(np, name).__name__ in UFUNCS for name in OF_UFUNCS)
    for one, other in itertools.combinations(NAMES, 2):
        is_same = getattr(np, one) is getattr(np, other)
        assert (getattr(ndarena, one) is getattr(ndarena, other)) == is_same, (one, other)


@pytest.mark.parametrize("name", OF_UFUNCS)
def test_every_function_on_every_dtype(ws, name):
    call, nin = of_module(name), getattr(np, name).nin
    for dtype in DTYPES:
        for n in (1, 17, 2049, 32_769):
            three_ways(ws, call, *[packed(numbers(dtype, n, 3 * k)) for k in range(nin)])
        square = numbers(dtype, 9).reshape(3, 3)
        three_ways(ws, call, *[packed(square)] * nin)
        three_ways(ws, call, *[packed(square.T.copy().T)] * nin)
        if nin == 2:
            three_ways(ws, call, packed(square), packed(square[0]))
            for scalar in (2, 0.5, True, np.float32(2), 10**30):
                three_ways(ws, call, packed(square), scalar)
                three_ways(ws, call, scalar, packed(square))


KEYWORDS = [
    {"dtype": "f4"},
    {"dtype": None},
    {"dtype": "x"},
    {"casting": "no"},
    {"casting": "bad"},
    {"casting": None},
    {"order": "F"},
    {"order": "X"},
    {"subok": False},
    {"subok": None},
    {"signature": "dd->d"},
    {"signature": "d->d"},
    {"signature": None},
    {"sig": "dd->d"},
    {"where": True},
    {"where": np.array(True)},
    {"out": None},
    {"out": (None,)},
    {"axes": [(0, 1), (0, 1), (0, 1)]},
    {"axis": 0},
    {"keepdims": True},
    {"extobj": []},
]


NO_FLOATS = {name for name in OF_UFUNCS if not any(t.startswith("d") for t in getattr(np, name).types)} | {
    "matmul"
}
"""Ufuncs of integers; and the one that takes no mask."""


@pytest.mark.parametrize("name", [n for n in OF_UFUNCS if getattr(np, n).__name__ == n])
def test_every_keyword_of_a_ufunc(ws, name):
    call, nin = of_module(name), getattr(np, name).nin
    square = numbers("f8", 9).reshape(3, 3)
    for kwargs in KEYWORDS:
        three_ways(ws, lambda *x, kwargs=kwargs: call(*x, **kwargs), *[packed(square)] * nin)
    for mask in (None, False, [True, False, True]):

        def masked(*arrays, mask=mask):
            return call(*arrays[:-1], out=arrays[-1], where=mask)

        if name not in NO_FLOATS:
            dtype = getattr(np, name)(*[np.ones((1, 1))] * nin).dtype
            three_ways(ws, masked, *[packed(square)] * nin, packed(np.zeros((3, 3), dtype)))


def test_an_output_may_be_given_by_place(ws):
    for name in ("exp", "add", "matmul"):
        call, nin = of_module(name), getattr(np, name).nin
        three_ways(ws, call, *[packed(np.ones((3, 3)))] * nin, packed(np.zeros((3, 3))))
        three_ways(ws, call, *[packed(np.ones((3, 3)))] * nin, packed(np.zeros((3, 2))))
        three_ways(ws, call, *[packed(np.ones((3, 3)))] * nin, packed(np.zeros((3, 3), "i4")))


def test_plain_arguments_get_plain_results(ws):
    for name in ("exp", "add", "sum", "where", "concatenate"):
        arguments = {"exp": (1.0,), "add": (1, np.ones(2)), "sum": ([1, 2],), "where": (True, 1, 2)}
        args = arguments.get(name, ([np.ones(2), np.ones(1)],))
        got, want = getattr(ndarena, name)(*args), getattr(np, name)(*args)
        assert type(got) is type(want)
        assert np.array_equal(got, want)


def test_operands_that_take_part_themselves_are_asked(ws):
    class Theirs:
        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            return "theirs", ufunc.__name__, method, len(inputs)

        def __array_function__(self, func, types, args, kwargs):
            return "theirs", func.__name__

    ours = ws.array([1.0, 2.0])
    for on in (True, False):
        with fast_paths(on=on):
            assert ndarena.add(ours, Theirs()) == ("theirs", "add", "__call__", 2)
            assert ndarena.exp(Theirs()) == ("theirs", "exp", "__call__", 1)
            assert ndarena.sum(Theirs()) == ("theirs", "sum")
            assert ndarena.where(ours > 1, Theirs(), ours) == ("theirs", "where")


# ---------------------------------------------------------------- reductions


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_every_dtype_shape_and_axis(ws, name):
    method = {axes: operator.methodcaller(name, *axes) for axes in AXES}
    for dtype in [*DTYPES, np.dtype("m8[s]"), np.dtype(">f8")]:
        for shape in SHAPES:
            count = int(np.prod(shape))
            values = np.arange(count).astype(dtype) if dtype.kind == "m" else numbers(dtype, count)
            array = packed(values.reshape(shape))
            for call in method.values():
                three_ways(ws, call, array)
            three_ways(ws, operator.methodcaller(name, axis=0), array)
            three_ways(ws, lambda a: getattr(np, name)(a, axis=-1), array)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_every_layout(ws, name):
    for array in laid_out(numbers("f4", 35).reshape(5, 7)).values():
        for axis in (None, 0, 1, -1):
            three_ways(ws, operator.methodcaller(name, axis), array)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_with_other_arguments(ws, name):
    array = packed(numbers("f8", 24).reshape(2, 3, 4))
    for kwargs in [
        {"axis": 0, "keepdims": True},
        {"keepdims": 1},
        {"axis": 1, "initial": 3},
        {"where": np.ones((2, 3, 4), bool), "initial": 0},
        {"nothing": 1},
        {"out": None},
        {"axis": 0, "out": None},
        {"axis": "x"},
        {"axis": None},
    ]:
        three_ways(ws, operator.methodcaller(name, **kwargs), array)


def heard_anywhere(call):
    """NumPy's methods of arrays warn from a file of NumPy's own, the quick ones from the caller's."""
    result, said = heard(call)
    return result, [warning[:2] for warning in said]


@pytest.mark.parametrize("mode", ["warn", "raise", "call"])
def test_errors_in_reductions(ws, mode):
    array = np.array([[1e308, 1e308, -1.0], [1e-308, np.inf, -np.inf]])
    for name, axes in itertools.product(REDUCTIONS, [(), (0,), (1,)]):
        said = []
        with np.errstate(all=mode, call=lambda *x, said=said: said.append(x)):
            three_ways(ws, operator.methodcaller(name, *axes), packed(array), ask=heard_anywhere)
        assert len(said) % 3 == 0
        assert said[: len(said) // 3] * 3 == said


def test_reductions_count_the_same():
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            workspace = ndarena.Workspace(fixed(64 * KIB), "COUNTED")
            seen = []
            for shape, name, axes in itertools.product(
                [(3, 4), (0, 3), (4,)], REDUCTIONS, [(), (0,), (1,), (7,)]
            ):
                with workspace:
                    answer = heard(lambda w=workspace, s=shape, n=name, a=axes: getattr(w.zeros(s), n)(*a))
                    seen.append((answer, workspace.this_cycle_allocations, workspace.current_offset))
            found.append(seen)
    assert found[0] == found[1]


# ---------------------------------------------------------------- joins

LARGE = [
    packed(np.arange(4096.0)),
    packed(np.arange(4096.0)[np.newaxis]),
    lambda make: make(np.arange(4096.0)[np.newaxis]).T,
    packed(np.arange(8192.0).reshape(2, 4096, 1)),
    lambda make: make(np.arange(8192.0).reshape(1, 2, 4096)).transpose(1, 2, 0),
    lambda make: make(np.arange(8192.0).reshape(64, 128)).T,
    packed(np.arange(8192.0).reshape(64, 128)),
    packed(np.arange(4096, dtype=">f8")),
    packed(np.arange(4096.0).astype(np.dtype("f8", metadata={"a": 1}))),
    packed(np.arange(40000, dtype="i2").reshape(2, -1)),
    packed(np.arange(4096).astype("M8[s]")),
    packed(np.zeros((0, 4096))),
    lambda make: read_only(make(np.arange(4096.0))),
    packed(np.array(1.0)),
    packed(np.arange(3.0)),
]


@pytest.mark.parametrize("name", ["concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"])
def test_joins(ws, name):
    join = getattr(np, name)
    for array in LARGE:
        three_ways(ws, lambda a: join([a, a]), array)
        three_ways(ws, lambda a: join((a, a, a)), array)
        if name in {"concatenate", "stack"}:
            for axis in (0, 1, -1, 2, 7, None, True):
                three_ways(ws, lambda a, axis=axis: join([a, a], axis=axis), array)
                three_ways(ws, lambda a, axis=axis: join([a, a], axis), array)
            three_ways(ws, lambda a: join([a, a], dtype="f4", casting="unsafe"), array)
            three_ways(
                ws, lambda a: getattr(ndarena if type(a) is not np.ndarray else np, name)([a, a]), array
            )


def test_joins_of_different_arrays(ws):
    for one, other in itertools.combinations(LARGE, 2):
        for name in ("concatenate", "stack"):
            three_ways(ws, lambda a, b, name=name: getattr(np, name)([a, b]), one, other)
            three_ways(ws, lambda a, b, name=name: getattr(np, name)([b, a], 1), one, other)
    three_ways(ws, lambda a: np.concatenate([a[:3000], np.ones(5000), a]), LARGE[0])
    three_ways(ws, lambda a: np.concatenate([a, [1.0]]), LARGE[0])
    three_ways(ws, lambda a: np.concatenate([]), LARGE[0])
