//! Arenas in files: contents survive, sizes are those of the file, a file is one workspace's at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ndarena::{
    Array, Error, LearningPolicy, LocationPolicy, ResetPolicy, ReusePolicy, Settings, SpillPolicy,
    Validity, Workspace, WorkspaceConfiguration, registry,
};

use crate::support::{KIB, bytes, bytes_of, configuration, counters, cycle, workspace};

/// A path in the folder of temporary files; what lies there is removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let name = format!("ndarena-test-{}-{serial}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn with(contents: &[u8]) -> Self {
        let place = Self::new();
        fs::write(&place.0, contents).unwrap();
        place
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// A workspace whose arena is this file.
    fn map(&self, size: u64, id: &str) -> Result<Workspace, Error> {
        Workspace::new(file(&self.0, size), id)
    }

    fn refused(&self, size: u64) -> (String, String) {
        match self.map(size, "REFUSED").unwrap_err() {
            Error::Configuration { field, reason, facts, .. } => {
                assert_eq!(facts.workspace_id.as_deref(), Some("REFUSED"));
                (field, reason)
            }
            other => panic!("{other}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn mapped(s: &mut Settings, size: u64) {
    s.policy_location = LocationPolicy::Mmap;
    s.policy_learning = LearningPolicy::None;
    s.initial_size = size;
}

fn file(path: &Path, size: u64) -> WorkspaceConfiguration {
    configuration(|s| {
        mapped(s, size);
        s.temp_file_path = Some(path.to_owned());
    })
}

#[test]
fn contents_survive_the_cycles() {
    for policy_reuse in [ReusePolicy::WithinCycle, ReusePolicy::AtReset] {
        let ws = workspace(|s| {
            mapped(s, 4 * KIB);
            s.policy_reuse = policy_reuse;
        });
        ws.enable_debug(true).unwrap();
        cycle(&ws, || drop(bytes(&ws, KIB, 7)));
        ws.reset().unwrap();
        assert_eq!(ws.trim().unwrap(), 0);
        cycle(&ws, || {
            let array = ws.empty::<u8>(&[1024]).unwrap();
            assert_eq!(array.detach::<u8>().unwrap(), [7; 1024]);
            assert_eq!(ws.zeros::<u8>(&[1024]).unwrap().detach::<u8>().unwrap(), [0; 1024]);
        });
        assert_eq!(ws.stats().current_size, 4 * KIB);
    }
}

#[test]
fn what_is_written_is_in_the_file() {
    let place = Place::new();
    let ws = place.map(1000, "W").unwrap();
    assert_eq!(fs::metadata(place.path()).unwrap().len(), 1000);
    cycle(&ws, || drop(bytes(&ws, 100, 7)));
    ws.destroy_workspace().unwrap();
    assert_eq!(fs::read(place.path()).unwrap(), [[7; 100].as_slice(), &[0; 900]].concat());
    let ws = place.map(0, "W").unwrap();
    assert_eq!(ws.stats().current_size, 1000);
    cycle(&ws, || assert_eq!(ws.empty::<u8>(&[100]).unwrap().detach::<u8>().unwrap(), [7; 100]));
}

#[test]
fn a_shorter_file_is_refused_and_stays() {
    let place = Place::with(b"precious");
    let (field, reason) = place.refused(1000);
    assert_eq!(field, "initial_size");
    assert!(reason.contains("has 8 bytes, 1000 are asked for"), "{reason}");
    assert_eq!(fs::read(place.path()).unwrap(), b"precious");
}

#[test]
fn a_size_that_cannot_be_had_leaves_no_file() {
    let place = Place::new();
    for size in [0, 1 << 62] {
        let (field, reason) = place.refused(size);
        assert_eq!(field, "initial_size");
        assert!(reason.contains(place.path().to_str().unwrap()), "{reason}");
        assert!(!place.path().exists());
    }
}

#[test]
fn a_file_is_used_to_its_last_byte() {
    for policy_reuse in [ReusePolicy::WithinCycle, ReusePolicy::AtReset] {
        let place = Place::with(&[1; 125]);
        let settings = |s: &mut Settings| {
            mapped(s, 0);
            s.temp_file_path = Some(place.path().to_owned());
            s.policy_reuse = policy_reuse;
        };
        let ws = workspace(settings);
        for (len, external) in [(125, 0), (126, 1), (125, 0)] {
            cycle(&ws, || {
                let array = ws.full(&[len], 7_u8).unwrap();
                assert_eq!(array.detach::<u8>().unwrap(), vec![7; len]);
                assert_eq!(ws.stats().number_of_external_allocations, external);
            });
        }
        assert_eq!(ws.stats().current_size, 125);
        drop(ws);
        assert_eq!(fs::read(place.path()).unwrap(), [7; 125]);
    }
}

#[test]
fn a_new_workspace_of_the_same_id_takes_over_the_file_or_changes_nothing() {
    let place = Place::new();
    let old = registry::create_new_workspace(Some(&file(place.path(), 1000)), "W").unwrap();
    let lease = cycle(&old, || bytes(&old, 100, 7).buffer().lease().unwrap());
    for size in [1000, 1001] {
        registry::create_new_workspace(Some(&file(place.path(), size)), "W").unwrap_err();
        assert!(!old.is_destroyed());
        assert_eq!(registry::find("W").as_ref(), Some(&old));
    }
    drop(lease);
    let new = registry::create_new_workspace(Some(&file(place.path(), 1000)), "W").unwrap();
    assert!(old.is_destroyed());
    assert!(place.refused(0).1.contains("workspace [W]"), "the lock is handed on");
    cycle(&new, || assert_eq!(new.empty::<u8>(&[100]).unwrap().detach::<u8>().unwrap(), [7; 100]));
    new.destroy_workspace().unwrap();
    place.map(0, "NEXT").unwrap();
}

/// The arrays of a ring stay valid between cycles, so a thread may lease one at any time.
#[test]
fn a_file_that_is_taken_over_never_has_two_users() {
    let place = Place::new();
    let ring = |s: &mut Settings| {
        mapped(s, 4 * KIB);
        s.temp_file_path = Some(place.path().to_owned());
        s.policy_reset = ResetPolicy::EndOfBufferReached;
        s.overallocation_limit = 3.0;
    };
    for turn in 0..300_u32 {
        let value = turn.to_le_bytes()[0] | 1;
        let configuration = configuration(ring);
        let old = registry::create_new_workspace(Some(&configuration), "W").unwrap();
        let array = cycle(&old, || bytes(&old, KIB, value));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let Ok(lease) = array.buffer().lease() else { return };
                for _ in 0..3 {
                    assert_eq!(bytes_of(&lease), [value; 1024]);
                    std::thread::yield_now();
                }
            });
            if let Ok(new) = registry::create_new_workspace(Some(&configuration), "W") {
                cycle(&new, || drop(bytes(&new, KIB, 0)));
            }
        });
        registry::destroy_all_workspaces();
    }
}

#[test]
fn a_folder_is_no_file() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    let (field, reason) = place.refused(1000);
    fs::remove_dir(place.path()).unwrap();
    assert_eq!((field.as_str(), reason.as_str()), ("temp_file_path", "is a directory, not a file"));
}

#[test]
fn a_file_is_mapped_by_one_workspace_at_a_time() {
    let place = Place::new();
    let ws = place.map(1000, "HOLDER").unwrap();
    leave_open(&ws);
    let held = bytes(&ws, 100, 7);
    let lease = held.buffer().lease().unwrap();
    for size in [0, 1000] {
        let (field, reason) = place.refused(size);
        assert_eq!(field, "temp_file_path");
        assert!(reason.contains("workspace [HOLDER]"), "{reason}");
    }
    ws.destroy_workspace().unwrap();
    assert_eq!(held.validity(), Validity::Destroyed);
    assert_eq!(ws.stats().retired_size, 1000);
    assert!(place.refused(0).1.contains("workspace [HOLDER]"), "the lease keeps the mapping");
    assert_eq!(bytes_of(&lease), [7; 100]);
    drop(lease);
    assert_eq!(ws.stats().retired_size, 0);
    place.map(0, "NEXT").unwrap();
}

/// Entered, and left open.
fn leave_open(ws: &Workspace) {
    std::mem::forget(ws.notify_scope_entered().unwrap());
}

#[test]
fn a_lease_keeps_its_bytes_while_others_keep_their_places() {
    for policy in [SpillPolicy::External, SpillPolicy::Fail] {
        let ws = workspace(|s| {
            mapped(s, 4 * KIB);
            s.policy_spill = policy;
        });
        let lease = cycle(&ws, || {
            drop(bytes(&ws, KIB, 1));
            let first = bytes(&ws, KIB, 1);
            let second = bytes(&ws, KIB, 2);
            drop(first);
            second.buffer().lease().unwrap()
        });
        assert_eq!((ws.stats().retired_size, ws.stats().escaped_count), (KIB, 1));
        cycle(&ws, || {
            let first = bytes(&ws, KIB, 8);
            let before = counters(&ws);
            match ws.full(&[1024], 9_u8) {
                Ok(second) => {
                    assert_eq!(policy, SpillPolicy::External);
                    assert_ne!(second.buffer().address(), lease.as_ptr() as usize);
                    assert_eq!(ws.stats().number_of_external_allocations, 1);
                }
                Err(error) => {
                    assert_eq!(policy, SpillPolicy::Fail);
                    assert!(error.to_string().contains("still viewed"), "{error}");
                    assert_eq!(counters(&ws), before);
                }
            }
            assert_eq!(first.detach::<u8>().unwrap(), [8; 1024]);
            assert_eq!(bytes_of(&lease), [2; 1024]);
        });
        assert_eq!(ws.stats().escaped_count, 1);
        let address = lease.as_ptr() as usize;
        drop(lease);
        assert_eq!(ws.stats().retired_size, 0);
        cycle(&ws, || {
            let _first = bytes(&ws, KIB, 8);
            assert_eq!(bytes(&ws, KIB, 9).buffer().address(), address);
        });
    }
}

#[test]
fn a_reader_elsewhere_is_refused_or_sees_its_own_bytes() {
    let ws = workspace(|s| mapped(s, 4 * KIB));
    let (send, receive) = std::sync::mpsc::sync_channel::<(Array, u8)>(1);
    let reader = std::thread::spawn(move || {
        let mut seen = 0;
        for (array, value) in receive {
            let Ok(lease) = array.buffer().lease() else { continue };
            seen += 1;
            for _ in 0..3 {
                assert_eq!(bytes_of(&lease), [value; 1024]);
                std::thread::yield_now();
            }
        }
        seen
    });
    for n in 0..4000_u32 {
        let value = n.to_le_bytes()[0];
        cycle(&ws, || send.send((bytes(&ws, KIB, value), value)).unwrap());
    }
    drop(send);
    assert!(reader.join().unwrap() > 0);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn a_thread_takes_its_files_along() {
    let place = Place::new();
    let path = place.path().to_owned();
    let work = move || {
        let ws = Workspace::new(file(&path, 1000), "W").unwrap();
        leave_open(&ws);
    };
    std::thread::spawn(work).join().unwrap();
    place.map(0, "W").unwrap();
}
