"""What parameters must fulfil after every update (DL4J: ``org.deeplearning4j.nn.conf.constraint``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ndarena.nn.words import Array, is_whole, number, refuse

__all__ = [
    "LayerConstraint",
    "MaxNormConstraint",
    "MinMaxNormConstraint",
    "NonNegativeConstraint",
    "UnitNormConstraint",
    "constraints_of",
]

EPSILON = 1e-6


@dataclass(frozen=True)
class LayerConstraint:
    """Base of constraints; a new one is a frozen dataclass with `apply`.

    Parameters
    ----------
    apply_to_biases : bool
        Whether biases are constrained as well as weights.
    """

    _: KW_ONLY
    apply_to_biases: bool = False

    def __post_init__(self) -> None:
        """Check the field."""
        if not isinstance(self.apply_to_biases, bool):
            refuse(type(self).__name__, "apply_to_biases", self.apply_to_biases, "must be True or False")

    def apply(self, param: Array) -> None:
        """Change a parameter in place; scratch goes to the current workspace, where there is one."""
        raise NotImplementedError(f"{type(self).__name__}.apply")


@dataclass(frozen=True)
class NonNegativeConstraint(LayerConstraint):
    """Nothing is below 0 (DL4J: ``NonNegativeConstraint``)."""

    def apply(self, param: Array) -> None:
        """Put 0 in the place of what is below."""
        np.maximum(param, 0.0, out=param)


@dataclass(frozen=True)
class _NormConstraint(LayerConstraint):
    """Something about norms over axes of a parameter.

    Parameters
    ----------
    dimensions : sequence of int, optional
        Over which axes the norm is taken. Default: all but the first, as DL4J advises. A bias is a single
        row.
    """

    _: KW_ONLY
    dimensions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.dimensions is None:
            return
        given = self.dimensions
        axes = list(given) if isinstance(given, Iterable) else []
        if not axes or not all(is_whole(axis) and axis >= 0 for axis in axes):
            refuse(type(self).__name__, "dimensions", given, "must be axes, counted from 0")
        object.__setattr__(self, "dimensions", tuple(map(int, axes)))

    def apply(self, param: Array) -> None:
        """Scale a parameter in place."""
        rows = param if param.ndim > 1 else param.reshape(1, -1)
        axes = tuple(range(1, rows.ndim)) if self.dimensions is None else self.dimensions
        norm: Any = np.sqrt((rows * rows).sum(axis=axes, keepdims=True))
        rows *= self._factor(norm, norm + EPSILON)

    def _factor(self, norm: Array, divisor: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__}._factor")

    def _settle_limit(self, field: str, least: float = 0.0) -> None:
        value = number(getattr(self, field), type(self).__name__, field, least=least)
        object.__setattr__(self, field, value)


@dataclass(frozen=True)
class MaxNormConstraint(_NormConstraint):
    """Norms are at most ``max_norm`` (DL4J: ``MaxNormConstraint``)."""

    max_norm: float

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._settle_limit("max_norm")

    def _factor(self, norm: Array, divisor: Array) -> Array:
        return np.minimum(norm, self.max_norm) / divisor


@dataclass(frozen=True)
class MinMaxNormConstraint(_NormConstraint):
    """Norms go towards the range from ``min`` to ``max`` (DL4J: ``MinMaxNormConstraint``).

    Parameters
    ----------
    min, max : float
        The range.
    rate : float
        Which part of the way a norm goes; default: all of it. (DL4J scales wrongly for other rates.)
    """

    min: float
    max: float
    rate: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._settle_limit("min")
        self._settle_limit("max", least=self.min)
        self._settle_limit("rate")
        if not 0.0 < self.rate <= 1.0:
            refuse("MinMaxNormConstraint", "rate", self.rate, "must be above 0, at most 1")

    def _factor(self, norm: Array, divisor: Array) -> Array:
        factor = np.minimum(np.maximum(norm, self.min), self.max) / divisor
        return factor if self.rate == 1.0 else factor * self.rate + (1.0 - self.rate)


@dataclass(frozen=True)
class UnitNormConstraint(_NormConstraint):
    """Norms are 1 (DL4J: ``UnitNormConstraint``); what is 0 stays so."""

    def _factor(self, norm: Array, divisor: Array) -> Array:
        return 1.0 / np.where(norm > 0.0, norm, 1.0)


def constraints_of(value: object, owner: str, field: str = "constraints") -> tuple[LayerConstraint, ...]:
    """Return a constraint or a sequence of them as a tuple; refuse anything else."""
    given = (value,) if isinstance(value, LayerConstraint) else value
    found = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(constraint, LayerConstraint) for constraint in found):
        refuse(owner, field, value, "must be a sequence of LayerConstraint")
    return found
