//! What the core costs: scopes, memory cut and given back, checks, leases, look-ups, many threads; with
//! bumpalo, the system's allocator and a lock beside them. `bars.rs` holds allocators to their bars.

use std::alloc::Layout;
use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use bumpalo::Bump as Bumpalo;
use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use ndarena::{
    Array, Buffer, LearningPolicy, ReusePolicy, Settings, Workspace, WorkspaceConfiguration,
    registry,
};

/// Requests of a cycle; one beyond what a plan holds.
const PLANNED: usize = 1000;
const UNPLANNED: usize = 4097;
const BYTES: usize = 4096;
/// Arrays alive at once.
const ALIVE: usize = 8;
const THREADS: usize = 4;

fn workspace(policy_reuse: ReusePolicy) -> Workspace {
    let settings = Settings {
        initial_size: (2 * UNPLANNED * BYTES) as u64,
        policy_learning: LearningPolicy::None,
        policy_reuse,
        ..Settings::default()
    };
    let configuration = WorkspaceConfiguration::new(settings).expect("valid");
    Workspace::new(configuration, "BENCH").expect("room")
}

/// Lengths that leave holes of many sizes.
fn bytes(request: usize) -> usize {
    64 + request * 7919 % BYTES
}

fn enter(workspace: &Workspace) {
    drop(workspace.notify_scope_entered().expect("the owner enters"));
}

/// A cycle of `requests`, the eight youngest of which are alive.
fn cycle(workspace: &Workspace, requests: usize) {
    let scope = workspace.notify_scope_entered().expect("the owner enters");
    let mut alive: [Option<Buffer>; ALIVE] = Default::default();
    for request in 0..requests {
        let buffer = workspace.allocate(black_box(bytes(request)), false).expect("room");
        alive[request * 5 % ALIVE] = Some(buffer);
    }
    drop(alive);
    drop(scope);
}

fn system(requests: usize) {
    let mut alive: [Vec<u8>; ALIVE] = Default::default();
    for request in 0..requests {
        alive[request * 5 % ALIVE] = black_box(Vec::with_capacity(bytes(request)));
    }
}

fn bumped(bump: &mut Bumpalo, requests: usize) {
    for request in 0..requests {
        let layout = Layout::from_size_align(black_box(bytes(request)), 64).expect("a layout");
        black_box(bump.alloc_layout(layout));
    }
    bump.reset();
}

fn scopes(c: &mut Criterion) {
    let outer = workspace(ReusePolicy::WithinCycle);
    let inner = workspace(ReusePolicy::WithinCycle);
    let mut group = c.benchmark_group("scope");
    group.bench_function("enter and leave", |b| b.iter(|| enter(&outer)));
    group.bench_function("nested", |b| {
        b.iter(|| {
            let scope = outer.notify_scope_entered().expect("enters");
            enter(&inner);
            drop(scope);
        });
    });
    let lock = Mutex::new(());
    group.bench_function("a lock, for scale", |b| b.iter(|| drop(black_box(lock.lock()))));
    group.finish();
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocate and free");
    let mut bench = |name: &str, requests: usize, f: &mut dyn FnMut(&mut Bencher<'_>)| {
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(name, |b| f(b));
    };
    let within = workspace(ReusePolicy::WithinCycle);
    let at_reset = workspace(ReusePolicy::AtReset);
    let mut bump = Bumpalo::new();
    bench("on plan", PLANNED, &mut |b| b.iter(|| cycle(&within, PLANNED)));
    bench("good fit", UNPLANNED, &mut |b| b.iter(|| cycle(&within, UNPLANNED)));
    bench("bump", PLANNED, &mut |b| b.iter(|| cycle(&at_reset, PLANNED)));
    bench("bumpalo", PLANNED, &mut |b| b.iter(|| bumped(&mut bump, PLANNED)));
    bench("system", PLANNED, &mut |b| b.iter(|| system(PLANNED)));
    group.finish();
}

fn access(c: &mut Criterion) {
    let workspace = workspace(ReusePolicy::WithinCycle);
    let scope = workspace.notify_scope_entered().expect("enters");
    let buffer = workspace.allocate(BYTES, false).expect("room");
    let array: Array = workspace.zeros::<f32>(&[32, 32]).expect("room");
    let mut group = c.benchmark_group("access");
    group.bench_function("stale check", |b| b.iter(|| black_box(&buffer).check().is_ok()));
    group.bench_function("lease", |b| b.iter(|| drop(black_box(&buffer).lease().expect("valid"))));
    group.bench_function("read an array", |b| {
        b.iter(|| array.read::<f32, _>(|elements| elements[0]).expect("valid"));
    });
    group.bench_function("a turn whose view is kept", |b| {
        let turns = self::workspace(ReusePolicy::WithinCycle);
        let mut kept = None;
        b.iter(|| {
            let scope = turns.notify_scope_entered().expect("enters");
            let buffer = turns.allocate(BYTES, false).expect("room");
            kept = Some(buffer.lease().expect("valid"));
            drop(scope);
        });
        drop(kept);
    });
    group.finish();
    drop((buffer, array));
    drop(scope);
}

fn look_ups(c: &mut Criterion) {
    let ids: Vec<String> = (0..16).map(|number| format!("WORKSPACE_{number}")).collect();
    let made = ids.iter().map(|id| registry::get_workspace(None, id).expect("a workspace"));
    let made: Vec<Workspace> = made.collect();
    let mut group = c.benchmark_group("registry");
    group.bench_function("by id, among 16", |b| {
        b.iter(|| registry::get_workspace(None, black_box(&ids[7])).expect("a workspace"));
    });
    let scope = made[7].notify_scope_entered().expect("enters");
    group.bench_function("the current one", |b| b.iter(registry::current_workspace));
    drop(scope);
    group.finish();
    registry::destroy_all_workspaces();
}

/// Wall time of so many cycles in each of the threads, every one of which has its workspace.
fn in_threads(threads: usize, cycles: u64) -> Duration {
    let ready = Barrier::new(threads);
    let timed = || {
        let workspace = workspace(ReusePolicy::WithinCycle);
        for _ in 0..4 {
            cycle(&workspace, PLANNED);
        }
        ready.wait();
        let begin = Instant::now();
        for _ in 0..cycles {
            cycle(&workspace, PLANNED);
        }
        begin.elapsed()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(timed)).collect();
        let walls = workers.into_iter().map(|worker| worker.join().expect("no panic"));
        walls.max().unwrap_or_default()
    })
}

fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycles of 1000 requests");
    for threads in [1, 2, THREADS] {
        group.throughput(Throughput::Elements((threads * PLANNED) as u64));
        group.bench_function(format!("in {threads} threads"), |b| {
            b.iter_custom(|cycles| in_threads(threads, cycles));
        });
    }
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = core; config = quick(); targets = scopes, requests, access, look_ups, threads }
criterion_main!(core);
