"""A vector per index (DL4J: ``EmbeddingLayer``, ``EmbeddingSequenceLayer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.feed_forward import FeedForwardLayer
from ndarena.nn.input_type import InputType, InputTypeFeedForward, InputTypeRecurrent
from ndarena.nn.series import rows_of_mask, rows_of_series, series_of
from ndarena.nn.weights import scheme_of
from ndarena.nn.words import at_least_one, size_or_none

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.activations import Activation, IActivation
    from ndarena.nn.layer import Flat
    from ndarena.nn.words import Array

__all__ = ["EmbeddingLayer", "EmbeddingSequenceLayer"]

ACTIVATIONS = ArrayType.ACTIVATIONS
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM


class _Embedding(FeedForwardLayer):
    """``activation(W[index] + b)`` of every index."""

    inherits_dropout: ClassVar[bool] = False
    takes_indices: ClassVar[bool] = True

    n_in: int
    activation: str | Activation | IActivation | None = "identity"
    has_bias: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("n_in", at_least_one(self.n_in, self._owner(), "n_in"))
        self._settle_flag("has_bias")

    def with_input_type(self, input_type: InputType) -> Self:
        """Return the layer itself: the input does not tell how many indices there are."""
        return self

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``W [n_in, n_out]``, and ``b [n_out]``."""
        bias = {"b": (self.n_out,)} if self.has_bias else {}
        return {"W": (self.n_in, self.n_out), **bias}

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set the bias."""
        scheme = scheme_of(self.weight_init)
        scheme.fill(table["W"], rng, fan_in=self.n_in, fan_out=self.n_out)
        if self.has_bias:
            table["b"][...] = 0.0 if self.bias_init is None else self.bias_init

    def clear(self) -> None:
        """Forget indices, sums and mask."""
        super().clear()
        self._kept: Any = None

    def _looked_up(self, indices: Array, mgr: LayerWorkspaceMgr, *, training: bool) -> tuple[Array, ...]:
        """Return the indices as whole numbers, ``[R]``, and sums and activations, ``[R, n_out]``."""
        self._check(indices)
        whole = mgr.create_uninitialized(ACTIVATIONS, indices.shape, np.intp)
        whole[...] = indices
        whole = whole.reshape(-1)
        weights = self.param_table["W"]
        sums: Array = mgr.create_uninitialized(ACTIVATIONS, (len(whole), self.n_out), weights.dtype)
        np.take(weights, whole, axis=0, out=sums, mode="clip")
        if self.has_bias:
            sums += self.param_table["b"]
        out = mgr.create_uninitialized(ACTIVATIONS, sums.shape, sums.dtype) if training else sums
        return whole, sums, self._function.forward(sums, training=training, out=out)

    def _check(self, indices: Array) -> None:
        valid = (indices >= 0) & (indices < self.n_in) & (indices == np.trunc(indices))
        if not valid.all():
            wrong = np.asarray(indices)[~np.asarray(valid)][0]
            raise ValueError(
                f"layer {self.index} ({self.name}, {type(self).__name__}): indices must be whole numbers "
                f"from 0 to {self.n_in - 1}, not {wrong}"
            )

    def _gradient_from(self, whole: Array, delta: Array) -> None:
        """Set the gradients; ``delta`` is the derivative to the sums."""
        gradient = self.gradient_table
        if self.has_bias:
            np.add.reduce(delta, axis=0, out=gradient["b"])
        gradient["W"][...] = 0.0
        np.add.at(gradient["W"], np.asarray(whole), np.asarray(delta))

    def _from_forward(self) -> Any:
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        kept, self._kept = self._kept, None
        return kept


class EmbeddingLayer(_Embedding):
    """A vector for the index of every example (DL4J: ``EmbeddingLayer``).

    Where a mask is 0 the activation is 0, and no gradient passes.

    Parameters
    ----------
    n_in : int
        Number of indices, which are whole numbers from 0 on.
    n_out : int
        Length of the vectors.
    activation : str, Activation or IActivation
        Default: identity.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeFeedForward

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return ``n_out`` features."""
        return InputType.feed_forward(self.n_out)

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out]`` for ``[batch, 1]``; another shape or no such index is a `ValueError`."""
        if x.ndim != 2 or x.shape[1] != 1:
            self._refuse_input("[batch, 1]", x)
        if mask is not None:
            self._check_mask(mask, (len(x), 1))
        whole, sums, out = self._looked_up(x, workspace_mgr, training=training)
        if training:
            self._kept = whole, sums, mask
        if mask is not None:
            out *= mask
        return out

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``None``: indices have no derivative. Without a forward pass before: `RuntimeError`."""
        whole, sums, mask = self._from_forward()
        rows = epsilon if mask is None else epsilon * mask
        self._gradient_from(whole, self._function.backprop(sums, rows))


class EmbeddingSequenceLayer(_Embedding):
    """A vector for every index of a sequence (DL4J: ``EmbeddingSequenceLayer``).

    Where a mask is 0 the activation is 0, and no gradient passes.

    Parameters
    ----------
    n_in : int
        Number of indices, which are whole numbers from 0 on.
    n_out : int
        Length of the vectors.
    input_length : int, optional
        Length of the sequences; by default that of the input.
    activation : str, Activation or IActivation
        Default: identity.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    input_length: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("input_length", size_or_none(self.input_length, self._owner(), "input_length"))

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return series of ``n_out`` features."""
        length = self.input_length
        if length is None and isinstance(input_type, InputTypeRecurrent):
            length = input_type.time_series_length
        elif length is None and len(input_type.shape) == 1:
            length = input_type.shape[0]
        return InputType.recurrent(self.n_out, length)

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out, time]`` for ``[batch, time]`` or ``[batch, 1, time]``.

        Another shape, or an index that there is not, is a `ValueError`.
        """
        x = self._sequences(x)
        n, t = x.shape
        if mask is not None:
            self._check_mask(mask, (n, t), (n, 1, t))
        whole, sums, out = self._looked_up(x.T, workspace_mgr, training=training)
        if training:
            self._kept = whole, sums, mask
        if mask is not None:
            out *= rows_of_mask(mask, workspace_mgr, FF_WORKING_MEM)
        return series_of(out.reshape(t, n, self.n_out))

    def _sequences(self, x: Array) -> Array:
        if x.ndim == 3 and x.shape[1] == 1:
            x = x.reshape(x.shape[0], x.shape[2])
        if x.ndim != 2 or self.input_length not in {None, x.shape[1]}:
            length = "time" if self.input_length is None else self.input_length
            self._refuse_input(f"[batch, {length}]", x)
        return x

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return ``None``: indices have no derivative. Without a forward pass before: `RuntimeError`."""
        whole, sums, mask = self._from_forward()
        rows = rows_of_series(epsilon, workspace_mgr, BP_WORKING_MEM)
        if mask is not None:
            rows = rows * rows_of_mask(mask, workspace_mgr, BP_WORKING_MEM)
        self._gradient_from(whole, self._function.backprop(sums, rows))
