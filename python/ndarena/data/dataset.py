"""Features and labels that belong together (DL4J: ``DataSet``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ndarena import _core
from ndarena._core import WorkspaceArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DataSet", "SplitTestAndTrain"]

Array = Any  # an ndarray or a WorkspaceArray
PARTS = ("features", "labels", "features_mask", "labels_mask")


def _array(value: Array) -> Array:
    return value if value is None or isinstance(value, np.ndarray | WorkspaceArray) else np.asarray(value)


class DataSet:
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

    __slots__ = ("features", "features_mask", "labels", "labels_mask", "metadata")

    def __init__(
        self,
        features: Array,
        labels: Array = None,
        features_mask: Array = None,
        labels_mask: Array = None,
        metadata: Any = None,
    ) -> None:
        self.features = _array(features)
        self.labels = _array(labels)
        self.features_mask = _array(features_mask)
        self.labels_mask = _array(labels_mask)
        self.metadata = metadata
        if self.features is None or self.features.ndim == 0:
            raise ValueError("features must be an array of examples")
        for name in (*PARTS[1:], "metadata"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.features):
                raise ValueError(f"{len(self.features)} examples in features, {len(part)} in {name}")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.features)

    def __repr__(self) -> str:
        """Tell the shapes."""
        shapes = (f"{name}={list(part.shape)}" for name, part in self._parts().items())
        return f"DataSet({', '.join(shapes)})"

    def _parts(self) -> dict[str, Array]:
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}

    def _with(self, change: Callable[[Array], Array], metadata: Any) -> DataSet:
        return DataSet(**{name: change(part) for name, part in self._parts().items()}, metadata=metadata)

    def num_examples(self) -> int:
        """Return the number of examples."""
        return len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(part.nbytes for part in self._parts().values())

    @property
    def is_attached(self) -> bool:
        """Whether an array lies in a workspace."""
        return any(isinstance(part, WorkspaceArray) for part in self._parts().values())

    def detach(self) -> Self:
        """Put copies in the place of the arrays that lie in workspaces; return this object."""
        for name, part in self._parts().items():
            setattr(self, name, _core.detach(part))
        return self

    def migrate(self) -> Self:
        """Put copies in the current workspace for arrays that lie elsewhere; return this object."""
        for name, part in self._parts().items():
            setattr(self, name, _core.migrate(part))
        return self

    def copy(self) -> DataSet:
        """Return a data set with copies of the arrays, in the current workspace if they lie in one."""
        return self._with(_core.dup, self.metadata)

    def split_test_and_train(self, n_or_fraction: float) -> SplitTestAndTrain:
        """Split into the first examples and the rest, which are views.

        Parameters
        ----------
        n_or_fraction : int or float
            How many examples are for training, or which part of them.

        Raises
        ------
        ValueError
            One of the two would be empty.
        """
        fraction = isinstance(n_or_fraction, float)
        n = round(n_or_fraction * len(self)) if fraction else int(n_or_fraction)
        if not 0 < n < len(self):
            raise ValueError(f"{n_or_fraction!r} splits {len(self)} examples into {n} and {len(self) - n}")
        return SplitTestAndTrain(self._rows(slice(None, n)), self._rows(slice(n, None)))

    def _rows(self, rows: Any) -> DataSet:
        metadata = self.metadata
        if metadata is not None:
            metadata = metadata[rows] if isinstance(rows, slice) else [metadata[int(i)] for i in rows]
        return self._with(lambda part: part[rows], metadata)

    def shuffle(self, seed: int | None = None) -> None:
        """Put the examples into another order, the same for every seed; the arrays given stay as they are."""
        shuffled = self._rows(np.random.default_rng(seed).permutation(len(self)))
        for name in (*PARTS, "metadata"):
            setattr(self, name, getattr(shuffled, name))

    def batch_by(self, n: int) -> list[DataSet]:
        """Return data sets of ``n`` examples each, the last one with what is left; they are views."""
        if n < 1:
            raise ValueError(f"batches of {n} examples")
        return [self._rows(slice(i, i + n)) for i in range(0, len(self), n)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays to a NumPy ``.npz`` file of that name. Metadata is not written."""
        with open(os.fspath(path), "wb") as file:  # noqa: PTH123 - a name of any kind, but no descriptor
            arrays: dict[str, Any] = {name: np.asarray(part) for name, part in self._parts().items()}
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DataSet:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in PARTS if name in file})


class SplitTestAndTrain(NamedTuple):
    """The two sides of a split (DL4J: ``SplitTestAndTrain``)."""

    train: DataSet
    test: DataSet
