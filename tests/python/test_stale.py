"""Every way to hold an array too long, times every way to touch it: refused, and the error says all."""

from __future__ import annotations

import contextlib
import copy
import operator
import pickle
import threading

import numpy as np
import pytest
from array_support import sample
from stale_holds import ARENA, HOLDS, make, new
from stale_touches import TOUCHES

import ndarena
from ndarena import Validity

CLASSES = {
    Validity.LEAKED: ndarena.LeakedArrayError,
    Validity.OUTDATED: ndarena.OutdatedArrayError,
    Validity.OVERWRITTEN: ndarena.OverwrittenArrayError,
    Validity.DESTROYED: ndarena.DestroyedArrayError,
    Validity.CLOSED: ndarena.ClosedArrayError,
}


@pytest.mark.parametrize("touch", TOUCHES, ids=[t.name for t in TOUCHES])
def test_is_refused(touch):
    """However it was held: one test for all holds, of which there are thousands of pairs."""
    for hold in HOLDS:
        check_refusal(hold, touch)
        ndarena.destroy_all_workspaces_for_current_thread()


def check_refusal(hold, touch):
    """Hold an array too long and touch it."""
    with contextlib.ExitStack() as stack:
        stale, validity = hold(stack)
        here = ndarena.Workspace(ARENA, "HERE")
        stack.callback(here.destroy_workspace)  # a reduction that is refused keeps its operands: numpy#31677
        stack.enter_context(here)
        valid = here.array(sample("d", (4, 4)))
        before = here.stats()
        with pytest.raises(ndarena.StaleArrayError) as caught:
            touch.use(stale, valid)
        after = here.stats()
    error = caught.value
    assert type(error) is CLASSES[validity]
    assert error.validity is validity
    assert before == after
    if touch.operation is not None:
        assert error.operation == touch.operation
    if isinstance(touch.argument, str):
        assert error.argument == touch.argument
    elif touch.argument is not None:
        assert error.argument in touch.argument
    check_facts(error, stale, validity)


def check_facts(error, stale, validity):
    """Check the attributes, and the beginning of the message made of them."""
    word = validity.name.lower()
    if error.operation is not None and error.argument is not None:
        begin = f"Op [{error.operation}] {error.argument} argument uses {word} workspace pointer"
        assert str(error).startswith(f"{begin} from workspace [HELD]")
    assert error.workspace_id == "HELD"
    assert error.array_generation == stale.generation_id
    assert error.workspace_generation == stale.workspace.generation_id
    assert tuple(error.shape) == stale.shape
    assert np.dtype(error.dtype) == stale.dtype
    assert error.created_at is None
    assert isinstance(error.open_workspaces, tuple)
    assert "HERE" in error.open_workspaces
    if validity is Validity.LEAKED:
        assert error.array_generation == error.workspace_generation
        assert "closed" in str(error)


KINDS = {
    "zero-dimensional": lambda ws: ws.array(1.5),
    "zero-size": lambda ws: ws.zeros((0, 4)),
    "big-endian": lambda ws: ws.array(sample(">f8")),
    "text": lambda ws: ws.array(sample("U3")),
    "structured": lambda ws: ws.array(sample([("x", "i4")])),
    "dates": lambda ws: ws.array(sample("M8[D]")),
    "non-contiguous": lambda ws: ws.array(sample("d", (4, 4)))[::2, ::2],
    "read-only": lambda ws: np.broadcast_to(ws.zeros(4), (2, 4)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "use",
    [
        lambda a: a[...],
        lambda a: a == 1,
        np.ravel,
        lambda a: a.copy(),
        lambda a: a.numpy(),
        np.asarray,
        lambda a: a.tolist(),
        lambda a: a.reshape(-1),
        pickle.dumps,
        copy.deepcopy,
        lambda a: a.detach(),
        lambda a: a.T,
        lambda a: a.tobytes(),
    ],
)
def test_every_kind_of_array_is_refused(kind, use):
    """Zero-size and 0-d arrays are stale like any other."""
    ws = new()
    with ws:
        a = kind(ws)
    with pytest.raises(ndarena.LeakedArrayError):
        use(a)


@pytest.mark.parametrize("hold", HOLDS, ids=[h.__name__ for h in HOLDS])
def test_assert_valid_array_refuses_with_the_message_of_its_caller(hold):
    with contextlib.ExitStack() as stack:
        stale, validity = hold(stack)
        with pytest.raises(CLASSES[validity], match="before the update"):
            ndarena.assert_valid_array(stale, "before the update")


def test_valid_arrays_of_the_table_are_not_refused():
    """The touches are legitimate uses: on a valid array none of them raises a stale error."""
    for touch in TOUCHES:
        ws = new()
        with ws, np.errstate(all="ignore"):
            a, b = make(ws), make(ws)
            try:
                touch.use(a, b)
            except ndarena.WorkspaceError as error:
                pytest.fail(f"{touch.name}: {error}")
            except Exception:
                continue


def test_the_first_stale_argument_is_named():
    ws, other = new(), ndarena.Workspace(ARENA, "OTHER")
    with ws:
        first = ws.ones(3)
    with other:
        second = other.ones(3)
    for call, argument, workspace in [
        (lambda: first + second, "left", "HELD"),
        (lambda: second + first, "left", "OTHER"),
        (lambda: np.add(first, second), "x1", "HELD"),
        (lambda: np.concatenate([second, first]), "arrays[0]", "OTHER"),
    ]:
        with pytest.raises(ndarena.LeakedArrayError) as caught:
            call()
        assert (caught.value.argument, caught.value.workspace_id) == (argument, workspace)


def test_an_error_pickles_with_its_facts_and_holds_nothing():
    ws = new()
    with ws:
        a = ws.ones((2, 3))
    with pytest.raises(ndarena.LeakedArrayError) as caught:
        a + 1
    again = pickle.loads(pickle.dumps(caught.value))
    facts = [
        "workspace_id",
        "array_generation",
        "workspace_generation",
        "open_workspaces",
        "operation",
        "argument",
    ]
    assert type(again) is ndarena.LeakedArrayError
    assert str(again) == str(caught.value)
    for name in [*facts, "shape", "dtype", "created_at", "validity"]:
        assert getattr(again, name) == getattr(caught.value, name)
    values = vars(caught.value).values()
    assert not any(isinstance(v, ndarena.WorkspaceArray | ndarena.Workspace | np.ndarray) for v in values)


def test_debug_names_the_line_of_creation():
    ws = new()
    ws.enable_debug(True)
    with ws:
        a = ws.ones(3)
        b = a * 2
    for stale in [a, b]:
        with pytest.raises(ndarena.LeakedArrayError) as caught:
            stale.sum()
        file, _, line = caught.value.created_at.rpartition(":")
        assert file.endswith("test_stale.py")
        assert int(line) > 0
        assert caught.value.created_at in str(caught.value)


def test_open_scopes_are_named():
    ws, one, two = new(), ndarena.Workspace(ARENA, "ONE"), ndarena.Workspace(ARENA, "TWO")
    with ws:
        a = ws.ones(3)
    with one, two, pytest.raises(ndarena.LeakedArrayError) as caught:
        a.sum()
    assert caught.value.open_workspaces == ("ONE", "TWO")
    with pytest.raises(ndarena.LeakedArrayError) as caught:
        a.sum()
    assert caught.value.open_workspaces == ()


def test_the_message_names_generations_cure_and_heading():
    ws = new()
    for _ in range(3):
        with ws:
            a = ws.ones(3)
    with ws, pytest.raises(ndarena.OutdatedArrayError) as caught:
        a + 1
    message = str(caught.value)
    assert message.startswith("Op [add] left argument uses outdated workspace pointer from workspace [HELD]")
    assert "3" in message
    assert "4" in message
    assert "detach()" in message
    assert "What dies when" in message


def test_the_classes_are_related_as_the_contract_says():
    assert issubclass(ndarena.WorkspaceError, Exception)
    assert issubclass(ndarena.StaleArrayError, ndarena.WorkspaceError)
    assert issubclass(ndarena.StaleArrayError, ReferenceError)
    for error in [ndarena.LeakedArrayError, ndarena.OutdatedArrayError, ndarena.ClosedArrayError]:
        assert issubclass(error, ndarena.StaleArrayError)
    assert issubclass(ndarena.OverwrittenArrayError, ndarena.OutdatedArrayError)
    assert issubclass(ndarena.DestroyedArrayError, ndarena.LeakedArrayError)


def test_a_refused_operation_changes_nothing():
    ws, here = new(), ndarena.Workspace(ARENA, "HERE")
    with ws:
        a = ws.ones(3)
    with here:
        target = here.zeros(3)
        before = here.stats()
        for call in [
            lambda: np.add(a, 1, out=target),
            lambda: operator.iadd(target, a),
            lambda: np.copyto(target, a),
        ]:
            with pytest.raises(ndarena.LeakedArrayError):
                call()
        assert target.tolist() == [0.0, 0.0, 0.0]
        assert here.stats() == before


def test_using_a_stale_array_in_another_thread():
    ws, refused = new(), []
    with ws:
        a = ws.ones(3)

    def use():
        try:
            a.sum()
        except ndarena.LeakedArrayError as error:
            refused.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(30)
    assert refused[0].argument == "self"
    assert refused[0].open_workspaces == ()


def test_detaching_in_time_is_the_cure():
    ws = new()
    with ws:
        kept = ws.ones(3).detach()
    assert (kept + 1).tolist() == [2.0, 2.0, 2.0]
