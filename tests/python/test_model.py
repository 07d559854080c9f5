"""Random programs against plain copies: contents, validity and overlap compared after every step."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from array_support import bounds
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ndarena
from ndarena import Validity, WorkspaceConfiguration

pytestmark = pytest.mark.filterwarnings("ignore::ndarena.UnusedWorkspaceWarning")

CONFIGURATIONS = [
    WorkspaceConfiguration(),
    WorkspaceConfiguration(initial_size=2048, policy_learning="NONE"),
    WorkspaceConfiguration(initial_size=2048, policy_learning="NONE", policy_reuse="AT_RESET"),
    WorkspaceConfiguration(policy_learning="OVER_TIME", cycles_before_initialization=2),
    WorkspaceConfiguration(initial_size=512, policy_spill="REALLOCATE", policy_learning="NONE"),
    WorkspaceConfiguration(initial_size=256, max_size=1024, policy_reuse="AT_RESET"),
    WorkspaceConfiguration(
        initial_size=1024, policy_learning="NONE", policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=2
    ),
    WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1),
]
ERRORS = {
    Validity.LEAKED: ndarena.LeakedArrayError,
    Validity.OUTDATED: ndarena.OutdatedArrayError,
    Validity.OVERWRITTEN: ndarena.OverwrittenArrayError,
    Validity.DESTROYED: ndarena.DestroyedArrayError,
    Validity.CLOSED: ndarena.ClosedArrayError,
}
PICK = st.integers(0, 10**6)
SIZES = st.integers(0, 90)
VALUES = st.integers(-1000, 1000)


@dataclass(eq=False)
class Room:
    """What is known of a workspace."""

    ws: ndarena.Workspace
    is_ring: bool
    depth: int = 0
    generation: int = 0
    is_destroyed: bool = False


@dataclass(eq=False)
class Root:
    """A plain copy of what one allocation holds."""

    values: np.ndarray
    room: Room
    generation: int


@dataclass(eq=False)
class Held:
    """A handle or, with a plain array, a lease on a part of a root."""

    array: Any
    root: Root
    part: slice
    is_closed: bool = False
    span: tuple[int, int] = field(default=(0, 0))

    @property
    def want(self) -> np.ndarray:
        return self.root.values[self.part]


@dataclass(eq=False)
class Entry:
    """An open scope, and what was current before it."""

    scope: Any
    room: Room | None
    before: Room | None


class Workspaces(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.rooms: list[Room] = []
        self.stack: list[Entry] = []
        self.handles: list[Held] = []
        self.leases: list[Held] = []
        self.detached: list[tuple[np.ndarray, np.ndarray]] = []
        self.current: Room | None = None
        self.numbers = itertools.count()
        self.allocated = ndarena.get_memory_manager().allocated_bytes()

    # --- the model ---

    def expected(self, held: Held) -> Validity:
        """Tell what the contract says of a handle; a valid one of a ring may also be overwritten."""
        room, root = held.root.room, held.root
        if held.is_closed:
            return Validity.CLOSED
        if room.is_destroyed:
            return Validity.DESTROYED
        if room.is_ring:
            return Validity.VALID
        if room.generation != root.generation:
            return Validity.OUTDATED
        return Validity.VALID if room.depth else Validity.LEAKED

    def is_valid(self, held: Held) -> bool:
        return self.expected(held) is Validity.VALID and held.array.validity is Validity.VALID

    def valid(self) -> list[Held]:
        return [h for h in self.handles if self.is_valid(h)]

    def room_of(self, ws: ndarena.Workspace | None) -> Room | None:
        return next((r for r in self.rooms if r.ws is ws), None)

    def keep(self, array: Any, values: np.ndarray) -> None:
        """Remembers a fresh result: a workspace array of its own, or a plain one."""
        if type(array) is np.ndarray:
            self.detached.append((array, values.copy()))
            del self.detached[:-6]
            return
        room = self.room_of(array.workspace)
        assert room is not None
        assert array.generation_id == room.generation
        root = Root(values.copy(), room, room.generation)
        self.handles.append(Held(array, root, slice(None), span=bounds(array)))

    def pick(self, items: list[Any], number: int) -> Any:
        return items[number % len(items)]

    def live_rooms(self) -> list[Room]:
        return [r for r in self.rooms if not r.is_destroyed]

    def open_rooms(self) -> list[Room]:
        return [r for r in self.live_rooms() if r.depth]

    @property
    def is_current_destroyed(self) -> bool:
        """A workspace destroyed while open stays current until its scope is left."""
        return self.current is not None and self.current.is_destroyed

    def keep_result(self, call, values: np.ndarray) -> None:
        """Call for a result in the current workspace, which a destroyed one refuses to hold."""
        if self.is_current_destroyed:
            self.refused(ndarena.DestroyedWorkspaceError, call)
        else:
            array = call()
            self.lies_in(array, self.current)
            self.keep(array, values)

    # --- workspaces and scopes ---

    @initialize()
    def begin(self):
        for number in (1, 0, 6):
            self.add(number)

    @precondition(lambda self: len(self.live_rooms()) < 4)
    @rule(number=PICK)
    def add(self, number):
        configuration = self.pick(CONFIGURATIONS, number)
        ws = ndarena.create_new_workspace(configuration, id=f"W{next(self.numbers)}")
        is_ring = ws.workspace_type is ndarena.WorkspaceType.CIRCULAR
        self.rooms.append(Room(ws, is_ring))

    @precondition(lambda self: self.live_rooms() and len(self.stack) < 6)
    @rule(number=PICK)
    def enter(self, number):
        room = self.pick(self.live_rooms(), number)
        if room.depth == 0:
            room.generation += 1
        room.depth += 1
        self.push(room.ws.notify_scope_entered(), room)

    @precondition(lambda self: self.live_rooms() and len(self.stack) < 6)
    @rule(number=PICK)
    def borrow(self, number):
        room = self.pick(self.live_rooms(), number)
        if room.depth == 0:
            self.refused(ndarena.ScopeError, room.ws.notify_scope_borrowed)
            return
        room.depth += 1
        self.push(room.ws.notify_scope_borrowed(), room)

    @precondition(lambda self: len(self.stack) < 6)
    @rule()
    def scope_out(self):
        self.push(ndarena.scope_out_of_workspaces(), None)

    def push(self, scope, room):
        self.stack.append(Entry(scope, room, self.current))
        self.current = room

    @precondition(lambda self: self.stack)
    @rule()
    def leave(self):
        entry = self.stack.pop()
        entry.scope.close()
        entry.scope.close()
        if entry.room is not None and not entry.room.is_destroyed:
            entry.room.depth -= 1
        self.current = entry.before
        if self.is_current_destroyed and all(e.room is not self.current for e in self.stack):
            self.current = None

    @precondition(lambda self: len(self.stack) > 1)
    @rule(number=PICK)
    def leave_out_of_order(self, number):
        entry = self.pick(self.stack[:-1], number)
        if entry.room is not None and not entry.room.is_destroyed:
            self.refused(ndarena.ScopeError, entry.scope.close)

    @precondition(lambda self: self.live_rooms())
    @rule(number=PICK)
    def destroy(self, number):
        room = self.pick(self.live_rooms(), number)
        room.ws.destroy_workspace()
        room.ws.destroy_workspace()
        room.is_destroyed, room.depth = True, 0

    @precondition(lambda self: self.live_rooms())
    @rule(number=PICK)
    def trim(self, number):
        assert self.pick(self.live_rooms(), number).ws.trim() >= 0

    # --- arrays ---

    @precondition(lambda self: self.live_rooms())
    @rule(number=PICK, size=SIZES, value=VALUES)
    def create(self, number, size, value):
        room = self.pick(self.live_rooms(), number)
        if room.depth:
            self.keep(room.ws.full(size, value, "i8"), np.full(size, value))
        elif room is not self.current:
            self.refused(ndarena.ScopeError, lambda: room.ws.full(size, value))

    @precondition(lambda self: self.open_rooms())
    @rule(number=PICK, sizes=st.lists(SIZES, min_size=3, max_size=12))
    def create_and_drop(self, number, sizes):
        room = self.pick(self.open_rooms(), number)
        for size in sizes:
            room.ws.full(size, -5555, "i8")

    @precondition(lambda self: self.valid())
    @rule(number=PICK, start=SIZES, stop=SIZES)
    def view(self, number, start, stop):
        held = self.pick(self.valid(), number)
        inner = range(*held.part.indices(len(held.root.values)))[start:stop]
        part = slice(inner.start, inner.stop)
        array = held.array[start:stop]
        assert array.workspace is held.root.room.ws
        self.handles.append(Held(array, held.root, part, span=bounds(array)))

    @precondition(lambda self: self.valid())
    @rule(number=PICK)
    def add_one(self, number):
        held = self.pick(self.valid(), number)
        self.keep_result(lambda: held.array + 1, held.want + 1)

    @precondition(lambda self: len(self.valid()) > 1)
    @rule(first=PICK, second=PICK)
    def concatenate(self, first, second):
        a, b = self.pick(self.valid(), first), self.pick(self.valid(), second)
        self.keep_result(lambda: np.concatenate([a.array, b.array]), np.concatenate([a.want, b.want]))

    @precondition(lambda self: self.valid())
    @rule(number=PICK, value=VALUES)
    def write(self, number, value):
        held = self.pick(self.valid(), number)
        held.array[::2] = value
        held.want[::2] = value

    @precondition(lambda self: self.valid())
    @rule(number=PICK)
    def add_in_place(self, number):
        held = self.pick(self.valid(), number)
        held.array += 3
        held.want[...] += 3

    @precondition(lambda self: self.valid())
    @rule(
        number=PICK,
        name=st.sampled_from(["detach", "dup", "migrate", "leverage", "leverage_or_detach", "leverage_to"]),
        other=PICK,
    )
    def move(self, number, name, other):
        held, room = self.pick(self.valid(), number), self.pick(self.rooms, other)
        arguments = [room.ws.id] if name in {"leverage_to", "leverage_or_detach"} else []

        def call():
            return getattr(held.array, name)(*arguments)

        if name == "dup" or (name == "migrate" and self.current is not None):
            self.keep_result(call, held.want)
        elif name == "leverage_to" and self.is_unreachable(room, held):
            self.refused(ndarena.ScopeError, call)
        elif name == "leverage" and self.is_parent_destroyed():
            self.refused(ndarena.DestroyedWorkspaceError, call)
        elif name != "leverage" or not self.is_current_destroyed:
            got = call()
            if got is not held.array:
                self.keep(got, held.want)
            if name == "leverage_to" and not room.is_destroyed:
                self.lies_in(got, room)
            elif name == "detach":
                self.lies_in(got, None)

    def is_parent_destroyed(self) -> bool:
        if self.current is None or self.is_current_destroyed:
            return False
        parent = self.room_of(self.current.ws.parent_workspace)
        return parent is not None and parent.is_destroyed

    def is_unreachable(self, room: Room, held: Held) -> bool:
        is_target = not room.is_destroyed and held.root.room is not room
        return is_target and not room.depth and room is not self.current

    def lies_in(self, array, room):
        if room is None:
            assert type(array) is np.ndarray
        else:
            assert array.workspace is room.ws

    @precondition(lambda self: self.handles)
    @rule(number=PICK)
    def drop(self, number):
        self.handles.pop(number % len(self.handles))

    @precondition(lambda self: self.handles)
    @rule(number=PICK)
    def close(self, number):
        held = self.pick(self.handles, number)
        was_valid = self.is_valid(held)
        held.array.close()
        held.array.close()
        held.is_closed = held.is_closed or was_valid or held.array.validity is Validity.CLOSED

    @precondition(lambda self: self.valid() and len(self.leases) < 8)
    @rule(
        number=PICK,
        way=st.sampled_from(
            [lambda a: a.numpy(), np.asarray, lambda a: np.asarray(memoryview(a)), np.from_dlpack]
        ),
    )
    def lease(self, number, way):
        held = self.pick(self.valid(), number)
        view = way(held.array)
        self.leases.append(Held(view, held.root, held.part, span=bounds(view)))

    @precondition(lambda self: self.leases)
    @rule(number=PICK)
    def drop_lease(self, number):
        self.leases.pop(number % len(self.leases))

    @precondition(lambda self: self.leases)
    @rule(number=PICK, value=VALUES)
    def write_through_a_lease(self, number, value):
        held = self.pick(self.leases, number)
        held.array[1::3] = value
        held.want[1::3] = value

    def refused(self, error, call):
        before = [r.ws.stats() for r in self.rooms]
        try:
            call()
        except error:
            pass
        else:
            raise AssertionError(f"{error.__name__} expected")
        assert [r.ws.stats() for r in self.rooms] == before

    # --- compared after every step ---

    @invariant()
    def contents_and_validity_agree(self):
        for held in self.handles:
            expected, found = self.expected(held), held.array.validity
            if expected is Validity.VALID and held.root.room.is_ring:
                assert found in {Validity.VALID, Validity.OVERWRITTEN}
            else:
                assert found is expected
            if found is Validity.VALID:
                assert held.array.is_in_scope
                assert held.array.tolist() == held.want.tolist()
            else:
                assert not held.array.is_in_scope
                try:
                    held.array.tolist()
                except ERRORS[found]:
                    continue
                raise AssertionError(f"{found} but readable")

    @invariant()
    def leases_and_detached_arrays_keep_their_values(self):
        for held in self.leases:
            assert held.array.tolist() == held.want.tolist()
        for array, want in self.detached:
            assert array.tolist() == want.tolist()

    @invariant()
    def live_memory_does_not_overlap(self):
        live = sorted(
            (h.span, k, h.root) for k, h in enumerate([*self.valid(), *self.leases]) if h.span[1] > h.span[0]
        )
        reach, owner = -1, None
        for (start, stop), _, root in live:
            assert start >= reach or root is owner
            if stop > reach:
                reach, owner = stop, root

    @invariant()
    def workspaces_agree(self):
        current = ndarena.get_current_workspace()
        assert current is (None if self.current is None else self.current.ws)
        for room in self.rooms:
            assert room.ws.is_destroyed == room.is_destroyed
            if not room.is_destroyed:
                assert room.ws.is_scope_active == (room.depth > 0)
                assert room.ws.generation_id == room.generation

    def teardown(self):
        """Leave the thread as it was found, also after a failed step."""
        while self.stack:
            scope = self.stack.pop().scope
            with contextlib.suppress(ndarena.WorkspaceError):
                scope.close()
        for room in self.rooms:
            room.ws.destroy_workspace()
        self.leases_and_detached_arrays_keep_their_values()
        self.leases.clear()
        assert ndarena.get_memory_manager().allocated_bytes() <= self.allocated


Workspaces.TestCase.settings = settings(stateful_step_count=60, deadline=None)
TestWorkspaces = Workspaces.TestCase
