"""What dropout and noise on weights have in common: numbers drawn anew in every training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import WorkspaceArray

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = ["Noise", "draw_kept", "draw_normal", "draw_uniform"]


class Noise:
    """Something random done to an array in training, and its derivative."""

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of what is drawn and kept for `backprop`; ``None`` if nothing is kept."""
        return shape

    def apply(self, x: Array, *, noise: Array, rng: np.random.Generator, out: Array) -> Array:
        """Draw ``noise`` and write what becomes of ``x`` to ``out``, which is returned.

        Parameters
        ----------
        x, out : ndarray or WorkspaceArray
            Two arrays of one shape and dtype.
        noise : ndarray or WorkspaceArray or None
            Memory of `noise_shape` and the dtype of ``x``, in C order, to be filled here.
        rng : numpy.random.Generator
            From which to draw.
        """
        raise NotImplementedError(f"{type(self).__name__}.apply")

    def backprop(self, epsilon: Array, *, noise: Array, out: Array) -> Array:
        """Write ``epsilon`` times the derivative to ``out``, which may be ``epsilon``, and return it."""
        raise NotImplementedError(f"{type(self).__name__}.backprop")


def _plain(array: Array) -> Array:
    return array.numpy() if isinstance(array, WorkspaceArray) else array


def draw_uniform(noise: Array, rng: np.random.Generator) -> None:
    """Fill an array with numbers from 0 to below 1."""
    plain = _plain(noise)
    rng.random(dtype=plain.dtype, out=plain)


def draw_normal(noise: Array, rng: np.random.Generator, mean: float, deviation: float) -> None:
    """Fill an array with normal numbers."""
    plain = _plain(noise)
    rng.standard_normal(dtype=plain.dtype, out=plain)
    plain *= deviation
    plain += mean


def draw_kept(noise: Array, rng: np.random.Generator, p: float, value: float) -> None:
    """Fill an array with ``value`` where something is kept, with probability ``p``, and 0 elsewhere."""
    draw_uniform(noise, rng)
    noise -= p
    np.copysign(0.5 * value, noise, out=noise)  # below 0: kept. No mask is needed, nor memory for one
    np.subtract(0.5 * value, noise, out=noise)
