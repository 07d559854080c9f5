"""Activation functions whose value tells their derivative, so that their argument need not be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import functions
from ndarena.nn.activations import ActivationIdentity, ActivationSigmoid, ActivationTanH

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.nn.activations import IActivation
    from ndarena.nn.words import Array

__all__ = ["derive", "value_tells", "view_for"]


def _identity(value: Array, epsilon: Array) -> None:
    value[...] = epsilon


def _sigmoid(value: Array, epsilon: Array) -> None:
    epsilon *= value
    _complement(value)
    value *= epsilon


def _tanh(value: Array, epsilon: Array) -> None:
    value *= value
    _complement(value)
    value *= epsilon


def _complement(value: Array) -> None:
    """Subtract a value from 1, in place."""
    (np if type(value) is np.ndarray else functions).subtract(1.0, value, out=value)


_DERIVED: dict[type[IActivation], Callable[[Array, Array], None]] = {
    ActivationIdentity: _identity,
    ActivationSigmoid: _sigmoid,
    ActivationTanH: _tanh,
}


def value_tells(function: IActivation) -> bool:
    """Tell whether `derive` needs the value of this function only.

    Such a function looks at every element by itself, and neither it nor its derivative takes memory of its
    own where ``out`` is given.
    """
    return type(function) in _DERIVED


def view_for(*functions: IActivation) -> Callable[[Array], Array] | None:
    """Return what arrays may be seen through while these functions work on them, or ``None``.

    Functions that take no memory of their own may see plain arrays, which are faster. Others must see arrays
    of workspaces, so that what they take comes from the scratch.
    """
    return np.asarray if all(map(value_tells, functions)) else None


def derive(function: IActivation, argument: Array, value: Array, epsilon: Array) -> Array:
    """Put ``epsilon`` times the derivative in the place of the value, and return it; ``epsilon`` is spoilt.

    ``argument`` is looked at only if the value does not tell.
    """
    derived = _DERIVED.get(type(function))
    if derived is None:
        return function.backprop(argument, epsilon, out=value)
    derived(value, epsilon)
    return value
