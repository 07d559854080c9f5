"""A network that is a chain of layers (DL4J: ``MultiLayerNetwork``)."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ndarena._core import (
    Workspace,
    check_if_workspace_exists,
    detach,
    get_workspace_for_current_thread,
)
from ndarena.data import DataSet, DataSetIterator
from ndarena.errors import ScopeError
from ndarena.evaluation import Evaluation
from ndarena.nn.base import Network, note_workspaces
from ndarena.nn.batches import dataset_of, epochs_of, labelled, mask_of, numeric
from ndarena.nn.choices import WorkspaceMode
from ndarena.nn.configuration import MultiLayerConfiguration
from ndarena.nn.layer import Flat, Layer, ParamPart, cut
from ndarena.nn.memory import OUTPUT_MEM, InferenceMemory, activations_configuration
from ndarena.nn.passes import InferencePass, Masks, TrainingPass
from ndarena.nn.update import NetworkUpdater
from ndarena.nn.words import Array, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


__all__ = ["MultiLayerNetwork"]

E = TypeVar("E", bound=Any)
Source = Any  # an iterable of data sets, a DataSet, or an array of features


class MultiLayerNetwork(Network):
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

    def __init__(self, configuration: MultiLayerConfiguration) -> None:
        if not isinstance(configuration, MultiLayerConfiguration):
            raise TypeError(f"expected a MultiLayerConfiguration, not {type(configuration).__name__}")
        super().__init__(configuration)
        self._score = float("nan")
        self.input: Array = None
        self.init()

    # Parameters.

    def init(self, params: Array = None) -> None:
        """Draw the parameters anew from the seed, or take those given; the updater begins anew.

        Raises
        ------
        ValueError
            Parameters of another shape.
        """
        conf = self.configuration
        whole = conf.complete_layers()
        size = sum(layer.num_params() for layer in whole)
        self._params: Flat = np.zeros(size, self.dtype)
        self._gradient: Flat = np.zeros(size, self.dtype)
        self.layers: list[Layer] = []
        self.param_layout: list[ParamPart] = []
        rng = np.random.default_rng(conf.seed)
        offset = 0
        for index, layer in enumerate(whole):
            here = slice(offset, offset + layer.num_params())
            twin = layer.instantiate(
                index=index, params=self._params[here], gradient=self._gradient[here], rng=rng
            )
            if len(twin.params):
                twin.init_params(twin.param_table, rng)
            for part in twin.param_layout:
                moved = part["offset"] + offset
                self.param_layout.append({**part, "name": f"{index}_{part['name']}", "offset": moved})
            self.layers.append(twin)
            offset = here.stop
        if params is not None:
            self.set_params(params)
        self.updater = NetworkUpdater(
            self.layers, conf, self._params, self.param_layout, lambda: self._training().whole()
        )

    # Learning.

    def fit(self, data: Source, labels: Array = None, *, epochs: int = 1) -> None:
        """Learn.

        Parameters
        ----------
        data : iterable of DataSet, DataSet, or array_like
            Batches; or one batch, as features with ``labels`` or as a data set, of which every epoch is one
            iteration.
        labels : array_like, optional
            ``[N, n_out]``, with features.
        epochs : int
            How often to go through the data. Epochs over an iterable are counted in `epoch_count`.

        Raises
        ------
        ValueError
            Data that do not fit the network, or no second epoch where one is asked for.
        RuntimeError
            The network is learning already.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer) or epochs < 0:
            raise ValueError(f"epochs must be a whole number from 0 on, not {epochs!r}")
        batch = self._single_batch(data, labels)
        if not self._fitting.acquire(blocking=False):
            raise RuntimeError("this network is learning already")
        try:
            if batch is not None:
                for _ in range(epochs):
                    self._fit_batch(batch)
            else:
                for epoch in epochs_of(data, epochs):
                    self._fit_epoch(epoch)
        except MemoryError as error:
            note_workspaces(error)
            raise
        finally:
            self._forget()
            self._fitting.release()

    @staticmethod
    def _single_batch(data: Source, labels: Array) -> DataSet | None:
        """Return the one batch that is given; ``None`` for an iterable of batches."""
        if labels is not None:
            return DataSet(data, labels)
        if isinstance(data, DataSet):
            return data
        if hasattr(data, "dtype") or not hasattr(data, "__iter__"):
            raise TypeError(
                f"fit takes an iterable of DataSet, a DataSet, or features and labels, not {data!r:.100}"
            )
        return None

    def _fit_epoch(self, batches: Iterable[DataSet]) -> None:
        self._tell("on_epoch_start")
        for data in batches:
            self._fit_batch(dataset_of(data))
        self._tell("on_epoch_end")
        self.epoch_count += 1

    def _fit_batch(self, data: DataSet) -> None:
        """Do one iteration; a network without parameters has nothing to learn."""
        if not len(self._params):
            return
        self._learn_gradient(data, self._tell if self._listeners else _silence)
        self._tell("on_gradient_calculation")
        step = self.updater.update(
            self._gradient, iteration=self.iteration_count, epoch=self.epoch_count, batch_size=len(data)
        )
        self._params -= step
        self.updater.constrain()
        self._training().settle()
        self._tell("iteration_done", self.iteration_count, self.epoch_count)
        self.iteration_count += 1

    def _learn_gradient(
        self, data: DataSet, tell: Callable[..., None], *, keep_epsilon: bool = False
    ) -> Flat | None:
        """Set gradient and score of a batch; return the epsilon of the input if it is asked for."""
        features, labels, features_mask, labels_mask = labelled(data, self.dtype)
        self.input = None if not isinstance(features, np.ndarray) else features
        masks = self._masks(features_mask, labels_mask)
        memory = self._training()
        with memory.whole():
            work = TrainingPass(self.layers, memory, self.dtype)
            activations = work.forward_hidden(features, masks)
            if tell is not _silence:
                tell("on_forward_pass", [features, *activations[1:]])
            x = activations[-1]
            del activations
            epsilon = work.backward(x, labels, masks.of(self.layers[-1]), keep_epsilon=keep_epsilon)
            del x
            self._score = work.score(self.calc_regularization_score)
            self._forget()
            tell("on_backward_pass")
        return epsilon

    def _forget(self) -> None:
        """Let go of what the layers kept for the backward pass."""
        for layer in self.layers:
            layer.clear()

    def compute_gradient_and_score(self, dataset: DataSet) -> tuple[float, Flat]:
        """Return the score of a data set and its gradient, ``[P]``, summed over the examples."""
        self._gradient_of(dataset_of(dataset))
        return self._score, self._gradient.copy()

    def calculate_gradients(
        self, features: Array, labels: Array, *, features_mask: Array = None, labels_mask: Array = None
    ) -> tuple[dict[str, Flat], Flat | None]:
        """Return the gradients by name, summed over the examples, and the epsilon of the input."""
        epsilon = self._gradient_of(DataSet(features, labels, features_mask, labels_mask), keep_epsilon=True)
        return cut(self._gradient.copy(), self.param_layout), epsilon

    def _gradient_of(self, data: DataSet, *, keep_epsilon: bool = False) -> Flat | None:
        if not self._fitting.acquire(blocking=False):
            raise RuntimeError("this network is learning already")
        try:
            epsilon = self._learn_gradient(data, _silence, keep_epsilon=keep_epsilon)
        finally:
            self._forget()
            self._fitting.release()
        self._training().settle()
        return epsilon

    # Asking.

    def _workers(self, *, apart: bool) -> list[Layer]:
        """Return the layers; copies with attributes of their own if the originals are at work."""
        if apart or self._fitting.locked():
            return [copy.copy(layer) for layer in self.layers]
        return self.layers

    def _masks(self, features: Array, labels: Array) -> Masks:
        """Return what hands every layer its mask."""
        return Masks(
            mask_of(features, self.dtype, "features_mask"),
            mask_of(labels, self.dtype, "labels_mask"),
            len(self.layers),
        )

    def _inference_pass(
        self, *, training: bool, apart: bool = False
    ) -> tuple[InferencePass, InferenceMemory]:
        memory = self._inference(training=training)
        layers = self._workers(apart=apart or training)
        return InferencePass(layers, memory, self.dtype, training=training), memory

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
        x : array_like or DataSetIterator
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
        if workspace is not None and out is not None:
            raise ValueError("the result goes to workspace= or to out=, not to both")
        if workspace is not None and not workspace.is_scope_active:
            raise ScopeError(
                f"workspace [{workspace.id}] is closed: enter it before output(), and leave it yourself",
                workspace_id=workspace.id,
            )
        if isinstance(x, DataSetIterator):
            joined = self._output_of_all(x, training=training)
            return joined if workspace is None and out is None else _delivered(joined, workspace, out)
        features = numeric(x, "features")
        masks = self._masks(features_mask, labels_mask)
        work, memory = self._inference_pass(training=training)

        def deliver(result: Array) -> Array:
            return _delivered(result, workspace, out, apart_from=features)

        result = work.output(features, masks, deliver)
        memory.settle()
        return result

    def _output_of_all(self, batches: DataSetIterator, *, training: bool) -> Flat:
        parts = [
            self.output(
                data.features,
                training=training,
                features_mask=data.features_mask,
                labels_mask=data.labels_mask,
            )
            for data in batches
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
    ) -> list[Flat]:
        """Return the activations of all layers, plain arrays, the input first."""
        masks = self._masks(features_mask, labels_mask)
        work, _ = self._inference_pass(training=training)
        return work.activations(numeric(x, "features"), masks)

    def score(self, dataset: DataSet | None = None, *, training: bool = False) -> float:
        """Return loss per example and penalties of a data set, or without one of the last batch learned."""
        if dataset is None:
            return self._score

        def score(output: Any) -> float:
            mgr = self._inference(training=training).detached
            value: float = output.compute_score(
                self.calc_regularization_score(), training=training, workspace_mgr=mgr
            )
            return value

        return float(self._scored(dataset_of(dataset), score, training=training))

    def score_examples(self, dataset: DataSet, *, add_regularization: bool = False) -> Flat:
        """Return the loss of every example, ``[N]``, each with the whole penalties if that is asked for."""

        def score(output: Any) -> Array:
            penalty = self.calc_regularization_score() if add_regularization else 0.0
            return output.compute_score_for_examples(penalty, workspace_mgr=self._inference().detached)

        return self._scored(dataset_of(dataset), score, training=False)

    def _scored(self, data: DataSet, score: Callable[[Any], E], *, training: bool) -> E:
        features, labels, features_mask, labels_mask = labelled(data, self.dtype)
        work, _ = self._inference_pass(training=training, apart=True)
        masks = self._masks(features_mask, labels_mask)
        result: E = work.scored(features, labels, masks, score)
        return result

    def evaluate(
        self, iterator: Iterable[DataSet], *, labels: Sequence[str] | None = None, top_n: int = 1
    ) -> Evaluation:
        """Return how well the network classifies what the iterator gives."""
        evaluation = Evaluation(labels=labels, top_n=top_n)
        self.do_evaluation(iterator, evaluation)
        return evaluation

    def do_evaluation(self, iterator: Iterable[DataSet], *evaluations: E) -> tuple[E, ...]:
        """Give every batch's labels and outputs to all evaluations, in one pass; return them.

        An evaluation has ``eval(labels, predictions, mask)``. It must not keep the arrays.
        """
        batches = [iterator] if isinstance(iterator, DataSet) else iterator
        for data in batches:
            _, labels, features_mask, labels_mask = labelled(dataset_of(data), self.dtype)
            with self._output_scope() as workspace:
                predictions = self.output(
                    data.features,
                    features_mask=features_mask,
                    labels_mask=labels_mask,
                    workspace=workspace,
                )
                for evaluation in evaluations:
                    evaluation.eval(labels, predictions, labels_mask)
                del predictions
        return evaluations

    def _output_scope(self) -> Any:
        """Enter what holds the output while it is evaluated."""
        if self._inference_mode is WorkspaceMode.NONE:
            return nullcontext()
        return get_workspace_for_current_thread(
            None if check_if_workspace_exists(OUTPUT_MEM) else activations_configuration(), id=OUTPUT_MEM
        )


def _silence(*_: object) -> None:
    """Tell nobody."""


def _delivered(result: Array, workspace: Workspace | None, out: Array, apart_from: Array = None) -> Array:
    """Return a result where it is wanted: in ``out``, in a workspace, or plain and nobody else's."""
    if out is not None:
        if tuple(out.shape) != tuple(result.shape):
            raise ValueError(f"out must have shape {list(result.shape)}, not {list(out.shape)}")
        out[...] = result
        return out
    if workspace is not None:
        return workspace.array(result)
    plain = detach(result)
    return plain.copy() if apart_from is not None and share_memory(plain, apart_from) else plain
