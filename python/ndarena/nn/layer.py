"""The base of all layers: a configuration that makes working twins of itself (DL4J: ``Layer``)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypedDict

import numpy as np

from ndarena.nn.constraints import LayerConstraint, constraints_of
from ndarena.nn.declared import Declared, keep
from ndarena.nn.disturbance import Disturbance, disturb
from ndarena.nn.dropout import IDropout, dropout_of
from ndarena.nn.input_type import InputTypeFeedForward, InputTypeRecurrent
from ndarena.nn.preprocessors import pre_processor_between
from ndarena.nn.words import Array, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.input_type import InputType
    from ndarena.nn.preprocessors import InputPreProcessor

__all__ = ["Layer", "ParamKind", "ParamPart", "cut"]

Flat = np.ndarray[Any, np.dtype[Any]]


class ParamKind(Enum):
    """How a parameter learns."""

    WEIGHT = "weight"
    """It is regularised and constrained as the fields for weights say."""
    BIAS = "bias"
    """It follows the fields for biases."""
    GAIN = "gain"
    """It follows the updater of the weights, and is neither regularised nor constrained."""
    STATISTIC = "statistic"
    """Its gradient is the step itself, whatever the size of the batch; no updater touches it."""

    def follows(self, *, biases: bool) -> bool:
        """Tell whether a rule for weights, and for ``biases`` if it says so, is one for this parameter."""
        return self is ParamKind.WEIGHT or (biases and self is ParamKind.BIAS)


class ParamPart(TypedDict):
    """Where a parameter lies in the flat vector."""

    name: str
    offset: int
    length: int
    shape: tuple[int, ...]
    order: str


def layout_of(shapes: Mapping[str, tuple[int, ...]]) -> list[ParamPart]:
    """Lay parameters out one after the other: those of rank 2 in Fortran order, the others in C order."""
    parts: list[ParamPart] = []
    offset = 0
    for name, shape in shapes.items():
        length = int(np.prod(shape, dtype=np.int64))
        order = "f" if len(shape) == 2 else "c"
        parts.append(
            {"name": name, "offset": offset, "length": length, "shape": tuple(shape), "order": order}
        )
        offset += length
    return parts


def cut(flat: Flat, layout: list[ParamPart]) -> dict[str, Flat]:
    """Return the parts of a flat vector as views by name."""
    return {
        part["name"]: flat[part["offset"] : part["offset"] + part["length"]].reshape(
            part["shape"], order="F" if part["order"] == "f" else "C"
        )
        for part in layout
    }


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a working twin has and a configuration has not."""

    index: int
    params: Flat
    gradient: Flat
    layout: list[ParamPart]
    param_table: dict[str, Flat]
    gradient_table: dict[str, Flat]
    rng: np.random.Generator


class Layer(Declared):
    """Base of all layers (DL4J: ``org.deeplearning4j.nn.api.Layer`` and its configuration).

    A subclass becomes a keyword-only dataclass by itself: it declares fields, and overrides `param_shapes`,
    `init_params`, `activate` and `backprop_gradient`. An object is configuration until `instantiate` makes a
    working twin of it.

    Parameters
    ----------
    name : str, optional
        Default ``layer<index>``.
    dropout : float or IDropout, optional
        What happens to the layer's input in training; a number is the probability to keep a value, and 0 is
        off. ``None`` is the network's, which acts on the layers on which it does in DL4J: not on those of
        activations, losses, normalisation, padding and the like. Indices are never dropped.
    constraints : sequence of LayerConstraint, optional
        What the parameters fulfil after every update. ``None`` is the network's.
    """

    input_kind: ClassVar[type[InputType] | None] = None
    """The kind of input the layer takes; ``None``: any."""
    takes_indices: ClassVar[bool] = False
    """Whether the input is made of indices below ``n_in``, so that ``n_in`` is not its size."""
    takes_pieces: ClassVar[bool] = True
    """Whether a series may come in pieces, as truncated backpropagation has them."""

    inherits_dropout: ClassVar[bool] = True
    """Whether a dropout of the whole network acts on the layer's input; one of its own always does."""

    name: str | None = None
    dropout: float | IDropout | None = None
    constraints: Sequence[LayerConstraint] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.name is not None and not isinstance(self.name, str):
            refuse(type(self).__name__, "name", self.name, "must be a str")
        if self.dropout is not None:
            self._set("dropout", dropout_of(self.dropout, self._owner()))
        if self.constraints is not None:
            self._set("constraints", constraints_of(self.constraints, self._owner()))

    def _owner(self) -> str:
        return type(self).__name__ + (f" {self.name!r}" if self.name is not None else "")

    # What a subclass says of itself.

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name; rank 2 lies in Fortran order, others in C order."""
        return {}

    def param_kind(self, name: str) -> ParamKind:
        """Return how a parameter learns; by default ``b`` is a bias and all others are weights.

        As `param_shapes` and `learns_as`, it is asked of the configuration too, before there is a twin.
        """
        return ParamKind.BIAS if name == "b" else ParamKind.WEIGHT

    def learns_as(self) -> Layer:
        """Return the layer whose fields (updater, penalties and so on) parameters follow.

        By default it is this one; a layer around another one returns that.
        """
        return self

    def init_params(self, table: dict[str, Flat], rng: np.random.Generator) -> None:
        """Fill the parameters, given as views by name. They are 0 before."""

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return what comes out of the layer when this goes in; by default the same."""
        return input_type

    def with_input_type(self, input_type: InputType) -> Self:
        """Return a copy that has taken from the input what it needs to know, such as ``n_in``."""
        return self

    def own_input_type(self, *, first: bool) -> InputType | None:
        """Return the type of input that the fields tell where nothing else does.

        ``first`` is said to the first layer: if it takes any kind of input, it is given features.
        """
        n_in = 1 if self.takes_indices else getattr(self, "n_in", None)
        kind = InputTypeFeedForward if self.input_kind is None and first else self.input_kind
        if n_in is None or kind not in {InputTypeFeedForward, InputTypeRecurrent}:
            return None
        return kind(n_in)

    def get_pre_processor(self, input_type: InputType) -> InputPreProcessor | None:
        """Return what makes such an input into one of `input_kind`; ``None`` where nothing need be done."""
        return pre_processor_between(input_type, self.input_kind)

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the activation of ``x``, an array of ``ArrayType.ACTIVATIONS``."""
        raise NotImplementedError(f"{type(self).__name__}.activate")

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Set the gradient views and return the epsilon of the layer below, of ``ArrayType.ACTIVATION_GRAD``.

        ``epsilon`` is the derivative of the loss with respect to this layer's activation. Gradients are sums
        over the batch. ``None`` comes back where there is nothing to hand down.
        """
        raise NotImplementedError(f"{type(self).__name__}.backprop_gradient")

    def feed_forward_mask(self, mask: Array) -> Array:
        """Return the mask of the next layer."""
        return mask

    def clear(self) -> None:
        """Forget what the forward pass kept for the backward pass."""

    # The working twin.

    epsilon_is_read = True
    """Whether anybody reads what `backprop_gradient` returns; where nobody does that may be ``None``."""

    def instantiate(
        self,
        *,
        index: int = 0,
        params: Flat | None = None,
        gradient: Flat | None = None,
        dtype: DTypeLike = "float64",
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Return a working twin: a layer of the same class and fields that has parameters.

        Parameters
        ----------
        index : int
            The place in the network, counted from 0.
        params, gradient : ndarray, optional
            Flat vectors of `num_params` elements, of which the twin takes views. Omitted: allocated; then
            the parameters are filled by `init_params`.
        dtype : dtype
            Of what is allocated here.
        rng : numpy.random.Generator, optional
            For `init_params`, and for dropout and noise in training; default: fresh entropy.

        Raises
        ------
        ValueError
            A vector of another shape.
        """
        twin = dataclasses.replace(self, name=f"layer{index}" if self.name is None else self.name)
        layout = layout_of(twin.param_shapes())
        size = sum(part["length"] for part in layout)
        fresh = params is None
        params = np.zeros(size, dtype) if params is None else params
        gradient = np.zeros(size, params.dtype) if gradient is None else gradient
        for what, flat in (("params", params), ("gradient", gradient)):
            if flat.shape != (size,):
                raise ValueError(f"{twin.name}: {what} must have shape {(size,)}, not {flat.shape}")
        rng = np.random.default_rng() if rng is None else rng
        memory = _Memory(index, params, gradient, layout, cut(params, layout), cut(gradient, layout), rng)
        object.__setattr__(twin, "_memory", memory)
        if fresh and size:
            twin.init_params(memory.param_table, rng)
        twin.clear()
        disturb(twin)
        return twin

    def __copy__(self) -> Self:
        """Return a second worker on the same parameters, with attributes of its own."""
        twin = super().__copy__()
        around = self.__dict__.get("_disturbance")
        if isinstance(around, Disturbance):
            keep(twin, "param_table", around.memory.param_table)
            disturb(twin)
        return twin

    def num_params(self) -> int:
        """Return the number of parameters."""
        return sum(part["length"] for part in layout_of(self.param_shapes()))

    def _working(self) -> _Memory:
        memory: _Memory | None = self.__dict__.get("_memory")
        if memory is None:
            raise AttributeError(
                f"{type(self).__name__} is configuration; instantiate() makes a working twin"
            )
        return memory

    def _refuse_input(self, expected: str, x: Array) -> NoReturn:
        """Raise the `ValueError` about an input of a wrong shape."""
        self._refuse_shape("input", expected, x)

    def _check_mask(self, mask: Array, *fitting: Sequence[int]) -> None:
        """Refuse a mask of another shape than those that fit."""
        if tuple(mask.shape) not in fitting:
            self._refuse_shape("mask", " or ".join(str(list(shape)) for shape in fitting), mask)

    def _refuse_shape(self, what: str, expected: str, x: Array, cure: str = "") -> NoReturn:
        """Raise the `ValueError` about something of a wrong shape."""
        raise ValueError(
            f"layer {self.index} ({self.name}, {type(self).__name__}): expected {what} of shape {expected}, "
            f"not {list(x.shape)}{cure}"
        )

    @cached_property
    def index(self) -> int:
        """The place in the network."""
        return self._working().index

    @cached_property
    def rng(self) -> np.random.Generator:
        """From which dropout and noise are drawn."""
        return self._working().rng

    @cached_property
    def params(self) -> Flat:
        """All parameters, flat."""
        return self._working().params

    @cached_property
    def gradient(self) -> Flat:
        """The gradient of all parameters, flat."""
        return self._working().gradient

    @cached_property
    def param_table(self) -> dict[str, Flat]:
        """The parameters, views by name."""
        return self._working().param_table

    @cached_property
    def gradient_table(self) -> dict[str, Flat]:
        """The gradients, views by name."""
        return self._working().gradient_table

    @property
    def param_layout(self) -> list[ParamPart]:
        """Where each parameter lies in the flat vector."""
        return layout_of(self.param_shapes())
