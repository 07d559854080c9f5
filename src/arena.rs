//! Offsets inside a block: who gets which bytes of an arena, and what a cycle needs.
//!
//! Pure arithmetic. No byte of the memory is read or written; the bookkeeping lies beside it, so
//! that a stray writer cannot corrupt it. Three ways to serve a request, tried in this order:
//!
//! 1. the [`Plan`](crate::plan::Plan) of a cycle seen before, while the cycle follows it;
//! 2. [`GoodFit`]: a hole of about the right size, else the bytes above all spans in use;
//! 3. none: the caller spills.

#![forbid(unsafe_code)]

use crate::plan::{Event, Log, MAX_REQUESTS, Plan, Shapes};

/// No span.
const NONE: u32 = u32::MAX;

/// Offsets that only grow until everything is reset: the arithmetic of `AT_RESET` and of rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bump {
    offset: u64,
}

impl Bump {
    /// Starts at offset 0.
    pub const fn new() -> Self {
        Self { offset: 0 }
    }

    /// The next `len` bytes, if they end within `capacity`.
    #[inline]
    pub fn alloc(&mut self, len: u64, capacity: u64) -> Option<u64> {
        let start = self.offset;
        self.offset = start.checked_add(len).filter(|&end| end <= capacity)?;
        Some(start)
    }

    /// Everything is free again.
    pub fn reset(&mut self) {
        self.offset = 0;
    }

    /// End of the bytes in use.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on at `offset`.
    pub fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
    }
}

const COLUMNS: usize = 16;
const ROWS: usize = 28;
/// Holes of its own class that a request compares before it takes any that is large enough.
const COMPARED: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Span {
    offset: u64,
    len: u64,
    /// Neighbours in memory; free spans never touch.
    before: u32,
    after: u32,
    /// Neighbours in the list of holes of the same class.
    previous: u32,
    next: u32,
    is_hole: bool,
}

/// Bump cursor with roll-back, and holes below it in a two-level index by size.
///
/// Which offset a request gets does not depend on the capacity: a limit only refuses.
#[derive(Debug)]
struct GoodFit {
    granule_bits: u32,
    spans: Vec<Span>,
    /// Recycled entries of `spans`, linked by `next`.
    vacant: u32,
    /// The span below the cursor.
    last: u32,
    cursor: u64,
    high: u64,
    rows: u32,
    columns: [u16; ROWS],
    holes: Box<[Holes; ROWS * COLUMNS]>,
}

/// The holes of one class.
#[derive(Clone, Copy, Debug)]
struct Holes {
    first: u32,
    /// All holes of the list are shorter.
    bound: u64,
}

impl GoodFit {
    fn new(granule: u64) -> Self {
        Self {
            granule_bits: granule.trailing_zeros(),
            spans: Vec::new(),
            vacant: NONE,
            last: NONE,
            cursor: 0,
            high: 0,
            rows: 0,
            columns: [0; ROWS],
            holes: Box::new([Holes { first: NONE, bound: 0 }; ROWS * COLUMNS]),
        }
    }

    /// Frees everything.
    fn reset(&mut self) {
        self.high = 0;
        if self.cursor == 0 {
            return;
        }
        self.cursor = 0;
        self.last = NONE;
        self.vacant = NONE;
        self.spans.clear();
        self.rows = 0;
        self.columns.fill(0);
        self.holes.fill(Holes { first: NONE, bound: 0 });
    }

    fn offset(&self, span: u32) -> u64 {
        self.at(span).offset
    }

    fn alloc(&mut self, len: u64, capacity: u64) -> Option<u32> {
        let hole = if self.rows == 0 { NONE } else { self.find(len) };
        if hole != NONE {
            return Some(self.cut(hole, len));
        }
        let fits = self.cursor.checked_add(len).is_some_and(|end| end <= capacity);
        fits.then(|| self.push(len))
    }

    /// As `alloc` in an arena without end.
    fn alloc_endless(&mut self, len: u64) -> u32 {
        self.alloc(len, u64::MAX).unwrap_or_else(|| self.push(len))
    }

    /// Uses the `len` bytes at `offset`, which is not below the cursor.
    fn adopt(&mut self, offset: u64, len: u64) -> u32 {
        let gap = offset - self.cursor;
        if gap > 0 {
            let hole = self.push(gap);
            self.insert(hole);
        }
        self.push(len)
    }

    fn free(&mut self, span: u32) {
        let mut span = span;
        debug_assert!(!self.at(span).is_hole);
        let Span { before, after, .. } = *self.at(span);
        if after != NONE && self.at(after).is_hole {
            self.remove(after);
            self.merge(span, after);
        }
        if before != NONE && self.at(before).is_hole {
            self.remove(before);
            self.merge(before, span);
            span = before;
        }
        if span == self.last {
            self.roll_back();
        } else {
            self.insert(span);
        }
    }

    fn at(&self, span: u32) -> &Span {
        &self.spans[span as usize]
    }

    fn at_mut(&mut self, span: u32) -> &mut Span {
        &mut self.spans[span as usize]
    }

    /// A span in use at the cursor.
    fn push(&mut self, len: u64) -> u32 {
        let (offset, before) = (self.cursor, self.last);
        let span = self.create(offset, len, before, NONE);
        if before != NONE {
            self.at_mut(before).after = span;
        }
        self.last = span;
        self.cursor = offset.saturating_add(len);
        self.high = self.high.max(self.cursor);
        span
    }

    /// Takes the last span off; what is below it is in use.
    fn roll_back(&mut self) {
        let Span { offset, before, .. } = *self.at(self.last);
        self.recycle(self.last);
        if before != NONE {
            self.at_mut(before).after = NONE;
        }
        self.last = before;
        self.cursor = offset;
    }

    /// The lower `len` bytes of a hole; the rest remains a hole.
    fn cut(&mut self, hole: u32, len: u64) -> u32 {
        self.remove(hole);
        let Span { offset, len: room, before, .. } = *self.at(hole);
        if room == len {
            return hole;
        }
        let span = self.create(offset, len, before, hole);
        if before != NONE {
            self.at_mut(before).after = span;
        }
        let rest = self.at_mut(hole);
        rest.offset = offset + len;
        rest.len = room - len;
        rest.before = span;
        self.insert(hole);
        span
    }

    /// Adds `upper` to `lower`, its neighbour.
    fn merge(&mut self, lower: u32, upper: u32) {
        let Span { len, after, .. } = *self.at(upper);
        self.recycle(upper);
        let merged = self.at_mut(lower);
        merged.len += len;
        merged.after = after;
        if after == NONE {
            self.last = lower;
        } else {
            self.at_mut(after).before = lower;
        }
    }

    fn create(&mut self, offset: u64, len: u64, before: u32, after: u32) -> u32 {
        let new = Span { offset, len, before, after, previous: NONE, next: NONE, is_hole: false };
        if self.vacant == NONE {
            let span = u32::try_from(self.spans.len()).expect("fewer spans than bytes of address");
            self.spans.push(new);
            return span;
        }
        let span = self.vacant;
        self.vacant = self.at(span).next;
        *self.at_mut(span) = new;
        span
    }

    fn recycle(&mut self, span: u32) {
        self.at_mut(span).next = self.vacant;
        self.vacant = span;
    }

    fn class(&self, len: u64) -> usize {
        let granules = len >> self.granule_bits;
        let log = granules.max(1).ilog2();
        if log < 4 {
            return low_bits(granules);
        }
        let row = log as usize - 3;
        if row >= ROWS {
            return ROWS * COLUMNS - 1;
        }
        row * COLUMNS + low_bits(granules >> (log - 4))
    }

    /// A hole of at least `len` bytes: of the own class, else of the next class that has one.
    fn find(&mut self, len: u64) -> u32 {
        let class = self.class(len);
        let own = self.holes[class];
        if len < own.bound {
            let hole = self.search(own.first, len);
            if hole != NONE {
                return hole;
            }
            self.holes[class].bound = len;
        }
        let (mut row, column) = (class / COLUMNS, class % COLUMNS);
        let mut columns = u32::from(self.columns[row]) & (u32::MAX << (column + 1));
        if columns == 0 {
            let rows = u64::from(self.rows) & (u64::MAX << (row + 1));
            if rows == 0 {
                return NONE;
            }
            row = rows.trailing_zeros() as usize;
            columns = u32::from(self.columns[row]);
        }
        self.holes[row * COLUMNS + columns.trailing_zeros() as usize].first
    }

    /// The shortest sufficient hole among the first few of a list, else the first one behind them.
    fn search(&self, first: u32, len: u64) -> u32 {
        let (mut hole, mut best, mut room) = (first, NONE, u64::MAX);
        let mut compared = 0;
        while hole != NONE && room != len && (best == NONE || compared < COMPARED) {
            let span = self.at(hole);
            if span.len >= len && span.len < room {
                (best, room) = (hole, span.len);
            }
            hole = span.next;
            compared += 1;
        }
        best
    }

    fn insert(&mut self, span: u32) {
        let len = self.at(span).len;
        let class = self.class(len);
        let list = &mut self.holes[class];
        let next = list.first;
        list.first = span;
        list.bound = list.bound.max(len + 1);
        if next == NONE {
            self.rows |= 1 << (class / COLUMNS);
            self.columns[class / COLUMNS] |= 1 << (class % COLUMNS);
        } else {
            self.at_mut(next).previous = span;
        }
        let hole = self.at_mut(span);
        hole.previous = NONE;
        hole.next = next;
        hole.is_hole = true;
    }

    fn remove(&mut self, hole: u32) {
        let Span { len, previous, next, .. } = *self.at(hole);
        self.at_mut(hole).is_hole = false;
        if next != NONE {
            self.at_mut(next).previous = previous;
        }
        if previous != NONE {
            self.at_mut(previous).next = next;
            return;
        }
        let class = self.class(len);
        self.holes[class].first = next;
        if next == NONE {
            self.holes[class].bound = 0;
            let row = class / COLUMNS;
            self.columns[row] &= !(1 << (class % COLUMNS));
            if self.columns[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }
}

fn low_bits(n: u64) -> usize {
    (n & 0b1111) as usize
}

/// A request of the running cycle; needed for its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// It was the i-th of the cycle.
    pub index: u32,
    /// Where it lies; `None`: it does not fit, the caller spills.
    pub offset: Option<u64>,
    cycle: u32,
    span: u32,
    shadow: u32,
}

/// How many requests were served on plan or dynamically, and how many cycles left their plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanCounts {
    /// Requests that a plan served.
    pub planned: u64,
    /// Requests that were served without a plan.
    pub dynamic: u64,
    /// Requests that did not fit.
    pub spilled: u64,
    /// Cycles that left their plan.
    pub diverged: u64,
    /// Plans held now.
    pub plans: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No cycle, or one without a request.
    Fresh,
    /// Follows the plan of this shape.
    Plan(usize),
    Dynamic,
}

/// The offsets of one scoped workspace whose memory is reused within the cycle.
#[derive(Debug)]
pub struct Arena {
    granule: u64,
    capacity: u64,
    /// Tickets of other cycles mean nothing.
    cycle: u32,
    mode: Mode,
    requests: u32,
    alive: u64,
    peak: u64,
    /// `peak`, and the height of `shadow`, before the last request.
    peak_before: u64,
    high_before: u64,
    log: Log,
    /// The cycle is not to be learned.
    is_void: bool,
    fit: GoodFit,
    /// Spans in `fit` of those who were alive when the cycle left its plan.
    adopted: Vec<u32>,
    order: Vec<u32>,
    /// Every request since the begin is in `fit`: its height is what the cycle needs.
    is_complete: bool,
    /// The same cycle in an arena without end: what it needs, when `fit` cannot tell.
    shadow: GoodFit,
    /// Spans in `shadow` of the logged requests, and where they lay.
    shadows: Vec<u32>,
    offsets: Vec<u64>,
    is_shadowed: bool,
    events: Vec<Event>,
    shapes: Shapes,
    needed: u64,
    counts: PlanCounts,
}

impl Arena {
    /// An arena without memory. Lengths are multiples of `granule`, a power of two.
    pub fn new(granule: u64) -> Self {
        debug_assert!(granule.is_power_of_two());
        Self {
            granule,
            capacity: 0,
            cycle: 0,
            mode: Mode::Fresh,
            requests: 0,
            alive: 0,
            peak: 0,
            peak_before: 0,
            high_before: 0,
            log: Log::default(),
            is_void: false,
            fit: GoodFit::new(granule),
            adopted: Vec::new(),
            order: Vec::new(),
            is_complete: true,
            shadow: GoodFit::new(granule),
            shadows: Vec::new(),
            offsets: Vec::new(),
            is_shadowed: false,
            events: Vec::new(),
            shapes: Shapes::default(),
            needed: 0,
            counts: PlanCounts::default(),
        }
    }

    /// The memory is new and has this size; nothing of it is in use. 0: every request spills.
    ///
    /// A running cycle goes on; if anything was alive in it, it is not learned.
    pub fn set_capacity(&mut self, bytes: u64) {
        if self.mode != Mode::Fresh {
            self.leave_plan();
            self.fit.reset();
            self.is_complete = false;
            if self.alive > 0 {
                self.is_void = true;
                self.alive = 0;
                self.cycle = self.cycle.wrapping_add(1);
            }
        }
        self.capacity = bytes;
    }

    /// Size of the memory.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Begins a cycle: nothing is in use. A cycle that was not ended is not learned.
    pub fn begin_cycle(&mut self) {
        self.count_planned();
        self.cycle = self.cycle.wrapping_add(1);
        self.mode = Mode::Fresh;
        self.requests = 0;
        self.alive = 0;
        self.peak = 0;
        self.log.clear();
        self.is_void = false;
        self.is_complete = true;
        self.is_shadowed = false;
        self.fit.reset();
    }

    /// The next request of the cycle: on plan, else where it fits.
    #[inline]
    pub fn alloc(&mut self, len: u64) -> Ticket {
        debug_assert!(len > 0 && len % self.granule == 0);
        if let Mode::Plan(slot) = self.mode {
            let step = self.shapes.plan(slot).and_then(|plan| plan.follow(&self.log, len));
            if step.is_some() {
                return self.note(len, step, None);
            }
        }
        self.alloc_dynamic(len)
    }

    /// The death of a request, in any order, of a spilled one too.
    #[inline]
    pub fn free(&mut self, ticket: Ticket, len: u64) {
        if ticket.cycle != self.cycle {
            return;
        }
        self.alive -= len;
        let index = ticket.index as usize;
        if index < self.log.len() {
            self.log.end(index);
        }
        if self.mode == Mode::Dynamic {
            self.free_dynamic(ticket);
        }
    }

    /// Takes back the last request, as if it had not been made: its memory could not be had.
    pub fn cancel(&mut self, ticket: Ticket, len: u64) {
        debug_assert!(ticket.index + 1 == self.requests, "only the last request");
        if ticket.cycle != self.cycle {
            return;
        }
        if self.mode == Mode::Dynamic {
            self.free_dynamic(ticket);
            self.shadow.high = self.high_before;
            self.is_complete = false;
            let count = if ticket.offset.is_some() {
                &mut self.counts.dynamic
            } else {
                &mut self.counts.spilled
            };
            *count -= 1;
        }
        self.requests = ticket.index;
        self.alive -= len;
        self.peak = self.peak_before;
        if self.log.len() > ticket.index as usize {
            self.log.pop();
        }
    }

    /// Ends the cycle, and with it all that is alive. A cycle that no plan served may become one.
    pub fn end_cycle(&mut self) {
        self.count_planned();
        match self.mode {
            _ if self.requests == 0 || self.is_void => {}
            Mode::Plan(slot) => self.shapes.close(slot),
            Mode::Dynamic => self.learn(),
            Mode::Fresh => {}
        }
        self.mode = Mode::Fresh;
        self.cycle = self.cycle.wrapping_add(1);
    }

    /// The capacity in which the largest cycle ended since [`forget`](Self::forget) fits.
    ///
    /// At least the bytes alive at once, at most the sum of the requests. The same cycle again, in an
    /// arena of this capacity, does not spill.
    pub fn needed(&self) -> u64 {
        self.needed
    }

    /// Most bytes alive at once in the running cycle, else in the last one.
    pub fn peak_alive(&self) -> u64 {
        self.peak
    }

    /// Bytes alive in the running cycle, else at the end of the last one.
    pub fn alive(&self) -> u64 {
        self.alive
    }

    /// End of the highest span in use.
    pub fn top(&self) -> u64 {
        match self.mode {
            Mode::Fresh => 0,
            Mode::Dynamic => self.fit.cursor,
            Mode::Plan(slot) => self.shapes.plan(slot).map_or(0, |plan| {
                let end = |i: u32| plan.offset(i as usize) + self.log.request_len(i as usize);
                self.log.alive().map(end).max().unwrap_or(0)
            }),
        }
    }

    /// How requests and cycles were served so far.
    pub fn plan_counts(&self) -> PlanCounts {
        let running = if let Mode::Plan(_) = self.mode { self.requests } else { 0 };
        PlanCounts {
            planned: self.counts.planned + u64::from(running),
            plans: self.shapes.plans() as u64,
            ..self.counts
        }
    }

    /// Drops what was learned; a running cycle is not learned either.
    pub fn forget(&mut self) {
        self.leave_plan();
        self.is_void = self.mode != Mode::Fresh;
        self.shapes.clear();
        self.needed = 0;
    }

    fn alloc_dynamic(&mut self, len: u64) -> Ticket {
        if self.mode == Mode::Fresh {
            return self.alloc_first(len);
        }
        if let Mode::Plan(slot) = self.mode {
            self.leave_plan();
            self.shapes.miss(slot);
            self.counts.diverged += 1;
        }
        if self.requests as usize == MAX_REQUESTS && !self.is_shadowed {
            self.replay();
            self.is_shadowed = true;
        }
        let span = self.fit.alloc(len, self.capacity);
        let mut ticket = self.note(len, span.map(|span| self.fit.offset(span)), span);
        if self.is_shadowed {
            self.high_before = self.shadow.high;
            ticket.shadow = self.shadow.alloc_endless(len);
        }
        if span.is_some() {
            self.counts.dynamic += 1;
        } else {
            self.counts.spilled += 1;
            self.is_complete = false;
        }
        ticket
    }

    fn alloc_first(&mut self, len: u64) -> Ticket {
        if self.requests > 0 {
            self.begin_cycle();
        }
        self.mode = self.shapes.expect(len, self.capacity).map_or(Mode::Dynamic, Mode::Plan);
        self.alloc(len)
    }

    #[inline]
    fn note(&mut self, len: u64, offset: Option<u64>, span: Option<u32>) -> Ticket {
        let index = self.requests;
        self.requests = index.saturating_add(1);
        if (index as usize) < MAX_REQUESTS {
            self.log.push(len);
        }
        self.alive += len;
        self.peak_before = self.peak;
        self.peak = self.peak.max(self.alive);
        Ticket { index, offset, cycle: self.cycle, span: span.unwrap_or(NONE), shadow: NONE }
    }

    fn free_dynamic(&mut self, ticket: Ticket) {
        let index = ticket.index as usize;
        let known = |spans: &[u32], span| if span == NONE { spans[index] } else { span };
        if ticket.offset.is_some() {
            self.fit.free(known(&self.adopted, ticket.span));
        }
        if self.is_shadowed {
            let span = known(&self.shadows, ticket.shadow);
            self.shadow.free(span);
        }
    }

    fn count_planned(&mut self) {
        if let Mode::Plan(_) = self.mode {
            self.counts.planned += u64::from(self.requests);
        }
    }

    /// The rest of the cycle is served dynamically, around those who are alive.
    fn leave_plan(&mut self) {
        let Mode::Plan(slot) = self.mode else { return };
        self.count_planned();
        self.mode = Mode::Dynamic;
        self.is_complete = false;
        let Some(plan) = self.shapes.plan(slot) else {
            return;
        };
        self.adopted.clear();
        self.adopted.resize(self.log.len(), NONE);
        self.order.clear();
        self.order.extend(self.log.alive());
        self.order.sort_unstable_by_key(|&index| plan.offset(index as usize));
        for &index in &self.order {
            let index = index as usize;
            self.adopted[index] = self.fit.adopt(plan.offset(index), self.log.request_len(index));
        }
    }

    /// Serves the logged cycle from an empty arena without end.
    fn replay(&mut self) {
        self.log.events(&mut self.events);
        self.shadow.reset();
        self.shadows.clear();
        self.offsets.clear();
        for &event in &self.events {
            match event {
                Event::Birth(index) => {
                    let span = self.shadow.alloc_endless(self.log.request_len(index as usize));
                    self.shadows.push(span);
                    self.offsets.push(self.shadow.offset(span));
                }
                Event::Death(index) => self.shadow.free(self.shadows[index as usize]),
            }
        }
    }

    fn learn(&mut self) {
        let is_long = self.requests as usize > self.log.len();
        let hash = self.log.hash() ^ u64::from(is_long);
        let found = self.shapes.find(hash);
        let planned = found.filter(|&slot| self.shapes.plan(slot).is_some());
        if let Some(slot) = planned {
            return self.shapes.close(slot);
        }
        let slot = found.unwrap_or_else(|| self.shapes.add(hash, self.log.request_len(0)));
        let mut height = self.dynamic_height();
        if is_long {
            self.shapes.serve(slot, None);
        } else if found.is_some() || self.capacity == 0 || height > self.needed {
            let plan = self.shapes.make_room().then(|| self.lay_out());
            height = plan.as_ref().map_or(height, Plan::height);
            self.shapes.serve(slot, plan);
        }
        self.needed = self.needed.max(height);
        self.shapes.close(slot);
    }

    fn dynamic_height(&mut self) -> u64 {
        if self.is_complete {
            return self.fit.high;
        }
        if !self.is_shadowed {
            self.replay();
        }
        self.shadow.high
    }

    fn lay_out(&mut self) -> Plan {
        self.replay();
        Plan::lay_out(&self.log, &self.offsets, self.shadow.high, self.peak)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRANULE: u64 = 64;

    #[test]
    fn classes_grow_with_the_length() {
        let fit = GoodFit::new(GRANULE);
        let classes: Vec<usize> = (1..5000).map(|n| fit.class(n * GRANULE)).collect();
        assert!(classes.is_sorted());
        assert_eq!(classes[..16], (1..=16).collect::<Vec<_>>(), "small lengths have their own");
        assert_eq!(fit.class(u64::MAX), ROWS * COLUMNS - 1);
    }

    #[test]
    fn holes_merge_and_the_cursor_rolls_back() {
        let mut fit = GoodFit::new(GRANULE);
        let spans: Vec<u32> = (1..=5).map(|n| fit.alloc_endless(n * GRANULE)).collect();
        assert_eq!(fit.cursor, 15 * GRANULE);
        fit.free(spans[1]);
        fit.free(spans[3]);
        fit.free(spans[2]);
        let merged = fit.alloc_endless(9 * GRANULE);
        assert_eq!(fit.offset(merged), GRANULE);
        assert_eq!(fit.rows, 0, "no hole is left");
        fit.free(merged);
        fit.free(spans[4]);
        assert_eq!(fit.cursor, GRANULE);
        fit.free(spans[0]);
        assert_eq!((fit.cursor, fit.last, fit.rows), (0, NONE, 0));
    }

    #[test]
    fn the_own_class_is_searched_to_its_end() {
        let mut fit = GoodFit::new(GRANULE);
        let lens = (0..20).map(|i| if i == 0 { 103 } else { 100 });
        let spans: Vec<u32> = lens
            .map(|n| {
                let span = fit.alloc_endless(n * GRANULE);
                fit.alloc_endless(GRANULE);
                span
            })
            .collect();
        for &span in &spans {
            fit.free(span);
        }
        let cursor = fit.cursor;
        assert_eq!(fit.alloc(104 * GRANULE, cursor), None);
        let found = fit.alloc(102 * GRANULE, cursor).expect("the first of twenty holes is enough");
        assert_eq!(fit.offset(found), 0);
        assert_eq!(fit.alloc(102 * GRANULE, cursor), None);
        assert!(fit.alloc(100 * GRANULE, cursor).is_some());
    }

    /// Requests of changing length, every third of which outlives the next five.
    fn run(arena: &mut Arena, requests: usize, shift: usize) {
        arena.begin_cycle();
        let mut kept = Vec::with_capacity(8);
        for i in 0..requests {
            let len = GRANULE * (1 + (i * 7 + shift) as u64 % 31);
            let ticket = arena.alloc(len);
            if i % 3 > 0 {
                arena.free(ticket, len);
                continue;
            }
            kept.push((ticket, len));
            if kept.len() > 5 {
                let (ticket, len) = kept.remove(0);
                arena.free(ticket, len);
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

    /// An arena, and all that is alive in it: every step is checked.
    struct Model {
        arena: Arena,
        alive: Vec<(usize, Ticket, u64)>,
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
            let ticket = self.arena.alloc(len);
            assert_eq!(ticket.index as usize, self.requests);
            if let Some(offset) = ticket.offset {
                let end = offset + len;
                assert_eq!(offset % GRANULE, 0);
                assert!(end <= self.arena.capacity(), "ends at {end}");
                for &(_, other, other_len) in &self.alive {
                    let apart = other.offset.is_none_or(|o| o >= end || o + other_len <= offset);
                    assert!(apart, "{offset}+{len} overlaps {other:?}+{other_len}");
                }
            } else {
                assert!(self.largest_gap() < len, "spilled {len} bytes that fit");
                self.spills += 1;
            }
            self.alive.push((self.requests, ticket, len));
            self.requests += 1;
            self.check();
            ticket.offset
        }

        fn largest_gap(&self) -> u64 {
            let span = |&(_, t, len): &(usize, Ticket, u64)| t.offset.map(|o| (o, o + len));
            let mut spans: Vec<_> = self.alive.iter().filter_map(span).collect();
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
            let at = self.alive.iter().position(|&(i, ..)| i == index).expect("alive");
            let (_, ticket, len) = self.alive.remove(at);
            self.arena.free(ticket, len);
            self.check();
        }

        fn check(&mut self) {
            let alive = self.alive.iter().map(|&(_, _, len)| len).sum();
            self.peak = self.peak.max(alive);
            let ends = self.alive.iter().filter_map(|&(_, t, len)| t.offset.map(|o| o + len));
            assert_eq!(self.arena.alive(), alive);
            assert_eq!(self.arena.peak_alive(), self.peak);
            assert_eq!(self.arena.top(), ends.max().unwrap_or(0));
        }

        fn end(&mut self) {
            self.arena.end_cycle();
            assert_eq!(self.arena.peak_alive(), self.peak);
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
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
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
            let ticket = model.arena.alloc(len);
            model.arena.cancel(ticket, len);
            model.check();
        }
        model.alloc(2 * GRANULE);
        model.end();
        let before = model.counts();
        assert_eq!(model.arena.needed(), 3 * GRANULE);
        assert_eq!((before.dynamic, before.spilled, before.plans), (2, 0, 1));

        model.begin();
        for _ in 0..3 {
            let ticket = model.arena.alloc(GRANULE);
            assert_eq!(ticket.offset, Some(0), "on plan");
            model.arena.cancel(ticket, GRANULE);
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
        let old = model.arena.alloc(GRANULE);
        model.arena.set_capacity(2 * GRANULE);
        model.requests += 1;
        model.peak = GRANULE;
        assert_eq!(model.alloc(2 * GRANULE), Some(0));
        model.arena.free(old, GRANULE);
        model.check();
        model.end();
        assert_eq!((model.arena.needed(), model.counts().plans), (needed, plans));
    }

    #[test]
    fn tickets_of_an_ended_cycle_mean_nothing() {
        let mut model = Model::with_capacity(4 * GRANULE);
        model.begin();
        let old = model.arena.alloc(2 * GRANULE);
        model.arena.end_cycle();
        model.begin();
        model.alloc(2 * GRANULE);
        model.arena.free(old, 2 * GRANULE);
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
        let steps =
            prop::collection::vec((lens, any::<prop::sample::Index>(), 0..10_u32), 1..steps);
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
}
