"""Scopes that are left although others were entered inside: what layers hand on lies in two in turn."""

import itertools

import numpy as np
import pytest
from support import fixed

import ndarena as nd
from ndarena import LeakedArrayError, Workspace


def leave(scope):
    scope._leave_apart()  # noqa: SLF001 - for networks


@pytest.fixture
def first():
    return Workspace(fixed(4096), "FIRST")


@pytest.fixture
def second():
    return Workspace(fixed(4096), "SECOND")


def test_the_scope_inside_stays(first, second):
    outer, inner = first.notify_scope_entered(), second.notify_scope_entered()
    gone, kept = first.ones(3), second.ones(3)
    leave(outer)
    assert not first.is_scope_active
    with pytest.raises(LeakedArrayError):
        gone + 1
    assert nd.get_current_workspace() is second
    assert np.asarray(kept).tolist() == [1.0, 1.0, 1.0]
    inner.close()
    assert nd.get_current_workspace() is None


def test_it_is_idempotent_and_the_innermost_is_simply_closed(first, second):
    outer, inner = first.notify_scope_entered(), second.notify_scope_entered()
    leave(inner)
    assert nd.get_current_workspace() is first
    leave(inner)
    leave(outer)
    outer.close()
    assert nd.get_current_workspace() is None


def test_what_was_current_before_is_current_again(first, second):
    with Workspace(fixed(64), "BEFORE") as before:
        outer, inner = first.notify_scope_entered(), second.notify_scope_entered()
        leave(outer)
        inner.close()
        assert nd.get_current_workspace() is before


def test_a_re_entry_inside_ends_the_cycle(first, second):
    outer, _, again = (ws.notify_scope_entered() for ws in (first, second, first))
    leave(outer)
    assert first.is_scope_active
    array = first.ones(3)
    leave(again)
    assert first.cycles_count == 1
    assert not array.is_in_scope
    second.notify_scope_left()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_three_are_left_in_any_order(order):
    workspaces = [Workspace(fixed(4096), f"W{i}") for i in range(3)]
    scopes = [ws.notify_scope_entered() for ws in workspaces]
    still = [0, 1, 2]
    for i in order:
        leave(scopes[i])
        still.remove(i)
        assert [ws.is_scope_active for ws in workspaces] == [k in still for k in range(3)]
        assert nd.get_current_workspace() is (workspaces[still[-1]] if still else None)


def test_two_in_turn(first, second):
    """Every layer writes beside what it reads, and leaves that behind."""
    scope, x = None, np.arange(4.0)
    for turn, ws in enumerate([first, second] * 5):
        entered = ws.notify_scope_entered()
        y = ws.array(x)
        y += 1.0
        if scope is not None:
            leave(scope)
        scope, x = entered, y
        assert np.asarray(x).tolist() == [turn + 1.0 + i for i in range(4)]
    del x
    leave(scope)
    assert (first.cycles_count, second.cycles_count) == (5, 5)
