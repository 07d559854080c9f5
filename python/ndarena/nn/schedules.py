"""Values that change while a network learns (DL4J: ``org.nd4j.linalg.schedule``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ndarena.nn.words import Choice, ReadOnly, at_least_one, is_whole, member, number, refuse, whole

__all__ = [
    "CycleSchedule",
    "ExponentialSchedule",
    "FixedSchedule",
    "ISchedule",
    "InverseSchedule",
    "MapSchedule",
    "PolySchedule",
    "RampSchedule",
    "ScheduleType",
    "SigmoidSchedule",
    "StepSchedule",
    "number_or_schedule",
    "value_at",
]


class ScheduleType(Choice):
    """What a schedule counts (DL4J: ``ScheduleType``)."""

    ITERATION = "ITERATION"
    EPOCH = "EPOCH"


class ISchedule:
    """Base of schedules; a new one is a frozen dataclass with `value_at`."""

    def value_at(self, iteration: int, epoch: int) -> float:
        """Return the value at a moment; both are counted from 0."""
        raise NotImplementedError(f"{type(self).__name__}.value_at")


def number_or_schedule(value: object, owner: str, field: str, *, least: float = -math.inf) -> Any:
    """Return a schedule as it is, or a number from ``least`` on as a ``float``; refuse anything else."""
    return value if isinstance(value, ISchedule) else number(value, owner, field, least=least)


def value_at(value: float | ISchedule, iteration: int, epoch: int) -> float:
    """Return the value that a number or a schedule has at a moment."""
    return value.value_at(iteration, epoch) if isinstance(value, ISchedule) else value


def _settle_numbers(schedule: ISchedule, *fields: str) -> None:
    for field in fields:
        value = number(getattr(schedule, field), type(schedule).__name__, field)
        object.__setattr__(schedule, field, value)


@dataclass(frozen=True)
class FixedSchedule(ISchedule):
    """The same value for ever (DL4J: ``FixedSchedule``)."""

    value: float

    def __post_init__(self) -> None:
        """Check the value."""
        _settle_numbers(self, "value")

    def value_at(self, iteration: int, epoch: int) -> float:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class _Counting(ISchedule):
    """A schedule that counts iterations or epochs."""

    schedule_type: ScheduleType | str

    def __post_init__(self) -> None:
        """Check the fields."""
        owner = type(self).__name__
        kind = member(ScheduleType, self.schedule_type, owner, "schedule_type")
        object.__setattr__(self, "schedule_type", kind)

    def value_at(self, iteration: int, epoch: int) -> float:
        """Return the value at a moment; both are counted from 0."""
        return self._at(iteration if self.schedule_type is ScheduleType.ITERATION else epoch)

    def _at(self, x: int) -> float:
        raise NotImplementedError(f"{type(self).__name__}._at")


@dataclass(frozen=True)
class StepSchedule(_Counting):
    """``initial_value * decay_rate ** floor(x / step)`` (DL4J: ``StepSchedule``).

    Parameters
    ----------
    schedule_type : str or ScheduleType
        Whether ``x`` is the iteration or the epoch.
    initial_value, decay_rate : float
        Where it begins, and the factor of every step.
    step : float
        The length of a step, above 0.
    """

    initial_value: float
    decay_rate: float
    step: float

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle_numbers(self, "initial_value", "decay_rate", "step")
        if self.step <= 0.0:
            refuse("StepSchedule", "step", self.step, "must be above 0")

    def _at(self, x: int) -> float:
        return float(self.initial_value * self.decay_rate ** math.floor(x / self.step))


@dataclass(frozen=True)
class ExponentialSchedule(_Counting):
    """``initial_value * gamma ** x`` (DL4J: ``ExponentialSchedule``); fields as in `StepSchedule`."""

    initial_value: float
    gamma: float

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle_numbers(self, "initial_value", "gamma")

    def _at(self, x: int) -> float:
        return float(self.initial_value * self.gamma**x)


@dataclass(frozen=True)
class InverseSchedule(_Counting):
    """``initial_value / (1 + gamma * x) ** power`` (DL4J: ``InverseSchedule``)."""

    initial_value: float
    gamma: float
    power: float

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle_numbers(self, "initial_value", "gamma", "power")

    def _at(self, x: int) -> float:
        return float(self.initial_value / (1.0 + self.gamma * x) ** self.power)


@dataclass(frozen=True)
class PolySchedule(_Counting):
    """``initial_value * (1 - x / max_iter) ** power``, 0 from ``max_iter`` on (DL4J: ``PolySchedule``).

    DL4J's rises until it drops to 0.
    """

    initial_value: float
    power: float
    max_iter: int

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle_numbers(self, "initial_value", "power")
        object.__setattr__(self, "max_iter", at_least_one(self.max_iter, "PolySchedule", "max_iter"))

    def _at(self, x: int) -> float:
        left = 1.0 - x / self.max_iter
        return float(self.initial_value * left**self.power) if left > 0.0 else 0.0


@dataclass(frozen=True)
class SigmoidSchedule(_Counting):
    """``initial_value / (1 + exp(-gamma * (x - step_size)))`` (DL4J: ``SigmoidSchedule``)."""

    initial_value: float
    gamma: float
    step_size: int

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle_numbers(self, "initial_value", "gamma")
        object.__setattr__(self, "step_size", at_least_one(self.step_size, "SigmoidSchedule", "step_size"))

    def _at(self, x: int) -> float:
        # In the form of tanh nothing overflows.
        return self.initial_value * 0.5 * (1.0 + math.tanh(0.5 * self.gamma * (x - self.step_size)))


@dataclass(frozen=True)
class MapSchedule(_Counting):
    """The value of the last key that is reached (DL4J: ``MapSchedule``).

    Parameters
    ----------
    schedule_type : str or ScheduleType
        Whether keys are iterations or epochs.
    values : mapping of int to float
        There must be a value for 0.
    """

    values: Mapping[int, float]

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = "MapSchedule"
        if not isinstance(self.values, Mapping) or 0 not in self.values:
            refuse(owner, "values", self.values, "must be a mapping with a value for 0")
        values: dict[int, float] = {}
        for key, value in self.values.items():
            if not is_whole(key) or key < 0:
                refuse(owner, "values", key, "keys must be whole numbers from 0 on")
            values[int(key)] = number(value, owner, f"values[{key}]")
        object.__setattr__(self, "values", ReadOnly(dict(sorted(values.items()))))

    def _at(self, x: int) -> float:
        return self.values[max(key for key in self.values if key <= x)]


@dataclass(frozen=True)
class RampSchedule(ISchedule):
    """Another schedule, reached in equal steps over the first iterations (DL4J: ``RampSchedule``).

    Parameters
    ----------
    base_schedule : ISchedule
        What is reached.
    num_iter : int
        The number of iterations, whatever the other schedule counts.
    """

    base_schedule: ISchedule
    num_iter: int

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.base_schedule, ISchedule):
            refuse("RampSchedule", "base_schedule", self.base_schedule, "must be an ISchedule")
        object.__setattr__(self, "num_iter", at_least_one(self.num_iter, "RampSchedule", "num_iter"))

    def value_at(self, iteration: int, epoch: int) -> float:
        """Return the part of the other schedule's value that is reached."""
        return self.base_schedule.value_at(iteration, epoch) * min(1.0, (iteration + 1) / self.num_iter)


@dataclass(frozen=True)
class CycleSchedule(_Counting):
    """Up, down, and a fading end, again and again (DL4J: ``CycleSchedule``).

    Parameters
    ----------
    schedule_type : str or ScheduleType
        Whether iterations or epochs are counted.
    initial_learning_rate, max_learning_rate : float
        Bottom and top.
    cycle_length : int
        The length of a cycle.
    annealing_length : int
        The length of its end, in which every step multiplies the bottom by ``annealing_decay`` once more.
    annealing_decay : float
        Default 0.1.
    """

    initial_learning_rate: float
    max_learning_rate: float
    cycle_length: int
    annealing_length: int
    annealing_decay: float = 0.1

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        _settle_numbers(self, "initial_learning_rate", "max_learning_rate", "annealing_decay")
        cycle = at_least_one(self.cycle_length, "CycleSchedule", "cycle_length")
        annealing = whole(self.annealing_length, "CycleSchedule", "annealing_length", least=0)
        object.__setattr__(self, "cycle_length", cycle)
        object.__setattr__(self, "annealing_length", annealing)
        if cycle - annealing < 2:
            refuse("CycleSchedule", "cycle_length", cycle, "must be at least 2 longer than annealing_length")

    def _at(self, x: int) -> float:
        low, high = self.initial_learning_rate, self.max_learning_rate
        half = (self.cycle_length - self.annealing_length) // 2
        place = x % self.cycle_length
        rise = (high - low) / half
        if place < half:
            return low + rise * place
        if place < 2 * half:
            return high - rise * (place - half)
        return float(low * self.annealing_decay ** (self.annealing_length - (self.cycle_length - place)))
