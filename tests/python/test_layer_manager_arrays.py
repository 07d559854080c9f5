"""Arrays of a LayerWorkspaceMgr: made, copied, moved and judged by the role they have."""

import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from layer_manager_support import ACT, CONF, GRAD, INPUT, WORK, another, manager, refused, workspace_of
from support import held_bytes, learning, ring

import ndarena
from ndarena import (
    ArrayLocationError,
    ArrayType,
    DestroyedArrayError,
    LayerWorkspaceMgr,
    ScopeError,
    StaleArrayError,
    WorkspaceArray,
)


@pytest.fixture
def mgr():
    return manager()


@pytest.fixture
def other():
    return another()


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

    @pytest.mark.parametrize(
        "change",
        [
            lambda mgr: mgr.set_workspace(ACT, "OTHER", CONF),
            lambda mgr: mgr.set_workspace_name(ACT, "OTHER"),
            lambda mgr: mgr.set_scoped_out_for(ACT),
        ],
    )
    def test_what_was_right_is_wrong_once_the_type_belongs_elsewhere(self, mgr, other, change):
        with mgr.notify_scope_entered(ACT), other:
            a = mgr.create(ACT, 3)
            for _ in range(2):
                assert mgr.validate_array_location(ACT, a) is a
            change(mgr)
            refused(ArrayLocationError, mgr.validate_array_location, ACT, a)

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
