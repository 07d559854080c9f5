"""How batches go from the thread that reads to those that ask, and how either side ends it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import warnings
import weakref
from functools import partial
from itertools import islice, repeat
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["HASTE", "Epoch", "Handover", "is_reading", "joined", "snapshot"]

T = TypeVar("T")

PATIENCE = 10.0  # seconds for a source to come back
HASTE = 1.0  # the same where nobody asked to wait
TICK = 0.001
MOST = 1 << 16
"""So many batches wait at most, whatever the size of a queue."""


class _End(NamedTuple):
    """In the place of a batch: there are no more, perhaps because something was raised."""

    error: BaseException | None = None


def joined(thread: threading.Thread, patience: float | None = None) -> bool:
    """Wait for a thread's end, so many seconds at most; tell whether it is gone.

    One whose start was interrupted may come to life a moment later, or never.
    """
    limit = time.monotonic() + HASTE
    while not thread.is_alive() and thread in threading.enumerate() and time.monotonic() < limit:
        time.sleep(TICK)
    if thread.is_alive():
        thread.join(patience)
    return not thread.is_alive()


class Handover:
    """Two queues between one thread that reads and any number that ask.

    ``room`` holds a permission for every batch that may still be made ready: the reader waits for one, the
    consumer gives it back with the next batch it takes. Nobody waits for a lock of ours, so that every side
    may end it at any time, in finalisers too.
    """

    def __init__(self, size: int, consumers: int = 1) -> None:
        self.ready: Final[SimpleQueue[Any]] = SimpleQueue()
        self.room: Final[SimpleQueue[None]] = SimpleQueue()
        self.coming: Final = map(partial(self.ready.get, timeout=PATIENCE), repeat(object=True))
        """What becomes ready, for ever; `Empty` is raised where that takes long."""
        self.is_closed = False
        self.consumers = consumers
        """How many batches are in use at once: at least one, and one for every thread that has asked."""
        self.thread: threading.Thread | None = None
        """Who reads."""
        self.ends_thread = False
        """Whether the thread ends with the reading."""
        self._is_over = threading.Event()
        for _ in range(min(size, MOST)):
            self.room.put(None)

    def run(self, read: Callable[[], None]) -> None:
        """Read, in the thread of the reader."""
        try:
            read()
        except BaseException as error:  # noqa: BLE001 - it goes on in the consumer, in its place
            self._is_over.set()
            self.ready.put(_End(error))
        else:
            self._is_over.set()
            self.ready.put(_End())

    def is_over(self) -> bool:
        """Tell whether nothing is read any more."""
        return self._is_over.is_set()

    def has_room(self) -> bool:
        """Wait until another batch may be made ready; tell whether somebody will take it."""
        self.room.get()
        return not self.is_closed

    def close(self) -> None:
        """Let go of what is ready, and of all who wait; never waits."""
        self.is_closed = True
        self.room.put(None)
        while True:
            try:
                self.ready.get_nowait()
            except Empty:
                break
        self.ready.put(_End())

    def join(self, patience: float) -> bool:
        """Wait for the end of the reading, unless the reader itself asks; tell whether it is over."""
        thread = self.thread
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return True
        if not self.ends_thread:
            return self._is_over.wait(patience)
        return joined(thread, patience)

    def end(self) -> None:
        """End the reading. A source that does not come back cannot be ended: a `ResourceWarning` says so."""
        self.close()
        if not self.join(PATIENCE):
            name = "" if self.thread is None else self.thread.name
            text = f"{name}: the source has not come back for {PATIENCE} s; its thread is left to itself"
            warnings.warn(text, ResourceWarning, stacklevel=3)


def snapshot(those: weakref.WeakSet[T]) -> list[T]:
    """Return what a set holds, to which other threads may be adding."""
    while True:
        try:
            return list(those)
        except RuntimeError:
            continue


_open: weakref.WeakSet[Handover] = weakref.WeakSet()


def is_reading() -> bool:
    """Tell whether this thread reads ahead, for anybody."""
    return any(handover.thread is threading.current_thread() for handover in snapshot(_open))


@atexit.register
def _end_all() -> None:
    """End all reading before the interpreter does."""
    handovers, deadline = snapshot(_open), time.monotonic() + HASTE
    for handover in handovers:
        handover.close()
    for handover in handovers:
        handover.join(max(0.0, deadline - time.monotonic()))


class _Hold:
    """What a thread has taken: a batch that it is still to be given, and what keeps the last ones whole."""

    __slots__ = ("__weakref__", "leases", "taken")

    def __init__(self) -> None:
        self.leases: list[Any] = []
        self.taken: list[Any] = []


class Epoch:
    """The batches of one epoch, for any number of threads; the reading ends with it.

    The memory of the batch that a thread took last is leased until it asks for another one, or ends. Where
    more are in use at once than there are threads that ask, each thread has its share.
    """

    def __init__(self, handover: Handover) -> None:
        self._handover, self._process = handover, os.getpid()
        self._here = threading.local()
        self._holds: weakref.WeakSet[_Hold] = weakref.WeakSet()
        _open.add(handover)

    def __iter__(self) -> Iterator[Any]:
        """Return this object."""
        return self

    def __next__(self) -> Any:
        """Return the next batch, raise what the source raised there, or end."""
        handover = self._handover
        if self._process != os.getpid():
            raise RuntimeError("the thread that reads ahead is in the process that this one was forked from")
        hold = self._hold()
        item = self._next(handover, hold.taken)
        if handover.is_closed or isinstance(item, _End):
            handover.ready.put(_End())  # for the others who ask
            error = item.error if isinstance(item, _End) else None
            del item, hold.taken[:]
            try:
                raise StopIteration if error is None else error
            finally:
                del error  # whose traceback has this frame
        batch, leases = item
        hold.leases.append(leases)
        handover.room.put(None)
        del hold.taken[:]  # no call, after which a signal might come
        return batch

    def _hold(self) -> _Hold:
        """Return what this thread holds: one batch less than it may have in use."""
        hold: _Hold | None = getattr(self._here, "hold", None)
        if hold is None:
            hold = self._here.hold = _Hold()
            self._holds.add(hold)
            self._handover.consumers = max(self._handover.consumers, len(self._holds))
        share = self._handover.consumers
        if share > 1:
            share //= len(self._holds)
        del hold.leases[: max(0, len(hold.leases) - share + 1)]
        return hold

    @staticmethod
    def _next(handover: Handover, taken: list[Any]) -> Any:
        """Wait for what comes next; it is kept, as a signal that raises may come before it is handed on."""
        while not taken:
            try:
                taken.extend(islice(handover.coming, 1))  # one call of C: what was got is in the list
            except Empty:
                if handover.thread is not None and not handover.thread.is_alive() and handover.ready.empty():
                    return _End(RuntimeError(f"{handover.thread.name} ended without a word"))
        return taken[0]

    def close(self) -> None:
        """End the reading, and wait for it."""
        self._handover.end()
        for hold in snapshot(self._holds):
            hold.leases.clear()

    def __del__(self) -> None:
        """End the reading when nobody can ask any more."""
        handover = self._handover
        handover.close()
        if not sys.is_finalizing():
            handover.join(HASTE)
