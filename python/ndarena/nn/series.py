"""Series ``[N, C, T]`` as the steps and rows in which they are computed.

In memory the steps come first: ``[T, N, C]`` in C order, of which the series is a view. All steps are then
the rows of one product, and every step is a matrix by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndarena.nn.input_type import InputType, InputTypeRecurrent

if TYPE_CHECKING:
    from ndarena._core import ArrayType, LayerWorkspaceMgr
    from ndarena.nn.words import Array

__all__ = ["like_series", "rows_of_mask", "rows_of_series", "series_of", "steps_of"]


def steps_of(x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
    """Return a series as ``[T, N, C]`` in C order: a view if it lies so, else a copy in a role's place."""
    steps = x.transpose(2, 0, 1)
    if steps.flags["C_CONTIGUOUS"]:
        return steps
    copy = mgr.create_uninitialized(role, steps.shape, x.dtype)
    copy[...] = steps
    return copy


def series_of(steps: Array) -> Array:
    """Return ``[T, N, C]`` as the series ``[N, C, T]``, a view."""
    return steps.transpose(1, 2, 0)


def rows_of_series(x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
    """Return a series as ``[T * N, C]``, all examples of step 0 first; see `steps_of`."""
    steps = steps_of(x, mgr, role)
    t, n, c = steps.shape
    return steps.reshape(t * n, c)


def rows_of_mask(mask: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
    """Return a mask ``[N, T]`` as ``[T * N, 1]``, one of the series' shape as its rows."""
    n, t = mask.shape[0], mask.shape[-1]
    return rows_of_series(mask.reshape(n, 1, t) if mask.ndim == 2 else mask, mgr, role)


def like_series(input_type: InputType, size: int) -> InputTypeRecurrent:
    """Return series of ``size`` features, as long as those that go in."""
    length = input_type.time_series_length if isinstance(input_type, InputTypeRecurrent) else None
    return InputType.recurrent(size, length)
