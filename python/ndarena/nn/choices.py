"""Choices that are made for whole networks."""

from __future__ import annotations

import warnings

from ndarena.nn.words import Choice, member

__all__ = [
    "BackpropType",
    "CacheMode",
    "ConvolutionMode",
    "GradientNormalization",
    "InvocationType",
    "PoolingType",
    "WorkspaceMode",
    "workspace_mode_of",
]


class WorkspaceMode(Choice):
    """Whether a network works in workspaces (DL4J: ``WorkspaceMode``)."""

    NONE = "NONE"
    """Ordinary arrays."""
    ENABLED = "ENABLED"
    """Workspaces for activations, gradients and scratch."""
    SINGLE = "SINGLE"
    """One workspace for everything, used again after every iteration: most memory. Deprecated."""
    SEPARATE = "SEPARATE"
    """Workspaces for input, forward and backward pass, and for scratch: least memory. Deprecated."""


def workspace_mode_of(value: object, owner: str, field: str) -> WorkspaceMode:
    """Return the mode meant by a name; a deprecated one is a `DeprecationWarning`."""
    mode = member(WorkspaceMode, value, owner, field)
    if mode in {WorkspaceMode.SINGLE, WorkspaceMode.SEPARATE}:
        warnings.warn(
            f"{owner}: {field}={mode.name} is deprecated; ENABLED is faster and nearly as small",
            DeprecationWarning,
            stacklevel=3,
        )
    return mode


class BackpropType(Choice):
    """How far the gradient of a series goes back (DL4J: ``BackpropType``)."""

    STANDARD = "STANDARD"
    """To the first step."""
    TRUNCATED_BPTT = "TRUNCATED_BPTT"
    """To the beginning of the piece; there is one update per piece."""


class InvocationType(Choice):
    """When a listener evaluates (DL4J: ``InvocationType``)."""

    EPOCH_START = "EPOCH_START"
    """When an epoch begins."""
    EPOCH_END = "EPOCH_END"
    """When an epoch is over."""
    ITERATION_END = "ITERATION_END"
    """When the parameters have moved."""


class CacheMode(Choice):
    """Where layers may keep what they compute twice (DL4J: ``CacheMode``); kept for its files."""

    NONE = "NONE"
    HOST = "HOST"
    DEVICE = "DEVICE"


class ConvolutionMode(Choice):
    """What happens at the edges of images (DL4J: ``ConvolutionMode``)."""

    TRUNCATE = "TRUNCATE"
    """Pixels for which no whole window is left are dropped."""
    SAME = "SAME"
    """Padding makes the output as large as the input over the stride, rounded up."""
    STRICT = "STRICT"
    """Windows must fit exactly."""


class PoolingType(Choice):
    """What a window of pixels becomes (DL4J: ``PoolingType``)."""

    MAX = "MAX"
    AVG = "AVG"
    SUM = "SUM"
    PNORM = "PNORM"
    """``(sum |x| ** p) ** (1 / p)``."""


class GradientNormalization(Choice):
    """What is done to gradients before the updater sees them (DL4J: ``GradientNormalization``)."""

    NONE = "NONE"
    RENORMALIZE_L2_PER_LAYER = "RENORMALIZE_L2_PER_LAYER"
    """The gradient of a layer gets the norm 1."""
    RENORMALIZE_L2_PER_PARAM_TYPE = "RENORMALIZE_L2_PER_PARAM_TYPE"
    """The gradient of every parameter gets the norm 1."""
    CLIP_ELEMENT_WISE_ABSOLUTE_VALUE = "CLIP_ELEMENT_WISE_ABSOLUTE_VALUE"
    """Elements stay between minus the threshold and the threshold."""
    CLIP_L2_PER_LAYER = "CLIP_L2_PER_LAYER"
    """The norm of a layer's gradient stays below the threshold."""
    CLIP_L2_PER_PARAM_TYPE = "CLIP_L2_PER_PARAM_TYPE"
    """The norm of every parameter's gradient stays below the threshold."""
