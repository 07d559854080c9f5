"""A ROC per column: of independent outputs, or of every class against the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ndarena.evaluation import text
from ndarena.evaluation.roc import ROC, BaseROC
from ndarena.evaluation.rows import kept_elements

if TYPE_CHECKING:
    from ndarena.evaluation.curves import PrecisionRecallCurve, RocCurve

__all__ = ["ROCBinary", "ROCMultiClass"]


class _ROCPerColumn(BaseROC):
    """Metrics with an index; without one they are averages."""

    @property
    def num_columns(self) -> int:
        """How many columns there are."""
        return self._columns

    def _area(self, name: str, index: int | None) -> float:
        columns = range(self._columns) if index is None else (index,)
        areas: list[float] = [getattr(self._outcome(i), name) for i in columns]
        return sum(areas) / len(areas)

    def calculate_auc(self, index: int | None = None) -> float:
        """Return the area under the ROC curve of a column, or the average of all; NaN if there is none."""
        return self._area("auc", index)

    def calculate_auprc(self, index: int | None = None) -> float:
        """Return the area under the precision-recall curve of a column, or the average of all."""
        return self._area("auprc", index)

    def count_actual_positive(self, i: int) -> int:
        """How many rows of column ``i`` are positive."""
        return self._outcome(i).positives

    def count_actual_negative(self, i: int) -> int:
        """How many rows of column ``i`` are not."""
        return self._outcome(i).negatives

    def roc_curve(self, i: int) -> RocCurve:
        """Return the ROC curve of column ``i``."""
        return self._outcome(i).roc_curve

    def precision_recall_curve(self, i: int) -> PrecisionRecallCurve:
        """Return the precision-recall curve of column ``i``."""
        return self._outcome(i).precision_recall_curve

    def _table(self, *areas: str) -> str:
        widths = (20, *(12 for _ in areas), 10, 10)
        rows = [["Label", *(area.upper() for area in areas), "# Pos", "# Neg"]]
        for i in range(0 if self._scores is None else self._columns):
            outcome = self._outcome(i)
            values = [text.decimals(getattr(outcome, area)) for area in areas]
            rows.append([str(i), *values, str(outcome.positives), str(outcome.negatives)])
        return text.table(rows, widths) + (text.NO_DATA if self._scores is None else "")

    def tree(self) -> dict[str, Any]:
        """Return the fields as DL4J names them."""
        columns = range(0 if self._scores is None else self._columns)
        trees = [{"@class": ROC.java_class, **self._column_tree(i)} for i in columns]
        return {
            "thresholdSteps": self.threshold_steps,
            "rocRemoveRedundantPts": self.remove_redundant_points,
            "underlying": trees or None,
            "labels": None,
            "axis": 1,
        }

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return the object that has these fields."""
        if tree["underlying"]:
            return cls._of_columns(tree["underlying"])
        return cls(
            threshold_steps=tree["thresholdSteps"], remove_redundant_points=tree["rocRemoveRedundantPts"]
        )


class ROCBinary(_ROCPerColumn):
    """A `ROC` for every output of a network with several binary ones (DL4J: ``ROCBinary``).

    Without an index metrics are averages of the columns. Settings and errors are those of `ROC`.
    """

    java_class = "org.nd4j.evaluation.classification.ROCBinary"

    def _elements(self, labels: Any, predictions: Any, mask: Any) -> Any:
        return kept_elements(labels, predictions, mask)

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        return self._table("auc", "auprc") + text.steps_note(self.threshold_steps)


class ROCMultiClass(_ROCPerColumn):
    """A `ROC` for every class against the others (DL4J: ``ROCMultiClass``).

    Without an index metrics are averages of the columns. Settings and errors are those of `ROC`.
    """

    java_class = "org.nd4j.evaluation.classification.ROCMultiClass"

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        if self._scores is None:
            return self._table("auc")
        average = f"Average AUC: {text.decimals(self.calculate_auc()):12}"
        return self._table("auc") + average + text.steps_note(self.threshold_steps)
