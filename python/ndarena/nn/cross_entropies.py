"""Losses of outputs that are probabilities (DL4J: ``LossMCXENT`` and its relatives)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ndarena._core import _cross_entropy, _cross_entropy_back, functions
from ndarena.nn.activations import ActivationSoftmax, IActivation
from ndarena.nn.loss_base import CLIP, OfOutput, WeightedLoss, apply_mask, refuse_elements, where_wanted
from ndarena.nn.words import Array, number

__all__ = ["LossBinaryXENT", "LossMCXENT", "LossNegativeLogLikelihood", "LossSparseMCXENT"]


@lru_cache(maxsize=16)
def is_below_one(limit: float, dtype: np.dtype[np.floating]) -> bool:
    """Tell whether a number is below 1 in that precision: shares that add up to 1 are not above it."""
    return bool(dtype.type(limit) < 1.0)


def _surprise(labels: Array, output: Array) -> Array:
    """Return ``-labels * log(output)``, in the memory of the output."""
    functions.log(output, out=output)
    output *= labels
    return functions.negative(output, out=output)


@dataclass(frozen=True)
class LossMCXENT(WeightedLoss):
    """The cross-entropy of classes (DL4J: ``LossMCXENT``); with softmax both derivatives are one.

    Parameters
    ----------
    weights : sequence of float, optional
        A factor per column.
    softmax_clip_eps : float
        With softmax the score takes outputs from this value to 1 minus it.
    """

    softmax_clip_eps: float = CLIP

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        limit = number(self.softmax_clip_eps, type(self).__name__, "softmax_clip_eps", least=0.0, below=0.5)
        object.__setattr__(self, "softmax_clip_eps", limit)

    def _element(self, labels: Array, output: Array) -> Array:
        return _surprise(labels, where_wanted(labels, output))

    def _slope(self, labels: Array, output: Array) -> Array:
        slope = labels / where_wanted(labels, output)
        return functions.negative(slope, out=slope)

    def _losses(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        if not isinstance(activation, ActivationSoftmax):
            return super()._losses(labels, pre_output, activation, mask, output)
        if mask is not None:
            refuse_elements(self, mask, "softmax joins the columns")
        if self.softmax_clip_eps > 0.0:
            output = functions.maximum(output, self.softmax_clip_eps)
            if is_below_one(1.0 - self.softmax_clip_eps, output.dtype):
                functions.minimum(output, 1.0 - self.softmax_clip_eps, out=output)
        else:
            output = where_wanted(labels, output)
        losses = _surprise(labels, output)
        if self.weights is not None:
            self._weigh(losses)
        return losses if mask is None else apply_mask(mask, losses)

    def _total(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, **known: Array
    ) -> float:
        """Return the sum of the losses, in one go where every share counts as it is."""
        output = known.get("output")
        if (
            output is not None
            and mask is None
            and self._is_plain
            and isinstance(activation, ActivationSoftmax)
        ):
            least = self.softmax_clip_eps
            most = 1.0 - least if is_below_one(1.0 - least, output.dtype) else math.inf
            total = _cross_entropy(labels, output, least, most)
            if total is not None:
                return total
        return super()._total(labels, pre_output, activation, mask, **known)

    @cached_property
    def _is_plain(self) -> bool:
        """Whether losses are clipped and not weighed, and no subclass says otherwise what they are."""
        kind = type(self)
        is_own = kind._losses is LossMCXENT._losses  # noqa: SLF001 - of a class that may be a subclass
        is_own = is_own and kind.compute_score_array is OfOutput.compute_score_array
        return is_own and self.weights is None and self.softmax_clip_eps > 0.0

    def _gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        if not isinstance(activation, ActivationSoftmax):
            return super()._gradient(labels, pre_output, activation, mask, output)
        wanted = labels if self.weights is None else self._weigh(labels.astype(pre_output.dtype))
        gradient = _cross_entropy_back(wanted, output, None)
        if gradient is None:
            gradient = output * wanted.sum(axis=1, keepdims=True)
            gradient -= wanted
        if mask is not None:
            refuse_elements(self, mask, "softmax joins the columns")
            gradient *= mask
        return gradient


@dataclass(frozen=True)
class LossNegativeLogLikelihood(LossMCXENT):
    """The cross-entropy under its other name (DL4J: ``LossNegativeLogLikelihood``)."""


@dataclass(frozen=True)
class LossSparseMCXENT(LossMCXENT):
    """The cross-entropy of labels ``[N, 1]`` that are indices of classes (DL4J: ``LossSparseMCXENT``).

    An index that is none is a `ValueError`, unless its row is masked.
    """

    def label_columns(self, n: int) -> int:
        """Return 1."""
        return 1

    def _losses(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        rows = self._one_hot(labels, pre_output, mask)
        return super()._losses(rows, pre_output, activation, mask, output)

    def _gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        rows = self._one_hot(labels, pre_output, mask)
        return super()._gradient(rows, pre_output, activation, mask, output)

    @staticmethod
    def _one_hot(labels: Array, pre_output: Array, mask: Array) -> Array:
        if labels.ndim != 2 or labels.shape[1] != 1:
            raise ValueError(f"LossSparseMCXENT: labels must be {(len(pre_output), 1)}, not {labels.shape}")
        classes = pre_output.shape[1]
        rows = labels == np.arange(classes, dtype=labels.dtype)
        known = rows.any(axis=1, keepdims=True)
        if not (known if mask is None else known | (mask == 0.0)).all():
            raise ValueError(f"LossSparseMCXENT: labels must be whole numbers from 0 to {classes - 1}")
        return rows.astype(pre_output.dtype)


@dataclass(frozen=True)
class LossBinaryXENT(WeightedLoss):
    """The cross-entropy of columns that are true or false each by itself (DL4J: ``LossBinaryXENT``).

    With softmax the score is ``-sum(labels * log(output))``; the gradient is that of the two terms, and what
    is weighed is the gradient itself, as in DL4J, so it is not the derivative of the score.

    Parameters
    ----------
    weights : sequence of float, optional
        A factor per column.
    clip_eps : float
        Score and gradient take outputs from this value to 1 minus it.
    """

    clip_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        limit = number(self.clip_eps, "LossBinaryXENT", "clip_eps", least=0.0, below=0.5)
        object.__setattr__(self, "clip_eps", limit)

    def _element(self, labels: Array, output: Array) -> Array:
        output = self._clipped(output)
        value = functions.log(output)
        value *= labels
        rest = functions.log(1.0 - output)
        rest *= 1.0 - labels
        value += rest
        return functions.negative(value, out=value)

    def _slope(self, labels: Array, output: Array) -> Array:
        output = self._clipped(output)
        slope = output - labels
        slope /= output * (1.0 - output)
        return slope

    def _clipped(self, output: Array) -> Array:
        return functions.clip(output, self.clip_eps, 1.0 - self.clip_eps) if self.clip_eps > 0.0 else output

    def _losses(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        if not isinstance(activation, ActivationSoftmax):
            return super()._losses(labels, pre_output, activation, mask, output)
        value = pre_output - pre_output.max(axis=1, keepdims=True)
        value -= functions.log(functions.exp(value).sum(axis=1, keepdims=True))
        value *= labels
        functions.negative(value, out=value)
        return apply_mask(mask, self._weigh(value))

    def _gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        if self.weights is None or not isinstance(activation, ActivationSoftmax):
            return super()._gradient(labels, pre_output, activation, mask, output)
        slope = apply_mask(mask, self._slope(labels, output))
        return self._weigh(activation.backprop(pre_output, slope, out=slope))
