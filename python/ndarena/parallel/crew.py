"""The threads of a team, from the beginning of a fit to its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ndarena._core import destroy_all_workspaces_for_current_thread
from ndarena.data.handover import joined
from ndarena.parallel.agenda import Agenda

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ndarena.parallel.teams import Team

__all__ = ["Crew"]


class Round(NamedTuple):
    """A batch for each trainer, or ``None``; leases of their memory; whether all are averaged afterwards."""

    batches: Sequence[Any]
    leases: Sequence[Any]
    due: bool


class Crew:
    """A thread for each trainer of a team; a context manager that waits for them.

    Whatever ends it, batches that were handed over are learned and averaged, unless a trainer fails: then its
    exception is raised, and the model is as the last averaging left it.
    """

    def __init__(self, team: Team, name: str, on_failure: Callable[[], None]) -> None:
        self._team, self._size, self._on_failure = team, len(team.trainers), on_failure
        self._agenda: Agenda[Round] = Agenda(self._size)
        self.threads = [
            threading.Thread(target=self._run, args=(trainer,), name=f"{name} {trainer.index}", daemon=True)
            for trainer in team.trainers
        ]

    def has_room(self) -> bool:
        """Wait until another round can be handed over; ``False``: there is no use in one."""
        return self._agenda.wait_for_room()

    def hand_over(self, batches: Sequence[Any], *, due: bool) -> None:
        """Give each trainer a batch, in their order, as far as there are any."""
        missing = [None] * (self._size - len(batches))
        leases = [batch.leases() for batch in batches]
        self._agenda.put(Round([*batches, *missing], [*leases, *missing], due))

    def average(self) -> bool:
        """Average, and wait until that is done; ``False``: a trainer has failed."""
        self.hand_over([], due=True)
        return self._agenda.wait_until_done()

    def _run(self, trainer: Any) -> None:
        """Work; what a thread does from its beginning to its end."""
        try:
            while (item := self._agenda.take(trainer.index)) is not None:
                batch, leases, due = item.batches[trainer.index], item.leases[trainer.index], item.due
                del item
                self._team.work(trainer, batch, due=due)
                del batch, leases
        except BaseException as error:  # noqa: BLE001 - it goes on in the thread that waits
            self._agenda.fail(error)
            self._team.fail()
            self._on_failure()
        finally:
            destroy_all_workspaces_for_current_thread()

    def __enter__(self) -> Self:
        """Start the threads, all or none."""
        try:
            for thread in self.threads:
                thread.start()
        except BaseException as error:
            self._agenda.fail(error)
            self._wait()
            self._agenda.error = None  # whose traceback holds this object
            raise
        return self

    def __exit__(
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

    def _wait(self) -> KeyboardInterrupt | None:
        """Wait for the threads; an interrupt meanwhile is returned, when they have ended."""
        interrupt = None
        nothing = [None] * self._size
        while True:
            try:
                self._agenda.close(Round(nothing, nothing, due=True))
                for thread in self.threads:
                    joined(thread)
            except KeyboardInterrupt as again:
                interrupt = again
            else:
                return interrupt
