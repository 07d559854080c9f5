"""Programs that were written to break the package, and what they found: none may come back."""

import asyncio
import functools
import gc
import os
import threading
import warnings

import numpy as np
import pytest
from support import fixed, in_thread

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration


@pytest.fixture
def ws():
    return Workspace(id="W")


def nested(depth):
    item = [1.0]
    for _ in range(depth):
        item = [item]
    return item


@pytest.mark.parametrize("depth", [65, 1000, 20_000])
def test_deeply_nested_sequences(ws, depth):
    """They are refused as NumPy refuses them, without exhausting the stack."""
    with ws:
        a = ws.ones(3)
        for call in (lambda: nd.array(nested(depth)), lambda: a + nested(depth), lambda: a[nested(depth)]):
            with pytest.raises((ValueError, IndexError, RecursionError)):
                call()


def test_a_list_that_holds_itself(ws):
    """The same, without an end."""
    endless = []
    endless.append(endless)
    with ws:
        for call in (lambda: nd.array(endless), lambda: ws.ones(3)[endless], lambda: ws.ones(3) + endless):
            with pytest.raises((ValueError, IndexError)):
                call()


def test_what_an_element_returns_is_its_own(ws):
    """Lists, tuples and arrays that a user's operator returns come out as they are."""
    endless = []
    endless.append(endless)
    mine = np.arange(3.0)
    for answer in (endless, mine, [mine], (mine,), {"a": mine}):

        class Element:
            def __radd__(self, _other, answer=answer):
                return answer

        with ws:
            assert (ws.zeros(()) + Element()) is answer


def test_an_object_that_only_looks_like_a_ufunc(ws):
    """`__array_ufunc__` is for ufuncs of NumPy's."""

    class Fake:
        nin = nout = 1
        signature = None

    with ws:
        a = ws.ones(3)
        with pytest.raises(TypeError, match="ufunc"):
            a.__array_ufunc__(Fake(), "__call__", a)


def test_a_shape_that_changes_under_a_copy(ws):
    """A finaliser that reshapes the source while its copy is made does no harm."""

    class Cycle:
        def __init__(self, then):
            self.me, self.then = self, then

        def __del__(self):
            self.then()

    def reshape(source):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer NumPy deprecates it
            source.shape = (24,)

    threshold = gc.get_threshold()
    with ws:
        ws.enable_debug(True)
        for _ in range(20):
            source = np.arange(24.0).reshape(2, 3, 4)
            Cycle(functools.partial(reshape, source))
            gc.set_threshold(1, 1, 1)
            try:
                copy = nd.dup(source)
            except ValueError:
                continue
            finally:
                gc.set_threshold(*threshold)
            assert copy.size == 24


@pytest.mark.parametrize("function", [np.concatenate, np.stack, np.vstack, np.hstack, np.column_stack])
def test_sequences_of_other_classes(ws, function):
    """A list subclass of workspace arrays is a sequence like any other."""

    class MyList(list):
        pass

    with ws:
        a = ws.array([1.0, 2.0])
        assert function(MyList([a, a])).tolist() == function([np.array([1.0, 2.0])] * 2).tolist()


def test_closing_inside_a_block_leaves_the_outer_one(ws):
    """A block whose scope was closed inside it closes nothing else."""
    with ws:
        a = ws.ones(3)
        with ws:
            ws.close()
        assert ws.is_scope_active
        assert a.is_in_scope


def test_blocks_of_interleaved_tasks(ws):
    """A coroutine that leaves its `with` out of order is told so."""

    async def turn(steps):
        with ws:
            ws.ones(1)
            for _ in range(steps):
                await asyncio.sleep(0)

    async def main():
        return await asyncio.gather(turn(1), turn(3), return_exceptions=True)

    first, _second = asyncio.run(main())
    assert isinstance(first, nd.ScopeError)
    assert "coroutine" in str(first)


def test_a_generator_closed_inside_another_block(ws):
    """It closes its own scope with all inside it, and says so although it is being closed."""

    def suspended():
        with ws:
            yield

    generator = suspended()
    next(generator)
    with pytest.raises(nd.ScopeError, match="generator"), ws:
        y = ws.zeros(3)
        generator.close()
    assert not y.is_in_scope
    assert not ws.is_scope_active


def test_a_generator_closed_in_another_thread(ws):
    """The owner closes that scope, with all inside it, at its next enter or leave."""

    def suspended():
        with ws:
            yield

    generator = suspended()
    next(generator)
    with ws:
        y = ws.zeros(3)
        with pytest.raises(nd.WrongThreadError):
            in_thread(generator.close)
        with Workspace(fixed(4096), "OTHER") as other:
            other.ones(1)
        assert not y.is_in_scope
    assert not ws.is_scope_active


def test_a_scope_of_another_thread_in_with(ws):
    """Using it there is a WrongThreadError, not a closed scope."""
    scope = ws.notify_scope_entered()
    with pytest.raises(nd.WrongThreadError):
        in_thread(scope.__enter__)
    scope.close()
    with pytest.raises(nd.ScopeError) as caught:
        scope.__enter__()
    assert caught.value.workspace_id == "W"


def test_a_loop_under_bypass():
    """A loop that passes its configuration every time works under BYPASS_EVERYTHING."""
    nd.set_debug_mode("BYPASS_EVERYTHING")
    for _ in range(3):
        with nd.get_and_activate_workspace(WorkspaceConfiguration(initial_size=4096), "LOOP"):
            assert type(nd.zeros(3)) is np.ndarray
    first = nd.get_workspace_for_current_thread(id="LOOP")
    nd.set_debug_mode("DISABLED")
    nd.set_debug_mode("BYPASS_EVERYTHING")
    assert nd.get_workspace_for_current_thread(id="LOOP") is not first


def test_a_destroyed_workspace_does_not_stay_current(ws):
    """Outside its scopes nothing is current after the current workspace was destroyed."""
    nd.set_current_workspace(ws)
    ws.destroy_workspace()
    assert nd.get_current_workspace() is None
    assert type(nd.zeros(3)) is np.ndarray


def test_a_value_that_does_not_fit_asks_for_nothing(ws):
    """A fill value is converted before memory is asked for."""
    with ws:
        before = ws.stats()
        for call in (
            lambda: ws.full(3, "abc", dtype=float),
            lambda: ws.full((3,), [1, 2]),
            lambda: ws.full_like(np.ones(3), "abc"),
            lambda: ws.full_like(np.ones(3), [1, 2]),
        ):
            with pytest.raises(ValueError, match=r"convert|broadcast"):
                call()
        assert ws.stats() == before


def test_a_lost_scope_is_seen_at_once(ws):
    """An object that died in another thread is in `stats()` and `repr` without further ado."""
    box = [ws.notify_scope_entered()]
    in_thread(box.clear)
    assert ws.stats().lost_scopes == 1
    assert "1 scope(s) without an object" in repr(ws)
    ws.close()


@pytest.mark.parametrize("order", ["destroyed, lost", "lost, destroyed"])
def test_a_lost_scope_of_a_destroyed_workspace_is_over(order):
    """What was current before is so again, and the collector does not wait for it."""
    with Workspace(id="AROUND") as around:
        box, lost = Workspace(id="OVER"), []
        lost.append(box.notify_scope_entered())
        for step in order.split(", "):
            lost.clear() if step == "lost" else box.destroy_workspace()
        assert nd.get_current_workspace() is around
    nd.set_auto_gc_window(3_600_000)
    try:
        with Workspace(id="NEXT"):
            assert not gc.isenabled()
        assert gc.isenabled()
    finally:
        nd.set_auto_gc_window(0)


def test_the_collector_after_a_thread_that_left_a_scope_open():
    """While no thread has a scope open, CPython's collector runs by its own rules."""
    kept = []
    nd.set_auto_gc_window(3_600_000)
    try:
        in_thread(lambda: kept.append(Workspace(id="LEFT").notify_scope_entered()))
        assert gc.isenabled()
    finally:
        nd.set_auto_gc_window(0)


def test_the_collector_in_a_forked_child(ws):
    """In the child no scope is open."""
    nd.set_auto_gc_window(3_600_000)
    try:
        with ws:
            ws.ones(1)
            child = os.fork()
            if child == 0:
                os._exit(0 if gc.isenabled() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        nd.set_auto_gc_window(0)


def test_closing_through_the_workspace_in_a_forked_child(ws):
    """Inherited scopes close as no-ops, whichever way they are closed."""
    ws.notify_scope_entered()
    child = os.fork()
    if child == 0:
        try:
            ws.notify_scope_left()
            ws.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ws.close()


def test_flags_cannot_be_set_behind_their_back(ws):
    """Nor by the special methods of NumPy's flags."""
    with ws:
        a = ws.ones(3)
        with pytest.raises(AttributeError):
            a.flags.__setitem__("W", False)
        a.fill(3)


def test_read_only_results_stay_read_only(ws):
    """The imaginary part of a real array cannot be written, as in NumPy."""
    with ws:
        assert not ws.ones(3).imag.flags.writeable


def test_huge_negative_windows():
    """They are a ValueError like any negative number."""
    with pytest.raises(ValueError, match="at least 0"):
        nd.set_auto_gc_window(-(2**70))


def test_a_full_ring_names_its_views():
    """Where views hold every block, the message says so."""
    ring = WorkspaceConfiguration(
        initial_size=64, policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1, policy_spill="FAIL"
    )
    ws = Workspace(ring, "RING")
    views = []
    with pytest.raises(nd.WorkspaceFullError, match="drop the views"):
        for _ in range(3):
            with ws:
                views.append(ws.zeros(8).numpy())


def test_many_threads_over_one_array(ws):
    """Readers and closers against a looping owner: values are right, or the use is refused."""
    stop, wrong = threading.Event(), []
    box = [None]

    def read():
        while not stop.is_set():
            a = box[0]
            try:
                total = float(a.sum()) if a is not None else 0.0
            except nd.StaleArrayError:
                continue
            if total % 1000:
                wrong.append(total)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(300):
        with ws:
            a = ws.full(1000, float(turn))
            box[0] = a
            a.sum()
            if turn % 3 == 0:
                a.close()
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
