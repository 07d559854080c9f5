"""What scores give at every threshold: ROC and precision-recall curves, their areas and look-ups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "ConfusionCounts",
    "CurvePoint",
    "Outcome",
    "Points",
    "PrecisionRecallCurve",
    "RocCurve",
    "outcome",
]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]


class Points(NamedTuple):
    """How many positive and negative rows have a score from a threshold on, thresholds ascending."""

    threshold: Floats
    tp: Counts
    fp: Counts


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """False and true positive rates by threshold, each ``[points]`` (DL4J: ``RocCurve``)."""

    threshold: Floats
    """Scores from which on a row is said to be positive; at 1 none is."""
    fpr: Floats
    """Which part of the negative rows is said to be positive."""
    tpr: Floats
    """Which part of the positive rows is said to be."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a precision-recall curve (DL4J: ``PrecisionRecallCurve.Point``)."""

    index: int
    """Its place in the curve."""
    threshold: float
    """The score from which on a row is said to be positive."""
    precision: float
    """Which part of what is said to be positive is."""
    recall: float
    """Which part of what is positive is said to be."""


@dataclass(frozen=True, slots=True)
class ConfusionCounts:
    """Right and wrong decisions at a threshold (DL4J: ``PrecisionRecallCurve.Confusion``)."""

    tp: int
    """True positives."""
    fp: int
    """False positives."""
    fn: int
    """False negatives."""
    tn: int
    """True negatives."""


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall by ascending threshold, each ``[points]`` (DL4J: ``PrecisionRecallCurve``)."""

    threshold: Floats
    """Scores from which on a row is said to be positive; at 1 none is."""
    precision: Floats
    """Which part of what is said to be positive is; 1 where nothing is."""
    recall: Floats
    """Which part of what is positive is said to be."""
    tp: Counts
    """True positives."""
    fp: Counts
    """False positives."""
    fn: Counts
    """False negatives."""
    total_count: int
    """How many rows there are."""

    def point_at_threshold(self, v: float) -> CurvePoint:
        """Return the first point whose threshold is at least ``v``; ``v`` beyond 0 and 1: `ValueError`."""
        return self._point(self._first(self.threshold, v, "threshold"))

    def point_at_precision(self, v: float) -> CurvePoint:
        """Return the first point whose precision is at least ``v``; ``v`` beyond 0 and 1: `ValueError`."""
        return self._point(self._first(self.precision, v, "precision"))

    def point_at_recall(self, v: float) -> CurvePoint:
        """Return the best precision of the smallest recall that is at least ``v``, at its lowest threshold.

        ``v`` beyond 0 and 1, or rows without a positive one: `ValueError`.
        """
        self._first(self.recall, v, "recall")
        smallest = self.recall == self.recall[self.recall >= v].min()
        return self._point(int(np.where(smallest, self.precision, -1).argmax()))

    def confusion_matrix_at_threshold(self, v: float) -> ConfusionCounts:
        """Return the decisions at `point_at_threshold`."""
        i = self._first(self.threshold, v, "threshold")
        tp, fp, fn = (int(counts[i]) for counts in (self.tp, self.fp, self.fn))
        return ConfusionCounts(tp, fp, fn, self.total_count - tp - fp - fn)

    def _first(self, values: Floats, v: float, what: str) -> int:
        reached = values >= v
        if not 0 <= v <= 1 or not reached.any():
            raise ValueError(
                f"no point has a {what} of {v!r}: it must be from 0 to 1, with data of both kinds"
            )
        return int(reached.argmax())

    def _point(self, i: int) -> CurvePoint:
        return CurvePoint(i, float(self.threshold[i]), float(self.precision[i]), float(self.recall[i]))


class Outcome(NamedTuple):
    """All that follows from the scores of one column."""

    positives: int
    negatives: int
    auc: float
    auprc: float
    roc_curve: RocCurve
    precision_recall_curve: PrecisionRecallCurve


def outcome(points: Points, *, exact: bool, thinned: bool) -> Outcome:
    """Return areas and curves, which may be thinned: the areas are those of all points."""
    threshold, tp, fp = points
    positives, negatives = int(tp[0]), int(fp[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        fpr, tpr = fp / negatives, tp / positives
        precision = np.where(tp + fp > 0, tp / (tp + fp), 1.0)
    roc = _bends(fpr, tpr) if thinned else slice(None)
    rates = [values[roc][:: -1 if exact else 1] for values in (threshold, fpr, tpr)]
    of = _bends(tpr, precision) if thinned else slice(None)
    return Outcome(
        positives,
        negatives,
        _area(*rates[1:]) if positives and negatives else math.nan,
        _area(tpr[of], precision[of]),
        RocCurve(*rates),
        PrecisionRecallCurve(
            threshold=threshold[of],
            precision=precision[of],
            recall=tpr[of],
            tp=tp[of],
            fp=fp[of],
            fn=positives - tp[of],
            total_count=positives + negatives,
        ),
    )


def _area(x: Floats, y: Floats) -> float:
    """Return the area in trapezoids, added up one after the other: DL4J's to the last digit."""
    return float((np.abs(np.diff(x)) * (y[1:] + y[:-1]) / 2).cumsum()[-1])


def _bends(x: Floats, y: Floats) -> Any:
    """Return which points are not amid two that have the same x, or the same y."""
    keep = np.ones(len(x), np.bool_)
    for values in (x, y):
        same = values[1:] == values[:-1]
        keep[1:-1] &= ~(same[1:] & same[:-1])
    return keep
