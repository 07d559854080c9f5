//! The two managers, and their methods as functions of the module.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::capture;
use super::collector::{self, GcPolicy};
use super::config::{PyWorkspaceConfiguration, policy_member};
use super::error::to_pyerr;
use super::faults;
use super::scope::PyScope;
use super::stats::{PyWorkspaceStats, allocation_line};
use super::workspace::{PyWorkspace, configuration_argument, workspace_object};
use crate::{DEFAULT_WORKSPACE_ID, DebugMode, Error, Workspace, registry};

type Any<'py> = Bound<'py, PyAny>;

static WORKSPACE_MANAGER: PyOnceLock<Py<WorkspaceManager>> = PyOnceLock::new();
static MEMORY_MANAGER: PyOnceLock<Py<MemoryManager>> = PyOnceLock::new();

/// The one `WorkspaceManager`.
#[pyfunction]
pub fn get_workspace_manager(py: Python<'_>) -> PyResult<Py<WorkspaceManager>> {
    let manager = WORKSPACE_MANAGER.get_or_try_init(py, || Py::new(py, WorkspaceManager))?;
    Ok(manager.clone_ref(py))
}

/// The one `MemoryManager`.
#[pyfunction]
pub fn get_memory_manager(py: Python<'_>) -> PyResult<Py<MemoryManager>> {
    let manager = MEMORY_MANAGER.get_or_try_init(py, || Py::new(py, MemoryManager))?;
    Ok(manager.clone_ref(py))
}

// ---------------------------------------------------------------------- workspaces by id

/// A new registered workspace; an existing one of that id is destroyed if closed, `ScopeError` if open.
#[pyfunction]
#[pyo3(signature = (configuration = None, id = DEFAULT_WORKSPACE_ID),
    text_signature = "(configuration=None, id='DefaultWorkspace')")]
pub fn create_new_workspace(
    py: Python<'_>,
    configuration: Option<&Any<'_>>,
    id: &str,
) -> PyResult<Py<PyAny>> {
    let configuration = configuration_argument(configuration)?;
    let workspace = crate::create_new_workspace(configuration.as_ref(), id).map_err(to_pyerr)?;
    workspace_object(py, &workspace)
}

/// The registered workspace of that id, made if there is none. `ConfigurationError` if it exists with
/// another configuration.
#[pyfunction]
#[pyo3(signature = (configuration = None, id = DEFAULT_WORKSPACE_ID),
    text_signature = "(configuration=None, id='DefaultWorkspace')")]
pub fn get_workspace_for_current_thread(
    py: Python<'_>,
    configuration: Option<&Any<'_>>,
    id: &str,
) -> PyResult<Py<PyAny>> {
    workspace_object(py, &get(configuration, id)?)
}

fn get(configuration: Option<&Any<'_>>, id: &str) -> PyResult<Workspace> {
    let configuration = configuration_argument(configuration)?;
    crate::get_workspace(configuration.as_ref(), id).map_err(to_pyerr)
}

/// The same, entered: its `Scope`.
#[pyfunction]
#[pyo3(signature = (configuration = None, id = DEFAULT_WORKSPACE_ID),
    text_signature = "(configuration=None, id='DefaultWorkspace')")]
pub fn get_and_activate_workspace(
    py: Python<'_>,
    configuration: Option<&Any<'_>>,
    id: &str,
) -> PyResult<PyScope> {
    let workspace = get(configuration, id)?;
    faults::at_boundary(py)?;
    let scope = PyScope::new(registry::enter(&workspace).map_err(to_pyerr)?);
    collector::scope_entered(py)?;
    Ok(scope)
}

/// Register a workspace of this thread under its own or another id; nothing else.
#[pyfunction]
#[pyo3(signature = (ws, id = None))]
pub fn set_workspace_for_current_thread(
    ws: &Bound<'_, PyWorkspace>,
    id: Option<&str>,
) -> PyResult<()> {
    let workspace = &ws.get().core;
    registry::register(workspace, id.unwrap_or(workspace.id())).map_err(to_pyerr)
}

/// Whether a workspace of that id is registered in this thread.
#[pyfunction]
pub fn check_if_workspace_exists(id: &str) -> bool {
    registry::find(id).is_some()
}

/// Whether it is registered and open.
#[pyfunction]
pub fn check_if_workspace_exists_and_active(id: &str) -> bool {
    registry::find(id).is_some_and(|w| w.is_scope_active())
}

/// Whether any workspace of this thread is open, scoped out or not.
#[pyfunction]
pub fn any_workspace_active_for_current_thread() -> bool {
    registry::any_workspace_active()
}

/// Ids registered in this thread, sorted.
#[pyfunction]
pub fn get_all_workspaces_ids_for_current_thread() -> Vec<String> {
    registry::workspace_ids()
}

/// Workspaces registered in this thread, in the order of their ids.
#[pyfunction]
pub fn get_all_workspaces_for_current_thread(py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
    registry::workspaces().iter().map(|w| workspace_object(py, w)).collect()
}

/// Destroy a workspace (of another thread only while it is closed); without one, this thread's default.
#[pyfunction]
#[pyo3(signature = (ws = None))]
pub fn destroy_workspace(ws: Option<&Bound<'_, PyWorkspace>>) -> PyResult<()> {
    let workspace = match ws {
        Some(ws) => Some(ws.get().core.clone()),
        None => registry::find(DEFAULT_WORKSPACE_ID),
    };
    workspace.map_or(Ok(()), |w| registry::destroy_workspace(&w).map_err(to_pyerr))
}

/// Destroy every workspace registered in this thread, open ones included.
#[pyfunction]
pub fn destroy_all_workspaces_for_current_thread() {
    registry::destroy_all_workspaces();
}

/// One line per registered workspace on `sys.stdout`.
#[pyfunction]
pub fn print_allocation_statistics_for_current_thread(py: Python<'_>) -> PyResult<()> {
    let stdout = py.import("sys")?.getattr("stdout")?;
    for workspace in registry::workspaces() {
        let line = allocation_line(&workspace.stats()) + "\n";
        stdout.call_method1("write", (PyString::new(py, &line),))?;
    }
    Ok(())
}

/// Statistics of the workspaces of all living threads.
#[pyfunction]
pub fn allocation_statistics(py: Python<'_>) -> PyResult<Vec<PyWorkspaceStats>> {
    let living = crate::living_workspaces();
    let stats = |w: &Workspace| {
        let core = w.configuration().clone();
        let configuration = Py::new(py, PyWorkspaceConfiguration { core })?.into_any();
        PyWorkspaceStats::new(py, w.stats(), configuration)
    };
    living.iter().map(stats).collect()
}

/// A scope inside which no workspace is current while all stay open.
#[pyfunction]
pub fn scope_out_of_workspaces(py: Python<'_>) -> PyResult<PyScope> {
    faults::at_boundary(py)?;
    let token = registry::scope_out_of_workspaces().map_err(to_pyerr)?;
    let scope = PyScope::new(capture::scope_out(py, token)?);
    collector::scope_entered(py)?;
    Ok(scope)
}

/// What workspaces are made with when nothing is said.
#[pyfunction]
pub fn get_default_workspace_configuration() -> PyWorkspaceConfiguration {
    PyWorkspaceConfiguration { core: registry::default_configuration() }
}

/// Process-wide; for workspaces made from now on.
#[pyfunction]
pub fn set_default_workspace_configuration(configuration: &Any<'_>) -> PyResult<()> {
    let Some(configuration) = configuration_argument(Some(configuration))? else {
        return Err(PyTypeError::new_err(
            "configuration must be a WorkspaceConfiguration, not None",
        ));
    };
    registry::set_default_configuration(configuration);
    Ok(())
}

/// The process-wide debug mode.
#[pyfunction]
pub fn get_debug_mode(py: Python<'_>) -> PyResult<Py<PyAny>> {
    policy_member(py, "DebugMode", registry::debug_mode().name())
}

/// Set the process-wide debug mode: a member of `DebugMode`, or its name.
#[pyfunction]
pub fn set_debug_mode(mode: &Any<'_>) -> PyResult<()> {
    let name = match mode.getattr("name") {
        Ok(name) => name,
        Err(_) => mode.clone(),
    };
    let text = name.extract::<String>().unwrap_or_default();
    let Some(mode) = DebugMode::from_name(&text) else {
        return Err(to_pyerr(unknown_mode("debug_mode", &mode.str()?.to_string())));
    };
    registry::set_debug_mode(mode);
    Ok(())
}

fn unknown_mode(field: &str, value: &str) -> Error {
    let known: Vec<_> = DebugMode::ALL.iter().map(|m| m.name()).collect();
    Error::configuration(field, value, format!("is not known; known are {}", known.join(", ")))
}

/// The debug mode that the environment asks for, at import.
pub fn read_environment() -> PyResult<()> {
    let Some(value) = std::env::var_os("NDARENA_DEBUG").filter(|v| !v.is_empty()) else {
        return Ok(());
    };
    let value = value.to_string_lossy();
    match DebugMode::from_name(&value) {
        Some(mode) => registry::set_debug_mode(mode),
        None => return Err(to_pyerr(unknown_mode("NDARENA_DEBUG", &value))),
    }
    Ok(())
}

// ---------------------------------------------------------------------- memory and the collector

/// The workspace that new arrays go to, or `None`.
#[pyfunction]
pub fn get_current_workspace(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    crate::current_workspace().map(|w| workspace_object(py, &w)).transpose()
}

/// Make a workspace of this thread current without entering it; `None`: no workspace.
#[pyfunction]
#[pyo3(signature = (ws))]
pub fn set_current_workspace(ws: Option<&Bound<'_, PyWorkspace>>) -> PyResult<()> {
    crate::set_current_workspace(ws.map(|w| &w.get().core)).map_err(to_pyerr)
}

/// Bytes held for all workspaces of all threads: arenas, spills, pins, retired blocks.
#[pyfunction]
pub fn allocated_bytes() -> u64 {
    crate::allocated_bytes()
}

/// `False`: CPython's cyclic collector no longer runs by itself, until `True`.
#[pyfunction]
pub fn toggle_periodic_gc(py: Python<'_>, enabled: bool) -> PyResult<()> {
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

// ---------------------------------------------------------------------- asserts

/// `ScopeError` if a workspace is open; with `allow_scoped_out` not while none is current.
#[pyfunction]
#[pyo3(signature = (msg, allow_scoped_out = false))]
pub fn assert_no_workspaces_open(msg: &str, allow_scoped_out: bool) -> PyResult<()> {
    registry::assert_no_workspaces_open(msg, allow_scoped_out).map_err(to_pyerr)
}

/// `ScopeError` unless a workspace of that id is registered and open.
#[pyfunction]
pub fn assert_open_and_active(id: &str, msg: &str) -> PyResult<()> {
    registry::assert_open_and_active(id, msg).map_err(to_pyerr)
}

/// `ScopeError` unless a workspace of that id is registered, open and current.
#[pyfunction]
pub fn assert_open_active_and_current(id: &str, msg: &str) -> PyResult<()> {
    registry::assert_open_active_and_current(id, msg).map_err(to_pyerr)
}

// ---------------------------------------------------------------------- the classes

/// A thread's workspaces by id (ND4J: `WorkspaceManager`). One object; every thread sees its own
/// workspaces through it. It owns the registered ones.
#[pyclass(frozen, name = "WorkspaceManager", module = "ndarena")]
pub struct WorkspaceManager;

#[pymethods]
#[expect(clippy::unused_self)]
impl WorkspaceManager {
    #[pyo3(signature = (configuration = None, id = DEFAULT_WORKSPACE_ID),
    text_signature = "($self, configuration=None, id='DefaultWorkspace')")]
    fn create_new_workspace(
        &self,
        py: Python<'_>,
        configuration: Option<&Any<'_>>,
        id: &str,
    ) -> PyResult<Py<PyAny>> {
        create_new_workspace(py, configuration, id)
    }

    #[pyo3(signature = (configuration = None, id = DEFAULT_WORKSPACE_ID),
    text_signature = "($self, configuration=None, id='DefaultWorkspace')")]
    fn get_workspace_for_current_thread(
        &self,
        py: Python<'_>,
        configuration: Option<&Any<'_>>,
        id: &str,
    ) -> PyResult<Py<PyAny>> {
        get_workspace_for_current_thread(py, configuration, id)
    }

    #[pyo3(signature = (configuration = None, id = DEFAULT_WORKSPACE_ID),
    text_signature = "($self, configuration=None, id='DefaultWorkspace')")]
    fn get_and_activate_workspace(
        &self,
        py: Python<'_>,
        configuration: Option<&Any<'_>>,
        id: &str,
    ) -> PyResult<PyScope> {
        get_and_activate_workspace(py, configuration, id)
    }

    #[pyo3(signature = (ws, id = None))]
    fn set_workspace_for_current_thread(
        &self,
        ws: &Bound<'_, PyWorkspace>,
        id: Option<&str>,
    ) -> PyResult<()> {
        set_workspace_for_current_thread(ws, id)
    }

    fn check_if_workspace_exists(&self, id: &str) -> bool {
        check_if_workspace_exists(id)
    }

    fn check_if_workspace_exists_and_active(&self, id: &str) -> bool {
        check_if_workspace_exists_and_active(id)
    }

    fn any_workspace_active_for_current_thread(&self) -> bool {
        any_workspace_active_for_current_thread()
    }

    fn get_all_workspaces_ids_for_current_thread(&self) -> Vec<String> {
        get_all_workspaces_ids_for_current_thread()
    }

    fn get_all_workspaces_for_current_thread(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        get_all_workspaces_for_current_thread(py)
    }

    #[pyo3(signature = (ws = None))]
    fn destroy_workspace(&self, ws: Option<&Bound<'_, PyWorkspace>>) -> PyResult<()> {
        destroy_workspace(ws)
    }

    fn destroy_all_workspaces_for_current_thread(&self) {
        destroy_all_workspaces_for_current_thread();
    }

    fn print_allocation_statistics_for_current_thread(&self, py: Python<'_>) -> PyResult<()> {
        print_allocation_statistics_for_current_thread(py)
    }

    fn allocation_statistics(&self, py: Python<'_>) -> PyResult<Vec<PyWorkspaceStats>> {
        allocation_statistics(py)
    }

    fn scope_out_of_workspaces(&self, py: Python<'_>) -> PyResult<PyScope> {
        scope_out_of_workspaces(py)
    }

    #[getter]
    fn default_workspace_configuration(&self) -> PyWorkspaceConfiguration {
        get_default_workspace_configuration()
    }

    #[setter(default_workspace_configuration)]
    fn assign_default_workspace_configuration(&self, configuration: &Any<'_>) -> PyResult<()> {
        set_default_workspace_configuration(configuration)
    }

    #[getter]
    fn debug_mode(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        get_debug_mode(py)
    }

    #[setter(debug_mode)]
    fn assign_debug_mode(&self, mode: &Any<'_>) -> PyResult<()> {
        set_debug_mode(mode)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a WorkspaceManager does not pickle: get_workspace_manager()"))
    }
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
    fn assign_current_workspace(&self, ws: Option<&Bound<'_, PyWorkspace>>) -> PyResult<()> {
        set_current_workspace(ws)
    }

    fn scope_out_of_workspaces(&self, py: Python<'_>) -> PyResult<PyScope> {
        scope_out_of_workspaces(py)
    }

    fn allocated_bytes(&self) -> u64 {
        allocated_bytes()
    }

    fn toggle_periodic_gc(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
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
