"""Windows of plain arrays reduced along one axis, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.nn.windows import Plain, Window

    Make = Callable[[tuple[int, ...], np.dtype[Any]], Plain]

__all__ = ["reduce_windows", "spread", "spread_to_first"]


def reduce_windows(ufunc: np.ufunc, x: Plain, out: Plain, *, axis: int, window: Window) -> None:
    """Set ``out`` to the reduction by ``ufunc`` of each window along an axis."""
    cells = _cells(x, axis, window, out.shape[axis])
    if len(cells) == 1:
        np.copyto(out, cells[0])
        return
    ufunc(cells[0], cells[1], out=out)
    for cell in cells[2:]:
        ufunc(out, cell, out=out)


def spread(epsilon: Plain, below: Plain, *, axis: int, window: Window) -> None:
    """Set ``below`` to the derivative to what was added up: every cell gets that of its windows."""
    put = _put(below, axis, window)
    for cell in _cells(below, axis, window, epsilon.shape[axis]):
        put(cell, epsilon)


def spread_to_first(  # noqa: PLR0913 - what goes in, what comes out, and along what
    x: Plain, best: Plain, epsilon: Plain, below: Plain, *, axis: int, window: Window, make: Make
) -> None:
    """Set ``below`` to the derivative to that of which ``best`` is the maximum: the first that equals it.

    ``make`` makes scratch of a shape and dtype.
    """
    windows = epsilon.shape[axis]
    *pixels, _ = _cells(x, axis, window, windows)
    *cells, last = _cells(below, axis, window, windows)
    put, left, equal = _put(below, axis, window), epsilon, make(epsilon.shape, np.dtype(bool))
    rest = make(epsilon.shape, epsilon.dtype)
    if put is np.copyto:  # shares and what is left at last are made where they belong
        shares, rests = cells, [rest] * (len(cells) - 1) + [last]
    else:
        share = make(epsilon.shape, epsilon.dtype)
        shares, rests = [share] * len(cells), [rest] * len(cells)
    for x_of, cell, share, after in zip(pixels, cells, shares, rests, strict=False):
        np.equal(x_of, best, out=equal)
        np.multiply(left, equal, out=share)
        if share is not cell:
            put(cell, share)
        left = np.subtract(left, share, out=after)
    if left is not last:
        put(last, left)


def _cells(x: Plain, axis: int, window: Window, windows: int) -> list[Plain]:
    """Return, for each cell of the kernel, what lies under it in all windows."""
    before = (slice(None),) * axis
    return [x[(*before, tap)] for tap in window.taps(windows)]


def _put(below: Plain, axis: int, window: Window) -> Callable[[Plain, Plain], object]:
    """Return how to hand a cell its share: written where windows are tiles, otherwise added to 0."""
    if window.tiles(below.shape[axis]):
        return np.copyto
    below.fill(0.0)
    return lambda cell, share: np.add(cell, share, out=cell)
