"""Derivatives of activation functions whose value tells it, so that their argument need not be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena.nn.activations import ActivationIdentity, ActivationSigmoid, ActivationTanH

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.nn.activations import IActivation
    from ndarena.nn.words import Array

__all__ = ["backprop_at", "value_tells"]


def _identity(_value: Array, _epsilon: Array) -> None:
    """Leave epsilon as it is."""


def _sigmoid(value: Array, epsilon: Array) -> None:
    slope = 1.0 - value
    slope *= value
    epsilon *= slope


def _tanh(value: Array, epsilon: Array) -> None:
    slope = value * value
    np.subtract(1.0, slope, out=slope)
    epsilon *= slope


_SLOPES: dict[type[IActivation], Callable[[Array, Array], None]] = {
    ActivationIdentity: _identity,
    ActivationSigmoid: _sigmoid,
    ActivationTanH: _tanh,
}


def value_tells(function: IActivation) -> bool:
    """Tell whether `backprop_at` needs the value of this function only."""
    return type(function) in _SLOPES


def backprop_at(function: IActivation, argument: Array, value: Array, epsilon: Array) -> Array:
    """Multiply ``epsilon`` by the derivative, in place, and return it.

    ``argument`` is looked at only if the value does not tell.
    """
    slope = _SLOPES.get(type(function))
    if slope is None:
        return function.backprop(argument, epsilon, out=epsilon)
    slope(value, epsilon)
    return epsilon
