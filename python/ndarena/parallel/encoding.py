"""Updates of two values, plus and minus a threshold, and what they leave out (DL4J: ``EncodingHandler``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.nn.updater_base import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndarena.nn.layer import Flat
    from ndarena.parallel.thresholds import ResidualPostProcessor, ThresholdAlgorithm

__all__ = ["Encoder"]


def pieces_of(size: int) -> Iterator[slice]:
    """Go through so many elements in pieces that stay in the cache, each a whole number of bytes of bits."""
    return (slice(start, min(start + PIECE, size)) for start in range(0, size, PIECE))


def bytes_of(where: slice) -> slice:
    """Return where the bits of a piece lie."""
    return slice(where.start // 8, -(-where.stop // 8))


class Encoder:
    """What one worker shares: its last update as a message, and the residual that the message leaves out.

    A message holds the indices of the elements that reached the threshold, with their signs; where more than
    one of 16 did, it is one bit per element and sign. Its memory is taken once.
    """

    def __init__(
        self,
        size: int,
        dtype: np.dtype[Any],
        algorithm: ThresholdAlgorithm,
        post_processor: ResidualPostProcessor | None,
    ) -> None:
        self._algorithm, self._post_processor = algorithm, post_processor
        self.residual: Flat = np.zeros(size, dtype)
        self._threshold = math.nan
        self._ratio: float | None = None
        self._dense = False
        self._count = 0
        self._indices = np.empty(size // 16, np.int32)  # counted from 1; negative: minus the threshold
        self._bits = {sign: np.zeros(-(-size // 8), np.uint8) for sign in (1, -1)}
        self._magnitude = np.empty(min(size, PIECE), dtype)
        self._reached = np.empty(min(size, PIECE), bool)

    def encode(self, update: Flat, *, iteration: int, epoch: int) -> None:
        """Add an update to the residual, and make the message of what has reached the threshold."""
        self.residual += update
        if not math.isfinite(self.residual.sum()):
            raise ValueError("the update holds NaN or infinity, which cannot be shared")
        threshold = self._algorithm.calculate_threshold(
            iteration=iteration,
            epoch=epoch,
            last_threshold=None if self._ratio is None else self._threshold,
            last_was_dense=self._dense,
            last_sparsity_ratio=self._ratio,
            updates_plus_residual=self.residual,
        )
        if not (math.isfinite(threshold) and threshold > 0):
            raise ValueError(f"{type(self._algorithm).__name__}: {threshold!r} is no threshold")
        self._threshold = threshold
        reached = sum(int(np.count_nonzero(self._reach(where))) for where in self._pieces())
        self._dense = reached > len(self._indices)
        self._ratio = reached / max(1, len(self.residual))
        self._count = 0
        for where in self._pieces():
            (self._write_bits if self._dense else self._write_indices)(where, self._reach(where))
        if self._post_processor is not None:
            self._post_processor.process_residual(
                iteration=iteration, epoch=epoch, last_threshold=threshold, residual=self.residual
            )

    def _pieces(self) -> Iterator[slice]:
        return pieces_of(len(self.residual))

    def _reach(self, where: slice) -> Any:
        """Tell which elements of a piece reach the threshold; good until the next piece."""
        part = self.residual[where]
        magnitude, reached = self._magnitude[: len(part)], self._reached[: len(part)]
        return np.greater_equal(np.abs(part, out=magnitude), self._threshold, out=reached)

    def _write_indices(self, where: slice, reached: Any) -> None:
        part, found = self.residual[where], np.flatnonzero(reached)
        signs = np.sign(part[found])
        there = slice(self._count, self._count + len(found))
        np.multiply(found + (where.start + 1), signs, out=self._indices[there], casting="unsafe")
        part[found] -= signs * self._threshold
        self._count = there.stop

    def _write_bits(self, where: slice, reached: Any) -> None:
        part, share = self.residual[where], self._magnitude[: where.stop - where.start]
        signs = {1: reached & (part > 0), -1: reached & (part < 0)}
        for sign, here in signs.items():
            self._bits[sign][bytes_of(where)] = np.packbits(here)
            np.multiply(here, sign * self._threshold, out=share)
            part -= share

    def add(self, other: Encoder, update: Flat) -> None:
        """Add the message of another worker, or the own one, to an update; nothing of the other's changes."""
        if not other._dense:
            for there in pieces_of(other._count):
                found = other._indices[there]
                update[np.abs(found) - 1] += np.sign(found) * update.dtype.type(other._threshold)
            return
        for where in self._pieces():
            part, share = update[where], self._magnitude[: where.stop - where.start]
            for sign, bits in other._bits.items():
                here = np.unpackbits(bits[bytes_of(where)], count=len(part))
                part += np.multiply(here, sign * other._threshold, out=share)
