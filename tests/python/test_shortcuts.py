"""Methods that are entered past pyo3's frame look, take arguments and refuse as the others do."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, Workspace, WorkspaceArray

METHODS = [
    (Workspace, "empty"),
    (Workspace, "zeros"),
    (Workspace, "create"),
    (Workspace, "create_uninitialized"),
    (Workspace, "notify_scope_entered"),
    (Workspace, "__enter__"),
    (Workspace, "__exit__"),
    (WorkspaceArray, "__array_ufunc__"),
    (WorkspaceArray, "numpy"),
    (WorkspaceArray, "fill"),
    (LayerWorkspaceMgr, "create"),
    (LayerWorkspaceMgr, "create_uninitialized"),
]
IDS = [f"{owner.__name__}.{name}" for owner, name in METHODS]


@pytest.mark.parametrize(("owner", "name"), METHODS, ids=IDS)
def test_a_method_has_its_name_signature_and_text(owner, name):
    method = getattr(owner, name)
    assert (method.__name__, method.__objclass__) == (name, owner)
    assert inspect.signature(method).parameters["self"].kind is inspect.Parameter.POSITIONAL_ONLY
    assert name.startswith("__") or method.__doc__


@pytest.mark.parametrize(("owner", "name"), METHODS, ids=IDS)
def test_a_method_refuses_another_object(owner, name):
    with pytest.raises(TypeError, match=f"'{name}'"):
        getattr(owner, name)(object())


def test_makers_take_arguments_in_every_way():
    with Workspace(id="W") as ws:
        for maker in (ws.empty, ws.zeros, ws.create, ws.create_uninitialized):
            arrays = [
                maker((2, 3)),
                maker((2, 3), None),
                maker((2, 3), np.float64),
                maker((2, 3), "float64", "C"),
                maker((2, 3), dtype=float),
                maker(shape=(2, 3), dtype=None, order="C"),
                maker([2, 3], np.dtype("f8")),
            ]
            assert {(a.shape, a.dtype.str, a.strides) for a in arrays} == {((2, 3), "<f8", (24, 8))}
            with pytest.raises(TypeError):
                maker()
            with pytest.raises(TypeError):
                maker((2, 3), float, "C", 1)
            with pytest.raises(TypeError):
                maker((2, 3), nonsense=1)


def test_a_manager_takes_arguments_in_every_way():
    role = ArrayType.ACTIVATIONS
    manager = LayerWorkspaceMgr.builder().with_(role, "ACT", ndarena.WorkspaceConfiguration()).build()
    with manager.notify_scope_entered(role):
        for maker in (manager.create, manager.create_uninitialized):
            arrays = [
                maker(role, (2, 3)),
                maker(role, (2, 3), None, "C"),
                maker(role, (2, 3), np.float64),
                maker("ACTIVATIONS", (2, 3), dtype="float64"),
                maker(t=role, shape=(2, 3), dtype=float),
            ]
            assert {(a.shape, a.dtype.str, a.workspace.id) for a in arrays} == {((2, 3), "<f8", "ACT")}
            with pytest.raises(TypeError, match="expected an ArrayType or its name, got int"):
                maker(1, (2, 3))
    ndarena.destroy_all_workspaces_for_current_thread()


def test_functions_of_the_module_look_as_before():
    assert inspect.signature(ndarena.exp).parameters["out"].default is None
    assert ndarena.add.__doc__.startswith("`numpy.add`")
    with pytest.raises(TypeError):
        ndarena.exp()
    with Workspace(id="W") as ws:
        a = ws.array([1.0, 4.0])
        assert ndarena.sqrt(a).tolist() == ndarena.sqrt(a, None).tolist() == [1.0, 2.0]
        assert ndarena.sqrt(a, out=ws.empty(2)).tolist() == [1.0, 2.0]
        assert ndarena.add(a, 1, dtype="f4").dtype == np.float32


def test_shortcuts_keep_no_references():
    dtype, ws = np.dtype("f8"), Workspace(id="W")

    def use_all(a, b):
        np.add(a, b)
        ndarena.add(a, b)
        a + b
        a[1:]
        a.numpy()
        a.fill(1.5)
        a[1:] = b[1:]
        a[b > 0]
        np.where(b > 0, a, b)
        np.sort(a)
        ws.empty((3,), dtype)
        with pytest.raises(ValueError, match="too big"):
            ws.empty((2**40, 3, 2**40), dtype)
        with ws:
            pass

    with ws:
        objects = [ws.ones(4), ws.ones(4), ws, dtype]
        use_all(*objects[:2])  # what a dtype means is remembered
        before = [sys.getrefcount(x) for x in objects]
        for _ in range(100):
            use_all(*objects[:2])
        assert [sys.getrefcount(x) for x in objects] == before


def test_a_workspace_ends_with_its_last_array():
    """Nobody counts the arrays as handles; one is kept for all of them, as long as there are any."""
    arrays = []
    for i in range(3):
        with Workspace(ndarena.WorkspaceConfiguration(initial_size="1 MiB"), f"W{i}") as ws:
            arrays.append(ws.ones(1000))
        del ws
    held = ndarena.allocated_bytes()
    assert [a.validity.name for a in arrays] == ["LEAKED"] * 3
    del arrays[1]
    assert ndarena.allocated_bytes() < held
    assert [a.workspace.id for a in arrays] == ["W0", "W2"]
    closed = arrays.pop()
    closed.close()
    assert closed.workspace.id == "W2"
    del closed
    arrays.clear()
    assert ndarena.allocated_bytes() <= held - 3 * (1 << 20)
