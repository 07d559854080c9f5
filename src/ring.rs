//! Circular workspaces: where the next request goes, and which cycle's memory that takes.
//!
//! The bytes one cycle filled without a gap are a *stretch*, with a clock of its own: one block of a
//! ring that has blocks. Taking any of its bytes again ends all its arrays. A leased stretch is
//! stepped over. In the ancestor's arithmetic every array is a stretch of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::{self, Clock, Leases};

/// Validity of the arrays of one stretch, spill or pin.
#[derive(Debug)]
pub(crate) struct Tenure {
    pub(crate) clock: Clock,
    pub(crate) leases: Leases,
}

impl Tenure {
    pub(crate) fn begin() -> Arc<Self> {
        Arc::new(Self { clock: Clock::new(), leases: Leases::new() })
    }

    /// Ticks, then looks: may the memory be given to others?
    pub(crate) fn end(&self) -> bool {
        self.clock.end();
        clock::is_free(&self.clock, &self.leases)
    }
}

#[derive(Debug)]
struct Stretch {
    serial: u64,
    start: u64,
    end: u64,
    cycle: u64,
    tenure: Arc<Tenure>,
}

impl Stretch {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.end
    }
}

/// A place in the ring, found but not yet taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) start: u64,
    /// Bytes the request needs, and bytes that its block covers.
    len: u64,
    reach: u64,
    wrapped: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Where the next request goes.
    pub(crate) offset: u64,
    /// Bytes a cycle gets; 0: not learned, cycles are packed back to back.
    pub(crate) block_size: u64,
    /// The offset came round since externals were last released.
    pub(crate) wrapped: bool,
    cycle: u64,
    fresh: bool,
    is_packed: bool,
    /// Stretches that were ever begun.
    begun: u64,
    stretches: VecDeque<Stretch>,
}

/// How far a ring had come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    offset: u64,
    wrapped: bool,
    fresh: bool,
    begun: u64,
    end: u64,
}

impl Ring {
    /// `is_packed`: blocks are no units of reuse, as in the ancestor.
    pub(crate) fn new(is_packed: bool) -> Self {
        Self { is_packed, ..Self::default() }
    }

    pub(crate) fn begin_cycle(&mut self) {
        self.cycle += 1;
        self.fresh = true;
    }

    /// Ends all that is not leased: the next cycle gets the first of those blocks, whoever's turn it is.
    pub(crate) fn turn_back(&mut self) {
        self.stretches.retain(|s| s.tenure.leases.count() > 0 || !s.tenure.end());
        self.wrapped |= self.offset > 0;
        self.offset = 0;
    }

    /// A full cycle that used less than a block moves on to the next one.
    pub(crate) fn end_cycle(&mut self, used: u64) {
        if self.block_size > used && self.offset > 0 {
            self.offset += self.block_size - used;
        }
    }

    /// Finds memory for `len` bytes in a ring of `size`: at the offset, behind what is leased, or
    /// from the start. `None`: everything that could serve is leased or this cycle's own.
    pub(crate) fn find(&self, len: u64, size: u64) -> Option<Place> {
        let mut start = self.offset;
        let mut wrapped = false;
        loop {
            if len > size || start > size - len {
                if wrapped || len > size {
                    return None;
                }
                (start, wrapped) = (0, true);
            }
            let whole = self.fresh && !self.is_packed;
            let reach = if whole { len.max(self.block_size.min(size - start)) } else { len };
            match self.obstacle(start, start + reach) {
                None => return Some(Place { start, len, reach, wrapped }),
                Some(end) => start = self.behind(end),
            }
        }
    }

    /// Passes over a place that the memory's end cuts short.
    pub(crate) fn pass(&mut self, place: Place) {
        self.offset = place.start + place.len;
        self.wrapped |= place.wrapped;
        self.fresh = false;
    }

    /// Takes a place: ends what lay there. `None`: a lease came in between; find another.
    pub(crate) fn take(&mut self, place: Place) -> Option<(u64, Arc<Tenure>)> {
        let (start, end) = (place.start, place.start + place.reach);
        let (cycle, packed) = (self.cycle, self.is_packed);
        let mut clear = true;
        self.stretches.retain(|s| {
            if s.cycle == cycle && !packed || !s.overlaps(start, end) {
                return true;
            }
            let free = s.tenure.end();
            clear &= free;
            !free
        });
        if !clear {
            return None;
        }
        let tenure = self.extend(start, start + place.len);
        self.pass(place);
        Some((start, tenure))
    }

    /// Where the ring is now.
    pub(crate) fn mark(&self) -> Mark {
        let end = self.stretches.back().map_or(0, |last| last.end);
        let &Self { offset, wrapped, fresh, begun, .. } = self;
        Mark { offset, wrapped, fresh, begun, end }
    }

    /// Gives back what was taken since. What lay there has ended all the same.
    pub(crate) fn go_back(&mut self, mark: Mark) {
        while self.stretches.back().is_some_and(|last| last.serial > mark.begun) {
            self.stretches.pop_back();
        }
        match self.stretches.back_mut() {
            Some(last) if last.serial == mark.begun => last.end = mark.end,
            _ => {}
        }
        (self.offset, self.wrapped, self.fresh) = (mark.offset, mark.wrapped, mark.fresh);
    }

    /// Ends every array of the ring, for a rebuild or the workspace's end.
    pub(crate) fn end_all(&mut self) {
        for stretch in self.stretches.drain(..) {
            stretch.tenure.end();
        }
        self.offset = 0;
    }

    fn extend(&mut self, start: u64, end: u64) -> Arc<Tenure> {
        match self.stretches.back_mut() {
            Some(last) if last.cycle == self.cycle && last.end == start && !self.is_packed => {
                last.end = end;
                Arc::clone(&last.tenure)
            }
            _ => {
                let tenure = Tenure::begin();
                let cycle = self.cycle;
                self.begun += 1;
                self.stretches.push_back(Stretch {
                    serial: self.begun,
                    start,
                    end,
                    cycle,
                    tenure: Arc::clone(&tenure),
                });
                tenure
            }
        }
    }

    fn obstacle(&self, start: u64, end: u64) -> Option<u64> {
        self.stretches
            .iter()
            .filter(|s| s.overlaps(start, end))
            .filter(|s| s.cycle == self.cycle && !self.is_packed || s.tenure.leases.count() > 0)
            .map(|s| s.end)
            .max()
    }

    /// The next place that may be free behind an obstacle: a block's start at a cycle's beginning.
    fn behind(&self, end: u64) -> u64 {
        if self.fresh && self.block_size > 0 { end.next_multiple_of(self.block_size) } else { end }
    }
}
