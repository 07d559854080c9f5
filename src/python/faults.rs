//! Refusals on demand, for tests.

use pyo3::prelude::*;

use crate::faults::{Refusals, Refused, Refuser, refuse};

/// Every request from the n-th on is refused, or every n-th; 0 ends it. Returns what the last call of
/// this kind saw and refused.
#[pyfunction]
#[pyo3(name = "_fail_allocations", signature = (nth, *, every = false, system = false))]
pub(crate) fn fail_allocations(nth: u64, every: bool, system: bool) -> (u64, u64) {
    let of = if system { Refuser::System } else { Refuser::Arena };
    let refusals = match (nth, every) {
        (0, _) => Refusals::None,
        (n, false) => Refusals::From(n),
        (n, true) => Refusals::Every(n),
    };
    let Refused { asked, refused } = refuse(of, refusals);
    (asked, refused)
}
