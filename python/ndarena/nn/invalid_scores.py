"""What happens when a score is no number any more."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.nn.listeners import TrainingListener
from ndarena.nn.words import Choice, member

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["InvalidScoreAction", "InvalidScoreError", "InvalidScoreListener"]


class InvalidScoreAction(Choice):
    """What is done about a score that is NaN or infinite."""

    RAISE = "RAISE"
    """`InvalidScoreError`, before the parameters are moved."""
    WARN = "WARN"
    """A `RuntimeWarning`; training goes on."""


class InvalidScoreError(ArithmeticError):
    """A score is NaN or infinite; the message names iteration and layer."""


class InvalidScoreListener(TrainingListener):
    """Looks whether the score is a number, and if not tells in which iteration and layer it began.

    Parameters
    ----------
    action : str or InvalidScoreAction
        What to do about it.
    """

    def __init__(self, action: str | InvalidScoreAction = InvalidScoreAction.RAISE) -> None:
        self._action = member(InvalidScoreAction, action, "InvalidScoreListener", "action")
        self._begins = "the output layer"

    def on_forward_pass(self, model: Any, activations: Any) -> None:
        """Look where the activations cease to be numbers."""
        names = activations.items() if isinstance(activations, dict) else _named(model, activations)
        bad = (name for name, array in names if not np.isfinite(array).all())
        self._begins = next(bad, "the output layer")

    def on_gradient_calculation(self, model: Any) -> None:
        """Do what is to be done if the score is no number."""
        score = model.score()
        if math.isfinite(score):
            return
        gradients = model.gradient_table().items()
        bad = [name for name, gradient in gradients if not np.isfinite(gradient).all()]
        text = (
            f"the score is {score} in iteration {model.iteration_count}, epoch {model.epoch_count}: "
            f"it begins in {self._begins}; gradients that are no numbers: {', '.join(bad) or 'none'}"
        )
        if self._action is InvalidScoreAction.RAISE:
            raise InvalidScoreError(text)
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _named(model: Any, activations: Any) -> Iterator[tuple[str, Any]]:
    """Go through the activations of a chain with the names of their layers, the input first."""
    yield "the input", activations[0]
    for layer, activation in zip(model.layers, activations[1:], strict=False):
        yield f"layer {layer.index} ({layer.name}, {type(layer).__name__})", activation
