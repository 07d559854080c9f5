"""What follows from true and false positives and negatives; 0/0 is 0, except in Matthews' correlation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Counts",
    "f_beta",
    "false_negative_rate",
    "false_positive_rate",
    "g_measure",
    "matthews",
    "precision",
    "recall",
]

Counts = tuple[int, int, int, int]  # true positives, true negatives, false positives, false negatives


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def precision(tp: int, _tn: int, fp: int, _fn: int) -> float:
    """Return which part of what was predicted is right."""
    return _ratio(tp, tp + fp)


def recall(tp: int, _tn: int, _fp: int, fn: int) -> float:
    """Return which part of what is there was found."""
    return _ratio(tp, tp + fn)


def f_beta(beta: float) -> Callable[[int, int, int, int], float]:
    """Return the mean of precision and recall in which recall weighs ``beta`` times as much."""

    def of(tp: int, tn: int, fp: int, fn: int) -> float:
        p, r = precision(tp, tn, fp, fn), recall(tp, tn, fp, fn)
        return _ratio((1 + beta**2) * p * r, beta**2 * p + r)

    return of


def g_measure(tp: int, tn: int, fp: int, fn: int) -> float:
    """Return the geometric mean of precision and recall."""
    return math.sqrt(precision(tp, tn, fp, fn) * recall(tp, tn, fp, fn))


def matthews(tp: int, tn: int, fp: int, fn: int) -> float:
    """Return Matthews' correlation coefficient."""
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else math.nan


def false_positive_rate(_tp: int, tn: int, fp: int, _fn: int) -> float:
    """Return which part of what is not there was predicted."""
    return _ratio(fp, fp + tn)


def false_negative_rate(tp: int, _tn: int, _fp: int, fn: int) -> float:
    """Return which part of what is there was not found."""
    return _ratio(fn, fn + tp)
