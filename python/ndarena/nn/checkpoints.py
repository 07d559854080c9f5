"""Networks saved while they are trained (DL4J: ``CheckpointListener``)."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ndarena.nn.archive import load_model
from ndarena.nn.listeners import TrainingListener
from ndarena.nn.words import at_least_one, number, refuse, size_or_none

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["Checkpoint", "CheckpointListener"]

NAME = re.compile(r"checkpoint_(\d+)_\w+\.zip")


class Checkpoint(NamedTuple):
    """A saved network."""

    number: int
    """Counted from 0 in its directory."""
    path: Path


class CheckpointListener(TrainingListener):
    """Saves the network now and then, so that training can go on from there as if it had not stopped.

    Parameters
    ----------
    directory : str or path
        Where to; it is made if it is not there. Numbers go on after those that are there.
    save_every_n_iterations, save_every_n_epochs : int, optional
        After how many of them. At least one of the three has to be given.
    save_every_seconds : float, optional
        After how much time, at the end of the iteration.
    keep_last : int, optional
        How many of the checkpoints of this listener are kept; default: all.
    keep_every : int, optional
        Which others are kept, too: those whose number is a multiple of this.
    save_updater : bool
        Whether the state of the updaters is saved.
    delete_existing : bool
        Whether checkpoints in the directory are deleted in the beginning.
    """

    def __init__(  # noqa: PLR0913 - what DL4J's builder has
        self,
        directory: str | os.PathLike[str],
        *,
        save_every_n_iterations: int | None = None,
        save_every_n_epochs: int | None = None,
        save_every_seconds: float | None = None,
        keep_last: int | None = None,
        keep_every: int | None = None,
        save_updater: bool = True,
        delete_existing: bool = False,
    ) -> None:
        owner = type(self).__name__
        self._iterations = size_or_none(save_every_n_iterations, owner, "save_every_n_iterations")
        self._epochs = size_or_none(save_every_n_epochs, owner, "save_every_n_epochs")
        if save_every_seconds is not None:
            save_every_seconds = number(save_every_seconds, owner, "save_every_seconds", least=0.0)
        self._seconds = save_every_seconds
        if self._iterations is self._epochs is self._seconds is None:
            reason = "one of save_every_n_iterations, save_every_n_epochs, save_every_seconds is needed"
            refuse(owner, "save_every_n_iterations", None, reason)
        self._keep_last = None if keep_last is None else at_least_one(keep_last, owner, "keep_last")
        self._keep_every = size_or_none(keep_every, owner, "keep_every")
        self._save_updater = save_updater
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        existing = self.available_checkpoints(directory)
        if delete_existing:
            for checkpoint in existing:
                checkpoint.path.unlink()
        self._next = 0 if delete_existing or not existing else existing[-1].number + 1
        self._own: list[Checkpoint] = []
        self._saved_at = time.monotonic()

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Save if it is time."""
        due = self._iterations is not None and (iteration + 1) % self._iterations == 0
        if due or (self._seconds is not None and time.monotonic() - self._saved_at >= self._seconds):
            self._save(model, "iteration_count")

    def on_epoch_end(self, model: Any) -> None:
        """Save if it is time."""
        if self._epochs is not None and (model.epoch_count + 1) % self._epochs == 0:
            self._save(model, "epoch_count")

    def _save(self, model: Any, counter: str) -> None:
        path = self.directory / f"checkpoint_{self._next}_{type(model).__name__}.zip"
        with _raised(model, counter):
            model.save(path, save_updater=self._save_updater)
        self._own.append(Checkpoint(self._next, path))
        self._next += 1
        self._saved_at = time.monotonic()
        self._delete_old()

    def _delete_old(self) -> None:
        if self._keep_last is None:
            return
        for old in self._own[: -self._keep_last]:
            if self._keep_every is None or old.number % self._keep_every:
                old.path.unlink(missing_ok=True)
        self._own = self._own[-self._keep_last :]

    @staticmethod
    def available_checkpoints(directory: str | os.PathLike[str]) -> list[Checkpoint]:
        """Return the checkpoints of a directory, the oldest first."""
        found = ((NAME.fullmatch(path.name), path) for path in Path(directory).iterdir())
        return sorted(Checkpoint(int(match[1]), path) for match, path in found if match is not None)

    @staticmethod
    def last_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint | None:
        """Return the newest checkpoint of a directory, ``None`` if there is none."""
        found = CheckpointListener.available_checkpoints(directory)
        return found[-1] if found else None

    @staticmethod
    def load_checkpoint(directory: str | os.PathLike[str], number: int | None = None) -> Any:
        """Return the network of a checkpoint; default: the newest. `FileNotFoundError` if it is not there."""
        found = CheckpointListener.available_checkpoints(directory)
        wanted = [checkpoint for checkpoint in found if number is None or checkpoint.number == number]
        if not wanted:
            what = "no checkpoint" if number is None else f"no checkpoint {number}"
            raise FileNotFoundError(f"there is {what} in {directory}")
        return load_model(wanted[-1].path)


@contextmanager
def _raised(model: Any, counter: str) -> Iterator[None]:
    """Raise a counter for a while: a listener hears of the end before the network counts it."""
    value = getattr(model, counter)
    setattr(model, counter, value + 1)
    try:
        yield
    finally:
        setattr(model, counter, value)
