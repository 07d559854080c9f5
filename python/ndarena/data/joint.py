"""Several sources that are read at the same time (DL4J: ``JointParallelDataSetIterator``)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Self

from ndarena.data.handover import Epoch
from ndarena.data.iterators import DataSetIterator, at_least
from ndarena.data.prefetch import AsyncDataSetIterator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["InequalityHandling", "JointParallelDataSetIterator"]


class InequalityHandling(enum.Enum):
    """What happens when one of several sources has no more (DL4J: ``InequalityHandling``)."""

    STOP_EVERYONE = "STOP_EVERYONE"
    """The epoch is over."""
    PASS_NULL = "PASS_NULL"  # noqa: S105 - no password
    """``None`` takes its turns until all sources are exhausted."""
    RELOCATE = "RELOCATE"
    """The others take its turns until all are exhausted."""
    RESET = "RESET"
    """It begins again, until all have been exhausted once."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        found = [kind for kind in cls if isinstance(value, str) and kind.name == value.upper()]
        return found[0] if found else None


class JointParallelDataSetIterator(DataSetIterator):
    """Data sets of several sources in turn (DL4J: ``JointParallelDataSetIterator``), each read by a thread.

    A source that must not be read ahead (``async_supported`` is false) is asked in its turn.

    Parameters
    ----------
    *sources : iterable
        The sources.
    inequality_handling : InequalityHandling
        What happens when one of them has no more.
    buffer_size : int
        How many batches of each wait at most.

    Raises
    ------
    ValueError
        No source, a size below 1, an unknown handling, or RESET of a source that gives one epoch.
    TypeError
        A source that cannot be iterated.
    """

    async_supported = False

    def __init__(
        self,
        *sources: Iterable[Any],
        inequality_handling: InequalityHandling | str = InequalityHandling.STOP_EVERYONE,
        buffer_size: int = 4,
    ) -> None:
        if not sources:
            raise ValueError("there must be a source")
        size = at_least(1, buffer_size, "buffer_size")
        self._handling = InequalityHandling(inequality_handling)
        self._sources: list[Any] = [
            AsyncDataSetIterator(source, size) if getattr(source, "async_supported", True) else source
            for source in sources
        ]
        self.batch_size = getattr(sources[0], "batch_size", None)
        once = [s for s in sources if not getattr(s, "reset_supported", not hasattr(s, "__next__"))]
        self.reset_supported = not once
        if once and self._handling is InequalityHandling.RESET:
            raise ValueError(f"{type(once[0]).__name__} gives one epoch: it cannot be RESET")

    def batches(self) -> Iterator[Any]:
        """Return the data sets, of one source after the other, again and again."""
        running: list[Iterator[Any]] = []
        try:
            running.extend(iter(source) for source in self._sources)
            yield from self._in_turn(running)
        finally:
            for epoch in running:
                if isinstance(epoch, Epoch):
                    epoch.close()

    def _in_turn(self, running: list[Iterator[Any]]) -> Iterator[Any]:
        exhausted: set[int] = set()
        place = 0
        while True:
            data = next(running[place], exhausted)
            if data is exhausted:
                exhausted.add(place)
                if self._handling is InequalityHandling.STOP_EVERYONE or len(exhausted) == len(running):
                    return
                if self._handling is InequalityHandling.RESET:
                    running[place] = iter(self._sources[place])
                    data = next(running[place], exhausted)
                elif self._handling is InequalityHandling.PASS_NULL:
                    data = None
            if data is not exhausted:
                yield data
            place = (place + 1) % len(running)
