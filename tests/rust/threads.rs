//! Other threads: what they may do, what they are refused, and what a thread leaves behind.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use ndarena::{
    Array, Buffer, Error, Lease, Moved, Validity, Workspace, create_new_workspace,
    current_workspace, get_workspace, registry, set_current_workspace,
};

use crate::support::{bytes, bytes_of, cycle, fixed, ring, workspace};

/// Runs in a thread of its own.
fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|s| s.spawn(f).join().expect("no panic over there"))
}

#[track_caller]
fn wrong_thread<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::WrongThread { .. }) => {}
        other => panic!("not refused: {other:?}"),
    }
}

// ---------------------------------------------------------------------- who may do what

#[test]
fn handles_may_travel() {
    fn travels<T: Send + Sync>() {}
    travels::<Workspace>();
    travels::<Array>();
    travels::<Buffer>();
    travels::<Lease>();
    travels::<Error>();
}

#[test]
fn owner_only_calls_are_refused_elsewhere_and_change_nothing() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 100, 1);
    let before = ws.stats();
    elsewhere(|| {
        wrong_thread(ws.notify_scope_entered().map(drop));
        wrong_thread(ws.notify_scope_borrowed().map(drop));
        wrong_thread(ws.notify_scope_left());
        wrong_thread(ws.zeros::<u8>(&[1]));
        wrong_thread(ws.toggle_workspace_use(false));
        wrong_thread(ws.enable_debug(true));
        wrong_thread(ws.initialize_workspace());
        wrong_thread(ws.reset());
        wrong_thread(ws.trim());
        wrong_thread(ws.destroy_workspace());
        wrong_thread(set_current_workspace(Some(&ws)));
        wrong_thread(registry::register(&ws, "W"));
        let told = ws.reset().unwrap_err().to_string();
        assert!(told.contains("reset") && told.contains("[W]"), "{told}");
        assert_eq!((current_workspace(), registry::scope_depth()), (None, 0));
    });
    assert_eq!(ws.stats(), before);
    assert_eq!(array.detach::<u8>().unwrap(), [1; 100]);
    scope.close().unwrap();
}

#[test]
fn a_valid_array_may_be_used_anywhere() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 4, 1).reshape(&[2, 2]).unwrap();
    elsewhere(|| {
        array.row(0).unwrap().write::<u8, _>(|v| v.fill(7)).unwrap();
        assert_eq!(array.detach::<u8>().unwrap(), [7, 7, 1, 1]);
        let lease = array.buffer().lease().unwrap();
        assert_eq!(bytes_of(&lease), [7, 7, 1, 1]);
        assert!(matches!(array.dup::<u8>().unwrap(), Moved::Detached(_)));
        let own = workspace(|_| ());
        let _scope = own.notify_scope_entered().unwrap();
        let Moved::Attached(copy) = array.dup::<u8>().unwrap() else { panic!("detached") };
        assert_eq!(copy.workspace(), &own, "results go to this thread's current workspace");
        assert_eq!(copy.detach::<u8>().unwrap(), [7, 7, 1, 1]);
    });
    scope.close().unwrap();
    elsewhere(|| {
        let late = array.detach::<u8>();
        assert!(matches!(late, Err(Error::Stale { validity: Validity::Leaked, .. })), "{late:?}");
    });
}

#[test]
fn handles_and_leases_may_die_anywhere() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 512, 1);
    elsewhere(move || drop(array));
    assert_eq!(ws.stats().current_offset, 0, "its memory serves the same cycle");
    let (inside, outside) = (bytes(&ws, 1024, 2), bytes(&ws, 2000, 3));
    let leases = [&inside, &outside].map(|array| array.buffer().lease().unwrap());
    elsewhere(move || drop(outside));
    assert_eq!(ws.stats().spilled_size, 2048, "a lease is left");
    scope.close().unwrap();
    assert_eq!(ws.stats().retired_size, 1024 + 2048);
    elsewhere(move || drop(leases));
    assert_eq!(ws.stats().retired_size, 0, "falls in whatever thread");
}

#[test]
fn every_thread_has_its_own_registry() {
    let mine = create_new_workspace(None, "SAME").unwrap();
    elsewhere(|| {
        assert_eq!(registry::find("SAME"), None);
        let other = get_workspace(None, "SAME").unwrap();
        assert_ne!(other, mine);
        assert_eq!(registry::workspace_ids(), ["SAME"]);
    });
    assert!(!mine.is_destroyed());
    assert_eq!(registry::find("SAME"), Some(mine));
    registry::destroy_all_workspaces();
}

// ---------------------------------------------------------------------- scopes

#[test]
fn an_explicit_close_elsewhere_is_refused_and_changes_nothing() {
    let ws = workspace(|_| ());
    let token = registry::enter(&ws).unwrap();
    elsewhere(|| wrong_thread(token.close().map(drop)));
    cycle(&workspace(|_| ()), || assert!(ws.is_scope_active()));
    token.close().unwrap();
    assert!(!ws.is_scope_active());
}

#[test]
fn a_block_that_ends_elsewhere_is_closed_by_its_owner() {
    let (a, b) = (workspace(|_| ()), workspace(|_| ()));
    let token = registry::enter(&a).unwrap();
    let inner = b.notify_scope_entered().unwrap();
    elsewhere(|| wrong_thread(token.exit().map_err(Error::from)));
    assert!(a.is_scope_active(), "the owner has not come by");
    let next = workspace(|_| ());
    let scope = next.notify_scope_entered().unwrap();
    assert!(!a.is_scope_active() && !b.is_scope_active(), "with all inside it");
    assert_eq!((a.stats().cycles_count, b.stats().cycles_count), (1, 1));
    assert_eq!(next.parent_workspace(), None);
    inner.close().unwrap();
    token.close().unwrap();
    scope.close().unwrap();
}

#[test]
fn a_short_form_that_ends_elsewhere_is_closed_by_its_owner() {
    let (ws, other) = (workspace(|_| ()), workspace(|_| ()));
    let scope = other.notify_scope_entered().unwrap();
    registry::enter_block(&ws, &mut None, 1).unwrap();
    elsewhere(|| wrong_thread(registry::exit_block(&ws, 1, &mut None).map_err(Error::from)));
    assert!(ws.is_scope_active());
    scope.close().expect("what was open inside has been closed");
    assert!(!ws.is_scope_active() && !other.is_scope_active());
}

#[test]
fn an_object_that_dies_elsewhere_leaves_its_scope_lost() {
    let ws = workspace(|_| ());
    let token = registry::enter(&ws).unwrap();
    elsewhere(|| token.lose());
    assert_eq!(registry::lost_scopes(), 1);
    assert!(ws.is_scope_active());
    ws.notify_scope_left().unwrap();
    assert_eq!((registry::lost_scopes(), ws.stats().lost_scopes), (0, 0));
}

// ---------------------------------------------------------------------- destroy

#[test]
fn a_closed_workspace_may_be_destroyed_from_elsewhere() {
    let ws = create_new_workspace(None, "ELSEWHERE").unwrap();
    let (array, lease) = cycle(&ws, || {
        let array = bytes(&ws, 100, 3);
        let lease = array.buffer().lease().unwrap();
        (array, lease)
    });
    elsewhere(|| ws.destroy_workspace().unwrap());
    assert!(ws.is_destroyed());
    assert_eq!(array.validity(), Validity::Destroyed);
    assert_eq!(bytes_of(&lease), [3; 100]);
    assert_eq!(registry::find("ELSEWHERE"), None, "the id is free again");
    let next = get_workspace(None, "ELSEWHERE").unwrap();
    assert_eq!(registry::workspace_ids(), ["ELSEWHERE"]);
    cycle(&next, || drop(bytes(&next, 10, 1)));
    registry::destroy_all_workspaces();
}

#[test]
fn one_of_several_destroyers_wins() {
    for _ in 0..50 {
        let ws = workspace(|s| fixed(s, 1024));
        let lease = cycle(&ws, || bytes(&ws, 1024, 1).buffer().lease().unwrap());
        thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| ws.destroy_workspace().unwrap());
            }
            s.spawn(move || drop(lease));
        });
        assert_eq!((ws.is_destroyed(), ws.stats().retired_size), (true, 0));
    }
}

// ---------------------------------------------------------------------- readers against the owner

/// What the owner offers to readers: an array, and the value of all its bytes.
type Offer = Mutex<Option<(Array, u8)>>;

/// Readers take the offer and look, under a lease or in `read`; the number of looks that were granted
/// and refused.
fn look(offer: &Offer, done: &AtomicBool, granted: &AtomicUsize, refused: &AtomicUsize) {
    let mut turn = 0_usize;
    let mut kept: Vec<(Lease, u8)> = Vec::new();
    while !done.load(Ordering::Acquire) {
        let offered = offer.lock().unwrap().clone();
        let Some((array, value)) = offered else { continue };
        turn += 1;
        let seen = match turn % 3 {
            0 => array.buffer().lease().map(|lease| {
                let same = bytes_of(&lease).iter().all(|&b| b == value);
                kept.push((lease, value));
                same
            }),
            _ => array.read::<u8, _>(|seen| seen.iter().all(|&b| b == value)),
        };
        match seen {
            Ok(same) => {
                assert!(same, "torn");
                granted.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Stale { .. }) => {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
        if kept.len() > 3 {
            let (lease, value) = kept.remove(turn % 3);
            assert!(bytes_of(&lease).iter().all(|&b| b == value), "leased bytes changed");
        }
    }
}

fn readers_against_a_looping_owner(ws: &Workspace) {
    let (offer, done) = (Offer::default(), AtomicBool::new(false));
    let (granted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cycles = if cfg!(miri) { 20 } else { 3000 };
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| look(&offer, &done, &granted, &refused));
        }
        for turn in 0..cycles {
            let value = u8::try_from(turn % 251).unwrap();
            cycle(ws, || {
                let array = bytes(ws, 1500, value);
                *offer.lock().unwrap() = Some((array, value));
                drop(bytes(ws, 700, !value));
                if turn % 16 == 0 {
                    thread::yield_now();
                }
            });
        }
        ws.destroy_workspace().unwrap();
        thread::yield_now();
        done.store(true, Ordering::Release);
    });
    drop(offer);
    assert_eq!(ws.stats().retired_size, 0);
    if !cfg!(miri) {
        assert!(granted.into_inner() > 0, "nobody looked");
    }
}

#[test]
fn readers_hold_a_lease_or_are_refused() {
    readers_against_a_looping_owner(&workspace(|s| fixed(s, 4096)));
}

#[test]
fn readers_of_spills_hold_a_lease_or_are_refused() {
    readers_against_a_looping_owner(&workspace(|s| fixed(s, 64)));
}

#[test]
fn readers_of_a_ring_hold_a_lease_or_are_refused() {
    readers_against_a_looping_owner(&workspace(|s| ring(s, 4096, 1.0)));
}

#[test]
fn writers_exclude_each_other() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let array = ws.zeros::<u64>(&[64]).unwrap();
    let written = AtomicUsize::new(0);
    let turns = if cfg!(miri) { 20 } else { 2000 };
    let work = || {
        for _ in 0..turns {
            let added = array.write::<u64, _>(|v| v.iter_mut().for_each(|v| *v += 1));
            match added {
                Ok(()) => drop(written.fetch_add(1, Ordering::Relaxed)),
                Err(error) => assert!(matches!(error, Error::Borrowed { .. }), "{error}"),
            }
            let same = array.read::<u64, _>(|v| v.iter().all(|&n| n == v[0]));
            assert!(matches!(same, Ok(true) | Err(Error::Borrowed { .. })), "{same:?}");
        }
    };
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(work);
        }
    });
    let times = u64::try_from(written.into_inner()).unwrap();
    assert!(times > 0);
    assert_eq!(array.detach::<u64>().unwrap(), [times; 64], "no addition is lost");
    scope.close().unwrap();
}

// ---------------------------------------------------------------------- the end of a thread

#[test]
fn scoped_workspaces_end_with_their_thread() {
    let (ws, array, lease) = elsewhere(|| {
        let ws = create_new_workspace(None, "SHORT").unwrap();
        std::mem::forget(ws.notify_scope_entered().unwrap());
        let array = bytes(&ws, 100, 5);
        let lease = array.buffer().lease().unwrap();
        (ws, array, lease)
    });
    assert_eq!((ws.is_destroyed(), ws.is_scope_active()), (true, false));
    assert_eq!(array.validity(), Validity::Destroyed);
    assert!(array.detach::<u8>().is_err());
    assert_eq!(bytes_of(&lease), [5; 100], "leased memory is retired");
    assert!(ws.stats().retired_size >= 128);
    drop(lease);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn a_batch_of_a_ring_outlives_the_thread_that_made_it() {
    let arrays = elsewhere(|| {
        let ws = create_new_workspace(
            Some(&crate::support::configuration(|s| ring(s, 256, 2.0))),
            "PRODUCER",
        )
        .unwrap();
        [1, 2].map(|value| cycle(&ws, || bytes(&ws, 200, value)))
    });
    let ws = arrays[0].workspace().clone();
    assert!(!ws.is_destroyed());
    assert!(!ws.is_scope_active());
    for (value, array) in (1..).zip(&arrays) {
        assert_eq!(array.detach::<u8>().unwrap(), [value; 200]);
    }
    wrong_thread(ws.notify_scope_entered().map(drop));
    ws.destroy_workspace().unwrap();
    assert_eq!(arrays[0].validity(), Validity::Destroyed);
}

#[test]
fn what_runs_after_the_end_of_a_thread_is_refused() {
    struct Last(Workspace, Array, Arc<Mutex<Vec<bool>>>);

    impl Drop for Last {
        fn drop(&mut self) {
            let refused = [
                self.0.notify_scope_entered().map(drop).is_err(),
                self.0.zeros::<u8>(&[1]).is_err(),
                self.1.detach::<u8>().is_err(),
                create_new_workspace(None, "LATE").is_err(),
                ndarena::scope_out_of_workspaces().is_err(),
                current_workspace().is_none(),
            ];
            self.2.lock().unwrap().extend(refused);
        }
    }

    thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }

    let seen = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&seen);
    thread::spawn(move || {
        // Thread-locals end in the reverse order of their first use.
        LAST.with_borrow(|last| assert!(last.is_none()));
        let ws = workspace(|_| ());
        let array = cycle(&ws, || bytes(&ws, 10, 1));
        LAST.set(Some(Last(ws, array, report)));
    })
    .join()
    .unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 6, "the thread-local was dropped");
    assert_eq!(seen[..3], [true; 3], "the workspace ended with its thread");
}
