"""Updaters: how a gradient becomes a step (DL4J: ``org.nd4j.linalg.learning.config``)."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import empty_like
from ndarena.nn.words import Array, number

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Adam", "IUpdater", "Sgd"]


class IUpdater:
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


@dataclass(frozen=True)
class Sgd(IUpdater):
    """The gradient times the learning rate (DL4J: ``Sgd``).

    Parameters
    ----------
    learning_rate : float
        Default 0.001.
    """

    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Check the fields."""
        number(self.learning_rate, "Sgd", "learning_rate", least=0.0)

    def state_size(self, n: int) -> int:
        """Return 0: there is no state."""
        return 0

    def apply(
        self,
        gradient: Array,
        state: Array,
        *,
        iteration: int,
        epoch: int,
        out: Array = None,
    ) -> Array:
        """Return the gradient times the learning rate."""
        return np.multiply(gradient, self.get_learning_rate(iteration, epoch), out=out)

    def get_learning_rate(self, iteration: int, epoch: int) -> float:
        """Return the learning rate, which does not change."""
        return self.learning_rate


@dataclass(frozen=True)
class Adam(IUpdater):
    """Steps by running means of the gradient and its square (DL4J: ``Adam``); the state is ``[m, v]``.

    Parameters
    ----------
    learning_rate : float
        Default 0.001.
    beta1, beta2 : float
        What the means keep of themselves in a step.
    epsilon : float
        Added to the root, so that nothing is divided by 0.
    """

    learning_rate: float = 1e-3
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        number(self.learning_rate, "Adam", "learning_rate", least=0.0)
        number(self.beta1, "Adam", "beta1", least=0.0, below=1.0)
        number(self.beta2, "Adam", "beta2", least=0.0, below=1.0)
        number(self.epsilon, "Adam", "epsilon", least=0.0)

    def state_size(self, n: int) -> int:
        """Return ``2 * n``."""
        return 2 * n

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; both means move."""
        mean, square = state[: len(gradient)], state[len(gradient) :]
        scratch = empty_like(gradient)
        np.multiply(gradient, 1.0 - self.beta1, out=scratch)
        mean *= self.beta1
        mean += scratch
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - self.beta2
        square *= self.beta2
        square += scratch
        np.sqrt(square, out=scratch)
        scratch += self.epsilon
        np.divide(mean, scratch, out=scratch)
        t = iteration + 1
        corrected = math.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)
        return np.multiply(scratch, self.get_learning_rate(iteration, epoch) * corrected, out=out)

    def get_learning_rate(self, iteration: int, epoch: int) -> float:
        """Return the learning rate, which does not change."""
        return self.learning_rate
