"""From the summed gradient to the step (DL4J: ``MultiLayerUpdater``, ``UpdaterBlock``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ndarena._core import empty_like
from ndarena.nn.gradient_normalization import Normalization, divide
from ndarena.nn.layer import ParamKind
from ndarena.nn.schedules import value_at
from ndarena.nn.updater_base import PIECE, Piecewise, fitted
from ndarena.nn.updaters import NoOp, fixed_factors, only_scales

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ndarena.nn.configuration import NetworkConfiguration
    from ndarena.nn.constraints import LayerConstraint
    from ndarena.nn.layer import Flat, Layer, ParamPart
    from ndarena.nn.model_memory import ModelMemory
    from ndarena.nn.schedules import ISchedule
    from ndarena.nn.updaters import IUpdater
    from ndarena.nn.words import Array

    Moment = tuple[int, int]  # iteration and epoch

__all__ = ["NetworkUpdater", "state_size"]

REGULARIZED = {ParamKind.WEIGHT: "", ParamKind.BIAS: "_bias"}


class Regularization(NamedTuple):
    """What a part of the flat vector pays."""

    part: slice
    l1: float | ISchedule
    l2: float | ISchedule
    decay: float | ISchedule
    apply_lr: bool

    def within(self, where: slice) -> Self:
        """Return the same for what it has in common with another part; that may be nothing."""
        start = max(self.part.start, where.start)
        return self._replace(part=slice(start, max(start, min(self.part.stop, where.stop))))


class Piece(NamedTuple):
    """A part of a block that is worked on at a time."""

    where: slice
    params: Flat
    state: list[Array]
    """By number of the state where the rule works piece by piece, else all of it at once."""
    regularizations: list[Regularization]


@dataclass
class Block:
    """Neighbouring parameters that follow one rule."""

    rule: IUpdater
    is_divided: bool
    """Whether the gradient is divided by the number of examples."""
    start: int
    stop: int
    regularizations: list[Regularization] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find out whether the rule works piece by piece."""
        rule = self.rule
        apart = isinstance(rule, Piecewise) and type(rule).apply is Piecewise.apply
        self._walker: Piecewise | None = rule if apart else None  # type: ignore[assignment]
        self._decay = rule.get_weight_decay()
        self._fixed = None if self._walker is None else fixed_factors(self._walker)
        self._divides_factor = False

    @property
    def state_size(self) -> int:
        """How many numbers the rule keeps."""
        return self.rule.state_size(self.stop - self.start)

    def begin(self, params: Flat, state: Flat) -> None:
        """Fill the state as it is before the first step, and cut all into pieces.

        Raises
        ------
        ValueError
            The rule begins with a state of another length than it says.
        """
        first = np.asarray(self.rule.init_state(self.stop - self.start, state.dtype))
        if first.shape != state.shape:
            raise ValueError(
                f"{type(self.rule).__name__}: init_state must have shape {state.shape}, which is state_size, "
                f"not {first.shape}"
            )
        state[...] = first
        self._cut(params, state)

    def _cut(self, params: Flat, state: Flat) -> None:
        """Cut all into pieces that stay in the processor's cache from one operation to the next."""
        walker = self._walker
        self._divides_factor = walker is not None and only_scales(walker) and not self.regularizations
        rows, size = ([state], max(self.stop - self.start, 1))
        if walker is not None:
            rows, size = walker.rows_of(state), PIECE if walker.rows or walker.scratch else 4 * PIECE
        for start in range(self.start, self.stop, size):
            where = slice(start, min(start + size, self.stop))
            own = slice(start - self.start, where.stop - self.start)
            places = rows if walker is None else [row[own] for row in rows]
            paid = [regularization.within(where) for regularization in self.regularizations]
            self.pieces.append(Piece(where, params[where], places, paid))

    def turn(self, gradient: Array, moment: Moment, divisor: int, *, subtracts: bool = False) -> None:
        """Turn the gradient into the step, in place, and subtract it if that is asked for."""
        walker, (iteration, epoch) = self._walker, moment
        divides = self.is_divided and divisor != 1
        if walker is not None:
            factors = self._fixed or walker.factors(iteration, epoch)
            scratch = walker.scratch_for(gradient[self.start : self.stop]) if walker.scratch else ()
            if divides and self._divides_factor:
                factors, divides = (factors[0] / divisor, *factors[1:]), False
        for piece in self.pieces:
            part = gradient[piece.where]
            if divides:
                np.divide(part, divisor, out=part)
            if piece.regularizations:
                self._penalise(piece, part, moment)
            if walker is not None:
                room = fitted(scratch, len(part)) if scratch else ()
                walker.move(part, piece.state, part, room, factors)
            else:
                self.rule.apply(part, piece.state[0], iteration=iteration, epoch=epoch, out=part)
            if piece.regularizations or self._decay:
                self._shrink(piece, part, moment)
            if subtracts:
                np.subtract(piece.params, part, out=piece.params)

    @staticmethod
    def _penalise(piece: Piece, gradient: Array, moment: Moment) -> None:
        """Add the derivatives of the penalties to the gradient."""
        for paid in piece.regularizations:
            add(gradient, piece, paid.part, value_at(paid.l1, *moment), signs=True)
            add(gradient, piece, paid.part, value_at(paid.l2, *moment))

    def _shrink(self, piece: Piece, step: Array, moment: Moment) -> None:
        """Add what weight decay takes away to the step."""
        rate = self.rule.get_learning_rate(*moment)
        rate = 1.0 if rate is None else rate
        add(step, piece, piece.where, self._decay * rate)
        for paid in piece.regularizations:
            decay = value_at(paid.decay, *moment)
            add(step, piece, paid.part, decay * rate if paid.apply_lr else decay)


def add(vector: Array, piece: Piece, where: slice, factor: float, *, signs: bool = False) -> None:
    """Add the parameters of a part, or their signs, times a factor to what belongs to a piece."""
    if not factor or where.start == where.stop:
        return
    inside = slice(where.start - piece.where.start, where.stop - piece.where.start)
    weights, target = piece.params[inside], vector[inside]
    for own, room in pieces_of(weights):
        np.multiply(np.sign(weights[own], out=room) if signs else weights[own], factor, out=room)
        target[own] += room


def pieces_of(vector: Flat) -> Iterator[tuple[slice, Array]]:
    """Go through a vector in pieces that stay in the cache, each with room for as many numbers."""
    scratch = empty_like(vector[:PIECE])
    for start in range(0, len(vector), PIECE):
        own = slice(start, min(start + PIECE, len(vector)))
        yield own, scratch[: own.stop - own.start]


class Part(NamedTuple):
    """A parameter: whose, and where."""

    layer: Layer
    name: str
    where: slice

    @property
    def kind(self) -> ParamKind:
        """How it learns."""
        return self.layer.param_kind(self.name)

    def setting(self, conf: NetworkConfiguration, name: str) -> Any:
        """Return a field of the layer, or that of the network where the layer has none."""
        value = getattr(self.layer.learns_as(), name, None)
        return getattr(conf, name) if value is None else value

    def rule(self, conf: NetworkConfiguration) -> IUpdater:
        """Return the updater of this parameter."""
        if self.kind is ParamKind.STATISTIC:
            return NoOp()
        rule: IUpdater | None = None
        if self.kind is ParamKind.BIAS:
            rule = self.setting(conf, "bias_updater")
        return rule or self.setting(conf, "updater")

    def regularization(self, conf: NetworkConfiguration) -> Regularization | None:
        """Return what this parameter pays."""
        suffix = REGULARIZED.get(self.kind)
        if suffix is None:
            return None
        l1, l2, decay = (self.setting(conf, f"{name}{suffix}") for name in ("l1", "l2", "weight_decay"))
        if not (l1 or l2 or decay):
            return None
        return Regularization(self.where, l1, l2, decay, self.setting(conf, "weight_decay_apply_lr"))


def parts_of(layers: list[Layer], layout: list[ParamPart]) -> Iterator[Part]:
    """Go through the parameters of all layers, in flat order."""
    places = iter(layout)
    for layer in layers:
        for own in layer.param_layout:
            place = next(places)
            yield Part(layer, own["name"], slice(place["offset"], place["offset"] + place["length"]))


def blocks_of(parts: list[Part], conf: NetworkConfiguration) -> list[Block]:
    """Join parameters with equal rules to blocks."""
    blocks: list[Block] = []
    for part in parts:
        rule, is_divided = part.rule(conf), part.kind is not ParamKind.STATISTIC
        if not blocks or (blocks[-1].rule, blocks[-1].is_divided) != (rule, is_divided):
            blocks.append(Block(rule, is_divided, part.where.start, part.where.start))
        blocks[-1].stop = part.where.stop
        paid = part.regularization(conf)
        if paid is not None:
            blocks[-1].regularizations.append(paid)
    return blocks


def state_size(layers: list[Layer], layout: list[ParamPart], conf: NetworkConfiguration) -> int:
    """Return how many numbers the updaters of these layers, working or not, keep."""
    return sum(block.state_size for block in blocks_of(list(parts_of(layers, layout)), conf))


def constrained(part: Part, conf: NetworkConfiguration) -> Iterator[tuple[LayerConstraint, Array]]:
    """Go through the constraints of a parameter."""
    for constraint in part.setting(conf, "constraints"):
        if part.kind.follows(biases=constraint.apply_to_biases):
            yield constraint, part.layer.param_table[part.name]


class NetworkUpdater:
    """Turns summed gradients into steps, and keeps the state of the rules."""

    def __init__(
        self,
        layers: list[Layer],
        conf: NetworkConfiguration,
        memory: ModelMemory,
        layout: list[ParamPart],
        scope: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._params, self._scope, self._mini_batch = memory.params, scope, conf.mini_batch
        parts = list(parts_of(layers, layout))
        self._blocks = blocks_of(parts, conf)
        self.has_penalty = any(block.regularizations for block in self._blocks)
        """Whether parameters may add something to the score."""
        self.statistics = [part.where for part in parts if part.kind is ParamKind.STATISTIC]
        """Where running means and variances lie, which are no gradients."""
        self.step_function: Callable[[Flat, Flat], object] | None = None
        """What moves the parameters by a step, which it may use up; by default that is subtracted."""
        self._normalizations = list(self._normalized(parts, conf))
        self._constraints = [found for part in parts for found in constrained(part, conf)]
        needed = sum(block.state_size for block in self._blocks)
        if needed != len(memory.state):
            raise ValueError(
                f"the working layers need {needed} numbers of updater state, their configurations "
                f"{len(memory.state)}: param_kind() and learns_as() must say the same of both"
            )
        offset = 0
        for block in self._blocks:
            state = memory.state[offset : offset + block.state_size]
            block.begin(memory.params, state)
            offset += block.state_size

    @staticmethod
    def _normalized(parts: list[Part], conf: NetworkConfiguration) -> Iterator[Normalization]:
        """Go through what is done to the gradients of layers."""
        places: dict[int, list[Part]] = {}
        for part in parts:
            places.setdefault(id(part.layer), []).append(part)
        for own in places.values():
            kind = own[0].setting(conf, "gradient_normalization")
            threshold = own[0].setting(conf, "gradient_normalization_threshold")
            normalization = Normalization.of(kind, threshold, [part.where for part in own])
            if normalization is not None:
                yield normalization

    def update(self, gradient: Array, *, iteration: int, epoch: int, batch_size: int) -> Array:
        """Turn the gradient, summed over the batch, into the step to subtract; in place, and return it.

        Parameters
        ----------
        gradient : ndarray
            Flat, of all parameters. The parameters are read, the state moves.
        iteration, epoch : int
            Counted from 0.
        batch_size : int
            By which the gradient is divided, unless ``mini_batch`` is off. Running statistics are not.
        """
        self._turn(gradient, (iteration, epoch), batch_size, self._scope)
        return gradient

    def learn(
        self,
        gradient: Flat,
        *,
        iteration: int,
        epoch: int,
        batch_size: int,
        scope: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Do as `update` in that scope, subtract the step, and make the parameters fulfil the constraints."""
        step = self.step_function
        self._turn(gradient, (iteration, epoch), batch_size, scope, subtracts=step is None)
        if step is not None:
            step(self._params, gradient)
        if self._constraints:
            self.constrain(scope)

    @property
    def is_constrained(self) -> bool:
        """Whether there are constraints."""
        return bool(self._constraints)

    def constrain(self, scope: Callable[[], AbstractContextManager[object]] | None = None) -> None:
        """Make the parameters fulfil the constraints, in place."""
        if self._constraints:
            with (scope or self._scope)():
                for constraint, param in self._constraints:
                    constraint.apply(param)

    def _turn(
        self,
        gradient: Array,
        moment: Moment,
        batch_size: int,
        scope: Callable[[], AbstractContextManager[object]],
        *,
        subtracts: bool = False,
    ) -> None:
        divisor = batch_size or 1 if self._mini_batch else 1
        if self._normalizations:
            divide(gradient, divisor, self.statistics)
            divisor = 1
            for normalization in self._normalizations:
                normalization.apply(gradient)
        for block in self._blocks:
            with scope():
                block.turn(gradient, moment, divisor, subtracts=subtracts)

    def penalty(self, *, iteration: int = 0, epoch: int = 0) -> float:
        """Return what the parameters add to the score.

        It is ``sum(l1 * |w| + l2 / 2 * w ** 2 + decay / 2 * w ** 2)``, with the coefficients of that moment.
        """
        total = 0.0
        for block in self._blocks:
            for paid in block.regularizations:
                weights = self._params[paid.part]
                l1 = value_at(paid.l1, iteration, epoch)
                square = value_at(paid.l2, iteration, epoch) + value_at(paid.decay, iteration, epoch)
                if l1:
                    for own, room in pieces_of(weights):
                        total += l1 * float(np.abs(weights[own], out=room).sum())
                if square:
                    total += 0.5 * square * float(weights.dot(weights))
        return total
