"""Every way to hold an array too long, times every way to touch it: refused, and the error says all."""

from __future__ import annotations

import contextlib
import copy
import operator
import pickle
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from array_support import sample

import ndarena
from ndarena import Validity

ARENA = ndarena.WorkspaceConfiguration(initial_size="1 MiB")
RING = ndarena.WorkspaceConfiguration(
    initial_size=4096, policy_learning="NONE", policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1
)
CLASSES = {
    Validity.LEAKED: ndarena.LeakedArrayError,
    Validity.OUTDATED: ndarena.OutdatedArrayError,
    Validity.OVERWRITTEN: ndarena.OverwrittenArrayError,
    Validity.DESTROYED: ndarena.DestroyedArrayError,
    Validity.CLOSED: ndarena.ClosedArrayError,
}


# --- every way to hold too long: each returns (array, what has become of it) ---


def new(configuration=ARENA):
    return ndarena.get_workspace_manager().create_new_workspace(configuration, id="HELD")


def make(ws):
    return ws.array(sample("d", (4, 4)))


def after_with(_stack):
    ws = new()
    with ws:
        a = make(ws)
    return a, Validity.LEAKED


def after_notify_scope_left(_stack):
    ws = new()
    ws.notify_scope_entered()
    a = make(ws)
    ws.notify_scope_left()
    return a, Validity.LEAKED


def after_close_of_the_scope(_stack):
    ws = new()
    scope = ws.notify_scope_entered()
    a = make(ws)
    scope.close()
    return a, Validity.LEAKED


def after_an_exception(_stack):
    ws, kept = new(), []
    with contextlib.suppress(KeyError), ws:
        kept.append(make(ws))
        raise KeyError
    return kept[0], Validity.LEAKED


def after_the_outermost_of_nested_scopes(_stack):
    ws = new()
    with ws, ws, ws.notify_scope_borrowed():
        a = make(ws)
    return a, Validity.LEAKED


def spilled(_stack):
    ws = new(ndarena.WorkspaceConfiguration())
    with ws:
        a = make(ws)
    return a, Validity.LEAKED


def while_use_was_switched_off(_stack):
    ws = new()
    with ws:
        ws.toggle_workspace_use(False)
        a = make(ws)
    return a, Validity.LEAKED


def at_reset(_stack):
    ws = new(ARENA.replace(policy_reuse="AT_RESET"))
    with ws:
        a = make(ws)
    return a, Validity.LEAKED


def a_view(_stack):
    ws = new()
    with ws:
        a = make(ws)[:, ::-1].T
    return a, Validity.LEAKED


def a_result(_stack):
    ws = new()
    with ws:
        a = make(ws) + 1
    return a, Validity.LEAKED


def a_leveraged_copy(_stack):
    outer, inner = new(), ndarena.Workspace(ARENA, "INNER")
    with outer, inner:
        a = make(inner).leverage_to("HELD")
    return a, Validity.LEAKED


def entered_again(stack):
    ws = new()
    with ws:
        a = make(ws)
    stack.enter_context(ws)
    return a, Validity.OUTDATED


def entered_again_and_closed(_stack):
    ws = new()
    with ws:
        a = make(ws)
    for _ in range(2):
        with ws:
            ws.zeros(1)
    return a, Validity.OUTDATED


def of_a_workspace_never_entered(stack):
    ws = new()
    ndarena.set_current_workspace(ws)
    a = make(ws)
    ndarena.set_current_workspace(None)
    stack.enter_context(ws)
    return a, Validity.OUTDATED


def ring_block_taken_again(_stack):
    ws = new(RING)
    with ws:
        a = make(ws)
    for _ in range(9):
        with ws:
            ws.zeros(300)
    return a, Validity.OVERWRITTEN


def workspace_destroyed(_stack):
    ws = new()
    with ws:
        a = make(ws)
    ws.destroy_workspace()
    return a, Validity.DESTROYED


def workspace_destroyed_while_open(stack):
    ws = new()
    stack.enter_context(ws)
    a = make(ws)
    ws.destroy_workspace()
    return a, Validity.DESTROYED


def outdated_then_destroyed(_stack):
    ws = new()
    with ws:
        a = make(ws)
    with ws:
        ws.zeros(1)
    ws.destroy_workspace()
    return a, Validity.DESTROYED


def destroyed_through_the_manager(_stack):
    ws = new()
    with ws:
        a = make(ws)
    ndarena.destroy_all_workspaces_for_current_thread()
    return a, Validity.DESTROYED


def replaced_by_a_new_one_of_the_same_id(_stack):
    ws = new()
    with ws:
        a = make(ws)
    new()
    return a, Validity.DESTROYED


def ring_destroyed(_stack):
    ws = new(RING)
    with ws:
        a = make(ws)
    ws.destroy_workspace()
    return a, Validity.DESTROYED


def thread_ended(_stack):
    kept = []

    def work():
        ws = new()
        with ws:
            kept.append(make(ws))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    return kept[0], Validity.DESTROYED


def handle_closed(stack):
    ws = new()
    stack.enter_context(ws)
    a = make(ws)
    a.close()
    return a, Validity.CLOSED


def handle_closed_then_scope_left(_stack):
    ws = new()
    with ws:
        a = make(ws)
        a.close()
    return a, Validity.CLOSED


def ring_handle_closed(stack):
    ws = new(RING)
    stack.enter_context(ws)
    a = make(ws)
    a.close()
    return a, Validity.CLOSED


HOLDS = [
    after_with, after_notify_scope_left, after_close_of_the_scope, after_an_exception,
    after_the_outermost_of_nested_scopes, spilled, while_use_was_switched_off, at_reset, a_view, a_result,
    a_leveraged_copy, entered_again, entered_again_and_closed, of_a_workspace_never_entered,
    ring_block_taken_again, workspace_destroyed, workspace_destroyed_while_open, outdated_then_destroyed,
    destroyed_through_the_manager, replaced_by_a_new_one_of_the_same_id, ring_destroyed, thread_ended,
    handle_closed, handle_closed_then_scope_left, ring_handle_closed,
]  # fmt: skip


# --- every way to touch ---


@dataclass(frozen=True)
class Touch:
    """A use of a stale array `a` (with a valid `b` of the same shape), and how the error names it."""

    name: str
    use: object
    operation: str | None
    argument: str | tuple[str, ...] | None


def operators():
    """Named by their ufunc, blamed as left or right."""
    table = {
        "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
        "floor_divide": operator.floordiv, "remainder": operator.mod, "power": operator.pow,
        "divmod": divmod, "matmul": operator.matmul, "bitwise_and": operator.and_,
        "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "left_shift": operator.lshift,
        "right_shift": operator.rshift, "less": operator.lt, "less_equal": operator.le,
        "equal": operator.eq, "not_equal": operator.ne, "greater": operator.gt,
        "greater_equal": operator.ge,
    }  # fmt: skip
    mirrored = {
        "less": "greater",
        "less_equal": "greater_equal",
        "greater": "less",
        "greater_equal": "less_equal",
    }
    for name, op in table.items():
        yield Touch(f"a {name} b", lambda a, b, op=op: op(a, b), name, "left")
        yield Touch(f"b {name} a", lambda a, b, op=op: op(b, a), name, "right")
        yield Touch(f"a {name} ndarray", lambda a, b, op=op: op(a, np.ones((4, 4))), name, "left")
        yield Touch(f"ndarray {name} a", lambda a, b, op=op: op(np.ones((4, 4)), a), name, "x2")
        if name != "matmul":
            yield Touch(f"a {name} 2", lambda a, b, op=op: op(a, 2), name, "left")
            if name in mirrored:
                yield Touch(f"2 {name} a", lambda a, b, op=op: op(2, a), None, None)
            else:
                yield Touch(f"2 {name} a", lambda a, b, op=op: op(2, a), name, ("left", "right"))
    for name, op in {
        "negative": operator.neg,
        "positive": operator.pos,
        "absolute": abs,
        "invert": operator.invert,
    }.items():
        yield Touch(f"{name} a", lambda a, b, op=op: op(a), name, ("left", "x1"))


def in_place_operators():
    for name in [
        "iadd",
        "isub",
        "imul",
        "itruediv",
        "ifloordiv",
        "imod",
        "ipow",
        "imatmul",
        "iand",
        "ior",
        "ixor",
        "ilshift",
        "irshift",
    ]:
        op = getattr(operator, name)
        yield Touch(f"a {name} b", lambda a, b, op=op: op(a, b), name, "left")
        yield Touch(f"b {name} a", lambda a, b, op=op: op(b, a), name, "right")
    yield Touch("ndarray iadd a", lambda a, b: operator.iadd(np.ones((4, 4)), a), "add", "x2")


def ufuncs():
    for name, ufunc in sorted(vars(np).items()):
        if not isinstance(ufunc, np.ufunc) or ufunc.__name__ != name:
            continue
        if ufunc.nin == 1:
            yield Touch(f"np.{name}(a)", lambda a, b, u=ufunc: u(a), name, "x1")
        else:
            yield Touch(f"np.{name}(a, b)", lambda a, b, u=ufunc: u(a, b), name, "x1")
            yield Touch(f"np.{name}(b, a)", lambda a, b, u=ufunc: u(b, a), name, "x2")
    plain = np.ones((4, 4))
    yield Touch("np.add(out=a)", lambda a, b: np.add(b, b, out=a), "add", "out")
    yield Touch("np.add(plain, out=a)", lambda a, b: np.add(plain, plain, out=a), "add", "out")
    yield Touch("np.add(where=a)", lambda a, b: np.add(b, b, where=a, out=plain), "add", "where")
    yield Touch("np.modf(out=(b, a))", lambda a, b: np.modf(b, out=(b, a)), "modf", "out")
    yield Touch("np.add(a, 2)", lambda a, b: np.add(a, 2), "add", "x1")
    yield Touch("np.add(2, a)", lambda a, b: np.add(2, a), "add", "x2")
    yield Touch("np.add(a, a)", lambda a, b: np.add(a, a), "add", "x1")
    yield Touch("np.add(a, list)", lambda a, b: np.add(a, [1.0] * 4), "add", "x1")
    yield Touch("np.add(plain, a)", lambda a, b: np.add(plain, a), "add", "x2")
    yield Touch("add.reduce", lambda a, b: np.add.reduce(a), "add.reduce", ("x1", "array"))
    yield Touch("add.accumulate", lambda a, b: np.add.accumulate(a), "add.accumulate", ("x1", "array"))
    yield Touch("add.reduceat", lambda a, b: np.add.reduceat(a, [0, 2]), "add.reduceat", ("x1", "array"))
    yield Touch("add.outer", np.add.outer, "add.outer", "x1")
    yield Touch("add.outer right", lambda a, b: np.add.outer(b, a), "add.outer", "x2")
    yield Touch("add.at", lambda a, b: np.add.at(a, [0], 1), "add.at", ("x1", "a"))
    yield Touch("add.reduce(out=a)", lambda a, b: np.add.reduce(b, axis=0, out=a), "add.reduce", "out")


def methods():
    """Blamed on `self`, named as they are."""
    calls = {
        "all": (), "any": (), "argmax": (), "argmin": (), "argpartition": (1,), "argsort": (),
        "astype": ("f4",), "byteswap": (), "choose": ([1, 2],), "clip": (0, 1), "compress": ([True],),
        "conj": (), "conjugate": (), "copy": (), "cumprod": (), "cumsum": (), "diagonal": (), "dot": (2,),
        "dumps": (), "fill": (0,), "flatten": (), "getfield": ("f8",), "item": (0,), "max": (), "mean": (),
        "min": (), "nonzero": (), "partition": (1,), "prod": (), "put": ([0], [1]), "ravel": (),
        "repeat": (2,), "reshape": (16,), "round": (), "searchsorted": (1,), "setfield": (1, "f8"),
        "sort": (), "squeeze": (), "std": (), "sum": (), "swapaxes": (0, 1), "take": ([0],),
        "to_device": ("cpu",), "tobytes": (), "tofile": ("/dev/null",), "tolist": (), "trace": (),
        "transpose": (), "var": (), "view": (), "detach": (), "leverage": (), "leverage_to": ("HERE",),
        "leverage_or_detach": ("HERE",), "migrate": (), "dup": (), "cast_to": ("f4",), "numpy": (),
    }  # fmt: skip
    for name, arguments in calls.items():
        yield Touch(f"a.{name}", lambda a, b, n=name, p=arguments: getattr(a, n)(*p), name, "self")
    yield Touch("a.cast_to(same)", lambda a, b: a.cast_to("f8"), "cast_to", "self")
    yield Touch("a.leverage_to(own)", lambda a, b: a.leverage_to("HELD"), "leverage_to", "self")


def attributes_and_access():
    def write(a, _):
        a[0] = 1

    def write_real(a, _):
        a.real = 1

    def write_flat(a, _):
        a.flat = 1

    for name in ["T", "mT", "flat", "real", "imag", "ctypes", "data"]:
        yield Touch(f"a.{name}", lambda a, b, n=name: getattr(a, n), name, "self")
    yield Touch("a.real = 1", write_real, "real", "self")
    yield Touch("a.flat = 1", write_flat, "flat", "self")
    yield Touch("a[0]", lambda a, b: a[0], "getitem", "self")
    yield Touch("a[0, 0]", lambda a, b: a[0, 0], "getitem", "self")
    yield Touch("a[...]", lambda a, b: a[...], "getitem", "self")
    yield Touch("a[[0]]", lambda a, b: a[[0]], "getitem", "self")
    yield Touch("a[out of bounds]", lambda a, b: a[99], "getitem", "self")
    yield Touch("a[0] = 1", write, "setitem", "self")
    yield Touch("in", lambda a, b: 1 in a, "contains", "self")
    yield Touch("iter", lambda a, b: iter(a), "iter", "self")
    yield Touch("list", lambda a, b: list(a), None, "self")
    yield Touch("unpacking", lambda a, b: [*a], None, "self")
    yield Touch("bool", lambda a, b: bool(a), "bool", "self")
    yield Touch("int", lambda a, b: int(a), "int", "self")
    yield Touch("float", lambda a, b: float(a), "float", "self")
    yield Touch("complex", lambda a, b: complex(a), "complex", "self")
    yield Touch("index", lambda a, b: operator.index(a), "index", "self")
    yield Touch("format with a specification", lambda a, b: format(a, ".2f"), "format", "self")
    yield Touch("plain[a]", lambda a, b: np.arange(9.0)[a], None, None)
    yield Touch("b[a]", lambda a, b: b[a], None, None)
    yield Touch("b[...] = a", lambda a, b: b.__setitem__(..., a), None, None)
    yield Touch("plain[...] = a", lambda a, b: np.ones((4, 4)).__setitem__(..., a), None, None)


def exports():
    yield Touch("np.asarray", lambda a, b: np.asarray(a), "array", "self")
    yield Touch("np.array", lambda a, b: np.array(a), "array", "self")
    yield Touch("np.array of a list", lambda a, b: np.array([a, a]), None, "self")
    yield Touch("a.__array__", lambda a, b: a.__array__(), "array", "self")
    yield Touch("memoryview", lambda a, b: memoryview(a), "buffer", "self")
    yield Touch("bytes", lambda a, b: bytes(a), None, "self")
    yield Touch("np.frombuffer", lambda a, b: np.frombuffer(a), None, "self")
    yield Touch("np.from_dlpack", lambda a, b: np.from_dlpack(a), None, "self")
    yield Touch("a.__dlpack__", lambda a, b: a.__dlpack__(), "dlpack", "self")
    yield Touch("copy.copy", lambda a, b: copy.copy(a), "copy", "self")
    yield Touch("copy.deepcopy", lambda a, b: copy.deepcopy(a), "deepcopy", "self")
    for protocol in [0, 2, 5]:
        yield Touch(f"pickle {protocol}", lambda a, b, p=protocol: pickle.dumps(a, p), None, "self")


def functions():
    """Blamed by NumPy's name of the parameter."""
    calls = {
        "sum": "a", "mean": "a", "std": "a", "max": "a", "argmax": "a", "sort": "a", "cumsum": "a",
        "ravel": "a", "transpose": "a", "copy": "a", "round": "a", "any": "a", "nonzero": "a",
        "squeeze": "a", "argsort": "a", "median": "a", "trace": "a", "diff": "a", "unique": "ar",
        "flip": "m", "tril": "m", "nan_to_num": "x", "array_repr": "arr", "array_str": "a",
        "array2string": "a", "zeros_like": "a", "linalg.inv": "a", "linalg.det": "a", "linalg.svd": "a",
        "linalg.norm": "x", "linalg.eigh": "a", "fft.fft": "a", "fft.rfftn": "a", "fft.fftshift": "x",
    }  # fmt: skip
    for path, argument in calls.items():
        function = operator.attrgetter(path)(np)
        yield Touch(f"np.{path}", lambda a, b, f=function: f(a), path.rpartition(".")[2], argument)
    pairs = {
        "dot": ("a", "b"), "inner": ("a", "b"), "outer": ("a", "b"), "kron": ("a", "b"),
        "allclose": ("a", "b"), "tensordot": ("a", "b"), "isclose": ("a", "b"), "append": ("arr", "values"),
        "array_equal": ("a1", "a2"), "linalg.solve": ("a", "b"), "copyto": ("dst", "src"),
    }  # fmt: skip
    for path, (first, second) in pairs.items():
        function = operator.attrgetter(path)(np)
        name = path.rpartition(".")[2]
        yield Touch(f"np.{path}(a, b)", lambda a, b, f=function: f(a, b), name, first)
        yield Touch(f"np.{path}(b, a)", lambda a, b, f=function: f(b, a), name, second)
    yield Touch("np.where(a, b, b)", lambda a, b: np.where(a, b, b), "where", "condition")
    yield Touch("np.where(b, a, b)", lambda a, b: np.where(b, a, b), "where", "x")
    yield Touch("np.where(b, b, a)", lambda a, b: np.where(b, b, a), "where", "y")
    yield Touch("np.sum(out=a)", lambda a, b: np.sum(b, axis=0, out=a), "sum", "out")
    yield Touch("np.take(b, a)", lambda a, b: np.take(b, a), "take", "indices")
    yield Touch("np.clip", lambda a, b: np.clip(b, a, b), "clip", "a_min")
    yield Touch("np.concatenate", lambda a, b: np.concatenate([b, b, a]), "concatenate", "arrays[2]")
    yield Touch("np.concatenate of a tuple", lambda a, b: np.concatenate((a, b)), "concatenate", "arrays[0]")
    yield Touch("np.concatenate(out=a)", lambda a, b: np.concatenate([b, b], out=a), "concatenate", "out")
    yield Touch("np.stack", lambda a, b: np.stack([b, a]), "stack", "arrays[1]")
    yield Touch("np.vstack", lambda a, b: np.vstack([b, a]), "vstack", "tup[1]")
    yield Touch("np.einsum", lambda a, b: np.einsum("ij,jk", b, a), "einsum", None)
    yield Touch("np.block", lambda a, b: np.block([[b, a]]), "block", None)
    yield Touch("np.meshgrid", lambda a, b: np.meshgrid(b, a), "meshgrid", None)
    yield Touch("np.broadcast_arrays", lambda a, b: np.broadcast_arrays(b, a), "broadcast_arrays", None)
    yield Touch("np.save", lambda a, b: np.save("/dev/null", a), "save", "arr")
    yield Touch("np.nditer", lambda a, b: np.nditer(a), None, None)
    yield Touch("np.ndenumerate", lambda a, b: np.ndenumerate(a), None, None)
    yield Touch("np.vectorize", lambda a, b: np.vectorize(abs)(a), None, None)
    yield Touch("np.ma.array", lambda a, b: np.ma.array(a), None, None)
    yield Touch("np.random.permutation", lambda a, b: np.random.default_rng(0).permutation(a), None, None)
    yield Touch("np.testing", np.testing.assert_allclose, None, None)
    for name in ["detach", "leverage", "migrate", "dup"]:
        yield Touch(f"ndarena.{name}", lambda a, b, n=name: getattr(ndarena, n)(a), name, None)
    yield Touch("ndarena.asarray", lambda a, b: ndarena.asarray(a), "asarray", None)
    yield Touch("ndarena.array", lambda a, b: ndarena.array(a), "array", None)
    yield Touch("assert_valid_array", lambda a, b: ndarena.assert_valid_array(a, "here"), None, None)


TOUCHES = [
    *operators(),
    *in_place_operators(),
    *ufuncs(),
    *methods(),
    *attributes_and_access(),
    *exports(),
    *functions(),
]


@pytest.mark.parametrize("touch", TOUCHES, ids=[t.name for t in TOUCHES])
@pytest.mark.parametrize("hold", HOLDS, ids=[h.__name__ for h in HOLDS])
def test_is_refused(hold, touch):
    with contextlib.ExitStack() as stack:
        stale, validity = hold(stack)
        here = stack.enter_context(ndarena.Workspace(ARENA, "HERE"))
        valid = here.array(sample("d", (4, 4)))
        before = here.stats()
        with pytest.raises(ndarena.StaleArrayError) as caught:
            touch.use(stale, valid)
        after = here.stats()
    error = caught.value
    assert type(error) is CLASSES[validity]
    assert error.validity is validity
    assert before == after
    if touch.operation is not None:
        assert error.operation == touch.operation
    if isinstance(touch.argument, str):
        assert error.argument == touch.argument
    elif touch.argument is not None:
        assert error.argument in touch.argument
    check_facts(error, stale, validity)


def check_facts(error, stale, validity):
    """Check the attributes, and the beginning of the message made of them."""
    word = validity.name.lower()
    if error.operation is not None and error.argument is not None:
        begin = f"Op [{error.operation}] {error.argument} argument uses {word} workspace pointer"
        assert str(error).startswith(f"{begin} from workspace [HELD]")
    assert error.workspace_id == "HELD"
    assert error.array_generation == stale.generation_id
    assert error.workspace_generation == stale.workspace.generation_id
    assert tuple(error.shape) == stale.shape
    assert np.dtype(error.dtype) == stale.dtype
    assert error.created_at is None
    assert isinstance(error.open_workspaces, tuple)
    assert "HERE" in error.open_workspaces
    if validity is Validity.LEAKED:
        assert error.array_generation == error.workspace_generation
        assert "closed" in str(error)


KINDS = {
    "zero-dimensional": lambda ws: ws.array(1.5),
    "zero-size": lambda ws: ws.zeros((0, 4)),
    "big-endian": lambda ws: ws.array(sample(">f8")),
    "text": lambda ws: ws.array(sample("U3")),
    "structured": lambda ws: ws.array(sample([("x", "i4")])),
    "dates": lambda ws: ws.array(sample("M8[D]")),
    "non-contiguous": lambda ws: ws.array(sample("d", (4, 4)))[::2, ::2],
    "read-only": lambda ws: np.broadcast_to(ws.zeros(4), (2, 4)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "use",
    [
        lambda a: a[...],
        lambda a: a == 1,
        np.ravel,
        lambda a: a.copy(),
        lambda a: a.numpy(),
        np.asarray,
        lambda a: a.tolist(),
        lambda a: a.reshape(-1),
        pickle.dumps,
        copy.deepcopy,
        lambda a: a.detach(),
        lambda a: a.T,
        lambda a: a.tobytes(),
    ],
)
def test_every_kind_of_array_is_refused(kind, use):
    """Zero-size and 0-d arrays are stale like any other."""
    ws = new()
    with ws:
        a = kind(ws)
    with pytest.raises(ndarena.LeakedArrayError):
        use(a)


def test_valid_arrays_of_the_table_are_not_refused():
    """The touches are legitimate uses: on a valid array none of them raises a stale error."""
    for touch in TOUCHES:
        ws = new()
        with ws, np.errstate(all="ignore"):
            a, b = make(ws), make(ws)
            try:
                touch.use(a, b)
            except ndarena.WorkspaceError as error:
                pytest.fail(f"{touch.name}: {error}")
            except Exception:
                continue


def test_the_first_stale_argument_is_named():
    ws, other = new(), ndarena.Workspace(ARENA, "OTHER")
    with ws:
        first = ws.ones(3)
    with other:
        second = other.ones(3)
    for call, argument, workspace in [
        (lambda: first + second, "left", "HELD"),
        (lambda: second + first, "left", "OTHER"),
        (lambda: np.add(first, second), "x1", "HELD"),
        (lambda: np.concatenate([second, first]), "arrays[0]", "OTHER"),
    ]:
        with pytest.raises(ndarena.LeakedArrayError) as caught:
            call()
        assert (caught.value.argument, caught.value.workspace_id) == (argument, workspace)


def test_an_error_pickles_with_its_facts_and_holds_nothing():
    ws = new()
    with ws:
        a = ws.ones((2, 3))
    with pytest.raises(ndarena.LeakedArrayError) as caught:
        a + 1
    again = pickle.loads(pickle.dumps(caught.value))
    facts = [
        "workspace_id",
        "array_generation",
        "workspace_generation",
        "open_workspaces",
        "operation",
        "argument",
    ]
    assert type(again) is ndarena.LeakedArrayError
    assert str(again) == str(caught.value)
    for name in [*facts, "shape", "dtype", "created_at", "validity"]:
        assert getattr(again, name) == getattr(caught.value, name)
    values = vars(caught.value).values()
    assert not any(isinstance(v, ndarena.WorkspaceArray | ndarena.Workspace | np.ndarray) for v in values)


def test_debug_names_the_line_of_creation():
    ws = new()
    ws.enable_debug(True)
    with ws:
        a = ws.ones(3)
        b = a * 2
    for stale in [a, b]:
        with pytest.raises(ndarena.LeakedArrayError) as caught:
            stale.sum()
        file, _, line = caught.value.created_at.rpartition(":")
        assert file.endswith("test_stale.py")
        assert int(line) > 0
        assert caught.value.created_at in str(caught.value)


def test_open_scopes_are_named():
    ws, one, two = new(), ndarena.Workspace(ARENA, "ONE"), ndarena.Workspace(ARENA, "TWO")
    with ws:
        a = ws.ones(3)
    with one, two, pytest.raises(ndarena.LeakedArrayError) as caught:
        a.sum()
    assert caught.value.open_workspaces == ("ONE", "TWO")
    with pytest.raises(ndarena.LeakedArrayError) as caught:
        a.sum()
    assert caught.value.open_workspaces == ()


def test_the_message_names_generations_cure_and_heading():
    ws = new()
    for _ in range(3):
        with ws:
            a = ws.ones(3)
    with ws, pytest.raises(ndarena.OutdatedArrayError) as caught:
        a + 1
    message = str(caught.value)
    assert message.startswith("Op [add] left argument uses outdated workspace pointer from workspace [HELD]")
    assert "3" in message
    assert "4" in message
    assert "detach()" in message
    assert "What dies when" in message


def test_the_classes_are_related_as_the_contract_says():
    assert issubclass(ndarena.WorkspaceError, Exception)
    assert issubclass(ndarena.StaleArrayError, ndarena.WorkspaceError)
    assert issubclass(ndarena.StaleArrayError, ReferenceError)
    for error in [ndarena.LeakedArrayError, ndarena.OutdatedArrayError, ndarena.ClosedArrayError]:
        assert issubclass(error, ndarena.StaleArrayError)
    assert issubclass(ndarena.OverwrittenArrayError, ndarena.OutdatedArrayError)
    assert issubclass(ndarena.DestroyedArrayError, ndarena.LeakedArrayError)


def test_a_refused_operation_changes_nothing():
    ws, here = new(), ndarena.Workspace(ARENA, "HERE")
    with ws:
        a = ws.ones(3)
    with here:
        target = here.zeros(3)
        before = here.stats()
        for call in [
            lambda: np.add(a, 1, out=target),
            lambda: operator.iadd(target, a),
            lambda: np.copyto(target, a),
        ]:
            with pytest.raises(ndarena.LeakedArrayError):
                call()
        assert target.tolist() == [0.0, 0.0, 0.0]
        assert here.stats() == before


def test_using_a_stale_array_in_another_thread():
    ws, refused = new(), []
    with ws:
        a = ws.ones(3)

    def use():
        try:
            a.sum()
        except ndarena.LeakedArrayError as error:
            refused.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(30)
    assert refused[0].argument == "self"
    assert refused[0].open_workspaces == ()


def test_detaching_in_time_is_the_cure():
    ws = new()
    with ws:
        kept = ws.ones(3).detach()
    assert (kept + 1).tolist() == [2.0, 2.0, 2.0]
