//! What the core costs: scopes, and memory cut and given back, with the system's allocator beside it.

use std::hint::black_box;

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use ndarena::{Buffer, LearningPolicy, ReusePolicy, Settings, Workspace, WorkspaceConfiguration};

/// Requests of a cycle; one beyond what a plan holds.
const PLANNED: usize = 1000;
const UNPLANNED: usize = 4097;
const BYTES: usize = 4096;
/// Arrays alive at once.
const ALIVE: usize = 8;

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

fn scopes(c: &mut Criterion) {
    let outer = workspace(ReusePolicy::WithinCycle);
    let inner = workspace(ReusePolicy::WithinCycle);
    let enter = |workspace: &Workspace| drop(workspace.notify_scope_entered().expect("enters"));
    let mut group = c.benchmark_group("scope");
    group.bench_function("enter and leave", |b| b.iter(|| enter(&outer)));
    group.bench_function("nested", |b| {
        b.iter(|| {
            let scope = outer.notify_scope_entered().expect("enters");
            enter(&inner);
            drop(scope);
        });
    });
    group.finish();
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocate and free");
    let mut bench = |name: &str, requests: usize, f: &dyn Fn(&mut Bencher<'_>)| {
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(name, |b| f(b));
    };
    let within = workspace(ReusePolicy::WithinCycle);
    let at_reset = workspace(ReusePolicy::AtReset);
    bench("on plan", PLANNED, &|b| b.iter(|| cycle(&within, PLANNED)));
    bench("good fit", UNPLANNED, &|b| b.iter(|| cycle(&within, UNPLANNED)));
    bench("bump", PLANNED, &|b| b.iter(|| cycle(&at_reset, PLANNED)));
    bench("system", PLANNED, &|b| b.iter(|| system(PLANNED)));
    group.finish();
}

criterion_group!(core, scopes, requests);
criterion_main!(core);
