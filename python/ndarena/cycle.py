"""One turn of a loop as a function: what `Workspace.run` and `Workspace.cycle` do with results."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ndarena._core import Workspace, WorkspaceArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cycle", "detached", "run"]

P = ParamSpec("P")
R = TypeVar("R")


def detached(result: Any) -> Any:  # noqa: ANN401 - any result of any function
    """Return `result` with every WorkspaceArray in it detached.

    Looks into tuples, named tuples, lists, dicts and dataclasses; what holds no such array comes back as
    it is, and nothing that was given is changed.
    """
    if isinstance(result, WorkspaceArray):
        return result.detach()
    if isinstance(result, tuple | list):
        return _sequence(result)
    if isinstance(result, dict):
        return _replaced(result, {key: detached(value) for key, value in result.items()})
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return _dataclass(result)
    return result


def _sequence(result: Any) -> Any:  # noqa: ANN401 - a tuple or a list, of its own class
    items = [detached(item) for item in result]
    if all(new is old for new, old in zip(items, result, strict=True)):
        return result
    if isinstance(result, list):
        clone = copy.copy(result)
        clone[:] = items
        return clone
    make = getattr(type(result), "_make", type(result))
    return make(items)


def _replaced(result: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    if all(items[key] is value for key, value in result.items()):
        return result
    clone = copy.copy(result)
    clone.update(items)
    return clone


def _dataclass(result: Any) -> Any:  # noqa: ANN401 - of any class of dataclasses
    fields = [f.name for f in dataclasses.fields(result) if hasattr(result, f.name)]
    old = {name: getattr(result, name) for name in fields}
    new = {name: detached(value) for name, value in old.items()}
    if all(new[name] is old[name] for name in fields):
        return result
    clone = copy.copy(result)
    for name, value in new.items():
        object.__setattr__(clone, name, value)  # frozen ones too
    return clone


def run(self: Workspace, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Enter, call `function`, detach every WorkspaceArray in its result, leave.

    What `detached` looks into comes out detached; an exception of the function passes through.
    """
    with self:
        result: R = detached(function(*args, **kwargs))
    return result


def cycle(self: Workspace, function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: every call is one cycle, and its arrays come out detached."""

    @functools.wraps(function)
    def turn(*args: P.args, **kwargs: P.kwargs) -> R:
        return run(self, function, *args, **kwargs)

    return turn


# Methods of `Workspace` in Python: while a user's function runs, no frame of the extension waits below it.
Workspace.run = run  # type: ignore[method-assign]  # the stub has it, the extension has not
Workspace.cycle = cycle  # type: ignore[method-assign]  # the same
