"""How a row is measured: both sides in turns in one process, with the collector off inside a sample."""

from __future__ import annotations

import gc
import resource
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np

import ndarena

from .available import what_is_missing
from .model import Check, Figures, Result, Row, Side, Sides

BLOCK = 1000  # turns in a scope; a cycle of so many requests still has a plan
FIRST_TURNS = 3  # an arena learns from its first cycle that a name holds its array until it gets the next
LARGEST_ESTIMATE = 100  # so much longer than a sample too short to trust


@dataclass(frozen=True)
class Effort:
    """How long to look."""

    rounds: int = 25
    sample_ns: int = 1_000_000
    warm: int = 4
    """Samples before those that count: an arena learns its size in the first, its plan in the second."""
    turns: int = FIRST_TURNS
    """A sample has at least so many."""


SMOKE = Effort(rounds=1, sample_ns=20_000, warm=0, turns=1)


@dataclass
class Runner:
    """A side that was compiled, with what was seen of it."""

    run: Callable[[int, int], None]
    turns: int = 1
    times: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)

    def take(self, turns: int) -> int:
        """Run about so many turns, in whole scopes; nanoseconds."""
        blocks = -(-turns // BLOCK)
        in_block = -(-turns // blocks)
        self.turns = blocks * in_block
        begin = time.perf_counter_ns()
        self.run(blocks, in_block)
        return time.perf_counter_ns() - begin

    def calibrate(self, effort: Effort) -> None:
        """Find how many turns make a sample, and let everything learn from some."""
        turns = effort.turns
        while (taken := self.take(turns)) < effort.sample_ns:
            estimate = turns * effort.sample_ns / max(taken, 1)
            turns = min(int(1.1 * estimate) + 1, LARGEST_ESTIMATE * turns)
        for _ in range(effort.warm):
            self.take(self.turns)

    def sample(self) -> None:
        """Note a sample: time and page faults per turn."""
        before = faults()
        taken = self.take(self.turns)
        self.faults.append((faults() - before) / self.turns)
        self.times.append(taken / self.turns)

    def figures(self) -> Figures:
        """Return what was noted."""
        return Figures(min(self.times), statistics.median(self.times), min(self.faults))


def measure(row: Row, effort: Effort) -> Result:
    """Measure a row where it belongs: in this thread or in a worker."""
    missing = what_is_missing(row.needs)
    if missing is not None:
        return Result(row.key, missing=missing)
    if not row.in_thread:
        return guarded(row, effort)
    results: list[Result] = []
    worker = threading.Thread(target=lambda: results.append(guarded(row, effort)))
    worker.start()
    worker.join()
    return results[0] if results else Result(row.key, failed="its thread died")


def guarded(row: Row, effort: Effort) -> Result:
    """Measure, and say what went wrong instead of ending the other rows with it."""
    try:
        with ExitStack() as stack:
            return compared(row, row.make(stack), effort)
    except Exception as error:  # noqa: BLE001 - it is told in the report, and the run fails
        return Result(row.key, failed=f"{type(error).__name__}: {error}")


def compared(row: Row, sides: Sides, effort: Effort) -> Result:
    """Compare the results of both sides, then their times in turns."""
    runners = [Runner(compiled(side)) for side in (sides.ours, sides.peer, sides.base) if side is not None]
    for runner in runners:
        runner.take(effort.turns)
    difference = what_differs(sides)
    if difference is not None:
        return Result(row.key, failed=difference)
    for runner in runners:
        runner.calibrate(effort)
    gc.collect()
    held = ndarena.allocated_bytes()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for number in range(effort.rounds):
            for runner in runners if number % 2 else runners[::-1]:
                runner.sample()
    finally:
        if was_enabled:
            gc.enable()
    held = ndarena.allocated_bytes() - held
    ours, peer, *base = (runner.figures() for runner in runners)
    less = base[0] if base else Figures(0.0, 0.0, 0.0)
    return Result(
        row.key,
        ratio=(ours.least - less.least) / peer.least,
        median_ratio=(ours.median - less.median) / peer.median,
        ours=ours,
        peer=peer,
        held=held,
    )


def faults() -> int:
    """Return the minor page faults of the calling thread so far."""
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return resource.getrusage(who).ru_minflt


def compiled(side: Side) -> Callable[[int, int], None]:
    """Make a function of a side: scopes, and turns in each; both sides have the same loops around them."""
    body = "\n".join(f"            {line}" for line in side.code.splitlines())
    source = (
        f"def sample(blocks, turns, repeat, scope, {', '.join(side.names)}):\n"
        "    for _ in repeat(None, blocks):\n"
        f"{'        with scope():' if side.scope else '        if True:'}\n"
        "          for _ in repeat(None, turns):\n"
        f"{body}\n"
    )
    made: dict[str, Any] = {}
    exec(compile(source, f"<{side.code}>", "exec"), made)  # noqa: S102 - the code of our own rows
    sample, names = made["sample"], tuple(side.names.values())
    return lambda blocks, turns: sample(blocks, turns, repeat, side.scope, *names)


def what_differs(sides: Sides) -> str | None:
    """Return how the results of the sides differ, in words."""
    if sides.check is Check.NOTHING:
        return None
    for side in (sides.peer, sides.base):
        if side is not None:
            difference = difference_of(result_of(sides.ours), result_of(side), sides.check)
            if difference is not None:
                return f"results differ: {difference}"
    return None


def result_of(side: Side) -> list[np.ndarray[Any, Any]]:
    """Return what a turn gives, as arrays of nobody's."""
    if side.result is not None:
        return plain(side.result())
    if side.scope is None:
        return plain(eval(side.code, dict(side.names)))  # noqa: S307 - the code of our own rows
    with side.scope():
        return plain(eval(side.code, dict(side.names)))  # noqa: S307 - the code of our own rows


def plain(result: Any) -> list[np.ndarray[Any, Any]]:
    """Return copies that outlive every scope."""
    results = result if isinstance(result, (list, tuple)) else [result]
    return [np.array(one.numpy() if hasattr(one, "numpy") else one) for one in results]  # a tensor, too


def difference_of(
    ours: list[np.ndarray[Any, Any]], peers: list[np.ndarray[Any, Any]], check: Check
) -> str | None:
    """Return the first difference, in words."""
    if len(ours) != len(peers):
        return f"{len(ours)} arrays and {len(peers)}"
    for a, b in zip(ours, peers, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"
        if check is Check.BITS and a.tobytes() != b.tobytes():
            return f"{np.count_nonzero(a != b)} of {a.size} values"
        if check is Check.CLOSE and not np.allclose(a, b, rtol=1e-4, atol=1e-5):
            return f"by up to {np.max(np.abs(a - b)):g}"
    return None
