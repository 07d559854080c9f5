"""What a network says of itself: a summary, the memory it will need, a copy (DL4J: ``Model``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ndarena.nn.layer import Layer
from ndarena.nn.words import at_least_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena.nn.configuration import Node
    from ndarena.nn.input_type import InputType

__all__ = ["LayerMemory", "MemoryReport", "Overseen"]

COPIED = ("iteration_count", "epoch_count", "training_workspace_mode", "inference_workspace_mode")


class LayerMemory(NamedTuple):
    """The bytes of a layer or vertex; ``None`` where the type of what comes out is not known."""

    name: str
    kind: str
    params: int
    activations: int | None
    """Of one batch."""


@dataclass(frozen=True)
class MemoryReport:
    """What a network needs for batches of a size, in bytes (DL4J: ``NetworkMemoryReport``).

    Scratch is not in it: it is that of one layer at a time. A series whose length is not fixed counts as one
    step.
    """

    minibatch: int
    layers: tuple[LayerMemory, ...]
    params: int
    gradients: int
    updater_state: int

    @property
    def standing(self) -> int:
        """Of parameters, gradients and updaters, whatever the batch."""
        return self.params + self.gradients + self.updater_state

    @property
    def activations(self) -> int:
        """Of all activations, which training keeps for the backward pass."""
        return sum(layer.activations or 0 for layer in self.layers)

    @property
    def training(self) -> int:
        """In training: besides what stands all activations, and the epsilons of two layers at a time."""
        return self.standing + self.activations + self._pair()

    @property
    def inference(self) -> int:
        """In inference: the parameters, and the activations of two layers at a time."""
        return self.params + self._pair()

    def _pair(self) -> int:
        sizes = [layer.activations or 0 for layer in self.layers]
        return max(map(sum, zip([0, *sizes], [*sizes, 0], strict=True)))

    def __str__(self) -> str:
        """Return a table."""
        rows = [("name", "class", "parameters", "activations")]
        rows += [(of.name, of.kind, _bytes(of.params), _bytes(of.activations)) for of in self.layers]
        standing = f"gradients {_bytes(self.gradients)}, updaters {_bytes(self.updater_state)}"
        lines = [
            f"minibatch {self.minibatch}",
            *_table(rows),
            f"parameters {_bytes(self.params)}, {standing}",
            f"training {_bytes(self.training)}, inference {_bytes(self.inference)}, and scratch",
        ]
        return "\n".join(lines)


def _bytes(count: int | None) -> str:
    return "?" if count is None else f"{count:,} B"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of columns, with a rule below the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([word.ljust(width) for word, width in zip(row, widths, strict=True)] for row in rows)
    lines = ["  ".join(words).rstrip() for words in padded]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _elements(kind: InputType | None, minibatch: int) -> int | None:
    return None if kind is None else minibatch * math.prod(n or 1 for n in kind.shape)


class Overseen:
    """A network that tells what it is."""

    configuration: Any

    def _nodes(self) -> tuple[Node, ...]:
        nodes: tuple[Node, ...] = self.configuration.complete_nodes()
        return nodes

    def summary(self) -> str:
        """Return a table of layers and vertices: what goes in, what comes out, which parameters there are."""
        net: Any = self
        rows = [("name", "class", "given", "gives", "parameters")]
        for node in self._nodes():
            shapes = node.thing.param_shapes() if isinstance(node.thing, Layer) else {}
            count = sum(math.prod(shape) for shape in shapes.values())
            sizes = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            before = "" if node.preprocessor is None else f" through {type(node.preprocessor).__name__}"
            rows.append(
                (
                    node.name,
                    type(node.thing).__name__,
                    ", ".join(node.inputs) + before,
                    "?" if node.output_type is None else str(node.output_type),
                    f"{count:,}: {sizes}" if count else "0",
                )
            )
        total = f"{net.num_params():,} parameters of {net.dtype.name}, {net.params().nbytes:,} B"
        return "\n".join([*_table(rows), total])

    def memory_report(self, minibatch: int) -> MemoryReport:
        """Return what the network needs for batches of that many examples, before anything is run.

        Raises
        ------
        ConfigurationError
            A size below 1.
        """
        net: Any = self
        size, item = at_least_one(minibatch, type(self).__name__, "minibatch"), net.dtype.itemsize
        layers = []
        for node in self._nodes():
            params = node.thing.num_params() if isinstance(node.thing, Layer) else 0
            elements = _elements(node.output_type, size)
            activations = None if elements is None else elements * item
            layers.append(LayerMemory(node.name, type(node.thing).__name__, params * item, activations))
        parts = net.params().nbytes, net.gradient().nbytes, net.updater_state().nbytes
        return MemoryReport(size, tuple(layers), *parts)

    def clone(self) -> Self:
        """Return another network with the same configuration, parameters, state, counts and modes.

        `copy.copy`, `copy.deepcopy` and pickles give the same.
        """
        make, facts, state = self.__reduce__()
        twin: Self = make(*facts)  # type: ignore[call-arg]  # all networks are made so
        twin.__setstate__(state)
        return twin

    def __reduce__(self) -> tuple[type[Self], tuple[Any], dict[str, Any]]:
        """Return what makes a copy, here or in another process; listeners and workspaces stay behind."""
        net: Any = self
        state = {name: getattr(net, name) for name in COPIED}
        return (
            type(self),
            (self.configuration,),
            state | {"params": net.params(), "state": net.updater_state()},
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over parameters, state, counts and modes."""
        net: Any = self
        net.set_params(state["params"])
        net.set_updater_state(state["state"])
        for name in COPIED:
            setattr(net, name, state[name])

    def __repr__(self) -> str:
        """Tell kind, size and age in a line."""
        net: Any = self
        size = f"{len(net.layers)} layers, {net.num_params():,} parameters of {net.dtype.name}"
        return f"<{type(self).__name__}: {size}, iteration {net.iteration_count}, epoch {net.epoch_count}>"
