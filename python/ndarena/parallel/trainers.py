"""One worker each: a replica of the model that learns the batches it is given (DL4J: ``Trainer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DefaultTrainer", "SymmetricTrainer"]


class DefaultTrainer:
    """Learns for itself until parameters are averaged (DL4J: ``DefaultTrainer``).

    Parameters
    ----------
    uuid : str
        The name of who has the trainer; its own is that with the number behind it.
    thread : int
        The number of the worker, from 0.
    replica : MultiLayerNetwork or ComputationGraph
        What learns.
    """

    def __init__(self, uuid: str, thread: int, replica: Any) -> None:
        self.uuid, self.index, self.replica = f"{uuid}_thread_{thread}", thread, replica
        self.examples = 0
        """How many were learned since that was last asked for."""

    def learn(self, batch: Any) -> None:
        """Do the iterations of a batch."""
        self.replica.fit(batch)
        self.examples += len(batch)


class SymmetricTrainer(DefaultTrainer):
    """Takes every step together with the others (DL4J: ``SymmetricTrainer``)."""

    @property
    def statistics(self) -> list[slice]:
        """Where running means and variances lie among the parameters."""
        places: list[slice] = self.replica.updater.statistics
        return places

    def take_statistics(self) -> list[np.ndarray[Any, Any]]:
        """Take the changes of running means and variances out of the step, and return them."""
        step = self.replica.gradient()
        taken = [step[place].copy() for place in self.statistics]
        for place in self.statistics:
            step[place] = 0
        return taken
