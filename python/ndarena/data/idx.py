"""The IDX format of the MNIST files: a head that tells dtype and shape, then the elements, big-endian."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import os

__all__ = ["find_idx", "read_idx"]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 20  # bytes
File = BinaryIO | gzip.GzipFile


def find_idx(folder: str | os.PathLike[str], *names: str) -> Path:
    """Return the first file of these names, packed (``.gz``) or not; none is a `FileNotFoundError`."""
    candidates = [Path(folder) / f"{name}{ending}" for name in names for ending in ("", ".gz")]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder} has none of the files {', '.join(path.name for path in candidates)}")


def read_idx(path: str | os.PathLike[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the array of an IDX file, packed (``.gz``) or not, in the machine's byte order.

    Raises
    ------
    ValueError
        The file is damaged, or no IDX file; the message says where.
    """
    path = Path(path)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            return _read(file)
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is no whole IDX file: {error}") from error


def _read(file: File) -> np.ndarray[Any, np.dtype[Any]]:
    zeros, kind, rank = struct.unpack(">HBB", _exactly(file, 4, "head"))
    if zeros or kind not in TYPES or not rank:
        raise ValueError(f"it begins with {zeros:04x} {kind:02x} {rank:02x}, not 0000, a type and a rank")
    shape = struct.unpack(f">{rank}I", _exactly(file, 4 * rank, "shape"))
    dtype = np.dtype(TYPES[kind])
    data = _exactly(file, math.prod(shape) * dtype.itemsize, f"elements of shape {list(shape)}")
    if file.read(1):
        raise ValueError(f"there is more than the elements of shape {list(shape)}")
    values = np.frombuffer(data, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _exactly(file: File, count: int, what: str) -> bytearray:
    """Read so many bytes; what a head only claims takes no memory."""
    data = bytearray()
    while len(data) < count:
        part = file.read(min(CHUNK, count - len(data)))
        if not part:
            raise ValueError(f"it ends after {len(data)} of the {count} bytes of the {what}")
        data += part
    return data
