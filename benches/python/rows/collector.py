"""What the collector takes of a training loop that keeps small lists beside many objects."""

from __future__ import annotations

from benches.python.longest import KEPT, OBJECTS, STEPS, WINDOW
from benches.python.model import Bar, Place, Row

from .training import no_sides


def rows() -> list[Row]:
    """Return the row of the collector."""
    path = f"longest of {STEPS} steps, set_auto_gc_window({WINDOW})"
    size = f"{KEPT} lists per step beside {OBJECTS:.0e} objects"
    return [
        Row("collector", path, size, "float32", "CPython's default", Bar(0.25), no_sides, Place.LONGEST),
    ]
