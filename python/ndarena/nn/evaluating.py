"""How both kinds of networks are evaluated: one pass over the data for any number of evaluations."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from ndarena._core import (
    check_if_workspace_exists,
    get_workspace_for_current_thread,
    scope_out_of_workspaces,
)
from ndarena.data import DataSet, MultiDataSet
from ndarena.errors import ConfigurationError
from ndarena.evaluation import ROC, Evaluation, RegressionEvaluation, ROCMultiClass
from ndarena.nn.batches import batch_of, check_gave, positional, read_ahead
from ndarena.nn.choices import BackpropType, WorkspaceMode
from ndarena.nn.learner import delivered
from ndarena.nn.memory import OUTPUT_MEM, activations_configuration
from ndarena.nn.output import WithLoss
from ndarena.nn.pace import do_step
from ndarena.nn.passes import CarryingPass, InferencePass
from ndarena.nn.replicas import Replicated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ndarena.nn.batches import Batch

__all__ = ["Evaluating", "check_evaluation"]

E = TypeVar("E", bound=Any)


def check_evaluation(thing: Any) -> None:
    """Refuse what is no evaluation (`TypeError`)."""
    if isinstance(thing, type) or not hasattr(thing, "eval"):
        raise TypeError(f"an evaluation is an object with eval(), such as Evaluation(), not {thing!r:.100}")


class Evaluating(Replicated):
    """A network that can be held against labels."""

    @positional(1)
    def evaluate(self, iterator: Any, *, labels: Sequence[str] | None = None, top_n: int = 1) -> Evaluation:
        """Return how well a network with one output classifies what the iterator gives.

        Parameters
        ----------
        iterator : iterable of DataSet, or DataSet
            Of a graph also of `MultiDataSet`.
        labels : sequence of str, optional
            Names of the classes.
        top_n : int
            For `Evaluation.top_n_accuracy`.

        Raises
        ------
        ConfigurationError
            The output is no probability: its layer is no classifier.
        ValueError
            The network has several outputs; `do_evaluation` says which is meant.
        """
        return self._evaluated(iterator, Evaluation(labels=labels, top_n=top_n), classifies=True)

    @positional(1)
    def evaluate_regression(
        self, iterator: Any, *, columns: Sequence[str] | None = None
    ) -> RegressionEvaluation:
        """Return how far the only output is from the numbers it should be; ``columns`` names its columns."""
        return self._evaluated(iterator, RegressionEvaluation(columns=columns), classifies=False)

    @positional(1)
    def evaluate_roc(self, iterator: Any, *, threshold_steps: int = 0) -> ROC:
        """Return the `ROC` of the only output, of one or two columns; errors are those of `evaluate`."""
        return self._evaluated(iterator, ROC(threshold_steps=threshold_steps), classifies=True)

    @positional(1)
    def evaluate_roc_multi_class(self, iterator: Any, *, threshold_steps: int = 0) -> ROCMultiClass:
        """Return a `ROC` for every class of the only output; errors are those of `evaluate`."""
        return self._evaluated(iterator, ROCMultiClass(threshold_steps=threshold_steps), classifies=True)

    def _evaluated(self, iterator: Any, evaluation: E, *, classifies: bool) -> E:
        if len(self.wiring.outputs) > 1:
            raise ValueError(f"there are {len(self.wiring.outputs)} outputs; do_evaluation() names one")
        if classifies:
            self._check_classifier(type(evaluation).__name__)
        self._evaluate_all(iterator, {0: [evaluation]})
        return evaluation

    def _check_classifier(self, evaluation: str) -> None:
        layer = self.wiring.outputs[0].twin
        if isinstance(layer, WithLoss) and not layer.is_classifier:
            raise ConfigurationError(
                f"{evaluation} needs a classifier; layer {layer.index} ({layer.name}, "
                f"{type(layer).__name__}) has an activation that gives no probabilities: use softmax or "
                f"sigmoid, or evaluate_regression()"
            )

    def _evaluate_all(self, iterator: Any, evaluations: Mapping[int, Sequence[Any]]) -> None:
        """Give the outputs of every batch, and labels and masks, to evaluations by index of the output."""
        for each in chain.from_iterable(evaluations.values()):
            check_evaluation(each)
        outputs = range(len(self.wiring.outputs))
        if unknown := set(evaluations) - set(outputs):
            raise ValueError(f"there is no output {min(unknown)}: they are {list(outputs)}")
        in_pieces = self.configuration.backprop_type is BackpropType.TRUNCATED_BPTT
        net: Any = self.clone() if in_pieces else self  # whose states are its own
        single = isinstance(iterator, DataSet | MultiDataSet) or not hasattr(iterator, "__iter__")
        with read_ahead([iterator] if single else iterator, self.wiring) as source:
            count = self._evaluate_each(net, source, evaluations)
        if not single:
            check_gave(iterator, count)

    def _evaluate_each(
        self, net: Any, source: Iterable[Any], evaluations: Mapping[int, Sequence[Any]]
    ) -> int:
        """Return how many batches there were."""
        count = 0
        for count, each in enumerate(source, 1):  # noqa: B007 - the last number
            batch = batch_of(self._checked(each), self.wiring, self.dtype)
            metadata = () if getattr(each, "metadata", None) is None else (each.metadata,)
            if net is self:
                do_step(self._evaluate_batch, batch, evaluations, InferencePass, metadata)
                continue
            net.rnn_clear_previous_state()
            for piece in batch.pieces(self.configuration.tbptt_fwd_length):
                do_step(net._evaluate_batch, piece, evaluations, CarryingPass, metadata)  # noqa: SLF001 - its clone
        return count

    def _evaluate_batch(
        self,
        batch: Batch,
        evaluations: Mapping[int, Sequence[Any]],
        kind: type[InferencePass],
        metadata: tuple[Any, ...],
    ) -> None:
        with self._output_scope() as workspace:
            predictions = self._outputs(
                batch,
                lambda _, result: delivered(result, workspace, None, batch.features),
                kind=kind,
            )
            with scope_out_of_workspaces():
                for index, those in evaluations.items():
                    labels, mask = batch.labels[index], batch.labels_masks[index]
                    for evaluation in those:
                        evaluation.eval(labels, predictions[index], mask, *metadata)
            del predictions

    def _output_scope(self) -> Any:
        """Enter what holds the output while it is evaluated."""
        if self._inference_mode is WorkspaceMode.NONE:
            return nullcontext()
        return get_workspace_for_current_thread(
            None if check_if_workspace_exists(OUTPUT_MEM) else activations_configuration(), id=OUTPUT_MEM
        )
