"""Activation functions that bend at 0 (DL4J: ``ActivationReLU`` and its relatives)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ndarena._core import WorkspaceArray, _add_bias, _rectify_back, functions
from ndarena.nn.activation_base import IActivation, Pointwise, copied, room_for
from ndarena.nn.words import Array, number

__all__ = [
    "ActivationELU",
    "ActivationLReLU",
    "ActivationReLU",
    "ActivationReLU6",
    "ActivationSELU",
    "ActivationThresholdedReLU",
    "add_bias",
    "is_rectifier",
]

MANY, LARGE = 1 << 10, 1 << 16
"""From so many elements on NumPy compares with zeros, or with rows of them, faster than with 0."""
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554804


@lru_cache(maxsize=64)
def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


def zeros_for(x: Array) -> Array:
    """Return what ``x`` is compared with for its sign: zeros like it or like a row of it, or just 0."""
    size = x.size
    if size < MANY or x.ndim != 2:
        return 0.0
    shape = x.shape
    if size <= LARGE:
        return _zeros(shape, x.dtype)
    return _zeros(shape[1:], x.dtype) if 64 <= shape[1] <= LARGE else 0.0


def add_bias(sums: Array, bias: Array, *, axis: int = -1, rectifies: bool = False) -> None:
    """Add a bias to sums, in place, if there is one: a number for each element of axis 0 or the last one.

    With ``rectifies`` what is negative then becomes 0, as by a plain `ActivationReLU`.
    """
    if bias is not None:
        if _add_bias(sums, bias, axis, rectifies):
            return
        sums += bias.reshape(-1, *(1,) * (sums.ndim - 1)) if axis == 0 else bias
    if rectifies:
        functions.maximum(sums, zeros_for(sums), out=sums)


def _are_alike(x: Array, other: Array) -> bool:
    """Tell whether both are arrays of one shape, and nothing else."""
    return {type(x), type(other)} <= {np.ndarray, WorkspaceArray} and x.shape == other.shape


def is_rectifier(function: IActivation) -> bool:
    """Tell whether a function is the positive part, and nothing else."""
    return type(function) is ActivationReLU and function.keeps_slope


@dataclass(frozen=True)
class ActivationReLU(IActivation):
    """The positive part (DL4J: ``ActivationReLU``).

    Parameters
    ----------
    max : float, optional
        Where the function stops to rise.
    threshold : float
        Where it begins to be ``x``.
    negative_slope : float
        Below the threshold it is ``negative_slope * (x - threshold)``.
    """

    max: float | None = None
    threshold: float = 0.0
    negative_slope: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        owner = "ActivationReLU"
        object.__setattr__(self, "threshold", number(self.threshold, owner, "threshold"))
        object.__setattr__(self, "negative_slope", number(self.negative_slope, owner, "negative_slope"))
        if self.max is not None:
            object.__setattr__(self, "max", number(self.max, owner, "max", least=self.threshold))

    @cached_property
    def keeps_slope(self) -> bool:
        """Without bounds of its own the function is positive where ``x`` is."""
        return self.max is None and self.threshold == self.negative_slope == 0.0

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``max(x, 0)``, with the bounds of this object."""
        if self.keeps_slope:
            return functions.maximum(x, zeros_for(x), out=out)
        if self.threshold == self.negative_slope == 0.0:
            out = functions.maximum(x, 0.0, out=out)
        else:
            below = (x - self.threshold) * self.negative_slope
            value = functions.where(x >= self.threshold, x, below)
            out = value if out is None else copied(value, out)
        return out if self.max is None else functions.minimum(out, self.max, out=out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` where the function rises as ``x``, times the slope below, 0 above ``max``."""
        if self.keeps_slope:
            made = _rectify_back(x, epsilon, out)
            if made is None and out is None and _are_alike(x, epsilon):
                made = _rectify_back(x, epsilon, room_for(epsilon, x))
            return functions.multiply(epsilon, x > 0.0, out=out) if made is None else made
        flat = self.threshold == self.negative_slope == 0.0  # as without `max`: 0 at 0
        above = x > 0.0 if flat else x >= self.threshold
        slope = functions.where(above, 1.0, self.negative_slope).astype(x.dtype)
        if self.max is not None:
            slope *= x < self.max
        return functions.multiply(epsilon, slope, out=out)


@dataclass(frozen=True)
class ActivationReLU6(Pointwise):
    """The positive part, at most 6 (DL4J: ``ActivationReLU6``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``min(max(x, 0), 6)``."""
        out = functions.maximum(x, 0.0, out=out)
        return functions.minimum(out, 6.0, out=out)

    def _slope(self, x: Array) -> Array:
        return (x > 0.0) & (x < 6.0)


@dataclass(frozen=True)
class ActivationThresholdedReLU(Pointwise):
    """What is above ``theta``, else 0 (DL4J: ``ActivationThresholdedReLU``)."""

    theta: float = 1.0

    def __post_init__(self) -> None:
        """Check the field."""
        self._settle("theta")

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` where it is above ``theta``, else 0."""
        return functions.multiply(x, x > self.theta, out=out)

    def _slope(self, x: Array) -> Array:
        return x > self.theta


def _either(above: Array, x: Array, below: float) -> Array:
    """Return 1 where ``above`` is true, ``below`` elsewhere, in the dtype of ``x``."""
    return functions.where(above, x.dtype.type(1.0), x.dtype.type(below))


@dataclass(frozen=True)
class ActivationLReLU(Pointwise):
    """``x`` above 0, ``alpha * x`` below (DL4J: ``ActivationLReLU``)."""

    alpha: float = 0.01

    def __post_init__(self) -> None:
        """Check the field."""
        self._settle("alpha")

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` or ``alpha * x``."""
        return functions.multiply(x, self._slope(x), out=out)

    def _slope(self, x: Array) -> Array:
        return _either(x >= 0.0, x, self.alpha)


def _bent(x: Array, alpha: float, out: Array) -> Array:
    """Return ``x`` above 0, ``alpha * (exp(x) - 1)`` below."""
    below = functions.minimum(x, 0.0)
    functions.expm1(below, out=below)
    below *= alpha
    out = functions.maximum(x, 0.0, out=out)
    out += below
    return out


def _bent_slope(x: Array, alpha: float, above: Array) -> Array:
    slope = functions.minimum(x, 0.0)
    functions.exp(slope, out=slope)
    if alpha != 1.0:
        slope *= _either(above, x, alpha)
    return slope


@dataclass(frozen=True)
class ActivationELU(Pointwise):
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below (DL4J: ``ActivationELU``, whose slope ignores alpha)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Check the field."""
        self._settle("alpha")

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` or ``alpha * (exp(x) - 1)``."""
        return _bent(x, self.alpha, out)

    def _slope(self, x: Array) -> Array:
        return _bent_slope(x, self.alpha, x >= 0.0)


@dataclass(frozen=True)
class ActivationSELU(Pointwise):
    """ELU with the two constants that keep mean 0 and variance 1 (DL4J: ``ActivationSELU``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``1.0507 * x`` above 0, ``1.7581 * (exp(x) - 1)`` below."""
        out = _bent(x, SELU_ALPHA, out)
        out *= SELU_SCALE
        return out

    def _slope(self, x: Array) -> Array:
        slope = _bent_slope(x, SELU_ALPHA, x > 0.0)
        slope *= SELU_SCALE
        return slope
