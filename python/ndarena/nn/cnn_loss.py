"""Losses of every pixel (DL4J: ``CnnLossLayer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ndarena.nn.input_type import InputType, InputTypeConvolutional
from ndarena.nn.output import LossLayer
from ndarena.nn.windows import batch_first, batch_last

if TYPE_CHECKING:
    from ndarena._core import ArrayType, LayerWorkspaceMgr
    from ndarena.nn.words import Array

__all__ = ["CnnLossLayer"]


class CnnLossLayer(LossLayer):
    """A loss of every pixel of images ``[batch, channels, height, width]`` (DL4J: ``CnnLossLayer``).

    Its ``labels`` are of that shape. Activation and loss see the channels of a pixel as a row; the loss is
    summed over the pixels that are kept. Masks are ``[batch, 1]``, ``[batch, height, width]``, or
    ``[batch, 1 or channels, height, width]``.

    Parameters
    ----------
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy.
    activation : str, Activation or IActivation
        Default: identity.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeConvolutional
    in_rows: ClassVar[bool] = False

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the activation of ``x``, 0 where ``mask`` is; another rank is a `ValueError`."""
        self._check_input(x)
        given = None if mask is None else self._mask_of_pixels(mask, x)
        return super().activate(x, training=training, workspace_mgr=workspace_mgr, mask=given)

    def _mask_of_pixels(self, mask: Array, x: Array) -> Array:
        """Return a mask as ``[batch, 1 or channels, height, width]``, a view."""
        given = np.asarray(mask)
        if given.ndim == 2:
            given = given[:, :, None, None]
        elif given.ndim == 3:
            given = given[:, None]
        batch, channels, height, width = x.shape
        try:
            return np.broadcast_to(given, (batch, channels if given.shape[1] > 1 else 1, height, width))
        except (ValueError, IndexError):
            what = f"[batch, 1], [batch, height, width] or that of the input, {list(x.shape)}"
            self._refuse_shape("mask", what, mask)

    def _check_input(self, x: Array) -> None:
        if x.ndim != 4:
            self._refuse_input("[batch, channels, height, width]", x)

    def _rows_of(self, x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        return batch_last(x, mgr, role).reshape(x.shape[1], -1).T

    def _masks_for(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(shape[0], 1, *shape[2:]), shape]

    def _rows_of_mask(self, mask: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        return self._rows_of(mask, mgr, role)

    def _output_of(self, rows: Array, like: Array) -> Array:
        batch, channels, height, width = like.shape
        return batch_first(rows.T.reshape(channels, height, width, batch))

    def _per_example(self, scores: Array, examples: int) -> Array:
        return scores.reshape(-1, examples).sum(axis=0) if examples else scores
