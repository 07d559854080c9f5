"""Listeners that tell or keep how training goes (DL4J: ``org.deeplearning4j.optimize.listeners``)."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ndarena._core import allocated_bytes, get_all_workspaces_for_current_thread
from ndarena.nn.listeners import TrainingListener
from ndarena.nn.words import at_least_one

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


__all__ = [
    "CollectScoresListener",
    "PerformanceListener",
    "PerformanceReport",
    "ScoreIterationListener",
    "WorkspaceListener",
    "WorkspaceReport",
]


def say(text: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{text}\n")


class ScoreIterationListener(TrainingListener):
    """Tells the score now and then (DL4J: ``ScoreIterationListener``).

    Parameters
    ----------
    print_iterations : int
        After how many iterations, counted from the first one.
    output : callable
        What is given each line; default: the standard output.
    """

    def __init__(self, print_iterations: int = 10, *, output: Callable[[str], object] = say) -> None:
        self._every = at_least_one(print_iterations, "ScoreIterationListener", "print_iterations")
        self._output = output

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Tell the score if it is time."""
        if iteration % self._every == 0:
            self._output(f"Score at iteration {iteration} is {model.score()}")


class CollectScoresListener(TrainingListener):
    """Keeps the scores (DL4J: ``CollectScoresListener``).

    Parameters
    ----------
    frequency : int
        Every how many iterations one is kept.
    """

    def __init__(self, frequency: int = 1) -> None:
        self._every = at_least_one(frequency, "CollectScoresListener", "frequency")
        self.iterations: list[int] = []
        """When a score was kept."""
        self.scores: list[float] = []
        """The scores, one per element of `iterations`."""

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Keep the score if it is time."""
        if iteration % self._every == 0:
            self.iterations.append(iteration)
            self.scores.append(model.score())

    def export_scores(self, path: str | os.PathLike[str], *, delimiter: str = "\t") -> None:
        """Write a table of iterations and scores to a text file."""
        rows = zip(("Iteration", *self.iterations), ("Score", *self.scores), strict=True)
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - a name of any kind
            file.writelines(f"{iteration}{delimiter}{score}\n" for iteration, score in rows)


class PerformanceReport(NamedTuple):
    """How fast training has been since the report before."""

    iteration: int
    batches_per_second: float
    samples_per_second: float
    score: float | None

    def __str__(self) -> str:
        """Tell it in a line."""
        text = (
            f"iteration {self.iteration}: {self.batches_per_second:.2f} batches/s, "
            f"{self.samples_per_second:.1f} samples/s"
        )
        return text if self.score is None else f"{text}, score {self.score:.6g}"


class PerformanceListener(TrainingListener):
    """Tells how many batches and samples a second are learned (DL4J: ``PerformanceListener``).

    The time includes what the source of the data and other listeners take.

    Parameters
    ----------
    frequency : int
        Every how many iterations.
    report_score : bool
        Whether the score is told as well.
    output : callable
        What is given each line; default: the standard output.
    """

    def __init__(
        self, frequency: int = 10, *, report_score: bool = False, output: Callable[[str], object] = say
    ) -> None:
        self._every = at_least_one(frequency, "PerformanceListener", "frequency")
        self._score, self._output = report_score, output
        self._begin: float | None = None
        self._batches = self._samples = 0
        self.last: PerformanceReport | None = None
        """The last report."""

    def on_forward_pass(self, model: Any, activations: Any) -> None:
        """Count the samples."""
        if self._begin is None:
            self._begin = time.perf_counter()
        first = next(iter(activations.values() if isinstance(activations, dict) else activations))
        self._samples += len(first)

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Tell how fast it went if it is time."""
        self._batches += 1
        if self._batches < self._every or self._begin is None:
            return
        now = time.perf_counter()
        seconds = max(now - self._begin, 1e-9)
        score = model.score() if self._score else None
        self.last = PerformanceReport(iteration, self._batches / seconds, self._samples / seconds, score)
        self._begin, self._batches, self._samples = now, 0, 0
        self._output(str(self.last))


class WorkspaceReport(NamedTuple):
    """What the memory of the training thread did in an iteration, listeners included."""

    iteration: int
    page_faults: int | None
    """``None`` where the system does not tell."""
    new_bytes: int
    """How many more bytes are held from the system than before."""
    spilled_bytes: int
    """What did not fit into its workspace."""
    workspace_bytes: int
    """The sizes of all workspaces."""

    def __str__(self) -> str:
        """Tell it in a line."""
        faults = "unknown" if self.page_faults is None else self.page_faults
        return (
            f"iteration {self.iteration}: {faults} page faults, {self.new_bytes} new bytes, "
            f"{self.spilled_bytes} bytes spilled, {self.workspace_bytes} bytes in workspaces"
        )


class WorkspaceListener(TrainingListener):
    """Tells what every iteration does to memory: faults, spills, bytes; steady training has none.

    Parameters
    ----------
    frequency : int
        Every how many iterations there is a report of the one that ends.
    output : callable, optional
        What is given each line; default: the standard output. ``None``: nothing is told.
    """

    def __init__(self, frequency: int = 1, *, output: Callable[[str], object] | None = say) -> None:
        self._every = at_least_one(frequency, "WorkspaceListener", "frequency")
        self._output = output
        self._before: tuple[int | None, int] | None = None
        self.last: WorkspaceReport | None = None
        """The last report."""

    def on_epoch_start(self, model: Any) -> None:
        """Begin to count."""
        self._before = self._counts()

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Tell what happened if it is time; the first iteration of all is not counted from its beginning."""
        if self._before is not None and iteration % self._every == 0:
            self.last = self._report(iteration, *self._before)
            if self._output is not None:
                self._output(str(self.last))
        self._before = self._counts()

    def _report(self, iteration: int, faults: int | None, held: int) -> WorkspaceReport:
        now, held_now = self._counts()
        workspaces = get_all_workspaces_for_current_thread()
        return WorkspaceReport(
            iteration=iteration,
            page_faults=None if now is None or faults is None else now - faults,
            new_bytes=held_now - held,
            spilled_bytes=sum(ws.spilled_size for ws in workspaces),
            workspace_bytes=sum(ws.current_size for ws in workspaces),
        )

    @staticmethod
    def _counts() -> tuple[int | None, int]:
        return _thread_faults(), allocated_bytes()


def _thread_faults() -> int | None:
    try:
        import resource  # noqa: PLC0415 - Unix only
    except ImportError:
        return None
    thread = getattr(resource, "RUSAGE_THREAD", None)  # Linux only
    return None if thread is None else resource.getrusage(thread).ru_minflt
