"""Which workspaces a network works in, and when they are open (DL4J: the ``WS_...`` of its networks)."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Self

from ndarena._core import (
    ArrayType,
    LayerWorkspaceMgr,
    WorkspaceConfiguration,
    check_if_workspace_exists,
    get_debug_mode,
    get_workspace_for_current_thread,
    scope_out_of_workspaces,
)
from ndarena.errors import DestroyedWorkspaceError
from ndarena.nn.choices import WorkspaceMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ndarena._core import Scope, Workspace
    from ndarena.nn.wiring import Node, Slots, Wiring

    Enter = Callable[[], AbstractContextManager[object]]

__all__ = [
    "OUTPUT_MEM",
    "STEP",
    "InferenceMemory",
    "TrainingMemory",
    "activations_configuration",
    "is_of_networks",
]

ALL = "WS_ALL_LAYERS_ACT"
WORK = "WS_LAYER_WORKING_MEM"
SLOT = "WS_LAYER_ACT_"
LOOP = "WS_RNN_LOOP_WORKING_MEM"
OUTPUT_MEM = "WS_OUTPUT_MEM"
SINGLE = "WS_SINGLE"
EXTERNAL, FORWARD, BACKWARD = "WS_EXTERNAL", "WS_FORWARD", "WS_BACKWARD"
STEP = "WS_STEP"
NAMES = frozenset({ALL, WORK, LOOP, OUTPUT_MEM, SINGLE, EXTERNAL, FORWARD, BACKWARD, STEP})

T = ArrayType
_process = [object()]  # another one in every forked process, where workspaces are others of the same names
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _process.append(object()))
SCRATCH = ("FF_WORKING_MEM", "BP_WORKING_MEM", "RNN_FF_LOOP_WORKING_MEM", "RNN_BP_LOOP_WORKING_MEM")


def is_of_networks(name: str) -> bool:
    """Tell whether a workspace of this name is one of those that networks make."""
    return name in NAMES or name.startswith(SLOT)


def _learning(limit: float, policy: str = "FIRST_LOOP", cycles: int = 0) -> WorkspaceConfiguration:
    return WorkspaceConfiguration(
        overallocation_limit=limit,
        policy_learning=policy,
        cycles_before_initialization=cycles,
        policy_spill="REALLOCATE",
    )


def activations_configuration() -> WorkspaceConfiguration:
    """Return the configuration of workspaces that hold whole activations."""
    return _learning(0.05)


def _slot(wiring: Wiring, slot: int) -> str:
    """Return the name of a slot; DL4J counts those of a chain from 1, those of a graph from 0."""
    return f"{SLOT}{slot + (not wiring.is_graph)}"


class _Memory:
    """The workspaces of one network, thread and purpose in one mode; in mode NONE there are none.

    A workspace of a name belongs to the thread and may be another network's too: whoever is first configures
    it.
    """

    def __init__(self, wiring: Wiring, mode: WorkspaceMode) -> None:
        self.enabled = mode is not WorkspaceMode.NONE
        self._wiring, self._mode = wiring, mode
        self._debug, self._process = get_debug_mode(), _process[-1]
        wishes = self._wishes() if self.enabled else {}
        self.workspaces = {name: _found(name, conf) for name, conf in wishes.items()}
        self._used = tuple(self.workspaces.values())
        self._settled = not self.enabled
        self.inputs: dict[LayerWorkspaceMgr, Workspace] = {}
        """Where inputs belong, by manager; those without are plain."""
        self._entrances = {name: ws.notify_scope_entered for name, ws in self.workspaces.items()}
        self.work = self._entrances.get(self._name(WORK), scope_out_of_workspaces)
        """Enters the scratch of one call of a layer; in mode NONE a scope without a workspace."""

    def _wishes(self) -> dict[str, WorkspaceConfiguration]:
        """Return what the mode and the network need."""
        if self._mode is WorkspaceMode.SINGLE:
            return {SINGLE: activations_configuration().replace(policy_reuse="AT_RESET")}
        wiring = self._wiring
        if self._mode is WorkspaceMode.SEPARATE:
            exact = activations_configuration().replace(policy_allocation="STRICT")
            return dict.fromkeys((EXTERNAL, FORWARD, BACKWARD, WORK), exact)
        cycles = 2 * (wiring.workers + (0 if wiring.is_graph else wiring.preprocessors))
        wishes = {WORK: _learning(0.02, "OVER_TIME", cycles)}
        slots = _learning(0.02, "OVER_TIME", wiring.workers)
        count = max(wiring.forward.count, wiring.backward.count)
        return wishes | {_slot(wiring, slot): slots for slot in range(count)}

    def _name(self, enabled: str, separate: str | None = None) -> str:
        """Return the workspace that a purpose has in this mode."""
        if self._mode is WorkspaceMode.SINGLE:
            return SINGLE
        return enabled if self._mode is WorkspaceMode.ENABLED or separate is None else separate

    def is_usable(self) -> bool:
        """Tell whether this is still what the thread has."""
        if self._debug is not get_debug_mode() or self._process is not _process[-1]:
            return False
        for ws in self._used:  # noqa: SIM110 - `any` takes longer to begin than this to end
            if ws.is_destroyed:
                return False
        return True

    def check(self, event: str) -> None:
        """Refuse to go on where a listener has destroyed what the iteration works in.

        Raises
        ------
        DestroyedWorkspaceError
            One of the workspaces is destroyed.
        """
        for ws in self._used:
            if ws.is_destroyed:
                raise DestroyedWorkspaceError(
                    f"{event}() of a listener destroyed workspace [{ws.id}], in which the iteration works: "
                    f"destroy workspaces in iteration_done()",
                    workspace_id=ws.id,
                )

    def settle(self) -> None:
        """Size the workspaces after the first turn, whatever number of cycles they were to wait for."""
        if self._settled:
            return
        for ws in self.workspaces.values():
            if not ws.is_scope_active:
                ws.initialize_workspace()
        self._settled = True

    def _manager(self, places: Mapping[str, str], *scoped_out: ArrayType) -> LayerWorkspaceMgr:
        """Make a manager: roles in workspaces by name, roles without a workspace, all others unknown."""
        if not self.enabled:
            return LayerWorkspaceMgr.no_workspaces()
        builder = LayerWorkspaceMgr.builder()
        for role, name in places.items():
            ws = self.workspaces.get(name)
            conf = activations_configuration() if ws is None else ws.configuration
            builder.with_(T(role), name, conf)
        for plain in scoped_out:
            builder.no_workspace_for(plain)
        mgr = builder.build()
        given = self.workspaces.get(places.get("INPUT", ""))
        if given is not None:
            self.inputs[mgr] = given
        return mgr

    def _scratch_places(self) -> dict[str, str]:
        loop = self._name(LOOP)
        return dict(zip(SCRATCH, (self._name(WORK), self._name(WORK), loop, loop), strict=True))

    def _forward_places(self, given: str, result: str) -> dict[str, str]:
        places = self._scratch_places()
        places.pop("BP_WORKING_MEM")
        places.pop("RNN_BP_LOOP_WORKING_MEM")
        return {"INPUT": given, "ACTIVATIONS": result, **places}

    def _held(self, names: Sequence[str]) -> Enter:
        """Return what enters workspaces by name."""
        if len(names) == 1:
            return self._entrances[names[0]]
        return partial(Held, [self._entrances[name] for name in names])

    def _in_turn(self, slots: Slots, separate: str) -> Callable[[], Held]:
        """Return what makes keepers of slots; in other modes than ENABLED these are one workspace."""
        if self._mode is WorkspaceMode.ENABLED:
            names = [_slot(self._wiring, slot) for slot in range(slots.count)]
            return partial(InTurn, [self._entrances[name] for name in names], slots)
        return partial(Held, [self._entrances[name] for name in self._names(self._name("", separate))])

    def _places(self, slots: Slots, separate: str) -> list[str]:
        """Return the workspace in which each node's slot is."""
        if self._mode is WorkspaceMode.ENABLED:
            return [_slot(self._wiring, slot) for slot in slots.of]
        return [self._name("", separate)] * len(slots.of)

    def _names(self, *names: str) -> list[str]:
        """Return each of these workspaces once, as far as there are any."""
        return [name for name in dict.fromkeys(names) if name in self.workspaces]


class Held:
    """Workspaces that are open from beginning to end, whatever slots nodes have."""

    def __init__(self, entrances: Sequence[Callable[[], Scope]]) -> None:
        self._entrances = entrances
        self._scopes: dict[int, Scope] = {}

    def __enter__(self) -> Self:
        """Enter them, all or none."""
        try:
            for slot, enter in enumerate(self._entrances):
                self._scopes[slot] = enter()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what is still open, the innermost first, the others too where leaving one of them raises."""
        try:
            while self._scopes:
                self._scopes.popitem()[1]._leave_apart()  # noqa: SLF001 - the core's, for this
        finally:
            if self._scopes:
                self.__exit__()

    def turn_to(self, node: Node) -> None:
        """Get ready for what a node gives; what the one before was the last to need may go."""


class InTurn(Held):
    """Slots that are open while what lies in them is needed; none lies inside another."""

    def __init__(self, entrances: Sequence[Callable[[], Scope]], slots: Slots) -> None:
        self._entrances, self._slots, self._scopes = entrances, slots, {}
        self._free: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        """Enter nothing yet."""
        return self

    def turn_to(self, node: Node) -> None:
        """Leave the slots that are free since the node before has worked, and enter that of a node."""
        for slot in self._free:
            self._scopes.pop(slot)._leave_apart()  # noqa: SLF001 - the core's, for this
        self._free = self._slots.ends[node.index]
        slot = self._slots.of[node.index]
        if slot not in self._scopes:
            self._scopes[slot] = self._entrances[slot]()


def _found(name: str, conf: WorkspaceConfiguration) -> Workspace:
    if check_if_workspace_exists(name):
        ws = get_workspace_for_current_thread(id=name)
    else:
        ws = get_workspace_for_current_thread(conf, id=name)
    ws._allow_unused()  # noqa: SLF001 - the core's, for this
    return ws


class TrainingMemory(_Memory):
    """All activations of an iteration stay; an epsilon stays until what is below has worked."""

    def __init__(self, wiring: Wiring, mode: WorkspaceMode) -> None:
        super().__init__(wiring, mode)
        given, result = self._name(ALL, EXTERNAL), self._name(ALL, FORWARD)
        self.forward = self._manager(self._forward_places(given, result))
        whole = self._names(given, result)
        self.whole = self._held(whole)
        """Enters what holds the activations of an iteration."""
        self.updating = self._held(whole[-1:])
        """Enters the scratch of the updater."""
        self.epsilons = self._in_turn(wiring.backward, BACKWARD)
        """Makes what holds the epsilons."""
        scratch = {"INPUT": given, "ACTIVATIONS": self._name(WORK), **self._scratch_places()}
        places = self._places(wiring.backward, BACKWARD)
        self.backward = [self._manager(scratch | {"ACTIVATION_GRAD": place}) for place in places]
        """By node the manager of its step of the backward pass."""

    def _wishes(self) -> dict[str, WorkspaceConfiguration]:
        wishes = super()._wishes()
        return {ALL: activations_configuration()} | wishes if self._mode is WorkspaceMode.ENABLED else wishes


class InferenceMemory(_Memory):
    """An activation stays until its last reader has worked."""

    def __init__(self, wiring: Wiring, mode: WorkspaceMode) -> None:
        super().__init__(wiring, mode)
        self._result = self._places(wiring.forward, FORWARD)
        self.forward = [self._layer(node) for node in wiring.nodes]
        """By node its manager."""
        work = self._name(WORK)
        self.detached = self._manager(self._forward_places(work, work), T.ACTIVATIONS)
        self.results = self._in_turn(wiring.forward, FORWARD)
        """Makes what holds the activations."""

    def _layer(self, node: Node) -> LayerWorkspaceMgr:
        own = self._result[node.index]
        if node.is_first:
            given = own if node.is_input else self._name(WORK)
        else:
            given = self._result[node.sources[0] - len(self._wiring.inputs)]
        return self._manager(self._forward_places(given, own))
