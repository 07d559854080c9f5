"""A barrier that lets everybody through, or nobody."""

from __future__ import annotations

import threading

__all__ = ["Meeting"]


class Meeting:
    """Where a number of threads wait for one another, again and again.

    With a `threading.Barrier` who is slow to wake up from a meeting that took place may be told that it did
    not, if somebody who was quicker has called it off since. Here it takes place for all or for none.
    """

    def __init__(self, parties: int) -> None:
        self._parties, self._waiting, self._number = parties, 0, 0
        self._is_off = False
        self._lock = threading.RLock()  # see `Agenda`
        self._changed = threading.Condition(self._lock)

    def wait(self) -> None:
        """Wait for all others; if there will be no meeting any more: `threading.BrokenBarrierError`."""
        with self._lock:
            number = self._number
            self._waiting += 1
            if self._waiting == self._parties and not self._is_off:
                self._waiting = 0
                self._number += 1
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_off or self._number != number)
            if self._number == number:
                raise threading.BrokenBarrierError

    def call_off(self) -> None:
        """Let nobody wait any more."""
        with self._lock:
            self._is_off = True
            self._changed.notify_all()
