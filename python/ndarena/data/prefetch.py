"""Data sets read ahead in a thread of their own (DL4J: ``AsyncDataSetIterator``)."""

from __future__ import annotations

import threading
import uuid
import warnings
import weakref
from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ndarena._core import Workspace, WorkspaceConfiguration
from ndarena.data.examples import Examples
from ndarena.data.iterators import DataSetIterator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["AsyncDataSetIterator", "AsyncMultiDataSetIterator"]

PATIENCE = 10.0  # seconds
SPARE_BLOCKS = 2  # besides those in the queue: one at the producer, one in the consumer's hands


class _Failed(NamedTuple):
    """In the place of a batch: what the source raised instead."""

    error: BaseException


class _Ended(NamedTuple):
    """In the place of a batch: there are no more."""


class _Channel:
    """A queue between two threads that either side may close; nobody waits at a closed one."""

    def __init__(self, size: int) -> None:
        self._items: deque[Any] = deque()
        self._size, self._changed, self.closed = size, threading.Condition(), False

    def put(self, item: object) -> bool:
        """Add an item when there is room; tell whether somebody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or len(self._items) < self._size)
            if not self.closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self.closed

    def take(self) -> Any:
        """Return the next item when there is one; at a closed channel that is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._items)
            if self.closed:
                return _Ended()
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Let go of what is in the queue, and of who waits."""
        with self._changed:
            self.closed = True
            self._items.clear()
            self._changed.notify_all()


def _produce(
    base: Iterable[Any], channel: _Channel, place: Callable[[], Workspace] | None, callback: Any
) -> None:
    """Read a source to its end, or until nobody wants more; the work of the thread.

    A batch is copied into a block of the ring after the source has made it, so that what the source allocates
    meanwhile does not count.
    """
    try:
        ring = None if place is None else place()
        for batch in base:
            scope: AbstractContextManager[object] = nullcontext() if ring is None else ring
            with scope:
                here = batch.copy_to(ring) if ring is not None and isinstance(batch, Examples) else batch
                if callback is not None:
                    callback.call(here)
            del batch
            if not channel.put(here):
                return
            del here
        channel.put(_Ended())
    except BaseException as error:  # noqa: BLE001 - it goes on in the consumer, in its place
        channel.put(_Failed(error))


def _end(channel: _Channel, thread: threading.Thread) -> None:
    """End the reading, and wait until the thread is gone, unless it is the one that asks.

    A source that does not come back cannot be ended; its thread does not keep the program from ending.
    """
    channel.close()
    if thread is threading.current_thread():
        return
    thread.join(PATIENCE)
    if thread.is_alive():
        text = f"{thread.name}: the source has not come back for {PATIENCE} s; its thread is left to itself"
        warnings.warn(text, ResourceWarning, stacklevel=2)


class AsyncDataSetIterator(DataSetIterator):
    """Another source, read ahead by a thread (DL4J: ``AsyncDataSetIterator``).

    Every ``for`` starts a thread, which ends with the loop: at its end, by ``break``, by an exception, or
    when `close` is called or nobody has the loop's iterator any more. What the source raises is raised in its
    place in the sequence.

    Batches lie in a ring of blocks of the thread. A block is used again after some further batches, so who
    keeps a batch longer calls its ``detach()``; later use is an `OverwrittenArrayError`. A block that a NumPy
    view still looks at is left alone.

    Parameters
    ----------
    base : iterable of DataSet
        The source. Its thread-bound state must be made where it is iterated.
    queue_size : int
        How many batches wait at most.
    use_workspace : bool
        Whether batches are copied into a ring; otherwise they are handed on as they are.
    callback : object, optional
        Its ``call(dataset)`` is called in the thread with every batch.

    Raises
    ------
    ValueError
        A size below 1.
    """

    async_supported = False
    ring_name = "ADSI_ITER-"

    def __init__(
        self, base: Iterable[Any], queue_size: int = 8, *, use_workspace: bool = True, callback: Any = None
    ) -> None:
        if isinstance(queue_size, bool) or not isinstance(queue_size, int) or queue_size < 1:
            raise ValueError(f"queue_size must be a whole number from 1 on, not {queue_size!r}")
        if not hasattr(base, "__iter__"):
            raise TypeError(f"expected an iterable of data sets, not {type(base).__name__}")
        self._base, self._size = base, queue_size
        self._place = self._ring if use_workspace else None
        self._callback = callback
        self._threads: weakref.WeakKeyDictionary[_Channel, threading.Thread] = weakref.WeakKeyDictionary()
        self.batch_size = getattr(base, "batch_size", None)
        self.reset_supported = getattr(base, "reset_supported", iter(base) is not base)

    def _ring(self) -> Workspace:
        conf = WorkspaceConfiguration(
            policy_reset="ENDOFBUFFER_REACHED",
            policy_learning="FIRST_LOOP",
            policy_spill="REALLOCATE",
            overallocation_limit=self._size + SPARE_BLOCKS,
        )
        return Workspace(conf, f"{self.ring_name}{uuid.uuid4()}")

    def batches(self) -> Iterator[Any]:
        """Return the batches of one epoch, while a thread reads ahead."""
        channel = _Channel(self._size)
        arguments = self._base, channel, self._place, self._callback
        thread = threading.Thread(target=_produce, args=arguments, name=self.ring_name, daemon=True)
        self._threads[channel] = thread
        thread.start()
        try:
            while not isinstance(item := channel.take(), _Ended):
                if isinstance(item, _Failed):
                    raise item.error
                yield item
                del item
        finally:
            _end(channel, thread)

    def close(self) -> None:
        """End all threads; loops that are under way end as if there were no more batches."""
        for channel, thread in list(self._threads.items()):
            _end(channel, thread)

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do as `close`."""
        self.close()


class AsyncMultiDataSetIterator(AsyncDataSetIterator):
    """The same for a source of `MultiDataSet` (DL4J: ``AsyncMultiDataSetIterator``)."""

    ring_name = "AMDSI_ITER-"
