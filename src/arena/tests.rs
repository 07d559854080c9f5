//! Random programs against a model, and what cycles of known shapes need.

use proptest::prelude::*;

use super::*;
use crate::fit::Bump;
use crate::plan::MAX_REQUESTS;

const GRANULE: u64 = 64;

/// Requests of changing length, every third of which outlives the next five.
fn run(arena: &mut Arena, requests: usize, shift: usize) {
    arena.begin_cycle();
    let mut kept = Vec::with_capacity(8);
    for i in 0..requests {
        let len = GRANULE * (1 + (i * 7 + shift) as u64 % 31);
        let (_, ticket) = arena.alloc(len);
        if i % 3 > 0 {
            arena.free(ticket);
            continue;
        }
        kept.push(ticket);
        if kept.len() > 5 {
            arena.free(kept.remove(0));
        }
    }
    arena.end_cycle();
}

/// Address and room of every list: they change when the heap is asked.
fn lists(arena: &Arena) -> Vec<(usize, usize)> {
    fn list<T>(items: &Vec<T>) -> (usize, usize) {
        (items.as_ptr() as usize, items.capacity())
    }
    vec![
        list(&arena.fit.spans),
        list(&arena.shadow.spans),
        list(&arena.adopted),
        list(&arena.shadows),
        list(&arena.offsets),
        list(&arena.order),
        list(&arena.events),
    ]
}

#[test]
fn steady_cycles_ask_nothing_of_the_heap() {
    let steady = |requests: usize, shifts: &[usize], capacity: u64| {
        let mut arena = Arena::new(GRANULE);
        arena.set_capacity(capacity);
        let mut turns = |count: usize| {
            for &shift in shifts.iter().cycle().take(count * shifts.len()) {
                run(&mut arena, requests, shift);
            }
            (lists(&arena), arena.log.room(), arena.plan_counts())
        };
        let (lists, room, _) = turns(8);
        let after = turns(20);
        assert_eq!((after.0, after.1), (lists, room));
        after.2
    };
    assert!(steady(900, &[0], 1 << 20).planned > 0);
    assert!(steady(900, &[0], 100 * GRANULE).spilled > 0);
    assert!(steady(5000, &[0, 3], 1 << 20).dynamic > 0);
    assert!(steady(900, &[0, 31, 0, 62, 1], 1 << 20).planned > 0);
}

/// One step of a cycle; a death names the request that dies.
#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc(u64),
    Free(usize),
}

type Cycle = Vec<Step>;

/// A request that was made and has not died.
#[derive(Clone, Copy, Debug)]
struct Living {
    index: usize,
    ticket: Ticket,
    offset: Option<u64>,
    len: u64,
}

impl Living {
    /// Where it lies, unless it was spilled.
    fn place(&self) -> Option<(u64, u64)> {
        self.offset.map(|offset| (offset, offset + self.len))
    }
}

/// An arena, and all that is alive in it: every step is checked.
struct Model {
    arena: Arena,
    alive: Vec<Living>,
    requests: usize,
    peak: u64,
    spills: usize,
}

impl Model {
    fn new() -> Self {
        Self { arena: Arena::new(GRANULE), alive: Vec::new(), requests: 0, peak: 0, spills: 0 }
    }

    fn with_capacity(capacity: u64) -> Self {
        let mut model = Self::new();
        model.arena.set_capacity(capacity);
        model
    }

    /// Runs a cycle, every request scaled to `percent` of its length.
    fn run_scaled(&mut self, cycle: &[Step], percent: u64) -> Vec<Option<u64>> {
        self.begin();
        let mut offsets = Vec::new();
        for &step in cycle {
            match step {
                Step::Alloc(len) => {
                    let scaled = (len * percent / 100).next_multiple_of(GRANULE).max(GRANULE);
                    offsets.push(self.alloc(scaled));
                }
                Step::Free(index) => self.free(index),
            }
        }
        self.end();
        offsets
    }

    fn run(&mut self, cycle: &[Step]) -> Vec<Option<u64>> {
        self.run_scaled(cycle, 100)
    }

    /// As `run`, for a cycle that must not spill.
    fn run_inside(&mut self, cycle: &[Step]) {
        self.run(cycle);
        assert_eq!(self.spills, 0, "spilled in an arena of {}", self.arena.capacity());
    }

    fn begin(&mut self) {
        self.arena.begin_cycle();
        self.clear();
    }

    fn clear(&mut self) {
        (self.requests, self.peak, self.spills) = (0, 0, 0);
        self.alive.clear();
    }

    fn alloc(&mut self, len: u64) -> Option<u64> {
        let (offset, ticket) = self.arena.alloc(len);
        let new = Living { index: self.requests, ticket, offset, len };
        assert_eq!(ticket.index(), self.requests);
        if let Some((start, end)) = new.place() {
            assert_eq!(start % GRANULE, 0);
            assert!(end <= self.arena.capacity(), "ends at {end}");
            for other in &self.alive {
                let apart = other.place().is_none_or(|(low, high)| low >= end || high <= start);
                assert!(apart, "{new:?} overlaps {other:?}");
            }
        } else {
            assert!(self.largest_gap() < len, "spilled {len} bytes that fit");
            self.spills += 1;
        }
        self.alive.push(new);
        self.requests += 1;
        self.check();
        offset
    }

    fn largest_gap(&self) -> u64 {
        let mut spans: Vec<_> = self.alive.iter().filter_map(Living::place).collect();
        let capacity = self.arena.capacity();
        spans.push((capacity, capacity));
        spans.sort_unstable();
        let (mut end, mut largest) = (0, 0);
        for span in spans {
            largest = largest.max(span.0 - end);
            end = span.1;
        }
        largest
    }

    fn free(&mut self, index: usize) {
        let at = self.alive.iter().position(|living| living.index == index).expect("alive");
        self.arena.free(self.alive.remove(at).ticket);
        self.check();
    }

    fn check(&mut self) {
        let alive = self.alive.iter().map(|living| living.len).sum();
        self.peak = self.peak.max(alive);
        let ends = self.alive.iter().filter_map(|living| Some(living.place()?.1));
        if self.requests <= MAX_REQUESTS && !self.arena.is_void {
            let log = self.arena.logged();
            let logged: u64 = log.alive().map(|index| log.request_len(index as usize)).sum();
            assert_eq!(logged, alive);
        }
        assert_eq!(self.arena.top(), ends.max().unwrap_or(0));
    }

    fn end(&mut self) {
        if self.requests <= MAX_REQUESTS && !self.arena.is_void {
            assert_eq!(self.arena.logged().peak(), self.peak);
        }
        self.arena.end_cycle();
        assert_eq!(self.arena.top(), 0);
    }

    fn counts(&self) -> PlanCounts {
        self.arena.plan_counts()
    }

    /// Learns `cycle` and takes the memory that it needs.
    fn learned(cycle: &[Step]) -> Self {
        let mut model = Self::new();
        model.run(cycle);
        let needed = model.arena.needed();
        assert!(needed >= peak(cycle) && needed <= sum(cycle), "needs {needed}");
        model.arena.set_capacity(needed);
        model
    }
}

fn peak(cycle: &[Step]) -> u64 {
    let (mut lens, mut alive, mut peak) = (Vec::new(), 0, 0);
    for &step in cycle {
        match step {
            Step::Alloc(len) => {
                lens.push(len);
                alive += len;
            }
            Step::Free(index) => alive -= lens[index],
        }
        peak = peak.max(alive);
    }
    peak
}

fn sum(cycle: &[Step]) -> u64 {
    let len = |step: &Step| if let Step::Alloc(len) = *step { len } else { 0 };
    cycle.iter().map(len).sum()
}

/// Writes cycles as a program would run them.
#[derive(Default)]
struct Trace {
    steps: Cycle,
    requests: usize,
}

impl Trace {
    fn alloc(&mut self, elements: u64) -> usize {
        self.steps.push(Step::Alloc((elements * 4).next_multiple_of(GRANULE)));
        self.requests += 1;
        self.requests - 1
    }

    fn free(&mut self, index: usize) {
        self.steps.push(Step::Free(index));
    }
}

/// `count` requests of mixed sizes, `living` of them alive at once; a linear congruence draws.
fn random(seed: u64, count: usize, living: usize) -> Cycle {
    let mut state = seed;
    let mut draw = |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut t = Trace::default();
    let mut alive = Vec::new();
    for _ in 0..count {
        let magnitude = draw(8);
        alive.push(t.alloc(256 + draw(256 << magnitude)));
        if alive.len() > living {
            let index = usize::try_from(draw(alive.len() as u64)).expect("an index");
            t.free(alive.swap_remove(index));
        }
    }
    t.steps
}

#[test]
fn two_alternating_cycles_are_both_on_plan() {
    let (training, testing) = (random(1, 300, 20), random(2, 200, 10));
    let mut model = Model::new();
    for _ in 0..2 {
        model.run(&training);
        model.run(&testing);
    }
    model.arena.set_capacity(model.arena.needed());
    let before = model.counts();
    assert_eq!(before.plans, 2);
    for _ in 0..10 {
        model.run_inside(&training);
        model.run_inside(&testing);
    }
    let after = model.counts();
    assert_eq!((after.diverged, after.dynamic), (before.diverged, before.dynamic));
}

#[test]
fn cycles_that_begin_alike_are_told_apart_by_what_came_before() {
    let mut even = Trace::default();
    let (a, _) = (even.alloc(1000), even.alloc(5000));
    even.free(a);
    let mut odd = Trace::default();
    let (a, _) = (odd.alloc(1000), odd.alloc(9000));
    odd.free(a);
    odd.alloc(700);
    let mut model = Model::with_capacity(1 << 20);
    for _ in 0..3 {
        model.run(&even.steps);
        model.run(&odd.steps);
    }
    let before = model.counts();
    for _ in 0..10 {
        model.run(&even.steps);
        model.run(&odd.steps);
    }
    let after = model.counts();
    assert_eq!((after.diverged, after.dynamic), (before.diverged, before.dynamic));
    assert_eq!(after.planned - before.planned, 50);
}

#[test]
fn a_shorter_last_batch_stays_on_plan() {
    let cycle = random(1, 100, 8);
    let mut model = Model::learned(&cycle);
    for percent in [100, 100, 100, 62, 100, 100, 100, 62] {
        model.run_scaled(&cycle, percent);
        assert_eq!(model.spills, 0);
    }
    assert_eq!((model.counts().diverged, model.counts().dynamic), (0, 0));
}

#[test]
fn a_cycle_that_ends_early_stays_on_plan() {
    let cycle = random(1, 100, 8);
    let mut model = Model::learned(&cycle);
    model.run_inside(&cycle[..cycle.len() / 2]);
    model.run_inside(&cycle);
    assert_eq!(model.counts().diverged, 0);
}

#[test]
fn a_cycle_that_leaves_its_plan_may_use_every_free_byte() {
    let unit = GRANULE / 4;
    let mut t = Trace::default();
    for elements in [4, 4, 4, 4] {
        t.alloc(elements * unit);
    }
    let mut model = Model::learned(&t.steps);
    assert_eq!(model.arena.capacity(), 16 * GRANULE);
    model.begin();
    for _ in 0..4 {
        assert!(model.alloc(4 * GRANULE).is_some());
    }
    model.free(1);
    model.free(3);
    // Off plan: requests 4-7 are not in it. Two holes of four granules are free.
    for len in [3, 4, 1] {
        assert!(model.alloc(len * GRANULE).is_some(), "{len} granules fit");
    }
    assert_eq!(model.alloc(GRANULE), None, "the arena is full");
    model.free(0);
    assert_eq!(model.alloc(5 * GRANULE), None, "no hole is so large");
    model.end();
    assert_eq!(model.counts().diverged, 1);
}

#[test]
fn a_handle_kept_alive_forces_its_successor_off_plan() {
    let mut t = Trace::default();
    let first = t.alloc(1000);
    t.free(first);
    let second = t.alloc(1000);
    t.free(second);
    let mut model = Model::learned(&t.steps);
    model.arena.set_capacity(1 << 16);
    model.begin();
    assert_eq!(model.alloc(4032), Some(0));
    let kept = model.alloc(4032);
    assert!(kept.is_some_and(|offset| offset >= 4032));
    model.end();
    assert_eq!(model.counts().diverged, 1);
}

#[test]
fn a_plan_left_three_times_in_a_row_is_dropped() {
    let mut t = Trace::default();
    t.alloc(16);
    let mut model = Model::with_capacity(1 << 20);
    model.run(&t.steps);
    assert_eq!(model.counts().plans, 1);
    for cycle in 1..=3 {
        model.begin();
        for request in 0..=cycle {
            model.alloc(GRANULE * (1 + request * cycle));
        }
        model.arena.begin_cycle(); // Not ended: nothing else is learned.
    }
    assert_eq!((model.counts().diverged, model.counts().plans), (3, 0));
}

#[test]
fn no_more_than_sixteen_plans_are_held() {
    let mut model = Model::new();
    for shape in 1..=40 {
        let mut t = Trace::default();
        t.alloc(16 * shape);
        model.run(&t.steps);
    }
    assert_eq!(model.counts().plans, 16);
    assert_eq!(model.arena.needed(), 40 * GRANULE);
    // What is no longer seen makes room.
    let mut t = Trace::default();
    t.alloc(16 * 50);
    for _ in 0..100 {
        model.run(&t.steps);
    }
    model.arena.set_capacity(50 * GRANULE);
    model.run_inside(&t.steps);
    assert_eq!(model.counts().planned, 1);
}

#[test]
fn a_cycle_too_long_for_a_plan_needs_what_its_replay_needs() {
    let cycle = random(1, 6000, 30);
    let mut model = Model::learned(&cycle);
    for _ in 0..3 {
        model.run_inside(&cycle);
    }
    let PlanCounts { planned, plans, dynamic, .. } = model.counts();
    assert_eq!((planned, plans, dynamic), (0, 0, 18_000));
    // A plan for a cycle that begins alike does not get in its way.
    let mut model = Model::new();
    model.run(&cycle[..1000]);
    model.run(&cycle);
    model.arena.set_capacity(model.arena.needed());
    model.run_inside(&cycle);
}

#[test]
fn a_cycle_that_grows_too_long_after_leaving_its_plan_is_still_measured() {
    let cycle = random(1, 6000, 30);
    let mut model = Model::learned(&cycle[..1000]);
    let short = model.arena.needed();
    model.run(&cycle);
    assert!(model.arena.needed() >= short.max(peak(&cycle)));
    model.arena.set_capacity(model.arena.needed());
    model.run(&cycle); // It begins like the plan, and is known to be long.
    assert_eq!(model.spills, 0);
}

#[test]
fn the_first_cycle_in_an_arena_is_laid_out_too() {
    let cycle = random(1, 200, 12);
    let mut model = Model::with_capacity(sum(&cycle));
    model.run_inside(&cycle);
    model.run_inside(&cycle);
    assert_eq!(model.counts().plans, 1);
    assert!(model.counts().planned > 0);
    assert!(model.arena.needed() * 100 <= 115 * peak(&cycle));
}

#[test]
fn a_plan_higher_than_the_arena_is_not_followed() {
    let cycle = random(1, 100, 8);
    let mut model = Model::learned(&cycle);
    model.arena.set_capacity(model.arena.needed() - GRANULE);
    model.run(&cycle);
    assert!(model.spills > 0);
    assert_eq!(model.counts().planned, 0);
}

#[test]
fn forgetting_drops_plans_and_needs() {
    let cycle = random(1, 100, 8);
    let mut model = Model::learned(&cycle);
    model.begin();
    assert!(model.alloc(GRANULE).is_some());
    model.arena.forget();
    assert_eq!((model.arena.needed(), model.counts().plans), (0, 0));
    model.alloc(GRANULE);
    model.free(0);
    model.alloc(2 * GRANULE);
    model.end();
    assert_eq!(model.arena.needed(), 0, "the rest of a cycle is no cycle");
    model.run(&cycle);
    assert!(model.arena.needed() >= peak(&cycle));
}

#[test]
fn a_cancelled_request_leaves_no_trace() {
    let mut model = Model::with_capacity(4 * GRANULE);
    model.begin();
    model.alloc(GRANULE);
    for len in [1 << 40, 3 * GRANULE] {
        let (_, ticket) = model.arena.alloc(len);
        model.arena.cancel(ticket);
        model.check();
    }
    model.alloc(2 * GRANULE);
    model.end();
    let before = model.counts();
    assert_eq!(model.arena.needed(), 3 * GRANULE);
    assert_eq!((before.dynamic, before.spilled, before.plans), (2, 0, 1));

    model.begin();
    for _ in 0..3 {
        let (offset, ticket) = model.arena.alloc(GRANULE);
        assert_eq!(offset, Some(0), "on plan");
        model.arena.cancel(ticket);
        model.check();
    }
    model.end();
    assert_eq!(model.counts(), before);
}

#[test]
fn an_arena_may_be_replaced_within_a_cycle_when_nothing_is_alive() {
    let mut model = Model::new();
    model.begin();
    assert_eq!(model.alloc(GRANULE), None);
    model.free(0);
    model.arena.set_capacity(8 * GRANULE);
    assert_eq!(model.alloc(3 * GRANULE), Some(0));
    model.end();
    assert_eq!(model.arena.needed(), 3 * GRANULE);
}

#[test]
fn an_arena_replaced_under_the_living_ends_them() {
    let cycle = random(1, 100, 8);
    let mut model = Model::learned(&cycle);
    let (needed, plans) = (model.arena.needed(), model.counts().plans);
    model.begin();
    let (_, old) = model.arena.alloc(GRANULE);
    model.arena.set_capacity(2 * GRANULE);
    model.requests += 1;
    model.peak = GRANULE;
    assert_eq!(model.alloc(2 * GRANULE), Some(0));
    model.arena.free(old);
    model.check();
    model.end();
    assert_eq!((model.arena.needed(), model.counts().plans), (needed, plans));
}

#[test]
fn tickets_of_an_ended_cycle_mean_nothing() {
    let mut model = Model::with_capacity(4 * GRANULE);
    model.begin();
    let (_, old) = model.arena.alloc(2 * GRANULE);
    model.arena.end_cycle();
    model.begin();
    model.alloc(2 * GRANULE);
    model.arena.free(old);
    model.check();
    model.alloc(2 * GRANULE);
}

#[test]
fn requests_outside_a_cycle_begin_one_that_is_not_learned() {
    let mut model = Model::with_capacity(8 * GRANULE);
    model.run(&[Step::Alloc(GRANULE)]);
    let needed = model.arena.needed();
    model.clear();
    assert_eq!(model.alloc(5 * GRANULE), Some(0));
    model.begin();
    assert_eq!(model.alloc(8 * GRANULE), Some(0));
    assert_eq!(model.arena.needed(), needed);
}

#[test]
fn bump_counts_up_to_its_capacity() {
    let mut bump = Bump::new();
    assert_eq!(bump.alloc(64, 128), Some(0));
    assert_eq!(bump.alloc(64, 128), Some(64));
    assert_eq!(bump.alloc(64, 128), None);
    assert_eq!(bump.alloc(u64::MAX, u64::MAX), None);
    assert_eq!(bump.offset(), 128, "a refusal changes nothing");
    bump.set_offset(32);
    assert_eq!(bump.alloc(96, 128), Some(32));
    bump.reset();
    assert_eq!((bump.offset(), bump), (0, Bump::new()));
}

/// A cycle of up to `steps` steps in which about `ratio` of ten steps are requests.
fn cycles(steps: usize) -> impl Strategy<Value = Cycle> {
    let lens = prop_oneof![3 => 1_u64..12, 1 => 1_u64..200, 1 => Just(8_u64)];
    let steps = prop::collection::vec((lens, any::<prop::sample::Index>(), 0..10_u32), 1..steps);
    (steps, 4..9_u32).prop_map(|(steps, ratio)| {
        let (mut cycle, mut alive, mut requests) = (Vec::new(), Vec::new(), 0);
        for (granules, index, kind) in steps {
            if kind < ratio || alive.is_empty() {
                cycle.push(Step::Alloc(granules * GRANULE));
                alive.push(requests);
                requests += 1;
            } else {
                cycle.push(Step::Free(alive.swap_remove(index.index(alive.len()))));
            }
        }
        cycle
    })
}

#[derive(Clone, Debug)]
enum Turn {
    Run {
        shape: prop::sample::Index,
        percent: u64,
    },
    /// The first steps of one shape, then those of another that still make sense.
    Splice {
        from: prop::sample::Index,
        to: prop::sample::Index,
        at: prop::sample::Index,
    },
    Resize(u64),
    ResizeToNeeded,
    Forget,
}

fn turns() -> impl Strategy<Value = Turn> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (index(), prop_oneof![4 => Just(100), 1 => 1_u64..200])
            .prop_map(|(shape, percent)| Turn::Run { shape, percent }),
        3 => (index(), index(), index()).prop_map(|(from, to, at)| Turn::Splice { from, to, at }),
        1 => (0_u64..600).prop_map(|granules| Turn::Resize(granules * GRANULE)),
        2 => Just(Turn::ResizeToNeeded),
        1 => Just(Turn::Forget),
    ]
}

/// `head`, then the steps of `tail` on requests that are still alive.
fn splice(head: &[Step], tail: &[Step]) -> Cycle {
    let mut alive: Vec<bool> = Vec::new();
    let mut cycle = Vec::new();
    for &step in head.iter().chain(tail) {
        match step {
            Step::Alloc(_) => alive.push(true),
            Step::Free(index) => {
                if !std::mem::take(&mut alive[index]) {
                    continue;
                }
            }
        }
        cycle.push(step);
    }
    cycle
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_alive_is_given_away(
        shapes in prop::collection::vec(cycles(120), 1..4),
        turns in prop::collection::vec(turns(), 1..40),
        capacity in prop_oneof![Just(0), 0_u64..600],
    ) {
        let mut model = Model::with_capacity(capacity * GRANULE);
        let (mut highest, mut largest) = (0, 0);
        for turn in turns {
            let cycle = match turn {
                Turn::Run { ref shape, .. } => shape.get(&shapes).clone(),
                Turn::Splice { from, to, at } => {
                    let head = from.get(&shapes);
                    splice(&head[..at.index(head.len())], &to.get(&shapes)[..])
                }
                Turn::Resize(bytes) => {
                    model.arena.set_capacity(bytes);
                    continue;
                }
                Turn::ResizeToNeeded => {
                    model.arena.set_capacity(model.arena.needed());
                    continue;
                }
                Turn::Forget => {
                    model.arena.forget();
                    (highest, largest) = (0, 0);
                    continue;
                }
            };
            let percent = if let Turn::Run { percent, .. } = turn { percent } else { 100 };
            model.run_scaled(&cycle, percent);
            highest = highest.max(model.peak);
            let scaled = |step: &Step| match *step {
                Step::Alloc(len) => (len * percent / 100).next_multiple_of(GRANULE).max(GRANULE),
                Step::Free(_) => 0,
            };
            largest = largest.max(cycle.iter().map(scaled).sum());
            let needed = model.arena.needed();
            prop_assert!(needed >= highest, "{needed} for a peak of {highest}");
            prop_assert!(needed <= largest, "{needed} for requests of {largest}");
        }
    }

    #[test]
    fn the_largest_cycle_again_never_spills(
        others in prop::collection::vec(cycles(60), 0..4),
        mut cycle in cycles(200),
        capacity in prop_oneof![Just(0_u64), 0_u64..600],
    ) {
        if let Some(most) = others.iter().map(|other| sum(other)).max() {
            cycle.push(Step::Alloc(most + GRANULE));
        }
        let mut model = Model::with_capacity(capacity * GRANULE);
        for other in &others {
            model.run(other);
        }
        model.run(&cycle);
        model.arena.set_capacity(model.arena.needed());
        for _ in 0..3 {
            model.run(&cycle);
            prop_assert_eq!(model.spills, 0);
        }
    }

    #[test]
    fn offsets_do_not_depend_on_the_capacity(cycle in cycles(200), extra in 0_u64..1000) {
        let mut exact = Model::with_capacity(sum(&cycle));
        let mut larger = Model::with_capacity(sum(&cycle) + extra * GRANULE);
        for _ in 0..3 {
            prop_assert_eq!(exact.run(&cycle), larger.run(&cycle));
        }
    }

    #[test]
    fn an_arena_that_just_suffices_gives_the_same_offsets(cycle in cycles(200)) {
        let offsets = Model::with_capacity(sum(&cycle)).run(&cycle);
        let lens = cycle.iter().filter_map(|step| match step {
            Step::Alloc(len) => Some(len),
            Step::Free(_) => None,
        });
        let ends = offsets.iter().zip(lens).map(|(offset, len)| offset.map_or(0, |o| o + len));
        let height = ends.max().unwrap_or(0);
        prop_assert_eq!(Model::with_capacity(height).run(&cycle), offsets);
        let mut tight = Model::with_capacity(height - GRANULE);
        tight.run(&cycle);
        prop_assert!(tight.spills > 0);
    }
}
