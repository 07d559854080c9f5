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
    "PIXEL",
    "Edges",
    "Window",
    "Windows",
    "batch_first",
    "batch_last",
    "counts",
    "mask_of_windows",
    "sizes",
    "without_edges",
]

Plain = np.ndarray[Any, np.dtype[Any]]


class Edges(NamedTuple):
    """What is added in front of an axis and behind it."""

    front: int
    back: int


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

    def edges(self, size: int) -> Edges:
        """Return the padding of an axis of this size."""
        if self.mode is not ConvolutionMode.SAME:
            return Edges(self.padding, self.padding)
        missing = max((self.output_size(size) - 1) * self.stride + self.extent - size, 0)
        return Edges(missing // 2, missing - missing // 2)

    def taps(self, windows: int, first: int = 0) -> list[slice]:
        """Return, for each cell of the kernel, where it lies in this many windows from ``first`` on."""
        step = self.stride
        starts = [first * step + cell * self.dilation for cell in range(self.kernel)]
        return [slice(start, start + (windows - 1) * step + 1, step) for start in starts]

    def tiles(self, size: int) -> bool:
        """Tell whether the windows touch every pixel of an axis of this size just once."""
        return self.kernel == self.stride and self.extent == self.kernel and size % self.kernel == 0


Windows = tuple[Window, Window]
NO_EDGES = Edges(0, 0)
PIXEL = Window(1, 1, 0, 1, ConvolutionMode.TRUNCATE)


@lru_cache(maxsize=256)
def counts(window: Window, size: int) -> Plain:
    """Return how many cells of each window lie inside the axis."""
    windows = window.output_size(size)
    inside = np.zeros(size + sum(window.edges(size)))
    inside[window.edges(size).front :][:size] = 1.0
    found: Plain = np.add.reduce([inside[tap] for tap in window.taps(windows)])
    found.flags.writeable = False
    return found


def batch_last(
    images: Array,
    mgr: LayerWorkspaceMgr,
    role: ArrayType,
    edges: tuple[Edges, Edges] = (NO_EDGES, NO_EDGES),
    fill: float = 0.0,
) -> Array:
    """Return images ``[N, C, H, W]`` as ``[C, H, W, N]`` in C order, with edges of ``fill`` around them.

    They are seen so where they lie so, and copied into the role's place otherwise. In this order a window
    that moves by one pixel is one long run of memory, whatever the size of the images.
    """
    seen = images.transpose(1, 2, 3, 0)
    if edges == (NO_EDGES, NO_EDGES) and seen.flags["C_CONTIGUOUS"]:
        return seen
    channels, height, width, batch = seen.shape
    (top, bottom), (left, right) = edges
    shape = channels, top + height + bottom, left + width + right, batch
    copy = mgr.create_uninitialized(role, shape, images.dtype)
    if copy.size != seen.size:
        copy[...] = fill
    copy[:, top : top + height, left : left + width] = seen
    return copy


def batch_first(images: Array) -> Array:
    """Return ``[C, H, W, N]`` seen as ``[N, C, H, W]``."""
    return images.transpose(3, 0, 1, 2)


def without_edges(
    images: Array, edges: tuple[Edges, Edges], mgr: LayerWorkspaceMgr, role: ArrayType
) -> Array:
    """Return ``[C, H, W, N]`` without its edges, copied into the role's place."""
    (top, bottom), (left, right) = edges
    _, height, width, _ = images.shape
    inner = images[:, top : height - bottom, left : width - right]
    copy = mgr.create_uninitialized(role, inner.shape, images.dtype)
    copy[...] = inner
    return copy


def mask_of_windows(mask: Array, axis: int, window: Window) -> Array:
    """Return what a mask becomes along an axis: a window counts if any cell of it does."""
    given = np.moveaxis(np.asarray(mask), axis, -1)
    size = given.shape[-1]
    padded = np.pad(given, [(0, 0)] * (given.ndim - 1) + [window.edges(size)])
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
