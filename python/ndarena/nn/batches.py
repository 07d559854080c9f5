"""What users hand to a network, checked before anything happens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from ndarena._core import WorkspaceArray
from ndarena.data import AsyncDataSetIterator, AsyncMultiDataSetIterator, DataSet, DataSetIterator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ndarena.data import MultiDataSet
    from ndarena.nn.wiring import Wiring
    from ndarena.nn.words import Array

__all__ = [
    "Batch",
    "batch_of",
    "check_epochs",
    "check_gave",
    "errors_of",
    "inputs_of",
    "is_array",
    "is_source",
    "listed",
    "numeric",
    "positional",
    "read_ahead",
]

PREFETCHED = 2  # batches that wait, as in DL4J
SOURCES = (
    "DataSet(features, labels) is one batch, ArrayDataSetIterator(features, labels, batch_size=32) gives many"
)
F = TypeVar("F", bound="Callable[..., Any]")


def positional(most: int, cure: str = SOURCES) -> Callable[[F], F]:
    """Decorate a method to which so many arguments may be given by position; more are told the cure."""

    def decorate(method: F) -> F:
        @wraps(method)
        def called(self: object, *given: object, **named: object) -> Any:
            if len(given) > most:
                name = f"{type(self).__name__}.{method.__name__}"
                raise TypeError(f"{name} takes {most} positional arguments, not {len(given)}: {cure}")
            if len(given) == 1 and not named:  # mostly
                return method(self, given[0])
            return method(self, *given, **named)

        return cast("F", called)

    return decorate


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


def is_array(value: object) -> bool:
    """Tell an array, of whatever library, from a list."""
    return hasattr(value, "dtype")


def is_source(value: object) -> bool:
    """Tell an iterable of batches from an array, or a list of numbers."""
    return not is_array(value) and not isinstance(value, list | tuple) and hasattr(value, "__iter__")


def listed(arrays: Any) -> list[Array]:
    """Return a list of arrays; a single array is the only one."""
    return [arrays] if is_array(arrays) else list(arrays)


def in_dtype(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return labels or a mask in the network's dtype; a copy only if it has another."""
    return array if array is None or array.dtype == dtype else array.astype(dtype)


def mask_of(value: Array, dtype: np.dtype[Any], what: str) -> Array:
    """Return a mask in the network's dtype, or ``None``."""
    return None if value is None else in_dtype(numeric(value, what), dtype)


class Batch(NamedTuple):
    """What is handed over at once: an array, or ``None``, per input and output of the network."""

    features: list[Array]
    labels: list[Array]
    features_masks: list[Array]
    labels_masks: list[Array]

    @property
    def examples(self) -> int:
        """The number of examples."""
        return len(self.features[0])

    def pieces(self, length: int) -> Iterator[Batch]:
        """Return the batch in pieces of ``length`` steps; what is no series is in every piece.

        Raises
        ------
        ValueError
            There is no series, or several of different lengths.
        """
        times = {x.shape[2] for x in self.features if x.ndim == 3}
        if len(times) != 1:
            shapes = ", ".join(str(list(x.shape)) for x in self.features)
            raise ValueError(
                f"truncated backpropagation takes series [batch, features, time] of one length, not {shapes}"
            )
        (time,) = times

        def cut(arrays: list[Array], like: list[Array], steps: slice) -> list[Array]:
            return [
                a[..., steps] if a is not None and of.ndim == 3 and a.shape[-1] == time else a
                for a, of in zip(arrays, like, strict=True)
            ]

        for start in range(0, time, length):
            steps = slice(start, start + length)
            yield Batch(
                cut(self.features, self.features, steps),
                cut(self.labels, self.labels, steps),
                cut(self.features_masks, self.features, steps),
                cut(self.labels_masks, self.labels, steps),
            )


_batch: Callable[[tuple[list[Array], ...]], Batch] = partial(tuple.__new__, Batch)
"""Makes one of its parts, in half the time."""


def inputs_of(
    features: Sequence[Array],
    wiring: Wiring,
    dtype: np.dtype[Any],
    features_masks: Sequence[Array] | None = None,
    labels_masks: Sequence[Array] | None = None,
) -> Batch:
    """Return a batch without labels.

    Raises
    ------
    ValueError
        Another number of arrays than the network has inputs, one that is not what the input is said to be, or
        a mask that does not fit.
    """
    if wiring.is_simple and len(features) == 1 and features_masks is labels_masks is None:
        (x,) = features
        simple = type(x) is np.ndarray and x.ndim and x.dtype.kind in "buif"
        return _batch(([x if simple else _features(x)], [None], [None], [None]))
    inputs, outputs = len(wiring.inputs), len(wiring.outputs)
    arrays = [_features(x) for x in _counted(features, inputs, "features")]
    for name, kind, x in zip(wiring.inputs, wiring.input_types, arrays, strict=False):
        if not kind.takes(tuple(x.shape)):
            raise ValueError(f"input {name!r}: expected {kind}, not an array of shape {list(x.shape)}")
    masks = _masks(features_masks, inputs, dtype, "features_mask")
    for x, mask in zip(arrays, masks, strict=True):
        if mask is not None and x.ndim == 2 and list(mask.shape) not in [[len(x), 1], list(x.shape)]:
            raise ValueError(f"features_mask must have shape {[len(x), 1]}, not {list(mask.shape)}")
    return Batch(arrays, [None] * outputs, masks, _masks(labels_masks, outputs, dtype, "labels_mask"))


def _features(x: Array) -> Array:
    array = numeric(x, "features")
    if not array.ndim:
        raise ValueError("features must be an array of examples, not a number")
    return array


def errors_of(epsilons: Sequence[Array], outputs: Sequence[Array], dtype: np.dtype[Any]) -> list[Array]:
    """Return the derivatives of errors to the outputs; others than one of each shape: `ValueError`."""
    errors = []
    for given, output in zip(_counted(epsilons, len(outputs), "epsilons"), outputs, strict=True):
        error = in_dtype(numeric(given, "epsilon"), dtype)
        if error.shape != output.shape:
            raise ValueError(f"epsilon must have the shape {list(output.shape)}, not {list(error.shape)}")
        errors.append(error)
    return errors


def _counted(arrays: Sequence[Array], count: int, what: str) -> Sequence[Array]:
    if len(arrays) != count:
        raise ValueError(f"expected {count} array{'s' * (count != 1)} of {what}, not {len(arrays)}")
    return arrays


def _masks(masks: Sequence[Array] | None, count: int, dtype: np.dtype[Any], what: str) -> list[Array]:
    if masks is None:
        return [None] * count
    return [mask_of(mask, dtype, what) for mask in _counted(masks, count, f"{what}s")]


def batch_of(data: DataSet | MultiDataSet, wiring: Wiring, dtype: np.dtype[Any]) -> Batch:
    """Return a data set that is to be learned or scored as a batch.

    Raises
    ------
    ValueError
        No labels, no examples, another number of arrays than the network has, or a mask of labels that fits
        neither rows nor elements.
    """
    if (simple := _simple(data, wiring, dtype)) is not None:
        return simple
    whole = _several(data)
    if whole.labels is None or any(y is None for y in whole.labels):
        raise ValueError("the data set has no labels")
    given = _counted(whole.labels, len(wiring.outputs), "labels")
    batch = inputs_of(whole.features, wiring, dtype, whole.features_masks, whole.labels_masks)
    if not batch.examples:
        raise ValueError("the data set has no examples")
    labels = [in_dtype(numeric(y, "labels"), dtype) for y in given]
    for own, mask in zip(labels, batch.labels_masks, strict=True):
        if mask is not None:
            _check_mask(list(mask.shape), own.shape)
    return Batch(batch.features, labels, batch.features_masks, batch.labels_masks)


def _simple(data: DataSet | MultiDataSet, wiring: Wiring, dtype: np.dtype[Any]) -> Batch | None:
    """Return a batch of which there is nothing to check or to convert; ``None`` for all others."""
    if type(data) is not DataSet or not wiring.is_simple:
        return None
    x, y = data.features, data.labels
    if type(x) is not np.ndarray or type(y) is not np.ndarray:
        return None
    if data.features_mask is not None or data.labels_mask is not None:
        return None
    kinds = x.dtype, y.dtype
    if not (kinds[0] is kinds[1] is dtype or kinds == (dtype, dtype)):  # mostly they are the same objects
        return None
    return _batch(([x], [y], [None], [None])) if len(x) else None


def _several(data: DataSet | MultiDataSet) -> Any:
    """Return a data set with lists of arrays."""
    if isinstance(data, DataSet):
        return Batch([data.features], [data.labels], [data.features_mask], [data.labels_mask])
    return data


def _check_mask(mask: list[int], labels: tuple[int, ...]) -> None:
    """Refuse what has neither a number per row nor one per element; of images also one per example."""
    n, *places = labels[:1] + labels[2:]
    rows = [n, *places] if places else [n, 1]
    whole = [n, 1] if len(places) == 2 else rows
    if mask not in [list(labels), rows, whole, [n, 1, *places]]:
        raise ValueError(f"labels_mask must have shape {list(labels)} or {rows}, not {mask}")


def check_epochs(data: Iterable[Any], epochs: int) -> None:
    """Refuse another epoch of a source that gives only one (`ValueError`)."""
    if epochs > 1 and gives_one_epoch(data):
        raise ValueError(f"{type(data).__name__} gives one epoch, not {epochs}: it cannot begin again")


def check_gave(data: Iterable[Any], count: int) -> None:
    """Refuse a source of one epoch that gave nothing (`ValueError`)."""
    if not count and gives_one_epoch(data):
        raise ValueError(f"{type(data).__name__} gave no batch: it is empty or used up")


def gives_one_epoch(data: Iterable[Any]) -> bool:
    """Tell whether a source cannot begin again; no epoch is begun to find out."""
    is_once = isinstance(data, DataSetIterator) and not data.reset_supported
    return is_once or (hasattr(data, "__next__") and iter(data) is data)


def read_ahead(
    data: Iterable[Any], wiring: Wiring, batches: int = PREFETCHED, *, consumers: int = 1
) -> AbstractContextManager[Iterable[Any]]:
    """Return a source for a ``with`` block in which a thread reads ahead, if the source allows it."""
    if not (batches and getattr(data, "async_supported", False)):
        return nullcontext(data)
    kind = AsyncMultiDataSetIterator if wiring.is_graph else AsyncDataSetIterator
    return kind(data, batches, consumers=consumers)
