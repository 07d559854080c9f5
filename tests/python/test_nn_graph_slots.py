"""Which workspaces a graph opens, and how often: those that DL4J's lists of free ones give."""

from collections import Counter

import numpy as np
import pytest

import ndarena
from ndarena import nn
from ndarena.data import MultiDataSet

# By vertex what goes in, a letter each; those that nobody is given are outputs, and stand last.
GRAPHS = {
    "branches that meet": {"d": "x", "l": "d", "r": "d", "s": "l", "t": "r", "n": "s", "m": "nt", "o": "m"},
    "two ends at once": {"a": "x", "b": "a", "c": "b", "d": "xc", "p": "d", "q": "b"},
    "inputs read late": {"a": "x", "b": "y", "c": "ya", "d": "xb", "e": "cd", "f": "ca", "p": "e", "q": "f"},
    "results that end together": {"a": "x", "b": "x", "c": "b", "d": "cab", "e": "d", "f": "ed", "p": "f"},
    "one after the other": {"a": "x", "b": "a", "c": "b", "p": "c"},
}


class FreeList:
    """Numbers that are taken from a stack, or made, and put back when a step is over."""

    def __init__(self):
        self.free, self.made, self.ends, self.taken = [], 0, {}, Counter()

    def take(self, until):
        if not self.free:
            self.free.append(self.made)
            self.made += 1
        slot = self.free.pop()
        self.ends.setdefault(until, []).append(slot)
        return slot

    def end(self, step):
        self.free += self.ends.pop(step, [])

    def count(self, slot):
        self.taken[f"WS_LAYER_ACT_{slot}"] += 1


class Order:
    """The vertices of a graph, inputs first, by their place."""

    def __init__(self, vertices):
        self.inputs = sorted({name for given in vertices.values() for name in given} - vertices.keys())
        self.names = [*self.inputs, *vertices]
        place = {name: i for i, name in enumerate(self.names)}
        self.given = [[place[g] for g in vertices.get(name, "")] for name in self.names]
        read = {i for given in self.given for i in given}
        self.outputs = [name for name in vertices if place[name] not in read]

    def forward(self):
        """Every result is there until its last reader has worked; an output is outside."""
        slots = FreeList()
        last = {g: i for i, given in enumerate(self.given) for g in given}
        for i, name in enumerate(self.names):
            slot = slots.take(last.get(i, i))
            if name not in self.outputs:
                slots.count(slot)
            slots.end(i)
        return slots.taken

    def backward(self):
        """Every epsilon is there until the first of what was given has worked; inputs have none."""
        slots = FreeList()
        for i in reversed(range(len(self.names))):
            if self.given[i]:
                slots.count(slots.take(min(self.given[i])))
            slots.end(i)
        return slots.taken


def network(vertices, order):
    def thing(name):
        if name in order.outputs:
            return nn.OutputLayer(n_out=2)
        return nn.ElementWiseVertex("add") if len(vertices[name]) > 1 else nn.DenseLayer(n_out=3)

    kind = nn.InputType.feed_forward(3)
    return nn.ComputationGraph(
        nn.ComputationGraphConfiguration(
            inputs=order.inputs,
            vertices={name: (thing(name), *given) for name, given in vertices.items()},
            outputs=order.outputs,
            input_types=[kind] * len(order.inputs),
            topological_order=order.names,
            seed=1,
        )
    )


def cycles():
    return Counter({ws.id: ws.cycles_count for ws in ndarena.get_all_workspaces_for_current_thread()})


@pytest.mark.parametrize("vertices", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_graph_opens_what_dl4j_opens(vertices):
    order = Order(vertices)
    x = [np.ones((4, 3), "f4")] * len(order.inputs)
    y = [np.eye(2, dtype="f4")[[0, 1, 0, 1]]] * len(order.outputs)
    net = network(vertices, order)
    net.fit(MultiDataSet(x, y))
    n, outputs = len(order.names), len(order.outputs)
    assert cycles()["WS_ALL_LAYERS_ACT"] == 2
    assert cycles()["WS_LAYER_WORKING_MEM"] == n - outputs + n - len(order.inputs) + outputs
    for slots, use in (
        (order.backward(), lambda: net.fit(MultiDataSet(x, y))),
        (order.forward(), lambda: net.output(*x)),
    ):
        before = cycles()
        use()
        opened = cycles() - before
        assert {name: opened[name] for name in opened if name.startswith("WS_LAYER_ACT_")} == slots
