//! What a request leaves with its owner.

use crate::fit::NONE;

/// A request of the running cycle; needed for its death. Small, as it is copied with every array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its cycle and its number there, in one word: two that are written apart and copied as one make
    /// the processor wait.
    name: u64,
    /// Its span in `fit`; or `PLANNED`, or `SPILLED`.
    pub(super) span: u32,
}

impl Ticket {
    /// Of no request.
    pub const NONE: Self = Self { name: 0, span: NOTHING };

    #[inline]
    pub(super) fn new(cycle: u64, index: usize, span: u32) -> Self {
        Self { name: cycle | index as u64, span }
    }

    /// It was the i-th of the cycle.
    #[inline]
    pub fn index(self) -> usize {
        usize::try_from(self.name & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }

    /// The same; more than any request has, if it is of another cycle.
    #[inline]
    pub(super) fn number(self, cycle: u64) -> u64 {
        self.name ^ cycle
    }

    #[inline]
    pub(super) fn is_of(self, cycle: u64) -> bool {
        self.number(cycle) >> 32 == 0
    }
}

pub(super) const NEXT_CYCLE: u64 = 1 << 32;
pub(super) const PLANNED: u32 = NONE;
pub(super) const SPILLED: u32 = NONE - 1;
const NOTHING: u32 = NONE - 2;
