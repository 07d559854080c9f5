"""The ways through a network: forward and backward to learn, forward for outputs or all activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import ArrayType, WorkspaceArray, detach
from ndarena.errors import ArrayLocationError, ScopeError
from ndarena.nn.declared import keep
from ndarena.nn.placement import brought_in, described, left_open, placed
from ndarena.nn.recurrent import RecurrentLayer
from ndarena.nn.words import Array, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.batches import Batch
    from ndarena.nn.memory import InferenceMemory, TrainingMemory
    from ndarena.nn.wiring import Node, Wiring

__all__ = ["CarryingPass", "InferencePass", "PieceTrainingPass", "SteppingPass", "TrainingPass"]

INPUT, ACTIVATIONS = ArrayType.INPUT, ArrayType.ACTIVATIONS
ACTIVATION_GRAD, BP_WORKING_MEM = ArrayType.ACTIVATION_GRAD, ArrayType.BP_WORKING_MEM


class _Pass:
    """A batch on its way: by value (see `Node`) the arrays, their masks, and how many examples they are."""

    brings_all = False
    """Whether every layer is given its input in the place of inputs."""
    carries_states = False
    """Whether recurrent layers go on where they stopped."""
    training = False
    """Whether layers behave as in training."""

    def __init__(
        self,
        wiring: Wiring,
        memory: TrainingMemory | InferenceMemory,
        dtype: np.dtype[Any],
        batch: Batch,
    ) -> None:
        self.wiring = wiring
        self.memory = memory
        self.dtype = dtype
        self.batch = batch
        self._work = memory.work
        self._inputs = memory.inputs
        unknown = wiring.unknown
        self.values: list[Array] = batch.features + unknown
        self.masks: list[Array] = batch.features_masks + unknown
        self.examples: list[Any] = []
        for x in batch.features:  # one, mostly
            self.examples.append(len(x))
        self.examples += unknown

    def run(self, node: Node, call: Callable[[Node, Any], Any], fact: object = None) -> Any:
        """Call something inside the scratch of a node; a scope left open there is closed, and an error."""
        returned = False
        try:
            with self._work():
                result = call(node, fact)
                returned = True
        except ScopeError as error:
            if not returned:
                raise
            if self.memory.enabled:
                raise left_open(node.twin, error) from None
        return result  # it is there: what did not return was raised

    def forward(self, node: Node, mgr: LayerWorkspaceMgr) -> None:
        """Compute what a node gives, in its place, and what goes with it; inside its scratch."""
        if not node.is_layer:
            self.values[node.value] = self._vertex(node, mgr)
            return
        source, layer = node.sources[0], node.twin
        x, mask = self.values[source], self.masks[source]
        if node.is_first or self.brings_all:
            x = self._brought_in(x, mgr, are_indices=layer.takes_indices)
        if node.preprocessor is not None:
            x, mask = self._preprocessed(node, x, mask, mgr)
        if node.output is not None and self.batch.labels_masks[node.output] is not None:
            mask = self.batch.labels_masks[node.output]
        if self.carries_states:
            result = self._carried(layer, x, mask, mgr)
        else:
            result = layer.activate(x, training=self.training, workspace_mgr=mgr, mask=mask)
        if mask is not None:
            self.masks[node.value] = layer.feed_forward_mask(mask)
        self.examples[node.value] = self.examples[source]
        try:
            self.values[node.value] = mgr.validate_array_location(ACTIVATIONS, result)
        except (TypeError, ArrayLocationError):
            self.values[node.value] = placed(layer, mgr, ACTIVATIONS, result, (x,))

    def _brought_in(self, x: Array, mgr: LayerWorkspaceMgr, *, are_indices: bool) -> Array:
        """Return an input in the place of inputs; indices stay whole, as floats do not tell all apart."""
        stays = are_indices and x.dtype.kind in "iu"
        return brought_in(mgr, self._inputs.get(mgr), x, x.dtype if stays else self.dtype)

    def _preprocessed(self, node: Node, x: Array, mask: Array, mgr: LayerWorkspaceMgr) -> tuple[Array, Array]:
        """Return what the preprocessor of a layer makes of its input, and of the mask."""
        preprocessor, examples = node.preprocessor, self.examples[node.sources[0]]
        try:
            made = preprocessor.pre_process(x, examples, workspace_mgr=mgr, mask=mask)  # type: ignore[union-attr]
            if mask is not None:
                mask = preprocessor.feed_forward_mask(mask, examples)  # type: ignore[union-attr]
        except ValueError as error:
            error.add_note(
                f"what comes to {node.name} has shape {list(x.shape)}, in front of its preprocessor"
            )
            raise
        return placed(node.twin, mgr, ACTIVATIONS, made, (x,)), mask

    def _carried(self, layer: Any, x: Array, mask: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Return the activation of a layer that goes on from a state, if it has one."""
        return layer.activate(x, training=self.training, workspace_mgr=mgr, mask=mask)

    def _vertex(self, node: Node, mgr: LayerWorkspaceMgr) -> Array:
        vertex = node.twin
        if node.is_input:
            x = self.values[node.sources[0]]
            given = [self._brought_in(x, mgr, are_indices=node.brings_indices)]
        else:
            given = [self.values[source] for source in node.sources]
        masks = [self.masks[source] for source in node.sources]
        vertex.batch_size = self.examples[node.sources[0]]
        result = vertex.do_forward(*given, training=self.training, workspace_mgr=mgr, masks=masks)
        if any(mask is not None for mask in masks):
            self.masks[node.value] = vertex.feed_forward_masks(*masks)
        sizes = [self.examples[source] for source in node.flows]
        self.examples[node.value] = vertex.get_batch_size(*sizes)
        return result if node.is_input else placed(vertex, mgr, ACTIVATIONS, result, given)


class TrainingPass(_Pass):
    """One batch forward and backward, inside ``memory.whole()``."""

    training = True
    memory: TrainingMemory
    score = 0.0
    """Of the outputs that have gone backward, with what the parameters add to it."""
    _epsilons: dict[int, list[Array]]
    """By value what has arrived for it on the way backward."""
    _keeps_epsilons = False

    def forward_hidden(self) -> None:
        """Compute all values but those of the outputs."""
        mgr = self.memory.forward
        for node in self.wiring.hidden:
            self.run(node, self.forward, mgr)

    def forward_outputs(self) -> None:
        """Compute the outputs, too, for errors that come from outside."""
        for node in self.wiring.outputs:
            self.run(node, self.forward, self.memory.forward)

    def backward(
        self,
        outside: Sequence[Array] | None = None,
        *,
        penalty: Callable[[], float] | None = None,
        keep_epsilons: bool = False,
    ) -> list[np.ndarray[Any, Any] | None]:
        """Set all gradients, and the score, to which the parameters add a ``penalty``.

        Errors from ``outside``, one per output, take the place of the losses; then there is no score. The
        derivatives of the summed loss to what went in come back if they are asked for, plain.
        """
        self._epsilons, self._keeps_epsilons = {}, keep_epsilons
        for value in self.wiring.unread_by_outputs:
            self.values[value] = None
        kept: list[np.ndarray[Any, Any] | None] = [None] * len(self.wiring.inputs)
        with self.memory.epsilons() as slots:
            for node in self.wiring.backwards:
                if not node.is_input:
                    slots.turn_to(node)
                    if node.output is not None:
                        self.run(node, self._finish, outside)
                        if outside is None:
                            self.run(node, self._add_score, penalty)
                    elif node.value in self._epsilons:
                        self.run(node, self._step, self._epsilons.pop(node.value))
                if node.is_first and keep_epsilons:
                    arrived = self._epsilons.get(node.value if node.is_input else node.sources[0])
                    kept[node.sources[0]] = _plain_sum(arrived)
            self._epsilons.clear()
        return kept

    def _finish(self, node: Node, outside: Sequence[Array] | None) -> None:
        """Go forward and backward through an output, or backward alone from an error."""
        place = node.output or 0
        if outside is None:
            keep(node.twin, "labels", self.batch.labels[place])
            self.forward(node, self.memory.forward)
        for value in self.wiring.ended_by_outputs[place]:  # layers keep what they need
            self.values[value] = None
        self._hand_down(node, None if outside is None else outside[place], self.memory.backward[node.index])

    def _add_score(self, node: Node, penalty: Callable[[], float] | None) -> None:
        """Add the score of an output that has gone backward; the first one pays for all parameters."""
        regularization = penalty() if penalty is not None and node.output == 0 else 0.0
        mgr = self.memory.forward
        self.score += float(node.twin.compute_score(regularization, training=True, workspace_mgr=mgr))

    def _step(self, node: Node, epsilons: list[Array]) -> None:
        """Go backward through a node that is no output."""
        mgr = self.memory.backward[node.index]
        epsilon = epsilons.pop() if len(epsilons) == 1 else _summed(epsilons, mgr)
        self._hand_down(node, epsilon, mgr)

    def _hand_down(self, node: Node, epsilon: Array, mgr: LayerWorkspaceMgr) -> None:
        """Give to all that a node was given the derivative to it."""
        twin = node.twin
        if not node.is_layer:
            below = twin.do_backward(epsilon, workspace_mgr=mgr)
            for source, made in zip(node.flows, below, strict=True):
                self._arrive(source, placed(twin, mgr, ACTIVATION_GRAD, made, (epsilon,)))
            return
        is_read = node.learns_below or self._keeps_epsilons
        if twin.epsilon_is_read is not is_read:
            twin.epsilon_is_read = is_read
        made = twin.backprop_gradient(epsilon, workspace_mgr=mgr)
        if made is None:
            if node.learns_below:
                raise TypeError(
                    f"{described(twin)} must return an array of ACTIVATION_GRAD, not None: "
                    "layers below it learn"
                )
            return
        try:
            made = mgr.validate_array_location(ACTIVATION_GRAD, made)
        except (TypeError, ArrayLocationError):
            made = placed(twin, mgr, ACTIVATION_GRAD, made, (epsilon,))
        (source,) = node.sources
        if node.preprocessor is not None:
            turned = node.preprocessor.backprop(made, self.examples[source], workspace_mgr=mgr)
            made = placed(twin, mgr, ACTIVATION_GRAD, turned, (made,))
        self._arrive(source, made)

    def _arrive(self, value: int, epsilon: Array) -> None:
        self._epsilons.setdefault(value, []).append(epsilon)


def _plain_sum(epsilons: list[Array] | None) -> np.ndarray[Any, Any] | None:
    """Return the sum of what arrived at an input, plain; ``None`` where nothing did."""
    if not epsilons:
        return None
    total: np.ndarray[Any, Any] = np.array(detach(epsilons[0]))
    for other in epsilons[1:]:
        total += other
    return total


class PieceTrainingPass(TrainingPass):
    """One piece of series forward and backward, in which recurrent layers go on from the piece before."""

    carries_states = True

    def _carried(self, layer: Any, x: Array, mask: Array, mgr: LayerWorkspaceMgr) -> Array:
        if isinstance(layer, RecurrentLayer):
            return layer.rnn_activate_using_stored_state(x, training=True, workspace_mgr=mgr, mask=mask)
        return super()._carried(layer, x, mask, mgr)


def _summed(epsilons: list[Array], mgr: LayerWorkspaceMgr) -> Array:
    """Return the sum of what comes from several readers."""
    first, *others = epsilons
    total: Array = mgr.create_uninitialized(BP_WORKING_MEM, first.shape, first.dtype)
    np.add(first, others[0], out=total)
    for other in others[1:]:
        total += other
    return total


class InferencePass(_Pass):
    """One batch forward; the caller says where the results go."""

    memory: InferenceMemory

    def outputs(self, deliver: Callable[[Node, Array], Any]) -> list[Any]:
        """Return what ``deliver`` makes of the outputs, in their order; they end when it returns."""
        wiring, managers, values, forward = self.wiring, self.memory.forward, self.values, self.forward
        delivered: list[Any] = [None] * len(wiring.outputs)
        with self.memory.results() as slots:
            for node, ended in zip(wiring.nodes, wiring.ended, strict=True):
                slots.turn_to(node)
                self.run(node, forward, managers[node.index])
                if node.output is not None:
                    delivered[node.output] = deliver(node, values[node.value])
                    values[node.value] = None
                for value in ended:
                    values[value] = None
        return delivered

    def scored(self, labels: Sequence[Array], score: Callable[[Any], Any]) -> list[Any]:
        """Return what ``score`` asks of every output layer, which has its labels."""
        for node, own in zip(self.wiring.outputs, labels, strict=True):
            node.twin.labels = own

        def deliver(node: Node, _: Array) -> Any:
            return self.run(node, detached_score)

        def detached_score(node: Node, _: object) -> Any:
            value = score(node)
            return detach(value) if isinstance(value, WorkspaceArray) else value

        return self.outputs(deliver)

    def activations(self) -> list[np.ndarray[Any, Any]]:
        """Return all values detached, those that go in first; none shares memory with what was given."""
        self.brings_all, wiring = True, self.wiring
        given = [np.array(detach(x), order="C", copy=True) for x in self.values[: len(wiring.inputs)]]
        floats = [x.astype(self.dtype, copy=False) for x in given]
        self.values[: len(given)] = floats
        for node in wiring.nodes:
            if node.brings_indices and given[node.sources[0]].dtype.kind in "iu":
                self.values[node.sources[0]] = given[node.sources[0]]
        for node in wiring.nodes:
            if node.is_input:
                self._pass_on(node)
                continue
            self.run(node, self.forward, self.memory.detached)
            entry = detach(self.values[node.value])
            if any(share_memory(entry, earlier) for earlier in self.values[: node.value]):
                entry = entry.copy()
            self.values[node.value] = entry
        self.values[: len(given)] = floats
        for node in wiring.nodes:
            if node.is_input:
                self._pass_on(node)
        return self.values

    def _pass_on(self, node: Node) -> None:
        (source,) = node.sources
        for each in (self.values, self.masks, self.examples):
            each[node.value] = each[source]


class SteppingPass(InferencePass):
    """One batch forward, in which recurrent layers go on where they stopped."""

    carries_states = True

    def _carried(self, layer: Any, x: Array, mask: Array, mgr: LayerWorkspaceMgr) -> Array:
        if isinstance(layer, RecurrentLayer):
            return layer.rnn_time_step(x, workspace_mgr=mgr)
        return super()._carried(layer, x, mask, mgr)


class CarryingPass(InferencePass):
    """One piece of series forward, in which recurrent layers go on from the piece before, masks and all."""

    carries_states = True

    def _carried(self, layer: Any, x: Array, mask: Array, mgr: LayerWorkspaceMgr) -> Array:
        if isinstance(layer, RecurrentLayer):
            return layer.rnn_activate_using_stored_state(x, training=False, workspace_mgr=mgr, mask=mask)
        return super()._carried(layer, x, mask, mgr)
