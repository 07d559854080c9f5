"""ND4J's rules for a thread: several workspaces, their scopes and arrays, what is valid, what goes where.

Steps are those of the recordings (tests/conformance); `play` takes one and says which error it ends with.
Where ndarena differs from ND4J on purpose this is ndarena's side.
"""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from nd4j_model import Pages

DEFAULTS = {
    "policy_allocation": "OVERALLOCATE",
    "policy_spill": "EXTERNAL",
    "policy_learning": "FIRST_LOOP",
    "policy_reset": "BLOCK_LEFT",
    "initial_size": 0,
    "min_size": 0,
    "max_size": 0,
    "cycles_before_initialization": 0,
    "overallocation_limit": 0.3,
}


class RefusedError(Exception):
    """Carries the name of the error that ndarena raises."""


class LappedError(Exception):
    """A ring came round within a cycle: ND4J writes over live arrays there, ndarena does not."""


@dataclass(eq=False)
class ModelWorkspace(Pages):
    """The counters of a workspace, and its scopes."""

    id: str = ""
    depth: int = 0
    parent: "ModelWorkspace | None" = None
    is_destroyed: bool = False
    filled: list = field(default_factory=list)  # what this cycle has of the ring

    @property
    def is_open(self):
        return self.depth > 0

    def enter(self):
        super().enter()
        self.filled = []

    def _place(self, request):
        if not super()._place(request):
            return False
        start, end = self.current_offset - request, self.current_offset
        if self.ring and any(start < other_end and other < end for other, other_end in self.filled):
            raise LappedError
        self.filled.append((start, end))
        return True

    def state(self):
        parent = None if self.parent is None else self.parent.id
        return self.counters() | {"is_scope_active": self.is_open, "parent_workspace": parent}


@dataclass(eq=False)
class ModelArray:
    """An array, plain or in a workspace; ``is_outside``: that was not open when it was made."""

    shape: tuple
    dtype: np.dtype
    workspace: ModelWorkspace | None = None
    generation: int = 0
    is_outside: bool = False

    @property
    def validity(self):
        workspace = self.workspace
        if workspace is None or workspace.ring:
            return "VALID"
        if workspace.is_destroyed:
            return "DESTROYED"
        if workspace.generation_id != self.generation:
            return "OUTDATED"
        return "VALID" if workspace.is_open or self.is_outside else "LEAKED"

    def check(self):
        if self.validity != "VALID":
            raise RefusedError(f"{self.validity.capitalize()}ArrayError")

    def is_of_this_cycle(self):
        return self.workspace.is_open and self.workspace.generation_id == self.generation

    def state(self):
        """Return what the recordings say of it; next to nothing of what a ring has of earlier cycles."""
        workspace = self.workspace
        if workspace is None:
            return {"is_attached": False}
        if workspace.ring:
            now = {"workspace": workspace.id, "validity": "VALID"} if self.is_of_this_cycle() else {}
            return {"is_attached": True} | now
        is_twice_over = self.validity == "OUTDATED" and not workspace.is_open
        validity = "INVALID" if is_twice_over or workspace.is_destroyed else self.validity
        place = {"workspace": workspace.id, "generation_id": self.generation}
        return {"is_attached": True, **place, "validity": validity}


@dataclass(eq=False)
class ModelScope:
    """An open scope; of no workspace: one outside of all of them."""

    workspace: ModelWorkspace | None
    before: ModelWorkspace | None


class ModelThread:
    """A thread with its registry, its current workspace, its open scopes and its arrays."""

    def __init__(self, rounding):
        self.rounding, self.current, self.mode = rounding, None, "DISABLED"
        self.registry, self.arrays, self.scopes = {}, {}, []
        self.is_same = None

    def play(self, step):
        """Take a step; return the name of the error it ends with, if any."""
        self.is_same = None
        try:
            getattr(self, f"_{step['op']}")(step)
        except RefusedError as error:
            return str(error)
        return None

    def state(self):
        return {
            "current": None if self.current is None else self.current.id,
            "any_active": any(workspace.is_open for workspace in self.registry.values()),
            "registered": sorted(self.registry),
            "workspaces": {name: workspace.state() for name, workspace in self.registry.items()},
            "arrays": {name: array.state() for name, array in self.arrays.items()},
        }

    # Workspaces.

    def _get(self, step):
        if step["ws"] not in self.registry:
            conf = DEFAULTS | step.get("config", {})
            spills = self.mode == "SPILL_EVERYTHING"
            workspace = ModelWorkspace(conf, self.rounding, spills_everything=spills, id=step["ws"])
            self.registry[workspace.id] = workspace

    def _enter(self, step):
        workspace = self.registry[step["ws"]]
        if not workspace.is_open:
            workspace.parent = self.current
            workspace.enter()
        self._open(workspace)

    def _borrow(self, step):
        if not self.registry[step["ws"]].is_open:
            raise RefusedError("ScopeError")
        self._open(self.registry[step["ws"]])

    def _scope_out(self, step):
        self._open(None)

    def _open(self, workspace):
        self.scopes.append(ModelScope(workspace, self.current))
        self.current = workspace
        if workspace is not None:
            workspace.depth += 1

    def _close(self, step):
        scope = self.scopes.pop()
        self.current = scope.before
        if scope.workspace is not None:
            scope.workspace.depth -= 1
            if not scope.workspace.is_open:
                scope.workspace.close()

    def _set_current(self, step):
        self.current = None if step["ws"] is None else self.registry[step["ws"]]

    def _debug_mode(self, step):
        self.mode = step["mode"]
        for workspace in self.registry.values():
            workspace.spills_everything = self.mode == "SPILL_EVERYTHING"

    def _initialize(self, step):
        self.registry[step["ws"]].initialize()

    def _toggle(self, step):
        self.registry[step["ws"]].in_use = step["use"]

    def _destroy(self, step):
        self.registry.pop(step["ws"]).is_destroyed = True

    def _destroy_all(self, step):
        for name in list(self.registry):
            self._destroy({"ws": name})

    # Arrays.

    def _made(self, shape, dtype, workspace):
        array = ModelArray(tuple(shape), np.dtype(dtype))
        if workspace is not None:
            if not workspace.is_open and workspace is not self.current:
                raise RefusedError("ScopeError")
            if not workspace.allocate(prod(shape) * array.dtype.itemsize):
                raise RefusedError("WorkspaceFullError")
            array.workspace, array.generation = workspace, workspace.generation_id
            array.is_outside = not workspace.is_open
        return array

    def _array(self, step):
        self.arrays[step["name"]] = self._made(step["shape"], step["dtype"], self.current)

    def _result(self, step, shape):
        """Make an operation's result: in the current workspace, plain if the operand is."""
        operands = [self.arrays[step[key]] for key in ("of", "other") if key in step]
        for operand in operands:
            operand.check()
        plain = all(operand.workspace is None for operand in operands)
        made = self._made(shape, operands[0].dtype, None if plain else self.current)
        self.arrays[step["name"]] = made

    def _add(self, step):
        self._result(step, self.arrays[step["of"]].shape)

    def _sum_axis(self, step):
        self._result(step, np.delete(self.arrays[step["of"]].shape, step["axis"]).tolist())

    def _read(self, step):
        for key in ("name", "other"):
            if key in step:
                self.arrays[step[key]].check()

    _assign = _iadd = _assert_valid = _read

    def _view(self, step, shape):
        of = self.arrays[step["of"]]
        of.check()
        self.arrays[step["name"]] = ModelArray(
            tuple(shape), of.dtype, of.workspace, of.generation, of.is_outside
        )

    def _row(self, step):
        self._view(step, self.arrays[step["of"]].shape[1:])

    def _column(self, step):
        rows, _, *rest = self.arrays[step["of"]].shape
        self._view(step, [rows, *rest])

    def _reshape(self, step):
        self._view(step, step["shape"])

    def _drop(self, step):
        for name in step.get("names", [step.get("name")]):
            self.arrays.pop(name, None)

    # Copies.

    def _moved(self, step, move):
        of = self.arrays[step["of"]]
        of.check()
        self.arrays[step["name"]] = moved = move(of)
        self.is_same = moved is of

    def _copied(self, array, workspace):
        return self._made(array.shape, array.dtype, workspace)

    def _detached(self, array):
        return array if array.workspace is None else self._copied(array, None)

    def _dup(self, step):
        self._moved(step, lambda of: self._copied(of, self.current))

    def _detach(self, step):
        self._moved(step, self._detached)

    def _cast(self, step):
        def move(of):
            return of if of.dtype == step["dtype"] else self._made(of.shape, step["dtype"], self.current)

        self._moved(step, move)

    def _migrate(self, step):
        def move(of):
            if self.current is not None:
                return self._copied(of, self.current)
            return self._detached(of) if step.get("detach_on_no_workspace") else of

        self._moved(step, move)

    def _leverage(self, step):
        def move(of):
            parent = None if self.current is None else self.current.parent
            if of.workspace is None or parent is None:
                return self._detached(of)
            return of if parent is of.workspace else self._copied(of, parent)

        self._moved(step, move)

    def _leverage_to(self, step):
        self._moved(step, lambda of: self._leveraged(of, step["id"], step.get("enforce_existence", False)))

    def _leveraged(self, array, name, enforce):
        target = self.registry.get(name)
        if array.workspace is None or target is array.workspace:
            return array
        if target is None and enforce:
            raise RefusedError("UnknownWorkspaceError")
        return array if target is None else self._copied(array, target)

    def _leverage_or_detach(self, step):
        def move(of):
            is_open = step["id"] in self.registry and self.registry[step["id"]].is_open
            return self._leveraged(of, step["id"], enforce=False) if is_open else self._detached(of)

        self._moved(step, move)

    # What is asserted.

    def _assert_open(self, step):
        if step["id"] not in self.registry or not self.registry[step["id"]].is_open:
            raise RefusedError("ScopeError")

    def _assert_current(self, step):
        self._assert_open(step)
        if self.current is None or self.current.id != step["id"]:
            raise RefusedError("ScopeError")

    def _assert_none_open(self, step):
        is_out = step.get("allow_scoped_out", False) and self.current is None
        if not is_out and any(workspace.is_open for workspace in self.registry.values()):
            raise RefusedError("ScopeError")
