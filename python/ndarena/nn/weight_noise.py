"""What happens to weights in training only (DL4J: ``org.deeplearning4j.nn.conf.weightnoise``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ndarena.nn.distributions import Distribution
from ndarena.nn.noise import Noise, draw_kept
from ndarena.nn.words import Array, number, refuse

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["DropConnect", "IWeightNoise", "WeightNoise"]


class IWeightNoise(Noise):
    """Base of noises on weights; a new one is a frozen dataclass with `apply` and `backprop`.

    Forward and backward pass see the noisy weights; the update is made to the true ones.
    """

    apply_to_biases: ClassVar[bool] = False
    """Whether biases are noisy as well; a dataclass may have a field of that name."""


def _settle_flag(noise: object, field: str) -> None:
    value = getattr(noise, field)
    if not isinstance(value, bool):
        refuse(type(noise).__name__, field, value, "must be True or False")


@dataclass(frozen=True)
class DropConnect(IWeightNoise):
    """Weights are kept as they are with a probability, or are 0 (DL4J: ``DropConnect``).

    Those that are 0 in a step get no gradient in it, unlike DL4J's.
    """

    weight_retain_prob: float
    apply_to_biases: bool = False  # type: ignore[misc]  # a field here

    def __post_init__(self) -> None:
        """Check the fields."""
        p = number(self.weight_retain_prob, "DropConnect", "weight_retain_prob")
        if not 0.0 < p <= 1.0:
            reason = "is the probability to keep a weight: above 0, at most 1"
            refuse("DropConnect", "weight_retain_prob", self.weight_retain_prob, reason)
        _settle_flag(self, "apply_to_biases")

    def apply(self, x: Array, *, noise: Array, rng: Generator, out: Array) -> Array:
        """Return the weights that are kept, else 0."""
        draw_kept(noise, rng, self.weight_retain_prob, 1.0)
        return np.multiply(x, noise, out=out)

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Return ``epsilon`` where the weight was kept, else 0."""
        return np.multiply(epsilon, noise, out=out)


@dataclass(frozen=True)
class WeightNoise(IWeightNoise):
    """Weights plus noise, or times noise (DL4J: ``WeightNoise``).

    Parameters
    ----------
    distribution : Distribution
        Of mean 0 to be added, of mean 1 to be multiplied with.
    apply_to_biases : bool
        Whether biases are noisy as well.
    additive : bool
        Whether the noise is added.
    """

    distribution: Distribution
    apply_to_biases: bool = False  # type: ignore[misc]  # a field here
    additive: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.distribution, Distribution):
            refuse("WeightNoise", "distribution", self.distribution, "must be a Distribution")
        _settle_flag(self, "apply_to_biases")
        _settle_flag(self, "additive")

    def apply(self, x: Array, *, noise: Array, rng: Generator, out: Array) -> Array:
        """Return ``x`` plus or times the noise."""
        self.distribution.fill(noise, rng)
        return (np.add if self.additive else np.multiply)(x, noise, out=out)

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Return ``epsilon``, times the noise if that was multiplied."""
        if not self.additive:
            return np.multiply(epsilon, noise, out=out)
        if out is not epsilon:
            out[...] = epsilon
        return out
