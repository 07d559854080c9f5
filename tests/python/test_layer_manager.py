"""LayerWorkspaceMgr and ArrayType: what a manager is made of, how it is changed, and what is unconfigured."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from layer_manager_support import (
    ACT,
    CONF,
    GRAD,
    INPUT,
    WORK,
    another,
    manager,
    refused,
    roles,
    unconfigured_calls,
)

from ndarena import ArrayType, ConfigurationError, LayerWorkspaceMgr

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


@pytest.fixture
def mgr():
    return manager()


@pytest.fixture
def other():
    return another()


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
