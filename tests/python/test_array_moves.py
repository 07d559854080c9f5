"""Moves out of and between workspaces: detach, leverage, migrate, dup, casts and close."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from array_support import address, assert_equal, overlap, sample

import ndarena
from ndarena import Validity

ARENA = ndarena.WorkspaceConfiguration(initial_size="1 MiB")
MOVES = {
    "detach": lambda a: a.detach(),
    "leverage": lambda a: a.leverage(),
    "leverage_to": lambda a: a.leverage_to("OUTER"),
    "leverage_to with enforcement": lambda a: a.leverage_to("OUTER", enforce_existence=True),
    "leverage_or_detach": lambda a: a.leverage_or_detach("OUTER"),
    "migrate": lambda a: a.migrate(),
    "migrate or detach": lambda a: a.migrate(detach_on_no_workspace=True),
    "dup": lambda a: a.dup(),
    "cast_to": lambda a: a.cast_to("f4"),
    "astype": lambda a: a.astype("f4"),
    "copy": lambda a: a.copy(),
}


@pytest.fixture
def manager():
    return ndarena.get_workspace_manager()


@pytest.fixture
def outer(manager):
    return manager.create_new_workspace(ARENA, id="OUTER")


@pytest.fixture
def inner(manager):
    return manager.create_new_workspace(ARENA, id="INNER")


def scoped_out():
    return ndarena.get_memory_manager().scope_out_of_workspaces()


class TestDetach:
    def test_gives_an_independent_plain_array(self, outer):
        with outer:
            a = outer.array(sample("d"))
            got = a.detach()
            a[...] = -1
        assert type(got) is np.ndarray
        assert got.flags.owndata
        np.testing.assert_array_equal(got, sample("d"))

    def test_keeps_dtype_and_memory_order(self, outer):
        with outer:
            for x in [
                sample(">f8"),
                sample("f", (2, 3), "F"),
                sample("d", (4, 4))[::2, ::-1],
                sample("d", ()),
                sample("U3", (0,)),
            ]:
                got = outer.array(x).detach()
                np.testing.assert_array_equal(got, x, strict=True)
                assert got.flags.f_contiguous == np.array(x).flags.f_contiguous

    def test_leaves_the_array_where_it_is(self, outer):
        with outer:
            a = outer.ones(3)
            a.detach()
            assert a.is_attached
            assert a.is_in_scope


class TestLeverage:
    def test_copies_into_the_parent_of_the_current_workspace(self, outer, inner):
        with outer, inner:
            a = inner.array(sample(">i4"))
            got = a.leverage()
            assert got.workspace is outer
            assert_equal(got, sample(">i4"))
            assert got.dtype == np.dtype(">i4")
        assert a.validity is Validity.LEAKED

    def test_outlives_the_inner_scope(self, outer, inner):
        with outer:
            with inner:
                got = inner.array(sample("d")).leverage()
            assert got.is_in_scope
            assert_equal(got, sample("d"))
        assert got.validity is Validity.LEAKED

    def test_without_a_parent_or_a_current_workspace_detaches(self, outer):
        with outer:
            a = outer.array(sample("d"))
            got = [a.leverage()]
            with scoped_out():
                got.append(a.leverage())
        for x in got:
            assert type(x) is np.ndarray
            np.testing.assert_array_equal(x, sample("d"))

    def test_an_array_of_the_parent_is_returned_as_it_is(self, outer, inner):
        with outer:
            a = outer.ones(3)
            with inner:
                assert a.leverage() is a


class TestLeverageTo:
    def test_copies_into_the_named_workspace(self, outer, inner):
        with outer:
            with inner:
                a = inner.array(sample("f", (2, 3), "F"))
                got = a.leverage_to("OUTER")
                assert got.workspace is outer
                assert not overlap(got, a)
            assert_equal(got, sample("f"))

    def test_into_its_own_workspace_is_the_array_itself(self, outer):
        with outer:
            a = outer.ones(3)
            assert a.leverage_to("OUTER") is a

    def test_an_unknown_name_leaves_it_unless_existence_is_enforced(self, outer):
        with outer:
            a = outer.ones(3)
            assert a.leverage_to("NOWHERE") is a
            with pytest.raises(ndarena.UnknownWorkspaceError) as caught:
                a.leverage_to("NOWHERE", enforce_existence=True)
            assert isinstance(caught.value, LookupError)
            assert caught.value.workspace_id == "NOWHERE"
            assert "NOWHERE" in str(caught.value)

    def test_a_closed_target_is_refused(self, outer, inner):
        with inner:
            a = inner.ones(3)
            for move in [
                lambda: a.leverage_to("OUTER"),
                lambda: a.leverage_to("OUTER", enforce_existence=True),
            ]:
                with pytest.raises(ndarena.ScopeError, match="OUTER"):
                    move()
            assert a.is_in_scope
        assert outer.current_offset == 0

    def test_views_are_moved_as_arrays_of_their_own(self, outer, inner):
        with outer, inner:
            x = sample("d", (4, 6))
            got = inner.array(x)[1::2, ::-2].leverage_to("OUTER")
            assert_equal(got, x[1::2, ::-2])


class TestLeverageOrDetach:
    def test_goes_where_the_name_exists(self, outer, inner):
        with outer, inner:
            assert inner.ones(3).leverage_or_detach("OUTER").workspace is outer

    @pytest.mark.parametrize("name", ["NOWHERE", "OUTER"])
    def test_detaches_where_it_does_not_or_is_closed(self, outer, inner, name):
        with inner:
            got = inner.array(sample("d")).leverage_or_detach(name)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, sample("d"))
        assert not outer.is_scope_active


class TestMigrate:
    def test_goes_to_the_current_workspace(self, outer, inner):
        with outer:
            a = outer.array(sample("d"))
            with inner:
                got = a.migrate()
                assert got.workspace is inner
                assert_equal(got, sample("d"))

    def test_copies_even_if_it_is_there_already(self, outer):
        """The ancestor's rule: with a current workspace, `migrate` never returns the array itself."""
        with outer:
            a = outer.ones(3)
            got = a.migrate()
            assert got is not a
            assert got.workspace is outer
            assert not overlap(got, a)

    def test_without_a_current_workspace(self, outer):
        with outer:
            a = outer.array(sample("d"))
            with scoped_out():
                assert a.migrate() is a
                got = a.migrate(detach_on_no_workspace=True)
            assert type(got) is np.ndarray
            np.testing.assert_array_equal(got, sample("d"))


class TestDup:
    def test_copies_into_the_current_workspace(self, outer, inner):
        with outer:
            a = outer.array(sample("d"))
            with inner:
                got = a.dup()
                assert got.workspace is inner
                assert not overlap(got, a)
                assert_equal(got, sample("d"))
            with scoped_out():
                assert type(a.dup()) is np.ndarray

    def test_order(self, outer):
        with outer:
            a = outer.array(sample("d", (2, 3)))
            assert a.dup("F").flags.f_contiguous
            assert a.dup(order="C").flags.c_contiguous
            assert a.T.dup("C").flags.c_contiguous
            with pytest.raises(ValueError, match="order"):
                a.dup("X")


class TestCasts:
    def test_cast_to_the_same_dtype_is_the_array_itself(self, outer):
        with outer:
            a = outer.array(sample("d"))
            assert a.cast_to("f8") is a
            assert a.cast_to(np.float64) is a
            assert a.cast_to(float) is a

    def test_cast_to_another_dtype_copies_into_the_current_workspace(self, outer, inner):
        with outer:
            a = outer.array(sample("d"))
            with inner:
                got = a.cast_to("f4")
                assert got.workspace is inner
                assert_equal(got, sample("d").astype("f4"))

    def test_astype_copies(self, outer):
        with outer:
            a = outer.array(sample("d"))
            got = a.astype("f8")
            assert got is not a
            assert not overlap(got, a)
            assert_equal(got, sample("d"))

    def test_astype_has_numpys_signature(self, outer):
        with outer:
            a = outer.array(sample("d"))
            assert a.astype("i4", "F", "unsafe", True, True).flags.f_contiguous
            with pytest.raises(TypeError, match="Cannot cast"):
                a.astype("i4", casting="safe")


class TestClose:
    def test_ends_the_handle(self, outer):
        with outer:
            a = outer.ones(3)
            a.close()
            assert a.validity is Validity.CLOSED
            assert not a.is_in_scope
            with pytest.raises(ndarena.ClosedArrayError):
                a + 1
            a.close()

    def test_frees_the_memory_for_the_same_cycle(self, outer):
        with outer:
            a = outer.empty(100)
            where = address(a)
            a.close()
            assert address(outer.empty(100)) == where

    def test_another_handle_on_the_memory_goes_on(self, outer):
        with outer:
            a = outer.array(sample("d"))
            view, lease = a[1:], a.numpy()
            a.close()
            fresh = [outer.full((2, 3), 9.0) for _ in range(4)]
            assert_equal(view, sample("d")[1:])
            np.testing.assert_array_equal(lease, sample("d"))
            assert not any(overlap(lease, x) for x in fresh)

    def test_an_array_closed_by_a_callback_is_used_to_the_end_of_the_operation(self, outer):
        with outer:
            a, b = outer.zeros(1000), outer.ones(1000)
            done = []

            def close(_kind, _flag):
                if not done:
                    done.append(True)
                    a.close()
                    done.extend(outer.full(1000, 9.0) for _ in range(4))

            with np.errstate(divide="call", call=close):
                got = np.log(a) + b
            assert done
            assert a.validity is Validity.CLOSED
            np.testing.assert_array_equal(got.numpy(), np.full(1000, -np.inf))

    def test_works_in_a_scope_that_is_over(self, outer):
        with outer:
            a = outer.ones(3)
        a.close()
        assert a.validity is not Validity.VALID


@pytest.mark.parametrize("name", MOVES)
def test_every_move_refuses_a_stale_array(outer, inner, name):
    with inner:
        stale = inner.ones(3)
    with outer:
        before = outer.stats()
        with pytest.raises(ndarena.LeakedArrayError) as caught:
            MOVES[name](stale)
        assert caught.value.argument == "self"
        assert caught.value.operation == name.split(" ", maxsplit=1)[0]
        assert outer.stats() == before


@pytest.mark.parametrize("name", MOVES)
def test_every_move_keeps_values(outer, inner, name):
    with outer, inner:
        x = sample("d")
        got = MOVES[name](inner.array(x))
        np.testing.assert_array_equal(np.asarray(got), x)


class TestModuleFunctions:
    """Of the same names; a detached array is returned as it is where the ancestor returns self."""

    def test_workspace_arrays_go_where_the_method_sends_them(self, outer, inner):
        with outer, inner:
            a = inner.array(sample("d"))
            assert type(ndarena.detach(a)) is np.ndarray
            assert ndarena.leverage(a).workspace is outer
            assert ndarena.leverage_to(a, "OUTER").workspace is outer
            assert ndarena.leverage_or_detach(a, "OUTER").workspace is outer
            assert type(ndarena.leverage_or_detach(a, "NOWHERE")) is np.ndarray
            assert ndarena.migrate(a).workspace is inner
            assert ndarena.dup(a).workspace is inner
            assert ndarena.cast_to(a, "f4").dtype == np.float32
            assert ndarena.cast_to(a, "f8") is a

    def test_plain_arrays_that_are_returned_as_they_are(self, outer):
        x = sample("d")
        with outer:
            assert ndarena.detach(x) is x
            assert ndarena.leverage(x) is x
            assert ndarena.leverage_to(x, "OUTER") is x
            assert ndarena.leverage_or_detach(x, "OUTER") is x
            assert ndarena.cast_to(x, "f8") is x
        assert ndarena.migrate(x, detach_on_no_workspace=True) is x

    def test_plain_arrays_that_are_copied_into_the_current_workspace(self, outer):
        x = sample("d")
        with outer:
            for got in [ndarena.migrate(x), ndarena.dup(x)]:
                assert got.workspace is outer
                assert_equal(got, x)
        got = ndarena.dup(x)
        assert type(got) is np.ndarray
        assert not overlap(got, x)

    def test_stale_arrays_are_refused(self, outer):
        with outer:
            a = outer.ones(3)
        for move in [
            ndarena.detach,
            ndarena.leverage,
            lambda a: ndarena.leverage_to(a, "OUTER"),
            lambda a: ndarena.leverage_or_detach(a, "OUTER"),
            ndarena.migrate,
            ndarena.dup,
            lambda a: ndarena.cast_to(a, "f4"),
        ]:
            with pytest.raises(ndarena.LeakedArrayError):
                move(a)


def test_a_move_to_a_destroyed_workspace_does_not_find_its_name(outer, inner):
    with inner:
        a = inner.ones(3)
        outer.destroy_workspace()
        assert a.leverage_to("OUTER") is a
        with pytest.raises(ndarena.UnknownWorkspaceError):
            a.leverage_to("OUTER", enforce_existence=True)


def test_moves_through_three_levels(manager):
    first, second, third = (
        manager.create_new_workspace(ARENA, id=name) for name in ("FIRST", "SECOND", "THIRD")
    )
    with contextlib.ExitStack() as stack:
        for ws in (first, second, third):
            stack.enter_context(ws)
        a = third.array(sample("d"))
        up = a.leverage()
        assert up.workspace is second
        top = up.leverage_to("FIRST")
        assert top.workspace is first
        assert_equal(top, sample("d"))
        assert top.migrate().workspace is third
