"""What a workspace tells about itself: properties, statistics, repr and the bar for notebooks."""

import dataclasses
import gc
import pickle
import threading
from functools import partial

import pytest
from support import KIB, fixed, held_bytes, in_thread, learning, ring

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration

PROPERTIES = [
    "id",
    "thread_id",
    "device_id",
    "configuration",
    "workspace_type",
    "generation_id",
    "current_size",
    "current_offset",
    "host_offset",
    "primary_offset",
    "this_cycle_allocations",
    "last_cycle_allocations",
    "max_cycle_allocations",
    "peak_size",
    "cycles_count",
    "step_number",
    "initial_block_size",
    "number_of_external_allocations",
    "spilled_size",
    "number_of_pinned_allocations",
    "pinned_size",
    "retired_size",
    "escaped_count",
    "is_scope_active",
    "is_destroyed",
    "parent_workspace",
]

COUNTERS = [name for name in PROPERTIES[5:] if name != "parent_workspace"]


@pytest.fixture
def ws():
    return Workspace(fixed(64 * KIB), "W")


# ---------------------------------------------------------------- a fresh workspace


def test_a_fresh_workspace(ws):
    """Before the first enter every counter is 0 and only the size is there."""
    assert ws.id == "W"
    assert ws.thread_id == threading.get_ident()
    assert ws.device_id == 0
    assert ws.configuration == fixed(64 * KIB)
    assert ws.workspace_type is nd.WorkspaceType.SCOPED
    assert ws.parent_workspace is None
    assert {name: getattr(ws, name) for name in COUNTERS} == {
        **dict.fromkeys(COUNTERS, 0),
        "current_size": 64 * KIB,
    }
    assert ws.is_scope_active is ws.is_destroyed is False


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_are_read_only(ws, name):
    """No property can be set."""
    with pytest.raises(AttributeError):
        setattr(ws, name, getattr(ws, name))


def test_attributes_cannot_be_added(ws):
    """A misspelt name is an error, not a new attribute."""
    with pytest.raises(AttributeError):
        ws.curent_size = 3


# ---------------------------------------------------------------- counters of a cycle


def test_counters_of_a_cycle(ws):
    """Requests are rounded up to the alignment and counted; the close moves the sum to the last cycle."""
    with ws:
        a = ws.zeros(100, dtype="u1")
        b = ws.zeros(64, dtype="u1")
        assert ws.current_offset == ws.host_offset == ws.primary_offset == 192
        assert ws.this_cycle_allocations == 192
        assert ws.peak_size == 192
        assert (ws.last_cycle_allocations, ws.max_cycle_allocations, ws.cycles_count) == (0, 0, 0)
        assert a.is_in_scope
        assert b.is_in_scope
    assert (ws.this_cycle_allocations, ws.current_offset) == (0, 0)
    assert (ws.last_cycle_allocations, ws.max_cycle_allocations, ws.cycles_count) == (192, 192, 1)
    with ws:
        ws.zeros(1, dtype="u1")
    assert (ws.last_cycle_allocations, ws.max_cycle_allocations, ws.cycles_count) == (64, 192, 2)


def test_peak_is_of_bytes_alive_at_once(ws):
    """Dead arrays leave the peak; it keeps the last cycle's value until the next full enter."""
    with ws:
        for _ in range(10):
            ws.zeros(KIB, dtype="u1")
        assert ws.peak_size == KIB
        assert ws.this_cycle_allocations == 10 * KIB
        a = ws.zeros(KIB, dtype="u1")
        b = ws.zeros(KIB, dtype="u1")
        assert ws.peak_size == 2 * KIB
        del a, b
    assert ws.peak_size == 2 * KIB
    with ws:
        assert ws.peak_size == 0
        ws.zeros(KIB, dtype="u1")
        assert ws.peak_size == KIB


def test_offset_is_the_end_of_the_highest_span_in_use(ws):
    """When the highest array dies the offset falls to the end of the next one below."""
    with ws:
        a = ws.zeros(KIB, dtype="u1")
        b = ws.zeros(KIB, dtype="u1")
        c = ws.zeros(KIB, dtype="u1")
        assert ws.current_offset == 3 * KIB
        del b
        assert ws.current_offset == 3 * KIB
        del c
        assert ws.current_offset == KIB
        del a
        assert ws.current_offset == 0


def test_generation_counts_full_enters(ws):
    """Re-entry and borrowing are no new generation; an array carries the number at its birth."""
    for generation in (1, 2, 3):
        with ws:
            a = ws.ones(1)
            with ws, ws.notify_scope_borrowed():
                assert ws.generation_id == generation
                assert ws.ones(1).generation_id == generation
        assert ws.generation_id == a.generation_id == generation
        assert ws.cycles_count == generation


def test_generations_in_errors(ws):
    """Both are in every error: equal for a leaked array, whose message says "closed", else different."""
    with ws:
        a = ws.ones(3)
    with pytest.raises(nd.LeakedArrayError, match="closed") as leaked:
        a.sum()
    assert leaked.value.array_generation == leaked.value.workspace_generation == 1
    for _ in range(3):
        with ws:
            ws.ones(1)
        with pytest.raises(nd.OutdatedArrayError) as outdated:
            a.sum()
        assert outdated.value.array_generation == 1
        assert outdated.value.workspace_generation == ws.generation_id
        assert str(ws.generation_id) in str(outdated.value)


@pytest.mark.parametrize("fields", [{}, {"policy_reuse": "AT_RESET"}])
def test_step_number_of_a_scoped_workspace(fields):
    """A scoped workspace makes one step per cycle, from the second close on."""
    ws = Workspace(learning(**fields), "W")
    steps = []
    for _ in range(4):
        with ws:
            ws.ones(1)
        steps.append(ws.step_number)
    assert steps == [0, 1, 2, 3]


def test_step_number_of_a_ring():
    """A ring of n blocks makes a step every n cycles."""
    ws = Workspace(ring(3), "R")
    steps = []
    for _ in range(10):
        with ws:
            ws.ones(1)
        steps.append(ws.step_number)
    assert steps == [(k - 1) // 3 for k in range(1, 11)]


def test_parent_is_what_was_current_at_the_full_enter(ws):
    """Re-entry from elsewhere does not change it."""
    outer, between = Workspace(fixed(4096), "OUTER"), Workspace(fixed(4096), "BETWEEN")
    with outer:
        with ws:
            assert ws.parent_workspace is outer
            with between, ws:
                assert ws.parent_workspace is outer
                assert between.parent_workspace is ws
        assert outer.parent_workspace is None


def test_an_inner_close_counts_nothing(ws):
    """Counters of the cycle move at its end only."""
    with ws:
        with ws:
            ws.zeros(64, dtype="u1")
        assert (ws.cycles_count, ws.last_cycle_allocations, ws.this_cycle_allocations) == (0, 0, 64)


def test_a_failed_request_changes_no_counter(ws):
    """Whatever the reason, a refused request leaves the statistics as they were."""
    with ws:
        ws.zeros(3)
        before = ws.stats()
        for shape in (-1, 2**62, (2**40, 2**40)):
            with pytest.raises((ValueError, MemoryError)):
                ws.zeros(shape)
        with pytest.raises(TypeError):
            ws.zeros(2.5)
        with pytest.raises(TypeError):
            ws.zeros(3, dtype=object)
        assert ws.stats() == before


def test_zero_sized_arrays(ws):
    """An array without elements is attached and moves nothing that its alignment does not."""
    with ws:
        a = ws.zeros((0, 5))
        assert a.workspace is ws
        assert a.is_in_scope
        assert ws.peak_size <= 64
    assert not a.is_in_scope


# ---------------------------------------------------------------- statistics


def test_stats_hold_every_property(ws):
    """`stats()` is a frozen record with the value of every property, and as a dict."""
    with ws:
        a = ws.zeros(3)
        stats = ws.stats()
        assert isinstance(stats, nd.WorkspaceStats)
        for name in COUNTERS:
            assert getattr(stats, name) == getattr(ws, name), name
        assert a.is_in_scope
    assert set(PROPERTIES) <= set(stats.to_dict())
    assert stats.to_dict()["this_cycle_allocations"] == stats.this_cycle_allocations == 64
    assert "lost_scopes" in stats.to_dict()


def test_stats_are_a_picture(ws):
    """A record does not change when the workspace does, and cannot be changed."""
    with ws:
        ws.zeros(3)
        stats = ws.stats()
    assert stats.is_scope_active
    assert stats.cycles_count == 0
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        stats.cycles_count = 5
    assert ws.stats() == ws.stats()
    assert stats != ws.stats()


def test_stats_do_not_keep_the_workspace():
    """A record holds no memory of the workspace it describes."""
    held = held_bytes()
    ws = Workspace(fixed(64 * KIB), "W")
    with ws:
        ws.zeros(3)
    stats = ws.stats()
    del ws
    gc.collect()
    assert nd.allocated_bytes() == held
    assert stats.id == "W"


def test_stats_in_another_thread(ws):
    """Properties and statistics may be read in any thread."""
    with ws:
        ws.zeros(3)
        assert in_thread(ws.stats) == ws.stats()
        assert in_thread(lambda: ws.current_offset) == ws.current_offset


# ---------------------------------------------------------------- repr


def test_repr_is_one_line(ws):
    """It names the workspace and tells open from closed."""
    closed = repr(ws)
    with ws:
        opened = repr(ws)
        ws.zeros(3)
    assert "\n" not in closed
    assert "\n" not in opened
    assert "Workspace" in closed
    assert "W" in closed
    assert closed != opened


def test_repr_html_is_a_bar(ws):
    """The notebook form is HTML that shows id and size and escapes what is special there."""
    with ws:
        ws.zeros(3)
        html = ws._repr_html_()
    assert "W" in html
    assert "<div" in html or "<svg" in html
    nasty = Workspace(fixed(4096), "<script>&")._repr_html_()
    assert "<script>" not in nasty
    assert "&lt;script&gt;&amp;" in nasty


# ---------------------------------------------------------------- cycles without a request


@pytest.mark.parametrize("reuse", ["WITHIN_CYCLE", "AT_RESET"])
@pytest.mark.parametrize("conf", [partial(fixed, 64 * KIB), learning], ids=["fixed", "learning"])
def test_cycles_without_a_request_count_wherever_they_stand(conf, reuse):
    """A cycle in which nothing is asked for ends what the last one showed, and counts itself."""
    ws = Workspace(conf(policy_reuse=reuse), "W")
    most = 0
    for number, requests in enumerate([2, 0, 0, 3, 0, 1, 1, 0, 0, 0, 4, 0], start=1):
        with ws:
            kept = [ws.zeros(KIB, "u1") for _ in range(requests)]
            assert (ws.generation_id, ws.cycles_count) == (number, number - 1)
            assert ws.peak_size == ws.this_cycle_allocations == requests * KIB
            del kept
        most = max(most, requests)
        assert (ws.cycles_count, ws.step_number) == (number, number - 1)
        assert (ws.last_cycle_allocations, ws.max_cycle_allocations) == (requests * KIB, most * KIB)
        assert (ws.peak_size, ws.this_cycle_allocations) == (requests * KIB, 0)


def test_an_array_that_dies_in_a_cycle_without_a_request_lets_its_workspace_go():
    """The last array of an old cycle keeps its workspace, and nothing does after that."""
    before = held_bytes()
    ws = Workspace(fixed(64 * KIB), "W")
    for _ in range(3):
        with ws:
            kept = ws.zeros(16)
    with ws:
        del kept
    with ws:
        pass
    del ws
    assert held_bytes() == before


def test_controls_between_cycles_without_a_request(ws):
    """What the owner does meanwhile is seen by the next enter."""
    for _ in range(3):
        with ws:
            ws.zeros(16)
    with ws:
        pass
    assert ws.trim() == 64 * KIB
    with ws:
        ws.zeros(16)
        assert ws.current_offset == 0, "it died, in memory that was taken anew"
    ws.toggle_workspace_use(False)
    with ws:
        outside = ws.zeros(16)
        assert ws.number_of_external_allocations == 1
        del outside
    nd.set_current_workspace(ws)
    early = nd.zeros(16)
    nd.set_current_workspace(None)
    assert early.is_in_scope
    with ws:
        assert early.validity is nd.Validity.OUTDATED
        assert ws.peak_size == 0
    ws.destroy_workspace()
    assert (ws.is_scope_active, ws.current_size) == (False, 0)
    with pytest.raises(nd.DestroyedWorkspaceError), ws:
        pass


def test_the_parent_is_that_of_the_running_enter(ws):
    """An empty cycle notes what is around it, now nothing and now another workspace."""
    outer = Workspace(fixed(KIB), "OUTER")
    for _ in range(3):
        with ws:
            ws.zeros(16)
        with ws:
            assert ws.parent_workspace is None
        with outer:
            outer.zeros(16)
            with ws:
                assert ws.parent_workspace is outer


# ---------------------------------------------------------------- identity


def test_workspaces_compare_by_identity_and_do_not_pickle(ws):
    """Two workspaces are equal only if they are the same; neither they nor their scopes pickle."""
    assert [ws].index(ws) == 0
    assert ws != Workspace(fixed(64 * KIB), "W")
    assert len({ws, ws}) == 1
    scope = ws.notify_scope_entered()
    try:
        for thing in (ws, scope, nd.get_workspace_manager()):
            with pytest.raises(TypeError):
                pickle.dumps(thing)
    finally:
        scope.close()


def test_configuration_is_the_one_given():
    """`configuration` gives the very wishes, not what became of them."""
    conf = WorkspaceConfiguration(initial_size="1 MiB", min_size=64)
    assert Workspace(conf, "W").configuration == conf
