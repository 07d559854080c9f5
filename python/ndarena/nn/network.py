"""A network that is a chain of layers (DL4J: ``MultiLayerNetwork``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ndarena.data import DataSet, MultiDataSet
from ndarena.nn.batches import inputs_of, is_source, numeric
from ndarena.nn.configuration import MultiLayerConfiguration
from ndarena.nn.evaluating import Evaluating
from ndarena.nn.learner import check_target, delivered
from ndarena.nn.passes import InferencePass
from ndarena.nn.recurrent import RecurrentLayer
from ndarena.nn.wiring import Wiring, chained
from ndarena.nn.words import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ndarena._core import Workspace
    from ndarena.nn.batches import Batch
    from ndarena.nn.layer import Flat, Layer
    from ndarena.nn.passes import TrainingPass
    from ndarena.nn.wiring import Node
    from ndarena.nn.words import Array

__all__ = ["MultiLayerNetwork"]

E = TypeVar("E", bound=Any)
Source = Any  # an iterable of data sets, a DataSet, or an array of features


class MultiLayerNetwork(Evaluating):
    """A chain of layers that learns from data (DL4J: ``MultiLayerNetwork``).

    Features are ``[N, ...]`` arrays of numbers, in workspaces or not; what comes out is a plain array of the
    configuration's dtype, unless a workspace is handed over.

    Parameters
    ----------
    configuration : MultiLayerConfiguration
        What the network is made of. It is never changed.

    Raises
    ------
    TypeError
        Something else than a configuration.
    """

    configuration_class = MultiLayerConfiguration
    data_classes = (DataSet,)

    def __init__(self, configuration: MultiLayerConfiguration) -> None:
        super().__init__(configuration)

    def _members(self) -> list[tuple[str, int, Layer]]:
        layers = self.configuration.complete_layers()
        return [(str(index), index, layer) for index, layer in enumerate(layers)]

    def _data_set(self, data: Any, labels: Any = None) -> Any:
        return super()._data_set(_single(data), labels)

    def _checked(self, data: object) -> Any:
        return super()._checked(_single(data))

    def _wire(self) -> Wiring:
        return chained(self.layers, self.configuration.complete_preprocessors())

    # Learning.

    def _labelled(self, features: Array, labels: Array) -> DataSet:
        return DataSet(features, labels)

    def _heard(self, work: TrainingPass, batch: Batch) -> list[Array]:
        return [*batch.features, *work.values[1:-1]]

    def _remember(self, batch: Batch) -> None:
        (features,) = batch.features
        self.input = features if isinstance(features, np.ndarray) else None

    def calculate_gradients(
        self, features: Array, labels: Array, *, features_mask: Array = None, labels_mask: Array = None
    ) -> tuple[dict[str, Flat], Flat | None]:
        """Return the gradients by name, summed over the examples, and the epsilon of the input."""
        (epsilon,) = self._gradient_of(DataSet(features, labels, features_mask, labels_mask))
        return self._gradients_by_name(), epsilon

    def backprop_gradient(self, epsilon: Array) -> tuple[Flat, Flat | None]:
        """Return gradient and input epsilon of an error that comes from outside.

        ``epsilon`` is its derivative to the output of the `feed_forward` with ``keep_inputs`` just before.
        Without one: `RuntimeError`.
        """
        gradient, (below,) = self._backward_from([epsilon])
        return gradient, below

    # Asking.

    def _batch(self, x: Array, features_mask: Array = None, labels_mask: Array = None) -> Batch:
        if features_mask is None and labels_mask is None:
            return inputs_of([x], self.wiring, self.dtype)
        return inputs_of([x], self.wiring, self.dtype, [features_mask], [labels_mask])

    def output(  # noqa: PLR0913 - what DL4J has overloads for
        self,
        x: Source,
        *,
        training: bool = False,
        features_mask: Array = None,
        labels_mask: Array = None,
        workspace: Workspace | None = None,
        out: Array = None,
    ) -> Array:
        """Return the activation of the last layer.

        Parameters
        ----------
        x : array_like or iterable of DataSet
            Features, ``[N, ...]``; of an iterator the outputs of all batches are joined.
        training : bool
            Whether layers behave as in training.
        features_mask, labels_mask : array_like, optional
            Given to the layers, and to the last one.
        workspace : Workspace, optional
            An open one, in which the result shall live.
        out : array, optional
            Where the result is written.

        Raises
        ------
        ScopeError
            The workspace is closed.
        ValueError
            Workspace and ``out`` are both given, or the features do not fit.
        """
        if workspace is not None or out is not None:
            check_target(workspace, out)
        if is_source(x):
            joined = self._output_of_all(x, training=training)
            return joined if workspace is None and out is None else delivered(joined, workspace, out)
        batch = self._batch(x, features_mask, labels_mask)

        def deliver(_: Node, result: Array) -> Array:
            return delivered(result, workspace, out, batch.features)

        return self._ask(batch, InferencePass.outputs, deliver, training=training)[0]

    def _output_of_all(self, batches: Iterable[Any], *, training: bool) -> Flat:
        parts = [
            self.output(
                data.features,
                training=training,
                features_mask=data.features_mask,
                labels_mask=data.labels_mask,
            )
            for data in map(self._checked, batches)
        ]
        if not parts:
            raise ValueError("the iterator gave no batch")
        return np.concatenate(parts)

    def feed_forward(
        self,
        x: Array,
        *,
        training: bool = False,
        features_mask: Array = None,
        labels_mask: Array = None,
        keep_inputs: bool = False,
    ) -> list[Flat]:
        """Return the activations of all layers, plain arrays, the input first.

        With ``keep_inputs``, in training, `backprop_gradient` may follow.
        """
        batch = self._batch(x, features_mask, labels_mask)
        if training and keep_inputs:
            return self._keep_forward(batch)
        return self._ask(batch, InferencePass.activations, training=training)

    def rnn_time_step(self, x: Array, *, workspace: Workspace | None = None) -> Array:
        """Return the output for steps that follow on those before; recurrent layers go on.

        Parameters
        ----------
        x : array_like
            ``[N, n_in, time]``, or one step ``[N, n_in]``, of which the output has no time either.
        workspace : Workspace, optional
            An open one, in which the result shall live.
        """
        check_target(workspace, None)
        x = numeric(x, "features")
        one_step = x.ndim == 2
        batch = self._batch(x[:, :, None] if one_step else x)
        return self._next_outputs(batch, workspace, one_step=one_step)[0]

    def _recurrent(self, layer: int | str) -> RecurrentLayer:
        names = [twin.name for twin in self.layers]
        index = names.index(layer) if layer in names else layer
        if not is_whole(index) or not -len(names) <= index < len(names):
            raise ValueError(f"there is no layer {layer!r}; there are {', '.join(map(str, names))}")
        twin = self.layers[index]
        if not isinstance(twin, RecurrentLayer):
            raise TypeError(f"layer {layer!r} ({type(twin).__name__}) is not recurrent: it has no state")
        return twin

    def do_evaluation(self, iterator: Iterable[DataSet] | DataSet, *evaluations: E) -> tuple[E, ...]:
        """Give every batch's labels and outputs to all evaluations, in one pass; return them.

        An evaluation has ``eval(labels, predictions, mask)``, and takes ``metadata`` if a batch has it. It
        must not keep the arrays, and is called while no workspace is current.
        """
        self._evaluate_all(iterator, {0: evaluations})
        return evaluations


def _single(data: Any) -> Any:
    """Return a `MultiDataSet` with one array of each kind as a `DataSet`, and anything else as it is."""
    if not isinstance(data, MultiDataSet):
        return data
    counts = len(data.features), len(data.labels or [None])
    if counts != (1, 1):
        raise ValueError(
            f"a MultiLayerNetwork takes one array of features and one of labels, not {counts[0]} and"
            f" {counts[1]}: a ComputationGraph takes several"
        )
    kinds = data.features, data.labels, data.features_masks, data.labels_masks
    features, labels, features_mask, labels_mask = (None if kind is None else kind[0] for kind in kinds)
    return DataSet(features, labels, features_mask, labels_mask, data.metadata)
