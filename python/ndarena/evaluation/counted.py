"""Right and wrong decisions by class or output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndarena.evaluation.ratios import Counts

__all__ = ["Counted"]


class Counted:
    """Tells the four counts of what `Evaluation` calls a class and `EvaluationBinary` an output."""

    def _counts(self, i: int) -> Counts:
        """Return true positives, true negatives, false positives and false negatives."""
        raise NotImplementedError

    def true_positives(self, i: int) -> int:
        """How often class or output ``i`` was rightly predicted."""
        return self._counts(i)[0]

    def true_negatives(self, i: int) -> int:
        """How often class or output ``i`` was rightly not predicted."""
        return self._counts(i)[1]

    def false_positives(self, i: int) -> int:
        """How often class or output ``i`` was wrongly predicted."""
        return self._counts(i)[2]

    def false_negatives(self, i: int) -> int:
        """How often class or output ``i`` was wrongly not predicted."""
        return self._counts(i)[3]
