"""Features and labels that belong together (DL4J: ``DataSet``)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from ndarena.data.examples import Array, Examples, array_or_none, opened

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["DataSet"]

PARTS = ("features", "labels", "features_mask", "labels_mask")


class DataSet(Examples):
    """Examples along the first axis (DL4J: ``DataSet``). The arrays are held as they are given, not copied.

    Parameters
    ----------
    features : array_like
        ``[N, ...]``, of any dtype.
    labels : array_like, optional
        ``[N, ...]``.
    features_mask, labels_mask : array_like, optional
        ``[N, ...]``, 1 where an element counts.
    metadata : sequence, optional
        Something about every example.

    Raises
    ------
    ValueError
        The parts do not have the same number of examples.
    """

    __slots__ = ("features", "features_mask", "labels", "labels_mask")

    def __init__(
        self,
        features: Array,
        labels: Array = None,
        features_mask: Array = None,
        labels_mask: Array = None,
        metadata: Any = None,
    ) -> None:
        self.features = array_or_none(features, "features")
        self.labels = array_or_none(labels, "labels")
        self.features_mask = array_or_none(features_mask, "features_mask")
        self.labels_mask = array_or_none(labels_mask, "labels_mask")
        self.metadata = metadata
        if self.features is None:
            raise ValueError("features must be an array of examples, not None")
        self._check_lengths()

    def arrays(self) -> list[Array]:
        """Return the arrays that are there: features, labels, and their masks."""
        arrays = [self.features]
        if self.labels is not None:
            arrays.append(self.labels)
        if self.features_mask is not None:
            arrays.append(self.features_mask)
        if self.labels_mask is not None:
            arrays.append(self.labels_mask)
        return arrays

    def _parts(self) -> dict[str, Array]:
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}

    def _put(self, name: str, part: Array) -> None:
        setattr(self, name, part)

    def _with(self, change: Callable[[Array], Array], metadata: Any) -> Self:
        if type(self) is not DataSet:  # its constructor may take something else
            other = copy.copy(self)
            other.metadata = metadata
            for name, part in self._parts().items():
                setattr(other, name, change(part))
            return other
        labels, features_mask, labels_mask = self.labels, self.features_mask, self.labels_mask
        made = type(self).__new__(type(self))  # its parts are arrays already
        made.features = change(self.features)
        made.labels = None if labels is None else change(labels)
        made.features_mask = None if features_mask is None else change(features_mask)
        made.labels_mask = None if labels_mask is None else change(labels_mask)
        made.metadata = metadata
        is_simple = metadata is features_mask is labels_mask is None and labels is not None
        if not (is_simple and len(made.labels) == len(made.features)):  # mostly that is all there is to check
            made._check_lengths()  # noqa: SLF001 - of this very class
        return made

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DataSet:
        """Read what `save` wrote; the file of something else is a `ValueError`."""
        with opened(path) as file:
            if "features" not in file:
                raise ValueError(f"this is no file of a DataSet: it holds {', '.join(file) or 'nothing'}")
            return cls(**{name: file[name] for name in PARTS if name in file})
