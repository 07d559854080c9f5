//! What makes memory free for others: after the tick, look at the leases; retire what is held.

use std::sync::Arc;

use super::placing::POISON;
use super::{Shelf, Spill, State};
use crate::block::Block;
use crate::clock::{self, Clock};

impl State {
    /// The arena's memory becomes free for others: after the tick, look at the leases.
    #[inline]
    pub(super) fn release_arena(&mut self, clock: &Clock, debug: bool) {
        match &mut self.shelf {
            Shelf::Circular(_) => return,
            Shelf::Bump(bump) => bump.reset(),
            Shelf::Reusing(_) => {}
        }
        if self.holds().is_some() {
            self.released_at = clock.now(); // whoever comes next looks at what is held
            return;
        }
        let Some(block) = &self.block else { return };
        if clock::is_free(clock, &block.leases) {
            if debug {
                block.fill(0, block.len(), POISON);
            }
        } else {
            self.retire_arena();
        }
    }

    #[cold]
    fn retire_arena(&mut self) {
        let held = std::mem::replace(&mut self.block, self.pool.take());
        if let Some(block) = held {
            self.retire(block);
        }
    }

    /// Written off: held by leases, given back when the last of them dies.
    pub(super) fn retire(&mut self, block: Arc<Block>) {
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

    #[inline]
    pub(super) fn release_spills(&mut self) {
        if !self.spills.is_empty() {
            self.release_those_spills();
        }
        if let Shelf::Circular(ring) = &mut self.shelf {
            ring.wrapped = false;
        }
    }

    #[cold]
    fn release_those_spills(&mut self) {
        for spill in std::mem::take(&mut self.spills) {
            self.release(spill);
        }
        self.counters.external = 0;
        self.counters.spilled = 0;
    }

    pub(super) fn release(&mut self, spill: Spill) {
        if let Some(tenure) = &spill.tenure {
            tenure.end();
        }
        if spill.block.leases.count() > 0 && spill.block.len() > 0 {
            self.retire(spill.block);
        }
    }

    #[inline]
    pub(super) fn purge_pins(&mut self) {
        while self.pins.front().is_some_and(|p| p.step + 2 < self.counters.step) {
            if let Some(pin) = self.pins.pop_front() {
                self.counters.pinned_count -= 1;
                self.counters.pinned -= pin.spill.block.len();
                self.release(pin.spill);
            }
        }
    }

    /// Lets go of the arena, for a new size or for good.
    pub(super) fn drop_arena(&mut self) {
        match &mut self.shelf {
            Shelf::Circular(ring) => ring.end_all(),
            Shelf::Bump(bump) => bump.reset(),
            Shelf::Reusing(_) => {}
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
        self.settle_leases();
        self.drop_arena();
        self.retire_captured();
        self.release_spills();
        for pin in std::mem::take(&mut self.pins) {
            self.release(pin.spill);
        }
        self.counters.pinned_count = 0;
        self.counters.pinned = 0;
        self.counters.this_cycle = 0;
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

    /// Gives back what the closed workspace does not need now; a learned size is learned anew. A file
    /// stays mapped, as its contents matter.
    pub(crate) fn trim(&mut self, open: bool) -> u64 {
        let pooled = self.pool.take().map_or(0, |b| b.len()) + self.trim_captured();
        let stays = self.holds().is_some() || matches!(self.shelf, Shelf::Circular(_));
        if open || self.alive_arrays > 0 || stays {
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
}
