"""Sources of data sets, epoch by epoch (DL4J: ``DataSetIterator``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.data.dataset import DataSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ArrayDataSetIterator", "AsyncShieldDataSetIterator", "DataSetIterator", "ListDataSetIterator"]

Array = Any  # an ndarray or a WorkspaceArray


class DataSetIterator:
    """Base of sources of data sets (DL4J: ``DataSetIterator``); every ``for`` over one is a fresh epoch.

    A subclass overrides `batches`. ``pre_processor`` has a method ``pre_process``, which is given every data
    set.
    """

    reset_supported: bool = True
    """Whether a second epoch can begin."""
    async_supported: bool = True
    """Whether another thread may read ahead."""
    batch_size: int | None = None
    """Examples of a data set, where all have the same number (the last may have fewer)."""
    pre_processor: Any = None
    """What works on every data set before it is handed out."""

    def batches(self) -> Iterator[DataSet]:
        """Return the data sets of one epoch."""
        raise NotImplementedError(f"{type(self).__name__}.batches")

    def __iter__(self) -> Iterator[DataSet]:
        """Begin an epoch."""
        for data in self.batches():
            if self.pre_processor is not None:
                self.pre_processor.pre_process(data)
            yield data


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
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number from 1 on, not {batch_size!r}")
        self._whole = DataSet(x, y)
        if not len(self._whole):
            raise ValueError("there are no examples")
        self.batch_size = self._size = int(batch_size)
        self._shuffle, self._rng = shuffle, np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(len(self._whole) / self._size)

    def batches(self) -> Iterator[DataSet]:
        """Return the batches of one epoch."""
        x, y, n = self._whole.features, self._whole.labels, len(self._whole)
        order = self._rng.permutation(n) if self._shuffle else None
        for start in range(0, n, self._size):
            rows: Any = slice(start, start + self._size)
            if order is not None:
                rows = order[rows]
            yield DataSet(x[rows], None if y is None else y[rows])


class ListDataSetIterator(DataSetIterator):
    """The data sets of a sequence, in their order (DL4J: ``ListDataSetIterator``)."""

    def __init__(self, datasets: Iterable[DataSet]) -> None:
        self._datasets: Sequence[DataSet] = list(datasets)
        self.batch_size = len(self._datasets[0]) if self._datasets else None

    def __len__(self) -> int:
        """Return the number of data sets."""
        return len(self._datasets)

    def batches(self) -> Iterator[DataSet]:
        """Return the data sets."""
        return iter(self._datasets)


class AsyncShieldDataSetIterator(DataSetIterator):
    """Another iterator, of which nothing is read ahead (DL4J: ``AsyncShieldDataSetIterator``)."""

    async_supported = False

    def __init__(self, base: DataSetIterator) -> None:
        self._base = base
        self.batch_size, self.reset_supported = base.batch_size, base.reset_supported

    def batches(self) -> Iterator[DataSet]:
        """Return what the other iterator gives."""
        return iter(self._base)
