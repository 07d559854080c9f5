"""Updaters: how a gradient becomes a step (DL4J: ``org.nd4j.linalg.learning.config``)."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import empty_like
from ndarena.nn.schedules import ISchedule, number_or_schedule, value_at
from ndarena.nn.words import Array, number

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

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

    def get_weight_decay(self) -> float:
        """Return the part of the parameters, times the learning rate, that every step takes away as well."""
        return 0.0


def _settle(rule: IUpdater, *fields: str, least: float = 0.0, below: float = math.inf) -> None:
    """Store fields as floats."""
    for field in fields:
        value = number(getattr(rule, field), type(rule).__name__, field, least=least, below=below)
        object.__setattr__(rule, field, value)


def _settle_schedules(rule: IUpdater, *fields: str) -> None:
    """Store fields as floats, unless they are schedules."""
    for field in fields:
        value = number_or_schedule(getattr(rule, field), type(rule).__name__, field, least=0.0)
        object.__setattr__(rule, field, value)


def _move_mean(mean: Array, value: Array, keep: float, scratch: Array) -> None:
    """Move a running mean, in place; ``scratch`` may be ``value``."""
    np.multiply(value, 1.0 - keep, out=scratch)
    mean *= keep
    mean += scratch


@dataclass(frozen=True)
class NoOp(IUpdater):
    """The gradient as it is (DL4J: ``NoOp``); there is no learning rate."""

    def state_size(self, n: int) -> int:
        """Return 0: there is no state."""
        return 0

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the gradient."""
        return gradient if out is gradient else np.multiply(gradient, 1.0, out=out)

    def get_learning_rate(self, iteration: int, epoch: int) -> None:
        """Return ``None``."""


@dataclass(frozen=True)
class _Rated(IUpdater):
    """A rule with a learning rate."""

    learning_rate: float | ISchedule

    def __post_init__(self) -> None:
        """Check the fields."""
        _settle_schedules(self, "learning_rate")

    def get_learning_rate(self, iteration: int, epoch: int) -> float:
        """Return the learning rate at that moment."""
        return value_at(self.learning_rate, iteration, epoch)


@dataclass(frozen=True)
class Sgd(_Rated):
    """The gradient times the learning rate (DL4J: ``Sgd``).

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.001.
    """

    learning_rate: float | ISchedule = 1e-3

    def state_size(self, n: int) -> int:
        """Return 0: there is no state."""
        return 0

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the gradient times the learning rate."""
        return np.multiply(gradient, self.get_learning_rate(iteration, epoch), out=out)


@dataclass(frozen=True)
class Nesterovs(_Rated):
    """Steps with momentum that look ahead (DL4J: ``Nesterovs``); the state is the velocity.

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.1.
    momentum : float or ISchedule
        What the velocity keeps of itself in a step.
    """

    learning_rate: float | ISchedule = 0.1
    _: KW_ONLY
    momentum: float | ISchedule = 0.9

    def __post_init__(self) -> None:
        """Check the fields."""
        _settle_schedules(self, "learning_rate", "momentum")

    def state_size(self, n: int) -> int:
        """Return ``n``."""
        return n

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; the velocity moves."""
        momentum = value_at(self.momentum, iteration, epoch)
        kept = np.multiply(state, momentum, out=empty_like(gradient))
        step = np.multiply(gradient, self.get_learning_rate(iteration, epoch), out=out)
        np.subtract(kept, step, out=state)
        np.multiply(state, 1.0 + momentum, out=step)
        return np.subtract(kept, step, out=step)


@dataclass(frozen=True)
class Adam(_Rated):
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

    learning_rate: float | ISchedule = 1e-3
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle(self, "beta1", "beta2", below=1.0)
        _settle(self, "epsilon")

    def state_size(self, n: int) -> int:
        """Return ``2 * n``."""
        return 2 * n

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; the means move."""
        n = len(gradient)
        mean, square = state[:n], state[n : 2 * n]
        scratch = empty_like(gradient)
        _move_mean(mean, gradient, self.beta1, scratch)
        np.multiply(gradient, gradient, out=scratch)
        _move_mean(square, scratch, self.beta2, scratch)
        np.sqrt(self._divisor(state), out=scratch)
        scratch += self.epsilon
        np.divide(self._direction(mean, gradient), scratch, out=scratch)
        rate = self.get_learning_rate(iteration, epoch) * self._correction(iteration + 1)
        return np.multiply(scratch, rate, out=out)

    def _divisor(self, state: Array) -> Array:
        """Return that whose root divides the step."""
        return state[len(state) // 2 :]

    def _direction(self, mean: Array, gradient: Array) -> Array:
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
        _settle(self, "weight_decay")

    def get_weight_decay(self) -> float:
        """Return ``weight_decay``."""
        return self.weight_decay


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam, divided by the largest mean of squares so far (DL4J: ``AMSGrad``).

    Parameters are those of `Adam`; the state is ``[m, v, v_hat]``.
    """

    def state_size(self, n: int) -> int:
        """Return ``3 * n``."""
        return 3 * n

    def _divisor(self, state: Array) -> Array:
        n = len(state) // 3
        largest = state[2 * n :]
        return np.maximum(largest, state[n : 2 * n], out=largest)


@dataclass(frozen=True)
class Nadam(Adam):
    """Adam that looks ahead (DL4J: ``Nadam``). Parameters and state are those of `Adam`."""

    def _direction(self, mean: Array, gradient: Array) -> Array:
        ahead = np.multiply(gradient, 1.0 - self.beta1, out=empty_like(gradient))
        ahead += mean * self.beta1
        return ahead

    def _correction(self, t: int) -> float:
        return 1.0 / (1.0 - self.beta1**t)


@dataclass(frozen=True)
class AdaMax(Adam):
    """Adam with a running maximum in the place of the mean of squares (DL4J: ``AdaMax``).

    Parameters are those of `Adam`, of which ``epsilon`` means nothing here; the state is ``[m, u]``. Where a
    gradient has always been 0 the step is 0.
    """

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; mean and maximum move."""
        n = len(gradient)
        mean, largest = state[:n], state[n:]
        scratch = empty_like(gradient)
        _move_mean(mean, gradient, self.beta1, scratch)
        largest *= self.beta2
        np.maximum(largest, np.abs(gradient, out=scratch), out=largest)
        np.maximum(largest, np.finfo(scratch.dtype).tiny, out=scratch)
        np.divide(mean, scratch, out=scratch)
        rate = self.get_learning_rate(iteration, epoch) / (1.0 - self.beta1 ** (iteration + 1))
        return np.multiply(scratch, rate, out=out)


@dataclass(frozen=True)
class AdaGrad(_Rated):
    """Steps divided by the root of all squares so far (DL4J: ``AdaGrad``); the state is their sum.

    Parameters
    ----------
    learning_rate : float or ISchedule
        Default 0.1.
    epsilon : float
        Added to the root.
    """

    learning_rate: float | ISchedule = 0.1
    _: KW_ONLY
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle(self, "epsilon")

    def state_size(self, n: int) -> int:
        """Return ``n``."""
        return n

    def init_state(self, n: int, dtype: DTypeLike = "float64") -> np.ndarray[Any, Any]:
        """Return 1e-6 everywhere, whatever ``epsilon`` is, as in DL4J."""
        return np.full(n, 1e-6, dtype)

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; the sum grows."""
        scratch = np.multiply(gradient, gradient, out=empty_like(gradient))
        state += scratch
        np.sqrt(state, out=scratch)
        scratch += self.epsilon
        np.divide(gradient, scratch, out=scratch)
        return np.multiply(scratch, self.get_learning_rate(iteration, epoch), out=out)


@dataclass(frozen=True)
class RmsProp(_Rated):
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

    learning_rate: float | ISchedule = 0.1
    _: KW_ONLY
    rms_decay: float = 0.95
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle(self, "rms_decay", below=1.0)
        _settle(self, "epsilon")

    def state_size(self, n: int) -> int:
        """Return ``n``."""
        return n

    def init_state(self, n: int, dtype: DTypeLike = "float64") -> np.ndarray[Any, Any]:
        """Return ``epsilon`` everywhere."""
        return np.full(n, self.epsilon, dtype)

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; the mean moves."""
        scratch = np.multiply(gradient, gradient, out=empty_like(gradient))
        _move_mean(state, scratch, self.rms_decay, scratch)
        np.sqrt(state, out=scratch)
        scratch += self.epsilon
        np.divide(gradient, scratch, out=scratch)
        return np.multiply(scratch, self.get_learning_rate(iteration, epoch), out=out)


@dataclass(frozen=True, kw_only=True)
class AdaDelta(IUpdater):
    """Steps as large as those before (DL4J: ``AdaDelta``); there is no learning rate.

    The state is ``[msg, msdx]``, the means of squared gradients and of squared steps.

    Parameters
    ----------
    rho : float
        What the means keep of themselves in a step.
    epsilon : float
        Added inside both roots.
    """

    rho: float = 0.95
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        _settle(self, "rho", below=1.0)
        _settle(self, "epsilon")

    def state_size(self, n: int) -> int:
        """Return ``2 * n``."""
        return 2 * n

    def apply(self, gradient: Array, state: Array, *, iteration: int, epoch: int, out: Array = None) -> Array:
        """Return the step, ``[n]``; both means move."""
        gradients, steps = state[: len(gradient)], state[len(gradient) :]
        scratch = np.multiply(gradient, gradient, out=empty_like(gradient))
        _move_mean(gradients, scratch, self.rho, scratch)
        np.add(steps, self.epsilon, out=scratch)
        scratch /= gradients + self.epsilon
        np.sqrt(scratch, out=scratch)
        step = np.multiply(gradient, scratch, out=out)
        np.multiply(step, step, out=scratch)
        _move_mean(steps, scratch, self.rho, scratch)
        return step

    def get_learning_rate(self, iteration: int, epoch: int) -> None:
        """Return ``None``."""
