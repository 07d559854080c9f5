"""What every kind of network has: parameters, workspace modes, listeners (DL4J: ``Model``)."""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from ndarena._core import destroy_workspace, get_all_workspaces_for_current_thread, scope_out_of_workspaces
from ndarena.nn.archive import Stored
from ndarena.nn.batches import numeric
from ndarena.nn.choices import WorkspaceMode, workspace_mode_of
from ndarena.nn.claim import Claim
from ndarena.nn.layer import Flat, Layer, ParamPart, cut
from ndarena.nn.listeners import TrainingListener, checked_listeners
from ndarena.nn.memory import InferenceMemory, TrainingMemory, is_of_networks
from ndarena.nn.model_memory import ModelMemory
from ndarena.nn.overview import Overseen
from ndarena.nn.update import NetworkUpdater, state_size
from ndarena.nn.words import Array, refuse, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ndarena.nn.wiring import Wiring

__all__ = ["Network", "note_workspaces"]

M = TypeVar("M", TrainingMemory, InferenceMemory)


class Network(Stored, Overseen):
    """Base of networks: `MultiLayerNetwork` and `ComputationGraph`."""

    layers: list[Layer]
    param_layout: list[ParamPart]
    updater: NetworkUpdater
    wiring: Wiring
    rng: np.random.Generator
    """From which parameters, dropout and noise are drawn."""
    model_memory: ModelMemory
    """Where parameters, gradient and updater state lie, as long as the network lives."""

    def __init__(self, configuration: Any, *, draws: bool = True) -> None:
        kind = self.configuration_class
        if not isinstance(configuration, kind):
            raise TypeError(f"expected a {kind.__name__}, not {type(configuration).__name__}")
        self.configuration = configuration
        self.dtype: np.dtype[Any] = np.dtype(configuration.dtype)
        self._training_mode = WorkspaceMode(configuration.training_workspace_mode)
        self._inference_mode = WorkspaceMode(configuration.inference_workspace_mode)
        self._listeners: tuple[TrainingListener, ...] = ()
        self._learning: list[object] = []  # calls that want to: the first one does
        self._claim = Claim()
        self.iteration_count = 0
        self.epoch_count = 0
        self._begin(draws=draws)

    @property
    def iteration_count(self) -> int:
        """How many iterations were learned, in all epochs; one may set it, to a whole number from 0 on."""
        return self._iteration_count

    @iteration_count.setter
    def iteration_count(self, count: int) -> None:
        self._iteration_count = whole(count, type(self).__name__, "iteration_count", least=0)

    @property
    def epoch_count(self) -> int:
        """How many epochs were learned; one may set it, to a whole number from 0 on."""
        return self._epoch_count

    @epoch_count.setter
    def epoch_count(self, count: int) -> None:
        self._epoch_count = whole(count, type(self).__name__, "epoch_count", least=0)

    # Parameters.

    def init(self, params: Array = None) -> None:
        """Draw the parameters anew from the seed, or take those given; the updater begins anew.

        Raises
        ------
        ValueError
            Parameters of another shape.
        """
        self._begin(draws=True)
        if params is not None:
            self.set_params(params)

    def _begin(self, *, draws: bool) -> None:
        """Make everything that works; parameters are drawn, or else 0."""
        members = self._members()
        layers = [layer for _, _, layer in members]
        self.param_layout = list(_laid_out(members))
        self.model_memory = ModelMemory(
            self.dtype,
            params=sum(part["length"] for part in self.param_layout),
            state=state_size(layers, self.param_layout, self.configuration),
        )
        self.rng = np.random.default_rng(self.configuration.seed)
        self.layers = []
        offset = 0
        for _, index, layer in members:
            here = slice(offset, offset + layer.num_params())
            twin = layer.instantiate(
                index=index, params=self.params()[here], gradient=self.gradient()[here], rng=self.rng
            )
            if draws and len(twin.params):
                twin.init_params(twin.param_table, self.rng)
            self.layers.append(twin)
            offset = here.stop
        self.wiring = self._wire()
        self._here = threading.local()
        self.updater = NetworkUpdater(
            self.layers,
            self.configuration,
            self.model_memory,
            self.param_layout,
            partial(_updating, weakref.ref(self)),  # networks end with their last reference
        )

    def _members(self) -> list[tuple[str, int, Layer]]:
        """Return prefix of the parameters, index and layer, in the order of the parameters."""
        raise NotImplementedError

    def _wire(self) -> Wiring:
        """Join the working layers, and what else there is."""
        raise NotImplementedError

    def params(self) -> Flat:
        """Return all parameters, ``[P]``: the living vector, not a copy."""
        return self.model_memory.params

    def gradient(self) -> Flat:
        """Return the gradient of all parameters, ``[P]``, living; after `fit` it holds the last step."""
        return self.model_memory.gradient

    def updater_state(self) -> Flat:
        """Return the state of the updaters, flat and living."""
        return self.model_memory.state

    def param_table(self) -> dict[str, Flat]:
        """Return the parameters as living views by name, ``0_W``, ``0_b`` and so on."""
        return cut(self.params(), self.param_layout)

    def gradient_table(self) -> dict[str, Flat]:
        """Return the gradients as living views by name."""
        return cut(self.gradient(), self.param_layout)

    def num_params(self) -> int:
        """Return the number of parameters, ``P``."""
        return len(self.params())

    def set_params(self, flat: Array) -> None:
        """Copy parameters, ``[P]``, into the network; another shape is a `ValueError`."""
        _copy_flat(flat, self.params(), "parameters")

    def set_updater_state(self, flat: Array) -> None:
        """Copy a state into the updaters; another shape is a `ValueError`."""
        _copy_flat(flat, self.updater_state(), "updater state")

    def calc_regularization_score(self) -> float:
        """Return what the parameters add to the score."""
        return self.updater.penalty(iteration=self.iteration_count, epoch=self.epoch_count)

    # Modes.

    @property
    def training_workspace_mode(self) -> WorkspaceMode:
        """Whether training uses workspaces; it may be set at any time, by name or member, or ``None``."""
        return self._training_mode

    @training_workspace_mode.setter
    def training_workspace_mode(self, mode: WorkspaceMode | str | None) -> None:
        self._training_mode = self._mode(mode, "training_workspace_mode")

    @property
    def inference_workspace_mode(self) -> WorkspaceMode:
        """Whether all else uses workspaces; it may be set at any time, by name or member, or ``None``."""
        return self._inference_mode

    @inference_workspace_mode.setter
    def inference_workspace_mode(self, mode: WorkspaceMode | str | None) -> None:
        self._inference_mode = self._mode(mode, "inference_workspace_mode")

    @contextmanager
    def workspace_mode(
        self, *, training: WorkspaceMode | str | None = None, inference: WorkspaceMode | str | None = None
    ) -> Iterator[Self]:
        """Change the modes inside a ``with`` block; what is not given stays."""
        before = self._training_mode, self._inference_mode
        modes = (
            before[0] if training is None else self._mode(training, "training_workspace_mode"),
            before[1] if inference is None else self._mode(inference, "inference_workspace_mode"),
        )
        self._training_mode, self._inference_mode = modes
        try:
            yield self
        finally:
            self._training_mode, self._inference_mode = before

    def _mode(self, mode: WorkspaceMode | str | None, field: str) -> WorkspaceMode:
        if not isinstance(mode, WorkspaceMode | str | None):
            refuse(type(self).__name__, field, mode, "must be a WorkspaceMode or its name")
        return workspace_mode_of(mode, type(self).__name__, field)

    def _training(self) -> TrainingMemory:
        """Return this thread's memory for training, as the mode is."""
        return self._memory(TrainingMemory, self._training_mode)

    def _inference(self, *, training: bool = False) -> InferenceMemory:
        """Return this thread's memory for a forward pass alone; as training it goes by that mode."""
        return self._memory(InferenceMemory, self._training_mode if training else self._inference_mode)

    def _memory(self, kind: type[M], mode: WorkspaceMode) -> M:
        known: dict[Any, Any] = self._here.__dict__
        memory: M | None = known.get((kind, mode))
        if memory is None or not memory.is_usable():
            memory = known[kind, mode] = kind(self.wiring, mode)
        return memory

    # Listeners.

    def set_listeners(self, *listeners: TrainingListener) -> None:
        """Tell these listeners about training, and no others; what is none is a `TypeError`."""
        self._listeners = checked_listeners(listeners)

    def add_listeners(self, *listeners: TrainingListener) -> None:
        """Tell these listeners too; what is none is a `TypeError`."""
        self._listeners += checked_listeners(listeners)

    def _tell(self, event: str, *facts: object) -> None:
        if self._listeners:
            with scope_out_of_workspaces():
                for listener in self._listeners:
                    getattr(listener, event)(self, *facts)

    # The end.

    def close(self) -> None:
        """Give this thread's workspaces of the network's names back to the system; it stays usable."""
        for ws in get_all_workspaces_for_current_thread():
            if is_of_networks(ws.id) and not ws.is_scope_active:
                destroy_workspace(ws)

    def __enter__(self) -> Self:
        """Return the network."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do as `close`."""
        self.close()


def _updating(network: weakref.ref[Network]) -> AbstractContextManager[object]:
    """Enter the scratch of a network's updater; there is none where the network is gone."""
    net = network()
    return scope_out_of_workspaces() if net is None else net._training().updating()  # noqa: SLF001


def _laid_out(members: list[tuple[str, int, Layer]]) -> Iterator[ParamPart]:
    """Lay the parameters of all layers out one after the other."""
    offset = 0
    for prefix, _, layer in members:
        for part in layer.param_layout:
            yield {**part, "name": f"{prefix}_{part['name']}", "offset": offset}
            offset += part["length"]


def _copy_flat(source: Array, target: Flat, what: str) -> None:
    values = numeric(source, what)
    if values.shape != target.shape:
        raise ValueError(f"{what} must have shape {target.shape}, not {tuple(values.shape)}")
    target[...] = values


def note_workspaces(error: MemoryError) -> None:
    """Add to the error what the workspaces of this thread hold."""
    lines = [repr(ws) for ws in get_all_workspaces_for_current_thread()]
    error.add_note("\n".join(["workspaces of this thread:", *lines]))
