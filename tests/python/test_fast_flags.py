"""Every loop, every floating-point error, every mode of `errstate`: the same words from all three ways."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import operator

import numpy as np
import pytest
from fast_support import BINARY, DTYPES, IN_PLACE, ONE_RESULT, awkward, fast_paths, heard, packed, three_ways

import ndarena

MODES = ["ignore", "warn", "raise", "call", "print", "log"]
FLAGS = {"divide": 1, "over": 2, "under": 4, "invalid": 8}
"""The errors of NumPy, and the bits by which it tells them to a callback."""

SHORT, LONG = 19, 40_000
"""Sizes below and above the one from which other threads may run."""


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with workspace:
        yield workspace


def pool(dtype):
    """Values of the dtype, among them those that cause errors."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        small = [0, 1, 3] if dtype.kind == "u" else [0, 1, 3, -1]
        return np.array([*small, limits.max, limits.min], dtype)
    values = awkward(np.empty(0, dtype).real.dtype)[:13]
    if dtype.kind == "c":
        pairs = itertools.product(values[[0, 1, 6, 8, 9]], repeat=2)
        return np.array([complex(x, y) for x, y in pairs], dtype)
    return values


def raised_by(ufunc, operands):
    """Give the bits of the errors that the ufunc reports."""
    seen = 0

    def note(_, flags):
        nonlocal seen
        seen |= flags

    with np.errstate(all="call", call=note):
        ufunc(*operands)
    return seen


@functools.cache
def causes(name, char):
    """Find operands of one element for each set of errors that the ufunc reports in that dtype."""
    ufunc, values = ONE_RESULT[name], pool(np.dtype(char))
    found = {}
    for elements in itertools.product(values, repeat=ufunc.nin):
        operands = [np.array([x], char) for x in elements]
        try:
            flags = raised_by(ufunc, operands)
        except (TypeError, ValueError):
            continue
        if flags not in found:
            found[flags] = operands
    return found


def spread(element, n, quiet):
    """Make `n` elements, of which the first, one in the middle and the last cause the error."""
    array = np.full(n, quiet, element.dtype)
    array[[0, n // 2, -1]] = element
    return array


def in_mode(settings, call):
    """Make the call in that state of errors; what it gave, and everything it said on any way."""
    said = []
    log = io.StringIO()
    printed = io.StringIO()
    tell = log if "log" in settings.values() else (lambda *args: said.append(args))
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        np.errstate(**settings, call=tell),
    ):
        answer = heard(call)
    return answer, said, log.getvalue(), printed.getvalue()


def compare(ws, settings, call, *makers):
    return three_ways(ws, call, *makers, ask=lambda call: in_mode(settings, call))


def test_the_causes_are_found():
    """Each error is caused somewhere, alone; and integers cause some, too."""
    alone = {flags for name in ONE_RESULT for flags in causes(name, "d")}
    assert alone >= {0, *FLAGS.values()}
    assert set(causes("floor_divide", "l")) == {0, FLAGS["divide"], FLAGS["over"]}
    assert set(causes("multiply", "D")) > {0}
    assert set(causes("exp", "e")) >= {FLAGS["over"], FLAGS["under"]}


@pytest.mark.parametrize("name", ONE_RESULT)
def test_every_error_in_every_mode(ws, name):
    ufunc = ONE_RESULT[name]
    for dtype, mode in itertools.product(DTYPES, MODES):
        found = causes(name, dtype.char)
        for operands in found.values():
            quiet = [x[0] for x in found.get(0, operands)]
            for n in (1, SHORT):
                arrays = [spread(x[0], n, q) for x, q in zip(operands, quiet, strict=True)]
                compare(ws, {"all": mode}, ufunc, *map(packed, arrays))


@pytest.mark.parametrize("name", ONE_RESULT)
def test_every_error_in_long_loops_and_with_rows_and_scalars(ws, name):
    ufunc = ONE_RESULT[name]
    for dtype, mode in itertools.product([np.dtype("f"), np.dtype("d")], ["warn", "raise"]):
        for operands in causes(name, dtype.char).values():
            long = [packed(spread(x[0], LONG, x[0])) for x in operands]
            compare(ws, {"all": mode}, ufunc, *long)
            if ufunc.nin == 2:
                left, right = operands
                rows, row = packed(np.full((3, 5), left[0])), packed(np.full(5, right[0]))
                compare(ws, {"all": mode}, ufunc, rows, row)
                compare(ws, {"all": mode}, ufunc, rows, right[0])
                compare(ws, {"all": mode}, ufunc, rows, float(right[0]))
                compare(ws, {"all": mode}, ufunc, float(left[0]), row)


@pytest.mark.parametrize("error", FLAGS)
@pytest.mark.parametrize("mode", ["warn", "raise", "call"])
def test_each_error_has_a_mode_of_its_own(ws, error, mode):
    """One error is reported, the others are ignored; and the other way round."""
    others = dict.fromkeys(set(FLAGS) - {error}, "ignore")
    reversed_ = {error: "ignore", **dict.fromkeys(others, mode)}
    for name in ["divide", "exp", "log", "multiply", "power", "logaddexp"]:
        for operands in causes(name, "d").values():
            arrays = [packed(spread(x[0], SHORT, x[0])) for x in operands]
            compare(ws, {error: mode, **others}, ONE_RESULT[name], *arrays)
            compare(ws, reversed_, ONE_RESULT[name], *arrays)


NAMES = """
    add subtract multiply divide floor_divide remainder power
    left_shift right_shift bitwise_and bitwise_or bitwise_xor
"""
OPERATORS = dict(zip(IN_PLACE, NAMES.split(), strict=True))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("mode", MODES)
def test_in_place(ws, name, mode):
    """What was computed before an error is reported stays in the array, as with NumPy."""
    function, ufunc = getattr(operator, name), OPERATORS[name]
    for dtype in DTYPES:
        found = causes(ufunc, dtype.char)
        for left, right in found.values():
            quiet = [x[0] for x in found.get(0, [left, right])]
            for n in (1, SHORT):
                target = packed(spread(left[0], n, quiet[0]))
                compare(ws, {"all": mode}, function, target, packed(spread(right[0], n, quiet[1])))
                compare(ws, {"all": mode}, function, target, right[0].item())
    for n in (1024, 1025, LONG):  # what fits into the memory for a second try, and what does not
        for left, right in causes(ufunc, "d").values():
            target = packed(spread(left[0], n, left[0]))
            compare(ws, {"all": mode}, function, target, packed(spread(right[0], n, right[0])))


@pytest.mark.parametrize("mode", MODES)
def test_products_of_matrices(ws, mode):
    for char in "efdFD":
        largest = np.finfo(char).max
        for value, other in [(largest, largest), (np.inf, 0), (np.inf, -np.inf), (1, 2)]:
            left, right = np.full((3, 4), value, char), np.full((4, 2), other, char)
            left[0, 1], right[1, 0] = -value, other
            compare(ws, {"all": mode}, operator.matmul, packed(left), packed(right))


def test_errors_of_python_come_through(ws):
    """A loop for integers sets an exception itself."""
    for char in "bhilq":
        for exponents in ([1, 2, -1, 3], [-1, 1, 1, 1], [1, 1, 1, -5]):
            base, exponent = packed(np.arange(4, dtype=char)), packed(np.array(exponents, char))
            for function in (np.power, operator.pow, operator.ipow):
                three_ways(ws, function, base, exponent)
                three_ways(ws, function, base, -1)
            rows = packed(np.arange(12, dtype=char).reshape(3, 4))
            three_ways(ws, np.power, rows, exponent)


def test_errors_left_behind_by_others_are_not_ours(ws):
    """Flags that were raised before the call are not reported by it."""
    cause = np.array([1e308])
    a = ws.array([1.0, 2.0])
    with np.errstate(all="ignore"):
        cause * cause
    with np.errstate(all="raise"):
        assert (a + a).tolist() == [2.0, 4.0]
        assert (a + 1.0).tolist() == [2.0, 3.0]
        a *= a
        assert a.tolist() == [1.0, 4.0]


def test_a_signalling_nan_is_told_of_as_numpy_does(ws):
    for char, raw in (("f", np.uint32(0x7FA00001)), ("d", np.uint64(0x7FF4000000000001))):
        signalling = np.array([raw]).view(char)
        for function in BINARY.values():
            if (char * 2) in {t.split("->")[0] for t in function.types}:
                compare(ws, {"all": "warn"}, function, packed(signalling), packed(np.ones(1, char)))
                compare(ws, {"all": "warn"}, function, packed(np.ones(1, char)), signalling[0])


def test_an_underflow_that_is_ignored_is_not_computed_again(ws):
    small = ws.array(np.full(64, -95.0, np.float32))
    with fast_paths(on=True):
        before = ws.stats().this_cycle_allocations
        with np.errstate(under="ignore"):
            result = np.exp(small)
        assert ws.stats().this_cycle_allocations - before == result.nbytes
        with (
            np.errstate(under="raise"),
            pytest.raises(FloatingPointError, match="underflow encountered in exp"),
        ):
            np.exp(small)
    np.testing.assert_array_equal(result.numpy(), np.exp(small.numpy()))
