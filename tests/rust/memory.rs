//! What a workspace takes, learns, spills, retires and gives back.

use ndarena::{
    AllocationPolicy, Array, Error, LearningPolicy, Lease, ReusePolicy, Settings, SpillPolicy,
    Validity, Workspace, WorkspaceConfiguration,
};

use crate::support::{KIB, bytes, bytes_of, counters, cycle, fixed, workspace};

fn at_reset(s: &mut Settings) {
    s.policy_reuse = ReusePolicy::AtReset;
}

/// A cycle of arrays that are all alive at its end.
fn fill(ws: &Workspace, sizes: &[u64]) {
    cycle(ws, || sizes.iter().map(|&n| bytes(ws, n, 1)).collect::<Vec<Array>>());
}

fn size(ws: &Workspace) -> u64 {
    ws.stats().current_size
}

fn spilled(ws: &Workspace) -> (u64, u64) {
    let stats = ws.stats();
    (stats.number_of_external_allocations, stats.spilled_size)
}

// ---------------------------------------------------------------------- learning

#[test]
fn first_loop_learns_from_the_first_cycle_that_allocates() {
    for policy in [ReusePolicy::WithinCycle, ReusePolicy::AtReset] {
        let ws = workspace(|s| {
            s.policy_reuse = policy;
            s.overallocation_limit = 0.25;
        });
        cycle(&ws, || ());
        assert_eq!(size(&ws), 0, "nothing to learn");
        fill(&ws, &[1000, 600]);
        // 1024 + 640 = 1664; a quarter more is 2080, to a multiple of 64.
        let stats = ws.stats();
        assert_eq!((stats.initial_block_size, stats.current_size), (1664, 2112));
        assert_eq!(stats.max_cycle_allocations, 1664);
        fill(&ws, &[1000, 600]);
        fill(&ws, &[4000]);
        assert_eq!(size(&ws), 2112, "learned once");
    }
}

#[test]
fn over_time_learns_from_the_largest_of_its_cycles() {
    let ws = workspace(|s| {
        s.policy_learning = LearningPolicy::OverTime;
        s.cycles_before_initialization = 3;
        s.policy_allocation = AllocationPolicy::Strict;
    });
    for sizes in [[640], [1920]] {
        fill(&ws, &sizes);
        assert_eq!(size(&ws), 0);
    }
    fill(&ws, &[64]);
    assert_eq!(size(&ws), 1920);
}

#[test]
fn over_time_fires_later_if_the_first_cycles_were_empty() {
    let ws = workspace(|s| {
        s.policy_learning = LearningPolicy::OverTime;
        s.cycles_before_initialization = 2;
        s.policy_allocation = AllocationPolicy::Strict;
    });
    (0..5).for_each(|_| cycle(&ws, || ()));
    assert_eq!(size(&ws), 0);
    fill(&ws, &[640]);
    assert_eq!(size(&ws), 640);
}

#[test]
fn over_time_with_no_cycles_is_initialised_by_hand() {
    let ws = workspace(|s| {
        s.policy_learning = LearningPolicy::OverTime;
        s.policy_allocation = AllocationPolicy::Strict;
    });
    (0..10).for_each(|_| fill(&ws, &[640]));
    assert_eq!(size(&ws), 0);
    ws.initialize_workspace().unwrap();
    assert_eq!(size(&ws), 640);
    cycle(&ws, || {
        let _array = bytes(&ws, 640, 1);
        assert_eq!(spilled(&ws), (0, 0));
    });
}

#[test]
fn none_keeps_the_size_it_was_given() {
    let ws = workspace(|s| fixed(s, 1024));
    fill(&ws, &[4000, 4000]);
    ws.initialize_workspace().unwrap();
    assert_eq!(size(&ws), 1024);
    let ws = workspace(|s| s.policy_learning = LearningPolicy::None);
    fill(&ws, &[4000]);
    assert_eq!(size(&ws), 0, "everything spills");
}

#[test]
fn sizes_stay_within_their_bounds() {
    let ws = workspace(|s| s.min_size = 100_000);
    fill(&ws, &[640]);
    assert_eq!(size(&ws), 100_032);
    let ws = workspace(|s| s.max_size = 1024);
    fill(&ws, &[640, 640]);
    assert_eq!(size(&ws), 1024);
    let ws = workspace(|s| s.max_size = 1000);
    fill(&ws, &[640, 640]);
    assert_eq!(size(&ws), 1000, "never above");
    cycle(&ws, || {
        let _inside = bytes(&ws, 960, 1);
        assert_eq!(spilled(&ws), (0, 0));
        let _outside = bytes(&ws, 40, 2);
        assert_eq!(spilled(&ws), (1, 64), "40 bytes need 64");
    });
}

#[test]
fn within_the_cycle_only_what_is_alive_at_once_is_learned() {
    let ws = workspace(|s| s.policy_allocation = AllocationPolicy::Strict);
    let body = || {
        let mut last = bytes(&ws, 1024, 0);
        for i in 0..1000_u32 {
            last = bytes(&ws, 1024, i.to_le_bytes()[0]);
        }
        last
    };
    cycle(&ws, body);
    assert_eq!(size(&ws), 2 * KIB, "two of a thousand and one");
    for _ in 0..3 {
        cycle(&ws, || {
            body();
            assert_eq!(spilled(&ws), (0, 0));
            let stats = ws.stats();
            assert_eq!((stats.peak_size, stats.this_cycle_allocations), (2 * KIB, 1001 * KIB));
        });
    }
    let ws = workspace(|s| {
        at_reset(s);
        s.policy_allocation = AllocationPolicy::Strict;
    });
    cycle(&ws, || (0..10).for_each(|_| drop(bytes(&ws, 1024, 1))));
    assert_eq!(size(&ws), 10 * KIB, "AT_RESET learns the sum");
}

// ---------------------------------------------------------------------- growth

#[test]
fn growth_keeps_its_head_room() {
    for policy in [ReusePolicy::WithinCycle, ReusePolicy::AtReset] {
        let ws = workspace(|s| {
            s.policy_reuse = policy;
            s.policy_spill = SpillPolicy::Reallocate;
            s.overallocation_limit = 0.5;
        });
        fill(&ws, &[640]);
        assert_eq!(size(&ws), 960);
        fill(&ws, &[900]);
        assert_eq!(size(&ws), 960, "fits");
        fill(&ws, &[6400]);
        assert_eq!(size(&ws), 9600);
        cycle(&ws, || {
            let _array = bytes(&ws, 6400, 1);
            assert_eq!(spilled(&ws), (0, 0));
        });
    }
}

#[test]
fn the_ancestor_grows_without_new_head_room() {
    let c = |max_size| {
        let settings = Settings {
            policy_spill: SpillPolicy::Reallocate,
            overallocation_limit: 0.5,
            max_size,
            ..Settings::default()
        };
        Workspace::new(WorkspaceConfiguration::nd4j("1.0.0-M2.1", settings).unwrap(), "W").unwrap()
    };
    let ws = c(0);
    fill(&ws, &[640]);
    assert_eq!(size(&ws), 960);
    fill(&ws, &[6400]);
    assert_eq!(size(&ws), 6400);
    let ws = c(5000);
    fill(&ws, &[640]);
    fill(&ws, &[6400]);
    assert_eq!(size(&ws), 5000);
}

#[test]
fn growth_is_clamped_to_the_largest_size() {
    let ws = workspace(|s| {
        s.policy_spill = SpillPolicy::Reallocate;
        s.max_size = 2048;
    });
    fill(&ws, &[640]);
    fill(&ws, &[6400]);
    assert_eq!(size(&ws), 2048);
    (0..3).for_each(|_| fill(&ws, &[6400]));
    assert_eq!(size(&ws), 2048);
}

// ---------------------------------------------------------------------- spills

#[test]
fn what_does_not_fit_spills() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = ws.notify_scope_entered().unwrap();
    let inside = bytes(&ws, 1000, 1);
    let outside = [bytes(&ws, 100, 2), bytes(&ws, 5000, 3)];
    assert_eq!(spilled(&ws), (2, 128 + 5056));
    assert_eq!(ws.stats().this_cycle_allocations, 1024 + 128 + 5056);
    assert_eq!(outside[1].detach::<u8>().unwrap(), [3; 5000]);
    drop(outside);
    assert_eq!(spilled(&ws), (0, 0), "they fall when their arrays die");
    drop(inside);
    let array = bytes(&ws, 1000, 4);
    assert_eq!(spilled(&ws), (0, 0), "and the arena serves again");
    scope.close().unwrap();
    assert_eq!(array.validity(), Validity::Leaked);
}

#[test]
fn spills_end_with_their_cycle() {
    let ws = workspace(|s| fixed(s, 64));
    let array = cycle(&ws, || bytes(&ws, 5000, 3));
    assert_eq!(array.validity(), Validity::Leaked);
    assert_eq!(spilled(&ws), (0, 0));
}

#[test]
fn a_spill_that_may_not_be_is_refused_and_changes_nothing() {
    for reuse in [ReusePolicy::WithinCycle, ReusePolicy::AtReset] {
        let ws = workspace(|s| {
            fixed(s, 1024);
            s.policy_spill = SpillPolicy::Fail;
            s.policy_reuse = reuse;
        });
        let scope = ws.notify_scope_entered().unwrap();
        let array = bytes(&ws, 600, 1);
        let before = counters(&ws);
        let error = ws.zeros::<u8>(&[600]).unwrap_err();
        let Error::Full { requested, reason, facts } = &error else { panic!("{error}") };
        assert_eq!((*requested, facts.workspace_id.as_deref()), (640, Some("W")));
        assert!(reason.contains("FAIL") && reason.contains("640 of 1024"), "{reason}");
        assert_eq!(counters(&ws), before);
        let rest = bytes(&ws, 384, 2);
        assert_eq!(array.detach::<u8>().unwrap(), [1; 600]);
        drop(rest);
        scope.close().unwrap();
    }
}

#[test]
fn switched_off_arrays_are_external_and_not_learned() {
    let ws = workspace(|s| s.policy_allocation = AllocationPolicy::Strict);
    let scope = ws.notify_scope_entered().unwrap();
    ws.toggle_workspace_use(false).unwrap();
    let outside = bytes(&ws, 640, 1);
    assert_eq!(spilled(&ws), (1, 640));
    assert_eq!(ws.stats().this_cycle_allocations, 0);
    ws.toggle_workspace_use(true).unwrap();
    let inside = bytes(&ws, 128, 2);
    ws.toggle_workspace_use(false).unwrap();
    scope.close().unwrap();
    assert_eq!([outside, inside].map(|a| a.validity()), [Validity::Leaked; 2]);
    assert_eq!((size(&ws), spilled(&ws)), (128, (0, 0)));
    cycle(&ws, || {
        let _array = bytes(&ws, 128, 3);
        assert_eq!(spilled(&ws), (0, 0), "the close turned use on again");
    });
}

// ---------------------------------------------------------------------- reuse and retirement

#[test]
fn memory_of_the_dead_serves_the_same_cycle() {
    let ws = workspace(|s| fixed(s, 1024));
    cycle(&ws, || {
        let first = bytes(&ws, 1024, 1);
        let address = first.buffer().address();
        let clone = first.clone();
        drop(first);
        assert_ne!(bytes(&ws, 1024, 2).buffer().address(), address, "a handle is left");
        let lease = clone.buffer().lease().unwrap();
        drop(clone);
        assert_ne!(bytes(&ws, 1024, 3).buffer().address(), address, "a lease is left");
        assert_eq!(bytes_of(&lease), [1; 1024]);
        drop(lease);
        assert_eq!(bytes(&ws, 1024, 4).buffer().address(), address);
    });
    let ws = workspace(|s| {
        fixed(s, 1024);
        at_reset(s);
    });
    cycle(&ws, || {
        let address = bytes(&ws, 512, 1).buffer().address();
        assert_eq!(bytes(&ws, 512, 2).buffer().address(), address + 512);
        drop(bytes(&ws, 512, 3));
        assert_eq!(spilled(&ws), (1, 512), "the dead keep their memory until the reset");
    });
}

#[test]
fn leased_memory_is_retired_not_reused() {
    let ws = workspace(|s| fixed(s, 4096));
    let old: Vec<Lease> =
        (0..3).map(|v| cycle(&ws, || bytes(&ws, 4000, v).buffer().lease().unwrap())).collect();
    assert_eq!(ws.stats().retired_size, 3 * 4096);
    cycle(&ws, || drop(bytes(&ws, 4096, 0xFF)));
    for (value, lease) in (0..).zip(&old) {
        assert_eq!(bytes_of(lease), [value; 4000]);
    }
    for (left, lease) in (0..3).rev().zip(old) {
        drop(lease);
        assert_eq!(ws.stats().retired_size, left * 4096, "falls as each dies");
    }
}

#[test]
fn a_view_that_survives_every_cycle_costs_one_more_arena() {
    let ws = workspace(|s| fixed(s, 4096));
    let mut addresses = std::collections::HashSet::new();
    let mut survivor = None;
    for _ in 0..50 {
        let lease = cycle(&ws, || {
            let array = bytes(&ws, 4000, 1);
            addresses.insert(array.buffer().address());
            array.buffer().lease().unwrap()
        });
        survivor = Some(lease);
        assert!(ws.stats().retired_size <= 2 * 4096);
    }
    assert!(addresses.len() <= 3, "{} blocks", addresses.len());
    drop(survivor);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn a_leased_spill_is_retired_by_itself() {
    let ws = workspace(|s| fixed(s, 64));
    let lease = cycle(&ws, || bytes(&ws, 1000, 5).buffer().lease().unwrap());
    assert_eq!(ws.stats().retired_size, 1024);
    assert_eq!(ws.stats().escaped_count, 1);
    assert_eq!(bytes_of(&lease), [5; 1000]);
    drop(lease);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn trim_returns_what_the_closed_workspace_does_not_need() {
    let ws = workspace(|s| s.policy_allocation = AllocationPolicy::Strict);
    assert_eq!(ws.trim(), Ok(0));
    (0..2).for_each(|_| fill(&ws, &[64_000]));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 64_000, 3);
    assert_eq!(ws.trim(), Ok(0), "not while open");
    assert_eq!(array.detach::<u8>().unwrap(), vec![3; 64_000]);
    scope.close().unwrap();
    assert_eq!(ws.trim(), Ok(64_000));
    assert_eq!((ws.trim(), size(&ws)), (Ok(0), 0));
    fill(&ws, &[640]);
    assert_eq!(size(&ws), 640, "learned anew, smaller");
}

#[test]
fn trim_leaves_what_is_leased() {
    let ws = workspace(|s| s.policy_allocation = AllocationPolicy::Strict);
    (0..2).for_each(|_| fill(&ws, &[6400]));
    let lease = cycle(&ws, || bytes(&ws, 6400, 3).buffer().lease().unwrap());
    ws.trim().unwrap();
    assert_eq!(bytes_of(&lease), [3; 6400]);
    assert_eq!(ws.stats().retired_size, 6400);
    drop(lease);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn debug_poisons_what_is_released_and_nothing_else() {
    let ws = workspace(|s| fixed(s, 1024));
    ws.enable_debug(true).unwrap();
    cycle(&ws, || {
        let (alive, dead) = (bytes(&ws, 512, 1), bytes(&ws, 512, 2));
        drop(dead);
        let again = ws.empty::<u8>(&[512]).unwrap();
        assert_eq!(again.detach::<u8>().unwrap(), [0xDD; 512]);
        assert_eq!(alive.detach::<u8>().unwrap(), [1; 512]);
    });
    cycle(&ws, || {
        let whole = ws.empty::<u8>(&[1024]).unwrap();
        assert_eq!(whole.detach::<u8>().unwrap(), [0xDD; 1024]);
        drop(whole);
        assert_eq!(ws.zeros::<u8>(&[1024]).unwrap().detach::<u8>().unwrap(), [0; 1024]);
    });
}

// ---------------------------------------------------------------------- counters

#[test]
fn the_counters_of_a_cycle() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let (a, b) = (bytes(&ws, 1000, 1), bytes(&ws, 500, 2));
    drop(a);
    let stats = ws.stats();
    assert_eq!((stats.this_cycle_allocations, stats.peak_size), (1536, 1536));
    assert_eq!(stats.current_offset, 1536, "end of the highest span in use");
    drop(b);
    assert_eq!(ws.stats().current_offset, 0);
    let _c = bytes(&ws, 100, 3);
    let stats = ws.stats();
    assert_eq!((stats.this_cycle_allocations, stats.peak_size), (1664, 1536));
    scope.close().unwrap();
    let stats = ws.stats();
    assert_eq!((stats.this_cycle_allocations, stats.last_cycle_allocations), (0, 1664));
    assert_eq!((stats.peak_size, stats.max_cycle_allocations), (1536, 1664));
    fill(&ws, &[64]);
    let stats = ws.stats();
    assert_eq!((stats.peak_size, stats.max_cycle_allocations, stats.cycles_count), (64, 1664, 2));
}

#[test]
fn spans_are_aligned() {
    for alignment in [16, 64, 512, 4096] {
        let ws = workspace(|s| {
            s.alignment = alignment;
            fixed(s, 1 << 16);
        });
        let scope = ws.notify_scope_entered().unwrap();
        let arrays: Vec<Array> = [1, 17, 100, 70_000].map(|n| bytes(&ws, n, 1)).into();
        for array in &arrays {
            assert_eq!(array.buffer().address() as u64 % alignment, 0, "alignment {alignment}");
        }
        scope.close().unwrap();
    }
}
