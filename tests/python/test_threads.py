"""Threads: who may do what, results of foreign operands, and what the end of a thread ends."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import KIB, MIB, eventually, fixed, held_bytes, in_thread, ring

import ndarena as nd
from ndarena import Workspace


@pytest.fixture
def ws():
    return Workspace(fixed(64 * KIB), "W")


# ---------------------------------------------------------------- the owner's rights

OWNERS_ONLY = {
    "notify_scope_entered": lambda ws: ws.notify_scope_entered(),
    "with": lambda ws: ws.__enter__(),
    "notify_scope_borrowed": lambda ws: ws.notify_scope_borrowed(),
    "notify_scope_left": lambda ws: ws.notify_scope_left(),
    "close": lambda ws: ws.close(),
    "empty": lambda ws: ws.empty(3),
    "ones": lambda ws: ws.ones(3),
    "array": lambda ws: ws.array([1.0]),
    "create": lambda ws: ws.create(3),
    "reset": lambda ws: ws.reset(),
    "initialize_workspace": lambda ws: ws.initialize_workspace(),
    "destroy_workspace": lambda ws: ws.destroy_workspace(),
    "run": lambda ws: ws.run(lambda: None),
    "make current": nd.set_current_workspace,
}


@pytest.mark.parametrize("use", OWNERS_ONLY.values(), ids=OWNERS_ONLY)
def test_what_only_the_owner_may(ws, use):
    """Entering, closing, allocating, resetting, destroying elsewhere: WrongThreadError, nothing changed."""
    with ws:
        a = ws.full(3, 2)
        before = ws.stats()
        with pytest.raises(nd.WrongThreadError) as caught:
            in_thread(use, ws)
        assert isinstance(caught.value, nd.ScopeError)
        assert caught.value.workspace_id == "W"
        assert ws.stats() == before
        assert a.tolist() == [2, 2, 2]
        assert nd.get_current_workspace() is ws


# ---------------------------------------------------------------- arrays in other threads


def test_reading_in_another_thread(ws):
    """Any use of a valid array is allowed elsewhere; with nothing current there the result is plain."""
    with ws:
        a = ws.asarray(np.arange(6.0).reshape(2, 3))

        def use():
            result = a + 1
            assert type(result) is np.ndarray
            assert a[1, 2] == 5
            assert a.T.shape == (3, 2)
            return float(result.sum())

        assert in_thread(use) == 21


def test_writing_in_another_thread(ws):
    """Writes are seen by the owner."""
    with ws:
        a = ws.zeros(4)

        def write():
            a[1] = 5
            np.add(a, 1, out=a)

        in_thread(write)
        assert a.tolist() == [1, 6, 1, 1]


def test_results_go_to_the_threads_own_workspace(ws):
    """An operation on a foreign array puts its result into the workspace current in the calling thread."""
    with ws:
        a = ws.ones(3)
        count = ws.this_cycle_allocations

        def use():
            mine = Workspace(fixed(4096), "MINE")
            with mine:
                result = a + 1
                return result.workspace is mine, result.tolist()

        assert in_thread(use) == (True, [2, 2, 2])
        assert ws.this_cycle_allocations == count


def test_stale_is_stale_everywhere(ws):
    """After the scope another thread is refused too, with the same error."""
    with ws:
        a = ws.ones(3)
    with pytest.raises(nd.LeakedArrayError):
        in_thread(a.sum)
    assert in_thread(lambda: (a.shape, a.validity)) == ((3,), nd.Validity.LEAKED)


def test_closing_an_array_in_another_thread(ws):
    """`a.close()` is allowed anywhere; the memory is free for the owner then."""
    with ws:
        a = ws.ones(1000)
        used = ws.current_offset
        in_thread(a.close)
        assert a.validity is nd.Validity.CLOSED
        b = ws.ones(1000)
        assert ws.peak_size <= used
        assert b.is_in_scope


def test_dropping_handles_in_another_thread(ws):
    """Handles that die elsewhere give their memory back to the owner's cycle."""
    with ws:
        for _ in range(50):
            box = [ws.ones(1000)]
            in_thread(box.clear)
        assert ws.number_of_external_allocations == 0
        assert ws.peak_size <= 2 * 8064


def test_handles_dropped_while_the_owner_allocates(ws):
    """Many threads drop what the owner makes, and nothing is ever given to two."""
    boxes = [[] for _ in range(4)]
    stop = threading.Event()

    def dropper(box):
        while not stop.is_set():
            if box:
                box.pop()

    threads = [threading.Thread(target=dropper, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    kept = {}
    try:
        for cycle in range(20):
            with ws:
                for i in range(100):
                    a = ws.full(16, float(i))
                    if i % 3:
                        boxes[i % 4].append(a)
                    else:
                        kept[i] = a
                    del a
                for i, a in kept.items():
                    assert a.tolist() == [i] * 16, cycle
                kept.clear()
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)


def test_the_owner_never_waits(ws):
    """Leaving the scope while another thread holds a view returns at once; the view keeps its values."""
    viewed, left = threading.Event(), threading.Event()
    values = []

    def reader():
        view = box[0].numpy()
        viewed.set()
        assert left.wait(60)
        values.extend(view.tolist())

    with ws:
        box = [ws.full(3, 7.0)]
        thread = threading.Thread(target=reader)
        thread.start()
        assert viewed.wait(60)
    with ws:
        ws.full(1000, 9.0)
    left.set()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert values == [7, 7, 7]


def test_many_threads_with_workspaces_of_one_name():
    """Every thread has its own registry, cycle and results."""
    count = 8
    barrier = threading.Barrier(count, timeout=60)

    def work(number):
        conf = fixed(64 * KIB)
        total = 0.0
        barrier.wait()
        for i in range(100):
            with nd.get_and_activate_workspace(conf, id="LOOP") as mine:
                a = mine.full(100, float(number))
                total += float((a * a + i).sum())
                assert a.workspace is mine
        assert mine.cycles_count == 100
        return total

    with ThreadPoolExecutor(count) as pool:
        totals = list(pool.map(work, range(count)))
    assert totals == [100 * (100.0 * number * number) + 100 * sum(range(100)) for number in range(count)]


# ---------------------------------------------------------------- the end of a thread


def test_thread_end_returns_all_memory():
    """With the thread go its registry and its workspaces, registered or not, open or not."""
    held = held_bytes()

    def work():
        registered = nd.get_workspace_for_current_thread(fixed(MIB), id="R")
        registered.run(registered.ones, 1)
        own = Workspace(fixed(MIB), "OWN")
        own.run(own.ones, 1)
        left_open = nd.get_workspace_for_current_thread(fixed(MIB), id="OPEN")
        kept.append(left_open.notify_scope_entered())
        left_open.ones(1)
        assert nd.allocated_bytes() >= held + 3 * MIB

    kept = []
    in_thread(work)
    assert eventually(lambda: nd.allocated_bytes() == held)
    kept[0].close()
    assert nd.get_current_workspace() is None


def test_thread_end_destroys_scoped_workspaces():
    """Objects that outlive the thread say so: the workspace is destroyed, its arrays are DESTROYED."""

    def work():
        mine = nd.get_workspace_for_current_thread(fixed(4096), id="MINE")
        mine.notify_scope_entered()
        return mine, mine.ones(3)

    theirs, a = in_thread(work)
    assert eventually(lambda: theirs.is_destroyed)
    assert not theirs.is_scope_active
    assert a.validity is nd.Validity.DESTROYED
    with pytest.raises(nd.DestroyedArrayError):
        a.sum()
    with pytest.raises((nd.DestroyedWorkspaceError, nd.WrongThreadError)):
        theirs.notify_scope_entered()


def test_views_outlive_their_thread():
    """Leased memory is retired at the thread's end and goes when the view dies."""
    held = held_bytes()

    def work():
        with nd.get_and_activate_workspace(fixed(MIB), id="MINE") as mine:
            return mine.full(1000, 7.0).numpy()

    view = in_thread(work)
    assert np.all(view == 7.0)
    assert nd.allocated_bytes() > held
    del view
    assert eventually(lambda: nd.allocated_bytes() == held)


def test_a_batch_outlives_the_thread_that_made_it():
    """Blocks of a circular workspace stay readable until the last handle dies."""
    held = held_bytes()
    ended = threading.Event()

    def producer():
        circular = nd.get_workspace_for_current_thread(ring(4), id="RING")
        for i in range(6):
            with circular:
                batches.append(circular.full(KIB, i, dtype="u1"))
        numbers.append(circular.generation_id)

    batches, numbers = [], []
    thread = threading.Thread(target=producer)
    thread.start()
    thread.join(timeout=60)
    ended.set()
    assert numbers == [6]
    assert eventually(lambda: "RING" not in {s.id for s in nd.allocation_statistics()})
    assert [int(b.min()) for b in batches[-4:]] == [2, 3, 4, 5]
    assert all(b.is_in_scope for b in batches[-4:])
    assert int((batches[-1] + batches[-2]).max()) == 9
    with Workspace(fixed(64 * KIB), "W") as ws:
        assert (batches[-1] + 1).workspace is ws
    ws.destroy_workspace()
    assert nd.allocated_bytes() > held
    batches.clear()
    assert eventually(lambda: nd.allocated_bytes() == held)


def test_a_thread_does_not_inherit():
    """A new thread starts with nothing current and an empty registry, even if thread numbers repeat."""
    seen = set()
    for _ in range(50):

        def work():
            assert nd.get_current_workspace() is None
            assert nd.get_all_workspaces_ids_for_current_thread() == []
            ws = nd.get_workspace_for_current_thread(fixed(4096), id="SAME")
            assert (ws.generation_id, ws.thread_id) == (0, threading.get_ident())
            ws.run(ws.ones, 1)
            seen.add(ws.thread_id)

        in_thread(work)
    assert seen


def test_a_workspace_of_an_ended_thread_has_no_new_owner():
    """A thread that happens to have the same number as the ended owner may not use its workspace."""
    theirs = in_thread(lambda: nd.get_workspace_for_current_thread(fixed(4096), id="MINE"))

    def use():
        try:
            theirs.notify_scope_entered()
        except (nd.WrongThreadError, nd.DestroyedWorkspaceError):
            return "refused"
        return "entered"

    assert {in_thread(use) for _ in range(20)} == {"refused"}
