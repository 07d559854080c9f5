"""Arrays held too long, and results without a workspace: the same with fast paths and without."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from fast_support import (
    COMPARISONS,
    IN_PLACE,
    OPERATORS,
    UFUNCS,
    close_scopes,
    fast_paths,
    heard,
    in_numpys_words,
    told,
)
from support import KIB, fixed, in_thread, ring

import ndarena
from ndarena import Workspace

CALLS = {
    **{name: getattr(operator, name) for name in [*OPERATORS, *COMPARISONS, *IN_PLACE, "matmul"]},
    **{f"numpy.{name}": f for name, f in UFUNCS.items() if f.nin == 2 and f.signature is None},
    "an element": lambda a, b: a[0],
    "a slice": lambda a, b: a[1:2],
    "a point of a matrix": lambda a, b: a[0, 1],
    "a row": lambda a, b: a[0, :],
    "negative": lambda a, b: -a,
    "exp": lambda a, b: np.exp(a),
    "scalar": lambda a, b: a + 1.0,
    "reflected": lambda a, b: 2.0 - a,
}


def leaked(workspace, a):
    workspace.notify_scope_left()


def outdated(workspace, a):
    workspace.notify_scope_left()
    workspace.notify_scope_entered()


def destroyed(workspace, a):
    workspace.destroy_workspace()


def closed(workspace, a):
    a.close()


@pytest.mark.parametrize("end", [leaked, outdated, destroyed, closed])
@pytest.mark.parametrize("place", ["left", "right"])
def test_every_call_names_the_same_fault(end, place):
    for name, call in CALLS.items():
        found = []
        for on in (True, False):
            with fast_paths(on=on):
                workspace = Workspace(fixed(64 * KIB), "ENDS")
                workspace.notify_scope_entered()
                a, plain = workspace.array([[1.0, 2.0], [3.0, 4.0]]), np.ones((2, 2))
                end(workspace, a)
                operands = (a, plain) if place == "left" else (plain, a)
                answer = heard(lambda call=call, operands=operands: call(*operands))
                found.append((answer, plain.tolist()))
                close_scopes(workspace)
        assert found[0] == found[1], name
        if place == "left":
            assert found[0][0][0].kind.endswith("ArrayError"), (name, found[0])


def test_overwritten_blocks_of_a_ring():
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            workspace = Workspace(ring(2), "RING")
            kept = []
            for _ in range(8):
                with workspace:
                    kept.append(workspace.zeros(100) + 1.0)
            answers = [heard(lambda a=a: a + 1.0)[0] for a in kept]
            found.append([(x.kind, [in_numpys_words(str(fact)) for fact in x.facts]) for x in answers])
    assert found[0] == found[1]
    assert {kind for kind, _ in found[0]} >= {"array", "OverwrittenArrayError"}


def test_results_where_no_workspace_is_current():
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            workspace = Workspace(fixed(64 * KIB), "OUT")
            with workspace:
                a = workspace.array([[1.0, 2.0], [3.0, 4.0]])
                with ndarena.scope_out_of_workspaces():
                    results = [a + a, a * 2.0, np.exp(a), a @ a, -a, a > 1.0, a[0], a[0, 1], a + a[0]]
                found.append([(type(x).__name__, told(x)) for x in results])
    assert found[0] == found[1]
    assert found[0][0][0] == "ndarray"


def test_results_lie_in_the_innermost_workspace():
    for on in (True, False):
        with fast_paths(on=on):
            outer, inner = Workspace(fixed(64 * KIB), "OUTER"), Workspace(fixed(64 * KIB), "INNER")
            with outer:
                a = outer.array([[1.0, 2.0], [3.0, 4.0]])
                with inner:
                    for result in (a + a, a * 2.0, np.exp(a), a @ a, -a, a + a[0], a**2):
                        assert result.workspace is inner
                    for part in (a[0], a[:, 1], a[::-1]):
                        assert part.workspace is outer
                    assert operator.iadd(a, a) is a
                assert (a + a).workspace is outer


def test_another_threads_workspace_is_not_written_to():
    for on in (True, False):
        with fast_paths(on=on):
            workspace = Workspace(fixed(64 * KIB), "OWNED")
            with workspace:
                a = workspace.array([1.0, 2.0])
                before = workspace.current_offset
                result = in_thread(lambda a=a: (a + a, a * 2.0, -a, a[0], np.exp(a)))
                assert all(type(x) in (np.ndarray, np.float64) for x in result)
                assert result[0].tolist() == [2.0, 4.0]
                assert workspace.current_offset == before


@pytest.mark.parametrize("mode", list(ndarena.DebugMode))
def test_every_debug_mode(mode):
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            ndarena.set_debug_mode(mode)
            workspace = Workspace(fixed(64 * KIB), "DEBUG")
            with workspace:
                a = workspace.array([[1.0, 2.0], [3.0, 4.0]])
                results = [a + a, a * 2.0, np.exp(a), a @ a, a[0], a[1:], workspace.zeros(3)]
                found.append([(type(x).__name__, told(x)) for x in results])
                lines = [heard(lambda workspace=workspace: workspace.empty(3).close())]
                found[-1].append(lines)
            ndarena.set_debug_mode(ndarena.DebugMode.DISABLED)
    assert found[0] == found[1]
