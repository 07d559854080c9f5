"""Sources of data sets, epoch by epoch (DL4J: ``DataSetIterator``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.data.dataset import DataSet
from ndarena.data.examples import Array, Examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "ArrayDataSetIterator",
    "DataSetIterator",
    "ExistingDataSetIterator",
    "ListDataSetIterator",
    "WrappingIterator",
    "at_least",
    "pre_processed",
]


class DataSetIterator:
    """Base of sources of data sets (DL4J: ``DataSetIterator``); every ``for`` over one is a fresh epoch.

    A subclass overrides `batches`. ``pre_processor`` has a method ``pre_process``, which is given every data
    set and may put other arrays in it: it is handed out afterwards, and the source keeps its own.
    """

    reset_supported: bool = True
    """Whether a second epoch can begin."""
    async_supported: bool = True
    """Whether another thread may read ahead."""
    batch_size: int | None = None
    """Examples of a data set, where all have the same number (the last may have fewer)."""
    pre_processor: Any = None
    """What works on every data set before it is handed out."""

    def batches(self) -> Iterator[Any]:
        """Return the data sets of one epoch."""
        raise NotImplementedError(f"{type(self).__name__}.batches")

    def __iter__(self) -> Iterator[Any]:
        """Begin an epoch."""
        for data in self.batches():
            yield data if self.pre_processor is None else pre_processed(data, self.pre_processor)


def pre_processed(data: Any, pre_processor: Any) -> Any:
    """Return a data set of the same arrays on which a pre-processor has worked."""
    own = data.shallow() if isinstance(data, Examples) else data
    pre_processor.pre_process(own)
    return own


def at_least(least: int, value: Any, name: str) -> int:
    """Return a whole number; anything else, or one below the least, is a `ValueError` that names it."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
    return int(value)


class ArrayDataSetIterator(DataSetIterator):
    """Batches of rows of two arrays.

    Parameters
    ----------
    x, y : array_like
        Features and labels, ``[N, ...]``; ``y`` may be ``None``.
    batch_size : int
        Rows of a batch; the last one of an epoch has what is left.
    shuffle : bool
        Whether every epoch goes through the rows in another order. Batches are copies then, else views.
    seed : int, optional
        From which the orders are drawn; default: fresh entropy.

    Raises
    ------
    ValueError
        No rows, different numbers of rows, or a batch size below 1.
    """

    def __init__(
        self, x: Array, y: Array = None, *, batch_size: int, shuffle: bool = False, seed: int | None = None
    ) -> None:
        self.batch_size = self._size = at_least(1, batch_size, "batch_size")
        self._whole = DataSet(x, y)
        if not len(self._whole):
            raise ValueError("there are no examples")
        self._shuffle, self._rng = (
            shuffle,
            np.random.default_rng(None if seed is None else at_least(0, seed, "seed")),
        )

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(len(self._whole) / self._size)

    def batches(self) -> Iterator[DataSet]:
        """Return the batches of one epoch."""
        n = len(self._whole)
        order = self._rng.permutation(n) if self._shuffle else None
        for start in range(0, n, self._size):
            rows = slice(start, start + self._size)
            yield self._batch(rows if order is None else order[rows])

    def _batch(self, rows: Any) -> DataSet:
        x, y = self._whole.features, self._whole.labels
        return DataSet(x[rows], None if y is None else y[rows])


class ListDataSetIterator(DataSetIterator):
    """The data sets of a sequence, in their order (DL4J: ``ListDataSetIterator``).

    They are in memory already, so that there is nothing to read ahead.
    """

    async_supported = False

    def __init__(self, datasets: Iterable[Any]) -> None:
        self._datasets: Sequence[Any] = list(datasets)
        self.batch_size = len(self._datasets[0]) if self._datasets else None

    def __len__(self) -> int:
        """Return the number of data sets."""
        return len(self._datasets)

    def batches(self) -> Iterator[Any]:
        """Return the data sets."""
        return iter(self._datasets)


class WrappingIterator(DataSetIterator):
    """Base of iterators over another source, which need not be a `DataSetIterator`.

    Parameters
    ----------
    base : iterable
        The source. An iterator, such as a generator, gives one epoch; a second one is a `ValueError`.

    Raises
    ------
    TypeError
        Nothing that can be iterated.
    """

    def __init__(self, base: Iterable[Any]) -> None:
        if not hasattr(base, "__iter__"):
            raise TypeError(
                f"{type(self).__name__} takes an iterable of data sets, not {type(base).__name__}"
            )
        self._base, self._is_begun = base, False
        self.batch_size = getattr(base, "batch_size", None)
        self.reset_supported = getattr(base, "reset_supported", not hasattr(base, "__next__"))
        self.async_supported = getattr(base, "async_supported", False)

    def _epoch(self) -> Iterable[Any]:
        """Return the source for another epoch."""
        if self._is_begun and not self.reset_supported:
            raise ValueError(
                f"{type(self).__name__}: {type(self._base).__name__} gives one epoch, and that has begun"
            )
        self._is_begun = True
        return self._base

    def batches(self) -> Iterator[Any]:
        """Return what the source gives."""
        return iter(self._epoch())


class ExistingDataSetIterator(WrappingIterator):
    """Any iterable of data sets (DL4J: ``ExistingDataSetIterator``), of which nothing is read ahead."""

    def __init__(self, base: Iterable[Any]) -> None:
        super().__init__(base)
        self.async_supported = False
