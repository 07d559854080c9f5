"""What rows stand on: operands, and the workspaces they lie in."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

import ndarena
from ndarena import Workspace, WorkspaceArray, WorkspaceConfiguration

DTYPES = ("float32", "float64")
STATE_SIZE = "512 MiB"  # reserved, not touched


class Stage:
    """An outer workspace that stays open for what lives long, and one for what dies every turn."""

    def __init__(self, stack: ExitStack) -> None:
        """Open the outer one until the stack unwinds."""
        self.state = Workspace(WorkspaceConfiguration(initial_size=STATE_SIZE), "STATE")
        self.turn = Workspace(id="TURN")
        stack.callback(self.turn.destroy_workspace)
        stack.callback(self.state.destroy_workspace)
        stack.enter_context(self.state.notify_scope_entered())

    def scope(self) -> Workspace:
        """Return what `with` opens around turns."""
        return self.turn

    def keep(self, array: np.ndarray[Any, Any]) -> WorkspaceArray:
        """Copy an operand into the outer workspace."""
        return self.state.array(array)

    def keep_all(self, names: dict[str, Any]) -> dict[str, Any]:
        """Copy the arrays among some names there."""
        return {name: self.keep(x) if isinstance(x, np.ndarray) else x for name, x in names.items()}


def values(count: int, dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return numbers between a half and one and a half: none that warns, none that vanishes."""
    return (np.random.default_rng(seed).random(count) + 0.5).astype(dtype)


def operands(count: int, dtype: str) -> dict[str, Any]:
    """Return two plain arrays, named a and b."""
    return {"a": values(count, dtype), "b": values(count, dtype, 1)}


def size_of(count: int) -> str:
    """Return a number of elements as people write it: 16, 1000, 1e5."""
    exponent = len(str(count)) - 1
    return f"{count // 10**exponent}e{exponent}" if count >= 10**5 else str(count)


__all__ = ["DTYPES", "Stage", "ndarena", "np", "operands", "size_of", "values"]
