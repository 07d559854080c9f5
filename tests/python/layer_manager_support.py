"""What the tests of `LayerWorkspaceMgr` share: managers, what they may change, and refusals."""

import numpy as np
import pytest
from support import MIB, fixed, held_bytes

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr

ACT = ArrayType.ACTIVATIONS
GRAD = ArrayType.ACTIVATION_GRAD
WORK = ArrayType.FF_WORKING_MEM
INPUT = ArrayType.INPUT
CONF = fixed(MIB)


def manager():
    """ACTIVATIONS in ACT, FF_WORKING_MEM in WORK, INPUT scoped out, the others unconfigured."""
    builder = LayerWorkspaceMgr.builder().with_(ACT, "ACT", CONF).with_(WORK, "WORK", CONF)
    return builder.no_workspace_for(INPUT).build()


def another():
    """Another registered workspace that no role names."""
    return ndarena.get_workspace_for_current_thread(CONF, id="OTHER")


def workspace_of(name):
    return ndarena.get_workspace_for_current_thread(id=name)


def state():
    """Everything of this thread that a refused call might have changed."""
    workspaces = ndarena.get_all_workspaces_for_current_thread()
    return (
        {w.id: w.stats().to_dict() for w in workspaces},
        ndarena.get_current_workspace(),
        held_bytes(),
    )


def roles(manager):
    return [
        (
            t.name,
            manager.is_scoped_out(t),
            manager.get_workspace_name(t),
            manager.get_configuration(t),
            manager.has_configuration(t),
        )
        for t in ArrayType.members()
    ]


def refused(error, call, *args, **kwargs):
    """Call, expecting exactly this error and no change; give the error."""
    before = state()
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert state() == before
    return caught.value


def unconfigured_calls(manager, t):
    a = np.ones(3)
    return {
        "notify_scope_entered": lambda: manager.notify_scope_entered(t),
        "notify_scope_borrowed": lambda: manager.notify_scope_borrowed(t),
        "is_workspace_open": lambda: manager.is_workspace_open(t),
        "assert_open": lambda: manager.assert_open(t),
        "assert_not_open": lambda: manager.assert_not_open(t),
        "assert_current_workspace": lambda: manager.assert_current_workspace(t),
        "create": lambda: manager.create(t, 3),
        "create_uninitialized": lambda: manager.create_uninitialized(t, 3),
        "dup": lambda: manager.dup(t, a),
        "cast_to": lambda: manager.cast_to(t, "f4", a),
        "validate_array_location": lambda: manager.validate_array_location(t, a),
    }
