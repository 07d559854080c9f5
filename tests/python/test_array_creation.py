"""Creation: the methods of a workspace and the functions of the module, with NumPy's signatures."""

from __future__ import annotations

import numpy as np
import pytest
from array_support import Refusal, address, assert_equal, open_scopes, outcome, plain, sample

import ndarena

CALLS = {
    "zeros": [
        lambda n: n.zeros(3),
        lambda n: n.zeros(()),
        lambda n: n.zeros((2, 0)),
        lambda n: n.zeros([2, 3], "f4"),
        lambda n: n.zeros(shape=(2, 3), dtype=np.int8, order="F"),
        lambda n: n.zeros((2, 3), "i4,f8"),
        lambda n: n.zeros(np.int64(4), bool),
        lambda n: n.zeros(np.array([2, 2])),
    ],
    "ones": [
        lambda n: n.ones(3),
        lambda n: n.ones((2, 3), ">i4", "F"),
        lambda n: n.ones(2, dtype="U3"),
        lambda n: n.ones(2, dtype=complex, order="C"),
    ],
    "full": [
        lambda n: n.full(3, 7),
        lambda n: n.full((2, 3), 1.5),
        lambda n: n.full((2, 3), 1.5, "i4"),
        lambda n: n.full((2, 3), [1, 2, 3], order="F"),
        lambda n: n.full(shape=2, fill_value="text"),
        lambda n: n.full(2, np.nan, dtype="f2"),
        lambda n: n.full(3, np.datetime64("2024-01-01")),
    ],
    "array": [
        lambda n: n.array([1, 2, 3]),
        lambda n: n.array([[1.5, 2], [3, 4]]),
        lambda n: n.array(5),
        lambda n: n.array([]),
        lambda n: n.array(range(4)),
        lambda n: n.array([1, 2], dtype="f4"),
        lambda n: n.array([1, 2], ndmin=3),
        lambda n: n.array(sample("d", (2, 3), "F")),
        lambda n: n.array(sample("d", (2, 3), "F"), order="C"),
        lambda n: n.array(sample("d"), order="F"),
        lambda n: n.array(sample("d", (2, 3, 4)).transpose(1, 0, 2)),
        lambda n: n.array(["a", "bcd"]),
        lambda n: n.array(b"raw"),
        lambda n: n.array([True, False]),
        lambda n: n.array([1, 2j]),
        lambda n: n.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
        lambda n: n.array(memoryview(b"abc")),
        lambda n: n.array(np.float32(3)),
        lambda n: n.array([1, 2], copy=True, order="K", subok=False),
        lambda n: n.array(np.ma.array([1, 2])),
    ],
    "asarray": [
        lambda n: n.asarray([1, 2, 3]),
        lambda n: n.asarray([1, 2], "f4"),
        lambda n: n.asarray([[1, 2], [3, 4]], order="F"),
        lambda n: n.asarray(2.5),
    ],
    "zeros_like": [
        lambda n: n.zeros_like(sample("f")),
        lambda n: n.zeros_like(sample("d", (2, 3), "F")),
        lambda n: n.zeros_like(sample("d"), "i4", "F"),
        lambda n: n.zeros_like([1, 2], dtype="f8"),
        lambda n: n.zeros_like(sample("d"), shape=(4, 5)),
        lambda n: n.zeros_like(sample("d", (2, 3, 4)).transpose(2, 0, 1)),
        lambda n: n.zeros_like(sample("U3"), subok=False),
    ],
    "ones_like": [
        lambda n: n.ones_like(sample("f")),
        lambda n: n.ones_like(sample("d"), int, "F", shape=(2, 2)),
    ],
    "full_like": [
        lambda n: n.full_like(sample("f"), 7),
        lambda n: n.full_like(sample("l"), 2.5, dtype=float),
        lambda n: n.full_like(sample("d"), 2, order="F", shape=3),
    ],
}
MODULE_ONLY = {
    "arange": [
        lambda n: n.arange(5),
        lambda n: n.arange(1, 9, 2),
        lambda n: n.arange(0.0, 1.0, 0.25),
        lambda n: n.arange(5, dtype="f4"),
        lambda n: n.arange(start=5, stop=1, step=-1),
        lambda n: n.arange(0),
    ],
    "linspace": [
        lambda n: n.linspace(0, 1, 5),
        lambda n: n.linspace(0, 1, 4, endpoint=False, dtype="f4"),
        lambda n: n.linspace(0, 1, 5, retstep=True),
        lambda n: n.linspace([0, 1], [2, 3], 4, axis=1),
    ],
    "eye": [
        lambda n: n.eye(3),
        lambda n: n.eye(2, 4, 1, "i4", "F"),
        lambda n: n.eye(3, k=-1, dtype=bool),
    ],
}
WRONG_SHAPES = [
    -1,
    (2, -3),
    (-1, 0),
    1.5,
    (2, 2.0),
    "3",
    None,
    object(),
    (2, None),
    (2, (3,)),
    2**63,
    (2**40, 2**40),
    2**70,
    (2**62, 2, 0),
    (2,) * 65,
]


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


def both(name, calls):
    return [pytest.param(call, id=f"{name}-{k}") for k, call in enumerate(calls)]


@pytest.mark.parametrize("call", [p for name, calls in CALLS.items() for p in both(name, calls)])
def test_methods_of_a_workspace_create_in_it(scopes, call):
    """With NumPy's signature, dtype, values and memory order, whichever workspace is current."""
    for ws in [scopes.inner, scopes.outer]:
        got, want = call(ws), call(np)
        assert type(got) is ndarena.WorkspaceArray
        assert got.workspace is ws
        np.testing.assert_array_equal(got.numpy(), np.asarray(want), strict=True)
        if want.size > 1:
            assert got.strides == want.strides


@pytest.mark.parametrize(
    "call", [p for name, calls in {**CALLS, **MODULE_ONLY}.items() for p in both(name, calls)]
)
def test_functions_of_the_module_create_in_the_current_workspace(scopes, call):
    got, want = call(ndarena), call(np)
    pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
    for g, w in pairs:
        if isinstance(w, np.ndarray):
            assert type(g) is ndarena.WorkspaceArray
            assert g.workspace is scopes.inner
            np.testing.assert_array_equal(g.numpy(), np.asarray(w), strict=True)
        else:
            assert g == w


@pytest.mark.parametrize(
    "call", [p for name, calls in {**CALLS, **MODULE_ONLY}.items() for p in both(name, calls)]
)
def test_functions_of_the_module_give_plain_arrays_without_a_current_workspace(call):
    got, want = call(ndarena), call(np)
    pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
    for g, w in pairs:
        assert type(g) is type(w) or type(g) is np.ndarray
        np.testing.assert_array_equal(g, np.asarray(w))


@pytest.mark.parametrize("name", ["empty", "create_uninitialized", "create"])
def test_uninitialised_arrays_have_shape_dtype_and_order(scopes, name):
    create = getattr(scopes.inner, name)
    for arguments, shape, dtype in [
        (((2, 3),), (2, 3), "f8"),
        ((4,), (4,), "f8"),
        (((2, 3), "f4"), (2, 3), "f4"),
        (((2, 3), "i2", "F"), (2, 3), "i2"),
        (((),), (), "f8"),
        (((0, 2),), (0, 2), "f8"),
    ]:
        a = create(*arguments)
        assert a.shape == shape
        assert a.dtype == np.dtype(dtype)
        assert a.flags.f_contiguous == (arguments[-1] == "F" or np.empty(shape).flags.f_contiguous)
    assert create(shape=(2, 3), dtype="f4", order="F").flags.f_contiguous
    like = scopes.inner.empty_like(sample("f", (2, 3), "F"))
    assert (like.shape, like.dtype, like.flags.f_contiguous) == ((2, 3), np.dtype("f4"), True)


def test_create_is_zeroed(scopes):
    for _ in range(3):
        scopes.inner.full((2, 3), 9.0)
        assert_equal(scopes.inner.create((2, 3)), np.zeros((2, 3)))


def test_empty_really_is_uninitialised():
    """It shows what an earlier array of the same place left."""
    ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="1 MiB"), "EMPTY")
    with ws:
        a = ws.full(100, 7.0)
        where = address(a)
        del a
        again = ws.empty(100)
        assert address(again) == where
        assert again[50] == 7.0
    ws.destroy_workspace()


def test_asarray_returns_a_valid_array_of_the_workspace_itself(scopes):
    a = scopes.outer.array(sample("d"))
    assert scopes.outer.asarray(a) is a
    assert scopes.outer.asarray(a, "f8") is a
    assert scopes.outer.asarray(a, dtype=float) is a
    for got in [
        scopes.inner.asarray(a),
        scopes.inner.asarray(a, "f4"),
        scopes.outer.asarray(a, "f4"),
        scopes.outer.array(a),
    ]:
        assert got is not a
        assert address(got) != address(a)
    assert scopes.inner.asarray(a).workspace is scopes.inner
    assert ndarena.asarray(a).workspace is scopes.inner
    current = scopes.inner.array(sample("d"))
    assert ndarena.asarray(current) is current


def test_asarray_copies_plain_arrays(scopes):
    x = sample("d")
    a = scopes.inner.asarray(x)
    assert address(a) != address(x)
    x[0, 0] = 99
    assert a[0, 0] == 0.5


def test_a_stale_argument_is_refused(scopes):
    ws = ndarena.Workspace(id="GONE")
    with ws:
        stale = ws.zeros((2, 3))
    before = scopes.inner.stats()
    for call in [
        lambda: ws.asarray(stale),
        lambda: scopes.inner.asarray(stale),
        lambda: scopes.inner.array(stale),
        lambda: ndarena.asarray(stale),
        lambda: ndarena.array(stale),
        lambda: scopes.inner.full((2, 3), stale),
    ]:
        with pytest.raises(ndarena.LeakedArrayError):
            call()
    assert scopes.inner.stats() == before


@pytest.mark.parametrize("shape", WRONG_SHAPES, ids=lambda s: repr(s)[:24].split(" at ")[0])
class TestWrongShapes:
    def test_raise_what_numpy_raises_and_change_nothing(self, scopes, shape):
        """A request too large for memory is a MemoryError in both."""
        want = outcome(lambda: np.empty(shape))
        assert isinstance(want, Refusal)
        ws, before = scopes.inner, (scopes.inner.stats(), ndarena.get_memory_manager().allocated_bytes())
        for create in [
            ws.empty,
            ws.zeros,
            ws.ones,
            ws.create,
            ws.create_uninitialized,
            ndarena.empty,
            ndarena.zeros,
        ]:
            got = outcome(lambda create=create: create(shape))
            assert isinstance(got, Refusal)
            # NumPy 2.0 still takes None, with a DeprecationWarning; later ones refuse it as we do
            kinds = (MemoryError, ValueError, TypeError)
            assert issubclass(got.kind, next((k for k in kinds if issubclass(want.kind, k)), TypeError))
        assert isinstance(outcome(lambda: ws.full(shape, 1)), Refusal)
        assert isinstance(outcome(lambda: ws.zeros_like(sample("d"), shape=shape)), Refusal) or shape is None
        assert (ws.stats(), ndarena.get_memory_manager().allocated_bytes()) == before


@pytest.mark.parametrize("shape", [2**62, 2**59, (2**31, 2**28)], ids=str)
def test_requests_that_the_system_refuses(scopes, shape):
    ws, before = scopes.inner, scopes.inner.stats()
    for create in [ws.empty, ws.zeros, ws.ones, ws.create, ndarena.empty]:
        with pytest.raises(MemoryError):
            create(shape, np.int8 if shape == 2**62 else np.float64)
    assert ws.stats() == before
    assert_equal(ws.zeros(3), np.zeros(3))


def test_wrong_arguments_are_numpys_errors(scopes):
    for call in [
        lambda n: n.zeros(),
        lambda n: n.zeros(3, "nonsense"),
        lambda n: n.zeros(3, float, "X"),
        lambda n: n.zeros(3, bogus=1),
        lambda n: n.full(3),
        lambda n: n.full((2, 3), [1, 2]),
        lambda n: n.full(3, "text", dtype=float),
        lambda n: n.array(),
        lambda n: n.array([1, [2, 3]]),
        lambda n: n.array(["x"], dtype=float),
        lambda n: n.array([1], ndmin=99),
    ]:
        want = outcome(lambda call=call: call(np))
        assert isinstance(want, Refusal)
        for namespace in [scopes.inner, ndarena]:
            got = outcome(lambda call=call, namespace=namespace: call(namespace))
            assert isinstance(got, Refusal)
            assert issubclass(got.kind, (TypeError, ValueError))
            assert issubclass(got.kind, TypeError) == issubclass(want.kind, TypeError)


def test_a_failed_creation_gives_its_memory_back():
    ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="1 MiB"), "FAILED")
    with ws:
        before = ws.stats()
        for _ in range(5):
            with pytest.raises(ValueError, match="broadcast"):
                ws.full((100, 3), [1, 2])
            with pytest.raises(TypeError):
                ws.array([1, object()], dtype=float)
        after = ws.stats()
        assert after.current_offset == before.current_offset
        assert after.spilled_size == before.spilled_size
    ws.destroy_workspace()


@pytest.mark.parametrize(
    "create",
    [
        lambda ws: ws.empty(3),
        lambda ws: ws.zeros(3),
        lambda ws: ws.ones(3),
        lambda ws: ws.full(3, 1),
        lambda ws: ws.array([1]),
        lambda ws: ws.asarray([1]),
        lambda ws: ws.empty_like([1]),
        lambda ws: ws.zeros_like([1]),
        lambda ws: ws.ones_like([1]),
        lambda ws: ws.full_like([1], 2),
        lambda ws: ws.create((3,)),
        lambda ws: ws.create_uninitialized((3,)),
    ],
)
def test_a_closed_workspace_refuses_and_says_to_enter_it(create):
    ws = ndarena.Workspace(id="CLOSED")
    with pytest.raises(ndarena.ScopeError, match=r"[Ee]nter"):
        create(ws)
    with ws:
        create(ws)
    with pytest.raises(ndarena.ScopeError, match=r"[Ee]nter"):
        create(ws)
    ws.destroy_workspace()
    with pytest.raises(ndarena.DestroyedWorkspaceError):
        create(ws)


def test_an_open_workspace_that_is_not_current_serves(scopes):
    assert ndarena.get_current_workspace() is scopes.inner
    assert scopes.outer.zeros(3).workspace is scopes.outer


def test_a_current_workspace_that_was_never_entered_serves():
    ws = ndarena.Workspace(id="CURRENT")
    ndarena.set_current_workspace(ws)
    try:
        a = ws.ones(3)
        b = ndarena.zeros(3)
        assert a.workspace is b.workspace is ws
        assert a.validity is ndarena.Validity.VALID
        assert_equal(a + b, np.ones(3))
    finally:
        ndarena.set_current_workspace(None)
    assert a.validity is ndarena.Validity.VALID
    assert a.generation_id == 0
    with ws:
        assert a.validity is ndarena.Validity.OUTDATED
        ws.zeros(1)
    ws.destroy_workspace()


def test_scoped_out_module_functions_are_plain(scopes):
    with ndarena.get_memory_manager().scope_out_of_workspaces():
        assert type(ndarena.zeros(3)) is np.ndarray
        assert scopes.outer.zeros(3).workspace is scopes.outer


def test_names_that_the_module_does_not_define_are_numpys():
    for name in [
        "broadcast_to",
        "tile",
        "float32",
        "pi",
        "newaxis",
        "linalg",
        "fft",
        "trace",
        "ndarray",
        "errstate",
    ]:
        assert getattr(ndarena, name) is getattr(np, name)
    with pytest.raises(AttributeError):
        _ = ndarena.no_such_name


def test_sizes_are_rounded_to_the_alignment():
    for alignment in [16, 64, 256, 4096]:
        configuration = ndarena.WorkspaceConfiguration(initial_size="1 MiB", alignment=alignment)
        ws = ndarena.Workspace(configuration, "ALIGNED")
        with ws:
            arrays = [ws.empty(n, "u1") for n in (1, 100, 5000)]
            assert all(address(a) % alignment == 0 for a in arrays)
        ws.destroy_workspace()


def test_values_are_copied_from_any_source(scopes):
    class Source:
        def __array__(self, dtype=None, copy=None):
            return np.array([1.0, 2.0])

    a = scopes.inner.array(Source())
    np.testing.assert_array_equal(plain(a), [1.0, 2.0])
    np.testing.assert_array_equal(plain(scopes.inner.array(scopes.outer.array([3, 4]))), [3, 4])
