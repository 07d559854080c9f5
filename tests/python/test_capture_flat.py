"""Steady loops under capture, by count: no fault, no byte from the system, no spill; and random programs."""

import gc

import numpy as np
import pytest
from capture_support import BYTES, N, capturing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support import MIB, held_bytes, in_thread, measure, output_of

import ndarena as nd

A = np.random.default_rng(0).random(N)
B = np.random.default_rng(1).random(N)


@pytest.fixture(autouse=True)
def no_collector():
    """Keep the collector out: its own memory is not the workspace's."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def expression():
    return ((A * B + A) * (A - B) + B * 0.5).sum()


def named():
    t = A * B
    u = t + A
    v = A - B
    w = u * v
    return (w + B * 0.5).sum()


def mixed():
    parts = [np.full(2048 + 1000 * i, 1.0) for i in range(12)]
    parts[3] = parts[5] = None
    parts.append(np.concatenate(parts[6:]))
    return np.zeros(70_000).sum() + sum(p.sum() for p in parts if p is not None)


@pytest.mark.parametrize("work", [expression, named, mixed])
def test_a_steady_loop_takes_nothing(work):
    ws = capturing()
    wanted = work()
    spilled = 0

    def turn():
        nonlocal spilled
        with ws.notify_scope_entered(capture_numpy=True):
            assert work() == wanted
            spilled += ws.number_of_external_allocations

    for _ in range(5):
        turn()
    spilled, size = 0, ws.current_size
    assert measure(turn, warm=50, turns=100) == (0, 0)
    assert spilled == 0
    assert ws.current_size == size
    assert ws.escaped_count == 0


def test_a_loop_whose_names_survive_takes_nothing():
    """The usual one: a `with` block is no scope of names, and a turn begins beside the last one's arrays."""
    ws = capturing()
    names = {}

    def turn():
        with ws.notify_scope_entered(capture_numpy=True):
            names["t"] = A * B
            names["u"] = names["t"] + A
            names["w"] = names["u"] * (A - B)

    assert measure(turn, warm=50, turns=100) == (0, 0)
    assert ws.retired_size == 3 * BYTES
    assert ws.current_size <= 8 * MIB


def adam(parameters, gradient, m, v):
    """One step as people write it: every name a new array."""
    m = 0.9 * m + 0.1 * gradient
    v = 0.999 * v + 0.001 * gradient**2
    unbiased_m, unbiased_v = m / 0.1, v / 0.001
    return parameters - 0.001 * unbiased_m / (np.sqrt(unbiased_v) + 1e-8), m, v


def train(steps):
    ws = capturing()
    gradient = np.full(N, 0.5, "f4")
    state = [np.zeros(N, "f4") for _ in range(3)]

    def turn():
        with ws.notify_scope_entered(capture_numpy=True):
            state[:] = adam(state[0], gradient, *state[1:])

    found = measure(turn, warm=20, turns=steps)
    return found, state, ws.number_of_external_allocations


def test_adam_with_plain_state_takes_nothing_in_a_worker_thread():
    found, state, spilled = in_thread(train, 50)
    assert found == (0, 0)
    assert spilled == 0
    wanted = [np.zeros(3, "f4") for _ in range(3)]
    for _ in range(3):
        wanted[:] = adam(wanted[0], np.full(3, 0.5, "f4"), *wanted[1:])
    assert np.isfinite(state[0]).all()
    assert (state[0] == state[0][0]).all()


def test_what_workspaces_held_is_back_in_the_end():
    before = held_bytes()
    for _ in range(50):
        ws = capturing()
        with ws.notify_scope_entered(capture_numpy=True):
            a = A * B
            ws.ones(N)
        with ws.notify_scope_entered(capture_numpy=True):
            a = a + B
        ws.destroy_workspace()
        del ws, a
    assert held_bytes() == before


def test_captured_memory_asks_for_huge_pages():
    done = output_of("""
        import re
        import numpy as np
        import ndarena as nd

        ws = nd.Workspace(id="W")
        with ws.notify_scope_entered(capture_numpy=True):
            a = np.ones(4 << 20)
            address = a.ctypes.data
            with open("/proc/self/smaps") as file:
                maps = file.read()
        for area in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", maps):
            if not area:
                continue
            start, end = (int(n, 16) for n in area.split()[0].split("-"))
            if start <= address < end:
                print("hg" in re.search(r"VmFlags:(.*)", area)[1].split(), address % (2 << 20))
    """)
    assert done == "True 0\n"


# ---------------------------------------------------------------- random programs


class Programs(RuleBasedStateMachine):
    """Captured arrays against what was written into them, whatever scopes open and close meanwhile."""

    def __init__(self):
        super().__init__()
        self.spaces = [capturing(), capturing(max_size=300_000), capturing(policy_reuse="AT_RESET")]
        self.open, self.arrays, self.serial = [], [], 0
        for ws in self.spaces:
            ws.enable_debug(True)
            with ws:
                ws.empty(1)  # else three cycles without an array would be worth a warning

    @rule(i=st.integers(0, 2))
    def enter(self, i):
        if not self.spaces[i].is_destroyed:
            self.open.append(self.spaces[i].notify_scope_entered(capture_numpy=True))

    @rule()
    def scope_out(self):
        self.open.append(nd.scope_out_of_workspaces())

    @precondition(lambda self: self.open)
    @rule()
    def leave(self):
        self.open.pop().close()

    @rule(n=st.integers(1, 30_000), zeroed=st.booleans())
    def make(self, n, zeroed):
        self.serial += 1
        array = (np.zeros if zeroed else np.empty)(n, "i8")
        assert not zeroed or not array.any()
        array[:] = self.serial
        self.arrays.append((array, self.serial))

    @precondition(lambda self: self.arrays)
    @rule(i=st.integers(0))
    def die(self, i):
        self.arrays.pop(i % len(self.arrays))

    @precondition(lambda self: self.arrays)
    @rule(i=st.integers(0), n=st.integers(1, 30_000))
    def resize(self, i, n):
        array, serial = self.arrays[i % len(self.arrays)]
        old = array.size
        array.resize(n, refcheck=False)
        assert not array[old:].any()
        array[old:] = serial

    @precondition(lambda self: self.arrays)
    @rule(i=st.integers(0))
    def die_elsewhere(self, i):
        box = [self.arrays.pop(i % len(self.arrays))]
        in_thread(box.clear)

    @rule(i=st.integers(0, 2))
    def trim(self, i):
        self.spaces[i].trim()

    @rule(i=st.integers(0, 2))
    def destroy(self, i):
        self.spaces[i].destroy_workspace()
        self.spaces[i] = capturing()

    @invariant()
    def everybody_has_their_own_bytes(self):
        for array, serial in self.arrays:
            assert (array == serial).all()

    def teardown(self):
        while self.open:
            self.open.pop().close()
        self.arrays.clear()
        for ws in self.spaces:
            assert ws.retired_size == 0
            ws.destroy_workspace()


class TestPrograms(Programs.TestCase):
    settings = settings(stateful_step_count=40)
