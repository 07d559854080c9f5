"""The plain recurrent layer (DL4J: ``SimpleRnn``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.recurrent import BaseRecurrentLayer, by_rows
from ndarena.nn.series import steps_of
from ndarena.nn.slopes import derive, value_tells
from ndarena.nn.standardizing import Standardized, standardize
from ndarena.nn.weights import scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.layer import Flat
    from ndarena.nn.words import Array

__all__ = ["SimpleRnn"]

ACTIVATIONS = ArrayType.ACTIVATIONS
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM


class _Norms(NamedTuple):
    """The products of a step with layer norm, and what each is multiplied by."""

    inner: Standardized
    recurrent: Standardized
    gains: tuple[Flat, Flat]


class _Forward(NamedTuple):
    """What the backward pass needs."""

    activations: Array
    sums: Array
    norms: _Norms | None


class SimpleRnn(BaseRecurrentLayer):
    """The plain recurrent layer, ``h = activation(x @ W + h_before @ RW + b)`` (DL4J: ``SimpleRnn``).

    With layer norm the two products are standardized, row by row, and have gains of their own, one after the
    other in ``g [2 * n_out]``.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of units.
    weight_init_recurrent : str, WeightInit, IWeightInit or Distribution, optional
        For ``RW``; by default as ``weight_init``.
    has_layer_norm : bool
        Whether the products are standardized.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    has_layer_norm: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._settle_flag("has_layer_norm")

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``W [n_in, n_out]``, ``RW [n_out, n_out]``, ``b [n_out]``, perhaps ``g [2 * n_out]``."""
        n = self.n_out
        gain = {"g": (2 * n,)} if self.has_layer_norm else {}
        return {"W": (self._inputs(), n), "RW": (n, n), "b": (n,), **gain}

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Draw the weights as ``weight_init`` says, and set bias and gain."""
        scheme = scheme_of(self.weight_init)
        scheme.fill(table["W"], rng, fan_in=self._inputs(), fan_out=self.n_out)
        recurrent = scheme_of(self.weight_init_recurrent, scheme)
        recurrent.fill(table["RW"], rng, fan_in=self.n_out, fan_out=self.n_out)
        table["b"][...] = 0.0 if self.bias_init is None else self.bias_init
        if self.has_layer_norm:
            table["g"][...] = self.gain_init

    def _forward(
        self,
        steps: Array,
        state: Mapping[str, Flat],
        mgr: LayerWorkspaceMgr,
        mask: Array,
        *,
        training: bool,
    ) -> tuple[_Forward, Sequence[Array]]:
        function, dtype, (t, n) = self._function, self.params.dtype, steps.shape[:2]
        first = state.get("prev_act", np.zeros((), dtype))
        activations = self._begin(mgr, ACTIVATIONS, (t + 1, n, self.n_out), first)
        sums = activations[1:]
        if training and not value_tells(function):
            sums = mgr.create_uninitialized(ACTIVATIONS, sums.shape, dtype)
        norms = self._feed(steps, sums, mgr, training=training)
        weights = by_rows(self.param_table["RW"], t, mgr)
        for step in range(t):
            z, after = sums[step], activations[step + 1]
            z += self._recurrent(activations[step], weights, norms, step if training else 0)
            function.forward(z, training=training, out=after)
            if mask is not None:
                after *= mask[:, step : step + 1]
        return _Forward(activations, sums, norms), (activations[-1],)

    def _feed(self, steps: Array, sums: Array, mgr: LayerWorkspaceMgr, *, training: bool) -> _Norms | None:
        """Fill the sums with all that does not depend on the step before."""
        table, (t, n, n_in) = self.param_table, steps.shape
        inner = sums
        if training and self.has_layer_norm:
            inner = mgr.create_uninitialized(ACTIVATIONS, sums.shape, sums.dtype)
        np.matmul(steps.reshape(t * n, n_in), table["W"], out=inner.reshape(t * n, self.n_out))
        norms = None
        if self.has_layer_norm:
            norms = self._normed(inner, mgr, training=training)
            np.multiply(inner, norms.gains[0], out=sums)
        sums += table["b"]
        return norms

    def _normed(self, inner: Array, mgr: LayerWorkspaceMgr, *, training: bool) -> _Norms:
        """Standardize the products with the input; those to come have space for all steps, or for one."""
        gain, (t, n, n_out) = self.param_table["g"], inner.shape
        role, kept = (ACTIVATIONS, t) if training else (FF_WORKING_MEM, 1)

        def space(steps: int, columns: int) -> Array:
            return mgr.create_uninitialized(role, (steps, n, columns), inner.dtype)

        recurrent = Standardized(space(kept, n_out), space(kept, 1))
        return _Norms(standardize(inner, space(t, 1)), recurrent, (gain[:n_out], gain[n_out:]))

    @staticmethod
    def _recurrent(before: Array, weights: Array, norms: _Norms | None, place: int) -> Array:
        """Return what the step before adds to the sums."""
        if norms is None:
            return before @ weights
        product = np.matmul(before, weights, out=norms.recurrent.values[place])
        standardize(product, norms.recurrent.scale[place])
        return product * norms.gains[1]

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return epsilon for the input, ``[batch, n_in, time]``; without a forward pass: `RuntimeError`."""
        mgr, function, weights = workspace_mgr, self._function, self.param_table["RW"]
        x, mask, (activations, sums, norms) = self._from_forward()
        self.clear()
        given = steps_of(epsilon, mgr, BP_WORKING_MEM)
        deltas: Array = mgr.create_uninitialized(BP_WORKING_MEM, given.shape, given.dtype)
        recurrent = deltas
        if norms is not None:
            recurrent = mgr.create_uninitialized(BP_WORKING_MEM, given.shape, given.dtype)
        carry: Array = mgr.create(BP_WORKING_MEM, given.shape[1:], given.dtype)
        for step in reversed(range(len(given))):
            carry += given[step]
            if mask is not None:
                carry *= mask[:, step : step + 1]
            delta: Array = deltas[step]
            delta[...] = activations[step + 1]
            derive(function, sums[step], delta, carry)
            if norms is not None:
                delta = np.multiply(delta, norms.gains[1], out=recurrent[step])
                _at(norms.recurrent, step).backprop(delta)
            np.matmul(delta, weights.T, out=carry)
        self._sum_up(deltas, norms)
        if norms is not None:
            deltas *= norms.gains[0]
            norms.inner.backprop(deltas)
        return self._gradient_from(x, activations[:-1], deltas[None], recurrent[None], mgr)

    def _sum_up(self, deltas: Array, norms: _Norms | None) -> None:
        """Set the gradients of bias and gain."""
        gradient, n = self.gradient_table, self.n_out
        np.add.reduce(deltas, axis=(0, 1), out=gradient["b"])
        if norms is not None:
            np.add.reduce(deltas * norms.inner.values, axis=(0, 1), out=gradient["g"][:n])
            np.add.reduce(deltas * norms.recurrent.values, axis=(0, 1), out=gradient["g"][n:])


def _at(standardized: Standardized, step: int) -> Standardized:
    return Standardized(standardized.values[step], standardized.scale[step])
