"""Loss functions: how far an output is from its labels (DL4J: ``org.nd4j.linalg.lossfunctions``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import functions
from ndarena.nn.cross_entropies import LossBinaryXENT, LossMCXENT, LossNegativeLogLikelihood, LossSparseMCXENT
from ndarena.nn.loss_base import (
    CLIP,
    Elementwise,
    ILossFunction,
    OfOutput,
    WeightedLoss,
    apply_mask,
    mean,
    refuse_elements,
    where_wanted,
)
from ndarena.nn.words import Array, Choice, member, refuse

if TYPE_CHECKING:
    from ndarena.nn.activations import IActivation

__all__ = [
    "ILossFunction",
    "LossBinaryXENT",
    "LossCosineProximity",
    "LossFunction",
    "LossHinge",
    "LossKLD",
    "LossL1",
    "LossL2",
    "LossMAE",
    "LossMAPE",
    "LossMCXENT",
    "LossMSE",
    "LossMSLE",
    "LossNegativeLogLikelihood",
    "LossPoisson",
    "LossSparseMCXENT",
    "LossSquaredHinge",
    "LossWasserstein",
    "loss_of",
]


@dataclass(frozen=True)
class LossL2(WeightedLoss):
    """The squared error, ``sum((output - labels) ** 2)`` (DL4J: ``LossL2``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        error = output - labels
        error *= error
        return error

    def _slope(self, labels: Array, output: Array) -> Array:
        error = output - labels
        error *= 2.0
        return error


@dataclass(frozen=True)
class LossMSE(LossL2):
    """The squared error over the number of columns (DL4J: ``LossMSE``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        return mean(super()._element(labels, output))

    def _slope(self, labels: Array, output: Array) -> Array:
        return mean(super()._slope(labels, output))


@dataclass(frozen=True)
class LossL1(WeightedLoss):
    """The absolute error, ``sum(abs(output - labels))`` (DL4J: ``LossL1``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        error = output - labels
        return np.abs(error, out=error)

    def _slope(self, labels: Array, output: Array) -> Array:
        error = output - labels
        return functions.sign(error, out=error)


@dataclass(frozen=True)
class LossMAE(LossL1):
    """The absolute error over the number of columns (DL4J: ``LossMAE``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        return mean(super()._element(labels, output))

    def _slope(self, labels: Array, output: Array) -> Array:
        return mean(super()._slope(labels, output))


@dataclass(frozen=True)
class LossMAPE(WeightedLoss):
    """The mean absolute error in per cent of the labels (DL4J: ``LossMAPE``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        part = output - labels
        part /= labels
        part *= 100.0
        return mean(np.abs(part, out=part))

    def _slope(self, labels: Array, output: Array) -> Array:
        sign = output - labels
        functions.sign(sign, out=sign)
        sign /= np.abs(labels)
        sign *= 100.0
        return mean(sign)


@dataclass(frozen=True)
class LossMSLE(WeightedLoss):
    """The mean squared error of logarithms, ``log((output + 1) / (labels + 1))`` (DL4J: ``LossMSLE``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        error = self._error(labels, output)
        error *= error
        return mean(error)

    def _slope(self, labels: Array, output: Array) -> Array:
        error = self._error(labels, output)
        error *= 2.0
        error /= output + 1.0
        return mean(error)

    @staticmethod
    def _error(labels: Array, output: Array) -> Array:
        error = functions.log1p(output)
        error -= functions.log1p(labels)
        return error


@dataclass(frozen=True)
class LossHinge(Elementwise):
    """``sum(max(0, 1 - labels * output))`` for labels -1 and 1 (DL4J: ``LossHinge``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        return _missing(labels, output)

    def _slope(self, labels: Array, output: Array) -> Array:
        slope = (_missing(labels, output) > 0.0) * labels
        return functions.negative(slope, out=slope)


def _missing(labels: Array, output: Array) -> Array:
    """Return ``max(0, 1 - labels * output)``."""
    value = labels * output
    functions.subtract(1.0, value, out=value)
    return functions.maximum(value, 0.0, out=value)


@dataclass(frozen=True)
class LossSquaredHinge(Elementwise):
    """``sum(max(0, 1 - labels * output) ** 2)`` for labels -1 and 1 (DL4J: ``LossSquaredHinge``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        value = _missing(labels, output)
        value *= value
        return value

    def _slope(self, labels: Array, output: Array) -> Array:
        slope = _missing(labels, output)
        slope *= labels
        slope *= -2.0
        return slope


@dataclass(frozen=True)
class LossKLD(Elementwise):
    """``sum(labels * log(labels / output))``, both kept between 1e-10 and 1 (DL4J: ``LossKLD``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        labels, output = functions.clip(labels, CLIP, 1.0), functions.clip(output, CLIP, 1.0)
        value = labels / output
        functions.log(value, out=value)
        value *= labels
        return value

    def _slope(self, labels: Array, output: Array) -> Array:
        slope = labels / functions.maximum(output, CLIP)
        return functions.negative(slope, out=slope)


@dataclass(frozen=True)
class LossPoisson(Elementwise):
    """``sum(output - labels * log(output))`` (DL4J: ``LossPoisson``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        value = where_wanted(labels, output)
        functions.log(value, out=value)
        value *= labels
        return functions.subtract(output, value, out=value)

    def _slope(self, labels: Array, output: Array) -> Array:
        slope = labels / where_wanted(labels, output)
        return functions.subtract(1.0, slope, out=slope)


@dataclass(frozen=True)
class LossWasserstein(Elementwise):
    """``mean(labels * output)`` over the columns (DL4J: ``LossWasserstein``)."""

    def _element(self, labels: Array, output: Array) -> Array:
        return mean(labels * output)

    def _slope(self, labels: Array, output: Array) -> Array:
        return labels / labels.shape[1]


@dataclass(frozen=True)
class LossCosineProximity(OfOutput):
    """Minus the cosine between labels and output (DL4J: ``LossCosineProximity``).

    Norms below 1e-5 count as 1e-5. A mask is ``[N, 1]``.
    """

    def _losses(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        refuse_elements(self, mask, "all columns make one angle")
        cosine = (output * labels).sum(axis=1, keepdims=True)
        cosine /= self._norm(labels) * self._norm(output)
        functions.negative(cosine, out=cosine)
        return apply_mask(mask, cosine)

    def _gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array, output: Array
    ) -> Array:
        refuse_elements(self, mask, "all columns make one angle")
        norm = self._norm(output)
        slope = output * ((output * labels).sum(axis=1, keepdims=True) / (norm * norm))
        slope -= labels
        slope /= self._norm(labels) * norm
        apply_mask(mask, slope)
        return activation.backprop(pre_output, slope, out=slope)

    @staticmethod
    def _norm(rows: Array) -> Array:
        norm = functions.sqrt((rows * rows).sum(axis=1, keepdims=True))
        return functions.maximum(norm, 1e-5, out=norm)


class LossFunction(Choice):
    """Names of loss functions (DL4J: ``LossFunctions.LossFunction``)."""

    COSINE_PROXIMITY = "COSINE_PROXIMITY"
    HINGE = "HINGE"
    KL_DIVERGENCE = "KL_DIVERGENCE"
    L1 = "L1"
    L2 = "L2"
    MAE = "MAE"
    MCXENT = "MCXENT"
    MEAN_ABSOLUTE_ERROR = MAE
    MEAN_ABSOLUTE_PERCENTAGE_ERROR = "MEAN_ABSOLUTE_PERCENTAGE_ERROR"
    MEAN_SQUARED_LOGARITHMIC_ERROR = "MEAN_SQUARED_LOGARITHMIC_ERROR"
    MSE = "MSE"
    NEGATIVELOGLIKELIHOOD = "NEGATIVELOGLIKELIHOOD"
    POISSON = "POISSON"
    SPARSE_MCXENT = "SPARSE_MCXENT"
    SQUARED_HINGE = "SQUARED_HINGE"
    SQUARED_LOSS = L2
    WASSERSTEIN = "WASSERSTEIN"
    XENT = "XENT"

    @classmethod
    def elsewhere(cls) -> dict[str, str]:
        """Return what members are called in other libraries."""
        return {
            "binary_crossentropy": "XENT",
            "categorical_crossentropy": "MCXENT",
            "cross_entropy": "MCXENT",
            "mean_squared_error": "MSE",
            "sparse_categorical_crossentropy": "SPARSE_MCXENT",
        }

    def get_loss_function(self) -> ILossFunction:
        """Return the function of that name with its default settings."""
        return _FUNCTIONS[self]


_FUNCTIONS: dict[LossFunction, ILossFunction] = {
    LossFunction.COSINE_PROXIMITY: LossCosineProximity(),
    LossFunction.HINGE: LossHinge(),
    LossFunction.KL_DIVERGENCE: LossKLD(),
    LossFunction.L1: LossL1(),
    LossFunction.L2: LossL2(),
    LossFunction.MAE: LossMAE(),
    LossFunction.MCXENT: LossMCXENT(),
    LossFunction.MEAN_ABSOLUTE_PERCENTAGE_ERROR: LossMAPE(),
    LossFunction.MEAN_SQUARED_LOGARITHMIC_ERROR: LossMSLE(),
    LossFunction.MSE: LossMSE(),
    LossFunction.NEGATIVELOGLIKELIHOOD: LossNegativeLogLikelihood(),
    LossFunction.POISSON: LossPoisson(),
    LossFunction.SPARSE_MCXENT: LossSparseMCXENT(),
    LossFunction.SQUARED_HINGE: LossSquaredHinge(),
    LossFunction.WASSERSTEIN: LossWasserstein(),
    LossFunction.XENT: LossBinaryXENT(),
}


def loss_of(value: object, owner: str, field: str = "loss") -> ILossFunction:
    """Return the function that a name, a member or an object stands for; anything else is refused."""
    if isinstance(value, ILossFunction):
        return value
    if not isinstance(value, str | LossFunction):
        refuse(owner, field, value, "must be a name, a LossFunction or an ILossFunction")
    return member(LossFunction, value, owner, field).get_loss_function()
