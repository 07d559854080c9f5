"""Objects of scopes: one may stand for one scope after the other, as long as nobody can tell."""

import gc
import weakref

import pytest
from support import fixed, in_thread

import ndarena as nd
from ndarena import Workspace


@pytest.fixture
def ws():
    return Workspace(fixed(4096), "W")


def turns(ws, count=3):
    for _ in range(count):
        with ws.notify_scope_entered() as inside:
            assert inside is ws
            ws.empty(4)


def test_a_scope_that_is_kept_is_never_opened_again(ws):
    turns(ws)
    kept = ws.notify_scope_entered()
    with kept:
        pass
    with ws.notify_scope_entered():
        assert "closed" in repr(kept)
        assert kept.workspace is ws
        with pytest.raises(nd.ScopeError, match="closed"):
            kept.__enter__()
        kept.close()
        assert ws.is_scope_active


def test_a_kept_exit_closes_its_own_scope_only(ws):
    turns(ws)
    leave = ws.notify_scope_entered().__exit__
    leave(None, None, None)
    with ws.notify_scope_entered():
        leave(None, None, None)
        assert ws.is_scope_active
    assert not ws.is_scope_active


def test_nested_scopes_have_objects_of_their_own(ws):
    for _ in range(3):
        with ws.notify_scope_entered(), ws.notify_scope_entered():
            ws.empty(4)
        outer, inner = ws.notify_scope_entered(), ws.notify_scope_entered()
        assert outer is not inner
        inner.close()
        assert ws.is_scope_active
        outer.close()
        assert not ws.is_scope_active


def test_a_scope_is_lost_after_others_that_were_closed(ws):
    turns(ws)
    ws.notify_scope_entered()
    assert ws.stats().lost_scopes == 1
    with pytest.raises(nd.ScopeError, match="lost"):
        nd.assert_no_workspaces_open("lost")
    ws.notify_scope_left()
    assert ws.stats().lost_scopes == 0
    turns(ws)
    assert ws.stats().lost_scopes == 0


def test_a_closed_scope_does_not_keep_its_workspace():
    ws = Workspace(fixed(4096), "SHORT")
    turns(ws)
    with ws:
        ws.empty(4)
    gone, held = weakref.ref(ws), nd.allocated_bytes()
    gc.disable()
    try:
        del ws
        assert gone() is None
        assert nd.allocated_bytes() < held
    finally:
        gc.enable()


def test_a_scope_keeps_its_workspace_while_it_is_open():
    with Workspace(fixed(4096), "TEMPORARY").notify_scope_entered() as ws:
        assert ws.id == "TEMPORARY"
        assert ws.is_scope_active
    with Workspace(fixed(4096), "TEMPORARY").notify_scope_entered() as other:
        assert other is not ws


def test_an_enter_that_is_refused_leaves_nothing_behind(ws):
    turns(ws)
    assert isinstance(in_thread(lambda: refusal(ws)), nd.WrongThreadError)
    turns(ws)
    ws.destroy_workspace()
    assert isinstance(refusal(ws), nd.DestroyedWorkspaceError)
    assert nd.get_memory_manager().current_workspace is None


def refusal(ws):
    with pytest.raises(nd.WorkspaceError) as caught, ws.notify_scope_entered():
        pass
    return caught.value


def test_a_scope_whose_with_ended_with_an_error_is_closed(ws):
    turns(ws)
    with pytest.raises(KeyError), ws.notify_scope_entered():
        raise KeyError
    assert not ws.is_scope_active
    turns(ws)


def test_a_with_whose_scope_was_closed_inside_closes_no_other(ws):
    with ws:
        with ws:
            ws.close()
            assert ws.is_scope_active
        assert ws.is_scope_active, "the inner `with` had its scope closed already"
    assert not ws.is_scope_active
