//! The crate itself under loom: workspaces, arrays and leases in two threads.
//!
//! The number of involuntary switches is bounded, as a cycle has some hundred places for one.

use loom::thread;

use super::{Array, Moved};
use crate::config::{LearningPolicy, ResetPolicy, Settings, WorkspaceConfiguration};
use crate::error::{Error, Validity};
use crate::workspace::Workspace;

fn explore(f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.max_branches = 20_000;
    model.check(f);
}

fn workspace(change: fn(&mut Settings)) -> Workspace {
    let mut settings = Settings {
        initial_size: 256,
        policy_learning: LearningPolicy::None,
        overallocation_limit: 0.0,
        ..Settings::default()
    };
    change(&mut settings);
    Workspace::new(WorkspaceConfiguration::new(settings).unwrap(), "W").unwrap()
}

/// What a lease shows, after whatever may happen meanwhile.
fn look(array: &Array) -> Option<Vec<u8>> {
    let lease = match array.buffer().lease() {
        Ok(lease) => lease,
        Err(Error::Stale { validity, .. }) => {
            assert!(!matches!(validity, Validity::Valid | Validity::Closed));
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    thread::yield_now();
    let (start, len) = (lease.as_ptr(), lease.buffer().len());
    #[allow(unsafe_code)]
    // SAFETY: the lease keeps the bytes, and nobody writes what is leased.
    Some(unsafe { std::slice::from_raw_parts(start, len) }.to_vec())
}

/// The owner leaves, enters again and fills what it gets; another thread looks at the array of before.
#[test]
fn loom_next_cycle_against_a_lease() {
    explore(|| {
        let ws = workspace(|_| ());
        let scope = ws.notify_scope_entered().unwrap();
        let array = ws.full(&[64], 7_u8).unwrap();
        let reader = thread::spawn(move || look(&array));
        scope.close().unwrap();
        let scope = ws.notify_scope_entered().unwrap();
        let next = ws.full(&[64], 9_u8).unwrap();
        let seen = reader.join().unwrap();
        assert!(seen.is_none_or(|bytes| bytes == [7; 64]), "bytes of another array");
        assert_eq!(next.detach::<u8>().unwrap(), [9; 64]);
        drop((next, scope));
        assert_eq!(ws.stats().retired_size, 0, "the lease is gone");
    });
}

/// An array dies in another thread while the owner cuts the next ones of the same cycle.
#[test]
fn loom_death_elsewhere_against_births() {
    explore(|| {
        let ws = workspace(|_| ());
        let scope = ws.notify_scope_entered().unwrap();
        let array = ws.full(&[128], 7_u8).unwrap();
        let other = thread::spawn(move || drop(array));
        let kept = ws.full(&[128], 8_u8).unwrap();
        let more = ws.full(&[128], 9_u8).unwrap();
        other.join().unwrap();
        assert_eq!(kept.detach::<u8>().unwrap(), [8; 128]);
        assert_eq!(more.detach::<u8>().unwrap(), [9; 128]);
        drop((kept, more));
        let stats = ws.stats();
        assert_eq!((stats.current_offset, stats.spilled_size), (0, 0), "all is dead");
        drop(scope);
    });
}

/// A producer goes round a ring of two blocks; a consumer looks at the first batch.
#[test]
fn loom_ring_producer_against_a_consumer() {
    explore(|| {
        let ws = workspace(|s| {
            s.policy_reset = ResetPolicy::EndOfBufferReached;
            s.overallocation_limit = 1.0;
            s.initial_size = 64;
        });
        let batch = |value: u8| {
            let scope = ws.notify_scope_entered().unwrap();
            let batch = ws.full(&[64], value).unwrap();
            drop(scope);
            batch
        };
        let first = batch(1);
        let second = batch(2);
        let consumer = thread::spawn(move || look(&first));
        let third = batch(3);
        let seen = consumer.join().unwrap();
        assert!(seen.is_none_or(|bytes| bytes == [1; 64]), "bytes of another batch");
        assert_eq!(third.detach::<u8>().unwrap(), [3; 64]);
        drop((second, third));
    });
}

/// `read` and `write` borrow the root: a reader sees all of what a writer does, or nothing.
#[test]
fn loom_read_against_write() {
    explore(|| {
        let ws = workspace(|_| ());
        let scope = ws.notify_scope_entered().unwrap();
        let array = ws.full(&[2], 1_u8).unwrap();
        let other = array.clone();
        let reader = thread::spawn(move || {
            let pair = other.read::<u8, _>(|values| {
                let first = values[0];
                thread::yield_now();
                (first, values[1])
            });
            match pair {
                Ok((first, second)) => assert_eq!(first, second, "half of a write"),
                Err(error) => assert!(matches!(error, Error::Borrowed { .. }), "{error}"),
            }
        });
        let written = array.write::<u8, _>(|values| {
            values[0] = 2;
            thread::yield_now();
            values[1] = 2;
        });
        assert!(matches!(written, Ok(()) | Err(Error::Borrowed { .. })));
        reader.join().unwrap();
        assert!(array.write::<u8, _>(|values| values.fill(3)).is_ok(), "no borrow is left");
        drop((array, scope));
    });
}

/// An operation in another thread reads while the owner destroys the workspace.
#[test]
fn loom_operation_in_flight_against_destroy() {
    explore(|| {
        let ws = workspace(|_| ());
        let scope = ws.notify_scope_entered().unwrap();
        let array = ws.full(&[64], 7_u8).unwrap();
        let operation = thread::spawn(move || match array.dup::<u8>() {
            Ok(Moved::Detached(bytes)) => assert_eq!(bytes, [7; 64]),
            Ok(Moved::Attached(copy)) => panic!("{copy:?} in a thread without a workspace"),
            Err(error) => assert!(matches!(error, Error::Stale { .. }), "{error}"),
        });
        ws.destroy_workspace().unwrap();
        drop(scope);
        operation.join().unwrap();
    });
}

/// Two threads have leases when the cycle ends, and let go of them before, after or meanwhile: the memory is
/// nobody else's until the last is gone, and then it is free.
#[test]
fn loom_leases_end_against_the_end_of_their_cycle() {
    explore(|| {
        let ws = workspace(|_| ());
        let scope = ws.notify_scope_entered().unwrap();
        let array = ws.full(&[64], 7_u8).unwrap();
        let (own, others) = (array.buffer().lease().unwrap(), array.buffer().lease().unwrap());
        let other = thread::spawn(move || drop(others));
        scope.close().unwrap();
        let scope = ws.notify_scope_entered().unwrap();
        let next = ws.full(&[64], 9_u8).unwrap();
        assert_ne!(next.buffer().address(), own.buffer().address());
        assert_eq!(ws.stats().escaped_count, 1, "one array");
        drop(own);
        other.join().unwrap();
        assert_eq!(ws.stats().retired_size, 0, "the leases are gone");
        drop((array, next, scope));
    });
}
