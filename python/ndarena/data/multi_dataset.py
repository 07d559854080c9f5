"""Several features and labels that belong together (DL4J: ``MultiDataSet``)."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Self

from ndarena.data.examples import Array, Examples, array_or_none, opened

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from ndarena.data.dataset import DataSet

__all__ = ["MultiDataSet"]

FIELDS = ("features", "labels", "features_masks", "labels_masks")
NAME = re.compile(r"(\w+)\[(\d+)\]")
Arrays = list[Array]


class MultiDataSet(Examples):
    """Examples with several features and labels (DL4J: ``MultiDataSet``); arrays are held as they are given.

    Parameters
    ----------
    features : sequence of array_like
        ``[N, ...]`` each, in the order of a graph's inputs.
    labels : sequence of array_like, optional
        ``[N, ...]`` each, in the order of a graph's outputs.
    features_masks, labels_masks : sequence, optional
        For each of features or labels a mask, 1 where an element counts, or ``None``.
    metadata : sequence, optional
        Something about every example.

    Raises
    ------
    TypeError
        A single array where a sequence of them is due.
    ValueError
        The parts do not have the same number of examples, or there is not one mask for each array.
    """

    __slots__ = FIELDS

    def __init__(
        self,
        features: Sequence[Array],
        labels: Sequence[Array] | None = None,
        features_masks: Sequence[Array] | None = None,
        labels_masks: Sequence[Array] | None = None,
        metadata: Any = None,
    ) -> None:
        self.features = _arrays("features", features)
        self.labels = None if labels is None else _arrays("labels", labels)
        self.features_masks = _masks("features_masks", features_masks, self.features)
        self.labels_masks = _masks("labels_masks", labels_masks, self.labels or [])
        self.metadata = metadata
        self._check_lengths()

    @classmethod
    def of(cls, data: DataSet) -> Self:
        """Return the data set with one of each that holds the arrays of a `DataSet`."""

        def only(part: Array) -> Arrays | None:
            return None if part is None else [part]

        features_masks, labels_masks = only(data.features_mask), only(data.labels_mask)
        return cls([data.features], only(data.labels), features_masks, labels_masks, data.metadata)

    def arrays(self) -> list[Array]:
        """Return the arrays that are there: features, labels, and their masks, each in their order."""
        fields = self.features, self.labels, self.features_masks, self.labels_masks
        return [part for parts in fields if parts is not None for part in parts if part is not None]

    def _parts(self) -> dict[str, Array]:
        return {
            f"{field}[{i}]": part
            for field in FIELDS
            for i, part in enumerate(getattr(self, field) or ())
            if part is not None
        }

    def _put(self, name: str, part: Array) -> None:
        found = NAME.fullmatch(name)
        if found is not None:
            getattr(self, found[1])[int(found[2])] = part

    def _with(self, change: Callable[[Array], Array], metadata: Any) -> Self:
        def changed(parts: Arrays | None) -> Arrays | None:
            return None if parts is None else [None if part is None else change(part) for part in parts]

        other = copy.copy(self)  # a subclass may have another constructor
        other.metadata = metadata
        for field in FIELDS:
            setattr(other, field, changed(getattr(self, field)))
        return other

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; the file of something else is a `ValueError`."""
        found: dict[str, dict[int, Array]] = {field: {} for field in FIELDS}
        with opened(path) as file:
            if "features[0]" not in file:
                raise ValueError(
                    f"this is no file of a MultiDataSet: it holds {', '.join(file) or 'nothing'}"
                )
            for field, index in (match.groups() for match in map(NAME.fullmatch, file) if match):
                found[field][int(index)] = file[f"{field}[{index}]"]
        whole: dict[str, Any] = {
            field: [parts.get(i) for i in range(len(found[field.removesuffix("_masks")]))] if parts else None
            for field, parts in found.items()
        }
        return cls(**whole)


def _arrays(name: str, given: Sequence[Array]) -> Arrays:
    """Return arrays as a list of its own."""
    if hasattr(given, "ndim") or not hasattr(given, "__iter__"):
        raise TypeError(f"{name} must be a sequence of arrays, not {type(given).__name__}")
    arrays = [array_or_none(part, f"{name}[{i}]") for i, part in enumerate(given)]
    if not arrays or any(part is None for part in arrays):
        raise ValueError(f"{name} must be arrays of examples, one at least")
    return arrays


def _masks(name: str, given: Sequence[Array] | None, of: Arrays) -> Arrays | None:
    if given is None:
        return None
    if hasattr(given, "ndim") or not hasattr(given, "__iter__"):
        raise TypeError(f"{name} must be a sequence of masks, not {type(given).__name__}")
    masks = [array_or_none(part, f"{name}[{i}]") for i, part in enumerate(given)]
    if len(masks) != len(of):
        raise ValueError(f"{len(masks)} {name} for {len(of)} arrays")
    return masks
