"""What a workspace counts is the same with fast paths and without: requests, bytes, spills, plan."""

from __future__ import annotations

import numpy as np
import pytest
from fast_support import fast_paths, in_numpys_words
from support import KIB, fixed, learning, ring

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, Workspace, WorkspaceConfiguration

UNLIKE = {"id", "thread_id", "configuration"}


def counts(workspace):
    """Give all counters of a workspace."""
    stats = workspace.stats()
    names = [name for name in dir(stats) if not name.startswith("_") and name not in UNLIKE]
    return {name: value for name in names if not callable(value := getattr(stats, name))}


def test_the_counters_are_all_there():
    workspace = Workspace(fixed(KIB), "W")
    assert len(counts(workspace)) >= 25
    assert {"requests_on_plan", "requests_dynamic", "peak_size", "spilled_size"} <= set(counts(workspace))


def arithmetic(ws, cycle):
    a, b = ws.empty(100), ws.zeros((10, 10), np.float32)
    a.fill(cycle)
    t = a * 2.0 + a - a
    t += t
    u = np.exp(-t) > 0.5
    v = (b + b[0]) @ b
    return float(t[3]), int(u.sum()), v[1:, ::2].tolist()


def many_sizes(ws, cycle):
    total = 0.0
    for n in (1, 16, 17, 2049, 32_767, 32_768, 32_769, 50_000):
        x = ws.zeros(n, np.float32) + 1.5  # below what NumPy itself writes over
        x *= 2
        total += float((x[1:] + x[:-1]).sum()) if n > 1 else float(x[0])
    return total


def errors(ws, cycle):
    """Warnings, exceptions and replays."""
    a, zero = ws.array([1.0, -1.0, 0.0]), ws.zeros(3)
    said = []
    with np.errstate(all="call", call=lambda kind, flag: said.append((kind, flag))):
        (a / zero, np.log(a), a * 1e308 * 1e308)
        a /= zero
    with np.errstate(all="raise"):
        for call in (lambda: zero / zero, lambda: np.sqrt(ws.array([-1.0])), lambda: ws.array([1e308]) * 10):
            with pytest.raises(FloatingPointError):
                call()
    for call in (lambda: a + ws.zeros(4), lambda: ws.array([2, 3]) ** ws.array([1, -1])):
        with pytest.raises(ValueError, match=r"broadcast|negative"):
            call()
    with pytest.raises(IndexError):
        a[5]
    return said


def other_every_third_time(ws, cycle):
    """Leave the plan every third time."""
    a = ws.zeros(50 + 30 * (cycle % 3 == 2))
    return (a + 1.0).tolist(), (a[3:] - 2).tolist() if cycle % 2 else None


def survivors(ws, cycle):
    """Give views that live on."""
    a = ws.zeros(100) + cycle
    return [a.numpy()[:2], (a * 2)[1:3].numpy()]


PROGRAMS = [arithmetic, many_sizes, errors, other_every_third_time, survivors]
CONFIGURATIONS = {
    "fixed": fixed(256 * KIB),
    "small": fixed(KIB),
    "learning": learning(),
    "over time": learning(policy_learning="OVER_TIME", cycles_before_initialization=2),
    "overallocating": WorkspaceConfiguration(initial_size=0, policy_allocation="OVERALLOCATE"),
    "ring": ring(4),
    "external": fixed(2 * KIB, policy_spill="EXTERNAL"),
    "reallocate": fixed(2 * KIB, policy_spill="REALLOCATE"),
}


def history(configuration, program, cycles=7):
    """Run the program in cycle after cycle; what it gave, and the counts inside and after each."""
    workspace = Workspace(configuration, "W")
    seen = []
    kept = []
    for cycle in range(cycles):
        with workspace:
            result = program(workspace, cycle)
            kept.append(result)
            inside = counts(workspace)
        seen.append((repr(result), inside, counts(workspace)))
        if len(kept) > 2:
            kept.pop(0)
    del result
    kept.clear()
    seen.append(counts(workspace))
    workspace.destroy_workspace()
    return seen


def test_the_configurations_differ_in_what_is_counted():
    last = {kind: history(conf, many_sizes)[-2][1] for kind, conf in CONFIGURATIONS.items()}
    assert last["fixed"]["number_of_external_allocations"] == 0
    small = history(CONFIGURATIONS["small"], survivors)[-2][1]
    assert small["number_of_external_allocations"] > 0 < small["spilled_size"]
    assert last["learning"]["current_size"] > 0
    assert len({repr(found) for found in last.values()}) > 5
    assert last["learning"]["requests_on_plan"] > 0


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_the_same_counts(kind, program):
    with fast_paths(on=True):
        fast = history(CONFIGURATIONS[kind], program)
    with fast_paths(on=False):
        general = history(CONFIGURATIONS[kind], program)
    for one, other in zip(fast, general, strict=True):
        assert one == other


def test_the_same_plan():
    """The program is steady, so that later cycles are on plan; of both paths the same requests."""
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            found.append(history(learning(), arithmetic, cycles=12)[-1])
    assert found[0] == found[1]
    assert found[0]["requests_on_plan"] > 0


REFUSED = {
    "empty": lambda ws, a, m: ws.empty(4000),
    "zeros": lambda ws, a, m: ws.zeros((2, 2000), np.float32),
    "create": lambda ws, a, m: ws.create(4000, "f8"),
    "create_uninitialized": lambda ws, a, m: ws.create_uninitialized((4000,)),
    "add": lambda ws, a, m: a + a,
    "scalar": lambda ws, a, m: 2.0 * a,
    "row": lambda ws, a, m: m + m[0],
    "unary": lambda ws, a, m: -a,
    "exp": lambda ws, a, m: np.exp(a),
    "compare": lambda ws, a, m: np.concatenate([a, a]) > a[0],
    "matmul": lambda ws, a, m: m @ m,
    "pow": lambda ws, a, m: a**2,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_changes_nothing(name):
    """Full, under the policy that refuses: the same words, and counters as before."""
    call, found = REFUSED[name], []
    for on in (True, False):
        with fast_paths(on=on):
            workspace = Workspace(fixed(24 * KIB, policy_spill="FAIL"), "FULL")
            with workspace:
                a, m = workspace.zeros(2000), workspace.zeros((30, 30))
                before = counts(workspace)
                with pytest.raises(ndarena.WorkspaceFullError) as refusal:
                    call(workspace, a, m)
                assert counts(workspace) == before
                assert (a[:3] * 2).tolist() == [0, 0, 0]
            found.append((in_numpys_words(str(refusal.value)), before))
    assert found[0] == found[1]


def test_results_in_a_workspace_that_is_current_but_was_never_entered():
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            current = Workspace(fixed(64 * KIB), "CURRENT")
            outer = Workspace(fixed(64 * KIB), "OPEN")
            with outer:
                a = outer.array([1.0, 2.0])
                ndarena.set_current_workspace(current)
                b = np.exp(a + a)
                assert b.workspace is current
                c = b + b
                found.append((counts(current), b.tolist(), c.tolist()))
                ndarena.set_current_workspace(outer)
    assert found[0] == found[1]


def test_managers_count_the_same():
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            ndarena.destroy_all_workspaces_for_current_thread()
            manager = LayerWorkspaceMgr.builder().with_(ArrayType.ACTIVATIONS, "ACT", fixed(64 * KIB)).build()
            with manager.notify_scope_entered(ArrayType.ACTIVATIONS):
                made = [
                    manager.create(ArrayType.ACTIVATIONS, (3, 4), "f4"),
                    manager.create_uninitialized(ArrayType.ACTIVATIONS, 5),
                ]
                workspace = made[0].workspace
                found.append((counts(workspace), [(x.dtype, x.shape, x.strides) for x in made]))
            found[-1] += (counts(workspace),)
            ndarena.destroy_all_workspaces_for_current_thread()
    assert found[0] == found[1]
