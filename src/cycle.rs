//! What one cycle does with bytes: enter, place, die, close, learn. Counters and blocks of one
//! workspace; behind its lock, without threads, ids or scopes.
//!
//! The rules are those of `Nd4jWorkspace` (`alloc`, `initializeWorkspace`, `close`) with the
//! deliberate differences of the contract, section 9.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::arena::{Arena, PlanCounts, Ticket};
use crate::block::Block;
use crate::clock::{self, Clock};
use crate::config::{
    AllocationPolicy, DebugMode, HugePages, LearningPolicy, ResetPolicy, ReusePolicy, SpillPolicy,
    WorkspaceConfiguration,
};
use crate::fit::Bump;
use crate::layout::{align_up, grow, ring_block_nd4j};
use crate::ring::{Ring, Tenure};

/// What debug fills released memory with.
const POISON: u8 = 0xDD;
/// No request is larger, as no pointer reaches further.
const LARGEST: u64 = i64::MAX.unsigned_abs();
/// So many retired blocks alive at once are worth a warning.
const MANY_RETIRED: usize = 1000;

/// Where a request was placed.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) block: Arc<Block>,
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
    /// A block of its own; a ticket where the request is part of what is learned.
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
    block: Option<Arc<Block>>,
    spills: Vec<Spill>,
    pins: VecDeque<Pin>,
    retired: Vec<Arc<Block>>,
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
    pub(crate) counters: Counters,
}

/// The numbers a workspace shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) this_cycle: u64,
    pub(crate) last_cycle: u64,
    pub(crate) max_cycle: u64,
    pub(crate) peak: u64,
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

impl State {
    pub(crate) fn new(config: &WorkspaceConfiguration) -> Result<Self, Refused> {
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
            block: None,
            spills: Vec::new(),
            pins: VecDeque::new(),
            retired: Vec::new(),
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
            counters: Counters::default(),
        };
        if config.initial_size > 0 {
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
        self.retired.iter().map(|b| b.len()).sum()
    }

    /// How requests were served, under WITHIN_CYCLE.
    pub(crate) fn plan_counts(&self) -> PlanCounts {
        match &self.shelf {
            Shelf::Reusing(arena) => arena.plan_counts(),
            _ => PlanCounts::default(),
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
        match &mut self.shelf {
            Shelf::Circular(ring) => {
                let release = ring.wrapped && self.counters.external > 0;
                ring.begin_cycle();
                if release {
                    self.release_spills();
                }
            }
            _ => {
                self.release_arena(clock, debug);
                self.release_spills();
            }
        }
        if let Shelf::Reusing(arena) = &mut self.shelf {
            arena.begin_cycle();
        }
        self.counters.this_cycle = 0;
        self.counters.peak = 0;
        self.begin_count();
    }

    /// A full close; the clock has ticked.
    pub(crate) fn close(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        clock: &Clock,
        debug: bool,
    ) -> Closed {
        let escaped = self.count_escapes();
        let c = &mut self.counters;
        c.escaped += escaped as u64;
        c.cycles += 1;
        let is_circular = matches!(self.shelf, Shelf::Circular(_));
        let blocks = if is_circular { config.ring_blocks() } else { 1 };
        if c.cycles > 1 && (c.cycles - 1) % blocks == 0 {
            c.step += 1;
        }
        self.in_use = true;
        c.max_cycle = c.max_cycle.max(c.this_cycle);
        self.largest = self.largest.max(c.this_cycle);
        let used = c.this_cycle;
        if let Shelf::Reusing(arena) = &mut self.shelf {
            arena.end_cycle();
        }
        self.release_arena(clock, debug);
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
        if let Shelf::Reusing(arena) = &mut self.shelf {
            arena.begin_cycle();
        }
        self.begin_count();
        let (unused, many_retired) = (self.is_unused(), self.has_many_retired());
        Closed { site: self.site.take(), escaped, unused, many_retired }
    }

    fn begin_count(&mut self) {
        self.alive_arrays = 0;
        self.alive_bytes = 0;
    }

    fn count_escapes(&self) -> usize {
        if matches!(self.shelf, Shelf::Circular(_)) {
            return 0;
        }
        let arena = self.block.as_ref().map_or(0, |b| b.leased_arrays.count());
        arena + self.spills.iter().map(|s| s.block.leased_arrays.count()).sum::<usize>()
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

    // ------------------------------------------------------------------ place and die

    /// Places `bytes`; every counter moves, or none.
    pub(crate) fn place(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        bytes: u64,
    ) -> Result<Placed, Refused> {
        let aligned = align_up(bytes, config.alignment).filter(|&request| request <= LARGEST);
        let Some(request) = aligned else { return Err(refused_by_system(bytes)) };
        let placed = if request == 0 {
            self.place_nothing(config)
        } else if !self.in_use {
            self.spill(config, request, None)
        } else if matches!(self.shelf, Shelf::Circular(_)) {
            self.place_in_ring(config, mode, request)
        } else {
            self.place_in_arena(config, mode, request)
        }?;
        self.ever_allocated = true;
        self.alive_arrays += 1;
        self.alive_bytes += request;
        self.counters.peak = self.counters.peak.max(self.alive_bytes);
        Ok(placed)
    }

    fn place_nothing(&mut self, config: &WorkspaceConfiguration) -> Result<Placed, Refused> {
        let block =
            Block::reserve(0, config.alignment, false).ok_or_else(|| refused_by_system(0))?;
        let tenure = matches!(self.shelf, Shelf::Circular(_)).then(Tenure::begin);
        let key = self.new_key();
        let block = Arc::new(block);
        self.spills.push(Spill { key, block: Arc::clone(&block), tenure: tenure.clone() });
        Ok(Placed { block, offset: 0, home: Home::Spill(key, None), tenure })
    }

    fn place_in_arena(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        request: u64,
    ) -> Result<Placed, Refused> {
        if mode == DebugMode::SpillEverything {
            let placed = self.spill_by_policy(config, request, None)?;
            self.counters.this_cycle += request;
            return Ok(placed);
        }
        let (offset, ticket) = match &mut self.shelf {
            Shelf::Reusing(arena) => {
                let ticket = arena.alloc(request);
                (ticket.offset, Some(ticket))
            }
            Shelf::Bump(bump) => (bump.alloc(request, self.size), None),
            Shelf::Circular(_) => (None, None),
        };
        let placed = match offset {
            Some(offset) => self.ensure_block(config).map(|block| Placed {
                block,
                offset,
                home: ticket.map_or(Home::Nobody, Home::Arena),
                tenure: None,
            }),
            None => self.spill_by_policy(config, request, ticket),
        };
        match placed {
            Ok(placed) => {
                self.counters.this_cycle += request;
                Ok(placed)
            }
            Err(refused) => {
                match &mut self.shelf {
                    Shelf::Reusing(arena) => {
                        ticket.into_iter().for_each(|t| arena.cancel(t, request));
                    }
                    Shelf::Bump(bump) => {
                        offset.into_iter().for_each(|offset| bump.set_offset(offset));
                    }
                    Shelf::Circular(_) => {}
                }
                Err(refused)
            }
        }
    }

    fn place_in_ring(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        request: u64,
    ) -> Result<Placed, Refused> {
        let Shelf::Circular(ring) = &self.shelf else { return Err(refused_by_system(request)) };
        let spilling = mode == DebugMode::SpillEverything;
        let too_much = ring.block_size > 0 && self.counters.this_cycle + request > ring.block_size
            || self.size > 0 && request > self.size && !spilling;
        if too_much || self.trimmed_at.is_some() {
            let placed = self.pin(config, request)?;
            if config.policy_spill == SpillPolicy::Reallocate && self.trimmed_at.is_none() {
                self.trimmed_at = Some(self.counters.step);
            }
            self.counters.this_cycle += request;
            return Ok(placed);
        }
        let placed = match self.take_stretch(config, spilling, request)? {
            Some(placed) => placed,
            None => self.spill_by_policy(config, request, None)?,
        };
        self.counters.this_cycle += request;
        Ok(placed)
    }

    fn take_stretch(
        &mut self,
        config: &WorkspaceConfiguration,
        spilling: bool,
        request: u64,
    ) -> Result<Option<Placed>, Refused> {
        if self.size == 0 || spilling {
            return Ok(None);
        }
        let block = self.ensure_block(config)?;
        let Shelf::Circular(ring) = &mut self.shelf else { return Ok(None) };
        while let Some(place) = ring.find(request, self.size) {
            if let Some((offset, tenure)) = ring.take(place) {
                let tenure = Some(tenure);
                return Ok(Some(Placed { block, offset, home: Home::Nobody, tenure }));
            }
        }
        Ok(None)
    }

    fn spill_by_policy(
        &mut self,
        config: &WorkspaceConfiguration,
        request: u64,
        ticket: Option<Ticket>,
    ) -> Result<Placed, Refused> {
        self.refuse_if_fail(config, request)?;
        self.spill(config, request, ticket)
    }

    fn refuse_if_fail(
        &self,
        config: &WorkspaceConfiguration,
        requested: u64,
    ) -> Result<(), Refused> {
        if config.policy_spill != SpillPolicy::Fail {
            return Ok(());
        }
        let (size, offset) = (self.size, self.offset());
        Err(Refused {
            requested,
            reason: format!(
                "it is full ({offset} of {size} bytes in use) and policy_spill is FAIL; \
                 raise initial_size or choose policy_spill=\"EXTERNAL\""
            ),
        })
    }

    fn spill(
        &mut self,
        config: &WorkspaceConfiguration,
        request: u64,
        ticket: Option<Ticket>,
    ) -> Result<Placed, Refused> {
        let (spill, placed) = self.own_block(config, request, ticket)?;
        self.spills.push(spill);
        self.counters.external += 1;
        self.counters.spilled += request;
        Ok(placed)
    }

    fn pin(&mut self, config: &WorkspaceConfiguration, request: u64) -> Result<Placed, Refused> {
        self.refuse_if_fail(config, request)?;
        let (spill, placed) = self.own_block(config, request, None)?;
        self.pins.push_back(Pin { spill, step: self.counters.step });
        self.counters.pinned_count += 1;
        self.counters.pinned += request;
        Ok(placed)
    }

    fn own_block(
        &mut self,
        config: &WorkspaceConfiguration,
        request: u64,
        ticket: Option<Ticket>,
    ) -> Result<(Spill, Placed), Refused> {
        let huge = config.huge_pages == HugePages::Advise;
        let block = Block::reserve(request, config.alignment, huge)
            .ok_or_else(|| refused_by_system(request))?;
        let block = Arc::new(block);
        let tenure = matches!(self.shelf, Shelf::Circular(_)).then(Tenure::begin);
        let key = self.new_key();
        let spill = Spill { key, block: Arc::clone(&block), tenure: tenure.clone() };
        Ok((spill, Placed { block, offset: 0, home: Home::Spill(key, ticket), tenure }))
    }

    fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// The last handle on an array is gone. `running`: it was born in the running cycle.
    pub(crate) fn die(
        &mut self,
        config: &WorkspaceConfiguration,
        home: Home,
        place: (u64, u64),
        running: bool,
        debug: bool,
    ) {
        let (offset, bytes) = place;
        let request = align_up(bytes, config.alignment).unwrap_or(0);
        if running {
            self.alive_arrays = self.alive_arrays.saturating_sub(1);
            self.alive_bytes = self.alive_bytes.saturating_sub(request);
        }
        match home {
            Home::Nobody => {}
            Home::Arena(ticket) => {
                if let (true, Shelf::Reusing(arena)) = (running, &mut self.shelf) {
                    arena.free(ticket, request);
                    if let (true, Some(block)) = (debug, &self.block) {
                        block.fill(offset, request, POISON);
                    }
                }
            }
            Home::Spill(key, ticket) => {
                if let (true, Some(ticket), Shelf::Reusing(arena)) =
                    (running, ticket, &mut self.shelf)
                {
                    arena.free(ticket, request);
                }
                if config.policy_reuse == ReusePolicy::WithinCycle || bytes == 0 {
                    self.drop_spill(key);
                }
            }
        }
    }

    fn drop_spill(&mut self, key: u64) {
        if let Some(i) = self.spills.iter().rposition(|s| s.key == key) {
            let bytes = self.spills.swap_remove(i).block.len();
            self.counters.spilled -= bytes;
            self.counters.external -= u64::from(bytes > 0);
        } else if let Some(i) = self.pins.iter().rposition(|p| p.spill.key == key) {
            if let Some(pin) = self.pins.remove(i) {
                self.counters.pinned -= pin.spill.block.len();
                self.counters.pinned_count -= 1;
            }
        }
    }

    // ------------------------------------------------------------------ what frees

    /// The arena's memory becomes free for others: after the tick, look at the leases.
    fn release_arena(&mut self, clock: &Clock, debug: bool) {
        match &mut self.shelf {
            Shelf::Circular(_) => return,
            Shelf::Bump(bump) => bump.reset(),
            Shelf::Reusing(_) => {}
        }
        let Some(block) = self.block.take() else { return };
        if !clock::is_free(clock, &block.leases) {
            self.block = self.pool.take();
            self.retire(block);
            return;
        }
        if debug {
            block.fill(0, block.len(), POISON);
        }
        self.block = Some(block);
    }

    /// Written off: held by leases, given back when the last of them dies.
    fn retire(&mut self, block: Arc<Block>) {
        block.set_retired(true);
        self.retired.push(block);
        self.reclaim();
    }

    /// Retired blocks that nobody looks at any more: one is kept for the next turn, the rest go.
    pub(crate) fn reclaim(&mut self) {
        let size = self.size;
        let pool = &mut self.pool;
        self.retired.retain(|block| {
            if block.leases.count() > 0 {
                return true;
            }
            if pool.is_none() && block.len() == size && size > 0 {
                block.set_retired(false);
                *pool = Some(Arc::clone(block));
            }
            false
        });
    }

    fn release_spills(&mut self) {
        for spill in std::mem::take(&mut self.spills) {
            self.release(spill);
        }
        self.counters.external = 0;
        self.counters.spilled = 0;
        if let Shelf::Circular(ring) = &mut self.shelf {
            ring.wrapped = false;
        }
    }

    fn release(&mut self, spill: Spill) {
        if let Some(tenure) = &spill.tenure {
            tenure.end();
        }
        if spill.block.leases.count() > 0 && spill.block.len() > 0 {
            self.retire(spill.block);
        }
    }

    fn purge_pins(&mut self) {
        while self.pins.front().is_some_and(|p| p.step + 2 < self.counters.step) {
            if let Some(pin) = self.pins.pop_front() {
                self.counters.pinned_count -= 1;
                self.counters.pinned -= pin.spill.block.len();
                self.release(pin.spill);
            }
        }
    }

    /// Lets go of the arena, for a new size or for good.
    fn drop_arena(&mut self) {
        if let Shelf::Circular(ring) = &mut self.shelf {
            ring.end_all();
        }
        if let Some(block) = self.block.take() {
            if block.leases.count() > 0 {
                self.retire(block);
            }
        }
        self.pool = None;
    }

    /// The end; the clock says so already.
    pub(crate) fn destroy(&mut self) {
        self.drop_arena();
        self.release_spills();
        for pin in std::mem::take(&mut self.pins) {
            self.release(pin.spill);
        }
        self.counters.pinned_count = 0;
        self.counters.pinned = 0;
        self.set_size(0);
        match &mut self.shelf {
            Shelf::Reusing(arena) => arena.forget(),
            Shelf::Bump(bump) => bump.reset(),
            Shelf::Circular(_) => {}
        }
        self.begin_count();
    }

    /// Rewinds; nothing of the running cycle is alive.
    pub(crate) fn reset(&mut self, clock: &Clock, open: bool, debug: bool) {
        self.release_arena(clock, debug);
        match &mut self.shelf {
            Shelf::Circular(ring) => ring.offset = 0,
            Shelf::Reusing(arena) if open => {
                arena.end_cycle();
                arena.begin_cycle();
            }
            _ => {}
        }
    }

    /// Gives back what the closed workspace does not need now; a learned size is learned anew.
    pub(crate) fn trim(&mut self, open: bool) -> u64 {
        let pooled = self.pool.take().map_or(0, |b| b.len());
        if open || self.alive_arrays > 0 || matches!(self.shelf, Shelf::Circular(_)) {
            return pooled;
        }
        let unused = self.block.as_ref().filter(|b| b.leases.count() == 0);
        let returned = pooled + unused.map_or(0, |b| b.len());
        self.drop_arena();
        if self.counters.initial_block_size > 0 {
            self.set_size(0);
            (self.learned, self.enlarged, self.largest) = (false, false, 0);
            if let Shelf::Reusing(arena) = &mut self.shelf {
                arena.forget();
            }
        }
        returned
    }

    // ------------------------------------------------------------------ learning

    fn learn_at_close(&mut self, config: &WorkspaceConfiguration, mode: DebugMode, used: u64) {
        let scoped = !matches!(self.shelf, Shelf::Circular(_));
        let learning = config.policy_learning;
        let may_release = match &self.shelf {
            Shelf::Circular(ring) => ring.wrapped,
            _ => true,
        };
        let at_death = config.policy_reuse == ReusePolicy::WithinCycle && scoped;
        let learns = learning != LearningPolicy::None && self.counters.max_cycle > 0;
        if at_death || learns && may_release && self.counters.external > 0 {
            self.release_spills();
        }
        if !learns || mode == DebugMode::SpillEverything {
            return;
        }
        let due = match learning {
            LearningPolicy::FirstLoop => self.size == 0,
            LearningPolicy::OverTime => {
                let n = u64::from(config.cycles_before_initialization);
                n > 0 && self.counters.cycles >= n && !self.learned
            }
            LearningPolicy::None => false,
        };
        let reallocates = config.policy_spill == SpillPolicy::Reallocate;
        if due || self.size > 0 && used > 0 && reallocates && scoped {
            self.initialize(config);
        }
    }

    /// Derives the size from observed use, or grows it (`Nd4jWorkspace.initializeWorkspace`).
    pub(crate) fn initialize(&mut self, config: &WorkspaceConfiguration) {
        let scoped = !matches!(self.shelf, Shelf::Circular(_));
        let basis = match &self.shelf {
            Shelf::Reusing(arena) => arena.needed(),
            _ => self.largest,
        };
        let capped = if config.max_size > 0 { basis.min(config.max_size) } else { basis };
        if scoped && self.learned && config.policy_spill == SpillPolicy::Reallocate {
            self.outgrow(config, basis, capped);
        }
        if self.trim_is_due() {
            (self.learned, self.enlarged) = (false, false);
        }
        if self.learned || config.policy_learning == LearningPolicy::None {
            return;
        }
        self.drop_arena();
        let mut size = capped;
        if !scoped {
            size = if config.nd4j {
                ring_block_nd4j(size)
            } else {
                align_up(grow(size, 0.3), config.alignment).unwrap_or(size)
            };
            self.counters.max_cycle = size;
            self.largest = size;
            if let Shelf::Circular(ring) = &mut self.shelf {
                ring.block_size = size;
            }
        }
        self.counters.initial_block_size = size;
        size = self.enlarge(config, size).max(config.min_size);
        if self.counters.external > 0 && (scoped || self.ring_wrapped()) {
            self.release_spills();
        }
        self.commit(config, size);
    }

    /// A cycle was larger than the arena: it is to be learned anew, as far as `max_size` allows.
    fn outgrow(&mut self, config: &WorkspaceConfiguration, basis: u64, capped: u64) {
        if self.size < basis {
            self.counters.initial_block_size = capped;
        }
        if self.size < capped {
            self.learned = false;
            self.enlarged &= config.nd4j;
        }
    }

    fn ring_wrapped(&self) -> bool {
        matches!(&self.shelf, Shelf::Circular(ring) if ring.wrapped)
    }

    fn trim_is_due(&self) -> bool {
        self.trimmed_at.is_some_and(|at| at + 2 < self.counters.step)
    }

    /// Head-room, once (again at each growth, except in the ancestor's arithmetic).
    fn enlarge(&mut self, config: &WorkspaceConfiguration, size: u64) -> u64 {
        let over = config.policy_allocation == AllocationPolicy::Overallocate;
        if !over || config.overallocation_limit <= 0.0 || size == 0 || self.enlarged {
            return size;
        }
        self.enlarged = true;
        grow(size, config.overallocation_limit)
    }

    fn commit(&mut self, config: &WorkspaceConfiguration, size: u64) {
        let mut size = self.enlarge(config, size);
        if config.max_size > 0 {
            size = size.min(config.max_size);
        }
        let aligned = align_up(size, config.alignment).unwrap_or(size);
        if !config.nd4j && (config.max_size == 0 || aligned <= config.max_size) {
            size = aligned;
        }
        self.learned = size > 0;
        self.set_size(size);
    }

    /// Into the blocks of a ring, which start at multiples of the alignment.
    fn divide(&mut self, config: &WorkspaceConfiguration) {
        if let Shelf::Circular(ring) = &mut self.shelf {
            let block = self.size / config.ring_blocks();
            ring.block_size = block - block % config.alignment;
        }
    }

    fn set_size(&mut self, size: u64) {
        self.size = size;
        if let Shelf::Reusing(arena) = &mut self.shelf {
            arena.set_capacity(size);
        }
    }

    /// The arena's block, reserved at its first use. `Err`: the system refuses.
    pub(crate) fn ensure_block(
        &mut self,
        config: &WorkspaceConfiguration,
    ) -> Result<Arc<Block>, Refused> {
        if let Some(block) = &self.block {
            return Ok(Arc::clone(block));
        }
        if let Some(block) = self.pool.take() {
            self.block = Some(Arc::clone(&block));
            return Ok(block);
        }
        let huge = config.huge_pages == HugePages::Advise;
        let block = Block::reserve(self.size, config.alignment, huge)
            .ok_or_else(|| refused_by_system(self.size))?;
        if config.prefault {
            block.prefault();
        }
        let block = Arc::new(block);
        self.block = Some(Arc::clone(&block));
        Ok(block)
    }
}

fn refused_by_system(requested: u64) -> Refused {
    let reason = "the system refuses so much memory; ask for less, or free some first".to_owned();
    Refused { requested, reason }
}
