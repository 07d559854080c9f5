"""Whether probabilities mean what they say (DL4J: ``EvaluationCalibration``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ndarena.evaluation import plots
from ndarena.evaluation.base import JsonForm, array_of, at_least, binary_tree_of, tree_of
from ndarena.evaluation.rows import check_probabilities, kept_rows

__all__ = ["EvaluationCalibration", "Histogram", "ReliabilityDiagram"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
HISTOGRAMS = {"residuals": "|label - probability|", "probabilities": "probability"}
FIELDS = {
    "bin_positives": "rDiagBinPosCount",
    "bin_totals": "rDiagBinTotalCount",
    "bin_sums": "rDiagBinSumPredictions",
    "labels": "labelCountsEachClass",
    "predictions": "predictionCountsEachClass",
    "residuals": "residualPlotOverall",
    "residuals_by_class": "residualPlotByLabelClass",
    "probabilities": "probHistogramOverall",
    "probabilities_by_class": "probHistogramByLabelClass",
}
ROWS = frozenset({"labels", "predictions", "residuals", "probabilities"})  # the others are tables
WHOLE = frozenset({"bin_positives", "bin_totals", "labels", "predictions"})  # which DL4J counts in LONG


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityDiagram:
    """How often a class was true where it was given about the same probability (``ReliabilityDiagram``)."""

    mean_predicted: Floats
    """The mean probability of each bin."""
    fraction_positive: Floats
    """How often the class was true in each bin."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts in bins of equal width (DL4J: ``Histogram``)."""

    lower: float
    """Where the first bin begins."""
    upper: float
    """Where the last bin ends."""
    counts: Counts
    """How many values lie in each bin."""


class EvaluationCalibration(JsonForm):
    """Reliability diagrams, and histograms of residuals and probabilities (DL4J: ``EvaluationCalibration``).

    Parameters
    ----------
    reliability_bins : int
        Bins of the reliability diagrams.
    histogram_bins : int
        Bins of the histograms.
    exclude_empty_bins : bool
        Whether a reliability diagram leaves out bins without a probability; otherwise they hold NaN.

    Raises
    ------
    ValueError
        Fewer than one bin; in every result: nothing was evaluated yet, or there is no such class.
    """

    java_class = "org.nd4j.evaluation.classification.EvaluationCalibration"

    def __init__(
        self, *, reliability_bins: int = 10, histogram_bins: int = 50, exclude_empty_bins: bool = True
    ) -> None:
        self.reliability_bins = at_least(1, reliability_bins, "reliability_bins")
        self.histogram_bins = at_least(1, histogram_bins, "histogram_bins")
        self.exclude_empty_bins = exclude_empty_bins
        self.reset()

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self._sums: dict[str, Floats] = {}

    def new_instance(self) -> Self:
        """Return an empty object with the same settings."""
        return type(self)(
            reliability_bins=self.reliability_bins,
            histogram_bins=self.histogram_bins,
            exclude_empty_bins=self.exclude_empty_bins,
        )

    # Data.

    def eval(self, labels: Any, predictions: Any, mask: Any = None, metadata: Any = None) -> None:
        """Count a batch.

        Parameters
        ----------
        labels, predictions : array_like
            ``[N, classes]``, ``[N, classes, T]`` or ``[N, classes, H, W]``, both probabilities.
        mask : array_like, optional
            ``[N, 1]`` or ``[N, H, W]``, 0 where a row does not count; ``[N, T]``, exactly 1 where a step
            counts. A batch that is masked as a whole is ignored.

        Raises
        ------
        ValueError
            Shapes that do not agree, NaN among the predictions, or what is no probability.
        """
        y, p = kept_rows(labels, predictions, mask)
        check_probabilities(p, "predictions")
        if not len(y):
            return
        classes = y.shape[1]
        one = np.ones_like(p)
        bins, residual_bins, probability_bins = (
            _bins(p, self.reliability_bins),
            _bins(np.abs(y - p), self.histogram_bins),
            _bins(p, self.histogram_bins),
        )
        self._add(
            {
                "bin_positives": _table(bins, y, self.reliability_bins),
                "bin_totals": _table(bins, one, self.reliability_bins),
                "bin_sums": _table(bins, p, self.reliability_bins),
                "labels": y.sum(axis=0),
                "predictions": np.bincount(p.argmax(axis=1), minlength=classes).astype(np.float64),
                "residuals": _table(residual_bins, one, self.histogram_bins).sum(axis=1),
                "residuals_by_class": _table(residual_bins, y, self.histogram_bins),
                "probabilities": _table(probability_bins, one, self.histogram_bins).sum(axis=1),
                "probabilities_by_class": _table(probability_bins, y, self.histogram_bins),
            }
        )

    def merge(self, other: EvaluationCalibration) -> None:
        """Count what the other object counted as well; it stays as it is.

        Raises
        ------
        TypeError
            An object of another class.
        ValueError
            One of another number of classes, or of bins.
        """
        self._check_mergeable(other)
        mine, theirs = ((e.reliability_bins, e.histogram_bins) for e in (self, other))
        if mine != theirs:
            raise ValueError(f"{theirs[0]} and {theirs[1]} bins, where there are {mine[0]} and {mine[1]}")
        if other._sums:
            self._add(other._sums)

    def _add(self, sums: dict[str, Floats]) -> None:
        if not self._sums:
            self._sums = {name: value.copy() for name, value in sums.items()}
            return
        old, new = len(self._sums["labels"]), len(sums["labels"])
        if old != new:
            raise ValueError(f"{new} classes, where there were {old}")
        for name, value in sums.items():
            self._sums[name] += value

    # Results.

    def _seen(self, index: int | None = None) -> dict[str, Floats]:
        if not self._sums:
            raise ValueError("nothing was evaluated yet")
        if index is not None and not 0 <= index < self.num_classes:
            raise ValueError(f"there is no class {index} among {self.num_classes}")
        return self._sums

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._seen()["labels"])

    @property
    def label_counts(self) -> Counts:
        """How many rows are of each class, ``[classes]``."""
        return _whole(self._seen()["labels"])

    @property
    def prediction_counts(self) -> Counts:
        """How often each class had the greatest probability, ``[classes]``."""
        return _whole(self._seen()["predictions"])

    def reliability_diagram(self, i: int) -> ReliabilityDiagram:
        """Return how often class ``i`` was true, by the probability it was given."""
        sums = self._seen(i)
        totals, predicted, positive = (sums[n][:, i] for n in ("bin_totals", "bin_sums", "bin_positives"))
        if self.exclude_empty_bins:
            filled = totals > 0
            totals, predicted, positive = totals[filled], predicted[filled], positive[filled]
        with np.errstate(invalid="ignore"):
            return ReliabilityDiagram(predicted / totals, positive / totals)

    def residual_plot(self, i: int | None = None) -> Histogram:
        """Return the histogram of ``|label - probability|``: of all, or of the rows of class ``i``."""
        return self._histogram("residuals", i)

    def probability_histogram(self, i: int | None = None) -> Histogram:
        """Return the histogram of the probabilities: of all, or of class ``i`` in its rows."""
        return self._histogram("probabilities", i)

    def _histogram(self, name: str, i: int | None) -> Histogram:
        sums = self._seen(i)
        return Histogram(0.0, 1.0, _whole(sums[name] if i is None else sums[f"{name}_by_class"][:, i]))

    def plot(self, what: str = "reliability", i: int | None = None, *, ax: Any = None) -> Any:
        """Draw reliability diagrams or a histogram in ``ax``, or in a new figure; return the axes.

        Another ``what`` is a `ValueError`; without matplotlib it is an `ImportError`.

        Parameters
        ----------
        what : str
            ``"reliability"``, ``"residuals"`` or ``"probabilities"``.
        i : int, optional
            The class; default: every class, or all of them together.
        """
        if plots.choice(what, ("reliability", *HISTOGRAMS)) == "reliability":
            classes = range(self.num_classes) if i is None else [i]
            found = {f"class {c}": self.reliability_diagram(c) for c in classes}
            return plots.reliability(
                ax, {c: (d.mean_predicted, d.fraction_positive) for c, d in found.items()}
            )
        title = what.capitalize() if i is None else f"{what.capitalize()} of class {i}"
        return plots.histogram(ax, self._histogram(what, i), title=title, x=HISTOGRAMS[what])

    # Text and JSON.

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        return f"EvaluationCalibration(nBins={self.reliability_bins})"

    def tree(self) -> dict[str, Any]:
        """Return the fields as DL4J names them."""
        return {
            "reliabilityDiagNumBins": self.reliability_bins,
            "histogramNumBins": self.histogram_bins,
            "excludeEmptyBins": self.exclude_empty_bins,
            "axis": 1,
            **{
                java: _tree_of(name, self._sums[name]) if self._sums else None
                for name, java in FIELDS.items()
            },
        }

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return the object that has these fields."""
        evaluation = cls(
            reliability_bins=tree["reliabilityDiagNumBins"],
            histogram_bins=tree["histogramNumBins"],
            exclude_empty_bins=tree["excludeEmptyBins"],
        )
        if tree[FIELDS["labels"]] is not None:
            read = {name: array_of(tree[java]).astype(np.float64) for name, java in FIELDS.items()}
            evaluation._sums = {name: sums.ravel() if name in ROWS else sums for name, sums in read.items()}
        return evaluation


def _bins(values: Floats, bins: int) -> Counts:
    """Return the bin of every value; 1 is in the last one."""
    edges = np.arange(bins) * (1 / bins)
    return np.searchsorted(edges, values, side="right") - 1


def _table(bins: Counts, weights: Floats, count: int) -> Floats:
    """Return the sums of the weights by bin and class, ``[bins, classes]``."""
    classes = bins.shape[1]
    places = bins * classes + np.arange(classes)
    sums: Floats = np.bincount(places.ravel(), weights.ravel(), count * classes).astype(np.float64)
    return sums.reshape(count, classes)


def _tree_of(name: str, sums: Floats) -> dict[str, Any]:
    """Return sums as DL4J writes them: tables in base64, rows as text; parts of labels stay DOUBLE."""
    counts = _whole(sums)
    values = counts if name in WHOLE and (counts == sums).all() else sums
    return tree_of(values[None]) if name in ROWS else binary_tree_of(values)


def _whole(values: Floats) -> Counts:
    return np.rint(values).astype(np.int64)
