"""Loss functions: how far an output is from its labels (DL4J: ``org.nd4j.linalg.lossfunctions``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndarena.nn.activations import ActivationSoftmax, IActivation
from ndarena.nn.words import Array, Choice, member, number, refuse

__all__ = ["ILossFunction", "LossFunction", "LossMCXENT", "LossMSE", "LossNegativeLogLikelihood", "loss_of"]


class ILossFunction:
    """Base of loss functions; a new one is a frozen dataclass with the two methods that raise here.

    ``labels`` and ``pre_output`` are ``[N, C]``, plain or in a workspace; ``mask`` is ``[N, 1]`` or ``[N,
    C]``,
    1 where an element counts.
    """

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
    ) -> float:
        """Return the sum of the losses, over the number of examples (masked ones too) if ``average``."""
        total = float(self.compute_score_array(labels, pre_output, activation, mask).sum())
        return total / len(labels) if average else total


@dataclass(frozen=True)
class _WeightedLoss(ILossFunction):
    """A loss that may weigh the columns."""

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
        """Multiply the columns of ``[N, C]`` by their weights, in place."""
        if self.weights is not None:
            if len(self.weights) != values.shape[1]:
                raise ValueError(
                    f"{type(self).__name__}: {len(self.weights)} weights for {values.shape[1]} columns"
                )
            values *= np.asarray(self.weights, values.dtype)
        return values


def _apply(mask: Array, values: Array) -> Array:
    """Multiply by a mask, in place."""
    if mask is not None:
        values *= mask
    return values


@dataclass(frozen=True)
class LossMSE(_WeightedLoss):
    """The mean squared error over the columns (DL4J: ``LossMSE``).

    Parameters
    ----------
    weights : sequence of float, optional
        A factor per column.
    """

    def compute_score_array(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array = None
    ) -> Array:
        """Return ``((output - labels) ** 2).mean(axis=1)``, ``[N]``."""
        error = activation.forward(pre_output) - labels
        error *= error
        return _apply(mask, self._weigh(error)).sum(axis=1) / labels.shape[1]

    def compute_gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array = None
    ) -> Array:
        """Return the derivative of the summed loss, ``[N, C]``."""
        error = activation.forward(pre_output) - labels
        error *= 2.0 / labels.shape[1]
        _apply(mask, self._weigh(error))
        return activation.backprop(pre_output, error, out=error)


@dataclass(frozen=True)
class LossMCXENT(_WeightedLoss):
    """The cross-entropy of classes (DL4J: ``LossMCXENT``); with softmax both derivatives are one.

    Parameters
    ----------
    weights : sequence of float, optional
        A factor per column.
    softmax_clip_eps : float
        With softmax the score takes outputs from this value to 1 minus it.
    """

    softmax_clip_eps: float = 1e-10

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        number(self.softmax_clip_eps, type(self).__name__, "softmax_clip_eps", least=0.0, below=0.5)

    def compute_score_array(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array = None
    ) -> Array:
        """Return ``-(labels * log(output)).sum(axis=1)``, ``[N]``."""
        self._check(mask, pre_output, activation)
        output = activation.forward(pre_output)
        softmax = isinstance(activation, ActivationSoftmax)
        if softmax and self.softmax_clip_eps > 0.0:
            np.maximum(output, self.softmax_clip_eps, out=output)
            np.minimum(output, 1.0 - self.softmax_clip_eps, out=output)
        surprise = np.log(output)
        surprise *= labels
        np.negative(surprise, out=surprise)
        return _apply(mask, self._weigh(surprise)).sum(axis=1)

    def compute_gradient(
        self, labels: Array, pre_output: Array, activation: IActivation, mask: Array = None
    ) -> Array:
        """Return the derivative of the summed loss, ``[N, C]``."""
        self._check(mask, pre_output, activation)
        output = activation.forward(pre_output)
        wanted = labels if self.weights is None else self._weigh(labels.astype(pre_output.dtype))
        if isinstance(activation, ActivationSoftmax):
            gradient = output * wanted.sum(axis=1, keepdims=True)
            gradient -= wanted
            return _apply(mask, gradient)
        gradient = wanted / output
        np.negative(gradient, out=gradient)
        return activation.backprop(pre_output, _apply(mask, gradient), out=gradient)

    def _check(self, mask: Array, pre_output: Array, activation: IActivation) -> None:
        if mask is not None and mask.shape[1] > 1 and isinstance(activation, ActivationSoftmax):
            raise ValueError(
                f"{type(self).__name__}: softmax joins the columns, so a mask is {(len(pre_output), 1)}, "
                f"not {tuple(mask.shape)}"
            )


@dataclass(frozen=True)
class LossNegativeLogLikelihood(LossMCXENT):
    """The cross-entropy under its other name (DL4J: ``LossNegativeLogLikelihood``)."""


class LossFunction(Choice):
    """Names of loss functions (DL4J: ``LossFunctions.LossFunction``)."""

    MCXENT = "MCXENT"
    MSE = "MSE"
    NEGATIVELOGLIKELIHOOD = "NEGATIVELOGLIKELIHOOD"

    def get_loss_function(self) -> ILossFunction:
        """Return the function of that name with its default settings."""
        return _FUNCTIONS[self]


_FUNCTIONS: dict[LossFunction, ILossFunction] = {
    LossFunction.MCXENT: LossMCXENT(),
    LossFunction.MSE: LossMSE(),
    LossFunction.NEGATIVELOGLIKELIHOOD: LossNegativeLogLikelihood(),
}


def loss_of(value: object, owner: str, field: str = "loss") -> ILossFunction:
    """Return the function that a name, a member or an object stands for; anything else is refused."""
    if isinstance(value, ILossFunction):
        return value
    if not isinstance(value, str | LossFunction):
        refuse(owner, field, value, "must be a name, a LossFunction or an ILossFunction")
    return member(LossFunction, value, owner, field).get_loss_function()
