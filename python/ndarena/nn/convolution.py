"""Convolution (DL4J: ``ConvolutionLayer``, ``Convolution1DLayer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.choices import ConvolutionMode
from ndarena.nn.feed_forward import FeedForwardLayer
from ndarena.nn.im2col import convolve, convolve_back
from ndarena.nn.input_type import InputType, InputTypeRecurrent
from ndarena.nn.rectifiers import add_bias, is_rectifier
from ndarena.nn.sliding import SlidingLayer
from ndarena.nn.weights import scheme_of
from ndarena.nn.windows import (
    NO_EDGES,
    batch_first,
    batch_last,
    mask_of_windows,
    without_edges,
)

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.layer import Flat
    from ndarena.nn.words import Array

__all__ = ["Convolution1DLayer", "ConvolutionLayer"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM


class ConvolutionLayer(SlidingLayer, FeedForwardLayer):
    """Convolution of images, ``activation(W * x + b)`` (DL4J: ``ConvolutionLayer``).

    It takes ``[batch, n_in, height, width]`` and gives ``[batch, n_out, height', width']``, whose memory lies
    in the order ``[n_out, height', width', batch]``.

    Parameters
    ----------
    n_in : int, optional
        Number of channels; by default taken from the input type.
    n_out : int
        Number of channels that come out.
    kernel_size, stride, padding, dilation : int or pair of int
        Along the height and the width.
    convolution_mode : str or ConvolutionMode, optional
        Default: the network's.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    kernel_size: int | tuple[int, ...] = (5, 5)
    has_bias: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._settle_flag("has_bias")

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``b [n_out]`` and ``W [n_out, n_in, kernel height, kernel width]``."""
        shapes: dict[str, tuple[int, ...]] = {"b": (self.n_out,)} if self.has_bias else {}
        down, across = self._windows
        shapes["W"] = self.n_out, self._inputs(), down.kernel, across.kernel
        return shapes

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set the bias."""
        scheme = scheme_of(self.weight_init)
        weights = table["W"]
        n_out, n_in, height, width = weights.shape
        down, across = self._windows
        fan_out = n_out * height * width // (down.stride * across.stride)
        scheme.fill(weights, rng, fan_in=n_in * height * width, fan_out=max(fan_out, 1))
        if self.has_bias:
            table["b"][...] = 0.0 if self.bias_init is None else self.bias_init

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return ``n_out`` channels of a pixel per window; windows that do not fit are refused."""
        return self._type_of_windows(input_type, self.n_out)

    def clear(self) -> None:
        """Forget input and sums."""
        self._kept: tuple[Array, Array] | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out, height', width']``; for another shape than the class says: `ValueError`."""
        if x.ndim != 4 or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}, height, width]", x)
        return self._activated(x, training=training, mgr=workspace_mgr)

    def _activated(self, images: Array, *, training: bool, mgr: LayerWorkspaceMgr) -> Array:
        """Return the activation; the sums are kept beside it if a backward pass is to come."""
        sums = self._sums_of(images, mgr)
        function, seen = self._function, batch_first(sums)
        if training:
            self._kept = images, sums
        if is_rectifier(function):  # then they are rectified
            return seen
        if not training or function.keeps_slope:
            return function.forward(seen, training=training, out=seen)
        out = batch_first(mgr.create_uninitialized(ACTIVATIONS, sums.shape, sums.dtype))
        return function.forward(seen, training=True, out=out)

    def _sums_of(self, images: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Return what the activation is made of, ``[n_out, height', width', batch]``."""
        weights = self.param_table["W"]
        shape = len(weights), *self._output_of(images), len(images)
        sums = mgr.create_uninitialized(ACTIVATIONS, shape, weights.dtype)
        source = batch_last(images, mgr, FF_WORKING_MEM, self._edges(images))
        convolve(
            np.asarray(source),
            np.asarray(weights.reshape(len(weights), -1)),
            self._windows,
            np.asarray(sums),
            workspace_mgr=mgr,
        )
        bias = self.param_table["b"] if self.has_bias else None
        add_bias(sums, bias, axis=0, rectifies=is_rectifier(self._function))
        return sums

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`."""
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        images, sums = self._kept
        self.clear()
        function, delta = self._function, sums
        if function.keeps_slope:  # then the sums are the activation, which others may hold
            delta = workspace_mgr.create_uninitialized(BP_WORKING_MEM, sums.shape, sums.dtype)
        function.backprop(batch_first(sums), epsilon, out=batch_first(delta))
        return self._gradient_from(images, delta, workspace_mgr)

    def _gradient_from(self, images: Array, delta: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Set the gradients and return the epsilon for below; ``delta`` is the derivative to the sums."""
        gradient, weights = self.gradient_table, self.param_table["W"]
        flat = len(weights), -1
        if self.has_bias:
            np.add.reduce(delta.reshape(flat), axis=1, out=gradient["b"])
        edges = self._edges(images)
        source = batch_last(images, mgr, BP_WORKING_MEM, edges)
        below = None
        if self.epsilon_is_read:
            role = ACTIVATION_GRAD if edges == NO_EDGES else BP_WORKING_MEM
            below = mgr.create_uninitialized(role, source.shape, delta.dtype)
        convolve_back(
            np.asarray(source),
            np.asarray(weights.reshape(flat)),
            self._windows,
            np.asarray(delta),
            gradient=np.asarray(gradient["W"].reshape(flat)),
            below=None if below is None else np.asarray(below),
            workspace_mgr=mgr,
        )
        return None if below is None else batch_first(without_edges(below, edges, mgr, ACTIVATION_GRAD))


class Convolution1DLayer(ConvolutionLayer):
    """Convolution of series (DL4J: ``Convolution1DLayer``).

    It takes ``[batch, n_in, time]`` and gives ``[batch, n_out, time']``.

    Parameters
    ----------
    n_in : int, optional
        Number of features; by default taken from the input type.
    n_out : int
        Number of features that come out.
    kernel_size, stride, padding, dilation : int
        Along the time. ``W`` is ``[n_out, n_in, kernel_size, 1]``.
    convolution_mode : str or ConvolutionMode, optional
        Default: the network's.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeRecurrent
    _axes: ClassVar[int] = 1

    kernel_size: int | tuple[int, ...] = 5
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return ``n_out`` features of a step per window; windows that do not fit are refused."""
        size, length = input_type.shape
        if length is None:
            return InputType.recurrent(self.n_out)
        images = InputType.convolutional(length, 1, cast("int", size))
        return InputType.recurrent(self.n_out, self._type_of_windows(images, self.n_out).shape[1])

    def clear(self) -> None:
        """Forget input, sums and mask."""
        super().clear()
        self._mask: Array = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out, time']``, 0 at masked steps; for another shape of ``x``: `ValueError`."""
        if x.ndim != 3 or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}, time]", x)
        if mask is not None:
            self._check_mask(mask, (x.shape[0], x.shape[2]))
        out = self._activated(x[..., None], training=training, mgr=workspace_mgr)[..., 0]
        kept = None if mask is None else self.feed_forward_mask(mask)[:, None]
        if kept is not None:
            out *= kept
        if training:
            self._mask = kept
        return out

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`."""
        passed = epsilon if self._mask is None else epsilon * self._mask
        below = super().backprop_gradient(passed[..., None], workspace_mgr=workspace_mgr)
        return None if below is None else below[..., 0]

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return ``[batch, time']`` for ``[batch, time]``."""
        down, _ = self._windows
        if down.mode is ConvolutionMode.SAME and down.stride == 1:
            return mask
        return mask_of_windows(mask, 1, down)
