"""What a network is made of (DL4J: ``NeuralNetConfiguration``, ``MultiLayerConfiguration``)."""

from __future__ import annotations

import dataclasses
import json
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from ndarena.nn.activations import ActivationSoftmax
from ndarena.nn.choices import (
    BackpropType,
    CacheMode,
    ConvolutionMode,
    GradientNormalization,
    WorkspaceMode,
    workspace_mode_of,
)
from ndarena.nn.constraints import constraints_of
from ndarena.nn.declared import shown
from ndarena.nn.dropout import dropout_of
from ndarena.nn.feed_forward import settle_common
from ndarena.nn.input_type import InputType
from ndarena.nn.json_networks import Counts, read_chain, read_json, write_chain
from ndarena.nn.layer import Layer
from ndarena.nn.loss_base import WeightedLoss
from ndarena.nn.output import OutputLayer
from ndarena.nn.preprocessors import InputPreProcessor
from ndarena.nn.updaters import IUpdater, Sgd
from ndarena.nn.words import Answering, ReadOnly, at_least_one, in_place, member, refuse

if TYPE_CHECKING:
    from ndarena.nn.activations import Activation, IActivation
    from ndarena.nn.constraints import LayerConstraint
    from ndarena.nn.distributions import Distribution
    from ndarena.nn.dropout import IDropout
    from ndarena.nn.schedules import ISchedule
    from ndarena.nn.weight_noise import IWeightNoise
    from ndarena.nn.weights import IWeightInit, WeightInit

__all__ = [
    "INHERITED",
    "Completed",
    "MultiLayerConfiguration",
    "NetworkConfiguration",
    "Node",
    "completed",
]

DTYPES = ("float32", "float64")
INHERITED = (
    "activation",
    "weight_init",
    "bias_init",
    "convolution_mode",
    "updater",
    "bias_updater",
    "l1",
    "l2",
    "l1_bias",
    "l2_bias",
    "weight_decay",
    "weight_decay_bias",
    "weight_decay_apply_lr",
    "gradient_normalization",
    "gradient_normalization_threshold",
    "weight_noise",
    "dropout",
    "constraints",
)
MAY_BE_NONE = frozenset({"bias_updater", "weight_noise", "dropout"})
CHOICES: dict[str, type[BackpropType | CacheMode | ConvolutionMode]] = {
    "convolution_mode": ConvolutionMode,
    "cache_mode": CacheMode,
    "backprop_type": BackpropType,
}


@dataclass(frozen=True, kw_only=True, repr=False)
class NetworkConfiguration(Answering):
    """What both kinds of networks have: how to learn, and what layers fall back on."""

    json_key: ClassVar[str]
    """The property that tells DL4J's JSON of this kind."""
    other_kind: ClassVar[str]
    """What a JSON without it describes."""

    updater: IUpdater = field(default_factory=Sgd)
    bias_updater: IUpdater | None = None
    activation: str | Activation | IActivation = "sigmoid"
    weight_init: str | WeightInit | IWeightInit | Distribution = "xavier"
    bias_init: float = 0.0
    convolution_mode: str | ConvolutionMode = ConvolutionMode.TRUNCATE
    l1: float | ISchedule = 0.0
    l2: float | ISchedule = 0.0
    l1_bias: float | ISchedule = 0.0
    l2_bias: float | ISchedule = 0.0
    weight_decay: float | ISchedule = 0.0
    weight_decay_bias: float | ISchedule = 0.0
    weight_decay_apply_lr: bool = True
    gradient_normalization: str | GradientNormalization | None = GradientNormalization.NONE
    gradient_normalization_threshold: float = 1.0
    weight_noise: IWeightNoise | None = None
    dropout: float | IDropout | None = None
    constraints: Sequence[LayerConstraint] = ()
    mini_batch: bool = True
    seed: int | None = None
    dtype: str = "float32"
    training_workspace_mode: str | WorkspaceMode | None = WorkspaceMode.ENABLED
    inference_workspace_mode: str | WorkspaceMode | None = WorkspaceMode.ENABLED
    cache_mode: str | CacheMode | None = CacheMode.NONE
    backprop_type: str | BackpropType = BackpropType.STANDARD
    tbptt_fwd_length: int = 20
    tbptt_back_length: int | None = None

    def __repr__(self) -> str:
        """Show the fields that differ from their defaults."""
        return shown(self)

    def to_json(self) -> str:
        """Return DL4J's JSON; a class that it does not have is a `ConfigurationError` that names it."""
        return json.dumps(self.to_tree(), indent=2)

    def to_tree(
        self, *, iteration_count: int | None = None, epoch_count: int | None = None
    ) -> dict[str, Any]:
        """Return DL4J's JSON as a tree, with the counts of a network, or those that were read."""
        raise NotImplementedError(f"{type(self).__name__}.to_tree")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what DL4J's JSON describes; `to_json` gives the same tree again.

        Raises
        ------
        ConfigurationError
            No JSON, another kind of network, or a class or setting that is unknown here.
        """
        return read_json(text, cls.json_key, cls.other_kind, lambda tree: cls(**cls._fields_of(tree)))

    @classmethod
    def _fields_of(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a tree of DL4J's describes."""
        raise NotImplementedError(f"{cls.__name__}.fields_of")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _settle_fields(self) -> None:
        """Check the fields, and store them in the form in which they are used."""
        owner = type(self).__name__
        if self.gradient_normalization is None:
            self._set("gradient_normalization", GradientNormalization.NONE)
        for name in INHERITED:
            if getattr(self, name) is None and name not in MAY_BE_NONE:
                refuse(owner, name, None, "must be given: layers fall back on it")
        settle_common(self, owner)
        if self.dropout is not None:
            self._set("dropout", dropout_of(self.dropout, owner))
        self._set("constraints", constraints_of(self.constraints, owner))
        if not isinstance(self.mini_batch, bool):
            refuse(owner, "mini_batch", self.mini_batch, "must be True or False")
        self._set("seed", _seed(self.seed, owner))
        self._set("dtype", _dtype_name(self.dtype, owner))
        for name, kind in CHOICES.items():
            self._set(name, member(kind, getattr(self, name), owner, name))
        for name in ("training_workspace_mode", "inference_workspace_mode"):
            self._set(name, workspace_mode_of(getattr(self, name), owner, name))
        length = at_least_one(self.tbptt_fwd_length, owner, "tbptt_fwd_length")
        self._set("tbptt_fwd_length", length)
        if self.tbptt_back_length not in (None, length):
            reason = f"must be None or tbptt_fwd_length={length}: pieces are as long backward as forward"
            refuse(owner, "tbptt_back_length", self.tbptt_back_length, reason)

    def with_inherited(self, layer: Layer) -> Layer:
        """Return a copy of a layer that has from the network what it does not say itself."""
        declared = {f.name for f in dataclasses.fields(layer)}
        missing: dict[str, Any] = {
            name: getattr(self, name)
            for name in INHERITED
            if name in declared and getattr(layer, name) is None
        }
        if not layer.inherits_dropout:
            missing.pop("dropout", None)
        inner = getattr(layer, "layer", None)
        if isinstance(inner, Layer):
            own = inner.dropout  # that of the network acts on the layer around it
            missing["layer"] = dataclasses.replace(self.with_inherited(inner), dropout=own)
        for suffix in ("", "_bias"):
            _replace_each_other(layer, missing, f"l2{suffix}", f"weight_decay{suffix}")
            _replace_each_other(layer, missing, f"weight_decay{suffix}", f"l2{suffix}")
        return dataclasses.replace(layer, **missing)


def _replace_each_other(layer: Layer, missing: dict[str, object], own: str, networks: str) -> None:
    """Leave out what the network has where the layer has what excludes it."""
    if networks in missing and getattr(layer, own):
        missing[networks] = 0.0


def _seed(seed: object, owner: str) -> int:
    """Return a seed, drawn if there is none."""
    if seed is None:
        return secrets.randbits(63)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        refuse(owner, "seed", seed, "must be a whole number from 0 on")
    return int(seed)


def _dtype_name(dtype: object, owner: str) -> str:
    """Return the name of the dtype of parameters."""
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = ""
    if name not in DTYPES:
        refuse(owner, "dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    return str(name)


class Node(NamedTuple):
    """A layer in its place, with what it takes from the network, or another vertex."""

    name: str
    thing: Any
    inputs: tuple[str, ...]
    preprocessor: InputPreProcessor | None
    output_type: InputType | None
    """What comes out, where that is known."""


class Completed(NamedTuple):
    """A layer with all it takes from the network and its input, and what stands before and behind it."""

    layer: Layer
    preprocessor: InputPreProcessor | None
    output_type: InputType | None


def completed(  # noqa: PLR0913 - what there is to know of a layer's place
    conf: NetworkConfiguration,
    layer: Layer,
    owner: str,
    given: InputType | None,
    preprocessor: InputPreProcessor | None,
    *,
    first: bool,
    infer: bool,
) -> Completed:
    """Complete a layer that is given such input; ``infer`` finds the preprocessor, too.

    Without a type of the input the fields of the layer tell it, where they can.
    """
    whole = conf.with_inherited(layer)
    if conf.backprop_type is BackpropType.TRUNCATED_BPTT and not whole.takes_pieces:
        refuse(owner, "backprop_type", conf.backprop_type.name, "this layer needs whole series, not pieces")
    if given is None:
        given = whole.own_input_type(first=first)
    else:
        if preprocessor is None and infer:
            preprocessor = whole.get_pre_processor(given)
        if preprocessor is not None:
            given = preprocessor.get_output_type(given)
    if given is not None:
        kind = whole.input_kind
        if kind is not None and not given.fits(kind):
            refuse(owner, "input_type", str(given), f"must be {kind.__name__}; a preprocessor may make it so")
        whole = whole.with_input_type(given)
    taken = getattr(whole, "n_in", None)
    if taken is None and hasattr(whole, "n_in"):
        refuse(owner, "n_in", None, "must be given where no input type tells it")
    _warn_of_lone_softmax(whole, owner)
    if given is None:
        return Completed(whole, preprocessor, None)
    if taken is not None and not whole.takes_indices and taken != given.shape[0]:
        refuse(owner, "n_in", taken, f"it is given {given.shape[0]}")
    made = whole.get_output_type(given)
    _check_weights(whole, made.shape[0], owner)
    return Completed(whole, preprocessor, made)


def _check_weights(layer: Layer, columns: int | None, owner: str) -> None:
    """Refuse a loss that weighs other columns than there are."""
    loss = getattr(layer, "loss", None)
    weights = loss.weights if isinstance(loss, WeightedLoss) else None
    if weights is not None and len(weights) != columns:
        refuse(owner, "loss", loss, f"has {len(weights)} weights for {columns} columns")


def _warn_of_lone_softmax(layer: Layer, owner: str) -> None:
    """Warn of an output layer that can learn nothing."""
    if (
        isinstance(layer, OutputLayer)
        and layer.n_out == 1
        and isinstance(layer.activation, ActivationSoftmax)
    ):
        text = (
            f"{owner}: a softmax of one column is always 1; "
            'take activation="sigmoid" with loss="xent", or two columns'
        )
        warnings.warn(text, UserWarning, stacklevel=2)


@dataclass(frozen=True, kw_only=True, repr=False)
class MultiLayerConfiguration(NetworkConfiguration):
    """A chain of layers and how it learns (DL4J: ``MultiLayerConfiguration``).

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output.
    input_type : InputType, optional
        From which the layers infer ``n_in``, and which preprocessors stand between them.
    input_preprocessors : mapping of int to InputPreProcessor
        What stands before a layer. It wins over what is inferred; without ``input_type`` nothing is.
    updater, bias_updater : IUpdater, optional
        Default: ``Sgd()``; biases follow ``updater``.
    activation, weight_init, bias_init, convolution_mode, dropout, constraints, weight_noise
        For the layers that do not say it themselves, as the following.
    l1, l2, weight_decay, l1_bias, l2_bias, weight_decay_bias, weight_decay_apply_lr
        Penalties on weights and biases. In one place L2 and weight decay exclude each other; what a layer
        says of the one replaces the other of the network.
    gradient_normalization, gradient_normalization_threshold
        What is done to the gradient of each layer.
    mini_batch : bool
        Whether gradients are divided by the number of examples.
    seed : int, optional
        From which the parameters are drawn; default: fresh entropy, kept here.
    dtype : str or dtype
        ``float32`` or ``float64``.
    training_workspace_mode, inference_workspace_mode : str or WorkspaceMode
        Whether workspaces are used.
    cache_mode : str or CacheMode
        Kept for DL4J's files.
    backprop_type : str or BackpropType
        With ``truncated_bptt`` series are learned in pieces of ``tbptt_fwd_length`` steps.
    tbptt_fwd_length : int
        The length of a piece; ``tbptt_back_length`` is ``None`` or the same.

    Raises
    ------
    ConfigurationError
        A wrong field of the network or a layer, which is named.
    """

    json_key: ClassVar[str] = "confs"
    other_kind: ClassVar[str] = "ComputationGraph"

    layers: Sequence[Layer]
    input_type: InputType | None = None
    input_preprocessors: Mapping[int, InputPreProcessor] = field(default_factory=ReadOnly)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._settle_fields()
        owner = type(self).__name__
        if self.input_type is not None and not isinstance(self.input_type, InputType):
            refuse(owner, "input_type", self.input_type, "must be an InputType")
        self._settle_layers(owner)
        self._settle_preprocessors(owner)
        self._set("_whole", tuple(self._complete()))

    def _settle_layers(self, owner: str) -> None:
        if isinstance(self.layers, Layer | str) or not hasattr(self.layers, "__iter__"):
            refuse(owner, "layers", self.layers, "must be a sequence of layers")
        self._set("layers", tuple(self.layers))
        if not self.layers:
            refuse(owner, "layers", (), "there must be at least one layer")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                refuse(owner, f"layers[{i}]", layer, "is no layer")
        names = [layer.name or f"layer{i}" for i, layer in enumerate(self.layers)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            refuse(owner, "layers", twice, "is the name of two layers")
        for i, layer in enumerate(self.layers):
            has_loss = hasattr(layer, "compute_score")
            if has_loss and i < len(self.layers) - 1:
                refuse(owner, "layers", layer, "a layer with a loss must be the last one")
            if not has_loss and i == len(self.layers) - 1:
                refuse(owner, "layers", layer, "the last layer must have a loss, as OutputLayer has")

    def _settle_preprocessors(self, owner: str) -> None:
        if not isinstance(self.input_preprocessors, Mapping):
            refuse(owner, "input_preprocessors", self.input_preprocessors, "must map layers to preprocessors")
        self._set("input_preprocessors", ReadOnly(self.input_preprocessors))
        for index, preprocessor in self.input_preprocessors.items():
            where = f"input_preprocessors[{index!r}]"
            if isinstance(index, bool) or index not in range(len(self.layers)):
                refuse(owner, where, preprocessor, "there is no such layer")
            if not isinstance(preprocessor, InputPreProcessor):
                refuse(owner, where, preprocessor, "is no InputPreProcessor")

    def _complete(self) -> list[Completed]:
        """Follow the types from the input on, and see that what a layer gives is what the next one takes."""
        whole: list[Completed] = []
        given = self.input_type
        for index, layer in enumerate(self.layers):
            owner = f"layer {index} ({type(layer).__name__} {layer.name or f'layer{index}'!r})"
            preprocessor = self.input_preprocessors.get(index)
            infer = self.input_type is not None
            with in_place(owner):
                done = completed(self, layer, owner, given, preprocessor, first=index == 0, infer=infer)
            whole.append(done)
            given = done.output_type
        return whole

    def complete_layers(self) -> list[Layer]:
        """Return the layers with what they take from the network and from their input."""
        return [done.layer for done in self.__dict__["_whole"]]

    def complete_preprocessors(self) -> dict[int, InputPreProcessor]:
        """Return the preprocessors by layer, those that were inferred too."""
        whole: tuple[Completed, ...] = self.__dict__["_whole"]
        return {i: done.preprocessor for i, done in enumerate(whole) if done.preprocessor is not None}

    def complete_nodes(self) -> tuple[Node, ...]:
        """Return the layers as a graph has them: each is given what the one before it gives."""
        whole: tuple[Completed, ...] = self.__dict__["_whole"]
        names = [done.layer.name or f"layer{i}" for i, done in enumerate(whole)]
        before = ["input", *names]
        return tuple(
            Node(name, done.layer, (given,), done.preprocessor, done.output_type)
            for name, given, done in zip(names, before[:-1], whole, strict=True)
        )

    def to_tree(
        self, *, iteration_count: int | None = None, epoch_count: int | None = None
    ) -> dict[str, Any]:
        """Return DL4J's JSON as a tree, with the counts of a network, or those that were read."""
        return write_chain(self, Counts(iteration_count, epoch_count))

    @classmethod
    def _fields_of(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a tree of DL4J's describes."""
        return read_chain(tree)
