//! `MemoryManager`: what is current, what is held, the collector; its methods as functions of the module.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::arguments;
use super::collector::{self, GcPolicy};
use super::error::to_pyerr;
use super::manager::scope_out_of_workspaces;
use super::scope::PyScope;
use super::workspace::{workspace_argument, workspace_object};

type Any<'py> = Bound<'py, PyAny>;

static MEMORY_MANAGER: PyOnceLock<Py<MemoryManager>> = PyOnceLock::new();

/// The one `MemoryManager`.
#[pyfunction]
pub fn get_memory_manager(py: Python<'_>) -> PyResult<Py<MemoryManager>> {
    let manager = MEMORY_MANAGER.get_or_try_init(py, || Py::new(py, MemoryManager))?;
    Ok(manager.clone_ref(py))
}

/// The workspace that new arrays go to, or `None`.
#[pyfunction]
pub fn get_current_workspace(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    crate::current_workspace().map(|w| workspace_object(py, &w)).transpose()
}

/// Make a workspace of this thread current without entering it; `None`: no workspace.
#[pyfunction]
#[pyo3(signature = (ws))]
pub fn set_current_workspace(ws: Option<&Any<'_>>) -> PyResult<()> {
    let workspace = ws.map(workspace_argument).transpose()?;
    crate::set_current_workspace(workspace.map(|w| &w.get().core)).map_err(to_pyerr)
}

/// Bytes held for all workspaces of all threads: arenas, spills, pins, retired blocks.
#[pyfunction]
pub fn allocated_bytes() -> u64 {
    crate::allocated_bytes()
}

/// `False`: CPython's cyclic collector no longer runs by itself, until `True`.
#[pyfunction]
pub fn toggle_periodic_gc(
    py: Python<'_>,
    #[pyo3(from_py_with = arguments::enabled)] enabled: bool,
) -> PyResult<()> {
    collector::toggle_periodic_gc(py, enabled)
}

/// Whether CPython's collector may run by itself.
#[pyfunction]
pub fn is_periodic_gc_active() -> bool {
    collector::is_periodic_gc_active()
}

/// Milliseconds between collections at scope ends; 0: the collector is CPython's.
#[pyfunction]
pub fn get_auto_gc_window() -> u64 {
    collector::auto_gc_window()
}

/// The collector runs only when a thread's outermost scope closes, at most once per window.
#[pyfunction]
pub fn set_auto_gc_window(py: Python<'_>, milliseconds: &Any<'_>) -> PyResult<()> {
    collector::set_auto_gc_window(py, milliseconds)
}

/// A context manager that sets the window and restores the one it found.
#[pyfunction]
#[pyo3(signature = (*, auto_gc_window))]
pub fn gc_policy(auto_gc_window: &Any<'_>) -> PyResult<GcPolicy> {
    GcPolicy::new(auto_gc_window)
}

/// Collect now; the count of `gc.collect()`.
#[pyfunction]
pub fn invoke_gc(py: Python<'_>) -> PyResult<u64> {
    collector::invoke(py)
}

/// `invoke_gc_occasionally` collects at every n-th call; 0: never.
#[pyfunction]
pub fn set_occasional_gc_frequency(n: &Any<'_>) -> PyResult<()> {
    collector::set_occasional_gc_frequency(n)
}

/// Collect at every n-th call, if the window has passed.
#[pyfunction]
pub fn invoke_gc_occasionally(py: Python<'_>) -> PyResult<()> {
    collector::invoke_occasionally(py)
}

/// What is current, what is held, and when CPython's collector runs (ND4J: `MemoryManager`). It owns no
/// memory.
#[pyclass(frozen, name = "MemoryManager", module = "ndarena")]
pub struct MemoryManager;

#[pymethods]
#[expect(clippy::unused_self)]
impl MemoryManager {
    #[getter]
    fn current_workspace(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        get_current_workspace(py)
    }

    #[setter(current_workspace)]
    fn assign_current_workspace(&self, ws: Option<&Any<'_>>) -> PyResult<()> {
        set_current_workspace(ws)
    }

    fn scope_out_of_workspaces(&self, py: Python<'_>) -> PyResult<PyScope> {
        scope_out_of_workspaces(py)
    }

    fn allocated_bytes(&self) -> u64 {
        allocated_bytes()
    }

    fn toggle_periodic_gc(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::enabled)] enabled: bool,
    ) -> PyResult<()> {
        toggle_periodic_gc(py, enabled)
    }

    #[getter]
    fn is_periodic_gc_active(&self) -> bool {
        is_periodic_gc_active()
    }

    fn set_auto_gc_window(&self, py: Python<'_>, milliseconds: &Any<'_>) -> PyResult<()> {
        set_auto_gc_window(py, milliseconds)
    }

    #[getter]
    fn auto_gc_window(&self) -> u64 {
        get_auto_gc_window()
    }

    #[pyo3(signature = (*, auto_gc_window))]
    fn gc_policy(&self, auto_gc_window: &Any<'_>) -> PyResult<GcPolicy> {
        gc_policy(auto_gc_window)
    }

    fn invoke_gc(&self, py: Python<'_>) -> PyResult<u64> {
        invoke_gc(py)
    }

    fn set_occasional_gc_frequency(&self, n: &Any<'_>) -> PyResult<()> {
        set_occasional_gc_frequency(n)
    }

    fn invoke_gc_occasionally(&self, py: Python<'_>) -> PyResult<()> {
        invoke_gc_occasionally(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a MemoryManager does not pickle: get_memory_manager()"))
    }
}
