"""Many readers against one owner, threads that come and go, pools and tasks that take turns."""

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import KIB, MIB, eventually, fixed, held_bytes, ring

import ndarena as nd
from ndarena import LayerWorkspaceMgr, Workspace
from ndarena._core import _add_overlapping
from ndarena.nn.im2col import convolve_back
from ndarena.nn.windows import PIXEL

GRANTS = int(os.environ.get("READER_GRANTS", "6000"))
"""So many leases are to be granted to readers; at length a million."""


@pytest.fixture
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def read(box, stop, counts, torn, how):
    """Look at the owner's newest array as often as possible; every view shows one value only."""
    while not stop.is_set():
        time.sleep(0)  # the owner has its turns, too
        a = box[0]
        if a is None:
            continue
        try:
            values = how(a)
        except (nd.StaleArrayError, nd.DestroyedWorkspaceError):
            continue
        counts.append(1)
        if not (values == values[0]).all():
            torn.append(values.copy())


WAYS = {
    "views": lambda a: a.numpy(),
    "exports": np.asarray,
    "results": lambda a: np.asarray(a + 0.0),
    "elements": lambda a: np.asarray([a[0], a[-1], a[5]]),
    "copies": lambda a: a.detach(),
}


@pytest.mark.parametrize("kind", ["scoped", "circular", "spilling"])
def test_readers_against_a_looping_owner(switch_often, kind, record_property):
    configuration = {"scoped": fixed(64 * KIB), "circular": ring(3), "spilling": fixed(64)}[kind]
    ws = Workspace(configuration, "OWNER")
    box, stop, counts, torn = [None], threading.Event(), [], []
    held = held_bytes()
    readers = [threading.Thread(target=read, args=(box, stop, counts, torn, how)) for how in WAYS.values()]
    for reader in readers:
        reader.start()
    turns = 0
    try:
        while not torn and (len(counts) < GRANTS or turns < 50):
            with ws:
                a = ws.full(256, float(turns))
                box[0] = a
                time.sleep(0)
                a.sum()
                if turns % 5 == 0:
                    a.close()
            turns += 1
    finally:
        stop.set()
        for reader in readers:
            reader.join(60)
    assert torn == []
    assert not any(reader.is_alive() for reader in readers)
    record_property("granted", len(counts))
    del a
    box[0] = None
    ws.destroy_workspace()
    assert eventually(lambda: held_bytes() <= held)


def test_threads_that_come_and_go():
    """Their numbers repeat, their registries do not; nothing of an ended thread is found in the next."""
    held, kept, idents = held_bytes(), [], set()

    def work(number):
        assert nd.get_current_workspace() is None
        assert nd.get_all_workspaces_ids_for_current_thread() == []
        ws = nd.get_workspace_for_current_thread(fixed(16 * KIB), id="SAME")
        idents.add(ws.thread_id)
        scope = ws.notify_scope_entered()
        a = ws.full(100, float(number))
        if number % 3 == 0:
            kept.append((number, a.numpy()))
        if number % 2:
            scope.close()

    for number in range(300):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        thread.join(60)
    assert len(idents) < 300, "no number was seen twice"
    assert all((view == number).all() for number, view in kept)
    kept.clear()
    assert eventually(lambda: held_bytes() == held)


def test_a_pool_of_threads():
    """Workers keep their workspaces from task to task, and results are plain."""

    def work(number):
        with nd.get_and_activate_workspace(fixed(64 * KIB), id="POOL") as mine:
            return mine.generation_id, (mine.full(100, float(number)) * 2).detach()

    held = held_bytes()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(400)))
    assert all(type(r) is np.ndarray and (r == 2 * number).all() for number, (_, r) in enumerate(results))
    assert max(generation for generation, _ in results) > 20
    del results
    assert eventually(lambda: held_bytes() == held)


def test_tasks_and_generators_take_turns():
    """Scopes of a hundred tasks, with a generator and a worker thread in each, do not mix."""

    def numbers(ws, start):
        for i in range(5):
            yield float((ws.full(8, float(start + i)) * 1.0).sum())

    async def task(number):
        ws = Workspace(fixed(8 * KIB), f"TASK {number}")
        total = 0.0
        async with ws:
            mine = ws.full(16, float(number))
            for value in numbers(ws, number):
                await asyncio.sleep(0)
                assert nd.get_current_workspace() is ws
                total += value
                total += await asyncio.to_thread(lambda: float(mine.sum()))
            assert (mine.numpy() == number).all()
        return total

    async def main():
        return await asyncio.gather(*(task(n) for n in range(100)))

    want = [sum(8.0 * (n + i) + 16.0 * n for i in range(5)) for n in range(100)]
    assert asyncio.run(main()) == want
    nd.assert_no_workspaces_open("after the tasks")


def test_an_array_is_closed_in_another_thread_during_a_long_loop(switch_often):
    """Its memory is nobody else's before the loop is over."""
    n = 200_000
    with Workspace(fixed(16 * MIB), "LONG") as ws:
        for _ in range(10):
            a = ws.array(np.linspace(0.5, 3, n))
            want = np.arctan(a.numpy())
            closer = threading.Thread(target=a.close)
            closer.start()
            try:
                got = np.arctan(a)
            except nd.ClosedArrayError:
                got = None
            taken = ws.full(n, -7.0)
            closer.join()
            if got is not None:
                assert (got.numpy() == want).all()
            assert (taken.numpy() == -7.0).all()
            del got, taken


@pytest.fixture
def switch_never():
    """Let a thread that waits for the interpreter have it only where the other one lets go of it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def ufunc(ws):
    a = ws.full(1 << 20, 0.5)
    return lambda: np.arctan(a, out=a)


def product_of_few_elements(ws):
    a, b, out = ws.ones((20, 1 << 16)), np.ones((1 << 16, 4)), ws.empty((20, 4))
    return lambda: nd.matmul(a, b, out=out)


def gradient_of_few_weights(_):
    images, weights, delta = np.ones((4, 64, 64, 16)), np.ones((20, 4)), np.ones((20, 64, 64, 16))
    windows, gradient, mgr = (PIXEL, PIXEL), np.empty((20, 4)), LayerWorkspaceMgr.no_workspaces()
    return lambda: convolve_back(
        images, weights, windows, delta, gradient=gradient, below=None, workspace_mgr=mgr
    )


def sums_that_overlap(_):
    memory, values = np.zeros((1 << 16) + 32), np.ones((32, 1 << 16))
    target = np.ndarray(values.shape, values.dtype, memory, 0, (8, 8))
    return lambda: _add_overlapping(target, values)


WORK = [ufunc, product_of_few_elements, gradient_of_few_weights, sums_that_overlap]


@pytest.mark.parametrize("make", WORK)
def test_other_threads_go_on_while_numbers_are_worked_on(switch_never, make):
    place, seen, done = ["before"], set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(place[0])
            time.sleep(0)

    with Workspace(fixed(32 * MIB), "WORK") as ws:
        work, looker = make(ws), threading.Thread(target=look)
        looker.start()
        try:
            for _ in range(1000):
                place[0] = "inside"
                work()
                place[0] = "after"
                if "inside" in seen:
                    break
        finally:
            done.set()
            looker.join(60)
        del work
    assert "inside" in seen
