"""What loss functions have in common (DL4J: ``ILossFunction``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ndarena._core import functions
from ndarena.nn.words import Array, refuse

if TYPE_CHECKING:
    from ndarena.nn.activations import IActivation

__all__ = [
    "CLIP",
    "Elementwise",
    "ILossFunction",
    "OfOutput",
    "WeightedLoss",
    "apply_mask",
    "mean",
    "refuse_elements",
    "where_wanted",
]

CLIP = 1e-10


class ILossFunction:
    """Base of loss functions; a new one is a frozen dataclass with the two methods that raise here.

    ``labels`` and ``pre_output`` are ``[N, C]``, plain or in a workspace; ``mask`` is ``[N, 1]`` or
    ``[N, C]``, 1 where an element counts.
    """

    takes_output: ClassVar[bool] = False
    """Whether the methods take ``output=``: the activation of ``pre_output``, where it is known already."""

    def label_columns(self, n: int) -> int:
        """Return how many columns labels have for ``n`` columns of output; by default as many."""
        return n

    def compute_score_array(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array = None
    ) -> Array:
        """Return the loss of every example, ``[N]``."""
        raise NotImplementedError

    def compute_gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array = None
    ) -> Array:
        """Return the derivative of the summed loss with respect to ``pre_output``, in its shape."""
        raise NotImplementedError

    def compute_score(
        self,
        labels: Array,
        pre_output: Array,
        activation: IActivation,
        mask: Array = None,
        *,
        average: bool = True,
        **known: Array,
    ) -> float:
        """Return the sum of the losses, over the number of examples (masked ones too) if ``average``."""
        total = self._total(labels, pre_output, activation, mask, **known)
        return total / (len(labels) or 1) if average else total

    def _total(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, **known: Array
    ) -> float:
        """Return the sum of the losses."""
        return float(self.compute_score_array(labels, pre_output, activation, mask, **known).sum())


def apply_mask(mask: Array, values: Array) -> Array:
    """Multiply by a mask, in place."""
    if mask is not None:
        values *= mask
    return values


def mean(values: Array) -> Array:
    """Divide by the number of columns, in place."""
    values /= values.shape[1]
    return values


@dataclass(frozen=True)
class OfOutput(ILossFunction):
    """A loss that looks at the activation of ``pre_output``, which may be known already."""

    takes_output: ClassVar[bool] = True

    def _losses(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        """Return what the loss of every example is the sum of, ``[N, C]`` or ``[N, 1]``."""
        raise NotImplementedError

    def _gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        """Return the derivative of the summed loss with respect to ``pre_output``, ``[N, C]``."""
        raise NotImplementedError

    def compute_score_array(
        self,
        labels: Array,
        pre_output: Array,
        activation: IActivation,
        mask: Array = None,
        *,
        output: Array = None,
    ) -> Array:
        """Return the loss of every example, ``[N]``."""
        output = activation.forward(pre_output) if output is None else output
        return self._losses(labels, pre_output, activation, mask, output).sum(axis=1)

    def _total(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, **known: Array
    ) -> float:
        """Return the sum of the losses, of examples only where a subclass computes those its own way."""
        if type(self).compute_score_array is not OfOutput.compute_score_array:
            return super()._total(labels, pre_output, activation, mask, **known)
        output = known["output"] if "output" in known else activation.forward(pre_output)
        return float(self._losses(labels, pre_output, activation, mask, output).sum())

    def compute_gradient(
        self,
        labels: Array,
        pre_output: Array,
        activation: IActivation,
        mask: Array = None,
        *,
        output: Array = None,
    ) -> Array:
        """Return the derivative of the summed loss with respect to ``pre_output``, ``[N, C]``."""
        output = activation.forward(pre_output) if output is None else output
        return self._gradient(labels, pre_output, activation, mask, output)


@dataclass(frozen=True)
class Elementwise(OfOutput):
    """A loss that is a sum over elements, of which each looks at its own label and output only."""

    def _element(self, labels: Array, output: Array) -> Array:
        """Return the loss of every element, in memory of its own."""
        raise NotImplementedError

    def _slope(self, labels: Array, output: Array) -> Array:
        """Return the derivative of every element with respect to the output, in memory of its own."""
        raise NotImplementedError

    def _weigh(self, values: Array) -> Array:
        """Multiply the columns of ``[N, C]`` by their weights, in place."""
        return values

    def _losses(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        return apply_mask(mask, self._weigh(self._element(labels, output)))

    def _gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        slope = apply_mask(mask, self._weigh(self._slope(labels, output)))
        return activation.backprop(pre_output, slope, out=slope)


@dataclass(frozen=True)
class WeightedLoss(Elementwise):
    """A loss that may weigh the columns.

    Parameters
    ----------
    weights : sequence of float, optional
        A factor per column.
    """

    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.weights is None:
            return
        try:
            weights = np.asarray(self.weights, np.float64)
        except (TypeError, ValueError):
            weights = np.empty(0)
        if weights.ndim != 1 or not weights.size or not np.isfinite(weights).all():
            refuse(type(self).__name__, "weights", self.weights, "must be finite numbers, one per column")
        object.__setattr__(self, "weights", tuple(weights.tolist()))

    def _weigh(self, values: Array) -> Array:
        if self.weights is not None:
            if len(self.weights) != values.shape[1]:
                raise ValueError(
                    f"{type(self).__name__}: {len(self.weights)} weights for {values.shape[1]} columns"
                )
            values *= np.asarray(self.weights, values.dtype)
        return values


def where_wanted(labels: Array, output: Array) -> Array:
    """Return the output, 1 where the label is 0: whatever is there, it counts for nothing."""
    return functions.where(labels == 0.0, output.dtype.type(1.0), output)


def refuse_elements(loss: ILossFunction, mask: Array, reason: str) -> None:
    """Refuse a mask that has more than one column."""
    if mask is not None and mask.shape[1] > 1:
        raise ValueError(
            f"{type(loss).__name__}: {reason}, so a mask is {(len(mask), 1)}, not {tuple(mask.shape)}"
        )
