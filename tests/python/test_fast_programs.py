"""Operators on arrays that hypothesis draws: dtypes, sizes, layouts, bits, views of one another."""

from __future__ import annotations

import operator
import os

import numpy as np
import pytest
from fast_support import (
    BINARY,
    COMPARISONS,
    DTYPES,
    IN_PLACE,
    INTEGERS,
    OPERATORS,
    UNARY,
    edges,
    heard,
    numbers,
    packed,
    three_ways,
    tried,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ndarena

EXAMPLES = 3000 if os.environ.get("HYPOTHESIS_PROFILE") == "slow" else 250


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with workspace:
        yield workspace


SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from([1023, 1024, 1025, 2047, 2048, 2049, 2100, 32_768, 32_769])
)


@st.composite
def arrays(draw, dtype, n):
    """Draw any bits: NaN of every kind, infinities, subnormal numbers; or awkward values; or tame ones."""
    kind = draw(st.sampled_from(["bits", "awkward", "tame"]))
    if kind == "awkward" or (kind == "bits" and dtype.char in "gG?"):
        return numbers(dtype, n, draw(st.integers(0, 20)))
    if kind == "tame":
        return (np.arange(n) % 11 + draw(st.integers(0, 3))).astype(dtype)
    seed = draw(st.integers(0, 2**32 - 1))
    raw = np.random.default_rng(seed).bytes(n * dtype.itemsize)
    return np.frombuffer(raw, dtype).copy()


LAYOUTS = {
    "as it is": lambda a: a,
    "strided": lambda a: a.repeat(2)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "two axes": lambda a: a.reshape(2, -1) if len(a) % 2 == 0 and len(a) else a,
    "reverse order": lambda a: a.reshape(2, -1).T if len(a) % 2 == 0 and len(a) else a,
    "from the second on": lambda a: a[1:],
}


def layout(name, array):
    return lambda make: LAYOUTS[name](make(array))


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_two_operands(ws, data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    n = draw(SIZES)
    left = layout(draw(st.sampled_from([*LAYOUTS])), draw(arrays(dtype, n)))
    other = draw(st.sampled_from(["array", "array", "array", "scalar", "row", "other dtype"]))
    if other == "scalar":
        right = draw(st.sampled_from(edges(dtype)))
    elif other == "row":
        rows = draw(st.integers(1, 4))
        values = draw(arrays(dtype, n))
        left, right = packed(np.resize(values, (rows, n))), packed(draw(arrays(dtype, n)))
    else:
        second = draw(st.sampled_from(DTYPES)) if other == "other dtype" else dtype
        right = layout(draw(st.sampled_from([*LAYOUTS])), draw(arrays(second, n)))
    names = [*OPERATORS, *COMPARISONS]
    function = draw(st.sampled_from([*[getattr(operator, x) for x in names], *BINARY.values()]))
    swapped = draw(st.booleans())
    call = (lambda a, b: function(b, a)) if swapped else function
    mode = draw(st.sampled_from(["ignore", "warn", "raise"]))
    with np.errstate(all=mode):
        three_ways(ws, call, left, right, ask=heard)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_one_operand(ws, data):
    dtype = data.draw(st.sampled_from(DTYPES))
    array = data.draw(arrays(dtype, data.draw(SIZES)))
    name = data.draw(st.sampled_from([*LAYOUTS]))
    functions = [operator.neg, operator.pos, operator.abs, operator.invert, *UNARY.values()]
    function = data.draw(st.sampled_from(functions))
    with np.errstate(all=data.draw(st.sampled_from(["ignore", "warn", "raise"]))):
        three_ways(ws, function, layout(name, array), ask=heard)


def ends(n):
    return st.one_of(st.none(), st.integers(-n - 1, n + 1))


@st.composite
def parts(draw, n):
    step = st.one_of(st.none(), st.sampled_from([1, -1, 2, -2, 3]))
    return slice(draw(ends(n)), draw(ends(n)), draw(step))


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_in_place_on_views_of_one_array(ws, data):
    """Overlapping in whatever way: NumPy reads everything before it writes."""
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    n = draw(st.one_of(st.integers(0, 24), st.sampled_from([1025, 2050, 33_000])))
    array = draw(arrays(dtype, n))
    target, source = draw(parts(n)), draw(st.one_of(parts(n), st.none()))
    function = getattr(operator, draw(st.sampled_from(IN_PLACE)))

    def call(a):
        part = a[target]
        other = part if source is None else a[source]
        result = function(part, other)
        return result, a

    with np.errstate(all=draw(st.sampled_from(["ignore", "warn", "raise"]))):
        three_ways(ws, call, packed(array), ask=heard)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_in_place_with_others(ws, data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    n = draw(SIZES)
    target = layout(draw(st.sampled_from([*LAYOUTS])), draw(arrays(dtype, n)))
    kind = draw(st.sampled_from(["array", "scalar", "other dtype", "one"]))
    if kind == "scalar":
        source = draw(st.sampled_from(edges(dtype)))
    elif kind == "one":
        source = packed(draw(arrays(dtype, 1)))
    else:
        second = draw(st.sampled_from(DTYPES)) if kind == "other dtype" else dtype
        source = layout(draw(st.sampled_from([*LAYOUTS])), draw(arrays(second, n)))
    function = getattr(operator, draw(st.sampled_from(IN_PLACE)))
    # What NumPy leaves behind after a negative power, if it has to convert on the way, is never the same.
    assume(not (kind == "other dtype" and function is operator.ipow and second.kind == "i"))
    with np.errstate(all=draw(st.sampled_from(["ignore", "warn", "raise"]))):
        three_ways(ws, function, target, source, ask=heard)


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize("name", IN_PLACE)
def test_every_overlap(ws, name):
    function = getattr(operator, name)
    views = {
        "the one before": lambda a: (a[1:], a[:-1]),
        "the one after": lambda a: (a[:-1], a[1:]),
        "backwards": lambda a: (a, a[::-1]),
        "itself": lambda a: (a, a),
        "its copy": lambda a: (a, a[:]),
        "halves": lambda a: (a[: len(a) // 2], a[len(a) // 2 : 2 * (len(a) // 2)]),
        "halves that touch": lambda a: (a[: len(a) // 2 + 1], a[len(a) // 2 : 2 * (len(a) // 2) + 1]),
        "every second": lambda a: (a[::2][: len(a) // 2], a[1::2]),
        "a row": lambda a: (a[: len(a) // 4 * 4].reshape(4, -1), a[: len(a) // 4]),
        "the last row": lambda a: (a[: len(a) // 4 * 4].reshape(4, -1), a[len(a) // 4 * 3 : len(a) // 4 * 4]),
        "an element": lambda a: (a, a[2:3]),
    }
    with np.errstate(all="ignore"):
        for dtype in DTYPES:
            for n in (13, 70, 1024, 1100):
                for view in views.values():

                    def call(a, view=view):
                        target, source = view(a)
                        return function(target, source), a

                    three_ways(ws, call, packed(numbers(dtype, n)))


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("shape", [(7,), (3, 1)], ids=["a row", "a column"])
def test_a_row_or_a_column_in_place(ws, name, shape):
    function = getattr(operator, name)
    with np.errstate(all="warn"):
        for dtype in DTYPES:
            target = numbers(dtype, 21).reshape(3, 7)
            three_ways(
                ws,
                function,
                packed(target),
                packed(numbers(dtype, np.prod(shape), 4).reshape(shape)),
                ask=heard,
            )


def test_integers_at_their_limits(ws):
    """Division by zero, the smallest by minus one, negative powers, shifts out of range."""
    with np.errstate(all="warn"):
        for dtype in INTEGERS:
            limits = np.iinfo(dtype)
            values = [limits.min, limits.max, 0, 1, 2, dtype.itemsize * 8 - 1, dtype.itemsize * 8, 100]
            values += [-1, -2] if dtype.kind == "i" else [limits.max - 1]
            left = np.repeat(np.array(values, dtype), len(values))
            right = np.tile(np.array(values, dtype), len(values))
            for name in OPERATORS:
                function, in_place = getattr(operator, name), getattr(operator, "i" + name.rstrip("_"))
                three_ways(ws, function, packed(left), packed(right), ask=heard)
                for value in values:
                    part = packed(left[:7])
                    three_ways(ws, function, part, int(value), ask=heard)
                    three_ways(ws, function, int(value), part, ask=heard)
                    three_ways(ws, in_place, part, int(value), ask=heard)
                    three_ways(ws, in_place, part, packed(np.full(7, value, dtype)), ask=heard)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 0.0, 0.5, -0.5, 1.0, 2.0, -1.0, 2.5, 1j, True])
def test_powers(ws, exponent):
    """NumPy computes some of them otherwise."""
    with np.errstate(all="ignore"):
        for dtype in DTYPES:
            for n in (5, 19, 33_000):
                three_ways(ws, operator.pow, packed(numbers(dtype, n)), exponent)
                three_ways(ws, operator.ipow, packed(numbers(dtype, n)), exponent)
                three_ways(ws, operator.pow, exponent, packed(numbers(dtype, n)))


def test_a_target_that_is_read_only_is_refused(ws):
    def frozen(make):
        return np.broadcast_to(make(np.arange(6.0)), (6,))

    for name in IN_PLACE:
        three_ways(ws, getattr(operator, name), frozen, packed(np.arange(6.0)))
        three_ways(ws, getattr(operator, name), frozen, 2.0)


def test_in_place_into_a_dtype_that_does_not_hold_the_result(ws):
    for name in IN_PLACE:
        for one, other in [("i4", "f8"), ("f4", "f8"), ("u1", "i8"), ("?", "?"), ("f8", "c16"), ("i8", "i8")]:
            three_ways(ws, getattr(operator, name), packed(numbers(one, 9)), packed(numbers(other, 9)))


def test_an_expression_of_many_steps(ws):
    """What one step leaves behind in the arena is not seen by the next one."""

    def program(a, b):
        t = a * b + a - b
        t += a
        t[1:] -= t[:-1]
        return np.maximum(t, 0.0) / (np.exp(-abs(t)) + 1.0) - (t > 1.0)

    for n in (7, 1000, 40_000):
        x, y = numbers("f8", n) / 1e300, np.linspace(-3, 3, n)
        with np.errstate(all="ignore"):
            three_ways(ws, program, packed(x), packed(y), ask=tried)
