"""A layer at work: in its scratch, and with its result in its place, or told what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import ArrayType, LayerWorkspaceMgr, WorkspaceArray
from ndarena.errors import ArrayLocationError, ScopeError
from ndarena.nn.vertex import GraphVertex
from ndarena.nn.words import Array, share_memory
from ndarena.policies import WorkspaceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena._core import Workspace
    from ndarena.nn.layer import Layer

INPUT = ArrayType.INPUT

__all__ = ["brought_in", "described", "left_open", "like", "placed"]


def described(layer: Layer | GraphVertex) -> str:
    """Name a working layer or vertex as errors do."""
    kind = "vertex" if isinstance(layer, GraphVertex) else "layer"
    return f"{kind} {layer.index} ({layer.name}, {type(layer).__name__})"


def left_open(layer: Layer | GraphVertex, error: ScopeError) -> ScopeError:
    """Return the error about a scope that a layer left open, made of that of the scope around it."""
    return ScopeError(
        f"{described(layer)} left a scope open: {error}",
        workspace_id=error.workspace_id,
        open_workspaces=error.open_workspaces,
    )


def placed(
    layer: Layer | GraphVertex,
    mgr: LayerWorkspaceMgr,
    role: ArrayType,
    result: Array,
    sources: Sequence[Array],
) -> Array:
    """Return a layer's result where its role belongs, copied if it is made of one of ``sources``.

    Raises
    ------
    TypeError
        It is no array.
    ArrayLocationError
        It lies elsewhere.
    """
    try:
        return mgr.validate_array_location(role, result)
    except TypeError:
        if isinstance(result, WorkspaceArray | np.ndarray):
            raise
        kind = "None" if result is None else type(result).__name__
        raise TypeError(f"{described(layer)} must return an array of {role.name}, not {kind}") from None
    except ArrayLocationError as error:
        if _is_readable(result) and any(x is not None and share_memory(result, x) for x in sources):
            return mgr.dup(role, result)
        facts = {
            name: getattr(error, name)
            for name in ("workspace_id", "array_generation", "workspace_generation", "open_workspaces")
        }
        raise ArrayLocationError(
            f"{described(layer)}: {error}",
            operation=error.operation,
            argument=role.name,
            shape=error.shape,
            dtype=error.dtype,
            **facts,
        ) from None


def _is_readable(a: Array) -> bool:
    return not isinstance(a, WorkspaceArray) or a.is_in_scope


def brought_in(
    mgr: LayerWorkspaceMgr, workspace: Workspace | None, x: Array, dtype: np.dtype[np.floating]
) -> Array:
    """Return an input of a network in the place of inputs, in that dtype and C order.

    An input is copied into its workspace, so that what a layer makes of it lands in a workspace too. A batch
    in a ring is read where it lies: its block is its own while it is learned from. Where inputs have no
    workspace, one that is right is taken as it is.
    """
    own = x.dtype
    is_in_order = (own is dtype or own == dtype) and x.flags.c_contiguous
    if workspace is not None and not isinstance(x, WorkspaceArray):
        return workspace.array(x) if is_in_order else workspace.array(x, dtype, order="C")
    if is_in_order:
        if workspace is not None and x.workspace.workspace_type is WorkspaceType.CIRCULAR:
            return x
        return mgr.leverage_to(INPUT, x)
    copy = mgr.create_uninitialized(INPUT, x.shape, dtype)
    copy[...] = x
    return copy


def like(mgr: LayerWorkspaceMgr, role: ArrayType, x: Array) -> Array:
    """Return space like ``x`` in a role's place, with its axes in the same order in memory."""
    axes = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    space = mgr.create_uninitialized(role, [x.shape[axis] for axis in axes], x.dtype)
    return space.transpose([axes.index(axis) for axis in range(x.ndim)])
