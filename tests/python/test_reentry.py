"""Code of others at every moment of an operation: nobody reads or writes what is not theirs.

An *interruption* is a way in which code of others runs inside an operation: a hook of the interpreter, a
finaliser, a special method of an operand, a warning. An *action* is what that code does. Every event of an
interruption is taken in turn: the action comes at the first one, then at the second, until none is left.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import warnings

import numpy as np
import pytest
from fast_support import fast_paths
from support import KIB, fixed

import ndarena
from ndarena import Workspace

N = 64
MARK = -7.0
SPARSER = 24
"""From so many events on not every one is taken."""

OPERATIONS = {
    "operator": lambda a, b, _: a + b,
    "scalar": lambda a, _b, _f: 2.5 * a - 1.0,
    "in place": lambda a, b, _: a.__iadd__(b),
    "ufunc": lambda a, b, _: np.hypot(a, b),
    "ufunc with out": lambda a, b, _: np.arctan2(a, b, out=a),
    "ufunc with mask": lambda a, b, _: np.add(a, b, where=np.arange(N) % 2 == 0, out=b),
    "reduce": lambda a, _b, _f: np.add.reduce(a),
    "accumulate": lambda a, _b, _f: np.add.accumulate(a),
    "at": lambda a, b, _: np.add.at(a, [0, 1, 1], b[:3]),
    "mean": lambda a, _b, _f: np.mean(a),
    "var": lambda a, _b, _f: a.reshape(8, 8).var(axis=0),
    "product": lambda a, b, _: a.reshape(8, 8) @ b.reshape(8, 8),
    "join": lambda a, b, _: np.concatenate([a, b, a]),
    "stack": lambda a, b, _: np.stack([a, b]),
    "where": lambda a, b, _: np.where(a > 3, a, b),
    "sort": lambda a, _b, _f: np.sort(a),
    "in-place sort": lambda a, _b, _f: a.sort(),
    "take": lambda a, _b, _f: a[[3, 1, 2]],
    "mask": lambda a, _b, _f: a[a > 5],
    "assign": lambda a, b, _: a.__setitem__(slice(1, None), b[1:]),
    "einsum": lambda a, b, _: np.einsum("i,j->ij", a, b),
    "norm": lambda a, _b, _f: np.linalg.norm(a),
    "solve": lambda a, _b, _f: np.linalg.solve(a.reshape(8, 8) + np.eye(8), a[:8]),
    "transform": lambda a, _b, _f: np.fft.rfft(a),
    "interpolate": lambda a, b, _: np.interp(a, b, b),
    "histogram": lambda a, _b, _f: np.histogram(a, 4),
    "unique": lambda a, _b, _f: np.unique(a),
    "median": lambda a, _b, _f: np.median(a),
    "pad": lambda a, _b, _f: np.pad(a, 3),
    "cast": lambda a, _b, _f: a.astype("f4"),
    "copy": lambda a, _b, _f: a.copy(),
    "text": lambda a, _b, _f: repr(a),
    "create": lambda a, _b, _f: ndarena.asarray(a.numpy() + 1.0),
    "dup": lambda a, _b, _f: ndarena.dup(a),
    "detach": lambda a, _b, _f: a.detach(),
    "leverage": lambda a, _b, _f: a.leverage_to("ABOVE"),
    "foreign operand": lambda a, _b, foreign: a + foreign,
    "foreign ufunc operand": lambda a, _b, foreign: np.add(a, foreign),
    "foreign item": lambda a, _b, foreign: np.concatenate([a, foreign]),
    "foreign key": lambda a, _b, foreign: a[foreign],
    "foreign value": lambda a, _b, foreign: a.__setitem__(0, foreign),
    "foreign fill": lambda a, _b, foreign: ndarena.full(N, foreign),
    "foreign shape": lambda _a, _b, foreign: ndarena.zeros(foreign),
    "foreign source": lambda _a, _b, foreign: ndarena.array(foreign),
    "foreign sequence": lambda _a, _b, foreign: ndarena.array([foreign, foreign]),
    "foreign out": lambda a, b, foreign: np.add(a, b, out=foreign),
    "every row": lambda a, _b, foreign: np.apply_along_axis(lambda row: foreign.acted(row * 2), 0, a),
    "objects": lambda a, _b, foreign: a * np.array([foreign] * N, object),
}


# ---------------------------------------------------------------- what the code of others does


def leave(world):
    world.ws.notify_scope_left()


def leave_and_take(world):
    world.ws.notify_scope_left()
    world.ws.notify_scope_entered()
    world.take(world.ws)


def leave_all_and_take(world):
    world.ws.notify_scope_left()
    world.above.notify_scope_left()
    for ws in (world.above, world.ws):
        ws.notify_scope_entered()
        world.take(ws)


def destroy(world):
    world.ws.destroy_workspace()


def destroy_and_take(world):
    world.ws.destroy_workspace()
    other = Workspace(fixed(256 * KIB), "OTHER")
    other.notify_scope_entered()
    world.others.append(other)
    world.take(other)


def close_and_take(world):
    for array in (world.a, world.b):
        array.close()
    world.take(world.ws)


def enter_another_and_take(world):
    other = Workspace(fixed(256 * KIB), "OTHER")
    other.notify_scope_entered()
    world.others.append(other)
    world.take(other)


def scope_out(world):
    world.others.append(ndarena.scope_out_of_workspaces())


def drop_the_operands(world):
    world.a = world.b = None
    world.take(world.ws)


def fail(_world):
    raise LookupError("of others")


def compute(world):
    # Without np.errstate: CPython 3.11 cannot set a context variable in a hook of the collector.
    assert float((world.ws.ones(N) + world.ws.ones(N)).sum()) == 2 * N
    world.take(world.ws)


ACTIONS = [
    leave, leave_and_take, leave_all_and_take, destroy, destroy_and_take, close_and_take,
    enter_another_and_take, scope_out, drop_the_operands, fail, compute,
]  # fmt: skip


class World:
    """Two open workspaces, two operands, and what the code of others took."""

    def __init__(self):
        self.above = ndarena.get_workspace_for_current_thread(fixed(256 * KIB), id="ABOVE")
        self.ws = ndarena.get_workspace_for_current_thread(fixed(256 * KIB), id="WS")
        self.scopes = [self.above.notify_scope_entered(), self.ws.notify_scope_entered()]
        self.x, self.y = np.arange(1.0, N + 1), np.linspace(0.5, 3, N)
        self.a, self.b = self.ws.array(self.x), self.ws.array(self.y)
        self.taken, self.others = [], []

    def take(self, ws):
        """Take all sizes of memory that is free, and mark it."""
        for n in (N, N // 2, 3 * N, N * N, 8):
            for _ in range(4):
                array = ws.empty(n)
                array.fill(MARK)
                self.taken.append(array)

    def check(self):
        """Assert that nobody wrote into what was taken and is still there."""
        for array in self.taken:
            if array.is_in_scope:
                assert (array.numpy() == MARK).all()

    def end(self):
        """Close whatever is open, innermost first; those of a destroyed workspace by their objects."""
        outs = [other for other in self.others if not isinstance(other, Workspace)]
        for scope in [None, *reversed(outs), *reversed(self.scopes)]:
            if scope is not None:
                scope.close()
            while (current := ndarena.get_current_workspace()) is not None and current.is_scope_active:
                current.notify_scope_left()
        assert ndarena.get_current_workspace() is None
        ndarena.destroy_all_workspaces_for_current_thread()


# ---------------------------------------------------------------- how it gets in


class Events:
    """Counts events, and acts at the one that was asked for."""

    def __init__(self, world, action, at):
        self.world, self.action, self.at = world, action, at
        self.count, self.active = 0, False

    def __call__(self, *_):
        if not self.active:
            return
        self.count += 1
        if self.count == self.at:
            self.active = False
            self.action(self.world)

    def acted(self, value):
        """Act, and pass the value on."""
        self()
        return value


@contextlib.contextmanager
def no_hooks_of_others():
    """Take the collector's hooks away (hypothesis has one): an error in them has nowhere to go."""
    kept, gc.callbacks[:] = gc.callbacks[:], []
    try:
        yield
    finally:
        gc.callbacks[:] = kept


@contextlib.contextmanager
def trace_hook(events):
    before = sys.gettrace()

    def trace(*_):
        events()
        return trace

    with no_hooks_of_others():
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before)


@contextlib.contextmanager
def profile_hook(events):
    before = sys.getprofile()
    with no_hooks_of_others():
        sys.setprofile(lambda *_: events())
        try:
            yield
        finally:
            sys.setprofile(before)


@contextlib.contextmanager
def collector_hook(events):
    """Collect at every allocation of a container, and act in the hook of the collector.

    Another thread of the process (a test runner's) collects too: what it does is no event of the operation.
    """
    threshold, kept = gc.get_threshold(), [[]]
    thread = threading.get_ident()

    def hook(phase, _info):
        if phase == "stop" and threading.get_ident() == thread:
            kept.append([])  # one that is alive: the next one is the second, and more than the threshold
            with contextlib.suppress(LookupError):
                events()

    gc.callbacks.append(hook)
    gc.set_threshold(1, 1000, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(hook)


@contextlib.contextmanager
def warning_hook(events):
    """Divide by zero and overflow, and act where the warning is shown."""
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("always")
        warnings.showwarning = lambda *_, **__: events()
        events.world.b[:] = 0.0
        yield


@contextlib.contextmanager
def foreign_hook(_events):
    """Act in the special methods of the operand that comes with every operation."""
    yield


INTERRUPTIONS = [trace_hook, profile_hook, collector_hook, warning_hook, foreign_hook]


class ForeignBase:
    """An operand whose special methods act."""

    def __init__(self, events):
        self.events = events

    def acted(self, value):
        """Act, and pass the value on."""
        return self.events.acted(value)


class ForeignArray(ForeignBase):
    """It makes an array of itself, late."""

    def __array__(self, *_args, **_kwargs):
        return self.acted(np.ones(N))


class ForeignNumber(ForeignBase):
    """It is a number, an index, and a sequence."""

    def __index__(self):
        return self.acted(3)

    def __float__(self):
        return self.acted(1.5)

    def __len__(self):
        return self.acted(3)

    def __getitem__(self, key):
        return self.acted(range(3)[key])

    def __radd__(self, other):
        return self.acted(1.0)

    __rmul__ = __radd__


class ForeignUfunc(ForeignBase):
    """It computes for itself, with NumPy."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        kwargs.pop("out", None)
        self.events()
        inputs = [1.0 if x is self else x for x in inputs]
        return self.acted(getattr(ufunc, method)(*inputs, **kwargs))

    def __array_function__(self, function, _types, args, kwargs):
        self.events()
        items = [np.ones(N) if x is self else x for x in args[0]]
        return self.acted(function(items, *args[1:], **kwargs))


FOREIGN = [ForeignArray, ForeignNumber, ForeignUfunc]


def interrupt(operation, interruption, foreign, action, at):
    """Make the operation, and the action at one of its events; how many events there were."""
    world = World()
    events = Events(world, action, at)
    other = foreign(events)
    result = None
    with contextlib.suppress(Exception), np.errstate(all="ignore"), interruption(events):
        events.active = True
        try:
            result = OPERATIONS[operation](world.a, world.b, other)
        finally:
            events.active = False
    world.check()
    if isinstance(result, ndarena.WorkspaceArray) and result.is_in_scope:
        found = result.numpy()
        found.fill(1.0)  # it is the result's own
        world.check()
        assert (found == 1.0).all()
    world.check()
    world.end()
    return events.count


def every_event(operation, interruption, foreign, action):
    """Take the events in turn, of many of them some; how many were taken."""
    at, taken = 1, 0
    while interrupt(operation, interruption, foreign, action, at) >= at:
        at, taken = at + 1 + at // SPARSER, taken + 1
    return taken


@pytest.mark.parametrize("on", [True, False], ids=["fast", "general"])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=lambda hook: hook.__name__)
def test_whatever_code_of_others_does_inside_an_operation(interruption, action, on):
    kinds = FOREIGN if interruption is foreign_hook else FOREIGN[:1]
    total = 0
    with fast_paths(on=on):
        for operation in OPERATIONS:
            if (
                interruption is not foreign_hook
                or "foreign" in operation
                or operation in {"objects", "every row"}
            ):
                total += sum(every_event(operation, interruption, kind, action) for kind in kinds)
    assert total > 5, "nothing was interrupted"
