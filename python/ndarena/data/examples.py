"""What data sets of either kind have in common: examples along the first axis of every array."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import numpy as np

from ndarena import _core
from ndarena._core import WorkspaceArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena._core import Workspace

__all__ = ["Array", "Examples", "SplitTestAndTrain", "array_or_none", "opened"]

D = TypeVar("D")
Array = Any  # an ndarray or a WorkspaceArray
ARRAYS = (np.ndarray, WorkspaceArray)
ALIGNMENT = 64  # bytes


def array_or_none(value: Array, name: str) -> Array:
    """Return an array of either kind as it is, ``None`` too, and anything else as an array.

    Raises
    ------
    ValueError
        No array of examples: a single number, several arrays, rows of different lengths; ``name`` says which
        part it was to be.
    """
    try:
        array = value if value is None or isinstance(value, ARRAYS) else np.asarray(value)
    except ValueError as error:
        kinds = ", ".join(f"{list(each.shape)}" for each in value if hasattr(each, "shape"))
        what = f"{len(value)} of shapes {kinds}" if kinds else f"a {type(value).__name__} of unequal rows"
        raise ValueError(
            f"{name} must be one array, not {what}; labels and masks follow as arguments of their own"
        ) from error
    if array is not None and not array.ndim:
        raise ValueError(f"{name} must be an array of examples, not {value!r:.100}")
    return array


def opened(path: str | os.PathLike[str]) -> Any:
    """Open a file of arrays by name, for a ``with`` block; any other is a `ValueError`."""
    try:
        file: Any = np.load(path, allow_pickle=False)
    except EOFError:
        file = None
    if not hasattr(file, "files"):  # a single array, or nothing
        raise ValueError(f"{os.fspath(path)!r} is no file of a data set, as save() writes them")
    return file


class Examples:
    """Base of data sets; a subclass says which parts it has, by name."""

    __slots__ = ("metadata",)

    metadata: Any

    def arrays(self) -> list[Array]:
        """Return the arrays that are there, the first features first."""
        raise NotImplementedError(f"{type(self).__name__}.arrays")

    def _parts(self) -> dict[str, Array]:
        """Return the same by name."""
        raise NotImplementedError(f"{type(self).__name__}._parts")

    def _put(self, name: str, part: Array) -> None:
        """Put an array in the place of the one of that name."""
        raise NotImplementedError(f"{type(self).__name__}._put")

    def _with(self, change: Callable[[Array], Array], metadata: Any) -> Self:
        """Return another data set of the same class, of changed arrays; other attributes are shared."""
        raise NotImplementedError(f"{type(self).__name__}._with")

    def _check_lengths(self) -> None:
        """Refuse parts that do not have the same number of examples."""
        arrays, metadata = self.arrays(), self.metadata
        if metadata is not None:
            if not hasattr(metadata, "__len__"):
                raise TypeError(
                    f"metadata must be a sequence, of something of every example, not {metadata!r:.100}"
                )
            arrays.append(metadata)
        count = len(arrays[0])
        for part in arrays:
            if len(part) != count:
                break
        else:
            return
        parts = {**self._parts(), **({} if metadata is None else {"metadata": metadata})}
        (first, features), *others = parts.items()
        for name, part in others:
            if len(part) != len(features):
                raise ValueError(f"{len(features)} examples in {first}, {len(part)} in {name}")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.arrays()[0])

    def __repr__(self) -> str:
        """Tell the shapes."""
        shapes = (f"{name}={list(part.shape)}" for name, part in self._parts().items())
        return f"{type(self).__name__}({', '.join(shapes)})"

    def num_examples(self) -> int:
        """Return the number of examples."""
        return len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum([part.nbytes for part in self.arrays()])

    @property
    def is_attached(self) -> bool:
        """Whether an array lies in a workspace."""
        return any(isinstance(part, WorkspaceArray) for part in self.arrays())

    def detach(self) -> Self:
        """Put copies in the place of the arrays that lie in workspaces; return this object."""
        for name, part in self._parts().items():
            self._put(name, _core.detach(part))
        return self

    def migrate(self) -> Self:
        """Put copies in the current workspace for arrays that lie elsewhere; return this object."""
        for name, part in self._parts().items():
            self._put(name, _core.migrate(part))
        return self

    def copy(self) -> Self:
        """Return a data set with copies of the arrays, in the current workspace if they lie in one."""
        return self._with(_core.dup, self.metadata)

    def copy_to(self, workspace: Workspace) -> Self:
        """Return a data set with copies of the arrays in an open workspace."""
        return self._with(workspace.array, self.metadata)

    @property
    def footprint(self) -> int:
        """Bytes that copies of all arrays take in a workspace of the default alignment."""
        footprint: int = 0
        for part in self.arrays():
            footprint += part.nbytes + ALIGNMENT - 1 & -ALIGNMENT
        return footprint

    def leases(self) -> list[np.ndarray[Any, Any]]:
        """Return views of the arrays in workspaces; their memory is nobody else's while the views exist."""
        leases = []
        for part in self.arrays():
            if isinstance(part, WorkspaceArray):
                leases.append(part.numpy())  # noqa: PERF401 - a comprehension is a call of its own
        return leases

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays to a NumPy ``.npz`` file of that name. Metadata is not written.

        Arrays of objects, which `load` would not read, are a `TypeError`, and nothing is written.
        """
        for name, part in self._parts().items():
            if part.dtype.hasobject:
                raise TypeError(f"{name} of dtype {part.dtype} cannot be saved: only numbers can")
        with open(os.fspath(path), "wb") as file:  # noqa: PTH123 - a name of any kind, but no descriptor
            arrays: dict[str, Any] = {name: np.asarray(part) for name, part in self._parts().items()}
            np.savez(file, **arrays)

    def split_test_and_train(self, n_or_fraction: float) -> SplitTestAndTrain[Self]:
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
        wanted: Any = n_or_fraction
        fraction = isinstance(wanted, float | np.floating)
        if not fraction and (isinstance(wanted, bool) or not isinstance(wanted, int | np.integer)):
            raise ValueError(f"n_or_fraction must be a number of examples or a part of them, not {wanted!r}")
        if fraction and not 0.0 <= wanted <= 1.0:
            raise ValueError(f"n_or_fraction must be a part from 0 to 1, not {wanted!r}")
        n = round(wanted * len(self)) if fraction else int(wanted)
        if not 0 < n < len(self):
            raise ValueError(f"{n_or_fraction!r} splits {len(self)} examples into {n} and {len(self) - n}")
        return SplitTestAndTrain(self.rows(slice(None, n)), self.rows(slice(n, None)))

    def rows(self, rows: slice | np.ndarray[Any, Any]) -> Self:
        """Return a data set of some examples: views for a slice, copies for an array of indices."""
        metadata = self.metadata
        if metadata is not None:
            metadata = metadata[rows] if isinstance(rows, slice) else [metadata[int(i)] for i in rows]
        return self._with(lambda part: part[rows], metadata)

    def shallow(self) -> Self:
        """Return another data set that holds the same arrays."""
        return self._with(lambda part: part, self.metadata)

    def shuffle(self, seed: int | None = None) -> None:
        """Put the examples into another order, the same for every seed; the arrays given stay as they are."""
        order = np.random.default_rng(seed).permutation(len(self))
        if self.metadata is not None:
            self.metadata = [self.metadata[int(i)] for i in order]
        for name, part in self._parts().items():
            self._put(name, part[order])

    def batch_by(self, n: int) -> list[Self]:
        """Return data sets of ``n`` examples each, the last one with what is left; they are views."""
        if n < 1:
            raise ValueError(f"batches of {n} examples")
        return [self.rows(slice(i, i + n)) for i in range(0, len(self), n)]


class SplitTestAndTrain(NamedTuple, Generic[D]):
    """The two sides of a split (DL4J: ``SplitTestAndTrain``)."""

    train: D
    test: D
