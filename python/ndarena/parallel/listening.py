"""Listeners of models that learn in several threads."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from ndarena.nn.listeners import TrainingListener

if TYPE_CHECKING:
    import threading

__all__ = ["InTurn", "RoutingIterationListener", "listeners_of"]


class RoutingIterationListener(TrainingListener):
    """A listener of which every worker has a copy that knows whose it is.

    DL4J: ``RoutingIterationListener``. The copies hear what happens to the replicas; the listener that was
    given hears the epochs.
    """

    session_id: str | None = None
    """The same for all workers of a `ParallelWrapper`; ``None`` outside one."""
    worker_id: str | None = None
    """One for each worker; ``None`` outside a `ParallelWrapper`."""

    def clone(self) -> Self:
        """Return the copy for a worker; by default its attributes are the same objects."""
        return copy.copy(self)


class InTurn:
    """Tells a listener about the events of all workers, one at a time."""

    def __init__(self, listener: Any, lock: threading.RLock) -> None:
        self._listener, self._lock = listener, lock

    def __getattr__(self, event: str) -> Any:
        """Return what tells the listener about an event."""
        tell = getattr(self._listener, event)

        def in_turn(*facts: object) -> None:
            with self._lock:
                tell(*facts)

        return in_turn


def listeners_of(
    listeners: tuple[Any, ...], session: str, worker: str, lock: threading.RLock
) -> list[InTurn]:
    """Return what tells these listeners, or copies of them, what happens to the replica of a worker."""
    told = []
    for listener in listeners:
        own = listener
        if isinstance(listener, RoutingIterationListener):
            own = listener.clone()
            own.session_id, own.worker_id = session, worker
        told.append(InTurn(own, lock))
    return told
