"""What is joined to what in a network, and how long it is needed: the same for chains and graphs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from ndarena.nn.vertex import GraphVertex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.input_type import InputType
    from ndarena.nn.preprocessors import InputPreProcessor
    from ndarena.nn.words import Array

__all__ = ["InputVertex", "Node", "Slots", "Wiring", "chained", "wired"]

NOWHERE = -1


class InputVertex(GraphVertex):
    """Where an array comes into a graph (DL4J: ``InputVertex``)."""

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return the array."""
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Node:
    """A layer or another vertex in its place.

    Values are counted through: first what goes into the network, then what each node gives.
    """

    index: int
    """Among the nodes, which are in the order in which they work."""
    name: str
    twin: Any
    sources: tuple[int, ...]
    """The values that go in; of some vertices the last one is an input of the network that is only read."""
    value: int
    """The value that comes out."""
    preprocessor: InputPreProcessor | None = None
    is_layer: bool = True
    is_first: bool = False
    """Whether it is given what goes into the network."""
    is_input: bool = False
    """Whether it only brings an array in."""
    brings_indices: bool = False
    """Whether what goes into the network here is given to layers alone that take indices."""
    output: int | None = None
    """Which output of the network it is."""
    learns_below: bool = False
    """Whether something that it depends on has parameters."""

    @property
    def flows(self) -> tuple[int, ...]:
        """The values to which something flows back."""
        if self.is_layer or self.twin.reference is None:
            return self.sources
        return self.sources[:-1]


@dataclass(frozen=True)
class Slots:
    """Places for what nodes give, used again when it is no longer needed."""

    of: tuple[int, ...]
    """The slot of each node."""
    ends: tuple[tuple[int, ...], ...]
    """By node the slots that are free again when it has worked."""
    count: int

    @classmethod
    def alternating(cls, order: Sequence[int]) -> Self:
        """Two in turn, for a chain whose nodes work in this order."""
        of = [NOWHERE] * len(order)
        ends: list[tuple[int, ...]] = [()] * len(order)
        for step, node in enumerate(order):
            of[node] = step % 2
            ends[node] = (1 - step % 2,) if step else ()
        return cls(tuple(of), tuple(ends), min(len(order), 2))

    @classmethod
    def listed(cls, order: Iterable[int], given_up: Sequence[Sequence[int]], taken: Sequence[bool]) -> Self:
        """As few as are alive at once: ``given_up`` says by node whose results are no longer needed then."""
        of = [NOWHERE] * len(taken)
        ends: list[tuple[int, ...]] = [()] * len(taken)
        free: list[int] = []
        count = 0
        for node in order:
            if taken[node]:
                if not free:
                    free.append(count)
                    count += 1
                of[node] = free.pop()
            ends[node] = tuple(of[k] for k in given_up[node] if of[k] != NOWHERE)
            free.extend(ends[node])
        return cls(tuple(of), tuple(ends), count)


@dataclass(frozen=True)
class Wiring:
    """All nodes of a network."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Node, ...]
    forward: Slots
    """Where results are at inference."""
    backward: Slots
    """Where epsilons are."""
    is_graph: bool
    input_types: tuple[InputType, ...] = ()
    """What goes in, where that is said and nothing else tells it."""
    hidden: tuple[Node, ...] = field(init=False)
    """The nodes that are no outputs."""
    backwards: tuple[Node, ...] = field(init=False)
    """All nodes, the last one first."""
    ended: tuple[tuple[int, ...], ...] = field(init=False)
    """By node the values that nobody is given after it."""
    ended_by_outputs: tuple[tuple[int, ...], ...] = field(init=False)
    """By output what no other output is given, when they work backwards."""
    unread_by_outputs: tuple[int, ...] = field(init=False)
    """The values that no output is given."""

    unknown: list[None] = field(init=False)
    """Nothing for every node."""
    is_simple: bool = field(init=False)
    """Whether one array goes in, of which nothing is said, and one comes out."""

    def __post_init__(self) -> None:
        """Find out what is no output, and where values end."""
        values = range(len(self.inputs) + len(self.nodes))
        last = dict.fromkeys(values, NOWHERE)
        last |= {source: node.index for node in self.nodes for source in node.sources}
        ended = (tuple(v for v in node.sources if last[v] == node.index) for node in self.nodes)
        read = {v for node in self.outputs for v in node.sources}
        object.__setattr__(self, "hidden", tuple(node for node in self.nodes if node.output is None))
        is_simple = len(self.inputs) == len(self.outputs) == 1 and not self.input_types
        object.__setattr__(self, "is_simple", is_simple)
        object.__setattr__(self, "unknown", [None] * len(self.nodes))
        object.__setattr__(self, "backwards", self.nodes[::-1])
        object.__setattr__(self, "ended", tuple(ended))
        object.__setattr__(self, "ended_by_outputs", tuple(map(self._ended_by_output, self.outputs)))
        object.__setattr__(self, "unread_by_outputs", tuple(v for v in values if v not in read))

    def _ended_by_output(self, output: Node) -> tuple[int, ...]:
        others = {v for node in self.outputs if node.index < output.index for v in node.sources}
        return tuple(v for v in (output.value, *output.sources) if v not in others)

    @property
    def workers(self) -> int:
        """The number of layers and vertices."""
        return sum(not node.is_input for node in self.nodes)

    @property
    def preprocessors(self) -> int:
        """The number of preprocessors."""
        return sum(node.preprocessor is not None for node in self.nodes)

    def apart(self) -> Wiring:
        """Return the same with second workers on the same parameters."""
        nodes = tuple(replace(node, twin=copy.copy(node.twin)) for node in self.nodes)
        outputs = tuple(nodes[node.index] for node in self.outputs)
        return replace(self, nodes=nodes, outputs=outputs)


def chained(twins: Sequence[Any], preprocessors: dict[int, InputPreProcessor]) -> Wiring:
    """Join layers to a chain."""
    last = len(twins) - 1
    nodes, learns = [], False
    for i, twin in enumerate(twins):
        nodes.append(
            Node(
                i,
                twin.name,
                twin,
                (i,),
                i + 1,
                preprocessors.get(i),
                is_first=i == 0,
                brings_indices=i == 0 and twin.takes_indices,
                output=0 if i == last else None,
                learns_below=learns,
            )
        )
        learns = learns or len(twin.params) > 0
    forward = Slots.alternating(range(len(nodes)))
    backward = Slots.alternating(range(last, -1, -1))
    return Wiring(tuple(nodes), ("input",), (nodes[-1],), forward, backward, is_graph=False)


def wired(
    inputs: Sequence[str],
    members: Sequence[tuple[str, Any, tuple[str, ...], InputPreProcessor | None]],
    outputs: Sequence[str],
) -> Wiring:
    """Join vertices to a graph: those for the inputs first, then the members in their order."""
    first = len(inputs)
    value = {name: first + i for i, name in enumerate([*inputs, *(m[0] for m in members)])}
    nodes = [
        Node(
            i,
            name,
            InputVertex().instantiate(index=i, name=name),
            (i,),
            first + i,
            is_layer=False,
            is_first=True,
            is_input=True,
            brings_indices=all(getattr(m[1], "takes_indices", False) for m in members if name in m[2]),
        )
        for i, name in enumerate(inputs)
    ]
    learns = [False] * (first + len(members))
    for name, twin, sources, preprocessor in members:
        given = tuple(value[source] for source in sources)
        is_layer = not isinstance(twin, GraphVertex)
        below = any(learns[v - first] for v in given)
        index = value[name] - first
        learns[index] = below or (is_layer and len(twin.params) > 0)
        output = outputs.index(name) if name in outputs else None
        nodes.append(
            Node(
                index,
                name,
                twin,
                given,
                value[name],
                preprocessor,
                is_layer=is_layer,
                output=output,
                learns_below=below,
            )
        )
    by_output = tuple(nodes[value[name] - first] for name in outputs)
    forward, backward = _graph_slots(nodes, first)
    return Wiring(tuple(nodes), tuple(inputs), by_output, forward, backward, is_graph=True)


def _graph_slots(nodes: Sequence[Node], first: int) -> tuple[Slots, Slots]:
    """Return the slots of results, which their last reader ends, and of epsilons, which the first one ends.

    An output writes beside what it is given, and is taken from there at once. Where an array only comes in,
    no epsilon is made. Slots that end together are free in the order in which they were taken, as in DL4J.
    """
    last: dict[int, int] = {}
    ended_by: list[list[int]] = [[] for _ in nodes]
    for node in nodes:
        last.update((source - first, node.index) for source in node.sources if source >= first)
    for given in sorted(last):
        ended_by[last[given]].append(given)
    taken = [node.output is None for node in nodes]
    forward = Slots.listed(range(len(nodes)), ended_by, taken)
    beside = tuple(
        forward.of[node.sources[0] - first] if node.output is not None else forward.of[node.index]
        for node in nodes
    )
    consumed_by: list[list[int]] = [[] for _ in nodes]
    for node in reversed(nodes):
        if not node.is_input:
            consumed_by[min(node.flows) - first].append(node.index)
    backward = Slots.listed(range(len(nodes) - 1, -1, -1), consumed_by, [not node.is_input for node in nodes])
    return replace(forward, of=beside), backward
