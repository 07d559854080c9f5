"""Between layers of different kinds: arrays in another shape (DL4J: ``InputPreProcessor``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.input_type import (
    InputType,
    InputTypeConvolutional,
    InputTypeConvolutionalFlat,
    InputTypeFeedForward,
    InputTypeRecurrent,
)
from ndarena.nn.words import Array, at_least_one, refuse

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr

__all__ = [
    "CnnToFeedForwardPreProcessor",
    "CnnToRnnPreProcessor",
    "ComposableInputPreProcessor",
    "FeedForwardToCnnPreProcessor",
    "FeedForwardToRnnPreProcessor",
    "InputPreProcessor",
    "RnnToCnnPreProcessor",
    "RnnToFeedForwardPreProcessor",
    "images_of_rows",
    "pre_processor_between",
]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD


class InputPreProcessor:
    """Base of preprocessors; a new one is a frozen dataclass with these methods.

    Preprocessors keep nothing between calls, so one serves any number of threads. ``batch_size`` is the
    number of examples, which rows of series do not tell: all examples of step 0 come first, then all of
    step 1, and so on.
    """

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return what the layer gets, an array of ``ArrayType.ACTIVATIONS``; a wrong shape: `ValueError`."""
        raise NotImplementedError(f"{type(self).__name__}.pre_process")

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the epsilon of what went in, an array of ``ArrayType.ACTIVATION_GRAD``."""
        raise NotImplementedError(f"{type(self).__name__}.backprop")

    def feed_forward_mask(self, mask: Array, batch_size: int) -> Array:
        """Return the mask of what the layer gets."""
        return mask

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return what comes out when this goes in; the wrong kind is a `ConfigurationError`."""
        raise NotImplementedError(f"{type(self).__name__}.get_output_type")

    def _taken(self, input_type: InputType, *kinds: type[InputType]) -> None:
        if not isinstance(input_type, kinds):
            refuse(type(self).__name__, "input_type", input_type, f"must be {kinds[0].__name__}")

    def _refuse_shape(self, x: Array, wanted: str) -> None:
        raise ValueError(f"{type(self).__name__}: expected input of shape {wanted}, not {list(x.shape)}")


def _in_order(mgr: LayerWorkspaceMgr, role: ArrayType, x: Array, shape: tuple[int, ...]) -> Array:
    """Return the elements of ``x`` in C order under another shape, in a role's place."""
    if x.flags["C_CONTIGUOUS"]:
        return mgr.leverage_to(role, x.reshape(shape))
    copy = mgr.create_uninitialized(role, x.shape, x.dtype)
    copy[...] = x
    return copy.reshape(shape)


def _steps(owner: str, rows: int, batch_size: int) -> int:
    if batch_size < 1 or rows % batch_size:
        if rows == 0:
            return 0
        raise ValueError(f"{owner}: {rows} rows are no series of {batch_size} examples")
    return rows // batch_size


def _rows_of_series(mgr: LayerWorkspaceMgr, role: ArrayType, x: Array) -> Array:
    """Make ``[N, C, T]`` into ``[T * N, C]``."""
    n, c, t = x.shape
    return _in_order(mgr, role, x.transpose(2, 0, 1), (t * n, c))


def _series_of_rows(owner: str, mgr: LayerWorkspaceMgr, role: ArrayType, x: Array, batch_size: int) -> Array:
    """Make ``[T * N, C]`` into ``[N, C, T]``."""
    t, c = _steps(owner, len(x), batch_size), x.shape[1]
    return _in_order(mgr, role, x.reshape(t, batch_size, c).transpose(1, 2, 0), (batch_size, c, t))


def _mask_of_rows(mask: Array) -> Array:
    """Make ``[N, T]`` into ``[T * N, 1]``."""
    return np.ascontiguousarray(mask.T).reshape(-1, 1)


def _mask_of_series(owner: str, mask: Array, batch_size: int) -> Array:
    """Make ``[T * N, ...]`` into ``[N, T]``; a mask that has the steps already stays."""
    if len(mask) == batch_size:
        return mask
    return np.ascontiguousarray(mask.reshape(_steps(owner, len(mask), batch_size), batch_size).T)


@dataclass(frozen=True)
class RnnToFeedForwardPreProcessor(InputPreProcessor):
    """Series ``[N, C, T]`` become rows ``[T * N, C]`` (DL4J: ``RnnToFeedForwardPreProcessor``)."""

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[T * N, C]``."""
        if x.ndim != 3:
            self._refuse_shape(x, "[batch, features, time]")
        return _rows_of_series(workspace_mgr, ACTIVATIONS, x)

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[N, C, T]``."""
        return _series_of_rows(type(self).__name__, workspace_mgr, ACTIVATION_GRAD, epsilon, batch_size)

    def feed_forward_mask(self, mask: Array, batch_size: int) -> Array:
        """Return ``[T * N, 1]`` for ``[N, T]``."""
        return _mask_of_rows(mask)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the features of a step."""
        self._taken(input_type, InputTypeRecurrent)
        return InputType.feed_forward(input_type.size)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class FeedForwardToRnnPreProcessor(InputPreProcessor):
    """Rows ``[T * N, C]`` become series ``[N, C, T]`` (DL4J: ``FeedForwardToRnnPreProcessor``)."""

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[N, C, T]``."""
        if x.ndim != 2:
            self._refuse_shape(x, "[batch * time, features]")
        return _series_of_rows(type(self).__name__, workspace_mgr, ACTIVATIONS, x, batch_size)

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[T * N, C]``."""
        return _rows_of_series(workspace_mgr, ACTIVATION_GRAD, epsilon)

    def feed_forward_mask(self, mask: Array, batch_size: int) -> Array:
        """Return ``[N, T]`` for ``[T * N, 1]``."""
        return _mask_of_series(type(self).__name__, mask, batch_size)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return series of the features of a row."""
        self._taken(input_type, InputTypeFeedForward, InputTypeConvolutionalFlat)
        (size,) = input_type.shape
        return InputTypeRecurrent(size)  # type: ignore[arg-type]  # rows have a size


@dataclass(frozen=True)
class _OfImages(InputPreProcessor):
    """What knows the size of images."""

    input_height: int
    input_width: int
    num_channels: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("input_height", "input_width", "num_channels"):
            size = at_least_one(getattr(self, name), type(self).__name__, name)
            object.__setattr__(self, name, size)

    @property
    def _image(self) -> tuple[int, int, int]:
        return self.num_channels, self.input_height, self.input_width

    @property
    def _pixels(self) -> int:
        return self.num_channels * self.input_height * self.input_width

    def _images(self) -> InputTypeConvolutional:
        return InputType.convolutional(self.input_height, self.input_width, self.num_channels)

    def _taken_images(self, input_type: InputType) -> None:
        self._taken(input_type, InputTypeConvolutional)
        if input_type != self._images():
            refuse(type(self).__name__, "input_type", input_type, f"must be {self._images()}")

    def _taken_pixels(self, input_type: InputType, kind: type[InputType]) -> None:
        self._taken(input_type, kind, InputTypeConvolutionalFlat)
        if input_type.shape[0] != self._pixels:
            refuse(type(self).__name__, "input_type", input_type, f"must have {self._pixels} features")

    def _check_images(self, x: Array) -> None:
        if x.shape[1:] != self._image:
            self._refuse_shape(x, f"[batch, {', '.join(map(str, self._image))}]")


@dataclass(frozen=True)
class CnnToFeedForwardPreProcessor(_OfImages):
    """Images ``[N, C, H, W]`` become rows ``[N, C * H * W]`` (DL4J: ``CnnToFeedForwardPreProcessor``)."""

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[N, C * H * W]``."""
        self._check_images(x)
        return _in_order(workspace_mgr, ACTIVATIONS, x, (len(x), self._pixels))

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[N, C, H, W]``."""
        return _in_order(workspace_mgr, ACTIVATION_GRAD, epsilon, (len(epsilon), *self._image))

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return a feature per pixel."""
        self._taken_images(input_type)
        return InputType.feed_forward(self._pixels)


@dataclass(frozen=True)
class FeedForwardToCnnPreProcessor(_OfImages):
    """Rows ``[N, C * H * W]`` become images ``[N, C, H, W]`` (DL4J: ``FeedForwardToCnnPreProcessor``)."""

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[N, C, H, W]``; what has that shape already stays."""
        if x.ndim == 2 and x.shape[1] == self._pixels:
            return _in_order(workspace_mgr, ACTIVATIONS, x, (len(x), *self._image))
        self._check_images(x)
        return workspace_mgr.leverage_to(ACTIVATIONS, x)

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[N, C * H * W]``."""
        return _in_order(workspace_mgr, ACTIVATION_GRAD, epsilon, (len(epsilon), self._pixels))

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the images."""
        self._taken_pixels(input_type, InputTypeFeedForward)
        return self._images()


@dataclass(frozen=True)
class RnnToCnnPreProcessor(_OfImages):
    """Series ``[N, C * H * W, T]`` become images ``[T * N, C, H, W]`` (DL4J: ``RnnToCnnPreProcessor``)."""

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[T * N, C, H, W]``."""
        if x.ndim != 3 or x.shape[1] != self._pixels:
            self._refuse_shape(x, f"[batch, {self._pixels}, time]")
        rows = _rows_of_series(workspace_mgr, ACTIVATIONS, x)
        return rows.reshape(len(rows), *self._image)

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[N, C * H * W, T]``."""
        rows = epsilon.reshape(len(epsilon), self._pixels)
        return _series_of_rows(type(self).__name__, workspace_mgr, ACTIVATION_GRAD, rows, batch_size)

    def feed_forward_mask(self, mask: Array, batch_size: int) -> Array:
        """Return ``[T * N, 1]`` for ``[N, T]``."""
        return _mask_of_rows(mask)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the images."""
        self._taken_pixels(input_type, InputTypeRecurrent)
        return self._images()


@dataclass(frozen=True)
class CnnToRnnPreProcessor(_OfImages):
    """Images ``[T * N, C, H, W]`` become series ``[N, C * H * W, T]`` (DL4J: ``CnnToRnnPreProcessor``)."""

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[N, C * H * W, T]``."""
        self._check_images(x)
        rows = x.reshape(len(x), self._pixels)
        return _series_of_rows(type(self).__name__, workspace_mgr, ACTIVATIONS, rows, batch_size)

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[T * N, C, H, W]``."""
        rows = _rows_of_series(workspace_mgr, ACTIVATION_GRAD, epsilon)
        return rows.reshape(len(rows), *self._image)

    def feed_forward_mask(self, mask: Array, batch_size: int) -> Array:
        """Return ``[N, T]`` for ``[T * N, 1]``."""
        return _mask_of_series(type(self).__name__, mask, batch_size)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return series of all pixels."""
        self._taken_images(input_type)
        return InputType.recurrent(self._pixels)


@dataclass(frozen=True, init=False)
class ComposableInputPreProcessor(InputPreProcessor):
    """Preprocessors one after the other (DL4J: ``ComposableInputPreProcessor``).

    Parameters
    ----------
    *preprocessors : InputPreProcessor
        In the order in which they are applied.
    """

    preprocessors: tuple[InputPreProcessor, ...]

    def __init__(self, *preprocessors: InputPreProcessor) -> None:
        for p in preprocessors:
            if not isinstance(p, InputPreProcessor):
                refuse(type(self).__name__, "preprocessors", p, "is no InputPreProcessor")
        object.__setattr__(self, "preprocessors", preprocessors)

    def pre_process(
        self, x: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Apply all."""
        for p in self.preprocessors:
            x = p.pre_process(x, batch_size, workspace_mgr=workspace_mgr, mask=mask)
            mask = None if mask is None else p.feed_forward_mask(mask, batch_size)
        return x

    def backprop(self, epsilon: Array, batch_size: int, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Go back through all."""
        for p in reversed(self.preprocessors):
            epsilon = p.backprop(epsilon, batch_size, workspace_mgr=workspace_mgr)
        return epsilon

    def feed_forward_mask(self, mask: Array, batch_size: int) -> Array:
        """Lead the mask through all."""
        for p in self.preprocessors:
            mask = p.feed_forward_mask(mask, batch_size)
        return mask

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return what comes out of the last."""
        for p in self.preprocessors:
            input_type = p.get_output_type(input_type)
        return input_type


def pre_processor_between(given: InputType, wanted: type[InputType] | None) -> InputPreProcessor | None:
    """Return what makes an input into one of the kind wanted; ``None`` if it is, or if there is nothing."""
    if wanted is None or given.fits(wanted):
        return None
    if wanted is InputTypeConvolutional:
        return images_of_rows(given)
    if wanted is InputTypeRecurrent:
        if isinstance(given, InputTypeConvolutional):
            return _of_images(CnnToRnnPreProcessor, given, InputTypeConvolutional)
        return FeedForwardToRnnPreProcessor()
    if isinstance(given, InputTypeRecurrent):
        return RnnToFeedForwardPreProcessor()
    return _of_images(CnnToFeedForwardPreProcessor, given, InputTypeConvolutional)


def images_of_rows(given: InputType) -> InputPreProcessor | None:
    """Return what makes rows of pixels into images; ``None`` for all else."""
    return _of_images(FeedForwardToCnnPreProcessor, given, InputTypeConvolutionalFlat)


def _of_images(
    preprocessor: type[_OfImages], given: InputType, kind: type[InputType]
) -> InputPreProcessor | None:
    if isinstance(given, kind) and isinstance(given, InputTypeConvolutional | InputTypeConvolutionalFlat):
        return preprocessor(given.height, given.width, given.channels)
    return None
