//! When CPython's cyclic collector runs: by itself, at scope ends, or not at all.
//!
//! Process-wide, as the collector is; what was found is restored. The class `MemoryManager` and the
//! module's functions are thin covers over this file.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::arguments::wrong_type;
use crate::registry;

static PERIODIC: AtomicBool = AtomicBool::new(true);
static WINDOW: AtomicU64 = AtomicU64::new(0);
static FREQUENCY: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);
/// While the collector is held: whether it was on when it was taken.
static FOUND: Mutex<Option<bool>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn gc(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "gc"))
}

/// A whole number that is not negative, of milliseconds or calls.
fn not_negative(value: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    match value.extract() {
        Ok(number) if !value.is_instance_of::<PyBool>() => Ok(number),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            let limits = "must be at least 0 and below 2**64";
            Err(PyValueError::new_err(format!("{what} {limits}, not {value}")))
        }
        Err(error) if !error.is_instance_of::<PyTypeError>(value.py()) => Err(error),
        _ => Err(wrong_type(value, what, "a whole number", "")),
    }
}

/// Takes the collector or lets go of it, as the settings and the open scopes ask.
pub fn apply(py: Python<'_>) -> PyResult<()> {
    let paced = WINDOW.load(Ordering::Relaxed) > 0 && registry::threads_in_scope() > 0;
    let hold = paced || !PERIODIC.load(Ordering::Relaxed);
    let found = *lock(&FOUND);
    match (hold, found) {
        (true, None) => {
            let was_on = gc(py)?.call_method0(intern!(py, "isenabled"))?.is_truthy()?;
            *lock(&FOUND) = Some(was_on);
            gc(py)?.call_method0(intern!(py, "disable")).map(drop)
        }
        (false, Some(was_on)) => {
            *lock(&FOUND) = None;
            if was_on { gc(py)?.call_method0(intern!(py, "enable")).map(drop) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn window_has_passed() -> bool {
    let window = Duration::from_millis(WINDOW.load(Ordering::Relaxed));
    let mut last = lock(&LAST);
    if last.is_some_and(|at| at.elapsed() < window) {
        return false;
    }
    *last = Some(Instant::now());
    true
}

/// In a forked child no scope is open: the collector is its own again.
pub fn watch_forks(py: Python<'_>) -> PyResult<()> {
    let kwargs = pyo3::types::PyDict::new(py);
    let in_child = pyo3::types::PyCFunction::new_closure(py, None, None, |args, _| {
        registry::scope_depth();
        apply(args.py())
    })?;
    kwargs.set_item("after_in_child", in_child)?;
    match py.import("os")?.getattr_opt("register_at_fork")? {
        Some(register) => register.call((), Some(&kwargs)).map(drop),
        None => Ok(()),
    }
}

/// A scope was entered.
pub fn scope_entered(py: Python<'_>) -> PyResult<()> {
    if WINDOW.load(Ordering::Relaxed) == 0 { Ok(()) } else { apply(py) }
}

/// Whether it runs at the ends of scopes.
#[inline]
pub fn is_paced() -> bool {
    WINDOW.load(Ordering::Relaxed) > 0
}

/// A scope was left, completely.
pub fn scope_left(py: Python<'_>) -> PyResult<()> {
    if WINDOW.load(Ordering::Relaxed) == 0 || registry::scope_depth() > 0 {
        return Ok(());
    }
    apply(py)?;
    if window_has_passed() { invoke(py).map(drop) } else { Ok(()) }
}

pub fn is_periodic_gc_active() -> bool {
    PERIODIC.load(Ordering::Relaxed)
}

pub fn toggle_periodic_gc(py: Python<'_>, enabled: bool) -> PyResult<()> {
    PERIODIC.store(enabled, Ordering::Relaxed);
    apply(py)
}

pub fn auto_gc_window() -> u64 {
    WINDOW.load(Ordering::Relaxed)
}

pub fn set_auto_gc_window(py: Python<'_>, milliseconds: &Bound<'_, PyAny>) -> PyResult<()> {
    let window = not_negative(milliseconds, "auto_gc_window")?;
    set_window(py, window)
}

fn set_window(py: Python<'_>, window: u64) -> PyResult<()> {
    *lock(&LAST) = Some(Instant::now());
    WINDOW.store(window, Ordering::Relaxed);
    apply(py)
}

/// `gc.collect()`'s count.
pub fn invoke(py: Python<'_>) -> PyResult<u64> {
    gc(py)?.call_method0(intern!(py, "collect"))?.extract()
}

pub fn set_occasional_gc_frequency(calls: &Bound<'_, PyAny>) -> PyResult<()> {
    FREQUENCY.store(not_negative(calls, "n")?, Ordering::Relaxed);
    CALLS.store(0, Ordering::Relaxed);
    Ok(())
}

/// Collects at every n-th call, if the window has passed.
pub fn invoke_occasionally(py: Python<'_>) -> PyResult<()> {
    let frequency = FREQUENCY.load(Ordering::Relaxed);
    if frequency == 0 {
        return Ok(());
    }
    let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    if call % frequency == 0 && window_has_passed() { invoke(py).map(drop) } else { Ok(()) }
}

/// A pause of other settings: sets a window, and restores the one it found.
#[pyclass(frozen, name = "GcPolicy", module = "ndarena")]
pub struct GcPolicy {
    window: u64,
    found: Mutex<Vec<u64>>,
}

impl GcPolicy {
    pub fn new(milliseconds: &Bound<'_, PyAny>) -> PyResult<Self> {
        let window = not_negative(milliseconds, "auto_gc_window")?;
        Ok(Self { window, found: Mutex::default() })
    }
}

#[pymethods]
impl GcPolicy {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        lock(&self.found).push(auto_gc_window());
        set_window(py, self.window)
    }

    #[pyo3(signature = (*_details))]
    fn __exit__(&self, py: Python<'_>, _details: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        let found = lock(&self.found).pop();
        found.map_or(Ok(()), |window| set_window(py, window))
    }
}
