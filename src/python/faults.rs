//! Refusals on demand, for tests, and what is raised there in place of the core's own errors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyBaseException, PyValueError};
use pyo3::prelude::*;

use crate::faults::{self, Refusals, Refused, Refuser, refuse};

/// What is raised instead.
static EXCEPTION: Mutex<Option<Py<PyBaseException>>> = Mutex::new(None);
static WAS_RAISED: AtomicBool = AtomicBool::new(false);

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

/// The n-th ``"allocation"``, request to the ``"system"`` or boundary of a ``"scope"`` fails; an exception
/// comes of the first and the last.
#[pyfunction]
#[pyo3(name = "_set_fault")]
pub(crate) fn set_fault(point: &str, nth: u64, exception: Py<PyBaseException>) -> PyResult<()> {
    let (of, refusals) = match point {
        // Whoever is refused may ask again in another way, until somebody tells it.
        "allocation" => (Refuser::Arena, Refusals::From(nth)),
        "system" => (Refuser::System, Refusals::Once(nth)),
        "scope" => (Refuser::Scope, Refusals::Once(nth)),
        _ => return Err(PyValueError::new_err(format!("no point of faults is named {point:?}"))),
    };
    WAS_RAISED.store(false, Ordering::Relaxed);
    drop(put(Some(exception)));
    refuse(of, refusals);
    Ok(())
}

/// Ends it; whether the point was reached.
#[pyfunction]
#[pyo3(name = "_clear_fault")]
pub(crate) fn clear_fault() -> bool {
    drop(put(None));
    let all = [Refuser::Arena, Refuser::System, Refuser::Scope];
    let refused: u64 = all.into_iter().map(|of| refuse(of, Refusals::None).refused).sum();
    WAS_RAISED.swap(false, Ordering::Relaxed) || refused > 0
}

fn put(exception: Option<Py<PyBaseException>>) -> Option<Py<PyBaseException>> {
    let mut place = EXCEPTION.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *place, exception)
}

fn raised(py: Python<'_>, of: Refuser) -> Option<PyErr> {
    let place = EXCEPTION.lock().unwrap_or_else(PoisonError::into_inner);
    let exception = place.as_ref()?.clone_ref(py);
    drop(place);
    WAS_RAISED.store(true, Ordering::Relaxed);
    refuse(of, Refusals::None);
    Some(PyErr::from_value(exception.into_bound(py).into_any()))
}

/// The exception in place of a refusal that was wished for; each thread that was refused gets it.
pub(crate) fn in_place_of_refusal(py: Python<'_>) -> Option<PyErr> {
    faults::was_refused().then(|| raised(py, Refuser::Arena)).flatten()
}

/// A scope is about to be entered, or was completely left.
#[inline]
pub(crate) fn at_boundary(py: Python<'_>) -> PyResult<()> {
    if !faults::refuses(Refuser::Scope) {
        return Ok(());
    }
    raised(py, Refuser::Scope).map_or(Ok(()), Err)
}

/// Whether the ends of scopes have to be looked at.
#[inline]
pub(crate) fn may_be_at_boundary() -> bool {
    faults::is_on(Refuser::Scope)
}
