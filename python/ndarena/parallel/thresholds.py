"""From which size on an element of an update is shared (DL4J: ``ThresholdAlgorithm``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.nn.words import at_least_one, number, refuse

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = [
    "AdaptiveThresholdAlgorithm",
    "FixedThresholdAlgorithm",
    "ResidualClippingPostProcessor",
    "ResidualPostProcessor",
    "TargetSparsityThresholdAlgorithm",
    "ThresholdAlgorithm",
]

HALF_IN_20 = 0.5 ** (1 / 20)
"""The factor by which a threshold halves in 20 iterations."""
POSITIVE = float(np.nextafter(0.0, 1.0))


class ThresholdAlgorithm:
    """Base of algorithms; it keeps nothing of its own, since all workers ask the same one.

    Sparsity, in DL4J's sense, is the part of the elements that was shared: 1 is all of them.
    """

    def calculate_threshold(  # noqa: PLR0913 - what DL4J hands over
        self,
        *,
        iteration: int,
        epoch: int,
        last_threshold: float | None,
        last_was_dense: bool,
        last_sparsity_ratio: float | None,
        updates_plus_residual: Array,
    ) -> float:
        """Return the threshold of an iteration, above 0.

        Parameters
        ----------
        iteration, epoch : int
            Counted from 0.
        last_threshold, last_sparsity_ratio : float, optional
            Those of the worker's last update; ``None`` before the first of a `ParallelWrapper.fit`.
        last_was_dense : bool
            Whether that was shared as two bits per element.
        updates_plus_residual : ndarray
            ``[P]``, what is to be shared, and was not yet. It is not to be changed.
        """
        raise NotImplementedError(f"{type(self).__name__}.calculate_threshold")


def _settle(algorithm: Any, *fields: str, below: float = np.inf) -> None:
    """Keep numbers above 0 as ``float``."""
    for field in fields:
        value = number(
            getattr(algorithm, field), type(algorithm).__name__, field, least=POSITIVE, below=below
        )
        object.__setattr__(algorithm, field, value)


def _settle_decay(algorithm: Any) -> None:
    rate = number(algorithm.decay_rate, type(algorithm).__name__, "decay_rate", least=0.5, below=1.0)
    object.__setattr__(algorithm, "decay_rate", rate)


@dataclass(frozen=True)
class FixedThresholdAlgorithm(ThresholdAlgorithm):
    """The same threshold for ever (DL4J: ``FixedThresholdAlgorithm``)."""

    threshold: float

    def __post_init__(self) -> None:
        """Check the threshold."""
        _settle(self, "threshold")

    def calculate_threshold(self, **_: Any) -> float:
        """Return the threshold."""
        return self.threshold


@dataclass(frozen=True)
class AdaptiveThresholdAlgorithm(ThresholdAlgorithm):
    """A threshold that falls when too little is shared and rises when too much is.

    It is multiplied with, or divided by, the rate (DL4J: ``AdaptiveThresholdAlgorithm``).

    Parameters
    ----------
    initial_threshold : float
        That of the first iteration.
    min_target_sparsity, max_target_sparsity : float
        Between which parts of the elements the threshold stays as it is.
    decay_rate : float
        From 0.5 on and below 1.

    Raises
    ------
    ConfigurationError
        Numbers that are not above 0, another rate, or a least part above the largest one.
    """

    initial_threshold: float = 1e-4
    min_target_sparsity: float = 1e-4
    max_target_sparsity: float = 1e-2
    decay_rate: float = HALF_IN_20

    def __post_init__(self) -> None:
        """Check the numbers."""
        _settle(self, "initial_threshold", "min_target_sparsity", "max_target_sparsity")
        _settle_decay(self)
        if self.min_target_sparsity > self.max_target_sparsity:
            reason = f"must not be above max_target_sparsity={self.max_target_sparsity}"
            refuse(type(self).__name__, "min_target_sparsity", self.min_target_sparsity, reason)

    def calculate_threshold(
        self, *, last_threshold: float | None, last_sparsity_ratio: float | None, **_: Any
    ) -> float:
        """Return the threshold that follows on the last one."""
        if last_threshold is None or last_sparsity_ratio is None:
            return self.initial_threshold
        if last_sparsity_ratio < self.min_target_sparsity:
            return last_threshold * self.decay_rate
        return last_threshold / (self.decay_rate if last_sparsity_ratio > self.max_target_sparsity else 1.0)


@dataclass(frozen=True)
class TargetSparsityThresholdAlgorithm(ThresholdAlgorithm):
    """A threshold that goes after one part of the elements (DL4J: ``TargetSparsityThresholdAlgorithm``).

    Parameters
    ----------
    initial_threshold : float
        That of the first iteration.
    sparsity_target : float
        Which part of the elements is to be shared, below 1/16.
    decay_rate : float
        From 0.5 on and below 1.

    Raises
    ------
    ConfigurationError
        Numbers that are not above 0, another rate or part.
    """

    initial_threshold: float = 1e-4
    sparsity_target: float = 1e-3
    decay_rate: float = HALF_IN_20

    def __post_init__(self) -> None:
        """Check the numbers."""
        _settle(self, "initial_threshold")
        _settle(self, "sparsity_target", below=1 / 16)
        _settle_decay(self)

    def calculate_threshold(
        self, *, last_threshold: float | None, last_sparsity_ratio: float | None, **_: Any
    ) -> float:
        """Return the threshold that follows on the last one."""
        if last_threshold is None or last_sparsity_ratio is None:
            return self.initial_threshold
        if last_sparsity_ratio < self.sparsity_target:
            return last_threshold * self.decay_rate
        return last_threshold / (self.decay_rate if last_sparsity_ratio > self.sparsity_target else 1.0)


class ResidualPostProcessor:
    """Base of what is done to the elements that were not shared (DL4J: ``ResidualPostProcessor``)."""

    def process_residual(self, *, iteration: int, epoch: int, last_threshold: float, residual: Array) -> None:
        """Change the residual, ``[P]``, in place.

        Parameters
        ----------
        iteration, epoch : int
            Counted from 0.
        last_threshold : float
            Above which elements were just shared.
        residual : ndarray
            What is left, of one worker.
        """
        raise NotImplementedError(f"{type(self).__name__}.process_residual")


@dataclass(frozen=True)
class ResidualClippingPostProcessor(ResidualPostProcessor):
    """Keeps residuals between minus and plus a multiple of the threshold, so that nothing old is shared late.

    Parameters
    ----------
    threshold_multiple_clip_value : float
        The multiple, from 1 on.
    frequency : int
        Every how many iterations; not before the first.

    Raises
    ------
    ConfigurationError
        A multiple or a frequency below 1.
    """

    threshold_multiple_clip_value: float = 5.0
    frequency: int = 5

    def __post_init__(self) -> None:
        """Check the numbers."""
        owner, value = type(self).__name__, self.threshold_multiple_clip_value
        multiple = number(value, owner, "threshold_multiple_clip_value", least=1.0)
        object.__setattr__(self, "threshold_multiple_clip_value", multiple)
        object.__setattr__(self, "frequency", at_least_one(self.frequency, owner, "frequency"))

    def process_residual(self, *, iteration: int, epoch: int, last_threshold: float, residual: Array) -> None:
        """Clip the residual if it is time."""
        if iteration > 0 and iteration % self.frequency == 0:
            limit = self.threshold_multiple_clip_value * last_threshold
            np.clip(residual, -limit, limit, out=residual)
