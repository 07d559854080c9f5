//! Leases on what was cut in the arena of a cycle, counted behind the lock, as is the tick that ends the cycle:
//! whoever comes second sees the other.

use super::Workspace;
use crate::array::Cut;
use crate::clock::Leases;

impl Workspace {
    /// One more lease on memory that was cut at that time; `leases` are those on it. False, and nothing is
    /// counted: its cycle is over.
    #[inline]
    pub(crate) fn lend(&self, born: u64, leases: &Leases) -> bool {
        let Some(mut state) = self.state() else { return false };
        self.0.clock.now() == born && state.lend(|| leases.up_locked())
    }

    /// One less, in whatever thread.
    #[inline]
    pub(crate) fn take_home(&self, cut: &Cut, leases: &Leases) {
        let Some(mut state) = self.state() else { return };
        let is_last = leases.down_locked();
        if self.0.clock.now() == cut.born() {
            state.take_home(is_last);
        } else {
            state.take_home_late(cut.address(), is_last);
        }
    }

    /// How many there are.
    pub(crate) fn count_leases(&self, leases: &Leases) -> usize {
        let _state = self.state();
        leases.count()
    }
}
