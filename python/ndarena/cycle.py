"""One turn of a loop as a function: what `Workspace.run` and `Workspace.cycle` do with results."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ndarena._core import WorkspaceArray

if TYPE_CHECKING:
    from ndarena._core import Workspace

__all__ = ["decorate", "detached"]

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


def _sequence(result: Any) -> Any:  # noqa: ANN401
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


def _dataclass(result: Any) -> Any:  # noqa: ANN401
    fields = [f.name for f in dataclasses.fields(result) if hasattr(result, f.name)]
    old = {name: getattr(result, name) for name in fields}
    new = {name: detached(value) for name, value in old.items()}
    if all(new[name] is old[name] for name in fields):
        return result
    clone = copy.copy(result)
    for name, value in new.items():
        object.__setattr__(clone, name, value)  # frozen ones too
    return clone


def decorate(workspace: Workspace, function: Callable[P, R]) -> Callable[P, R]:
    """Make every call of `function` one cycle of `workspace`."""

    @functools.wraps(function)
    def cycle(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = workspace.run(function, *args, **kwargs)
        return result

    return cycle
