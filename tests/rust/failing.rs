//! Requests that cannot be served: an error, and everything as it was.

use ndarena::{
    Array, Error, LearningPolicy, ReusePolicy, Settings, SpillPolicy, Validity, Workspace,
    set_current_workspace,
};
use proptest::prelude::*;

use crate::support::{bytes, configuration, counters, cycle, fixed, ring, workspace};

/// More than any system has.
const TOO_MUCH: usize = 1 << 62;

/// One workspace of every kind, each with an array of its running cycle.
fn kinds() -> Vec<Workspace> {
    let changes: [fn(&mut Settings); 7] = [
        |_| (),
        |s| s.policy_reuse = ReusePolicy::AtReset,
        |s| s.policy_spill = SpillPolicy::Reallocate,
        |s| fixed(s, 4096),
        |s| {
            fixed(s, 4096);
            s.policy_spill = SpillPolicy::Fail;
        },
        |s| ring(s, 1024, 1.0),
        |s| ring(s, 0, 2.0),
    ];
    changes.map(workspace).into()
}

fn full<T: std::fmt::Debug>(result: Result<T, Error>) -> u64 {
    match result {
        Err(Error::Full { requested, .. }) => requested,
        other => panic!("not refused as too large: {other:?}"),
    }
}

#[test]
fn what_the_system_refuses_changes_nothing() {
    for ws in kinds() {
        let early = cycle(&ws, || bytes(&ws, 100, 1));
        let scope = ws.notify_scope_entered().unwrap();
        let array = bytes(&ws, 100, 2);
        let before = counters(&ws);
        assert_eq!(full(ws.zeros::<u8>(&[TOO_MUCH])), TOO_MUCH as u64);
        full(ws.empty::<f64>(&[TOO_MUCH / 8, 1]));
        full(ws.allocate(TOO_MUCH, false));
        assert_eq!(counters(&ws), before);
        ws.toggle_workspace_use(false).unwrap();
        full(ws.zeros::<u8>(&[TOO_MUCH]));
        ws.toggle_workspace_use(true).unwrap();
        assert_eq!(counters(&ws), before);
        assert_eq!(array.detach::<u8>().unwrap(), [2; 100]);
        assert_eq!(bytes(&ws, 100, 3).detach::<u8>().unwrap(), [3; 100]);
        scope.close().unwrap();
        cycle(&ws, || bytes(&ws, 200, 4).detach::<u8>().unwrap());
        assert_ne!(early.validity(), Validity::Destroyed);
    }
}

#[test]
fn of_several_arrays_all_are_cut_or_none() {
    for ws in kinds() {
        cycle(&ws, || bytes(&ws, 100, 1));
        let scope = ws.notify_scope_entered().unwrap();
        let array = bytes(&ws, 100, 2);
        let before = counters(&ws);
        for sizes in [vec![TOO_MUCH], vec![100, TOO_MUCH], vec![0, 300, 200, 0, TOO_MUCH, 100]] {
            let place = sizes.iter().position(|&n| n == TOO_MUCH).unwrap();
            let (error, refused) = ws.allocate_all(&sizes, None).unwrap_err();
            assert_eq!((full::<()>(Err(error)), refused), (TOO_MUCH as u64, place));
            assert_eq!(counters(&ws), before, "{sizes:?}");
        }
        let made = ws.allocate_all(&[100, 0, 200], None).unwrap();
        assert_eq!(made.iter().map(ndarena::Buffer::len).collect::<Vec<_>>(), [100, 0, 200]);
        assert!(ws.allocate_all(&[], None).unwrap().is_empty());
        assert_eq!(array.detach::<u8>().unwrap(), [2; 100]);
        drop(made);
        assert_eq!(bytes(&ws, 100, 3).detach::<u8>().unwrap(), [3; 100]);
        scope.close().unwrap();
        assert_eq!(ws.allocate_all(&[100, 100], None).unwrap_err().1, 0, "not open");
    }
}

#[test]
fn lengths_at_the_end_of_the_address_space() {
    let largest = isize::MAX.unsigned_abs();
    for ws in kinds() {
        let scope = ws.notify_scope_entered().unwrap();
        let array = bytes(&ws, 100, 2);
        let before = counters(&ws);
        for length in [usize::MAX, usize::MAX - 63, usize::MAX - 64, largest + 1, largest] {
            full(ws.allocate(length, true));
        }
        assert_eq!(counters(&ws), before);
        assert_eq!(array.detach::<u8>().unwrap(), [2; 100]);
        scope.close().unwrap();
    }
}

#[test]
fn shapes_beyond_the_address_space() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = ws.notify_scope_entered().unwrap();
    let before = counters(&ws);
    let shapes: [&[usize]; 4] =
        [&[usize::MAX, 2], &[1 << 31, 1 << 31], &[isize::MAX.unsigned_abs()], &[0, usize::MAX, 2]];
    for shape in shapes {
        let refused = ws.zeros::<f64>(shape).unwrap_err();
        assert!(matches!(&refused, Error::Shape { .. }), "{refused}");
        assert!(refused.to_string().contains("address space"), "{refused}");
    }
    assert_eq!(counters(&ws), before);
    assert_eq!(ws.zeros::<f64>(&[usize::MAX / 16, 0]).unwrap().size(), 0);
    scope.close().unwrap();
}

#[test]
fn an_arena_the_system_refuses() {
    let c = configuration(|s| fixed(s, 1 << 62));
    full(Workspace::new(c.clone(), "W"));
    let kept = ndarena::create_new_workspace(None, "KEPT").unwrap();
    full(ndarena::create_new_workspace(Some(&c), "KEPT"));
    assert_eq!(ndarena::registry::find("KEPT"), Some(kept.clone()), "the old one is still there");
    assert!(!kept.is_destroyed());
    ndarena::registry::destroy_all_workspaces();
}

#[test]
fn an_enter_that_the_system_refuses_changes_nothing() {
    let ws = workspace(|s| s.min_size = 1 << 62);
    let outer = workspace(|_| ());
    let early = cycle(&ws, || bytes(&ws, 100, 1));
    let _open = outer.notify_scope_entered().unwrap();
    let before = counters(&ws);
    assert_eq!(before.current_size, 1 << 62, "learned");
    full(ws.notify_scope_entered());
    assert_eq!(counters(&ws), before);
    assert_eq!(early.validity(), Validity::Leaked, "not entered");
    assert_eq!(ndarena::current_workspace().as_ref(), Some(&outer));
    assert_eq!(ndarena::registry::scope_depth(), 1);
    ws.destroy_workspace().unwrap();
}

#[test]
fn a_request_that_finds_no_arena_is_refused() {
    for reuse in [ReusePolicy::WithinCycle, ReusePolicy::AtReset] {
        let ws = workspace(|s| {
            s.min_size = 1 << 62;
            s.policy_learning = LearningPolicy::OverTime;
            s.policy_reuse = reuse;
        });
        set_current_workspace(Some(&ws)).unwrap();
        cycle(&ws, || drop(bytes(&ws, 100, 1)));
        ws.initialize_workspace().unwrap();
        let before = counters(&ws);
        for _ in 0..3 {
            full(ws.zeros::<u8>(&[100]));
        }
        assert_eq!(counters(&ws), before);
        set_current_workspace(None).unwrap();
    }
}

proptest! {
    #[test]
    fn no_shape_panics(shape in proptest::collection::vec(any::<usize>(), 0..4)) {
        let ws = workspace(|s| {
            fixed(s, 1024);
            s.policy_spill = SpillPolicy::Fail;
        });
        let scope = ws.notify_scope_entered().unwrap();
        let before = counters(&ws);
        if let Err(error) = ws.empty::<f32>(&shape) {
            let kind = matches!(error, Error::Shape { .. } | Error::Full { .. });
            prop_assert!(kind, "{}", error);
            prop_assert_eq!(counters(&ws), before);
        }
        let table = ws.array(&[1_u8; 12]).unwrap().reshape(&[3, 4]).unwrap();
        if let Ok(other) = table.reshape(&shape) {
            prop_assert_eq!(other.size(), 12);
        }
        let row: Result<Array, Error> = table.row(shape.first().copied().unwrap_or(2));
        prop_assert!(row.is_ok() == (shape.first().copied().unwrap_or(2) < 3));
        scope.close().unwrap();
    }
}
