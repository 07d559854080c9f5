//! Which ranges of a file's arena are leased.
//!
//! A block of process memory is replaced when somebody still looks at it. A file cannot be: whatever
//! maps it has the same bytes. So its leased ranges are known one by one, and a request that would
//! touch one is served elsewhere.
//!
//! The pair of clock.rs holds here too: who leases adds the range first, then looks at the clock; who
//! frees ticks first, then looks at the ranges.

use std::sync::Mutex;

use crate::sync::lock;

/// The leased ranges of one block.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Vec<Hold>>);

#[derive(Debug)]
struct Hold {
    start: u64,
    end: u64,
    born: u64,
    leases: usize,
    /// A forked child may look at it, for good.
    is_inherited: bool,
}

impl Holds {
    /// A lease on an array born at this time.
    pub(crate) fn add(&self, start: u64, len: u64, born: u64) {
        let mut holds = lock(&self.0);
        if let Some(hold) = holds.iter_mut().find(|h| h.start == start && h.born == born) {
            hold.leases += 1;
        } else {
            let end = start.saturating_add(len);
            holds.push(Hold { start, end, born, leases: 1, is_inherited: false });
        }
    }

    /// The end of such a lease.
    pub(crate) fn remove(&self, start: u64, born: u64) {
        self.give_back(start, born, false);
    }

    /// The same, but a forked child may still look at the range.
    pub(crate) fn leave_to_child(&self, start: u64, born: u64) {
        self.give_back(start, born, true);
    }

    fn give_back(&self, start: u64, born: u64, to_child: bool) {
        let mut holds = lock(&self.0);
        let Some(i) = holds.iter().position(|h| h.start == start && h.born == born) else { return };
        let hold = &mut holds[i];
        hold.leases = hold.leases.saturating_sub(1);
        hold.is_inherited |= to_child;
        if hold.leases == 0 && !hold.is_inherited {
            holds.swap_remove(i);
        }
    }

    /// Whether somebody may look at a byte of the range.
    pub(crate) fn meet(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        lock(&self.0).iter().any(|h| h.start < end && start < h.end)
    }

    /// The number of leased arrays born at this time.
    pub(crate) fn arrays_born(&self, born: u64) -> usize {
        lock(&self.0).iter().filter(|h| h.born == born && h.leases > 0).count()
    }

    /// Bytes held of arrays born before this time.
    pub(crate) fn bytes_before(&self, time: u64) -> u64 {
        lock(&self.0).iter().filter(|h| h.born < time).map(|h| h.end - h.start).sum()
    }
}
