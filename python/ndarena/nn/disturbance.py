"""A working layer in training: its input is dropped out, its weights are noisy."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ndarena._core import ArrayType
from ndarena.nn.declared import keep
from ndarena.nn.dropout import IDropout
from ndarena.nn.placement import like
from ndarena.nn.weight_noise import IWeightNoise
from ndarena.nn.words import Array, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.layer import Layer

__all__ = ["Disturbance", "disturb"]

FORWARD = ("activate", "rnn_activate_using_stored_state")


def disturb(twin: Layer) -> None:
    """Put a disturbance before the methods of a twin, if its fields ask for one."""
    dropout = None if twin.takes_indices else twin.dropout
    noise = getattr(twin, "weight_noise", None)
    if not isinstance(dropout, IDropout) and not isinstance(noise, IWeightNoise):
        return
    around = Disturbance(
        twin,
        dropout if isinstance(dropout, IDropout) else None,
        noise if isinstance(noise, IWeightNoise) else None,
    )
    kind = type(twin)
    twin._disturbance = around  # noqa: SLF001 - a free attribute of a twin
    for name in FORWARD:
        if hasattr(kind, name):
            setattr(twin, name, partial(around.forward, getattr(kind, name)))
    # As above, for a checker that knows both: they are methods of this twin alone, not of its class.
    twin.backprop_gradient = partial(around.backward, kind.backprop_gradient)  # type: ignore[method-assign]
    twin.clear = partial(around.clear, kind.clear)  # type: ignore[method-assign]


class Disturbance:
    """What stands before the methods of a twin, and what it drew for the step that is going on.

    What is drawn lies where the layer's input does: it is needed until the backward pass.
    """

    def __init__(self, twin: Layer, dropout: IDropout | None, noise: IWeightNoise | None) -> None:
        self.memory = twin._working()  # noqa: SLF001 - this is a part of the twin
        self._twin, self._dropout, self._noise = twin, dropout, noise
        self._forget()

    def _forget(self) -> None:
        self._dropped: tuple[Array] | None = None
        self._noises: dict[str, Array] = {}
        self._noisy: dict[str, Array] = {}

    def clear(self, method: Callable[..., None]) -> None:
        """Forget what was drawn, and what the layer kept."""
        self._forget()
        method(self._twin)

    def forward(
        self,
        method: Callable[..., Array],
        x: Array,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        **options: Any,
    ) -> Array:
        """Call a method with what training makes of its input and of the weights."""
        options |= {"training": training, "workspace_mgr": workspace_mgr}
        if not training:
            return method(self._twin, x, **options)
        self._forget()
        given = self._drop(x, workspace_mgr)
        self._draw_noise(workspace_mgr)
        with self._noisy_weights():
            result = method(self._twin, given, **options)
        if given is not x and result is not None and share_memory(result, given):
            return workspace_mgr.leverage_to(ArrayType.ACTIVATIONS, result)
        return result

    def backward(
        self, method: Callable[..., Array], epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr
    ) -> Array:
        """Call the method with the weights of the forward pass; its epsilon passes what was dropped out."""
        dropped, noises = self._dropped, self._noises  # the method may clear the layer
        with self._noisy_weights():
            below = method(self._twin, epsilon, workspace_mgr=workspace_mgr)
        self._forget()
        for name, noise in noises.items():
            gradient = self.memory.gradient_table[name]
            self._noise.backprop(gradient, noise=noise, out=gradient)  # type: ignore[union-attr]
        if self._dropout is None or dropped is None or below is None:
            return below
        foreign = epsilon is not None and share_memory(below, epsilon)
        out = like(workspace_mgr, ArrayType.ACTIVATION_GRAD, below) if foreign else below
        return self._dropout.backprop(below, noise=dropped[0], out=out)

    def _drop(self, x: Array, mgr: LayerWorkspaceMgr) -> Array:
        if self._dropout is None:
            return x
        noise = self._room(self._dropout.noise_shape(x.shape), x, mgr)
        self._dropped = (noise,)
        out = like(mgr, ArrayType.INPUT, x)
        return self._dropout.apply(x, noise=noise, rng=self.memory.rng, out=out)

    def _draw_noise(self, mgr: LayerWorkspaceMgr) -> None:
        if self._noise is None:
            return
        for name, param in self.memory.param_table.items():
            if self._twin.param_kind(name).follows(biases=self._noise.apply_to_biases):
                noise = self._room(self._noise.noise_shape(param.shape), param, mgr)
                out = like(mgr, ArrayType.INPUT, param)
                self._noises[name] = noise
                self._noisy[name] = self._noise.apply(param, noise=noise, rng=self.memory.rng, out=out)

    @staticmethod
    def _room(shape: tuple[int, ...] | None, x: Array, mgr: LayerWorkspaceMgr) -> Array:
        return None if shape is None else mgr.create_uninitialized(ArrayType.INPUT, shape, x.dtype)

    @contextmanager
    def _noisy_weights(self) -> Iterator[None]:
        """Let the twin see the noisy weights."""
        if not self._noisy:
            yield
            return
        keep(self._twin, "param_table", self.memory.param_table | self._noisy)
        try:
            yield
        finally:
            keep(self._twin, "param_table", self.memory.param_table)
