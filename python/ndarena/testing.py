"""Faults on purpose, for tests of code that uses workspaces.

What a program does when memory runs out in the middle of a step, or when somebody presses Ctrl-C between two
scopes, is hard to try and easy to get wrong. `inject` makes one such fault happen at a chosen point; `faults`
goes through all points of a step, one after the other.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from ndarena._core import _clear_fault, _set_fault
from ndarena.data import DataSetIterator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["Point", "faults", "inject"]

Point: TypeAlias = Literal["allocation", "system", "scope", "batch"]
"""Where a fault can be."""

_one_at_a_time = threading.Lock()


class inject:  # noqa: N801 - it reads as a function: ``with inject(MemoryError, allocation=3):``
    """Raise an exception at one point inside a ``with`` block; a context manager, used once.

    Exactly one of the keywords says which point it is, counted from 1 in all threads of the process.

    Parameters
    ----------
    exception : BaseException or class of it
        What is raised.
    allocation : int, optional
        The n-th request of an array for memory of a workspace. A request of NumPy's in a scope with
        ``capture_numpy`` counts too; NumPy gets memory elsewhere then, and the next array raises.
    system : int, optional
        The n-th request of a workspace for memory of the system is refused. The exception must be a
        `MemoryError`; what comes of it is a `WorkspaceFullError`, or nothing if the library can do without.
    scope : int, optional
        The n-th boundary of a scope: before it is entered, or when it is completely left. An exception that
        is on its way there stays, and the fault becomes a note on it.
    batch : int, optional
        The n-th data set that a `DataSetIterator` hands out.

    Raises
    ------
    TypeError
        Something else than an exception, or not exactly one point.
    ValueError
        A number below 1, or another exception than `MemoryError` for the system.
    RuntimeError
        Another fault is set already, or the same object is used again.

    Examples
    --------
    >>> with inject(MemoryError, allocation=3):
    ...     step()
    """

    def __init__(
        self,
        exception: BaseException | type[BaseException],
        *,
        allocation: int | None = None,
        system: int | None = None,
        scope: int | None = None,
        batch: int | None = None,
    ) -> None:
        points = {"allocation": allocation, "system": system, "scope": scope, "batch": batch}
        given = {point: n for point, n in points.items() if n is not None}
        if len(given) != 1:
            raise TypeError(f"name one point: allocation=, system=, scope= or batch=, not {sorted(given)}")
        [(self.point, self.nth)] = given.items()
        if isinstance(self.nth, bool) or not isinstance(self.nth, int):
            raise TypeError(f"{self.point} must be a whole number, not {self.nth!r}")
        if self.nth < 1:
            raise ValueError(f"{self.point} counts from 1 on, not {self.nth}")
        self.exception = _exception_of(exception, f"injected at {self.point} {self.nth}")
        if self.point == "system" and not isinstance(self.exception, MemoryError):
            raise ValueError(f"the system refuses memory: give MemoryError, not {exception!r}")
        self._reached: bool | None = None
        self._undo: list[Callable[[], None]] = []

    @property
    def reached(self) -> bool:
        """Whether the point was reached; before the end of the block `False`."""
        return bool(self._reached)

    def __enter__(self) -> Self:
        """Set the fault."""
        if self._reached is not None or not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("a fault is set already: one at a time, each once")
        self._reached = False
        if self.point == "batch":
            self._watch_batches()
        else:
            _set_fault(self.point, self.nth, self.exception)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the fault away. No exception is held back."""
        self._reached = _clear_fault() or self._reached
        for undo in self._undo:
            undo()
        _one_at_a_time.release()

    def _watch_batches(self) -> None:
        """Put a counter between the iterators and who asks them."""
        numbers = itertools.count(1)
        for cls in _with_subclasses(DataSetIterator):
            if "__iter__" in vars(cls):
                self._wrap(cls, vars(cls)["__iter__"], numbers)

    def _wrap(self, cls: type, found: Callable[[Any], Iterator[Any]], numbers: Iterator[int]) -> None:
        def counted(iterator: Any) -> Iterator[Any]:  # noqa: ANN401 - of any class of iterators
            for data in found(iterator):
                if next(numbers) == self.nth:
                    self._reached = True
                    raise self.exception
                yield data

        cls.__iter__ = counted  # type: ignore[attr-defined]
        self._undo.append(lambda: setattr(cls, "__iter__", found))


def faults(exception: type[BaseException], point: Point) -> Iterator[inject]:
    """Give a fault at the first such point, at the second, and so on, until one was not reached.

    Parameters
    ----------
    exception : class of BaseException
        What is raised.
    point : {"allocation", "system", "scope", "batch"}
        Where.

    Yields
    ------
    inject
        To be used in ``with`` before the next one is asked for.

    Examples
    --------
    >>> for fault in faults(MemoryError, "allocation"):
    ...     with suppress(MemoryError), fault:
    ...         step()
    ...     assert nothing_is_lost()
    """
    for nth in itertools.count(1):
        fault = inject(exception, **{point: nth})
        yield fault
        if not fault.reached:
            return


def _exception_of(given: BaseException | type[BaseException], message: str) -> BaseException:
    """Return the exception, or make one of the class."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, type) and issubclass(given, BaseException):
        return given(message)
    raise TypeError(f"expected an exception or a class of exceptions, not {given!r}")


def _with_subclasses(cls: type) -> set[type]:
    """Return a class and all that come from it."""
    return {cls}.union(*map(_with_subclasses, cls.__subclasses__()))
