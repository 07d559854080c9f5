//! Offsets inside a block: who gets which bytes of an arena, and what a cycle needs.
//!
//! Pure arithmetic. No byte of the memory is read or written; the bookkeeping lies beside it, so
//! that a stray writer cannot corrupt it. Three ways to serve a request, tried in this order:
//!
//! 1. the [`Plan`](crate::plan::Plan) of a cycle seen before, while the cycle follows it;
//! 2. [`GoodFit`]: a hole of about the right size, else the bytes above all spans in use;
//! 3. none: the caller spills.

#![forbid(unsafe_code)]

mod ticket;

use crate::fit::{GoodFit, NONE};
use crate::plan::{Event, Log, Plan, Progress, Shapes};

use ticket::{NEXT_CYCLE, PLANNED, SPILLED};

pub use ticket::Ticket;

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

/// What happened to a request of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleEvent {
    /// The next request was made.
    Birth {
        /// Its length, as it was rounded up.
        bytes: u64,
    },
    /// A request's memory was given back.
    Death {
        /// It was the i-th of the cycle.
        request: usize,
    },
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
    /// Tickets of other cycles mean nothing. Counts in the upper half of a word.
    cycle: u64,
    mode: Mode,
    /// What the cycle follows; without steps if none is in hand.
    plan: Plan,
    /// The shape whose plan that is. It stays in hand for the next cycle, which mostly wants it.
    in_hand: Option<usize>,
    /// How far it does so to the letter; from then on the log is written.
    letter: Progress,
    log: Log,
    /// Requests beyond the log, and those of them that are alive.
    beyond: usize,
    beyond_alive: usize,
    /// The height of `shadow` before the last request.
    high_before: u64,
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
    /// Spans in `shadow` of all requests.
    shadows: Vec<u32>,
    /// Where the logged ones lay.
    offsets: Vec<u64>,
    is_shadowed: bool,
    events: Vec<Event>,
    shapes: Shapes,
    needed: u64,
    counts: PlanCounts,
    /// The running cycle left its plan; counted when it ends.
    has_diverged: bool,
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
            plan: Plan::default(),
            in_hand: None,
            letter: Progress::NONE,
            log: Log::default(),
            beyond: 0,
            beyond_alive: 0,
            high_before: 0,
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
            has_diverged: false,
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
            if self.beyond_alive > 0 || self.log.alive().next().is_some() {
                self.is_void = true;
                self.log.end_all();
                self.beyond_alive = 0;
                self.cycle = self.cycle.wrapping_add(NEXT_CYCLE);
            }
        }
        self.capacity = bytes;
    }

    /// Size of the memory.
    #[cfg(test)]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Begins a cycle: nothing is in use. A cycle that was not ended is not learned.
    pub fn begin_cycle(&mut self) {
        self.count_planned();
        self.cycle = self.cycle.wrapping_add(NEXT_CYCLE);
        self.mode = Mode::Fresh;
        self.letter = Progress::NONE;
        self.log.clear();
        (self.beyond, self.beyond_alive) = (0, 0);
        self.is_void = false;
        self.is_complete = true;
        self.is_shadowed = false;
        self.fit.reset();
    }

    /// `alloc_below` the very end.
    #[cfg(test)]
    pub fn alloc(&mut self, len: u64) -> (Option<u64>, Ticket) {
        self.alloc_below(len, self.capacity)
    }

    /// The next request of the cycle: on plan, else where it fits, else `None`, and the caller spills.
    /// It ends at most at `limit`, as the last granule may be too short for it.
    #[inline(always)]
    pub fn alloc_below(&mut self, len: u64, limit: u64) -> (Option<u64>, Ticket) {
        debug_assert!(len > 0 && len % self.granule == 0);
        let index = self.letter.births();
        let step = self.plan.birth(&mut self.letter, len, limit);
        if step.is_some() {
            return (step, Ticket::new(self.cycle, index, PLANNED));
        }
        self.alloc_aside(len, limit)
    }

    /// The death of a request, in any order, of a spilled one too.
    #[inline]
    pub fn free(&mut self, ticket: Ticket) {
        if !self.plan.death(&mut self.letter, ticket.number(self.cycle)) && ticket.is_of(self.cycle)
        {
            self.free_aside(ticket);
        }
    }

    /// Takes back the last request, as if it had not been made: its memory could not be had.
    pub fn cancel(&mut self, ticket: Ticket) {
        debug_assert!(ticket.index() + 1 == self.requests(), "only the last request");
        if !ticket.is_of(self.cycle) {
            return;
        }
        if self.mode == Mode::Dynamic {
            self.free_spans(ticket);
            self.shadow.high = self.high_before;
            self.shadows.truncate(ticket.index());
            self.is_complete = false;
            let spilled = ticket.span == SPILLED;
            *(if spilled { &mut self.counts.spilled } else { &mut self.counts.dynamic }) -= 1;
        }
        self.write_log();
        if self.beyond > 0 {
            self.beyond -= 1;
            self.beyond_alive -= 1;
        } else {
            self.log.pop();
        }
    }

    /// Ends the cycle, and with it all that is alive. A cycle that no plan served may become one.
    pub fn end_cycle(&mut self) {
        self.count_planned();
        match self.mode {
            _ if self.requests() == 0 || self.is_void => {}
            Mode::Plan(slot) => self.shapes.close(slot),
            Mode::Dynamic => self.learn(),
            Mode::Fresh => {}
        }
        self.mode = Mode::Fresh;
        self.cycle = self.cycle.wrapping_add(NEXT_CYCLE);
    }

    /// The capacity in which the largest cycle ended since [`forget`](Self::forget) fits.
    ///
    /// At least the bytes alive at once, at most the sum of the requests. The same cycle again, in an
    /// arena of this capacity, does not spill.
    pub fn needed(&self) -> u64 {
        self.needed
    }

    /// Requests of the running cycle, else of the last one.
    fn requests(&self) -> usize {
        if self.letter == Progress::NONE {
            self.log.len() + self.beyond
        } else {
            self.letter.births()
        }
    }

    /// A log of the running cycle, whether or not it is being written.
    fn logged(&self) -> Log {
        let mut log = self.log.clone();
        if self.letter != Progress::NONE {
            self.plan.write(self.letter, &mut log);
        }
        log
    }

    /// End of the highest span in use.
    pub fn top(&self) -> u64 {
        match self.mode {
            Mode::Fresh => 0,
            Mode::Dynamic => self.fit.cursor,
            Mode::Plan(_) => {
                let log = self.logged();
                let end = |i: u32| self.plan.offset(i as usize) + log.request_len(i as usize);
                log.alive().map(end).max().unwrap_or(0)
            }
        }
    }

    /// How requests and cycles were served so far.
    pub fn plan_counts(&self) -> PlanCounts {
        let running = if let Mode::Plan(_) = self.mode { self.requests() as u64 } else { 0 };
        PlanCounts {
            planned: self.counts.planned + running,
            plans: self.shapes.plans() as u64,
            ..self.counts
        }
    }

    /// Requests and deaths of the running cycle in their order, as far as the log goes.
    pub fn cycle_log(&self) -> Vec<CycleEvent> {
        let (log, mut events) = (self.logged(), Vec::new());
        log.events(&mut events);
        let told = |event| match event {
            Event::Birth(i) => CycleEvent::Birth { bytes: log.request_len(i as usize) },
            Event::Death(i) => CycleEvent::Death { request: i as usize },
        };
        events.into_iter().map(told).collect()
    }

    /// Drops what was learned; a running cycle is not learned either.
    pub fn forget(&mut self) {
        self.leave_plan();
        self.put_plan_back();
        self.is_void = self.mode != Mode::Fresh;
        self.shapes.clear();
        self.needed = 0;
    }

    /// Whatever is not planned to the letter.
    #[inline(never)]
    fn alloc_aside(&mut self, len: u64, limit: u64) -> (Option<u64>, Ticket) {
        match self.mode {
            Mode::Dynamic => {}
            Mode::Fresh => return self.alloc_first(len, limit),
            Mode::Plan(slot) => {
                self.write_log();
                let step = self.plan.follow(&self.log, len, limit);
                if step.is_some() {
                    return (step, Ticket::new(self.cycle, self.note(len), PLANNED));
                }
                self.leave_plan();
                self.shapes.miss(slot);
                self.has_diverged = true;
            }
        }
        self.alloc_dynamic(len, limit)
    }

    fn alloc_dynamic(&mut self, len: u64, limit: u64) -> (Option<u64>, Ticket) {
        if self.log.is_full() && !self.is_shadowed {
            self.replay();
            self.is_shadowed = true;
        }
        let span = self.fit.alloc(len, limit);
        if self.is_shadowed {
            self.high_before = self.shadow.high;
            self.shadows.push(self.shadow.alloc_endless(len));
        }
        if span.is_some() {
            self.counts.dynamic += 1;
        } else {
            self.counts.spilled += 1;
            self.is_complete = false;
        }
        let ticket = Ticket::new(self.cycle, self.note(len), span.unwrap_or(SPILLED));
        (span.map(|span| self.fit.offset(span)), ticket)
    }

    fn alloc_first(&mut self, len: u64, limit: u64) -> (Option<u64>, Ticket) {
        if self.requests() > 0 {
            self.begin_cycle();
        }
        let expected = self.shapes.expect(len, self.capacity);
        if self.in_hand != expected {
            self.put_plan_back();
            self.plan = expected.map_or_else(Plan::default, |slot| self.shapes.take(slot));
            self.in_hand = expected;
        }
        self.mode = expected.map_or(Mode::Dynamic, Mode::Plan);
        if expected.is_some() {
            self.letter = Progress::START;
        }
        self.alloc_below(len, limit)
    }

    /// The number of the request.
    fn note(&mut self, len: u64) -> usize {
        let index = self.requests();
        if self.log.is_full() {
            self.beyond += 1;
            self.beyond_alive += 1;
        } else {
            self.log.push(len);
        }
        index
    }

    #[inline(never)]
    fn free_aside(&mut self, ticket: Ticket) {
        self.write_log();
        if !self.log.end(ticket.index()) {
            self.beyond_alive -= 1;
        }
        if self.mode == Mode::Dynamic {
            self.free_spans(ticket);
        }
    }

    fn free_spans(&mut self, ticket: Ticket) {
        let index = ticket.index();
        match ticket.span {
            SPILLED => {}
            PLANNED => self.fit.free(self.adopted[index]),
            span => self.fit.free(span),
        }
        if self.is_shadowed {
            self.shadow.free(self.shadows[index]);
        }
    }

    fn count_planned(&mut self) {
        self.counts.diverged += u64::from(std::mem::take(&mut self.has_diverged));
        if let Mode::Plan(_) = self.mode {
            self.counts.planned += self.requests() as u64;
        }
    }

    fn put_plan_back(&mut self) {
        if let Some(slot) = self.in_hand.take() {
            self.shapes.give_back(slot, std::mem::take(&mut self.plan));
        }
    }

    /// From now on the cycle is logged.
    fn write_log(&mut self) {
        if self.letter != Progress::NONE {
            self.plan.write(self.letter, &mut self.log);
            self.letter = Progress::NONE;
        }
    }

    /// The rest of the cycle is served dynamically, around those who are alive.
    fn leave_plan(&mut self) {
        if !matches!(self.mode, Mode::Plan(_)) {
            return;
        }
        self.count_planned();
        self.write_log();
        self.is_complete = false;
        self.adopted.clear();
        self.adopted.resize(self.log.len(), NONE);
        self.order.clear();
        self.order.extend(self.log.alive());
        self.order.sort_unstable_by_key(|&index| self.plan.offset(index as usize));
        for &index in &self.order {
            let (index, offset) = (index as usize, self.plan.offset(index as usize));
            self.adopted[index] = self.fit.adopt(offset, self.log.request_len(index));
        }
        self.put_plan_back();
        self.mode = Mode::Dynamic;
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
        let is_long = self.beyond > 0;
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
        Plan::lay_out(&self.log, &self.offsets, self.shadow.high)
    }
}

#[cfg(test)]
mod tests;
