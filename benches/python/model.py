"""The words of the benchmarks: a row compares two sides, a bar is what it promises."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Side:
    """Code whose turns are timed, and the names it uses.

    Turns run inside a scope, at most a thousand in each, where one is given. What a turn makes is dropped
    before the next. `result` gives what both sides must have equal: by default the value of the code.
    """

    code: str
    names: Mapping[str, Any] = field(default_factory=dict)
    scope: Callable[[], AbstractContextManager[Any]] | None = None
    result: Callable[[], Any] | None = None


class Check(enum.Enum):
    """What has to be equal on both sides."""

    BITS = "bits"
    """Shape, dtype and every bit."""
    CLOSE = "close"
    """Shape, and values to single precision: another library's sums run in another order."""
    KIND = "kind"
    """Shape and dtype: the values are whatever the memory held."""
    NOTHING = "nothing"
    """There is no result."""


@dataclass(frozen=True)
class Sides:
    """The sides of a row; the figure is ours over the peer's.

    With `base` it is what ours takes beyond the base, over the peer's.
    """

    ours: Side
    peer: Side
    base: Side | None = None
    check: Check = Check.BITS


@dataclass(frozen=True)
class Bar:
    """A promise about a row's figure."""

    limit: float
    at_least: bool = False
    """The figure is to reach the limit instead of staying within it."""
    faulting_peer: bool = False
    """It counts only where the peer takes page faults."""

    def holds(self, figure: float) -> bool:
        """Return whether a figure keeps the promise."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        """Return it as it stands in the table."""
        where = " where the peer faults" if self.faulting_peer else ""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{where}"


class Place(enum.Enum):
    """Where a row is measured. The heap of a process remembers what ran in it before."""

    SHARED = "shared"
    """With the other rows of its family."""
    FRESH = "fresh"
    """In a process of its own."""
    TUNED = "tuned"
    """In one of its own, whose malloc keeps freed memory."""
    RESIDENT = "resident"
    """In some of each side's own: what counts is the memory they took, in kilobytes."""
    LONGEST = "longest"
    """In some of each side's own: what counts is their longest step."""
    WORKERS = "workers"
    """In some that work at the same time, the sides in turns: what counts is when all have done."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    family: str
    path: str
    size: str
    dtype: str
    peer: str
    bar: Bar | None
    make: Callable[[ExitStack], Sides]
    place: Place = Place.SHARED
    in_thread: bool = False
    """It is measured in a worker thread."""
    needs: str | None = None
    """`torch`, `sklearn`, or a name of the package, or `capture`."""
    examples: int = 0
    """So many are learned in a turn: the report says how many in a second."""

    @property
    def key(self) -> str:
        """Return its name, which no other row has."""
        return f"{self.family} | {self.path} | {self.size} | {self.dtype} | {self.peer}"


@dataclass(frozen=True)
class Figures:
    """Nanoseconds per turn, least and middle of the rounds, and page faults of the quietest round."""

    least: float
    median: float
    faults: float


@dataclass(frozen=True)
class Result:
    """What was measured of a row, or why nothing was."""

    key: str
    missing: str | None = None
    """What is not there, so that the row does not count."""
    failed: str | None = None
    """What went wrong."""
    ratio: float = 0.0
    """Of the least times."""
    median_ratio: float = 0.0
    ours: Figures | None = None
    peer: Figures | None = None
    held: int = 0
    """Bytes newly held for workspaces over all rounds."""

    @property
    def is_measured(self) -> bool:
        """Return whether there are figures."""
        return self.ours is not None and self.peer is not None

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Result:
        """Return what another process measured."""
        figures = {name: fields[name] and Figures(**fields[name]) for name in ("ours", "peer")}
        return cls(**{**fields, **figures})
