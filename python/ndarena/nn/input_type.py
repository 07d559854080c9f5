"""What goes into a network: shapes without the batch (DL4J: ``InputType``)."""

from __future__ import annotations

from dataclasses import dataclass

from ndarena.nn.words import at_least_one

__all__ = ["InputType", "InputTypeFeedForward"]


@dataclass(frozen=True)
class InputType:
    """Base of the kinds of input; `feed_forward` makes one."""

    @staticmethod
    def feed_forward(size: int) -> InputTypeFeedForward:
        """Describe arrays ``[batch, size]``."""
        return InputTypeFeedForward(at_least_one(size, "InputType.feed_forward", "size"))


@dataclass(frozen=True)
class InputTypeFeedForward(InputType):
    """Arrays ``[batch, size]``."""

    size: int
