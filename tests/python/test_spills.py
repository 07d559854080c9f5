"""Requests that do not fit: EXTERNAL, REALLOCATE, FAIL, and spilling on purpose."""

import numpy as np
import pytest
from support import KIB, fixed, held_bytes

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration

ARENA = 64 * KIB


def arena_of(policy, **fields):
    """Make a workspace of that policy whose arena is in place."""
    ws = Workspace(fixed(ARENA, policy_spill=policy, **fields), "W")
    ws.run(ws.ones, 1)
    return ws


def test_equality_fits():
    """A request that fills the arena to its last byte does not spill."""
    ws = arena_of("FAIL")
    with ws:
        a = ws.empty(ARENA, dtype="u1")
        assert ws.current_offset == ws.current_size == ARENA
        assert a.is_attached


@pytest.mark.parametrize("policy", ["EXTERNAL", "REALLOCATE"])
def test_a_spilled_array_is_like_any_other(policy):
    """It is attached, holds values, ends with the scope and counts as external."""
    ws = arena_of(policy)
    with ws:
        inside = ws.ones(8)
        a = ws.full(2 * ARENA, 3, dtype="u1")
        assert a.is_attached
        assert a.workspace is ws
        assert a.is_in_scope
        assert int(a.sum()) == 6 * ARENA
        assert (ws.number_of_external_allocations, ws.spilled_size) == (1, 2 * ARENA)
        assert ws.current_offset == 64
        assert ws.this_cycle_allocations == 64 + 2 * ARENA
        assert inside.tolist() == [1] * 8
    with pytest.raises(nd.LeakedArrayError):
        a.sum()
    with ws, pytest.raises(nd.OutdatedArrayError):
        a.sum()


def test_external_keeps_the_size():
    """Under EXTERNAL the arena never changes."""
    ws = Workspace(WorkspaceConfiguration(initial_size=ARENA, policy_allocation="STRICT"), "W")
    for _ in range(3):
        with ws:
            ws.zeros(2 * ARENA, dtype="u1")
    assert ws.current_size == ARENA


def test_fail_changes_nothing():
    """Under FAIL the request is refused, no counter moves, and what fits is served afterwards."""
    ws = arena_of("FAIL")
    with ws:
        a = ws.full(8, 2)
        before = ws.stats()
        with pytest.raises(nd.WorkspaceFullError) as caught:
            ws.empty(ARENA, dtype="u1")
        assert isinstance(caught.value, MemoryError)
        assert caught.value.workspace_id == "W"
        assert ws.stats() == before
        assert ws.ones(8).is_in_scope
        assert a.tolist() == [2] * 8


def test_fail_of_an_operation_changes_nothing():
    """An operation whose result does not fit is refused as a whole; its operands are untouched."""
    ws = arena_of("FAIL")
    with ws:
        a = ws.ones(5 * KIB)
        before = ws.stats()
        for operation in (
            lambda: a + a,
            lambda: np.exp(a),
            lambda: np.concatenate([a, a]),
            a.copy,
            lambda: a * 2.0,
        ):
            with pytest.raises(nd.WorkspaceFullError):
                operation()
            assert ws.stats() == before
        a += 1
        assert float(a.sum()) == 10 * KIB


def test_fail_for_ever_refuses_again():
    """A refused request may be repeated; it is refused each time and nothing adds up."""
    ws = arena_of("FAIL")
    held = held_bytes()
    with ws:
        for _ in range(1000):
            with pytest.raises(nd.WorkspaceFullError):
                ws.empty(2 * ARENA, dtype="u1")
        assert ws.spilled_size == 0
        assert ws.number_of_external_allocations == 0
    assert nd.allocated_bytes() == held


def test_external_counters_fall_when_the_array_dies():
    """Where memory is reused within the cycle, a dead spill is given back at once."""
    ws = arena_of("EXTERNAL")
    held = held_bytes()
    with ws:
        a = ws.empty(2 * ARENA, dtype="u1")
        assert nd.allocated_bytes() >= held + 2 * ARENA
        b = ws.empty(3 * ARENA, dtype="u1")
        assert (ws.number_of_external_allocations, ws.spilled_size) == (2, 5 * ARENA)
        del a
        assert (ws.number_of_external_allocations, ws.spilled_size) == (1, 3 * ARENA)
        del b
        assert (ws.number_of_external_allocations, ws.spilled_size) == (0, 0)
        assert nd.allocated_bytes() == held


def test_at_reset_spills_wait_for_the_next_enter():
    """AT_RESET without learning: as in the ancestor, spills are released by the next full enter."""
    ws = arena_of("EXTERNAL", policy_reuse="AT_RESET")
    with ws:
        ws.empty(2 * ARENA, dtype="u1")
        assert ws.number_of_external_allocations == 1
    assert ws.spilled_size == 2 * ARENA
    with ws:
        assert (ws.number_of_external_allocations, ws.spilled_size) == (0, 0)


def test_at_reset_spills_of_a_learning_workspace_end_with_the_cycle():
    """AT_RESET with learning: spills are released by the close of their cycle."""
    conf = WorkspaceConfiguration(initial_size=ARENA, policy_reuse="AT_RESET", policy_allocation="STRICT")
    ws = Workspace(conf, "W")
    with ws:
        ws.empty(2 * ARENA, dtype="u1")
        assert ws.number_of_external_allocations == 1
    assert (ws.number_of_external_allocations, ws.spilled_size) == (0, 0)


def test_a_view_keeps_the_bytes_of_a_spill():
    """A spill under a view is retired, not released."""
    ws = arena_of("EXTERNAL")
    with ws:
        view = ws.full(2 * ARENA, 5, dtype="u1").numpy()
    with ws:
        ws.full(2 * ARENA, 9, dtype="u1")
        assert int(view.min()) == int(view.max()) == 5


def test_memory_of_spills_goes_back():
    """After the cycle the process holds no more for the workspace than its arena."""
    ws = arena_of("EXTERNAL")
    held = held_bytes()
    with ws:
        kept = [ws.zeros(ARENA, dtype="u1") for _ in range(20)]
        assert nd.allocated_bytes() > held
    del kept
    with ws:
        assert nd.allocated_bytes() == held


def test_spill_everything_leaves_the_arena_alone():
    """SPILL_EVERYTHING: arrays are attached, outside the arena, and count as external."""
    ws = arena_of("EXTERNAL")
    with ws:
        nd.set_debug_mode(nd.DebugMode.SPILL_EVERYTHING)
        a = ws.ones(8)
        nd.set_debug_mode("disabled")
        assert a.workspace is ws
        assert ws.current_offset == 0
        assert (ws.number_of_external_allocations, ws.spilled_size) == (1, 64)
        b = ws.ones(8)
        assert ws.current_offset == 64
        assert (a + b).tolist() == [2] * 8
    assert not a.is_in_scope


def test_spill_everything_under_fail_refuses_all():
    """SPILL_EVERYTHING with FAIL: every request fails."""
    ws = arena_of("FAIL")
    nd.set_debug_mode("SPILL_EVERYTHING")
    with ws, pytest.raises(nd.WorkspaceFullError):
        ws.ones(1)
    nd.set_debug_mode("DISABLED")
    with ws:
        assert ws.ones(1).item() == 1
