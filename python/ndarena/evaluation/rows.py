"""Labels and predictions as rows of classes, whatever their rank and mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.evaluation.base import given_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_probabilities", "examples_of", "kept_elements", "kept_rows"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Kept = np.ndarray[Any, np.dtype[np.bool_]]
SERIES = 2  # axes of places: examples and steps


def kept_rows(labels: Any, predictions: Any, mask: Any, axis: int = 1) -> tuple[Matrix, Matrix]:
    """Return labels and predictions as ``[rows, classes]`` without the masked rows.

    Steps of series count where their mask is 1 and nothing else, as in DL4J; other rows where it is not 0.

    Raises
    ------
    ValueError
        Shapes that do not agree, a mask that does not fit the rows, labels that are no probabilities, or NaN
        among the predictions kept.
    """
    y, p, places = _rows(labels, predictions, axis)
    if mask is not None:
        keep = _kept(np.asarray(mask), places)
        if keep is None:
            raise ValueError(f"the mask must have shape {list(places)}, not {list(np.shape(mask))}")
        y, p = y[keep], p[keep]
    check_probabilities(y, "labels")
    _refuse_nan(p)
    return y, p


def kept_elements(labels: Any, predictions: Any, mask: Any, axis: int = 1) -> tuple[Matrix, Matrix, Kept]:
    """Return labels, predictions and what of them counts, all ``[rows, columns]``.

    A mask may have a value per row, as in `kept_rows`, or one per element, which counts where it is not 0.

    Raises
    ------
    ValueError
        As in `kept_rows`, except that labels may be any numbers.
    """
    y, p, places = _rows(labels, predictions, axis)
    keep = np.ones(y.shape, np.bool_)
    if mask is not None:
        m = np.asarray(mask)
        if m.shape == np.shape(labels):
            keep = np.moveaxis(m, axis, -1).reshape(y.shape) != 0
        elif (rows := _kept(m, places)) is not None:
            keep &= rows[:, None]
        else:
            shapes = f"{list(places)} or {list(np.shape(labels))}"
            raise ValueError(f"the mask must have shape {shapes}, not {list(m.shape)}")
    _refuse_nan(p if keep.all() else p[keep])
    return y, p, keep


def examples_of(labels: Any, mask: Any, of_examples: Sequence[Any], axis: int = 1) -> list[Any]:
    """Return for every row of `kept_rows` what there is of its example.

    Raises
    ------
    ValueError
        Not one for every example.
    """
    places = np.moveaxis(np.asarray(labels), axis, -1).shape[:-1]
    if not hasattr(of_examples, "__len__"):
        raise ValueError(
            f"metadata must be a sequence, of something of every example, not {of_examples!r:.100}"
        )
    if len(of_examples) != places[0]:
        raise ValueError(f"metadata of {len(of_examples)} examples, where there are {places[0]}")
    example = np.indices(places)[0].ravel()
    if mask is not None:
        example = example[_kept(np.asarray(mask), places)]
    return [of_examples[i] for i in example]


def check_probabilities(values: Matrix, what: str) -> None:
    """Refuse what is not from 0 to 1."""
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"the {what} must be probabilities, from 0 to 1")


def _rows(labels: Any, predictions: Any, axis: int) -> tuple[Matrix, Matrix, tuple[int, ...]]:
    """Return both as rows, and the shape of what has a row each."""
    y, p = given_numbers(labels, "labels"), given_numbers(predictions, "predictions")
    if y.shape != p.shape or y.ndim < 2:
        numbers = y.ndim == 1 and p.ndim == 2 and len(y) == len(p)
        cure = f": numbers of classes become rows by np.eye({p.shape[1]})[labels]" if numbers else ""
        raise ValueError(
            f"labels {list(y.shape)} and predictions {list(p.shape)} must be rows of the same shape{cure}"
        )
    if not -y.ndim < axis < y.ndim:
        raise ValueError(
            f"labels {list(y.shape)} have no axis {axis} of classes: the first is that of examples"
        )
    places = np.moveaxis(y, axis, -1).shape[:-1]
    y, p = (np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]) for a in (y, p))
    return y, p, places


def _kept(mask: Any, places: tuple[int, ...]) -> Kept | None:
    """Return which rows count; ``None`` if the mask does not fit. That of images may be one per example.

    DL4J pulls those steps of series whose mask is exactly 1, and ignores those of weights between 0 and 1.
    """
    if mask.ndim == len(places) + 1 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if len(places) == 3 and mask.shape == (places[0], 1):
        mask = np.broadcast_to(mask[:, :, None], places)
    if mask.shape != places:
        return None
    kept: Kept = mask == 1 if len(places) == SERIES else mask != 0
    return kept.reshape(-1)


def _refuse_nan(predictions: Matrix) -> None:
    if np.isnan(predictions).any():
        raise ValueError("there are NaN among the predictions")
