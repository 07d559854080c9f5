"""What layers share whose windows slide over images or series."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, cast

from ndarena.nn.choices import ConvolutionMode
from ndarena.nn.input_type import InputType, InputTypeConvolutional
from ndarena.nn.layer import Layer
from ndarena.nn.windows import NO_EDGES, mask_of_windows, sizes, windows_of
from ndarena.nn.words import Array, member, refuse

if TYPE_CHECKING:
    from ndarena.nn.windows import Edges, Windows

__all__ = ["SlidingLayer"]


class SlidingLayer(Layer):
    """A layer that looks at images through a window.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int or pair of int
        Along the height and the width.
    convolution_mode : str or ConvolutionMode, optional
        What happens at the edges; the network's default is ``truncate``. With ``same`` there is no padding of
        one's own.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeConvolutional
    _axes: ClassVar[int] = 2

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = (1, 1)
    padding: int | tuple[int, ...] = (0, 0)
    dilation: int | tuple[int, ...] = (1, 1)
    convolution_mode: str | ConvolutionMode | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        for field in ("kernel_size", "stride", "padding", "dilation"):
            least = 0 if field == "padding" else 1
            numbers = sizes(getattr(self, field), owner, field, axes=self._axes, least=least)
            self._set(field, numbers if self._axes > 1 else numbers[0])
        if self.convolution_mode is not None:
            mode = member(ConvolutionMode, self.convolution_mode, owner, "convolution_mode")
            self._set("convolution_mode", mode)
            if mode is ConvolutionMode.SAME and any(window.padding for window in self._windows):
                refuse(
                    owner, "padding", self.padding, "must be 0 with convolution_mode SAME, which pads itself"
                )

    @cached_property
    def _windows(self) -> Windows:
        """Return the windows along the height and the width."""
        mode = ConvolutionMode(self.convolution_mode or ConvolutionMode.TRUNCATE)
        return windows_of(self.kernel_size, self.stride, self.padding, self.dilation, mode)

    def _type_of_windows(self, input_type: InputType, channels: int) -> InputType:
        """Return images with a pixel per window; a window that does not fit is refused."""
        height, width = cast("tuple[int, int]", input_type.shape[1:])
        down, across = self._windows
        try:
            return InputType.convolutional(down.output_size(height), across.output_size(width), channels)
        except ValueError as error:
            refuse(self._owner(), "kernel_size", self.kernel_size, f"{input_type}: {error}")

    def _output_of(self, images: Array) -> tuple[int, int]:
        """Return how many windows there are each way; a window that does not fit is a `ValueError`."""
        down, across = self._windows
        try:
            return down.output_size(images.shape[2]), across.output_size(images.shape[3])
        except ValueError as error:
            raise ValueError(f"layer {self.index} ({self.name}, {type(self).__name__}): {error}") from None

    def _edges(self, images: Array) -> Edges:
        down, across = self._windows
        if not down.padding and not across.padding and down.mode is not ConvolutionMode.SAME:
            return NO_EDGES
        return down.edge(images.shape[2]), across.edge(images.shape[3])

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return the mask of the windows, for ``[batch, 1, height or 1, width or 1]``."""
        if mask.ndim != 4:
            return mask
        for axis, window in zip((2, 3), self._windows, strict=True):
            if mask.shape[axis] > 1:
                mask = mask_of_windows(mask, axis, window)
        return mask
