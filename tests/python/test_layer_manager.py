"""LayerWorkspaceMgr and ArrayType: the ancestor's rules, method by method, and where ours differ."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from support import MIB, fixed, held_bytes, in_thread, learning, ring

import ndarena
from ndarena import (
    ArrayLocationError,
    ArrayType,
    ConfigurationError,
    DestroyedArrayError,
    LayerWorkspaceMgr,
    ScopeError,
    StaleArrayError,
    WorkspaceArray,
)

ACT = ArrayType.ACTIVATIONS
GRAD = ArrayType.ACTIVATION_GRAD
WORK = ArrayType.FF_WORKING_MEM
INPUT = ArrayType.INPUT
CONF = fixed(MIB)
NAMES = [
    "INPUT",
    "ACTIVATIONS",
    "ACTIVATION_GRAD",
    "FF_WORKING_MEM",
    "BP_WORKING_MEM",
    "RNN_FF_LOOP_WORKING_MEM",
    "RNN_BP_LOOP_WORKING_MEM",
    "UPDATER_WORKING_MEM",
    "FF_CACHE",
]


@pytest.fixture(autouse=True)
def settled():
    """Let no garbage of earlier tests give memory back while bytes are compared."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def mgr():
    """ACTIVATIONS in ACT, FF_WORKING_MEM in WORK, INPUT scoped out, the others unconfigured."""
    builder = LayerWorkspaceMgr.builder().with_(ACT, "ACT", CONF).with_(WORK, "WORK", CONF)
    return builder.no_workspace_for(INPUT).build()


@pytest.fixture
def other():
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
        ndarena.allocated_bytes(),
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


class TestArrayType:
    def test_has_the_nine_members_in_order(self):
        assert [t.name for t in ArrayType.members()] == NAMES
        assert list(ArrayType.__members__) == NAMES
        assert all(ArrayType.__members__[n] is getattr(ArrayType, n) for n in NAMES)
        assert len(set(ArrayType.members())) == len(NAMES)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_member_is_its_name(self, name):
        t = getattr(ArrayType, name)
        assert (t.name, t.value) == (name, name)
        assert repr(t) == str(t) == f"ArrayType.{name}"
        assert ArrayType(name) is ArrayType(name.lower()) is ArrayType(t) is t

    def test_equals_its_number_and_hashes_like_it(self):
        for number, t in enumerate(ArrayType.members()):
            assert t == number == int(t)
            assert hash(t) == hash(number)
            assert {t: "here"}[number] == "here"
        assert ACT != GRAD
        assert ACT != "ACTIVATIONS"

    @pytest.mark.parametrize("name", NAMES)
    def test_pickles_and_copies_to_itself(self, name):
        t = getattr(ArrayType, name)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(t, protocol)) is t
        assert copy.copy(t) is copy.deepcopy(t) is t

    def test_is_immutable_and_final(self):
        with pytest.raises(AttributeError):
            ACT.name = "X"
        with pytest.raises(TypeError):
            ArrayType.__members__["X"] = ACT
        with pytest.raises(TypeError):
            type("Mine", (ArrayType,), {})

    def test_every_method_takes_names_in_any_case(self, mgr):
        with mgr.notify_scope_entered("activations", "Ff_Working_Mem") as ws:
            assert ws.id == "WORK"
            assert mgr.create("ACTIVATIONS", 3).workspace.id == "ACT"
            mgr.assert_open("aCtIvAtIoNs")
        assert mgr.is_scoped_out("input")
        mgr.set_workspace("input", "IN", CONF)
        assert mgr.get_workspace_name("INPUT") == "IN"

    def test_an_unknown_name_is_refused_with_the_known_ones(self, mgr):
        error = refused(ConfigurationError, mgr.create, "ACTIVATION", 3)
        assert "ACTIVATION_GRAD" in str(error)
        assert (error.field, error.value) == ("array_type", "ACTIVATION")
        refused(ConfigurationError, ArrayType, "no such type")

    @pytest.mark.parametrize("wrong", [None, 1, 1.0, b"INPUT", ("INPUT",)])
    def test_what_is_no_type_is_a_type_error(self, mgr, wrong):
        refused(TypeError, mgr.create, wrong, 3)
        refused(TypeError, mgr.is_scoped_out, wrong)
        refused(TypeError, mgr.notify_scope_entered, ACT, wrong)
        refused(TypeError, LayerWorkspaceMgr, {wrong: None})


class TestBuilder:
    def test_without_a_default_unnamed_types_are_unconfigured(self):
        manager = LayerWorkspaceMgr.builder().with_(ACT, "A", CONF).build()
        assert [t for t in ArrayType.members() if manager.has_configuration(t)] == [ACT]

    def test_default_no_workspace(self):
        manager = LayerWorkspaceMgr.builder().with_(ACT, "A", CONF).default_no_workspace().build()
        assert not manager.is_scoped_out(ACT)
        assert all(manager.is_scoped_out(t) for t in ArrayType.members() if t != ACT)

    def test_default_workspace(self):
        builder = LayerWorkspaceMgr.builder().no_workspace_for(INPUT).default_workspace("D", CONF)
        manager = builder.with_(ACT, "A", CONF).build()
        assert manager.is_scoped_out(INPUT)
        assert manager.get_workspace_name(ACT) == "A"
        rest = [t for t in ArrayType.members() if t not in {INPUT, ACT}]
        assert {manager.get_workspace_name(t) for t in rest} == {"D"}
        assert {manager.get_configuration(t) for t in rest} == {CONF}

    def test_y37_the_last_call_wins(self):
        def built(*steps):
            builder = LayerWorkspaceMgr.builder()
            for step, *args in steps:
                assert getattr(builder, step)(*args) is builder
            manager = builder.build()
            return "out" if manager.is_scoped_out(ACT) else manager.get_workspace_name(ACT)

        out, with_a = ("no_workspace_for", ACT), ("with_", ACT, "A", CONF)
        no_default, default = ("default_no_workspace",), ("default_workspace", "D", CONF)
        assert built(out, with_a) == "A"  # here the ancestor stays scoped out
        assert built(with_a, out) == "out"
        assert built(with_a, no_default) == "A"
        assert built(no_default, with_a) == "A"
        assert built(out, default) == "out"
        assert built(default, out) == "out"
        assert built(no_default, default) == "D"
        assert built(default, no_default) == "out"
        assert built(with_a, ("with_", ACT, "B", CONF)) == "B"

    def test_build_gives_independent_objects(self):
        builder = LayerWorkspaceMgr.builder().with_(ACT, "A", CONF)
        first, second = builder.build(), builder.build()
        builder.no_workspace_for(ACT).with_(GRAD, "G", CONF)
        first.set_workspace_name(ACT, "B")
        first.set_helper_workspace("key", 1)
        assert (first.get_workspace_name(ACT), second.get_workspace_name(ACT)) == ("B", "A")
        assert not first.has_configuration(GRAD)
        assert second.get_helper_workspace("key") is None
        assert builder.build().is_scoped_out(ACT)

    @pytest.mark.parametrize("wrong", [None, "conf", 5])
    def test_a_workspace_needs_a_configuration(self, wrong):
        builder = LayerWorkspaceMgr.builder()
        refused(TypeError, builder.with_, ACT, "A", wrong)
        refused(TypeError, builder.default_workspace, "A", wrong)
        assert not builder.build().has_configuration(ACT)


class TestDirectForm:
    def test_unnamed_types_have_no_workspace(self):
        manager = LayerWorkspaceMgr({ACT: ("A", CONF), "activation_grad": None})
        assert manager.get_workspace_name(ACT) == "A"
        assert manager.get_configuration(ACT) == CONF
        assert all(manager.is_scoped_out(t) for t in ArrayType.members() if t != ACT)

    def test_unnamed_types_get_the_default(self):
        manager = LayerWorkspaceMgr({INPUT: None}, default=("D", CONF))
        assert manager.is_scoped_out(INPUT)
        rest = [t for t in ArrayType.members() if t != INPUT]
        assert {manager.get_workspace_name(t) for t in rest} == {"D"}

    def test_the_default_may_be_positional_and_the_mapping_empty(self):
        assert LayerWorkspaceMgr({}, ("D", CONF)).get_workspace_name(ACT) == "D"
        assert LayerWorkspaceMgr({}).is_scoped_out(ACT)

    @pytest.mark.parametrize("wrong", ["A", ("A",), ("A", None), (CONF, "A"), ("A", CONF, 1), 5])
    def test_what_is_no_workspace_is_a_type_error(self, wrong):
        refused(TypeError, LayerWorkspaceMgr, {ACT: wrong})
        refused(TypeError, LayerWorkspaceMgr, {}, default=wrong)

    def test_an_unknown_type_is_refused(self):
        refused(ConfigurationError, LayerWorkspaceMgr, {"NOTHING": None})

    def test_what_is_no_mapping_is_refused(self):
        for wrong in (["ACTIVATIONS"], None, [("ACTIVATIONS", None)]):
            with pytest.raises(TypeError, match="must be a dict"):
                LayerWorkspaceMgr(wrong)


class TestRoles:
    def test_scoping_out_drops_name_and_configuration(self, mgr):
        mgr.set_scoped_out_for(ACT)
        assert mgr.is_scoped_out(ACT)
        assert mgr.get_workspace_name(ACT) is None
        assert mgr.get_configuration(ACT) is None
        assert mgr.has_configuration(ACT)

    def test_set_workspace_ends_scoping_out(self, mgr):
        mgr.set_workspace(INPUT, "IN", CONF)
        assert not mgr.is_scoped_out(INPUT)
        with mgr.notify_scope_entered(INPUT) as ws:
            assert mgr.create(INPUT, 2).workspace is ws
            assert ws.id == "IN"

    def test_name_and_configuration_are_set_alone(self, mgr):
        assert mgr.get_workspace_name(GRAD) is None
        assert mgr.get_configuration(GRAD) is None
        mgr.set_configuration(GRAD, CONF)
        assert not mgr.has_configuration(GRAD)
        assert "no name" in str(refused(ConfigurationError, mgr.create, GRAD, 3))
        mgr.set_workspace_name(GRAD, "G")
        assert mgr.has_configuration(GRAD)
        with mgr.notify_scope_entered(GRAD) as ws:
            assert (ws.id, ws.configuration) == ("G", CONF)

    def test_a_name_without_configuration_counts_but_does_not_open(self):
        manager = LayerWorkspaceMgr.builder().build()
        manager.set_workspace_name(ACT, "A")
        assert manager.has_configuration(ACT)
        assert "no configuration" in str(refused(ConfigurationError, manager.notify_scope_entered, ACT))

    def test_setting_half_of_it_does_not_end_scoping_out(self, mgr):
        mgr.set_configuration(INPUT, CONF)
        mgr.set_workspace_name(INPUT, "IN")
        assert (mgr.get_workspace_name(INPUT), mgr.get_configuration(INPUT)) == ("IN", CONF)
        assert mgr.is_scoped_out(INPUT)
        assert type(mgr.create(INPUT, 2)) is np.ndarray

    @pytest.mark.parametrize("wrong", [None, "conf"])
    def test_what_is_no_configuration_changes_nothing(self, mgr, wrong):
        before = roles(mgr)
        refused(TypeError, mgr.set_workspace, ACT, "X", wrong)
        refused(TypeError, mgr.set_configuration, ACT, wrong)
        refused(TypeError, mgr.set_workspace_name, ACT, None)
        refused(TypeError, mgr.set_no_leverage_override, None)
        refused(TypeError, mgr.set_helper_workspace, None, 1)
        assert roles(mgr) == before

    def test_repr_names_the_roles(self, mgr):
        text = repr(mgr)
        assert "ACTIVATIONS: [ACT]" in text
        assert "INPUT: no workspace" in text
        assert "ACTIVATION_GRAD: unconfigured" in text

    def test_managers_do_not_pickle(self, mgr):
        for function in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                function(mgr)


class TestUnconfigured:
    @pytest.mark.parametrize("method", unconfigured_calls(None, None))
    def test_y29_an_unconfigured_type_is_named(self, mgr, method):
        error = refused(ConfigurationError, unconfigured_calls(mgr, GRAD)[method])
        assert "ACTIVATION_GRAD" in str(error)
        assert "no configuration" in str(error)
        assert (error.operation, error.argument) == (method, "t")
        assert (error.field, error.value) == ("array_type", "ACTIVATION_GRAD")

    @pytest.mark.parametrize("method", ["create", "dup", "notify_scope_entered", "validate_array_location"])
    def test_the_cure_works(self, mgr, method):
        error = refused(ConfigurationError, unconfigured_calls(mgr, GRAD)[method])
        assert "set_workspace(ArrayType.ACTIVATION_GRAD" in error.reason
        assert "set_scoped_out_for(ArrayType.ACTIVATION_GRAD" in error.reason
        mgr.set_scoped_out_for(GRAD)
        done = unconfigured_calls(mgr, GRAD)[method]()
        if method == "notify_scope_entered":
            done.close()

    def test_attached_arrays_need_a_configured_type(self, mgr, other):
        with other:
            a = other.ones(3)
            refused(ConfigurationError, mgr.leverage_to, GRAD, a)
            refused(ConfigurationError, mgr.validate_array_location, GRAD, a)
            refused(ConfigurationError, mgr.cast_to, GRAD, a.dtype, a)

    def test_a_detached_array_needs_no_configuration_to_stay(self, mgr):
        a = np.ones(3)
        assert mgr.leverage_to(GRAD, a) is a
        assert mgr.cast_to(GRAD, a.dtype, a) is a


class TestScopes:
    def test_entering_makes_the_workspace_and_a_cycle(self, mgr):
        with mgr.notify_scope_entered(ACT) as ws:
            assert ws is workspace_of("ACT")
            assert ws is ndarena.get_current_workspace()
            assert (ws.id, ws.configuration) == ("ACT", CONF)
        assert ws.cycles_count == 1
        assert not ws.is_scope_active

    def test_several_open_in_order_and_close_in_reverse(self, mgr):
        mgr.set_workspace(GRAD, "GRAD", CONF)
        with mgr.notify_scope_entered(ACT, WORK, GRAD) as ws:
            assert ws.id == "GRAD"
            assert workspace_of("WORK").parent_workspace.id == "ACT"
            assert ws.parent_workspace.id == "WORK"
            refused(ScopeError, workspace_of("ACT").notify_scope_left)
        assert ndarena.get_current_workspace() is None
        assert [workspace_of(w).cycles_count for w in ("ACT", "WORK", "GRAD")] == [1, 1, 1]

    def test_what_was_current_comes_back(self, mgr, other):
        with other:
            with mgr.notify_scope_entered(ACT, WORK):
                pass
            assert ndarena.get_current_workspace() is other

    def test_the_scope_closes_explicitly_and_once(self, mgr):
        scope = mgr.notify_scope_entered(ACT, WORK)
        assert scope.workspace.id == "WORK"
        scope.close()
        scope.close()
        assert [workspace_of(w).cycles_count for w in ("ACT", "WORK")] == [1, 1]
        with pytest.raises(ScopeError), scope:
            pass

    def test_an_explicit_close_out_of_order_changes_nothing(self, mgr, other):
        scope = mgr.notify_scope_entered(ACT, WORK)
        inner = other.notify_scope_entered()
        error = refused(ScopeError, scope.close)
        assert "OTHER" in str(error)
        assert "ACT" not in str(error).split(": [")[-2]
        inner.close()
        scope.close()

    def test_leaving_the_block_closes_what_is_open_inside(self, mgr, other):
        with pytest.raises(ScopeError, match=r"\[OTHER\]"), mgr.notify_scope_entered(ACT, WORK):
            inner = other.notify_scope_entered()
        inner.close()
        assert not any(w.is_scope_active for w in ndarena.get_all_workspaces_for_current_thread())
        assert [workspace_of(w).cycles_count for w in ("ACT", "WORK", "OTHER")] == [1, 1, 1]

    def test_a_scope_of_which_a_part_was_closed_closes_the_rest(self, mgr, other):
        scope = mgr.notify_scope_entered(ACT, WORK)
        workspace_of("WORK").notify_scope_left()
        with other:
            refused(ScopeError, scope.close)
        scope.close()
        assert [workspace_of(w).cycles_count for w in ("ACT", "WORK")] == [1, 1]

    def test_a_lost_scope_of_several_is_counted_in_each(self, mgr):
        mgr.notify_scope_entered(ACT, WORK)
        gc.collect()
        assert [workspace_of(w).stats().lost_scopes for w in ("ACT", "WORK")] == [1, 1]
        with pytest.raises(ScopeError, match=r"2 scope\(s\) without an object"):
            ndarena.assert_no_workspaces_open("lost")
        workspace_of("WORK").notify_scope_left()
        workspace_of("ACT").notify_scope_left()

    def test_types_may_share_a_workspace(self, mgr):
        mgr.set_workspace(GRAD, "ACT", CONF)
        with mgr.notify_scope_entered(ACT, GRAD, ACT) as ws:
            assert ws.generation_id == 1
            assert mgr.create(ACT, 2).workspace is mgr.create(GRAD, 2).workspace is ws
        assert (ws.cycles_count, ws.is_scope_active) == (1, False)

    def test_reentry_continues_the_cycle(self, mgr):
        with mgr.notify_scope_entered(ACT):
            a = mgr.create(ACT, 3)
            with mgr.notify_scope_entered(ACT):
                assert a.is_in_scope
            assert a.is_in_scope

    def test_a_scoped_out_type_scopes_out(self, mgr, other):
        with other:
            with mgr.notify_scope_entered(INPUT) as ws:
                assert ws is None
                assert ndarena.get_current_workspace() is None
                assert other.is_scope_active
            assert ndarena.get_current_workspace() is other
            with mgr.notify_scope_borrowed(INPUT) as ws:
                assert ws is None
                assert ndarena.get_current_workspace() is None
            with mgr.notify_scope_entered(ACT, INPUT) as ws:
                assert ws is None
                assert type(np.add(mgr.create(ACT, 2), 1)) is np.ndarray
            with mgr.notify_scope_entered(INPUT, ACT) as ws:
                assert ws.id == "ACT"

    def test_no_type_is_a_type_error(self, mgr):
        assert "at least one" in str(refused(TypeError, mgr.notify_scope_entered))

    def test_all_or_nothing_when_a_type_is_unconfigured(self, mgr):
        refused(ConfigurationError, mgr.notify_scope_entered, ACT, WORK, GRAD)
        assert ndarena.get_all_workspaces_ids_for_current_thread() == []

    def test_all_or_nothing_when_another_configuration_is_in_use(self, mgr, other):
        mgr.set_workspace(GRAD, "OTHER", fixed(2 * MIB))
        error = refused(ConfigurationError, mgr.notify_scope_entered, ACT, WORK, GRAD)
        assert "initial_size" in str(error)
        assert ndarena.get_all_workspaces_ids_for_current_thread() == ["OTHER"]

    def test_all_or_nothing_when_two_types_disagree_about_a_new_workspace(self, mgr):
        mgr.set_workspace(GRAD, "ACT", fixed(2 * MIB))
        refused(ConfigurationError, mgr.notify_scope_entered, ACT, GRAD)
        assert ndarena.get_all_workspaces_ids_for_current_thread() == []

    def test_all_or_nothing_when_the_system_refuses(self, mgr, other):
        mgr.set_workspace(GRAD, "HUGE", fixed(2**62))
        with other:
            refused(ndarena.WorkspaceFullError, mgr.notify_scope_entered, ACT, WORK, GRAD)
            assert ndarena.get_all_workspaces_ids_for_current_thread() == ["OTHER"]

    def test_open_workspaces_stay_as_they_are_when_nothing_opens(self, mgr):
        with mgr.notify_scope_entered(ACT):
            a = mgr.create(ACT, 3)
            refused(ConfigurationError, mgr.notify_scope_entered, ACT, WORK, GRAD)
            assert a.is_in_scope

    def test_borrowing_makes_current_in_the_running_cycle(self, mgr, other):
        with mgr.notify_scope_entered(ACT) as ws, other:
            with mgr.notify_scope_borrowed(ACT) as borrowed:
                assert borrowed is ws is ndarena.get_current_workspace()
                with mgr.notify_scope_borrowed(ACT):
                    pass
            assert ndarena.get_current_workspace() is other
            assert (ws.generation_id, ws.cycles_count) == (1, 0)

    def test_y31_borrowing_a_closed_workspace_is_refused(self, mgr):
        for _ in range(2):  # before it exists, and when it is closed
            error = refused(ScopeError, mgr.notify_scope_borrowed, ACT)
            assert "[ACT] of ACTIVATIONS is not open" in str(error)
            mgr.notify_scope_entered(ACT).close()

    def test_no_warning_of_unused_workspaces(self, mgr):
        for _ in range(5):
            with mgr.notify_scope_entered(ACT, WORK):
                pass
        assert workspace_of("ACT").cycles_count == 5

    def test_a_workspace_outside_of_a_manager_still_warns(self, other):
        for _ in range(2):
            with other:
                pass
        with pytest.warns(ndarena.UnusedWorkspaceWarning), other:
            pass

    def test_an_interrupted_body_closes_everything(self, mgr):
        with pytest.raises(KeyboardInterrupt), mgr.notify_scope_entered(ACT, WORK):
            raise KeyboardInterrupt
        assert not ndarena.any_workspace_active_for_current_thread()


class TestAsserts:
    def test_is_workspace_open(self, mgr):
        assert not mgr.is_workspace_open(ACT)
        with mgr.notify_scope_entered(ACT, WORK):
            assert mgr.is_workspace_open(ACT)
        assert not mgr.is_workspace_open(ACT)
        assert mgr.is_workspace_open(INPUT)

    def test_y35_assert_open_on_a_closed_one(self, mgr):
        error = refused(ScopeError, mgr.assert_open, ACT)
        assert "[ACT] of ACTIVATIONS is not open" in str(error)
        assert (error.workspace_id, error.operation) == ("ACT", "assert_open")
        assert str(refused(ScopeError, mgr.assert_open, ACT, "in forward")).startswith("in forward: ")
        with mgr.notify_scope_entered(ACT):
            mgr.assert_open(ACT)
            mgr.assert_open(ACT, msg="open")

    def test_y35_assert_not_open_on_an_open_one(self, mgr):
        mgr.assert_not_open(ACT)
        with mgr.notify_scope_entered(ACT):
            error = refused(ScopeError, mgr.assert_not_open, ACT)
            assert "[ACT] of ACTIVATIONS is open" in str(error)
            assert error.open_workspaces == ("ACT",)
            assert str(refused(ScopeError, mgr.assert_not_open, ACT, "m")).startswith("m: ")
        mgr.assert_not_open(ACT, "closed again")

    def test_y35_assert_current_with_another_current(self, mgr, other):
        with mgr.notify_scope_entered(ACT):
            mgr.assert_current_workspace(ACT)
            with other:
                error = refused(ScopeError, mgr.assert_current_workspace, ACT)
                assert "[ACT] of ACTIVATIONS is not current; current is [OTHER]" in str(error)
                assert str(refused(ScopeError, mgr.assert_current_workspace, ACT, "m")).startswith("m: ")
            with ndarena.scope_out_of_workspaces():
                error = refused(ScopeError, mgr.assert_current_workspace, ACT)
                assert "current is none" in str(error)
            mgr.assert_current_workspace(ACT, "again")

    def test_y35_a_scoped_out_type_passes_all_three(self, mgr, other):
        with other:
            mgr.assert_open(INPUT)
            mgr.assert_not_open(INPUT)
            mgr.assert_current_workspace(INPUT)

    def test_a_workspace_of_that_name_outside_the_registry_is_not_it(self, mgr):
        stranger = ndarena.Workspace(CONF, id="ACT")
        with stranger:
            assert not mgr.is_workspace_open(ACT)
            refused(ScopeError, mgr.assert_current_workspace, ACT)
            mgr.assert_not_open(ACT)


class TestCreate:
    def test_goes_to_the_type_s_workspace_whatever_is_current(self, mgr, other):
        with mgr.notify_scope_entered(ACT, WORK) as work, other:
            a, w = mgr.create(ACT, (2, 3)), mgr.create(WORK, 4)
            assert (a.workspace.id, w.workspace) == ("ACT", work)
            assert ndarena.get_current_workspace() is other
            assert (a.shape, a.dtype, a.flags.c_contiguous) == ((2, 3), np.float64, True)
            np.testing.assert_array_equal(a, np.zeros((2, 3)))
            assert work.generation_id == 1

    def test_takes_dtype_and_order(self, mgr):
        with mgr.notify_scope_entered(ACT):
            for make in (mgr.create, mgr.create_uninitialized):
                a = make(ACT, (2, 3), np.float32, "F")
                assert (a.dtype, a.flags.f_contiguous) == (np.float32, True)
                assert make(ACT, shape=5, dtype="i2", order="C").dtype == np.int16
                assert make(ACT, ()).shape == ()
                assert make(ACT, (0, 3)).size == 0

    def test_scoped_out_gives_plain_arrays(self, mgr, other):
        with other:
            for make in (mgr.create, mgr.create_uninitialized):
                a = make(INPUT, (2, 3), "f4", "F")
                assert type(a) is np.ndarray
                assert (a.dtype, a.flags.f_contiguous, a.flags.owndata) == (np.float32, True, True)
            assert not mgr.create(INPUT, 3).any()
            assert other.this_cycle_allocations == 0

    def test_y31_a_closed_workspace_is_refused(self, mgr, other):
        for make in (mgr.create, mgr.create_uninitialized):
            error = refused(ScopeError, make, ACT, 3)
            assert "[ACT] of ACTIVATIONS is not open" in str(error)
            assert (error.workspace_id, error.operation) == ("ACT", make.__name__)
        mgr.notify_scope_entered(ACT).close()
        with other:
            error = refused(ScopeError, mgr.create, ACT, 3)
            assert error.open_workspaces == ("OTHER",)
            assert "notify_scope_entered(ArrayType.ACTIVATIONS)" in str(error)
            with mgr.notify_scope_entered(ArrayType.ACTIVATIONS):
                assert mgr.create(ACT, 3).is_in_scope

    def test_bad_shapes_and_dtypes_change_nothing(self, mgr):
        with mgr.notify_scope_entered(ACT):
            refused(ValueError, mgr.create, ACT, -1)
            refused(ValueError, mgr.create, ACT, (2**40, 2**40))
            refused(TypeError, mgr.create, ACT, 1.5)
            refused(TypeError, mgr.create, ACT, 3, object)
            refused(TypeError, mgr.create, ACT, 3, "no dtype")
            refused(ValueError, mgr.create, ACT, 3, "f8", "X")
            refused(TypeError, mgr.create, ACT)

    def test_a_scoped_out_type_may_hold_references(self, mgr):
        assert mgr.create(INPUT, 2, object).dtype == object


class TestDup:
    def test_copies_into_the_type_s_workspace(self, mgr, other):
        plain = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        with mgr.notify_scope_entered(ACT), other:
            for a in (plain, other.array(plain), plain[:, ::-1], plain.view(np.recarray)):
                b = mgr.dup(ACT, a)
                assert type(b) is WorkspaceArray
                assert b.workspace.id == "ACT"
                np.testing.assert_array_equal(b.numpy(), np.asarray(a))

    def test_keeps_the_order_unless_another_is_asked_for(self, mgr):
        fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        with mgr.notify_scope_entered(ACT):
            for a in (fortran, mgr.dup(ACT, fortran)):
                for t in (ACT, INPUT):
                    assert mgr.dup(t, a).flags.f_contiguous
                    assert mgr.dup(t, a, "K").flags.f_contiguous
                    assert mgr.dup(t, a, order="C").flags.c_contiguous
                    assert mgr.dup(t, a.T, order="F").flags.f_contiguous
                    np.testing.assert_array_equal(np.asarray(mgr.dup(t, a, "C")), fortran)

    def test_copies_within_a_workspace_too(self, mgr):
        with mgr.notify_scope_entered(ACT):
            a = mgr.create(ACT, 3)
            b = mgr.dup(ACT, a)
            b += 1
            assert not a.any()

    def test_scoped_out_gives_an_independent_plain_array(self, mgr, other):
        with other:
            a = other.ones(3)
            b = mgr.dup(INPUT, a)
            assert type(b) is np.ndarray
            assert b.flags.owndata
        np.testing.assert_array_equal(b, np.ones(3))

    def test_y31_a_closed_workspace_is_refused(self, mgr, other):
        with other:
            for a in (np.ones(3), other.ones(3)):
                error = refused(ScopeError, mgr.dup, ACT, a)
                assert "[ACT] of ACTIVATIONS is not open" in str(error)

    def test_a_stale_array_is_refused(self, mgr, other):
        with other:
            a = other.ones(3)
        with mgr.notify_scope_entered(ACT):
            for t in (ACT, INPUT):
                error = refused(StaleArrayError, mgr.dup, t, a)
                assert (error.operation, error.argument) == ("dup", "a")
                assert (error.shape, error.dtype, error.workspace_id) == ((3,), "float64", "OTHER")

    def test_references_are_refused(self, mgr):
        with mgr.notify_scope_entered(ACT):
            refused(TypeError, mgr.dup, ACT, np.array([object()]))
            refused(TypeError, mgr.dup, ACT, np.array([object()]), "C")
        assert mgr.dup(INPUT, np.array([None])).dtype == object

    @pytest.mark.parametrize("wrong", [None, [1.0], 3, "a"])
    def test_what_is_no_array_is_a_type_error(self, mgr, wrong):
        with mgr.notify_scope_entered(ACT):
            refused(TypeError, mgr.dup, ACT, wrong)
            refused(TypeError, mgr.leverage_to, ACT, wrong)
            refused(TypeError, mgr.validate_array_location, ACT, wrong)
            refused(TypeError, mgr.cast_to, ACT, "f4", wrong)


class TestCastTo:
    def test_the_right_type_in_the_right_place_stays(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            a, plain = mgr.create(ACT, 3), np.ones(3)
            assert mgr.cast_to(ACT, "f8", a) is a
            assert mgr.cast_to(ACT, np.float64, plain) is plain
            assert mgr.cast_to(INPUT, "f8", plain) is plain

    def test_the_right_type_elsewhere_is_copied(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            a = other.ones(3)
            b = mgr.cast_to(ACT, "f8", a)
            assert b.workspace.id == "ACT"
            c = mgr.cast_to(INPUT, "f8", a)
            assert type(c) is np.ndarray
            np.testing.assert_array_equal(c, np.ones(3))

    def test_dup_if_correct_type_always_copies(self, mgr):
        with mgr.notify_scope_entered(ACT):
            for a in (mgr.create(ACT, 3), np.zeros(3)):
                b = mgr.cast_to(ACT, "f8", a, dup_if_correct_type=True)
                assert b is not a
                assert b.workspace.id == "ACT"
                assert type(mgr.cast_to(INPUT, "f8", a, True)) is np.ndarray

    def test_another_type_is_converted_in_place_of_the_type(self, mgr, other):
        values = np.arange(6).reshape(2, 3)
        with mgr.notify_scope_entered(ACT), other:
            for a in (values, other.array(values), np.asfortranarray(values), values.astype(object)):
                b = mgr.cast_to(ACT, "f4", a)
                assert (b.workspace.id, b.dtype) == ("ACT", np.float32)
                np.testing.assert_array_equal(b.numpy(), values)
                text = mgr.cast_to(ACT, "S4", a)
                assert (text.workspace.id, text.dtype) == ("ACT", "S4")
                c = mgr.cast_to(INPUT, "f4", a)
                assert (type(c), c.dtype) == (np.ndarray, np.float32)

    def test_errors(self, mgr, other):
        with other:
            a = other.ones(3)
            assert "not open" in str(refused(ScopeError, mgr.cast_to, ACT, "f4", a))
            refused(ScopeError, mgr.cast_to, ACT, "f8", a)
            refused(TypeError, mgr.cast_to, ACT, "no dtype", a)
        with mgr.notify_scope_entered(ACT):
            for dtype in ("f8", "f4"):
                error = refused(StaleArrayError, mgr.cast_to, ACT, dtype, a)
                assert (error.operation, error.argument) == ("cast_to", "a")
            refused(TypeError, mgr.cast_to, ACT, object, np.ones(3))
            with pytest.raises(ValueError, match="could not convert"):
                mgr.cast_to(ACT, "f8", np.array(["x"]))


class TestLeverageTo:
    def test_a_detached_array_stays(self, mgr):
        a = np.ones(3)
        for t in ArrayType.members():
            assert mgr.leverage_to(t, a) is a

    def test_an_array_elsewhere_is_copied(self, mgr, other):
        with mgr.notify_scope_entered(ACT):
            with other:
                a = other.array([1.0, 2.0])
                b = mgr.leverage_to(ACT, a)
                assert b.workspace.id == "ACT"
                a[...] = 0
            np.testing.assert_array_equal(b.numpy(), [1, 2])
            assert mgr.leverage_to(ACT, b) is b

    def test_scoped_out_detaches(self, mgr, other):
        with other:
            a = mgr.leverage_to(INPUT, other.ones(3))
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, np.ones(3))

    def test_keeps_dtype_and_views(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            view = other.array(np.arange(12, dtype="i2").reshape(3, 4))[::2, 1:]
            b = mgr.leverage_to(ACT, view)
            assert b.dtype == np.int16
            np.testing.assert_array_equal(b.numpy(), view.numpy())

    def test_y31_a_closed_workspace_is_refused(self, mgr, other):
        with other:
            error = refused(ScopeError, mgr.leverage_to, ACT, other.ones(3))
            assert "[ACT] of ACTIVATIONS is not open" in str(error)

    def test_a_stale_array_is_refused(self, mgr, other):
        with other:
            a = other.ones(3)
        b = ndarena.get_workspace_for_current_thread(CONF, id="GONE")
        with b:
            gone = b.ones(3)
            closed = b.ones(3)
            closed.close()
            with mgr.notify_scope_entered(ACT):
                refused(ndarena.ClosedArrayError, mgr.leverage_to, ACT, closed)
            b.destroy_workspace()
        with mgr.notify_scope_entered(ACT):
            error = refused(ndarena.LeakedArrayError, mgr.leverage_to, ACT, a)
            assert (error.operation, error.argument, error.shape) == ("leverage_to", "a", (3,))
            assert str(error).startswith("Op [leverage_to] a argument uses leaked workspace pointer")
            refused(DestroyedArrayError, mgr.leverage_to, INPUT, gone)

    def test_y39_the_no_leverage_override_leaves_arrays_where_they_are(self, mgr, other):
        with other:
            a = other.ones(3)
            mgr.set_no_leverage_override("OTHER")
            for t in ArrayType.members():  # an unconfigured type and a closed workspace included
                assert mgr.leverage_to(t, a) is a
                assert mgr.validate_array_location(t, a) is a
                assert mgr.validate_array_location(t, a, migrate_if_invalid=True) is a
        refused(StaleArrayError, mgr.leverage_to, ACT, a)
        refused(ArrayLocationError, mgr.validate_array_location, ACT, a)

    def test_y39_other_workspaces_are_not_exempt(self, mgr, other):
        mgr.set_no_leverage_override("WORK")
        with mgr.notify_scope_entered(ACT), other:
            a = other.ones(3)
            assert mgr.leverage_to(ACT, a).workspace.id == "ACT"
            refused(ArrayLocationError, mgr.validate_array_location, ACT, a)


class TestValidateArrayLocation:
    def test_the_right_place_passes(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            a = mgr.create(ACT, 3)
            assert mgr.validate_array_location(ACT, a) is a
            assert mgr.validate_array_location(ACT, a, True, True) is a
            plain = np.ones(3)
            assert mgr.validate_array_location(INPUT, plain) is plain

    def test_y33_a_scoped_out_type_with_an_attached_array(self, mgr, other):
        with other:
            a = other.ones(3)
            error = refused(ArrayLocationError, mgr.validate_array_location, INPUT, a)
            assert "INPUT should be detached, but is in workspace [OTHER]" in str(error)
            assert "leverage_to(ArrayType.INPUT, a)" in str(error)
            assert error.workspace_id == "OTHER"
            cured = mgr.leverage_to(ArrayType.INPUT, a)
            assert mgr.validate_array_location(INPUT, cured) is cured

    def test_y33_an_array_in_another_workspace(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            a = other.ones((2, 3), dtype="f4")
            error = refused(ArrayLocationError, mgr.validate_array_location, ACT, a)
            assert "ACTIVATIONS should be in workspace [ACT], but is in workspace [OTHER]" in str(error)
            assert "leverage_to(ArrayType.ACTIVATIONS, a)" in str(error)
            assert (error.operation, error.argument) == ("validate_array_location", "a")
            assert (error.workspace_id, error.array_generation) == ("OTHER", 1)
            assert (error.shape, error.dtype) == ((2, 3), "float32")
            assert error.open_workspaces == ("ACT", "OTHER")
            again = pickle.loads(pickle.dumps(error))
            assert (str(again), vars(again)) == (str(error), vars(error))
            cured = mgr.leverage_to(ArrayType.ACTIVATIONS, a)
            assert mgr.validate_array_location(ACT, cured) is cured

    def test_y33_a_detached_array(self, mgr):
        a = np.ones((2, 3), dtype="i4")
        assert mgr.validate_array_location(ACT, a, exception_if_detached=False) is a
        with mgr.notify_scope_entered(ACT):
            assert mgr.validate_array_location(ACT, a, True, False) is a
            for migrate in (False, True):
                error = refused(ArrayLocationError, mgr.validate_array_location, ACT, a, migrate)
                assert "ACTIVATIONS should be in workspace [ACT], but is detached" in str(error)
                assert "dup(ArrayType.ACTIVATIONS, a)" in str(error)
                assert error.workspace_id is None
                assert (error.shape, error.dtype) == ((2, 3), "int32")
            cured = mgr.dup(ArrayType.ACTIVATIONS, a)
            assert mgr.validate_array_location(ACT, cured) is cured

    def test_migrating_brings_the_array_home(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            a = other.array([1.0, 2.0])
            b = mgr.validate_array_location(ACT, a, migrate_if_invalid=True)
            assert b.workspace.id == "ACT"
            np.testing.assert_array_equal(b.numpy(), [1, 2])
            c = mgr.validate_array_location(INPUT, a, migrate_if_invalid=True)
            assert type(c) is np.ndarray

    def test_migrating_needs_an_open_workspace(self, mgr, other):
        with other:
            a = other.ones(3)
            error = refused(ScopeError, mgr.validate_array_location, ACT, a, migrate_if_invalid=True)
            assert "[ACT] of ACTIVATIONS is not open" in str(error)
            refused(ArrayLocationError, mgr.validate_array_location, ACT, a)

    @pytest.mark.parametrize("migrate", [False, True])
    def test_a_stale_array_in_the_right_workspace_is_refused(self, mgr, migrate):
        with mgr.notify_scope_entered(ACT) as ws:
            a, closed = mgr.create(ACT, 3), mgr.create(ACT, 3)
            closed.close()
            for t in (ACT, INPUT):
                refused(ArrayLocationError, mgr.validate_array_location, t, closed, migrate)
        for opened in (False, True):  # leaked, then outdated
            scope = mgr.notify_scope_entered(ACT) if opened else None
            error = refused(ArrayLocationError, mgr.validate_array_location, ACT, a, migrate)
            assert ("outdated" if opened else "leaked") in str(error)
            assert (error.workspace_id, error.array_generation) == ("ACT", 1)
            assert error.workspace_generation == 1 + opened
            assert (error.shape, error.dtype) == ((3,), "float64")
            refused(ArrayLocationError, mgr.validate_array_location, INPUT, a, migrate)
            if scope:
                scope.close()
        ws.destroy_workspace()
        error = refused(ArrayLocationError, mgr.validate_array_location, ACT, a, migrate)
        assert "destroyed" in str(error)

    def test_a_same_named_workspace_of_another_thread_is_another(self, mgr):
        made, done = threading.Event(), threading.Event()
        theirs = []

        def work():
            with mgr.notify_scope_entered(ACT):
                theirs.append(mgr.dup(ACT, np.ones(3)))
                made.set()
                done.wait(30)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert made.wait(30)
            with mgr.notify_scope_entered(ACT):
                a = theirs[0]
                error = refused(ArrayLocationError, mgr.validate_array_location, ACT, a)
                assert "another workspace of that name" in str(error)
                assert str(thread.ident) in str(error)
                assert "leverage_to(ArrayType.ACTIVATIONS, a)" in str(error)
                for b in (mgr.leverage_to(ACT, a), mgr.validate_array_location(ACT, a, True)):
                    assert b.workspace is workspace_of("ACT")
                    assert mgr.validate_array_location(ACT, b) is b
                assert mgr.cast_to(ACT, "f8", a) is not a
        finally:
            done.set()
            thread.join()

    def test_a_same_named_workspace_outside_the_registry_is_another(self, mgr):
        stranger = ndarena.Workspace(CONF, id="ACT")
        with mgr.notify_scope_entered(ACT), stranger:
            a = stranger.ones(3)
            refused(ArrayLocationError, mgr.validate_array_location, ACT, a)
            assert mgr.leverage_to(ACT, a).workspace is workspace_of("ACT")

    def test_an_array_of_a_ring_is_right_after_its_cycle(self):
        manager = LayerWorkspaceMgr({ACT: ("RING", ring(3, initial_size=1024, policy_learning="NONE"))})
        with manager.notify_scope_entered(ACT):
            a = manager.create(ACT, 3)
        assert manager.validate_array_location(ACT, a) is a

    def test_zero_size_arrays_are_judged_like_others(self, mgr, other):
        with mgr.notify_scope_entered(ACT), other:
            refused(ArrayLocationError, mgr.validate_array_location, ACT, other.empty((0, 3)))
            a = mgr.create(ACT, (0, 3))
            assert mgr.validate_array_location(ACT, a) is a

    def test_the_error_keeps_no_array_alive(self, mgr, other):
        with other:
            a = other.ones(3)
            error = refused(ArrayLocationError, mgr.validate_array_location, INPUT, a)
            error.__traceback__ = None
            alive = weakref.ref(a)
            del a
            gc.collect()
            assert alive() is None


class TestHelpers:
    def test_a_value_is_kept_under_its_key(self, mgr):
        value = np.ones(3)
        assert mgr.get_helper_workspace("CUDNN_WORKSPACE") is None
        mgr.set_helper_workspace("CUDNN_WORKSPACE", value)
        assert mgr.get_helper_workspace("CUDNN_WORKSPACE") is value
        assert mgr.get_helper_workspace("OTHER") is None
        mgr.set_helper_workspace("CUDNN_WORKSPACE", "another")
        assert mgr.get_helper_workspace("CUDNN_WORKSPACE") == "another"

    def test_values_are_released(self):
        class Value:
            pass

        mgr = LayerWorkspaceMgr.no_workspaces()
        first, second = Value(), Value()
        refs = [weakref.ref(first), weakref.ref(second)]
        mgr.set_helper_workspace("key", first)
        del first
        mgr.set_helper_workspace("key", second)
        assert refs[0]() is None
        del second
        assert refs[1]() is not None
        del mgr
        assert refs[1]() is None

    def test_a_replaced_value_may_use_the_manager(self, mgr):
        seen = []

        class Value:
            def __del__(self):
                seen.append(mgr.get_helper_workspace("key"))

        mgr.set_helper_workspace("key", Value())
        mgr.set_helper_workspace("key", "new")
        assert seen == ["new"]

    def test_the_collector_sees_through_a_manager(self):
        class Value:
            pass

        manager, value = LayerWorkspaceMgr.no_workspaces(), Value()
        value.manager = manager
        manager.set_helper_workspace("key", value)
        assert value in gc.get_referents(manager)
        alive = [weakref.ref(value), weakref.ref(manager)]
        del manager, value
        gc.collect()
        assert [ref() for ref in alive] == [None, None]


class TestPresets:
    def test_no_workspaces_gives_plain_arrays_and_may_be_changed(self, other):
        manager = LayerWorkspaceMgr.no_workspaces()
        with other:
            for t in ArrayType.members():
                assert type(manager.create(t, 2)) is np.ndarray
                assert type(manager.leverage_to(t, other.ones(2))) is np.ndarray
        manager.set_workspace(ACT, "A", CONF)
        assert not manager.is_scoped_out(ACT)
        assert LayerWorkspaceMgr.no_workspaces().is_scoped_out(ACT)

    def test_the_immutable_one_is_one_object_and_works(self):
        manager = LayerWorkspaceMgr.no_workspaces_immutable()
        assert LayerWorkspaceMgr.no_workspaces_immutable() is manager
        assert all(manager.is_scoped_out(t) for t in ArrayType.members())
        assert type(manager.create(ACT, 2)) is np.ndarray
        with manager.notify_scope_entered(ACT, WORK) as ws:
            assert ws is None

    @pytest.mark.parametrize(
        ("method", "args"),
        [
            ("set_workspace", (ACT, "A", CONF)),
            ("set_configuration", (ACT, CONF)),
            ("set_workspace_name", (ACT, "A")),
            ("set_scoped_out_for", (ACT,)),
            ("set_no_leverage_override", ("OTHER",)),
            ("set_helper_workspace", ("key", 1)),
        ],
    )
    def test_the_immutable_one_refuses_every_change(self, other, method, args):
        manager = LayerWorkspaceMgr.no_workspaces_immutable()
        before = roles(manager)
        with other:
            error = refused(TypeError, getattr(manager, method), *args)
            assert "immutable" in str(error)
            assert method in str(error)
            a = other.ones(3)
            assert manager.leverage_to(ACT, a) is not a
        assert roles(manager) == before
        assert manager.get_helper_workspace("key") is None


class TestThreads:
    def test_each_thread_finds_its_own_workspace(self, mgr):
        def work():
            with mgr.notify_scope_entered(ACT) as ws:
                return ws.thread_id, mgr.create(ACT, 3).workspace is ws, ws.generation_id

        with mgr.notify_scope_entered(ACT) as ws:
            thread_id, is_there, generation = in_thread(work)
            assert (is_there, generation) == (True, 1)
            assert thread_id != ws.thread_id

    def test_open_here_is_not_open_there(self, mgr):
        with mgr.notify_scope_entered(ACT):
            assert not in_thread(mgr.is_workspace_open, ACT)
            with pytest.raises(ScopeError, match="not open"):
                in_thread(mgr.create, ACT, 3)

    def test_a_change_is_seen_everywhere(self, mgr):
        in_thread(mgr.set_scoped_out_for, ACT)
        assert mgr.is_scoped_out(ACT)

    def test_a_scope_of_several_closes_in_its_own_thread_only(self, mgr):
        scope = mgr.notify_scope_entered(ACT, WORK)
        with pytest.raises(ndarena.WrongThreadError):
            in_thread(scope.close)
        assert mgr.is_workspace_open(ACT)
        with pytest.raises(ndarena.WrongThreadError):
            in_thread(scope.__exit__, None, None, None)
        mgr.notify_scope_entered(INPUT).close()  # the owner attends to what was left over there
        assert not mgr.is_workspace_open(ACT)
        assert not mgr.is_workspace_open(WORK)

    def test_threads_at_once(self, mgr):
        def work(number):
            total = 0
            for _ in range(200):
                with mgr.notify_scope_entered(ACT, WORK):
                    a = mgr.create(ACT, 64)
                    a += number
                    total += float(mgr.validate_array_location(ACT, mgr.leverage_to(WORK, a) + 0, True).sum())
            return total

        results = {}
        threads = [threading.Thread(target=lambda n=n: results.__setitem__(n, work(n))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {n: 200 * 64 * n for n in range(4)}


class TestDebugModes:
    def test_bypass_gives_plain_arrays_everywhere(self, mgr):
        ndarena.set_debug_mode("BYPASS_EVERYTHING")
        with mgr.notify_scope_entered(ACT) as ws:
            assert ws.workspace_type is ndarena.WorkspaceType.DUMMY
            assert mgr.is_workspace_open(ACT)
            mgr.assert_open(ACT)
            mgr.assert_not_open(ACT)
            mgr.assert_current_workspace(ACT)
            a = mgr.create(ACT, 3)
            assert type(a) is np.ndarray
            assert mgr.validate_array_location(ACT, a) is a
            assert mgr.leverage_to(ACT, a) is a
            assert type(mgr.dup(ACT, a)) is np.ndarray
            with mgr.notify_scope_borrowed(ACT):
                assert ndarena.get_current_workspace() is None

    def test_a_workspace_made_before_stays_real(self, mgr):
        mgr.notify_scope_entered(ACT).close()
        ndarena.set_debug_mode("BYPASS_EVERYTHING")
        with mgr.notify_scope_entered(ACT):
            assert type(mgr.create(ACT, 3)) is WorkspaceArray

    def test_spilling_changes_no_place(self, mgr):
        ndarena.set_debug_mode("SPILL_EVERYTHING")
        with mgr.notify_scope_entered(ACT) as ws:
            a = mgr.create(ACT, 3)
            assert mgr.validate_array_location(ACT, a) is a
            assert ws.number_of_external_allocations == 1


def test_a_training_step_is_flat():
    conf = learning()
    mgr = LayerWorkspaceMgr({ACT: ("WS_ACT", conf), WORK: ("WS_WORK", conf), GRAD: ("WS_GRAD", conf)})
    weights = np.eye(32)

    def step():
        with mgr.notify_scope_entered(ACT, GRAD):
            x = mgr.create(ACT, (16, 32))
            with mgr.notify_scope_entered(WORK):
                z = mgr.create_uninitialized(WORK, (16, 32))
                np.matmul(x, weights, out=z)
                y = mgr.leverage_to(ACT, np.tanh(z))
            mgr.validate_array_location(ACT, y)
            return float(mgr.cast_to(GRAD, "f4", y).sum())

    for _ in range(3):
        step()
    held = held_bytes()
    for _ in range(100):
        assert step() == 0
    assert held_bytes() == held
    stats = {w.id: w.stats() for w in ndarena.get_all_workspaces_for_current_thread()}
    assert set(stats) == {"WS_ACT", "WS_WORK", "WS_GRAD"}
    assert all(s.number_of_external_allocations == 0 for s in stats.values())
