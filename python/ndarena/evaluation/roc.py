"""How well scores tell the positive rows from the negative ones (DL4J: ``ROC``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ndarena.evaluation import plots, roc_json, text
from ndarena.evaluation.base import JsonForm, at_least
from ndarena.evaluation.rows import check_probabilities, kept_rows
from ndarena.evaluation.scores import ExactScores, SavedCurves, ThresholdedScores

if TYPE_CHECKING:
    from ndarena.evaluation.curves import Outcome, PrecisionRecallCurve, RocCurve

__all__ = ["ROC", "BaseROC"]

TWO = 2


class BaseROC(JsonForm):
    """What `ROC`, `ROCBinary` and `ROCMultiClass` have in common."""

    def __init__(self, *, threshold_steps: int = 0, remove_redundant_points: bool = True) -> None:
        self.threshold_steps = at_least(0, threshold_steps, "threshold_steps")
        self.remove_redundant_points = remove_redundant_points
        self.reset()

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self._scores: Any = None
        self._outcomes: dict[int, Outcome] = {}

    def new_instance(self) -> Self:
        """Return an empty object with the same settings."""
        return type(self)(
            threshold_steps=self.threshold_steps, remove_redundant_points=self.remove_redundant_points
        )

    # Data.

    def _elements(self, labels: Any, predictions: Any, mask: Any) -> Any:
        """Return labels, scores and what of them counts, all ``[rows, columns]``."""
        y, p = kept_rows(labels, predictions, mask)
        return y, p, np.ones(y.shape, np.bool_)

    def eval(self, labels: Any, predictions: Any, mask: Any = None, metadata: Any = None) -> None:
        """Take in a batch.

        Parameters
        ----------
        labels, predictions : array_like
            ``[N, columns]``, ``[N, columns, T]`` or ``[N, columns, H, W]``, both probabilities; a row is
            positive above 0.5.
        mask : array_like, optional
            ``[N, 1]`` or ``[N, H, W]``, 0 where a row does not count; ``[N, T]``, exactly 1 where a step
            counts; for `ROCBinary` also of the labels' shape, 0 where a value does not count. A batch that is
            masked as a whole is ignored.

        Raises
        ------
        ValueError
            Shapes that do not agree, NaN among the predictions, or what is no probability.
        """
        y, p, keep = self._elements(labels, predictions, mask)
        check_probabilities(y[keep], "labels")
        check_probabilities(p[keep], "predictions")
        if keep.any():
            self._begin(y.shape[1]).add(y > 0.5, p, keep)
            self._outcomes.clear()

    def _begin(self, columns: int) -> Any:
        if self._scores is None:
            steps = self.threshold_steps
            self._scores = ThresholdedScores(columns, steps) if steps else ExactScores(columns)
        elif self._scores.columns != columns:
            raise ValueError(f"{columns} columns, where there were {self._scores.columns}")
        return self._scores

    def merge(self, other: Self) -> None:
        """Take in what the other object has seen; it stays as it is.

        Raises
        ------
        TypeError
            An object of another class.
        ValueError
            One of another number of columns, or of steps; or an exact one that was read from DL4J's JSON.
        """
        self._check_mergeable(other)
        if other.threshold_steps != self.threshold_steps:
            raise ValueError(
                f"a ROC of {other.threshold_steps} steps cannot be merged into one of {self.threshold_steps}"
            )
        scores = other._scores
        if scores is None:
            return
        if isinstance(scores, SavedCurves):
            scores.add()
        self._begin(scores.columns).merge(scores)
        self._outcomes.clear()

    # Results.

    @property
    def _columns(self) -> int:
        if self._scores is None:
            raise ValueError("nothing was evaluated yet")
        return int(self._scores.columns)

    def _outcome(self, i: int) -> Outcome:
        """Return what follows from a column; it is worked out once."""
        if not 0 <= i < self._columns:
            raise ValueError(f"there is no column {i} among {self._columns}")
        if i not in self._outcomes:
            self._outcomes[i] = self._scores.outcome(i, thinned=self.remove_redundant_points)
        return self._outcomes[i]

    def plot(self, what: str = "roc", *, ax: Any = None) -> Any:
        """Draw the curve of every column in ``ax``, or in a new figure; return the axes.

        Another ``what`` is a `ValueError`; without matplotlib it is an `ImportError`.

        Parameters
        ----------
        what : str
            ``"roc"`` or ``"precision_recall"``.
        """
        names = [""] if self._columns == 1 else [f"{i}: " for i in range(self._columns)]
        return plots.curves(ax, what, {name: self._outcome(i) for i, name in enumerate(names)})

    # JSON.

    def _column_tree(self, i: int) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "thresholdSteps": self.threshold_steps,
            "countActualPositive": 0,
            "countActualNegative": 0,
            "counts": {},
            "isExact": self.threshold_steps == 0,
            "exampleCount": 0,
            "rocRemoveRedundantPts": self.remove_redundant_points,
        }
        if self._scores is not None:
            outcome = self._outcome(i)
            positives, negatives = outcome[:2]
            tree |= {
                "countActualPositive": positives,
                "countActualNegative": negatives,
                "exampleCount": positives + negatives,
                **self._scores.tree(i),
                **roc_json.outcome_tree(outcome, exact=self._scores.exact),
            }
        return tree

    @classmethod
    def _of_columns(cls, trees: list[dict[str, Any]]) -> Self:
        first = trees[0]
        roc = cls(
            threshold_steps=first["thresholdSteps"], remove_redundant_points=first["rocRemoveRedundantPts"]
        )
        if not any(tree["exampleCount"] for tree in trees):
            return roc
        if roc.threshold_steps:
            roc._scores = ThresholdedScores.of_trees(trees)
        elif "scores" in first:
            roc._scores = ExactScores.of_trees(trees)
        else:
            roc._scores = SavedCurves(trees)
        return roc


class ROC(BaseROC):
    """Curves and areas of one score, or of the second of two classes (DL4J: ``ROC``).

    Labels and predictions have one column, or two of which the second counts.

    Parameters
    ----------
    threshold_steps : int
        0: exact, every score is kept, 9 bytes each. Otherwise rows are counted at the thresholds
        ``i / threshold_steps``.
    remove_redundant_points : bool
        Whether exact curves leave out points inside horizontal and vertical stretches.

    Raises
    ------
    ValueError
        A negative number of steps; in every metric: nothing was evaluated yet, or there is no such column.
    """

    java_class = "org.nd4j.evaluation.classification.ROC"

    def _elements(self, labels: Any, predictions: Any, mask: Any) -> Any:
        y, p, keep = super()._elements(labels, predictions, mask)
        if y.shape[1] > TWO:
            raise ValueError(f"a ROC takes one or two columns, not {y.shape[1]}: use ROCMultiClass")
        return y[:, -1:], p[:, -1:], keep[:, -1:]

    @property
    def total_count(self) -> int:
        """How many rows were taken in."""
        return 0 if self._scores is None else sum(self._outcome(0)[:2])

    def calculate_auc(self) -> float:
        """Return the area under the ROC curve; NaN if all rows are of one kind."""
        return self._outcome(0).auc

    def calculate_auprc(self) -> float:
        """Return the area under the precision-recall curve, by trapezoids; NaN without a positive row."""
        return self._outcome(0).auprc

    def roc_curve(self) -> RocCurve:
        """Return the ROC curve: descending thresholds, with steps ascending ones."""
        return self._outcome(0).roc_curve

    def precision_recall_curve(self) -> PrecisionRecallCurve:
        """Return the precision-recall curve, thresholds ascending."""
        return self._outcome(0).precision_recall_curve

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        if self._scores is None:
            return "ROC: No data available (no data has been performed)"
        report = text.table(
            [
                ["AUC (Area under ROC Curve):", text.java_number(self.calculate_auc())],
                ["AUPRC (Area under Precision/Recall Curve):", text.java_number(self.calculate_auprc())],
            ],
            (43, 0),
        )
        return report + text.steps_note(self.threshold_steps)

    def tree(self) -> dict[str, Any]:
        """Return the fields as DL4J names them."""
        return self._column_tree(0)

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return the object that has these fields."""
        return cls._of_columns([tree])
