"""Sums along an axis of matrices as products with ones, for which BLAS has little to prepare."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import _add_up_rows, functions

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = ["add_up_rows", "sums_along_rows"]

FEW = 64
"""So few elements NumPy has added up before ones are found."""
FEW_ROWS, SHORT = 64, 2048
"""So few rows, with so few elements, are added up one after the other."""
LONGEST = 4096
"""Longer sums are NumPy's own, which adds pairwise and needs no ones."""


@lru_cache(maxsize=128)
def _ones(shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    ones = np.ones(shape, dtype)
    ones.flags.writeable = False
    return ones


@lru_cache(maxsize=128)
def _column_of_ones(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Return ones for rows of that shape; ``None`` where NumPy's own sum is better."""
    suits = len(shape) == 1 and shape[0] <= LONGEST and dtype.kind == "f"
    return _ones((shape[0], 1), dtype) if suits else None


def add_up_rows(rows: Array, out: np.ndarray[Any, Any]) -> None:
    """Set ``out [n]`` to the sum of all ``rows [N, n]``, which are floating."""
    if _add_up_rows(rows, out):
        return
    count = len(rows)
    if count > LONGEST or (count <= FEW_ROWS and rows.size <= SHORT):
        np.add.reduce(np.asarray(rows), axis=0, out=out)
    else:
        functions.matmul(_ones((1, count), out.dtype), rows, out=out[None])


def sums_along_rows(x: Array) -> Array:
    """Return the sums along axis 1, which stays."""
    ones = None if x.size <= FEW else _column_of_ones(x.shape[1:], x.dtype)
    if ones is None:
        return x.sum(axis=1, keepdims=True)
    return x.dot(ones) if type(x) is np.ndarray else functions.matmul(x, ones)
