"""Circular workspaces: blocks with a life of their own, leases on them, pins, spills and rebuilding."""

import numpy as np
import pytest
from support import KIB, fixed, held_bytes, ring

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration

SIZE = 4 * KIB


def turn(ws, value, size=SIZE):
    """Make one array in a cycle of its own."""
    with ws:
        return ws.full(size, value, dtype="u1")


def learned(blocks, **fields):
    """Make a ring that has learned blocks of SIZE bytes."""
    ws = Workspace(ring(blocks, **fields), "RING")
    turn(ws, 0)
    assert ws.current_size > 0
    return ws


def fixed_ring(blocks, size=SIZE, **fields):
    """Make a ring of blocks of a given size, which learns nothing."""
    conf = WorkspaceConfiguration(
        initial_size=size,
        policy_learning="NONE",
        policy_reset="ENDOFBUFFER_REACHED",
        overallocation_limit=blocks - 1,
        **fields,
    )
    return Workspace(conf, "RING")


# ---------------------------------------------------------------- shape


@pytest.mark.parametrize("blocks", [2, 3, 5])
def test_a_ring_has_one_block_more_than_its_limit(blocks):
    """Under OVERALLOCATE a ring has 1 + overallocation_limit blocks, each aligned."""
    ws = learned(blocks)
    assert ws.workspace_type is nd.WorkspaceType.CIRCULAR
    assert ws.initial_block_size >= SIZE
    assert ws.initial_block_size % 64 == 0
    assert ws.current_size == blocks * ws.initial_block_size


def test_a_strict_ring_has_one_block():
    """Under STRICT there is one block, whatever the limit."""
    conf = WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", policy_allocation="STRICT")
    ws = Workspace(conf, "RING")
    turn(ws, 0)
    assert ws.current_size == ws.initial_block_size
    a = turn(ws, 1)
    assert a.is_in_scope
    turn(ws, 2)
    assert a.validity is nd.Validity.OVERWRITTEN


def test_steps_number_is_ignored():
    """The field is accepted and changes nothing, as in the ancestor."""
    plain, wished = learned(3), learned(3, steps_number=7)
    for _ in range(6):
        turn(plain, 1), turn(wished, 1)
        assert (plain.step_number, plain.current_size) == (wished.step_number, wished.current_size)


def test_a_ring_is_filled_once():
    """Memory of an array that died does not serve its cycle again: a block is reused as a whole."""
    ws = fixed_ring(2, policy_reuse="WITHIN_CYCLE")
    with ws:
        offsets = []
        for _ in range(4):
            ws.empty(64, dtype="u1")
            offsets.append(ws.current_offset)
    assert offsets == [64, 128, 192, 256]


# ---------------------------------------------------------------- life of a block


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_an_array_lives_until_its_block_is_taken_again(blocks):
    """It is valid for as many cycles as there are blocks, its own included; then it is overwritten."""
    ws = (
        learned(blocks)
        if blocks > 1
        else Workspace(
            WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", policy_allocation="STRICT"), "RING"
        )
    )
    if blocks == 1:
        turn(ws, 0)
    a = turn(ws, 7)
    for later in range(1, blocks):
        assert int(a.min()) == int(a.max()) == 7
        turn(ws, 100 + later)
        assert a.validity is nd.Validity.VALID
        assert a.is_in_scope
    assert int(a.min()) == int(a.max()) == 7
    turn(ws, 200)
    assert a.validity is nd.Validity.OVERWRITTEN
    assert not a.is_in_scope


def test_an_overwritten_array_is_refused():
    """Its error is OverwrittenArrayError, a kind of OutdatedArrayError, with the facts."""
    ws = learned(2)
    a = turn(ws, 1)
    turn(ws, 2)
    turn(ws, 3)
    with pytest.raises(
        nd.OverwrittenArrayError, match=r"overwritten workspace pointer from workspace \[RING\]"
    ) as caught:
        a + 1
    assert isinstance(caught.value, nd.OutdatedArrayError)
    assert caught.value.validity is nd.Validity.OVERWRITTEN
    assert caught.value.workspace_id == "RING"
    assert caught.value.array_generation == a.generation_id == 2
    assert caught.value.workspace_generation == ws.generation_id == 4


def test_a_handle_is_no_lease():
    """Keeping handles does not keep blocks: nothing spills, the oldest are overwritten."""
    ws = learned(3)
    kept = [turn(ws, i) for i in range(9)]
    assert ws.number_of_external_allocations == 0
    assert ws.number_of_pinned_allocations == 0
    assert [a.is_in_scope for a in kept] == [False] * 6 + [True] * 3
    assert [a[0] for a in kept[6:]] == [6, 7, 8]


def test_every_cycle_has_its_generation():
    """Each full enter is a generation; arrays of several are valid side by side."""
    ws = learned(3)
    kept = [turn(ws, i) for i in range(3)]
    assert [a.generation_id for a in kept] == [2, 3, 4]
    assert all(a.is_in_scope for a in kept)


def test_an_array_of_the_learning_cycle_lives_until_its_memory_is_released():
    """The first cycle spills; its array outlives the scope and is never garbage."""
    ws = Workspace(ring(3), "RING")
    a = turn(ws, 5)
    assert a.is_in_scope
    assert int(a.min()) == int(a.max()) == 5
    for i in range(20):
        turn(ws, 100 + i)
        if a.is_in_scope:
            assert int(a.min()) == int(a.max()) == 5
        else:
            with pytest.raises(nd.StaleArrayError):
                a.min()


# ---------------------------------------------------------------- leases


def test_a_leased_block_is_stepped_over():
    """While a view lives, its block is not taken: view and array keep their values however long."""
    ws = learned(3)
    a = turn(ws, 7)
    view = a.numpy()
    for i in range(20):
        turn(ws, 100 + i)
        assert int(view.min()) == int(view.max()) == 7
        assert a.validity is nd.Validity.VALID
    assert ws.number_of_external_allocations == 0
    del view
    for i in range(3):
        turn(ws, i)
    assert a.validity is nd.Validity.OVERWRITTEN


@pytest.mark.parametrize("policy", ["EXTERNAL", "REALLOCATE"])
def test_with_every_block_leased_a_request_spills(policy):
    """No free block: the array lies outside the ring and the views stay as they are."""
    ws = fixed_ring(2, policy_spill=policy)
    views = [turn(ws, 1).numpy(), turn(ws, 2).numpy()]
    with ws:
        a = ws.full(SIZE, 3, dtype="u1")
        assert ws.number_of_external_allocations + ws.number_of_pinned_allocations == 1
        assert ws.spilled_size + ws.pinned_size == SIZE
    assert a.is_in_scope
    assert [int(v.max()) for v in views] == [1, 2]
    assert int(a.min()) == 3


def test_with_every_block_leased_fail_raises():
    """FAIL: WorkspaceFullError, nothing moved; with a view gone its block serves again."""
    ws = fixed_ring(2, policy_spill="FAIL")
    views = [turn(ws, 1).numpy(), turn(ws, 2).numpy()]
    with ws:
        before = ws.stats()
        with pytest.raises(nd.WorkspaceFullError):
            ws.full(SIZE, 3, dtype="u1")
        assert ws.stats() == before
    assert [int(v.min()) for v in views] == [1, 2]
    views.clear()
    assert int(turn(ws, 4).max()) == 4


@pytest.mark.parametrize("policy", ["WARN", "RAISE"])
def test_views_of_a_ring_are_no_escapes(policy):
    """EscapePolicy is not for rings: a view that outlives the scope neither warns nor raises nor counts."""
    ws = learned(3, policy_escape=policy)
    view = turn(ws, 9).numpy()
    assert int(view.max()) == 9
    assert ws.escaped_count == 0


def test_a_ring_under_leases_for_ever():
    """A consumer that always holds two views sees no foreign bytes, and the ring takes no more memory."""
    ws = learned(4)
    held = []
    turn(ws, 0)
    before = held_bytes()
    for i in range(200):
        held.append((i % 251, turn(ws, i % 251).numpy()))
        held = held[-2:]
        for value, view in held:
            assert int(view.min()) == int(view.max()) == value
    assert nd.allocated_bytes() == before


# ---------------------------------------------------------------- requests larger than the ring


def test_larger_than_the_ring_external_is_pinned():
    """EXTERNAL: a request larger than the ring is pinned; the array stays valid outside the scope."""
    ws = fixed_ring(2)
    with ws:
        a = ws.full(10 * SIZE, 4, dtype="u1")
        assert (ws.number_of_pinned_allocations, ws.pinned_size) == (1, 10 * SIZE)
        assert ws.number_of_external_allocations == 0
    assert a.is_in_scope
    assert int(a.min()) == int(a.max()) == 4
    assert int(turn(ws, 1).max()) == 1


def test_larger_than_the_ring_fail_raises():
    """FAIL: WorkspaceFullError, and smaller requests still fit."""
    ws = fixed_ring(2, policy_spill="FAIL")
    with ws:
        before = ws.stats()
        with pytest.raises(nd.WorkspaceFullError):
            ws.empty(10 * SIZE, dtype="u1")
        assert ws.stats() == before
        assert ws.full(SIZE, 1, dtype="u1").max() == 1


def test_larger_than_the_block_reallocate_rebuilds():
    """REALLOCATE: it is pinned; some cycles later the ring is rebuilt and the larger cycles fit."""
    ws = learned(2, policy_spill="REALLOCATE")
    small = ws.current_size
    with ws:
        large = ws.empty(4 * SIZE, dtype="u1")
        assert ws.number_of_pinned_allocations == 1
    assert large.is_in_scope
    del large
    for i in range(30):
        turn(ws, i, 4 * SIZE)
    assert ws.current_size > small
    assert ws.initial_block_size >= 4 * SIZE
    a = turn(ws, 9, 4 * SIZE)
    assert ws.number_of_pinned_allocations == 0
    assert ws.number_of_external_allocations == 0
    assert int(a.min()) == 9


def test_pinned_arrays_never_show_foreign_bytes():
    """A pinned array is valid until its memory is released, then refused."""
    ws = learned(2, policy_spill="REALLOCATE")
    pinned = turn(ws, 77, 4 * SIZE)
    for i in range(30):
        turn(ws, i, 4 * SIZE)
        if pinned.is_in_scope:
            assert int(pinned.min()) == int(pinned.max()) == 77
    assert not pinned.is_in_scope
    with pytest.raises(nd.StaleArrayError):
        pinned.min()


# ---------------------------------------------------------------- end


def test_destroying_a_ring_ends_all_its_blocks():
    """Every array becomes DESTROYED; a view keeps its bytes; the memory returns when it dies."""
    held = held_bytes()
    ws = learned(3)
    arrays = [turn(ws, i) for i in range(3)]
    view = arrays[1].numpy()
    ws.destroy_workspace()
    assert {a.validity for a in arrays} == {nd.Validity.DESTROYED}
    assert int(view.min()) == int(view.max()) == 1
    assert nd.allocated_bytes() > held
    del view
    assert nd.allocated_bytes() == held


def test_a_ring_beside_a_scoped_workspace():
    """A batch of a ring enters the computation of a scoped workspace as an ordinary operand."""
    ws, loop = learned(3), Workspace(fixed(64 * KIB), "LOOP")
    batch = turn(ws, 2)
    with loop:
        result = (batch + batch).sum(dtype="u8")
        leveraged = (batch * batch).detach()
    assert int(result) == 4 * SIZE
    assert np.all(leveraged == 4)
    assert batch.is_in_scope
