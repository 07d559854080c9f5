"""How trainers come to the same parameters: by averaging now and then, or by sharing every step."""

from __future__ import annotations

import logging
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndarena._core import invoke_gc_occasionally
from ndarena.parallel.meeting import Meeting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ndarena.nn.layer import Flat
    from ndarena.parallel.accumulators import GradientsAccumulator
    from ndarena.parallel.trainers import DefaultTrainer, SymmetricTrainer

__all__ = ["Averaging", "Sharing", "Team"]

LOG = logging.getLogger("ndarena.parallel")
PIECE = 1 << 16
"""How many numbers are averaged at a time: few enough to stay in the caches."""
PARAMS, STATE = methodcaller("params"), methodcaller("updater_state")
"""The vectors of a network, which is the argument."""


class Agreed(NamedTuple):
    """What goes for all trainers after they have met."""

    iterations: int
    score: float


class Team:
    """Trainers of one model, which itself changes only when all of them have met.

    Each calls `work` in its own thread. Where one fails it calls `fail`, and all others get a
    `threading.BrokenBarrierError`.

    Parameters
    ----------
    model : MultiLayerNetwork or ComputationGraph
        What takes over what the trainers have learned.
    trainers : sequence of DefaultTrainer
        Those of the replicas.
    common : sequence of callable
        The vectors that are equal in all replicas once they have met; the others are the first one's.
    """

    def __init__(
        self, model: Any, trainers: Sequence[DefaultTrainer], common: Sequence[Callable[[Any], Flat]]
    ) -> None:
        self.model, self.trainers, self._common = model, trainers, common
        self._meeting = Meeting(len(trainers))

    def work(self, trainer: Any, batch: Any, *, due: bool) -> None:
        """Learn a batch, if there is one, and average if that is due."""
        raise NotImplementedError

    def fail(self) -> None:
        """Let nobody wait for others any more."""
        self._meeting.call_off()

    def _shares(self) -> list[tuple[DefaultTrainer, float]]:
        """Return who has learned since the last time, and which part of the examples."""
        total = sum(trainer.examples for trainer in self.trainers)
        return [(trainer, trainer.examples / total) for trainer in self.trainers if trainer.examples]

    def _agreed(self, shares: list[tuple[DefaultTrainer, float]]) -> Agreed:
        """Return what goes for all: iterations of who has done most, and the mean score."""
        iterations = max(trainer.replica.iteration_count for trainer in self.trainers)
        return Agreed(iterations, float(sum(trainer.replica.score() * share for trainer, share in shares)))

    def _go_on(self, trainer: DefaultTrainer, agreed: Agreed | None, *, has_common: bool = False) -> None:
        """Begin to count anew; the model takes over, a part of what is common from every trainer.

        It may have what is common already.
        """
        trainer.examples = 0
        if agreed is None:
            return
        trainer.replica.iteration_count = agreed.iterations
        for vector in (PARAMS, STATE):
            theirs, ours = vector(self.model), vector(trainer.replica)
            if vector in self._common:
                if has_common:
                    continue
                where = self._part(trainer, len(ours))
                np.copyto(theirs[where], ours[where])
            elif trainer.index == 0:
                np.copyto(theirs, ours)
        if trainer.index == 0:
            self.model.follow(trainer.replica, score=agreed.score)

    def _part(self, trainer: DefaultTrainer, size: int) -> slice:
        """Return which part of a vector is a trainer's to work on, for all."""
        part, parts = trainer.index, len(self.trainers)
        return slice(size * part // parts, size * (part + 1) // parts)


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
        super().__init__(model, trainers, [PARAMS, STATE] if average_updaters else [PARAMS])
        self._report = report
        longest = max(len(vector(model)) for vector in self._common)
        self._scratch = [np.empty(min(PIECE, longest), model.dtype) for _ in trainers]
        """Of each trainer for a piece, while it is no mean."""

    def work(self, trainer: DefaultTrainer, batch: Any, *, due: bool) -> None:
        """Learn a batch, and when it is due meet the others."""
        if batch is not None:
            trainer.learn(batch)
        if due:
            self._average(trainer)

    def _average(self, trainer: DefaultTrainer) -> None:
        """Do one's part of the averaging: of every vector the own part, for all; then take over the whole.

        Means are put into the model, which others may be asking, as they are; unless constraints, which may
        fail, are to change them again.
        """
        self._meeting.wait()
        shares, agreed = self._shares(), None
        updater = trainer.replica.updater
        changes_again = len(shares) > 1 and updater.is_constrained  # one alone has been
        home = self.trainers[0].replica if changes_again else self.model
        vectors = self._common if shares else []
        if shares:
            agreed = self._agreed(shares)
        for vector in vectors:
            self._average_part(trainer, vector, shares, home)
        self._meeting.wait()
        for vector in vectors if trainer.replica is not home else []:
            np.copyto(vector(trainer.replica), vector(home))
        if changes_again:
            self._meeting.wait()  # nobody takes over any more
            updater.constrain()
            self._meeting.wait()
        self._go_on(trainer, agreed, has_common=not changes_again)
        if agreed is not None and trainer.index == 0:
            if self._report:
                LOG.info("Averaged score: %s", agreed.score)
            invoke_gc_occasionally()

    def _average_part(
        self,
        trainer: DefaultTrainer,
        vector: Callable[[Any], Flat],
        shares: list[tuple[DefaultTrainer, float]],
        home: Any,
    ) -> None:
        """Set a part of a vector, of the network ``home``, to the weighted mean, piece by piece."""
        means, learned = vector(home), [(vector(other.replica), share) for other, share in shares]
        part, scratch = self._part(trainer, len(means)), self._scratch[trainer.index]
        for start in range(part.start, part.stop, PIECE):
            where = slice(start, min(start + PIECE, part.stop))
            mean = scratch[: where.stop - where.start]
            set_mean(mean, [(own[where], share) for own, share in learned])
            np.copyto(means[where], mean)


def set_mean(mean: Flat, weighted: Sequence[tuple[Flat, float]]) -> None:
    """Set a vector to the weighted mean of others, which may be used up."""
    (first, share), *others = weighted
    if not others or any(another != share for _, another in others):
        np.multiply(first, share, out=mean)
        for other, another in others:
            mean += np.multiply(other, another, out=other)
        return
    np.add(first, others[0][0], out=mean)
    for other, _ in others[1:]:
        mean += other
    mean *= share


class Sharing(Team):
    """Trainers that take every step together: their parameters are the same at any time."""

    def __init__(
        self, model: Any, trainers: Sequence[SymmetricTrainer], accumulator: GradientsAccumulator
    ) -> None:
        super().__init__(model, trainers, [PARAMS])
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
        self._meeting.wait()
        contributors = [other for other, does in enumerate(self._contributes) if does]
        shares = [] if contributors else self._shares()
        agreed = self._agreed(shares) if shares else None
        if contributors:
            self._accumulator.apply_update(
                replica.params(), replica.gradient(), worker=worker, contributors=contributors
            )
            for number, place in enumerate(trainer.statistics):
                changes = [self._statistics[other][number] for other in contributors]
                replica.params()[place] -= np.mean(changes, axis=0)
        self._meeting.wait()
        if not contributors:
            self._go_on(trainer, agreed)
        return bool(contributors)
