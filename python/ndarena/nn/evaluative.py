"""Evaluation while a network learns (DL4J: ``EvaluativeListener``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndarena.evaluation import Evaluation
from ndarena.nn.choices import InvocationType
from ndarena.nn.evaluating import check_evaluation
from ndarena.nn.graph import ComputationGraph
from ndarena.nn.listeners import TrainingListener
from ndarena.nn.reports import say
from ndarena.nn.words import at_least_one, member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["EvaluativeListener"]


class EvaluativeListener(TrainingListener):
    """Evaluates the network now and then (DL4J: ``EvaluativeListener``).

    Parameters
    ----------
    iterator : iterable of DataSet, or DataSet
        What it is held against; every evaluation goes through it once.
    frequency : int
        Every how many iterations or epochs, counted from the first one.
    invocation_type : InvocationType
        When; default: at the end of an iteration.
    evaluations : sequence
        What is evaluated, of a graph for its first output; each is reset before. Default: one `Evaluation`.
    callback : callable, optional
        Called with the listener, the model, how often it was called before, and the evaluations.
    output : callable
        What is given the reports; default: the standard output.

    Raises
    ------
    ConfigurationError
        A frequency below 1, or an unknown type.
    TypeError
        What is no evaluation.
    """

    def __init__(  # noqa: PLR0913 - the settings of DL4J
        self,
        iterator: Any,
        frequency: int = 1,
        *,
        invocation_type: InvocationType | str = InvocationType.ITERATION_END,
        evaluations: Sequence[Any] | None = None,
        callback: Callable[[EvaluativeListener, Any, int, Sequence[Any]], object] | None = None,
        output: Callable[[str], object] = say,
    ) -> None:
        self._iterator = iterator
        self._every = at_least_one(frequency, "EvaluativeListener", "frequency")
        self._when = member(InvocationType, invocation_type, "EvaluativeListener", "invocation_type")
        if hasattr(evaluations, "eval"):
            raise TypeError(f"evaluations must be a sequence of them, not {evaluations!r:.100}")
        self.evaluations: list[Any] = [Evaluation()] if evaluations is None else list(evaluations)
        """The evaluations, as they were left by the last time."""
        for evaluation in self.evaluations:
            check_evaluation(evaluation)
        self.invocation_count = 0
        """How often the network was evaluated."""
        self._callback, self._output = callback, output

    def on_epoch_start(self, model: Any) -> None:
        """Evaluate if it is time."""
        self._hear(InvocationType.EPOCH_START, model, model.epoch_count)

    def on_epoch_end(self, model: Any) -> None:
        """Evaluate if it is time."""
        self._hear(InvocationType.EPOCH_END, model, model.epoch_count)

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Evaluate if it is time."""
        self._hear(InvocationType.ITERATION_END, model, iteration)

    def _hear(self, when: InvocationType, model: Any, count: int) -> None:
        if when is not self._when or count % self._every:
            return
        for evaluation in self.evaluations:
            evaluation.reset()
        if isinstance(model, ComputationGraph):
            model.do_evaluation(self._iterator, {0: self.evaluations})
        else:
            model.do_evaluation(self._iterator, *self.evaluations)
        for evaluation in self.evaluations:
            self._output(f"{type(evaluation).__name__}:\n{evaluation.stats()}")
        if self._callback is not None:
            self._callback(self, model, self.invocation_count, self.evaluations)
        self.invocation_count += 1
