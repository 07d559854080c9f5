"""Where what a network has learned lies (DL4J: flattened parameters, gradients and updater state)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import Workspace, WorkspaceConfiguration, get_current_workspace, set_current_workspace

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ndarena.nn.layer import Flat

__all__ = ["ModelMemory"]

MODEL = "WS_MODEL"
LINE = 64  # bytes of a line of the cache, at which every array begins


class ModelMemory:
    """Parameters, gradient and updater state of one network, each flat, in a workspace as old as they are.

    The workspace is in no registry and nobody enters it, so that its arrays live as long as it does. They are
    plain views, whose leases keep the memory from whatever thread they are used, and after the thread that
    made them has ended.

    Parameters
    ----------
    dtype : dtype
        Of all numbers.
    params, state : int
        How many parameters there are, and how many numbers the updaters keep.
    """

    def __init__(self, dtype: DTypeLike, *, params: int, state: int) -> None:
        lengths, item = (params, params, state), np.dtype(dtype).itemsize
        size = sum(-(-length * item // LINE) * LINE for length in lengths)
        self.workspace = Workspace(
            WorkspaceConfiguration(
                policy_allocation="STRICT",
                policy_learning="NONE",
                initial_size=max(size, LINE),
                alignment=LINE,
            ),
            id=MODEL,
        )
        """Where the arrays lie."""
        before = get_current_workspace()
        try:
            set_current_workspace(self.workspace)
            arrays = [np.asarray(self.workspace.zeros(length, dtype)) for length in lengths]
        finally:
            set_current_workspace(before)
        self.params: Flat = arrays[0]
        """``[P]``; 0 at first, as all three are."""
        self.gradient: Flat = arrays[1]
        """``[P]``"""
        self.state: Flat = arrays[2]
        """``[S]``"""
