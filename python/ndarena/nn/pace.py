"""Steps of networks as one scope each, at whose end CPython's collector may run.

While it is paced (`set_auto_gc_window`) it runs at the ends of outermost scopes only. A step has several of
them, one after another, and times between them: without a scope around it the collector would run inside.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from ndarena._core import (
    ArrayType,
    LayerWorkspaceMgr,
    WorkspaceConfiguration,
    get_auto_gc_window,
    scope_out_of_workspaces,
)
from ndarena.nn.memory import STEP

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["do_step"]

_MANAGER = LayerWorkspaceMgr({ArrayType.INPUT: (STEP, WorkspaceConfiguration())})


def do_step(work: Callable[..., object], *facts: Any) -> None:
    """Do an iteration, or the evaluation of a batch, as one step.

    While the collector is paced that is a scope of an empty workspace, in which nothing is current.
    """
    if not get_auto_gc_window():
        work(*facts)
        return
    with _scope():
        work(*facts)


def _scope() -> AbstractContextManager[object]:
    """Return what encloses a step."""
    with ExitStack() as stack:
        stack.enter_context(_MANAGER.notify_scope_entered(ArrayType.INPUT))
        stack.enter_context(scope_out_of_workspaces())
        return stack.pop_all()
