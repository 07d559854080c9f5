"""What a graph is made of (DL4J: ``ComputationGraphConfiguration``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from ndarena.nn.configuration import NetworkConfiguration, Node, completed
from ndarena.nn.input_type import InputType
from ndarena.nn.json_networks import Counts, read_graph, write_graph
from ndarena.nn.layer import Layer
from ndarena.nn.preprocessors import InputPreProcessor
from ndarena.nn.vertex import GraphVertex
from ndarena.nn.vertices import MergeVertex
from ndarena.nn.words import ReadOnly, in_place, refuse

__all__ = ["ComputationGraphConfiguration"]

Thing = Layer | GraphVertex


@dataclass(frozen=True, kw_only=True, repr=False)
class ComputationGraphConfiguration(NetworkConfiguration):
    """Layers and other vertices, how they are joined, and how they learn (DL4J: its class of that name).

    Parameters
    ----------
    inputs : sequence of str
        The names of the arrays that go in.
    vertices : mapping of str to tuple
        By name a layer or another vertex, and the names of its inputs: ``(DenseLayer(n_out=8), "a")``.
        Before a layer with several inputs a `MergeVertex` ``<name>-merge`` is put.
    outputs : sequence of str
        The names of the vertices that come out; each is a layer with a loss.
    input_types : sequence of InputType, optional
        One per input; from them the layers infer ``n_in``, and which preprocessors stand before them.
    input_preprocessors : mapping of str to InputPreProcessor
        What stands before a layer. It wins over what is inferred; without ``input_types`` nothing is.
    topological_order : sequence of str, optional
        All inputs and vertices, each behind what it needs. Parameters lie in this order. Default: the inputs,
        then again and again the first declared vertex whose inputs are there.

    Further parameters: those of `MultiLayerConfiguration` for the whole network.

    Raises
    ------
    ConfigurationError
        A wrong field of the network or a layer, a name that leads nowhere, a cycle.
    """

    json_key: ClassVar[str] = "vertices"
    other_kind: ClassVar[str] = "MultiLayerNetwork"

    inputs: Sequence[str]
    vertices: Mapping[str, tuple[Any, ...]]
    outputs: Sequence[str]
    input_types: Sequence[InputType] | None = None
    input_preprocessors: Mapping[str, InputPreProcessor] = field(default_factory=ReadOnly)
    topological_order: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        self._settle_fields()
        for name in ("inputs", "outputs"):
            self._set(name, _names(getattr(self, name), name))
        self._settle_vertices()
        self._settle_outputs()
        self._settle_types()
        self._settle_preprocessors()
        self._set("topological_order", self._order())
        self._set("_nodes", tuple(self._complete()))

    def _settle_vertices(self) -> None:
        if not isinstance(self.vertices, Mapping) or not self.vertices:
            _refuse("vertices", self.vertices, "must map names to a layer or vertex and its inputs")
        vertices: dict[str, tuple[Any, ...]] = {}
        for name, given in self.vertices.items():
            thing, *inputs = _whole(name, given)
            if isinstance(thing, Layer) and len(inputs) > 1:
                merge = f"{name}-merge"
                if merge in self.vertices:
                    _refuse(f"vertices[{name!r}]", thing, f"has several inputs, and {merge!r} is taken")
                vertices[merge] = (MergeVertex(), *inputs)
                inputs = [merge]
            vertices[name] = (thing, *inputs)
        self._set("vertices", ReadOnly(vertices))
        for name, (thing, *inputs) in vertices.items():
            where = f"vertices[{name!r}]"
            if name in self.inputs:
                _refuse(where, name, "is the name of an input")
            for source in inputs:
                if source not in vertices and source not in self.inputs:
                    _refuse(where, source, f"is no input and no vertex; there are {self._known()}")
            if isinstance(thing, GraphVertex):
                self._check_vertex(where, thing, len(inputs))

    def _known(self) -> str:
        return ", ".join([*self.inputs, *self.vertices])

    def _check_vertex(self, where: str, vertex: GraphVertex, inputs: int) -> None:
        least, most = vertex.inputs_taken
        if inputs < least or (most is not None and inputs > most):
            _refuse(where, vertex, f"takes {least} input{'s' * (least > 1)}, not {inputs}")
        if vertex.reference is not None and vertex.reference not in self.inputs:
            _refuse(where, vertex, f"names {vertex.reference!r}; inputs are {', '.join(self.inputs)}")

    def _settle_outputs(self) -> None:
        for name in self.outputs:
            if name not in self.vertices:
                _refuse("outputs", name, f"is no vertex; there are {', '.join(self.vertices)}")
            if not hasattr(self.vertices[name][0], "compute_score"):
                _refuse("outputs", name, "must be a layer with a loss, as OutputLayer is")
        used = {source for _, *inputs in self.vertices.values() for source in inputs}
        for name, (thing, *_) in self.vertices.items():
            if name in used and hasattr(thing, "compute_score"):
                _refuse(
                    f"vertices[{name!r}]", thing, "a layer with a loss must be an output and nothing else"
                )
            if name not in used and name not in self.outputs:
                _refuse(f"vertices[{name!r}]", thing, "is no output, and nothing takes what it gives")

    def _settle_types(self) -> None:
        if self.input_types is None:
            return
        types = self.input_types
        if isinstance(types, InputType) or not isinstance(types, Sequence) or len(types) != len(self.inputs):
            _refuse("input_types", types, f"must be {len(self.inputs)}, one per input")
        for given in types:
            if not isinstance(given, InputType):
                _refuse("input_types", given, "must be an InputType")
        self._set("input_types", tuple(types))

    def _settle_preprocessors(self) -> None:
        if not isinstance(self.input_preprocessors, Mapping):
            _refuse("input_preprocessors", self.input_preprocessors, "must map layers to preprocessors")
        self._set("input_preprocessors", ReadOnly(self.input_preprocessors))
        for name, preprocessor in self.input_preprocessors.items():
            where = f"input_preprocessors[{name!r}]"
            if name not in self.vertices or not isinstance(self.vertices[name][0], Layer):
                _refuse(where, preprocessor, "there is no such layer")
            if not isinstance(preprocessor, InputPreProcessor):
                _refuse(where, preprocessor, "is no InputPreProcessor")

    def _order(self) -> tuple[str, ...]:
        """Return the order that is given, if it can be gone, or else the first that can."""
        if self.topological_order is None:
            return self._first_order()
        given = _names(self.topological_order, "topological_order")
        order: list[str] = []
        for name in given:
            merge = f"{name}-merge"
            if merge in self.vertices and merge not in given:
                order.append(merge)
            order.append(name)
        if sorted(order) != sorted([*self.inputs, *self.vertices]):
            _refuse("topological_order", given, f"must hold each of {self._known()} once")
        for i, name in enumerate(order):
            if any(source not in order[:i] for source in self.vertices.get(name, ())[1:]):
                _refuse("topological_order", given, f"{name!r} stands before one of its inputs")
        return tuple(order)

    def _first_order(self) -> tuple[str, ...]:
        order = dict.fromkeys(self.inputs)
        while True:
            waiting = [name for name in self.vertices if name not in order]
            if not waiting:
                return tuple(order)
            ready = (n for n in waiting if all(source in order for source in self.vertices[n][1:]))
            name = next(ready, None)
            if name is None:
                _refuse("vertices", ", ".join(waiting), "there is a cycle: each waits for another")
            order[name] = None

    def _complete(self) -> list[Node]:
        """Follow the types from the inputs on, and see that what goes into a vertex is what it takes."""
        types: dict[str, InputType | None] = dict.fromkeys(self.inputs)
        if self.input_types is not None:
            types.update(zip(self.inputs, self.input_types, strict=True))
        nodes = []
        for name in self.topological_order or ():
            if name not in self.vertices:
                continue
            thing, *inputs = self.vertices[name]
            preprocessor = None
            owner = f"vertex {name!r} ({type(thing).__name__})"
            if isinstance(thing, Layer):
                preprocessor = self.input_preprocessors.get(name)
                first, infer = inputs[0] in self.inputs, self.input_types is not None
                with in_place(owner):
                    thing, preprocessor, types[name] = completed(
                        self, thing, owner, types[inputs[0]], preprocessor, first=first, infer=infer
                    )
            else:
                seen = [*inputs, thing.reference] if thing.reference is not None else inputs
                given = [types[source] for source in seen]
                known = [t for t in given if t is not None]
                with in_place(owner):
                    types[name] = thing.get_output_type(*known) if len(known) == len(given) else None
            nodes.append(Node(name, thing, tuple(inputs), preprocessor, types[name]))
        return nodes

    def complete_nodes(self) -> tuple[Node, ...]:
        """Return the vertices in topological order, layers with what they take from network and input."""
        nodes: tuple[Node, ...] = self.__dict__["_nodes"]
        return nodes

    def to_tree(
        self, *, iteration_count: int | None = None, epoch_count: int | None = None
    ) -> dict[str, Any]:
        """Return DL4J's JSON as a tree, with the counts of a network, or those that were read."""
        return write_graph(self, Counts(iteration_count, epoch_count))

    @classmethod
    def _fields_of(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a tree of DL4J's describes."""
        return read_graph(tree)


def _refuse(field: str, value: object, reason: str) -> NoReturn:
    refuse("ComputationGraphConfiguration", field, value, reason)


def _names(given: object, field: str) -> tuple[str, ...]:
    """Return names as a tuple; none, or one twice, is refused."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        _refuse(field, given, "must be a sequence of names")
    names = tuple(given)
    if not names or not all(isinstance(name, str) and name for name in names):
        _refuse(field, given, "must be names, one at least")
    if len(set(names)) != len(names):
        _refuse(field, given, "holds a name twice")
    return names


def _whole(name: object, given: object) -> tuple[Any, ...]:
    """Return what is said of a vertex, in the form that it must have."""
    where = f"vertices[{name!r}]"
    if not isinstance(name, str) or not name:
        _refuse(where, name, "the name must be a str")
    if not isinstance(given, tuple | list) or len(given) < 2 or not isinstance(given[0], Thing):
        _refuse(where, given, "must be a layer or vertex and the names of its inputs")
    if not all(isinstance(source, str) for source in given[1:]):
        _refuse(where, given, "inputs must be names")
    return tuple(given)
