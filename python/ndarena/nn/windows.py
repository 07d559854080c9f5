"""Windows that slide over images: where they lie, and what is gathered from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndarena.nn.choices import ConvolutionMode
from ndarena.nn.words import Array, refuse

if TYPE_CHECKING:
    from ndarena._core import ArrayType, LayerWorkspaceMgr

__all__ = [
    "NO_EDGES",
    "PIXEL",
    "Edge",
    "Edges",
    "Window",
    "Windows",
    "as_images",
    "batch_first",
    "batch_last",
    "cells_inside",
    "mask_of_windows",
    "sizes",
    "windows_of",
    "with_edges",
    "without_edges",
]

Plain = np.ndarray[Any, np.dtype[Any]]


class Edge(NamedTuple):
    """What is added in front of an axis and behind it."""

    front: int
    back: int


Edges = tuple[Edge, Edge]  # of the height and the width
NO_EDGES: Edges = Edge(0, 0), Edge(0, 0)


class Window(NamedTuple):
    """A window that slides along one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    mode: ConvolutionMode

    @property
    def extent(self) -> int:
        """How many pixels it spans."""
        return (self.kernel - 1) * self.dilation + 1

    def output_size(self, size: int) -> int:
        """Return how many windows an axis of this size has; `ValueError` where that is none."""
        if self.mode is ConvolutionMode.SAME:
            return -(-size // self.stride)
        room = size + 2 * self.padding - self.extent
        if room < 0:
            raise ValueError(f"a window of {self.extent} does not fit into {size} + 2 * {self.padding}")
        if self.mode is ConvolutionMode.STRICT and room % self.stride:
            raise ValueError(
                f"windows of {self.extent} that move by {self.stride} do not fit exactly into "
                f"{size} + 2 * {self.padding}, as mode STRICT asks for"
            )
        return room // self.stride + 1

    def edge(self, size: int) -> Edge:
        """Return the padding of an axis of this size."""
        if self.mode is not ConvolutionMode.SAME:
            return Edge(self.padding, self.padding)
        missing = max((self.output_size(size) - 1) * self.stride + self.extent - size, 0)
        return Edge(missing // 2, missing - missing // 2)

    def taps(self, windows: int, first: int = 0) -> list[slice]:
        """Return, for each cell of the kernel, where it lies in this many windows from ``first`` on."""
        step = self.stride
        starts = [first * step + cell * self.dilation for cell in range(self.kernel)]
        return [slice(start, start + (windows - 1) * step + 1, step) for start in starts]

    def tiles(self, size: int) -> bool:
        """Tell whether the windows touch every pixel of an axis of this size just once."""
        return self.kernel == self.stride and self.extent == self.kernel and size % self.kernel == 0


Windows = tuple[Window, Window]
PIXEL = Window(1, 1, 0, 1, ConvolutionMode.TRUNCATE)


@lru_cache(maxsize=256)
def windows_of(
    kernel: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    padding: int | tuple[int, ...],
    dilation: int | tuple[int, ...],
    mode: ConvolutionMode,
) -> Windows:
    """Return the windows along the height and the width; single numbers are those of series."""
    fields = (kernel, stride, padding, dilation)
    down, *across = (Window(*n, mode) for n in zip(*map(_each, fields), strict=True))  # type: ignore[call-arg]
    return down, (across[0] if across else PIXEL)


def _each(numbers: int | tuple[int, ...]) -> tuple[int, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


@lru_cache(maxsize=256)
def cells_inside(windows: Windows, height: int, width: int, dtype: np.dtype[Any]) -> Plain:
    """Return how many cells of each window lie inside images, ``[height', width', 1]``, read-only."""
    down, across = (_cells_along(w, size) for w, size in zip(windows, (height, width), strict=True))
    found: Plain = np.multiply.outer(down, across)[..., None].astype(dtype)
    found.flags.writeable = False
    return found


def _cells_along(window: Window, size: int) -> Plain:
    edge = window.edge(size)
    inside = np.zeros(edge.front + size + edge.back)
    inside[edge.front : edge.front + size] = 1.0
    cells = [inside[tap] for tap in window.taps(window.output_size(size))]
    return np.asarray(np.add.reduce(cells))


def as_images(x: Array) -> Array:
    """Return series ``[N, C, T]`` seen as images ``[N, C, T, 1]``, and images as they are."""
    return x if x.ndim == 4 else x[..., None]


def batch_last(
    images: Array,
    mgr: LayerWorkspaceMgr,
    role: ArrayType,
    edges: Edges = NO_EDGES,
    fill: float = 0.0,
) -> Array:
    """Return images ``[N, C, H, W]`` as ``[C, H, W, N]`` in C order, with edges of ``fill`` around them.

    They are seen so where they lie so, and copied into the role's place otherwise. In this order a window
    that moves by one pixel is one long run of memory, whatever the size of the images.
    """
    seen = images.transpose(1, 2, 3, 0)
    if edges == NO_EDGES and seen.flags["C_CONTIGUOUS"]:
        return seen
    copy = mgr.create_uninitialized(role, with_edges(images, edges), images.dtype)
    if edges != NO_EDGES:
        copy[...] = fill
    _inner(copy, edges)[...] = seen
    return copy


def with_edges(images: Array, edges: Edges) -> tuple[int, int, int, int]:
    """Return the shape ``[C, H, W, N]`` that images ``[N, C, H, W]`` have with edges around them."""
    batch, channels, height, width = images.shape
    return channels, height + sum(edges[0]), width + sum(edges[1]), batch


def _inner(images: Array, edges: Edges) -> Array:
    """Return a view of ``[C, H, W, N]`` without its edges."""
    (top, bottom), (left, right) = edges
    _, height, width, _ = images.shape
    return images[:, top : height - bottom, left : width - right]


def batch_first(images: Array) -> Array:
    """Return ``[C, H, W, N]`` seen as ``[N, C, H, W]``."""
    return images.transpose(3, 0, 1, 2)


def without_edges(images: Array, edges: Edges, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
    """Return ``[C, H, W, N]`` without its edges, copied into the role's place; the same where it has none."""
    if edges == NO_EDGES:
        return images
    inner = _inner(images, edges)
    copy = mgr.create_uninitialized(role, inner.shape, images.dtype)
    copy[...] = inner
    return copy


def mask_of_windows(mask: Array, axis: int, window: Window) -> Array:
    """Return what a mask becomes along an axis: a window counts if any cell of it does."""
    given = np.moveaxis(np.asarray(mask), axis, -1)
    size = given.shape[-1]
    padded = np.pad(given, [(0, 0)] * (given.ndim - 1) + [window.edge(size)])
    kept = [padded[..., tap] for tap in window.taps(window.output_size(size))]
    return np.moveaxis(np.maximum.reduce(kept), -1, axis)


def sizes(value: object, owner: str, field: str, *, axes: int, least: int = 1) -> tuple[int, ...]:
    """Return a field with a whole number per axis as a tuple; a single number stands for all axes."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    given: tuple[Any, ...] = tuple(value) if several else (value,) * axes  # type: ignore[arg-type]
    right = len(given) == axes and all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= least for n in given
    )
    if not right:
        what = "must be a whole number" if axes == 1 else f"must be {axes} whole numbers"
        refuse(owner, field, value, f"{what} from {least} on")
    return tuple(int(n) for n in given)
