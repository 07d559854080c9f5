"""Reuse within a cycle: memory of an array that died serves a later one; under AT_RESET it waits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from array_support import address, overlap, plain

import ndarena

KIB = 1024


def workspace(policy, size="1 MiB", **fields):
    fields = {"policy_learning": "NONE", "policy_reuse": policy, **fields}
    return ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size=size, **fields), "REUSE")


@pytest.fixture
def within():
    ws = workspace("WITHIN_CYCLE")
    with ws:
        yield ws
    ws.destroy_workspace()


@pytest.fixture
def at_reset():
    ws = workspace("AT_RESET")
    with ws:
        yield ws
    ws.destroy_workspace()


class TestWithinTheCycle:
    def test_memory_of_a_dead_array_serves_the_next(self, within):
        a = within.empty(1000)
        where = address(a)
        del a
        assert address(within.empty(1000)) == where

    def test_memory_of_a_closed_handle_serves_the_next(self, within):
        a = within.empty(1000)
        where = address(a)
        a.close()
        assert address(within.empty(1000)) == where
        assert a.validity is ndarena.Validity.CLOSED

    def test_live_arrays_never_overlap(self, within):
        alive = []
        for turn in range(300):
            if turn % 3 == 2:
                alive.pop(turn % len(alive))
            a = within.full(1 + turn * 7 % 90, float(turn))
            assert not any(overlap(a, x) for _, x in alive)
            alive.append((float(turn), a))
        for value, a in alive:
            assert (plain(a) == value).all()

    def test_a_thousand_temporaries_need_the_memory_of_a_few(self, within):
        x = within.ones(1000)
        for _ in range(1000):
            x = x * 1.0 + 0.0
        assert within.peak_size <= 5 * 8064
        assert within.current_offset <= 5 * 8064
        assert within.number_of_external_allocations == 0

    def test_neighbouring_holes_join(self, within):
        parts = [within.empty(128) for _ in range(8)]
        wall = within.empty(128)
        first, end = address(parts[0]), address(wall)
        order = [3, 0, 6, 1, 7, 2, 5, 4]
        for k in order:
            parts[k].close()
        whole = within.empty(8 * 128)
        assert address(whole) == first
        assert address(whole) + whole.nbytes <= end

    def test_a_hole_that_is_too_small_is_left(self, within):
        a, wall = within.empty(128), within.empty(128)
        where = address(a)
        del a
        large, small = within.empty(512), within.empty(100)
        assert not overlap(large, wall)
        assert address(small) == where

    def test_everything_dead_means_everything_free(self, within):
        for _ in range(3):
            made = [within.empty(n) for n in (10, 500, 77, 3000)]
            assert within.current_offset > 0
            del made
            assert within.current_offset == 0

    def test_peak_is_of_bytes_alive_at_once(self, within):
        for _ in range(10):
            a = within.empty(1024)
            b = within.empty(1024)
            del a, b
        assert within.peak_size == 2 * 8 * KIB
        assert within.this_cycle_allocations == 20 * 8 * KIB

    def test_a_view_keeps_the_memory(self, within):
        a = within.ones(1000)
        view = a[500:]
        del a
        fresh = [within.full(1000, 9.0) for _ in range(3)]
        assert not any(overlap(view, x) for x in fresh)
        assert (plain(view) == 1.0).all()
        where = address(view) - 4000
        del view, fresh
        assert address(within.empty(1000)) == where

    @pytest.mark.parametrize(
        "lease", [lambda a: a.numpy(), memoryview, np.from_dlpack, lambda a: a.__dlpack__(), lambda a: a.flat]
    )
    def test_a_lease_keeps_the_memory(self, within, lease):
        a = within.ones(1000)
        where, kept = address(a), lease(a)
        del a
        assert address(within.empty(1000)) != where
        del kept
        assert where in {address(x) for x in [within.empty(1000)]}

    def test_the_target_of_an_operator_is_not_an_operands_memory(self, within):
        a = within.ones(1000)
        b = a + a
        assert not overlap(a, b)
        a = a + b
        assert not overlap(a, b)
        assert (plain(a) == 3.0).all()

    def test_a_failed_operation_gives_the_memory_of_its_result_back(self, within):
        a = within.zeros(1000)
        before = within.current_offset
        for _ in range(5):
            with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
                np.log(a)
        assert within.current_offset == before

    def test_dead_spills_are_given_back_in_the_cycle(self):
        ws = workspace("WITHIN_CYCLE", size=4096)
        with ws:
            a = ws.empty(100_000)
            assert ws.number_of_external_allocations == 1
            assert ws.spilled_size >= 800_000
            del a
            assert ws.number_of_external_allocations == 0
            assert ws.spilled_size == 0
        ws.destroy_workspace()

    def test_reuse_goes_on_in_borrowed_and_nested_scopes(self, within):
        a = within.empty(1000)
        where = address(a)
        with within, within.notify_scope_borrowed():
            del a
            assert address(within.empty(1000)) == where

    def test_what_was_learned_fits_the_largest_cycle_and_no_more(self):
        """The learned arena is at least the peak and at most the sum of requests; replaying never spills."""
        ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(policy_allocation="STRICT"), "LEARNED")

        def step():
            a = ws.ones(1000)
            for _ in range(20):
                a = a + 1.0
            return a

        with ws:
            step()
        peak, total = ws.peak_size, ws.last_cycle_allocations
        assert peak <= ws.current_size < total
        for _ in range(10):
            with ws:
                step()
                assert ws.number_of_external_allocations == 0
        ws.destroy_workspace()

    def test_a_cycle_that_leaves_the_plan_is_served_correctly(self):
        ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(policy_allocation="STRICT"), "DIVERGES")
        for turn in range(30):
            sizes = [100, 200, 300] if turn % 3 else [300, 50, 400, 100]
            with ws:
                alive = []
                for k, size in enumerate(sizes):
                    a = ws.full(size, float(k))
                    assert not any(overlap(a, x) for x in alive)
                    alive.append(a)
                for k, a in enumerate(alive):
                    assert (plain(a) == float(k)).all()
        ws.destroy_workspace()

    def test_a_handle_kept_longer_than_planned_is_not_overwritten(self):
        ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(policy_allocation="STRICT"), "KEPT")
        for turn in range(12):
            with ws:
                first = ws.full(1000, 1.0)
                kept = [first] if turn % 4 == 3 else []
                del first
                second = ws.full(1000, 2.0)
                assert all((plain(x) == 1.0).all() for x in kept)
                assert not any(overlap(x, second) for x in kept)
        ws.destroy_workspace()


class TestAtReset:
    def test_addresses_only_rise(self, at_reset):
        places = []
        for _ in range(20):
            a = at_reset.empty(100)
            places.append(address(a))
            del a
        assert all(b - a == 832 for a, b in itertools.pairwise(places))

    def test_memory_of_a_closed_handle_waits(self, at_reset):
        a = at_reset.empty(100)
        where = address(a)
        a.close()
        assert address(at_reset.empty(100)) > where

    def test_the_offset_is_the_sum_of_requests(self, at_reset):
        for k in range(1, 11):
            at_reset.empty(100)
            assert at_reset.current_offset == 832 * k

    def test_the_next_cycle_begins_at_the_start(self):
        ws = workspace("AT_RESET")
        starts = set()
        for _ in range(4):
            with ws:
                starts.add(address(ws.empty(100)))
                ws.empty(100)
        assert len(starts) == 1
        ws.destroy_workspace()

    def test_spills_live_until_the_cycle_ends(self):
        ws = workspace("AT_RESET", size=4096)
        with ws:
            ws.empty(100_000)
            ws.empty(100_000)
            assert ws.number_of_external_allocations == 2
        ws.destroy_workspace()


def test_a_new_cycle_begins_at_the_start_of_the_arena():
    for policy in ["WITHIN_CYCLE", "AT_RESET"]:
        ws = workspace(policy)
        starts = set()
        for _ in range(5):
            with ws:
                starts.add(address(ws.empty(100)))
        assert len(starts) == 1
        ws.destroy_workspace()


def test_handles_of_earlier_cycles_free_nothing_when_they_die():
    ws = workspace("WITHIN_CYCLE")
    with ws:
        old = ws.full(1000, 1.0)
    with ws:
        new = ws.full(1000, 2.0)
        assert address(new) is not None
        del old
        other = ws.full(1000, 3.0)
        assert not overlap(new, other)
        assert (plain(new) == 2.0).all()
    ws.destroy_workspace()


def test_in_a_ring_the_policy_has_no_effect():
    """A block is filled once and reused as a whole."""
    for policy in ["WITHIN_CYCLE", "AT_RESET"]:
        ws = workspace(policy, size=64 * KIB, policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1)
        with ws:
            places = []
            for _ in range(10):
                a = ws.empty(100)
                places.append(address(a))
                del a
        assert all(b - a == 832 for a, b in itertools.pairwise(places))
        ws.destroy_workspace()


def test_zero_size_arrays_take_nothing():
    ws = workspace("WITHIN_CYCLE")
    with ws:
        kept = [ws.empty(0) for _ in range(100)]
        assert ws.current_offset <= 64 * 100
        assert all(a.validity is ndarena.Validity.VALID for a in kept)
    ws.destroy_workspace()
