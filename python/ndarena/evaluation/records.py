"""Which records were taken for which class (DL4J: ``org.nd4j.evaluation.meta``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Prediction", "WithRecords"]


class Prediction(NamedTuple):
    """What was predicted for a record (DL4J: ``Prediction``)."""

    actual_class: int
    """The class it is of."""
    predicted_class: int
    """The class it was taken for."""
    record_metadata: Any
    """What the data set said of it."""


class WithRecords:
    """Remembers the predictions of rows with metadata; others are only counted.

    All lists are in the order of actual and predicted class, and then as the rows came. JSON has none of
    them, as in DL4J.
    """

    _predictions: list[Prediction]

    def _remember(self, actual: Iterable[int], predicted: Iterable[int], metadata: Sequence[Any]) -> None:
        self._predictions += map(Prediction, actual, predicted, metadata)

    def prediction_errors(self) -> list[Prediction]:
        """Return the predictions that were wrong."""
        return sorted((p for p in self._predictions if p.actual_class != p.predicted_class), key=_classes)

    def predictions(self, actual_class: int, predicted_class: int) -> list[Prediction]:
        """Return the predictions of one class for rows of one class."""
        return [p for p in self._predictions if p[:2] == (actual_class, predicted_class)]

    def predictions_by_actual_class(self, actual_class: int) -> list[Prediction]:
        """Return the predictions for rows of a class."""
        return sorted((p for p in self._predictions if p.actual_class == actual_class), key=_classes)

    def predictions_by_predicted_class(self, predicted_class: int) -> list[Prediction]:
        """Return the predictions of a class."""
        return sorted((p for p in self._predictions if p.predicted_class == predicted_class), key=_classes)


def _classes(prediction: Prediction) -> tuple[int, int]:
    return prediction[:2]
