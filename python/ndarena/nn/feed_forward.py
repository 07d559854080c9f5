"""Fully connected layers (DL4J: ``DenseLayer`` and its bases)."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, cast

import numpy as np

from ndarena._core import ArrayType, LayerWorkspaceMgr, functions
from ndarena.nn import updaters
from ndarena.nn.activations import Activation, IActivation, activation_of
from ndarena.nn.choices import GradientNormalization
from ndarena.nn.declared import keep
from ndarena.nn.input_type import InputType, InputTypeFeedForward
from ndarena.nn.layer import Layer
from ndarena.nn.products import multiply, multiply_back, multiply_gradient
from ndarena.nn.rectifiers import add_bias, is_rectifier
from ndarena.nn.schedules import ISchedule, number_or_schedule
from ndarena.nn.standardizing import Standardized, standardize
from ndarena.nn.sums import add_up_rows
from ndarena.nn.updaters import IUpdater
from ndarena.nn.weight_noise import IWeightNoise
from ndarena.nn.weights import IWeightInit, WeightInit, scheme_of, weight_init_of
from ndarena.nn.words import Array, at_least_one, member, nearest, number, refuse, size_or_none

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.nn.distributions import Distribution
    from ndarena.nn.layer import Flat

__all__ = ["BaseLayer", "DenseLayer", "FeedForwardLayer", "FullyConnected", "settle_common"]

ACTIVATIONS = ArrayType.ACTIVATIONS
ACTIVATION_GRAD = ArrayType.ACTIVATION_GRAD


class BaseLayer(Layer):
    """A layer with weights (DL4J: ``BaseLayer``); what is ``None`` here is the network's.

    Parameters
    ----------
    activation : str, Activation or IActivation, optional
        The network's default is sigmoid.
    weight_init : str, WeightInit, IWeightInit or Distribution, optional
        The network's default is Xavier.
    bias_init : float, optional
        The network's default is 0.
    gain_init : float
        Where the gain of a layer norm begins.
    updater, bias_updater : IUpdater, optional
        Biases follow ``updater`` if there is no ``bias_updater``.
    l1, l2, l1_bias, l2_bias : float or ISchedule, optional
        Penalties on weights and biases; the network's default is 0.
    weight_decay, weight_decay_bias : float or ISchedule, optional
        The part of weights and biases that every step takes away; the network's default is 0. It excludes
        L2 in the same place, and replaces that of the network, and the other way round.
    weight_decay_apply_lr : bool, optional
        Whether the decay is multiplied by the learning rate; the network's default is True.
    gradient_normalization : str or GradientNormalization, optional
        What is done to the layer's gradient before the updater sees it; the network's default is nothing.
    gradient_normalization_threshold : float, optional
        For the kinds that clip; the network's default is 1.
    weight_noise : IWeightNoise, optional
        What happens to the weights in training; the network's default is nothing.
    """

    activation: str | Activation | IActivation | None = None
    weight_init: str | WeightInit | IWeightInit | Distribution | None = None
    bias_init: float | None = None
    gain_init: float = 1.0
    updater: IUpdater | None = None
    bias_updater: IUpdater | None = None
    l1: float | ISchedule | None = None
    l2: float | ISchedule | None = None
    l1_bias: float | ISchedule | None = None
    l2_bias: float | ISchedule | None = None
    weight_decay: float | ISchedule | None = None
    weight_decay_bias: float | ISchedule | None = None
    weight_decay_apply_lr: bool | None = None
    gradient_normalization: str | GradientNormalization | None = None
    gradient_normalization_threshold: float | None = None
    weight_noise: IWeightNoise | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        settle_common(self, self._owner())
        self._set("gain_init", number(self.gain_init, self._owner(), "gain_init"))

    @cached_property
    def _function(self) -> IActivation:
        function = self.activation
        return function if isinstance(function, IActivation) else Activation.SIGMOID.get_activation_function()


def settle_common(thing: Any, owner: str) -> None:
    """Check the fields that layers and networks share, and store them in the form in which they are used."""
    for field, settled in _SETTLED.items():
        value = getattr(thing, field)
        if value is not None:
            object.__setattr__(thing, field, settled(value, owner, field))
    for suffix in ("", "_bias"):
        decay = getattr(thing, f"weight_decay{suffix}")
        if decay and getattr(thing, f"l2{suffix}"):
            reason = f"there is l2{suffix}={getattr(thing, f'l2{suffix}')!r} already; one of them must be 0"
            refuse(owner, f"weight_decay{suffix}", decay, reason)


def _coefficient(value: object, owner: str, field: str) -> Any:
    return number_or_schedule(value, owner, field, least=0.0)


def _updater(value: object, owner: str, field: str) -> IUpdater:
    if not isinstance(value, IUpdater):
        hint = nearest(value, updaters.__all__) if isinstance(value, str) else ""
        refuse(owner, field, value, f"must be an IUpdater, such as Sgd() or Adam(){hint}")
    return value


def _weight_noise(value: object, owner: str, field: str) -> IWeightNoise:
    if not isinstance(value, IWeightNoise):
        refuse(owner, field, value, "must be an IWeightNoise, such as DropConnect(0.5)")
    return value


def _flag(value: object, owner: str, field: str) -> bool:
    if not isinstance(value, bool):
        refuse(owner, field, value, "must be True or False")
    return value


_SETTLED: dict[str, Callable[[Any, str, str], object]] = {
    "activation": activation_of,
    "weight_init": weight_init_of,
    "bias_init": number,
    "updater": _updater,
    "bias_updater": _updater,
    "l1": _coefficient,
    "l2": _coefficient,
    "l1_bias": _coefficient,
    "l2_bias": _coefficient,
    "weight_decay": _coefficient,
    "weight_decay_bias": _coefficient,
    "weight_decay_apply_lr": _flag,
    "gradient_normalization": lambda value, owner, field: member(GradientNormalization, value, owner, field),
    "gradient_normalization_threshold": lambda value, owner, field: number(value, owner, field, least=0.0),
    "weight_noise": _weight_noise,
}


class FeedForwardLayer(BaseLayer):
    """A layer of ``n_out`` units that are given ``n_in`` features (DL4J: ``FeedForwardLayer``).

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of units.
    """

    n_in: int | None = None
    n_out: int

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        self._set("n_in", size_or_none(self.n_in, owner, "n_in"))
        self._set("n_out", at_least_one(self.n_out, owner, "n_out"))

    def with_input_type(self, input_type: InputType) -> Self:
        """Take ``n_in`` from the input unless it is given."""
        kind = self.input_kind
        if self.n_in is not None or kind is None or not input_type.fits(kind):
            return self
        return dataclasses.replace(self, n_in=input_type.shape[0])

    def _inputs(self) -> int:
        if self.n_in is None:
            refuse(self._owner(), "n_in", None, "must be given where no input type tells it")
        return self.n_in

    def _settle_flag(self, field: str) -> None:
        if not isinstance(getattr(self, field), bool):
            refuse(self._owner(), field, getattr(self, field), "must be True or False")


class FullyConnected(FeedForwardLayer):
    """``activation(x @ W + b)`` of rows: what dense and output layers share.

    Parameters
    ----------
    has_bias : bool
        Whether ``b`` is added.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeFeedForward

    has_bias: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._settle_flag("has_bias")

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``W [n_in, n_out]`` and ``b [n_out]``."""
        shapes: dict[str, tuple[int, ...]] = {"W": (self._inputs(), self.n_out)}
        if self.has_bias:
            shapes["b"] = (self.n_out,)
        return shapes

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set the bias."""
        scheme = scheme_of(self.weight_init)
        weights = table["W"]
        scheme.fill(weights, rng, fan_in=weights.shape[0], fan_out=weights.shape[1])
        if self.has_bias:
            table["b"][...] = 0.0 if self.bias_init is None else self.bias_init

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return ``n_out`` features."""
        return InputType.feed_forward(self.n_out)

    _kept = cast("tuple[Array, Array, Array, Any] | None", None)
    """Of a twin in training: input, sums, mask, and what else a subclass needs to go backward."""

    def clear(self) -> None:
        """Forget what was kept."""
        super().clear()
        if self._kept is not None:
            keep(self, "_kept", None)

    def _sums_of(self, rows: Array, mgr: LayerWorkspaceMgr, *, rectifies: bool = False) -> Array:
        """Return ``rows @ W`` where activations lie, plus the bias if there is one; or its positive part."""
        table = self.param_table
        weights = table["W"]
        sums = mgr.create_uninitialized(ACTIVATIONS, (len(rows), self.n_out), weights.dtype)
        multiply(rows, weights, sums)
        add_bias(sums, table["b"] if self.has_bias else None, rectifies=rectifies)
        return sums

    def _gradient_from(self, rows: Array, delta: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Set the gradients and return the epsilon for below; ``delta`` is the derivative to the sums."""
        gradient, weights = self.gradient_table, self.param_table["W"]
        if self.has_bias:
            add_up_rows(delta, gradient["b"])
        multiply_gradient(delta, rows, gradient["W"].T)  # the transposed view lies in C order
        if not self.epsilon_is_read:
            return None
        below: Array = mgr.create_uninitialized(ACTIVATION_GRAD, (len(delta), len(weights)), weights.dtype)
        multiply_back(delta, weights, below)
        return below

    def _refuse_backward(self) -> NoReturn:
        """Raise the `RuntimeError` about a backward pass without a forward pass."""
        raise RuntimeError(f"{self.name}: activate() in training, or with labels, must come first")


class DenseLayer(FullyConnected):
    """A fully connected layer, ``activation(x @ W + b)`` (DL4J: ``DenseLayer``).

    With layer norm it is ``activation(g * standardized(x @ W) + b)``: every row of the product has mean 0 and
    standard deviation 1 before the gain ``g [n_out]``. Where a mask is 0 the activation is 0, and no gradient
    passes.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of units.
    has_bias : bool
        Whether ``b`` is added.
    has_layer_norm : bool
        Whether the product is standardized.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    has_layer_norm: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._settle_flag("has_layer_norm")

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``W [n_in, n_out]``, ``b [n_out]``, and with layer norm ``g [n_out]``."""
        gain = {"g": (self.n_out,)} if self.has_layer_norm else {}
        return super().param_shapes() | gain

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set bias and gain."""
        super().init_params(table, rng)
        if self.has_layer_norm:
            table["g"][...] = self.gain_init

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out]`` for ``[batch, n_in]``; another shape is a `ValueError`."""
        if x.ndim != 2 or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}]", x)
        if mask is not None:
            self._check_mask(mask, (len(x), 1))
        function, standardized = self._function, None
        if self.has_layer_norm:
            sums, standardized = self._standardized_sums(x, workspace_mgr, training=training)
        else:
            sums = self._sums_of(x, workspace_mgr, rectifies=self._rectifies)
        out = sums
        if training:
            keep(self, "_kept", (x, sums, mask, standardized))
            if not function.keeps_slope:
                out = workspace_mgr.create_uninitialized(ACTIVATIONS, sums.shape, sums.dtype)
        if not self._rectifies:
            out = function.forward(sums, training=training, out=out)
        if mask is not None:
            out *= mask
        return out

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``[batch, n_in]`` for ``[batch, n_out]``; without a forward pass before: `RuntimeError`."""
        x, sums, mask, standardized = self._kept or self._refuse_backward()
        delta = self._function.backprop(sums, epsilon if mask is None else epsilon * mask)
        keep(self, "_kept", None)
        if standardized is None:
            return self._gradient_from(x, delta, workspace_mgr)
        return self._gradient_through(standardized, x, delta, workspace_mgr)

    @cached_property
    def _rectifies(self) -> bool:
        """Whether the activation function is done with where the bias is added."""
        return is_rectifier(self._function)

    def _standardized_sums(
        self, rows: Array, mgr: LayerWorkspaceMgr, *, training: bool
    ) -> tuple[Array, Standardized]:
        """Return what the activation function is given, and what a backward pass needs if it may come."""
        weights = self.param_table["W"]
        values: Array = mgr.create_uninitialized(ACTIVATIONS, (len(rows), self.n_out), weights.dtype)
        multiply(rows, weights, values)
        scale = mgr.create_uninitialized(ACTIVATIONS, (len(rows), 1), values.dtype)
        standardized = standardize(values, scale)
        sums = mgr.create_uninitialized(ACTIVATIONS, values.shape, values.dtype) if training else values
        functions.multiply(values, self.param_table["g"], out=sums)
        bias = self.param_table["b"] if self.has_bias else None
        add_bias(sums, bias, rectifies=self._rectifies)
        return sums, standardized

    def _gradient_through(
        self, standardized: Standardized, x: Array, delta: Array, mgr: LayerWorkspaceMgr
    ) -> Array:
        """Set the gradients behind and before the standardization, and return the epsilon for below."""
        gradient = self.gradient_table
        np.add.reduce(delta * standardized.values, axis=0, out=gradient["g"])
        before = standardized.backprop(delta * self.param_table["g"])
        below = self._gradient_from(x, before, mgr)
        if self.has_bias:  # it is added behind the standardization
            add_up_rows(delta, gradient["b"])
        return below
