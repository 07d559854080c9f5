"""Code of others in the middle of an operation: callbacks of `errstate`, other threads, the collector."""

from __future__ import annotations

import gc
import operator
import sys
import threading

import numpy as np
import pytest
from fast_support import close_scopes, fast_paths
from support import KIB, MIB, fixed, output_of

import ndarena
from ndarena import Workspace

N = 64

OPERATIONS = {
    "two arrays": operator.truediv,
    "rows": lambda a, zero: a.reshape(4, -1) / zero[: N // 4],
    "scalar": lambda a, zero: a / 0.0,
    "unary": lambda a, zero: np.log(zero),
    "ufunc": np.divide,
    "in place": operator.itruediv,
    "in place, scalar": lambda a, zero: operator.itruediv(a, 0.0),
}


def during(operation, action, *, on):
    """Make the operation, and the action in its callback; the result, the operands and what else is there."""
    with fast_paths(on=on):
        workspace = Workspace(fixed(256 * KIB), "CALLED")
        workspace.notify_scope_entered()
        a, zero = workspace.array(np.arange(1.0, N + 1)), workspace.zeros(N)
        acts = iter([action])
        made = []

        def call(_, flag):
            act = next(acts, None)
            if act is not None:
                made.append(act(workspace, a, zero))

        try:
            with np.errstate(all="call", call=call):
                result = OPERATIONS[operation](a, zero)
        finally:
            del call
        assert len(made) == 1, "the callback was not called"
        return workspace, a, zero, result, made[0]


def leave(workspace, a, zero):
    workspace.notify_scope_left()


def destroy(workspace, a, zero):
    workspace.destroy_workspace()


def close(workspace, a, zero):
    a.close()
    zero.close()
    return take(workspace)


def take(workspace):
    """Take all memory that is free, and mark it."""
    taken = []
    for n in (N, N // 2, 4 * N, 16 * N):
        for _ in range(4):
            array = workspace.empty(n)
            array.fill(-7.0)
            taken.append(array)
    return taken


def leave_and_take(workspace, a, zero):
    """Begin the next cycle, and write over the whole arena."""
    workspace.notify_scope_left()
    workspace.notify_scope_entered()
    return take(workspace)


def untouched(taken):
    return all((array.numpy() == -7.0).all() for array in taken)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("action", [leave, destroy])
def test_a_callback_that_ends_the_workspace_leaves_a_stale_result(operation, action):
    """And the operands are stale too; nothing is read or written that is somebody else's."""
    states = []
    for on in (True, False):
        workspace, a, zero, result, _ = during(operation, action, on=on)
        assert not result.is_in_scope
        assert not a.is_in_scope
        with pytest.raises(ndarena.StaleArrayError):
            result.numpy()
        with pytest.raises(ndarena.StaleArrayError):
            zero + 1.0
        states.append((result.validity, a.validity, zero.validity, result.shape, result is a))
        close_scopes(workspace)
    assert states[0] == states[1]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_callback_that_begins_the_next_cycle_keeps_what_it_takes(operation):
    for on in (True, False):
        workspace, _, _, result, taken = during(operation, leave_and_take, on=on)
        assert not result.is_in_scope
        assert untouched(taken)
        close_scopes(workspace)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_callback_that_closes_the_operands_and_takes_memory(operation):
    """Their memory is not given to others before the operation is over; the result is right."""
    for on in (True, False):
        workspace, _, _, result, taken = during(operation, close, on=on)
        assert untouched(taken)
        if "in place" not in operation:
            assert result.is_in_scope
            found = result.numpy()
            assert np.isinf(found).all()
            assert untouched(taken)
        close_scopes(workspace)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_callback_that_computes(operation):
    """Operations inside of operations, which report errors themselves."""

    def compute(workspace, a, zero):
        with np.errstate(all="ignore"):
            inner = (workspace.ones(N) / workspace.zeros(N)) + np.exp(workspace.full(N, 1e4))
            inner[1:] -= inner[:-1]
        return inner

    for on in (True, False):
        workspace, _, _, result, inner = during(operation, compute, on=on)
        assert np.isinf(result.numpy()).all()
        assert inner[0] == np.inf and np.isnan(inner[1:].numpy()).all()
        close_scopes(workspace)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_callback_that_fails(operation):
    """Its exception comes out, and the workspace goes on."""
    for on in (True, False):

        def fail(workspace, a, zero):
            raise LookupError("in the callback")

        try:
            during(operation, fail, on=on)
        except LookupError as error:
            assert str(error) == "in the callback"
        else:
            pytest.fail("the exception got lost")
        current = ndarena.get_current_workspace()
        assert (current.zeros(3) + 1.0).tolist() == [1, 1, 1]
        close_scopes(current)


# ---------------------------------------------------------------- what the collector can see


def arrays_in(workspace, bounds):
    """Give all plain arrays over the memory between the bounds that can be reached from the collector."""
    seen = {}
    for found in gc.get_objects():
        for item in [found, *(found if type(found) in (tuple, list) else ())]:
            if type(item) is np.ndarray and item.nbytes:
                start = item.__array_interface__["data"][0]
                if bounds[0] <= start < bounds[1]:
                    seen[id(item)] = item
    return list(seen.values())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_array_without_a_lease_can_be_found_during_a_callback(operation):
    """A tuple of arguments may be found; what lies in it holds the memory."""

    def look(workspace, a, zero):
        start = min(x.numpy().__array_interface__["data"][0] for x in (a, zero))
        return arrays_in(workspace, (start - 64 * KIB, start + 256 * KIB))

    for on in (True, False):
        workspace, _, _, _, found = during(operation, look, on=on)
        for array in found:
            base = array
            while type(base) is np.ndarray:
                base = base.base
            assert type(base).__name__ == "Lease", f"{type(base)} is the base of an array in the workspace"
        assert found
        # What was found is kept beyond the cycle, and reads as before.
        copies = [array.copy() for array in found]
        close_scopes(workspace)
        with workspace:
            taken = take(workspace)
            assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(found, copies, strict=True))
            del found, array
            assert untouched(taken)


def test_templates_are_not_reached_from_a_handle():
    """The array inside a handle has no base; nobody is given it."""
    workspace = Workspace(fixed(64 * KIB), "INSIDE")
    with workspace:
        a = workspace.zeros(8)
        b = a + 1.0
        c = b[2:]
        for handle in (a, b, c):
            assert not any(type(x) is np.ndarray for x in gc.get_referents(handle))
            assert handle.numpy().base is not None


# ---------------------------------------------------------------- other threads


LONG = 400_000


def while_computing(compute, action, *, delay):
    """Compute in this thread, and do the action in another one meanwhile."""
    started = threading.Event()
    errors = []

    def act():
        started.wait(10)
        for _ in range(delay):
            threading.Event().wait(0.0002)
        try:
            action()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    started.set()
    try:
        return compute(), errors
    finally:
        thread.join()


LOOPS = {
    "unary": (lambda a, b: np.arctan(a), lambda x, y: np.arctan(x)),
    "binary": (np.arctan2, np.arctan2),
    "row": (
        lambda a, b: np.hypot(a.reshape(100, -1), b[: LONG // 100]),
        lambda x, y: np.hypot(x.reshape(100, -1), y[: LONG // 100]),
    ),
    "scalar": (lambda a, b: np.power(a, 1.7), lambda x, y: np.power(x, 1.7)),
}


@pytest.fixture
def switch_often():
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("on", [True, False])
def test_another_thread_closes_the_operands_during_a_long_loop(switch_often, loop, on):
    ours, numpys = LOOPS[loop]
    x, y = np.linspace(0.5, 3, LONG), np.linspace(2, 0.5, LONG)
    want = numpys(x, y)
    with fast_paths(on=on):
        for delay in range(8):
            workspace = Workspace(fixed(24 * MIB), "SHARED")
            with workspace:
                operands = [workspace.array(x), workspace.array(y)]

                def action(operands=operands):
                    operands[0].close()
                    operands[1].close()
                    operands.clear()

                def compute(operands=operands):
                    try:
                        return ours(*operands)
                    except (ndarena.StaleArrayError, TypeError):
                        return None  # closed before it began

                result, errors = while_computing(compute, action, delay=delay)
                assert not errors
                # Whoever comes next gets the memory of the operands, not that of the result.
                taken = [workspace.empty(LONG), workspace.empty(LONG)]
                for array in taken:
                    array.fill(-7.0)
                if result is not None:
                    assert result.numpy().tobytes() == want.tobytes()


@pytest.mark.parametrize("loop", LOOPS)
def test_another_thread_drops_a_plain_operand_during_a_long_loop(switch_often, loop):
    ours, numpys = LOOPS[loop]
    x, y = np.linspace(0.5, 3, LONG), np.linspace(2, 0.5, LONG)
    want = numpys(x, y)
    workspace = Workspace(fixed(24 * MIB), "MIXED")
    for delay in range(4):
        with fast_paths(on=True), workspace:
            held = [workspace.array(x), y.copy()]
            result, errors = while_computing(lambda held=held: ours(*held), held.clear, delay=delay)
            assert not errors
            assert result.numpy().tobytes() == want.tobytes()


@pytest.mark.parametrize("what", ["ufunc", "product"])
def test_another_thread_destroys_the_current_workspace_during_a_long_loop(what):
    """It was never entered, so any thread may; in a process of its own, because it once crashed."""
    program = f"""
        import threading, time
        import numpy as np, ndarena

        what = {what!r}
        configuration = ndarena.WorkspaceConfiguration(
            initial_size="32 MiB", policy_allocation="STRICT", policy_learning="NONE"
        )
        outer = ndarena.Workspace(configuration, "OUTER")
        ended = 0
        with outer:
            a = outer.array(np.linspace(0, 1, 1 << 20))
            m = outer.array(np.linspace(0, 1, 500 * 500).reshape(500, 500))
            compute = (lambda: np.arctan(a)) if what == "ufunc" else (lambda: m @ m)
            want = (np.arctan(a.numpy()) if what == "ufunc" else m.numpy() @ m.numpy()).tobytes()
            for turn in range(600):  # until it has come in between, which a busy machine makes rare
                if turn >= 24 and ended:
                    break
                current = ndarena.Workspace(configuration, f"CURRENT {{turn}}")
                ndarena.set_current_workspace(current)
                began = threading.Event()

                def destroy():
                    began.wait()
                    time.sleep(0.0003 * (turn % 24))
                    current.destroy_workspace()

                thread = threading.Thread(target=destroy)
                thread.start()
                began.set()
                try:
                    result = compute()
                    seen = np.asarray(result).tobytes()  # plain, if none was current any more
                except ndarena.WorkspaceError:
                    ended += 1
                else:
                    assert seen == want
                thread.join()
                ndarena.set_current_workspace(outer)
        print("done", ended > 0)
    """
    assert output_of(program, env={"OPENBLAS_NUM_THREADS": "1"}) == "done True\n"


def test_many_threads_with_workspaces_of_their_own(switch_often):
    """The same program in each of them; flags of errors belong to a thread."""
    want = np.exp(np.linspace(-5, 5, 40_000)) + 1.0
    errors = []

    def work(k):
        try:
            workspace = Workspace(fixed(MIB), f"T{k}")
            for turn in range(15):
                with workspace, np.errstate(all="raise" if turn % 2 else "ignore"):
                    x = workspace.array(np.linspace(-5, 5, 40_000))
                    assert (np.exp(x) + 1.0).numpy().tobytes() == want.tobytes()
                    if k % 2:
                        with np.errstate(all="ignore"):
                            x / workspace.zeros(40_000)
                    assert (x[1:] * 2.0).shape == (39_999,)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_an_array_of_another_threads_workspace_is_an_operand(switch_often):
    """It is not at hand here: a lease keeps it. Its workspace may end while it is read."""
    with fast_paths(on=True):
        for turn in range(6):
            ready, leave_now, result = threading.Event(), threading.Event(), []
            shared = {}

            def owner(ready=ready, leave_now=leave_now, shared=shared):
                workspace = Workspace(fixed(8 * MIB), "OWNER")
                with workspace:
                    shared["a"] = workspace.array(np.linspace(0, 1, LONG))
                    ready.set()
                    leave_now.wait(10)
                with workspace:
                    workspace.empty(LONG).fill(-7.0)

            thread = threading.Thread(target=owner)
            thread.start()
            ready.wait(10)
            workspace = Workspace(fixed(8 * MIB), "READER")
            with workspace:
                if turn % 2:
                    leave_now.set()
                try:
                    result = np.arctan(shared["a"]) if turn % 3 else shared["a"] + 1.0
                    want = np.linspace(0, 1, LONG)
                    want = np.arctan(want) if turn % 3 else want + 1.0
                    assert result.numpy().tobytes() == want.tobytes()
                except ndarena.StaleArrayError:
                    assert turn % 2
                leave_now.set()
            thread.join()
