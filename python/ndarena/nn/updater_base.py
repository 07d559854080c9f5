"""What updaters are: rules by which a gradient becomes a step, whole or piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndarena._core import empty_like, functions
from ndarena.nn.schedules import ISchedule, number_or_schedule, value_at
from ndarena.nn.words import Answering, Array, number

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "PIECE",
    "IUpdater",
    "Piecewise",
    "Rated",
    "Scratch",
    "fitted",
    "move_mean",
    "settle",
    "settle_schedules",
]

PIECE = 1 << 16
"""How many numbers are worked on at a time; with state and scratch they are about a megabyte."""
Scratch = tuple[Array, ...]


class IUpdater(Answering):
    """Base of updaters; a new one is a frozen dataclass with these methods.

    Gradient, state and step are flat. Scratch goes to the current workspace, where there is one.
    """

    def state_size(self, n: int) -> int:
        """Return how many numbers the state of ``n`` parameters has."""
        raise NotImplementedError

    def init_state(self, n: int, dtype: DTypeLike = "float64") -> np.ndarray[Any, Any]:
        """Return the state before the first step, ``[state_size(n)]``."""
        return np.zeros(self.state_size(n), dtype)

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step to subtract, ``[n]``.

        ``state`` changes in place, ``gradient`` does not unless it is ``out`` as well. ``iteration`` counts
        from 0.
        """
        raise NotImplementedError

    def get_learning_rate(self, iteration: int, epoch: int) -> float | None:
        """Return the learning rate at that moment, ``None`` for a rule without one."""
        raise NotImplementedError

    def get_weight_decay(self) -> float:
        """Return the part of the parameters, times the learning rate, that every step takes away as well."""
        return 0.0


class Piecewise(IUpdater):
    """A rule in which every number has its own step and state, so that it works piece by piece.

    A piece, with its state and scratch, stays in the processor's cache from one operation to the next; whole
    vectors of a large network would come from memory again and again.
    """

    rows: ClassVar[int]
    """How many numbers of state a parameter has; those of a kind lie together."""
    scratch: ClassVar[int] = 1
    """How many numbers are kept per parameter while a piece is worked on."""

    def state_size(self, n: int) -> int:
        """Return ``n`` times the numbers of state that a parameter has."""
        return self.rows * n

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; the state moves."""
        n = len(gradient)
        step = empty_like(gradient) if out is None else out
        rows, factors = self.rows_of(state), self.factors(iteration, epoch)
        scratch = self.scratch_for(gradient)
        for start in range(0, n, PIECE):
            own = slice(start, min(start + PIECE, n))
            part, places = gradient[own], [row[own] for row in rows]
            self.move(part, places, step[own], fitted(scratch, len(part)), factors)
        return step

    def rows_of(self, state: Array) -> list[Array]:
        """Return the state as numbers of a kind, views of one per parameter."""
        n = len(state) // self.rows if self.rows else 0
        return [state[i * n : (i + 1) * n] for i in range(self.rows)]

    def scratch_for(self, gradient: Array) -> Scratch:
        """Return space in which the pieces of a gradient are worked on, one after the other."""
        return tuple(empty_like(gradient[:PIECE]) for _ in range(self.scratch))

    def factors(self, iteration: int, epoch: int) -> tuple[float, ...]:
        """Return the numbers that are the same for all parameters."""
        raise NotImplementedError(f"{type(self).__name__}.factors")

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Move the state and set the step of a piece; ``step`` may be ``gradient``."""
        raise NotImplementedError(f"{type(self).__name__}.move")


@dataclass(frozen=True)
class Rated(Piecewise):
    """A rule with a learning rate."""

    learning_rate: float | ISchedule

    def __post_init__(self) -> None:
        """Check the fields."""
        settle_schedules(self, "learning_rate")

    def get_learning_rate(self, iteration: int, epoch: int) -> float:
        """Return the learning rate at that moment."""
        return value_at(self.learning_rate, iteration, epoch)

    def factors(self, iteration: int, epoch: int) -> tuple[float, ...]:
        """Return the learning rate."""
        return (self.get_learning_rate(iteration, epoch),)


def settle(rule: IUpdater, *fields: str, least: float = 0.0, below: float = math.inf) -> None:
    """Store fields as floats."""
    for field in fields:
        value = number(getattr(rule, field), type(rule).__name__, field, least=least, below=below)
        object.__setattr__(rule, field, value)


def settle_schedules(rule: IUpdater, *fields: str) -> None:
    """Store fields as floats, unless they are schedules."""
    for field in fields:
        value = number_or_schedule(getattr(rule, field), type(rule).__name__, field, least=0.0)
        object.__setattr__(rule, field, value)


def fitted(scratch: Scratch, size: int) -> Scratch:
    """Return scratch for a piece of that size."""
    return scratch if not scratch or len(scratch[0]) == size else tuple(room[:size] for room in scratch)


def move_mean(mean: Array, value: Array, keep: float, scratch: Array) -> None:
    """Move a running mean, in place; ``scratch`` may be ``value``."""
    functions.multiply(value, 1.0 - keep, out=scratch)
    mean *= keep
    mean += scratch
