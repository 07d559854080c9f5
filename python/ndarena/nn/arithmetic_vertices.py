"""Vertices that calculate with activations (DL4J: its ``graph`` package)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.input_type import (
    InputType,
)
from ndarena.nn.vertex import ACTIVATION_GRAD, ACTIVATIONS, GraphVertex, either, new
from ndarena.nn.words import Array, Choice, at_least_one, member, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena._core import LayerWorkspaceMgr

__all__ = [
    "ElementWiseOp",
    "ElementWiseVertex",
    "L2NormalizeVertex",
    "L2Vertex",
    "ScaleVertex",
    "ShiftVertex",
]


class ElementWiseOp(Choice):
    """What `ElementWiseVertex` does (DL4J: ``ElementWiseVertex.Op``)."""

    ADD = "ADD"
    SUBTRACT = "SUBTRACT"
    PRODUCT = "PRODUCT"
    AVERAGE = "AVERAGE"
    MAX = "MAX"


class ElementWiseVertex(GraphVertex):
    """Inputs combined element by element; smaller ones are broadcast (DL4J: ``ElementWiseVertex``).

    Parameters
    ----------
    op : str or ElementWiseOp
        ``add``, ``subtract`` (of two inputs), ``product``, ``average`` or ``max``; of equal largest elements
        the first gets the gradient.
    """

    inputs_taken = (1, None)

    op: str | ElementWiseOp = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("op", member(ElementWiseOp, self.op, type(self).__name__, "op"))

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return the largest of the inputs."""
        if self.op is ElementWiseOp.SUBTRACT and len(input_types) != 2:
            self._refuse_types(input_types, "must be two to be subtracted")
        if len({len(t.shape) for t in input_types}) > 1:
            self._refuse_types(input_types, "must be of one kind")
        shapes = [tuple(0 if n is None else n for n in t.shape) for t in input_types]
        try:
            whole = np.broadcast_shapes(*([n or 1 for n in shape] for shape in shapes))
        except ValueError:
            self._refuse_types(input_types, "must have one shape, or such that can be broadcast")
        return input_types[[tuple(n or 1 for n in shape) for shape in shapes].index(whole)]

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the combination; shapes that do not fit are a `ValueError`."""
        if self.op is ElementWiseOp.SUBTRACT and len(inputs) != 2:
            self._refuse_inputs(inputs, "expected two inputs to subtract")
        try:
            shape = np.broadcast_shapes(*(x.shape for x in inputs))
        except ValueError:
            self._refuse_inputs(inputs, "expected inputs of one shape, or such that can be broadcast")
        out = new(workspace_mgr, ACTIVATIONS, shape, inputs[0])
        out[...] = inputs[0]
        function = _FUNCTIONS[ElementWiseOp(self.op)]
        for x in inputs[1:]:
            function(out, x, out=out)
        if self.op is ElementWiseOp.AVERAGE:
            out /= len(inputs)
        needed = self.op in {ElementWiseOp.PRODUCT, ElementWiseOp.MAX}
        self._kept = [x.shape for x in inputs], inputs if needed else None, out if needed else None
        return out

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return an epsilon for every input."""
        shapes, inputs, out = self._from_forward()
        parts = []
        taken = None
        for i, shape in enumerate(shapes):
            whole = shape == epsilon.shape
            role = ACTIVATION_GRAD if whole else ArrayType.BP_WORKING_MEM
            part: Array = workspace_mgr.dup(role, epsilon)
            if self.op is ElementWiseOp.AVERAGE:
                part /= len(shapes)
            elif self.op is ElementWiseOp.SUBTRACT and i:
                np.negative(part, out=part)
            elif self.op is ElementWiseOp.PRODUCT:
                for x in (x for j, x in enumerate(inputs) if j != i):
                    part *= x
            elif self.op is ElementWiseOp.MAX:
                wins = inputs[i] == out
                if taken is not None:
                    wins &= ~taken
                taken = wins if taken is None else taken | wins
                part *= wins
            parts.append(part if whole else _summed(workspace_mgr, part, shape))
        return tuple(parts)

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return what counts in one input at least."""
        return either(masks)


_FUNCTIONS: dict[ElementWiseOp, Any] = {
    ElementWiseOp.ADD: np.add,
    ElementWiseOp.AVERAGE: np.add,
    ElementWiseOp.SUBTRACT: np.subtract,
    ElementWiseOp.PRODUCT: np.multiply,
    ElementWiseOp.MAX: np.maximum,
}


def _summed(mgr: LayerWorkspaceMgr, whole: Array, shape: tuple[int, ...]) -> Array:
    """Return the sum over the axes along which an input of ``shape`` was broadcast."""
    out = new(mgr, ACTIVATION_GRAD, shape, whole)
    lead = whole.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n != whole.shape[lead + i])
    np.add.reduce(whole, axis=axes, keepdims=True, out=out.reshape((1,) * lead + tuple(shape)))
    return out


class ScaleVertex(GraphVertex):
    """Activations times a number (DL4J: ``ScaleVertex``).

    Parameters
    ----------
    scale_factor : float
        The number.
    """

    scale_factor: float = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("scale_factor", number(self.scale_factor, type(self).__name__, "scale_factor"))

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the input times the factor."""
        (x,) = inputs
        return np.multiply(x, self.scale_factor, out=new(workspace_mgr, ACTIVATIONS, x.shape, x))

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return epsilon times the factor."""
        below = new(workspace_mgr, ACTIVATION_GRAD, epsilon.shape, epsilon)
        return (np.multiply(epsilon, self.scale_factor, out=below),)


class ShiftVertex(GraphVertex):
    """Activations plus a number (DL4J: ``ShiftVertex``).

    Parameters
    ----------
    shift_factor : float
        The number.
    """

    shift_factor: float = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("shift_factor", number(self.shift_factor, type(self).__name__, "shift_factor"))

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the input plus the number."""
        (x,) = inputs
        return np.add(x, self.shift_factor, out=new(workspace_mgr, ACTIVATIONS, x.shape, x))

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return epsilon."""
        return (workspace_mgr.leverage_to(ACTIVATION_GRAD, epsilon),)


class L2NormalizeVertex(GraphVertex):
    """Every example divided by its Euclidean norm (DL4J: ``L2NormalizeVertex``).

    Parameters
    ----------
    dimension : sequence of int, optional
        The axes along which the norm is taken; default: all but that of the examples.
    eps : float
        The least number that is divided by.
    """

    dimension: tuple[int, ...] | None = None
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("eps", number(self.eps, type(self).__name__, "eps", least=0.0))
        if self.dimension is not None:
            several = isinstance(self.dimension, Iterable)
            given = tuple(self.dimension) if several else (self.dimension,)
            axes = tuple(at_least_one(d, type(self).__name__, "dimension") for d in given)
            self._set("dimension", axes or None)

    def _norm(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        axes = self.dimension or tuple(range(1, x.ndim))
        return np.sqrt((x * x).sum(axis=axes, keepdims=True)), axes

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the input over the larger of its norm and ``eps``."""
        (x,) = inputs
        self._kept = x
        norm, _ = self._norm(x)
        np.maximum(norm, self.eps, out=norm)
        return np.divide(x, norm, out=new(workspace_mgr, ACTIVATIONS, x.shape, x))

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return the epsilon of the input."""
        x = self._from_forward()
        norm, axes = self._norm(x)
        floor = norm <= self.eps
        np.maximum(norm, self.eps, out=norm)
        along = (epsilon * x).sum(axis=axes, keepdims=True)
        along /= norm
        along /= norm
        along[floor] = 0.0  # there the divisor is a constant
        below = new(workspace_mgr, ACTIVATION_GRAD, x.shape, x)
        np.multiply(x, along, out=below)
        np.subtract(epsilon, below, out=below)
        below /= norm
        return (below,)


class L2Vertex(GraphVertex):
    """The Euclidean distance of two inputs, example by example (DL4J: ``L2Vertex``).

    Parameters
    ----------
    eps : float
        The least distance that the backward pass divides by.
    """

    inputs_taken = (2, 2)

    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        self._set("eps", number(self.eps, type(self).__name__, "eps", least=0.0))

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return one feature."""
        if len({type(t) for t in input_types}) > 1:
            self._refuse_types(input_types, "must be of one kind")
        return InputType.feed_forward(1)

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return ``[N, 1]``; two shapes are a `ValueError`."""
        a, b = inputs
        if a.shape != b.shape:
            self._refuse_inputs(inputs, "expected two inputs of one shape")
        self._kept = a, b
        distance = new(workspace_mgr, ACTIVATIONS, (len(a), 1), a)
        return self._distance(a - b, distance)

    @staticmethod
    def _distance(difference: Array, out: Array) -> Array:
        squares = difference * difference
        np.add.reduce(squares.reshape(len(squares), -1), axis=1, keepdims=True, out=out)
        return np.sqrt(out, out=out)

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return the epsilons of both inputs; one is the other's negative."""
        a, b = self._from_forward()
        first = new(workspace_mgr, ACTIVATION_GRAD, a.shape, a)
        np.subtract(a, b, out=first)
        scale = self._distance(
            first, workspace_mgr.create_uninitialized(ArrayType.BP_WORKING_MEM, (len(a), 1), a.dtype)
        )
        np.maximum(scale, self.eps, out=scale)
        np.divide(epsilon, scale, out=scale)
        first *= scale.reshape((len(a),) + (1,) * (a.ndim - 1))
        second = new(workspace_mgr, ACTIVATION_GRAD, a.shape, a)
        return first, np.negative(first, out=second)

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return the first mask if it is one of rows; steps of a series are one distance: ``None``."""
        return masks[0] if masks[0] is not None and masks[0].shape[1:] == (1,) else None
