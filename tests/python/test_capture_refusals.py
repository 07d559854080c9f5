"""Captures where the workspace cannot serve: full, closed, destroyed or off, or no handler can be set."""

import weakref

import numpy as np
import pytest
from capture_support import (
    BYTES,
    CountingHandler,
    N,
    capturing,
    get_handler,
    handler_name,
    is_captured,
    set_handler,
)
from support import MIB, held_bytes, output_of

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration


@pytest.fixture
def ws():
    return capturing()


@pytest.fixture(autouse=True)
def default_handler():
    """Every scope takes its handler away."""
    yield
    assert handler_name() == "default_allocator"


# ---------------------------------------------------------------- what is not there


def test_a_full_workspace_hands_over_to_the_handler_it_found():
    before = held_bytes()
    ws = capturing(max_size=2 * MIB)
    with CountingHandler() as found:
        with ws.notify_scope_entered(capture_numpy=True):
            a, b = np.full(N, 1.0), np.full(N, 2.0)
            assert ws.this_cycle_allocations == 2 * BYTES
            assert found.large() == []
            c = np.full(N, 3.0)
            assert found.large() == [("malloc", BYTES)]
            assert ws.this_cycle_allocations == 2 * BYTES
            del a
            d = np.full(N, 4.0)
            assert len(found.large()) == 1, "there is room again"
            assert (b[0], c[0], d[0]) == (2.0, 3.0, 4.0)
        del b, c, d
        assert found.alive == set()
        assert held_bytes() - before == 2 * MIB


def test_under_fail_the_cap_is_the_initial_size():
    ws = capturing(initial_size=MIB, policy_learning="NONE", policy_spill="FAIL")
    with ws.notify_scope_entered(capture_numpy=True):
        a = np.empty(N)
        b = np.empty(N)
        assert ws.this_cycle_allocations == BYTES
        assert ws.number_of_external_allocations == 1
        assert a.ctypes.data != b.ctypes.data


def test_small_arrays_and_closed_scopes_are_the_found_handlers():
    ws = capturing()
    with CountingHandler() as found:
        with ws.notify_scope_entered(capture_numpy=True):
            small = np.zeros(10)
            assert found.calls == [("calloc", 80)]
        del small
        assert found.calls[-1] == ("free", 80)
        assert found.alive == set()


def test_a_workspace_destroyed_inside_hands_over():
    ws = capturing()
    before = held_bytes()
    with ws.notify_scope_entered(capture_numpy=True):
        a = np.full(N, 1.0)
        ws.destroy_workspace()
        b = np.full(N, 2.0)
        assert ws.this_cycle_allocations == 0
        assert ws.retired_size >= BYTES
        assert (a.sum(), b.sum()) == (N, 2 * N)
        held = held_bytes()
        del b
        assert held_bytes() == held, "that one was not ours"
    del a
    assert held_bytes() == before
    with pytest.raises(nd.DestroyedWorkspaceError):
        ws.notify_scope_entered(capture_numpy=True)


def test_the_array_outlives_its_workspace():
    before = held_bytes()
    ws = capturing()
    for _ in range(2):
        with ws.notify_scope_entered(capture_numpy=True):
            a = np.full(N, 1.0)
            ws.empty(N)
    assert held_bytes() - before == 4 * MIB + BYTES
    gone = weakref.ref(ws)
    del ws
    assert gone() is None
    assert held_bytes() - before == 4 * MIB, "the arena went, the array's block stayed"
    assert a.sum() == N
    del a
    assert held_bytes() == before


def test_a_small_array_does_not_keep_the_workspace():
    before = held_bytes()
    ws = capturing()
    for _ in range(2):
        with ws.notify_scope_entered(capture_numpy=True):
            constant = np.arange(10)
            np.empty(N)
            ws.empty(N)
    del ws
    assert held_bytes() == before
    assert constant.sum() == 45


def test_trim_gives_back_what_is_free(ws):
    before = held_bytes()
    with ws.notify_scope_entered(capture_numpy=True):
        np.empty(N)
        held = held_bytes()
        assert ws.trim() == 0
    assert ws.trim() == held - before
    assert held_bytes() == before
    assert ws.current_size == 0
    with ws.notify_scope_entered(capture_numpy=True):
        kept = np.full(N, 1.0)
    assert ws.trim() == 0
    assert kept.sum() == N


def test_debug_mode_spills_every_captured_array(ws):
    nd.set_debug_mode("SPILL_EVERYTHING")
    with ws.notify_scope_entered(capture_numpy=True):
        a, b = np.full(N, 1.0), np.full(N, 2.0)
        assert (ws.number_of_external_allocations, ws.spilled_size) == (2, 2 * BYTES)
        held = held_bytes()
        del a
        assert held_bytes() == held - BYTES
        assert b.sum() == 2 * N
    assert ws.retired_size == BYTES


def test_switched_off_it_spills(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        ws.toggle_workspace_use(False)
        a = np.full(N, 1.0)
        assert ws.number_of_external_allocations == 1
        assert a.sum() == N


def test_a_dummy_captures_nothing():
    nd.set_debug_mode("BYPASS_EVERYTHING")
    ws = nd.get_workspace_for_current_thread(id="NOTHING")
    with ws.notify_scope_entered(capture_numpy=True):
        assert handler_name(np.empty(N)) == "default_allocator"


def test_where_the_handler_cannot_be_set_nothing_changes():
    """Out of memory at any point of the way in: an error or an open scope, and no half of either."""
    pytest.importorskip("_testcapi", reason="some distributions leave CPython's own tests out")
    done = output_of("""
        import numpy as np
        import ndarena as nd
        from _testcapi import remove_mem_hooks, set_nomemory

        name = np._core.multiarray.get_handler_name
        with nd.Workspace().notify_scope_entered(capture_numpy=True):
            pass  # what is looked up once
        failed = 0
        for start in range(60):
            ws = nd.Workspace(id="W")
            scope = error = None
            set_nomemory(start, start + 1)
            try:
                scope = ws.notify_scope_entered(capture_numpy=True)
            except BaseException as e:
                error = e
            remove_mem_hooks()
            if scope is None:
                failed += 1
                assert isinstance(error, (MemoryError, nd.ScopeError)), repr(error)
                if nd.any_workspace_active_for_current_thread():  # entered, then no memory for the object
                    ws.close()
                assert not ws.is_scope_active
            else:
                assert name() == "ndarena"
                scope.close()
            assert name() == "default_allocator", start
            with ws.notify_scope_entered(capture_numpy=True):
                np.empty(100_000)
                assert ws.this_cycle_allocations == 800_000
        print("well", failed > 3)
    """)
    assert done == "well True\n"


def test_a_handler_set_inside_and_left_there_is_not_touched(ws):
    found = get_handler()
    other = CountingHandler()
    with ws.notify_scope_entered(capture_numpy=True):
        other.__enter__()
        assert not is_captured(ws)
    assert handler_name() == "counting"
    set_handler(found)


def test_the_capture_of_rings_and_of_other_configurations():
    for fields in (
        {
            "policy_reset": "ENDOFBUFFER_REACHED",
            "overallocation_limit": 2,
            "policy_allocation": "OVERALLOCATE",
        },
        {"policy_reuse": "AT_RESET"},
        {"alignment": 4096},
        {"huge_pages": "NEVER", "prefault": True},
    ):
        ws = Workspace(WorkspaceConfiguration(**fields), "OTHER")
        for _ in range(4):
            with ws.notify_scope_entered(capture_numpy=True):
                a, ours = np.full(N, 1.0), ws.full(N, 2.0)
                assert a.sum() + float(ours.sum()) == 3 * N
                assert ws.peak_size >= 2 * BYTES
                assert a.ctypes.data % ws.configuration.alignment == 0
