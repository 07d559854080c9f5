"""Batches that are read ahead: what the hand-over costs, and whether source and step overlap."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena.data import AsyncDataSetIterator, DataSet, DataSetIterator

QUEUE = 8
HANDED_OVER = 500  # batches of an epoch
OVERLAPPED: dict[int, float | None] = {468: 1.1, 60: None}
"""Batches of an epoch, and the bar: 60 000 examples; and few, beside which the thread's begin shows."""
WORK = bytes(1 << 20)  # what a step reads


def rows() -> list[Row]:
    """Return the rows of reading ahead."""
    shape = "128x784 and 128x10"
    return [
        Row(
            "data",
            "AsyncDataSetIterator, batches per second",
            shape,
            "float32",
            "thread, queue.Queue, fresh copies",
            Bar(1 / 1.3),
            throughput,
            Place.FRESH,
        ),
        *(
            Row(
                "data",
                "AsyncDataSetIterator, source that waits as long as a step takes",
                f"{count} batches",
                "float32",
                "the slower of the two alone",
                None if bar is None else Bar(bar),
                partial(overlap, count),
                Place.FRESH,
            )
            for count, bar in OVERLAPPED.items()
        ),
    ]


class Source(DataSetIterator):
    """The same batch again and again, each after a while, as if it came from a disk."""

    def __init__(self, count: int, seconds: float = 0.0) -> None:
        """Take the number of batches, and how long each is waited for."""
        random = np.random.default_rng(0)
        features = random.random((128, 784), np.float32)
        self.batch = DataSet(features, np.eye(10, dtype=np.float32)[random.integers(0, 10, 128)])
        self.count, self.seconds = count, seconds

    def batches(self) -> Iterator[DataSet]:
        """Return an epoch."""
        for _ in range(self.count):
            if self.seconds:
                time.sleep(self.seconds)
            yield self.batch


def step() -> bytes:
    """Do what takes its time and leaves the interpreter free, as a network's products do."""
    return hashlib.sha256(WORK).digest()


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long something takes, at least."""
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


class Copying:
    """A thread that puts fresh copies into a queue, as one writes it."""

    def __init__(self, base: Source) -> None:
        """Take the source."""
        self.base = base

    def __iter__(self) -> Iterator[DataSet]:
        """Begin an epoch."""
        waiting: queue.Queue[DataSet | None] = queue.Queue(QUEUE)

        def work() -> None:
            for batch in self.base:
                waiting.put(batch.copy())
            waiting.put(None)

        thread = threading.Thread(target=work)
        thread.start()
        while (batch := waiting.get()) is not None:
            yield batch
        thread.join()


def arrays_of(batches: Any) -> list[Any]:
    """Return what the first batches hold."""
    return [
        np.array(part)
        for data, _ in zip(batches, range(3), strict=False)
        for part in (data.features, data.labels)
    ]


def throughput(_: ExitStack) -> Sides:
    """Make the sides of the hand-over."""
    ours, peer = AsyncDataSetIterator(Source(HANDED_OVER), QUEUE), Copying(Source(HANDED_OVER))
    code = "for batch in batches: pass"
    return Sides(
        Side(code, {"batches": ours}, result=lambda: arrays_of(ours)),
        Side(code, {"batches": peer}, result=lambda: arrays_of(list(peer))),
    )


def overlap(count: int, _: ExitStack) -> Sides:
    """Make the sides of source and step at once, and of the slower one alone: a wait is never too short."""
    seconds = seconds_of(step)
    source = Source(count, seconds)
    ours = Side("for batch in batches: step()", {"batches": AsyncDataSetIterator(source), "step": step})
    if seconds_of(partial(time.sleep, seconds)) > seconds:
        peer = Side("for batch in batches: pass", {"batches": source})
    else:
        peer = Side("for batch in batches: step()", {"batches": range(count), "step": step})
    return Sides(ours, peer, check=Check.NOTHING)
