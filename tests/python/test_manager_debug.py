"""Debug modes, and the managers' methods as functions of the module."""

import numpy as np
import pytest
from support import fixed, output_of, run_program

import ndarena as nd

LOOP = "LOOP_EXTERNAL"


@pytest.fixture
def manager():
    return nd.get_workspace_manager()


@pytest.fixture
def conf():
    return fixed(4096)


# ---------------------------------------------------------------- debug modes


def test_debug_mode_is_a_property_of_the_manager(manager):
    """It takes a member or its name in any case, and is also a pair of functions."""
    assert manager.debug_mode is nd.DebugMode.DISABLED
    manager.debug_mode = "spill_everything"
    assert manager.debug_mode is nd.get_debug_mode() is nd.DebugMode.SPILL_EVERYTHING
    nd.set_debug_mode(nd.DebugMode.DISABLED)
    assert manager.debug_mode is nd.DebugMode.DISABLED
    with pytest.raises(nd.ConfigurationError):
        manager.debug_mode = "SPILL_NOTHING"
    assert manager.debug_mode is nd.DebugMode.DISABLED


def test_bypass_gives_dummies(manager, conf):
    """BYPASS_EVERYTHING: new ids get a dummy in which everything is plain and nothing is current."""
    manager.debug_mode = "BYPASS_EVERYTHING"
    dummy = manager.get_workspace_for_current_thread(conf, id=LOOP)
    assert dummy.workspace_type is nd.WorkspaceType.DUMMY
    with dummy as bound:
        assert bound is dummy
        assert nd.get_current_workspace() is None
        for a in (dummy.ones(3), dummy.zeros((2, 2)), dummy.asarray([1]), nd.ones(3), dummy.ones(3) + 1):
            assert type(a) is np.ndarray
    manager.debug_mode = "DISABLED"
    real = manager.get_workspace_for_current_thread(conf, id=LOOP)
    assert real.workspace_type is nd.WorkspaceType.SCOPED


def test_bypass_leaves_existing_workspaces_alone(manager, conf):
    """A workspace made before the mode keeps working."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
    manager.debug_mode = "BYPASS_EVERYTHING"
    with ws:
        assert ws.ones(3).workspace is ws
    assert manager.get_workspace_for_current_thread(id=LOOP) is ws


@pytest.mark.parametrize("mode", ["SPILL_EVERYTHING", "BYPASS_EVERYTHING"])
def test_debug_mode_from_the_environment(mode):
    """The environment variable sets the mode at import."""
    program = "import ndarena; print(ndarena.get_debug_mode().name)"
    assert output_of(program, env={"NDARENA_DEBUG": mode}).strip() == mode


def test_an_unknown_mode_in_the_environment():
    """Another value is a ConfigurationError at import that names the variable's value."""
    done = run_program("import ndarena", env={"NDARENA_DEBUG": "EVERYTHING"})
    assert done.returncode != 0
    assert "ConfigurationError" in done.stderr
    assert "EVERYTHING" in done.stderr


# ---------------------------------------------------------------- the module


@pytest.mark.parametrize(
    "name",
    [
        "create_new_workspace",
        "get_workspace_for_current_thread",
        "get_and_activate_workspace",
        "set_workspace_for_current_thread",
        "check_if_workspace_exists",
        "check_if_workspace_exists_and_active",
        "any_workspace_active_for_current_thread",
        "get_all_workspaces_ids_for_current_thread",
        "get_all_workspaces_for_current_thread",
        "destroy_workspace",
        "destroy_all_workspaces_for_current_thread",
        "print_allocation_statistics_for_current_thread",
        "allocation_statistics",
        "scope_out_of_workspaces",
        "allocated_bytes",
        "toggle_periodic_gc",
        "set_auto_gc_window",
        "gc_policy",
        "invoke_gc",
        "set_occasional_gc_frequency",
        "invoke_gc_occasionally",
    ],
)
def test_methods_of_the_managers_are_functions_of_the_module(name):
    """Every method of the two managers is there under the same name, and documented."""
    assert callable(getattr(nd, name))
    assert getattr(nd, name).__doc__
    assert hasattr(nd.get_workspace_manager(), name) or hasattr(nd.get_memory_manager(), name)
    assert name in nd.__all__


def test_functions_of_the_module_do_what_the_methods_do(manager, conf):
    """A round through the functional form."""
    ws = nd.create_new_workspace(conf, id="A")
    assert manager.get_workspace_for_current_thread(id="A") is ws
    nd.set_workspace_for_current_thread(ws, "B")
    assert sorted(nd.get_all_workspaces_ids_for_current_thread()) == ["A", "B"]
    with nd.get_and_activate_workspace(id="A") as current:
        assert current is ws
        ws.zeros(1)
        assert nd.check_if_workspace_exists_and_active("A")
    nd.set_current_workspace(ws)
    assert manager is nd.get_workspace_manager()
    assert nd.get_memory_manager().current_workspace is ws
    nd.set_current_workspace(None)
    nd.destroy_workspace(ws)
    assert ws.is_destroyed
