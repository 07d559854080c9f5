"""Recurrent layers with a memory cell (DL4J: ``LSTM``, ``GravesLSTM``)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.activations import (
    Activation,
    ActivationSigmoid,
    ActivationTanH,
    IActivation,
    activation_of,
)
from ndarena.nn.recurrent import BaseRecurrentLayer, blocks_of, by_rows
from ndarena.nn.series import steps_of
from ndarena.nn.slopes import derive, value_tells, view_for
from ndarena.nn.sums import add_up_rows
from ndarena.nn.weights import scheme_of
from ndarena.nn.words import Array, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.layer import Flat

__all__ = ["LSTM", "GravesLSTM"]

ACTIVATIONS = ArrayType.ACTIVATIONS
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM
FF_LOOP, BP_LOOP = ArrayType.RNN_FF_LOOP_WORKING_MEM, ArrayType.RNN_BP_LOOP_WORKING_MEM


class _Forward(NamedTuple):
    """What the backward pass needs; ``sums`` are the ``values`` themselves where these tell the slopes."""

    activations: Array
    cells: Array
    sums: Array
    values: Array


class _Step(NamedTuple):
    """One step: sums and values of block input and gates ``[4, N, n_out]``, cells before and after it."""

    sums: Array
    values: Array
    before: Array
    after: Array


class LSTM(BaseRecurrentLayer):
    """Long short-term memory without peepholes (DL4J: ``LSTM``).

    ``c = f * c_before + i * a`` and ``h = o * activation(c)``, where the block input ``a`` has the layer's
    activation and the gates ``f``, ``o``, ``i`` have ``gate_activation``. They are, in this order, blocks of
    ``n_out`` columns of ``x @ W + h_before @ RW + b``.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of units.
    gate_activation : str, Activation or IActivation
        Of the three gates.
    forget_gate_bias_init : float
        Where the bias of the forget gate begins.
    weight_init_recurrent : str, WeightInit, IWeightInit or Distribution, optional
        For ``RW``; by default as ``weight_init``.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    state_names: ClassVar[tuple[str, ...]] = ("prev_act", "prev_mem")
    peepholes: ClassVar[int] = 0
    """Columns of ``RW`` behind those of block input and gates."""

    gate_activation: str | Activation | IActivation = "sigmoid"
    forget_gate_bias_init: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        self._set("gate_activation", activation_of(self.gate_activation, owner, "gate_activation"))
        bias = number(self.forget_gate_bias_init, owner, "forget_gate_bias_init")
        self._set("forget_gate_bias_init", bias)

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``W [n_in, 4 * n_out]``, ``RW [n_out, 4 * n_out + peepholes]`` and ``b [4 * n_out]``."""
        n = self.n_out
        return {"W": (self._inputs(), 4 * n), "RW": (n, 4 * n + self.peepholes), "b": (4 * n,)}

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set the bias."""
        n = self.n_out
        scheme = scheme_of(self.weight_init)
        recurrent = scheme_of(self.weight_init_recurrent, scheme)
        scheme.fill(table["W"], rng, fan_in=n, fan_out=n + self._inputs())
        recurrent.fill(table["RW"], rng, fan_in=n, fan_out=n + self._inputs())
        table["b"][...] = 0.0 if self.bias_init is None else self.bias_init
        table["b"][n : 2 * n] = self.forget_gate_bias_init

    @cached_property
    def _gate(self) -> IActivation:
        return activation_of(self.gate_activation, self._owner(), "gate_activation")

    def _recurrent_weights(self) -> Flat:
        """Return ``RW`` without peepholes, ``[4, n_out, n_out]``."""
        return blocks_of(self.param_table["RW"][:, : 4 * self.n_out], 4)

    # Forward.

    def _forward(
        self,
        steps: Array,
        state: Mapping[str, Flat],
        mgr: LayerWorkspaceMgr,
        mask: Array,
        *,
        training: bool,
    ) -> tuple[_Forward, Sequence[Array]]:
        (t, n), zero = steps.shape[:2], np.zeros((), self.params.dtype)
        role, kept = (ACTIVATIONS, t + 1) if training else (FF_WORKING_MEM, 1)
        activations = self._begin(mgr, ACTIVATIONS, (t + 1, n, self.n_out), state.get("prev_act", zero))
        cells = self._begin(mgr, role, (kept, n, self.n_out), state.get("prev_mem", zero))
        sums, view = self._feed(steps, mgr, role), view_for(self._function, self._gate)
        values = sums
        if view is None:
            view = _as_it_is
            values = mgr.create_uninitialized(role, sums.shape, sums.dtype) if training else sums
        weights = view(by_rows(self._recurrent_weights(), t, mgr))
        mask = None if mask is None else np.asarray(mask)
        h, c, z, v = view(activations), view(cells), view(sums), view(values)
        for step in range(t):
            with mgr.notify_scope_entered(FF_LOOP):
                room = view(mgr.create_uninitialized(FF_LOOP, (4, n, self.n_out), sums.dtype))
                here, after, out = z[:, step], c[(step + 1) % kept], h[step + 1]
                here += np.matmul(h[step], weights, out=room)
                self._go(_Step(here, v[:, step], c[step % kept], after), out, room[0], training=training)
                if mask is not None:
                    out *= mask[:, step : step + 1]
                    after *= mask[:, step : step + 1]
                del room  # what is looked at when the scope ends cannot be used again
        return _Forward(activations, cells, sums, values), (activations[-1], cells[-1])

    def _feed(self, steps: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        """Return the sums without what the step before adds to them, ``[4, T, N, n_out]``."""
        (t, n, n_in), n_out, table = steps.shape, self.n_out, self.param_table
        sums: Array = mgr.create_uninitialized(role, (4, t, n, n_out), table["W"].dtype)
        rows = sums.reshape(4, t * n, n_out)
        np.matmul(steps.reshape(t * n, n_in), blocks_of(table["W"], 4), out=rows)
        rows += table["b"].reshape(4, 1, n_out)
        return sums

    def _go(self, step: _Step, out: Array, room: Array, *, training: bool) -> None:
        """Make values of the sums, fill the cells after the step, and ``out`` with the activation."""
        function, (sums, values, before, after) = self._function, step
        if self._is_usual:
            self._squash(sums, values)
        else:
            function.forward(sums[0], training=training, out=values[0])
            self._open(sums[1:], values[1:], training=training)
        a, f, o, i = values
        np.multiply(f, before, out=after)
        np.multiply(i, a, out=room)
        after += room
        function.forward(after, training=training, out=out)
        out *= o

    @cached_property
    def _is_usual(self) -> bool:
        """Whether the activation is tanh and the gates are sigmoids."""
        return type(self._function) is ActivationTanH and type(self._gate) is ActivationSigmoid

    @staticmethod
    def _squash(sums: Array, values: Array) -> None:
        """Make values of all sums at once; a sigmoid is half a tanh of half its argument, and a half."""
        half = sums[1:]
        half *= 0.5
        np.tanh(sums, out=values)
        gates = values[1:]
        gates *= 0.5
        gates += 0.5

    def _open(self, sums: Array, values: Array, *, training: bool) -> None:
        """Make values of the sums of gates, ``[k, N, n_out]``."""
        gate = self._gate
        whole = value_tells(gate)
        for z, v in ((sums, values),) if whole else zip(sums, values, strict=True):
            gate.forward(z, training=training, out=v)

    # Backward.

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return epsilon for the input, ``[batch, n_in, time]``; without a forward pass: `RuntimeError`."""
        mgr, (x, mask, kept) = workspace_mgr, self._from_forward()
        self.clear()
        given = steps_of(epsilon, mgr, BP_WORKING_MEM)
        self._go_through(given, mask, kept, mgr)
        deltas = kept.values  # no more than their memory: every step left its derivative there
        blocks = self.gradient_table["b"].reshape(4, self.n_out)
        for block, gradient in zip(deltas.reshape(4, -1, self.n_out), blocks, strict=True):
            add_up_rows(block, gradient)
        self._sum_up_peepholes(deltas, kept.cells)
        return self._gradient_from(x, kept.activations[:-1], deltas, deltas, mgr)

    def _go_through(self, given: Array, mask: Array, kept: _Forward, mgr: LayerWorkspaceMgr) -> None:
        """Go back through the steps, which turns the values into the derivatives to the sums."""
        function, (t, *shape) = self._function, given.shape
        view = view_for(function, self._gate) or _as_it_is
        weights = self._recurrent_weights().transpose(0, 2, 1)
        height = view(mgr.create(BP_WORKING_MEM, shape, given.dtype))
        memory = view(mgr.create(BP_WORKING_MEM, shape, given.dtype))
        squashed = view(mgr.create_uninitialized(BP_WORKING_MEM, shape, given.dtype))
        given, mask = view(given), None if mask is None else np.asarray(mask)
        c, z, v = view(kept.cells), view(kept.sums), view(kept.values)
        for step in reversed(range(t)):
            here = _Step(z[:, step], v[:, step], c[step], c[step + 1])
            with mgr.notify_scope_entered(FF_LOOP):
                function.forward(here.after, training=True, out=squashed)
            with mgr.notify_scope_entered(BP_LOOP):
                room = view(mgr.create_uninitialized(BP_LOOP, (4, *shape), given.dtype))
                height += given[step]
                if mask is not None:
                    height *= mask[:, step : step + 1]
                    memory *= mask[:, step : step + 1]
                self._go_back(here, squashed, height, memory, room)
                np.add.reduce(np.matmul(here.values, weights, out=room), axis=0, out=height)
                del room

    def _go_back(self, step: _Step, squashed: Array, height: Array, memory: Array, delta: Array) -> None:
        """Turn the values of a step into the derivatives to its sums; ``squashed``, ``height`` are used up.

        ``height`` and ``memory`` are the derivatives to activation and cells after the step. ``memory``
        becomes that to the cells before it. ``delta`` is space.
        """
        function, (sums, values, before, after) = self._function, step
        a, f, o, _ = values
        np.multiply(height, squashed, out=delta[2])
        height *= o
        memory += derive(function, after, squashed, height)
        np.multiply(memory, before, out=delta[1])
        np.multiply(memory, values[3::-3], out=delta[::3])  # input gate and block input, each with the other
        memory *= f
        derive(function, sums[0], a, delta[0])
        self._shut(sums[1:], values[1:], delta[1:])

    def _shut(self, sums: Array, values: Array, delta: Array) -> None:
        """Turn the values of gates into the derivatives to their sums, as `_open` made them."""
        gate = self._gate
        whole = value_tells(gate)
        for z, v, d in ((sums, values, delta),) if whole else zip(sums, values, delta, strict=True):
            derive(gate, z, v, d)

    def _sum_up_peepholes(self, deltas: Array, cells: Array) -> None:
        """Set the gradients of the peepholes."""


def _as_it_is(x: Array) -> Array:
    return x


class GravesLSTM(LSTM):
    """Long short-term memory with peepholes (DL4J: ``GravesLSTM``).

    As `LSTM`, but the gates see the cells: ``f`` and ``i`` those before the step, ``o`` those after it, each
    through a weight per unit. These are the last three columns of ``RW``, for ``f``, ``o`` and ``i``.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of units.
    gate_activation : str, Activation or IActivation
        Of the three gates.
    forget_gate_bias_init : float
        Where the bias of the forget gate begins.
    weight_init_recurrent : str, WeightInit, IWeightInit or Distribution, optional
        For ``RW``; by default as ``weight_init``.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    peepholes: ClassVar[int] = 3

    def _peepholes(self) -> Flat:
        """Return the weights of the forget, output and input gate, ``[3, n_out]``."""
        return self.param_table["RW"][:, 4 * self.n_out :].T

    def _go(self, step: _Step, out: Array, room: Array, *, training: bool) -> None:
        function, gate, (sums, values, before, after) = self._function, self._gate, step
        to_f, to_o, to_i = self._peepholes()
        z_a, z_f, z_o, z_i = sums
        a, f, o, i = values
        z_f += np.multiply(before, to_f, out=room)
        z_i += np.multiply(before, to_i, out=room)
        function.forward(z_a, training=training, out=a)
        gate.forward(z_f, training=training, out=f)
        gate.forward(z_i, training=training, out=i)
        np.multiply(f, before, out=after)
        after += np.multiply(i, a, out=room)
        z_o += np.multiply(after, to_o, out=room)
        gate.forward(z_o, training=training, out=o)
        function.forward(after, training=training, out=out)
        out *= o

    def _go_back(self, step: _Step, squashed: Array, height: Array, memory: Array, delta: Array) -> None:
        function, gate, (sums, values, before, after) = self._function, self._gate, step
        to_f, to_o, to_i = self._peepholes()
        a, f, o, i = values
        np.multiply(height, squashed, out=delta[2])
        height *= o
        memory += derive(function, after, squashed, height)
        memory += np.multiply(derive(gate, sums[2], o, delta[2]), to_o, out=height)
        np.multiply(memory, before, out=delta[1])
        np.multiply(memory, a, out=delta[3])
        np.multiply(memory, i, out=delta[0])
        memory *= f
        derive(function, sums[0], a, delta[0])
        memory += np.multiply(derive(gate, sums[1], f, delta[1]), to_f, out=height)
        memory += np.multiply(derive(gate, sums[3], i, delta[3]), to_i, out=height)

    def _sum_up_peepholes(self, deltas: Array, cells: Array) -> None:
        gradient = self.gradient_table["RW"][:, 4 * self.n_out :].T
        seen = ((deltas[1], cells[:-1]), (deltas[2], cells[1:]), (deltas[3], cells[:-1]))
        for row, (delta, cell) in zip(gradient, seen, strict=True):
            np.add.reduce(delta * cell, axis=(0, 1), out=row)
