"""Who works with the layers of a network: one at a time, and nobody waits for ever."""

from __future__ import annotations

import sys
import threading
from threading import get_ident

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
        self._is_wanted = False

    def get(self) -> bool:
        """Get the claim if nobody has it or waits for it; return whether it is had now."""
        if self._is_wanted or not self._lock.acquire(False):  # noqa: FBT003 - by name it takes twice as long
            return False
        self._owner = get_ident()
        return True

    def wait(self) -> None:
        """Get the claim as soon as nobody has it; `RuntimeError` where this very thread has it."""
        if self.get():
            return
        if self._owner == get_ident() and self._lock.locked():
            raise RuntimeError("this network is at work in this thread already, and cannot learn meanwhile")
        self._is_wanted = True
        try:
            while not self._lock.acquire(timeout=LONG):
                if self._owner not in sys._current_frames():  # noqa: SLF001 - documented, in spite of its name
                    self._lock = threading.Lock()  # the owner was left behind when this process was forked
            self._owner = get_ident()
        finally:
            self._is_wanted = False

    def leave(self) -> None:
        """Give the claim back."""
        self._lock.release()
