"""Features and labels brought to a common scale (DL4J: ``org.nd4j.linalg.dataset.api.preprocessor``)."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from ndarena._core import detach
from ndarena.binary import BinaryReader, array_bytes, text_bytes
from ndarena.data.dataset import DataSet

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ImagePreProcessingScaler", "Normalizer", "NormalizerMinMaxScaler", "NormalizerStandardize"]

Array = Any  # an ndarray or a WorkspaceArray
Flat = np.ndarray[Any, np.dtype[Any]]
HEADER, VERSION = "NORMALIZER", 1
FLOOR = 1e-5  # the least spread of a column
MOST_BITS = 64  # of a pixel


class Normalizer:
    """Base of normalisers (DL4J: ``Normalizer``); these three are all there are.

    Statistics are those of columns, axis 1, over all examples, kept steps and pixels. Steps that a mask
    leaves out become 0.
    """

    name: ClassVar[str]
    """What DL4J calls it in files."""
    fit_labels: bool = False
    """Whether labels are scaled as well."""

    def fit(self, data: DataSet | Iterable[DataSet]) -> Self:
        """Take the statistics of a data set, or of all that an iterable gives; return this object."""
        raise NotImplementedError(f"{type(self).__name__}.fit")

    def transform(self, data: DataSet) -> DataSet:
        """Return a data set with scaled arrays; the one given stays as it is."""
        return self._changed(data, back=False)

    def revert(self, data: DataSet) -> DataSet:
        """Return a data set with the arrays as they were before `transform`."""
        return self._changed(data, back=True)

    def pre_process(self, data: DataSet) -> None:
        """Put scaled arrays in the place of those of the data set given."""
        scaled = self.transform(data)
        data.features, data.labels = scaled.features, scaled.labels

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads, as DL4J writes it."""
        head = text_bytes(HEADER) + struct.pack(">i", VERSION) + text_bytes(self.name)
        return head + self._content()

    @staticmethod
    def from_bytes(data: bytes) -> Normalizer:
        """Return the normaliser that DL4J or `to_bytes` has written; anything else is a `ValueError`."""
        reader = BinaryReader(data)
        if reader.text() != HEADER or reader.number(">i") != VERSION:
            raise ValueError("these are not the bytes of a normaliser")
        name = reader.text()
        known = {
            kind.name: kind
            for kind in (NormalizerStandardize, NormalizerMinMaxScaler, ImagePreProcessingScaler)
        }
        if name not in known:
            raise ValueError(f"there is no normaliser {name[:40]!r}, only {', '.join(known)}")
        return known[name].read(reader)

    def _content(self) -> bytes:
        raise NotImplementedError(f"{type(self).__name__}._content")

    @classmethod
    def read(cls, reader: BinaryReader) -> Self:
        """Return what follows the name in the bytes."""
        raise NotImplementedError(f"{cls.__name__}.read")

    def _changed(self, data: DataSet, *, back: bool) -> DataSet:
        _check(data)
        labels = data.labels
        features = self._change(data.features, data.features_mask, "features", back=back)
        if self.fit_labels and labels is not None:
            labels = self._change(labels, data.labels_mask, "labels", back=back)
        return DataSet(features, labels, data.features_mask, data.labels_mask, data.metadata)

    def _change(self, x: Array, mask: Array, part: str, *, back: bool) -> Array:
        raise NotImplementedError(f"{type(self).__name__}._change")


def _check(data: object) -> None:
    if not hasattr(data, "features_mask"):  # a MultiDataSet has several
        raise TypeError(f"expected a DataSet, not {type(data).__name__}: DataSet(features, labels) is one")


def _floating(x: Array) -> np.dtype[Any]:
    """Return the dtype of what is made of an array: its own, or one that holds its numbers."""
    return np.result_type(x.dtype, np.float32)


def _kept(x: Array, mask: Array, part: str) -> Flat | None:
    """Return which steps of a series a mask keeps, ``[N, T]``; ``None``: all, or there are no steps."""
    if mask is None or x.ndim != 3:
        return None
    if mask.shape != (steps := (x.shape[0], x.shape[2])):
        raise ValueError(f"{part}_mask must have shape {list(steps)}, not {list(mask.shape)}")
    kept: Flat = np.asarray(detach(mask)) != 0
    return kept


class _Columns:
    """Statistics of the columns of one array after the other, which ``part`` names."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0  # of the distances from the mean
        self.least: Any = np.inf
        self.largest: Any = -np.inf

    def add(self, x: Array, mask: Array) -> None:
        plain = np.asarray(detach(x), np.float64)
        if plain.ndim < 2:
            raise ValueError(f"columns are wanted along axis 1, not an array of shape {list(plain.shape)}")
        if self.count and len(self.mean) != plain.shape[1]:
            wanted = f"[N, {len(self.mean)}, ...], as those before"
            raise ValueError(f"expected {self.part} of shape {wanted}, not {list(plain.shape)}")
        values = np.moveaxis(plain, 1, 0).reshape(plain.shape[1], -1)
        if (kept := _kept(plain, mask, self.part)) is not None:
            values = values[:, kept.ravel()]
        if not values.size:
            return
        count, mean = values.shape[1], values.mean(axis=1)
        distance = mean - self.mean
        whole = self.count + count
        self.squares += ((values - mean[:, None]) ** 2).sum(axis=1) + distance**2 * (
            self.count * count / whole
        )
        self.mean = self.mean + distance * (count / whole)
        self.count = whole
        self.least = np.minimum(self.least, values.min(axis=1))
        self.largest = np.maximum(self.largest, values.max(axis=1))


class _Pair(NamedTuple):
    """Two numbers per column, ``[C]`` each."""

    first: Flat
    second: Flat

    def shaped(self, x: Array, owner: str, part: str) -> tuple[Flat, Flat]:
        """Return both so that they are broadcast along axis 1 of an array."""
        columns = len(self.first)
        if x.ndim < 2 or x.shape[1] != columns:
            raise ValueError(f"{owner}: expected {part} of shape [N, {columns}, ...], not {list(x.shape)}")
        shape = (columns,) + (1,) * (x.ndim - 2)
        return self.first.reshape(shape), self.second.reshape(shape)


class _None(NamedTuple):
    """In the place of statistics that nobody asked for."""

    first: None = None
    second: None = None


class _OfColumns(Normalizer):
    """What is fitted: a pair of statistics for features, perhaps one for labels."""

    def __init__(self, *, fit_labels: bool = False) -> None:
        self.fit_labels = fit_labels
        self._pairs: dict[str, _Pair] = {}
        self._rank = 2  # of the arrays in a file

    def fit(self, data: DataSet | Iterable[DataSet]) -> Self:
        """Take the statistics of a data set, or of all that an iterable gives; return this object.

        Raises
        ------
        ValueError
            There are no data, or no labels where they are wanted; other columns than before, or a mask that
            does not fit.
        TypeError
            What is no data set.
        """
        names = ("features", "labels") if self.fit_labels else ("features",)
        parts = {name: _Columns(name) for name in names}
        for batch in data if hasattr(data, "__iter__") else [data]:
            _check(batch)
            for part, columns in parts.items():
                if getattr(batch, part) is None:
                    raise ValueError(f"{type(self).__name__}: a data set has no {part}")
                columns.add(getattr(batch, part), getattr(batch, f"{part}_mask"))
        for part, columns in parts.items():
            if not columns.count:
                raise ValueError(f"{type(self).__name__}: there are no {part} to fit")
        self._pairs, self._rank = {part: self._pair(columns) for part, columns in parts.items()}, 2
        return self

    def _pair(self, columns: _Columns) -> _Pair:
        raise NotImplementedError(f"{type(self).__name__}._pair")

    def _of(self, part: str) -> _Pair:
        if part not in self._pairs:
            raise ValueError(f"{type(self).__name__}: fit() must come first")
        return self._pairs[part]

    def _of_labels(self) -> _Pair | _None:
        return self._pairs.get("labels") or _None()

    def _change(self, x: Array, mask: Array, part: str, *, back: bool) -> Array:
        first, second = self._of(part).shaped(x, type(self).__name__, part)
        kept = _kept(x, mask, part)
        dtype = _floating(x)
        change = self._back if back else self._there
        changed = change(x.astype(dtype), first.astype(dtype), self._spread(first, second).astype(dtype))
        if kept is not None:
            changed *= kept[:, None, :]
        return changed

    def _spread(self, first: Flat, second: Flat) -> Flat:
        """Return what columns are divided by; never 0, whatever dtype it will have."""
        raise NotImplementedError(f"{type(self).__name__}._spread")

    def _there(self, x: Array, first: Flat, spread: Flat) -> Array:
        """Scale a copy, in place."""
        raise NotImplementedError(f"{type(self).__name__}._there")

    def _back(self, x: Array, first: Flat, spread: Flat) -> Array:
        """Undo it, in place."""
        raise NotImplementedError(f"{type(self).__name__}._back")

    def _content(self) -> bytes:
        parts = ("features", "labels") if self.fit_labels else ("features",)
        arrays = (array for part in parts for array in self._of(part))
        written = (array_bytes(a if self._rank == 1 else a[None]) for a in arrays)
        return bytes([self.fit_labels]) + self._target() + b"".join(written)

    def _target(self) -> bytes:
        return b""

    def read_pairs(self, reader: BinaryReader) -> Self:
        """Take the statistics from bytes; return this object."""
        for part in ("features", "labels") if self.fit_labels else ("features",):
            first, second = reader.array(), reader.array()
            self._pairs[part], self._rank = _Pair(first.ravel(), second.ravel()), first.ndim
        return self


class NormalizerStandardize(_OfColumns):
    """Columns of mean 0 and standard deviation 1 (DL4J: ``NormalizerStandardize``).

    A column that does not vary is only centred.

    Parameters
    ----------
    fit_labels : bool
        Whether labels are scaled as well.
    """

    name = "STANDARDIZE"

    def _pair(self, columns: _Columns) -> _Pair:
        return _Pair(columns.mean, np.maximum(np.sqrt(columns.squares / columns.count), FLOOR))

    @property
    def mean(self) -> Flat:
        """The means of the features, ``[C]``."""
        return self._of("features").first

    @property
    def std(self) -> Flat:
        """The standard deviations of the features, ``[C]``, at least 1e-5."""
        return self._of("features").second

    @property
    def label_mean(self) -> Flat | None:
        """The means of the labels, if they are fitted."""
        return self._of_labels().first

    @property
    def label_std(self) -> Flat | None:
        """The standard deviations of the labels, if they are fitted."""
        return self._of_labels().second

    def _spread(self, first: Flat, second: Flat) -> Flat:
        return np.where(second > FLOOR, second, 1.0).astype(second.dtype)  # otherwise only centred

    def _there(self, x: Array, first: Flat, spread: Flat) -> Array:
        x -= first
        x /= spread
        return x

    def _back(self, x: Array, first: Flat, spread: Flat) -> Array:
        x *= spread
        x += first
        return x

    @classmethod
    def read(cls, reader: BinaryReader) -> Self:
        """Return what follows the name in the bytes."""
        return cls(fit_labels=reader.number(">B") != 0).read_pairs(reader)


def _checked_range(low: float, high: float) -> tuple[float, float]:
    are_numbers = all(isinstance(n, int | float | np.integer | np.floating) for n in (low, high))
    if not are_numbers or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"min_range={low!r} must be below max_range={high!r}, both finite numbers")
    return float(low), float(high)


class NormalizerMinMaxScaler(_OfColumns):
    """Columns from ``min_range`` to ``max_range`` (DL4J: ``NormalizerMinMaxScaler``).

    Parameters
    ----------
    min_range, max_range : float
        Where the least and the largest value of a column go.
    fit_labels : bool
        Whether labels are scaled as well.
    """

    name = "MIN_MAX"

    def __init__(self, min_range: float = 0.0, max_range: float = 1.0, *, fit_labels: bool = False) -> None:
        super().__init__(fit_labels=fit_labels)
        self.min_range, self.max_range = _checked_range(min_range, max_range)

    def _pair(self, columns: _Columns) -> _Pair:
        return _Pair(columns.least, np.maximum(columns.largest, columns.least + FLOOR))

    @property
    def min(self) -> Flat:
        """The least values of the features, ``[C]``."""
        return self._of("features").first

    @property
    def max(self) -> Flat:
        """The largest values of the features, ``[C]``, at least 1e-5 above the least."""
        return self._of("features").second

    @property
    def label_min(self) -> Flat | None:
        """The least values of the labels, if they are fitted."""
        return self._of_labels().first

    @property
    def label_max(self) -> Flat | None:
        """The largest values of the labels, if they are fitted."""
        return self._of_labels().second

    def _spread(self, first: Flat, second: Flat) -> Flat:
        return np.maximum(second.astype(np.float64) - first, FLOOR)  # float32 may not tell them apart

    def _there(self, x: Array, first: Flat, spread: Flat) -> Array:
        x -= first
        x /= spread
        x *= self.max_range - self.min_range
        x += self.min_range
        return x

    def _back(self, x: Array, first: Flat, spread: Flat) -> Array:
        x -= self.min_range
        x /= self.max_range - self.min_range
        x *= spread
        x += first
        return x

    def _target(self) -> bytes:
        return struct.pack(">2d", self.min_range, self.max_range)

    @classmethod
    def read(cls, reader: BinaryReader) -> Self:
        """Return what follows the name in the bytes."""
        fit_labels = reader.number(">B") != 0
        low, high = reader.real(), reader.real()
        return cls(low, high, fit_labels=fit_labels).read_pairs(reader)


class ImagePreProcessingScaler(Normalizer):
    """Pixels from 0 to ``2 ** max_bits - 1`` become numbers of a range (DL4J: ``ImagePreProcessingScaler``).

    Nothing is fitted, and labels stay as they are.

    Parameters
    ----------
    min_range, max_range : float
        Where 0 and the largest pixel go.
    max_bits : int
        Bits of a pixel.
    """

    name = "IMAGE_MIN_MAX"

    def __init__(self, min_range: float = 0.0, max_range: float = 1.0, max_bits: int = 8) -> None:
        self.min_range, self.max_range = _checked_range(min_range, max_range)
        is_whole = isinstance(max_bits, int | np.integer) and not isinstance(max_bits, bool)
        if not is_whole or not 1 <= max_bits <= MOST_BITS:
            raise ValueError(f"max_bits={max_bits!r} must be a whole number from 1 to {MOST_BITS}")
        self.max_bits = int(max_bits)

    def fit(self, data: DataSet | Iterable[DataSet]) -> Self:
        """Return this object."""
        return self

    def _change(self, x: Array, mask: Array, part: str, *, back: bool) -> Array:
        largest, spread = 2.0**self.max_bits - 1.0, self.max_range - self.min_range
        x = x.astype(_floating(x))
        if back:
            x -= self.min_range
            x *= largest / spread
            return x
        x *= spread / largest
        x += self.min_range
        return x

    def _content(self) -> bytes:
        return struct.pack(">3d", self.min_range, self.max_range, 2.0**self.max_bits - 1.0)

    @classmethod
    def read(cls, reader: BinaryReader) -> Self:
        """Return what follows the name in the bytes."""
        low, high, largest = reader.real(), reader.real(), reader.real()
        return cls(low, high, round(math.log2(largest + 1.0)))
