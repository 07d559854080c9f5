"""Scopes of a LayerWorkspaceMgr: what opens, what is asserted of it, in threads and in debug modes."""

import gc
import threading

import numpy as np
import pytest
from layer_manager_support import ACT, CONF, GRAD, INPUT, WORK, another, manager, refused, workspace_of
from support import MIB, fixed, in_thread

import ndarena
from ndarena import ConfigurationError, ScopeError, WorkspaceArray


@pytest.fixture
def mgr():
    return manager()


@pytest.fixture
def other():
    return another()


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
