"""Distributions to draw weights and noise from (DL4J: ``org.deeplearning4j.nn.conf.distribution``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndarena.nn.noise import draw_normal, draw_uniform
from ndarena.nn.words import Array, number, refuse

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["ConstantDistribution", "Distribution", "NormalDistribution", "UniformDistribution"]


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
