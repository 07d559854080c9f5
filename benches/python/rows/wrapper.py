"""Training of a LeNet in two threads, against two processes that do the same, and against one thread."""

from __future__ import annotations

from benches.python.model import Bar, Place, Row

from .images import SHAPE
from .training import no_sides

WORKERS = 2
PROCESSES, ALONE = "two processes", "one process, one thread"
PART = 0.85  # of the examples per second that separate processes learn


def rows() -> list[Row]:
    """Return the rows of training in several threads: the factor over one thread is only published."""
    bars = {PROCESSES: Bar(round(1 / PART, 3)), ALONE: None}
    path = f"an example of ParallelWrapper.fit, {WORKERS} workers"
    return [
        Row("fit", path, SHAPE, "float32", peer, bar, no_sides, Place.WORKERS) for peer, bar in bars.items()
    ]
