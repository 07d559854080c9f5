"""Iterators that keep something away from another one (DL4J: ``AsyncShieldDataSetIterator`` and its like)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndarena import _core
from ndarena.data.examples import Examples
from ndarena.data.iterators import WrappingIterator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "AsyncShieldDataSetIterator",
    "AsyncShieldMultiDataSetIterator",
    "WorkspacesShieldDataSetIterator",
    "WorkspacesShieldMultiDataSetIterator",
]


class AsyncShieldDataSetIterator(WrappingIterator):
    """Another source, of which nothing is read ahead (DL4J: ``AsyncShieldDataSetIterator``).

    For sources that belong to a thread, or that must not be asked before their time.
    """

    def __init__(self, base: Iterable[Any]) -> None:
        super().__init__(base)
        self.async_supported = False


class AsyncShieldMultiDataSetIterator(AsyncShieldDataSetIterator):
    """The same for a source of `MultiDataSet` (DL4J: ``AsyncShieldMultiDataSetIterator``)."""


class WorkspacesShieldDataSetIterator(WrappingIterator):
    """Another source, whose data sets may be kept (DL4J: ``WorkspacesShieldDataSetIterator``).

    Arrays in workspaces are copied: into the workspace that is current when the data set is asked for, and
    if there is none, into plain arrays. The data sets of the source stay as they are.
    """

    def batches(self) -> Iterator[Any]:
        """Return copies where they are safe."""
        for data in self._epoch():
            yield _safe(data) if isinstance(data, Examples) else data


def _safe(data: Examples) -> Examples:
    if not data.is_attached:
        return data
    mine = data.shallow()
    return mine.detach() if _core.get_current_workspace() is None else mine.migrate()


class WorkspacesShieldMultiDataSetIterator(WorkspacesShieldDataSetIterator):
    """The same for a source of `MultiDataSet` (DL4J: ``WorkspacesShieldMultiDataSetIterator``)."""
