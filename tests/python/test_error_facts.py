"""What an error tells besides its words: the call that was refused, and what it was refused for."""

import bisect
import contextlib
import operator
import pickle
import random
import sqlite3
import threading

import numpy as np
import pytest
from support import KIB, fixed

import ndarena as nd
from ndarena import ArrayType, LayerWorkspaceMgr, Workspace, WorkspaceConfiguration

FULL = WorkspaceConfiguration(
    initial_size=8 * KIB, policy_allocation="STRICT", policy_learning="NONE", policy_spill="FAIL"
)
HUGE = 1 << 20

CREATIONS = {
    "empty": lambda ws, n: ws.empty(n),
    "zeros": lambda ws, n: ws.zeros(n),
    "ones": lambda ws, n: ws.ones(n),
    "full": lambda ws, n: ws.full(n, 3.0),
    "array": lambda ws, n: ws.array(np.ones(n)),
    "asarray": lambda ws, n: ws.asarray(np.ones(n)),
    "empty_like": lambda ws, n: ws.empty_like(np.ones(n)),
    "zeros_like": lambda ws, n: ws.zeros_like(np.ones(n)),
    "ones_like": lambda ws, n: ws.ones_like(np.ones(n)),
    "full_like": lambda ws, n: ws.full_like(np.ones(n), 3.0),
    "create": lambda ws, n: ws.create(n),
    "create_uninitialized": lambda ws, n: ws.create_uninitialized(n),
}
MODULE_CREATIONS = {
    "empty": nd.empty,
    "arange": lambda n: nd.arange(float(n)),
    "linspace": lambda n: nd.linspace(0.0, 1.0, n),
    "eye": lambda n: nd.eye(1, n),
    "migrate": lambda n: nd.migrate(np.ones(n)),
    "dup": lambda n: nd.dup(np.ones(n)),
    "cast_to": lambda n: nd.cast_to(np.ones(n, "f4"), "f8"),
}


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("name", CREATIONS)
def test_creation(name):
    """Full, closed, of another thread, destroyed: the method that was called, with shape and dtype."""
    ws, make = Workspace(FULL, "W"), CREATIONS[name]
    with ws:
        error = refusal(nd.WorkspaceFullError, lambda: make(ws, HUGE))
    facts = (error.operation, error.argument, error.shape, error.dtype)
    assert facts == (name, None, (HUGE,), "float64")
    error = refusal(nd.ScopeError, lambda: make(ws, 3))
    assert (error.operation, error.shape, error.dtype) == (name, (3,), "float64")
    seen = []

    def elsewhere():
        seen.append(refusal(nd.WrongThreadError, lambda: make(ws, 3)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert (seen[0].operation, seen[0].shape) == (name, (3,))
    ws.destroy_workspace()
    error = refusal(nd.DestroyedWorkspaceError, lambda: make(ws, 3))
    assert error.operation == name
    assert name in str(error)


@pytest.mark.parametrize("name", MODULE_CREATIONS)
def test_creation_in_the_current_workspace(name):
    with Workspace(FULL, "W"):
        error = refusal(nd.WorkspaceFullError, lambda: MODULE_CREATIONS[name](HUGE))
    assert (error.operation, error.dtype) == (name, "float64")


def test_results():
    """A result that does not fit: the operation that was to give it."""
    with Workspace(FULL, "W") as ws:
        a = ws.full(KIB // 2, 3.0)
        for name, call in {
            "add": lambda: a[:, None] + a,
            "multiply.outer": lambda: np.multiply.outer(a, a),
            "concatenate": lambda: np.concatenate([a] * 9),
            "astype": lambda: np.broadcast_to(a, (9, KIB // 2)).astype("f4"),
            "repeat": lambda: a.repeat(99),
            "getitem": lambda: a[np.zeros(HUGE, int)],
        }.items():
            error = refusal(nd.WorkspaceFullError, call)
            assert error.operation == name
            assert error.shape is not None


def test_moves():
    """A target that is not open: the method, and the array that was to go."""
    target = nd.get_workspace_for_current_thread(id="TARGET")
    with Workspace(fixed(64 * KIB), "W") as ws:
        a = ws.ones((2, 3), dtype="f4")
        error = refusal(nd.ScopeError, lambda: a.leverage_to(target.id))
        facts = (error.operation, error.argument, error.shape, error.dtype)
        assert facts == ("leverage_to", "self", (2, 3), "float32")


def test_managers():
    mgr = LayerWorkspaceMgr({ArrayType.INPUT: ("IN", FULL)})
    with mgr.notify_scope_entered(ArrayType.INPUT):
        for name, call in {
            "create": lambda: mgr.create("INPUT", HUGE),
            "create_uninitialized": lambda: mgr.create_uninitialized("INPUT", HUGE),
            "dup": lambda: mgr.dup("INPUT", np.ones(HUGE)),
            "cast_to": lambda: mgr.cast_to("INPUT", "f8", np.ones(HUGE, "f4")),
        }.items():
            error = refusal(nd.WorkspaceFullError, call)
            assert (error.operation, error.shape, error.dtype) == (name, (HUGE,), "float64")


def test_escapes():
    """Both generations are those of the cycle whose arrays are still viewed."""
    ws = Workspace(WorkspaceConfiguration(policy_escape="RAISE"), "W")
    with ws:
        ws.ones(3)
    kept = []

    def turn():
        with ws:
            kept.append(ws.ones(3).numpy())

    error = refusal(nd.EscapedViewError, turn)
    assert (error.array_generation, error.workspace_generation) == (2, 2)


@pytest.mark.parametrize("policy_reuse", ["WITHIN_CYCLE", "AT_RESET"])
@pytest.mark.parametrize("reset", [{}, {"policy_reset": "ENDOFBUFFER_REACHED", "overallocation_limit": 1}])
def test_of_two_outputs_both_are_made_or_none(policy_reuse, reset):
    """A ufunc whose second output is refused has taken nothing for the first, and says what it is."""
    changes = reset | {"policy_reuse": policy_reuse}
    if reset:
        changes |= {"policy_allocation": "OVERALLOCATE", "initial_size": 8 * KIB}
    ws = Workspace(FULL.replace(**changes), "W")
    with ws:
        a = ws.full(5 * KIB // 8, 7.0)
        before = ws.stats()
        for _ in range(3):
            with pytest.raises(nd.WorkspaceFullError) as caught:
                np.divmod(a[: 2 * KIB // 8], 3.0)
            assert caught.value.operation == "divmod"
            assert caught.value.shape == (2 * KIB // 8,)
            assert ws.stats() == before
        quotient, remainder = np.divmod(a[: 3 * KIB // 16], 3.0)  # all that is left
        assert (quotient.numpy() == 2.0).all()
        assert (remainder.numpy() == 1.0).all()
        assert (a.numpy() == 7.0).all()


def test_a_stale_scalar_is_named_wherever_numpy_wants_a_number():
    """Into an element of a plain array: to NumPy a refusing sequence, but ours is the cause it names."""
    ws = Workspace(id="W")
    with ws:
        loss = ws.full((), 3.0)
    losses = np.zeros(3)

    def write():
        losses[0] = loss

    for call in (write, lambda: losses.fill(loss), lambda: losses.sum(initial=loss), lambda: float(loss)):
        with pytest.raises((nd.LeakedArrayError, ValueError)) as caught:
            call()
        error = caught.value.__cause__ or caught.value
        assert type(error) is nd.LeakedArrayError
        assert (error.workspace_id, error.operation, error.argument) == ("W", "float", "self")
    assert not losses.any()


def test_statistics_pickle_and_keep_the_order_of_the_fields():
    ws = Workspace(fixed(64 * KIB), "W")
    with ws:
        ws.ones(3)
        stats = ws.stats()
    copy = pickle.loads(pickle.dumps(stats))
    assert copy == stats
    assert hash(copy) == hash(stats)
    names = list(stats.to_dict())
    assert names[:5] == ["id", "thread_id", "device_id", "configuration", "workspace_type"]
    assert names == list(copy.to_dict())
    with pytest.raises(TypeError, match="lacks the field id"):
        nd.WorkspaceStats()
    with pytest.raises(TypeError, match="no field nonsense"):
        nd.WorkspaceStats(**stats.to_dict(), nonsense=1)


def test_elements_in_turn_and_backwards():
    ws = Workspace(id="W")
    with ws:
        a = ws.array([[1.0, 2.0], [3.0, 4.0]])
        assert [row.tolist() for row in a] == [[1.0, 2.0], [3.0, 4.0]]
        assert [row.tolist() for row in reversed(a)] == [[3.0, 4.0], [1.0, 2.0]]
        rest = iter(a)
        next(rest)
    for _ in range(2):
        error = refusal(nd.LeakedArrayError, lambda: next(rest))
        assert error.operation == "getitem"


def test_an_array_is_a_sequence_to_those_who_want_one():
    """Shapes, axes, sizes, weights, parameters of a query: as an ndarray."""
    ws = Workspace(id="W")
    with ws:
        s = ws.array([2, 3])
        assert np.zeros(s).shape == np.arange(6).reshape(s).shape == (2, 3)
        assert np.ones((2, 3)).transpose(ws.array([1, 0])).shape == (3, 2)
        assert np.broadcast_shapes(s, (1, 3)) == (2, 3)
        assert np.random.default_rng(0).random(s).shape == (2, 3)
        assert bisect.bisect(s, 2) == 1
        assert random.Random(0).choices("ab", cum_weights=s)
        assert operator.length_hint(iter(s)) == 2
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            assert connection.execute("select ?, ?", ws.array([1.0, 2.0])).fetchone() == (1.0, 2.0)
        with pytest.raises(ValueError, match="sequence"):
            np.zeros(2)[0] = ws.array([5.0, 6.0])
