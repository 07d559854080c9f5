//! The bars of the core: its allocators against bumpalo's, both in turns in one process.
//!
//! `cargo bench --bench bars` prints the ratios; `-- --out FILE` writes them for the report as well,
//! `-- --test` only sees that everything runs.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use bumpalo::Bump as Bumpalo;
use ndarena::internals::{Arena, Bump, Ticket};

use read::{Step, traces};

#[path = "traces/read.rs"]
mod read;

const ROUNDS: usize = 25;
const SAMPLE_NS: f64 = 1e6;
const GRANULE: usize = 64;
const CAPACITY: u64 = 1 << 40;
/// Requests of a cycle of the bump allocators.
const BUMPED: usize = 1000;

/// What is timed: one call of each side, and how many operations that is.
struct Row<'a> {
    path: String,
    bar: Bar,
    operations: usize,
    ours: Box<dyn FnMut() + 'a>,
    peer: Box<dyn FnMut() + 'a>,
}

#[derive(Clone, Copy)]
enum Bar {
    /// Times the peer.
    Ratio(f64),
    /// Nanoseconds, where bumpalo takes 1.4.
    Nanoseconds(f64),
    /// Published.
    None,
}

const BUMPALO_NS: f64 = 1.4;

impl Bar {
    fn limit(self) -> Option<f64> {
        match self {
            Self::Ratio(limit) => Some(limit),
            Self::Nanoseconds(limit) => Some(limit / BUMPALO_NS),
            Self::None => None,
        }
    }
}

/// Lengths of many sizes, multiples of the granule.
fn length(request: usize) -> usize {
    GRANULE * (1 + request * 7919 % 31)
}

fn births(steps: &[Step]) -> Vec<usize> {
    let length = |step: &Step| if let Step::Birth(bytes) = step { Some(*bytes) } else { None };
    steps.iter().filter_map(length).collect()
}

/// Serves the lengths from bumpalo, which gives nothing back before its reset.
fn bumpalo<'a>(lengths: Vec<usize>) -> Box<dyn FnMut() + 'a> {
    let mut bump = Bumpalo::new();
    let layouts: Vec<_> = lengths
        .into_iter()
        .map(|bytes| std::alloc::Layout::from_size_align(bytes, GRANULE).expect("a layout"))
        .collect();
    Box::new(move || {
        for &layout in &layouts {
            black_box(bump.alloc_layout(layout));
        }
        bump.reset();
    })
}

fn bump_row() -> Row<'static> {
    let lengths: Vec<usize> = (0..BUMPED).map(length).collect();
    let peer = bumpalo(lengths.clone());
    let mut bump = Bump::new();
    let ours = Box::new(move || {
        for &bytes in &lengths {
            black_box(bump.alloc(bytes as u64, black_box(CAPACITY)));
        }
        bump.reset();
    });
    let path = "bump: request".to_owned();
    Row { path, bar: Bar::Ratio(1.0), operations: BUMPED, ours, peer }
}

/// A cycle of an arena, which does what the trace says.
fn cycle(arena: &mut Arena, steps: &[(Step, u64)], tickets: &mut Vec<Ticket>) {
    arena.begin_cycle();
    tickets.clear();
    for &(step, bytes) in steps {
        match step {
            Step::Birth(_) => tickets.push(black_box(arena.alloc_below(bytes, CAPACITY))),
            Step::Death(request) => arena.free(tickets[request], bytes),
        }
    }
    arena.end_cycle();
}

/// The steps with the bytes that each of them is about.
fn sized(steps: &[Step]) -> Vec<(Step, u64)> {
    let lengths = births(steps);
    let bytes = |step: &Step| match *step {
        Step::Birth(bytes) => bytes,
        Step::Death(request) => lengths[request],
    };
    steps.iter().map(|step| (*step, bytes(step) as u64)).collect()
}

fn arena() -> Arena {
    let mut arena = Arena::new(GRANULE as u64);
    arena.set_capacity(CAPACITY);
    arena
}

fn plan_row<'a>(name: &str, steps: &[Step]) -> Row<'a> {
    let (lengths, steps) = (births(steps), sized(steps));
    let operations = lengths.len();
    let (mut arena, mut tickets) = (arena(), Vec::new());
    for _ in 0..4 {
        cycle(&mut arena, &steps, &mut tickets);
    }
    assert!(arena.plan_counts().planned > 0, "{name} is on plan");
    let ours = Box::new(move || cycle(&mut arena, &steps, &mut tickets));
    let path = format!("on plan: request and death, {name}");
    Row { path, bar: Bar::Ratio(1.5), operations, ours, peer: bumpalo(lengths) }
}

/// No cycle is like another, so that none gets a plan.
fn dynamic_row<'a>(name: &str, steps: &[Step], bar: Bar) -> Row<'a> {
    let (lengths, mut steps) = (births(steps), sized(steps));
    let operations = lengths.len();
    let (mut arena, mut tickets) = (arena(), Vec::new());
    let first = steps[0].1;
    let mut turn = 0;
    let ours = Box::new(move || {
        turn += 1;
        let bytes = first + turn * GRANULE as u64;
        for (step, length) in &mut steps {
            if matches!(step, Step::Death(0)) {
                *length = bytes;
            }
        }
        steps[0].1 = bytes;
        cycle(&mut arena, &steps, &mut tickets);
        assert_eq!(arena.plan_counts().planned, 0, "every cycle is dynamic");
    });
    let path = format!("dynamic, with holes: request and death, {name}");
    Row { path, bar, operations, ours, peer: bumpalo(lengths) }
}

fn rows() -> Vec<Row<'static>> {
    let mut rows = vec![bump_row()];
    for (name, steps) in traces() {
        match births(&steps).len() {
            0..=4096 => {
                rows.push(plan_row(&name, &steps));
                rows.push(dynamic_row(&name, &steps, Bar::Nanoseconds(15.0)));
            }
            _ => rows.push(dynamic_row(&name, &steps, Bar::None)),
        }
    }
    rows
}

fn sample(side: &mut dyn FnMut(), calls: usize) -> f64 {
    let begin = Instant::now();
    for _ in 0..calls {
        side();
    }
    begin.elapsed().as_nanos() as f64 / calls as f64
}

fn calls(side: &mut dyn FnMut(), sample_ns: f64) -> usize {
    let once = (0..3).map(|_| sample(side, 1)).fold(f64::MAX, f64::min);
    (sample_ns / once).ceil().max(1.0) as usize
}

/// Nanoseconds per operation of both sides, in every round.
fn measure(row: &mut Row<'_>, rounds: usize, sample_ns: f64) -> [Vec<f64>; 2] {
    let counts = [calls(&mut row.ours, sample_ns), calls(&mut row.peer, sample_ns)];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        times[0].push(sample(&mut row.ours, counts[0]) / row.operations as f64);
        times[1].push(sample(&mut row.peer, counts[1]) / row.operations as f64);
    }
    for side in &mut times {
        side.sort_by(f64::total_cmp);
    }
    times
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let out = arguments.iter().skip_while(|argument| *argument != "--out").nth(1);
    let (rounds, sample_ns) = if is_test { (1, 1.0) } else { (ROUNDS, SAMPLE_NS) };
    let mut lines = String::new();
    for mut row in rows() {
        let [ours, peer] = measure(&mut row, rounds, sample_ns);
        let limit = row.bar.limit().map_or("null".to_owned(), |limit| limit.to_string());
        println!(
            "{:60} {:6.2} ns, bumpalo {:5.2}: {:5.2} (bar {limit:.4})",
            row.path,
            ours[0],
            peer[0],
            ours[0] / peer[0]
        );
        let middle = rounds / 2;
        writeln!(
            lines,
            r#"{{"path": "{}", "bar": {limit}, "ours": [{}, {}], "peer": [{}, {}]}}"#,
            row.path, ours[0], ours[middle], peer[0], peer[middle]
        )
        .expect("a string takes it");
    }
    if let Some(path) = out {
        std::fs::write(path, lines).expect("the file is written");
    }
}
