"""Whether requests that come again and again are better answered in one batch or in two."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEPT", "TRIED", "Batching"]

TRIED, KEPT = 16, 1000
"""For how many batches a number of parts is tried, and the better one kept."""


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
        self._parts, self._kept = 1, 0
        self._seconds: dict[int, list[float]] = {1: [], 2: []}
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
        if self._kept:
            self._kept -= 1
            if not self._kept:
                self._begin()
            return
        tried = self._seconds[self._parts]
        tried.append(seconds)
        if len(tried) < TRIED:
            return
        if self._parts == 1:
            self._parts = 2
        else:
            one, two = (median(self._seconds[parts]) for parts in (1, 2))
            self._parts, self._kept = (2 if two < one else 1), KEPT
