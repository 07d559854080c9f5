//! What one cycle does with bytes: enter, place, die, close, learn. Counters and blocks of one
//! workspace; behind its lock, without threads, ids or scopes.
//!
//! The rules are those of `Nd4jWorkspace` (`alloc`, `initializeWorkspace`, `close`) with the
//! deliberate differences of the contract, section 9.

mod capturing;
mod learning;
mod lending;
mod placing;
mod releasing;

pub(crate) use crate::arena::Ticket;
use capturing::Heap;
pub use capturing::Piece;
pub(crate) use capturing::{Bounds, CapturedCounts, Released, floor, set_floor};
use lending::Lent;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::arena::{Arena, CycleEvent, PlanCounts};
use crate::block::Block;
use crate::clock::Clock;
use crate::config::{
    DebugMode, EscapePolicy, LearningPolicy, ResetPolicy, ReusePolicy, WorkspaceConfiguration,
};
use crate::fit::Bump;
use crate::holds::Holds;
use crate::layout::align_up;
use crate::ring::{Ring, Tenure};

/// No request is larger, as no pointer reaches further.
const LARGEST: u64 = i64::MAX.unsigned_abs();
/// So many retired blocks alive at once are worth a warning.
const MANY_RETIRED: usize = 1000;

/// Where a request was placed.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The memory, unless it is the arena's.
    pub(crate) block: Option<Arc<Block>>,
    pub(crate) address: usize,
    pub(crate) offset: u64,
    pub(crate) home: Home,
    /// Of a circular workspace: what the array's validity hangs on.
    pub(crate) tenure: Option<Arc<Tenure>>,
}

/// Who takes the memory back when its array dies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Home {
    /// Nobody: no bytes, a bump arena, a ring.
    Nobody,
    /// The arena, at once.
    Arena(Ticket),
    /// A block of its own, by its key; a ticket where the request is part of what is learned.
    Spill(u64, Option<Ticket>),
}

/// Why a request was refused. Nothing has changed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) requested: u64,
    pub(crate) reason: String,
}

/// What a full close has to tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed {
    /// Creation site of the cycle's last array, where debug is on.
    pub(crate) site: Option<String>,
    pub(crate) escaped: usize,
    pub(crate) unused: bool,
    pub(crate) many_retired: bool,
}

#[derive(Debug)]
struct Spill {
    key: u64,
    block: Arc<Block>,
    tenure: Option<Arc<Tenure>>,
}

#[derive(Debug)]
struct Pin {
    spill: Spill,
    step: u64,
}

/// Memory of a scoped workspace: placed anew at deaths, or bumped until the cycle ends.
#[derive(Debug)]
enum Shelf {
    Reusing(Box<Arena>),
    Bump(Bump),
    Circular(Ring),
}

#[derive(Debug)]
pub(crate) struct State {
    shelf: Shelf,
    size: u64,
    /// Where places end: at the size; in a file at the end of its last granule, whole or not.
    capacity: u64,
    block: Option<Arc<Block>>,
    spills: Vec<Spill>,
    pins: VecDeque<Pin>,
    retired: Vec<Arc<Block>>,
    lent: Lent,
    /// What NumPy allocates by itself, once a scope has captured.
    heap: Option<Box<Heap>>,
    /// Of a file: arrays born before this time have ended.
    released_at: u64,
    pool: Option<Arc<Block>>,
    next_key: u64,
    in_use: bool,
    learned: bool,
    enlarged: bool,
    trimmed_at: Option<u64>,
    /// Largest sum of requests since the last `trim`: what AT_RESET and rings learn from.
    largest: u64,
    alive_arrays: u64,
    alive_bytes: u64,
    warned_unused: bool,
    warned_retired: bool,
    ever_allocated: bool,
    site: Option<String>,
    /// Nothing was placed since the last full enter or close.
    untouched: bool,
    pub(crate) counters: Counters,
}

/// The numbers a workspace shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) this_cycle: u64,
    pub(crate) last_cycle: u64,
    pub(crate) max_cycle: u64,
    /// Most bytes alive at once since the last full enter or close.
    pub(crate) peak: u64,
    /// The same of the last cycle.
    pub(crate) last_peak: u64,
    pub(crate) cycles: u64,
    pub(crate) step: u64,
    pub(crate) initial_block_size: u64,
    pub(crate) external: u64,
    pub(crate) spilled: u64,
    pub(crate) pinned_count: u64,
    pub(crate) pinned: u64,
    pub(crate) escaped: u64,
    pub(crate) lost_scopes: u64,
}

impl Counters {
    /// So many more cycles of a scoped workspace that was closed before, without a request.
    pub(crate) fn count_empty(&mut self, cycles: u64) {
        if cycles > 0 {
            self.cycles += cycles;
            self.step += cycles;
            (self.last_cycle, self.last_peak) = (0, 0);
        }
    }
}

impl State {
    /// `file`: the arena, where it is a file; its size is what it is.
    pub(crate) fn new(
        config: &WorkspaceConfiguration,
        file: Option<Block>,
    ) -> Result<Self, Refused> {
        let shelf = if config.policy_reset == ResetPolicy::EndOfBufferReached {
            Shelf::Circular(Ring::new(config.nd4j))
        } else if config.policy_reuse == ReusePolicy::WithinCycle {
            Shelf::Reusing(Box::new(Arena::new(config.alignment)))
        } else {
            Shelf::Bump(Bump::new())
        };
        let mut state = Self {
            shelf,
            size: 0,
            capacity: 0,
            block: None,
            spills: Vec::new(),
            pins: VecDeque::new(),
            retired: Vec::new(),
            lent: Lent::default(),
            heap: None,
            released_at: 0,
            pool: None,
            next_key: 0,
            in_use: true,
            learned: false,
            enlarged: false,
            trimmed_at: None,
            largest: 0,
            alive_arrays: 0,
            alive_bytes: 0,
            warned_unused: false,
            warned_retired: false,
            ever_allocated: false,
            site: None,
            untouched: true,
            counters: Counters::default(),
        };
        if let Some(block) = file {
            let capacity = align_up(block.len(), config.alignment).unwrap_or(block.len());
            state.set_sizes(block.len(), capacity);
            state.block = Some(Arc::new(block));
            if !config.nd4j {
                state.divide(config);
            }
        } else if config.initial_size > 0 {
            let aligned = align_up(config.initial_size, config.alignment);
            if let (Shelf::Circular(_), false, Some(block)) = (&state.shelf, config.nd4j, aligned) {
                state.commit(config, block);
                state.divide(config);
            } else {
                state.commit(config, config.initial_size);
            }
            state.ensure_block(config)?;
        }
        Ok(state)
    }

    // ------------------------------------------------------------------ what others ask

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn offset(&self) -> u64 {
        match &self.shelf {
            Shelf::Reusing(arena) => arena.top(),
            Shelf::Bump(bump) => bump.offset(),
            Shelf::Circular(ring) => ring.offset,
        }
    }

    pub(crate) fn retired_size(&self) -> u64 {
        let own = self.block.as_ref().filter(|block| !block.is_inherited_file());
        let holds = own.and_then(|block| block.holds());
        let held = holds.map_or(0, |holds| holds.bytes_before(self.released_at));
        held + self.retired.iter().map(|b| b.len()).sum::<u64>() + self.captured_counts().retired
    }

    /// The arena's memory, if it was taken already. Arrays that lie in it and are of the present time
    /// lie in this block: it is let go of when the clock has moved, or nothing is alive.
    pub(crate) fn block(&self) -> Option<&Arc<Block>> {
        self.block.as_ref()
    }

    /// Of a file: which ranges are leased.
    fn holds(&self) -> Option<&Holds> {
        self.block.as_ref().and_then(|block| block.holds())
    }

    /// How requests were served, under WITHIN_CYCLE.
    pub(crate) fn plan_counts(&self) -> PlanCounts {
        match &self.shelf {
            Shelf::Reusing(arena) => arena.plan_counts(),
            _ => PlanCounts::default(),
        }
    }

    /// What happened in the running cycle, under WITHIN_CYCLE.
    pub(crate) fn cycle_log(&self) -> Vec<CycleEvent> {
        match &self.shelf {
            Shelf::Reusing(arena) => arena.cycle_log(),
            _ => Vec::new(),
        }
    }

    /// Arrays of the running cycle, leases included (a lease holds its array).
    pub(crate) fn alive_arrays(&self) -> u64 {
        self.alive_arrays
    }

    pub(crate) fn set_site(&mut self, site: Option<&str>) {
        self.site = site.map(str::to_owned);
    }

    pub(crate) fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
    }

    // ------------------------------------------------------------------ enter and leave

    /// A full enter; the clock has ticked. Memory of arrays made while never entered goes back.
    pub(crate) fn enter(&mut self, clock: &Clock, debug: bool) {
        if let Shelf::Circular(ring) = &mut self.shelf {
            let release = ring.wrapped && self.counters.external > 0;
            ring.begin_cycle();
            if release {
                self.release_spills();
            }
        } else {
            if !self.untouched {
                self.release_arena(clock, debug);
                if let Shelf::Reusing(arena) = &mut self.shelf {
                    arena.begin_cycle();
                }
            }
            self.release_spills();
        }
        self.counters.this_cycle = 0;
        self.counters.peak = 0;
        self.begin_count();
    }

    /// Nothing was placed since the last full enter or close: no array is of the present time.
    pub(crate) fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// A full enter changes nothing here.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_scoped = !matches!(self.shelf, Shelf::Circular(_));
        let has_arena = self.size == 0 || self.block.is_some();
        self.untouched && is_scoped && has_arena && self.spills.is_empty()
    }

    /// At rest, and a cycle without a request would change nothing, or teach or tell anything.
    pub(crate) fn is_idle(&self, config: &WorkspaceConfiguration) -> bool {
        let learns = !self.learned && config.policy_learning != LearningPolicy::None;
        let may_tell = !self.ever_allocated && !self.warned_unused;
        self.heap.is_none() && !learns && !may_tell
    }

    /// The cycle is over.
    pub(crate) fn keep_peak(&mut self) {
        self.counters.last_peak = std::mem::take(&mut self.counters.peak);
    }

    /// A full close; the clock has ticked.
    pub(crate) fn close(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        clock: &Clock,
        debug: bool,
    ) -> Option<Box<Closed>> {
        self.settle_leases();
        let escaped = self.count_escapes(clock);
        let survivors = self.end_captured_cycle(self.counters.this_cycle);
        let c = &mut self.counters;
        c.escaped += escaped as u64 + survivors;
        c.cycles += 1;
        let is_circular = matches!(self.shelf, Shelf::Circular(_));
        if c.cycles > 1 && (!is_circular || (c.cycles - 1) % config.ring_blocks() == 0) {
            c.step += 1;
        }
        self.in_use = true;
        c.max_cycle = c.max_cycle.max(c.this_cycle);
        self.largest = self.largest.max(c.this_cycle);
        let used = c.this_cycle;
        if !self.untouched {
            if let Shelf::Reusing(arena) = &mut self.shelf {
                arena.end_cycle();
            }
            self.release_arena(clock, debug);
        }
        self.learn_at_close(config, mode, used);
        self.purge_pins();
        if self.trim_is_due() {
            self.initialize(config);
            self.trimmed_at = None;
            if let Shelf::Circular(ring) = &mut self.shelf {
                ring.offset = 0;
            }
        }
        self.counters.last_cycle = used;
        if let Shelf::Circular(ring) = &mut self.shelf {
            if self.size > 0 && self.trimmed_at.is_none() {
                ring.end_cycle(used);
            }
        }
        self.counters.this_cycle = 0;
        self.keep_peak();
        if let (false, Shelf::Reusing(arena)) = (self.untouched, &mut self.shelf) {
            arena.begin_cycle();
        }
        self.begin_count();
        self.news(config, escaped)
    }

    /// What a close has to tell, if it has.
    #[inline]
    fn news(&mut self, config: &WorkspaceConfiguration, escaped: usize) -> Option<Box<Closed>> {
        let (unused, many_retired) = (self.is_unused(), self.has_many_retired());
        let site = self.site.take();
        let tells = escaped > 0 && config.policy_escape != EscapePolicy::Retire;
        let has_news = tells || unused || many_retired;
        has_news.then(|| Box::new(Closed { site, escaped, unused, many_retired }))
    }

    fn begin_count(&mut self) {
        self.untouched = true;
        self.alive_arrays = 0;
        self.alive_bytes = 0;
    }

    fn count_escapes(&self, clock: &Clock) -> usize {
        if matches!(self.shelf, Shelf::Circular(_)) {
            return 0;
        }
        let arena = match self.holds() {
            Some(holds) => holds.arrays_born(clock.now() - 1),
            None => self.block.as_ref().map_or(0, |b| b.leased_arrays.count()),
        };
        arena + self.spills.iter().map(|s| s.block.leased_arrays.count()).sum::<usize>()
    }

    /// Of a ring between two cycles: what is not leased ends, and the next one gets the first free block.
    pub(crate) fn turn_back(&mut self) {
        if let Shelf::Circular(ring) = &mut self.shelf {
            ring.turn_back();
        }
    }

    /// Never again tells that nothing was allocated.
    pub(crate) fn allow_unused(&mut self) {
        self.warned_unused = true;
    }

    fn is_unused(&mut self) -> bool {
        let unused = self.counters.cycles == 3 && !self.ever_allocated && !self.warned_unused;
        self.warned_unused |= unused;
        unused
    }

    fn has_many_retired(&mut self) -> bool {
        let many = self.retired.len() >= MANY_RETIRED && !self.warned_retired;
        self.warned_retired |= many;
        many
    }
}

fn refused_on_demand(requested: u64) -> Refused {
    Refused { requested, reason: "refused on demand of a test".to_owned() }
}

fn refused_by_system(requested: u64) -> Refused {
    let reason = "the system refuses so much memory; ask for less, or free some first".to_owned();
    Refused { requested, reason }
}
