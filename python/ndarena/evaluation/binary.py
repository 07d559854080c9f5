"""Several yes-or-no questions at once (DL4J: ``EvaluationBinary``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ndarena.evaluation import plots, ratios, text
from ndarena.evaluation.base import (
    JsonForm,
    at_least,
    given_numbers,
    given_probability,
    given_row,
    numbers_of,
)
from ndarena.evaluation.counted import Counted
from ndarena.evaluation.roc_per_class import ROCBinary
from ndarena.evaluation.rows import check_probabilities, kept_elements

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.evaluation.ratios import Counts

__all__ = ["EvaluationBinary"]

Matrix = np.ndarray[Any, np.dtype[np.int64]]
COUNTS = ("countTruePositive", "countTrueNegative", "countFalsePositive", "countFalseNegative")
METRICS = {"Accuracy": "accuracy", "F1": "f1", "Precision": "precision", "Recall": "recall"}
COUNTED = {
    "Total": "total_count",
    "TP": "true_positives",
    "TN": "true_negatives",
    "FP": "false_positives",
    "FN": "false_negatives",
}


class EvaluationBinary(Counted, JsonForm):
    """Counts for every output how often it was rightly on and off (DL4J: ``EvaluationBinary``).

    Metrics are those of the output ``index``; without one the average over the outputs.

    Parameters
    ----------
    decision_threshold : float or array_like, optional
        An output is on above it: one for all, or ``[outputs]``; default 0.5.
    roc_binary_steps : int, optional
        Keep `roc_binary` as well, with so many steps (0: exact).

    Raises
    ------
    ValueError
        A threshold that is no number from 0 to 1; in every metric: nothing was evaluated yet, or there is no
        such output.
    """

    java_class = "org.nd4j.evaluation.classification.EvaluationBinary"

    def __init__(self, *, decision_threshold: Any = None, roc_binary_steps: int | None = None) -> None:
        self.decision_threshold = None if decision_threshold is None else _thresholds(decision_threshold)
        if roc_binary_steps is not None:
            at_least(0, roc_binary_steps, "roc_binary_steps")
        self.roc_binary_steps = roc_binary_steps
        self.roc_binary = None if roc_binary_steps is None else ROCBinary(threshold_steps=roc_binary_steps)
        self._counted: Matrix | None = None

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self._counted = None
        if self.roc_binary is not None:
            self.roc_binary.reset()

    def new_instance(self) -> Self:
        """Return an empty object with the same settings."""
        return type(self)(decision_threshold=self.decision_threshold, roc_binary_steps=self.roc_binary_steps)

    # Data.

    def eval(self, labels: Any, predictions: Any, mask: Any = None, metadata: Any = None) -> None:
        """Count a batch.

        Parameters
        ----------
        labels, predictions : array_like
            ``[N, outputs]``, ``[N, outputs, T]`` or ``[N, outputs, H, W]``; labels are on above 0.5.
        mask : array_like, optional
            ``[N, 1]`` or ``[N, H, W]``, 0 where a row does not count; ``[N, T]``, exactly 1 where a step
            counts; or of the labels' shape, 0 where a value does not count. A batch that is masked as a whole
            is ignored.

        Raises
        ------
        ValueError
            Shapes that do not agree, NaN among the predictions, or labels that are no probabilities.
        """
        y, p, keep = kept_elements(labels, predictions, mask)
        check_probabilities(y[keep], "labels")
        if not keep.any():
            return
        self._check_outputs(y.shape[1])
        threshold = 0.5 if self.decision_threshold is None else self.decision_threshold
        on, said = y > 0.5, p > threshold
        kinds = (on & said, ~on & ~said, ~on & said, on & ~said)
        if self.roc_binary is not None:
            self.roc_binary.eval(labels, predictions, mask)
        counted = self._begin(y.shape[1])
        counted += np.array([(kind & keep).sum(axis=0) for kind in kinds])

    def _check_outputs(self, outputs: int) -> None:
        """Refuse another number of outputs than have thresholds or were there."""
        threshold = self.decision_threshold
        if threshold is not None and threshold.ndim and threshold.size != outputs:
            raise ValueError(f"{outputs} outputs, where there are {threshold.size} thresholds")
        if self._counted is not None and self._counted.shape[1] != outputs:
            raise ValueError(f"{outputs} outputs, where there were {self._counted.shape[1]}")

    def _begin(self, outputs: int) -> Matrix:
        """Return the counts, made for so many outputs if there are none."""
        if self._counted is None:
            self._counted = np.zeros((len(COUNTS), outputs), np.int64)
        return self._counted

    def merge(self, other: EvaluationBinary) -> None:
        """Count what the other object counted as well; it stays as it is.

        Raises
        ------
        TypeError
            An object of another class.
        ValueError
            One of another number of outputs, or with other ``roc_binary_steps``.
        """
        self._check_mergeable(other)
        if self.roc_binary_steps != other.roc_binary_steps:
            raise ValueError("only evaluations with the same roc_binary_steps can be merged")
        if other._counted is None:
            return
        self._check_outputs(other._counted.shape[1])
        if self.roc_binary is not None and other.roc_binary is not None:
            self.roc_binary.merge(other.roc_binary)
        counted = self._begin(other._counted.shape[1])
        counted += other._counted

    # Counts.

    def _seen(self) -> Matrix:
        if self._counted is None:
            raise ValueError("nothing was evaluated yet")
        return self._counted

    @property
    def num_outputs(self) -> int:
        """How many outputs there are."""
        return int(self._seen().shape[1])

    def _counts(self, i: int) -> Counts:
        if not 0 <= i < self.num_outputs:
            raise ValueError(f"there is no output {i} among {self.num_outputs}")
        tp, tn, fp, fn = self._seen()[:, i].tolist()
        return tp, tn, fp, fn

    def total_count(self, i: int) -> int:
        """How many values of output ``i`` were counted."""
        return sum(self._counts(i))

    # Metrics.

    def _metric(self, of: Callable[..., float], index: int | None) -> float:
        if index is not None:
            return of(*self._counts(index))
        return sum(of(*self._counts(i)) for i in range(self.num_outputs)) / self.num_outputs

    def accuracy(self, index: int | None = None) -> float:
        """Return which part of the values was right."""
        return self._metric(lambda *counts: (counts[0] + counts[1]) / max(sum(counts), 1), index)

    def precision(self, index: int | None = None) -> float:
        """Return which part of what was said to be on is on."""
        return self._metric(ratios.precision, index)

    def recall(self, index: int | None = None) -> float:
        """Return which part of what is on was said to be."""
        return self._metric(ratios.recall, index)

    def f1(self, index: int | None = None) -> float:
        """Return the harmonic mean of precision and recall."""
        return self.f_beta(1.0, index)

    def f_beta(self, beta: float, index: int | None = None) -> float:
        """Return the mean of precision and recall in which recall weighs ``beta`` times as much."""
        return self._metric(ratios.f_beta(beta), index)

    def g_measure(self, index: int | None = None) -> float:
        """Return the geometric mean of precision and recall."""
        return self._metric(ratios.g_measure, index)

    def matthews_correlation(self, index: int | None = None) -> float:
        """Return Matthews' correlation coefficient; NaN for 0/0."""
        return self._metric(ratios.matthews, index)

    def false_positive_rate(self, index: int | None = None) -> float:
        """Return which part of what is off was said to be on."""
        return self._metric(ratios.false_positive_rate, index)

    def false_negative_rate(self, index: int | None = None) -> float:
        """Return which part of what is on was said to be off."""
        return self._metric(ratios.false_negative_rate, index)

    def false_alarm_rate(self, index: int | None = None) -> float:
        """Return the mean of false positive rate and false negative rate."""
        return (self.false_positive_rate(index) + self.false_negative_rate(index)) / 2

    # Text and JSON.

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        heads = [*METRICS, *COUNTED]
        widths = [20, 12, 12, 12, 12, 8, 7, 7, 7, 7]
        rows = [["Label", *heads]]
        for i in range(self.num_outputs if self._counted is not None else 0):
            metrics = [text.decimals(getattr(self, name)(i)) for name in METRICS.values()]
            rows.append([str(i), *metrics, *(str(getattr(self, name)(i)) for name in COUNTED.values())])
        if self.roc_binary is not None:
            areas = [text.decimals(self.roc_binary.calculate_auc(i)) for i in range(len(rows) - 1)]
            rows = [[*row, area] for row, area in zip(rows, ["AUC", *areas], strict=True)]
            widths.append(12)
        return text.table(rows, widths) + (text.NO_DATA if self._counted is None else self._thresholds())

    def _thresholds(self) -> str:
        threshold = self.decision_threshold
        if threshold is None:
            return ""
        return f"\nPer-output decision thresholds: {text.java_floats(threshold)}"

    def plot(self, *, ax: Any = None) -> Any:
        """Draw accuracy, F1, precision and recall by output in ``ax``, or in a new figure; return the axes.

        Without matplotlib it is an `ImportError`.
        """
        outputs = range(self.num_outputs)
        values = {head: [getattr(self, name)(i) for i in outputs] for head, name in METRICS.items()}
        return plots.bars(ax, values, [str(i) for i in outputs], title="Metrics by output")

    def tree(self) -> dict[str, Any]:
        """Return the fields as DL4J names them."""
        counts = [None] * len(COUNTS) if self._counted is None else self._counted.tolist()
        threshold = self.decision_threshold
        return {
            **dict(zip(COUNTS, counts, strict=True)),
            "rocBinary": None if self.roc_binary is None else self.roc_binary.tree(),
            "decisionThreshold": None if threshold is None else threshold.tolist(),
        }

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return the object that has these fields."""
        roc = None if tree["rocBinary"] is None else ROCBinary.of_tree(tree["rocBinary"])
        evaluation = cls(
            decision_threshold=numbers_of(tree["decisionThreshold"]),
            roc_binary_steps=None if roc is None else roc.threshold_steps,
        )
        evaluation.roc_binary = roc
        if tree[COUNTS[0]] is not None:
            evaluation._counted = np.array([tree[name] for name in COUNTS], np.int64)
        return evaluation


def _thresholds(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a threshold for all outputs, ``[]``, or those of each, ``[outputs]``."""
    name = "decision_threshold"
    if given_numbers(value, name).ndim:
        return given_row(value, name, 1)
    return np.array(given_probability(np.asarray(value)[()], name))
