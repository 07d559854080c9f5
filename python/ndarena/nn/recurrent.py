"""Layers that go through a series step by step (DL4J: ``RecurrentLayer`` and its base)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.feed_forward import FeedForwardLayer
from ndarena.nn.input_type import InputType, InputTypeRecurrent
from ndarena.nn.layer import Layer
from ndarena.nn.series import like_series, rows_of_series, series_of, steps_of
from ndarena.nn.weights import IWeightInit, WeightInit, weight_init_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.distributions import Distribution
    from ndarena.nn.layer import Flat
    from ndarena.nn.words import Array

__all__ = ["BaseRecurrentLayer", "RecurrentLayer", "blocks_of", "by_rows"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM
OFTEN = 4
"""So many products are worth a copy of the weights."""


class RecurrentLayer(Layer):
    """A layer that can go on where it stopped (DL4J: ``RecurrentLayer``).

    It has two states, which are no part of `clear`: that of `rnn_time_step`, and one that a network carries
    from piece to piece of a series that it learns. `activate` knows neither.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeRecurrent

    def rnn_time_step(self, x: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the activation of the steps ``[batch, n_in, time]`` that follow on those before."""
        raise NotImplementedError(f"{type(self).__name__}.rnn_time_step")

    def rnn_activate_using_stored_state(
        self,
        x: Array,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        mask: Array = None,
        store_last_for_tbptt: bool = True,
    ) -> Array:
        """Do as `activate`, from the carried state on; after the last step it is stored."""
        raise NotImplementedError(f"{type(self).__name__}.rnn_activate_using_stored_state")

    def rnn_clear_previous_state(self) -> None:
        """Forget both states: what follows is a beginning."""
        raise NotImplementedError(f"{type(self).__name__}.rnn_clear_previous_state")

    def rnn_get_previous_state(self) -> dict[str, Flat]:
        """Return copies of the state of `rnn_time_step`, ``[batch, n_out]`` by name; empty at a beginning."""
        raise NotImplementedError(f"{type(self).__name__}.rnn_get_previous_state")

    def rnn_set_previous_state(self, state: Mapping[str, Array]) -> None:
        """Copy a state for `rnn_time_step`; names or shapes that do not fit are a `ValueError`."""
        raise NotImplementedError(f"{type(self).__name__}.rnn_set_previous_state")


class BaseRecurrentLayer(FeedForwardLayer, RecurrentLayer):
    """A recurrent layer with weights ``W`` for its input and ``RW`` for its last activation.

    Where a mask is 0, activation and state are 0, and no gradient passes.

    Parameters
    ----------
    weight_init_recurrent : str, WeightInit, IWeightInit or Distribution, optional
        For ``RW``; by default as ``weight_init``.
    """

    input_kind: ClassVar[type[InputType] | None] = InputTypeRecurrent
    state_names: ClassVar[tuple[str, ...]] = ("prev_act",)
    """What a state is made of."""

    weight_init_recurrent: str | WeightInit | IWeightInit | Distribution | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.weight_init_recurrent is not None:
            scheme = weight_init_of(self.weight_init_recurrent, self._owner(), "weight_init_recurrent")
            self._set("weight_init_recurrent", scheme)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return series of ``n_out`` features, as long as the input."""
        return like_series(input_type, self.n_out)

    def clear(self) -> None:
        """Forget what the forward pass kept; the states stay."""
        super().clear()
        self._kept: Any = None
        if "_states" not in self.__dict__:
            self._states: tuple[dict[str, Flat], dict[str, Flat]] = {}, {}

    # Forward.

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out, time]`` for ``[batch, n_in, time]``; another shape is a `ValueError`."""
        return self._run(x, {}, workspace_mgr, mask, training=training)[0]

    def rnn_time_step(self, x: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the activation of the steps ``[batch, n_in, time]`` that follow on those before."""
        state = self._states[0]
        out, last = self._run(x, state, workspace_mgr, None, training=False)
        self._store(state, last)
        return out

    def rnn_activate_using_stored_state(
        self,
        x: Array,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        mask: Array = None,
        store_last_for_tbptt: bool = True,
    ) -> Array:
        """Do as `activate`, from the carried state on; after the last step it is stored."""
        carried = self._states[1]
        out, last = self._run(x, carried, workspace_mgr, mask, training=training)
        if store_last_for_tbptt:
            self._store(carried, last)
        return out

    def _run(
        self, x: Array, state: Mapping[str, Flat], mgr: LayerWorkspaceMgr, mask: Array, *, training: bool
    ) -> tuple[Array, Sequence[Array]]:
        """Return the activation, and the state after the last step."""
        if x.ndim != 3 or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}, time]", x)
        if mask is not None:
            self._check_mask(mask, (x.shape[0], x.shape[2]))
        self._check_state(state, len(x))
        steps = steps_of(x, mgr, ACTIVATIONS if training else FF_WORKING_MEM)
        kept, last = self._forward(steps, state, mgr, mask, training=training)
        if training:
            self._kept = series_of(steps), mask, kept
        return series_of(kept.activations[1:]), last

    def _forward(
        self,
        steps: Array,
        state: Mapping[str, Flat],
        mgr: LayerWorkspaceMgr,
        mask: Array,
        *,
        training: bool,
    ) -> tuple[Any, Sequence[Array]]:
        """Return what a backward pass needs, all ``activations`` among it, and the state after the last."""
        raise NotImplementedError(f"{type(self).__name__}._forward")

    @staticmethod
    def _begin(mgr: LayerWorkspaceMgr, role: ArrayType, shape: tuple[int, ...], first: Array) -> Array:
        """Return space for a state and what it becomes in ``shape[0] - 1`` steps."""
        space = mgr.create_uninitialized(role, shape, first.dtype)
        space[0] = first
        return space

    # Backward.

    def _from_forward(self) -> Any:
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        return self._kept

    def _gradient_from(
        self, x: Array, before: Array, inner: Array, recurrent: Array, mgr: LayerWorkspaceMgr
    ) -> Array:
        """Set the gradients of the weights and return the epsilon for below.

        ``inner`` and ``recurrent`` are the derivatives to the products of ``W`` with ``x`` and of ``RW`` with
        the activations ``before``: blocks of columns, ``[blocks, T, N, n_out]``.
        """
        blocks, t, n, n_out = inner.shape
        gradient, width = self.gradient_table, blocks * n_out
        rows, rows_before = inner.reshape(blocks, t * n, n_out), before.reshape(t * n, n_out)
        to_recurrent = gradient["RW"][:, :width].T.reshape(blocks, n_out, n_out)
        np.matmul(recurrent.reshape(rows.shape).transpose(0, 2, 1), rows_before, out=to_recurrent)
        to_input = gradient["W"].T.reshape(blocks, n_out, x.shape[1])
        np.matmul(rows.transpose(0, 2, 1), rows_of_series(x, mgr, BP_WORKING_MEM), out=to_input)
        return self._epsilon_from(rows, mgr, (t, n)) if self.epsilon_is_read else None

    def _epsilon_from(self, rows: Array, mgr: LayerWorkspaceMgr, steps: tuple[int, int]) -> Array:
        """Return the derivative to the input; ``rows`` are those to the blocks of its product."""
        weights = blocks_of(self.param_table["W"], len(rows)).transpose(0, 2, 1)
        below = mgr.create_uninitialized(ACTIVATION_GRAD, (*steps, weights.shape[2]), weights.dtype)
        total = below.reshape(-1, weights.shape[2])
        np.matmul(rows[0], weights[0], out=total)
        if len(rows) > 1:
            more: Array = mgr.create_uninitialized(BP_WORKING_MEM, total.shape, total.dtype)
            for block, to_input in zip(rows[1:], weights[1:], strict=True):
                total += np.matmul(block, to_input, out=more)
        return series_of(below)

    # States.

    def rnn_clear_previous_state(self) -> None:
        """Forget both states: what follows is a beginning."""
        for state in self._states:
            state.clear()

    def rnn_get_previous_state(self) -> dict[str, Flat]:
        """Return copies of the state of `rnn_time_step`, ``[batch, n_out]`` by name; empty at a beginning."""
        return {name: value.copy() for name, value in self._states[0].items()}

    def rnn_set_previous_state(self, state: Mapping[str, Array]) -> None:
        """Copy a state for `rnn_time_step`; names or shapes that do not fit are a `ValueError`."""
        if set(state) != set(self.state_names):
            raise ValueError(
                f"{self.name}: a state is made of {', '.join(self.state_names)}, not {', '.join(state)}"
            )
        self._check_state(state, len(state[self.state_names[0]]))
        self._store(self._states[0], [state[name] for name in self.state_names])

    def _check_state(self, state: Mapping[str, Array], batch: int) -> None:
        for name, value in state.items():
            if tuple(value.shape) != (batch, self.n_out):
                raise ValueError(
                    f"layer {self.index} ({self.name}, {type(self).__name__}): {name} has shape "
                    f"{list(value.shape)} where {[batch, self.n_out]} is expected; "
                    "rnn_clear_previous_state() forgets it"
                )

    def _store(self, state: dict[str, Flat], last: Sequence[Array]) -> None:
        """Keep a state outside of all workspaces, in the arrays of the one before if they fit."""
        dtype = self.params.dtype
        for name, value in zip(self.state_names, last, strict=True):
            if name not in state or state[name].shape != tuple(value.shape):
                state[name] = np.empty(value.shape, dtype)
            state[name][...] = value


def by_rows(weights: Flat, times: int, mgr: LayerWorkspaceMgr) -> Array:
    """Return weights that are to be multiplied from the left so many times, in C order if that is often.

    BLAS arranges them for every product, which takes much longer where columns lie together.
    """
    if times < OFTEN:
        return weights
    laid: Array = mgr.create_uninitialized(FF_WORKING_MEM, weights.shape, weights.dtype)
    laid[...] = weights
    return laid


def blocks_of(weights: Flat, blocks: int) -> Flat:
    """Return weights ``[n, blocks * n_out]`` in Fortran order as ``[blocks, n, n_out]``, a view."""
    n, width = weights.shape
    return weights.T.reshape(blocks, width // blocks, n).transpose(0, 2, 1)
