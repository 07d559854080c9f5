"""What several threads do, each in the same order, until somebody ends it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Agenda"]

T = TypeVar("T")


class Agenda(Generic[T]):
    """Items that every worker takes once, in their order; one waits while another is worked on.

    After `close` workers take what is left; after `fail` nobody waits any more.
    """

    def __init__(self, workers: int) -> None:
        self._items: deque[T] = deque()
        self._put = 0
        self._taken = [0] * workers
        self._done = [0] * workers
        self._closed = False
        # Held by what is in C, as a signal in the middle of a condition's own `with` would leave it locked.
        self._lock = threading.RLock()
        self._given = threading.Condition(self._lock)  # for workers
        self._settled = threading.Condition(self._lock)  # for others; every wake-up takes time from workers
        self.error: BaseException | None = None
        """What went wrong first."""

    def wait_for_room(self) -> bool:
        """Wait until all have taken the last item; tell whether there is any use in another."""
        with self._lock:
            self._settled.wait_for(lambda: self._is_over() or not self._items)
            return not self._is_over()

    def put(self, item: T) -> None:
        """Add an item, for which there must be room."""
        with self._lock:
            if not self._is_over():
                self._items.append(item)
                self._put += 1
                self._given.notify_all()

    def take(self, worker: int) -> T | None:
        """Say that the last item is done, and wait for the next; ``None`` is the end."""
        with self._lock:
            self._done[worker] = self._taken[worker]
            if self._is_done():
                self._settled.notify_all()
            self._given.wait_for(lambda: self._is_over() or self._taken[worker] < self._put)
            if self.error is not None or self._taken[worker] == self._put:
                return None
            item = self._items[self._taken[worker] - self._put]
            self._taken[worker] += 1
            while self._items and self._put - len(self._items) < min(self._taken):
                self._items.popleft()
            if not self._items:
                self._settled.notify_all()
            return item

    def wait_until_done(self) -> bool:
        """Wait until all have done everything; tell whether that is so, and nothing has failed."""
        with self._lock:
            self._settled.wait_for(lambda: self.error is not None or self._is_done())
            return self.error is None

    def close(self, last: T) -> None:
        """Add a last item, if that was not done already, and nothing after it."""
        with self._lock:
            self.put(last)
            self._closed = True

    def fail(self, error: BaseException) -> None:
        """End it at once; the first error is kept."""
        with self._lock:
            if self.error is None:
                self.error = error
            self._items.clear()
            self._given.notify_all()
            self._settled.notify_all()

    def _is_over(self) -> bool:
        return self._closed or self.error is not None

    def _is_done(self) -> bool:
        return min(self._done) == self._put
