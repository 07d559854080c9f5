"""What the whole package speaks: arrays of either kind, names of choices, refusals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from ndarena import policies
from ndarena.errors import ConfigurationError

if TYPE_CHECKING:
    from enum import Enum

__all__ = [
    "Array",
    "Choice",
    "ReadOnly",
    "at_least_one",
    "member",
    "number",
    "refuse",
    "share_memory",
    "size_or_none",
]

Array = Any  # an ndarray or a WorkspaceArray: every operation takes both


def share_memory(a: Array, b: Array) -> bool:
    """Tell whether two arrays have bytes in common."""
    return a is b or (np.may_share_memory(a, b) and np.shares_memory(a, b))


class Choice(policies.Choice):
    """An enumeration whose members are found by name, without regard to underscores either, as in DL4J.

    ``None`` is its member ``NONE``, if there is one.
    """

    @classmethod
    def _missing_(cls, value: object) -> Enum | None:
        if value is None:
            return cls.__members__.get("NONE")
        if not isinstance(value, str):
            return None
        wanted = value.replace("_", "").upper()
        return next((m for name, m in cls.__members__.items() if name.replace("_", "") == wanted), None)


C = TypeVar("C", bound=Choice)
K = TypeVar("K")
V = TypeVar("V")


class ReadOnly(Mapping[K, V]):
    """A mapping that stays as it is, and so has a hash; it equals any mapping with the same items."""

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: K) -> V:
        """Return the value of a key."""
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        """Go through the keys, in the order in which they were given."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def __hash__(self) -> int:
        """Return a hash of the items, whatever their order."""
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        """Show the items."""
        return repr(self._items)


def refuse(owner: str, field: str, value: object, reason: str) -> NoReturn:
    """Raise the `ConfigurationError` about a field of a layer, a network or one of its parts."""
    raise ConfigurationError(f"{owner}: {field}={value!r}: {reason}", field=field, value=value, reason=reason)


def member(kind: type[C], value: object, owner: str, field: str) -> C:
    """Return the member meant by a name, or refuse the name and list those that are known."""
    try:
        return kind(value)
    except ValueError:
        meant = get_close_matches(str(value).upper(), kind.__members__, n=1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        refuse(owner, field, value, f"is none of {', '.join(m.name for m in kind)}{hint}")


def at_least_one(value: object, owner: str, field: str) -> int:
    """Return a count as an ``int``; anything but a whole number from 1 on is refused."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        refuse(owner, field, value, "must be a whole number from 1 on")
    return int(value)


def size_or_none(value: object, owner: str, field: str) -> int | None:
    """Return a count, or ``None`` where it is to be inferred."""
    return None if value is None else at_least_one(value, owner, field)


def number(
    value: object, owner: str, field: str, *, least: float = -math.inf, below: float = math.inf
) -> float:
    """Return a finite number of ``least <= value < below`` as a ``float``; anything else is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        refuse(owner, field, value, "must be a number")
    if not (math.isfinite(value) and least <= value < below):
        limits = [f"from {least:g} on"] * (least > -math.inf) + [f"below {below:g}"] * (below < math.inf)
        refuse(owner, field, value, " ".join(["must be a finite number", *limits]))
    return float(value)
