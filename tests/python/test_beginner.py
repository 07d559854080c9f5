"""The commonest mistakes of a beginner: what is raised names a cure, and the cure, applied literally, works.

Each test makes the mistake, looks for the words of the cure in the message, and then does what they say.
"""

import inspect

import numpy as np
import pytest
from support import fixed, in_thread

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration


@pytest.fixture
def ws():
    return nd.get_workspace_for_current_thread(fixed(64 * 1024), id="LOOP")


def message(caught):
    return str(caught.value)


def test_returning_an_array_from_the_scope(ws):
    """1. An array kept over the end of its scope: `detach()` inside."""

    def loss(cure):
        with ws:
            a = ws.full(3, 2.0)
            return a.detach() if cure else a

    with pytest.raises(nd.LeakedArrayError) as caught:
        loss(cure=False).sum()
    assert "detach()" in message(caught)
    assert loss(cure=True).sum() == 6


def test_collecting_arrays_over_the_turns(ws):
    """2. A list that grows turn by turn: `leverage_to(id)` moves each into a workspace that lives longer."""
    history = nd.get_workspace_for_current_thread(fixed(64 * 1024), id="HISTORY")

    def losses(cure):
        kept = []
        for i in range(3):
            with ws:
                a = ws.full(1, float(i))
                kept.append(a.leverage_to("HISTORY") if cure else a)
        with ws:
            return [a.item() for a in kept]

    with history:
        history.zeros(1)
        with pytest.raises(nd.OutdatedArrayError) as caught:
            losses(cure=False)
        assert "leverage_to(" in message(caught)
        assert losses(cure=True) == [0, 1, 2]


def test_making_an_array_without_entering(ws):
    """3. Creating in a workspace that is not open: enter it."""
    with pytest.raises(nd.ScopeError) as caught:
        ws.zeros(3)
    assert "notify_scope_entered()" in message(caught) or "with" in message(caught)
    assert "enter" in message(caught).lower()
    with ws.notify_scope_entered():
        assert ws.zeros(3).sum() == 0


def test_an_id_in_the_place_of_the_configuration():
    """4. `Workspace("LOOP")`: write `id=`."""
    with pytest.raises(TypeError) as caught:
        Workspace("LOOP")
    assert "id=" in message(caught)
    assert Workspace(id="LOOP").id == "LOOP"


def test_a_ring_with_the_default_limit():
    """5. A ring needs a whole number of further blocks: the field to change is named."""
    with pytest.raises(nd.ConfigurationError) as caught:
        WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED")
    assert caught.value.field == "overallocation_limit"
    assert caught.value.value == 0.3
    assert "overallocation_limit" in message(caught)
    assert "whole number" in message(caught)
    cured = WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", **{caught.value.field: 3})
    assert Workspace(cured).workspace_type is nd.WorkspaceType.CIRCULAR


def test_fail_before_anything_is_learned():
    """6. FAIL with learning from size 0 could never serve anything: the field to change is named."""
    with pytest.raises(nd.ConfigurationError) as caught:
        WorkspaceConfiguration(policy_spill="FAIL")
    assert caught.value.field in {"initial_size", "policy_spill"}
    assert "initial_size" in message(caught)
    cured = Workspace(WorkspaceConfiguration(policy_spill="FAIL", initial_size="1 MiB"))
    with cured:
        assert cured.ones(3).sum() == 3


def test_the_same_id_with_another_configuration(ws):
    """7. An existing workspace asked for with other wishes: the field is named; without any it is found."""
    with pytest.raises(nd.ConfigurationError) as caught:
        nd.get_workspace_for_current_thread(fixed(128 * 1024), id="LOOP")
    assert "initial_size" in message(caught)
    assert nd.get_workspace_for_current_thread(id="LOOP") is ws


def test_a_workspace_carried_into_a_thread(ws):
    """8. A workspace belongs to the thread that made it: each thread gets its own under the same id."""

    def use(theirs):
        with theirs:
            return float(theirs.ones(3).sum())

    with pytest.raises(nd.WrongThreadError) as caught:
        in_thread(use, ws)
    assert "get_workspace_for_current_thread(" in message(caught)
    assert in_thread(lambda: use(nd.get_workspace_for_current_thread(ws.configuration, id="LOOP"))) == 3


def test_an_unknown_name(ws):
    """9. Leverage to a workspace that this thread does not have: make it."""
    with ws:
        a = ws.ones(3)
        with pytest.raises(nd.UnknownWorkspaceError) as caught:
            a.leverage_to("OUTER", enforce_existence=True)
        assert "get_workspace_for_current_thread(id=" in message(caught)
        assert "OUTER" in message(caught)
        outer = nd.get_workspace_for_current_thread(id="OUTER")
        with outer, ws:
            assert a.leverage_to("OUTER", enforce_existence=True).workspace is outer


def test_plain_operands_in_a_scope(ws):
    """10. A workspace that stays empty because its operands are plain: bring them in with `asarray`."""
    x = np.ones(3)
    for _ in range(2):
        with ws:
            assert type(x + x) is np.ndarray
    with pytest.warns(nd.UnusedWorkspaceWarning) as caught, ws:
        assert type(x + x) is np.ndarray
    assert "asarray" in str(caught[0].message)
    with ws:
        x = ws.asarray(x)
        assert (x + x).workspace is ws


def test_closing_once_too_often(ws):
    """11. `close()` after `with`: the message says that no scope is open; a Scope may be closed twice."""
    with ws:
        ws.zeros(1)
    with pytest.raises(nd.ScopeError) as caught:
        ws.close()
    assert "LOOP" in message(caught)
    assert "no" in message(caught).lower()
    assert "open" in message(caught)
    scope = ws.notify_scope_entered()
    scope.close()
    scope.close()


def test_a_view_that_leaves_the_scope():
    """12. A NumPy view handed out under RAISE: `detach()` gives a copy that may leave."""
    ws = Workspace(fixed(4096, policy_escape="RAISE"), "STRICT")
    with pytest.raises(nd.EscapedViewError) as caught, ws:
        view = ws.ones(3).numpy()
    assert "detach()" in message(caught)
    assert view.tolist() == [1, 1, 1]
    with ws:
        copy = ws.ones(3).detach()
    assert copy.tolist() == [1, 1, 1]


def test_objects_in_a_workspace(ws):
    """13. Elements that are references cannot lie in a workspace: NumPy's own array is named."""
    with ws, pytest.raises(TypeError) as caught:
        ws.zeros(3, dtype=object)
    assert "object" in message(caught)


def test_using_a_destroyed_workspace(ws):
    """14. A workspace used after `destroy_workspace()`: its id is free, get a new one."""
    ws.destroy_workspace()
    with pytest.raises(nd.DestroyedWorkspaceError) as caught:
        ws.notify_scope_entered()
    assert "get_workspace_for_current_thread(id=" in message(caught)
    assert nd.get_workspace_for_current_thread(id="LOOP").generation_id == 0


def test_a_batch_read_too_late():
    """15. A consumer that lags behind a ring: a view holds the block, a copy is free of it."""
    ring = Workspace(
        WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1), "RING"
    )

    def batch(i):
        with ring:
            return ring.full(8, float(i))

    batch(0)
    late = batch(1)
    batch(2), batch(3)
    with pytest.raises(nd.OverwrittenArrayError) as caught:
        late.sum()
    assert "detach()" in message(caught)
    assert "numpy()" in message(caught)
    held, copied = batch(4).numpy(), batch(5).detach()
    batch(6), batch(7), batch(8)
    assert held.tolist() == [4.0] * 8
    assert copied.tolist() == [5.0] * 8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Workspace(id=3), "id must be a str, not int"),
        (lambda: Workspace(id=None), "id must be a str, not None"),
        (lambda: nd.create_new_workspace(3), "configuration must be a WorkspaceConfiguration, not int"),
        (lambda: nd.get_workspace_for_current_thread(id=b"LOOP"), "id must be a str, not bytes"),
        (lambda: nd.get_workspace_manager().get_and_activate_workspace(id=3), "id must be a str, not int"),
        (lambda: nd.check_if_workspace_exists(3), "id must be a str, not int"),
        (
            lambda: Workspace(initial_size=3),
            "Workspace() got an unexpected keyword argument 'initial_size'; it t",
        ),
        (lambda: nd.destroy_workspace(3), "ws must be a Workspace, not int"),
        (
            lambda: nd.destroy_workspace("LOOP"),
            "ws must be a Workspace, not str; get_workspace_for_current_thread(id=…) gives the one of an id",
        ),
        (lambda: nd.set_workspace_for_current_thread(None), "ws must be a Workspace, not None"),
        (lambda: nd.set_current_workspace("LOOP"), "ws must be a Workspace, not str; get_workspace"),
        (lambda: setattr(nd.get_memory_manager(), "current_workspace", 3), "ws must be a Workspace, not int"),
        (lambda: Workspace().toggle_workspace_use("no"), "use_workspace must be True or False, not str"),
        (lambda: Workspace().enable_debug(1), "debug must be True or False, not int"),
        (lambda: Workspace().notify_scope_entered(capture_numpy=1), "capture_numpy must be True or False"),
        (lambda: nd.toggle_periodic_gc("off"), "enabled must be True or False, not str"),
        (lambda: nd.set_auto_gc_window("x"), "auto_gc_window must be a whole number, not str"),
        (lambda: nd.set_auto_gc_window(None), "auto_gc_window must be a whole number, not None"),
        (lambda: nd.gc_policy(auto_gc_window=0.5), "auto_gc_window must be a whole number, not float"),
        (lambda: nd.set_occasional_gc_frequency(True), "n must be a whole number, not bool"),
        (lambda: nd.assert_no_workspaces_open(3), "msg must be a str, not int"),
        (lambda: nd.assert_no_workspaces_open("", 3), "allow_scoped_out must be True or False, not int"),
        (lambda: nd.leverage_to(np.ones(3), 3), "id must be a str, not int"),
        (lambda: nd.migrate(np.ones(3), "yes"), "detach_on_no_workspace must be True or False, not str"),
        (lambda: nd.LayerWorkspaceMgr({}).set_no_leverage_override(3), "name must be a str, not int"),
        (lambda: nd.LayerWorkspaceMgr({}).assert_open("INPUT", 3), "msg must be a str, not int"),
    ],
)
def test_an_argument_of_another_type(call, words):
    """16. The parameter is named, with what it must be and what was given."""
    with pytest.raises(TypeError) as caught:
        call()
    assert message(caught).startswith(words)


def test_a_number_that_is_no_count():
    """17. Numbers below 0, and those that no machine counts to, are `ValueError`s."""
    for number in (-1, 2**64):
        with pytest.raises(ValueError, match=rf"auto_gc_window must be at least 0 .*, not {number}"):
            nd.set_auto_gc_window(number)


def test_a_field_that_does_not_exist():
    """18. A field whose name was guessed: the message lists those there are."""
    for call in (WorkspaceConfiguration, WorkspaceConfiguration.nd4j, WorkspaceConfiguration().replace):
        with pytest.raises(TypeError, match="unexpected keyword argument 'learning_policy'") as caught:
            call(learning_policy="NONE")
        fields = message(caught).partition("the fields are ")[2].split(", ")
        assert fields == list(inspect.signature(WorkspaceConfiguration).parameters)
        assert "policy_learning" in fields
