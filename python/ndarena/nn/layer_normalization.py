"""Normalisation of every example by itself."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.feed_forward import BaseLayer
from ndarena.nn.layer import ParamKind
from ndarena.nn.standardizing import Standardized, standardize
from ndarena.nn.words import Array, number, refuse, size_or_none

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.input_type import InputType
    from ndarena.nn.layer import Flat

__all__ = ["LayerNormalization"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD


class LayerNormalization(BaseLayer):
    """Features of mean 0 and variance 1 in every example, times the gain plus the bias (not in DL4J).

    It takes ``[batch, n_in]``, ``[batch, n_in, time]`` or ``[batch, n_in, height, width]`` and gives the same
    shape. Every step and pixel is normalised by itself, over its features or channels. There is no
    activation function.

    Parameters
    ----------
    n_in : int, optional
        Number of features or channels; by default taken from the input type.
    eps : float
        Added to the variance.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False

    n_in: int | None = None
    eps: float = 1e-5

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        self._set("n_in", size_or_none(self.n_in, owner, "n_in"))
        self._set("eps", number(self.eps, owner, "eps", least=0.0))

    def with_input_type(self, input_type: InputType) -> Self:
        """Take ``n_in`` from the input unless it is given."""
        return self if self.n_in is not None else dataclasses.replace(self, n_in=input_type.shape[0])

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the gain ``g`` and the bias ``b``, both ``[n_in]``."""
        if self.n_in is None:
            refuse(self._owner(), "n_in", None, "must be given where no input type tells it")
        return {"g": (self.n_in,), "b": (self.n_in,)}

    def param_kind(self, name: str) -> ParamKind:
        """Return that ``g`` is a gain and ``b`` a bias."""
        return ParamKind.GAIN if name == "g" else super().param_kind(name)

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Set gain and bias."""
        table["g"][...] = self.gain_init
        table["b"][...] = 0.0 if self.bias_init is None else self.bias_init

    def clear(self) -> None:
        """Forget what was normalised."""
        self._standardized: Standardized | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the shape of ``x``; another rank or number of features is a `ValueError`."""
        if x.ndim not in {2, 3, 4} or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}], with time or with height and width", x)
        axes = _features_last(x.ndim)
        seen = x.transpose(axes.forth)
        values: Array = workspace_mgr.create_uninitialized(ACTIVATIONS, seen.shape, x.dtype)
        values[...] = seen
        scale = workspace_mgr.create_uninitialized(ACTIVATIONS, (*seen.shape[:-1], 1), x.dtype)
        standardized = standardize(values, scale, eps=self.eps)
        out: Array = values
        if training:
            self._standardized = standardized
            out = workspace_mgr.create_uninitialized(ACTIVATIONS, seen.shape, x.dtype)
        np.multiply(values, self.param_table["g"], out=out)
        out += self.param_table["b"]
        return out.transpose(axes.back)

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`."""
        if self._standardized is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        standardized = self._standardized
        self.clear()
        axes = _features_last(epsilon.ndim)
        given = epsilon.transpose(axes.forth)
        table = self.gradient_table
        rows = tuple(range(given.ndim - 1))
        below: Array = workspace_mgr.create_uninitialized(ACTIVATION_GRAD, given.shape, given.dtype)
        np.add.reduce(given, axis=rows, out=table["b"])
        np.multiply(given, standardized.values, out=below)
        np.add.reduce(below, axis=rows, out=table["g"])
        np.multiply(given, self.param_table["g"], out=below)
        return standardized.backprop(below).transpose(axes.back)


class _Axes(NamedTuple):
    """How to bring the features to the end, and back."""

    forth: tuple[int, ...]
    back: tuple[int, ...]


def _features_last(rank: int) -> _Axes:
    """Return the axes of steps, then examples, then features; of images the pixels stay in their order."""
    return {
        2: _Axes((0, 1), (0, 1)),
        3: _Axes((2, 0, 1), (1, 2, 0)),
        4: _Axes((2, 3, 0, 1), (2, 3, 0, 1)),
    }[rank]
