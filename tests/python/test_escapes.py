"""Views that outlive their scope: policies, retired memory, its return, its pool and the warnings."""

import gc
import threading
import warnings

import numpy as np
import pytest
from support import KIB, MIB, fixed, held_bytes, in_thread

import ndarena as nd
from ndarena import EscapePolicy, Workspace, WorkspaceConfiguration

ARENA = 64 * KIB


def arena_of(policy):
    return Workspace(fixed(ARENA, policy_escape=policy), "W")


@pytest.fixture
def ws():
    return arena_of("RETIRE")


# ---------------------------------------------------------------- RETIRE


def test_retire_keeps_the_bytes_and_counts(ws):
    """A view that outlives the scope keeps its values through later cycles; its array is counted once."""
    with ws:
        view = ws.full(100, 7.0).numpy()
    assert ws.escaped_count == 1
    for i in range(10):
        with ws:
            ws.full(1000, float(i))
    assert np.all(view == 7.0)
    assert ws.escaped_count == 1


def test_escapes_count_arrays_not_views(ws):
    """Three views of one array are one escape; two arrays are two."""
    with ws:
        a, b = ws.zeros(10), ws.zeros(10)
        views = [a.numpy(), a.numpy()[2:], np.asarray(a), b.numpy()]
    assert ws.escaped_count == 2
    assert len(views) == 4


def test_a_handle_is_no_escape(ws):
    """Arrays that outlive the scope without a view are not counted and retire nothing."""
    with ws:
        kept = [ws.zeros(10) for _ in range(5)]
    assert ws.escaped_count == 0
    assert ws.retired_size == 0
    assert not any(a.is_in_scope for a in kept)


def test_a_view_that_died_in_time_is_no_escape(ws):
    """Only what is alive at the close counts."""
    with ws:
        a = ws.zeros(10)
        view = a.numpy()
        del view
    assert ws.escaped_count == 0


def test_an_inner_close_is_no_end(ws):
    """Views over an inner scope are no escapes: the cycle goes on."""
    with ws:
        with ws:
            view = ws.zeros(10).numpy()
        assert ws.escaped_count == 0
        del view
    assert ws.escaped_count == 0


def test_a_view_of_an_earlier_cycle_is_not_counted_again(ws):
    """Each cycle counts its own arrays."""
    with ws:
        view = ws.zeros(10).numpy()
    for _ in range(3):
        with ws:
            ws.zeros(10)
    assert ws.escaped_count == 1
    assert not view.any()


@pytest.mark.parametrize(
    "export",
    [
        lambda a: a.numpy(),
        np.asarray,
        memoryview,
        np.from_dlpack,
        lambda a: a[3:].numpy(),
        lambda a: a.numpy()[3:],
        lambda a: a.numpy().reshape(2, 5).T,
        lambda a: memoryview(a)[2:],
    ],
    ids=[
        "numpy",
        "asarray",
        "memoryview",
        "from_dlpack",
        "slice.numpy",
        "numpy.slice",
        "numpy.T",
        "memoryview.slice",
    ],
)
def test_every_export_is_a_lease(ws, export):
    """Whatever shares the memory keeps it, and its end gives it back."""
    with ws:
        view = export(ws.full(10, 7.0))
    assert ws.escaped_count == 1
    assert ws.retired_size > 0
    for _ in range(3):
        with ws:
            ws.full(1000, 9.0)
    assert np.all(np.asarray(view) == 7.0)
    del view
    assert ws.retired_size == 0


# ---------------------------------------------------------------- retired memory


def test_retired_size_falls_with_the_last_lease(ws):
    """Two views hold the memory until both are gone."""
    with ws:
        a = ws.zeros(100)
        first, second = a.numpy(), a.numpy()
    assert ws.retired_size >= 800
    del first
    assert ws.retired_size >= 800
    del second
    assert ws.retired_size == 0


def test_retired_size_falls_in_whatever_thread(ws):
    """The last lease may die anywhere; at that moment the memory is free."""
    with ws:
        views = [ws.zeros(100).numpy()]
    assert ws.retired_size > 0
    in_thread(views.clear)
    assert ws.retired_size == 0


def test_a_writable_view_stays_writable(ws):
    """What is written through a view after the scope is seen by that view and nobody else."""
    with ws:
        view = ws.zeros(100).numpy()
    with ws:
        a = ws.zeros(100)
        view[:] = 5
        assert not a.any()
        assert np.all(view == 5)


def test_one_more_arena_serves_views_over_every_cycle(ws):
    """A loop in which a view always outlives its cycle alternates between two arenas."""
    before = held_bytes()
    view = None
    for i in range(300):
        with ws:
            view = ws.full(100, float(i)).numpy()
        assert np.all(view == i)
        if i == 2:
            held = held_bytes()
    assert nd.allocated_bytes() == held
    assert held - before < 3 * ARENA
    del view
    assert ws.retired_size == 0


def test_memory_returns_after_a_burst_of_views():
    """Many retired arenas serve again or go back; the pool that stays is small."""
    ws = Workspace(fixed(MIB), "W")
    with ws:
        ws.zeros(1)
    held = held_bytes()
    views = []
    for _ in range(100):
        with ws:
            views.append(ws.zeros(10).numpy())
    assert ws.retired_size >= 99 * 80
    assert nd.allocated_bytes() >= held + 50 * 80
    views.clear()
    assert ws.retired_size == 0
    with ws:
        ws.zeros(1)
    assert nd.allocated_bytes() <= held + 16 * MIB
    del ws
    gc.collect()
    assert nd.allocated_bytes() <= held


def test_a_thousand_retired_blocks_warn_once():
    """After 1000 retired blocks alive at once one ResourceWarning names the workspace; there is no second."""
    ws = Workspace(fixed(4 * KIB), "HOARD")
    views = []

    def hoard(count):
        for _ in range(count):
            with ws:
                views.append(ws.zeros(8).numpy())

    hoard(990)
    with pytest.warns(ResourceWarning, match="HOARD") as caught:
        hoard(20)
    assert len(caught) == 1
    hoard(50)
    views.clear()
    assert ws.retired_size == 0


def test_in_debug_the_warning_names_a_creation_site():
    """With debug on the ResourceWarning says where an array whose view is held was made."""
    ws = Workspace(fixed(4 * KIB), "HOARD")
    ws.enable_debug(True)
    views = []
    with pytest.warns(ResourceWarning, match=r"test_escapes\.py:\d+"):
        for _ in range(1005):
            with ws:
                views.append(ws.zeros(8).numpy())
    assert len(views) == 1005


# ---------------------------------------------------------------- WARN


def test_warn_warns_once_per_close():
    """WARN: one warning per close that had escapes, however many they are."""
    ws = arena_of(EscapePolicy.WARN)
    with pytest.warns(nd.EscapedViewWarning, match="W") as caught:
        with ws:
            views = [ws.zeros(10).numpy() for _ in range(3)]
        with ws:
            ws.zeros(1)
        with ws:
            views.append(ws.zeros(10).numpy())
    assert len(caught) == 2
    assert issubclass(nd.EscapedViewWarning, RuntimeWarning)
    assert ws.escaped_count == 4
    assert len(views) == 4


def test_warn_as_an_error_comes_after_the_close():
    """The scope is completely closed and the memory retired when the warning is raised."""
    ws = arena_of("WARN")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(nd.EscapedViewWarning), ws:
            view = ws.full(10, 3.0).numpy()
    assert not ws.is_scope_active
    assert nd.get_current_workspace() is None
    assert ws.retired_size > 0
    with ws:
        ws.full(10, 4.0)
    assert np.all(view == 3.0)


# ---------------------------------------------------------------- RAISE


@pytest.mark.parametrize("leave", ["with", "close", "notify_scope_left"])
def test_raise_comes_after_the_close(leave):
    """RAISE: the error comes when the scope is closed and the memory retired; nothing is lost."""
    ws = arena_of("RAISE")
    scope = ws.notify_scope_entered()
    view = ws.full(10, 3.0).numpy()
    with pytest.raises(nd.EscapedViewError) as caught:
        if leave == "with":
            with scope:
                pass
        elif leave == "close":
            scope.close()
        else:
            ws.notify_scope_left()
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.workspace_id == "W"
    assert not ws.is_scope_active
    assert nd.get_current_workspace() is None
    assert (ws.escaped_count, ws.cycles_count) == (1, 1)
    with ws:
        ws.full(10, 4.0)
    assert np.all(view == 3.0)


def test_raise_is_a_note_on_an_exception_on_its_way():
    """With an exception on its way the escape is a note on it, not a replacement."""
    ws = arena_of("RAISE")
    with pytest.raises(KeyError, match="mine") as caught, ws:
        view = ws.full(10, 3.0).numpy()
        raise KeyError("mine")
    assert any("W" in note for note in caught.value.__notes__)
    assert ws.escaped_count == 1
    assert np.all(view == 3.0)


def test_raise_is_silent_without_escapes():
    """Views that died inside the scope raise nothing."""
    ws = arena_of("RAISE")
    with ws:
        assert np.all(ws.full(10, 3.0).numpy() == 3.0)
    assert ws.escaped_count == 0


def test_raise_in_run():
    """`run` detaches its result, so an array may be returned; a view may not."""
    ws = arena_of("RAISE")
    assert ws.run(ws.ones, 3).tolist() == [1, 1, 1]
    with pytest.raises(nd.EscapedViewError):
        ws.run(lambda: ws.ones(3).numpy())
    assert not ws.is_scope_active


# ---------------------------------------------------------------- never foreign bytes


def test_views_in_another_thread_never_see_foreign_bytes():
    """While the owner turns, a thread that views the current array reads one value only, or is refused."""
    ws = Workspace(fixed(ARENA), "W")
    box, stop, granted, torn = [None], threading.Event(), threading.Event(), []

    def reader():
        while not stop.is_set():
            a = box[0]
            if a is None:
                continue
            try:
                view = a.numpy()
            except nd.StaleArrayError:
                continue
            first = view[0]
            if not np.all(view == first):
                torn.append(first)
            granted.set()

    thread = threading.Thread(target=reader)
    thread.start()
    for i in range(3000):
        with ws:
            box[0] = ws.full(256, float(i))
            assert i or granted.wait(60)
    stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert torn == []


def test_the_default_policy_is_retire():
    """Without a wish, views are retired silently."""
    assert WorkspaceConfiguration().policy_escape is EscapePolicy.RETIRE
