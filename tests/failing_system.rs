//! What is process-wide: the memory held for all workspaces, a system that refuses, faults, debug mode.
//! A binary of its own, whose tests take turns.
#![allow(clippy::unwrap_used, reason = "a test that finds no value fails")]

#[path = "rust/support.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarena::internals::{Refusals, Refuser, refuse};
use ndarena::{
    Array, DebugMode, Error, Lease, ReusePolicy, Settings, SpillPolicy, Workspace, allocated_bytes,
    registry,
};
use support::{KIB, bytes, bytes_of, configuration, counters, cycle, fixed, ring, workspace};

// ---------------------------------------------------------------------- the failing allocator

/// The system's allocator, which refuses every n-th request for zeroed memory at a multiple of 64:
/// what a workspace asks for. 0: none.
struct Failing;

static EVERY: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)]
// SAFETY: passes everything on to the system's allocator, or answers null.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let every = EVERY.load(Ordering::Relaxed);
        let counted = every > 0 && layout.align() >= 64;
        if counted && (ASKED.fetch_add(1, Ordering::Relaxed) + 1) % every == 0 {
            REFUSED.fetch_add(1, Ordering::Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Refuses every n-th request until it is dropped.
struct Refusing;

impl Refusing {
    fn every(n: usize) -> Self {
        ASKED.store(0, Ordering::Relaxed);
        REFUSED.store(0, Ordering::Relaxed);
        EVERY.store(n, Ordering::Relaxed);
        Self
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        EVERY.store(0, Ordering::Relaxed);
    }
}

/// The turn of one test.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kinds() -> Vec<fn(&mut Settings)> {
    vec![
        |_| (),
        |s| s.policy_reuse = ReusePolicy::AtReset,
        |s| s.policy_spill = SpillPolicy::Reallocate,
        |s| fixed(s, 1024),
        |s| {
            fixed(s, 1024);
            s.policy_spill = SpillPolicy::Fail;
        },
        |s| ring(s, 1024, 2.0),
        |s| ring(s, 0, 1.0),
        |s| {
            ring(s, 0, 1.0);
            s.policy_spill = SpillPolicy::Reallocate;
        },
    ]
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Full { .. })
}

/// One cycle of requests; each is served, or refused with all counters as before.
fn stubborn_cycle(ws: &Workspace, turn: u64, kept: &mut Vec<(Lease, u8)>) {
    let before = counters(ws);
    let scope = match ws.notify_scope_entered() {
        Ok(scope) => scope,
        Err(error) => {
            assert!(is_full(&error), "{error}");
            assert_eq!(counters(ws), before);
            return;
        }
    };
    let mut alive: Vec<(Array, u8)> = Vec::new();
    for i in 0..12_u64 {
        let length = usize::try_from((turn * 7 + i * i * 53) % 1500).unwrap();
        let value = u8::try_from((turn + i) % 250).unwrap();
        let before = counters(ws);
        match ws.full(&[length], value) {
            Ok(array) => alive.push((array, value)),
            Err(error) => {
                assert!(is_full(&error), "{error}");
                assert_eq!(counters(ws), before);
            }
        }
        if i % 3 == 2 && alive.len() > 1 {
            alive.swap_remove(0);
        }
        for (array, value) in &alive {
            let intact = array.read::<u8, _>(|v| v.iter().all(|b| b == value)).unwrap();
            assert!(intact, "{array:?}");
        }
    }
    if let Some((array, value)) = alive.pop().filter(|_| turn % 3 == 0) {
        kept.push((array.buffer().lease().unwrap(), value));
    }
    drop(alive);
    scope.close().unwrap();
}

#[test]
fn a_system_that_refuses_now_and_then_does_no_harm() {
    let _turn = turn();
    let start = allocated_bytes();
    for kind in kinds() {
        let mut refused = 0;
        for every in 1..8 {
            let ws = workspace(kind);
            let refusing = Refusing::every(every);
            let mut kept = Vec::new();
            for turn in 0..40 {
                stubborn_cycle(&ws, turn, &mut kept);
                if kept.len() > 4 {
                    drop(kept.remove(1));
                }
            }
            refused += REFUSED.load(Ordering::Relaxed);
            drop(refusing);
            for (lease, value) in &kept {
                assert!(bytes_of(lease).iter().all(|b| b == value), "leased bytes changed");
            }
            cycle(&ws, || drop(bytes(&ws, 100, 1)));
            ws.destroy_workspace().unwrap();
            drop(kept);
            assert_eq!(ws.stats().retired_size, 0);
        }
        assert!(refused > 0, "nothing was refused");
    }
    assert_eq!(allocated_bytes(), start);
}

/// Some cycles in which these requests are refused, and some in which none are; how many were refused.
fn cycles_with_refusals(kind: fn(&mut Settings), of: Refuser, refusals: Refusals) -> u64 {
    let ws = workspace(kind);
    let mut kept = Vec::new();
    refuse(of, refusals);
    (0..12).for_each(|turn| stubborn_cycle(&ws, turn, &mut kept));
    let refused = refuse(of, Refusals::None).refused;
    for (lease, value) in &kept {
        assert!(bytes_of(lease).iter().all(|b| b == value), "leased bytes changed");
    }
    let small = cycle(&ws, || bytes(&ws, 100, 1).detach::<u8>().unwrap());
    assert_eq!(small, [1; 100]);
    ws.destroy_workspace().unwrap();
    drop(kept);
    assert_eq!(ws.stats().retired_size, 0);
    refused
}

#[test]
fn whichever_request_is_refused_all_is_as_it_was() {
    let _turn = turn();
    let start = allocated_bytes();
    for of in [Refuser::System, Refuser::Arena] {
        for kind in kinds() {
            let every: u64 =
                (1..8).map(|n| cycles_with_refusals(kind, of, Refusals::Every(n))).sum();
            assert!(every > 0, "nothing was refused");
            let behind = |n| cycles_with_refusals(kind, of, Refusals::From(n));
            assert!((1..1000).find(|&n| behind(n) == 0).is_some_and(|n| n > 1));
        }
    }
    assert_eq!(allocated_bytes(), start);
}

#[test]
fn a_workspace_that_cannot_have_its_arena_is_not_made() {
    let _turn = turn();
    let start = allocated_bytes();
    let refusing = Refusing::every(1);
    let made = Workspace::new(configuration(|s| fixed(s, 4096)), "W");
    drop(refusing);
    assert!(is_full(&made.unwrap_err()));
    assert_eq!(allocated_bytes(), start);
}

/// Leaves the process `room` more bytes of address space while `f` runs.
#[cfg(target_os = "linux")]
fn with_address_space<R>(room: u64, f: impl FnOnce() -> R) -> R {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[allow(unsafe_code)]
    // SAFETY: both calls get a valid pointer; only the soft limit changes.
    let set = |limit: &libc::rlimit| unsafe { libc::setrlimit(libc::RLIMIT_AS, limit) };
    #[allow(unsafe_code)]
    // SAFETY: as above.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    assert_eq!(got, 0);
    let low = libc::rlimit { rlim_cur: pages * 4096 + room, rlim_max: limit.rlim_max };
    assert_eq!(set(&low), 0);
    let result = f();
    assert_eq!(set(&limit), 0);
    result
}

/// Whether this is the process in which that test runs alone; else it is run there. A limit on the process
/// would also meet the harness, which starts a thread for each test.
#[cfg(target_os = "linux")]
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "NDARENA_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let done = command.args([test, "--exact"]).env(ALONE, "yes").output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && told.contains("1 passed"), "{told}");
    false
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_address_space_refuses_arenas_and_spills() {
    const MIB: usize = 1 << 20;
    if !is_alone("a_limit_on_the_address_space_refuses_arenas_and_spills") {
        return;
    }
    let _turn = turn();
    let start = allocated_bytes();
    for kind in kinds() {
        let ws = workspace(kind);
        let scope = ws.notify_scope_entered().unwrap();
        let array = bytes(&ws, 100, 7);
        let (spill, arena) = with_address_space(64 * MIB as u64, || {
            let before = counters(&ws);
            let spill = ws.zeros::<u8>(&[256 * MIB]);
            assert_eq!(counters(&ws), before);
            (spill, Workspace::new(configuration(|s| fixed(s, 256 << 20)), "V"))
        });
        assert!(is_full(&spill.unwrap_err()) && is_full(&arena.unwrap_err()));
        assert_eq!(array.detach::<u8>().unwrap(), [7; 100]);
        scope.close().unwrap();
        ws.destroy_workspace().unwrap();
    }
    assert_eq!(allocated_bytes(), start);
}

// ---------------------------------------------------------------------- what is held

#[test]
fn what_is_held_returns_to_its_start() {
    let _turn = turn();
    let start = allocated_bytes();
    for kind in kinds() {
        let ws = workspace(kind);
        let mut leases: Vec<Lease> = Vec::new();
        for value in 0..6 {
            cycle(&ws, || {
                let arrays = [300, 200, 300].map(|n| bytes(&ws, n, value));
                leases.push(arrays[0].buffer().lease().unwrap());
            });
        }
        assert!(allocated_bytes() > start);
        ws.destroy_workspace().unwrap();
        assert!(allocated_bytes() > start, "the leases hold theirs");
        drop(leases);
        assert_eq!(allocated_bytes(), start, "all are destroyed and all leases dead");
    }
}

#[test]
fn a_workspace_nobody_needs_is_freed() {
    let _turn = turn();
    let start = allocated_bytes();
    let ws = workspace(|s| fixed(s, 1 << 20));
    let array = cycle(&ws, || bytes(&ws, 100, 1));
    drop(ws);
    assert_eq!(allocated_bytes(), start + (1 << 20), "its array names it");
    drop(array);
    assert_eq!(allocated_bytes(), start);
    let ws = workspace(|s| fixed(s, 1 << 20));
    let scope = ws.notify_scope_entered().unwrap();
    drop(ws);
    assert_eq!(allocated_bytes(), start + (1 << 20), "its scope needs it");
    drop(scope);
    assert_eq!(allocated_bytes(), start);
}

#[test]
fn a_steady_loop_takes_nothing() {
    let _turn = turn();
    for kind in [kinds()[0], kinds()[1], kinds()[5], kinds()[6]] {
        let ws = workspace(kind);
        let body = || {
            let mut last = bytes(&ws, 100, 0);
            (0..4).for_each(|v| last = bytes(&ws, 120, v));
            drop(last);
        };
        (0..8).for_each(|_| cycle(&ws, body));
        let (held, before) = (allocated_bytes(), ws.stats());
        let refusing = Refusing::every(1);
        for _ in 0..200 {
            cycle(&ws, || {
                body();
                assert_eq!(ws.stats().spilled_size, before.spilled_size);
            });
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 0, "it asked the system");
        drop(refusing);
        assert_eq!(allocated_bytes(), held);
        assert_eq!(ws.stats().current_size, before.current_size);
    }
}

/// Page faults of the calling thread.
#[cfg(target_os = "linux")]
fn faults() -> i64 {
    // SAFETY: a zeroed `rusage` is one.
    #[allow(unsafe_code)]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid.
    #[allow(unsafe_code)]
    let got = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(got, 0);
    usage.ru_minflt + usage.ru_majflt
}

#[cfg(target_os = "linux")]
#[test]
fn a_steady_loop_does_not_fault() {
    let _turn = turn();
    let ws = workspace(|_| ());
    let body = || {
        let mut last = bytes(&ws, 512 * KIB, 0);
        (0..5).for_each(|v| last = bytes(&ws, 300 * KIB, v));
        drop(last);
    };
    (0..8).for_each(|_| cycle(&ws, body));
    // What a cycle causes is in every window; the kernel may take a page of code away at any time.
    let window = || {
        let before = faults();
        (0..200).for_each(|_| cycle(&ws, body));
        faults() - before
    };
    assert!((0..5).any(|_| window() == 0));
}

/// Bytes of the process that are in memory.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[test]
fn many_cycles_and_many_threads_leave_no_trace() {
    let _turn = turn();
    let held = allocated_bytes();
    let ws = workspace(|_| ());
    let cycles = |n: u32| {
        for _ in 0..n {
            cycle(&ws, || drop(bytes(&ws, 100, 1)));
        }
    };
    let threads = |n: u32| {
        for _ in 0..n {
            std::thread::spawn(|| {
                let ws = registry::get_workspace(None, "SHORT").unwrap();
                (0..3).for_each(|_| cycle(&ws, || drop(bytes(&ws, 5000, 1))));
            })
            .join()
            .unwrap();
        }
    };
    cycles(2000);
    threads(200);
    let before = resident();
    cycles(200_000);
    threads(5000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more");
    ws.destroy_workspace().unwrap();
    assert_eq!(allocated_bytes(), held);
    assert!(ndarena::living_workspaces().iter().all(|w| w.id() != "SHORT"));
}

// ---------------------------------------------------------------------- debug mode, threads in scope

#[test]
fn with_everything_spilled_arrays_keep_their_values() {
    let _turn = turn();
    let start = allocated_bytes();
    registry::set_debug_mode(DebugMode::SpillEverything);
    for kind in kinds() {
        let ws = workspace(kind);
        let fails = ws.configuration().policy_spill == SpillPolicy::Fail;
        for value in 0..5 {
            let scope = ws.notify_scope_entered().unwrap();
            let before = counters(&ws);
            match ws.full(&[100], value) {
                Ok(array) => {
                    assert!(!fails);
                    let stats = ws.stats();
                    assert!(stats.spilled_size + stats.pinned_size >= 128, "{stats:?}");
                    assert_eq!(stats.this_cycle_allocations, 128);
                    assert_eq!(array.detach::<u8>().unwrap(), [value; 100]);
                }
                Err(error) => {
                    assert!(fails && is_full(&error), "{error}");
                    assert_eq!(counters(&ws), before);
                }
            }
            scope.close().unwrap();
        }
        ws.destroy_workspace().unwrap();
    }
    registry::set_debug_mode(DebugMode::Disabled);
    assert_eq!(allocated_bytes(), start);
}

#[test]
fn threads_in_scope_are_counted() {
    let _turn = turn();
    assert_eq!(registry::threads_in_scope(), 0);
    let (a, b) = (workspace(|_| ()), workspace(|_| ()));
    let (outer, inner) = (a.notify_scope_entered().unwrap(), b.notify_scope_entered().unwrap());
    assert_eq!(registry::threads_in_scope(), 1);
    std::thread::spawn(|| {
        std::mem::forget(ndarena::scope_out_of_workspaces().unwrap());
        assert_eq!(registry::threads_in_scope(), 2);
    })
    .join()
    .unwrap();
    assert_eq!(registry::threads_in_scope(), 1, "the end of a thread closes its scopes");
    drop(inner);
    assert_eq!(registry::threads_in_scope(), 1);
    drop(outer);
    assert_eq!(registry::threads_in_scope(), 0);
}
