"""What goes into a network or a layer: shapes without the batch (DL4J: ``InputType``)."""

from __future__ import annotations

from dataclasses import dataclass

from ndarena.nn.words import at_least_one, size_or_none

__all__ = [
    "InputType",
    "InputTypeConvolutional",
    "InputTypeConvolutionalFlat",
    "InputTypeFeedForward",
    "InputTypeRecurrent",
]


@dataclass(frozen=True)
class InputType:
    """Base of the kinds of input, which its static methods make."""

    @staticmethod
    def feed_forward(size: int) -> InputTypeFeedForward:
        """Describe arrays ``[batch, size]``."""
        return InputTypeFeedForward(size)

    @staticmethod
    def recurrent(size: int, time_series_length: int | None = None) -> InputTypeRecurrent:
        """Describe series ``[batch, size, time]``; their length may differ from batch to batch."""
        return InputTypeRecurrent(size, time_series_length)

    @staticmethod
    def convolutional(height: int, width: int, channels: int) -> InputTypeConvolutional:
        """Describe images ``[batch, channels, height, width]``."""
        return InputTypeConvolutional(height, width, channels)

    @staticmethod
    def convolutional_flat(height: int, width: int, channels: int) -> InputTypeConvolutionalFlat:
        """Describe images whose pixels lie in a row, ``[batch, channels * height * width]``."""
        return InputTypeConvolutionalFlat(height, width, channels)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape without the batch; ``None`` where a length is not fixed."""
        raise NotImplementedError(f"{type(self).__name__}.shape")

    def fits(self, kind: type[InputType]) -> bool:
        """Tell whether arrays of this type are such as a layer for a kind of input takes."""
        return isinstance(self, kind)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape, the batch included, is of this type."""
        return shape[1:] == self.shape

    def _settle_sizes(self, *names: str) -> None:
        for name in names:
            size = at_least_one(getattr(self, name), type(self).__name__, name)
            object.__setattr__(self, name, size)


@dataclass(frozen=True)
class InputTypeFeedForward(InputType):
    """Arrays ``[batch, size]``."""

    size: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        self._settle_sizes("size")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """``(size,)``."""
        return (self.size,)

    def __str__(self) -> str:
        """Describe it in words."""
        return f"feed-forward, {self.size} features"


@dataclass(frozen=True)
class InputTypeRecurrent(InputType):
    """Series ``[batch, size, time]``."""

    size: int
    time_series_length: int | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        self._settle_sizes("size")
        length = size_or_none(self.time_series_length, type(self).__name__, "time_series_length")
        object.__setattr__(self, "time_series_length", length)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """``(size, time_series_length)``."""
        return self.size, self.time_series_length

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array is a series of any length, or one step of it."""
        return len(shape) in {2, 3} and shape[1] == self.size

    def __str__(self) -> str:
        """Describe it in words."""
        return f"recurrent, {self.size} features"


@dataclass(frozen=True)
class _Image(InputType):
    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        self._settle_sizes("height", "width", "channels")

    @property
    def flattened_size(self) -> int:
        """The number of pixels of all channels."""
        return self.height * self.width * self.channels

    def _words(self, kind: str) -> str:
        return f"{kind}, {self.channels} channels of {self.height} x {self.width}"


@dataclass(frozen=True)
class InputTypeConvolutional(_Image):
    """Images ``[batch, channels, height, width]``."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """``(channels, height, width)``."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        """Describe it in words."""
        return self._words("convolutional")


@dataclass(frozen=True)
class InputTypeConvolutionalFlat(_Image):
    """Images whose pixels lie in a row, ``[batch, channels * height * width]``."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """``(channels * height * width,)``."""
        return (self.flattened_size,)

    def fits(self, kind: type[InputType]) -> bool:
        """Tell whether it is this kind, or features."""
        return kind is InputTypeFeedForward or isinstance(self, kind)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array has rows of pixels, or such images."""
        return shape[1:] in {self.shape, (self.channels, self.height, self.width)}

    def __str__(self) -> str:
        """Describe it in words."""
        return self._words("convolutional flat")
