"""Pooling: a window of pixels becomes one (DL4J: ``SubsamplingLayer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.choices import PoolingType
from ndarena.nn.reductions import reduce_windows, spread, spread_to_first
from ndarena.nn.sliding import SlidingLayer
from ndarena.nn.windows import NO_EDGES, batch_first, batch_last, cells_inside, with_edges, without_edges
from ndarena.nn.words import Array, at_least_one, member, number, refuse

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.input_type import InputType
    from ndarena.nn.reductions import Make
    from ndarena.nn.windows import Plain

__all__ = ["SubsamplingLayer"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM
HEIGHT, WIDTH = 1, 2  # the axes of [channels, height, width, batch]


class SubsamplingLayer(SlidingLayer):
    """Pooling of images (DL4J: ``SubsamplingLayer``).

    It takes ``[batch, channels, height, width]`` and gives ``[batch, channels, height', width']``, whose
    memory lies in the order ``[channels, height', width', batch]``. Of equal maxima the first in reading
    order gets the gradient.

    Parameters
    ----------
    pooling_type : str or PoolingType
        ``max``, ``avg``, ``sum`` or ``pnorm``.
    kernel_size, stride, padding, dilation : int or pair of int
        Along the height and the width. Padding never is a maximum, and counts for ``avg`` only with
        ``avg_pool_include_pad_in_divisor``.
    convolution_mode : str or ConvolutionMode, optional
        Default: the network's.
    pnorm : int, optional
        ``p`` of ``(sum |x| ** p) ** (1 / p)``, for ``pnorm``.
    eps : float
        What a norm is at least where the gradient is divided by it.
    avg_pool_include_pad_in_divisor : bool
        Whether an average is divided by all cells of the window instead of those inside the image.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    pooling_type: str | PoolingType = "max"
    kernel_size: int | tuple[int, ...] = (1, 1)
    stride: int | tuple[int, ...] = (2, 2)
    pnorm: int | None = None
    eps: float = 1e-8
    avg_pool_include_pad_in_divisor: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        self._set("pooling_type", member(PoolingType, self.pooling_type, owner, "pooling_type"))
        if self.pnorm is not None:
            self._set("pnorm", at_least_one(self.pnorm, owner, "pnorm"))
        elif self.pooling_type is PoolingType.PNORM:
            refuse(owner, "pnorm", None, "must be given with pooling_type PNORM")
        self._set("eps", number(self.eps, owner, "eps", least=0.0))
        if not isinstance(self.avg_pool_include_pad_in_divisor, bool):
            value = self.avg_pool_include_pad_in_divisor
            refuse(owner, "avg_pool_include_pad_in_divisor", value, "must be True or False")

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return the channels with a pixel per window; windows that do not fit are refused."""
        return self._type_of_windows(input_type, input_type.shape[0])  # type: ignore[arg-type]

    def clear(self) -> None:
        """Forget input and output."""
        self._kept: tuple[Array, Array] | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, channels, height', width']``; for another rank of ``x``: `ValueError`."""
        if x.ndim != 4:
            self._refuse_input("[batch, channels, height, width]", x)
        shape = x.shape[1], *self._output_of(x), len(x)
        out = workspace_mgr.create_uninitialized(ACTIVATIONS, shape, x.dtype)
        make = _maker(workspace_mgr, FF_WORKING_MEM)
        pooled, terms = np.asarray(out), self._terms(x, workspace_mgr, FF_WORKING_MEM)
        down, _ = self._windows
        reduce_windows(self._ufunc, self._rows(terms, pooled, make), pooled, axis=HEIGHT, window=down)
        if self.pooling_type is PoolingType.AVG:
            pooled /= self._divisor(x)
        elif self.pooling_type is PoolingType.PNORM:
            pooled **= 1.0 / self._norm
        if training:
            self._kept = x, out
        return batch_first(out)

    @property
    def _ufunc(self) -> np.ufunc:
        return np.maximum if self.pooling_type is PoolingType.MAX else np.add

    @property
    def _norm(self) -> int:
        return self.pnorm or 1

    def _terms(self, x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Plain:
        """Return what is reduced, ``[channels, height, width, batch]`` with its padding."""
        fill = -np.inf if self.pooling_type is PoolingType.MAX else 0.0
        source = np.asarray(batch_last(x, mgr, role, self._edges(x), fill))
        if self.pooling_type is not PoolingType.PNORM:
            return source
        terms = _maker(mgr, role)(source.shape, source.dtype)
        np.abs(source, out=terms)
        terms **= self._norm
        return terms

    def _rows(self, terms: Plain, pooled: Plain, make: Make) -> Plain:
        """Return what the windows become along the width alone."""
        rows = make((*terms.shape[:2], *pooled.shape[2:]), terms.dtype)
        reduce_windows(self._ufunc, terms, rows, axis=WIDTH, window=self._windows[1])
        return rows

    def _divisor(self, x: Array) -> Plain | int:
        windows = down, across = self._windows
        if self.avg_pool_include_pad_in_divisor:
            return down.kernel * across.kernel
        return cells_inside(windows, x.shape[2], x.shape[3], x.dtype)

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`."""
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        x, out = self._kept
        self.clear()
        edges = self._edges(x)
        role = ACTIVATION_GRAD if edges == NO_EDGES else BP_WORKING_MEM
        below = workspace_mgr.create_uninitialized(role, with_edges(x, edges), x.dtype)
        given = np.asarray(batch_last(epsilon, workspace_mgr, BP_WORKING_MEM))
        back = self._back_from_maxima if self.pooling_type is PoolingType.MAX else self._back_from_sums
        back(x, np.asarray(out), given, np.asarray(below), workspace_mgr)
        return batch_first(without_edges(below, edges, workspace_mgr, ACTIVATION_GRAD))

    def _back_from_maxima(
        self, x: Array, pooled: Plain, epsilon: Plain, below: Plain, mgr: LayerWorkspaceMgr
    ) -> None:
        down, across = self._windows
        make = _maker(mgr, BP_WORKING_MEM)
        terms = self._terms(x, mgr, BP_WORKING_MEM)
        rows = self._rows(terms, pooled, make)
        rows_epsilon = make(rows.shape, rows.dtype)
        spread_to_first(rows, pooled, epsilon, rows_epsilon, axis=HEIGHT, window=down, make=make)
        spread_to_first(terms, rows, rows_epsilon, below, axis=WIDTH, window=across, make=make)

    def _back_from_sums(
        self, x: Array, pooled: Plain, epsilon: Plain, below: Plain, mgr: LayerWorkspaceMgr
    ) -> None:
        down, across = self._windows
        make = _maker(mgr, BP_WORKING_MEM)
        share = make(epsilon.shape, epsilon.dtype)
        if self.pooling_type is PoolingType.PNORM:
            np.maximum(pooled, self.eps, out=share)
            share **= 1 - self._norm
            share *= epsilon
        else:
            np.divide(epsilon, self._divisor(x) if self.pooling_type is PoolingType.AVG else 1, out=share)
        rows = make((*below.shape[:2], *share.shape[2:]), share.dtype)
        spread(share, rows, axis=HEIGHT, window=down)
        spread(rows, below, axis=WIDTH, window=across)
        if self.pooling_type is PoolingType.PNORM:
            source = np.asarray(batch_last(x, mgr, BP_WORKING_MEM, self._edges(x)))
            slope = np.abs(source, out=make(source.shape, source.dtype))
            slope **= self._norm - 1
            below *= slope
            below *= np.sign(source, out=slope)


def _maker(mgr: LayerWorkspaceMgr, role: ArrayType) -> Make:
    """Return how to make scratch."""
    return lambda shape, dtype: np.asarray(mgr.create_uninitialized(role, shape, dtype))
