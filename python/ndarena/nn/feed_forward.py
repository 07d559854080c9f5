"""Fully connected layers (DL4J: ``DenseLayer``, ``OutputLayer`` and their bases)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ndarena._core import ArrayType, LayerWorkspaceMgr
from ndarena.nn.activations import Activation, IActivation, activation_of
from ndarena.nn.input_type import InputType, InputTypeFeedForward
from ndarena.nn.layer import Layer
from ndarena.nn.losses import ILossFunction, LossFunction, loss_of
from ndarena.nn.updaters import IUpdater
from ndarena.nn.weights import WeightInit
from ndarena.nn.words import Array, at_least_one, member, number, refuse, size_or_none

if TYPE_CHECKING:
    from ndarena.nn.layer import Flat

__all__ = ["BaseLayer", "DenseLayer", "OutputLayer"]

ACTIVATIONS = ArrayType.ACTIVATIONS
ACTIVATION_GRAD = ArrayType.ACTIVATION_GRAD


class BaseLayer(Layer):
    """A layer with weights (DL4J: ``BaseLayer``); what is ``None`` here is the network's.

    Parameters
    ----------
    activation : str, Activation or IActivation, optional
        The network's default is sigmoid.
    weight_init : str or WeightInit, optional
        The network's default is Xavier.
    bias_init : float, optional
        The network's default is 0.
    updater, bias_updater : IUpdater, optional
        Biases follow ``updater`` if there is no ``bias_updater``.
    l1, l2, l1_bias, l2_bias : float, optional
        Penalties on weights and biases; the network's default is 0.
    """

    activation: str | Activation | IActivation | None = None
    weight_init: str | WeightInit | None = None
    bias_init: float | None = None
    updater: IUpdater | None = None
    bias_updater: IUpdater | None = None
    l1: float | None = None
    l2: float | None = None
    l1_bias: float | None = None
    l2_bias: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        settle_common(self, self._owner())

    def _function(self) -> IActivation:
        function = self.activation
        return function if isinstance(function, IActivation) else Activation.SIGMOID.get_activation_function()


def settle_common(thing: Any, owner: str) -> None:
    """Check the fields that layers and networks share, and store them in the form in which they are used."""

    def settle(field: str, value: object) -> None:
        object.__setattr__(thing, field, value)

    if thing.activation is not None:
        settle("activation", activation_of(thing.activation, owner))
    if thing.weight_init is not None:
        settle("weight_init", member(WeightInit, thing.weight_init, owner, "weight_init"))
    if thing.bias_init is not None:
        settle("bias_init", number(thing.bias_init, owner, "bias_init"))
    for field in ("l1", "l2", "l1_bias", "l2_bias"):
        if getattr(thing, field) is not None:
            settle(field, number(getattr(thing, field), owner, field, least=0.0))
    for field in ("updater", "bias_updater"):
        value = getattr(thing, field)
        if value is not None and not isinstance(value, IUpdater):
            refuse(owner, field, value, "must be an IUpdater, such as Sgd() or Adam()")


class _FullyConnected(BaseLayer):
    """``activation(x @ W + b)``: what dense and output layers share."""

    input_kind = InputTypeFeedForward

    n_in: int | None = None
    n_out: int
    has_bias: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        self._set("n_in", size_or_none(self.n_in, owner, "n_in"))
        self._set("n_out", at_least_one(self.n_out, owner, "n_out"))
        if not isinstance(self.has_bias, bool):
            refuse(owner, "has_bias", self.has_bias, "must be True or False")

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``W [n_in, n_out]`` and ``b [n_out]``."""
        if self.n_in is None:
            refuse(self._owner(), "n_in", None, "must be given where no input type tells it")
        shapes: dict[str, tuple[int, ...]] = {"W": (self.n_in, self.n_out)}
        if self.has_bias:
            shapes["b"] = (self.n_out,)
        return shapes

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set the bias."""
        scheme = WeightInit.XAVIER if self.weight_init is None else WeightInit(self.weight_init)
        weights = table["W"]
        scheme.fill(weights, rng, fan_in=weights.shape[0], fan_out=weights.shape[1])
        if self.has_bias:
            table["b"][...] = 0.0 if self.bias_init is None else self.bias_init

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return ``n_out`` features."""
        return InputType.feed_forward(self.n_out)

    def with_input_type(self, input_type: InputType) -> Self:
        """Take ``n_in`` from the input unless it is given."""
        if self.n_in is not None or len(input_type.shape) != 1:
            return self
        return dataclasses.replace(self, n_in=input_type.shape[0])

    def clear(self) -> None:
        """Forget input, sums and mask."""
        self._kept: tuple[Array, Array, Array] | None = None

    def _sums_of(self, x: Array, mgr: LayerWorkspaceMgr) -> Array:
        table = self.param_table
        weights = table["W"]
        if x.ndim != 2 or x.shape[1] != len(weights):
            self._refuse_input(f"[batch, {len(weights)}]", x)
        sums: Array = mgr.create_uninitialized(ACTIVATIONS, (len(x), self.n_out), weights.dtype)
        np.matmul(x, weights, out=sums)
        if self.has_bias:
            sums += table["b"]
        return sums

    def _activated(
        self, x: Array, mgr: LayerWorkspaceMgr, mask: Array, *, training: bool, keep: bool
    ) -> Array:
        """Return the activation; the sums are kept beside it if a backward pass or a score is to come."""
        sums = self._sums_of(x, mgr)
        if not keep:
            return self._function().forward(sums, out=sums)
        self._kept = x, sums, mask
        out = mgr.create_uninitialized(ACTIVATIONS, sums.shape, sums.dtype)
        return self._function().forward(sums, training=training, out=out)

    def _gradient_from(self, x: Array, delta: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Set the gradients and return the epsilon for below; ``delta`` is the derivative to the sums."""
        gradient, weights = self.gradient_table, self.param_table["W"]
        np.matmul(delta.T, x, out=gradient["W"].T)  # the transposed view lies in C order
        if self.has_bias:
            np.add.reduce(delta, axis=0, out=gradient["b"])
        below: Array = mgr.create_uninitialized(ACTIVATION_GRAD, (len(delta), len(weights)), weights.dtype)
        np.matmul(delta, weights.T, out=below)
        return below

    def _from_forward(self) -> tuple[Array, Array, Array]:
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training, or with labels, must come first")
        return self._kept


class DenseLayer(_FullyConnected):
    """A fully connected layer, ``activation(x @ W + b)`` (DL4J: ``DenseLayer``).

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of units.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out]`` for ``[batch, n_in]``; another shape is a `ValueError`."""
        return self._activated(x, workspace_mgr, mask, training=training, keep=training)

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[batch, n_in]`` for ``[batch, n_out]``; without a forward pass before: `RuntimeError`."""
        x, sums, _ = self._from_forward()
        delta = self._function().backprop(sums, epsilon)
        self.clear()
        return self._gradient_from(x, delta, workspace_mgr)


class OutputLayer(_FullyConnected):
    """A fully connected layer with a loss (DL4J: ``OutputLayer``); its ``labels`` are ``[batch, n_out]``.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of outputs.
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy.
    activation : str, Activation or IActivation
        Default: softmax.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    activation: str | Activation | IActivation | None = "softmax"
    loss: str | LossFunction | ILossFunction = "mcxent"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("loss", loss_of(self.loss, self._owner()))

    def clear(self) -> None:
        """Forget input, sums, mask and labels."""
        super().clear()
        self.labels: Array = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out]`` for ``[batch, n_in]``, 0 where ``mask`` is; else `ValueError`."""
        keep = training or self.labels is not None
        out = self._activated(x, workspace_mgr, mask, training=training, keep=keep)
        if mask is not None:
            out *= mask
        return out

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative of the summed loss with respect to the input, ``[batch, n_in]``.

        ``epsilon`` is ``None``: the loss takes its place. Without a forward pass in training: `RuntimeError`.
        """
        x, _, _ = self._from_forward()
        return self._gradient_from(x, self._loss_of("compute_gradient"), workspace_mgr)

    def compute_score(
        self,
        regularization: float = 0.0,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
    ) -> float:
        """Return the loss per example plus ``regularization``; without a forward pass: `RuntimeError`."""
        score: float = self._loss_of("compute_score")
        return score + regularization

    def compute_score_for_examples(
        self,
        regularization: float = 0.0,
        *,
        workspace_mgr: LayerWorkspaceMgr,
    ) -> Array:
        """Return the loss of every example plus ``regularization``, ``[batch]``."""
        return self._loss_of("compute_score_array") + regularization

    def _loss_of(self, method: str) -> Any:
        _, sums, mask = self._from_forward()
        if self.labels is None:
            raise RuntimeError(f"{self.name}: it has no labels")
        if self.labels.shape != sums.shape:
            raise ValueError(
                f"layer {self.index} ({self.name}, {type(self).__name__}): expected labels of shape "
                f"{list(sums.shape)}, not {list(self.labels.shape)}"
            )
        return getattr(self.loss, method)(self.labels, sums, self._function(), mask)
