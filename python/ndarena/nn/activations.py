"""Activation functions: what a layer makes of its sums (DL4J: ``org.nd4j.linalg.activations``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ndarena._core import _softmax, functions
from ndarena.nn.activation_base import IActivation, Pointwise, copied, room_for
from ndarena.nn.rectifiers import (
    ActivationELU,
    ActivationLReLU,
    ActivationReLU,
    ActivationReLU6,
    ActivationSELU,
    ActivationThresholdedReLU,
)
from ndarena.nn.sums import sums_along_rows
from ndarena.nn.words import Array, Choice, member, refuse

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


@dataclass(frozen=True)
class ActivationIdentity(IActivation):
    """The sums as they are (DL4J: ``ActivationIdentity``)."""

    @property
    def keeps_slope(self) -> bool:
        """It is 1 everywhere."""
        return True

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x``, copied into ``out`` if that is given."""
        return x if out is None or out is x else copied(x, out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon``, copied into ``out`` if that is given."""
        return epsilon if out is None or out is epsilon else copied(epsilon, out)


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
class ActivationSigmoid(Pointwise):
    """``1 / (1 + exp(-x))`` (DL4J: ``ActivationSigmoid``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between 0 and 1."""
        return _sigmoid(x, out)

    def _slope(self, x: Array) -> Array:
        return _sigmoid_slope(_sigmoid(x))


@dataclass(frozen=True)
class ActivationHardSigmoid(Pointwise):
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
class ActivationTanH(Pointwise):
    """The hyperbolic tangent (DL4J: ``ActivationTanH``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between -1 and 1."""
        return functions.tanh(x, out=out)

    def _slope(self, x: Array) -> Array:
        return _tanh_slope(functions.tanh(x))


@dataclass(frozen=True)
class ActivationHardTanH(Pointwise):
    """``x``, kept between -1 and 1 (DL4J: ``ActivationHardTanH``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values from -1 to 1."""
        return functions.clip(x, -1.0, 1.0, out=out)

    def _slope(self, x: Array) -> Array:
        return np.abs(x) <= 1.0


@dataclass(frozen=True)
class ActivationRectifiedTanh(Pointwise):
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
class ActivationRationalTanh(Pointwise):
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
class ActivationSoftPlus(Pointwise):
    """``log(1 + exp(x))`` (DL4J: ``ActivationSoftPlus``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values above 0; exact in both tails, without overflow."""
        return functions.logaddexp(x, 0.0, out=out)

    def _slope(self, x: Array) -> Array:
        return _sigmoid(x)


@dataclass(frozen=True)
class ActivationSoftSign(Pointwise):
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
class ActivationGELU(Pointwise):
    """``x * sigmoid(1.702 * x)`` (DL4J: ``ActivationGELU``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` times the gate."""
        return _gated(x, 1.702, out)

    def _slope(self, x: Array) -> Array:
        return _gated_slope(x, 1.702)


@dataclass(frozen=True)
class ActivationSwish(Pointwise):
    """``x * sigmoid(x)`` (DL4J: ``ActivationSwish``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``x`` times the gate."""
        return _gated(x, 1.0, out)

    def _slope(self, x: Array) -> Array:
        return _gated_slope(x, 1.0)


@dataclass(frozen=True)
class ActivationMish(Pointwise):
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
class ActivationCube(Pointwise):
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
        share = room_for(x) if out is None else out
        if not _softmax(x, share):
            functions.subtract(x, x.max(axis=1, keepdims=True), out=share)
            functions.exp(share, out=share)
            share /= share.sum(axis=1, keepdims=True)
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

    @classmethod
    def elsewhere(cls) -> dict[str, str]:
        """Return what members are called in other libraries."""
        return {"linear": "IDENTITY", "logistic": "SIGMOID", "silu": "SWISH"}

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
