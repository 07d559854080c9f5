"""The workspace manager: a registry per thread, its queries, its assertions, debug modes and scoping out."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import fixed, held_bytes, in_thread

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration

LOOP = "LOOP_EXTERNAL"


@pytest.fixture
def manager():
    return nd.get_workspace_manager()


@pytest.fixture
def conf():
    return fixed(4096)


# ---------------------------------------------------------------- getting and creating


def test_the_manager_is_one(manager):
    """There is one manager, in every thread the same object; it does not pickle."""
    assert nd.get_workspace_manager() is manager
    assert in_thread(nd.get_workspace_manager) is manager
    assert isinstance(manager, nd.WorkspaceManager)
    with pytest.raises(TypeError):
        pickle.dumps(manager)


def test_get_makes_once_and_never_enters(manager, conf):
    """The first get creates and registers, later ones give the same object; none enters."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
    assert manager.get_workspace_for_current_thread(conf, id=LOOP) is ws
    assert manager.get_workspace_for_current_thread(id=LOOP) is ws
    assert ws.configuration == conf
    assert not ws.is_scope_active
    assert nd.get_current_workspace() is None


def test_get_and_activate_enters(manager, conf):
    """It returns the open scope of the registered workspace."""
    with manager.get_and_activate_workspace(conf, id=LOOP) as ws:
        assert ws is manager.get_workspace_for_current_thread(id=LOOP)
        assert nd.get_current_workspace() is ws
        with manager.get_and_activate_workspace(id=LOOP) as again:
            assert again is ws
            assert ws.generation_id == 1
    assert not ws.is_scope_active


def test_the_default_id_and_configuration(manager, conf):
    """Without arguments a get uses the default id and the default configuration of the moment."""
    manager.default_workspace_configuration = conf
    ws = manager.get_workspace_for_current_thread()
    assert ws.id == nd.DEFAULT_WORKSPACE_ID
    assert ws.configuration == conf == nd.get_default_workspace_configuration()
    nd.set_default_workspace_configuration(WorkspaceConfiguration())
    assert manager.get_workspace_for_current_thread() is ws
    assert manager.get_workspace_for_current_thread(id="OTHER").configuration == WorkspaceConfiguration()


def test_the_default_configuration_is_of_the_process(manager, conf):
    """It counts for workspaces that other threads create too."""
    manager.default_workspace_configuration = conf
    assert in_thread(lambda: nd.get_workspace_for_current_thread(id="T").configuration) == conf


@pytest.mark.parametrize("value", [None, "STRICT", {}, 3])
def test_the_default_configuration_must_be_one(manager, value):
    """Anything else is refused and the former stays."""
    before = manager.default_workspace_configuration
    with pytest.raises((TypeError, nd.ConfigurationError)):
        manager.default_workspace_configuration = value
    assert manager.default_workspace_configuration == before


@pytest.mark.parametrize("get", ["get_workspace_for_current_thread", "get_and_activate_workspace"])
def test_another_configuration_under_the_same_id_is_refused(manager, conf, get):
    """The error names the fields that differ; the existing workspace is untouched; an equal one is fine."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
    other = conf.replace(policy_spill="FAIL", alignment=128)
    with pytest.raises(nd.ConfigurationError, match=r"(?s)policy_spill.*alignment|alignment.*policy_spill"):
        getattr(manager, get)(other, id=LOOP)
    assert manager.get_workspace_for_current_thread(id=LOOP) is ws
    assert ws.configuration == conf
    assert not ws.is_scope_active
    assert manager.get_workspace_for_current_thread(copy.copy(conf), id=LOOP) is ws


def test_create_replaces_a_closed_workspace(manager, conf):
    """Creating over an existing id destroys the old workspace if it is closed."""
    old = manager.create_new_workspace(conf, id=LOOP)
    with old:
        a = old.ones(3)
    new = manager.create_new_workspace(conf, id=LOOP)
    assert new is not old
    assert old.is_destroyed
    assert a.validity is nd.Validity.DESTROYED
    assert manager.get_workspace_for_current_thread(id=LOOP) is new


def test_create_refuses_to_replace_an_open_workspace(manager, conf):
    """Over an open one: ScopeError, nothing changed."""
    old = manager.create_new_workspace(conf, id=LOOP)
    with old:
        a = old.ones(3)
        with pytest.raises(nd.ScopeError) as caught:
            manager.create_new_workspace(conf, id=LOOP)
        assert caught.value.workspace_id == LOOP
        assert a.tolist() == [1, 1, 1]
    assert manager.get_workspace_for_current_thread(id=LOOP) is old


def test_a_string_as_configuration_says_id(manager):
    """A text in the place of the configuration is a TypeError that says `id=`."""
    for make in (
        Workspace,
        manager.create_new_workspace,
        manager.get_workspace_for_current_thread,
        manager.get_and_activate_workspace,
        nd.get_workspace_for_current_thread,
    ):
        with pytest.raises(TypeError, match="id="):
            make("LOOP")
    assert manager.get_all_workspaces_ids_for_current_thread() == []


@pytest.mark.parametrize("wrong", [3, b"W", ["W"]])
def test_an_id_is_a_text(manager, wrong):
    """Anything else as id is a TypeError."""
    with pytest.raises(TypeError):
        manager.get_workspace_for_current_thread(id=wrong)
    with pytest.raises(TypeError):
        Workspace(id=wrong)


def test_registering_a_workspace(manager, conf):
    """`set_workspace_for_current_thread` registers, under its own or a given id, and enters nothing."""
    ws = Workspace(conf, "OWN")
    assert not manager.check_if_workspace_exists("OWN")
    manager.set_workspace_for_current_thread(ws)
    assert manager.get_workspace_for_current_thread(id="OWN") is ws
    manager.set_workspace_for_current_thread(ws, "ALIAS")
    assert manager.get_workspace_for_current_thread(id="ALIAS") is ws
    assert not ws.is_scope_active


def test_registering_another_threads_workspace_is_refused(manager, conf):
    """It is a WrongThreadError and nothing is registered."""
    with ThreadPoolExecutor(1) as other:
        foreign = other.submit(Workspace, conf, "FOREIGN").result()
        with pytest.raises(nd.WrongThreadError):
            manager.set_workspace_for_current_thread(foreign)
    assert not manager.check_if_workspace_exists("FOREIGN")


def test_every_way_gives_the_same_object(manager, conf):
    """current_workspace, an array's workspace, the registry and `with … as` give one object."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
    with ws.notify_scope_entered() as bound:
        a = ws.ones(1)
        objects = [
            bound,
            a.workspace,
            nd.get_memory_manager().current_workspace,
            nd.get_current_workspace(),
            manager.get_workspace_for_current_thread(id=LOOP),
            manager.get_all_workspaces_for_current_thread()[0],
            (a + 1).workspace,
        ]
        assert all(o is ws for o in objects)


# ---------------------------------------------------------------- queries


def test_queries(manager, conf):
    """Existence, activity, ids and objects of this thread's registry."""
    assert not manager.any_workspace_active_for_current_thread()
    a = manager.get_workspace_for_current_thread(conf, id="A")
    b = manager.get_workspace_for_current_thread(conf, id="B")
    assert manager.check_if_workspace_exists("A")
    assert not manager.check_if_workspace_exists("C")
    assert not manager.check_if_workspace_exists_and_active("A")
    assert sorted(manager.get_all_workspaces_ids_for_current_thread()) == ["A", "B"]
    assert set(manager.get_all_workspaces_for_current_thread()) == {a, b}
    with a:
        a.zeros(1)
        assert manager.any_workspace_active_for_current_thread()
        assert manager.check_if_workspace_exists_and_active("A")
        assert not manager.check_if_workspace_exists_and_active("B")
        assert not manager.check_if_workspace_exists_and_active("C")
    assert not manager.any_workspace_active_for_current_thread()


def test_lists_are_copies(manager, conf):
    """Changing what a query returned does not change the registry."""
    manager.get_workspace_for_current_thread(conf, id="A")
    manager.get_all_workspaces_ids_for_current_thread().clear()
    manager.get_all_workspaces_for_current_thread().clear()
    assert manager.check_if_workspace_exists("A")


def test_the_registry_is_per_thread(manager, conf):
    """The same id in another thread is another workspace."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)

    def other():
        assert not manager.check_if_workspace_exists(LOOP)
        theirs = manager.get_workspace_for_current_thread(conf, id=LOOP)
        return theirs is ws, theirs.thread_id == threading.get_ident()

    assert in_thread(other) == (False, True)
    assert manager.get_all_workspaces_for_current_thread() == [ws]


# ---------------------------------------------------------------- destroying


def test_destroy_by_the_manager(manager, conf):
    """The workspace is destroyed and its id is free."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
    manager.destroy_workspace(ws)
    assert ws.is_destroyed
    assert not manager.check_if_workspace_exists(LOOP)
    manager.destroy_workspace(ws)


def test_destroy_without_argument_means_the_default(manager, conf):
    """It destroys the default workspace, and nothing if there is none."""
    manager.destroy_workspace()
    ws = manager.get_workspace_for_current_thread(conf)
    other = manager.get_workspace_for_current_thread(conf, id="OTHER")
    manager.destroy_workspace()
    assert ws.is_destroyed
    assert not other.is_destroyed
    assert manager.get_all_workspaces_ids_for_current_thread() == ["OTHER"]


def test_destroy_all(manager, conf):
    """Every workspace of the thread is destroyed, open ones too; the memory is back."""
    held = held_bytes()
    workspaces = [manager.get_workspace_for_current_thread(conf, id=f"W{i}") for i in range(5)]
    scope = workspaces[2].notify_scope_entered()
    a = workspaces[2].ones(3)
    manager.destroy_all_workspaces_for_current_thread()
    assert all(ws.is_destroyed for ws in workspaces)
    assert a.validity is nd.Validity.DESTROYED
    assert manager.get_all_workspaces_ids_for_current_thread() == []
    assert nd.allocated_bytes() == held
    scope.close()
    assert nd.get_current_workspace() is None


def test_destroy_all_is_of_this_thread(manager, conf):
    """Workspaces of other threads live on."""
    ready, done = threading.Event(), threading.Event()
    alive = []

    def other():
        ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
        ready.set()
        done.wait(60)
        alive.append(not ws.is_destroyed)

    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(60)
    manager.destroy_all_workspaces_for_current_thread()
    done.set()
    thread.join(timeout=60)
    assert alive == [True]


@pytest.mark.parametrize("way", ["manager", "workspace"])
def test_destroy_from_another_thread(manager, conf, way):
    """By the manager: allowed unless a scope is open. By the workspace itself: the owner's alone."""
    ws = manager.get_workspace_for_current_thread(conf, id=LOOP)
    with ws:
        a = ws.ones(3)
        with pytest.raises(nd.WrongThreadError):
            if way == "manager":
                in_thread(manager.destroy_workspace, ws)
            else:
                in_thread(ws.destroy_workspace)
        assert a.tolist() == [1, 1, 1]
    if way == "manager":
        in_thread(manager.destroy_workspace, ws)
        assert ws.is_destroyed
        assert a.validity is nd.Validity.DESTROYED
        assert not manager.check_if_workspace_exists(LOOP)


# ---------------------------------------------------------------- statistics


def test_printed_statistics(manager, conf, capsys):
    """One line per workspace on standard output, with its id."""
    for i in range(3):
        manager.get_workspace_for_current_thread(conf, id=f"WS-{i}")
    manager.print_allocation_statistics_for_current_thread()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(sum(f"WS-{i}" in line for line in lines) == 1 for i in range(3))


def test_statistics_of_all_threads(manager, conf):
    """`allocation_statistics` lists the workspaces of all living threads."""
    ready, done = threading.Event(), threading.Event()

    def other():
        manager.get_workspace_for_current_thread(conf, id="THEIRS")
        ready.set()
        done.wait(60)

    manager.get_workspace_for_current_thread(conf, id="MINE")
    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(60)
    statistics = manager.allocation_statistics()
    done.set()
    thread.join(timeout=60)
    assert {"MINE", "THEIRS"} <= {s.id for s in statistics}
    assert all(isinstance(s, nd.WorkspaceStats) for s in statistics)


# ---------------------------------------------------------------- scoping out


@pytest.mark.parametrize("owner", ["manager", "memory", "module"])
def test_scope_out(conf, owner):
    """Inside, no workspace is current while all stay open; new arrays are plain; it ends as it began."""
    source = {"manager": nd.get_workspace_manager(), "memory": nd.get_memory_manager(), "module": nd}[owner]
    ws = nd.get_workspace_for_current_thread(conf, id=LOOP)
    with ws:
        a = ws.ones(3)
        with source.scope_out_of_workspaces():
            assert nd.get_current_workspace() is None
            assert ws.is_scope_active
            assert nd.any_workspace_active_for_current_thread()
            assert type(nd.ones(3)) is np.ndarray
            assert type(a + 1) is np.ndarray
            assert a.tolist() == [1, 1, 1]
            assert ws.ones(2).workspace is ws
        assert nd.get_current_workspace() is ws
        assert ws.generation_id == 1
        assert (a + 1).workspace is ws


def test_scope_out_nests_with_entering(conf):
    """Entering inside a scope-out continues an open cycle; closing restores step by step."""
    ws = nd.get_workspace_for_current_thread(conf, id=LOOP)
    with ws:
        a = ws.ones(1)
        with nd.scope_out_of_workspaces():
            with ws:
                assert nd.get_current_workspace() is ws
                assert ws.generation_id == 1
            assert nd.get_current_workspace() is None
            with nd.scope_out_of_workspaces():
                assert nd.get_current_workspace() is None
        assert nd.get_current_workspace() is ws
        assert a.is_in_scope


def test_scope_out_of_nothing():
    """Without a current workspace it changes nothing."""
    with nd.scope_out_of_workspaces():
        assert nd.get_current_workspace() is None
    assert nd.get_current_workspace() is None


# ---------------------------------------------------------------- assertions


def test_assert_no_workspaces_open(conf):
    """It raises a ScopeError with the text and the open ids; scoped out may be allowed."""
    ws = nd.get_workspace_for_current_thread(conf, id=LOOP)
    nd.assert_no_workspaces_open("before")
    with ws:
        ws.zeros(1)
        with pytest.raises(nd.ScopeError, match=rf"(?s)inside.*{LOOP}") as caught:
            nd.assert_no_workspaces_open("inside")
        assert caught.value.open_workspaces == (LOOP,)
        with pytest.raises(nd.ScopeError):
            nd.assert_no_workspaces_open("inside", allow_scoped_out=True)
        with nd.scope_out_of_workspaces():
            nd.assert_no_workspaces_open("out", allow_scoped_out=True)
            with pytest.raises(nd.ScopeError):
                nd.assert_no_workspaces_open("out")


def test_assert_open_and_active(conf):
    """Unknown or closed: ScopeError with the text; open: nothing, current or not."""
    a, b = (nd.get_workspace_for_current_thread(conf, id=i) for i in "AB")
    for name in ("A", "C"):
        with pytest.raises(nd.ScopeError, match="needed"):
            nd.assert_open_and_active(name, "needed")
    with a, b:
        a.zeros(1), b.zeros(1)
        nd.assert_open_and_active("A", "needed")
        nd.assert_open_and_active("B", "needed")


def test_assert_open_active_and_current(conf):
    """Open is not enough: it must be current too, and the error names the one that is."""
    a, b = (nd.get_workspace_for_current_thread(conf, id=i) for i in ("FIRST", "SECOND"))
    with pytest.raises(nd.ScopeError, match="needed"):
        nd.assert_open_active_and_current("FIRST", "needed")
    with a:
        a.zeros(1)
        nd.assert_open_active_and_current("FIRST", "needed")
        with b, pytest.raises(nd.ScopeError, match=r"(?s)needed.*SECOND"):
            b.zeros(1)
            nd.assert_open_active_and_current("FIRST", "needed")
        with nd.scope_out_of_workspaces(), pytest.raises(nd.ScopeError):
            nd.assert_open_active_and_current("FIRST", "needed")


def test_assert_valid_array(conf):
    """Plain arrays and valid ones pass; a stale one raises its own error with the text."""
    ws = nd.get_workspace_for_current_thread(conf, id=LOOP)
    nd.assert_valid_array(np.ones(3), "checked")
    with ws:
        a = ws.ones(3)
        nd.assert_valid_array(a, "checked")
    with pytest.raises(nd.LeakedArrayError, match="checked") as caught:
        nd.assert_valid_array(a, "checked")
    assert caught.value.workspace_id == LOOP
