"""Data sets read ahead in a thread of their own (DL4J: ``AsyncDataSetIterator``)."""

from __future__ import annotations

import os
import time
import uuid
import weakref
from collections.abc import Generator
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ndarena._core import (
    any_workspace_active_for_current_thread,
    get_and_activate_workspace,
    get_auto_gc_window,
    scope_out_of_workspaces,
)
from ndarena.data.examples import Examples
from ndarena.data.handover import Epoch, Handover, snapshot
from ndarena.data.iterators import WrappingIterator, at_least, pre_processed
from ndarena.data.reader import Reader
from ndarena.data.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AsyncDataSetIterator", "AsyncMultiDataSetIterator"]

_give_way = getattr(os, "sched_yield", partial(time.sleep, 0))
"""Lets who waits have the interpreter now, while what is ready lies in the processor's caches."""

AHEAD = 5
"""With more batches than this ready, a consumer who waits is let in: to let it in takes its time, too."""
SPARE_BLOCKS = 2  # besides those of batches that wait or are worked on: one is filled, one is slack


class AsyncDataSetIterator(WrappingIterator):
    """Another source, read ahead by a thread (DL4J: ``AsyncDataSetIterator``).

    Every ``for`` starts a thread, which ends with the loop: at its end, by ``break``, by an exception, or
    when `close` is called or nobody has the loop's iterator any more. In a ``with`` block thread and ring
    stay for the loops that follow, and end with the block. What the source raises is raised in its place in
    the sequence. Several threads may share what ``iter()`` returns: each batch goes to one of them.

    Batches are copied into a ring of blocks of the thread before the source is asked for the next one, so
    that a source may use its arrays again. The batch that a thread has taken last is never overwritten, nor
    are those before it as far as ``consumers`` says; who keeps one longer calls its ``detach()``, and later
    use of another is an `OverwrittenArrayError`. A block that a NumPy view still looks at is left alone.

    Parameters
    ----------
    base : iterable of DataSet
        The source. Its thread-bound state must be made where it is iterated. A generator is closed with the
        loop.
    queue_size : int
        How many batches wait at most.
    use_workspace : bool
        Whether batches are copied into a ring; otherwise they are handed on as they are.
    callback : DataSetCallback, optional
        Its ``call(dataset)`` is called in the thread with every batch.
    consumers : int
        How many batches will be in use at once, in all threads that ask; the ring has blocks for so many, or
        for more if more threads ask.

    Raises
    ------
    ValueError
        A count below 1; with ``for``, a second epoch of a source that gives one.
    TypeError
        A source that cannot be iterated, or a callback that has no ``call``.
    """

    ring_name = "ADSI_ITER-"
    thread_name = "ADSI prefetch thread"

    def __init__(
        self,
        base: Iterable[Any],
        queue_size: int = 8,
        *,
        use_workspace: bool = True,
        callback: Any = None,
        consumers: int = 1,
    ) -> None:
        super().__init__(base)
        self._size = at_least(1, queue_size, "queue_size")
        self._consumers = at_least(1, consumers, "consumers")
        if callback is not None and (isinstance(callback, type) or not hasattr(callback, "call")):
            raise TypeError(f"callback must be an object with call(dataset), not {callback!r:.100}")
        self._use_workspace, self._callback = use_workspace, callback
        self.async_supported = False
        self._block = 0
        self._handovers: weakref.WeakSet[Handover] = weakref.WeakSet()
        self._keeps_reader = False
        self._reader: Reader | None = None

    def batches(self) -> Epoch:
        """Begin an epoch: return its batches, while a thread reads ahead."""
        read = self._reading(self._epoch())
        handover = Handover(self._size, self._consumers)
        epoch = Epoch(handover)
        self._handovers.add(handover)
        reader = self._reader
        if reader is None and self._keeps_reader:
            reader = self._reader = self._another_reader()
        if reader is None or not reader.take(handover, read):
            handover.ends_thread = True
            reader = self._another_reader()
            reader.take(handover, read)
            reader.finish()
        return epoch

    __iter__ = batches

    def _another_reader(self) -> Reader:
        ring = Ring(f"{self.ring_name}{uuid.uuid4()}", self._block) if self._use_workspace else None
        return Reader(self.thread_name, ring)

    def _reading(self, source: Iterable[Any]) -> Any:
        """Return the work of the thread, which does not hold this object."""
        blocks = self._size + SPARE_BLOCKS
        callback, pre_processor, owner = self._callback, self.pre_processor, weakref.ref(self)

        def read(handover: Handover, ring: Ring | None) -> None:
            _enter_for_good()
            batches = iter(source)
            try:
                for batch in batches:
                    if not handover.has_room():
                        break
                    mine = batch if pre_processor is None else pre_processed(batch, pre_processor)
                    handover.ready.put(_made_ready(mine, ring, blocks + handover.consumers, callback))
                    del batch, mine
                    if handover.ready.qsize() > AHEAD:
                        _give_way()
            finally:
                if isinstance(batches, Generator):
                    batches.close()
                if ring is not None and (iterator := owner()) is not None:
                    iterator._block = max(iterator._block, ring.block)  # noqa: SLF001 - its own

        return read

    def let_go(self) -> None:
        """End loops that are under way as if there were no more batches; never waits."""
        for handover in snapshot(self._handovers):
            handover.close()

    def close(self) -> None:
        """End all threads; loops that are under way end as if there were no more batches."""
        reader, self._reader = self._reader, None
        self.let_go()
        if reader is not None:
            reader.finish()
        for handover in snapshot(self._handovers):
            handover.end()
        if reader is not None:
            reader.join()

    def __enter__(self) -> Self:
        """Keep the thread and its ring for the next epoch, until the end of the block; return this object."""
        self._keeps_reader = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Do as `close`, but no warning takes the place of an exception."""
        self._keeps_reader = False
        with nullcontext() if kind is None else suppress(ResourceWarning):
            self.close()


def _enter_for_good() -> None:
    """While the collector is paced, enter a scope that ends with the thread, and in which nothing is current.

    The collector runs when an outermost scope is left: no batch leaves one then, in the middle of a step of
    another thread.
    """
    if get_auto_gc_window() and not any_workspace_active_for_current_thread():
        get_and_activate_workspace(id="ADSI_PACE")
        scope_out_of_workspaces()


def _made_ready(batch: Any, ring: Ring | None, blocks: int, callback: Any) -> tuple[Any, Any]:
    """Return a batch for a consumer, and the leases that keep it whole until it is used."""
    if not isinstance(batch, Examples):
        if callback is not None:
            callback.call(batch)
        return batch, ()
    if ring is None:
        mine = batch.shallow() if callback is not None else batch
    else:
        mine = ring.fill(batch, blocks, batch.copy_to)
    if callback is not None:
        callback.call(mine)
    return mine, mine.leases()


class AsyncMultiDataSetIterator(AsyncDataSetIterator):
    """The same for a source of `MultiDataSet` (DL4J: ``AsyncMultiDataSetIterator``)."""

    ring_name = "AMDSI_ITER-"
    thread_name = "AMDSI prefetch thread"
