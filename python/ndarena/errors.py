"""What goes wrong, by name: one class per mistake, with the facts as attributes."""

from __future__ import annotations

from typing import ClassVar

from .policies import Validity

__all__ = [
    "ArrayLocationError",
    "ClosedArrayError",
    "ConfigurationError",
    "DestroyedArrayError",
    "DestroyedWorkspaceError",
    "EscapedViewError",
    "EscapedViewWarning",
    "LeakedArrayError",
    "OutdatedArrayError",
    "OverwrittenArrayError",
    "ScopeError",
    "StaleArrayError",
    "UnknownWorkspaceError",
    "UnusedWorkspaceWarning",
    "WorkspaceError",
    "WorkspaceFullError",
    "WrongThreadError",
]


class WorkspaceError(Exception):
    """Base of all errors of workspaces. Facts that are not known are ``None``."""

    workspace_id: str | None = None
    """Id of the workspace concerned."""
    array_generation: int | None = None
    """Generation of the workspace at the array's birth."""
    workspace_generation: int | None = None
    """Generation of the workspace when the error was raised."""
    open_workspaces: tuple[str, ...] | None = None
    """Ids of the workspaces open in the thread, outermost first."""
    operation: str | None = None
    """The ufunc, function or method that was refused."""
    argument: str | None = None
    """The argument at fault."""
    shape: tuple[int, ...] | None = None
    """Shape of the array concerned."""
    dtype: str | None = None
    """Element type of the array concerned."""
    created_at: str | None = None
    """``file:line`` of the array's creation, where debug is on."""

    _facts: ClassVar[frozenset[str]] = frozenset(
        {
            "workspace_id",
            "array_generation",
            "workspace_generation",
            "open_workspaces",
            "operation",
            "argument",
            "shape",
            "dtype",
            "created_at",
        }
    )

    def __init__(self, message: str = "", **facts: object) -> None:
        super().__init__(message)
        for name, value in facts.items():
            if name not in self._facts:
                text = f"{type(self).__name__}() got an unexpected keyword argument {name!r}"
                raise TypeError(text)
            setattr(self, name, tuple(value) if isinstance(value, list) else value)


class StaleArrayError(WorkspaceError, ReferenceError):
    """An array is used after its memory went to others."""

    validity: Validity | None = None
    """Why the memory is no longer the array's."""


class LeakedArrayError(StaleArrayError):
    """The cycle of the array is closed, and none has begun since."""

    validity = Validity.LEAKED


class OutdatedArrayError(StaleArrayError):
    """The workspace of the array was entered again since."""

    validity = Validity.OUTDATED


class OverwrittenArrayError(OutdatedArrayError):
    """The array's block of a circular workspace was taken again."""

    validity = Validity.OVERWRITTEN


class DestroyedArrayError(LeakedArrayError):
    """The workspace of the array was destroyed."""

    validity = Validity.DESTROYED


class ClosedArrayError(StaleArrayError):
    """The handle was closed with ``close()``."""

    validity = Validity.CLOSED


class WorkspaceFullError(WorkspaceError, MemoryError):
    """A request cannot be served: by policy, or because the system refuses."""


class ScopeError(WorkspaceError, RuntimeError):
    """A scope is used against its rules."""


class WrongThreadError(ScopeError):
    """Something that belongs to one thread is used in another."""


class EscapedViewError(WorkspaceError, RuntimeError):
    """Views outlived their scope under ``EscapePolicy.RAISE``."""


class ArrayLocationError(WorkspaceError, ValueError):
    """An array lies in the wrong place."""


class UnknownWorkspaceError(WorkspaceError, LookupError):
    """No workspace of that id is registered in this thread."""


class ConfigurationError(WorkspaceError, ValueError):
    """A configuration contradicts itself, or the one in use."""

    field: str | None = None
    """The field that must change first."""
    value: object = None
    """Its value."""
    reason: str | None = None
    """Why it is refused."""

    _facts: ClassVar[frozenset[str]] = WorkspaceError._facts | {"field", "value", "reason"}


class DestroyedWorkspaceError(WorkspaceError, RuntimeError):
    """The workspace itself is used after its end."""


class EscapedViewWarning(RuntimeWarning):
    """Views outlived their scope under ``EscapePolicy.WARN``."""


class UnusedWorkspaceWarning(UserWarning):
    """A workspace closed its first cycles without one allocation."""
