//! The bars of the core: its allocators against bumpalo's, both in turns in one process.
//!
//! `cargo bench --bench bars` prints the ratios; `-- --out FILE` writes them for the report as well,
//! `-- --test` only sees that everything runs.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and counts of a benchmark are small"
)]

use std::alloc::Layout;
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
/// More than cycles are remembered.
const FIRST_LENGTHS: u64 = 199;
/// A cycle with more requests has no plan.
const PLANNED: usize = 4096;
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

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, GRANULE).expect("a layout")
}

/// Serves lengths from bumpalo, one after the other.
fn bumpalo<'a>(lengths: Vec<usize>) -> Box<dyn FnMut() + 'a> {
    let mut bump = Bumpalo::new();
    let layouts: Vec<_> = lengths.into_iter().map(layout).collect();
    Box::new(move || {
        for &layout in &layouts {
            black_box(bump.alloc_layout(layout));
        }
        bump.reset();
    })
}

/// Serves a trace from bumpalo, for which a death is nothing: the same walk over births and deaths.
fn bumpalo_trace<'a>(steps: &[Step]) -> Box<dyn FnMut() + 'a> {
    let mut bump = Bumpalo::new();
    let mut tickets = Vec::new();
    let steps: Vec<Asked<Layout>> = asked(steps, layout);
    Box::new(move || {
        tickets.clear();
        for step in &steps {
            match *step {
                Asked::Birth(layout) => {
                    let place = bump.alloc_layout(layout);
                    black_box(place);
                    tickets.push(place);
                }
                Asked::Death(request) => drop(black_box(tickets[request])),
            }
        }
        bump.reset();
    })
}

/// A step with its length as the allocator wants it.
enum Asked<L> {
    Birth(L),
    Death(usize),
}

fn asked<L>(steps: &[Step], length: impl Fn(usize) -> L) -> Vec<Asked<L>> {
    let ask = |step: &Step| match *step {
        Step::Birth(bytes) => Asked::Birth(length(bytes)),
        Step::Death(request) => Asked::Death(request),
    };
    steps.iter().map(ask).collect()
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
    let path = "request, bump".to_owned();
    Row { path, bar: Bar::Ratio(1.0), operations: BUMPED, ours, peer }
}

/// A cycle of an arena, which does what the trace says.
fn cycle(arena: &mut Arena, steps: &[Asked<u64>], tickets: &mut Vec<Ticket>) {
    arena.begin_cycle();
    tickets.clear();
    for step in steps {
        match *step {
            Asked::Birth(bytes) => {
                let (offset, ticket) = arena.alloc_below(bytes, CAPACITY);
                black_box(offset.unwrap_or_default());
                tickets.push(ticket);
            }
            Asked::Death(request) => arena.free(tickets[request]),
        }
    }
    arena.end_cycle();
}

fn arena() -> Arena {
    let mut arena = Arena::new(GRANULE as u64);
    arena.set_capacity(CAPACITY);
    arena
}

fn plan_row<'a>(name: &str, steps: &[Step]) -> Row<'a> {
    let (operations, peer) = (births(steps).len(), bumpalo_trace(steps));
    let steps = asked(steps, |bytes| bytes as u64);
    let (mut arena, mut tickets) = (arena(), Vec::new());
    for _ in 0..4 {
        cycle(&mut arena, &steps, &mut tickets);
    }
    assert!(arena.plan_counts().planned > 0, "{name} is on plan");
    let ours = Box::new(move || cycle(&mut arena, &steps, &mut tickets));
    let path = on_plan(name);
    Row { path, bar: Bar::Ratio(1.5), operations, ours, peer }
}

/// No cycle is like one that is remembered, so that none gets a plan.
fn dynamic_row<'a>(name: &str, steps: &[Step], bar: Bar) -> Row<'a> {
    let lengths = births(steps);
    let (first, operations) = (lengths[0] as u64, lengths.len());
    let peer = bumpalo(lengths);
    let mut steps = asked(steps, |bytes| bytes as u64);
    let (mut arena, mut tickets) = (arena(), Vec::new());
    let mut turn = 0;
    let mut turn_of = move |arena: &mut Arena| {
        turn = (turn + 1) % FIRST_LENGTHS;
        steps[0] = Asked::Birth(first + turn * GRANULE as u64);
        cycle(arena, &steps, &mut tickets);
    };
    for _ in 0..2 * FIRST_LENGTHS {
        turn_of(&mut arena);
    }
    assert_eq!(arena.plan_counts().planned, 0, "{name} is served dynamically");
    let ours = Box::new(move || turn_of(&mut arena));
    let path = dynamic(name);
    Row { path, bar, operations, ours, peer }
}

/// The rows whose path contains the filter.
fn rows(filter: &str) -> Vec<Row<'static>> {
    let mut rows = vec![bump_row()];
    for (name, steps) in traces() {
        let is_planned = births(&steps).len() <= PLANNED;
        if is_planned && on_plan(&name).contains(filter) {
            rows.push(plan_row(&name, &steps));
        }
        if dynamic(&name).contains(filter) {
            let bar = if is_planned { Bar::Nanoseconds(15.0) } else { Bar::None };
            rows.push(dynamic_row(&name, &steps, bar));
        }
    }
    rows.retain(|row| row.path.contains(filter));
    rows
}

fn on_plan(name: &str) -> String {
    format!("request and death on plan, {name}")
}

fn dynamic(name: &str) -> String {
    format!("request and death among holes, {name}")
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
    let mut arguments = std::env::args().skip(1);
    let (mut is_test, mut out, mut filter) = (false, None, String::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--test" => is_test = true,
            "--out" => out = arguments.next(),
            "--bench" => {} // cargo's own
            _ => filter = argument,
        }
    }
    let (rounds, sample_ns) = if is_test { (1, 1.0) } else { (ROUNDS, SAMPLE_NS) };
    let mut lines = String::new();
    for mut row in rows(&filter) {
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
