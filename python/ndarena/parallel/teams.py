"""How trainers come to the same parameters: by averaging now and then, or by sharing every step."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import invoke_gc_occasionally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena.nn.layer import Flat
    from ndarena.parallel.accumulators import GradientsAccumulator
    from ndarena.parallel.trainers import DefaultTrainer, SymmetricTrainer

__all__ = ["Averaging", "Sharing", "Team"]

LOG = logging.getLogger("ndarena.parallel")


class Team:
    """Trainers of one model, which itself changes only while all of them wait.

    Each calls `work` in its own thread. Where one fails it calls `fail`, and all others get a
    `threading.BrokenBarrierError`.
    """

    def __init__(self, model: Any, trainers: Sequence[DefaultTrainer]) -> None:
        self.model, self.trainers = model, trainers
        self._barrier = threading.Barrier(len(trainers))

    def work(self, trainer: Any, batch: Any, *, due: bool) -> None:
        """Learn a batch, if there is one, and average if that is due."""
        raise NotImplementedError

    def fail(self) -> None:
        """Let nobody wait for others any more."""
        self._barrier.abort()

    def _lead(self) -> DefaultTrainer | None:
        """Return the first trainer, unless nothing was learned; where one is it has a part in it."""
        return self.trainers[0] if self.trainers[0].examples else None

    def _shares(self) -> list[tuple[DefaultTrainer, float]]:
        """Return who has learned since the last time, and which part of the examples; begin to count anew."""
        total = sum(trainer.examples for trainer in self.trainers)
        shares = [(trainer, trainer.examples / total) for trainer in self.trainers if trainer.examples]
        for trainer, _ in shares:
            trainer.examples = 0
        return shares

    def _follow(self, lead: DefaultTrainer, shares: list[tuple[DefaultTrainer, float]]) -> float:
        """Let the model be as the first trainer is; return the score, the mean over the examples."""
        score = sum(trainer.replica.score() * share for trainer, share in shares)
        lead.replica.iteration_count = max(trainer.replica.iteration_count for trainer in self.trainers)
        self.model.follow(lead.replica, score=score)
        return float(score)


class Averaging(Team):
    """Trainers that learn apart; now and then all go on from their mean."""

    def __init__(
        self,
        model: Any,
        trainers: Sequence[DefaultTrainer],
        *,
        average_updaters: bool,
        report: bool,
    ) -> None:
        super().__init__(model, trainers)
        self._updaters, self._report = average_updaters, report

    def work(self, trainer: DefaultTrainer, batch: Any, *, due: bool) -> None:
        """Learn a batch, and when it is due meet the others."""
        if batch is not None:
            trainer.learn(batch)
        if due:
            self._barrier.wait()
            if trainer.index == 0:
                self._average()
            self._barrier.wait()

    def _average(self) -> None:
        lead = self._lead()
        if lead is None:
            return
        shares = self._shares()
        weights = [share for _, share in shares]
        _mean_into_first([trainer.replica.params() for trainer, _ in shares], weights)
        if self._updaters:
            _mean_into_first([trainer.replica.updater_state() for trainer, _ in shares], weights)
        if len(shares) > 1:  # one alone has been constrained
            lead.replica.updater.constrain()
        score = self._follow(lead, shares)
        for trainer in self.trainers[1:]:
            trainer.average_from(lead, updaters=self._updaters)
        if self._report:
            LOG.info("Averaged score: %s", score)
        invoke_gc_occasionally()


def _mean_into_first(vectors: list[Flat], weights: list[float]) -> None:
    """Set the first vector to the weighted mean of all; the others are used up."""
    for vector, weight in zip(vectors, weights, strict=True):
        np.multiply(vector, weight, out=vector)
    mean, *others = vectors
    for other in others:
        mean += other


class Sharing(Team):
    """Trainers that take every step together: their parameters are the same at any time."""

    def __init__(
        self, model: Any, trainers: Sequence[SymmetricTrainer], accumulator: GradientsAccumulator
    ) -> None:
        super().__init__(model, trainers)
        self._accumulator = accumulator
        self._contributes = [False] * len(trainers)
        self._statistics: list[list[Any]] = [[] for _ in trainers]
        for trainer in trainers:
            trainer.replica.updater.step_function = partial(self._step, trainer)

    def _step(self, trainer: SymmetricTrainer, *_: Flat) -> None:
        self._meet(trainer, contributes=True)

    def work(self, trainer: SymmetricTrainer, batch: Any, *, due: bool) -> None:
        """Learn a batch, and go along with the others until all have learned theirs."""
        if batch is not None:
            trainer.learn(batch)
        while self._meet(trainer, contributes=False):
            trainer.replica.updater.constrain()

    def _meet(self, trainer: SymmetricTrainer, *, contributes: bool) -> bool:
        """Do one exchange; tell whether anybody had something to share. If not, the round is over."""
        replica, worker = trainer.replica, trainer.index
        self._contributes[worker] = contributes
        if contributes:
            self._statistics[worker] = trainer.take_statistics()
            self._accumulator.store_update(
                replica.gradient(),
                worker=worker,
                iteration=replica.iteration_count,
                epoch=replica.epoch_count,
            )
        self._barrier.wait()
        contributors = [other for other, does in enumerate(self._contributes) if does]
        if contributors:
            self._accumulator.apply_update(
                replica.params(), replica.gradient(), worker=worker, contributors=contributors
            )
            for number, place in enumerate(trainer.statistics):
                changes = [self._statistics[other][number] for other in contributors]
                replica.params()[place] -= np.mean(changes, axis=0)
        elif worker == 0:
            self._end_round()
        self._barrier.wait()
        return bool(contributors)

    def _end_round(self) -> None:
        lead = self._lead()
        if lead is None:
            return
        self._follow(lead, self._shares())
        for trainer in self.trainers[1:]:
            trainer.replica.iteration_count = lead.replica.iteration_count
