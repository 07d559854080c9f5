"""Activation functions: what a layer makes of its sums (DL4J: ``org.nd4j.linalg.activations``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndarena.nn.words import Array, Choice, member, number, refuse

__all__ = [
    "Activation",
    "ActivationIdentity",
    "ActivationReLU",
    "ActivationSigmoid",
    "ActivationSoftmax",
    "ActivationTanH",
    "IActivation",
    "activation_of",
]


class IActivation:
    """Base of activation functions; a new one is a frozen dataclass with the two methods.

    Both take a plain array or a `WorkspaceArray` of any floating dtype and keep the dtype. The result goes to
    ``out``, or where results go: the current workspace if an operand lies in one. ``out`` may be ``x``.
    """

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

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``max(x, 0)``, with the bounds of this object."""
        if self.threshold == self.negative_slope == 0.0:
            out = np.maximum(x, 0.0, out=out)
        else:
            below = (x - self.threshold) * self.negative_slope
            value = np.where(x >= self.threshold, x, below)
            out = value if out is None else _copied(value, out)
        return out if self.max is None else np.minimum(out, self.max, out=out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` where the function rises as ``x``, times the slope below, 0 above ``max``."""
        if self == ActivationReLU():
            return np.multiply(epsilon, x > 0.0, out=out)
        slope = np.where(x >= self.threshold, 1.0, self.negative_slope).astype(x.dtype)
        if self.max is not None:
            slope *= x < self.max
        return np.multiply(epsilon, slope, out=out)


@dataclass(frozen=True)
class ActivationSigmoid(IActivation):
    """``1 / (1 + exp(-x))`` (DL4J: ``ActivationSigmoid``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between 0 and 1; exact in both tails, without overflow."""
        tail = np.abs(x)
        np.negative(tail, out=tail)
        np.exp(tail, out=tail)
        above = np.where(x >= 0.0, 1.0, tail).astype(tail.dtype, copy=False)
        tail += 1.0
        return np.divide(above, tail, out=out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon * s * (1 - s)``."""
        s = self.forward(x)
        slope = 1.0 - s
        slope *= s
        return np.multiply(epsilon, slope, out=out)


@dataclass(frozen=True)
class ActivationTanH(IActivation):
    """The hyperbolic tangent (DL4J: ``ActivationTanH``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return values between -1 and 1."""
        return np.tanh(x, out=out)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon * (1 - tanh(x) ** 2)``."""
        slope = np.tanh(x)
        slope *= slope
        np.subtract(1.0, slope, out=slope)
        return np.multiply(epsilon, slope, out=out)


@dataclass(frozen=True)
class ActivationSoftmax(IActivation):
    """Shares that add up to 1 along axis 1 (DL4J: ``ActivationSoftmax``)."""

    def forward(self, x: Array, *, training: bool = False, out: Array = None) -> Array:
        """Return ``exp(x)`` over its sum along axis 1."""
        share = np.subtract(x, x.max(axis=1, keepdims=True), out=out)
        share = np.exp(share, out=share)
        return np.divide(share, share.sum(axis=1, keepdims=True), out=share)

    def backprop(self, x: Array, epsilon: Array, *, out: Array = None) -> Array:
        """Return ``epsilon`` times the Jacobian of every example."""
        share = self.forward(x)
        product = epsilon * share
        inner = epsilon - product.sum(axis=1, keepdims=True)
        return np.multiply(share, inner, out=out)


class Activation(Choice):
    """Names of activation functions (DL4J: ``Activation``)."""

    IDENTITY = "IDENTITY"
    RELU = "RELU"
    SIGMOID = "SIGMOID"
    SOFTMAX = "SOFTMAX"
    TANH = "TANH"

    def get_activation_function(self) -> IActivation:
        """Return the function of that name with its default settings."""
        return _FUNCTIONS[self]


_FUNCTIONS: dict[Activation, IActivation] = {
    Activation.IDENTITY: ActivationIdentity(),
    Activation.RELU: ActivationReLU(),
    Activation.SIGMOID: ActivationSigmoid(),
    Activation.SOFTMAX: ActivationSoftmax(),
    Activation.TANH: ActivationTanH(),
}


def activation_of(value: object, owner: str, field: str = "activation") -> IActivation:
    """Return the function that a name, a member or an object stands for; anything else is refused."""
    if isinstance(value, IActivation):
        return value
    if not isinstance(value, str | Activation):
        refuse(owner, field, value, "must be a name, an Activation or an IActivation")
    return member(Activation, value, owner, field).get_activation_function()
