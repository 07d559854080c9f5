"""Labels and predictions as rows of classes, whatever their rank and mask."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["kept_rows"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def kept_rows(labels: Any, predictions: Any, mask: Any, axis: int) -> tuple[Matrix, Matrix]:
    """Return labels and predictions as ``[rows, classes]`` without the masked rows.

    Raises
    ------
    ValueError
        Shapes that do not agree, a mask that fits neither, or NaN among the predictions kept.
    """
    y, p = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    if y.shape != p.shape or y.ndim < 2:
        raise ValueError(
            f"labels {list(y.shape)} and predictions {list(p.shape)} must be rows of the same shape"
        )
    steps = np.moveaxis(y, axis, -1).shape[:-1]
    y, p = (np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]) for a in (y, p))
    if mask is not None:
        m = np.asarray(mask)
        m = m[:, 0] if m.ndim == 2 and m.shape[1] == 1 and len(steps) == 1 else m
        if m.shape != steps:
            raise ValueError(f"the mask must have shape {list(steps)}, not {list(np.shape(mask))}")
        keep = m.reshape(-1) != 0
        y, p = y[keep], p[keep]
    if np.isnan(p).any():
        raise ValueError("there are NaN among the predictions")
    return y, p
