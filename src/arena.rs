//! Offsets inside a block: who gets which bytes of an arena, and what a cycle needs.
//!
//! Pure arithmetic. No byte of the memory is read or written; the bookkeeping lies beside it, so
//! that a stray writer cannot corrupt it. Three ways to serve a request, tried in this order:
//!
//! 1. the [`Plan`](crate::plan::Plan) of a cycle seen before, while the cycle follows it;
//! 2. [`GoodFit`]: a hole of about the right size, else the bytes above all spans in use;
//! 3. none: the caller spills.

#![forbid(unsafe_code)]

use crate::fit::{GoodFit, NONE};
use crate::plan::{Event, Log, MAX_REQUESTS, Plan, Shapes};

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
            if self.alive > 0 {
                self.is_void = true;
                self.alive = 0;
                self.cycle = self.cycle.wrapping_add(1);
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

    /// `alloc_below` the very end.
    #[cfg(test)]
    pub fn alloc(&mut self, len: u64) -> Ticket {
        self.alloc_below(len, self.capacity)
    }

    /// The next request of the cycle: on plan, else where it fits. It ends at most at `limit`, as the
    /// last granule may be too short for it.
    #[inline]
    pub fn alloc_below(&mut self, len: u64, limit: u64) -> Ticket {
        debug_assert!(len > 0 && len % self.granule == 0);
        if let Mode::Plan(slot) = self.mode {
            let step = self.shapes.plan(slot).and_then(|plan| plan.follow(&self.log, len));
            if step.is_some_and(|offset| offset + len <= limit) {
                return self.note(len, step, None);
            }
        }
        self.alloc_dynamic(len, limit)
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
    #[cfg(test)]
    pub fn peak_alive(&self) -> u64 {
        self.peak
    }

    /// Bytes alive in the running cycle, else at the end of the last one.
    #[cfg(test)]
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

    /// Requests and deaths of the running cycle in their order, as far as the log goes.
    pub fn cycle_log(&self) -> Vec<CycleEvent> {
        let mut events = Vec::new();
        self.log.events(&mut events);
        let told = |event| match event {
            Event::Birth(i) => CycleEvent::Birth { bytes: self.log.request_len(i as usize) },
            Event::Death(i) => CycleEvent::Death { request: i as usize },
        };
        events.into_iter().map(told).collect()
    }

    /// Drops what was learned; a running cycle is not learned either.
    pub fn forget(&mut self) {
        self.leave_plan();
        self.is_void = self.mode != Mode::Fresh;
        self.shapes.clear();
        self.needed = 0;
    }

    fn alloc_dynamic(&mut self, len: u64, limit: u64) -> Ticket {
        if self.mode == Mode::Fresh {
            return self.alloc_first(len, limit);
        }
        if let Mode::Plan(slot) = self.mode {
            self.leave_plan();
            self.shapes.miss(slot);
            self.has_diverged = true;
        }
        if self.requests as usize == MAX_REQUESTS && !self.is_shadowed {
            self.replay();
            self.is_shadowed = true;
        }
        let span = self.fit.alloc(len, limit);
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

    fn alloc_first(&mut self, len: u64, limit: u64) -> Ticket {
        if self.requests > 0 {
            self.begin_cycle();
        }
        self.mode = self.shapes.expect(len, self.capacity).map_or(Mode::Dynamic, Mode::Plan);
        self.alloc_below(len, limit)
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
        self.counts.diverged += u64::from(std::mem::take(&mut self.has_diverged));
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
mod tests;
