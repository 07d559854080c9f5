"""Which workspaces a network works in, and when they are open (DL4J: the ``WS_...`` of its networks)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndarena._core import (
    ArrayType,
    LayerWorkspaceMgr,
    WorkspaceConfiguration,
    check_if_workspace_exists,
    get_debug_mode,
    get_workspace_for_current_thread,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ndarena._core import Workspace

__all__ = ["NAMES", "OUTPUT_MEM", "InferenceMemory", "TrainingMemory", "activations_configuration"]

ALL = "WS_ALL_LAYERS_ACT"
WORK = "WS_LAYER_WORKING_MEM"
PAIR = ("WS_LAYER_ACT_1", "WS_LAYER_ACT_2")
LOOP = "WS_RNN_LOOP_WORKING_MEM"
OUTPUT_MEM = "WS_OUTPUT_MEM"
NAMES = frozenset({ALL, WORK, *PAIR, LOOP, OUTPUT_MEM})

T = ArrayType


def _learning(limit: float, policy: str, cycles: int) -> WorkspaceConfiguration:
    return WorkspaceConfiguration(
        overallocation_limit=limit,
        policy_learning=policy,
        cycles_before_initialization=cycles,
        policy_spill="REALLOCATE",
    )


def activations_configuration() -> WorkspaceConfiguration:
    """Return the configuration of workspaces that hold whole activations."""
    return _learning(0.05, "FIRST_LOOP", 0)


class _Memory:
    """The workspaces of one network, thread and purpose; without `enabled` there are none.

    A workspace of a name belongs to the thread and may be another network's too: whoever is first configures
    it.
    """

    def __init__(self, wishes: dict[str, WorkspaceConfiguration], *, enabled: bool) -> None:
        self.enabled = enabled
        self._debug = get_debug_mode()
        self._workspaces = {name: _found(name, conf) for name, conf in wishes.items()} if enabled else {}
        self._settled = not enabled

    def is_usable(self) -> bool:
        """Tell whether this is still what the thread has."""
        if self._debug is not get_debug_mode():
            return False
        return not any(ws.is_destroyed for ws in self._workspaces.values())

    def settle(self) -> None:
        """Size the workspaces after the first turn, whatever number of cycles they were to wait for."""
        if self._settled:
            return
        for ws in self._workspaces.values():
            if not ws.is_scope_active:
                ws.initialize_workspace()
        self._settled = True

    def manager(self, *scoped_out: ArrayType, **places: str) -> LayerWorkspaceMgr:
        """Make a manager: roles in workspaces by name, roles without a workspace, all others unknown."""
        if not self.enabled:
            return LayerWorkspaceMgr.no_workspaces()
        builder = LayerWorkspaceMgr.builder()
        for role, name in places.items():
            ws = self._workspaces.get(name)
            conf = activations_configuration() if ws is None else ws.configuration
            builder.with_(T(role), name, conf)
        for plain in scoped_out:
            builder.no_workspace_for(plain)
        return builder.build()

    def work(self) -> AbstractContextManager[object]:
        """Enter the scratch of one call of a layer."""
        return self._scopes.notify_scope_entered(T.FF_WORKING_MEM)

    def pair(self) -> AbstractContextManager[object]:
        """Enter the two workspaces that hold in turn what one layer hands to the next."""
        return self._scopes.notify_scope_entered(*self._pair_roles)

    def _make_scopes(self, layers: int) -> None:
        self._scopes = self.manager(
            INPUT=ALL, ACTIVATIONS=PAIR[0], ACTIVATION_GRAD=PAIR[1], FF_WORKING_MEM=WORK
        )
        self._pair_roles = (T.ACTIVATIONS, T.ACTIVATION_GRAD)[: min(layers, 2)]


def _found(name: str, conf: WorkspaceConfiguration) -> Workspace:
    if check_if_workspace_exists(name):
        return get_workspace_for_current_thread(id=name)
    return get_workspace_for_current_thread(conf, id=name)


def _wishes(layers: int) -> dict[str, WorkspaceConfiguration]:
    wishes = {WORK: _learning(0.02, "OVER_TIME", 2 * layers)}
    for name in PAIR[: min(layers, 2)]:
        wishes[name] = _learning(0.02, "OVER_TIME", layers)
    return wishes


class TrainingMemory(_Memory):
    """All activations of an iteration stay; epsilons go to the pair in turn."""

    def __init__(self, layers: int, *, enabled: bool) -> None:
        super().__init__({ALL: activations_configuration(), **_wishes(layers)}, enabled=enabled)
        self._make_scopes(layers)
        loops = {"RNN_FF_LOOP_WORKING_MEM": LOOP, "RNN_BP_LOOP_WORKING_MEM": LOOP}
        self.forward = self.manager(
            INPUT=ALL, ACTIVATIONS=ALL, FF_WORKING_MEM=WORK, RNN_FF_LOOP_WORKING_MEM=LOOP
        )
        self._backward = [
            self.manager(
                INPUT=ALL,
                ACTIVATIONS=WORK,
                ACTIVATION_GRAD=name,
                FF_WORKING_MEM=WORK,
                BP_WORKING_MEM=WORK,
                **loops,
            )
            for name in PAIR
        ]

    def backward(self, step: int) -> LayerWorkspaceMgr:
        """Return the manager of a step of the backward pass, counted from the output."""
        return self._backward[step % 2]

    def whole(self) -> AbstractContextManager[object]:
        """Enter what holds the activations of an iteration, and the scratch of the updater."""
        return self._scopes.notify_scope_entered(T.INPUT)


class InferenceMemory(_Memory):
    """Activations go to the pair in turn: only a layer's input and output are there at once."""

    def __init__(self, layers: int, *, enabled: bool) -> None:
        super().__init__(_wishes(layers), enabled=enabled)
        self._make_scopes(layers)
        self.first = self._layer(PAIR[0], WORK)
        self._others = [self._layer(PAIR[0], PAIR[1]), self._layer(PAIR[1], PAIR[0])]
        self.detached = self.manager(
            T.ACTIVATIONS, INPUT=WORK, FF_WORKING_MEM=WORK, RNN_FF_LOOP_WORKING_MEM=LOOP
        )

    def _layer(self, output: str, given: str) -> LayerWorkspaceMgr:
        return self.manager(
            INPUT=given, ACTIVATIONS=output, FF_WORKING_MEM=WORK, RNN_FF_LOOP_WORKING_MEM=LOOP
        )

    def layer(self, index: int) -> LayerWorkspaceMgr:
        """Return the manager of a layer."""
        return self._others[index % 2] if index else self.first
