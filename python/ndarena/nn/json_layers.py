"""DL4J's JSON of layers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndarena.nn.constraints import EPSILON, LayerConstraint
from ndarena.nn.json_parts import (
    Tree,
    camel,
    check_fixed,
    keep_source,
    known_classes,
    read_part,
    read_value,
    refuse_class,
    source_of,
    spelled,
    write_part,
    write_value,
)
from ndarena.nn.layer import Layer, ParamKind
from ndarena.nn.schedules import FixedSchedule, ISchedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndarena.nn.configuration import NetworkConfiguration

__all__ = ["network_fields", "read_layer", "write_layer"]

PACKAGE = "org.deeplearning4j.nn.conf.layers"
CONSTRAINTS = "org.deeplearning4j.nn.conf.constraint"
REGULARIZATION = "org.nd4j.linalg.learning.regularization"


@dataclass(frozen=True)
class JavaClass:
    """What DL4J has in the place of a layer of ours."""

    package: str = PACKAGE
    has_base: bool = True  # whether it has the properties of layers with weights
    defaults: Mapping[str, Any] = field(default_factory=dict)  # properties without a meaning here


RNN = {"rnnDataFormat": "NCW"}
LSTM = JavaClass(defaults={**RNN, "helperAllowFallback": True})
CUDNN = {"cudnnAlgoMode": "PREFER_FASTEST", "cudnnAllowFallback": True}
CUDNN |= {f"cudnn{what}Algo": None for what in ("BwdData", "BwdFilter", "Fwd")}
CONVOLUTION = {**CUDNN, "cnn2dDataFormat": "NCHW"}
NO_PARAMS = {"gradientNormalization": "None", "gradientNormalizationThreshold": 0.0}
CLASSES = {
    "DenseLayer": JavaClass(),
    "OutputLayer": JavaClass(),
    "RnnOutputLayer": JavaClass(defaults=RNN),
    "LossLayer": JavaClass(),
    "RnnLossLayer": JavaClass(defaults=RNN),
    "CnnLossLayer": JavaClass(defaults={"format": "NCHW"}),
    "ActivationLayer": JavaClass(has_base=False, defaults=NO_PARAMS),
    "DropoutLayer": JavaClass(),
    "EmbeddingLayer": JavaClass(),
    "EmbeddingSequenceLayer": JavaClass(defaults={"inferInputLength": True, "outputFormat": "NCW"}),
    "BatchNormalization": JavaClass(defaults={"cnn2DFormat": "NCHW", "cudnnAllowFallback": True}),
    "ConvolutionLayer": JavaClass(defaults=CONVOLUTION),
    "Convolution1DLayer": JavaClass(defaults={**CONVOLUTION, **RNN}),
    "SubsamplingLayer": JavaClass(
        has_base=False, defaults={**NO_PARAMS, "cnn2dDataFormat": "NCHW", "cudnnAllowFallback": True}
    ),
    "GlobalPoolingLayer": JavaClass(has_base=False, defaults={**NO_PARAMS, "poolingDimensions": None}),
    "Upsampling2D": JavaClass(has_base=False, defaults={**NO_PARAMS, "format": "NCHW"}),
    "ZeroPaddingLayer": JavaClass(has_base=False, defaults={**NO_PARAMS, "dataFormat": "NCHW"}),
    "LocalResponseNormalization": JavaClass(
        has_base=False, defaults={**NO_PARAMS, "cudnnAllowFallback": True, "dataFormat": "NCHW"}
    ),
    "SimpleRnn": JavaClass(f"{PACKAGE}.recurrent", defaults=RNN),
    "LSTM": LSTM,
    "GravesLSTM": LSTM,
    "Bidirectional": JavaClass(f"{PACKAGE}.recurrent", has_base=False, defaults={"rnndataFormat": "NCW"}),
    "LastTimeStep": JavaClass(f"{PACKAGE}.recurrent", has_base=False),
}
# What layers with weights have in DL4J; where ours have not, the network's is written.
BASE = (
    "activation",
    "weight_init",
    "bias_init",
    "gain_init",
    "updater",
    "bias_updater",
    "gradient_normalization",
    "gradient_normalization_threshold",
    "weight_noise",
)
RENAMED = {
    "activation": "activationFn",
    "dropout": "idropout",
    "gate_activation": "gateActivationFn",
    "loss": "lossFn",
    "n_in": "nin",
    "n_out": "nout",
    "name": "layerName",
    "updater": "iupdater",
    "weight_init": "weightInitFn",
    "weight_init_recurrent": "weightInitFnRecurrent",
}
REGULARIZED = ("l1", "l2", "weight_decay", "l1_bias", "l2_bias", "weight_decay_bias", "weight_decay_apply_lr")
APART = frozenset({"name", "layer", "constraints", *REGULARIZED})
SPELLED = frozenset({"gradient_normalization", "convolution_mode"})
OF_ONE_AXIS = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}  # and what DL4J has for the other


def key_of(name: str) -> str:
    """Return the property of a field."""
    return RENAMED.get(name) or camel(name)


# Writing.


def write_layer(layer: Layer, conf: NetworkConfiguration, name: str, read: Layer | None = None) -> Tree:
    """Return the tree of a layer that has all it takes from the network.

    ``read`` is the layer before that: if it was read from a tree, that one is written, with what was changed.
    """
    source = (None if read is None else source_of(read)) or {}
    if source and read == layer:
        return {**source, "layerName": layer.name or name}
    kind = type(layer)
    java = CLASSES.get(kind.__name__)
    if java is None or known_classes(Layer).get(kind.__name__) is not kind:
        refuse_class(kind.__name__, "DL4J has no such layer")
    sizes = {"nin": 0, "nout": 0, "timeDistributedFormat": None} if java.has_base else {}
    tree: Tree = {**sizes, **java.defaults, **source, "@class": f"{java.package}.{kind.__name__}"}
    tree["layerName"] = layer.name or name
    tree["constraints"] = _write_constraints(layer)
    if java.has_base:
        tree.update({key_of(f): _write_field(f, getattr(conf, f, 1.0)) for f in BASE})
        tree.update(_write_regularization(layer, conf))
    for f in dataclasses.fields(layer):
        if f.name not in APART:
            tree[key_of(f.name)] = _write_field(f.name, getattr(layer, f.name))
    if kind.__name__ in FINISH:
        FINISH[kind.__name__](layer, conf, tree)
    return dict(sorted(tree.items()))


def _write_field(name: str, value: Any) -> Any:
    if name in SPELLED:
        return "None" if value is None else spelled(value)
    if name in {"weight_init", "weight_init_recurrent"}:
        return None if value is None else write_part(value)
    if name == "dropout" and not value:
        return None
    return write_value(value)


def _write_regularization(layer: Layer, conf: NetworkConfiguration) -> Tree:
    """Return the lists of what is added to the gradients of weights and of biases."""

    def of(name: str) -> Any:
        return getattr(layer, name) if hasattr(layer, name) else getattr(conf, name)

    lists = {}
    for suffix, key in (("", "regularization"), ("_bias", "regularizationBias")):
        entries: list[Tree] = []
        for name, java in (("l1", "L1Regularization"), ("l2", "L2Regularization")):
            if of(name + suffix):
                entries.append(
                    {"@class": f"{REGULARIZATION}.{java}", name: _write_schedule(of(name + suffix))}
                )
        decay = of(f"weight_decay{suffix}")
        if decay:
            entry = {"applyLR": of("weight_decay_apply_lr"), "coeff": _write_schedule(decay)}
            entries.append({"@class": f"{REGULARIZATION}.WeightDecay", **entry})
        lists[key] = entries
    return lists


def _write_schedule(value: float | ISchedule) -> Tree:
    return write_part(value if isinstance(value, ISchedule) else FixedSchedule(value))


def _write_constraints(layer: Layer) -> list[Tree] | None:
    """Return the constraints with the names of the parameters that they are for; ``None`` without any."""
    return [_write_constraint(layer, constraint) for constraint in layer.constraints or ()] or None


def _constrained(layer: Layer, *, biases: bool) -> list[str]:
    kinds = {ParamKind.WEIGHT, ParamKind.BIAS} if biases else {ParamKind.WEIGHT}
    return [name for name in layer.param_shapes() if layer.param_kind(name) in kinds]


def _write_constraint(layer: Layer, constraint: LayerConstraint) -> Tree:
    name = type(constraint).__name__
    if known_classes(LayerConstraint).get(name) is not type(constraint):
        refuse_class(name, "DL4J has no such constraint")
    tree = {camel(f.name): write_value(getattr(constraint, f.name)) for f in dataclasses.fields(constraint)}
    del tree["applyToBiases"]
    if tree.get("dimensions", ()) is None:
        rank = max((len(shape) for shape in layer.param_shapes().values()), default=2)
        tree["dimensions"] = list(range(1, rank))
    params = _constrained(layer, biases=constraint.apply_to_biases)
    whole = {"dimensions": None, "epsilon": EPSILON, **tree, "params": params}
    return dict(sorted({**whole, "@class": f"{CONSTRAINTS}.{name}"}.items()))


def _finish_normalization(layer: Any, _conf: NetworkConfiguration, tree: Tree) -> None:
    tree["nout"] = layer.n_in if layer.n_out is None else layer.n_out


def _finish_one_axis(layer: Any, _conf: NetworkConfiguration, tree: Tree) -> None:
    for name, other in OF_ONE_AXIS.items():
        value = getattr(layer, name)
        first = value[0] if isinstance(value, tuple) else value
        tree[key_of(name)] = [first, other]


def _finish_pooling(layer: Any, _conf: NetworkConfiguration, tree: Tree) -> None:
    tree["pnorm"] = layer.pnorm or 0


def _finish_sequence(layer: Any, _conf: NetworkConfiguration, tree: Tree) -> None:
    tree["inputLength"] = layer.input_length or 1


def _finish_bidirectional(layer: Any, conf: NetworkConfiguration, tree: Tree) -> None:
    inner = _write_inner(layer, conf, tree)
    twice = 2 if layer.mode.name == "CONCAT" else 1
    tree.update(fwd=inner, bwd=inner, nin=inner["nin"], nout=twice * inner["nout"])


def _finish_last_step(layer: Any, conf: NetworkConfiguration, tree: Tree) -> None:
    tree["underlying"] = _write_inner(layer, conf, tree)


def _write_inner(layer: Any, conf: NetworkConfiguration, tree: Tree) -> Tree:
    """Return the tree of the layer inside another, and let that take from it what DL4J lets it take."""
    inner = write_layer(layer.layer, conf, tree["layerName"])
    for key in ("gradientNormalization", "gradientNormalizationThreshold"):
        tree[key] = inner[key]
    return inner


FINISH = {
    "BatchNormalization": _finish_normalization,
    "Bidirectional": _finish_bidirectional,
    "Convolution1DLayer": _finish_one_axis,
    "EmbeddingSequenceLayer": _finish_sequence,
    "LastTimeStep": _finish_last_step,
    "SubsamplingLayer": _finish_pooling,
}

# Reading.


def read_layer(tree: Tree, name: str) -> Layer:
    """Return the layer of a tree; the name it would have anyway is left out.

    A class or a setting that is unknown here is a `ConfigurationError` that names it.
    """
    kind, word = _class_of(tree)
    check_fixed(tree)
    given = {}
    fields = {f.name for f in dataclasses.fields(kind)}
    for field_name in fields - APART:
        value = tree.get(key_of(field_name))
        if value is not None:
            given[field_name] = read_value(value)
    if "weight_init" in fields - given.keys() and tree.get("weightInit") is not None:
        given["weight_init"] = _read_named_weights(tree)
    if tree.get("layerName") not in {None, name}:
        given["name"] = tree["layerName"]
    if "l1" in fields:
        given.update(_read_regularization(tree))
    if word in BEGIN:
        BEGIN[word](tree, given, name)
    for size in ("n_in", "n_out"):
        if given.get(size) == 0:
            del given[size]
    layer: Layer = kind(**given)
    constraints = tuple(_read_constraint(layer, c) for c in tree.get("constraints") or ())
    layer = dataclasses.replace(layer, constraints=constraints)
    keep_source(layer, tree)
    return layer


def _class_of(tree: Tree) -> tuple[Any, str]:
    """Return the class of a layer, and its name."""
    java = tree.get("@class")
    package, _, word = java.rpartition(".") if isinstance(java, str) else ("", "", "")
    kind: Any = known_classes(Layer).get(word)
    if java is None:
        refuse_class(
            java, f"there is none in {sorted(tree)}: DL4J 1.0.0-beta2 and older name layers otherwise"
        )
    if kind is None or word not in CLASSES or CLASSES[word].package != package:
        refuse_class(java, "there is no such layer here")
    return kind, word


def _read_named_weights(tree: Tree) -> Any:
    """Return how weights begin as DL4J wrote it up to 1.0.0-beta3."""
    word = tree["weightInit"]
    return read_value(tree.get("dist")) if word == "DISTRIBUTION" else word


def _read_numbers(tree: Tree) -> dict[str, Any]:
    """Return the coefficients that DL4J wrote up to 1.0.0-beta3; its L2 has since been a weight decay."""
    given: dict[str, Any] = {"l2": 0.0, "l2_bias": 0.0, "weight_decay_apply_lr": False}
    for suffix, key in (("", ""), ("_bias", "Bias")):
        for name, java in (("l1", "l1"), ("weight_decay", "l2")):
            value = read_value(tree.get(java + key))
            given[name + suffix] = value if value is not None and value > 0.0 else 0.0
    return given


def _read_regularization(tree: Tree) -> dict[str, Any]:
    """Return the coefficients; equal entries are added up."""
    if tree.get("regularization") is None and not {"l1", "l2"}.isdisjoint(tree):
        return _read_numbers(tree)
    given: dict[str, Any] = {"l1": 0.0, "l2": 0.0, "weight_decay": 0.0}
    given |= {f"{name}_bias": 0.0 for name in given}
    apply_lr = set()
    for suffix, key in (("", "regularization"), ("_bias", "regularizationBias")):
        for entry in tree.get(key) or ():
            word = str(entry.get("@class")).rpartition(".")[2]
            if word not in {"L1Regularization", "L2Regularization", "WeightDecay"}:
                refuse_class(entry.get("@class"), "there is no such regularization here")
            name, value = ("weight_decay", "coeff") if word == "WeightDecay" else (word[:2].lower(),) * 2
            given[name + suffix] = _sum(given[name + suffix], read_part(entry[value]), tree)
            apply_lr |= {entry["applyLR"]} if word == "WeightDecay" else set()
    if len(apply_lr) > 1:
        refuse_class(tree["@class"], "weight decay with and without the learning rate cannot be represented")
    return {**given, "weight_decay_apply_lr": apply_lr.pop() if apply_lr else True}


def network_fields(layer: Layer, tree: Tree) -> dict[str, Any]:
    """Return what is the network's: what layers without weights have in DL4J as those with weights."""
    if hasattr(layer, "updater") or not CLASSES[type(layer).__name__].has_base:
        return {}
    own = frozenset({"activation", "gain_init"})
    given = {f: read_value(tree[key_of(f)]) for f in BASE if f not in own and tree.get(key_of(f)) is not None}
    return {**given, **_read_regularization(tree)}


def _sum(known: float | ISchedule, added: ISchedule, tree: Tree) -> float | ISchedule:
    if isinstance(added, FixedSchedule) and not isinstance(known, ISchedule):
        return known + added.value
    if not known:
        return added
    if known != added:
        refuse_class(tree["@class"], "the sum of two schedules cannot be represented")
    return _twice(added)


def _twice(schedule: Any) -> ISchedule:
    """Return a schedule whose values are twice as large."""
    changed: dict[str, Any] = {}
    for f in dataclasses.fields(schedule):
        value = getattr(schedule, f.name)
        if f.name in {"initial_value", "initial_learning_rate", "max_learning_rate"}:
            changed[f.name] = 2.0 * value
        elif f.name == "values":
            changed[f.name] = {key: 2.0 * v for key, v in value.items()}
        elif f.name == "base_schedule":
            changed[f.name] = FixedSchedule(2.0 * value.value) if hasattr(value, "value") else _twice(value)
    twice: ISchedule = dataclasses.replace(schedule, **changed)
    return twice


def _read_constraint(layer: Layer, tree: Tree) -> LayerConstraint:
    java = tree.get("@class")
    kind: Any = known_classes(LayerConstraint).get(str(java).rpartition(".")[2])
    if kind is None:
        refuse_class(java, "there is no such constraint here")
    params = sorted(tree.get("params") or ())
    biases = [b for b in (False, True) if sorted(_constrained(layer, biases=b)) == params]
    if not biases or not math.isclose(tree.get("epsilon", EPSILON), EPSILON):
        refuse_class(java, "only constraints on all weights, with or without biases, can be represented")
    given = {f.name: tree.get(camel(f.name)) for f in dataclasses.fields(kind)}
    given = {name: read_value(value) for name, value in given.items() if value not in (None, [])}
    constraint: LayerConstraint = kind(**given, apply_to_biases=biases[0])
    return constraint


def _begin_one_axis(tree: Tree, given: dict[str, Any], _name: str) -> None:
    for field_name, other in OF_ONE_AXIS.items():
        if field_name in given:
            first, *others = given[field_name]
            if others not in ([], [other]):
                refuse_class(
                    tree["@class"], f"{key_of(field_name)}={tree[key_of(field_name)]!r}: has one axis"
                )
            given[field_name] = first


def _begin_pooling(_tree: Tree, given: dict[str, Any], _name: str) -> None:
    if not given.get("pnorm"):
        given.pop("pnorm", None)


def _begin_sequence(tree: Tree, given: dict[str, Any], _name: str) -> None:
    if tree.get("inferInputLength", True) and given.get("input_length") == 1:
        del given["input_length"]


def _begin_bidirectional(tree: Tree, given: dict[str, Any], name: str) -> None:
    if tree.get("fwd") != tree.get("bwd"):
        refuse_class(tree["@class"], "two directions with different layers cannot be represented")
    given["layer"] = read_layer(tree["fwd"], tree.get("layerName") or name)


def _begin_last_step(tree: Tree, given: dict[str, Any], name: str) -> None:
    given["layer"] = read_layer(tree["underlying"], tree.get("layerName") or name)


BEGIN = {
    "Bidirectional": _begin_bidirectional,
    "Convolution1DLayer": _begin_one_axis,
    "EmbeddingSequenceLayer": _begin_sequence,
    "LastTimeStep": _begin_last_step,
    "SubsamplingLayer": _begin_pooling,
}
