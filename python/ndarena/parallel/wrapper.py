"""Training in several threads (DL4J: ``ParallelWrapper``)."""

from __future__ import annotations

import atexit
import os
import threading
import uuid
import warnings
import weakref
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ndarena._core import scope_out_of_workspaces
from ndarena.data.handover import is_reading, snapshot
from ndarena.data.ring import Ring
from ndarena.nn import ComputationGraph, MultiLayerNetwork, WorkspaceMode
from ndarena.nn.batches import check_epochs, check_gave, positional, read_ahead
from ndarena.nn.choices import workspace_mode_of
from ndarena.nn.listeners import checked_listeners
from ndarena.nn.words import Choice, at_least_one, member, refuse
from ndarena.parallel import blas
from ndarena.parallel.accumulators import EncodedGradientsAccumulator, GradientsAccumulator
from ndarena.parallel.crew import Crew
from ndarena.parallel.listening import listeners_of
from ndarena.parallel.teams import Averaging, Sharing
from ndarena.parallel.trainers import DefaultTrainer, SymmetricTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ndarena._core import WorkspaceConfiguration
    from ndarena.nn.listeners import TrainingListener
    from ndarena.parallel.teams import Team
    from ndarena.parallel.thresholds import ResidualPostProcessor, ThresholdAlgorithm

__all__ = ["ParallelWrapper", "TrainingMode"]

OWNER = "ParallelWrapper"
RING_NAME = "PW_ITER-"
PATIENCE = 10.0  # seconds


class TrainingMode(Choice):
    """How workers come to the same parameters (DL4J: ``ParallelWrapper.TrainingMode``)."""

    AVERAGING = "AVERAGING"
    """They learn apart; now and then all go on from the mean of their parameters."""
    SHARED_GRADIENTS = "SHARED_GRADIENTS"
    """They take every step together: the sum of what each has shared of its own."""
    CUSTOM = "CUSTOM"
    """They take every step together, as a `GradientsAccumulator` of your own says."""


class ParallelWrapper:
    """Trains a network in several threads, each with a replica of it (DL4J: ``ParallelWrapper``).

    Every thread has its own workspaces. Batch ``i`` of an epoch goes to worker ``i mod workers``; a round is
    a batch for each, and the last round of an epoch may have fewer. The model itself learns nothing: it takes
    over what the replicas have learned, in mode AVERAGING after every ``averaging_frequency`` rounds and at
    the end of every epoch, else after every round. Iterations are counted by rounds. Batches are copied into
    a ring of blocks before the source is asked for the next one, so that it may use its arrays again.

    The mean weighs each worker by the examples that it has learned since the last time, which DL4J does not
    do: with `Sgd` and a frequency of 1 parameters are then those of one network that learns each round as a
    single batch, also where batches differ in size. One worker does what the model's own `fit` does.

    Parameters
    ----------
    model : MultiLayerNetwork or ComputationGraph
        What is trained. While it is, it can be asked for outputs but cannot ``fit``.
    workers : int, optional
        How many threads; default: the number of cores.
    prefetch_buffer : int
        How many batches a further thread reads ahead, of sources that allow it; 0: none. All others are read
        by the thread that called `fit`.
    averaging_frequency : int
        After how many rounds parameters are averaged.
    average_updaters : bool
        Whether the states of the updaters are averaged too; otherwise every worker keeps its own, and the
        model gets that of the first.
    report_score_after_averaging : bool
        Whether the score is logged, by the logger ``ndarena.parallel``, at level INFO.
    workspace_mode : WorkspaceMode or str
        How the replicas use workspaces.
    training_mode : TrainingMode or str
        How workers come to the same parameters.
    threshold_algorithm : ThresholdAlgorithm, optional
        Of mode SHARED_GRADIENTS; default: an `AdaptiveThresholdAlgorithm`.
    residual_post_processor : ResidualPostProcessor, optional
        Of mode SHARED_GRADIENTS; default: none.
    gradients_accumulator : GradientsAccumulator, optional
        Of mode CUSTOM, which needs one.
    seed : int, optional
        From which the dropout and noise of all workers are drawn; default: from the model's own generator,
        with which the first worker goes on. Either way equal runs give equal parameters.

    Raises
    ------
    ConfigurationError
        A count below 1, an unknown mode, or an argument that the training mode does not use.
    TypeError
        The model is no network.
    """

    def __init__(  # noqa: PLR0913 - what DL4J's builder has
        self,
        model: MultiLayerNetwork | ComputationGraph,
        *,
        workers: int | None = None,
        prefetch_buffer: int = 16,
        averaging_frequency: int = 1,
        average_updaters: bool = True,
        report_score_after_averaging: bool = False,
        workspace_mode: WorkspaceMode | str = "ENABLED",
        training_mode: TrainingMode | str = "AVERAGING",
        threshold_algorithm: ThresholdAlgorithm | None = None,
        residual_post_processor: ResidualPostProcessor | None = None,
        gradients_accumulator: GradientsAccumulator | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, MultiLayerNetwork | ComputationGraph):
            raise TypeError(f"model must be a network, not {type(model).__name__}")
        self.model, self.uuid = model, str(uuid.uuid4())
        self.workers = at_least_one(blas.cores() if workers is None else workers, OWNER, "workers")
        self.prefetch_buffer = _count(prefetch_buffer, "prefetch_buffer")
        self.averaging_frequency = at_least_one(averaging_frequency, OWNER, "averaging_frequency")
        self.average_updaters = _flag(average_updaters, "average_updaters")
        self.report_score_after_averaging = _flag(
            report_score_after_averaging, "report_score_after_averaging"
        )
        self.workspace_mode = workspace_mode_of(workspace_mode, OWNER, "workspace_mode")
        self.training_mode = member(TrainingMode, training_mode, OWNER, "training_mode")
        self._accumulator = self._accumulator_of(
            threshold_algorithm, residual_post_processor, gradients_accumulator
        )
        self._rng = None if seed is None else np.random.default_rng(_count(seed, "seed"))
        self._listeners: tuple[TrainingListener, ...] = ()
        self._stopped, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._threads: list[threading.Thread] = []
        self._wake: Callable[[], None] | None = None
        self._sizes: dict[WorkspaceMode, dict[str, WorkspaceConfiguration]] = {}
        """Of the workers' workspaces, which need not learn them again in every `fit`."""

    def _accumulator_of(
        self,
        algorithm: ThresholdAlgorithm | None,
        post_processor: ResidualPostProcessor | None,
        given: GradientsAccumulator | None,
    ) -> GradientsAccumulator | None:
        mode = self.training_mode
        for field, value, used in (
            ("threshold_algorithm", algorithm, mode is TrainingMode.SHARED_GRADIENTS),
            ("residual_post_processor", post_processor, mode is TrainingMode.SHARED_GRADIENTS),
            ("gradients_accumulator", given, mode is TrainingMode.CUSTOM),
        ):
            if value is not None and not used:
                refuse(OWNER, field, value, f"is not used in training_mode {mode.name}")
        if mode is TrainingMode.SHARED_GRADIENTS:
            return EncodedGradientsAccumulator(algorithm, post_processor)
        if mode is TrainingMode.CUSTOM and not isinstance(given, GradientsAccumulator):
            refuse(OWNER, "gradients_accumulator", given, "training_mode CUSTOM needs a GradientsAccumulator")
        return given

    # Listeners.

    def set_listeners(self, *listeners: TrainingListener) -> None:
        """Tell these listeners about training, besides those of the model, and no others.

        They hear the iterations of every replica, in the thread of its worker but one at a time, and the
        epochs of the model, in the thread that called `fit`.
        """
        self._listeners = checked_listeners(listeners)

    def add_listeners(self, *listeners: TrainingListener) -> None:
        """Tell these listeners too."""
        self._listeners += checked_listeners(listeners)

    # Training.

    @positional(1)
    def fit(self, iterator: Any, *, epochs: int = 1) -> None:
        """Train the model.

        Parameters
        ----------
        iterator : iterable of DataSet, or DataSet
            The batches; for a graph also `MultiDataSet`.
        epochs : int
            How often to go through them; counted in the model's ``epoch_count``.

        Raises
        ------
        RuntimeError
            The model is learning already.
        ValueError
            Data that do not fit the network, or no second epoch where one is asked for.
        BaseException
            Whatever a worker, the source or a listener raised. Where a worker failed the model is as the last
            averaging left it. Otherwise, also after an interrupt or `stop_fit`, it has learned all batches
            that it had got. No thread is left.
        """
        source, times = self.model.batches_of(iterator), _count(epochs, "epochs")
        check_epochs(source, times)
        with blas.limited(self.workers):
            self.model.led(self._fit, source, times)

    def _fit(self, source: Iterable[Any], epochs: int) -> None:
        model = self.model
        with ExitStack() as stack:
            stack.enter_context(self._fitting())
            team = self._team(stack)
            buffer, consumers = self.prefetch_buffer, 2 * self.workers
            ahead = stack.enter_context(read_ahead(source, model.wiring, buffer, consumers=consumers))
            ring = None if ahead is not source else Ring(f"{RING_NAME}{self.uuid}")
            self._wake = getattr(ahead, "let_go", None) if ring is None else None
            sizes = self._sizes.setdefault(self.workspace_mode, {})
            # Its end is sure before it begins: a signal may come in between.
            crew = Crew(team, f"{OWNER} training thread", self._let_go, sizes)
            stack.push(crew.end)
            self._threads += crew.threads
            crew.start()
            for _ in range(epochs):
                for trainer in team.trainers:
                    trainer.replica.epoch_count = model.epoch_count
                self._tell("on_epoch_start")
                rounds = self._learn(crew, self._batches(ahead, ring))
                if not crew.average() or self._stopped.is_set():
                    break
                check_gave(source, rounds)
                self._tell("on_epoch_end")
                model.epoch_count += 1

    def _batches(self, source: Iterable[Any], ring: Ring | None) -> Iterator[Any]:
        """Go through an epoch; batches are copied where the source may use their memory again."""
        for batch in source:
            data = self.model.checked(batch)
            yield data if ring is None else ring.fill(data, 2 * self.workers + 1, data.copy_to)

    def _learn(self, crew: Crew, batches: Iterator[Any]) -> int:
        """Hand over the batches of an epoch, or those before somebody stops it; return how many rounds."""
        rounds = 0
        while crew.has_room() and not self._stopped.is_set():
            due = (rounds + 1) % self.averaging_frequency == 0
            if not self._hand_over_round(crew, batches, due=due):
                break
            rounds += 1
        return rounds

    def _hand_over_round(self, crew: Crew, batches: Iterator[Any], *, due: bool) -> bool:
        """Hand over the next batches, also those before one that cannot be read; tell if there were any."""
        read: list[Any] = []
        leases: list[Any] = []  # the next batch goes to a block that is free
        try:
            for data in islice(batches, self.workers):
                read.append(data)
                leases.append(data.leases())
        finally:
            if read:
                crew.hand_over(read, leases, due=due)
        return bool(read)

    def _team(self, stack: ExitStack) -> Team:
        """Make the replicas, and who trains them."""
        model = self.model
        if self._rng is None:
            streams = [model.rng, *model.rng.spawn(self.workers - 1)]
        else:
            streams = self._rng.spawn(self.workers)
        kind = DefaultTrainer if self._accumulator is None else SymmetricTrainer
        trainers: list[Any] = [kind(self.uuid, k, model.replica(rng)) for k, rng in enumerate(streams)]
        listeners, lock = (*model.listeners, *self._listeners), threading.RLock()
        for trainer in trainers:
            trainer.replica.training_workspace_mode = self.workspace_mode
            trainer.replica.set_listeners(*listeners_of(listeners, self.uuid, trainer.uuid, lock))
        if self._accumulator is None:
            return Averaging(
                model,
                trainers,
                average_updaters=self.average_updaters,
                report=self.report_score_after_averaging,
            )
        stack.callback(self._accumulator.reset)
        self._accumulator.register_consumers(self.workers, model.num_params(), model.dtype)
        return Sharing(model, trainers, self._accumulator)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        self._stopped.clear()
        self._idle.clear()
        _learning.add(self)
        self._threads = [threading.current_thread()]
        try:
            yield
        finally:
            self._threads, self._wake = [], None
            self._idle.set()

    def _tell(self, event: str) -> None:
        with scope_out_of_workspaces():
            for listener in (*self.model.listeners, *self._listeners):
                getattr(listener, event)(self.model)

    def stop_fit(self) -> None:
        """Let a running `fit` return when the batches that it has are learned; from any thread."""
        self._stopped.set()
        self._let_go()

    def _let_go(self) -> None:
        """Let `fit` no longer wait for a batch that is read ahead."""
        if (wake := self._wake) is not None:
            wake()

    def close(self) -> None:
        """Stop a running `fit`, and wait until it is over unless one of its threads asks, or one that reads.

        The wrapper can be used again.
        """
        self.stop_fit()
        if threading.current_thread() in self._threads or is_reading() or self._idle.wait(PATIENCE):
            return
        text = f"{OWNER}: fit has not ended for {PATIENCE} s; it ends when its source or its batch comes back"
        warnings.warn(text, ResourceWarning, stacklevel=2)

    def forked(self) -> None:
        """Forget a `fit` whose thread is not in this process."""
        if threading.current_thread() not in self._threads[:1]:
            self._threads, self._wake, self._idle = [], None, threading.Event()
            self._idle.set()

    def __enter__(self) -> Self:
        """Return the wrapper."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do as `close`."""
        self.close()


_learning: weakref.WeakSet[ParallelWrapper] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop all training before the interpreter ends: a thread must not be inside native code then."""
    for wrapper in snapshot(_learning):
        wrapper.close()


def _forked() -> None:
    for wrapper in snapshot(_learning):
        wrapper.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _count(value: object, field: str) -> int:
    """Return a count as an ``int``; anything but a whole number from 0 on is refused."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        refuse(OWNER, field, value, "must be a whole number from 0 on")
    return int(value)


def _flag(value: object, field: str) -> bool:
    """Return a flag; anything but ``True`` or ``False`` is refused."""
    if not isinstance(value, bool | np.bool):
        refuse(OWNER, field, value, "must be True or False")
    return bool(value)
