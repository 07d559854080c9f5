"""Large temporaries of expressions give their memory to the result; what anybody else holds is left alone."""

from __future__ import annotations

import ctypes
import functools
import itertools
import operator
import sys
import weakref

import numpy as np
import pytest
from fast_support import DTYPES, fast_paths, numbers, packed, three_ways
from test_fast_flags import MODES, causes, compare, spread

import ndarena
from ndarena._core import _reused_temporaries

LARGE = 256 << 10
N = 33_000  # of eight bytes: a little more than is large
FORMS = {
    "add": lambda t, b: t.copy() + b,
    "subtract": lambda t, b: t.copy() - b,
    "multiply": lambda t, b: t.copy() * b,
    "divide": lambda t, b: t.copy() / b,
    "floor_divide": lambda t, b: t.copy() // b,
    "remainder": lambda t, b: t.copy() % b,
    "left_shift": lambda t, b: t.copy() << b,
    "right_shift": lambda t, b: t.copy() >> b,
    "bitwise_and": lambda t, b: t.copy() & b,
    "bitwise_or": lambda t, b: t.copy() | b,
    "bitwise_xor": lambda t, b: t.copy() ^ b,
}
RIGHT = {
    "add": lambda t, b: b + t.copy(),
    "subtract": lambda t, b: b - t.copy(),
    "multiply": lambda t, b: b * t.copy(),
    "divide": lambda t, b: b / t.copy(),
    "floor_divide": lambda t, b: b // t.copy(),
    "remainder": lambda t, b: b % t.copy(),
    "left_shift": lambda t, b: b << t.copy(),
    "right_shift": lambda t, b: b >> t.copy(),
    "bitwise_and": lambda t, b: b & t.copy(),
    "bitwise_or": lambda t, b: b | t.copy(),
    "bitwise_xor": lambda t, b: b ^ t.copy(),
}
can_tell_callers = sys.platform == "linux" and sys.version_info < (3, 14)
"""Elsewhere nothing is reused: the same expressions, the same results, more memory."""


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="16 MiB"), "W")
    with workspace:
        yield workspace


def reused(call):
    """Count the temporaries that the call reuses, and give its result."""
    before = _reused_temporaries()
    result = call()
    return _reused_temporaries() - before, result


def operands(ws, dtype="d", n=N):
    rng = np.random.default_rng(1)
    return [ws.array((rng.random(n) * 100).astype(dtype)) for _ in range(2)]


@pytest.mark.skipif(not can_tell_callers, reason="callers cannot be told here")
@pytest.mark.parametrize("name", FORMS)
def test_every_operator_reuses_either_operand(ws, name):
    integers = "shift" in name or "bitwise" in name
    a, b = operands(ws, "l" if integers else "d")
    for form in (FORMS[name], RIGHT[name]):
        for other in (b, 3 if integers else 3.0):
            assert reused(lambda form=form, other=other: form(a, other))[0] == 1
    before = ws.current_offset
    result = FORMS[name](a, b)
    assert ws.current_offset == before + result.nbytes


@pytest.mark.skipif(not can_tell_callers, reason="callers cannot be told here")
def test_an_expression_needs_one_new_array(ws):
    a, b = operands(ws)
    before = ws.current_offset
    count, result = reused(lambda: a * b + a - b)
    assert count == 2
    assert ws.current_offset == before + result.nbytes
    assert ws.stats().peak_size == ws.current_offset
    assert reused(lambda: 2.0 * (a - b) / (1.0 - a) + b)[0] == 3


@pytest.mark.parametrize("name", FORMS)
def test_same_bits_and_words_as_numpy(ws, name):
    """Every dtype, values at the limits, either side, another array or a number."""
    becomes_wider = name in {"floor_divide", "left_shift", "right_shift"}
    for dtype in DTYPES:
        if dtype.kind == "b" and becomes_wider:
            continue  # NumPy itself fails: it writes integers into its temporary of bools
        n = LARGE // dtype.itemsize + 8
        first, second = packed(numbers(dtype, n)), packed(numbers(dtype, n, 3))
        number = numbers(dtype, 3, 1)[2]
        with np.errstate(all="ignore"):
            for form in (FORMS[name], RIGHT[name]):
                three_ways(ws, form, first, second)
                three_ways(ws, form, first, number.item())
                three_ways(ws, form, first, number)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["add", "multiply", "divide", "floor_divide", "remainder"])
def test_every_floating_point_error_in_every_mode(ws, name, mode):
    for char in "dl" if "d" in name else "d":
        found = causes(name, char)
        for left, right in found.values():
            quiet = [x[0] for x in found.get(0, [left, right])]
            a, b = (packed(spread(x[0], N, q)) for x, q in zip((left, right), quiet, strict=True))
            compare(ws, {"all": mode}, FORMS[name], a, b)
            compare(ws, {"all": mode}, RIGHT[name], b, a)
            compare(ws, {"all": mode}, FORMS[name], a, right[0].item())


def test_rows_columns_and_other_shapes(ws):
    rng = np.random.default_rng(2)
    matrix, row, column = (
        packed(rng.random((200, 200))),
        packed(rng.random(200)),
        packed(rng.random((200, 1))),
    )
    vector = packed(rng.random(40_000))
    for left, right in itertools.product([matrix, row, column, vector], repeat=2):
        for form in (FORMS["subtract"], RIGHT["subtract"]):
            three_ways(ws, form, left, right)
    three_ways(ws, lambda a, b: a.copy(order="F") - b.copy(order="F"), matrix, matrix)
    three_ways(ws, lambda a, b: a.copy() + b[::-1], matrix, matrix)
    three_ways(ws, lambda a: a.copy()[::-1] + a, matrix)
    three_ways(ws, lambda a: a.copy()[1:] + a[1:], matrix)
    three_ways(ws, lambda a, b: a.copy() + b.astype("f"), matrix, matrix)
    three_ways(ws, lambda a, b: a.astype("f").copy() + b, matrix, matrix)
    three_ways(ws, lambda a, b: a.astype("l").copy() / b.astype("l"), matrix, matrix)


class PyNumber:
    """`PyNumber_Add`, called by C code that holds the only reference."""

    def __init__(self, operand):
        self.operand = operand

    def __call__(self, other):
        add = ctypes.pythonapi.PyNumber_Add
        add.argtypes, add.restype = [ctypes.py_object, ctypes.py_object], ctypes.py_object
        return add(self.operand, other)


def boxed(temporary):
    """Put it into an array of objects, on which NumPy's loop calls operators."""
    box = np.empty(1, object)
    box[0] = temporary
    return box


OBJECTS = np.array([1.0], object)
HOLDERS = {
    "functools.partial": lambda t, b: functools.partial(operator.add, t, b),
    "a bound method": lambda t, b: functools.partial(t.__add__, b),
    "a reflected bound method": lambda t, b: functools.partial(t.__radd__, b),
    "operator.add with a tuple": lambda t, b: functools.partial(lambda both: operator.add(*both), (t, b)),
    "starmap": lambda t, b: functools.partial(
        lambda pairs: next(itertools.starmap(operator.add, pairs)), [(t, b)]
    ),
    "map": lambda t, b: functools.partial(lambda one: next(map(operator.add, one, [b])), [t]),
    "reduce": lambda t, b: functools.partial(functools.reduce, operator.add, [t, b]),
    "accumulate": lambda t, b: functools.partial(lambda both: list(itertools.accumulate(both))[1], [t, b]),
    "sum": lambda t, b: functools.partial(sum, [b], t),
    "PyNumber_Add": lambda t, b: functools.partial(PyNumber(t), b),
    "an array of objects on the left": lambda t, _: functools.partial(
        lambda box: (box + OBJECTS)[0], boxed(t)
    ),
    "an array of objects on the right": lambda t, _: functools.partial(
        lambda box: (OBJECTS + box)[0], boxed(t)
    ),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_whoever_else_calls_keeps_the_operand(ws, holder):
    """The only reference is held outside the interpreter's loop: two calls give the same bits."""
    a, b = operands(ws)
    call = HOLDERS[holder](a * b, b)
    count, (first, second) = reused(lambda: (call(), call()))
    assert count == 0
    assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


def test_what_has_a_name_is_left_alone(ws):
    a, b = operands(ws)
    t = a * b
    before = t.numpy().copy()
    assert reused(lambda: t + b)[0] == 0
    assert reused(lambda: b - t)[0] == 0
    listed, attribute = [t], type("Bag", (), {})()
    attribute.t = t
    assert reused(lambda: listed[0] + attribute.t)[0] == 0
    assert (t.numpy() == before).all()


def test_what_somebody_looks_at_is_left_alone(ws):
    """A NumPy view, a view of ours, a memoryview, a weak reference."""
    a, b = operands(ws)
    looks = []

    def seen(array, look):
        looks.append((look(array), np.array(array)))
        return array

    views = [lambda t: t.numpy(), lambda t: t[3:], memoryview, np.asarray, lambda t: t.T]
    for look in views:
        assert reused(lambda look=look: seen(a * b, look) + b)[0] == 0
        view, then = looks.pop()
        assert np.asarray(view).tobytes() == then[-len(view) :].tobytes()
    assert reused(lambda: seen(a * b, weakref.ref) + b)[0] == 0


def test_small_arrays_other_workspaces_and_closed_scopes(ws):
    a, b = operands(ws, n=LARGE // 8 - 1)
    assert reused(lambda: a * b + a)[0] == 0
    a, b = operands(ws)
    other = ndarena.Workspace(id="OTHER")

    def into_other():
        with other:
            return (a.copy() + b).workspace

    def outside():
        with other:
            return a.copy()

    assert into_other() == other
    with ndarena.scope_out_of_workspaces():
        assert isinstance(a.copy() + b, np.ndarray)
    with pytest.raises(ndarena.StaleArrayError):
        outside() + b
    assert [np.asarray(x).shape for x in (a, b)] == [(N,), (N,)]


def test_a_temporary_of_an_outer_workspace_is_left_alone(ws):
    a, b = operands(ws)
    held = [a * b]
    with ndarena.Workspace(id="INNER") as inner:
        count, result = reused(lambda: held.pop() + b)
        assert count == 0
        assert result.workspace == inner


def test_the_switch_turns_it_off(ws):
    a, b = operands(ws)
    with fast_paths(on=False):
        assert reused(lambda: a * b + a)[0] == 0


def test_a_steady_loop_stays_flat(ws):
    a, b = operands(ws)
    with ndarena.Workspace(id="LOOP") as loop:
        pass
    sizes = set()
    for turn in range(20):
        with loop:
            result = a * b + a - b
            assert np.asarray(result[:3]).tolist() == (a.numpy() * b + a - b)[:3].tolist()
            del result
        if turn > 5:
            sizes.add((loop.current_size, loop.stats().spilled_size))
    assert len(sizes) == 1


def test_under_a_trace_function(ws):
    """Tracing changes how the interpreter runs; the numbers stay."""
    a, b = operands(ws)
    plain = a.numpy().copy(), b.numpy().copy()

    def expression():
        return a * b + a - b

    def trace(*_):
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = expression()
    finally:
        sys.settrace(before)
    assert (result.numpy() == plain[0] * plain[1] + plain[0] - plain[1]).all()
    assert (a.numpy() == plain[0]).all()


def test_generators_and_nested_calls(ws):
    """A temporary waits on the stack of a frame while other code runs."""
    a, b = operands(ws)

    def doubled(array):
        return array * 2.0

    def later():
        yield (a * b) + (yield)

    generator = later()
    next(generator)
    result = generator.send(b)
    assert (result.numpy() == a.numpy() * b.numpy() + b.numpy()).all()
    nested = (a * b) + doubled(a * b)
    product = a.numpy() * b.numpy()
    assert (nested.numpy() == product + product * 2.0).all()


def test_bools_become_integers(ws):
    flags = ws.array(np.resize([True, False, True], LARGE + 8))
    for form in (lambda: flags.copy() << flags, lambda: flags.copy() // flags):
        with np.errstate(divide="ignore"):
            assert form().dtype == np.int8
