"""Every ufunc of NumPy and every method of it, on workspace arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from array_support import address, assert_equal, open_scopes, outcome, plain, sample

import ndarena

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

UFUNCS = {f.__name__: f for f in vars(np).values() if isinstance(f, np.ufunc)}
STRING_UFUNCS = {n: f for n, f in vars(np.strings).items() if isinstance(f, np.ufunc) and n not in UFUNCS}
BINARY = {n: f for n, f in UFUNCS.items() if f.nin == 2 and f.nout == 1 and f.signature is None}
UNARY = {n: f for n, f in UFUNCS.items() if f.nin == 1 and f.signature is None}
GENERALISED_SHAPES = {
    "matmul": ((2, 3), (3, 2)),
    "vecdot": ((2, 3), (2, 3)),
    "matvec": ((2, 3), (3,)),
    "vecmat": ((2,), (2, 3)),
}
METHODS = ["reduce", "accumulate", "reduceat", "outer", "at"]


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


def loops(ufunc):
    """List the dtypes of the operands of every loop without objects."""
    units = {"M": "M8[D]", "m": "m8[D]"}
    found = {t.split("->")[0] for t in ufunc.types if "O" not in t and "T" not in t}
    return [[units.get(c, c) for c in chars] for chars in sorted(found)]


def operands(ufunc, dtypes):
    shapes = GENERALISED_SHAPES.get(ufunc.__name__, itertools.repeat((2, 3)))
    return [
        sample(dtype, shape, start=1 + k)
        for k, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=False))
    ]


def numeric(ufunc):
    """Operands that the ufunc accepts: of float64 where it has that loop, else of its last one."""
    found = loops(ufunc)
    dtypes = next((d for d in found if set(d) == {"d"}), found[-1])
    return operands(ufunc, dtypes)


def test_the_tables_are_not_empty():
    assert len(UFUNCS) > 80
    assert len(BINARY) > 35
    assert set(GENERALISED_SHAPES) >= {n for n, f in UFUNCS.items() if f.signature is not None}


@pytest.mark.parametrize("name", UFUNCS)
def test_call_on_the_operands_of_every_loop(scopes, name):
    ufunc = UFUNCS[name]
    assert loops(ufunc)
    for dtypes in loops(ufunc):
        scopes.check(ufunc, *operands(ufunc, dtypes))


@pytest.mark.parametrize("name", STRING_UFUNCS)
@pytest.mark.parametrize("dtype", ["S3", "U3"])
def test_call_on_strings(scopes, name, dtype):
    ufunc = STRING_UFUNCS[name]
    scopes.check(ufunc, *[sample(dtype, (2, 3)) for _ in range(ufunc.nin)])


@pytest.mark.parametrize("name", UFUNCS)
def test_every_output_is_attached_to_the_current_workspace(scopes, name):
    ufunc = UFUNCS[name]
    results = ufunc(*[scopes.outer.array(x) for x in numeric(ufunc)])
    for result in results if ufunc.nout > 1 else [results]:
        assert type(result) is ndarena.WorkspaceArray
        assert result.workspace is scopes.inner


@pytest.mark.parametrize("name", UFUNCS)
def test_without_a_current_workspace_the_result_is_plain(scopes, name):
    ufunc = UFUNCS[name]
    ours = [scopes.outer.array(x) for x in numeric(ufunc)]
    with ndarena.get_memory_manager().scope_out_of_workspaces():
        results = ufunc(*ours)
    wanted = ufunc(*numeric(ufunc))
    for got, want in zip(results, wanted, strict=True) if ufunc.nout > 1 else [(results, wanted)]:
        assert type(got) is np.ndarray
        assert_equal(got, want)


@pytest.mark.parametrize("name", BINARY)
def test_one_workspace_operand_suffices(scopes, name):
    ufunc = BINARY[name]
    x, y = numeric(ufunc)
    want = ufunc(x, y)
    for a, b in [(scopes.outer.array(x), y), (x, scopes.outer.array(y)), (scopes.outer.array(x), y.tolist())]:
        got = ufunc(a, b)
        assert type(got) is ndarena.WorkspaceArray
        assert got.workspace is scopes.inner
        np.testing.assert_array_equal(plain(got), want)


@pytest.mark.parametrize("name", BINARY)
def test_operands_are_broadcast(scopes, name):
    ufunc = BINARY[name]
    x, y = numeric(ufunc)
    scopes.check(ufunc, x[:, :1].copy(), y[:1].copy())
    scopes.check(ufunc, x, y[0, 0])
    scopes.check(ufunc, x[..., np.newaxis], y[0].copy())
    scopes.check(ufunc, x[:0], y[:0])


@pytest.mark.parametrize("name", UFUNCS)
def test_zero_dimensional_operands_give_scalars(scopes, name):
    ufunc = UFUNCS[name]
    if ufunc.signature is None:
        scopes.check(ufunc, *[np.array(x[0, 0]) for x in numeric(ufunc)])
    else:
        scopes.check(ufunc, *[np.ones(3) for _ in range(2)])


@pytest.mark.parametrize("name", UFUNCS)
def test_memory_order_is_kept(scopes, name):
    ufunc = UFUNCS[name]
    if ufunc.signature is None:
        transposed = [np.asfortranarray(x) for x in numeric(ufunc)]
        scopes.check(ufunc, *transposed)
        spread = [np.repeat(x, 2, axis=1)[:, ::2] for x in numeric(ufunc)]
        scopes.check(ufunc, *spread)
    else:
        scopes.check(ufunc, *[np.asfortranarray(x) for x in numeric(ufunc)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BINARY)
def test_methods_do_what_they_do_in_numpy(scopes, name, method):
    """Values, and the errors of ufuncs that have no such method, are NumPy's."""
    ufunc = BINARY[name]
    x, y = numeric(ufunc)
    bound = getattr(ufunc, method)
    if method in {"reduce", "accumulate"}:
        scopes.check(bound, x)
        scopes.check(lambda a: bound(a, axis=1), x)
    elif method == "reduceat":
        scopes.check(bound, x, np.array([0, 1, 0]))
        scopes.check(lambda a: bound(a, [0, 2, 1], axis=1), x)
    elif method == "outer":
        scopes.check(bound, x, y[0].copy())
    else:
        scopes.check(lambda a, b: bound(a, [0, 1, 0], b), x, y[:1].copy())


@pytest.mark.parametrize("name", UNARY)
def test_at_of_one_operand(scopes, name):
    scopes.check(lambda a: UNARY[name].at(a, [0, 1, 0]), *numeric(UNARY[name]))


@pytest.mark.parametrize(
    "keywords",
    [
        {"axis": None},
        {"axis": (0, 1)},
        {"axis": -1, "keepdims": True},
        {"axis": 0, "dtype": np.float32},
        {"axis": 0, "initial": 3.0},
        {"axis": 1, "where": [[True, False, True], [False, True, True]]},
        {"axis": 2},
        {"axis": 0, "dtype": "U"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "logical_and"])
def test_keywords_of_reduce(scopes, name, keywords):
    scopes.check(lambda a: UFUNCS[name].reduce(a, **keywords), sample("d"))


def test_inputs_by_name(scopes):
    """NumPy hands them over in their places, and by name."""
    places = np.array([0, 1])
    for ours in (places, scopes.outer.array(places)):
        scopes.check(lambda a, ours=ours: np.add.reduceat(a, indices=ours), sample("d"))
        scopes.check(lambda a, ours=ours: np.add.reduceat(array=a, indices=ours), sample("d"))
    scopes.check(lambda a: np.add.reduce(array=a, axis=0), sample("d"))
    scopes.check(lambda a: np.add.accumulate(array=a), sample("d"))
    a = scopes.outer.array(sample("d"))
    for call in (lambda: np.add(a, a, array=a), lambda: np.add.reduceat(a, places, indices=places)):
        with pytest.raises(TypeError):
            call()


def test_where_may_be_a_workspace_array(scopes):
    mask = np.array([[True, False, True], [False, True, True]])
    scopes.check(lambda a, m: np.add.reduce(a, axis=0, where=m), sample("d"), mask)
    scopes.check(lambda a, out, m: np.exp(a, out=out, where=m), sample("d"), np.zeros((2, 3)), mask)


@pytest.mark.parametrize("name", UFUNCS)
def test_out_comes_back_as_the_same_handle(scopes, name):
    ufunc = UFUNCS[name]
    inputs = numeric(ufunc)
    wanted = ufunc(*inputs)
    wanted = wanted if ufunc.nout > 1 else (wanted,)
    ours = [scopes.outer.array(x) for x in inputs]
    outs = tuple(scopes.outer.zeros(w.shape, w.dtype) for w in wanted)
    before = scopes.inner.this_cycle_allocations
    got = ufunc(*ours, out=outs)
    got = got if ufunc.nout > 1 else (got,)
    for g, out, want in zip(got, outs, wanted, strict=True):
        assert g is out
        assert_equal(out, want)
    assert scopes.inner.this_cycle_allocations == before


def test_out_mixed_with_plain_arrays(scopes):
    x, y = sample("d"), sample("d", start=3)
    ours, out = scopes.outer.array(x), np.zeros((2, 3))
    assert np.add(ours, y, out=out) is out
    np.testing.assert_array_equal(out, x + y)
    handle = scopes.outer.zeros((2, 3))
    assert np.add(x, y, out=handle) is handle
    assert np.add(x, y, handle) is handle
    assert_equal(handle, x + y)
    partly = scopes.outer.zeros((2, 3))
    fraction, whole = np.modf(ours, out=(partly, None))
    assert fraction is partly
    assert type(whole) is ndarena.WorkspaceArray
    assert_equal(whole, np.modf(x)[1])
    reduced = scopes.outer.zeros(3)
    assert np.add.reduce(x, axis=0, out=reduced) is reduced
    assert_equal(reduced, x.sum(axis=0))


def test_out_that_overlaps_an_operand(scopes):
    scopes.check(lambda a: np.add(a[1:], a[:-1], out=a[1:]), sample("d", (8,)))
    scopes.check(lambda a: np.multiply(a, a.T, out=a), sample("d", (3, 3)))
    scopes.check(lambda a: np.matmul(a, a, out=a), sample("d", (3, 3)))
    scopes.check(lambda a: np.add.accumulate(a[::-1], out=a), sample("d", (6,)))


@pytest.mark.parametrize(
    "call",
    [
        lambda a, out: np.add(a, 1.5, out=out, casting="same_kind"),
        lambda a, out: np.sin(a, out=out),
        lambda a, out: np.add(a, a[:, :2], out=out),
        lambda a, out: np.add(a, a, out=out[:, :1]),
        lambda a, _: np.add(a, a, dtype="S1"),
        lambda a, _: np.add(a, a, casting="nonsense"),
        lambda a, _: np.add(a, a, dtype=np.int8, casting="safe"),
        lambda a, _: np.add(a, a, signature="ii->i", casting="no"),
        lambda a, _: np.add(a),
        lambda a, _: np.add(a, a, a, a),
        lambda a, _: np.add(a, a, bogus=1),
        lambda a, _: np.bitwise_and(a, 1.5),
        lambda a, _: np.matmul(a, a),
        lambda a, _: np.matmul(a, 2),
        lambda a, _: np.add.reduceat(a, [5]),
        lambda a, _: np.add.at(a, [7], 1),
        lambda a, _: np.add(a, "text"),
        lambda a, _: np.subtract.reduce(a, axis=(0, 1)),
        lambda a, _: np.sin.reduce(a),
        lambda a, _: np.divmod.reduce(a),
        lambda a, _: np.add(a, np.ones(3, "M8[D]")),
    ],
)
def test_errors_have_numpys_class_and_message(scopes, call):
    got = scopes.check(call, sample("d"), np.zeros((2, 3), int))
    assert issubclass(got.kind, Exception)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: np.add(a, a, dtype=np.float32),
        lambda a: np.add(a, 1, dtype=complex),
        lambda a: np.add(a, a, signature="ff->f", casting="same_kind"),
        lambda a: np.add(a, a, order="F"),
        lambda a: np.add(a, a, order="C"),
        lambda a: np.multiply(a, np.float32(2)),
        lambda a: np.multiply(a, 2j),
        lambda a: np.power(a, 3),
        lambda a: np.matmul(a, a.T),
        lambda a: np.matmul(a, a, axes=[(0, 1), (1, 0), (0, 1)]),
        lambda a: np.vecdot(a, a, axis=0),
        lambda a: np.add(a, a, subok=False),
    ],
)
def test_keywords_of_a_call(scopes, call):
    got = scopes.check(call, sample("f"))
    assert type(got) is ndarena.WorkspaceArray


def test_division_by_zero_is_reported_as_numpy_reports_it(scopes):
    a = scopes.outer.array([1.0, 0.0, -1.0])
    with (
        np.errstate(divide="raise"),
        pytest.raises(FloatingPointError, match="divide by zero encountered in divide"),
    ):
        np.divide(1.0, a)
    with (
        np.errstate(divide="warn"),
        pytest.warns(RuntimeWarning, match="divide by zero encountered in divide"),
    ):
        _ = a / 0.0
    calls = []
    with np.errstate(invalid="call", call=lambda kind, flag: calls.append((kind, flag))):
        np.sqrt(a)
    assert [kind for kind, _ in calls] == ["invalid value"]


def test_a_floating_point_error_leaves_the_operands_in_use(scopes):
    a = scopes.outer.array([1.0, 0.0])
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        np.log(a)
    assert_equal(a, np.array([1.0, 0.0]))


def test_a_ufunc_of_python_functions_gives_a_plain_array_of_objects(scopes):
    add = np.frompyfunc(lambda x, y: x + y, 2, 1)
    scopes.check(add, sample("d"), sample("d"))
    got = add(scopes.outer.array([1.0, 2.0]), 1)
    assert type(got) is np.ndarray
    assert got.dtype == object


def test_an_operand_of_objects_gives_a_plain_result(scopes):
    objects = np.array([1, 2, 3], dtype=object)
    got = np.add(scopes.outer.array([1, 2, 3]), objects)
    assert type(got) is np.ndarray
    assert got.tolist() == [2, 4, 6]


def test_a_vectorised_function_accepts_workspace_arrays(scopes):
    a = scopes.outer.array([1.0, 2.0])
    got = np.vectorize(lambda x: x + 1)(a)
    np.testing.assert_array_equal(plain(got), [2.0, 3.0])


def test_a_result_never_lies_in_the_memory_of_an_operand(scopes):
    a = scopes.inner.array(sample("d"))
    results = [np.add(a, 1), np.positive(a), np.multiply(a, a)]
    places = {address(x) for x in [a, *results]}
    assert len(places) == 4


def test_unknown_ufunc_methods_are_numpys(scopes):
    a = scopes.outer.array([1.0, 2.0])
    refused = outcome(lambda: a.__array_ufunc__(np.add, "nonsense", a, a))
    assert refused is NotImplemented or issubclass(refused.kind, Exception)
