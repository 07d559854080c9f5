"""What is done with batches that are read ahead, in the thread that reads (DL4J: ``DataSetCallback``)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ndarena.data.iterators import at_least
from ndarena.data.ring import Ring

if TYPE_CHECKING:
    from ndarena.data.examples import Examples

__all__ = ["DataSetCallback", "DefaultCallback", "InterleavedDataSetCallback"]


class DataSetCallback:
    """Base of callbacks (DL4J: ``DataSetCallback``)."""

    def call(self, dataset: Examples) -> None:
        """Work on a batch; arrays may be put in the place of its own."""
        raise NotImplementedError(f"{type(self).__name__}.call")


class DefaultCallback(DataSetCallback):
    """Sees that a batch is where it is worked on (DL4J: ``DefaultCallback``), as it always is here."""

    def call(self, dataset: Examples) -> None:
        """Leave the batch as it is."""


class InterleavedDataSetCallback(DataSetCallback):
    """Moves batches into a ring of blocks of its own (DL4J: ``InterleavedDataSetCallback``).

    DL4J has a ring for each device in turn; there is one device here, and a ring for each thread that calls.

    Parameters
    ----------
    buffer_size : int
        How many batches are valid beside the newest. One that is waiting to be taken, or that somebody is
        working on, always is.

    Raises
    ------
    ValueError
        A size below 1.
    """

    def __init__(self, buffer_size: int) -> None:
        self._size = at_least(1, buffer_size, "buffer_size")
        self._of_thread = threading.local()

    def call(self, dataset: Examples) -> None:
        """Put copies in this thread's ring in the place of the batch's arrays."""
        ring: Ring | None = getattr(self._of_thread, "ring", None)
        if ring is None:
            ring = self._of_thread.ring = Ring("IDSC-0")
        ring.fill(dataset, self._size + 1, lambda _: dataset.migrate())
