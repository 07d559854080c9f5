"""Activation functions: what a layer makes of its sums (DL4J: ``org.nd4j.linalg.activations``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ndarena._core import functions
from ndarena.nn.sums import sums_along_rows
from ndarena.nn.words import Array, Choice, member, number, refuse

__all__ = [
    "Activation",
    "ActivationCube",
    "ActivationELU",
    "ActivationGELU",
    "ActivationHardSigmoid",
    "ActivationHardTanH",
    "ActivationIdentity",
    "ActivationLReLU",
    "ActivationMish",
    "ActivationRationalTanh",
    "ActivationReLU",
    "ActivationReLU6",
    "ActivationRectifiedTanh",
    "ActivationSELU",
    "ActivationSigmoid",
    "ActivationSoftPlus",
    "ActivationSoftSign",
    "ActivationSoftmax",
    "ActivationSwish",
    "ActivationTanH",
    "ActivationThresholdedReLU",
    "IActivation",
    "activation_of",
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
    size, shape = x.size, x.shape
    if size < MANY or len(shape) != 2:
        return 0.0
    if size <= LARGE:
        return _zeros(shape, x.dtype)
    return _zeros(shape[1:], x.dtype) if 64 <= shape[1] <= LARGE else 0.0


class IActivation:
    """Base of activation functions; a new one is a frozen dataclass with the two methods.

    Both take a plain array or a `WorkspaceArray` of any floating dtype and keep the dtype. The result goes to
    ``out``, or where results go: the current workspace if an operand lies in one. ``out`` may be ``x``.
    """

    @property
    def keeps_slope(self) -> bool:
        """Whether the derivative at ``f(x)`` is that at ``x``, so that ``x`` need not be kept for it."""
        return False

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return the function of every element of ``x``, in the shape of ``x``."""
        raise NotImplementedError

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` times the derivative at ``x``, in the shape of ``x``; ``out`` may be either."""
        raise NotImplementedError

    def __call__(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Do as `forward`."""
        return self.forward(x, training=training, out=out)


@dataclass(frozen=True)
class ActivationIdentity(IActivation):
    """The sums as they are (DL4J: ``ActivationIdentity``)."""

    @property
    def keeps_slope(self) -> bool:
        """It is 1 everywhere."""
        return True

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x``, copied into ``out`` if that is given."""
        return x if out is None or out is x else _copied(x, out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon``, copied into ``out`` if that is given."""
        return epsilon if out is None or out is epsilon else _copied(epsilon, out)


def _copied(source: Array, out: Array) -> Array:
    out[...] = source
    return out


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
        number(self.threshold, "ActivationReLU", "threshold")
        number(self.negative_slope, "ActivationReLU", "negative_slope")
        if self.max is not None:
            number(self.max, "ActivationReLU", "max", least=self.threshold)

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
            out = value if out is None else _copied(value, out)
        return out if self.max is None else functions.minimum(out, self.max, out=out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` where the function rises as ``x``, times the slope below, 0 above ``max``."""
        if self.keeps_slope:
            return functions.multiply(epsilon, x > 0.0, out=out)
        slope = functions.where(x >= self.threshold, 1.0, self.negative_slope).astype(x.dtype)
        if self.max is not None:
            slope *= x < self.max
        return functions.multiply(epsilon, slope, out=out)


@dataclass(frozen=True)
class _Pointwise(IActivation):
    """A function whose derivative is a factor per element."""

    def _slope(self, x: Array) -> Array:
        """Return the derivative at every element, in memory of its own."""
        raise NotImplementedError(f"{type(self).__name__}._slope")

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` times the derivative at ``x``."""
        return functions.multiply(epsilon, self._slope(x), out=out)

    def _settle(self, field: str) -> None:
        """Store a field as a float."""
        object.__setattr__(self, field, number(getattr(self, field), type(self).__name__, field))


@dataclass(frozen=True)
class ActivationReLU6(_Pointwise):
    """The positive part, at most 6 (DL4J: ``ActivationReLU6``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``min(max(x, 0), 6)``."""
        out = functions.maximum(x, 0.0, out=out)
        return functions.minimum(out, 6.0, out=out)

    def _slope(self, x: Array) -> Array:
        return (x > 0.0) & (x < 6.0)


@dataclass(frozen=True)
class ActivationThresholdedReLU(_Pointwise):
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
class ActivationLReLU(_Pointwise):
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
class ActivationELU(_Pointwise):
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
class ActivationSELU(_Pointwise):
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


@lru_cache(maxsize=8)
def _lowest(dtype: np.dtype[np.floating]) -> float:
    """Return the lowest number whose negative has an exponential."""
    return 1.0 - math.log(np.finfo(dtype).max)


def _sigmoid(x: Array, out: Array = None) -> Array:
    """Return ``1 / (1 + exp(-x))``, exact in both tails, of which one ends where ``exp`` would overflow."""
    out = functions.maximum(x, _lowest(x.dtype), out=out)
    functions.negative(out, out=out)
    functions.exp(out, out=out)
    out += 1.0
    return functions.divide(1.0, out, out=out)


def _sigmoid_slope(s: Array) -> Array:
    """Return ``s * (1 - s)``, the derivative of a sigmoid whose value is ``s``."""
    slope = 1.0 - s
    slope *= s
    return slope


@dataclass(frozen=True)
class ActivationSigmoid(_Pointwise):
    """``1 / (1 + exp(-x))`` (DL4J: ``ActivationSigmoid``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between 0 and 1."""
        return _sigmoid(x, out)

    def _slope(self, x: Array) -> Array:
        return _sigmoid_slope(_sigmoid(x))


@dataclass(frozen=True)
class ActivationHardSigmoid(_Pointwise):
    """``0.2 * x + 0.5``, kept between 0 and 1 (DL4J: ``ActivationHardSigmoid``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values from 0 to 1."""
        out = functions.multiply(x, 0.2, out=out)
        out += 0.5
        return functions.clip(out, 0.0, 1.0, out=out)

    def _slope(self, x: Array) -> Array:
        slope = (np.abs(x) <= 2.5).astype(x.dtype)
        slope *= 0.2
        return slope


def _tanh_slope(t: Array) -> Array:
    """Return ``1 - t ** 2`` in the memory of ``t``, the derivative of a tanh whose value is ``t``."""
    t *= t
    return functions.subtract(1.0, t, out=t)


@dataclass(frozen=True)
class ActivationTanH(_Pointwise):
    """The hyperbolic tangent (DL4J: ``ActivationTanH``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between -1 and 1."""
        return functions.tanh(x, out=out)

    def _slope(self, x: Array) -> Array:
        return _tanh_slope(functions.tanh(x))


@dataclass(frozen=True)
class ActivationHardTanH(_Pointwise):
    """``x``, kept between -1 and 1 (DL4J: ``ActivationHardTanH``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values from -1 to 1."""
        return functions.clip(x, -1.0, 1.0, out=out)

    def _slope(self, x: Array) -> Array:
        return np.abs(x) <= 1.0


@dataclass(frozen=True)
class ActivationRectifiedTanh(_Pointwise):
    """The positive part of the hyperbolic tangent (DL4J: ``ActivationRectifiedTanh``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``max(0, tanh(x))``."""
        out = functions.tanh(x, out=out)
        return functions.maximum(out, 0.0, out=out)

    def _slope(self, x: Array) -> Array:
        slope = _tanh_slope(functions.tanh(x))
        slope *= x > 0.0
        return slope


@dataclass(frozen=True)
class ActivationRationalTanh(_Pointwise):
    """A tanh without exponentials (DL4J: ``ActivationRationalTanh``).

    ``1.7159 * sign(x) * (1 - 1 / (1 + y + y ** 2 + 1.41645 * y ** 4))`` with ``y = abs(2 / 3 * x)``.
    """

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between -1.7159 and 1.7159."""
        y = self._bounded(x)
        rest = functions.divide(-1.0, self._divisor(y))
        rest += 1.0
        rest *= 1.7159
        return np.copysign(rest, x, out=out)

    def _slope(self, x: Array) -> Array:
        y = self._bounded(x)
        divisor = self._divisor(y)
        slope = ((4.0 * 1.41645) * y * y + 2.0) * y
        slope += 1.0
        slope /= divisor
        slope /= divisor
        slope *= 1.7159 * 2.0 / 3.0
        return slope

    @staticmethod
    def _bounded(x: Array) -> Array:
        """Return ``abs(2 / 3 * x)``, but not more than where the function has reached its limit."""
        y = np.abs(x)
        y *= 2.0 / 3.0
        return functions.minimum(y, 1e5, out=y)

    @staticmethod
    def _divisor(y: Array) -> Array:
        square = y * y
        return (square * 1.41645 + 1.0) * square + y + 1.0


@dataclass(frozen=True)
class ActivationSoftPlus(_Pointwise):
    """``log(1 + exp(x))`` (DL4J: ``ActivationSoftPlus``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values above 0; exact in both tails, without overflow."""
        return functions.logaddexp(x, 0.0, out=out)

    def _slope(self, x: Array) -> Array:
        return _sigmoid(x)


@dataclass(frozen=True)
class ActivationSoftSign(_Pointwise):
    """``x / (1 + abs(x))`` (DL4J: ``ActivationSoftSign``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between -1 and 1."""
        return functions.divide(x, self._divisor(x), out=out)

    def _slope(self, x: Array) -> Array:
        divisor = self._divisor(x)
        divisor *= divisor
        return np.reciprocal(divisor, out=divisor)

    @staticmethod
    def _divisor(x: Array) -> Array:
        divisor = np.abs(x)
        divisor += 1.0
        return divisor


def _gated(x: Array, factor: float, out: Array) -> Array:
    """Return ``x * sigmoid(factor * x)``."""
    return functions.multiply(x, _sigmoid(x if factor == 1.0 else x * factor), out=out)


def _gated_slope(x: Array, factor: float) -> Array:
    scaled = x if factor == 1.0 else x * factor
    s = _sigmoid(scaled)
    slope = _sigmoid_slope(s)
    slope *= scaled
    slope += s
    return slope


@dataclass(frozen=True)
class ActivationGELU(_Pointwise):
    """``x * sigmoid(1.702 * x)`` (DL4J: ``ActivationGELU``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` times the gate."""
        return _gated(x, 1.702, out)

    def _slope(self, x: Array) -> Array:
        return _gated_slope(x, 1.702)


@dataclass(frozen=True)
class ActivationSwish(_Pointwise):
    """``x * sigmoid(x)`` (DL4J: ``ActivationSwish``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` times the gate."""
        return _gated(x, 1.0, out)

    def _slope(self, x: Array) -> Array:
        return _gated_slope(x, 1.0)


@dataclass(frozen=True)
class ActivationMish(_Pointwise):
    """``x * tanh(log(1 + exp(x)))`` (DL4J: ``ActivationMish``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` times the gate."""
        return functions.multiply(x, self._gate(x), out=out)

    def _slope(self, x: Array) -> Array:
        gate = self._gate(x)
        slope = _sigmoid(x)
        slope *= x
        slope *= 1.0 - gate * gate
        slope += gate
        return slope

    @staticmethod
    def _gate(x: Array) -> Array:
        gate = functions.logaddexp(x, 0.0)
        return functions.tanh(gate, out=gate)


@dataclass(frozen=True)
class ActivationCube(_Pointwise):
    """``x ** 3`` (DL4J: ``ActivationCube``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return the third power."""
        return functions.multiply(x * x, x, out=out)

    def _slope(self, x: Array) -> Array:
        slope = x * x
        slope *= 3.0
        return slope


@dataclass(frozen=True)
class ActivationSoftmax(IActivation):
    """Shares that add up to 1 along axis 1 (DL4J: ``ActivationSoftmax``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``exp(x)`` over its sum along axis 1."""
        share = functions.subtract(x, x.max(axis=1, keepdims=True), out=out)
        functions.exp(share, out=share)
        share /= sums_along_rows(share)
        return share

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` times the Jacobian of every example."""
        share = self.forward(x)
        product = epsilon * share
        inner = epsilon - sums_along_rows(product)
        return functions.multiply(share, inner, out=out)


class Activation(Choice):
    """Names of activation functions (DL4J: ``Activation``)."""

    CUBE = "CUBE"
    ELU = "ELU"
    GELU = "GELU"
    HARDSIGMOID = "HARDSIGMOID"
    HARDTANH = "HARDTANH"
    IDENTITY = "IDENTITY"
    LEAKYRELU = "LEAKYRELU"
    MISH = "MISH"
    RATIONALTANH = "RATIONALTANH"
    RECTIFIEDTANH = "RECTIFIEDTANH"
    RELU = "RELU"
    RELU6 = "RELU6"
    SELU = "SELU"
    SIGMOID = "SIGMOID"
    SOFTMAX = "SOFTMAX"
    SOFTPLUS = "SOFTPLUS"
    SOFTSIGN = "SOFTSIGN"
    SWISH = "SWISH"
    TANH = "TANH"
    THRESHOLDEDRELU = "THRESHOLDEDRELU"

    def get_activation_function(self) -> IActivation:
        """Return the function of that name with its default settings."""
        return _FUNCTIONS[self]


_FUNCTIONS: dict[Activation, IActivation] = {
    Activation.CUBE: ActivationCube(),
    Activation.ELU: ActivationELU(),
    Activation.GELU: ActivationGELU(),
    Activation.HARDSIGMOID: ActivationHardSigmoid(),
    Activation.HARDTANH: ActivationHardTanH(),
    Activation.IDENTITY: ActivationIdentity(),
    Activation.LEAKYRELU: ActivationLReLU(),
    Activation.MISH: ActivationMish(),
    Activation.RATIONALTANH: ActivationRationalTanh(),
    Activation.RECTIFIEDTANH: ActivationRectifiedTanh(),
    Activation.RELU: ActivationReLU(),
    Activation.RELU6: ActivationReLU6(),
    Activation.SELU: ActivationSELU(),
    Activation.SIGMOID: ActivationSigmoid(),
    Activation.SOFTMAX: ActivationSoftmax(),
    Activation.SOFTPLUS: ActivationSoftPlus(),
    Activation.SOFTSIGN: ActivationSoftSign(),
    Activation.SWISH: ActivationSwish(),
    Activation.TANH: ActivationTanH(),
    Activation.THRESHOLDEDRELU: ActivationThresholdedReLU(),
}


def activation_of(value: object, owner: str, field: str = "activation") -> IActivation:
    """Return the function that a name, a member or an object stands for; anything else is refused."""
    if isinstance(value, IActivation):
        return value
    if not isinstance(value, str | Activation):
        refuse(owner, field, value, "must be a name, an Activation or an IActivation")
    return member(Activation, value, owner, field).get_activation_function()
