"""What happens to the input of a layer in training only (DL4J: ``org.deeplearning4j.nn.conf.dropout``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.nn.noise import Noise, draw_kept, draw_normal
from ndarena.nn.rectifiers import SELU_ALPHA, SELU_SCALE
from ndarena.nn.words import Array, number, refuse

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = [
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "IDropout",
    "SpatialDropout",
    "dropout_of",
]


class IDropout(Noise):
    """Base of dropouts; a new one is a frozen dataclass with `apply` and `backprop`.

    ``x`` is the input of a layer, of any shape with examples along axis 0.
    """


def _settle_kept(dropout: Any) -> None:
    """Check ``p``, the probability to keep."""
    owner = type(dropout).__name__
    p = number(dropout.p, owner, "p")
    if not 0.0 < p <= 1.0:
        refuse(owner, "p", dropout.p, "is the probability to keep a value: above 0, at most 1")
    object.__setattr__(dropout, "p", p)


@dataclass(frozen=True)
class Dropout(IDropout):
    """Values are kept with probability ``p`` and divided by it, or become 0 (DL4J: ``Dropout``)."""

    p: float

    def __post_init__(self) -> None:
        """Check the probability."""
        _settle_kept(self)

    def apply(self, x: Array, *, noise: Array, rng: Generator, out: Array) -> Array:
        """Return ``x / p`` where it is kept, else 0."""
        draw_kept(noise, rng, self.p, 1.0 / self.p)
        return np.multiply(x, noise, out=out)

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Return ``epsilon / p`` where the value was kept, else 0."""
        return np.multiply(epsilon, noise, out=out)


@dataclass(frozen=True)
class SpatialDropout(Dropout):
    """Whole channels of an example are kept or become 0 (DL4J: ``SpatialDropout``).

    It takes series ``[N, C, T]`` and images ``[N, C, H, W]``; another rank is a `ValueError`.
    """

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``[N, C, 1]`` or ``[N, C, 1, 1]``."""
        if len(shape) < 3:
            raise ValueError(f"SpatialDropout takes series or images, not an input of shape {list(shape)}")
        return (*shape[:2], *(1 for _ in shape[2:]))


@dataclass(frozen=True)
class AlphaDropout(IDropout):
    """Values are kept with probability ``p``, or become what SELU has far below 0 (DL4J: ``AlphaDropout``).

    Mean and variance stay what they are for inputs with mean 0 and variance 1.
    """

    p: float

    def __post_init__(self) -> None:
        """Check the probability."""
        _settle_kept(self)

    def apply(self, x: Array, *, noise: Array, rng: Generator, out: Array) -> Array:
        """Return ``a * x + b`` where it is kept, else ``a * low + b``."""
        low = -SELU_SCALE * SELU_ALPHA
        scale = 1.0 / math.sqrt(self.p + low**2 * self.p * (1.0 - self.p))
        draw_kept(noise, rng, self.p, 1.0)
        np.subtract(x, low, out=out)
        out *= noise
        out += low - (1.0 - self.p) * low
        out *= scale
        noise *= scale
        return out

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Return ``a * epsilon`` where the value was kept, else 0."""
        return np.multiply(epsilon, noise, out=out)


@dataclass(frozen=True)
class GaussianDropout(IDropout):
    """Values times normal numbers (DL4J: ``GaussianDropout``).

    Their mean is 1, their variance ``rate / (1 - rate)``.
    """

    rate: float

    def __post_init__(self) -> None:
        """Check the rate."""
        rate = number(self.rate, "GaussianDropout", "rate", least=0.0, below=1.0)
        object.__setattr__(self, "rate", rate)

    def apply(self, x: Array, *, noise: Array, rng: Generator, out: Array) -> Array:
        """Return ``x`` times the noise."""
        draw_normal(noise, rng, 1.0, math.sqrt(self.rate / (1.0 - self.rate)))
        return np.multiply(x, noise, out=out)

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Return ``epsilon`` times the noise."""
        return np.multiply(epsilon, noise, out=out)


@dataclass(frozen=True)
class GaussianNoise(IDropout):
    """Values plus normal numbers of mean 0 (DL4J: ``GaussianNoise``)."""

    stddev: float

    def __post_init__(self) -> None:
        """Check the deviation."""
        object.__setattr__(self, "stddev", number(self.stddev, "GaussianNoise", "stddev", least=0.0))

    def apply(self, x: Array, *, noise: Array, rng: Generator, out: Array) -> Array:
        """Return ``x`` plus noise."""
        draw_normal(noise, rng, 0.0, self.stddev)
        return np.add(x, noise, out=out)

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Return ``epsilon``."""
        if out is not epsilon:
            out[...] = epsilon
        return out


def dropout_of(value: object, owner: str, field: str = "dropout") -> IDropout | float:
    """Return a dropout as it is, that of a probability to keep, or 0.0, which is off; refuse others."""
    if isinstance(value, IDropout):
        return value
    p = number(value, owner, field, least=0.0)
    if p > 1.0:
        refuse(owner, field, value, "is the probability to keep a value, so at most 1")
    return Dropout(p) if p else 0.0
