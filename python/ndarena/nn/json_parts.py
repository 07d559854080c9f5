"""DL4J's JSON of the parts of layers: activations, losses, updaters, schedules, dropout and the like.

A part is an object of a class, named by ``@class``, with a property per field. What was read is written again
as it was read, properties without a meaning here included: parts never change.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ndarena.nn.activations import ActivationReLU, IActivation
from ndarena.nn.arithmetic_vertices import ElementWiseVertex
from ndarena.nn.distributions import Distribution
from ndarena.nn.dropout import IDropout
from ndarena.nn.losses import ILossFunction
from ndarena.nn.preprocessors import ComposableInputPreProcessor, InputPreProcessor
from ndarena.nn.schedules import CycleSchedule, ISchedule
from ndarena.nn.series_vertices import LastTimeStepVertex, ReverseTimeSeriesVertex
from ndarena.nn.updaters import IUpdater
from ndarena.nn.vertex import GraphVertex
from ndarena.nn.vertices import PreprocessorVertex
from ndarena.nn.weight_noise import IWeightNoise, WeightNoise
from ndarena.nn.weights import IWeightInit, WeightInit
from ndarena.nn.words import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Tree",
    "camel",
    "check_fixed",
    "keep_source",
    "known_classes",
    "read_part",
    "read_value",
    "refuse_class",
    "source_of",
    "spelled",
    "write_part",
    "write_value",
]

Tree = dict[str, Any]
SOURCE = "_dl4j_source"  # where an object keeps the tree that it was read from


class Family(NamedTuple):
    """Classes with a common base, and where DL4J has them."""

    base: type
    package: str


FAMILIES = (
    Family(IActivation, "org.nd4j.linalg.activations.impl"),
    Family(ILossFunction, "org.nd4j.linalg.lossfunctions.impl"),
    Family(IUpdater, "org.nd4j.linalg.learning.config"),
    Family(ISchedule, "org.nd4j.linalg.schedule"),
    Family(IDropout, "org.deeplearning4j.nn.conf.dropout"),
    Family(IWeightNoise, "org.deeplearning4j.nn.conf.weightnoise"),
    Family(Distribution, "org.deeplearning4j.nn.conf.distribution"),
    Family(IWeightInit, "org.deeplearning4j.nn.weights"),
    Family(InputPreProcessor, "org.deeplearning4j.nn.conf.preprocessor"),
    Family(GraphVertex, "org.deeplearning4j.nn.conf.graph"),
)
OF_SERIES = ".rnn"  # the package of vertices that know of time
OURS_ONLY = frozenset({"AdamW"})
WEIGHTS = "org.deeplearning4j.nn.weights"
NO_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})  # what JSON lacks, as DL4J writes it
# Schemes that DL4J has under one name, or by a value.
WEIGHT_CLASSES = {"LECUN_NORMAL": "Normal", "XAVIER_FAN_IN": "Normal"}
CONSTANT_WEIGHTS = {"ZERO": 0.0, "ONES": 1.0}
# Properties that DL4J calls otherwise than our fields in its spelling.
RENAMED: dict[tuple[type, str], str] = {
    (ComposableInputPreProcessor, "preprocessors"): "inputPreProcessors",
    (WeightNoise, "apply_to_biases"): "applyToBias",
    (PreprocessorVertex, "preprocessor"): "preProcessor",
    (LastTimeStepVertex, "mask_array_input"): "maskArrayInputName",
    (ReverseTimeSeriesVertex, "mask_array_input"): "maskArrayInputName",
}
# Fields that DL4J does not write.
UNWRITTEN = {"L2Vertex": "eps"}
# Properties without a meaning here, as DL4J writes them by default.
DEFAULTS: dict[str, Tree] = {
    "ActivationGELU": {"precise": False},
    "AlphaDropout": {"alpha": 1.6732632423543772, "lambda": 1.0507009873554804, "pschedule": None},
    "CnnToFeedForwardPreProcessor": {"format": "NCHW"},
    "CnnToRnnPreProcessor": {"rnnDataFormat": "NCW"},
    "DropConnect": {"weightRetainProbSchedule": None},
    "Dropout": {"helperAllowFallback": True, "pschedule": None},
    "FeedForwardToRnnPreProcessor": {"rnnDataFormat": "NCW"},
    "GaussianDropout": {"rateSchedule": None},
    "GaussianNoise": {"stddevSchedule": None},
    "MergeVertex": {"modified": False},
    "RnnToCnnPreProcessor": {"rnnDataFormat": "NCW"},
    "RnnToFeedForwardPreProcessor": {"rnnDataFormat": "NCW"},
    "SpatialDropout": {"pschedule": None},
}
# Properties that must be as they are by default: there is no other layout of data here, and no such schedule.
FIXED: dict[str, tuple[Any, ...]] = {
    "format": ("NCHW",),
    "rnnDataFormat": ("NCW",),
    "rnndataFormat": ("NCW",),
    "cnn2dDataFormat": ("NCHW",),
    "cnn2DFormat": ("NCHW",),
    "dataFormat": ("NCHW",),
    "outputFormat": ("NCW",),
    "precise": (False,),
    "pschedule": (),
    "pSchedule": (),
    "rateSchedule": (),
    "stddevSchedule": (),
    "weightRetainProbSchedule": (),
    "timeDistributedFormat": ("NCW",),
}


def camel(name: str) -> str:
    """Return a name with underscores in DL4J's spelling."""
    first, *others = name.rstrip("_").split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def spelled(choice: Enum) -> str:
    """Return a member of an enumeration in DL4J's spelling, ``ClipL2PerLayer``."""
    return "".join(word.capitalize() for word in choice.name.split("_"))


def refuse_class(java: object, reason: str) -> NoReturn:
    """Raise the `ConfigurationError` about a class that has no counterpart."""
    refuse("DL4J's JSON", "@class", java, reason)


def source_of(thing: object) -> Tree | None:
    """Return a copy of the tree from which an object was read, if it was."""
    return copy.deepcopy(vars(thing).get(SOURCE))


def keep_source(thing: object, tree: Tree) -> None:
    """Let an object keep the tree from which it was read."""
    object.__setattr__(thing, SOURCE, tree)


def known_classes(base: type) -> dict[str, type]:
    """Return our own classes of a family by name; those of users have no counterpart in DL4J."""
    classes: dict[str, type] = {}
    subclasses: list[type] = base.__subclasses__()
    for kind in subclasses:
        classes |= known_classes(kind)
        if kind.__module__.startswith("ndarena.") and not kind.__name__.startswith("_"):
            classes[kind.__name__] = kind
    return classes


def check_fixed(tree: Tree) -> None:
    """Refuse an object whose data would lie otherwise than here."""
    for key, values in FIXED.items():
        if tree.get(key) is not None and tree[key] not in values:
            refuse_class(class_of(tree), f"{key}={tree[key]!r} cannot be represented")


def class_of(tree: Tree) -> Any:
    """Return the name of a tree's class; distributions have it under another key."""
    return tree.get("@class", tree.get("type"))


def write_value(value: object) -> Any:
    """Return a value of a field as JSON has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0.0 else "-Infinity"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): write_value(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [write_value(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return write_part(value)


def read_value(value: Any) -> Any:
    """Return a value of JSON as a field has it."""
    if isinstance(value, dict) and isinstance(class_of(value), str):
        return read_part(value)
    if isinstance(value, list):
        return tuple(read_value(v) for v in value)
    if isinstance(value, str) and value in NO_NUMBERS:
        return float(value.replace("Infinity", "inf"))
    return value


def write_part(part: object) -> Tree:
    """Return the tree of a part; a class that DL4J does not have is a `ConfigurationError`."""
    source = source_of(part)
    if source is not None:
        return source
    if isinstance(part, WeightInit):
        return _write_weights(part)
    kind: type[Any] = type(part)
    family = next((f for f in FAMILIES if isinstance(part, f.base)), None)
    name = kind.__name__
    if family is None or known_classes(family.base).get(name) is not kind or name in OURS_ONLY:
        refuse_class(name, "DL4J has no such class")
    of_series = OF_SERIES * kind.__module__.endswith("series_vertices")
    key = "type" if family.base is Distribution else "@class"
    tree = {**DEFAULTS.get(name, {}), key: f"{family.package}{of_series}.{name}"}
    for f in dataclasses.fields(kind):
        value = getattr(part, f.name)
        if UNWRITTEN.get(name) != f.name:
            tree[RENAMED.get((kind, f.name)) or camel(f.name)] = write_value(value)
        elif value != f.default:
            refuse_class(name, f"DL4J does not write {f.name}, so {value!r} cannot be represented")
    if family.base in FINISH:
        FINISH[family.base](part, tree)
    return dict(sorted(tree.items()))


def read_part(tree: Tree) -> Any:
    """Return the part of a tree; a class that is unknown here is a `ConfigurationError` that names it."""
    java = class_of(tree)
    package, _, name = java.rpartition(".") if isinstance(java, str) else ("", "", "")
    if package == WEIGHTS and (scheme := _scheme_of(name, tree)) is not None:
        return scheme
    family = next((f for f in FAMILIES if f.package == package.removesuffix(OF_SERIES)), None)
    kind: Any = None if family is None or name in OURS_ONLY else known_classes(family.base).get(name)
    if java is None:
        refuse_class(java, f"there is none in {sorted(tree)}: DL4J 1.0.0-beta2 and older name it otherwise")
    if kind is None or family is None:
        refuse_class(java, "there is no such class here")
    check_fixed(tree)
    plain = BEGIN[family.base](tree) if family.base in BEGIN else tree
    given = {}
    for f in dataclasses.fields(kind):
        value = plain.get(RENAMED.get((kind, f.name)) or camel(f.name))
        if value is not None:
            given[f.name] = read_value(value)
    part = kind(*given["preprocessors"]) if kind is ComposableInputPreProcessor else kind(**given)
    keep_source(part, tree)
    return part


def _finish_activation(part: Any, tree: Tree) -> None:
    """DL4J leaves what is not asked for empty."""
    if isinstance(part, ActivationReLU):
        for key in ("threshold", "negativeSlope"):
            tree[key] = tree[key] or None


def _finish_loss(_part: Any, tree: Tree) -> None:
    """DL4J writes weights as an array, and none where there are none."""
    if "weights" in tree and (weights := tree.pop("weights")) is not None:
        tree["weights"] = {"dataType": "DOUBLE", "shape": [len(weights)], "data": weights}


def _begin_loss(tree: Tree) -> Tree:
    """Up to 1.0.0-beta3 the array was a list."""
    weights = tree.get("weights")
    return {**tree, "weights": weights["data"]} if isinstance(weights, dict) else tree


def _finish_updater(_part: Any, tree: Tree) -> None:
    """DL4J has a number and a schedule apart from each other."""
    for key, schedule in SCHEDULED.items():
        if isinstance(tree.get(key), dict):
            tree[schedule], tree[key] = tree[key], "NaN"


def _begin_updater(tree: Tree) -> Tree:
    return {**tree, **{key: tree[s] for key, s in SCHEDULED.items() if tree.get(s) is not None}}


def _finish_schedule(part: Any, tree: Tree) -> None:
    """DL4J writes what it has worked out as well."""
    if isinstance(part, CycleSchedule):
        half = (part.cycle_length - part.annealing_length) // 2
        rise = (part.max_learning_rate - part.initial_learning_rate) / half
        tree.update(stepSize=half, increment=rise)


def _begin_schedule(tree: Tree) -> Tree:
    values = tree.get("values")
    return {**tree, "values": {int(k): v for k, v in values.items()}} if isinstance(values, dict) else tree


def _finish_vertex(part: Any, tree: Tree) -> None:
    if isinstance(part, ElementWiseVertex):
        tree["op"] = spelled(part.op)  # type: ignore[arg-type]  # settled


SCHEDULED = {"learningRate": "learningRateSchedule", "momentum": "momentumISchedule"}
FINISH: dict[type, Callable[[Any, Tree], None]] = {
    IActivation: _finish_activation,
    ILossFunction: _finish_loss,
    IUpdater: _finish_updater,
    ISchedule: _finish_schedule,
    GraphVertex: _finish_vertex,
}
BEGIN: dict[type, Callable[[Tree], Tree]] = {
    ILossFunction: _begin_loss,
    IUpdater: _begin_updater,
    ISchedule: _begin_schedule,
}


def _write_weights(scheme: WeightInit) -> Tree:
    if scheme.name in CONSTANT_WEIGHTS:
        return {"@class": f"{WEIGHTS}.WeightInitConstant", "value": CONSTANT_WEIGHTS[scheme.name]}
    name = WEIGHT_CLASSES.get(scheme.name) or spelled(scheme)
    scale = {"scale": None} if name.startswith(("Identity", "VarScaling")) else {}
    return {"@class": f"{WEIGHTS}.WeightInit{name}", **scale}


def _scheme_of(name: str, tree: Tree) -> WeightInit | None:
    """Return the scheme that DL4J has as a class of its own, or by a value; ``None`` for another class."""
    if name == "WeightInitConstant":
        schemes = [s for s, value in CONSTANT_WEIGHTS.items() if value == tree.get("value")]
        return WeightInit[schemes[0]] if schemes else None
    word = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removeprefix("WeightInit")).upper()
    if word in WeightInit.__members__ and tree.get("scale") is None:
        return WeightInit[word]
    return None
