"""Distributions to draw weights and noise from (DL4J: ``org.deeplearning4j.nn.conf.distribution``)."""

from __future__ import annotations

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


@dataclass(frozen=True)
class NormalDistribution(Distribution):
    """Normal numbers (DL4J: ``NormalDistribution``)."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        number(self.mean, "NormalDistribution", "mean")
        number(self.std, "NormalDistribution", "std", least=0.0)

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
        number(self.lower, "UniformDistribution", "lower")
        number(self.upper, "UniformDistribution", "upper")
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
        number(self.value, "ConstantDistribution", "value")

    def fill(self, out: Array, rng: Generator) -> None:
        """Fill an array."""
        out[...] = self.value
