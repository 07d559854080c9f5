"""How weights begin (DL4J: ``WeightInit``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.nn.distributions import Distribution
from ndarena.nn.words import Choice, member, number, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "IWeightInit",
    "WeightInit",
    "WeightInitConstant",
    "WeightInitDistribution",
    "scheme_of",
    "weight_init_of",
]


DRAWN = 1 << 13
"""How many numbers are drawn at a time: what they take before they are stored is soon used again."""


class WeightInit(Choice):
    """Schemes by name; ``fan_in`` and ``fan_out`` are the numbers of inputs and outputs of a unit."""

    ZERO = "ZERO"
    """All 0."""
    ONES = "ONES"
    """All 1."""
    XAVIER = "XAVIER"
    """Normal, variance ``2 / (fan_in + fan_out)``."""
    XAVIER_UNIFORM = "XAVIER_UNIFORM"
    """Uniform within ``sqrt(6 / (fan_in + fan_out))``."""
    XAVIER_FAN_IN = "XAVIER_FAN_IN"
    """Normal, variance ``1 / fan_in``."""
    RELU = "RELU"
    """Normal, variance ``2 / fan_in``."""
    RELU_UNIFORM = "RELU_UNIFORM"
    """Uniform within ``sqrt(6 / fan_in)``."""
    LECUN_NORMAL = "LECUN_NORMAL"
    """Normal, variance ``1 / fan_in``."""
    LECUN_UNIFORM = "LECUN_UNIFORM"
    """Uniform within ``3 / sqrt(fan_in)``."""
    UNIFORM = "UNIFORM"
    """Uniform within ``1 / sqrt(fan_in)``."""
    NORMAL = "NORMAL"
    """Normal, variance ``1 / fan_in``."""
    SIGMOID_UNIFORM = "SIGMOID_UNIFORM"
    """Uniform within ``4 * sqrt(6 / (fan_in + fan_out))``."""
    XAVIER_LEGACY = "XAVIER_LEGACY"
    """Normal, variance ``1 / (fan_in + fan_out)``."""
    IDENTITY = "IDENTITY"
    """1 where row and column are equal, and 0 elsewhere; only for square matrices."""
    VAR_SCALING_NORMAL_FAN_IN = "VAR_SCALING_NORMAL_FAN_IN"
    """Normal, variance ``1 / fan_in``."""
    VAR_SCALING_NORMAL_FAN_OUT = "VAR_SCALING_NORMAL_FAN_OUT"
    """Normal, variance ``1 / fan_out``."""
    VAR_SCALING_NORMAL_FAN_AVG = "VAR_SCALING_NORMAL_FAN_AVG"
    """Normal, variance ``2 / (fan_in + fan_out)``."""
    VAR_SCALING_UNIFORM_FAN_IN = "VAR_SCALING_UNIFORM_FAN_IN"
    """Uniform within ``3 / sqrt(fan_in)``."""
    VAR_SCALING_UNIFORM_FAN_OUT = "VAR_SCALING_UNIFORM_FAN_OUT"
    """Uniform within ``3 / sqrt(fan_out)``."""
    VAR_SCALING_UNIFORM_FAN_AVG = "VAR_SCALING_UNIFORM_FAN_AVG"
    """Uniform within ``3 / sqrt((fan_in + fan_out) / 2)``."""

    @classmethod
    def elsewhere(cls) -> dict[str, str]:
        """Return what members are called in other libraries."""
        return {
            "glorot_normal": "XAVIER",
            "glorot_uniform": "XAVIER_UNIFORM",
            "he_normal": "RELU",
            "he_uniform": "RELU_UNIFORM",
            "kaiming_normal": "RELU",
            "kaiming_uniform": "RELU_UNIFORM",
        }

    def fill(self, weights: Any, rng: np.random.Generator, *, fan_in: int, fan_out: int) -> None:
        """Fill an array of any shape and floating dtype; draws depend on the generator and shape alone."""
        draw = _DRAWS[self]
        if self is WeightInit.IDENTITY:
            weights[...] = draw(rng, weights.shape, fan_in, fan_out)
            return
        rows = max(DRAWN // max(math.prod(weights.shape[1:]), 1), 1)
        for start in range(0, len(weights), rows):
            part = weights[start : start + rows]
            part[...] = draw(rng, part.shape, fan_in, fan_out)


def _normal(variance: Callable[[float, float], float]) -> Any:
    return lambda rng, shape, i, o: rng.normal(0.0, math.sqrt(variance(i, o)), shape)


def _uniform(bound: Callable[[float, float], float]) -> Any:
    return lambda rng, shape, i, o: rng.uniform(-bound(i, o), bound(i, o), shape)


def _identity(_rng: object, shape: tuple[int, ...], _i: int, _o: int) -> Any:
    if len(shape) != 2 or shape[0] != shape[1]:
        refuse("WeightInit.IDENTITY", "weight_init", list(shape), "must be the shape of a square matrix")
    return np.eye(shape[0])


_DRAWS: dict[WeightInit, Any] = {
    WeightInit.ZERO: lambda _rng, _shape, _i, _o: 0.0,
    WeightInit.ONES: lambda _rng, _shape, _i, _o: 1.0,
    WeightInit.XAVIER: _normal(lambda i, o: 2.0 / (i + o)),
    WeightInit.XAVIER_UNIFORM: _uniform(lambda i, o: math.sqrt(6.0 / (i + o))),
    WeightInit.XAVIER_FAN_IN: _normal(lambda i, _o: 1.0 / i),
    WeightInit.RELU: _normal(lambda i, _o: 2.0 / i),
    WeightInit.RELU_UNIFORM: _uniform(lambda i, _o: math.sqrt(6.0 / i)),
    WeightInit.LECUN_NORMAL: _normal(lambda i, _o: 1.0 / i),
    WeightInit.LECUN_UNIFORM: _uniform(lambda i, _o: 3.0 / math.sqrt(i)),
    WeightInit.UNIFORM: _uniform(lambda i, _o: 1.0 / math.sqrt(i)),
    WeightInit.NORMAL: _normal(lambda i, _o: 1.0 / i),
    WeightInit.SIGMOID_UNIFORM: _uniform(lambda i, o: 4.0 * math.sqrt(6.0 / (i + o))),
    WeightInit.XAVIER_LEGACY: _normal(lambda i, o: 1.0 / (i + o)),
    WeightInit.IDENTITY: _identity,
    WeightInit.VAR_SCALING_NORMAL_FAN_IN: _normal(lambda i, _o: 1.0 / i),
    WeightInit.VAR_SCALING_NORMAL_FAN_OUT: _normal(lambda _i, o: 1.0 / o),
    WeightInit.VAR_SCALING_NORMAL_FAN_AVG: _normal(lambda i, o: 2.0 / (i + o)),
    WeightInit.VAR_SCALING_UNIFORM_FAN_IN: _uniform(lambda i, _o: 3.0 / math.sqrt(i)),
    WeightInit.VAR_SCALING_UNIFORM_FAN_OUT: _uniform(lambda _i, o: 3.0 / math.sqrt(o)),
    WeightInit.VAR_SCALING_UNIFORM_FAN_AVG: _uniform(lambda i, o: 3.0 / math.sqrt((i + o) / 2.0)),
}


class IWeightInit:
    """Base of ways to begin beside those of `WeightInit`; a new one is a frozen dataclass with `fill`."""

    def fill(self, weights: Any, rng: np.random.Generator, *, fan_in: int, fan_out: int) -> None:
        """Fill an array of any shape, floating dtype and order in memory."""
        raise NotImplementedError(f"{type(self).__name__}.fill")


@dataclass(frozen=True)
class WeightInitDistribution(IWeightInit):
    """Draws from a distribution (DL4J: ``WeightInitDistribution``)."""

    distribution: Distribution

    def __post_init__(self) -> None:
        """Check the field."""
        if not isinstance(self.distribution, Distribution):
            refuse("WeightInitDistribution", "distribution", self.distribution, "must be a Distribution")

    def fill(self, weights: Any, rng: np.random.Generator, *, fan_in: int, fan_out: int) -> None:
        """Fill an array; draws depend on the generator and shape alone."""
        drawn = np.empty(weights.shape)
        self.distribution.fill(drawn, rng)
        weights[...] = drawn


@dataclass(frozen=True)
class WeightInitConstant(IWeightInit):
    """The same number everywhere (DL4J: ``WeightInitConstant``)."""

    value: float

    def __post_init__(self) -> None:
        """Check the field."""
        object.__setattr__(self, "value", number(self.value, "WeightInitConstant", "value"))

    def fill(self, weights: Any, rng: np.random.Generator, *, fan_in: int, fan_out: int) -> None:
        """Fill an array."""
        weights[...] = self.value


def weight_init_of(value: object, owner: str, field: str = "weight_init") -> WeightInit | IWeightInit:
    """Return what a name, a member, a distribution or an object stands for; anything else is refused."""
    if isinstance(value, IWeightInit):
        return value
    if isinstance(value, Distribution):
        return WeightInitDistribution(value)
    if not isinstance(value, str | WeightInit):
        refuse(owner, field, value, "must be a name, a WeightInit, an IWeightInit or a Distribution")
    return member(WeightInit, value, owner, field)


def scheme_of(*wishes: str | WeightInit | IWeightInit | Distribution | None) -> WeightInit | IWeightInit:
    """Return the first wish that is one; without any it is Xavier's scheme."""
    wish = next((wish for wish in wishes if wish is not None), WeightInit.XAVIER)
    return weight_init_of(wish, "layer")
