"""What a network is made of (DL4J: ``MultiLayerConfiguration``, ``WorkspaceMode``)."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena.nn.feed_forward import settle_common
from ndarena.nn.input_type import InputType
from ndarena.nn.layer import Layer
from ndarena.nn.updaters import IUpdater, Sgd
from ndarena.nn.words import Choice, member, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena.nn.activations import Activation, IActivation
    from ndarena.nn.weights import WeightInit

__all__ = ["MultiLayerConfiguration", "WorkspaceMode"]

OWNER = "MultiLayerConfiguration"
DTYPES = ("float32", "float64")
INHERITED = (
    "activation",
    "weight_init",
    "bias_init",
    "updater",
    "bias_updater",
    "l1",
    "l2",
    "l1_bias",
    "l2_bias",
)


class WorkspaceMode(Choice):
    """Whether a network works in workspaces (DL4J: ``WorkspaceMode``)."""

    NONE = "NONE"
    """Ordinary arrays."""
    ENABLED = "ENABLED"
    """Workspaces for activations, gradients and scratch."""


@dataclass(frozen=True, kw_only=True)
class MultiLayerConfiguration:
    """A chain of layers and how it learns (DL4J: ``MultiLayerConfiguration``).

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output.
    input_type : InputType, optional
        From which the layers infer ``n_in``.
    updater, bias_updater : IUpdater, optional
        Default: ``Sgd()``; biases follow ``updater``.
    activation, weight_init, bias_init, l1, l2, l1_bias, l2_bias
        For the layers that do not say it themselves.
    mini_batch : bool
        Whether gradients are divided by the number of examples.
    seed : int, optional
        From which the parameters are drawn; default: fresh entropy, kept here.
    dtype : str or dtype
        ``float32`` or ``float64``.
    training_workspace_mode, inference_workspace_mode : str or WorkspaceMode
        Whether workspaces are used.

    Raises
    ------
    ConfigurationError
        A wrong field of the network or a layer, which is named.
    """

    layers: Sequence[Layer]
    input_type: InputType | None = None
    updater: IUpdater = field(default_factory=Sgd)
    bias_updater: IUpdater | None = None
    activation: str | Activation | IActivation = "sigmoid"
    weight_init: str | WeightInit = "xavier"
    bias_init: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    l1_bias: float = 0.0
    l2_bias: float = 0.0
    mini_batch: bool = True
    seed: int | None = None
    dtype: str = "float32"
    training_workspace_mode: str | WorkspaceMode = WorkspaceMode.ENABLED
    inference_workspace_mode: str | WorkspaceMode = WorkspaceMode.ENABLED

    def __post_init__(self) -> None:
        """Check the fields."""
        self._settle_fields()
        self._settle_layers()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _settle_fields(self) -> None:
        for name in INHERITED:
            if getattr(self, name) is None and name != "bias_updater":
                refuse(OWNER, name, None, "must be given: layers fall back on it")
        settle_common(self, OWNER)
        if not isinstance(self.mini_batch, bool):
            refuse(OWNER, "mini_batch", self.mini_batch, "must be True or False")
        if self.input_type is not None and not isinstance(self.input_type, InputType):
            refuse(OWNER, "input_type", self.input_type, "must be an InputType")
        self._set("seed", seed_of(self.seed))
        self._set("dtype", dtype_name(self.dtype))
        for name in ("training_workspace_mode", "inference_workspace_mode"):
            self._set(name, member(WorkspaceMode, getattr(self, name), OWNER, name))

    def _settle_layers(self) -> None:
        if isinstance(self.layers, Layer | str) or not hasattr(self.layers, "__iter__"):
            refuse(OWNER, "layers", self.layers, "must be a sequence of layers")
        self._set("layers", tuple(self.layers))
        if not self.layers:
            refuse(OWNER, "layers", (), "there must be at least one layer")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                refuse(OWNER, f"layers[{i}]", layer, "is no layer")
        names = [layer.name or f"layer{i}" for i, layer in enumerate(self.layers)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            refuse(OWNER, "layers", twice, "is the name of two layers")
        for i, layer in enumerate(self.layers):
            has_loss = hasattr(layer, "compute_score")
            if has_loss and i < len(self.layers) - 1:
                refuse(OWNER, "layers", layer, "a layer with a loss must be the last one")
            if not has_loss and i == len(self.layers) - 1:
                refuse(OWNER, "layers", layer, "the last layer must have a loss, as OutputLayer has")
        self._check_chain()

    def _check_chain(self) -> None:
        """See that the shapes are known, and that what a layer gives is what the next one takes."""
        given = getattr(self.input_type, "size", None)
        for index, layer in enumerate(self.complete_layers()):
            owner = f"layer {index} ({type(layer).__name__} {layer.name or f'layer{index}'!r})"
            taken = getattr(layer, "n_in", None)
            if taken is None and hasattr(layer, "n_in"):
                refuse(owner, "n_in", None, "must be given where no input type tells it")
            if given is not None and taken is not None and given != taken:
                refuse(owner, "n_in", taken, f"it is given {given}")
            given = getattr(layer, "n_out", given)

    def complete_layers(self) -> list[Layer]:
        """Return the layers with what they take from the network and from their input."""
        complete: list[Layer] = []
        input_type = self.input_type
        for layer in self.layers:
            whole = dataclasses.replace(layer, **self._inherited(layer))
            if input_type is None and isinstance(getattr(whole, "n_in", None), int):
                input_type = InputType.feed_forward(whole.n_in)  # type: ignore[attr-defined]
            if input_type is not None:
                whole = whole.with_input_type(input_type)
                input_type = whole.get_output_type(input_type)
            complete.append(whole)
        return complete

    def _inherited(self, layer: Layer) -> dict[str, Any]:
        declared = {f.name for f in dataclasses.fields(layer)}
        return {
            name: getattr(self, name)
            for name in INHERITED
            if name in declared and getattr(layer, name) is None
        }


def seed_of(seed: object) -> int:
    """Return a seed, drawn if there is none."""
    if seed is None:
        return secrets.randbits(63)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        refuse(OWNER, "seed", seed, "must be a whole number from 0 on")
    return int(seed)


def dtype_name(dtype: object) -> str:
    """Return the name of the dtype of parameters."""
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = ""
    if name not in DTYPES:
        refuse(OWNER, "dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    return str(name)
