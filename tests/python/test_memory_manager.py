"""The memory manager: the current workspace, the bytes held, and the control of CPython's collector."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import KIB, MIB, fixed, held_bytes, in_thread, ring

import ndarena as nd
from ndarena import Workspace

LONG = 3_600_000


@pytest.fixture
def memory():
    """Give the memory manager; the collector is as it was found afterwards."""
    manager = nd.get_memory_manager()
    found = gc.isenabled(), gc.get_threshold()
    yield manager
    manager.toggle_periodic_gc(True)
    manager.set_auto_gc_window(0)
    manager.set_occasional_gc_frequency(0)
    assert (gc.isenabled(), gc.get_threshold()) == found


@pytest.fixture
def ws():
    return Workspace(fixed(64 * KIB), "W")


@pytest.fixture
def collections():
    """List the generations that were collected, in order."""
    seen = []

    def note(phase, info):
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


class Cycle:
    """Garbage that only the cyclic collector frees."""

    def __init__(self):
        self.me = self


def make_garbage(count):
    for _ in range(count):
        Cycle()


# ---------------------------------------------------------------- the current workspace


def test_the_memory_manager_is_one(memory):
    """There is one manager, in every thread the same object."""
    assert nd.get_memory_manager() is memory
    assert in_thread(nd.get_memory_manager) is memory


def test_current_workspace_can_be_set(memory, ws):
    """A workspace may be made current without being entered; None takes it away."""
    memory.current_workspace = ws
    assert memory.current_workspace is ws is nd.get_current_workspace()
    assert not ws.is_scope_active
    a = nd.ones(3)
    assert a.workspace is ws
    memory.current_workspace = None
    assert memory.current_workspace is None
    assert type(nd.ones(3)) is np.ndarray


def test_arrays_of_a_current_but_never_entered_workspace(memory, ws):
    """They are valid until its next full enter."""
    memory.current_workspace = ws
    a = ws.full(3, 2)
    assert a.is_in_scope
    assert a.generation_id == 0
    memory.current_workspace = None
    assert a.tolist() == [2, 2, 2]
    with ws:
        assert not a.is_in_scope
        assert a.validity is nd.Validity.OUTDATED
        with pytest.raises(nd.OutdatedArrayError):
            a.sum()


def test_a_view_from_a_never_entered_workspace_is_safe(memory, ws):
    """The next full enter does not reuse memory under a lease."""
    memory.current_workspace = ws
    view = ws.full(100, 2.0).numpy()
    memory.current_workspace = None
    with ws:
        ws.full(1000, 9.0)
        assert np.all(view == 2.0)


def test_entering_a_current_but_closed_workspace(memory, ws):
    """It is a full enter, after whose close the workspace is current again."""
    memory.current_workspace = ws
    with ws:
        ws.ones(1)
        assert ws.generation_id == 1
        assert ws.parent_workspace is ws
    assert memory.current_workspace is ws
    memory.current_workspace = None


def test_setting_current_inside_a_scope(memory, ws):
    """Results go where current points; leaving the scope restores what was current before it."""
    other = Workspace(fixed(64 * KIB), "OTHER")
    with ws:
        a = ws.ones(2)
        memory.current_workspace = other
        assert (a + 1).workspace is other
        assert ws.ones(1).workspace is ws
        memory.current_workspace = ws
    assert memory.current_workspace is None


@pytest.mark.parametrize("wrong", ["W", 3, object()])
def test_only_a_workspace_can_be_current(memory, ws, wrong):
    """Anything else is a TypeError and changes nothing."""
    memory.current_workspace = ws
    with pytest.raises(TypeError):
        memory.current_workspace = wrong
    assert memory.current_workspace is ws
    memory.current_workspace = None


def test_another_threads_workspace_cannot_be_current(memory):
    """It is a WrongThreadError and changes nothing."""
    with ThreadPoolExecutor(1) as other:
        foreign = other.submit(Workspace, fixed(4096), "FOREIGN").result()
        with pytest.raises(nd.WrongThreadError):
            memory.current_workspace = foreign
    assert memory.current_workspace is None


def test_current_is_per_thread(memory, ws):
    """A scope of one thread is invisible to another."""
    with ws:
        ws.ones(1)
        assert in_thread(lambda: memory.current_workspace) is None
        assert in_thread(lambda: type(nd.ones(1))) is np.ndarray


# ---------------------------------------------------------------- bytes held


def test_allocated_bytes_count_everything_and_return(memory):
    """Arenas, spills, pins and retired memory count; with all of it gone the value is the start value."""
    start = held_bytes()
    loop = Workspace(fixed(MIB), "LOOP")
    with loop:
        kept = [loop.ones(3), loop.zeros(2 * MIB, dtype="u1")]
        assert memory.allocated_bytes() >= start + 3 * MIB
        view = kept[0].numpy()
    circular = Workspace(ring(3), "RING")
    for _ in range(5):
        with circular:
            kept.append(circular.zeros(MIB, dtype="u1"))
    assert memory.allocated_bytes() >= start + 4 * MIB
    with circular:
        kept.append(circular.zeros(20 * MIB, dtype="u1"))
        assert circular.pinned_size == 20 * MIB
        assert memory.allocated_bytes() >= start + 24 * MIB
    loop.destroy_workspace()
    circular.destroy_workspace()
    assert memory.allocated_bytes() > start
    del view
    assert memory.allocated_bytes() == start == nd.allocated_bytes()
    assert len(kept) == 8


def test_allocated_bytes_are_of_all_threads(memory):
    """A workspace of another thread counts too."""
    start = held_bytes()

    def other():
        ws = Workspace(fixed(MIB), "T")
        ws.run(ws.ones, 1)
        return memory.allocated_bytes()

    assert in_thread(other) >= start + MIB


# ---------------------------------------------------------------- the collector


def test_the_collector_is_untouched_by_default(memory):
    """At first the periodic collector is active and the window is off."""
    assert memory.is_periodic_gc_active is True
    assert memory.auto_gc_window == 0
    assert gc.isenabled()


def test_toggle_periodic_gc(memory, collections):
    """Switched off, the collector does not run by itself, until it is switched on."""
    memory.toggle_periodic_gc(False)
    assert memory.is_periodic_gc_active is False
    make_garbage(20_000)
    assert collections == []
    memory.toggle_periodic_gc(True)
    assert memory.is_periodic_gc_active is True
    make_garbage(20_000)
    assert collections != []


def test_toggle_restores_what_was_found(memory):
    """A collector that was switched off by others stays off when we let go of it."""
    gc.disable()
    try:
        memory.toggle_periodic_gc(False)
        memory.toggle_periodic_gc(True)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_window_moves_collections_to_scope_ends(memory, ws, collections):
    """With a window the collector runs when an outermost scope closes, and only once per window."""
    memory.set_auto_gc_window(LONG)
    assert memory.auto_gc_window == LONG
    with ws:
        ws.ones(1)
        with ws:
            make_garbage(20_000)
        assert collections == []
    for _ in range(5):
        with ws:
            ws.ones(1)
            before = len(collections)
            make_garbage(20_000)
            assert len(collections) == before
    assert collections.count(2) <= 1


def test_the_window_collects_at_the_outermost_close(memory, ws, collections):
    """After the window has passed, the close of an outermost scope collects, when it is completely closed."""
    memory.set_auto_gc_window(1)
    seen = []

    def note(phase, _info):
        if phase == "start":
            seen.append((ws.is_scope_active, memory.current_workspace))

    outer = Workspace(fixed(4096), "OUTER")
    with outer:
        outer.ones(1)
        with ws:
            ws.ones(1)
            passed = time.monotonic() + 0.005
            while time.monotonic() < passed:
                pass
        assert collections == []
        gc.callbacks.append(note)
    gc.callbacks.remove(note)
    assert len(collections) == 1
    assert seen == [(False, None)]


def test_outside_scopes_the_collector_runs_by_its_own_rules(memory, collections):
    """While no thread has a scope open, CPython decides."""
    memory.set_auto_gc_window(LONG)
    make_garbage(20_000)
    assert collections != []


def test_zero_gives_the_collector_back(memory, ws, collections):
    """A window of 0 ends the pacing."""
    memory.set_auto_gc_window(LONG)
    memory.set_auto_gc_window(0)
    assert memory.auto_gc_window == 0
    with ws:
        ws.ones(1)
        make_garbage(20_000)
        assert collections != []


def test_gc_policy_restores(memory):
    """The context manager restores the window it found, also after an exception."""
    memory.set_auto_gc_window(7)
    with pytest.raises(KeyError), nd.gc_policy(auto_gc_window=50):
        assert memory.auto_gc_window == 50
        with memory.gc_policy(auto_gc_window=0):
            assert memory.auto_gc_window == 0
        assert memory.auto_gc_window == 50
        raise KeyError
    assert memory.auto_gc_window == 7


def test_invoke_gc_collects(memory, collections):
    """It collects at once and returns the collector's count."""
    gc.collect()
    gc.disable()
    try:
        make_garbage(10)
        collections.clear()
        assert memory.invoke_gc() >= 10
        assert collections == [2]
        assert nd.invoke_gc() == 0
    finally:
        gc.enable()


def test_invoke_gc_occasionally(memory, collections):
    """It collects at every n-th call; at frequency 0 never."""
    gc.collect()
    gc.disable()
    try:
        collections.clear()
        memory.set_occasional_gc_frequency(0)
        for _ in range(20):
            memory.invoke_gc_occasionally()
        assert collections == []
        memory.set_occasional_gc_frequency(5)
        for _ in range(20):
            memory.invoke_gc_occasionally()
        assert collections == [2] * 4
    finally:
        gc.enable()


def test_invoke_gc_occasionally_waits_for_the_window(memory, collections):
    """A call before the window has passed does not collect."""
    memory.set_auto_gc_window(LONG)
    memory.set_occasional_gc_frequency(1)
    gc.disable()
    try:
        collections.clear()
        for _ in range(20):
            memory.invoke_gc_occasionally()
        assert len(collections) <= 1
    finally:
        gc.enable()


@pytest.mark.parametrize("setter", ["set_auto_gc_window", "set_occasional_gc_frequency"])
def test_negative_settings_are_refused(memory, setter):
    """A negative number is a ValueError and changes nothing."""
    before = memory.auto_gc_window
    for target in (memory, nd):
        with pytest.raises(ValueError, match=r"negative|-1"):
            getattr(target, setter)(-1)
    assert memory.auto_gc_window == before


def test_a_failing_callback_of_the_collector_leaves_scopes_closed(memory, ws):
    """Garbage whose finaliser uses workspaces runs after the scope is completely closed."""
    memory.set_auto_gc_window(1)
    currents = []

    class Nosy(Cycle):
        def __del__(self):
            currents.append(memory.current_workspace)
            with Workspace(fixed(4096), "INNER") as inner:
                inner.ones(1)

    gc.collect()
    with ws:
        ws.ones(1)
        Nosy()
        passed = time.monotonic() + 0.005
        while time.monotonic() < passed:
            pass
    gc.collect()
    assert currents == [None]
    assert not ws.is_scope_active
