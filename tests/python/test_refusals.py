"""The n-th request is refused, for every n: an error, and everything as it was."""

import itertools

import numpy as np
import pytest
from support import fixed, held_bytes, ring

import ndarena
from ndarena import Workspace, WorkspaceConfiguration, WorkspaceFullError, _core

KINDS = {
    "learning": WorkspaceConfiguration(),
    "fixed": fixed(4096),
    "at reset": WorkspaceConfiguration(policy_reuse="AT_RESET"),
    "reallocating": WorkspaceConfiguration(policy_spill="REALLOCATE"),
    "ring": ring(3),
}


@pytest.fixture
def refusing():
    def switch(nth, **how):
        return _core._fail_allocations(nth, **how)  # noqa: SLF001

    yield switch
    for system in (False, True):
        switch(0, system=system)


def work(ws):
    """Two cycles of operators, ufuncs, functions, moves."""
    results = []
    for turn in range(2):
        with ws:
            a = ws.full((20, 30), 2.0) + turn
            b = np.exp(a - 1) @ ws.ones((30, 5))
            c = np.concatenate([b, b.copy()])
            c += c.sum(axis=0)
            results.append(c.reshape(-1)[::2].detach())
    return results


@pytest.mark.parametrize("system", [False, True], ids=["arena", "system"])
@pytest.mark.parametrize("kind", KINDS)
def test_whichever_request_is_refused_the_next_run_gives_the_same(refusing, kind, system):
    expected = work(Workspace(KINDS[kind], "W"))
    start = held_bytes()
    for nth in itertools.count(1):
        ws = Workspace(KINDS[kind], "W")
        refusing(nth, system=system)
        try:
            work(ws)
        except WorkspaceFullError as error:
            assert isinstance(error, MemoryError)
        else:
            break
        finally:
            _, refused = refusing(0, system=system)
        assert refused > 0
        ndarena.assert_no_workspaces_open("a scope stayed open")
        for got, wanted in zip(work(ws), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
        ws.destroy_workspace()
        assert held_bytes() == start
    assert refused == 0
    assert nth > 2


def test_every_nth_request_is_refused_and_counted(refusing):
    ws = Workspace(fixed(4096), "W")
    with ws:
        refusing(1, every=True)
        for _ in range(3):
            with pytest.raises(WorkspaceFullError, match="refused on demand"):
                ws.zeros(4)
        asked, refused = refusing(2, every=True)
        assert asked == refused >= 3
        ws.zeros(4)
        ws.zeros(4)
        asked, refused = refusing(0)
        assert refused == asked // 2 > 0
        ws.zeros(4)
        assert refusing(0) == (0, 0)
