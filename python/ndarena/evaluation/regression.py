"""How far predictions are from the numbers they should be (DL4J: ``RegressionEvaluation``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ndarena.evaluation import plots, text
from ndarena.evaluation.base import JsonForm, array_of, is_whole, tree_of
from ndarena.evaluation.rows import kept_elements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RegressionEvaluation"]

Row = np.ndarray[Any, np.dtype[np.float64]]
NAME = str | int | float | np.generic
PRECISION = 5
SUMS = (
    "count",
    "squared_errors",
    "absolute_errors",
    "labels",
    "predictions",
    "labels_squared",
    "predictions_squared",
    "products",
)
COLUMNS = {
    "MSE": "mean_squared_error",
    "MAE": "mean_absolute_error",
    "RMSE": "root_mean_squared_error",
    "RSE": "relative_squared_error",
    "PC": "pearson_correlation",
    "R^2": "r_squared",
}


class RegressionEvaluation(JsonForm):
    """Errors, correlation and explained variance per column (DL4J: ``RegressionEvaluation``).

    It holds sums of distances to the first row, so that constant labels and far ones do no harm.

    Parameters
    ----------
    columns : sequence of str or int, optional
        Names of the columns, or how many there are; default: as many as the first labels have.

    Raises
    ------
    ValueError
        Columns that are neither; in every metric: nothing was evaluated yet, or there is no such column.
    """

    java_class = "org.nd4j.evaluation.regression.RegressionEvaluation"

    def __init__(self, *, columns: Sequence[str] | int | None = None) -> None:
        self._columns = None if columns is None else _names(columns)
        self.reset()

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self._sums: dict[str, Row] = {}
        self._first: tuple[Row, Row] = (np.zeros(0), np.zeros(0))

    def new_instance(self) -> Self:
        """Return an empty object with the same settings."""
        return type(self)(columns=self._columns)

    # Data.

    def eval(self, labels: Any, predictions: Any, mask: Any = None, metadata: Any = None) -> None:
        """Count a batch.

        Parameters
        ----------
        labels, predictions : array_like
            ``[N, columns]``, ``[N, columns, T]`` or ``[N, columns, H, W]``.
        mask : array_like, optional
            ``[N, 1]`` or ``[N, H, W]``, 0 where a row does not count; ``[N, T]``, exactly 1 where a step
            counts; or of the labels' shape, 0 where a value does not count. A batch that is masked as a whole
            is ignored.

        Raises
        ------
        ValueError
            Shapes that do not agree, or NaN among the predictions.
        """
        y, p, keep = kept_elements(labels, predictions, mask)
        if not keep.any():
            return
        self._check_columns(y.shape[1])
        first = keep.argmax(axis=0)
        column = np.arange(y.shape[1])
        origin = y[first, column], p[first, column]
        y, p = np.where(keep, y, 0), np.where(keep, p, 0)
        error = p - y
        dy, dp = ((v - o) * keep for v, o in zip((y, p), origin, strict=True))
        terms = (keep, error * error, np.abs(error), dy, dp, dy * dy, dp * dp, dy * dp)
        sums = {name: term.sum(axis=0, dtype=np.float64) for name, term in zip(SUMS, terms, strict=True)}
        self._add(sums, origin)

    def merge(self, other: RegressionEvaluation) -> None:
        """Count what the other object counted as well; it stays as it is. Without names it takes the other's.

        Raises
        ------
        TypeError
            An object of another class.
        ValueError
            One of another number of columns.
        """
        self._check_mergeable(other)
        for known in (other._columns, other._sums.get("count")):
            if known is not None:
                self._check_columns(len(known))
        if other._sums:
            self._add(other._sums, other._first)
        if self._columns is None:
            self._columns = other._columns

    def _check_columns(self, columns: int) -> None:
        """Refuse another number of columns than are named or were there."""
        if self._columns is not None and columns != len(self._columns):
            raise ValueError(f"{columns} columns, where {len(self._columns)} are named")
        if self._sums and columns != len(self._sums["count"]):
            raise ValueError(f"{columns} columns, where there were {len(self._sums['count'])}")

    def _add(self, sums: dict[str, Row], origin: tuple[Row, Row]) -> None:
        if not self._sums:
            self._sums = {name: np.zeros_like(value) for name, value in sums.items()}
            self._first = origin[0].copy(), origin[1].copy()
        mine = self._sums
        for own, new in zip(self._first, origin, strict=True):
            np.copyto(own, new, where=mine["count"] == 0)
        moved = _moved(sums, *(new - own for own, new in zip(self._first, origin, strict=True)))
        for name, value in moved.items():
            mine[name] += value

    # Metrics.

    def _seen(self) -> dict[str, Row]:
        if not self._sums:
            raise ValueError("nothing was evaluated yet")
        return self._sums

    @property
    def num_columns(self) -> int:
        """How many columns there are."""
        return len(self._seen()["count"])

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self._columns) if self._columns else [f"col_{i}" for i in range(self.num_columns)]

    def _metric(self, of: Callable[[dict[str, Row]], Row], index: int | None) -> float:
        sums = self._seen()
        if index is not None and not 0 <= index < self.num_columns:
            raise ValueError(f"there is no column {index} among {self.num_columns}")
        with np.errstate(divide="ignore", invalid="ignore"):
            values = of(sums)
        return float(values.mean() if index is None else values[index])

    def mean_squared_error(self, index: int | None = None) -> float:
        """Return the mean squared error of a column; without index the mean of them, as in all metrics."""
        return self._metric(lambda s: s["squared_errors"] / s["count"], index)

    def mean_absolute_error(self, index: int | None = None) -> float:
        """Return the mean absolute error."""
        return self._metric(lambda s: s["absolute_errors"] / s["count"], index)

    def root_mean_squared_error(self, index: int | None = None) -> float:
        """Return the root of the mean squared error."""
        return self._metric(lambda s: np.sqrt(s["squared_errors"] / s["count"]), index)

    def relative_squared_error(self, index: int | None = None) -> float:
        """Return the squared errors in relation to those of the mean label; infinite for constant labels."""
        return self._metric(_relative_squared_error, index)

    def r_squared(self, index: int | None = None) -> float:
        """Return the coefficient of determination, 1 less the relative squared error."""
        return self._metric(lambda s: 1 - _relative_squared_error(s), index)

    def pearson_correlation(self, index: int | None = None) -> float:
        """Return Pearson's correlation coefficient; NaN where labels or predictions are constant."""

        def of(s: dict[str, Row]) -> Row:
            together = s["products"] - s["labels"] * s["predictions"] / s["count"]
            correlation: Row = together / np.sqrt(_spread(s, "labels") * _spread(s, "predictions"))
            return correlation

        return self._metric(of, index)

    # Text.

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        if not self._sums:
            return "RegressionEvaluation: No Data"
        first = max(map(len, self.column_names)) + 5
        width = PRECISION + 10
        lines = [f"{'Column':{first}}" + "".join(f"{title:{width}}" for title in COLUMNS)]
        for i, name in enumerate(self.column_names):
            values = (text.scientific(getattr(self, metric)(i), PRECISION) for metric in COLUMNS.values())
            lines.append(f"{name:{first}}" + "".join(f"{value:{width}}" for value in values))
        return "\n".join([*lines, ""])

    def plot(self, what: str = "root_mean_squared_error", *, ax: Any = None) -> Any:
        """Draw a metric of every column in ``ax``, or in a new figure; return the axes.

        Another ``what`` is a `ValueError`; without matplotlib it is an `ImportError`.

        Parameters
        ----------
        what : str
            The name of a metric.
        """
        metric = getattr(self, plots.choice(what, tuple(COLUMNS.values())))
        values = {what: [metric(i) for i in range(self.num_columns)]}
        return plots.bars(ax, values, self.column_names, title=what.replace("_", " ").capitalize())

    # JSON.

    def tree(self) -> dict[str, Any]:
        """Return the fields as DL4J names them."""
        tree: dict[str, Any] = {
            "axis": 1,
            "initialized": bool(self._sums),
            "columnNames": self.column_names if self._sums or self._columns else None,
            "precision": PRECISION,
        }
        if self._sums:
            (y, p), sums = self._first, self._sums
            plain = _moved(sums, y, p)
            tree |= {
                "exampleCountPerColumn": tree_of(sums["count"]),
                "labelsSumPerColumn": tree_of(plain["labels"]),
                "sumSquaredErrorsPerColumn": tree_of(sums["squared_errors"]),
                "sumAbsErrorsPerColumn": tree_of(sums["absolute_errors"]),
                "currentMean": tree_of(_mean(plain, "labels")),
                "currentPredictionMean": tree_of(_mean(plain, "predictions")),
                "sumOfProducts": tree_of(plain["products"]),
                "sumSquaredLabels": tree_of(plain["labels_squared"]),
                "sumSquaredPredicted": tree_of(plain["predictions_squared"]),
                "sumLabels": tree_of(plain["labels"]),
                "distances": {name: tree_of(value) for name, value in sums.items()},
                "origin": [tree_of(y), tree_of(p)],
            }
        return tree

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return the object that has these fields."""
        evaluation = cls(columns=tree["columnNames"])
        if not tree["initialized"]:
            return evaluation
        if "distances" in tree:
            evaluation._sums = {name: array_of(tree["distances"][name]) for name in SUMS}
            evaluation._first = array_of(tree["origin"][0]), array_of(tree["origin"][1])
            return evaluation
        count, *others = (
            array_of(tree[name]).ravel()
            for name in (
                "exampleCountPerColumn",
                "sumSquaredErrorsPerColumn",
                "sumAbsErrorsPerColumn",
                "sumLabels",
                "currentPredictionMean",
                "sumSquaredLabels",
                "sumSquaredPredicted",
                "sumOfProducts",
            )
        )
        others[3] *= count
        evaluation._sums = dict(zip(SUMS, (count, *others), strict=True))
        evaluation._first = np.zeros_like(count), np.zeros_like(count)
        return evaluation


def _names(columns: Any) -> list[str]:
    """Return the names that were given, or those of so many columns."""
    if is_whole(columns) and columns > 0:
        return [f"col_{i}" for i in range(columns)]
    row = hasattr(columns, "__len__") and not isinstance(columns, str | bytes)
    row = row and getattr(columns, "ndim", 1) == 1
    if not row or not len(columns) or not all(isinstance(name, NAME) for name in columns):
        raise ValueError(f"columns must be names, or a number from 1 on, not {columns!r:.100}")
    return [str(name) for name in columns]


def _moved(sums: dict[str, Row], y: Row, p: Row) -> dict[str, Row]:
    """Return the sums of distances to an origin that lies so far below theirs."""
    n, sy, sp = sums["count"], sums["labels"], sums["predictions"]
    return {
        **sums,
        "labels": sy + n * y,
        "predictions": sp + n * p,
        "labels_squared": sums["labels_squared"] + 2 * y * sy + n * y * y,
        "predictions_squared": sums["predictions_squared"] + 2 * p * sp + n * p * p,
        "products": sums["products"] + y * sp + p * sy + n * y * p,
    }


def _spread(sums: dict[str, Row], name: str) -> Row:
    """Return the sum of squared distances to the mean."""
    return sums[f"{name}_squared"] - sums[name] ** 2 / sums["count"]


def _relative_squared_error(sums: dict[str, Row]) -> Row:
    return sums["squared_errors"] / _spread(sums, "labels")


def _mean(sums: dict[str, Row], name: str) -> Row:
    return sums[name] / np.maximum(sums["count"], 1)
