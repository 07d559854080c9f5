//! The end of a Python thread, told to the core before `join` returns.
//!
//! A thread's own storage dies while the thread still runs; thread-locals of Rust die later, when
//! `join` may have returned already.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::collector;
use crate::registry;

static STORAGE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Lies in a thread's storage and ends the thread's workspaces when it goes.
#[pyclass(frozen)]
struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        registry::end_thread();
        // A scope of the thread may have held the collector.
        Python::try_attach(collector::apply);
    }
}

/// Notes that the calling thread has workspaces. The main thread ends with the process.
pub fn watch(py: Python<'_>) -> PyResult<()> {
    if IS_WATCHED.get() {
        return Ok(());
    }
    let threading = py.import(intern!(py, "threading"))?;
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    if !threading.call_method0(intern!(py, "get_ident"))?.eq(main)? {
        let storage = STORAGE.get_or_try_init(py, || {
            threading.call_method0(intern!(py, "local")).map(Bound::unbind)
        })?;
        storage.bind(py).setattr(intern!(py, "watch"), Py::new(py, Watch)?)?;
    }
    IS_WATCHED.set(true);
    Ok(())
}
