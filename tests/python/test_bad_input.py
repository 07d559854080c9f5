"""Bad input and bad luck: a clear exception; nothing changed, nothing leaked, nothing lost."""

import gc
import inspect
import signal
import sys

import numpy as np
import pytest
from support import KIB, fixed, held_bytes, learning, output_of

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration

HUGE = 2**62


@pytest.fixture
def ws():
    return Workspace(fixed(64 * KIB), "W")


# ---------------------------------------------------------------- requests the system refuses


def test_a_huge_spill(ws):
    """2^62 bytes: a MemoryError of ours, with nothing changed, and the next request is served."""
    with ws:
        a = ws.full(3, 2)
        before, held = ws.stats(), held_bytes()
        for make in (ws.empty, ws.zeros, ws.ones, ws.create_uninitialized):
            with pytest.raises(nd.WorkspaceFullError) as caught:
                make(HUGE, dtype="u1")
            assert isinstance(caught.value, MemoryError)
            assert caught.value.workspace_id == "W"
            assert ws.stats() == before
        assert nd.allocated_bytes() == held
        assert a.tolist() == [2, 2, 2]
        assert (a + 1).workspace is ws


@pytest.mark.parametrize("policy", ["EXTERNAL", "REALLOCATE", "FAIL"])
def test_a_huge_arena(policy):
    """An arena of 2^62 bytes is refused when it is made or entered; nothing stays behind."""
    held = held_bytes()

    def make_and_use():
        ws = nd.get_workspace_for_current_thread(fixed(HUGE, policy_spill=policy), id="HUGE")
        with ws:
            ws.ones(1)

    for _ in range(3):
        with pytest.raises((nd.WorkspaceFullError, nd.ConfigurationError)):
            make_and_use()
        assert nd.get_current_workspace() is None
        assert not nd.any_workspace_active_for_current_thread()
        nd.destroy_all_workspaces_for_current_thread()
        gc.collect()
    assert nd.allocated_bytes() == held


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64, 2**100, "9999999999 TiB"])
def test_an_arena_beyond_the_address_space(size):
    """Sizes that no address can hold are refused, not wrapped around."""
    with pytest.raises((nd.WorkspaceFullError, nd.ConfigurationError)):
        Workspace(fixed(size), "W").notify_scope_entered()
    assert nd.get_current_workspace() is None


def test_head_room_that_overflows():
    """A limit that makes the arena overflow is refused."""
    with pytest.raises(nd.ConfigurationError):
        WorkspaceConfiguration(initial_size=2**40, overallocation_limit=1e300)
    conf = WorkspaceConfiguration(initial_size=2**50, overallocation_limit=1e6)
    with pytest.raises(nd.WorkspaceFullError):
        Workspace(conf, "W").notify_scope_entered()
    assert nd.get_current_workspace() is None


@pytest.mark.parametrize(
    "shape", [(HUGE,), (2**40, 2**40), (2**62, 2**62, 2**62), (2**63 - 1,), (-1,), (3, -2)]
)
def test_impossible_shapes(ws, shape):
    """Shapes that overflow or are negative are ValueErrors, as in NumPy, and change nothing."""
    with ws:
        before = ws.stats()
        for make in (ws.empty, ws.zeros, ws.ones, ws.create):
            with pytest.raises((ValueError, MemoryError)):
                make(shape)
        with pytest.raises((ValueError, MemoryError)):
            nd.full(shape, 1.0)
        assert ws.stats() == before


@pytest.mark.parametrize("shape", [2.0, "3", (1, 2.5), ([1],), object()])
def test_shapes_that_are_not_integers(ws, shape):
    """They are TypeErrors, as in NumPy, and change nothing."""
    with ws:
        before = ws.stats()
        with pytest.raises(TypeError):
            ws.zeros(shape)
        assert ws.stats() == before


LIMITED = """
import resource
import numpy as np
import ndarena as nd

MIB = 1024 * 1024
held = nd.allocated_bytes()

def limit(free):
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + free, resource.RLIM_INFINITY))

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except MemoryError as error:
        assert isinstance(error, nd.WorkspaceFullError), type(error)
        return
    raise AssertionError("not refused")
"""


def test_the_system_refuses_a_spill():
    """Under a limit on the address space a spill that does not fit is refused and the cycle goes on."""
    program = (
        LIMITED
        + """
ws = nd.Workspace(nd.WorkspaceConfiguration(initial_size=MIB, policy_learning="NONE"), "W")
with ws:
    a = ws.full(1000, 2.0)
    limit(64 * MIB)
    before = ws.stats()
    for _ in range(100):
        refused(ws.empty, 256 * MIB, dtype="u1")
    assert ws.stats() == before
    b = a + 1
    c = ws.zeros(8 * MIB, dtype="u1")
    assert ws.number_of_external_allocations == 1
    assert float(b.sum()) == 3000 and not c.any()
with ws:
    assert float(ws.ones(10).sum()) == 10
print("well")
"""
    )
    assert output_of(program) == "well\n"


def test_the_system_refuses_an_arena():
    """The arena cannot be had: a MemoryError of ours, the scope is not half open, and later it works."""
    program = (
        LIMITED
        + """
limit(64 * MIB)
def enter():
    ws = nd.Workspace(nd.WorkspaceConfiguration(initial_size=256 * MIB, policy_learning="NONE"), "W")
    with ws:
        ws.ones(1)
for _ in range(10):
    refused(enter)
    assert nd.get_current_workspace() is None
assert nd.allocated_bytes() == held
small = nd.Workspace(nd.WorkspaceConfiguration(initial_size=MIB), "S")
assert small.run(small.ones, 3).tolist() == [1, 1, 1]
print("well")
"""
    )
    assert output_of(program) == "well\n"


def test_the_system_refuses_to_learn():
    """The learned arena cannot be had at the close: the scope closes, the workspace stays usable."""
    program = (
        LIMITED
        + """
ws = nd.Workspace(nd.WorkspaceConfiguration(overallocation_limit=20.0), "W")
outer = nd.Workspace(nd.WorkspaceConfiguration(initial_size=MIB), "OUTER")
outer_scope = outer.notify_scope_entered()
outer.ones(1)
limit(128 * MIB)
try:
    with ws:
        a = ws.ones(16 * MIB, dtype="u1")
        assert int(a.sum()) == 16 * MIB
        del a
except nd.WorkspaceFullError:
    pass
assert not ws.is_scope_active
assert nd.get_current_workspace() is outer
for _ in range(3):
    try:
        with ws:
            assert float(ws.ones(3).sum()) == 3
    except nd.WorkspaceFullError:
        pass
    assert nd.get_current_workspace() is outer
outer_scope.close()
print("well")
"""
    )
    assert output_of(program) == "well\n"


def test_the_system_refuses_a_block_beside_a_view():
    """A retired arena cannot be replaced: the view keeps its bytes and nothing is half open."""
    program = (
        LIMITED
        + """
conf = nd.WorkspaceConfiguration(initial_size=128 * MIB, policy_learning="NONE", policy_allocation="STRICT")
ws = nd.Workspace(conf, "W")
with ws:
    view = ws.full(1000, 7.0).numpy()
    limit(32 * MIB)
for _ in range(3):
    try:
        with ws:
            ws.full(1000, 9.0)
    except nd.WorkspaceFullError:
        pass
    assert not ws.is_scope_active
    assert np.all(view == 7.0)
del view
with ws:
    assert float(ws.full(1000, 9.0).sum()) == 9000
print("well")
"""
    )
    assert output_of(program) == "well\n"


# ---------------------------------------------------------------- exceptions in the body


@pytest.mark.parametrize(
    "error", [KeyError, KeyboardInterrupt, MemoryError, SystemExit, GeneratorExit, RecursionError]
)
def test_an_exception_in_the_body(ws, error):
    """The scope closes as without it, the very exception comes out, nothing is held."""
    outer = Workspace(fixed(4096), "OUTER")
    mine = error("mine")
    with outer:
        outer.ones(1)
        with pytest.raises(error) as caught, ws:
            a = ws.ones(3)
            raise mine
        assert caught.value is mine
        assert not hasattr(mine, "__notes__")
        assert nd.get_current_workspace() is outer
        assert a.validity is nd.Validity.LEAKED
    assert ws.cycles_count == 1


def test_a_signal_in_the_body(ws):
    """Ctrl-C between two statements leaves through the scope."""
    with pytest.raises(KeyboardInterrupt), ws:
        a = ws.ones(3)
        signal.raise_signal(signal.SIGINT)
        a += 1
    assert not ws.is_scope_active
    assert nd.get_current_workspace() is None


def step(ws, inner, x):
    """Run a body with everything in it: nesting, re-entry, borrow, views, moves, temporaries."""
    with ws:
        a = ws.asarray(x)
        b = a * 2 + 1
        with inner:
            c = inner.asarray(x) @ inner.asarray(x)
            view = b.numpy()
            with ws.notify_scope_borrowed():
                d = np.exp(a) - view
                with nd.scope_out_of_workspaces():
                    e = d.detach()
            f = a.leverage_to("INNER")
            g = f[1:] + float(c)
        h = b.sum()
        scope = ws.notify_scope_entered()
        b.close()
        scope.close()
    return e, h, g


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, MemoryError])
def test_an_exception_at_every_line(error):
    """Raised at each line of the body in turn: that exception comes out, all is closed, memory comes back."""
    ws = nd.get_workspace_for_current_thread(fixed(64 * KIB), id="W")
    inner = nd.get_workspace_for_current_thread(fixed(64 * KIB), id="INNER")
    x = np.ones(16)
    step(ws, inner, x)
    step(ws, inner, x)
    held = held_bytes()

    source, first = inspect.getsourcelines(step)
    lines = {first + i for i, line in enumerate(source) if not line.lstrip().startswith("with")}

    def run(n):
        """Raise at the n-th line of the body; False if there is none."""
        left = n

        def trace(frame, event, _arg):
            nonlocal left
            if frame.f_code is not step.__code__:
                return None
            if event == "line" and frame.f_lineno in lines:
                left -= 1
                if left == 0:
                    raise error("injected")
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            step(ws, inner, x)
        except error as caught:
            assert caught.args == ("injected",)
            return True
        except nd.ScopeError as caught:
            raise AssertionError("replaced") from caught
        finally:
            sys.settrace(before)
        return False

    n = 1
    while run(n):
        assert nd.get_current_workspace() is None, n
        assert not ws.is_scope_active, n
        assert not inner.is_scope_active, n
        gc.collect()
        assert nd.allocated_bytes() <= held, n
        n += 1
    assert n > 12
    e, h, _ = step(ws, inner, x)
    assert np.allclose(e, np.e - 3)
    assert h == 48


def test_an_exception_in_an_iterator_or_callback(ws):
    """Exceptions of user code called by NumPy come out unchanged and cost nothing."""

    class Broken:
        def __array__(self, *_args, **_kwargs):
            raise KeyError("mine")

        def __iter__(self):
            raise KeyError("mine")

    with ws:
        a = ws.ones(3)
        before = ws.stats()
        for use in (
            lambda: ws.asarray(Broken()),
            lambda: ws.array(Broken()),
            lambda: np.apply_along_axis(lambda _: 1 / 0, 0, a),
        ):
            with pytest.raises((KeyError, ZeroDivisionError)):
                use()
        assert ws.stats().number_of_external_allocations == before.number_of_external_allocations
        assert a.tolist() == [1, 1, 1]


def test_operations_that_numpy_refuses(ws):
    """Wrong shapes and dtypes raise what NumPy raises and leave the counters alone."""
    with ws:
        a, b = ws.ones(3), ws.ones(4)
        before = ws.stats()
        for use, error in (
            (lambda: a + b, ValueError),
            (lambda: a @ b, ValueError),
            (lambda: a[7], IndexError),
            (lambda: a.reshape(7), ValueError),
            (lambda: a & a, TypeError),
            (lambda: np.concatenate([a, 1]), ValueError),
            (lambda: a.astype("no such type"), TypeError),
        ):
            with pytest.raises(error):
                use()
        assert ws.stats() == before


# ---------------------------------------------------------------- names that do not exist


def test_an_unknown_target(ws):
    """`leverage_to` an unknown id: with enforcement UnknownWorkspaceError, without it the array itself."""
    with ws:
        a = ws.ones(3)
        with pytest.raises(nd.UnknownWorkspaceError) as caught:
            a.leverage_to("NOWHERE", enforce_existence=True)
        assert isinstance(caught.value, LookupError)
        assert caught.value.workspace_id == "NOWHERE"
        assert a.leverage_to("NOWHERE") is a
        assert a.is_in_scope
        detached = a.leverage_or_detach("NOWHERE")
        assert type(detached) is np.ndarray


def test_a_closed_target(ws):
    """A target that exists but is neither open nor current is a ScopeError; leverage_or_detach detaches."""
    nd.get_workspace_for_current_thread(fixed(4096), id="CLOSED")
    with ws:
        a = ws.ones(3)
        with pytest.raises(nd.ScopeError):
            a.leverage_to("CLOSED")
        assert type(a.leverage_or_detach("CLOSED")) is np.ndarray
        assert a.tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["", " ", "ü☃", "a\nb", "x" * 10_000, "\0", "<b>", "[LOOP]", "{}", "%s"])
def test_strange_names(name):
    """Any text is an id, and comes back in facts and messages without harm."""
    ws = nd.get_workspace_for_current_thread(fixed(4096), id=name)
    assert ws.id == name
    assert nd.check_if_workspace_exists(name)
    with ws:
        a = ws.ones(3)
    with pytest.raises(nd.LeakedArrayError) as caught:
        a.sum()
    assert caught.value.workspace_id == name
    assert isinstance(str(caught.value), str)
    assert isinstance(repr(ws), str)
    assert "\n" not in repr(ws)
    assert isinstance(ws._repr_html_(), str)


def test_a_name_that_cannot_be_encoded():
    """A text with a lone surrogate is an error of Python, not a crash."""
    with pytest.raises((UnicodeEncodeError, ValueError)):
        nd.get_workspace_for_current_thread(fixed(4096), id="\ud800")
    assert nd.get_all_workspaces_ids_for_current_thread() == []


# ---------------------------------------------------------------- nonsense as arguments


NONSENSE = {
    "Workspace": Workspace,
    "toggle_workspace_use": lambda x: Workspace(id="W").toggle_workspace_use(x),
    "enable_debug": lambda x: Workspace(id="W").enable_debug(x),
    "set_workspace_for_current_thread": nd.set_workspace_for_current_thread,
    "set_current_workspace": nd.set_current_workspace,
    "check_if_workspace_exists": nd.check_if_workspace_exists,
    "destroy_workspace": nd.destroy_workspace,
    "assert_open_and_active": lambda x: nd.assert_open_and_active(x, "text"),
}


@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_as_arguments(call):
    """Objects of the wrong type are TypeErrors and change nothing."""
    for nonsense in (object(), b"bytes", 2.5, [1], {}, np.ones(3)):
        with pytest.raises(TypeError):
            call(nonsense)
    assert nd.get_current_workspace() is None
    assert nd.get_all_workspaces_ids_for_current_thread() == []


def test_deep_recursion_inside_a_scope(ws):
    """Scopes opened until Python gives up are all closed again."""

    def deeper():
        with ws:
            ws.ones(1)
            deeper()

    with pytest.raises(RecursionError):
        deeper()
    assert not ws.is_scope_active
    assert nd.get_current_workspace() is None
    assert ws.cycles_count == 1


def test_learning_from_a_cycle_that_failed():
    """A cycle that ended with an exception is a cycle like any other."""
    ws = Workspace(learning(), "W")
    with pytest.raises(KeyError), ws:
        ws.zeros(4 * KIB, dtype="u1")
        raise KeyError
    assert ws.current_size == 4 * KIB
