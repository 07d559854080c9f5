"""A network that is a graph of layers and other vertices (DL4J: ``ComputationGraph``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ndarena.data import DataSet, MultiDataSet
from ndarena.nn.batches import batch_of, inputs_of, is_array, is_source, listed, numeric
from ndarena.nn.evaluating import Evaluating
from ndarena.nn.graph_configuration import ComputationGraphConfiguration
from ndarena.nn.layer import Layer
from ndarena.nn.learner import check_target, delivered
from ndarena.nn.passes import InferencePass
from ndarena.nn.recurrent import RecurrentLayer
from ndarena.nn.wiring import Wiring, wired
from ndarena.nn.words import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndarena._core import Workspace
    from ndarena.nn.batches import Batch
    from ndarena.nn.layer import Flat
    from ndarena.nn.passes import TrainingPass
    from ndarena.nn.wiring import Node
    from ndarena.nn.words import Array

__all__ = ["ComputationGraph"]

E = TypeVar("E", bound=Any)
Data = DataSet | MultiDataSet


class ComputationGraph(Evaluating):
    """Layers and other vertices, joined at will, that learn from data (DL4J: ``ComputationGraph``).

    What goes in and comes out is one array per input and output, in their order. Everything else is as in
    `MultiLayerNetwork`.

    Parameters
    ----------
    configuration : ComputationGraphConfiguration
        What the network is made of. It is never changed.

    Raises
    ------
    TypeError
        Something else than a configuration.
    """

    configuration_class = ComputationGraphConfiguration
    data_classes = (DataSet, MultiDataSet)

    def __init__(self, configuration: ComputationGraphConfiguration) -> None:
        super().__init__(configuration)

    @property
    def vertices(self) -> dict[str, Any]:
        """All working layers and other vertices by name, in topological order."""
        return {node.name: node.twin for node in self.wiring.nodes if not node.is_input}

    def _members(self) -> list[tuple[str, int, Layer]]:
        first = len(self.configuration.inputs)
        return [
            (name, index, thing if thing.name is not None else dataclasses.replace(thing, name=name))
            for index, (name, thing, *_) in enumerate(self.configuration.complete_nodes(), first)
            if isinstance(thing, Layer)
        ]

    def _wire(self) -> Wiring:
        inputs, layers = self.configuration.inputs, iter(self.layers)
        members = []
        for index, node in enumerate(self.configuration.complete_nodes(), len(inputs)):
            sources, thing = node.inputs, node.thing
            if isinstance(thing, Layer):
                members.append((node.name, next(layers), sources, node.preprocessor))
                continue
            if thing.reference is not None:
                sources += (thing.reference,)
            members.append((node.name, thing.instantiate(index=index, name=node.name), sources, None))
        types = tuple(self.configuration.input_types or ())
        return dataclasses.replace(wired(inputs, members, self.configuration.outputs), input_types=types)

    # Learning.

    def _labelled(self, features: Any, labels: Any) -> MultiDataSet:
        return MultiDataSet(listed(features), listed(labels))

    def _heard(self, work: TrainingPass, batch: Batch) -> dict[str, Array]:
        hidden = {node.name: work.values[node.value] for node in self.wiring.hidden if not node.is_input}
        return dict(zip(self.wiring.inputs, batch.features, strict=True)) | hidden

    def _remember(self, batch: Batch) -> None:
        self.input = [x if isinstance(x, np.ndarray) else None for x in batch.features]

    def calculate_gradients(
        self,
        features: Sequence[Array],
        labels: Sequence[Array],
        *,
        features_masks: Sequence[Array] | None = None,
        labels_masks: Sequence[Array] | None = None,
    ) -> tuple[dict[str, Flat], list[Flat | None]]:
        """Return the gradients by name, summed over the examples, and the epsilons of the inputs."""
        data = MultiDataSet(listed(features), listed(labels), features_masks, labels_masks)
        epsilons = self._gradient_of(data)
        return self._gradients_by_name(), epsilons

    def backprop_gradient(self, *epsilons: Array) -> tuple[Flat, list[Flat | None]]:
        """Return gradient and input epsilons of errors that come from outside, one per output.

        They are derivatives to the outputs of the `feed_forward` with ``keep_inputs`` just before. Without
        one: `RuntimeError`.
        """
        return self._backward_from(epsilons)

    # Asking.

    def _batch(
        self,
        inputs: Sequence[Array],
        features_masks: Sequence[Array] | None = None,
        labels_masks: Sequence[Array] | None = None,
    ) -> Batch:
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple) and any(map(is_array, inputs[0])):
            raise TypeError("the arrays of several inputs are given one by one: (*inputs), not (inputs)")
        return inputs_of(inputs, self.wiring, self.dtype, features_masks, labels_masks)

    def output(
        self,
        *inputs: Any,
        training: bool = False,
        features_masks: Sequence[Array] | None = None,
        labels_masks: Sequence[Array] | None = None,
        workspace: Workspace | None = None,
        out: Sequence[Array] | None = None,
    ) -> list[Array]:
        """Return the activations of the outputs, in their order.

        Parameters
        ----------
        *inputs : array_like
            Features, ``[N, ...]``, one array per input; or one iterator, of which the outputs of all batches
            are joined.
        training : bool
            Whether layers behave as in training.
        features_masks, labels_masks : sequence of array_like, optional
            One per input, and one per output; each may be ``None``.
        workspace : Workspace, optional
            An open one, in which the results shall live.
        out : sequence of array, optional
            Where the results are written, one per output.

        Raises
        ------
        ScopeError
            The workspace is closed.
        ValueError
            Workspace and ``out`` are both given, or the features do not fit.
        """
        check_target(workspace, out)
        targets = [None] * len(self.wiring.outputs) if out is None else list(out)
        if len(targets) != len(self.wiring.outputs):
            raise ValueError(f"out must hold {len(self.wiring.outputs)} arrays, not {len(targets)}")
        if len(inputs) == 1 and is_source(inputs[0]):
            joined = self._outputs_of_all(inputs[0], training=training)
            pairs = zip(joined, targets, strict=True)
            return [delivered(result, workspace, target) for result, target in pairs]
        batch = self._batch(inputs, features_masks, labels_masks)

        def deliver(node: Node, result: Array) -> Array:
            return delivered(result, workspace, targets[node.output or 0], batch.features)

        return self._outputs(batch, deliver, training=training)

    def _outputs_of_all(self, batches: Iterable[Any], *, training: bool) -> list[Flat]:
        parts = []
        for data in batches:
            batch = batch_of(self._checked(data), self.wiring, self.dtype)
            outputs = self.output(
                *batch.features,
                training=training,
                features_masks=batch.features_masks,
                labels_masks=batch.labels_masks,
            )
            parts.append(outputs)
        if not parts:
            raise ValueError("the iterator gave no batch")
        return [np.concatenate(of_one) for of_one in zip(*parts, strict=True)]

    def output_single(self, *inputs: Any, **options: Any) -> Array:
        """Return the activation of the only output, as `output` does; several outputs: `ValueError`."""
        if len(self.wiring.outputs) != 1:
            raise ValueError(f"the graph has {len(self.wiring.outputs)} outputs: use output()")
        if options.get("out") is not None:
            options["out"] = [options["out"]]
        return self.output(*inputs, **options)[0]

    def feed_forward(
        self,
        *inputs: Array,
        training: bool = False,
        features_masks: Sequence[Array] | None = None,
        labels_masks: Sequence[Array] | None = None,
        keep_inputs: bool = False,
    ) -> dict[str, Flat]:
        """Return the activations of all vertices by name, plain arrays, the inputs included.

        With ``keep_inputs``, in training, `backprop_gradient` may follow.
        """
        batch = self._batch(inputs, features_masks, labels_masks)
        if training and keep_inputs:
            values = self._keep_forward(batch)
        else:
            values = self._ask(batch, InferencePass.activations, training=training)
        return {node.name: values[node.value] for node in self.wiring.nodes}

    def rnn_time_step(self, *inputs: Array, workspace: Workspace | None = None) -> list[Array]:
        """Return the outputs for steps that follow on those before; recurrent layers go on.

        Parameters
        ----------
        *inputs : array_like
            ``[N, n_in, time]``, or one step ``[N, n_in]``. If all are of rank 2 the outputs have no time.
        workspace : Workspace, optional
            An open one, in which the results shall live.
        """
        check_target(workspace, None)
        arrays = [numeric(x, "features") for x in inputs]
        one_step = all(x.ndim == 2 for x in arrays)
        series = [one_step and source in self._series_inputs() for source in range(len(arrays))]
        batch = self._batch([x[:, :, None] if s else x for x, s in zip(arrays, series, strict=True)])

        return self._next_outputs(batch, workspace, one_step=one_step)

    def _series_inputs(self) -> set[int]:
        """Return the inputs that lead to a recurrent layer without a layer of another kind between."""
        reached: set[int] = set()
        for node in reversed(self.wiring.nodes):
            if (node.is_layer and isinstance(node.twin, RecurrentLayer)) or node.value in reached:
                reached.update(node.sources)
        return {i for i in range(len(self.wiring.inputs)) if i in reached}

    def _recurrent(self, layer: int | str) -> RecurrentLayer:
        if is_whole(layer) and -len(self.layers) <= layer < len(self.layers):
            twin: Any = self.layers[layer]
        elif layer in self.vertices:
            twin = self.vertices[str(layer)]
        else:
            raise ValueError(f"there is no vertex {layer!r}; there are {', '.join(self.vertices)}")
        if not isinstance(twin, RecurrentLayer):
            raise TypeError(f"{layer!r} ({type(twin).__name__}) is not recurrent: it has no state")
        return twin

    def do_evaluation(
        self, iterator: Iterable[Data] | Data, evaluations: Mapping[int, Sequence[E]]
    ) -> Mapping[int, Sequence[E]]:
        """Give every batch's labels and outputs to evaluations, by index of the output; return them.

        An evaluation has ``eval(labels, predictions, mask)``, and takes ``metadata`` if a batch has it. It
        must not keep the arrays, and is called while no workspace is current.
        An index that is no output's is a `ValueError`.
        """
        lists = evaluations.values() if isinstance(evaluations, Mapping) else [None]
        if not all(isinstance(those, list | tuple) for those in lists):
            given = f"{evaluations!r:.100}"
            raise TypeError(f"evaluations must be lists by index of the output, {{0: [...]}}, not {given}")
        self._evaluate_all(iterator, evaluations)
        return evaluations
