"""Whether requests that come again and again are better answered in one batch or in two."""

from __future__ import annotations

import math
import time
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEPT", "TRIALS", "TRIED", "Batching"]

TRIALS, TRIED, KEPT = (1, 2, 1, 2), 8, 256
"""Numbers of parts that are tried in turns, for how many batches each, and the better one kept."""


class Batching:
    """How many rows a worker waits for, after what it answered last.

    As many as there were; or half as many, so that the clients of one half wake and ask again while the
    other half is answered. What that saves and what it costs is the model's and the machine's, so both are
    tried now and then, and the one is kept that took less time for a row.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._key: object = None
        self._begin()

    def _begin(self) -> None:
        self._trial = 0
        self._parts, self._left = TRIALS[0], TRIED
        self._seconds: list[float] = []
        self._best: dict[int, float] = {}
        self._last = self._clock()

    def expected(self, key: object, rows: int, waiting: int) -> int:
        """Return for how many rows to wait, once ``rows`` of a kind were answered and others wait."""
        if key != self._key:
            self._key = key
            self._begin()
        else:
            self._note(rows)
        return -(-(rows + waiting) // self._parts)

    def _note(self, rows: int) -> None:
        now = self._clock()
        seconds, self._last = (now - self._last) / max(rows, 1), now
        self._seconds.append(seconds)
        self._left -= 1
        if not self._left:
            self._go_on()

    def _go_on(self) -> None:
        if self._trial == len(TRIALS):
            self._begin()
            return
        best = self._best.get(self._parts, math.inf)
        self._best[self._parts] = min(best, median(self._seconds))  # a slow moment decides nothing
        self._trial += 1
        if self._trial < len(TRIALS):
            self._parts, self._left, self._seconds = TRIALS[self._trial], TRIED, []
        else:
            self._parts, self._left, self._seconds = min(self._best, key=self._best.__getitem__), KEPT, []
