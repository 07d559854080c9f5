"""Models as `ParallelInference` serves them: copied when they come, with a replica for every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndarena._core import WorkspaceArray
from ndarena.nn import ComputationGraph, MultiLayerNetwork
from ndarena.nn.batches import inputs_of, listed
from ndarena.parallel.inference_requests import Request

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ndarena._core import Workspace
    from ndarena.nn.wiring import Wiring
    from ndarena.nn.words import Array
    from ndarena.parallel.inference_requests import Reply

__all__ = ["Model", "Served"]

Model = MultiLayerNetwork | ComputationGraph
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
        self._is_simple = net.wiring.is_simple and not self.is_graph
        self.merges = merges and _keeps_rows(net.wiring)
        self.takes_indices = any(node.brings_indices for node in net.wiring.nodes)
        self.replicas: list[Any] = [net, *(net.sharing() for _ in range(replicas - 1))]

    def request(self, x: Any, features_mask: Any, reply: Future[Any] | Reply) -> Request:
        """Return a request, checked as far as can be told without asking the model.

        An array in a workspace is held by a view: it stays as it is, even if its scope ends meanwhile.

        Raises
        ------
        TypeError
            No numbers.
        ValueError
            Not as many arrays as the model has inputs, one without rows, or not what the input is said to be.
        """
        if type(x) is np.ndarray and features_mask is None and self._is_simple and x.dtype.kind in "buif":
            return Request(self, [x], [None], reply)
        features, masks = [x], None if features_mask is None else [features_mask]
        if self.is_graph:
            features, masks = listed(x), None if features_mask is None else listed(features_mask)
        net = self.replicas[0]
        batch = inputs_of(features, net.wiring, net.dtype, masks)
        return Request(self, _held(batch.features), _held(batch.features_masks), reply)

    def ask(
        self, net: Any, features: list[Array], masks: list[Array], workspace: Workspace | None = None
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
