"""Rings of blocks for batches: what is in use is never overwritten, whatever its size and number."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ndarena._core import Workspace, WorkspaceConfiguration, get_debug_mode
from ndarena.policies import DebugMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.data.examples import Examples

__all__ = ["Ring"]

T = TypeVar("T")


class Ring:
    """Blocks for the batches of one thread, each as large as the largest batch so far.

    A batch goes to the first block that is not leased: what was used last is in the processor's caches. All
    others that are not leased end then. Where batches need larger blocks, or more of them than there are,
    another workspace takes over; the one before lasts as long as what lies in it.

    Parameters
    ----------
    name : str
        The id of the workspaces.
    block : int
        Bytes that a block has at least.
    """

    def __init__(self, name: str, block: int = 0) -> None:
        self.block = block
        self._name, self._blocks, self._leased = name, 0, 0
        self._workspace: Workspace | None = None

    def fill(self, batch: Examples, blocks: int, copy: Callable[[Workspace], T]) -> T:
        """Copy a batch into a block, of so many at least; return what ``copy`` makes in the workspace."""
        need = batch.footprint
        workspace = self._workspace
        if workspace is None or need > self.block or blocks > self._blocks:
            workspace = self._made(need, blocks)
        workspace._turn_back()  # noqa: SLF001 - the core's, for this
        with workspace:
            made = copy(workspace)
        if workspace.number_of_external_allocations:  # no block is free
            self._workspace = None
            if get_debug_mode() is DebugMode.DISABLED:
                self._leased = 2 * self._leased + self._blocks
        return made

    def _made(self, need: int, blocks: int) -> Workspace:
        if need > self.block:
            self.block = need + (need // 2 if self.block else 0)
        self._blocks = blocks
        conf = WorkspaceConfiguration(
            initial_size=max(self.block, 1),
            overallocation_limit=blocks + self._leased - 1,
            policy_learning="NONE",
            policy_reset="ENDOFBUFFER_REACHED",
        )
        self._workspace = Workspace(conf, self._name)
        return self._workspace
