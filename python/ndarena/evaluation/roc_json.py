"""ROC curves and counts in DL4J's JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.evaluation.curves import Outcome, PrecisionRecallCurve, RocCurve

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["counts_of", "counts_tree", "outcome_of", "outcome_tree"]

Tree = dict[str, Any]
CURVES = "org.nd4j.evaluation.curves"


def _number(value: float) -> float | str:
    """Return a number; what JSON has no number for as DL4J writes it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity"


def _numbers(values: np.ndarray[Any, Any]) -> list[Any]:
    return [_number(value) for value in values.tolist()]


def _floats(values: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(value) for value in values])


def counts_tree(rows: Iterable[tuple[float, int, int]]) -> Tree:
    """Return the counts by threshold."""
    return {
        str(threshold): {"threshold": threshold, "countTruePositive": tp, "countFalsePositive": fp}
        for threshold, tp, fp in rows
    }


def counts_of(tree: Tree) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return true and false positives by ascending threshold, ``[2, thresholds]``."""
    rows = sorted(tree.values(), key=lambda row: float(row["threshold"]))
    return np.array([[row[f"count{kind}Positive"] for row in rows] for kind in ("True", "False")])


def outcome_tree(outcome: Outcome, *, exact: bool) -> Tree:
    """Return areas, and of an exact ROC the curves."""
    tree: Tree = {"auc": _number(outcome.auc), "auprc": _number(outcome.auprc)}
    if exact:
        roc, pr = outcome.roc_curve, outcome.precision_recall_curve
        tree["rocCurve"] = {
            "@class": f"{CURVES}.RocCurve",
            **{name: _numbers(getattr(roc, name)) for name in ("threshold", "fpr", "tpr")},
            "auc": tree["auc"],
        }
        tree["prCurve"] = {
            "@class": f"{CURVES}.PrecisionRecallCurve",
            **{name: _numbers(getattr(pr, name)) for name in ("threshold", "precision", "recall")},
            **{f"{name}Count": getattr(pr, name).tolist() for name in ("tp", "fp", "fn")},
            "totalCount": pr.total_count,
            "area": tree["auprc"],
        }
    return tree


def outcome_of(tree: Tree) -> Outcome:
    """Return what was saved of an exact ROC."""
    roc, pr = tree["rocCurve"], tree["prCurve"]
    return Outcome(
        tree["countActualPositive"],
        tree["countActualNegative"],
        float(tree["auc"]),
        float(tree["auprc"]),
        RocCurve(**{name: _floats(roc[name]) for name in ("threshold", "fpr", "tpr")}),
        PrecisionRecallCurve(
            threshold=_floats(pr["threshold"]),
            precision=_floats(pr["precision"]),
            recall=_floats(pr["recall"]),
            tp=np.array(pr["tpCount"], np.int64),
            fp=np.array(pr["fpCount"], np.int64),
            fn=np.array(pr["fnCount"], np.int64),
            total_count=pr["totalCount"],
        ),
    )
