"""Flat memory, by count: no fault, no byte, no spill in a steady loop; nothing left after many cycles."""

import gc

import numpy as np
import pytest
from support import KIB, MIB, fixed, held_bytes, learning, measure, output_of, ring

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration


@pytest.fixture(autouse=True)
def no_collector():
    """Keep the collector out: its own memory is not the workspace's."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


X = np.random.default_rng(0).standard_normal((32, 256)).astype("f4")
W = np.random.default_rng(1).standard_normal((256, 256)).astype("f4")


def dense(loop, w):
    """Train one layer for a step: some temporaries, and a weight that changes in place."""
    with loop:
        x = loop.asarray(X)
        h = np.maximum(x @ w, 0.0)
        g = (h - x) * 2.0
        w -= (x.T @ g) * 1e-6
        return float(np.square(g).sum())


@pytest.mark.parametrize(
    "fields", [{}, {"policy_reuse": "AT_RESET"}, {"policy_spill": "REALLOCATE"}, {"prefault": True}]
)
def test_a_steady_loop_takes_nothing(fields):
    """After the learning cycles: 0 page faults, 0 bytes from the system, 0 spills, and the size stays."""
    state = Workspace(fixed(MIB), "STATE")
    loop = Workspace(WorkspaceConfiguration(**fields), "LOOP")
    with state:
        w = state.asarray(W)
        spilled = 0

        def turn():
            nonlocal spilled
            dense(loop, w)
            spilled += loop.number_of_external_allocations

        for _ in range(5):
            turn()
        spilled, size = 0, loop.current_size
        assert measure(turn) == (0, 0)
        assert spilled == 0
        assert loop.current_size == size
        assert loop.escaped_count == 0


def test_nested_and_borrowed_loops_take_nothing():
    """An inner loop of its own workspace inside an outer one is flat too."""
    outer, inner = Workspace(learning(), "OUTER"), Workspace(learning(), "INNER")

    def turn():
        with outer:
            total = outer.zeros(64 * KIB)
            for i in range(4):
                with inner:
                    part = inner.full(64 * KIB, float(i))
                    part *= 2.0
                    with outer.notify_scope_borrowed():
                        total += part
            total.sum()

    assert measure(turn) == (0, 0)
    assert outer.number_of_external_allocations == inner.number_of_external_allocations == 0


def test_a_ring_takes_nothing():
    """Batches of a ring, each read in a later turn, take no memory."""
    circular = Workspace(ring(4), "RING")
    queue = []

    def turn():
        with circular:
            queue.append(circular.full(64 * KIB, 3.0))
        if len(queue) > 2:
            assert queue.pop(0)[7] == 3.0

    assert measure(turn) == (0, 0)
    assert circular.number_of_external_allocations == 0
    assert circular.number_of_pinned_allocations == 0


def test_views_over_every_cycle_take_one_more_arena():
    """A view that always outlives its cycle costs one more arena, once, and no fault per turn."""
    ws = Workspace(learning(), "W")
    view = None

    def turn():
        nonlocal view
        with ws:
            view = ws.full(64 * KIB, 3.0).numpy()

    assert measure(turn) == (0, 0)


def test_a_steady_loop_in_a_thread_takes_nothing():
    """Threads, where malloc gives memory back to the system at every turn, are as flat as the main thread."""
    program = """
    import gc, resource, threading
    import numpy as np
    import ndarena as nd
    def faults():
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    def work():
        ws = nd.get_workspace_for_current_thread(id="LOOP")
        def turn():
            with ws:
                a = ws.full(300_000, 2.0)
                b = a * 3.0 + a
                assert b[5] == 8.0
        for _ in range(300):
            turn()
        held, least = nd.allocated_bytes(), None
        for _ in range(5):  # the quietest window: see support.measure
            before = faults()
            for _ in range(200):
                turn()
            taken = faults() - before
            least = taken if least is None else min(least, taken)
        print(least, nd.allocated_bytes() - held, ws.number_of_external_allocations)
    gc.disable()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    """
    assert output_of(program) == "0 0 0\n"


def test_a_thousand_temporaries_of_which_two_are_alive():
    """They need the memory of a few, not of a thousand: in the learning cycle too."""
    size = 8 * MIB
    ws = Workspace(WorkspaceConfiguration(), "W")
    start = held_bytes()
    most = 0
    for _ in range(2):
        with ws:
            x = ws.ones(size, dtype="u1")
            for _ in range(1000):
                y = ws.empty(size, dtype="u1")
                x = y
                most = max(most, nd.allocated_bytes() - start)
            del x, y
        assert ws.peak_size == 2 * size
    assert most <= 4 * size
    assert ws.current_size <= 3 * size
    assert nd.allocated_bytes() - start <= 3 * size


def test_allocated_bytes_come_back():
    """After everything is destroyed the process holds what it held before, whatever happened in between."""
    start = held_bytes()
    for seed in range(20):
        random = np.random.default_rng(seed)
        configurations = [
            learning(),
            learning(policy_spill="REALLOCATE"),
            fixed(16 * KIB),
            ring(3),
            learning(policy_reuse="AT_RESET"),
        ]
        workspaces = [Workspace(conf, str(i)) for i, conf in enumerate(configurations)]
        kept = []
        for _ in range(10):
            ws = workspaces[random.integers(len(workspaces))]
            with ws:
                for _ in range(10):
                    a = ws.full(int(random.integers(1, 2000)), 1.0)
                    kept.append(a.numpy() if random.random() < 0.2 else a)
        for ws in workspaces[::2]:
            ws.destroy_workspace()
        kept.clear()
        del ws, a, workspaces
        assert nd.allocated_bytes() == start, seed


RESIDENT = """
import gc, resource, threading
import numpy as np
import ndarena as nd

def resident():
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
"""


def test_a_million_cycles_leave_nothing():
    """A million cycles with arrays, and many with views and errors, leave the resident size where it was."""
    program = (
        RESIDENT
        + """
ws = nd.Workspace(id="W")
def plain(n):
    for _ in range(n):
        with ws:
            ws.empty(16)
def rich(n):
    for i in range(n):
        with ws.notify_scope_entered():
            a = ws.ones(16)
            b = a + a
            v = b.numpy()
        try:
            b.sum()
        except nd.LeakedArrayError:
            pass
plain(2000); rich(2000)
held, before = nd.allocated_bytes(), resident()
plain(1_000_000); rich(20_000)
grown = resident() - before
assert nd.allocated_bytes() == held
assert grown < 1024 * 1024, grown
print("flat", ws.cycles_count)
"""
    )
    assert output_of(program, timeout=120) == "flat 1024000\n"


def test_a_hundred_thousand_workspaces_leave_nothing():
    """Workspaces made, used and dropped leave the resident size where it was."""
    program = (
        RESIDENT
        + """
conf = nd.WorkspaceConfiguration(initial_size=4096, policy_learning="NONE")
def turn(n):
    for i in range(n):
        ws = nd.get_workspace_for_current_thread(conf, id="W")
        with ws:
            ws.empty(16)
        nd.destroy_workspace(ws)
        own = nd.Workspace(conf, "OWN")
        with own:
            own.empty(16)
turn(2000)
held, before = nd.allocated_bytes(), resident()
turn(50_000)
grown = resident() - before
assert nd.allocated_bytes() == held
assert grown < 1024 * 1024, grown
print("flat")
"""
    )
    assert output_of(program) == "flat\n"


def test_five_thousand_threads_leave_nothing():
    """Short-lived threads, each with a scope left open, leave the resident size where it was."""
    program = (
        RESIDENT
        + """
def work():
    ws = nd.get_workspace_for_current_thread(id="LOOP")
    for _ in range(2):
        with ws:
            ws.ones(1000)
    ws.notify_scope_entered()
    ws.ones(1000)
def turn(n):
    for _ in range(n):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
turn(300)
before = resident()
turn(5000)
grown = resident() - before
assert grown < 2 * 1024 * 1024, grown
import time
deadline = time.monotonic() + 20
while nd.allocated_bytes() and time.monotonic() < deadline:
    time.sleep(0.001)
print("flat", nd.allocated_bytes())
"""
    )
    assert output_of(program, timeout=120) == "flat 0\n"


def test_spills_for_ever_leave_nothing():
    """A loop that spills in every cycle gives the memory back in every cycle."""
    ws = Workspace(fixed(4 * KIB), "W")

    def turn():
        with ws:
            ws.empty(MIB, dtype="u1")
            assert ws.number_of_external_allocations == 0

    for _ in range(10):
        turn()
    held = held_bytes()
    for _ in range(2000):
        turn()
    assert nd.allocated_bytes() == held
