"""Pooling of whole series and images (DL4J: ``GlobalPoolingLayer``)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.choices import PoolingType
from ndarena.nn.input_type import InputType, InputTypeConvolutional, InputTypeRecurrent
from ndarena.nn.layer import Layer
from ndarena.nn.preprocessors import images_of_rows
from ndarena.nn.windows import NO_EDGES, as_images, batch_first, batch_last, with_edges
from ndarena.nn.words import Array, at_least_one, member, refuse

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.preprocessors import InputPreProcessor

__all__ = ["GlobalPoolingLayer"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM


class _Kept(NamedTuple):
    """What the forward pass keeps."""

    x: Array
    out: Array
    mask: Array


class GlobalPoolingLayer(Layer):
    """One number for every feature of a series or channel of an image (DL4J: ``GlobalPoolingLayer``).

    It takes ``[batch, features, time]`` or ``[batch, channels, height, width]`` and gives ``[batch,
    features]``. Steps and pixels that are masked are left out; where all are, the result is 0. Of equal
    maxima the first gets the gradient.

    Parameters
    ----------
    pooling_type : str or PoolingType
        ``max``, ``avg``, ``sum`` or ``pnorm``.
    pnorm : int
        ``p`` of ``(sum |x| ** p) ** (1 / p)``, for ``pnorm``.
    collapse_dimensions : bool
        Off, the axes stay, with length 1.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False
    takes_pieces: ClassVar[bool] = False

    pooling_type: str | PoolingType = "max"
    pnorm: int = 2
    collapse_dimensions: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        self._set("pooling_type", member(PoolingType, self.pooling_type, owner, "pooling_type"))
        self._set("pnorm", at_least_one(self.pnorm, owner, "pnorm"))
        if not isinstance(self.collapse_dimensions, bool):
            refuse(owner, "collapse_dimensions", self.collapse_dimensions, "must be True or False")

    def get_pre_processor(self, input_type: InputType) -> InputPreProcessor | None:
        """Return what makes rows of pixels into images."""
        return images_of_rows(input_type)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return a feature per feature or channel; what is neither series nor images is refused."""
        if not isinstance(input_type, InputTypeRecurrent | InputTypeConvolutional):
            refuse(self._owner(), "input_type", str(input_type), "must be recurrent or convolutional")
        size = cast("int", input_type.shape[0])
        if self.collapse_dimensions:
            return InputType.feed_forward(size)
        if isinstance(input_type, InputTypeRecurrent):
            return InputType.recurrent(size, 1)
        return InputType.convolutional(1, 1, size)

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return ``None``: there are no steps any more."""
        return

    def clear(self) -> None:
        """Forget input, output and mask."""
        self._kept: _Kept | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, features]``; for another rank of ``x`` or shape of ``mask``: `ValueError`."""
        if x.ndim not in {3, 4}:
            self._refuse_input("[batch, features, time] or [batch, channels, height, width]", x)
        out = workspace_mgr.create_uninitialized(ACTIVATIONS, x.shape[:2], x.dtype)
        kept = self._kept_cells(x, mask, workspace_mgr, FF_WORKING_MEM)
        pool = self._largest if self.pooling_type is PoolingType.MAX else self._sums
        pool(_cells(x, workspace_mgr, FF_WORKING_MEM), kept, out.T)
        if training:
            self._kept = _Kept(x, out, mask)
        return out if self.collapse_dimensions else out.reshape(*out.shape, *(1,) * (x.ndim - 2))

    @staticmethod
    def _largest(cells: Array, kept: Array, out: Array) -> None:
        """Set ``out [features, batch]`` to the maxima of the cells that are kept."""
        if kept is None:
            np.maximum.reduce(cells, axis=1, out=out)
            return
        terms = np.where(kept > 0.0, cells, cells.dtype.type(-np.inf))
        np.maximum.reduce(terms, axis=1, out=out)
        out[...] = np.where(np.isneginf(out), 0.0, out)

    def _sums(self, cells: Array, kept: Array, out: Array) -> None:
        """Set ``out [features, batch]`` to what is made of sums of the cells that are kept."""
        terms = cells
        if self.pooling_type is PoolingType.PNORM:
            terms = np.abs(cells)
            terms **= self.pnorm
        if kept is not None:
            terms = terms * kept
        np.add.reduce(terms, axis=1, out=out)
        if self.pooling_type is PoolingType.AVG:
            out /= _count(cells, kept)
        elif self.pooling_type is PoolingType.PNORM:
            out **= 1.0 / self.pnorm

    def _kept_cells(self, x: Array, mask: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        """Return 1 for every cell that is kept, ``[1 or features, cells, batch]``; ``None`` without mask."""
        if mask is None:
            return None
        given = mask[:, None, :, None] if (x.ndim, mask.ndim) == (3, 2) else mask
        whole = as_images(x).shape
        fits = given.ndim == len(whole) and all(n in {1, m} for n, m in zip(given.shape, whole, strict=True))
        if not fits or len(given) != len(x):
            what = "[batch, time]" if x.ndim == 3 else "[batch, 1, height or 1, width or 1]"
            self._refuse_shape("mask", f"{what} for an input of shape {list(x.shape)}", mask)
        cells = mgr.create_uninitialized(role, (given.shape[1], *whole[2:], len(x)), x.dtype)
        cells[...] = given.transpose(1, 2, 3, 0)
        return cells.reshape(len(cells), prod(whole[2:]), len(x))

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`."""
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        x, out, mask = self._kept
        self.clear()
        kept = self._kept_cells(x, mask, workspace_mgr, BP_WORKING_MEM)
        below = workspace_mgr.create_uninitialized(
            ACTIVATION_GRAD, with_edges(as_images(x), NO_EDGES), x.dtype
        )
        cells = _cells(x, workspace_mgr, BP_WORKING_MEM)
        share = epsilon.reshape(out.shape).T
        spread = self._to_largest if self.pooling_type is PoolingType.MAX else self._to_all
        spread(cells, kept, out.T, share, below.reshape(cells.shape))
        seen = batch_first(below)
        return seen if x.ndim == 4 else seen[..., 0]

    @staticmethod
    def _to_largest(cells: Array, kept: Array, out: Array, share: Array, below: Array) -> None:
        """Hand each share to the first cell that is kept and equals the maximum."""
        largest = cells == out[:, None]
        if kept is not None:
            largest &= kept > 0.0
            share = share * (kept.max(axis=1) > 0.0)
        below[...] = 0.0
        features, batch = np.ogrid[: len(cells), : cells.shape[2]]
        np.asarray(below)[features, np.asarray(largest.argmax(axis=1)), batch] = share

    def _to_all(self, cells: Array, kept: Array, out: Array, share: Array, below: Array) -> None:
        """Hand each share to all cells that are kept."""
        if self.pooling_type is PoolingType.AVG:
            share = share / _count(cells, kept)
        if self.pooling_type is PoolingType.PNORM:
            norm = out + (out == 0.0)  # where it is 0, so are all cells
            share = share * norm ** (1 - self.pnorm)
            np.abs(cells, out=below)
            below **= self.pnorm - 1
            below *= np.sign(cells)
            below *= share[:, None]
        else:
            below[...] = share[:, None]
        if kept is not None:
            below *= kept


def _cells(x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
    """Return ``[features, cells, batch]``, a view where ``x`` lies so."""
    return batch_last(as_images(x), mgr, role).reshape(x.shape[1], prod(x.shape[2:]), len(x))


def _count(cells: Array, kept: Array) -> Array:
    """Return how many cells are kept, at least 1."""
    return cells.shape[1] if kept is None else np.maximum(kept.sum(axis=1), 1.0)
