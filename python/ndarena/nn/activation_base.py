"""What activation functions are, and those that have a slope per element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndarena._core import WorkspaceArray, empty_like, functions
from ndarena.nn.words import Array, number

__all__ = ["IActivation", "Pointwise", "copied", "room_for"]


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
class Pointwise(IActivation):
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


def room_for(like: Array, *others: Array) -> Array:
    """Return space like an array, where results of it and others go."""
    is_ours = type(like) is WorkspaceArray or any(type(other) is WorkspaceArray for other in others)
    return empty_like(like) if is_ours else np.empty_like(like)


def copied(source: Array, out: Array) -> Array:
    """Return ``out``, in which ``source`` now stands."""
    out[...] = source
    return out
