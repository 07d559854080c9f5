"""Rows of mean 0 and standard deviation 1, as layer norm makes them (DL4J: ``standardize``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = ["Standardized", "standardize"]


class Standardized(NamedTuple):
    """What was standardized along its last axis, and what it was multiplied by."""

    values: Array
    scale: Array

    def backprop(self, epsilon: Array) -> Array:
        """Turn the derivative to the values, in place, into that to what they were made of; return it."""
        along = (epsilon * self.values).mean(axis=-1, keepdims=True)
        epsilon -= epsilon.mean(axis=-1, keepdims=True)
        epsilon -= self.values * along
        epsilon *= self.scale
        return epsilon


def standardize(x: Array, scale: Array, *, eps: float = 0.0) -> Standardized:
    """Subtract the mean along the last axis and divide by the standard deviation, in place.

    Parameters
    ----------
    x : array
        ``[..., n]``. Where all ``n`` are equal and ``eps`` is 0 the result is 0, and so is its derivative.
    scale : array
        ``[..., 1]``, which is filled with one over the standard deviation.
    eps : float
        Added to the variance.
    """
    x -= x.mean(axis=-1, keepdims=True)
    variance = (x * x).mean(axis=-1, keepdims=True)
    variance += eps
    np.sqrt(variance, out=variance)
    scale[...] = 0.0
    np.divide(1.0, variance, out=scale, where=variance > 0.0)
    x *= scale
    return Standardized(x, scale)
