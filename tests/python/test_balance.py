"""Operations leave as many references and objects as they found, refused ones too; cycles are collected."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import weakref

import numpy as np
import pytest
from balance_recipes import CALLABLES, SMALL, good_and_refused, outcome, silence, without_a_good_call
from fast_support import fast_paths
from nonsense_support import RECEIVERS, stage
from test_reentry import OPERATIONS, ForeignNumber

import ndarena

CALLS = 60
"""So many calls are one window."""
WARM = 500
LEAKS_IN_NUMPY = {"reduce", "accumulate"}
"""NumPy keeps an object where an operand's `__array_ufunc__` refuses these, whoever's it is."""


def blocks(call):
    """Count the blocks of the interpreter that a window of calls leaves; the least of some windows."""
    for _ in range(WARM):
        call()
    gc.collect()
    gc.freeze()  # or else the collector looks at all that other tests have made, again and again
    least = None
    for _ in range(15):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(CALLS):
            call()
        gc.collect()
        left = sys.getallocatedblocks() - before
        least = left if least is None else min(least, left)
        if least < CALLS // 2:
            break
    return least


@pytest.mark.parametrize("on", [True, False], ids=["fast", "general"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_leave_nothing_behind(operation, on):
    """On valid arrays and on a stale one; references to operands, dtypes and scalars are given back."""

    class Quiet:
        def __call__(self, *_):
            """Do nothing."""

        def acted(self, value):
            return value

    above = ndarena.get_workspace_for_current_thread(None, id="ABOVE")
    ws = ndarena.get_workspace_for_current_thread(None, id="WS")
    foreign = ForeignNumber(Quiet())
    with fast_paths(on=on), above, ws, np.errstate(all="ignore"):
        a, b = ws.array(np.arange(1.0, 65)), ws.array(np.linspace(1, 2, 64))
        stale = ws.ones(64)
        stale.close()
        watched = [
            a,
            b,
            stale,
            foreign,
            ws,
            np.dtype("f8"),
            np.dtype("f4"),
            float,
            np.float64,
            np.add,
            ndarena,
        ]
        for x in [a] if operation in LEAKS_IN_NUMPY else [a, stale]:

            def call(x=x):
                with contextlib.suppress(Exception):
                    OPERATIONS[operation](x, b, foreign)

            assert blocks(call) < CALLS // 2
            before = [sys.getrefcount(item) for item in watched]
            for _ in range(CALLS):
                call()
            gc.collect()
            after = [sys.getrefcount(item) for item in watched]
            assert max(abs(n - m) for n, m in zip(after, before, strict=True)) < CALLS // 2


# ---------------------------------------------------------------- every public callable

WINDOW = int(os.environ.get("BALANCE_CALLS", "12"))
"""So many calls of each public callable are one window; `make prove-python` takes more."""
WATCHED = [
    None, True, (), 0, "", np.dtype("f4"), np.dtype("i8"), np.dtype("c16"), float, np.float64,
    np.add, np.sum, type, dict, tuple,
    ndarena, ndarena.Workspace, ndarena.WorkspaceArray, ndarena.Scope, ndarena.ArrayType.ACTIVATIONS, SMALL,
]  # fmt: skip
"""Whatever leaks a reference to these leaves no block behind. NumPy itself loses some to float64's dtype."""
GROUPS = sorted({name.rpartition(".")[0] for name in CALLABLES})


def test_every_public_callable_has_a_good_call(tmp_path, monkeypatch):
    """A new one is written into `WRITTEN` or `MADE` of balance_recipes.py, if no common arguments suit it."""
    monkeypatch.chdir(tmp_path)
    with silence():
        assert without_a_good_call() == []


def left_by(attempt):
    """Count what a window of calls leaves: blocks and references to what is watched; the least of some."""
    outcome(attempt)
    gc.collect()
    gc.freeze()  # what its modules made, too
    least = None
    for _ in range(40):
        gc.collect()
        before = sys.getallocatedblocks()
        references = [sys.getrefcount(item) for item in WATCHED]
        for _ in range(WINDOW):
            outcome(attempt)
        gc.collect()
        after = [sys.getrefcount(item) for item in WATCHED]
        left = sys.getallocatedblocks() - before
        worst = max(left, *(n - m for n, m in zip(after, references, strict=True)))
        least = worst if least is None else min(least, worst)
        if least < WINDOW // 2:
            break
    return least


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", GROUPS)
def test_every_public_callable_gives_back_what_it_takes(group, tmp_path, monkeypatch):
    """A good call of each, and one that is refused: blocks of the interpreter, references, bytes held."""
    monkeypatch.chdir(tmp_path)
    held = ndarena.allocated_bytes()
    with silence():
        for name in sorted(CALLABLES):
            if name.rpartition(".")[0] != group:
                continue
            for attempt in filter(None, good_and_refused(name)):
                assert left_by(attempt) < WINDOW // 2, name
    assert ndarena.allocated_bytes() == held


class Node:
    """An object that can be in a cycle."""


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_what_lies_in_a_cycle_is_collected(receiver):
    """Handles, scopes, workspaces and managers do not keep a cycle that refers to them alive."""
    with stage() as s:
        node = Node()
        node.me, node.held = node, RECEIVERS[receiver](s)
        seen = weakref.ref(node)
        del node
        gc.collect()
        assert seen() is None
