"""What several test files share: configurations, threads and programs of their own."""

import gc
import os
import resource
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import ndarena
from ndarena import DebugMode, ScopeError, Workspace, WorkspaceConfiguration

KIB = 1024
MIB = 1024 * KIB


def fixed(size, **fields):
    """Describe an arena of exactly this size, which neither learns nor grows."""
    fields = {"policy_learning": "NONE", "policy_allocation": "STRICT", **fields}
    return WorkspaceConfiguration(initial_size=size, **fields)


def learning(**fields):
    """Describe an arena that learns its size in the first cycle and gets no head-room."""
    return WorkspaceConfiguration(**{"policy_allocation": "STRICT", **fields})


def ring(blocks, **fields):
    """Describe a circular workspace that learns blocks of its first cycle's size."""
    return WorkspaceConfiguration(
        policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=blocks - 1, **fields
    )


def in_thread(function, *args):
    """Call the function in a fresh thread; its result or its exception comes back."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result(timeout=60)


def held_bytes():
    """Give the bytes held for workspaces, without those that wait for the collector."""
    gc.collect()
    return ndarena.allocated_bytes()


def assert_no_scope_is_lost():
    """Assert that no scope is open, whose object died: also of those in which no workspace is current."""
    ndarena.set_debug_mode(DebugMode.DISABLED)
    with Workspace(fixed(64), "AFTER") as ws:
        with pytest.raises(ScopeError) as refused:
            ndarena.assert_no_workspaces_open("after the test")
        ws.destroy_workspace()
    assert "without an object" not in str(refused.value)


def assert_nothing_left(held, alive, seconds=5):
    """Ask that no more bytes are held than before, by leases or arenas, and that no more workspaces live."""

    def is_left():
        return ndarena.allocated_bytes() > held or len(ndarena.allocation_statistics()) > alive

    if is_left() and not eventually(lambda: gc.collect() < 0 or not is_left(), seconds):
        left = [f"[{stats.id}] {stats.retired_size} retired" for stats in ndarena.allocation_statistics()]
        raise AssertionError(f"{ndarena.allocated_bytes() - held} bytes are still held; alive: {left}")


def eventually(condition, seconds=20):
    """Whether the condition comes true; for what happens after a thread's last line of Python."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def run_program(source, *, env=None, timeout=90):
    """Run a program in an interpreter of its own, in which warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        check=False,
    )


def output_of(source, *, env=None, timeout=90):
    """Give what a program printed; it must end well and say nothing on standard error."""
    done = run_program(source, env=env, timeout=timeout)
    assert (done.returncode, done.stderr) == (0, ""), f"status {done.returncode}\n{done.stderr}"
    return done.stdout


def faults():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def measure(turn, *, warm=300, turns=300, windows=5):
    """Count page faults of the thread and bytes newly held over turns, when Python's own heap is warm.

    Of the faults, those of the quietest window: what a turn causes is in every one of them, but the kernel
    may take a page of the interpreter's code away at any time. Of the bytes, all.
    """
    for _ in range(warm):
        turn()
    held, quietest = ndarena.allocated_bytes(), None
    for _ in range(windows):
        before = faults()
        for _ in range(turns):
            turn()
        taken = faults() - before
        quietest = taken if quietest is None else min(quietest, taken)
        if quietest == 0:
            break
    return quietest, ndarena.allocated_bytes() - held
