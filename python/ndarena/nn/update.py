"""From the summed gradient to the step (DL4J: ``MultiLayerUpdater``, ``UpdaterBlock``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndarena._core import empty_like
from ndarena.nn.gradient_normalization import Normalization, divide
from ndarena.nn.layer import ParamKind
from ndarena.nn.schedules import value_at
from ndarena.nn.updaters import PIECE, NoOp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ndarena.nn.configuration import NetworkConfiguration
    from ndarena.nn.constraints import LayerConstraint
    from ndarena.nn.layer import Flat, Layer, ParamPart
    from ndarena.nn.schedules import ISchedule
    from ndarena.nn.updaters import IUpdater
    from ndarena.nn.words import Array

__all__ = ["NetworkUpdater"]

REGULARIZED = {ParamKind.WEIGHT: "", ParamKind.BIAS: "_bias"}


class Regularization(NamedTuple):
    """What a part of the flat vector pays."""

    part: slice
    l1: float | ISchedule
    l2: float | ISchedule
    decay: float | ISchedule
    apply_lr: bool


@dataclass
class Block:
    """Neighbouring parameters that follow one rule."""

    rule: IUpdater
    start: int
    stop: int
    regularizations: list[Regularization] = field(default_factory=list)
    state: Any = None


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
        rule = part.rule(conf)
        if not blocks or blocks[-1].rule != rule:
            blocks.append(Block(rule, part.where.start, part.where.start))
        blocks[-1].stop = part.where.stop
        paid = part.regularization(conf)
        if paid is not None:
            blocks[-1].regularizations.append(paid)
    return blocks


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
        params: Flat,
        layout: list[ParamPart],
        scope: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._params, self._scope, self._mini_batch = params, scope, conf.mini_batch
        parts = list(parts_of(layers, layout))
        self._blocks = blocks_of(parts, conf)
        self._undivided = [part.where for part in parts if part.kind is ParamKind.STATISTIC]
        self._normalizations = list(self._normalized(parts, conf))
        self._constraints = [found for part in parts for found in constrained(part, conf)]
        states = [block.rule.init_state(block.stop - block.start, params.dtype) for block in self._blocks]
        self.state: Flat = np.concatenate(states) if states else np.zeros(0, params.dtype)
        offset = 0
        for block, state in zip(self._blocks, states, strict=True):
            block.state = self.state[offset : offset + len(state)]
            offset += len(state)

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
        if self._mini_batch:
            divide(gradient, batch_size, self._undivided)
        for normalization in self._normalizations:
            normalization.apply(gradient)
        for block in self._blocks:
            part = gradient[block.start : block.stop]
            with self._scope():
                self._penalise(block, gradient, iteration, epoch)
                block.rule.apply(part, block.state, iteration=iteration, epoch=epoch, out=part)
                self._decay(block, gradient, iteration, epoch)
        return gradient

    def _penalise(self, block: Block, gradient: Array, iteration: int, epoch: int) -> None:
        """Add the derivatives of the penalties to the gradient."""
        for paid in block.regularizations:
            self._add(gradient, paid.part, value_at(paid.l1, iteration, epoch), signs=True)
            self._add(gradient, paid.part, value_at(paid.l2, iteration, epoch))

    def _decay(self, block: Block, step: Array, iteration: int, epoch: int) -> None:
        """Add what weight decay takes away to the step."""
        rate = block.rule.get_learning_rate(iteration, epoch)
        rate = 1.0 if rate is None else rate
        self._add(step, slice(block.start, block.stop), block.rule.get_weight_decay() * rate)
        for paid in block.regularizations:
            decay = value_at(paid.decay, iteration, epoch)
            self._add(step, paid.part, decay * rate if paid.apply_lr else decay)

    def _add(self, vector: Array, where: slice, factor: float, *, signs: bool = False) -> None:
        """Add the parameters of a place, or their signs, times a factor."""
        if not factor:
            return
        scratch = empty_like(self._params[where][:PIECE])
        for own, room in self._pieces(where, scratch):
            weights = self._params[own]
            np.multiply(np.sign(weights, out=room) if signs else weights, factor, out=room)
            vector[own] += room

    @staticmethod
    def _pieces(where: slice, scratch: Array) -> Iterator[tuple[slice, Array]]:
        """Go through a place in pieces that stay in the cache, each with room for as many numbers."""
        for start in range(where.start, where.stop, PIECE):
            own = slice(start, min(start + PIECE, where.stop))
            yield own, scratch[: own.stop - own.start]

    def constrain(self) -> None:
        """Make the parameters fulfil the constraints, in place."""
        if self._constraints:
            with self._scope():
                for constraint, param in self._constraints:
                    constraint.apply(param)

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
                    scratch = empty_like(weights[:PIECE])
                    for own, room in self._pieces(paid.part, scratch):
                        total += l1 * float(np.abs(self._params[own], out=room).sum())
                if square:
                    total += 0.5 * square * float(weights @ weights)
        return total
