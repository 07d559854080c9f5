"""ND4J's binary form of arrays, as its ``Nd4j.write`` gives it: shape information, then the elements.

Both are buffers: a text that tells how memory was come by, the number of elements, a text with their type,
and the elements. A text is its number of bytes in two bytes and the bytes. Everything is big-endian.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BinaryReader", "UnknownTypeError", "array_bytes", "text_bytes"]

MODE = "MIXED_DATA_TYPES"
LONG_MODES = frozenset({MODE, "LONG_SHAPE"})  # in all others the number of elements has four bytes
TYPES = {"LONG": ">i8", "INT": ">i4", "DOUBLE": ">f8", "FLOAT": ">f4"}
EXTRAS = {"DOUBLE": 1 << 14, "FLOAT": 1 << 13, "LONG": 1 << 18}  # what ND4J notes of the type
NAMES = {"float64": "DOUBLE", "float32": "FLOAT", "int64": "LONG"}
C_ORDER = ord("c")

Flat = np.ndarray[Any, np.dtype[Any]]


class UnknownTypeError(ValueError):
    """Elements of a type that there is not here, in bytes that may be whole."""


def text_bytes(text: str) -> bytes:
    """Return a text as Java's ``writeUTF`` does; it must be ASCII."""
    encoded = text.encode("ascii")
    return struct.pack(">H", len(encoded)) + encoded


def array_bytes(array: Flat) -> bytes:
    """Return an array in C order as ND4J writes it; a dtype beyond `NAMES` is a `TypeError`."""
    kind = NAMES.get(array.dtype.name)
    if kind is None:
        raise TypeError(f"an array of {', '.join(NAMES)} can be written, not of {array.dtype.name}")
    values = np.ascontiguousarray(array)
    info = [values.ndim, *values.shape, *_strides(values.shape), EXTRAS[kind], 1, C_ORDER]
    return _buffer_bytes(info, "LONG") + _buffer_bytes(values.ravel(), kind)


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Return strides in elements; those of an axis of length 1 are 1 if it leads, as ND4J notes vectors."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return [1] * len(shape) if len(shape) == 2 and 1 in shape else strides


def _buffer_bytes(values: Sequence[int] | Flat, kind: str) -> bytes:
    elements = np.asarray(values, TYPES[kind]).tobytes()
    return text_bytes(MODE) + struct.pack(">q", len(values)) + text_bytes(kind) + elements


class BinaryReader:
    """Reads one thing after the other; what is cut off or is no such form is a `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    @property
    def at_end(self) -> bool:
        """Whether everything is read."""
        return self._place == len(self._data)

    def _bytes(self, count: int) -> bytes:
        part = self._data[self._place : self._place + count]
        if count < 0 or len(part) < count:
            raise ValueError(f"{len(self._data)} bytes end before the {count} that are due at {self._place}")
        self._place += count
        return part

    def number(self, form: str) -> int:
        """Return one whole number of a form of `struct`."""
        (value,) = struct.unpack(form, self._bytes(struct.calcsize(form)))
        return int(value)

    def real(self) -> float:
        """Return a number of eight bytes."""
        (value,) = struct.unpack(">d", self._bytes(8))
        return float(value)

    def text(self) -> str:
        """Return a text."""
        return self._bytes(self.number(">H")).decode("utf-8", "replace")

    def array(self) -> Flat:
        """Return an array in the machine's byte order."""
        info = self._buffer()
        rank = int(info[0]) if len(info) else -1
        if not 0 <= rank == (len(info) - 4) // 2:
            raise ValueError(f"{info.tolist()} is no information on a shape")
        shape = tuple(int(n) for n in info[1 : rank + 1])
        values = self._buffer()
        if math.prod(shape) != len(values):
            raise ValueError(f"{len(values)} elements for an array of shape {list(shape)}")
        return values.reshape(shape, order="C" if int(info[-1]) == C_ORDER else "F")

    def _buffer(self) -> Flat:
        mode = self.text()
        count = self.number(">q" if mode in LONG_MODES else ">i")
        kind = self.text()
        if kind not in TYPES:
            raise UnknownTypeError(f"elements of type {kind[:40]!r}; {', '.join(TYPES)} can be read")
        dtype = np.dtype(TYPES[kind])
        return np.frombuffer(self._bytes(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
