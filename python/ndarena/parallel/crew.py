"""The threads of a team, from the beginning of a fit to its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from ndarena._core import (
    destroy_all_workspaces_for_current_thread,
    get_all_workspaces_for_current_thread,
    get_workspace_for_current_thread,
)
from ndarena.data.handover import joined
from ndarena.nn.memory import is_of_networks
from ndarena.parallel.agenda import Agenda

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ndarena._core import Workspace, WorkspaceConfiguration
    from ndarena.parallel.teams import Team

__all__ = ["Crew"]


class Round(NamedTuple):
    """A batch for each trainer, or ``None``; leases of their memory; whether all are averaged afterwards."""

    batches: Sequence[Any]
    leases: Sequence[Any]
    due: bool


class Crew:
    """A thread for each trainer of a team; its end, for an `ExitStack`, waits for them.

    Whatever ends it, batches that were handed over are learned and averaged, unless a trainer fails: then its
    exception is raised, and the model is as the last averaging left it. ``workspaces`` are made in a thread
    when it begins, and take over how large those of the first were when it ended.
    """

    def __init__(
        self,
        team: Team,
        name: str,
        on_failure: Callable[[], None],
        workspaces: dict[str, WorkspaceConfiguration],
    ) -> None:
        self._workspaces = workspaces
        self._team, self._size, self._on_failure = team, len(team.trainers), on_failure
        self._agenda: Agenda[Round] = Agenda(self._size)
        self.threads = [
            threading.Thread(target=self._run, args=(trainer,), name=f"{name} {trainer.index}", daemon=True)
            for trainer in team.trainers
        ]

    def has_room(self) -> bool:
        """Wait until another round can be handed over; ``False``: there is no use in one."""
        return self._agenda.wait_for_room()

    def hand_over(self, batches: Sequence[Any], leases: Sequence[Any], *, due: bool) -> None:
        """Give each trainer a batch, in their order, as far as there are any, with its leases."""
        missing = [None] * (self._size - len(batches))
        self._agenda.put(Round([*batches, *missing], [*leases, *missing], due))

    def average(self) -> bool:
        """Average, and wait until that is done; ``False``: a trainer has failed."""
        self.hand_over([], [], due=True)
        return self._agenda.wait_until_done()

    def _run(self, trainer: Any) -> None:
        """Work; what a thread does from its beginning to its end."""
        try:
            for name, configuration in dict(self._workspaces).items():
                get_workspace_for_current_thread(configuration, id=name)
            while (item := self._agenda.take(trainer.index)) is not None:
                batch, leases, due = item.batches[trainer.index], item.leases[trainer.index], item.due
                del item
                self._team.work(trainer, batch, due=due)
                del batch, leases
            if trainer.index == 0:
                self._workspaces.update(grown())
        except BaseException as error:  # noqa: BLE001 - it goes on in the thread that waits
            self._agenda.fail(error)
            self._team.fail()
            self._on_failure()
        finally:
            destroy_all_workspaces_for_current_thread()

    def start(self) -> None:
        """Start the threads, all or none; `end` must be sure to follow."""
        try:
            for thread in self.threads:
                thread.start()
        except BaseException as error:
            self._agenda.fail(error)
            self._wait()
            self._agenda.error = None  # whose traceback holds this object
            raise

    def end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let them finish, and raise what one of them raised."""
        interrupt = self._wait()
        failure = self._agenda.error
        self._agenda.error = None
        try:
            if error is not None:
                if failure is not None:
                    error.add_note(f"a worker failed meanwhile: {failure!r}")
            elif failure is not None:
                raise failure
            elif interrupt is not None:
                raise interrupt
        finally:
            del failure, interrupt, error  # their tracebacks hold this frame

    def _wait(self) -> BaseException | None:
        """Wait for the threads; what a signal handler raises meanwhile is returned, when they have ended."""
        interrupt: BaseException | None = None
        nothing = [None] * self._size
        while True:
            try:
                self._agenda.close(Round(nothing, nothing, due=True))
                for thread in self.threads:
                    joined(thread)
            except BaseException as again:  # noqa: BLE001 - it is raised by who called
                interrupt = again
            else:
                return interrupt


def grown() -> dict[str, WorkspaceConfiguration]:
    """Return by name what makes the networks' workspaces of this thread as large at once as they are now."""
    found = [ws for ws in get_all_workspaces_for_current_thread() if is_of_networks(ws.id)]
    return {ws.id: ws.configuration.replace(initial_size=int(ws.current_size / room_of(ws))) for ws in found}


def room_of(ws: Workspace) -> float:
    """Return by what the initial size of a workspace is multiplied."""
    configuration = ws.configuration
    is_strict = configuration.policy_allocation.name == "STRICT"
    return 1.0 if is_strict else 1.0 + configuration.overallocation_limit
