"""How fast two workers learn: in one process, or in two that do the same work at the same time."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median
from typing import Any

from ndarena.data import DataSet, ListDataSetIterator
from ndarena.parallel import ParallelWrapper

from .model import Figures, Result, Row
from .rows.images import BATCH, batch, network
from .rows.wrapper import ALONE, PROCESSES, WORKERS

TURNS, EPOCHS, BATCHES = 2, 3, 24  # of each process asked for; batches of all workers together
WRAPPER = "ParallelWrapper"


def measured(row: Row, processes: int) -> Result:
    """Return nanoseconds per example of a wrapper and of the row's peer, which take turns."""
    members = WORKERS if row.peer == PROCESSES else 1
    epochs, turns = (EPOCHS, TURNS * processes) if processes > 1 else (1, 1)
    times: dict[bool, list[float]] = {True: [], False: []}
    try:
        with ExitStack() as stack:
            ours = [Learner(stack, WRAPPER, epochs, BATCHES)]
            peers = [Learner(stack, ALONE, epochs, BATCHES // members) for _ in range(members)]
            for number in range(2 * turns):
                is_ours = number % 4 in {0, 3}
                times[is_ours].append(together(ours if is_ours else peers) / (epochs * BATCHES * BATCH))
    except OSError as error:
        return Result(row.key, failed=f"a process ended: {error}")
    taken, theirs = (Figures(min(times[side]), median(times[side]), 0.0) for side in (True, False))
    ratios = taken.least / theirs.least, taken.median / theirs.median
    return Result(row.key, None, None, *ratios, taken, theirs)


class Learner:
    """A process that learns some epochs whenever it is told to."""

    def __init__(self, stack: ExitStack, kind: str, epochs: int, batches: int) -> None:
        command = [sys.executable, "-m", "benches.python.workers", kind, str(epochs), str(batches)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process: Any = stack.enter_context(subprocess.Popen(command, **pipes))  # noqa: S603 - ourselves
        stack.callback(process.stdin.close)
        self._process = process
        self.wait()

    def begin(self) -> None:
        """Let it learn."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Wait until it has."""
        if self._process.stdout.readline() != "done\n":
            raise OSError(f"status {self._process.wait()}")


def together(learners: list[Learner]) -> int:
    """Let processes learn at the same time; return the nanoseconds until all have."""
    began = time.perf_counter_ns()
    for learner in learners:
        learner.begin()
    for learner in learners:
        learner.wait()
    return time.perf_counter_ns() - began


def learn(kind: str, epochs: int, batches: int) -> None:
    """Learn once to warm up, and again for every line of the standard input."""
    net, data = network(), batch()
    source = ListDataSetIterator([DataSet(data.features, data.labels)] * batches)
    learner: Any = ParallelWrapper(net, workers=WORKERS) if kind == WRAPPER else net
    learner.fit(source)
    say_so()
    for _ in sys.stdin:
        learner.fit(source, epochs=epochs)
        say_so()


def say_so() -> None:
    """Tell the other side that it is done."""
    sys.stdout.write("done\n")
    sys.stdout.flush()


if __name__ == "__main__":
    learn(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
