"""DL4J's JSON of whole networks."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ndarena.errors import ConfigurationError
from ndarena.nn.choices import BackpropType
from ndarena.nn.json_layers import network_fields, read_layer, write_layer
from ndarena.nn.json_parts import Tree, keep_source, read_part, refuse_class, source_of, spelled, write_part
from ndarena.nn.layer import Layer
from ndarena.nn.words import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndarena.nn.configuration import MultiLayerConfiguration, NetworkConfiguration
    from ndarena.nn.graph_configuration import ComputationGraphConfiguration

__all__ = [
    "Counts",
    "read_chain",
    "read_graph",
    "read_json",
    "write_chain",
    "write_graph",
]

LAYER_VERTEX = "org.deeplearning4j.nn.conf.graph.LayerVertex"
DTYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
# Properties without a meaning here, as DL4J writes them by default.
NETWORK_DEFAULTS: Tree = {"validateOutputLayerConfig": True}
LAYER_DEFAULTS: Tree = {
    "epochCount": 0,
    "iterationCount": 0,
    "maxNumLineSearchIterations": 5,
    "minimize": True,
    "optimizationAlgo": "STOCHASTIC_GRADIENT_DESCENT",
    "stepFunction": None,
}
FIXED = ("minimize", "optimizationAlgo", "stepFunction")
OWNER = "DL4J's JSON"
C = TypeVar("C")


class Counts(NamedTuple):
    """How far a network has learned; ``None``: as the tree says that was read."""

    iteration: int | None
    epoch: int | None


def read_json(text: str | bytes, key: str, other: str, read: Callable[[Tree], C]) -> C:
    """Return what ``read`` makes of a tree that must have one property; it keeps the tree.

    ``other`` says what a tree is that has not. Whatever is wrong is a `ConfigurationError`.
    """
    try:
        tree = json.loads(text)
    except (TypeError, ValueError) as error:
        refuse(OWNER, "text", text[:60] if isinstance(text, str | bytes) else text, f"is no JSON: {error}")
    if not isinstance(tree, dict) or key not in tree:
        known = isinstance(tree, dict) and ("confs" in tree or "vertices" in tree)
        refuse(
            OWNER,
            key,
            None,
            f"{f'this is a {other}' if known else 'this is no network'}: there is no {key!r}",
        )
    try:
        conf = read(tree)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        refuse(OWNER, key, None, f"is damaged: {error!r}")
    keep_source(conf, tree)
    return conf


# Writing.


def write_chain(conf: MultiLayerConfiguration, counts: Counts) -> Tree:
    """Return the tree of a chain of layers."""
    source = source_of(conf) or {}
    preprocessors = conf.complete_preprocessors()
    sources = source.get("confs") or [{}] * len(conf.layers)
    confs = []
    for i, (layer, read) in enumerate(zip(conf.complete_layers(), conf.layers, strict=True)):
        inner = write_layer(layer, conf, f"layer{i}", read)
        confs.append(_write_layer_conf(conf, inner, _variables(layer), sources[i]))
    tree = _write_network(conf, counts, source)
    tree["confs"] = confs
    tree["inputPreProcessors"] = {str(i): write_part(p) for i, p in preprocessors.items()}
    return dict(sorted(tree.items()))


def write_graph(conf: ComputationGraphConfiguration, counts: Counts) -> Tree:
    """Return the tree of a graph."""
    source = source_of(conf) or {}
    nodes = {node.name: node for node in conf.complete_nodes()}
    places = {name: i for i, name in enumerate([*conf.inputs, *conf.vertices])}
    vertices, variables = {}, []
    for name, (read, *_) in conf.vertices.items():
        node = nodes[name]
        if not isinstance(node.thing, Layer):
            vertices[name] = write_part(node.thing)
            continue
        variables += [f"{name}_{part}" for part in _weights_first(node.thing)]
        was = (source.get("vertices") or {}).get(name, {})
        inner = write_layer(node.thing, conf, name, read)
        vertex = {**was, "@class": LAYER_VERTEX, "outputVertex": was.get("outputVertex", False)}
        vertex["layerConf"] = _write_layer_conf(
            conf, inner, _variables(node.thing), was.get("layerConf") or {}
        )
        vertex["preProcessor"] = None if node.preprocessor is None else write_part(node.preprocessor)
        vertices[name] = vertex
    order = tuple(conf.topological_order or ())
    tree = _write_network(conf, counts, source)
    tree.update(
        defaultConfiguration=_write_layer_conf(
            conf, None, variables, source.get("defaultConfiguration") or {}
        ),
        networkInputs=list(conf.inputs),
        networkOutputs=list(conf.outputs),
        topologicalOrder=[places[name] for name in order],
        topologicalOrderStr=list(order),
        vertexInputs={name: list(inputs) for name, (_, *inputs) in conf.vertices.items()},
        vertices=vertices,
    )
    return dict(sorted(tree.items()))


def _write_network(conf: NetworkConfiguration, counts: Counts, source: Tree) -> Tree:
    return {
        **NETWORK_DEFAULTS,
        **source,
        "backpropType": _write_backprop(BackpropType(conf.backprop_type)),
        "cacheMode": _name(conf.cache_mode),
        "dataType": DTYPES[conf.dtype],
        "epochCount": source.get("epochCount", 0) if counts.epoch is None else counts.epoch,
        "inferenceWorkspaceMode": _name(conf.inference_workspace_mode),
        "iterationCount": source.get("iterationCount", 0) if counts.iteration is None else counts.iteration,
        "tbpttBackLength": conf.tbptt_fwd_length,
        "tbpttFwdLength": conf.tbptt_fwd_length,
        "trainingWorkspaceMode": _name(conf.training_workspace_mode),
    }


def _write_backprop(kind: BackpropType) -> str:
    return "TruncatedBPTT" if kind is BackpropType.TRUNCATED_BPTT else spelled(kind)


def _name(choice: Any) -> str:
    return str(choice.name)


def _write_layer_conf(
    conf: NetworkConfiguration, layer: Tree | None, variables: list[str], source: Tree
) -> Tree:
    """Return what DL4J has around every layer."""
    tree = {
        **LAYER_DEFAULTS,
        **source,
        "cacheMode": _name(conf.cache_mode),
        "dataType": DTYPES[conf.dtype],
        "layer": layer,
        "miniBatch": conf.mini_batch,
        "seed": _write_seed(conf.seed or 0),
        "variables": variables,
    }
    return dict(sorted(tree.items()))


def _read_seed(seed: object) -> int | None:
    if seed is None:
        return None
    try:
        return int(seed) % (1 << 64)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        refuse(OWNER, "seed", seed, "must be a whole number")


def _write_seed(seed: int) -> int:
    """Return a seed as the signed number of 64 bits that DL4J has."""
    if seed >= 1 << 64:
        refuse(OWNER, "seed", seed, "has more than 64 bits and cannot be represented")
    return seed - (1 << 64) if seed >= 1 << 63 else seed


def _variables(layer: Layer) -> list[str]:
    """Return the names of parameters, as DL4J puts down what it initialises."""
    return [] if type(layer).__name__ == "LastTimeStep" else _weights_first(layer)


def _weights_first(layer: Layer) -> list[str]:
    return sorted(layer.param_shapes(), key=lambda name: name != "W")


# Reading.


def read_chain(tree: Tree) -> dict[str, Any]:
    """Return the fields of a `MultiLayerConfiguration`."""
    confs = tree["confs"]
    if not isinstance(confs, list) or not all(isinstance(c, dict) and c.get("layer") for c in confs):
        refuse(OWNER, "confs", None, "must be a list of layers")
    layers = [read_layer(c["layer"], f"layer{i}") for i, c in enumerate(confs)]
    preprocessors = (tree.get("inputPreProcessors") or {}).items()
    return {
        **_read_network(tree, confs, layers),
        "layers": layers,
        "input_preprocessors": {int(i): read_part(p) for i, p in preprocessors if p is not None},
    }


def read_graph(tree: Tree) -> dict[str, Any]:
    """Return the fields of a `ComputationGraphConfiguration`."""
    vertices: dict[str, tuple[Any, ...]] = {}
    preprocessors, confs, layers = {}, [], []
    for name, vertex in tree["vertices"].items():
        inputs = (tree.get("vertexInputs") or {}).get(name) or ()
        if vertex.get("@class") != LAYER_VERTEX:
            vertices[name] = (read_part(vertex), *inputs)
            continue
        confs.append(vertex["layerConf"])
        layers.append(read_layer(vertex["layerConf"]["layer"], name))
        vertices[name] = (layers[-1], *inputs)
        if vertex.get("preProcessor") is not None:
            preprocessors[name] = read_part(vertex["preProcessor"])
    return {
        **_read_network(tree, confs, layers),
        "inputs": tree.get("networkInputs"),
        "vertices": vertices,
        "outputs": tree.get("networkOutputs"),
        "input_preprocessors": preprocessors,
        "topological_order": tree.get("topologicalOrderStr") or None,
    }


def _read_network(tree: Tree, confs: list[Tree], layers: list[Layer]) -> dict[str, Any]:
    around = tree.get("defaultConfiguration") or (confs[0] if confs else {})
    for conf in confs:
        for key in FIXED:
            if conf.get(key, LAYER_DEFAULTS[key]) != LAYER_DEFAULTS[key]:
                refuse_class(conf["layer"].get("@class"), f"{key}={conf[key]!r} cannot be represented")
        if conf.get("miniBatch", True) != around.get("miniBatch", True):
            refuse_class(conf["layer"].get("@class"), "layers that differ in miniBatch cannot be represented")
    given = {
        "dtype": _read_dtype(tree, around),
        "mini_batch": around.get("miniBatch"),
        "seed": _read_seed(around.get("seed")),
        "cache_mode": tree.get("cacheMode") or around.get("cacheMode"),
        "backprop_type": tree.get("backpropType"),
        "training_workspace_mode": tree.get("trainingWorkspaceMode"),
        "inference_workspace_mode": tree.get("inferenceWorkspaceMode"),
        "tbptt_fwd_length": tree.get("tbpttFwdLength"),
        **_common(layers, confs),
    }
    _compare_lengths(tree)
    return {name: value for name, value in given.items() if value is not None}


def _read_dtype(tree: Tree, around: Tree) -> str:
    word = tree.get("dataType") or around.get("dataType") or "FLOAT"
    names = {java: name for name, java in DTYPES.items()}
    if word not in names:
        refuse(OWNER, "dataType", word, f"cannot be represented, only {' and '.join(names)}")
    return names[word]


def _common(layers: list[Layer], confs: list[Tree]) -> dict[str, Any]:
    """Return what layers fall back on, and an updater for who asks the network."""
    inner: list[Any] = [getattr(layer, "layer", layer) for layer in layers]
    updaters = [layer.updater for layer in inner if getattr(layer, "updater", None) is not None]
    found: dict[str, Any] = {"updater": updaters[0]} if updaters else {}
    for layer, conf in zip(layers, confs, strict=True):
        found.update(network_fields(layer, conf["layer"]))
    return found


def _compare_lengths(tree: Tree) -> None:
    """Warn of a backward length that is not the forward length."""
    forward, back = tree.get("tbpttFwdLength"), tree.get("tbpttBackLength")
    if tree.get("backpropType") == "TruncatedBPTT" and forward != back:
        text = (
            f"tbpttBackLength={back} is taken as {forward}, as tbpttFwdLength: DL4J does not heed it either"
        )
        warnings.warn(text, UserWarning, stacklevel=5)
