"""Recurrent layers with a memory cell (DL4J: ``LSTM``, ``GravesLSTM``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.activations import Activation, IActivation, activation_of
from ndarena.nn.recurrent import BaseRecurrentLayer
from ndarena.nn.series import steps_of
from ndarena.nn.slopes import backprop_at, value_tells
from ndarena.nn.weights import WeightInit
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
    """One step: its sums and values ``[N, 4 * n_out]``, and the cells before and after it ``[N, n_out]``."""

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
    weight_init_recurrent : str or WeightInit, optional
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
        scheme = WeightInit.XAVIER if self.weight_init is None else WeightInit(self.weight_init)
        recurrent = scheme if self.weight_init_recurrent is None else WeightInit(self.weight_init_recurrent)
        scheme.fill(table["W"], rng, fan_in=n, fan_out=n + self._inputs())
        recurrent.fill(table["RW"], rng, fan_in=n, fan_out=n + self._inputs())
        table["b"][...] = 0.0 if self.bias_init is None else self.bias_init
        table["b"][n : 2 * n] = self.forget_gate_bias_init

    def _gate(self) -> IActivation:
        return activation_of(self.gate_activation, self._owner(), "gate_activation")

    def _recurrent_weights(self) -> Flat:
        return self.param_table["RW"][:, : 4 * self.n_out]

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
        (t, n), dtype, zero = steps.shape[:2], self.params.dtype, np.zeros((), self.params.dtype)
        role, kept = (ACTIVATIONS, t + 1) if training else (FF_WORKING_MEM, 1)
        activations = self._begin(mgr, ACTIVATIONS, (t + 1, n, self.n_out), state.get("prev_act", zero))
        cells = self._begin(mgr, role, (kept, n, self.n_out), state.get("prev_mem", zero))
        sums = self._feed(steps, mgr, role)
        values = sums
        if training and not (value_tells(self._function()) and value_tells(self._gate())):
            values = mgr.create_uninitialized(role, sums.shape, dtype)
        weights = self._recurrent_weights()
        for step in range(t):
            before, after = cells[step % kept], cells[(step + 1) % kept]
            with mgr.notify_scope_entered(FF_LOOP):
                z, out = sums[step], activations[step + 1]
                z += activations[step] @ weights
                self._go(_Step(z, values[step], before, after), out, training=training)
                if mask is not None:
                    column = mask[:, step : step + 1]
                    out *= column
                    after *= column
        return _Forward(activations, cells, sums, values), (activations[-1], cells[-1])

    def _feed(self, steps: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        """Return the sums without what the step before adds to them."""
        (t, n, n_in), width, table = steps.shape, 4 * self.n_out, self.param_table
        sums: Array = mgr.create_uninitialized(role, (t, n, width), table["W"].dtype)
        np.matmul(steps.reshape(t * n, n_in), table["W"], out=sums.reshape(t * n, width))
        sums += table["b"]
        return sums

    def _go(self, step: _Step, out: Array, *, training: bool) -> None:
        """Make values of the sums, fill the cells after the step, and ``out`` with the activation."""
        n, function = self.n_out, self._function()
        sums, values, before, after = step
        function.forward(sums[:, :n], training=training, out=values[:, :n])
        self._gate().forward(sums[:, n:], training=training, out=values[:, n:])
        a, f, o, i = _blocks(values, n)
        np.multiply(f, before, out=after)
        after += i * a
        function.forward(after, training=training, out=out)
        out *= o

    # Backward.

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return epsilon for the input, ``[batch, n_in, time]``; without a forward pass: `RuntimeError`."""
        mgr, function = workspace_mgr, self._function()
        x, mask, kept = self._from_forward()
        self.clear()
        given, weights = steps_of(epsilon, mgr, BP_WORKING_MEM), self._recurrent_weights()
        delta = mgr.create_uninitialized(BP_WORKING_MEM, kept.sums.shape[1:], given.dtype)
        height = mgr.create(BP_WORKING_MEM, given.shape[1:], given.dtype)
        memory = mgr.create(BP_WORKING_MEM, given.shape[1:], given.dtype)
        squashed = mgr.create_uninitialized(BP_WORKING_MEM, given.shape[1:], given.dtype)
        for t in reversed(range(len(given))):
            step = _Step(kept.sums[t], kept.values[t], kept.cells[t], kept.cells[t + 1])
            with mgr.notify_scope_entered(FF_LOOP):
                function.forward(step.after, training=True, out=squashed)
            with mgr.notify_scope_entered(BP_LOOP):
                height += given[t]
                if mask is not None:
                    height *= mask[:, t : t + 1]
                    memory *= mask[:, t : t + 1]
                self._go_back(step, squashed, height, memory, delta)
                np.matmul(delta, weights.T, out=height)
                step.values[...] = delta
        deltas = kept.values  # no more than their memory: every step left its derivative there
        np.add.reduce(deltas, axis=(0, 1), out=self.gradient_table["b"])
        self._sum_up_peepholes(deltas, kept.cells)
        return self._gradient_from(x, kept.activations[:-1], deltas, deltas, mgr)

    def _go_back(self, step: _Step, squashed: Array, height: Array, memory: Array, delta: Array) -> None:
        """Fill ``delta``, the derivative to the sums; ``height`` is used up.

        ``height`` and ``memory`` are the derivatives to activation and cells after the step. ``memory``
        becomes that to the cells before it.
        """
        n, function = self.n_out, self._function()
        sums, values, before, after = step
        a, f, o, i = _blocks(values, n)
        delta_a, delta_f, delta_o, delta_i = _blocks(delta, n)
        np.multiply(height, squashed, out=delta_o)
        height *= o
        memory += backprop_at(function, after, squashed, height)
        np.multiply(memory, before, out=delta_f)
        np.multiply(memory, a, out=delta_i)
        np.multiply(memory, i, out=delta_a)
        memory *= f
        backprop_at(function, sums[:, :n], values[:, :n], delta[:, :n])
        backprop_at(self._gate(), sums[:, n:], values[:, n:], delta[:, n:])

    def _sum_up_peepholes(self, deltas: Array, cells: Array) -> None:
        """Set the gradients of the peepholes."""


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
    weight_init_recurrent : str or WeightInit, optional
        For ``RW``; by default as ``weight_init``.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    peepholes: ClassVar[int] = 3

    def _peepholes(self) -> Flat:
        """Return the weights of the forget, output and input gate, ``[3, n_out]``."""
        return self.param_table["RW"][:, 4 * self.n_out :].T

    def _go(self, step: _Step, out: Array, *, training: bool) -> None:
        n, function, gate = self.n_out, self._function(), self._gate()
        sums, values, before, after = step
        to_f, to_o, to_i = self._peepholes()
        z_a, z_f, z_o, z_i = _blocks(sums, n)
        a, f, o, i = _blocks(values, n)
        z_f += before * to_f
        z_i += before * to_i
        function.forward(z_a, training=training, out=a)
        gate.forward(z_f, training=training, out=f)
        gate.forward(z_i, training=training, out=i)
        np.multiply(f, before, out=after)
        after += i * a
        z_o += after * to_o
        gate.forward(z_o, training=training, out=o)
        function.forward(after, training=training, out=out)
        out *= o

    def _go_back(self, step: _Step, squashed: Array, height: Array, memory: Array, delta: Array) -> None:
        n, function, gate = self.n_out, self._function(), self._gate()
        sums, values, before, after = step
        to_f, to_o, to_i = self._peepholes()
        z_a, z_f, z_o, z_i = _blocks(sums, n)
        a, f, o, i = _blocks(values, n)
        delta_a, delta_f, delta_o, delta_i = _blocks(delta, n)
        np.multiply(height, squashed, out=delta_o)
        backprop_at(gate, z_o, o, delta_o)
        height *= o
        memory += backprop_at(function, after, squashed, height)
        memory += delta_o * to_o
        np.multiply(memory, before, out=delta_f)
        np.multiply(memory, a, out=delta_i)
        np.multiply(memory, i, out=delta_a)
        backprop_at(function, z_a, a, delta_a)
        backprop_at(gate, z_f, f, delta_f)
        backprop_at(gate, z_i, i, delta_i)
        memory *= f
        memory += delta_f * to_f
        memory += delta_i * to_i

    def _sum_up_peepholes(self, deltas: Array, cells: Array) -> None:
        gradient = self.gradient_table["RW"][:, 4 * self.n_out :].T
        _, delta_f, delta_o, delta_i = (deltas[:, :, k * self.n_out : (k + 1) * self.n_out] for k in range(4))
        seen = ((delta_f, cells[:-1]), (delta_o, cells[1:]), (delta_i, cells[:-1]))
        for row, (delta, cell) in zip(gradient, seen, strict=True):
            np.add.reduce(delta * cell, axis=(0, 1), out=row)


def _blocks(columns: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """Return the columns of block input, forget, output and input gate, as views."""
    return columns[:, :n], columns[:, n : 2 * n], columns[:, 2 * n : 3 * n], columns[:, 3 * n :]
