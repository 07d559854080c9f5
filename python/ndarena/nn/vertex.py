"""The base of all vertices of a graph that are no layers (DL4J: ``GraphVertex``)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import numpy as np

from ndarena._core import ArrayType
from ndarena.nn.declared import Declared
from ndarena.nn.words import Array, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena._core import LayerWorkspaceMgr
    from ndarena.nn.input_type import InputType

__all__ = ["ACTIVATIONS", "ACTIVATION_GRAD", "GraphVertex", "either", "new"]

ACTIVATIONS = ArrayType.ACTIVATIONS
ACTIVATION_GRAD = ArrayType.ACTIVATION_GRAD


@dataclass(frozen=True, slots=True)
class _Place:
    """What a working twin has and a configuration has not."""

    index: int
    name: str


class GraphVertex(Declared):
    """Base of all vertices that are no layers (DL4J: ``GraphVertex`` and its configuration).

    A subclass becomes a keyword-only dataclass by itself: it declares fields, and overrides `do_forward`,
    `do_backward` and `get_output_type`. An object is configuration until `instantiate` makes a working twin
    of it, on which the graph sets ``batch_size``, the number of examples, before each forward pass.
    """

    inputs_taken: ClassVar[tuple[int, int | None]] = (1, 1)
    """The least and the largest number of inputs; ``None``: any."""

    @property
    def reference(self) -> str | None:
        """The input of the network that the vertex looks at besides its own inputs, if there is one.

        It comes last among the arrays, masks and types that are handed over; nothing flows back to it.
        """
        return None

    def get_output_type(self, *input_types: InputType) -> InputType:
        """Return what comes out when these go in; what does not fit is a `ConfigurationError`."""
        return input_types[0]

    def get_batch_size(self, *batch_sizes: int) -> int:
        """Return the number of examples that come out when so many go in by each input."""
        return batch_sizes[0]

    def do_forward(
        self,
        *inputs: Array,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
        masks: Sequence[Array] | None = None,
    ) -> Array:
        """Return an array of ``ArrayType.ACTIVATIONS``; ``masks`` has one entry per input, or is ``None``."""
        raise NotImplementedError(f"{type(self).__name__}.do_forward")

    def do_backward(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> tuple[Array, ...]:
        """Return an epsilon per input, each an array of ``ArrayType.ACTIVATION_GRAD``."""
        raise NotImplementedError(f"{type(self).__name__}.do_backward")

    def feed_forward_masks(self, *masks: Array) -> Array:
        """Return the mask of what comes out; some masks may be ``None``."""
        return masks[0]

    def clear(self) -> None:
        """Forget what the forward pass kept for the backward pass."""
        self._kept: Any = None

    def instantiate(self, *, index: int = 0, name: str | None = None) -> Self:
        """Return a working twin, a vertex of the same class and fields."""
        twin = copy.copy(self)
        twin._set("_memory", _Place(index, f"vertex{index}" if name is None else name))  # noqa: SLF001
        twin.batch_size = None
        twin.clear()
        return twin

    @property
    def index(self) -> int:
        """The place in the topological order."""
        return self._working().index

    @property
    def name(self) -> str:
        """The name in the graph."""
        return self._working().name

    @property
    def batch_size(self) -> int | None:
        """The number of examples, which the graph sets; ``None`` where nobody did."""
        examples: int | None = self.__dict__["_batch_size"]
        return examples

    @batch_size.setter
    def batch_size(self, examples: int | None) -> None:
        self._set("_batch_size", examples)

    def _working(self) -> _Place:
        place: _Place | None = self.__dict__.get("_memory")
        if place is None:
            raise AttributeError(
                f"{type(self).__name__} is configuration; instantiate() makes a working twin"
            )
        return place

    def _from_forward(self) -> Any:
        if self._kept is None:
            raise RuntimeError(f"{self.name}: do_forward() in training must come first")
        return self._kept

    def _refuse_inputs(self, inputs: tuple[Array, ...], reason: str) -> NoReturn:
        shapes = ", ".join(str(list(x.shape)) for x in inputs)
        raise ValueError(f"{self.name} ({type(self).__name__}): {reason}, not {shapes}")

    def _refuse_types(self, input_types: tuple[InputType, ...], reason: str) -> NoReturn:
        words = "; ".join(map(str, input_types))
        refuse(type(self).__name__, "inputs", words, reason)


def new(mgr: LayerWorkspaceMgr, role: ArrayType, shape: tuple[int, ...], like: Array) -> Array:
    """Return an array for a role's results in the dtype of another."""
    return mgr.create_uninitialized(role, shape, like.dtype)


def either(masks: Sequence[Array]) -> Array:
    """Join masks: a step counts if it does in one of them; where one is missing everything counts."""
    if any(mask is None for mask in masks):
        return None
    joined = masks[0]
    for mask in masks[1:]:
        joined = np.logical_or(joined, mask).astype(mask.dtype)
    return joined
