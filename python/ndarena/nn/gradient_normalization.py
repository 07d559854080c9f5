"""What is done to gradients before an updater sees them (DL4J: ``BaseMultiLayerUpdater.preApply``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndarena.nn.choices import GradientNormalization as Kind

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = ["Normalization", "divide"]

OF_LAYERS = {Kind.RENORMALIZE_L2_PER_LAYER, Kind.CLIP_L2_PER_LAYER, Kind.CLIP_ELEMENT_WISE_ABSOLUTE_VALUE}
CLIPPING = {Kind.CLIP_L2_PER_LAYER, Kind.CLIP_L2_PER_PARAM_TYPE}
NO_NORM = 1e-5  # in the place of 0, as in DL4J


class Normalization(NamedTuple):
    """What is done to the gradient of a layer: as a whole, or parameter by parameter."""

    kind: Kind
    threshold: float
    parts: list[slice]

    @classmethod
    def of(cls, kind: Kind | str, threshold: float, parts: list[slice]) -> Normalization | None:
        """Return what is to be done to the neighbouring parts of a layer; ``None`` for nothing."""
        kind = Kind(kind)
        if kind is Kind.NONE:
            return None
        if kind in OF_LAYERS:
            parts = [slice(parts[0].start, parts[-1].stop)]
        return cls(kind, threshold, parts)

    def apply(self, gradient: Array) -> None:
        """Change the gradient of the layer in the flat one, in place."""
        for where in self.parts:
            part = gradient[where]
            if self.kind is Kind.CLIP_ELEMENT_WISE_ABSOLUTE_VALUE:
                np.clip(part, -self.threshold, self.threshold, out=part)
            elif self.kind not in CLIPPING:
                part /= norm_of(part) or NO_NORM
            elif (norm := norm_of(part)) > self.threshold:
                part *= self.threshold / norm


def norm_of(vector: Array) -> float:
    """Return the norm of a vector, also where the squares of its numbers are too large for its dtype."""
    with np.errstate(over="ignore"):
        square = float(vector.dot(vector))
    if math.isfinite(square):
        return math.sqrt(square)
    largest = float(np.abs(vector).max())
    if not math.isfinite(largest):
        return largest
    scaled = vector / largest
    return largest * math.sqrt(float(scaled.dot(scaled)))


def divide(gradient: Array, batch_size: int, undivided: list[slice]) -> None:
    """Divide a flat gradient by the number of examples, in place, but for some parts."""
    start = 0
    for where in [*undivided, slice(len(gradient), None)]:
        if where.start > start:
            part = gradient[start : where.start]
            part /= batch_size
        start = where.stop
