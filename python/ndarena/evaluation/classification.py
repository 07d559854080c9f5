"""Classification with one true class per example (DL4J: ``Evaluation``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from ndarena.evaluation import matrix_json, plots, ratios, text
from ndarena.evaluation.base import JsonForm, at_least, class_axis, given_probability, given_row, numbers_of
from ndarena.evaluation.counted import Counted
from ndarena.evaluation.records import WithRecords
from ndarena.evaluation.rows import examples_of, kept_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ndarena.evaluation.ratios import Counts

__all__ = ["Evaluation"]

Averaging = Literal["macro", "micro"] | None
Matrix = np.ndarray[Any, np.dtype[np.int64]]
TWO = 2
PRINTED = 20  # the report has a confusion matrix of at most so many classes


class Evaluation(Counted, WithRecords, JsonForm):
    """Counts which class was predicted for which, and what follows from it (DL4J: ``Evaluation``).

    Parameters
    ----------
    num_classes : int, optional
        Default: as many as the first labels have columns (one column: two classes).
    labels : sequence of str, optional
        Names of the classes; default: their numbers.
    top_n : int
        For `top_n_accuracy`: a prediction is right if fewer than ``top_n`` classes score higher.
    binary_decision_threshold : float, optional
        From 0 to 1, with two classes: the second one is predicted above it; default: the greater of two, or
        above 0.5.
    cost_array : array_like, optional
        ``[classes]``, factors for the predictions: finite numbers from 0 on.
    binary_positive_class : int, optional
        With two classes: the one whose values metrics give; ``None``: averages.
    axis : int
        The axis of the classes: from 1 on, or below 0, counted from the last one.

    Raises
    ------
    ValueError
        A setting out of its range, costs or a threshold for another number of classes; in every
        metric: nothing was evaluated yet.
    """

    java_class = "org.nd4j.evaluation.classification.Evaluation"

    def __init__(  # noqa: PLR0913 - the settings of DL4J
        self,
        num_classes: int | None = None,
        *,
        labels: Sequence[str] | None = None,
        top_n: int = 1,
        binary_decision_threshold: float | None = None,
        cost_array: Any = None,
        binary_positive_class: int | None = 1,
        axis: int = 1,
    ) -> None:
        if binary_positive_class not in (None, 0, 1):
            raise ValueError(f"binary_positive_class must be 0, 1 or None, not {binary_positive_class!r}")
        if labels is not None and (isinstance(labels, str) or not hasattr(labels, "__len__")):
            raise ValueError(f"labels must be a sequence of names, one per class, not {labels!r}")
        if num_classes is not None:
            num_classes = at_least(1, num_classes, "num_classes")
        if labels is not None and num_classes is not None and len(labels) != num_classes:
            raise ValueError(f"{len(labels)} labels for {num_classes} classes")
        self._names = None if labels is None else [str(name) for name in labels]
        self._asked = num_classes if labels is None else len(labels)
        self.top_n, self.axis = at_least(1, top_n, "top_n"), class_axis(axis)
        self.binary_decision_threshold = (
            None
            if binary_decision_threshold is None
            else given_probability(binary_decision_threshold, "binary_decision_threshold")
        )
        self.binary_positive_class = binary_positive_class
        self.cost_array = None if cost_array is None else given_row(cost_array, "cost_array")
        if self._asked is not None:
            self._check_settings(self._asked)
        self.reset()

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self._matrix: Matrix | None = None
        self._top_n_correct = self._top_n_total = 0
        self._predictions = []
        if self._asked is not None:
            self._begin(self._asked)

    def new_instance(self) -> Self:
        """Return an empty object with the same settings."""
        return type(self)(
            None if self._names is not None else self._asked,
            labels=self._names,
            top_n=self.top_n,
            binary_decision_threshold=self.binary_decision_threshold,
            cost_array=self.cost_array,
            binary_positive_class=self.binary_positive_class,
            axis=self.axis,
        )

    def _check_settings(self, classes: int) -> None:
        """Refuse costs and a threshold that are not for so many classes."""
        if self.cost_array is not None and self.cost_array.shape != (classes,):
            raise ValueError(f"cost_array must have shape {(classes,)}, not {self.cost_array.shape}")
        if self.binary_decision_threshold is not None and classes > TWO:
            raise ValueError(f"binary_decision_threshold is for two classes, not for {classes}")

    def _begin(self, classes: int) -> Matrix:
        """Return the matrix, made for so many classes if there is none."""
        if self._matrix is None:
            self._matrix = np.zeros((classes, classes), np.int64)
        elif len(self._matrix) != classes:
            raise ValueError(f"{classes} classes, where there were {len(self._matrix)}")
        return self._matrix

    # Data.

    def eval(
        self,
        labels: Any,
        predictions: Any,
        mask: Any = None,
        metadata: Any = None,
    ) -> None:
        """Count a batch.

        Parameters
        ----------
        labels, predictions : array_like
            ``[N, classes]`` or ``[N, classes, T]``; of labels the greatest is true. One column: two classes.
        mask : array_like, optional
            ``[N, 1]``, 0 where a row does not count; ``[N, T]``, exactly 1 where a step counts. A batch that
            is masked as a whole is ignored.
        metadata : sequence, optional
            ``[N]``, something of every example, for `prediction_errors` and its relatives.

        Raises
        ------
        ValueError
            Shapes that do not agree, a threshold for more than two classes, or NaN among the predictions.
        """
        y, p = kept_rows(labels, predictions, mask, self.axis)
        if not len(y):
            return
        records = None if metadata is None else examples_of(labels, mask, metadata, self.axis)
        classes = max(y.shape[1], TWO)
        self._check_settings(classes)
        matrix = self._begin(classes)
        actual = (y[:, 0] > 0.5).astype(np.intp) if y.shape[1] == 1 else y.argmax(axis=1)
        predicted = self._predicted(p)
        matrix += np.bincount(actual * classes + predicted, minlength=classes**2).reshape(classes, classes)
        if records is not None:
            self._remember(actual.tolist(), predicted.tolist(), records)
        if self.top_n > 1 and p.shape[1] > 1:
            higher = (p > p[np.arange(len(p)), actual][:, None]).sum(axis=1)
            self._top_n_correct += int((higher < self.top_n).sum())
            self._top_n_total += len(p)

    def _predicted(self, p: np.ndarray[Any, Any]) -> Matrix:
        threshold = self.binary_decision_threshold
        if threshold is not None or p.shape[1] == 1:
            above: Matrix = (p[:, -1] > (0.5 if threshold is None else threshold)).astype(np.int64)
            return above
        greatest: Matrix = (p if self.cost_array is None else p * self.cost_array).argmax(axis=1)
        return greatest

    def merge(self, other: Evaluation) -> None:
        """Count what the other object counted as well; it stays as it is.

        An object without names takes those of one that has counted.

        Raises
        ------
        TypeError
            An object of another class.
        ValueError
            One of another ``top_n`` (an empty one, too), or of another number of classes than there are, or
            than costs and threshold are for.
        """
        self._check_mergeable(other)
        if other.top_n != self.top_n:
            raise ValueError(
                f"an Evaluation of top_n={other.top_n} cannot be merged into one of top_n={self.top_n}"
            )
        if other._matrix is None:
            return
        self._check_settings(len(other._matrix))
        matrix = self._begin(len(other._matrix))
        matrix += other._matrix
        self._top_n_correct += other._top_n_correct
        self._top_n_total += other._top_n_total
        self._predictions += other._predictions
        if self._names is None and other._names is not None:
            self._names, self._asked = other._names, len(other._names)

    # Counts.

    @property
    def confusion_matrix(self) -> Matrix:
        """How often which class was predicted for which, ``[actual, predicted]``."""
        return self._seen().copy()

    def _seen(self) -> Matrix:
        if self._matrix is None or not self.row_count:
            raise ValueError("nothing was evaluated yet")
        return self._matrix

    @property
    def row_count(self) -> int:
        """How many rows were counted."""
        return 0 if self._matrix is None else int(self._matrix.sum())

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._seen())

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return self._names or [str(i) for i in range(self.num_classes)]

    @property
    def top_n_correct_count(self) -> int:
        """How many rows had fewer than ``top_n`` classes with a higher score; 0 with ``top_n=1``."""
        return self._top_n_correct

    @property
    def top_n_total_count(self) -> int:
        """How many rows were looked at for `top_n_correct_count`; none of one column."""
        return self._top_n_total

    def _counts(self, i: int) -> Counts:
        matrix = self._seen()
        if not 0 <= i < len(matrix):
            raise ValueError(f"there is no class {i} among {len(matrix)}")
        tp, fp, fn = matrix[i, i], matrix[:, i].sum() - matrix[i, i], matrix[i].sum() - matrix[i, i]
        return int(tp), int(matrix.sum() - tp - fp - fn), int(fp), int(fn)

    def class_count(self, i: int) -> int:
        """How many rows are of class ``i``."""
        return self.true_positives(i) + self.false_negatives(i)

    # Metrics.

    def _metric(
        self,
        of: Callable[..., float],
        class_index: int | None,
        averaging: Averaging,
        whole: Callable[[Counts], int] | None = None,
    ) -> float:
        """Return a metric of counts; classes for which ``whole`` is 0 are left out of a macro average."""
        if averaging not in {None, "macro", "micro"}:
            raise ValueError(f"averaging must be 'macro' or 'micro', not {averaging!r}")
        if class_index is None and averaging is None and self.num_classes == TWO:
            class_index = self.binary_positive_class
        if class_index is not None:
            return of(*self._counts(class_index))
        counts = [self._counts(i) for i in range(self.num_classes)]
        if averaging == "micro":
            return of(*(sum(column) for column in zip(*counts, strict=True)))
        kept = [c for c in counts if whole is None or whole(c)]
        return sum(of(*c) for c in kept) / len(kept) if kept else 0.0

    def accuracy(self) -> float:
        """Return the part of the rows whose class was predicted."""
        matrix = self._seen()
        return float(np.trace(matrix) / matrix.sum())

    def top_n_accuracy(self) -> float:
        """Return the part of the rows for which fewer than ``top_n`` classes scored higher."""
        accuracy = self.accuracy()
        return accuracy if self.top_n == 1 else self._top_n_correct / max(self._top_n_total, 1)

    def precision(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return which part of the predictions of a class was right."""
        return self._metric(ratios.precision, class_index, averaging, _predicted)

    def recall(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return which part of the rows of a class was found."""
        return self._metric(ratios.recall, class_index, averaging, _actual)

    def f1(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return the harmonic mean of precision and recall."""
        return self.f_beta(1.0, class_index, averaging=averaging)

    def f_beta(self, beta: float, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return the mean of precision and recall in which recall weighs ``beta`` times as much.

        With two classes and no index it is that of the positive class, as in DL4J: of class 1 if an average
        is asked for.
        """
        if class_index is None and self.num_classes == TWO:
            positive = self.binary_positive_class
            class_index = 1 if positive is None or averaging is not None else positive
        return self._metric(ratios.f_beta(beta), class_index, averaging, _both)

    def g_measure(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return the geometric mean of precision and recall."""
        return self._metric(ratios.g_measure, class_index, averaging)

    def matthews_correlation(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return Matthews' correlation coefficient; NaN for 0/0."""
        return self._metric(ratios.matthews, class_index, averaging)

    def false_positive_rate(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return for which part of the rows of other classes this one was predicted."""
        return self._metric(ratios.false_positive_rate, class_index, averaging)

    def false_negative_rate(self, class_index: int | None = None, *, averaging: Averaging = None) -> float:
        """Return for which part of the rows of a class another one was predicted."""
        return self._metric(ratios.false_negative_rate, class_index, averaging)

    def false_alarm_rate(self) -> float:
        """Return the mean of false positive rate and false negative rate."""
        return (self.false_positive_rate() + self.false_negative_rate()) / 2

    def classes_excluded(self, metric: str) -> int:
        """Return how many classes the macro average of ``precision``, ``recall`` or ``f1`` leaves out."""
        return len(self._excluded(metric))

    def _excluded(self, metric: str) -> list[int]:
        counts = [self._counts(i) for i in range(self.num_classes)]
        wholes = {"precision": _predicted, "recall": _actual, "f1": _both, "f_beta": _both}
        if metric not in wholes:
            raise ValueError(f"metric must be one of {', '.join(wholes)}, not {metric!r}")
        return [i for i, c in enumerate(counts) if not wholes[metric](c)]

    # Text.

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        if not self.row_count:
            return "Evaluation: No data available (no evaluation has been performed)"
        lines = ["", "", "========================Evaluation Metrics========================"]
        lines.append(f" # of classes:    {self.num_classes}")
        lines.append(f" Accuracy:        {text.number(self.accuracy())}")
        if self.top_n > 1:
            lines.append(f" Top {self.top_n} Accuracy:  {text.number(self.top_n_accuracy())}")
        for label, metric in (("Precision:", "precision"), ("Recall:", "recall"), ("F1 Score:", "f1")):
            value = text.number(getattr(self, metric)())
            lines.append(f" {label:17}{value}{text.exclusion(self._left_out(metric))}")
        lines.append(f"Precision, recall & F1: {self._averaged()}")
        if self.binary_decision_threshold is not None:
            lines.append(f"Binary decision threshold: {text.java_number(self.binary_decision_threshold)}")
        if self.cost_array is not None:
            lines.append(f"Cost array: {text.java_floats(self.cost_array)}")
        lines += ["", "".join(text.warning(name, self._excluded(name)) for name in ("precision", "recall"))]
        if self.num_classes > PRINTED:
            note = "Confusion matrix not generated due to space requirements for"
            lines += ["", f"Note: {note} {self.num_classes} classes."]
            lines.append("Use stats(false,true) to generate anyway")
        else:
            lines.append("=========================Confusion Matrix=========================")
            lines.append(self.confusion_matrix_text())
        lines.append("==================================================================")
        return "\n".join(lines)

    def _left_out(self, metric: str) -> list[int]:
        return self._excluded(metric) if self.num_classes > TWO else []

    def _averaged(self) -> str:
        positive = self.binary_positive_class
        if self.num_classes > TWO or positive is None:
            return f"macro-averaged (equally weighted avg. of {self.num_classes} classes)"
        return f'reported for positive class (class {positive} - "{self.class_names[positive]}") only'

    def confusion_to_string(self) -> str:
        """Return the matrix with names of classes, DL4J's text to the character."""
        return text.confusion_to_string(self._seen().tolist(), self.class_names)

    def confusion_matrix_text(self) -> str:
        """Return the matrix as `stats` shows it."""
        return text.confusion_matrix_text(self._seen().tolist(), self.class_names)

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the confusion matrix in ``ax``, or in a new figure; return the axes.

        Without matplotlib it is an `ImportError`.
        """
        return plots.confusion(ax, self._seen(), self.class_names)

    # JSON.

    def tree(self) -> dict[str, Any]:
        """Return the fields as DL4J names them."""
        matrix = self._matrix
        counts = [self._counts(i) for i in range(len(matrix))] if matrix is not None and matrix.any() else []
        return {
            "axis": self.axis,
            "binaryPositiveClass": self.binary_positive_class,
            "topN": self.top_n,
            "topNCorrectCount": self._top_n_correct,
            "topNTotalCount": self.top_n_total_count,
            **matrix_json.counters(counts),
            "confusion": None if matrix is None else matrix_json.tree_of(matrix),
            "numRowCounter": self.row_count,
            "labelsList": None if matrix is None else self._names or [str(i) for i in range(len(matrix))],
            "binaryDecisionThreshold": self.binary_decision_threshold,
            "costArray": None if self.cost_array is None else self.cost_array.tolist(),
            "maxWarningClassesToPrint": 16,
        }

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return the object that has these fields."""
        evaluation = cls(
            labels=tree["labelsList"],
            top_n=tree["topN"],
            binary_decision_threshold=tree["binaryDecisionThreshold"],
            cost_array=numbers_of(tree["costArray"]),
            binary_positive_class=tree["binaryPositiveClass"],
            axis=tree.get("axis", 1),
        )
        if tree["confusion"] is not None:
            read = matrix_json.matrix_of(tree["confusion"])
            matrix = evaluation._begin(len(read))
            matrix += read
        evaluation._top_n_correct = tree["topNCorrectCount"]
        evaluation._top_n_total = tree["topNTotalCount"]
        return evaluation


def _predicted(counts: Counts) -> int:
    return counts[0] + counts[2]


def _actual(counts: Counts) -> int:
    return counts[0] + counts[3]


def _both(counts: Counts) -> int:
    return min(_predicted(counts), _actual(counts))
