"""Convolution as products of matrices whose columns are the pixels under a window (DL4J: ``im2col``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import ArrayType, _add_overlapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.windows import Plain, Windows

__all__ = ["convolve", "convolve_back"]

BLOCK = 4 << 20  # bytes: few enough to stay in the caches between the gathering and the product
FEW = 500  # up to so many results ``np.matmul`` keeps other threads waiting, however long it takes


def convolve(
    images: Plain, weights: Plain, windows: Windows, sums: Plain, *, workspace_mgr: LayerWorkspaceMgr
) -> None:
    """Set ``sums [O, H', W', N]`` to the convolution of ``images [C, H, W, N]``, which have their padding.

    ``weights`` are ``[O, C * kernel cells]``. All arrays lie in C order.
    """
    flat = sums.reshape(len(sums), -1)
    if _are_pixels(windows):
        np.matmul(weights, images.reshape(len(images), -1), out=flat)
        return
    for block in _blocks(images, windows, sums, workspace_mgr, ArrayType.FF_WORKING_MEM):
        block.gather(images)
        np.matmul(weights, block.columns, out=flat[:, block.where])


def convolve_back(  # noqa: PLR0913 - what goes in, and the two that come out
    images: Plain,
    weights: Plain,
    windows: Windows,
    delta: Plain,
    *,
    gradient: Plain,
    below: Plain | None,
    workspace_mgr: LayerWorkspaceMgr,
) -> None:
    """From ``delta``, the derivative to the sums, set ``gradient`` and ``below``: to weights and images."""
    flat = delta.reshape(len(delta), -1)
    if _are_pixels(windows):
        _multiply(flat, images.reshape(len(images), -1), gradient)
        if below is not None:
            np.matmul(weights.T, flat, out=below.reshape(len(images), -1))
        return
    part = np.asarray(
        workspace_mgr.create_uninitialized(ArrayType.BP_WORKING_MEM, gradient.shape, gradient.dtype)
    )
    if below is not None:
        below.fill(0.0)
    sums = gradient
    for block in _blocks(images, windows, delta, workspace_mgr, ArrayType.BP_WORKING_MEM):
        block.gather(images)
        share = flat[:, block.where]
        _multiply(share, block.columns, sums)
        if sums is part:
            np.add(gradient, part, out=gradient)
        sums = part  # of every block but the first
        if below is not None:
            np.matmul(weights.T, share, out=block.columns)
            block.scatter(below)


def _multiply(delta: Plain, columns: Plain, gradient: Plain) -> None:
    """Set ``gradient`` to ``delta @ columns.T``: few numbers, each a sum over all windows."""
    product = np.dot if gradient.size <= FEW else np.matmul
    product(delta, columns.T, out=gradient)


def _are_pixels(windows: Windows) -> bool:
    """Tell whether a window is one pixel, and none is left out."""
    return all(window.kernel == window.stride == 1 for window in windows)


class _Block:
    """Some rows of windows, and the buffer for their columns."""

    def __init__(
        self, windows: Windows, first: int, rows: int, shape: tuple[int, ...], buffer: Plain
    ) -> None:
        """``shape`` is that of the whole: channels, windows along the width, batch."""
        channels, width, batch = shape
        down, across = windows
        row = width * batch
        self.where = slice(first * row, (first + rows) * row)
        cells = channels * down.kernel * across.kernel
        self.columns: Plain = buffer[: cells * rows * row].reshape(cells, rows * row)
        self._cells = self.columns.reshape(channels, down.kernel, across.kernel, rows, width, batch)
        self._windows, self._first = windows, first

    def gather(self, images: Plain) -> None:
        """Fill the columns from the images, in one go: threads that take turns wait for one another."""
        np.copyto(self._cells, self._under_windows(images))

    def scatter(self, images: Plain) -> None:
        """Add the columns to the images."""
        if _add_overlapping(self._under_windows(images), self._cells):
            return
        down, across = self._windows
        rows, width = self._cells.shape[3:5]
        columns = across.taps(width)
        for i, own in enumerate(down.taps(rows, self._first)):
            for j, column in enumerate(columns):
                pixels = images[:, own, column]
                np.add(pixels, self._cells[:, i, j], out=pixels)

    def _under_windows(self, images: Plain) -> Plain:
        """Return what lies under the cells of the windows, in their shape; one pixel is under several."""
        (down, across), (channel, row, column, item) = self._windows, images.strides
        cells = down.dilation * row, across.dilation * column
        strides = channel, *cells, down.stride * row, across.stride * column, item
        return np.ndarray(self._cells.shape, images.dtype, images, self._first * down.stride * row, strides)


def _blocks(
    images: Plain, windows: Windows, output: Plain, mgr: LayerWorkspaceMgr, role: ArrayType
) -> Iterator[_Block]:
    """Cut the windows into blocks of rows that fit into one buffer."""
    channels, batch = len(images), images.shape[-1]
    _, height, width, _ = output.shape
    row = channels * windows[0].kernel * windows[1].kernel * width * batch
    rows = min(max(BLOCK // max(row * images.itemsize, 1), 1), height)
    buffer = np.asarray(mgr.create_uninitialized(role, (row * rows,), images.dtype))
    for first in range(0, height, rows):
        yield _Block(windows, first, min(rows, height - first), (channels, width, batch), buffer)
