//! Cycles of real programs, replayed: how much memory their workspace holds for them.

use ndarena::{AllocationPolicy, Buffer, Settings, Workspace, WorkspaceConfiguration};

use read::{Step, traces};

#[path = "../../benches/traces/read.rs"]
mod read;

/// A cycle with more requests has no plan.
const PLANNED: usize = 4096;
const CYCLES: usize = 5;
/// In the first the size is learned, and in the second the plan.
const LEARNING: usize = 2;

fn workspace() -> Workspace {
    let settings = Settings { policy_allocation: AllocationPolicy::Strict, ..Settings::default() };
    Workspace::new(WorkspaceConfiguration::new(settings).unwrap(), "TRACE").unwrap()
}

/// Bytes held at the most in the cycle, over the bytes alive at the most.
#[allow(clippy::cast_precision_loss, reason = "the sums are small")]
fn replay(workspace: &Workspace, steps: &[Step]) -> f64 {
    let scope = workspace.notify_scope_entered().unwrap();
    let mut buffers: Vec<Option<Buffer>> = Vec::new();
    let mut held = 0;
    for &step in steps {
        let bytes = match step {
            Step::Birth(bytes) => bytes,
            Step::Death(request) => {
                buffers[request] = None;
                continue;
            }
        };
        buffers.push(Some(workspace.allocate(bytes, false).unwrap()));
        let now = workspace.stats();
        held = held.max(now.current_size + now.spilled_size + now.retired_size);
    }
    let peak = workspace.stats().peak_size;
    drop(buffers);
    drop(scope);
    held as f64 / peak as f64
}

/// The largest footprint of the steady cycles.
fn footprint(steps: &[Step]) -> f64 {
    let workspace = workspace();
    let cycles = (0..CYCLES).map(|_| replay(&workspace, steps)).skip(LEARNING);
    let largest = cycles.fold(0.0, f64::max);
    workspace.destroy_workspace().unwrap();
    largest
}

fn births(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Birth(_))).count()
}

#[test]
#[cfg_attr(miri, ignore = "it reads files, and takes long")]
fn a_steady_cycle_holds_little_more_than_what_is_alive() {
    let (mut planned, mut long) = (Vec::new(), Vec::new());
    for (name, steps) in traces() {
        let (count, footprint) = (births(&steps), footprint(&steps));
        println!("{name}: {count} requests, {footprint:.4} of the bytes alive");
        let (kind, limit) = if count > PLANNED { (&mut long, 1.25) } else { (&mut planned, 1.15) };
        assert!(footprint <= limit, "{name}: {footprint:.4} > {limit}");
        kind.push(footprint);
    }
    planned.sort_by(f64::total_cmp);
    let median = planned[planned.len() / 2];
    assert!((planned.len(), long.len()) >= (8, 1), "the traces are there");
    assert!(median <= 1.02, "median {median:.4}");
}

#[test]
#[cfg_attr(miri, ignore = "it reads files, and takes long")]
fn a_log_tells_the_cycle_that_was_replayed() {
    for (name, steps) in traces().into_iter().filter(|(_, steps)| births(steps) <= PLANNED) {
        let workspace = workspace();
        let scope = workspace.notify_scope_entered().unwrap();
        let mut buffers: Vec<Option<Buffer>> = Vec::new();
        for &step in &steps {
            match step {
                Step::Birth(bytes) => buffers.push(Some(workspace.allocate(bytes, false).unwrap())),
                Step::Death(request) => buffers[request] = None,
            }
        }
        let told: Vec<String> = workspace.cycle_log().iter().map(|e| format!("{e:?}")).collect();
        let asked = steps.iter().map(|&step| match step {
            Step::Birth(bytes) => format!("Birth {{ bytes: {bytes} }}"),
            Step::Death(request) => format!("Death {{ request: {request} }}"),
        });
        assert!(told.into_iter().eq(asked), "{name}");
        drop(buffers);
        drop(scope);
        workspace.destroy_workspace().unwrap();
    }
}
