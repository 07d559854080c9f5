"""Every way to hold an array too long: each returns the array, and what has become of it."""

from __future__ import annotations

import contextlib
import threading

from array_support import sample
from support import eventually

import ndarena
from ndarena import Validity

ARENA = ndarena.WorkspaceConfiguration(initial_size="1 MiB")
RING = ndarena.WorkspaceConfiguration(
    initial_size=4096, policy_learning="NONE", policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1
)


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
    assert eventually(lambda: kept[0].validity is Validity.DESTROYED)
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
