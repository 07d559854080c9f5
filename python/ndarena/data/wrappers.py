"""Sources made of another source: repeated, cut short, kept, divided into folds."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.data.examples import Examples
from ndarena.data.iterators import DataSetIterator, WrappingIterator, at_least

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "CachingDataSetIterator",
    "EarlyTerminationDataSetIterator",
    "KFoldIterator",
    "MultipleEpochsIterator",
]


class MultipleEpochsIterator(WrappingIterator):
    """Several epochs of a source as one (DL4J: ``MultipleEpochsIterator``).

    Parameters
    ----------
    num_epochs : int
        How often to go through the source.
    base : iterable
        The source.

    Raises
    ------
    ValueError
        A number below 1, or a source that gives one epoch where several are asked for.
    """

    def __init__(self, num_epochs: int, base: Iterable[Any]) -> None:
        super().__init__(base)
        self._epochs = at_least(1, num_epochs, "num_epochs")
        if self._epochs > 1 and not self.reset_supported:
            raise ValueError(
                f"{type(base).__name__} gives one epoch, not {num_epochs}: it cannot begin again"
            )

    def batches(self) -> Iterator[Any]:
        """Return all epochs of the source, one after the other."""
        for _ in range(self._epochs):
            yield from self._epoch()


class EarlyTerminationDataSetIterator(WrappingIterator):
    """The first data sets of every epoch (DL4J: ``EarlyTerminationDataSetIterator``).

    Parameters
    ----------
    base : iterable
        The source.
    termination_point : int
        How many data sets an epoch has at most. No further one is asked for.

    Raises
    ------
    ValueError
        A number below 1.
    """

    def __init__(self, base: Iterable[Any], termination_point: int) -> None:
        super().__init__(base)
        self._count = at_least(1, termination_point, "termination_point")

    def batches(self) -> Iterator[Any]:
        """Return the beginning of an epoch."""
        return islice(self._epoch(), self._count)


class CachingDataSetIterator(WrappingIterator):
    """A source that is read once (DL4J: ``CachingDataSetIterator``).

    Plain copies of its data sets are kept in memory, and all epochs after the first complete one give those.
    An epoch that was given up keeps nothing.

    Parameters
    ----------
    base : iterable
        The source.
    allow_prefetching : bool
        Whether another thread may read ahead.
    """

    def __init__(self, base: Iterable[Any], *, allow_prefetching: bool = False) -> None:
        super().__init__(base)
        self.async_supported = allow_prefetching
        self._kept: list[Any] | None = None

    def batches(self) -> Iterator[Any]:
        """Return what is kept, or what the source gives."""
        if self._kept is not None:
            yield from self._kept
            return
        kept = []
        for data in self._epoch():
            kept.append(data.copy().detach() if isinstance(data, Examples) else data)
            yield data
        self._kept, self.reset_supported = kept, True


class KFoldIterator(DataSetIterator):
    """The training sets of cross-validation (DL4J: ``KFoldIterator``).

    The examples are divided, in their order, into folds that differ by one example at most. Every data set
    of an epoch is all folds but one, copied; `test_fold` is the one left out.

    Parameters
    ----------
    k : int
        The number of folds.
    dataset : DataSet or MultiDataSet
        All examples.

    Raises
    ------
    TypeError
        No data set.
    ValueError
        Fewer than two folds, or fewer examples than folds.
    """

    async_supported = False  # `test_fold` belongs to the data set that was handed out last

    def __init__(self, k: int, dataset: Examples) -> None:
        self._folds = at_least(2, k, "k")
        if not isinstance(dataset, Examples):
            raise TypeError(f"KFoldIterator takes a data set, not {type(dataset).__name__}")
        if len(dataset) < self._folds:
            raise ValueError(f"{len(dataset)} examples cannot be divided into k={k} folds")
        self._whole, self._left_out = dataset, slice(0)

    def __len__(self) -> int:
        """Return the number of folds."""
        return self._folds

    def test_fold(self) -> Any:
        """Return what the last training set leaves out, as views; before the first one: `ValueError`."""
        if not self._left_out.stop:
            raise ValueError("there is a test fold once a training set was handed out")
        return self._whole.rows(self._left_out)

    def batches(self) -> Iterator[Any]:
        """Return one training set per fold."""
        size, longer = divmod(len(self._whole), self._folds)
        start = 0
        for fold in range(self._folds):
            self._left_out = slice(start, start + size + (fold < longer))
            start = self._left_out.stop
            rest = np.r_[: self._left_out.start, start : len(self._whole)]
            yield self._whole.rows(rest)
