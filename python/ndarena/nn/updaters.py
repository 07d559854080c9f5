"""Updaters: how a gradient becomes a step (DL4J: ``org.nd4j.linalg.learning.config``)."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndarena._core import functions
from ndarena.nn.schedules import ISchedule, value_at
from ndarena.nn.updater_base import (
    IUpdater,
    Piecewise,
    Rated,
    Scratch,
    move_mean,
    settle,
    settle_schedules,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ndarena.nn.words import Array

__all__ = [
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "IUpdater",
    "Nadam",
    "Nesterovs",
    "NoOp",
    "RmsProp",
    "Sgd",
]


@dataclass(frozen=True)
class NoOp(IUpdater):
    """The gradient as it is (DL4J: ``NoOp``); there is no learning rate."""

    def state_size(self, n: int) -> int:
        """Return 0: there is no state."""
        return 0

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the gradient."""
        return gradient if out is gradient else functions.multiply(gradient, 1.0, out=out)

    def get_learning_rate(self, iteration: int, epoch: int) -> None:
        """Return ``None``."""


@dataclass(frozen=True)
class Sgd(Rated):
    """The gradient times the learning rate (DL4J: ``Sgd``).

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.001.
    """

    rows: ClassVar[int] = 0
    scratch: ClassVar[int] = 0

    learning_rate: float | ISchedule = 1e-3

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Set the step to the gradient times the learning rate."""
        np.multiply(gradient, factors[0], out=step)


@dataclass(frozen=True)
class Nesterovs(Rated):
    """Steps with momentum that look ahead (DL4J: ``Nesterovs``); the state is the velocity.

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.1.
    momentum : float or ISchedule
        What the velocity keeps of itself in a step.
    """

    rows: ClassVar[int] = 1

    learning_rate: float | ISchedule = 0.1
    _: KW_ONLY
    momentum: float | ISchedule = 0.9

    def __post_init__(self) -> None:
        """Check the fields."""
        settle_schedules(self, "learning_rate", "momentum")

    def factors(self, iteration: int, epoch: int) -> tuple[float, ...]:
        """Return learning rate and momentum."""
        return self.get_learning_rate(iteration, epoch), value_at(self.momentum, iteration, epoch)

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Move the velocity, and look ahead along it."""
        (velocity,), (kept,), (rate, momentum) = state, scratch, factors
        functions.multiply(velocity, momentum, out=kept)
        functions.multiply(gradient, rate, out=step)
        functions.subtract(kept, step, out=velocity)
        functions.multiply(velocity, 1.0 + momentum, out=step)
        functions.subtract(kept, step, out=step)


@dataclass(frozen=True)
class Adam(Rated):
    """Steps by running means of the gradient and its square (DL4J: ``Adam``); the state is ``[m, v]``.

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.001.
    beta1, beta2 : float
        What the means keep of themselves in a step.
    epsilon : float
        Added to the root, so that nothing is divided by 0.
    """

    rows: ClassVar[int] = 2

    learning_rate: float | ISchedule = 1e-3
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        settle(self, "beta1", "beta2", below=1.0)
        settle(self, "epsilon")

    def factors(self, iteration: int, epoch: int) -> tuple[float, ...]:
        """Return the learning rate, corrected."""
        return (self.get_learning_rate(iteration, epoch) * self._correction(iteration + 1),)

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Move both means; the step is that of gradients over the root of that of squares."""
        (mean, square, *others), (divisor, *other), (rate,) = state, scratch, factors
        move_mean(mean, gradient, self.beta1, divisor)
        functions.multiply(gradient, gradient, out=divisor)
        move_mean(square, divisor, self.beta2, divisor)
        functions.sqrt(self._square(square, others), out=divisor)
        divisor += self.epsilon
        functions.divide(self._direction(mean, gradient, *other), divisor, out=step)
        step *= rate

    def _square(self, square: Array, others: list[Array]) -> Array:
        """Return that whose root divides the step."""
        return square

    def _direction(self, mean: Array, gradient: Array, *scratch: Array) -> Array:
        """Return what is divided."""
        return mean

    def _correction(self, t: int) -> float:
        """Return the factor of step ``t``, counted from 1, that makes up for means that began at 0."""
        return math.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam, and a part of all parameters is taken away in every step; DL4J has none.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `Adam`.
    weight_decay : float
        The part, which is multiplied by the learning rate. Biases shrink as well.
    """

    _: KW_ONLY
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        settle(self, "weight_decay")

    def get_weight_decay(self) -> float:
        """Return ``weight_decay``."""
        return self.weight_decay


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam, divided by the largest mean of squares so far (DL4J: ``AMSGrad``).

    Parameters are those of `Adam`; the state is ``[m, v, v_hat]``.
    """

    rows: ClassVar[int] = 3

    def _square(self, square: Array, others: list[Array]) -> Array:
        (largest,) = others
        return functions.maximum(largest, square, out=largest)


@dataclass(frozen=True)
class Nadam(Adam):
    """Adam that looks ahead (DL4J: ``Nadam``). Parameters and state are those of `Adam`."""

    scratch: ClassVar[int] = 2

    def _direction(self, mean: Array, gradient: Array, *scratch: Array) -> Array:
        # beta1 * mean + (1 - beta1) * gradient, as a way from one to the other
        (way,) = scratch
        functions.subtract(mean, gradient, out=way)
        way *= self.beta1
        way += gradient
        return way

    def _correction(self, t: int) -> float:
        return 1.0 / (1.0 - self.beta1**t)


@dataclass(frozen=True)
class AdaMax(Adam):
    """Adam with a running maximum in the place of the mean of squares (DL4J: ``AdaMax``).

    Parameters are those of `Adam`, of which ``epsilon`` means nothing here; the state is ``[m, u]``. Where a
    gradient has always been 0 the step is 0.
    """

    def _correction(self, t: int) -> float:
        return 1.0 / (1.0 - self.beta1**t)

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Move mean and maximum; the step is one over the other."""
        (mean, largest), (divisor,), (rate,) = state, scratch, factors
        move_mean(mean, gradient, self.beta1, divisor)
        largest *= self.beta2
        functions.maximum(largest, np.abs(gradient, out=divisor), out=largest)
        functions.maximum(largest, np.finfo(divisor.dtype).tiny, out=divisor)
        functions.divide(mean, divisor, out=step)
        step *= rate


@dataclass(frozen=True)
class AdaGrad(Rated):
    """Steps divided by the root of all squares so far (DL4J: ``AdaGrad``); the state is their sum.

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.1.
    epsilon : float
        Added to the root.
    """

    rows: ClassVar[int] = 1

    learning_rate: float | ISchedule = 0.1
    _: KW_ONLY
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        settle(self, "epsilon")

    def init_state(self, n: int, dtype: DTypeLike = "float64") -> np.ndarray[Any, Any]:
        """Return 1e-6 everywhere, whatever ``epsilon`` is, as in DL4J."""
        return np.full(n, 1e-6, dtype)

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Add to the total; the step is the gradient over its root."""
        (total,), (divisor,), (rate,) = state, scratch, factors
        total += functions.multiply(gradient, gradient, out=divisor)
        functions.sqrt(total, out=divisor)
        divisor += self.epsilon
        functions.divide(gradient, divisor, out=step)
        step *= rate


@dataclass(frozen=True)
class RmsProp(Rated):
    """Steps divided by the root of the mean of squares (DL4J: ``RmsProp``); the state is that mean.

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.1.
    rms_decay : float
        What the mean keeps of itself in a step.
    epsilon : float
        Added to the root; the mean begins there.
    """

    rows: ClassVar[int] = 1

    learning_rate: float | ISchedule = 0.1
    _: KW_ONLY
    rms_decay: float = 0.95
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        settle(self, "rms_decay", below=1.0)
        settle(self, "epsilon")

    def init_state(self, n: int, dtype: DTypeLike = "float64") -> np.ndarray[Any, Any]:
        """Return ``epsilon`` everywhere."""
        return np.full(n, self.epsilon, dtype)

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Move the mean; the step is the gradient over its root."""
        (mean,), (divisor,), (rate,) = state, scratch, factors
        functions.multiply(gradient, gradient, out=divisor)
        move_mean(mean, divisor, self.rms_decay, divisor)
        functions.sqrt(mean, out=divisor)
        divisor += self.epsilon
        functions.divide(gradient, divisor, out=step)
        step *= rate


@dataclass(frozen=True, kw_only=True)
class AdaDelta(Piecewise):
    """Steps as large as those before (DL4J: ``AdaDelta``); there is no learning rate.

    The state is ``[msg, msdx]``, the means of squared gradients and of squared steps.

    Parameters
    ----------
    rho : float
        What the means keep of themselves in a step.
    epsilon : float
        Added inside both roots.
    """

    rows: ClassVar[int] = 2
    scratch: ClassVar[int] = 2

    rho: float = 0.95
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        settle(self, "rho", below=1.0)
        settle(self, "epsilon")

    def factors(self, iteration: int, epoch: int) -> tuple[float, ...]:
        """Return nothing: there are none."""
        return ()

    def move(
        self, gradient: Array, state: list[Array], step: Array, scratch: Scratch, factors: tuple[float, ...]
    ) -> None:
        """Move both means; the step is the gradient times the root of their ratio."""
        (gradients, steps), (factor, divisor) = state, scratch
        functions.multiply(gradient, gradient, out=factor)
        move_mean(gradients, factor, self.rho, factor)
        functions.add(steps, self.epsilon, out=factor)
        functions.add(gradients, self.epsilon, out=divisor)
        factor /= divisor
        functions.sqrt(factor, out=factor)
        functions.multiply(gradient, factor, out=step)
        functions.multiply(step, step, out=factor)
        move_mean(steps, factor, self.rho, factor)

    def get_learning_rate(self, iteration: int, epoch: int) -> None:
        """Return ``None``."""


def only_scales(rule: Piecewise) -> bool:
    """Tell whether a gradient counts only as its product with the first factor.

    Then that can be divided in the gradient's place.
    """
    return type(rule).move in {Sgd.move, Nesterovs.move}


def fixed_factors(rule: Piecewise) -> tuple[float, ...] | None:
    """Return the factors of a rule of which it is known that they are the same at every moment."""
    known = type(rule) in {Sgd, Nesterovs}
    moves = any(isinstance(value, ISchedule) for value in vars(rule).values())
    return rule.factors(0, 0) if known and not moves else None
