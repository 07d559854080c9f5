"""Distributions to draw weights and noise from (DL4J: ``org.deeplearning4j.nn.conf.distribution``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndarena.nn.noise import draw_normal, draw_uniform
from ndarena.nn.words import Array, at_least_one, number, refuse

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = [
    "BinomialDistribution",
    "ConstantDistribution",
    "Distribution",
    "GaussianDistribution",
    "LogNormalDistribution",
    "NormalDistribution",
    "OrthogonalDistribution",
    "TruncatedNormalDistribution",
    "UniformDistribution",
]

TRUNCATED = 2.0  # so many deviations from the mean, as in DL4J


class Distribution:
    """Base of distributions; a new one is a frozen dataclass with `fill`."""

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array, which lies in C order and may lie in a workspace."""
        raise NotImplementedError(f"{type(self).__name__}.fill")


def _settle(distribution: Distribution, field: str, *, least: float = -math.inf) -> None:
    """Store a field as a float."""
    value = number(getattr(distribution, field), type(distribution).__name__, field, least=least)
    object.__setattr__(distribution, field, value)


@dataclass(frozen=True)
class NormalDistribution(Distribution):
    """Normal numbers (DL4J: ``NormalDistribution``)."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        _settle(self, "mean")
        _settle(self, "std", least=0.0)

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array in C order."""
        draw_normal(out, rng, self.mean, self.std)


@dataclass(frozen=True)
class GaussianDistribution(NormalDistribution):
    """Normal numbers under their other name (DL4J: ``GaussianDistribution``)."""


@dataclass(frozen=True)
class LogNormalDistribution(NormalDistribution):
    """Exponentials of normal numbers (DL4J: ``LogNormalDistribution``)."""

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array in C order."""
        super().fill(out, rng)
        np.exp(out, out=out)


@dataclass(frozen=True)
class TruncatedNormalDistribution(NormalDistribution):
    """Normal numbers within two deviations of the mean (DL4J: ``TruncatedNormalDistribution``).

    What is further away is drawn again.
    """

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array in C order."""
        draw_normal(out, rng, 0.0, 1.0)
        while (count := int((beyond := np.abs(out) > TRUNCATED).sum())) > 0:
            out[beyond] = rng.standard_normal(count)
        out *= self.std
        out += self.mean


@dataclass(frozen=True)
class OrthogonalDistribution(Distribution):
    """A matrix whose rows or columns are orthogonal (DL4J: ``OrthogonalDistribution``).

    Those of which there are fewer are, and ``gain`` is their norm. The axes behind the first one are one.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        """Check the field."""
        _settle(self, "gain")

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array."""
        rows, columns = len(out), math.prod(out.shape[1:])
        drawn = rng.standard_normal((max(rows, columns), min(rows, columns)))
        basis, upper = np.linalg.qr(drawn)
        basis *= self.gain * np.sign(np.diagonal(upper))
        out[...] = (basis if rows >= columns else basis.T).reshape(out.shape)


@dataclass(frozen=True)
class BinomialDistribution(Distribution):
    """How many of so many trials succeed (DL4J: ``BinomialDistribution``)."""

    number_of_trials: int
    probability_of_success: float

    def __post_init__(self) -> None:
        """Check the fields."""
        trials = at_least_one(self.number_of_trials, "BinomialDistribution", "number_of_trials")
        object.__setattr__(self, "number_of_trials", trials)
        _settle(self, "probability_of_success", least=0.0)
        if self.probability_of_success > 1.0:
            refuse(
                "BinomialDistribution", "probability_of_success", self.probability_of_success, "is above 1"
            )

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array."""
        out[...] = rng.binomial(self.number_of_trials, self.probability_of_success, out.shape)


@dataclass(frozen=True)
class UniformDistribution(Distribution):
    """Numbers from ``lower`` to ``upper``, all equally likely (DL4J: ``UniformDistribution``)."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        """Check the fields."""
        _settle(self, "lower")
        _settle(self, "upper")
        if self.upper < self.lower:
            refuse("UniformDistribution", "upper", self.upper, f"must not be below lower={self.lower!r}")

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array in C order."""
        draw_uniform(out, rng)
        out *= self.upper - self.lower
        out += self.lower


@dataclass(frozen=True)
class ConstantDistribution(Distribution):
    """The same number everywhere (DL4J: ``ConstantDistribution``)."""

    value: float

    def __post_init__(self) -> None:
        """Check the field."""
        _settle(self, "value")

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array."""
        out[...] = self.value
