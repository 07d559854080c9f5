"""From the summed gradient to the step (DL4J: ``MultiLayerUpdater``, ``UpdaterBlock``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndarena._core import empty_like

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ndarena.nn.configuration import MultiLayerConfiguration
    from ndarena.nn.layer import Flat, Layer, ParamPart
    from ndarena.nn.updaters import IUpdater
    from ndarena.nn.words import Array

__all__ = ["NetworkUpdater"]


class Penalty(NamedTuple):
    """What a part of the flat vector pays."""

    part: slice
    l1: float
    l2: float


@dataclass
class Block:
    """Neighbouring parameters that follow one rule."""

    rule: IUpdater
    start: int
    stop: int
    penalties: list[Penalty] = field(default_factory=list)
    state: Any = None


def blocks_of(layers: list[Layer], conf: MultiLayerConfiguration, layout: list[ParamPart]) -> list[Block]:
    """Join the parameters of all layers, in flat order, to blocks."""
    blocks: list[Block] = []
    parts = iter(layout)
    for layer in layers:
        for own in layer.param_layout:
            part = next(parts)
            rule, penalty = _treatment(layer, conf, own["name"], part)
            if not blocks or blocks[-1].rule != rule:
                blocks.append(Block(rule, part["offset"], part["offset"]))
            blocks[-1].stop += part["length"]
            if penalty.l1 or penalty.l2:
                blocks[-1].penalties.append(penalty)
    return blocks


def _treatment(
    layer: Layer, conf: MultiLayerConfiguration, name: str, part: ParamPart
) -> tuple[IUpdater, Penalty]:
    """Return rule and penalty of a parameter: the layer's own where it has the field, else the network's."""

    def own(field: str) -> Any:
        value = getattr(layer, field, None)
        return getattr(conf, field) if value is None else value

    suffix = "_bias" if name == "b" else ""
    rule = (own("bias_updater") if suffix else None) or own("updater")
    where = slice(part["offset"], part["offset"] + part["length"])
    return rule, Penalty(where, own(f"l1{suffix}"), own(f"l2{suffix}"))


class NetworkUpdater:
    """Turns summed gradients into steps, and keeps the state of the rules."""

    def __init__(
        self,
        layers: list[Layer],
        conf: MultiLayerConfiguration,
        params: Flat,
        layout: list[ParamPart],
        scope: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._params, self._scope, self._mini_batch = params, scope, conf.mini_batch
        self._blocks = blocks_of(layers, conf, layout)
        states = [block.rule.init_state(block.stop - block.start, params.dtype) for block in self._blocks]
        self.state: Flat = np.concatenate(states) if states else np.zeros(0, params.dtype)
        offset = 0
        for block, state in zip(self._blocks, states, strict=True):
            block.state = self.state[offset : offset + len(state)]
            offset += len(state)

    def update(self, gradient: Array, *, iteration: int, epoch: int, batch_size: int) -> Array:
        """Turn the gradient, summed over the batch, into the step to subtract; in place, and return it.

        Parameters
        ----------
        gradient : ndarray
            Flat, of all parameters. The parameters are read, the state moves.
        iteration, epoch : int
            Counted from 0.
        batch_size : int
            By which the gradient is divided, unless ``mini_batch`` is off.
        """
        if self._mini_batch:
            gradient /= batch_size
        for block in self._blocks:
            part = gradient[block.start : block.stop]
            with self._scope():
                self._penalise(block, gradient)
                block.rule.apply(part, block.state, iteration=iteration, epoch=epoch, out=part)
        return gradient

    def _penalise(self, block: Block, gradient: Array) -> None:
        for where, l1, l2 in block.penalties:
            weights = self._params[where]
            scratch = empty_like(weights)
            if l1:
                np.sign(weights, out=scratch)
                scratch *= l1
                gradient[where] += scratch
            if l2:
                np.multiply(weights, l2, out=scratch)
                gradient[where] += scratch

    def penalty(self) -> float:
        """Return what the parameters add to the score: ``sum(l1 * |w| + l2 / 2 * w ** 2)``."""
        total = 0.0
        for block in self._blocks:
            for where, l1, l2 in block.penalties:
                weights = self._params[where]
                if l1:
                    total += l1 * float(np.abs(weights, out=empty_like(weights)).sum())
                if l2:
                    total += 0.5 * l2 * float(weights @ weights)
        return total
