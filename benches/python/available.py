"""What a row needs, and whether this machine and this version have it."""

from __future__ import annotations

import importlib.util
from typing import Any

import ndarena


def what_is_missing(needs: str | None) -> str | None:
    """Return what stands in the table instead of figures; `None`: everything is there."""
    if needs is None:
        return None
    if needs in {"torch", "sklearn"}:
        return None if importlib.util.find_spec(needs) else "not installed"
    there = captures() if needs == "capture" else hasattr(ndarena, needs)
    return None if there else "not available"


def captures() -> bool:
    """Return whether NumPy's own allocations can be captured."""
    capture: Any = ndarena.capture_numpy
    workspace = ndarena.Workspace(id="CAPTURE")
    try:
        workspace.notify_scope_entered(capture_numpy=True).close()
        with capture():
            pass
    except NotImplementedError:
        return False
    else:
        return True
    finally:
        workspace.destroy_workspace()
