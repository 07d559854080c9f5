"""What the whole package speaks: arrays of either kind, names of choices, refusals."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeGuard, TypeVar

import numpy as np

from ndarena import policies
from ndarena.errors import ConfigurationError

if TYPE_CHECKING:
    from enum import Enum

__all__ = [
    "Answering",
    "Array",
    "Choice",
    "ReadOnly",
    "at_least_one",
    "is_whole",
    "member",
    "nearest",
    "number",
    "refuse",
    "share_memory",
    "size_or_none",
    "whole",
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
    def _missing_(cls, value: object) -> Enum:
        wanted = "NONE" if value is None else _bare(value) if isinstance(value, str) else None
        member = next((m for name, m in cls.__members__.items() if _bare(name) == wanted), None)
        return member or cls._refuse(value)

    @classmethod
    def elsewhere(cls) -> dict[str, str]:
        """Return what members are called in other libraries, for the hint at the member."""
        return {}


class Answering:
    """Base of classes that answer an argument which they do not take with the one that was meant."""

    def __new__(cls, *given: object, **named: object) -> Self:
        """Refuse what ``__init__`` would refuse without a hint."""
        _check_arguments(cls, len(given), named)
        return super().__new__(cls)


def _check_arguments(cls: type, given: int, named: Mapping[str, object]) -> None:
    parameters = _parameters(cls)
    if any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in parameters):
        return
    most = sum(p.kind is not p.KEYWORD_ONLY for p in parameters)
    if given > most:
        needed = ", ".join(f"{p.name}=…" for p in parameters if p.default is p.empty) or "…=…"
        cure = f"the others are given by name, as in {cls.__name__}({needed})"
        raise TypeError(f"{cls.__name__}() takes {most} positional arguments, not {given}: {cure}")
    known = [p.name for p in parameters]
    if unknown := [name for name in named if name not in known]:
        hint = nearest(unknown[0], known)
        raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {unknown[0]!r}{hint}")


def _parameters(cls: type) -> list[inspect.Parameter]:
    init: Any = cls.__init__  # type: ignore[misc]  # of no subclass
    return [] if init is object.__init__ else list(inspect.signature(init).parameters.values())[1:]


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


@contextmanager
def in_place(owner: str) -> Iterator[None]:
    """Name the layer or vertex about which a `ConfigurationError` is raised inside, unless it does itself."""
    try:
        yield
    except ConfigurationError as error:
        if owner in str(error):
            raise
        facts = {"field": error.field, "value": error.value, "reason": error.reason}
        raise ConfigurationError(f"{owner}: {error}", **facts) from None


def member(kind: type[C], value: object, owner: str, field: str) -> C:
    """Return the member meant by a name, or refuse the name and list those that are known."""
    try:
        return kind(value)
    except ValueError:
        hint = nearest(value, kind.__members__, kind.elsewhere())
        refuse(owner, field, value, f"is none of {', '.join(m.name for m in kind)}{hint}")


def nearest(given: object, names: Iterable[str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the question whether the name nearest to the one given was meant; nothing if none is near."""
    meant = {_bare(name): name for name in names} | {_bare(name): ours for name, ours in elsewhere.items()}
    found = get_close_matches(_bare(str(given)), meant, n=1)
    return f"; did you mean {meant[found[0]]}?" if found else ""


def _bare(name: str) -> str:
    """Return a name without what spellings differ in."""
    return name.replace("_", "").upper()


WHOLE = (int, np.integer)


def is_whole(value: object) -> TypeGuard[int]:
    """Tell a whole number, Python's or NumPy's, from everything else."""
    return type(value) is int or (isinstance(value, WHOLE) and not isinstance(value, bool))


def whole(value: Any, owner: str, field: str, *, least: int) -> int:
    """Return a whole number as an ``int``; anything else, or one below the least, is refused."""
    if not is_whole(value) or value < least:
        refuse(owner, field, value, f"must be a whole number from {least} on")
    return int(value)


def at_least_one(value: object, owner: str, field: str) -> int:
    """Return a count as an ``int``; anything but a whole number from 1 on is refused."""
    return whole(value, owner, field, least=1)


def size_or_none(value: object, owner: str, field: str) -> int | None:
    """Return a count, or ``None`` where it is to be inferred."""
    return None if value is None else at_least_one(value, owner, field)


def number(
    value: object, owner: str, field: str, *, least: float = -math.inf, below: float = math.inf
) -> float:
    """Return a finite number of ``least <= value < below`` as a ``float``; anything else is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        refuse(owner, field, value, "must be a number")
    try:
        found = float(value)
    except OverflowError:  # an int beyond all of them
        found = math.inf
    if not (math.isfinite(found) and least <= found < below):
        limits = [f"from {least:g} on"] * (least > -math.inf) + [f"below {below:g}"] * (below < math.inf)
        refuse(owner, field, value, " ".join(["must be a finite number", *limits]))
    return found
