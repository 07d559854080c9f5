"""How weights begin (DL4J: ``WeightInit``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ndarena.nn.words import Choice

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["WeightInit"]


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

    def fill(self, weights: Any, rng: np.random.Generator, *, fan_in: int, fan_out: int) -> None:
        """Fill an array of any shape and floating dtype; draws depend on the generator and shape alone."""
        weights[...] = _DRAWS[self](rng, weights.shape, fan_in, fan_out)


def _normal(variance: Callable[[float, float], float]) -> Any:
    return lambda rng, shape, i, o: rng.normal(0.0, math.sqrt(variance(i, o)), shape)


def _uniform(bound: Callable[[float, float], float]) -> Any:
    return lambda rng, shape, i, o: rng.uniform(-bound(i, o), bound(i, o), shape)


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
}
