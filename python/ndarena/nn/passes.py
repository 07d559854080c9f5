"""The ways through a chain of layers: forward and backward to learn, forward for one output or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import ArrayType, WorkspaceArray, detach
from ndarena.nn.placement import brought_in, described, in_scratch, placed
from ndarena.nn.words import Array, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.layer import Layer
    from ndarena.nn.memory import InferenceMemory, TrainingMemory

__all__ = ["InferencePass", "Masks", "TrainingPass"]

INPUT, ACTIVATIONS = ArrayType.INPUT, ArrayType.ACTIVATIONS
ACTIVATION_GRAD = ArrayType.ACTIVATION_GRAD


class Masks:
    """The masks of a batch on their way: that of the labels for the last layer, of features for others."""

    def __init__(self, features: Array, labels: Array, layers: int) -> None:
        self._mask, self._labels, self._last = features, labels, layers - 1

    def of(self, layer: Layer) -> Array:
        """Return the mask of a layer; they are asked for in order."""
        if layer.index == self._last:
            return self._labels
        mask = self._mask
        if mask is not None:
            self._mask = layer.feed_forward_mask(mask)
        return mask


class _Pass:
    """Layers, and the memory in which they are called."""

    def __init__(
        self,
        layers: list[Layer],
        memory: TrainingMemory | InferenceMemory,
        dtype: np.dtype[Any],
        *,
        training: bool,
    ) -> None:
        self.layers, self.dtype, self.training = layers, dtype, training
        self._work, self._tolerant = memory.work, not memory.enabled

    def run(self, layer: Layer, call: Callable[[], Array]) -> Array:
        """Call a layer inside its scratch."""
        return in_scratch(layer, self._work(), call, tolerant=self._tolerant)

    def forward(
        self, layer: Layer, x: Array, mask: Array, mgr: LayerWorkspaceMgr, *, bring: bool = False
    ) -> Array:
        """Return the activation of a layer in its place; ``bring`` puts its input into the scratch first."""

        def call() -> Array:
            source = brought_in(mgr, x, self.dtype, INPUT) if bring else x
            result = layer.activate(source, training=self.training, workspace_mgr=mgr, mask=mask)
            return placed(layer, mgr, ACTIVATIONS, result, source)

        return self.run(layer, call)


class TrainingPass(_Pass):
    """One batch forward and backward, inside ``memory.whole()``."""

    def __init__(self, layers: list[Layer], memory: TrainingMemory, dtype: np.dtype[Any]) -> None:
        super().__init__(layers, memory, dtype, training=True)
        self._memory = memory
        self._output: Any = layers[-1]

    def forward_hidden(self, features: Array, masks: Masks) -> list[Array]:
        """Return the activations, the input first, without that of the output layer."""
        mgr = self._memory.forward
        x = brought_in(mgr, features, self.dtype, INPUT)
        activations = [x]
        for layer in self.layers[:-1]:
            x = self.forward(layer, x, masks.of(layer), mgr)
            activations.append(x)
        return activations

    def backward(
        self, x: Array, labels: Array, mask: Array, *, keep_epsilon: bool = False
    ) -> np.ndarray[Any, Any] | None:
        """Set all gradients and return the epsilon of the input; ``x`` is what the output layer is given."""
        with self._memory.pair():
            epsilon = self.run(self._output, lambda: self._finish(x, labels, mask))
            for step, layer in enumerate(reversed(self.layers[:-1]), 1):
                if epsilon is None:
                    self._refuse_to_stop(len(self.layers) - step)
                    break
                epsilon = self.run(layer, self._step(layer, epsilon, self._memory.backward(step)))
            return detach(epsilon) if keep_epsilon and epsilon is not None else None

    def score(self, penalty: Callable[[], float]) -> float:
        """Return the score of the batch."""

        def call() -> float:
            value: float = self._output.compute_score(
                penalty(), training=True, workspace_mgr=self._memory.forward
            )
            return value

        return float(self.run(self._output, call))

    def _finish(self, x: Array, labels: Array, mask: Array) -> Array:
        """Forward and backward through the output layer."""
        output, mgr = self._output, self._memory.forward
        output.labels = labels
        placed(
            output,
            mgr,
            ACTIVATIONS,
            output.activate(x, training=True, workspace_mgr=mgr, mask=mask),
            x,
        )
        return self._step(output, None, self._memory.backward(0))()

    @staticmethod
    def _step(layer: Layer, epsilon: Array, mgr: LayerWorkspaceMgr) -> Callable[[], Array]:
        def call() -> Array:
            below = layer.backprop_gradient(epsilon, workspace_mgr=mgr)
            return None if below is None else placed(layer, mgr, ACTIVATION_GRAD, below, epsilon)

        return call

    def _refuse_to_stop(self, index: int) -> None:
        """Refuse that the backward pass ends early, unless nothing below learns."""
        if any(len(layer.params) for layer in self.layers[:index]):
            raise TypeError(
                f"{described(self.layers[index])} must return an array of ACTIVATION_GRAD, not None: "
                "layers below it learn"
            )


class InferencePass(_Pass):
    """One batch forward; the caller says where the results go."""

    def __init__(
        self, layers: list[Layer], memory: InferenceMemory, dtype: np.dtype[Any], *, training: bool
    ) -> None:
        super().__init__(layers, memory, dtype, training=training)
        self._memory = memory

    def output(self, x: Array, masks: Masks, deliver: Callable[[Array], Any]) -> Any:
        """Return what ``deliver`` makes of the last activation, which ends when it returns."""
        with self._memory.pair():
            for layer in self.layers:
                mgr = self._memory.layer(layer.index)
                x = self.forward(layer, x, masks.of(layer), mgr, bring=layer.index == 0)
            return deliver(x)

    def scored(self, x: Array, labels: Array, masks: Masks, score: Callable[[Any], Any]) -> Any:
        """Return what ``score`` asks of the output layer, given to it with a manager."""
        output: Any = self.layers[-1]
        output.labels = labels

        def call() -> Any:
            value = score(output)
            return detach(value) if isinstance(value, WorkspaceArray) else value

        return self.output(x, masks, lambda _: self.run(output, call))

    def activations(self, x: Array, masks: Masks) -> list[np.ndarray[Any, Any]]:
        """Return all activations detached, the input first; none shares memory with ``x`` or another."""
        entries: list[np.ndarray[Any, Any]] = [np.array(detach(x), self.dtype, order="C", copy=True)]
        for layer in self.layers:
            mgr = self._memory.detached
            entry = self.forward(layer, entries[-1], masks.of(layer), mgr, bring=True)
            if any(share_memory(entry, earlier) for earlier in entries):
                entry = entry.copy()
            entries.append(entry)
        return entries
