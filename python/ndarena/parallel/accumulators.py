"""What workers exchange after every iteration (DL4J: ``GradientsAccumulator``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndarena.parallel.encoding import Encoder
from ndarena.parallel.thresholds import (
    AdaptiveThresholdAlgorithm,
    ResidualPostProcessor,
    ThresholdAlgorithm,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ndarena.nn.layer import Flat

__all__ = ["EncodedGradientsAccumulator", "GradientsAccumulator"]


class GradientsAccumulator:
    """Base of what takes every worker's step to the others (DL4J: ``GradientsAccumulator``).

    In an exchange every worker that has learned calls `store_update`; when all have, every worker, also one
    without a batch, calls `apply_update`; when all have, the next exchange may begin. The calls of different
    workers run at the same time, each in its own thread. Parameters of all workers stay the same as long as
    all apply the same.
    """

    def register_consumers(self, consumers: int, num_params: int, dtype: np.dtype[Any]) -> None:
        """Get ready for so many workers, with vectors of so many parameters; a fit begins."""

    def store_update(self, update: Flat, *, worker: int, iteration: int, epoch: int) -> None:
        """Take in the step of a worker.

        Parameters
        ----------
        update : ndarray
            ``[P]``, to be subtracted from the parameters; the worker's own vector, which stays as it is until
            `apply_update` has returned. Places of running means and variances are 0: those are averaged.
        worker : int
            Counted from 0.
        iteration, epoch : int
            Counted from 0.
        """
        raise NotImplementedError(f"{type(self).__name__}.store_update")

    def apply_update(self, params: Flat, update: Flat, *, worker: int, contributors: Sequence[int]) -> None:
        """Move the parameters of a worker by what was stored in this exchange.

        Parameters
        ----------
        params : ndarray
            ``[P]``, the worker's own, to be changed in place.
        update : ndarray
            ``[P]``, the worker's own vector; what it holds afterwards, the network's ``gradient()`` shows.
        worker : int
            Counted from 0.
        contributors : sequence of int
            The workers that have stored something, in their order.
        """
        raise NotImplementedError(f"{type(self).__name__}.apply_update")

    def reset(self) -> None:
        """Let go of everything; a fit is over, well or not."""


class EncodedGradientsAccumulator(GradientsAccumulator):
    """Shares what reaches a threshold, as plus or minus the threshold; the rest waits for its time.

    Every worker's step is added to its residual. Elements of it that reach the threshold are shared, and what
    is shared is taken off the residual. All workers then subtract the sum of what all have shared, so that
    the parameters of all are the same. As in DL4J it is the sum, not the mean.

    Parameters
    ----------
    threshold_algorithm : ThresholdAlgorithm, optional
        Which threshold; default: an `AdaptiveThresholdAlgorithm`.
    residual_post_processor : ResidualPostProcessor, optional
        What is done to residuals; default: nothing.

    Raises
    ------
    TypeError
        Something else.
    """

    def __init__(
        self,
        threshold_algorithm: ThresholdAlgorithm | None = None,
        residual_post_processor: ResidualPostProcessor | None = None,
    ) -> None:
        if threshold_algorithm is None:
            threshold_algorithm = AdaptiveThresholdAlgorithm()
        if not isinstance(threshold_algorithm, ThresholdAlgorithm):
            name = type(threshold_algorithm).__name__
            raise TypeError(f"threshold_algorithm must be a ThresholdAlgorithm, not {name}")
        if not isinstance(residual_post_processor, ResidualPostProcessor | None):
            name = type(residual_post_processor).__name__
            raise TypeError(f"residual_post_processor must be a ResidualPostProcessor, not {name}")
        self._algorithm, self._post_processor = threshold_algorithm, residual_post_processor
        self._encoders: list[Encoder] = []

    def register_consumers(self, consumers: int, num_params: int, dtype: np.dtype[Any]) -> None:
        """Begin with residuals of 0 and thresholds as at first."""
        self._encoders = [
            Encoder(num_params, dtype, self._algorithm, self._post_processor) for _ in range(consumers)
        ]

    def store_update(self, update: Flat, *, worker: int, iteration: int, epoch: int) -> None:
        """Make the message of a worker; NaN or infinity in the step is a `ValueError`."""
        self._encoders[worker].encode(update, iteration=iteration, epoch=epoch)

    def apply_update(self, params: Flat, update: Flat, *, worker: int, contributors: Sequence[int]) -> None:
        """Subtract the sum of the messages."""
        update.fill(0)
        for other in contributors:
            self._encoders[worker].add(self._encoders[other], update)
        params -= update

    def reset(self) -> None:
        """Let go of the residuals and the messages."""
        self._encoders = []
