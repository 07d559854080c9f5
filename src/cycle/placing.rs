//! Where a request goes, and what its death gives back.

use std::sync::Arc;

use super::{
    Home, LARGEST, Pin, Placed, Refused, Shelf, Spill, State, refused_by_system, refused_on_demand,
};
use crate::arena::Ticket;
use crate::block::Block;
use crate::config::{
    DebugMode, HugePages, LearningPolicy, ReusePolicy, SpillPolicy, WorkspaceConfiguration,
};
use crate::faults::{self, Refuser};
use crate::layout::align_up;
use crate::ring::{Place, Tenure};

/// So many bytes are zeroed while others wait.
#[cfg(feature = "python")]
const AT_ONCE: u64 = 16 << 10;
/// What debug fills released memory with.
pub(super) const POISON: u8 = 0xDD;

impl Placed {
    /// In a block of its own.
    fn own(
        block: Arc<Block>,
        (key, ticket): (u64, Option<Ticket>),
        tenure: Option<Arc<Tenure>>,
    ) -> Self {
        let (address, home) = (block.at(0, 0).addr(), Home::Spill(key, ticket));
        Self { block: Some(block), address, offset: 0, home, tenure }
    }
}

impl State {
    /// Places `bytes`; every counter moves, or none.
    #[inline]
    pub(crate) fn place(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        bytes: u64,
    ) -> Result<Placed, Refused> {
        let aligned = align_up(bytes, config.alignment).filter(|&request| request <= LARGEST);
        let Some(request) = aligned else { return Err(refused_by_system(bytes)) };
        if faults::refuses(Refuser::Arena) {
            return Err(refused_on_demand(request));
        }
        if let (true, DebugMode::Disabled) = (self.in_use, mode) {
            if let Some(((address, offset), ticket)) = self.place_where_it_fits(bytes, request) {
                let home = Home::Arena(ticket);
                return Ok(Placed { block: None, address, offset, home, tenure: None });
            }
        }
        self.place_anywhere(config, mode, (bytes, request))
    }

    /// Places `bytes` in the arena, if it is there and has room; else nothing has changed.
    #[cfg(feature = "python")]
    #[inline(always)]
    pub(crate) fn place_at_hand(
        &mut self,
        config: &WorkspaceConfiguration,
        bytes: u64,
        zeroed: bool,
    ) -> Option<((usize, u64), Ticket)> {
        let request = align_up(bytes, config.alignment).filter(|&request| request <= LARGEST)?;
        let is_refused = faults::refuses(Refuser::Arena);
        if !self.in_use || is_refused || zeroed && bytes > AT_ONCE {
            return None;
        }
        let placed = self.place_where_it_fits(bytes, request)?;
        if zeroed {
            self.block.iter().for_each(|block| block.fill(placed.0.1, bytes, 0));
        }
        Some(placed)
    }

    /// In the arena, if it has room: address, offset, ticket; else nothing has changed.
    #[inline(always)]
    fn place_where_it_fits(&mut self, bytes: u64, request: u64) -> Option<((usize, u64), Ticket)> {
        let (Shelf::Reusing(arena), Some(block)) = (&mut self.shelf, &self.block) else {
            return None;
        };
        if request == 0 || block.holds().is_some() {
            return None;
        }
        let (offset, ticket) = arena.alloc_below(request, self.capacity);
        let Some(offset) = offset else {
            arena.cancel(ticket);
            return None;
        };
        let address = block.at(offset, bytes).addr();
        self.counters.this_cycle += request;
        self.count_placed(request);
        Some(((address, offset), ticket))
    }

    fn place_anywhere(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        (bytes, request): (u64, u64),
    ) -> Result<Placed, Refused> {
        let placed = if request == 0 {
            self.place_nothing(config)
        } else if !self.in_use {
            self.spill(config, request, None)
        } else if matches!(self.shelf, Shelf::Circular(_)) {
            self.place_in_ring(config, mode, (bytes, request))
        } else {
            self.place_in_arena(config, mode, (bytes, request))
        }?;
        self.count_placed(request);
        Ok(placed)
    }

    #[inline]
    fn count_placed(&mut self, request: u64) {
        self.ever_allocated = true;
        self.untouched = false;
        self.alive_arrays += 1;
        self.alive_bytes += request;
        self.counters.peak = self.counters.peak.max(self.alive_bytes);
    }

    /// Places them all, or none; with a refusal, which of them was refused.
    pub(crate) fn place_all(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        sizes: &[usize],
    ) -> Result<Vec<Placed>, (Refused, usize)> {
        let before = (self.counters, self.alive_arrays, self.alive_bytes, self.ever_allocated);
        let offset = self.offset();
        let mark = if let Shelf::Circular(ring) = &self.shelf { Some(ring.mark()) } else { None };
        let mut placed: Vec<Placed> = Vec::with_capacity(sizes.len());
        for (i, &bytes) in sizes.iter().enumerate() {
            match self.place(config, mode, bytes as u64) {
                Ok(one) => placed.push(one),
                Err(refused) => {
                    for one in placed.iter().rev() {
                        self.take_back(one.home, offset);
                    }
                    if let (Shelf::Circular(ring), Some(mark)) = (&mut self.shelf, mark) {
                        ring.go_back(mark);
                    }
                    (self.counters, self.alive_arrays, self.alive_bytes, self.ever_allocated) =
                        before;
                    return Err((refused, i));
                }
            }
        }
        Ok(placed)
    }

    /// The last request, as if it had not been made.
    fn take_back(&mut self, home: Home, offset: u64) {
        let ticket = match home {
            Home::Arena(ticket) => Some(ticket),
            Home::Spill(_, ticket) => ticket,
            Home::Nobody => None,
        };
        match (ticket, home, &mut self.shelf) {
            (Some(ticket), _, Shelf::Reusing(arena)) => arena.cancel(ticket),
            (None, Home::Nobody, Shelf::Bump(bump)) => bump.set_offset(offset),
            _ => {}
        }
        if let Home::Spill(key, _) = home {
            self.drop_spill(key);
        }
    }

    pub(super) fn place_nothing(
        &mut self,
        config: &WorkspaceConfiguration,
    ) -> Result<Placed, Refused> {
        let block =
            Block::reserve(0, config.alignment, false).ok_or_else(|| refused_by_system(0))?;
        let tenure = matches!(self.shelf, Shelf::Circular(_)).then(Tenure::begin);
        let key = self.new_key();
        let block = Arc::new(block);
        self.spills.push(Spill { key, block: Arc::clone(&block), tenure: tenure.clone() });
        Ok(Placed::own(block, (key, None), tenure))
    }

    #[inline]
    pub(super) fn place_in_arena(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        (bytes, request): (u64, u64),
    ) -> Result<Placed, Refused> {
        if mode == DebugMode::SpillEverything {
            self.refuse_if_fail(config, request, true)?;
            let placed = self.spill(config, request, None)?;
            self.counters.this_cycle += request;
            return Ok(placed);
        }
        let limit = self.limit(config, bytes, request);
        let (offset, ticket) = match &mut self.shelf {
            Shelf::Reusing(arena) => {
                let (offset, ticket) = arena.alloc_below(request, limit);
                (offset, Some(ticket))
            }
            Shelf::Bump(bump) => (bump.alloc(request, limit), None),
            Shelf::Circular(_) => (None, None),
        };
        let held = offset.is_some_and(|offset| self.is_held(offset, request));
        let placed = match offset {
            _ if held => self.spill_beside_views(config, request, ticket),
            Some(offset) => self.ensure_block(config).map(|block| Placed {
                block: block.holds().map(|_| Arc::clone(block)),
                address: block.at(offset, bytes).addr(),
                offset,
                home: ticket.map_or(Home::Nobody, Home::Arena),
                tenure: None,
            }),
            None => self
                .refuse_if_fail(config, request, false)
                .and_then(|()| self.spill(config, request, ticket)),
        };
        match placed {
            Ok(placed) => {
                self.counters.this_cycle += request;
                Ok(placed)
            }
            Err(refused) => {
                match &mut self.shelf {
                    Shelf::Reusing(arena) => {
                        if let Some(ticket) = ticket {
                            arena.cancel(ticket);
                        }
                    }
                    Shelf::Bump(bump) => {
                        if let Some(offset) = offset {
                            bump.set_offset(offset);
                        }
                    }
                    Shelf::Circular(_) => {}
                }
                Err(refused)
            }
        }
    }

    /// Where a request ends at the latest: the last granule of a file may be too short for its bytes.
    fn limit(&self, config: &WorkspaceConfiguration, bytes: u64, request: u64) -> u64 {
        let fits = request - bytes >= self.capacity - self.size;
        if fits { self.capacity } else { self.capacity - config.alignment }
    }

    /// Of a file: whether a view of an earlier cycle lies there.
    fn is_held(&self, offset: u64, request: u64) -> bool {
        self.holds().is_some_and(|holds| holds.meet(offset, request))
    }

    fn spill_beside_views(
        &mut self,
        config: &WorkspaceConfiguration,
        request: u64,
        ticket: Option<Ticket>,
    ) -> Result<Placed, Refused> {
        if config.policy_spill != SpillPolicy::Fail {
            return self.spill(config, request, ticket);
        }
        let reason = "its place in the file is still viewed from an earlier cycle and policy_spill is \
                      FAIL; drop the views, or choose policy_spill=\"EXTERNAL\"";
        Err(Refused { requested: request, reason: reason.to_owned() })
    }

    pub(super) fn place_in_ring(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        (bytes, request): (u64, u64),
    ) -> Result<Placed, Refused> {
        let Shelf::Circular(ring) = &self.shelf else { return Err(refused_by_system(request)) };
        let spilling = mode == DebugMode::SpillEverything;
        let too_much = ring.block_size > 0 && self.counters.this_cycle + request > ring.block_size
            || self.size > 0 && request > self.capacity && !spilling;
        if too_much || self.trimmed_at.is_some() {
            let placed = self.pin(config, request)?;
            let rebuilds = config.nd4j || config.policy_learning != LearningPolicy::None;
            let rebuilds = rebuilds && config.policy_spill == SpillPolicy::Reallocate;
            if rebuilds && self.trimmed_at.is_none() {
                self.trimmed_at = Some(self.counters.step);
            }
            self.counters.this_cycle += request;
            return Ok(placed);
        }
        let placed = if let Some(placed) = self.take_stretch(config, spilling, (bytes, request))? {
            placed
        } else {
            self.refuse_if_fail(config, request, spilling)?;
            self.spill(config, request, None)?
        };
        self.counters.this_cycle += request;
        Ok(placed)
    }

    pub(super) fn take_stretch(
        &mut self,
        config: &WorkspaceConfiguration,
        spilling: bool,
        (bytes, request): (u64, u64),
    ) -> Result<Option<Placed>, Refused> {
        if self.size == 0 || spilling {
            return Ok(None);
        }
        let block = Arc::clone(self.ensure_block(config)?);
        let Shelf::Circular(ring) = &mut self.shelf else { return Ok(None) };
        while let Some(place) = ring.find(request, self.capacity) {
            if place.start + bytes > self.size {
                return self.pin_past_the_end(config, request, place).map(Some);
            }
            if let Some((offset, tenure)) = ring.take(place) {
                let tenure = Some(tenure);
                let address = block.at(offset, bytes).addr();
                let (block, home) = (Some(block), Home::Nobody);
                return Ok(Some(Placed { block, address, offset, home, tenure }));
            }
        }
        Ok(None)
    }

    /// Of a ring in a file: its last block is too short. The place is passed over, so that the next
    /// cycle finds the next block, and the array lives as long as it would have there, or longer.
    fn pin_past_the_end(
        &mut self,
        config: &WorkspaceConfiguration,
        request: u64,
        place: Place,
    ) -> Result<Placed, Refused> {
        let placed = self.pin(config, request)?;
        if let Shelf::Circular(ring) = &mut self.shelf {
            ring.pass(place);
        }
        Ok(placed)
    }

    pub(super) fn refuse_if_fail(
        &self,
        config: &WorkspaceConfiguration,
        requested: u64,
        spilling: bool,
    ) -> Result<(), Refused> {
        if config.policy_spill != SpillPolicy::Fail {
            return Ok(());
        }
        if spilling {
            let reason = "debug mode SPILL_EVERYTHING spills every request and policy_spill is FAIL; \
                          switch the mode off or choose policy_spill=\"EXTERNAL\"";
            return Err(Refused { requested, reason: reason.to_owned() });
        }
        let (size, offset) = (self.size, self.offset().min(self.size));
        if matches!(self.shelf, Shelf::Circular(_)) && requested <= size {
            let reason = "every block that could serve is viewed or full, and policy_spill is FAIL; \
                          drop the views, raise overallocation_limit (the number of further blocks) \
                          or choose policy_spill=\"EXTERNAL\"";
            return Err(Refused { requested, reason: reason.to_owned() });
        }
        Err(Refused {
            requested,
            reason: format!(
                "it is full ({offset} of {size} bytes in use) and policy_spill is FAIL; \
                 raise initial_size or choose policy_spill=\"EXTERNAL\""
            ),
        })
    }

    pub(super) fn spill(
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

    pub(super) fn pin(
        &mut self,
        config: &WorkspaceConfiguration,
        request: u64,
    ) -> Result<Placed, Refused> {
        self.refuse_if_fail(config, request, false)?;
        let (spill, placed) = self.own_block(config, request, None)?;
        self.pins.push_back(Pin { spill, step: self.counters.step });
        self.counters.pinned_count += 1;
        self.counters.pinned += request;
        Ok(placed)
    }

    pub(super) fn own_block(
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
        Ok((spill, Placed::own(block, (key, ticket), tenure)))
    }

    pub(super) fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// The last handle on an array is gone. `running`: it was born in the running cycle.
    #[inline]
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
                    arena.free(ticket);
                    if let (true, None, Some(block)) = (debug, self.holds(), &self.block) {
                        block.fill(offset, request, POISON);
                    }
                }
            }
            Home::Spill(key, ticket) => {
                if let (true, Some(ticket), Shelf::Reusing(arena)) =
                    (running, ticket, &mut self.shelf)
                {
                    arena.free(ticket);
                }
                if config.policy_reuse == ReusePolicy::WithinCycle || bytes == 0 {
                    self.drop_spill(key);
                }
            }
        }
    }

    pub(super) fn drop_spill(&mut self, key: u64) {
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

    /// The arena's block, reserved at its first use. `Err`: the system refuses.
    #[inline]
    pub(crate) fn ensure_block(
        &mut self,
        config: &WorkspaceConfiguration,
    ) -> Result<&Arc<Block>, Refused> {
        if self.block.is_none() {
            self.block = self.pool.take();
        }
        match &mut self.block {
            Some(block) => Ok(block),
            empty => Ok(empty.insert(Self::new_block(config, self.size)?)),
        }
    }

    #[cold]
    fn new_block(config: &WorkspaceConfiguration, size: u64) -> Result<Arc<Block>, Refused> {
        let huge = config.huge_pages == HugePages::Advise;
        let block =
            Block::reserve(size, config.alignment, huge).ok_or_else(|| refused_by_system(size))?;
        if config.prefault {
            block.prefault();
        }
        Ok(Arc::new(block))
    }
}
