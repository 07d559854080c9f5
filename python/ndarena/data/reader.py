"""The thread that reads ahead: one epoch after the other, each for a hand-over of its own."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ndarena.data.handover import HASTE, Handover, joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.data.ring import Ring

    Read = Callable[[Handover, Ring | None], None]

__all__ = ["Reader"]


class Reader:
    """A thread with a ring, which reads what it is given until nobody can give it anything more.

    It does not keep the program from ending.

    Parameters
    ----------
    name : str
        The name of the thread.
    ring : Ring or None
        Whose workspaces are the thread's.
    """

    def __init__(self, name: str, ring: Ring | None) -> None:
        self._epochs: SimpleQueue[tuple[Handover, Read] | None] = SimpleQueue()
        self._busy = threading.Lock()  # held while an epoch is read
        self._last: Handover | None = None
        arguments = self._epochs, self._busy, ring
        self.thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        try:
            self.thread.start()
        except BaseException:  # a signal, perhaps when it was running already
            self.finish()
            joined(self.thread, HASTE)
            raise

    def take(self, handover: Handover, read: Read) -> bool:
        """Read an epoch, unless another one is under way or the thread is gone; tell whether."""
        if self._last is not None and not self._last.is_over():
            return False
        if not (self.thread.is_alive() and self._busy.acquire(timeout=HASTE)):
            return False
        self._last = handover
        handover.thread = self.thread
        self._epochs.put((handover, read))
        return True

    def finish(self) -> None:
        """Let the thread end when it has read what it was given; nothing more may come."""
        self._epochs.put(None)

    def join(self) -> None:
        """Wait for the thread's end, unless it is the one that asks, or still reads."""
        is_over = self._last is None or self._last.is_over()
        if is_over and self.thread is not threading.current_thread():
            joined(self.thread, HASTE)

    def __del__(self) -> None:
        """Do as `finish`; a signal may have come before there was anything."""
        with suppress(AttributeError):
            self._epochs.put(None)


def _work(epochs: SimpleQueue[tuple[Handover, Read] | None], busy: Any, ring: Ring | None) -> None:
    """Read epochs; nothing of one is held when it is over."""
    while (epoch := epochs.get()) is not None:
        handover, read = epoch
        handover.run(partial(read, handover, ring))
        del epoch, handover, read
        busy.release()
