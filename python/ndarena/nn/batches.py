"""What users hand to a network, checked before anything happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import WorkspaceArray
from ndarena.data import DataSet, DataSetIterator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ndarena.nn.words import Array

__all__ = ["dataset_of", "epochs_of", "labelled", "mask_of", "numeric"]


def numeric(value: Array, what: str) -> Array:
    """Return an array of numbers: an array as it is, else a new one.

    Raises
    ------
    TypeError
        No numbers.
    """
    array = value if isinstance(value, np.ndarray | WorkspaceArray) else np.asarray(value)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{what} must be real numbers, not {array.dtype}")
    return array


def in_dtype(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return labels or a mask in the network's dtype; a copy only if it has another."""
    return array if array is None or array.dtype == dtype else array.astype(dtype)


def mask_of(value: Array, dtype: np.dtype[Any], what: str) -> Array:
    """Return a mask in the network's dtype, or ``None``."""
    return None if value is None else in_dtype(numeric(value, what), dtype)


def dataset_of(data: object) -> DataSet:
    """Return a data set, or say what is wanted."""
    if isinstance(data, DataSet):
        return data
    raise TypeError(f"expected a DataSet, not {type(data).__name__}")


def labelled(data: DataSet, dtype: np.dtype[Any]) -> tuple[Array, Array, Array, Array]:
    """Return features, labels, features mask and labels mask of a data set that is to be learned or scored.

    Raises
    ------
    ValueError
        No labels, no examples, or a mask of labels that fits neither rows nor elements.
    """
    features = numeric(data.features, "features")
    if data.labels is None:
        raise ValueError("the data set has no labels")
    if not len(features):
        raise ValueError("the data set has no examples")
    labels = in_dtype(numeric(data.labels, "labels"), dtype)
    features_mask = mask_of(data.features_mask, dtype, "features_mask")
    labels_mask = mask_of(data.labels_mask, dtype, "labels_mask")
    if labels_mask is not None:
        n, *places = labels.shape[:1] + labels.shape[2:]
        rows = [n, *places] if places else [n, 1]
        allowed = [list(labels.shape), rows, [n, 1, *places]]
        if list(labels_mask.shape) not in allowed:
            raise ValueError(
                f"labels_mask must have shape {list(labels.shape)} or {rows}, not {list(labels_mask.shape)}"
            )
    return features, labels, features_mask, labels_mask


def epochs_of(data: Iterable[DataSet], epochs: int) -> Iterator[Iterable[DataSet]]:
    """Return what to go through in each epoch.

    Raises
    ------
    ValueError
        Another epoch of a source that gives only one.
    """
    once = iter(data) is data or (isinstance(data, DataSetIterator) and not data.reset_supported)
    if once and epochs > 1:
        raise ValueError(f"{type(data).__name__} gives one epoch, not {epochs}: it cannot begin again")
    return (data for _ in range(epochs))
