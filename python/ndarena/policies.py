"""The choices of a configuration, and the words for states: enumerations whose values are their names."""

from __future__ import annotations

from enum import Enum, unique
from typing import NoReturn

__all__ = [
    "AllocationPolicy",
    "DebugMode",
    "EscapePolicy",
    "HugePages",
    "LearningPolicy",
    "LocationPolicy",
    "MirroringPolicy",
    "ResetPolicy",
    "ReusePolicy",
    "SpillPolicy",
    "Validity",
    "WorkspaceType",
]


class Choice(Enum):
    """An enumeration that finds its members by name in any case: ``SpillPolicy("fail")``."""

    @classmethod
    def _missing_(cls, value: object) -> Enum:
        member = cls.__members__.get(value.upper()) if isinstance(value, str) else None
        return member or cls._refuse(value)

    @classmethod
    def _refuse(cls, value: object) -> NoReturn:
        known = ", ".join(cls.__members__)
        raise ValueError(f"{value!r} is not a valid {cls.__name__}; known are {known}")

    # Members are single objects; hashing their names takes a call of Python for every look into a dictionary.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


@unique
class AllocationPolicy(Choice):
    """How large the arena is made."""

    STRICT = "STRICT"
    """As large as given or learned."""
    OVERALLOCATE = "OVERALLOCATE"
    """Enlarged once by the over-allocation limit; a ring gets that many further blocks."""


@unique
class SpillPolicy(Choice):
    """What happens to a request that does not fit."""

    EXTERNAL = "EXTERNAL"
    """It is served outside the arena."""
    REALLOCATE = "REALLOCATE"
    """It is served outside, and the arena grows at the end of the cycle."""
    FAIL = "FAIL"
    """It is refused with ``WorkspaceFullError``."""


@unique
class MirroringPolicy(Choice):
    """Whether a device would hold a copy of the arena; without effect on the CPU."""

    FULL = "FULL"
    """On host and device."""
    HOST_ONLY = "HOST_ONLY"
    """On the host only."""


@unique
class LearningPolicy(Choice):
    """When the size is derived from what was used."""

    FIRST_LOOP = "FIRST_LOOP"
    """From the first cycle that allocates."""
    OVER_TIME = "OVER_TIME"
    """From the largest of the first ``cycles_before_initialization`` cycles."""
    NONE = "NONE"
    """Never: the size is ``initial_size``."""


@unique
class ResetPolicy(Choice):
    """When memory is used again from its beginning."""

    BLOCK_LEFT = "BLOCK_LEFT"
    """At the end of every cycle: a scoped workspace."""
    ENDOFBUFFER_REACHED = "ENDOFBUFFER_REACHED"
    """When the end is reached: a circular workspace."""


@unique
class LocationPolicy(Choice):
    """Where the arena lies."""

    RAM = "RAM"
    """In the memory of the process."""
    MMAP = "MMAP"
    """In a mapped file."""


@unique
class ReusePolicy(Choice):
    """When the memory of an array that died may serve another."""

    WITHIN_CYCLE = "WITHIN_CYCLE"
    """Within the same cycle."""
    AT_RESET = "AT_RESET"
    """At the reset only, as in ND4J."""


@unique
class EscapePolicy(Choice):
    """What a NumPy view that outlives its scope means."""

    RETIRE = "RETIRE"
    """Its memory is retired and counted."""
    WARN = "WARN"
    """The same, with an ``EscapedViewWarning``."""
    RAISE = "RAISE"
    """The same, with an ``EscapedViewError``."""


@unique
class HugePages(Choice):
    """Whether the system is asked for huge pages."""

    NEVER = "NEVER"
    """No."""
    ADVISE = "ADVISE"
    """By advice, which it may ignore."""


@unique
class DebugMode(Choice):
    """What all workspaces do while a fault is looked for."""

    DISABLED = "DISABLED"
    """Nothing special."""
    SPILL_EVERYTHING = "SPILL_EVERYTHING"
    """Every request is served outside the arena."""
    BYPASS_EVERYTHING = "BYPASS_EVERYTHING"
    """No workspace is used at all."""


@unique
class WorkspaceType(Choice):
    """The kind of a workspace."""

    SCOPED = "SCOPED"
    """Reset at the end of every cycle."""
    CIRCULAR = "CIRCULAR"
    """A ring of blocks."""
    DUMMY = "DUMMY"
    """Stands for no workspace."""


@unique
class Validity(Choice):
    """Whether the memory of an array is still its own, and if not, why."""

    VALID = "VALID"
    """It is."""
    LEAKED = "LEAKED"
    """Its cycle is closed, and none has begun since."""
    OUTDATED = "OUTDATED"
    """The workspace was entered again since."""
    OVERWRITTEN = "OVERWRITTEN"
    """Its block of a circular workspace was taken again."""
    DESTROYED = "DESTROYED"
    """The workspace was destroyed."""
    CLOSED = "CLOSED"
    """This handle was closed."""
