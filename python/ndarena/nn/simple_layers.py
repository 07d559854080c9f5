"""Layers without parameters or shapes of their own (DL4J: ``ActivationLayer``, ``DropoutLayer``)."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from ndarena._core import ArrayType
from ndarena.nn.activations import Activation, IActivation, activation_of
from ndarena.nn.layer import Layer
from ndarena.nn.placement import like

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.dropout import IDropout
    from ndarena.nn.words import Array

__all__ = ["ActivationLayer", "DropoutLayer"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD


class ActivationLayer(Layer):
    """An activation function of what comes in, whatever its shape (DL4J: ``ActivationLayer``).

    Parameters
    ----------
    activation : str, Activation or IActivation
        The function; softmax goes along axis 1.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False

    activation: str | Activation | IActivation = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("activation", activation_of(self.activation, self._owner()))

    def clear(self) -> None:
        """Forget the input."""
        super().clear()
        self._x: Array = None

    @cached_property
    def _function(self) -> IActivation:
        return activation_of(self.activation, self._owner())

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the function of ``x``, in its shape."""
        if training:
            self._x = x
        out = like(workspace_mgr, ACTIVATIONS, x)
        return self._function.forward(x, training=training, out=out)

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``epsilon`` times the derivative; without a forward pass in training: `RuntimeError`."""
        x, self._x = self._x, None
        if x is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        return self._function.backprop(x, epsilon, out=like(workspace_mgr, ACTIVATION_GRAD, x))


class DropoutLayer(Layer):
    """A layer that is nothing but the dropout of its input (DL4J: ``DropoutLayer``).

    Parameters
    ----------
    dropout : float or IDropout
        What happens to the input in training; a number is the probability to keep a value.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    dropout: float | IDropout | None = field(kw_only=False)

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``x``, of which in training some is dropped already."""
        return x

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``epsilon``."""
        return epsilon
