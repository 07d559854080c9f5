"""Scopes: entering, leaving, borrowing, re-entry, nesting, order and what happens when it is broken."""

import gc

import pytest
from support import fixed, in_thread

import ndarena as nd
from ndarena import Workspace


@pytest.fixture
def ws():
    return Workspace(fixed(4096), "W")


@pytest.fixture
def outer():
    return Workspace(fixed(4096), "OUTER")


def current():
    return nd.get_memory_manager().current_workspace


# ---------------------------------------------------------------- entering and leaving


def test_notify_scope_entered_enters_at_the_call(ws):
    """The call itself enters; the Scope it returns knows its workspace and closes it."""
    scope = ws.notify_scope_entered()
    assert isinstance(scope, nd.Scope)
    assert ws.is_scope_active
    assert current() is ws
    assert scope.workspace is ws
    scope.close()
    assert not ws.is_scope_active
    assert current() is None


def test_the_target_of_with_is_the_workspace(ws):
    """`with ws.notify_scope_entered()` binds the workspace."""
    with ws.notify_scope_entered() as bound:
        assert bound is ws


def test_with_workspace_is_the_same(ws):
    """`with ws` enters and leaves too."""
    with ws as bound:
        assert bound is ws
        assert current() is ws
        assert ws.generation_id == 1
    assert not ws.is_scope_active
    assert ws.cycles_count == 1


def test_close_of_a_scope_is_idempotent(ws):
    """The second close of a Scope does nothing, also when the workspace is open again."""
    scope = ws.notify_scope_entered()
    scope.close()
    scope.close()
    assert ws.cycles_count == 1
    with ws:
        scope.close()
        assert ws.is_scope_active


@pytest.mark.parametrize("leave", [Workspace.close, Workspace.notify_scope_left])
def test_workspace_closes_its_innermost_scope(ws, leave):
    """`ws.close()` and `ws.notify_scope_left()` close one scope, the innermost of the workspace."""
    first, second = ws.notify_scope_entered(), ws.notify_scope_entered()
    leave(ws)
    assert ws.is_scope_active
    second.close()
    assert ws.is_scope_active
    leave(ws)
    assert not ws.is_scope_active
    first.close()
    assert ws.cycles_count == 1


@pytest.mark.parametrize("leave", [Workspace.close, Workspace.notify_scope_left])
def test_leaving_without_an_open_scope(ws, leave):
    """With no scope open, leaving is a ScopeError and nothing is counted."""
    with ws:
        ws.zeros(3)
    before = ws.stats()
    with pytest.raises(nd.ScopeError) as caught:
        leave(ws)
    assert caught.value.workspace_id == "W"
    assert ws.stats() == before


def test_a_closed_scope_cannot_be_used_in_with(ws):
    """A Scope used in `with` after it was closed raises and does not enter."""
    scope = ws.notify_scope_entered()
    scope.close()
    with pytest.raises(nd.ScopeError), scope:
        pass
    assert not ws.is_scope_active
    assert ws.generation_id == 1


def test_a_collected_scope_changes_nothing(ws):
    """The scope stays open when its object dies, until it is closed."""
    scope = ws.notify_scope_entered()
    a = ws.ones(3)
    del scope
    gc.collect()
    assert ws.is_scope_active
    assert current() is ws
    assert a.tolist() == [1, 1, 1]
    ws.close()
    assert not ws.is_scope_active


def test_a_lost_scope_is_counted_and_named(ws):
    """A scope whose object died without a close is counted and named by repr and by the assertion."""
    assert ws.stats().lost_scopes == 0
    scope = nd.get_and_activate_workspace(fixed(4096), id="LOST")
    lost = scope.workspace
    del scope
    gc.collect()
    try:
        assert lost.stats().lost_scopes == 1
        assert "1 scope(s) without an object" in repr(lost)
        with pytest.raises(nd.ScopeError, match=r"1 scope\(s\) without an object"):
            nd.assert_no_workspaces_open("at the end")
    finally:
        lost.close()


@pytest.mark.parametrize("way", ["with", "close", "notify_scope_left"])
def test_a_scope_that_was_closed_is_not_lost(ws, way):
    """`with`, `close` and `notify_scope_left` account for a scope."""
    scope = ws.notify_scope_entered()
    if way == "with":
        with scope:
            pass
    elif way == "close":
        scope.close()
    else:
        ws.notify_scope_left()
    del scope
    gc.collect()
    assert ws.stats().lost_scopes == 0
    assert "without an object" not in repr(ws)


# ---------------------------------------------------------------- borrowing and re-entry


def test_borrowing_neither_resets_nor_begins_a_generation(ws, outer):
    """A borrowed workspace is current and its cycle runs on; afterwards the former one is current again."""
    with ws:
        a = ws.full(4, 7)
        offset = ws.current_offset
        with outer:
            with ws.notify_scope_borrowed() as bound:
                assert bound is ws
                assert current() is ws
                b = nd.ones(4)
                assert b.workspace is ws
                assert ws.current_offset > offset
            assert current() is outer
            outer.zeros(1)
        assert ws.generation_id == 1
        assert ws.cycles_count == 0
        assert (a + b).tolist() == [8] * 4


def test_a_closed_workspace_cannot_be_borrowed(ws):
    """Borrowing needs an open workspace; refused, it changes nothing."""
    with pytest.raises(nd.ScopeError) as caught:
        ws.notify_scope_borrowed()
    assert caught.value.workspace_id == "W"
    assert current() is None
    assert not ws.is_scope_active


def test_borrowing_twice(ws, outer):
    """A borrowed workspace may be borrowed and re-entered again, to any depth."""
    with ws, outer:
        outer.zeros(1)
        with ws.notify_scope_borrowed(), ws.notify_scope_entered(), ws.notify_scope_borrowed():
            assert current() is ws
            a = ws.ones(2)
        assert current() is outer
        assert a.is_in_scope
        assert ws.generation_id == 1


def test_re_entry_continues_the_cycle(ws):
    """Entering the current workspace again starts no generation; arrays of both levels live on."""
    with ws:
        a = ws.ones(4)
        with ws:
            b = ws.full(4, 2)
            assert ws.generation_id == 1
        assert ws.is_scope_active
        assert ws.cycles_count == 0
        assert (a + b).tolist() == [3] * 4
    assert ws.cycles_count == 1
    assert not a.is_in_scope
    assert not b.is_in_scope


def test_re_entry_of_an_open_workspace_further_out(ws, outer):
    """A, B, A: the cycle of A continues, A becomes current, leaving it makes B current again."""
    with outer:
        a = outer.ones(3)
        with ws:
            ws.ones(3)
            with outer:
                assert current() is outer
                assert outer.generation_id == 1
                b = outer.ones(3)
                assert a.tolist() == [1] * 3
            assert current() is ws
            assert outer.is_scope_active
        assert current() is outer
        assert b.is_in_scope
    assert outer.cycles_count == 1


def test_the_cycle_ends_with_the_last_open_scope(ws, outer):
    """An inner scope keeps the cycle going only until the last scope of the workspace closes."""
    first = ws.notify_scope_entered()
    second = ws.notify_scope_entered()
    third = ws.notify_scope_borrowed()
    a = ws.ones(2)
    for scope, open_after in ((third, True), (second, True), (first, False)):
        scope.close()
        assert ws.is_scope_active is open_after
        assert a.is_in_scope is open_after


# ---------------------------------------------------------------- depth and order


def test_any_depth_of_one_workspace(ws):
    """A thousand scopes of one workspace nest."""
    scopes = [ws.notify_scope_entered() for _ in range(1000)]
    a = ws.ones(2)
    for scope in reversed(scopes):
        assert a.is_in_scope
        scope.close()
    assert ws.cycles_count == 1
    assert not a.is_in_scope


def test_any_depth_of_many_workspaces():
    """Three hundred workspaces nest, and each makes the one outside it current again."""
    workspaces = [Workspace(fixed(4096), f"W{i}") for i in range(300)]
    scopes = [w.notify_scope_entered() for w in workspaces]
    for w, outside, scope in zip(
        reversed(workspaces), [*reversed(workspaces[:-1]), None], reversed(scopes), strict=True
    ):
        assert current() is w
        scope.close()
        assert current() is outside


@pytest.mark.parametrize("leave", ["scope", "close", "notify_scope_left"])
def test_out_of_order_changes_nothing(ws, outer, leave):
    """An explicit close out of order is a ScopeError; both scopes are still open afterwards."""
    with outer:
        pass
    scope = outer.notify_scope_entered()
    a = outer.ones(2)
    with ws:
        ws.zeros(1)
        with pytest.raises(nd.ScopeError) as caught:
            scope.close() if leave == "scope" else getattr(outer, leave)()
        assert not isinstance(caught.value, nd.WrongThreadError)
        assert caught.value.open_workspaces == ("OUTER", "W")
        assert current() is ws
        assert outer.is_scope_active
        assert a.is_in_scope
        assert outer.cycles_count == 1
    scope.close()
    assert outer.cycles_count == 2


def test_out_of_order_within_one_workspace(ws):
    """The outer of two scopes of one workspace cannot be closed before the inner."""
    first, second = ws.notify_scope_entered(), ws.notify_scope_entered()
    with pytest.raises(nd.ScopeError):
        first.close()
    second.close()
    assert ws.is_scope_active
    first.close()
    assert not ws.is_scope_active


@pytest.mark.parametrize("leave", ["scope", "close", "notify_scope_left"])
def test_closing_in_another_thread(ws, leave):
    """An explicit close in another thread is a WrongThreadError and changes nothing."""
    scope = ws.notify_scope_entered()
    a = ws.ones(2)
    with pytest.raises(nd.WrongThreadError) as caught:
        in_thread(scope.close if leave == "scope" else getattr(ws, leave))
    assert caught.value.workspace_id == "W"
    assert ws.is_scope_active
    assert a.is_in_scope
    scope.close()
    assert ws.cycles_count == 1


def test_leaving_with_closes_what_is_open_inside(ws, outer):
    """A `with` block always closes its scope, those inside first; the error names them; they stay closed."""
    inner = Workspace(fixed(4096), "INNER")
    with pytest.raises(nd.ScopeError, match=r"INNER[\s\S]*W|W[\s\S]*INNER") as caught, outer:
        forgotten = ws.notify_scope_entered(), inner.notify_scope_entered()
        a, b = ws.ones(2), inner.ones(2)
    assert not isinstance(caught.value, nd.WrongThreadError)
    assert current() is None
    assert not any(w.is_scope_active for w in (ws, inner, outer))
    assert not a.is_in_scope
    assert not b.is_in_scope
    for scope in forgotten:
        scope.close()
    assert [w.cycles_count for w in (ws, inner, outer)] == [1, 1, 1]


def test_scopes_inside_are_closed_innermost_first(ws, outer):
    """Three scopes of one workspace, forgotten inside another: its cycle ends once."""
    with pytest.raises(nd.ScopeError), outer:
        ws.notify_scope_entered(), ws.notify_scope_borrowed(), ws.notify_scope_entered()
        ws.zeros(1)
    assert ws.cycles_count == 1
    assert not ws.is_scope_active


def test_an_exception_on_its_way_is_kept(ws, outer):
    """With an exception on its way the scopes that were forgotten are a note on it."""
    with pytest.raises(KeyError, match="mine") as caught, outer:
        forgotten = ws.notify_scope_entered()
        raise KeyError("mine")
    assert "W" in "".join(caught.value.__notes__)
    assert not ws.is_scope_active
    forgotten.close()


def test_leaving_with_in_another_thread_is_refused(ws, outer):
    """An `__exit__` in another thread raises; the owner closes that scope, and all inside, later."""
    with outer:
        outer.zeros(1)
        scope = ws.notify_scope_entered()
        inner = ws.notify_scope_entered()
        ws.zeros(1)
        with pytest.raises(nd.WrongThreadError):
            in_thread(scope.__exit__, None, None, None)
    assert not ws.is_scope_active
    assert not outer.is_scope_active
    assert ws.cycles_count == 1
    inner.close()
    scope.close()
    assert ws.cycles_count == 1


def test_the_owner_catches_up_at_its_next_enter(ws, outer):
    """What another thread failed to close is closed silently before the owner enters."""
    scope = ws.notify_scope_entered()
    ws.zeros(1)
    with pytest.raises(nd.WrongThreadError):
        in_thread(scope.__exit__, None, None, None)
    with outer:
        assert current() is outer
        assert outer.parent_workspace is None
        assert not ws.is_scope_active
        assert ws.cycles_count == 1
    assert current() is None


def test_a_generator_closed_in_another_thread(ws):
    """The refusal comes even over GeneratorExit, and the owner closes the scope at its next enter."""

    def steps():
        with ws:
            yield ws.ones(1).item()

    generator = steps()
    assert next(generator) == 1
    with pytest.raises(nd.WrongThreadError):
        in_thread(generator.close)
    with ws:
        assert ws.generation_id == 2
    assert ws.cycles_count == 2


def test_generators_that_close_out_of_order_are_told_so(ws, outer):
    """A generator suspended inside a scope that others entered around is told the cause."""

    def steps(workspace):
        with workspace:
            yield workspace.ones(1)

    first, second = steps(outer), steps(ws)
    next(first), next(second)
    with pytest.raises(nd.ScopeError, match=r"(?i)generator|coroutine|suspended"):
        next(first)
    assert not ws.is_scope_active
    assert not outer.is_scope_active
    second.close()
    assert ws.cycles_count == outer.cycles_count == 1


def test_a_suspended_generator_keeps_its_workspace_current(ws):
    """Scopes belong to the thread: a suspended generator's workspace is current for all of it."""

    def steps():
        with ws:
            yield

    generator = steps()
    next(generator)
    assert current() is ws
    assert nd.ones(2).workspace is ws
    generator.close()
    assert current() is None
