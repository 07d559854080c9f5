"""Normalisation over the batch, and over neighbouring channels (DL4J: ``layers.normalization``)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.feed_forward import BaseLayer
from ndarena.nn.input_type import InputType, InputTypeConvolutional
from ndarena.nn.layer import Layer, ParamKind
from ndarena.nn.preprocessors import images_of_rows
from ndarena.nn.windows import as_images, batch_first, batch_last
from ndarena.nn.words import Array, number, refuse, size_or_none

if TYPE_CHECKING:
    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.layer import Flat
    from ndarena.nn.preprocessors import InputPreProcessor

__all__ = ["BatchNormalization", "LocalResponseNormalization"]

ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM


class _Normalized(NamedTuple):
    """What the forward pass keeps: the normalised input, and statistics of the batch, ``[channels, 1]``."""

    values: Array
    mean: Array
    variance: Array
    scale: Array


class BatchNormalization(BaseLayer):
    """Values of mean 0 and variance 1 over the batch, times gamma plus beta (DL4J: ``BatchNormalization``).

    It takes ``[batch, n_in]``, ``[batch, n_in, time]`` or ``[batch, n_in, height, width]`` and gives the same
    shape. In training the statistics are those of the batch, over all steps and pixels; otherwise the running
    ones, which every iteration moves. There is no activation function.

    Parameters
    ----------
    n_in : int, optional
        Number of features or channels; by default taken from the input type.
    n_out : int, optional
        The same number.
    decay : float
        How much of the running statistics stays in an iteration.
    eps : float
        Added to the variance.
    gamma, beta : float
        Where the factor and the addend begin, or with ``lock_gamma_beta`` stay.
    lock_gamma_beta : bool
        Whether they are constants instead of parameters.
    use_log_std : bool
        Whether the parameter is ``log10`` of the standard deviation instead of the variance.
    minibatch : bool
        Off, the batch is the whole data set, and the running statistics become those of the batch.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False

    n_in: int | None = None
    n_out: int | None = None
    decay: float = 0.9
    eps: float = 1e-5
    gamma: float = 1.0
    beta: float = 0.0
    lock_gamma_beta: bool = False
    use_log_std: bool = False
    minibatch: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        for field in ("n_in", "n_out"):
            self._set(field, size_or_none(getattr(self, field), owner, field))
        if None not in {self.n_in, self.n_out} and self.n_in != self.n_out:
            refuse(owner, "n_out", self.n_out, f"must be n_in={self.n_in}")
        self._set("decay", number(self.decay, owner, "decay", least=0.0))
        if self.decay > 1.0:
            refuse(owner, "decay", self.decay, "must be at most 1")
        self._set("eps", number(self.eps, owner, "eps", least=0.0))
        for field in ("gamma", "beta"):
            self._set(field, number(getattr(self, field), owner, field))
        for field in ("lock_gamma_beta", "use_log_std", "minibatch"):
            if not isinstance(getattr(self, field), bool):
                refuse(owner, field, getattr(self, field), "must be True or False")

    def get_pre_processor(self, input_type: InputType) -> InputPreProcessor | None:
        """Return what makes rows of pixels into images, which are normalised channel by channel."""
        return images_of_rows(input_type)

    def own_input_type(self, *, first: bool) -> None:
        """Return ``None``: ``n_in`` may be that of rows, series or images."""

    def with_input_type(self, input_type: InputType) -> Self:
        """Take ``n_in`` from the input unless it is given."""
        n = input_type.shape[0] if self.n_in is None else self.n_in
        return dataclasses.replace(self, n_in=n, n_out=n)

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return ``gamma``, ``beta``, ``mean`` and ``var``, or ``log10stdev``, all ``[n_in]``."""
        n = self.n_in or self.n_out
        if n is None:
            refuse(self._owner(), "n_in", None, "must be given where no input type tells it")
        learned = () if self.lock_gamma_beta else ("gamma", "beta")
        return dict.fromkeys((*learned, "mean", self._spread_name), (n,))

    def param_kind(self, name: str) -> ParamKind:
        """Return that mean and variance follow the batches; gamma and beta are not regularised."""
        return ParamKind.GAIN if name in {"gamma", "beta"} else ParamKind.STATISTIC

    @property
    def _spread_name(self) -> str:
        return "log10stdev" if self.use_log_std else "var"

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Set gamma, beta, mean 0 and variance 1."""
        if not self.lock_gamma_beta:
            table["gamma"][...] = self.gamma
            table["beta"][...] = self.beta
        if not self.use_log_std:
            table["var"][...] = 1.0

    def instantiate(self, **options: Any) -> Self:
        """Return a working twin; see `Layer.instantiate`."""
        twin = super().instantiate(**options)
        twin._make_room()  # noqa: SLF001 - of this class
        return twin

    def _make_room(self) -> None:
        """Make what the gradients of a locked gamma and beta are written to."""
        self._of_constants: dict[str, Flat] = {
            name: np.zeros_like(self.param_table["mean"]) for name in ("gamma", "beta")
        }

    @property
    def gradient_table(self) -> dict[str, Flat]:
        """The gradients, views by name; those of a locked gamma and beta belong to no parameter."""
        table = super().gradient_table
        return {**self._of_constants, **table} if self.lock_gamma_beta else table

    def clear(self) -> None:
        """Forget what was normalised."""
        self._kept: _Normalized | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the shape of ``x``; another rank or number of channels is a `ValueError`."""
        n = len(self.param_table["mean"])
        if x.ndim not in {2, 3, 4} or x.shape[1] != n:
            self._refuse_input(f"[batch, {n}], with time or with height and width", x)
        given = _channels_of(x, workspace_mgr, FF_WORKING_MEM)
        out = _like(x, ACTIVATIONS, workspace_mgr)
        values = _channels_of(out, workspace_mgr, ACTIVATIONS)
        if training:
            self._kept = self._normalize(given, values, workspace_mgr)
            source = self._kept.values
        else:
            source = np.subtract(given, self._column("mean"), out=values)
            source *= 1.0 / np.sqrt(self._running_variance() + self.eps)
        gamma, beta = self._factors()
        np.multiply(source, gamma, out=values)
        values += beta
        return out

    def _normalize(self, given: Array, spare: Array, mgr: LayerWorkspaceMgr) -> _Normalized:
        """Return the normalised input; ``spare`` is overwritten."""
        statistics: Array = mgr.create_uninitialized(ACTIVATIONS, (3, len(given), 1), given.dtype)
        mean, variance, scale = statistics
        count = max(given.shape[1], 1)
        values: Array = mgr.create_uninitialized(ACTIVATIONS, given.shape, given.dtype)
        np.add.reduce(given, axis=1, keepdims=True, out=mean)
        mean /= count
        np.subtract(given, mean, out=values)
        np.multiply(values, values, out=spare)
        np.add.reduce(spare, axis=1, keepdims=True, out=variance)
        variance /= count
        np.add(variance, self.eps, out=scale)
        np.sqrt(scale, out=scale)
        np.divide(1.0, scale, out=scale)
        values *= scale
        return _Normalized(values, mean, variance, scale)

    def _column(self, name: str) -> Array:
        return self.param_table[name][:, None]

    def _running_variance(self) -> Array:
        spread = self._column(self._spread_name)
        return 10.0 ** (2.0 * spread) if self.use_log_std else spread

    def _factors(self) -> tuple[Array, Array]:
        """Return gamma and beta."""
        if self.lock_gamma_beta:
            return self.gamma, self.beta
        return self._column("gamma"), self._column("beta")

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`.

        The gradients of the statistics are the steps that lead to the running ones.
        """
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        normalized = self._kept
        self.clear()
        given = _channels_of(epsilon, workspace_mgr, BP_WORKING_MEM)
        below = _like(epsilon, ACTIVATION_GRAD, workspace_mgr)
        values = _channels_of(below, workspace_mgr, ACTIVATION_GRAD)
        table = self.gradient_table
        np.add.reduce(given, axis=1, out=table["beta"])
        np.multiply(given, normalized.values, out=values)
        np.add.reduce(values, axis=1, out=table["gamma"])
        count = max(given.shape[1], 1)
        np.multiply(normalized.values, table["gamma"][:, None] / count, out=values)
        np.subtract(given, values, out=values)
        values -= table["beta"][:, None] / count
        values *= normalized.scale * self._factors()[0]
        self._step_statistics(normalized)
        return below

    def _step_statistics(self, batch: _Normalized) -> None:
        """Set the steps from the running statistics to those that follow this batch."""
        kept = self.decay if self.minibatch else 0.0
        running, table = self._running_variance(), self.gradient_table
        table["mean"][...] = ((1.0 - kept) * (self._column("mean") - batch.mean))[:, 0]
        if self.use_log_std:
            following = np.log10(np.sqrt(kept * running + (1.0 - kept) * batch.variance))
            table["log10stdev"][...] = (self._column("log10stdev") - following)[:, 0]
        else:
            table["var"][...] = ((1.0 - kept) * (running - batch.variance))[:, 0]


def _channels_of(x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
    """Return ``[channels, everything else]``: a view where ``x`` lies so, or has rank 2."""
    if x.ndim == 2:
        return x.T
    return batch_last(as_images(x), mgr, role).reshape(x.shape[1], -1)


def _like(x: Array, role: ArrayType, mgr: LayerWorkspaceMgr) -> Array:
    """Make an array of the shape of ``x``, with the batch last in memory unless the rank is 2."""
    if x.ndim == 2:
        return mgr.create_uninitialized(role, x.shape, x.dtype)
    made = mgr.create_uninitialized(role, (*x.shape[1:], len(x)), x.dtype)
    return made.transpose(x.ndim - 1, *range(x.ndim - 1))


class LocalResponseNormalization(Layer):
    """``x / (k + alpha * s) ** beta``, s the sum of squares of ``n`` channels (DL4J: the class of that name).

    It takes images ``[batch, channels, height, width]`` and gives the same shape. The channels are those up
    to ``n // 2`` away, as far as they are there.

    Parameters
    ----------
    k, n, alpha, beta : float
        The numbers of the formula; ``n`` is whole.

    Further parameters: those of `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    inherits_dropout: ClassVar[bool] = False
    input_kind: ClassVar[type[InputType] | None] = InputTypeConvolutional

    k: float = 2.0
    n: float = 5
    alpha: float = 1e-4
    beta: float = 0.75

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        owner = self._owner()
        for field in ("k", "alpha", "beta"):
            self._set(field, number(getattr(self, field), owner, field))
        self._set("n", number(self.n, owner, "n", least=1.0))
        if self.n != int(self.n):
            refuse(owner, "n", self.n, "must be a whole number")

    def clear(self) -> None:
        """Forget input and sums."""
        self._kept: tuple[Array, Array] | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the shape of ``x``; another rank is a `ValueError`."""
        if x.ndim != 4:
            self._refuse_input("[batch, channels, height, width]", x)
        images = batch_last(x, workspace_mgr, FF_WORKING_MEM)
        role = ACTIVATIONS if training else FF_WORKING_MEM
        base = workspace_mgr.create_uninitialized(role, images.shape, images.dtype)
        self._around(images * images, base)
        base *= self.alpha
        base += self.k
        out: Array = workspace_mgr.create_uninitialized(ACTIVATIONS, images.shape, images.dtype)
        np.power(base, -self.beta, out=out)
        out *= images
        if training:
            self._kept = x, base
        return batch_first(out)

    def _around(self, values: Array, out: Array) -> None:
        """Set ``out`` to the sums over neighbouring channels."""
        channels = len(values)
        out[...] = values
        for away in range(1, min(int(self.n) // 2, channels - 1) + 1):
            out[away:] += values[:-away]
            out[:-away] += values[away:]

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to the input, in its shape; without a forward pass before: `RuntimeError`."""
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training must come first")
        x, base = self._kept
        self.clear()
        images = batch_last(x, workspace_mgr, BP_WORKING_MEM)
        given = batch_last(epsilon, workspace_mgr, BP_WORKING_MEM)
        direct = np.power(base, -self.beta)
        direct *= given
        across = direct * images
        across /= base
        below = workspace_mgr.create_uninitialized(ACTIVATION_GRAD, images.shape, images.dtype)
        self._around(across, below)
        below *= images
        below *= -2.0 * self.alpha * self.beta
        below += direct
        return batch_first(below)
