"""The confusion matrix and its counters in DL4J's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena.evaluation.ratios import Counts

__all__ = ["counters", "matrix_of", "tree_of"]

Matrix = np.ndarray[Any, np.dtype[np.int64]]
NAMES = ("truePositives", "trueNegatives", "falsePositives", "falseNegatives")


def counters(counts: Sequence[Counts]) -> dict[str, Any]:
    """Return the counts of all classes, by kind; a class without any is left out."""
    return {name: _counter([of_class[k] for of_class in counts]) for k, name in enumerate(NAMES)}


def _counter(values: list[int]) -> dict[str, Any]:
    return {
        "map": {str(i): float(value) for i, value in enumerate(values) if value},
        "totalCount": float(sum(values)),
        "dirty": False,
        "empty": not any(values),
    }


def tree_of(matrix: Matrix) -> dict[str, Any]:
    """Return the matrix: by actual class the predicted classes and their counts.

    The lists are as long as the class has rows, as DL4J makes them: zeros fill them up.
    """
    rows: dict[str, list[list[int]]] = {}
    for i, row in enumerate(matrix):
        (classes,) = row.nonzero()
        if len(classes):
            filling = [0] * int(row.sum() - len(classes))
            rows[str(i)] = [classes.tolist() + filling, row[classes].tolist() + filling]
    return {"classes": list(range(len(matrix))), "matrix": rows}


def matrix_of(tree: dict[str, Any]) -> Matrix:
    """Return the matrix that `tree_of` describes."""
    classes = len(tree["classes"])
    counts = np.zeros((classes, classes), np.int64)
    for actual, (predicted, times) in tree["matrix"].items():
        np.add.at(counts[int(actual)], predicted, times)
    return counts
