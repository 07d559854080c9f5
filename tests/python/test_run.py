"""`ws.run`, `ws.cycle`, and workspaces in which nothing is allocated."""

import dataclasses
import warnings

import numpy as np
import pytest
from support import fixed

import ndarena as nd
from ndarena import Workspace


@pytest.fixture
def ws():
    return Workspace(fixed(4096), "W")


def current():
    return nd.get_memory_manager().current_workspace


# ---------------------------------------------------------------- run and cycle


@dataclasses.dataclass
class Pair:
    left: object
    right: object


def test_run_detaches_every_array_of_the_result(ws):
    """`run` enters, calls and leaves; arrays in tuples, lists, dicts and dataclasses come out independent."""

    def f(scale, *, shift):
        assert current() is ws
        a = ws.full(3, scale) + shift
        return a, [a, 1], {"k": a}, Pair(a, "text")

    one, two, three, four = ws.run(f, 2, shift=1)
    assert not ws.is_scope_active
    for a in (one, two[0], three["k"], four.left):
        assert type(a) is np.ndarray
        assert a.tolist() == [3, 3, 3]
    assert two[1] == 1
    assert isinstance(four, Pair)
    assert four.right == "text"


def test_run_leaves_when_the_function_raises(ws):
    """An exception of the function comes out and the scope is closed."""

    def f():
        ws.ones(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ws.run(f)
    assert not ws.is_scope_active
    assert ws.cycles_count == 1


def test_cycle_is_the_decorator(ws):
    """`@ws.cycle` makes every call one cycle, keeping the function's name and arguments."""

    @ws.cycle
    def step(x, *, factor=2):
        """Scales."""
        return ws.asarray(x) * factor

    assert (step.__name__, step.__doc__) == ("step", "Scales.")
    result = step(np.ones(2), factor=5)
    assert type(result) is np.ndarray
    assert result.tolist() == [5, 5]
    step([1.0])
    assert ws.cycles_count == 2


# ---------------------------------------------------------------- unused workspaces


def test_an_unused_workspace_warns_once(ws):
    """Three full cycles without one allocation give one warning, which names the cure; later ones none."""
    for _ in range(2):
        with ws:
            pass
    with pytest.warns(nd.UnusedWorkspaceWarning, match="asarray") as caught, ws:
        pass
    assert len(caught) == 1
    assert issubclass(nd.UnusedWorkspaceWarning, UserWarning)
    for _ in range(5):
        with ws:
            pass


def test_re_entry_is_no_cycle_of_an_unused_workspace(ws):
    """Only full cycles count."""
    with ws:
        for _ in range(5):
            with ws:
                pass


def test_a_workspace_used_in_its_first_cycles_never_warns(ws):
    """One allocation in the first three full cycles is enough."""
    for cycle in range(6):
        with ws:
            if cycle == 2:
                ws.zeros(1)
    assert ws.cycles_count == 6


def test_the_warning_as_an_error_comes_after_the_close(ws):
    """Turned into an error it finds the scope completely closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with ws:
                pass
        with pytest.raises(nd.UnusedWorkspaceWarning), ws:
            pass
    assert not ws.is_scope_active
    assert current() is None
    assert ws.cycles_count == 3
