"""Fast paths into `out=`: the same bits, errors and contents as the general path and NumPy."""

import warnings

import numpy as np
import pytest
from fast_support import DTYPES, ONE_RESULT, fast_paths, numbers, packed, three_ways

import ndarena

UNARY = ["negative", "exp", "sqrt", "log", "absolute", "floor", "isnan", "signbit"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "fmin", "greater", "hypot", "logical_and"]
SIZES = [1, 7, 16, 2047, 2049, 5000, 40_000]
MODES = ["ignore", "warn", "raise"]


def sample(size, dtype="f4", seed=1):
    values = np.random.default_rng(seed).standard_normal(size).astype(dtype)
    values.reshape(-1)[::5] = 0
    values.reshape(-1)[::11] = np.inf
    return values


def three_times(ws, call, *operands, mode="ignore"):
    """Call in three ways; what came back, was said, and stands in the operands afterwards."""
    found = []
    for place in ("fast", "general", "plain"):
        held = [operand.copy(order="K") if place == "plain" else ws.array(operand) for operand in operands]
        with (
            fast_paths(on=place == "fast"),
            np.errstate(all=mode),
            warnings.catch_warnings(record=True) as heard,
        ):
            warnings.simplefilter("always")
            try:
                result = call(*held)
                answer = next((i for i, operand in enumerate(held) if operand is result), "new")
            except (FloatingPointError, ValueError, TypeError) as error:
                answer = f"{type(error).__name__}: {error}".replace("WorkspaceArray", "ndarray")
        said = [str(warning.message) for warning in heard]
        found.append((answer, said, [np.asarray(operand).tobytes() for operand in held]))
    assert found[0] == found[1] == found[2]
    return found[0][0]


@pytest.fixture
def ws():
    with ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="32 MiB"), "OUT") as workspace:
        yield workspace


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", UNARY)
def test_one_operand(ws, name, mode):
    function = getattr(np, name)
    dtype = function(np.ones(1, "f4")).dtype
    for size in SIZES:
        x = sample(size)
        three_times(ws, lambda x, out: function(x, out=out), x, np.full(size, 3, dtype), mode=mode)
        if dtype == x.dtype:
            three_times(ws, lambda x: function(x, out=x), x, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(ws, name, mode):
    function = getattr(np, name)
    dtype = function(np.ones(1, "f4"), np.ones(1, "f4")).dtype
    for size in SIZES:
        x, y, out = sample(size), sample(size, seed=2), np.full(size, 3, dtype)
        three_times(ws, lambda x, y, out: function(x, y, out=out), x, y, out, mode=mode)
        three_times(ws, lambda x, out: function(x, 0.5, out=out), x, out, mode=mode)
        three_times(ws, lambda x, out: function(2, x, out=out), x, out, mode=mode)
        if dtype == x.dtype:
            three_times(ws, lambda x, y: function(x, y, out=x), x, y, mode=mode)
            three_times(ws, lambda x, y: function(x, y, out=y), x, y, mode=mode)
            three_times(ws, lambda x: function(x, x, out=x), x, mode=mode)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("other", [(7,), (5, 1), (1, 7), (5, 7), (1,), ()])
def test_broadcasting(ws, other, order):
    x, y = sample((5, 7)), sample(other, seed=2)
    out = np.full((5, 7), 3, "f4", order=order)
    three_times(ws, lambda x, y, out: np.add(x, y, out=out), x, y, out)
    three_times(ws, lambda x, y, out: np.subtract(y, x, out=out), x, y, out)
    three_times(ws, lambda x, y: np.multiply(x, y, out=x), x, y)


def test_outputs_that_meet_an_input_in_another_way(ws):
    x = sample(100)
    three_times(ws, lambda x: np.add(x[1:], x[:-1], out=x[1:]), x)
    three_times(ws, lambda x: np.add(x[1:], x[:-1], out=x[:-1]), x)
    three_times(ws, lambda x: np.add(x, x[::-1], out=x), x)
    three_times(ws, lambda x: np.greater(x, 0.0, out=x.view("?")[:100]), x)
    square = sample((8, 8))
    three_times(ws, lambda x: np.add(x, x.T, out=x), square)
    three_times(ws, lambda x: np.add(x, x[0], out=x), square)
    three_times(ws, lambda x: np.matmul(x, x, out=x), square)
    three_times(ws, lambda x: np.matmul(x[:4, :4], x[4:, 4:], out=x[2:6, 2:6]), square)


def test_outputs_that_do_not_fit(ws):
    x = sample(16)
    for out in (
        np.ones(15, "f4"),
        np.ones((2, 16), "f4"),
        np.ones(16, "f8"),
        np.ones(16, "i4"),
        np.ones(16, "?"),
    ):
        three_times(ws, lambda x, out: np.multiply(x, 2.0, out=out), x, out)
        three_times(ws, lambda x, out: np.exp(x, out=out), x, out)


def test_an_output_that_is_read_only(ws):
    def call(x):
        return np.exp(x, out=x.real if x.dtype.kind == "c" else np.broadcast_to(x, (2, 3)))

    three_times(ws, call, sample(3))


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "i4", "?"])
@pytest.mark.parametrize(("m", "n", "p"), [(1, 1, 1), (3, 4, 5), (16, 16, 16), (40, 30, 20)])
def test_products(ws, dtype, m, n, p):
    x = (sample((m, n), "f8") * 2).clip(-5, 5).astype(dtype)
    y = (sample((n, p), "f8", seed=2) * 2).clip(-5, 5).astype(dtype)
    for out in (np.ones((m, p), dtype), np.ones((m, p), dtype, order="F"), np.ones((p, m), dtype)):
        three_times(ws, lambda x, y, out: np.matmul(x, y, out=out), x, y, out)
        three_times(ws, lambda x, y, out: np.matmul(y.T, x.T, out=out), x, y, out)
        three_times(ws, lambda x, y, out: np.matmul(y.T, x.T, out=out.T), x, y, out)


def test_the_result_is_the_array_itself_and_nothing_is_allocated(ws):
    x, out = ws.ones(100, "f4"), ws.empty(100, "f4")
    before = ws.stats().this_cycle_allocations
    with fast_paths(on=True):
        assert np.add(x, x, out=out) is out
        assert np.exp(x, out=out) is out
        assert ndarena.exp(x, out=out) is out
        assert np.matmul(x.reshape(10, 10), x.reshape(10, 10), out=out.reshape(10, 10)).shape == (10, 10)
    assert ws.stats().this_cycle_allocations == before


def test_a_stale_output_is_refused(ws):
    with ndarena.Workspace(id="GONE") as gone:
        out = gone.empty(16, "f4")
    x = ws.array(sample(16))
    for on in (True, False):
        with fast_paths(on=on), pytest.raises(ndarena.StaleArrayError, match="out"):
            np.add(x, x, out=out)


@pytest.mark.parametrize("name", [*ONE_RESULT, "matmul"])
def test_into_plain_arrays(ws, name):
    """Gradients and parameters are often plain: they take results of workspace arrays directly."""
    ufunc = getattr(np, name)
    for dtype in DTYPES:
        square = numbers(dtype, 16, 1).reshape(4, 4)
        inputs = [packed(square)] * ufunc.nin
        with np.errstate(all="ignore"):
            try:
                produced = ufunc(*[square] * ufunc.nin).dtype
            except (TypeError, ValueError):
                continue
            for function in (ufunc, getattr(ndarena, name, ufunc)):
                for target in (
                    np.zeros((4, 4), produced),
                    np.zeros((4, 4), produced, order="F"),
                    np.zeros((2, 4, 4), produced)[1],
                ):
                    three_ways(
                        ws,
                        lambda *a, f=function: f(*a[:-1], out=a[-1]),
                        *inputs,
                        lambda _, t=target: t.copy("K"),
                    )
            three_ways(
                ws, lambda *a, f=ufunc: f(*a[:-1], out=a[-1]), *inputs, lambda _: np.zeros((4, 4), "f2")
            )


def test_into_read_only_and_overlapping_plain_arrays(ws):
    a = packed(np.arange(6.0))
    fixed = np.zeros(6)
    fixed.setflags(write=False)
    three_ways(ws, lambda x: np.add(x, x, out=fixed), a)
    three_ways(ws, lambda x: ndarena.add(x, x, out=fixed), a)
    three_ways(ws, lambda x: np.add(x[:-1], x[1:], out=np.asarray(x)[1:]), a)
    three_ways(ws, lambda x: ndarena.add(x[:-1], x[1:], out=np.asarray(x)[1:]), a)
