//! Circular workspaces: a block per cycle, taken again when the ring comes round.

use ndarena::{
    AllocationPolicy, Array, Error, Lease, Moved, Settings, SpillPolicy, Validity, Workspace,
    WorkspaceConfiguration, WorkspaceType,
};

use crate::support::{bytes, bytes_of, counters, cycle, ring, workspace};

const BLOCK: u64 = 256;

/// Three blocks of 256 bytes.
fn three_blocks(policy: SpillPolicy) -> Workspace {
    workspace(|s| {
        ring(s, BLOCK, 2.0);
        s.policy_spill = policy;
    })
}

/// An array of a cycle of its own.
fn turn(ws: &Workspace, n: u64, value: u8) -> Array {
    cycle(ws, || bytes(ws, n, value))
}

fn lease(array: &Array) -> Lease {
    array.buffer().lease().unwrap()
}

fn validities(arrays: &[Array]) -> Vec<Validity> {
    arrays.iter().map(Array::validity).collect()
}

use Validity::{Overwritten, Valid};

#[test]
fn a_block_is_taken_again_when_the_ring_comes_round() {
    let ws = three_blocks(SpillPolicy::External);
    assert_eq!(ws.workspace_type(), WorkspaceType::Circular);
    assert_eq!(ws.stats().current_size, 3 * BLOCK);
    let mut arrays: Vec<Array> = (0..3).map(|i| turn(&ws, 100, i)).collect();
    assert_eq!(validities(&arrays), [Valid; 3], "valid after their cycles");
    for (i, array) in (0..).zip(&arrays) {
        assert_eq!(array.detach::<u8>().unwrap(), [i; 100]);
    }
    arrays.push(turn(&ws, 100, 3));
    assert_eq!(validities(&arrays), [Overwritten, Valid, Valid, Valid]);
    assert_eq!(arrays[3].buffer().address(), arrays[0].buffer().address());
    let error = arrays[0].read::<u8, _>(|_| ()).unwrap_err().to_string();
    assert!(error.contains("overwritten workspace pointer from workspace [W]"), "{error}");
    assert_eq!(ws.stats().number_of_external_allocations, 0);
}

#[test]
fn turned_back_it_takes_the_first_block_that_is_not_leased() {
    let ws = three_blocks(SpillPolicy::External);
    let turn = |value| {
        ws.turn_back().unwrap();
        turn(&ws, 100, value)
    };
    let first = turn(0);
    let start = first.buffer().address();
    let again = turn(1);
    assert_eq!(again.buffer().address(), start);
    assert_eq!(validities(&[first, again.clone()]), [Overwritten, Valid]);
    let held = lease(&again);
    let second = turn(2).buffer().address();
    let others: Vec<Array> = (3..6).map(turn).collect();
    for other in &others {
        assert_eq!(other.buffer().address(), second, "the leased one is stepped over");
    }
    assert_ne!(second, start);
    drop(held);
    assert_eq!(turn(6).buffer().address(), start);
    assert_eq!(ws.stats().number_of_external_allocations, 0);
}

#[test]
fn turning_back_ends_what_is_not_leased() {
    let ws = three_blocks(SpillPolicy::External);
    let arrays: Vec<Array> = (0..3).map(|v| turn(&ws, 100, v)).collect();
    let held = lease(&arrays[1]);
    ws.turn_back().unwrap();
    assert_eq!(validities(&arrays), [Overwritten, Valid, Overwritten]);
    assert_eq!(bytes_of(&held), [1; 100]);
    assert!(arrays[0].buffer().lease().is_err(), "no lease brings it back");
}

#[test]
fn turned_back_it_gives_back_what_was_external() {
    let ws = three_blocks(SpillPolicy::External);
    let held: Vec<Lease> = (0..3).map(|v| lease(&turn(&ws, 100, v))).collect();
    let spilled = turn(&ws, 100, 3);
    assert_eq!(ws.stats().number_of_external_allocations, 1);
    drop((held, spilled));
    ws.turn_back().unwrap();
    turn(&ws, 100, 4);
    assert_eq!(ws.stats().number_of_external_allocations, 0);
}

#[test]
fn it_turns_back_between_two_cycles_alone() {
    let ws = three_blocks(SpillPolicy::External);
    cycle(&ws, || {
        let refused = ws.turn_back().unwrap_err().to_string();
        assert!(refused.contains("turn_back of workspace [W], which is open"), "{refused}");
    });
    ws.destroy_workspace().unwrap();
    let refused = ws.turn_back().unwrap_err().to_string();
    assert!(refused.contains("destroyed"), "{refused}");
    workspace(|_| {}).turn_back().unwrap();
}

#[test]
fn a_block_serves_the_whole_cycle_and_ends_as_a_whole() {
    let ws = three_blocks(SpillPolicy::External);
    let first = cycle(&ws, || [1, 2, 3].map(|v| bytes(&ws, 64, v)));
    turn(&ws, 64, 4);
    turn(&ws, 64, 5);
    let again = turn(&ws, 64, 6);
    assert_eq!(again.buffer().address(), first[0].buffer().address());
    assert_eq!(validities(&first), [Overwritten; 3], "also the part not yet reused");
}

#[test]
fn blocks_start_at_multiples_of_the_alignment() {
    for further in [1.0, 2.0, 3.0, 6.0] {
        let ws = workspace(|s| ring(s, 1000, further));
        for value in 0..9 {
            let array = cycle(&ws, || ws.full::<f64>(&[125], f64::from(value)).unwrap());
            assert_eq!(array.buffer().address() % 64, 0);
            assert_eq!(array.detach::<f64>().unwrap(), [f64::from(value); 125]);
        }
        let stats = ws.stats();
        assert_eq!(stats.number_of_pinned_allocations, 0, "a cycle of 1000 bytes fits");
        assert_eq!(stats.number_of_external_allocations, 0);
    }
}

#[test]
fn the_ring_of_the_ancestor_is_exact_to_the_byte() {
    let settings = {
        let mut s = Settings::default();
        ring(&mut s, 0, 1.0);
        s
    };
    let c = WorkspaceConfiguration::nd4j("1.0.0-M2.1", settings).unwrap();
    let ws = Workspace::new(c, "W").unwrap();
    turn(&ws, 800, 1);
    // 1.3 × 800 = 1040, on to the next multiple of 8; two blocks.
    assert_eq!(ws.stats().current_size, 2 * 1048);
    let values = (0..5).map(|v| cycle(&ws, || ws.full::<f64>(&[100], f64::from(v)).unwrap()));
    let arrays: Vec<Array> = values.collect();
    assert_eq!(arrays[4].detach::<f64>().unwrap(), [4.0; 100]);
    assert_eq!(arrays[4].buffer().address() % 8, 0);
}

#[test]
fn a_leased_block_is_stepped_over() {
    let ws = three_blocks(SpillPolicy::External);
    let mut arrays: Vec<Array> = (0..3).map(|i| turn(&ws, 100, i)).collect();
    let kept = lease(&arrays[0]);
    for value in 3..11 {
        arrays.push(turn(&ws, 100, value));
    }
    assert_eq!(arrays[0].validity(), Valid);
    assert_eq!(bytes_of(&kept), [0; 100]);
    assert_eq!(validities(&arrays[1..9]), [Overwritten; 8]);
    assert_eq!(validities(&arrays[9..]), [Valid; 2], "two blocks go round");
    assert_eq!(ws.stats().number_of_external_allocations, 0);
    drop(kept);
    let mut later: Vec<Array> = (0..3).map(|i| turn(&ws, 100, i)).collect();
    later.push(arrays.swap_remove(0));
    assert_eq!(validities(&later), [Valid, Valid, Valid, Overwritten]);
}

#[test]
fn a_handle_is_no_lease() {
    let ws = three_blocks(SpillPolicy::External);
    let array = turn(&ws, 100, 1);
    let clone = array.clone();
    (0..3).for_each(|v| drop(turn(&ws, 100, v)));
    assert_eq!(validities(&[array, clone]), [Overwritten; 2]);
}

#[test]
fn with_every_block_leased_a_request_spills() {
    for policy in [SpillPolicy::External, SpillPolicy::Reallocate] {
        let ws = three_blocks(policy);
        let kept: Vec<Lease> = (0..3).map(|i| lease(&turn(&ws, 100, i))).collect();
        let spilled = turn(&ws, 100, 9);
        let stats = ws.stats();
        assert_eq!((stats.number_of_external_allocations, stats.spilled_size), (1, 128));
        assert_eq!(spilled.detach::<u8>().unwrap(), [9; 100], "valid after its cycle");
        for (i, lease) in (0..).zip(&kept) {
            assert_eq!(bytes_of(lease), [i; 100]);
        }
    }
}

#[test]
fn with_every_block_leased_a_request_that_may_not_spill_is_refused() {
    let ws = three_blocks(SpillPolicy::Fail);
    let kept: Vec<Lease> = (0..3).map(|i| lease(&turn(&ws, 100, i))).collect();
    let scope = ws.notify_scope_entered().unwrap();
    let before = counters(&ws);
    let refused = ws.zeros::<u8>(&[100]).unwrap_err();
    assert!(matches!(refused, Error::Full { requested: 128, .. }), "{refused}");
    assert_eq!(counters(&ws), before);
    drop(kept);
    assert_eq!(bytes(&ws, 100, 5).detach::<u8>().unwrap(), [5; 100]);
    scope.close().unwrap();
}

#[test]
fn a_cycle_larger_than_its_block_is_pinned() {
    let ws = three_blocks(SpillPolicy::External);
    let scope = ws.notify_scope_entered().unwrap();
    let (inside, pinned) = (bytes(&ws, 200, 1), bytes(&ws, 100, 2));
    let stats = ws.stats();
    assert_eq!((stats.number_of_pinned_allocations, stats.pinned_size), (1, 128));
    assert_eq!(stats.this_cycle_allocations, 256 + 128);
    scope.close().unwrap();
    (0..3).for_each(|v| drop(turn(&ws, 100, v)));
    assert_eq!(inside.validity(), Overwritten);
    assert_eq!(pinned.detach::<u8>().unwrap(), [2; 100], "valid until its memory is released");
    drop(pinned);
    let stats = ws.stats();
    assert_eq!((stats.number_of_pinned_allocations, stats.pinned_size), (0, 0));
}

#[test]
fn pins_are_released_after_their_steps() {
    let ws = three_blocks(SpillPolicy::External);
    let pinned = turn(&ws, 300, 7);
    let kept = lease(&pinned);
    let turns = (1..30).find(|_| {
        drop(turn(&ws, 64, 1));
        !pinned.is_in_scope()
    });
    assert!(turns.is_some_and(|n| n > 3), "{turns:?}");
    assert_eq!(pinned.validity(), Overwritten);
    let stats = ws.stats();
    assert_eq!((stats.number_of_pinned_allocations, stats.pinned_size), (0, 0));
    assert_eq!(stats.retired_size, 320, "held by the lease");
    assert_eq!(bytes_of(&kept), [7; 300]);
    drop(kept);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn a_request_larger_than_the_ring() {
    for policy in [SpillPolicy::External, SpillPolicy::Reallocate] {
        let ws = three_blocks(policy);
        let array = turn(&ws, 10_000, 3);
        assert_eq!(ws.stats().number_of_pinned_allocations, 1);
        assert_eq!(array.detach::<u8>().unwrap(), [3; 10_000]);
    }
    let ws = three_blocks(SpillPolicy::Fail);
    let scope = ws.notify_scope_entered().unwrap();
    let before = counters(&ws);
    assert!(matches!(ws.zeros::<u8>(&[10_000]), Err(Error::Full { .. })));
    assert_eq!(counters(&ws), before);
    scope.close().unwrap();
}

#[test]
fn a_learning_ring_that_reallocates_is_rebuilt() {
    let ws = workspace(|s| {
        ring(s, 0, 1.0);
        s.policy_spill = SpillPolicy::Reallocate;
    });
    drop(turn(&ws, 640, 1));
    let small = ws.stats().current_size;
    // 1.3 × 640 = 832 bytes, two blocks.
    assert_eq!(small, 2 * 832);
    let early = turn(&ws, 640, 2);
    let kept = lease(&early);
    let turns = (0..30).find(|_| {
        drop(turn(&ws, 2000, 3));
        ws.stats().current_size > small
    });
    assert!(turns.is_some(), "{:?}", ws.stats());
    // 1.3 × 2048 = 2662, to a multiple of 64.
    assert_eq!(ws.stats().current_size, 2 * 2688);
    assert_eq!(early.validity(), Overwritten, "the old ring is gone");
    assert_eq!(bytes_of(&kept), [2; 640], "not for who looks at it");
    assert_eq!(ws.stats().retired_size, small);
    drop(kept);
    assert_eq!(ws.stats().retired_size, 0);
    let arrays = [4, 5].map(|v| turn(&ws, 2000, v));
    assert_eq!(validities(&arrays), [Valid; 2]);
    assert_eq!(arrays[0].detach::<u8>().unwrap(), vec![4; 2000]);
}

#[test]
fn a_strict_ring_has_one_block() {
    let ws = workspace(|s| {
        ring(s, BLOCK, 7.0);
        s.policy_allocation = AllocationPolicy::Strict;
    });
    assert_eq!(ws.stats().current_size, BLOCK);
    let first = turn(&ws, 100, 1);
    let second = turn(&ws, 100, 2);
    assert_eq!(validities(&[first, second]), [Overwritten, Valid]);
}

#[test]
fn a_copy_never_takes_the_place_of_its_source() {
    let ws = three_blocks(SpillPolicy::External);
    let source = turn(&ws, 100, 1);
    (0..2).for_each(|v| drop(turn(&ws, 100, v)));
    let scope = ws.notify_scope_entered().unwrap();
    let Moved::Attached(copy) = source.dup::<u8>().unwrap() else { panic!("detached") };
    assert_eq!(copy.detach::<u8>().unwrap(), [1; 100]);
    assert_ne!(copy.buffer().address(), source.buffer().address());
    assert_eq!(validities(&[source, copy]), [Valid; 2]);
    scope.close().unwrap();
}

#[test]
fn reuse_within_the_cycle_has_no_effect_in_a_ring() {
    let ws = three_blocks(SpillPolicy::External);
    cycle(&ws, || {
        let first = bytes(&ws, 64, 1).buffer().address();
        let second = bytes(&ws, 64, 2).buffer().address();
        assert_eq!(second, first + 64, "a block is filled once");
    });
}

#[test]
fn destroying_a_ring_ends_its_arrays_not_its_leases() {
    let ws = three_blocks(SpillPolicy::External);
    let (first, second) = (turn(&ws, 100, 1), turn(&ws, 100, 2));
    let kept = lease(&first);
    ws.destroy_workspace().unwrap();
    assert_eq!(validities(&[first, second]), [Validity::Destroyed; 2]);
    assert_eq!(ws.stats().retired_size, 3 * BLOCK);
    assert_eq!(bytes_of(&kept), [1; 100]);
    drop(kept);
    assert_eq!(ws.stats().retired_size, 0);
}
