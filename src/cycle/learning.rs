//! How large the arena is to be: learned from what was used, grown, bounded.

use super::{Shelf, State};
use crate::config::{
    AllocationPolicy, DebugMode, LearningPolicy, ReusePolicy, SpillPolicy, WorkspaceConfiguration,
};
use crate::layout::{align_up, grow, ring_block_nd4j};

impl State {
    pub(super) fn learn_at_close(
        &mut self,
        config: &WorkspaceConfiguration,
        mode: DebugMode,
        used: u64,
    ) {
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
        if config.policy_learning == LearningPolicy::None {
            if scoped && config.nd4j {
                self.outgrow_for_good(config);
            }
            return;
        }
        let basis = match &self.shelf {
            Shelf::Reusing(arena) => arena.needed(),
            _ => self.largest,
        };
        let capped = bounded(config, basis);
        if scoped && self.learned && config.policy_spill == SpillPolicy::Reallocate {
            self.outgrow(config, basis, capped);
        }
        if self.trim_is_due() {
            (self.learned, self.enlarged) = (false, false);
        }
        if self.learned {
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
    pub(super) fn outgrow(&mut self, config: &WorkspaceConfiguration, basis: u64, capped: u64) {
        if self.size < basis {
            self.counters.initial_block_size = capped;
        }
        let running = if config.nd4j { self.counters.this_cycle } else { 0 };
        if self.size < capped.max(bounded(config, running)) {
            self.learned = false;
            self.enlarged &= config.nd4j;
        }
    }

    /// ND4J lets go of an arena that was too small here as well, and learns no other: all spills from then on.
    fn outgrow_for_good(&mut self, config: &WorkspaceConfiguration) {
        let largest = self.largest.max(self.counters.this_cycle);
        let may_grow = config.max_size == 0 || self.largest < config.max_size;
        let reallocates = config.policy_spill == SpillPolicy::Reallocate;
        if reallocates && may_grow && self.size < largest && self.holds().is_none() {
            self.drop_arena();
            self.release_spills();
            self.set_size(0);
        }
    }

    pub(super) fn ring_wrapped(&self) -> bool {
        matches!(&self.shelf, Shelf::Circular(ring) if ring.wrapped)
    }

    pub(super) fn trim_is_due(&self) -> bool {
        self.trimmed_at.is_some_and(|at| at + 2 < self.counters.step)
    }

    /// Head-room, once (again at each growth, except in the ancestor's arithmetic).
    pub(super) fn enlarge(&mut self, config: &WorkspaceConfiguration, size: u64) -> u64 {
        let over = config.policy_allocation == AllocationPolicy::Overallocate;
        if !over || config.overallocation_limit <= 0.0 || size == 0 || self.enlarged {
            return size;
        }
        self.enlarged = true;
        grow(size, config.overallocation_limit)
    }

    pub(super) fn commit(&mut self, config: &WorkspaceConfiguration, size: u64) {
        let enlarged = self.enlarge(config, size);
        let mut size = bounded(config, enlarged);
        let aligned = align_up(size, config.alignment).unwrap_or(size);
        if !config.nd4j && (config.max_size == 0 || aligned <= config.max_size) {
            size = aligned;
        }
        self.learned = size > 0;
        self.set_size(size);
    }

    /// Into the blocks of a ring, which start at multiples of the alignment.
    pub(super) fn divide(&mut self, config: &WorkspaceConfiguration) {
        if let Shelf::Circular(ring) = &mut self.shelf {
            let block = self.capacity / config.ring_blocks();
            ring.block_size = block - block % config.alignment;
        }
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.set_sizes(size, size);
    }

    pub(super) fn set_sizes(&mut self, size: u64, capacity: u64) {
        (self.size, self.capacity) = (size, capacity);
        if let Shelf::Reusing(arena) = &mut self.shelf {
            arena.set_capacity(capacity);
        }
    }
}

fn bounded(config: &WorkspaceConfiguration, size: u64) -> u64 {
    if config.max_size > 0 { size.min(config.max_size) } else { size }
}
