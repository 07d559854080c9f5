"""Vertices that join, split and stack activations, or change their shape (DL4J: its ``graph`` package)."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from ndarena.nn.input_type import (
    InputType,
    InputTypeConvolutional,
    InputTypeFeedForward,
    InputTypeRecurrent,
)
from ndarena.nn.preprocessors import InputPreProcessor
from ndarena.nn.vertex import ACTIVATION_GRAD, ACTIVATIONS, GraphVertex, either, new
from ndarena.nn.words import Array, at_least_one, is_whole, refuse, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena._core import LayerWorkspaceMgr

__all__ = ["MergeVertex", "PreprocessorVertex", "StackVertex", "SubsetVertex", "UnstackVertex"]


class MergeVertex(GraphVertex):
    """Inputs one beside the other, by default along the features (DL4J: ``MergeVertex``).

    Parameters
    ----------
    merge_axis : int
        The axis along which they are joined.
    """

    inputs_taken = (1, None)

    merge_axis: int = 1

    def __post_init__(self) -> None:
        """Check the fields."""
        axis = self.merge_axis
        if not is_whole(axis) or not axis:
            refuse(type(self).__name__, "merge_axis", axis, "must be an axis other than that of the examples")
        self._set("merge_axis", int(axis))

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return the type whose size along the axis is the sum."""
        first = input_types[0]
        if any(type(t) is not type(first) for t in input_types):
            self._refuse_types(input_types, "must be of one kind")
        if len(input_types) == 1:
            return first
        axis = self.merge_axis - 1 if self.merge_axis > 0 else self.merge_axis
        shapes = [list(t.shape) for t in input_types]
        if not -len(shapes[0]) <= axis < len(shapes[0]):
            self._refuse_types(input_types, f"have no axis {self.merge_axis}")
        sizes = [shape.pop(axis) for shape in shapes]
        if isinstance(first, InputTypeConvolutional) and any(s != shapes[0] for s in shapes):
            self._refuse_types(input_types, "must agree in the other axes")
        whole = list(first.shape)
        whole[axis] = None if None in sizes else sum(sizes)  # type: ignore[arg-type]
        if isinstance(first, InputTypeConvolutional):
            channels, height, width = whole
            return InputTypeConvolutional(height, width, channels)  # type: ignore[arg-type]
        if isinstance(first, InputTypeRecurrent):
            return InputTypeRecurrent(*whole)  # type: ignore[arg-type]
        return InputTypeFeedForward(whole[0])  # type: ignore[arg-type]

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the joined inputs; shapes that differ elsewhere are a `ValueError`."""
        first, axis = inputs[0], self.merge_axis
        self._kept = [x.shape for x in inputs]
        if len(inputs) == 1:
            return workspace_mgr.leverage_to(ACTIVATIONS, first)
        whole = list(first.shape)
        if any(len(x.shape) != len(whole) for x in inputs):
            self._refuse_inputs(inputs, "expected inputs of one rank")
        whole[axis] = sum(x.shape[axis] for x in inputs)
        out = new(workspace_mgr, ACTIVATIONS, tuple(whole), first)
        for part, x in zip(self._parts(out), inputs, strict=True):
            if part.shape != x.shape:
                self._refuse_inputs(inputs, f"expected inputs that differ in axis {axis} only")
            part[...] = x
        return out

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return the parts of epsilon."""
        if len(self._from_forward()) == 1:
            return (workspace_mgr.leverage_to(ACTIVATION_GRAD, epsilon),)
        return tuple(workspace_mgr.dup(ACTIVATION_GRAD, part) for part in self._parts(epsilon))

    def _parts(self, whole: Array) -> list[Array]:
        """Return the views that belong to the inputs."""
        axis = self.merge_axis % whole.ndim
        parts, start = [], 0
        for shape in self._from_forward():
            stop = start + shape[axis]
            parts.append(whole[(slice(None),) * axis + (slice(start, stop),)])
            start = stop
        return parts

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return what counts in one input at least."""
        return either(masks)


class SubsetVertex(GraphVertex):
    """Some of the features (DL4J: ``SubsetVertex``).

    Parameters
    ----------
    from_, to : int
        The first and the last feature, both counted from 0 and inclusive.
    """

    from_: int = field(kw_only=False)
    to: int = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("from_", whole(self.from_, type(self).__name__, "from_", least=0))
        self._set("to", whole(self.to, type(self).__name__, "to", least=self.from_))

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return the type with so many features or channels."""
        given, size = input_types[0], self.to - self.from_ + 1
        features = given.channels if isinstance(given, InputTypeConvolutional) else given.shape[0]
        if self.to >= (features or 0):
            refuse(type(self).__name__, "to", self.to, f"must be below {features}, the number of features")
        if isinstance(given, InputTypeConvolutional):
            return InputTypeConvolutional(given.height, given.width, size)
        if isinstance(given, InputTypeRecurrent):
            return InputTypeRecurrent(size, given.time_series_length)
        return InputTypeFeedForward(size)

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the features chosen."""
        (x,) = inputs
        if x.shape[1] <= self.to:
            self._refuse_inputs(inputs, f"expected {self.to + 1} features or more")
        self._kept = x.shape
        return workspace_mgr.dup(ACTIVATIONS, x[:, self.from_ : self.to + 1])

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return epsilon among zeros."""
        below = new(workspace_mgr, ACTIVATION_GRAD, self._from_forward(), epsilon)
        below[:, : self.from_] = 0.0
        below[:, self.from_ : self.to + 1] = epsilon
        below[:, self.to + 1 :] = 0.0
        return (below,)


class StackVertex(GraphVertex):
    """Examples of all inputs one after the other (DL4J: ``StackVertex``); shorter series end in zeros."""

    inputs_taken = (1, None)

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return the type of the inputs, which must be equal but for the length of series."""
        first = input_types[0]
        sizes = {(type(t), t.size if isinstance(t, InputTypeRecurrent) else t.shape) for t in input_types}
        if len(sizes) > 1:
            self._refuse_types(input_types, "must be equal to be stacked")
        if isinstance(first, InputTypeRecurrent):
            lengths = {t.shape[1] for t in input_types}
            return first if len(lengths) == 1 else InputTypeRecurrent(first.size)
        return first

    def get_batch_size(self, *batch_sizes: int) -> int:
        """Return the sum."""
        return sum(batch_sizes)

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return ``[sum of N, ...]``; shapes that differ elsewhere are a `ValueError`."""
        self._kept = [x.shape for x in inputs]
        first = inputs[0]
        if any(x.shape[1:2] != first.shape[1:2] or x.ndim != first.ndim for x in inputs):
            self._refuse_inputs(inputs, "expected inputs that agree but for the examples")
        whole = list(first.shape)
        whole[0] = sum(len(x) for x in inputs)
        if first.ndim == 3:
            whole[2] = max(x.shape[2] for x in inputs)
        elif any(x.shape[1:] != first.shape[1:] for x in inputs):
            self._refuse_inputs(inputs, "expected inputs that agree but for the examples")
        out = new(workspace_mgr, ACTIVATIONS, tuple(whole), first)
        for part, x in zip(self._examples(out), inputs, strict=True):
            if first.ndim == 3:
                part[:, :, x.shape[2] :] = 0.0
                part[:, :, : x.shape[2]] = x
            else:
                part[...] = x
        return out

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return the parts of epsilon."""
        shapes = self._from_forward()
        parts = zip(self._examples(epsilon), shapes, strict=True)
        return tuple(
            workspace_mgr.dup(ACTIVATION_GRAD, part[:, :, : shape[2]] if len(shape) == 3 else part)
            for part, shape in parts
        )

    def _examples(self, whole: Array) -> list[Array]:
        parts, start = [], 0
        for shape in self._from_forward():
            parts.append(whole[start : start + shape[0]])
            start += shape[0]
        return parts

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return the masks one after the other; a missing one counts all, shorter ones end in zeros."""
        given = [mask for mask in masks if mask is not None]
        if not given:
            return None
        longest = max(mask.shape[1] for mask in given)
        parts = []
        for mask in masks:
            whole = np.zeros((len(given[0] if mask is None else mask), longest), given[0].dtype)
            whole[:, : longest if mask is None else mask.shape[1]] = 1.0 if mask is None else mask
            parts.append(whole)
        return np.concatenate(parts)


class UnstackVertex(GraphVertex):
    """One part of stacked examples (DL4J: ``UnstackVertex``).

    Parameters
    ----------
    from_ : int
        Which part, counted from 0.
    stack_size : int
        How many parts there are.
    """

    from_: int = field(kw_only=False)
    stack_size: int = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("stack_size", at_least_one(self.stack_size, type(self).__name__, "stack_size"))
        self._set("from_", whole(self.from_, type(self).__name__, "from_", least=0))
        if self.from_ >= self.stack_size:
            refuse(type(self).__name__, "from_", self.from_, f"must be below stack_size={self.stack_size}")

    def get_batch_size(self, *batch_sizes: int) -> int:
        """Return the examples of one part."""
        return batch_sizes[0] // self.stack_size

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return ``[N / stack_size, ...]``; examples that do not divide are a `ValueError`."""
        (x,) = inputs
        if len(x) % self.stack_size:
            self._refuse_inputs(inputs, f"expected examples in {self.stack_size} equal parts")
        self._kept = x.shape
        return workspace_mgr.dup(ACTIVATIONS, x[self._part(len(x))])

    def _part(self, rows: int) -> slice:
        step = rows // self.stack_size
        return slice(self.from_ * step, (self.from_ + 1) * step)

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return epsilon among zeros."""
        shape = self._from_forward()
        part = self._part(shape[0])
        below = new(workspace_mgr, ACTIVATION_GRAD, shape, epsilon)
        below[: part.start] = 0.0
        below[part] = epsilon
        below[part.stop :] = 0.0
        return (below,)

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return the mask of the part."""
        return None if masks[0] is None else masks[0][self._part(len(masks[0]))]


class PreprocessorVertex(GraphVertex):
    """A preprocessor as a vertex (DL4J: ``PreprocessorVertex``).

    Parameters
    ----------
    preprocessor : InputPreProcessor
        What is applied.
    """

    preprocessor: InputPreProcessor = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.preprocessor, InputPreProcessor):
            refuse(type(self).__name__, "preprocessor", self.preprocessor, "is no InputPreProcessor")

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return what comes out of the preprocessor."""
        return self.preprocessor.get_output_type(input_types[0])

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return what the preprocessor makes of the input; without ``batch_size`` that is its length."""
        (x,) = inputs
        self._kept = len(x) if self.batch_size is None else self.batch_size
        mask = masks[0] if masks else None
        return self.preprocessor.pre_process(x, self._kept, workspace_mgr=workspace_mgr, mask=mask)

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return the epsilon of the input."""
        return (self.preprocessor.backprop(epsilon, self._from_forward(), workspace_mgr=workspace_mgr),)

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return the mask behind the preprocessor."""
        if masks[0] is None:
            return None
        examples = len(masks[0]) if self.batch_size is None else self.batch_size
        return self.preprocessor.feed_forward_mask(masks[0], examples)
