"""Controls of a workspace: initialise, destroy, toggle, debug, reset, trim, and its death."""

import gc
import weakref

import numpy as np
import pytest
from support import KIB, MIB, fixed, held_bytes, learning

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration


@pytest.fixture
def ws():
    return Workspace(fixed(64 * KIB), "W")


def manual():
    return Workspace(learning(policy_learning="OVER_TIME", cycles_before_initialization=0), "M")


# ---------------------------------------------------------------- initialise and reset


def test_initialize_makes_the_arena():
    """A manual initialisation takes the largest cycle so far; doing it again changes nothing."""
    ws = manual()
    with ws:
        ws.zeros(8 * KIB, dtype="u1")
    ws.initialize_workspace()
    assert ws.current_size == 8 * KIB
    ws.initialize_workspace()
    assert ws.current_size == 8 * KIB


def test_initialize_inside_a_cycle_without_arrays():
    """It is allowed in an open scope as long as nothing of the running cycle is alive."""
    ws = manual()
    with ws:
        ws.zeros(8 * KIB, dtype="u1")
    with ws:
        ws.initialize_workspace()
        a = ws.zeros(8 * KIB, dtype="u1")
        assert ws.number_of_external_allocations == 0
        assert a.is_in_scope


@pytest.mark.parametrize("control", [Workspace.initialize_workspace, Workspace.reset])
@pytest.mark.parametrize("holder", ["array", "view of it", "lease"])
def test_initialize_and_reset_refuse_under_living_arrays(control, holder):
    """While an array or a lease of the running cycle lives, both raise ScopeError and change nothing."""
    ws = manual()
    with ws:
        ws.zeros(8 * KIB, dtype="u1")
    with ws:
        a = ws.full(KIB, 5, dtype="u1")
        kept = {"array": a, "view of it": a[10:], "lease": a.numpy()}[holder]
        del a
        before = ws.stats()
        with pytest.raises(nd.ScopeError):
            control(ws)
        assert ws.stats() == before
        assert int(kept.min()) == int(kept.max()) == 5
        del kept
        control(ws)


def test_reset_rewinds():
    """Inside a cycle without living arrays the whole arena is free again."""
    ws = Workspace(fixed(64 * KIB, policy_reuse="AT_RESET"), "W")
    with ws:
        ws.zeros(KIB, dtype="u1")
        assert ws.current_offset == KIB
        ws.reset()
        assert ws.current_offset == 0
        ws.reset()
        ws.zeros(64 * KIB, dtype="u1")
        assert ws.number_of_external_allocations == 0


def test_reset_of_a_closed_workspace(ws):
    """Arrays of a closed cycle do not stand in the way."""
    with ws:
        a = ws.zeros(3)
    ws.reset()
    assert not a.is_in_scope
    with ws:
        assert ws.zeros(3).is_in_scope


# ---------------------------------------------------------------- destroy


def test_destroy_ends_every_array(ws):
    """Arrays of the running cycle and of earlier ones become DESTROYED, with their own error."""
    with ws:
        older = ws.ones(3)
    with ws:
        newer = ws.ones(3)
        ws.destroy_workspace()
        for a in (older, newer):
            assert a.validity is nd.Validity.DESTROYED
            assert not a.is_in_scope
            with pytest.raises(nd.DestroyedArrayError) as caught:
                a.sum()
            assert isinstance(caught.value, nd.LeakedArrayError)
    assert ws.is_destroyed


def test_destroy_while_open_keeps_the_stack(ws):
    """Its open scopes become no-ops that still restore what was current."""
    outer = Workspace(fixed(4096), "OUTER")
    with outer:
        with ws:
            ws.ones(1)
            with outer:
                ws.destroy_workspace()
                assert nd.get_current_workspace() is outer
        assert nd.get_current_workspace() is outer
        assert outer.ones(1).item() == 1
    assert nd.get_current_workspace() is None


def test_a_destroyed_current_workspace_serves_nobody(ws):
    """After it is destroyed inside its own scope, allocating from it is refused; the scope closes quietly."""
    scope = ws.notify_scope_entered()
    ws.destroy_workspace()
    with pytest.raises(nd.DestroyedWorkspaceError):
        ws.ones(1)
    scope.close()
    assert nd.get_current_workspace() is None
    assert not ws.is_scope_active


def test_destroy_retires_what_views_hold():
    """A view keeps its bytes and its memory until it dies; then nothing is held for the workspace."""
    held = held_bytes()
    ws = Workspace(fixed(64 * KIB), "W")
    with ws:
        view = ws.full(KIB, 3, dtype="u1").numpy()
        ws.destroy_workspace()
    assert ws.retired_size >= KIB
    assert int(view.min()) == int(view.max()) == 3
    view[:] = 4
    assert int(view.min()) == 4
    del view
    assert ws.retired_size == 0
    assert nd.allocated_bytes() == held


def test_destroy_is_idempotent(ws):
    """Destroying again does nothing."""
    ws.destroy_workspace()
    ws.destroy_workspace()
    assert ws.is_destroyed


def test_what_a_destroyed_workspace_still_does(ws):
    """Properties, stats, repr, destroy and trim work."""
    with ws:
        ws.ones(3)
    ws.destroy_workspace()
    assert (ws.id, ws.generation_id, ws.cycles_count, ws.current_size) == ("W", 1, 1, 0)
    assert ws.stats().is_destroyed
    assert "W" in repr(ws)
    assert "destroyed" in repr(ws).lower()
    assert isinstance(ws._repr_html_(), str)
    assert ws.trim() == 0
    assert ws.parent_workspace is None


REFUSED = {
    "notify_scope_entered": lambda ws: ws.notify_scope_entered(),
    "with": lambda ws: ws.__enter__(),
    "notify_scope_borrowed": lambda ws: ws.notify_scope_borrowed(),
    "empty": lambda ws: ws.empty(3),
    "zeros": lambda ws: ws.zeros(3),
    "array": lambda ws: ws.array([1]),
    "asarray": lambda ws: ws.asarray([1]),
    "create": lambda ws: ws.create(3),
    "make current": lambda ws: setattr(nd.get_memory_manager(), "current_workspace", ws),
    "initialize_workspace": lambda ws: ws.initialize_workspace(),
    "reset": lambda ws: ws.reset(),
    "toggle_workspace_use": lambda ws: ws.toggle_workspace_use(False),
    "enable_debug": lambda ws: ws.enable_debug(True),
    "run": lambda ws: ws.run(lambda: None),
}


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_what_a_destroyed_workspace_refuses(ws, use):
    """Enter, borrow, allocate, make current and other controls raise DestroyedWorkspaceError."""
    ws.destroy_workspace()
    with pytest.raises(nd.DestroyedWorkspaceError) as caught:
        use(ws)
    assert caught.value.workspace_id == "W"
    assert isinstance(caught.value, RuntimeError)
    assert nd.get_current_workspace() is None


def test_the_id_is_free_again():
    """After the workspace is destroyed, its id names a new one."""
    old = nd.get_workspace_for_current_thread(fixed(4096), id="LOOP")
    old.destroy_workspace()
    assert not nd.check_if_workspace_exists("LOOP")
    new = nd.get_workspace_for_current_thread(fixed(8192), id="LOOP")
    assert new is not old
    assert (new.current_size, new.generation_id) == (8192, 0)


# ---------------------------------------------------------------- toggle


def test_toggle_makes_external_arrays(ws):
    """With use switched off arrays are attached, count as external and leave offset and learning alone."""
    with ws:
        ws.toggle_workspace_use(False)
        a = ws.ones(8)
        assert a.workspace is ws
        assert a.is_in_scope
        assert (ws.number_of_external_allocations, ws.spilled_size) == (1, 64)
        assert (ws.current_offset, ws.this_cycle_allocations) == (0, 0)
        ws.toggle_workspace_use(True)
        b = ws.ones(8)
        assert ws.current_offset == 64
        assert (a + b).tolist() == [2] * 8
    assert not a.is_in_scope


def test_toggled_arrays_are_not_learned():
    """They are no part of what the workspace learns."""
    ws = Workspace(learning(), "L")
    with ws:
        ws.toggle_workspace_use(False)
        ws.zeros(MIB, dtype="u1")
        ws.toggle_workspace_use(True)
        ws.zeros(KIB, dtype="u1")
    assert ws.current_size == KIB


def test_the_full_close_turns_use_on(ws):
    """Use left off is on again in the next cycle; an inner close does not turn it on."""
    with ws:
        with ws:
            ws.toggle_workspace_use(False)
        ws.ones(8)
        assert ws.current_offset == 0
    with ws:
        ws.ones(8)
        kept = ws.ones(8)
        assert ws.current_offset > 0
        assert kept.is_in_scope


def test_toggle_is_idempotent(ws):
    """Switching off twice and on once is on."""
    with ws:
        ws.toggle_workspace_use(False)
        ws.toggle_workspace_use(False)
        ws.toggle_workspace_use(True)
        a = ws.ones(8)
        assert ws.current_offset == 64
        assert a.is_in_scope


# ---------------------------------------------------------------- debug


def test_debug_records_where_an_array_was_made(ws):
    """With debug on, and only then, the error of a stale array names file and line of its creation."""
    with ws:
        plain = ws.ones(3)
        ws.enable_debug(True)
        ws.enable_debug(True)
        traced = ws.ones(3)
        result = traced + 1
    errors = []
    for a in (plain, traced, result):
        with pytest.raises(nd.LeakedArrayError) as caught:
            a.sum()
        errors.append(caught.value)
    assert errors[0].created_at is None
    line = test_debug_records_where_an_array_was_made.__code__.co_firstlineno
    for error, offset in ((errors[1], 6), (errors[2], 7)):
        name, _, number = error.created_at.rpartition(":")
        assert name.endswith("test_control.py")
        assert int(number) == line + offset
        assert error.created_at in str(error)


def test_debug_poisons_released_memory(ws):
    """With debug on, what a cycle wrote is not there any more in the next one."""
    ws.enable_debug(True)
    with ws:
        ws.full(512, 7.0)
    with ws:
        assert not np.any(ws.empty(512) == 7.0)


def test_debug_does_not_poison_under_a_view(ws):
    """Memory that a view still shows is retired, not poisoned."""
    ws.enable_debug(True)
    with ws:
        view = ws.full(512, 7.0).numpy()
    assert np.all(view == 7.0)


# ---------------------------------------------------------------- trim


def test_trim_returns_memory_to_the_system():
    """What the last cycles do not need goes back to the system; the result says how much."""
    ws = Workspace(learning(policy_spill="REALLOCATE"), "W")
    with ws:
        ws.zeros(16 * MIB, dtype="u1")
    with ws:
        ws.zeros(64 * KIB, dtype="u1")
    before = held_bytes()
    returned = ws.trim()
    assert returned >= 15 * MIB
    assert nd.allocated_bytes() == before - returned
    assert ws.trim() == 0
    with ws:
        assert int(ws.ones(64 * KIB, dtype="u1").sum()) == 64 * KIB


def test_trim_releases_the_pool_of_retired_blocks():
    """Blocks that views made the workspace take, and that are free again, go back to the system."""
    ws = Workspace(fixed(MIB), "W")
    ws.run(ws.ones, 1)
    held = held_bytes()
    views = []
    for _ in range(4):
        with ws:
            views.append(ws.ones(KIB).numpy())
    views.clear()
    assert ws.retired_size == 0
    ws.trim()
    assert nd.allocated_bytes() <= held


def test_trim_leaves_living_arrays_alone(ws):
    """Inside a cycle trim takes nothing away from arrays and views."""
    with ws:
        a = ws.full(512, 7.0)
        view = a.numpy()
        ws.trim()
        assert np.all(a == 7.0)
        assert np.all(view == 7.0)
        assert ws.full(512, 8.0).max() == 8.0


# ---------------------------------------------------------------- death of the object


def test_dropping_the_last_reference_frees():
    """A workspace nobody needs gives its memory back at once, without the collector."""
    gc.disable()
    try:
        held = held_bytes()
        ws = Workspace(fixed(MIB), "W")
        with ws:
            ws.ones(3)
        assert nd.allocated_bytes() >= held + MIB
        alive = weakref.ref(ws)
        del ws
        assert alive() is None
        assert nd.allocated_bytes() == held
    finally:
        gc.enable()


def test_an_array_keeps_its_workspace():
    """While an array of the running cycle or a scope needs it, the workspace lives on and stays reachable."""
    ws = Workspace(fixed(MIB), "W")
    scope = ws.notify_scope_entered()
    a = ws.full(3, 2)
    del ws
    gc.collect()
    assert a.tolist() == [2, 2, 2]
    assert a.workspace is scope.workspace
    scope.close()
    assert a.workspace.id == "W"
    assert a.validity is nd.Validity.LEAKED


def test_a_view_keeps_the_memory_only():
    """After the workspace is gone a view still shows its values; with the view the memory goes."""
    held = held_bytes()
    ws = Workspace(fixed(MIB), "W")
    with ws:
        view = ws.full(3, 2).numpy()
    del ws
    gc.collect()
    assert view.tolist() == [2, 2, 2]
    assert nd.allocated_bytes() > held
    del view
    assert nd.allocated_bytes() == held


def test_prefault_and_huge_pages_change_nothing_else():
    """The two wishes to the system are accepted and the workspace works as before."""
    for huge in nd.HugePages:
        ws = Workspace(fixed(4 * MIB, prefault=True, huge_pages=huge), "W")
        with ws:
            assert int(ws.ones(4 * MIB, dtype="u1").sum()) == 4 * MIB


def test_default_arguments():
    """Without arguments a workspace has the default configuration and the default id."""
    ws = Workspace()
    assert ws.id == nd.DEFAULT_WORKSPACE_ID
    assert ws.configuration == WorkspaceConfiguration()
    assert not nd.check_if_workspace_exists(nd.DEFAULT_WORKSPACE_ID)
