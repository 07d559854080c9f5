"""Models as `ParallelInference` serves them: copied when they come, with a replica for every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ndarena._core import WorkspaceArray
from ndarena.nn import ComputationGraph, MultiLayerNetwork
from ndarena.nn.batches import inputs_of, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena._core import Workspace
    from ndarena.nn.wiring import Wiring
    from ndarena.nn.words import Array
    from ndarena.parallel.inference_requests import Request

__all__ = ["Model", "Served"]

Model = MultiLayerNetwork | ComputationGraph
R = TypeVar("R", bound="Request")
UNMASKED = (None,)
ROWS = 1000  # any number that is not 0


class Served:
    """One version of the model, which does not change.

    Parameters
    ----------
    model : MultiLayerNetwork or ComputationGraph
        It is copied, and may go on learning.
    replicas : int
        How many threads ask at the same time.
    merges : bool
        Whether requests may be answered together, if the model allows it.

    Raises
    ------
    TypeError
        Something else than a network.
    """

    def __init__(self, model: Model, replicas: int, *, merges: bool) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"model must be a network, not {type(model).__name__}")
        net = type(model)(model.configuration)
        net.set_params(model.params())
        net.inference_workspace_mode = model.inference_workspace_mode
        self.is_graph = isinstance(net, ComputationGraph)
        self.merges = merges and _keeps_rows(net.wiring)
        self.takes_indices = any(node.brings_indices for node in net.wiring.nodes)
        self._is_simple = (
            net.wiring.is_simple and self.merges and not self.is_graph and not self.takes_indices
        )
        self.replicas: list[Any] = [net, *(net.sharing() for _ in range(replicas - 1))]

    def request(self, x: Any, features_mask: Any, kind: type[R]) -> R:
        """Return a request, checked as far as can be told without asking the model.

        An array in a workspace is held by a view: it stays as it is, even if its scope ends meanwhile.

        Parameters
        ----------
        x, features_mask : array_like
            One array, or a list of one per input.
        kind : type
            Who waits for the answer: that of a `Request`.

        Raises
        ------
        TypeError
            No numbers.
        ValueError
            Not as many arrays as the model has inputs, one without rows, or not what the input is said to be.
        """
        if self._is_simple and features_mask is None and type(x) is np.ndarray and x.dtype.kind in "buif":
            shape = x.shape
            if shape:
                return kind(self, (x,), UNMASKED, (self, shape[1:], None), shape[0])  # as `_key`
        features, masks = [x], None if features_mask is None else [features_mask]
        if self.is_graph:
            features, masks = listed(x), None if features_mask is None else listed(features_mask)
        net = self.replicas[0]
        batch = inputs_of(features, net.wiring, net.dtype, masks)
        features, masks = _held(batch.features), _held(batch.features_masks)
        return kind(self, features, masks, *self._key(features, masks))

    def _key(self, features: Sequence[Array], masks: Sequence[Array]) -> tuple[object, int]:
        """Return what requests have in common that may be answered together, and the number of rows.

        In common they have the version of the model, and the shapes but for the rows; where it takes indices
        also the kind of numbers. Other requests have a key of their own.
        """
        parts, rows = list[object]([self]), set[int]()
        for array in (*features, *masks):
            if array is None:
                parts.append(None)
            elif not array.shape:
                raise ValueError("features and masks have rows, [N, ...]: a single number has none")
            else:
                rows.add(array.shape[0])
                parts.append(array.shape[1:])
                if self.takes_indices:
                    parts.append(array.dtype.kind)
        return tuple(parts) if self.merges and len(rows) == 1 else object(), len(features[0])

    def ask(
        self, net: Any, features: Sequence[Array], masks: Sequence[Array], workspace: Workspace | None = None
    ) -> list[Array]:
        """Return the outputs of a replica, plain or in an open workspace."""
        if self.is_graph:
            outputs: list[Array] = net.output(*features, features_masks=masks, workspace=workspace)
            return outputs
        return [net.output(features[0], features_mask=masks[0], workspace=workspace)]

    def result(self, outputs: list[Array]) -> Any:
        """Return outputs in the form in which the model gives them."""
        return outputs if self.is_graph else outputs[0]


def _held(arrays: list[Array]) -> list[Array]:
    return [np.asarray(array) if isinstance(array, WorkspaceArray) else array for array in arrays]


def _keeps_rows(wiring: Wiring) -> bool:
    """Tell whether every vertex gives as many rows as it is given, so that those of requests stay in order.

    Of a graph that stacks rows or takes some of them nothing is said.
    """
    rows = [ROWS] * (len(wiring.inputs) + len(wiring.nodes))
    for node in wiring.nodes:
        if not node.is_layer:
            rows[node.value] = node.twin.get_batch_size(*(rows[source] for source in node.flows))
    return all(n == ROWS for n in rows)
