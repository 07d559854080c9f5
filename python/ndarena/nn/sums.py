"""Sums along an axis of matrices as products with ones, for which BLAS has little to prepare."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import functions

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = ["add_up_rows", "sums_along_rows"]

LONGEST = 4096
"""Longer sums are NumPy's own, which adds pairwise and needs no ones."""


@lru_cache(maxsize=128)
def _ones(shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    ones = np.ones(shape, dtype)
    ones.flags.writeable = False
    return ones


def add_up_rows(rows: Array, out: np.ndarray[Any, Any]) -> None:
    """Set ``out [n]`` to the sum of all ``rows [N, n]``, which are floating."""
    count = len(rows)
    if count <= LONGEST:
        functions.matmul(_ones((1, count), out.dtype), rows, out=out[None])
    else:
        np.add.reduce(np.asarray(rows), axis=0, out=out)


def sums_along_rows(x: Array) -> Array:
    """Return the sums along axis 1, which stays."""
    dtype = x.dtype
    if x.ndim != 2 or dtype.kind != "f" or x.shape[1] > LONGEST:
        return x.sum(axis=1, keepdims=True)
    ones = _ones((x.shape[1], 1), dtype)
    return x.dot(ones) if type(x) is np.ndarray else functions.matmul(x, ones)
