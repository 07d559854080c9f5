"""Images made larger (DL4J: ``Upsampling2D``, ``ZeroPaddingLayer``)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.input_type import InputType, InputTypeConvolutional
from ndarena.nn.layer import Layer
from ndarena.nn.windows import NO_EDGES, Edge, batch_first, batch_last, sizes, without_edges

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.windows import Edges
    from ndarena.nn.words import Array

__all__ = ["Upsampling2D", "ZeroPaddingLayer"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM


class Upsampling2D(Layer):
    """Every pixel becomes a rectangle of equal ones (DL4J: ``Upsampling2D``).

    It takes ``[batch, channels, height, width]`` and gives ``[batch, channels, size[0] * height, size[1] *
    width]``.

    Parameters
    ----------
    size : int or pair of int
        Height and width of the rectangles.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False
    input_kind: ClassVar[type[InputType] | None] = InputTypeConvolutional

    size: int | tuple[int, ...] = (2, 2)

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("size", sizes(self.size, self._owner(), "size", axes=2))

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the larger images."""
        channels, height, width = input_type.shape
        down, across = self._factors
        return InputType.convolutional(height * down, width * across, channels)  # type: ignore[operator,arg-type]

    @property
    def _factors(self) -> tuple[int, int]:
        down, across = self.size  # type: ignore[misc]  # a pair since the fields were checked
        return down, across

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the larger images; for another rank of ``x``: `ValueError`."""
        if x.ndim != 4:
            self._refuse_input("[batch, channels, height, width]", x)
        images = batch_last(x, workspace_mgr, FF_WORKING_MEM)
        channels, height, width, batch = images.shape
        down, across = self._factors
        shape = channels, height * down, width * across, batch
        out = workspace_mgr.create_uninitialized(ACTIVATIONS, shape, x.dtype)
        for copy in self._copies(out):
            copy[...] = images
        return batch_first(out)

    def _copies(self, images: Array) -> list[Array]:
        """Return, for each cell of a rectangle, what lies there in all of them."""
        down, across = self._factors
        return [images[:, i::down, j::across] for i, j in product(range(down), range(across))]

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the sums over the rectangles."""
        first, *others = self._copies(batch_last(epsilon, workspace_mgr, BP_WORKING_MEM))
        below = workspace_mgr.create_uninitialized(ACTIVATION_GRAD, first.shape, epsilon.dtype)
        below[...] = first
        for copy in others:
            below += copy
        return batch_first(below)

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return the mask of the larger images, for ``[batch, 1, height or 1, width or 1]``."""
        if mask.ndim != 4:
            return mask
        for axis, factor in zip((2, 3), self._factors, strict=True):
            if mask.shape[axis] > 1:
                mask = np.repeat(np.asarray(mask), factor, axis=axis)
        return mask


class ZeroPaddingLayer(Layer):
    """Zeros around images (DL4J: ``ZeroPaddingLayer``).

    It takes ``[batch, channels, height, width]`` and gives ``[batch, channels, top + height + bottom, left +
    width + right]``.

    Parameters
    ----------
    padding : sequence of four int
        At the top, the bottom, the left and the right.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False
    input_kind: ClassVar[type[InputType] | None] = InputTypeConvolutional

    padding: tuple[int, ...] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("padding", sizes(self.padding, self._owner(), "padding", axes=4, least=0))

    @property
    def _edges(self) -> Edges:
        top, bottom, left, right = self.padding
        return Edge(top, bottom), Edge(left, right)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the larger images."""
        channels, height, width = input_type.shape
        down, across = map(sum, self._edges)
        return InputType.convolutional(height + down, width + across, channels)  # type: ignore[operator,arg-type]

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the larger images; for another rank of ``x``: `ValueError`."""
        if x.ndim != 4:
            self._refuse_input("[batch, channels, height, width]", x)
        return batch_first(batch_last(x, workspace_mgr, ACTIVATIONS, self._edges))

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the epsilon of what is inside."""
        role = ACTIVATION_GRAD if self._edges == NO_EDGES else BP_WORKING_MEM
        images = batch_last(epsilon, workspace_mgr, role)
        return batch_first(without_edges(images, self._edges, workspace_mgr, ACTIVATION_GRAD))

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return the mask with 0 at the edges, for ``[batch, 1, height or 1, width or 1]``."""
        if mask.ndim != 4:
            return mask
        edges = [edge if n > 1 else (0, 0) for edge, n in zip(self._edges, mask.shape[2:], strict=True)]
        return np.pad(np.asarray(mask), [(0, 0), (0, 0), *edges])
