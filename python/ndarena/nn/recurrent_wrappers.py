"""Layers around a recurrent layer (DL4J: ``Bidirectional``, ``LastTimeStep``)."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.input_type import InputType, InputTypeRecurrent
from ndarena.nn.layer import Flat, Layer, ParamKind
from ndarena.nn.recurrent import RecurrentLayer
from ndarena.nn.series import series_of
from ndarena.nn.series_vertices import last_steps
from ndarena.nn.words import Array, Choice, member, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndarena._core import LayerWorkspaceMgr

__all__ = ["Bidirectional", "BidirectionalMode", "LastTimeStep"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
BP_WORKING_MEM = ArrayType.BP_WORKING_MEM


class _Wrapper(RecurrentLayer):
    """What has the parameters of a layer inside it, and of that what it does not say itself.

    Parameters
    ----------
    layer : Layer
        The layer inside.
    """

    takes_pieces: ClassVar[bool] = False

    layer: Layer = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if not isinstance(self.layer, Layer):
            refuse(self._owner(), "layer", self.layer, "must be a layer")

    def learns_as(self) -> Layer:
        """Return what the layer inside learns as."""
        return self.layer.learns_as()

    def with_input_type(self, input_type: InputType) -> Self:
        """Return a copy whose inner layer has taken ``n_in`` from the input."""
        return dataclasses.replace(self, layer=self.layer.with_input_type(input_type))

    def own_input_type(self, *, first: bool) -> InputType | None:
        """Return what the fields of the layer inside tell."""
        return self.layer.own_input_type(first=first)

    def param_kind(self, name: str) -> ParamKind:
        """Return what the parameter is in the layer inside."""
        return self.layer.param_kind(name)

    # The working twin.

    def instantiate(self, **places: Any) -> Self:
        """Return a working twin that has twins of the layer inside; see `Layer.instantiate`."""
        twin = super().instantiate(**places)
        inside = dataclasses.replace(self.layer, name=twin.name)
        twin._inside = [  # noqa: SLF001 - of the same class
            inside.instantiate(
                index=twin.index, params=twin.params[part], gradient=twin.gradient[part], rng=twin.rng
            )
            for part in twin._parts()  # noqa: SLF001
        ]
        return twin

    def __copy__(self) -> Self:
        """Return a second worker on the same parameters, whose layers inside are its own."""
        twin = super().__copy__()
        twin._inside = [copy.copy(layer) for layer in self._inner()]  # noqa: SLF001
        return twin

    def _parts(self) -> tuple[slice, ...]:
        """Return where in the flat vector the layers inside have their parameters."""
        raise NotImplementedError(f"{type(self).__name__}._parts")

    def _inner(self) -> list[Any]:
        inside: list[Any] = self.__dict__.get("_inside", [])
        return inside

    def clear(self) -> None:
        """Forget what the forward pass kept; the states stay."""
        super().clear()
        self._kept: Any = None
        for layer in self._inner():
            layer.clear()

    def _from_forward(self) -> Any:
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        kept, self._kept = self._kept, None
        return kept

    def _back(self, layer: Any, epsilon: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Return the epsilon of a layer inside, if anybody reads it."""
        layer.epsilon_is_read = self.epsilon_is_read
        return layer.backprop_gradient(epsilon, workspace_mgr=mgr)

    def _refuse_steps(self, what: str) -> NoReturn:
        raise RuntimeError(
            f"layer {self.index} ({self.name}, {type(self).__name__}): {what}; use output() of whole series"
        )


class BidirectionalMode(Choice):
    """How the activations of both directions are joined (DL4J: ``Bidirectional.Mode``)."""

    CONCAT = "CONCAT"
    """One after the other along axis 1."""
    ADD = "ADD"
    """Their sum."""
    MUL = "MUL"
    """Their product."""
    AVERAGE = "AVERAGE"
    """Half their sum."""


class Bidirectional(_Wrapper):
    """Two layers alike, of which one sees a series backwards (DL4J: ``Bidirectional``).

    What is turned round is the whole length, padding included, of the input and of its mask. The parameters
    are those of the forward layer with the prefix ``f``, then those of the other one with ``b``.

    Parameters
    ----------
    layer : RecurrentLayer
        What both are; its fields are those of both, and both have parameters of their own.
    mode : str or BidirectionalMode
        How the activations are joined.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    mode: str | BidirectionalMode = BidirectionalMode.CONCAT

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("mode", member(BidirectionalMode, self.mode, self._owner(), "mode"))
        if not isinstance(self.layer, RecurrentLayer) or isinstance(self.layer, Bidirectional):
            refuse(self._owner(), "layer", self.layer, "must be a recurrent layer of one direction")

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the layer inside, twice."""
        shapes = self.layer.param_shapes()
        return {prefix + name: shape for prefix in "fb" for name, shape in shapes.items()}

    def param_kind(self, name: str) -> ParamKind:
        """Return what the parameter is in the layer inside."""
        return self.layer.param_kind(name[1:])

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Fill the parameters of both layers."""
        for prefix in "fb":
            own = {name[1:]: view for name, view in table.items() if name[0] == prefix}
            self.layer.init_params(own, rng)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return that of the layer inside; of twice the size if both are concatenated."""
        inner: Any = self.layer.get_output_type(input_type)
        if self.mode is not BidirectionalMode.CONCAT:
            return inner  # type: ignore[no-any-return]  # both kinds have a size
        return dataclasses.replace(inner, size=2 * inner.size)  # type: ignore[no-any-return]

    def _parts(self) -> tuple[slice, ...]:
        half = len(self.params) // 2
        return slice(half), slice(half, None)

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return both activations joined; a shape that the layer inside does not take is a `ValueError`."""
        forward, backward = self._inner()
        if x.ndim != 3:
            self._refuse_input("[batch, features, time]", x)
        u = forward.activate(x, training=training, workspace_mgr=workspace_mgr, mask=mask)
        turned = None if mask is None else mask[:, ::-1]
        v = backward.activate(x[:, :, ::-1], training=training, workspace_mgr=workspace_mgr, mask=turned)
        v = _turned(v)
        if training:
            self._kept = u, v
        return self._joined(u, v, workspace_mgr)

    def _joined(self, u: Array, v: Array, mgr: LayerWorkspaceMgr) -> Array:
        columns = u.shape[1]
        out = _like(mgr, ACTIVATIONS, u, 2 * columns if self.mode is BidirectionalMode.CONCAT else columns)
        if self.mode is BidirectionalMode.CONCAT:
            out[:, :columns], out[:, columns:] = u, v
        elif self.mode is BidirectionalMode.MUL:
            np.multiply(u, v, out=out)
        else:
            np.add(u, v, out=out)
            if self.mode is BidirectionalMode.AVERAGE:
                out *= 0.5
        return out

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the sum of both layers' epsilons; without a forward pass in training: `RuntimeError`."""
        forward, backward = self._inner()
        to_u, to_v = self._parted(epsilon, *self._from_forward())
        below = self._back(forward, to_u, workspace_mgr)
        more = self._back(backward, _turned(to_v), workspace_mgr)
        if self.epsilon_is_read:
            below += _turned(more)
        return below

    def _parted(self, epsilon: Array, u: Array, v: Array) -> tuple[Array, Array]:
        """Return the derivatives to the activations of both layers."""
        if self.mode is BidirectionalMode.CONCAT:
            columns = u.shape[1]
            return epsilon[:, :columns], epsilon[:, columns:]
        if self.mode is BidirectionalMode.MUL:
            return epsilon * v, epsilon * u
        if self.mode is BidirectionalMode.AVERAGE:
            epsilon = epsilon * 0.5
        return epsilon, epsilon

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return what the layer inside makes of it."""
        return self.layer.feed_forward_mask(mask)

    def rnn_time_step(self, x: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Raise a `RuntimeError`: the way back begins at the end."""
        self._refuse_steps("the way back begins at the end of a series, so there is no next step")

    def rnn_activate_using_stored_state(
        self,
        x: Array,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        mask: Array = None,
        store_last_for_tbptt: bool = True,
    ) -> Array:
        """Raise a `RuntimeError`: the way back begins at the end."""
        self._refuse_steps("the way back begins at the end of a series, which cannot be learned in pieces")

    def rnn_clear_previous_state(self) -> None:
        """There is none."""

    def rnn_get_previous_state(self) -> dict[str, Flat]:
        """Return nothing: there is none."""
        return {}

    def rnn_set_previous_state(self, state: Mapping[str, Array]) -> None:
        """Raise a `RuntimeError`: there is none."""
        self._refuse_steps("there is no state to go on from")


def _turned(x: Array) -> Array:
    """Return a series backwards, as a view; what has no time stays."""
    return x[:, :, ::-1] if x.ndim == 3 else x


def _like(mgr: LayerWorkspaceMgr, role: ArrayType, x: Array, columns: int) -> Array:
    """Return space for something like ``x`` of so many columns; a series has its steps first in memory."""
    if x.ndim == 2:
        return mgr.create_uninitialized(role, (len(x), columns), x.dtype)
    return series_of(mgr.create_uninitialized(role, (x.shape[2], len(x), columns), x.dtype))


class LastTimeStep(_Wrapper):
    """Of a layer's series the last step that is kept, ``[batch, n_out]`` (DL4J: ``LastTimeStep``).

    An example of which nothing is kept gives zeros. The parameters are those of the layer inside.

    Parameters
    ----------
    layer : Layer
        What makes the series.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the layer inside."""
        return self.layer.param_shapes()

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Fill the parameters of the layer inside."""
        self.layer.init_params(table, rng)

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the features of a step."""
        series = self.layer.get_output_type(input_type)
        if not isinstance(series, InputTypeRecurrent):
            refuse(self._owner(), "layer", self.layer, f"must give series, not {series}")
        return InputType.feed_forward(series.size)

    def get_pre_processor(self, input_type: InputType) -> Any:
        """Return what the layer inside needs before it."""
        return self.layer.get_pre_processor(input_type)

    def _parts(self) -> tuple[slice, ...]:
        return (slice(None),)

    def _one(self) -> Any:
        (layer,) = self._inner()
        return layer

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out]``; a shape that the layer inside does not take is a `ValueError`."""
        series = self._one().activate(x, training=training, workspace_mgr=workspace_mgr, mask=mask)
        return self._last(series, workspace_mgr, mask, training=training)

    def _last(self, series: Array, mgr: LayerWorkspaceMgr, mask: Array, *, training: bool) -> Array:
        """Return the last steps, and keep where they were."""
        if not series.shape[2]:
            self._refuse_input("[batch, features, time] with a last step", series)
        steps = None if mask is None else last_steps(mask)
        if training:
            self._kept = series.shape, steps
        out = mgr.create_uninitialized(ACTIVATIONS, series.shape[:2], series.dtype)
        if steps is None:
            out[...] = series[:, :, -1]
        else:
            out[...] = series[np.arange(len(series)), :, steps]
            out[steps < 0] = 0.0
        return out

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the epsilon of the layer inside; without a forward pass in training: `RuntimeError`."""
        (n, columns, t), steps = self._from_forward()
        given = workspace_mgr.create(BP_WORKING_MEM, (t, n, columns), epsilon.dtype)
        if steps is None:
            given[-1] = epsilon
        else:
            rows = np.flatnonzero(steps >= 0)
            given[steps[rows], rows] = epsilon[rows]
        return self._back(self._one(), series_of(given), workspace_mgr)

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return ``None``: there is no time any more."""
        return None

    def rnn_time_step(self, x: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the activation ``[batch, n_out]`` of the last of the steps that follow on those before."""
        inner = self._one()
        step = inner.rnn_time_step if isinstance(inner, RecurrentLayer) else inner.activate
        return self._last(step(x, workspace_mgr=workspace_mgr), workspace_mgr, None, training=False)

    def rnn_activate_using_stored_state(
        self,
        x: Array,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        mask: Array = None,
        store_last_for_tbptt: bool = True,
    ) -> Array:
        """Raise a `RuntimeError`: a piece of a series has no last step of its own."""
        self._refuse_steps("only the last step of a series counts, which cannot be learned in pieces")

    def rnn_clear_previous_state(self) -> None:
        """Forget the states of the layer inside."""
        if isinstance(self.layer, RecurrentLayer):
            self._one().rnn_clear_previous_state()

    def rnn_get_previous_state(self) -> dict[str, Flat]:
        """Return copies of the state of the layer inside."""
        state: dict[str, Flat] = {}
        return self._one().rnn_get_previous_state() if isinstance(self.layer, RecurrentLayer) else state

    def rnn_set_previous_state(self, state: Mapping[str, Array]) -> None:
        """Copy a state for the layer inside; one that does not fit is a `ValueError`."""
        if isinstance(self.layer, RecurrentLayer):
            self._one().rnn_set_previous_state(state)
        elif state:
            raise ValueError(f"{self.name}: {type(self.layer).__name__} has no state")
