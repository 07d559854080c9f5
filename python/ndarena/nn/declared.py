"""Configuration whose fields are declared, and working twins of it."""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError, dataclass, field
from functools import cached_property
from typing import Any, Self, dataclass_transform

import numpy as np

from ndarena.nn.words import Answering

__all__ = ["Declared", "keep", "shown"]

keep = object.__setattr__
"""Sets an attribute of a twin whose name is known not to be declared; nothing is asked."""


def shown(thing: Any) -> str:
    """Return a dataclass as text, without the fields that are as they would be anyway."""
    fields = (f for f in dataclasses.fields(thing) if f.repr)
    said = [
        f"{f.name}={getattr(thing, f.name)!r}" for f in fields if not _is_default(getattr(thing, f.name), f)
    ]
    return f"{type(thing).__name__}({', '.join(said)})"


def _is_default(value: object, field: dataclasses.Field[Any]) -> bool:
    made = field.default_factory
    default = field.default if made is dataclasses.MISSING else made()
    return value is default or (type(value) is type(default) and bool(np.all(value == default)))


def _is_given(value: object) -> bool:
    """Tell whether an attribute of a class is what a twin is given, and does not set."""
    return isinstance(value, cached_property)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Declared(Answering):
    """Makes a keyword-only dataclass of every subclass; declared fields are read-only.

    An object is configuration until a twin of it is made, which has ``_memory``; there other attributes
    are free.
    """

    _read_only = frozenset[str]()
    """What is declared, and what else a twin does not set."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the subclass a dataclass."""
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True, repr=False)(cls)
        # The generated methods would refuse every attribute; those below refuse what is declared or given.
        del cls.__setattr__, cls.__delattr__
        given = {name for kind in cls.__mro__ for name, value in vars(kind).items() if _is_given(value)}
        cls._read_only = frozenset(cls.__dataclass_fields__) | given  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        """Show the fields that differ from their defaults."""
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of a twin."""
        if name in self._read_only or "_memory" not in self.__dict__:
            self._refuse_change(name)
        keep(self, name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of a twin."""
        self._refuse_change(name)
        object.__delattr__(self, name)

    def _set(self, field: str, value: object) -> None:
        """Store a field in the form in which it is used."""
        object.__setattr__(self, field, value)

    def _refuse_change(self, name: str) -> None:
        if name in type(self).__dataclass_fields__:  # type: ignore[attr-defined]  # of the subclass
            raise FrozenInstanceError(f"{type(self).__name__}.{name} is declared and so read-only")
        if name in self._read_only:
            raise AttributeError(
                f"{type(self).__name__}.{name} is given to the layer and read-only: take another name"
            )
        if "_memory" not in self.__dict__:
            raise FrozenInstanceError(
                f"{type(self).__name__}.{name}: this object is configuration; what it works with belongs to "
                "the twin that instantiate() makes"
            )

    def __copy__(self) -> Self:
        """Return a second worker on the same parameters, with attributes of its own."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin
