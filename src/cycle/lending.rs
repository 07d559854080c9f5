//! Leases on arrays of the arena: those of the running cycle are counted here, behind the lock, and with its
//! end on their block, which is retired.

use super::State;

/// Of the running cycle.
#[derive(Debug, Default)]
pub(super) struct Lent {
    leases: usize,
    /// With at least one lease.
    arrays: usize,
}

impl State {
    /// One more lease, the first on its array or not. The clock was looked at: the array's cycle runs.
    /// False: there is no arena.
    #[inline]
    pub(crate) fn lend(&mut self, is_first: impl FnOnce() -> bool) -> bool {
        if self.block.is_none() {
            return false;
        }
        self.lent.leases += 1;
        self.lent.arrays += usize::from(is_first());
        true
    }

    /// One less, the last on its array or not, while the cycle runs.
    #[inline]
    pub(crate) fn take_home(&mut self, is_last: bool) {
        self.lent.leases -= 1;
        self.lent.arrays -= usize::from(is_last);
    }

    /// The same when it is over, of an array at this address.
    #[cold]
    pub(crate) fn take_home_late(&mut self, address: usize, is_last: bool) {
        let Some(block) = self.retired.iter().find(|block| block.has(address)) else { return };
        if is_last {
            block.leased_arrays.down();
        }
        if block.leases.down() {
            self.reclaim();
        }
    }

    /// The cycle is over: the clock has ticked.
    #[inline]
    pub(super) fn settle_leases(&mut self) {
        if self.lent.leases > 0 {
            self.settle_those_leases();
        }
    }

    #[cold]
    fn settle_those_leases(&mut self) {
        let Lent { leases, arrays } = std::mem::take(&mut self.lent);
        if let Some(block) = &self.block {
            block.leases.add(leases);
            block.leased_arrays.add(arrays);
        }
    }
}
