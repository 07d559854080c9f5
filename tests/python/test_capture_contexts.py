"""Capture in threads, contexts, tasks, generators and forked children: what it follows, and how it ends."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from capture_support import BYTES, N, capturing, handler_name, is_captured
from support import held_bytes, in_thread

import ndarena as nd


@pytest.fixture
def ws():
    return capturing()


@pytest.fixture(autouse=True)
def default_handler():
    """Every scope takes its handler away, in its context."""
    yield
    assert handler_name() == "default_allocator"


# ---------------------------------------------------------------- nesting


def test_the_innermost_capture_serves(ws):
    other = capturing()
    with ws.notify_scope_entered(capture_numpy=True):
        with other.notify_scope_entered(capture_numpy=True):
            assert is_captured(other)
            assert not is_captured(ws)
        assert is_captured(ws)
        assert not is_captured(other)


def test_a_full_inner_capture_hands_over_to_the_outer_one(ws):
    tiny = capturing(max_size=BYTES)
    with ws.notify_scope_entered(capture_numpy=True), tiny.notify_scope_entered(capture_numpy=True):
        a = np.full(N, 1.0)
        assert is_captured(ws, lambda: np.full(N, 2.0))
        b = np.full(N, 3.0)
        a.resize(2 * N, refcheck=False)
    assert (tiny.escaped_count, ws.escaped_count) == (0, 1)
    assert ws.retired_size == BYTES
    assert (a[:N].sum(), a[N:].sum(), b.sum()) == (N, 0, 3 * N)
    del b
    assert ws.retired_size == 0


def test_entering_again_goes_on_and_ends_with_the_outermost(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        with ws.notify_scope_entered(capture_numpy=True):
            assert is_captured(ws)
        assert is_captured(ws)
        with ws, ws.notify_scope_borrowed():
            assert is_captured(ws)
    with ws:
        assert not is_captured(ws)
        with ws.notify_scope_entered(capture_numpy=True):
            assert is_captured(ws)
        assert not is_captured(ws)


def test_a_workspace_inside_another_inside_itself(ws):
    other = capturing()
    with (
        ws.notify_scope_entered(capture_numpy=True),
        other.notify_scope_entered(capture_numpy=True),
        ws.notify_scope_entered(capture_numpy=True),
    ):
        assert is_captured(ws)
        a = np.full(N, 1.0)
    assert a.sum() == N


def test_a_workspace_without_capture_leaves_it_as_it_is(ws):
    other = capturing()
    with ws.notify_scope_entered(capture_numpy=True), other:
        assert nd.get_current_workspace() is other
        assert is_captured(ws)
        other.ones(1)


def test_scoping_out_suspends_every_capture(ws):
    other = capturing()
    with ws.notify_scope_entered(capture_numpy=True), other.notify_scope_entered(capture_numpy=True):
        with nd.scope_out_of_workspaces():
            parameters = np.full(N, 1.0)
            assert ws.this_cycle_allocations == other.this_cycle_allocations == 0
            with nd.scope_out_of_workspaces():
                assert not is_captured(other)
            with ws.notify_scope_entered(capture_numpy=True):
                assert is_captured(ws)
            assert not is_captured(ws)
        assert is_captured(other)
    assert parameters.sum() == N
    assert other.escaped_count == 0


def test_a_role_that_is_scoped_out_suspends_too(ws):
    roles = nd.LayerWorkspaceMgr({nd.ArrayType.INPUT: None})
    with ws.notify_scope_entered(capture_numpy=True):
        with roles.notify_scope_entered(nd.ArrayType.INPUT):
            assert not is_captured(ws)
        assert is_captured(ws)


def test_scopes_left_open_inside_are_undone_in_their_order(ws):
    other = capturing()
    with (
        pytest.raises(nd.ScopeError, match="still open inside"),
        ws.notify_scope_entered(capture_numpy=True),
    ):
        other.notify_scope_entered(capture_numpy=True)
        nd.scope_out_of_workspaces()
    assert handler_name() == "default_allocator"
    assert not other.is_scope_active


def test_an_error_of_entering_takes_the_handler_away(ws):
    def enter_elsewhere():
        with pytest.raises(nd.WrongThreadError):
            ws.notify_scope_entered(capture_numpy=True)
        return handler_name()

    assert in_thread(enter_elsewhere) == "default_allocator"
    assert ws.generation_id == 0


def test_close_and_leave_take_it_away_like_a_with_block(ws):
    for leave in (lambda scope: scope.close(), lambda _: ws.notify_scope_left(), lambda _: ws.close()):
        scope = ws.notify_scope_entered(capture_numpy=True)
        assert is_captured(ws)
        leave(scope)
        assert handler_name() == "default_allocator"


def test_contexts_left_crosswise_are_harmless(ws):
    """A scope that is closed in another context leaves its handler in its own: it passes everything on."""
    context = contextvars.copy_context()
    scope = context.run(ws.notify_scope_entered, capture_numpy=True)
    assert not is_captured(ws)
    scope.close()
    assert context.run(handler_name) == "ndarena"
    a = context.run(np.full, N, 1.0)
    assert (ws.last_cycle_allocations, ws.escaped_count) == (0, 0)
    with ws.notify_scope_entered(capture_numpy=True):
        assert is_captured(ws)
        assert context.run(is_captured, ws), "a context copied from inside could not be told from it"
    assert a.sum() == N

    def again():
        with ws.notify_scope_entered(capture_numpy=True):
            assert is_captured(ws)
        return handler_name()

    assert context.run(again) == "default_allocator", "entered there anew, it is taken away there"


def test_endless_crosswise_turns_pile_up_nothing():
    """Every turn leaves the handler of a workspace that is gone; none is kept under the next."""
    context = contextvars.Context()

    def turn():
        ws = capturing()
        scope = context.run(ws.notify_scope_entered, capture_numpy=True)
        context.run(np.empty, N)
        scope.close()

    before = held_bytes()
    for _ in range(30_000):
        turn()
    assert held_bytes() == before
    assert context.run(handler_name) == "ndarena"


# ---------------------------------------------------------------- threads


def test_threads_are_not_captured(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        assert in_thread(handler_name) == "default_allocator"
        with ThreadPoolExecutor(1) as pool:
            assert not is_captured(ws, lambda: pool.submit(np.empty, N).result())


def test_a_context_that_goes_to_another_thread_is_not_captured_there(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        context = contextvars.copy_context()
        assert context.run(is_captured, ws)
        allocated = ws.this_cycle_allocations
        a = in_thread(context.run, np.full, N, 1.0)
        assert handler_name(a) == "ndarena", "the handler came along, and passed it on"
        assert ws.this_cycle_allocations == allocated
        assert asyncio.run(asyncio.to_thread(is_captured, ws)) is False
    assert a.sum() == N


def test_captured_arrays_die_in_any_thread(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        box = [np.full(N, float(i)) for i in range(4)]
        in_thread(box.pop)
        assert ws.peak_size == 4 * BYTES
    in_thread(box.pop)
    assert ws.retired_size == 2 * BYTES
    in_thread(box.clear)
    assert ws.retired_size == 0


def test_captured_arrays_outlive_their_thread():
    before = held_bytes()

    def work():
        ws = capturing()
        scope = ws.notify_scope_entered(capture_numpy=True)
        arrays = [np.full(N, 3.0), np.arange(10)]
        return arrays, scope

    arrays, scope = in_thread(work)
    assert arrays[0].sum() == 3 * N
    del scope
    del arrays
    assert held_bytes() == before


def test_many_threads_free_what_one_captures():
    ws = capturing()
    failed, box, done = [], [], threading.Event()

    def consume():
        while not done.is_set() or box:
            try:
                a = box.pop()
            except IndexError:
                continue
            if a[0] != a[-1]:
                failed.append(a)

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        with ws.notify_scope_entered(capture_numpy=True):
            box.extend(np.full(4096 + 64 * (i % 7), float(turn * 30 + i)) for i in range(30))
    done.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert ws.retired_size == 0


def test_text_grows_without_the_lock_while_others_allocate(tmp_path):
    numbers = np.arange(30_000.0)
    path = tmp_path / "text"
    numbers.tofile(path, sep=" ")

    def read():
        ws = capturing()
        for _ in range(10):
            with ws.notify_scope_entered(capture_numpy=True):
                if not np.array_equal(np.fromfile(path, sep=" "), numbers):
                    return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert all(f.result() for f in [pool.submit(read) for _ in range(3)])


# ---------------------------------------------------------------- the private workspace


def test_the_module_captures_into_a_private_workspace():
    with nd.capture_numpy() as ws:
        assert is_captured(ws)
        assert nd.get_current_workspace() is ws
        with nd.capture_numpy() as same:
            assert same is ws
    with nd.capture_numpy() as again:
        assert again is ws
    assert in_thread(lambda: nd.capture_numpy().__enter__() is ws) is False
    assert nd.get_all_workspaces_ids_for_current_thread() == []


def test_the_private_workspace_warns_of_nothing_and_comes_anew_when_it_is_destroyed():
    def turns_of_a_thread():
        for _ in range(5):
            with nd.capture_numpy() as ws:
                pass
        ws.destroy_workspace()
        with nd.capture_numpy() as new:
            return new is not ws and is_captured(new)

    assert in_thread(turns_of_a_thread)
