"""Who works with the layers of a network: one at a time, and nobody waits for ever."""

from __future__ import annotations

import sys
import threading

__all__ = ["Claim"]

LONG = 0.5
"""Seconds after which one who waits looks whether the other is still there."""


class Claim:
    """What a thread has while it works with the layers that a network trains.

    Layers keep things while they work. Whoever only asks tries to get the claim, and takes copies of the
    layers where it is somebody else's; whoever learns waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    def get(self) -> bool:
        """Get the claim if nobody has it; return whether it is had now."""
        if not self._lock.acquire(blocking=False):
            return False
        self._owner = threading.get_ident()
        return True

    def wait(self) -> None:
        """Get the claim as soon as nobody has it; `RuntimeError` where this very thread has it."""
        while not self.get():
            if self._owner == threading.get_ident():
                raise RuntimeError(
                    "this network is at work in this thread already, and cannot learn meanwhile"
                )
            lock = self._lock
            if lock.acquire(timeout=LONG):
                lock.release()
            elif self._owner not in sys._current_frames() and lock is self._lock:  # noqa: SLF001 - public, in fact
                self._lock = threading.Lock()  # it was in another thread of a process that forked this one

    def leave(self) -> None:
        """Give the claim back."""
        self._lock.release()
