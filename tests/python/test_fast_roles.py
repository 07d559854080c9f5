"""A manager makes arrays where its roles lead now, whatever they led to before."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from support import fixed, in_thread

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, Workspace, WorkspaceConfiguration

ROLE = ArrayType.ACTIVATIONS


@pytest.fixture(autouse=True)
def _settled():
    yield
    ndarena.destroy_all_workspaces_for_current_thread()


@pytest.fixture
def manager():
    return LayerWorkspaceMgr.builder().with_(ROLE, "ACT", WorkspaceConfiguration()).build()


def made(manager):
    """Return the workspace of new arrays: several, as the second may be found in another way."""
    arrays = [
        make(ROLE, (3, 2), np.float32)
        for make in (manager.create, manager.create_uninitialized)
        for _ in range(3)
    ]
    assert {(a.shape, a.dtype.name) for a in arrays} == {((3, 2), "float32")}
    assert all((arrays[i] == 0).all() for i in range(3))
    found = [a.workspace for a in arrays]
    assert all(workspace is found[0] for workspace in found)
    return arrays[0].workspace


def test_the_registered_workspace_is_found_in_each_turn(manager):
    for _ in range(5):
        with manager.notify_scope_entered(ROLE) as ws:
            assert made(manager) is ws
            assert ndarena.get_workspace_for_current_thread(id="ACT") is ws
            with Workspace(id="ACT"):
                assert made(manager) is ws


def test_closed_it_is_refused_as_before(manager):
    with manager.notify_scope_entered(ROLE):
        made(manager)
    with pytest.raises(ndarena.ScopeError, match="is not open"):
        made(manager)


def test_another_workspace_of_that_name(manager):
    with manager.notify_scope_entered(ROLE) as first:
        made(manager)
    first.destroy_workspace()
    with manager.notify_scope_entered(ROLE) as second:
        assert made(manager) is second
        assert second is not first
        other = Workspace(id="OTHER")
        with other:
            ndarena.set_workspace_for_current_thread(other, "ACT")
            assert made(manager) is other


def test_another_role(manager):
    conf = WorkspaceConfiguration()
    with manager.notify_scope_entered(ROLE) as first, ndarena.get_and_activate_workspace(conf, "B") as second:
        assert made(manager) is first
        manager.set_workspace(ROLE, "B", conf)
        assert made(manager) is second
        manager.set_workspace_name(ROLE, "ACT")
        assert made(manager) is first
        manager.set_scoped_out_for(ROLE)
        assert type(manager.create(ROLE, 2)) is np.ndarray


def test_each_thread_finds_its_own(manager):
    with manager.notify_scope_entered(ROLE) as ours:
        assert made(manager) is ours

        def elsewhere():
            with pytest.raises(ndarena.ScopeError):
                manager.create(ROLE, 2)
            with manager.notify_scope_entered(ROLE) as theirs:
                assert made(manager) is theirs
                return theirs

        theirs = in_thread(elsewhere)
        assert theirs is not ours
        assert made(manager) is ours
    del theirs
    gc.collect()
    with manager.notify_scope_entered(ROLE) as ours:
        assert made(manager) is ours


def test_a_manager_keeps_no_workspace(manager):
    before = ndarena.allocated_bytes()

    def elsewhere():
        manager.set_workspace(ROLE, "ACT", fixed(1 << 20))
        with manager.notify_scope_entered(ROLE):
            made(manager)

    in_thread(elsewhere)
    gc.collect()
    assert ndarena.allocated_bytes() == before
    with pytest.raises(ndarena.ScopeError):
        manager.create(ROLE, 2)


def test_modes_are_asked_each_time(manager):
    with manager.notify_scope_entered(ROLE) as ws:
        assert made(manager) is ws
        ws.enable_debug(True)
        assert made(manager) is ws
        ws.toggle_workspace_use(False)
        before = ws.number_of_external_allocations
        array = manager.create(ROLE, 5)
        assert ws.number_of_external_allocations == before + 1
        del array
    ndarena.set_debug_mode("SPILL_EVERYTHING")
    try:
        with manager.notify_scope_entered(ROLE) as ws:
            before = ws.number_of_external_allocations
            array = manager.create(ROLE, 5)
            assert ws.number_of_external_allocations == before + 1
            del array
    finally:
        ndarena.set_debug_mode("DISABLED")
