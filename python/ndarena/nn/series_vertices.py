"""Vertices that know of time (DL4J: ``org.deeplearning4j.nn.conf.graph.rnn``)."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from ndarena.nn.input_type import InputType, InputTypeRecurrent
from ndarena.nn.vertex import ACTIVATION_GRAD, ACTIVATIONS, GraphVertex, new
from ndarena.nn.words import Array, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena._core import ArrayType, LayerWorkspaceMgr

__all__ = ["DuplicateToTimeSeriesVertex", "LastTimeStepVertex", "ReverseTimeSeriesVertex"]


class _OfSeries(GraphVertex):
    """What takes series, and perhaps the mask of an input of the network."""

    mask_array_input: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.mask_array_input is not None and not isinstance(self.mask_array_input, str):
            refuse(type(self).__name__, "mask_array_input", self.mask_array_input, "must be a name or None")

    @property
    def reference(self) -> str | None:
        """The input of the network whose mask counts."""
        return self.mask_array_input

    def _series(self, inputs: tuple[Array, ...]) -> Array:
        if inputs[0].ndim != 3:
            self._refuse_inputs(inputs[:1], "expected input of shape [batch, features, time]")
        return inputs[0]

    def _mask(self, masks: Sequence[Array] | None) -> Array:
        return masks[-1] if masks and self.mask_array_input is not None else None


def last_steps(mask: Array) -> Array:
    """Return the last step that is kept of every example, ``[N]``; -1 where there is none."""
    steps = np.arange(1, mask.shape[1] + 1)
    return ((np.asarray(mask) != 0) * steps).max(axis=1, initial=0) - 1


class LastTimeStepVertex(_OfSeries):
    """Of series the last step that is kept, ``[N, C]`` of ``[N, C, T]`` (DL4J: ``LastTimeStepVertex``).

    Parameters
    ----------
    mask_array_input : str, optional
        The input of the network whose mask tells what is kept; without it everything is. An example of which
        nothing is kept gives zeros.
    """

    mask_array_input: str | None = field(default=None, kw_only=False)

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return the features of a step."""
        given = input_types[0]
        if not isinstance(given, InputTypeRecurrent):
            self._refuse_types(input_types[:1], "must be recurrent")
        return InputType.feed_forward(given.size)

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return ``[N, C]``; what is no series is a `ValueError`."""
        x, mask = self._series(inputs), self._mask(masks)
        steps = None if mask is None else last_steps(mask)
        self._kept = x.shape, steps
        if steps is None:
            return workspace_mgr.dup(ACTIVATIONS, x[:, :, -1])
        out = new(workspace_mgr, ACTIVATIONS, x.shape[:2], x)
        out[...] = x[np.arange(len(x)), :, steps]
        out[steps < 0] = 0.0
        return out

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return epsilon at the steps taken, 0 elsewhere."""
        shape, steps = self._from_forward()
        below = workspace_mgr.create(ACTIVATION_GRAD, shape, epsilon.dtype)
        if steps is None:
            below[:, :, -1] = epsilon
        else:
            rows = np.flatnonzero(steps >= 0)
            below[rows, :, steps[rows]] = epsilon[rows]
        return (below,)

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return ``None``: there is no time any more."""
        return None


class ReverseTimeSeriesVertex(_OfSeries):
    """Series backwards; what is not kept stays behind as 0 (DL4J: ``ReverseTimeSeriesVertex``).

    Parameters
    ----------
    mask_array_input : str, optional
        The input of the network whose mask tells what is kept; without it everything is.
    """

    mask_array_input: str | None = field(default=None, kw_only=False)

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return the same."""
        if not isinstance(input_types[0], InputTypeRecurrent):
            self._refuse_types(input_types[:1], "must be recurrent")
        return input_types[0]

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return ``[N, C, T]``; what is no series is a `ValueError`."""
        mask = self._mask(masks)
        self._kept = (mask,)
        return _reversed(workspace_mgr, ACTIVATIONS, self._series(inputs), mask)

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return epsilon backwards."""
        (mask,) = self._from_forward()
        return (_reversed(workspace_mgr, ACTIVATION_GRAD, epsilon, mask),)


def _reversed(mgr: LayerWorkspaceMgr, role: ArrayType, x: Array, mask: Array) -> Array:
    if mask is None:
        return mgr.dup(role, x[:, :, ::-1])
    rows, steps = np.nonzero(np.asarray(mask))
    back = steps[np.lexsort((-steps, rows))]
    out = mgr.create(role, x.shape, x.dtype)
    out[rows, :, steps] = x[rows, :, back]
    return out


class DuplicateToTimeSeriesVertex(GraphVertex):
    """The same features at every step, ``[N, C, T]`` of ``[N, C]`` (DL4J: ``DuplicateToTimeSeriesVertex``).

    Parameters
    ----------
    input_name : str
        The input of the network whose length and mask are taken.
    """

    input_name: str = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.input_name, str):
            refuse(type(self).__name__, "input_name", self.input_name, "must be the name of an input")

    @property
    def reference(self) -> str | None:
        """The input of the network whose length and mask are taken."""
        return self.input_name

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return series of the features."""
        given, series = input_types[0], input_types[-1]
        if len(given.shape) != 1:
            self._refuse_types(input_types[:1], "must be feed-forward")
        length = series.time_series_length if isinstance(series, InputTypeRecurrent) else None
        return InputTypeRecurrent(given.shape[0], length)  # type: ignore[arg-type]  # rows have a size

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return ``[N, C, T]``; the second array is the series whose length is taken."""
        x, series = inputs
        if x.ndim != 2 or series.ndim != 3:
            self._refuse_inputs(inputs, "expected [batch, features] and a series")
        out = new(workspace_mgr, ACTIVATIONS, (*x.shape, series.shape[2]), x)
        out[...] = x.reshape(*x.shape, 1)
        return out

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return the sum over the steps."""
        below = new(workspace_mgr, ACTIVATION_GRAD, epsilon.shape[:2], epsilon)
        return (np.add.reduce(epsilon, axis=2, out=below),)

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return the mask of the series."""
        return masks[-1]
