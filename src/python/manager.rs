//! `WorkspaceManager`: workspaces by id, debug mode and asserts; its methods as functions of the module.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::arguments::{self, Id, Msg, wrong_type};
use super::capture;
use super::collector;
use super::config::{PyWorkspaceConfiguration, policy_member};
use super::error::to_pyerr;
use super::faults;
use super::scope::PyScope;
use super::stats::{PyWorkspaceStats, allocation_line};
use super::workspace::{configuration_argument, workspace_argument, workspace_object};
use crate::{DEFAULT_WORKSPACE_ID, DebugMode, Error, Workspace, registry};

type Any<'py> = Bound<'py, PyAny>;

static WORKSPACE_MANAGER: PyOnceLock<Py<WorkspaceManager>> = PyOnceLock::new();

/// The one `WorkspaceManager`.
#[pyfunction]
pub fn get_workspace_manager(py: Python<'_>) -> PyResult<Py<WorkspaceManager>> {
    let manager = WORKSPACE_MANAGER.get_or_try_init(py, || Py::new(py, WorkspaceManager))?;
    Ok(manager.clone_ref(py))
}

// ---------------------------------------------------------------------- workspaces by id

/// A new registered workspace; an existing one of that id is destroyed if closed, `ScopeError` if open.
#[pyfunction]
#[pyo3(signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID)),
    text_signature = "(configuration=None, id='DefaultWorkspace')")]
pub fn create_new_workspace(
    py: Python<'_>,
    configuration: Option<&Any<'_>>,
    id: Id<'_>,
) -> PyResult<Py<PyAny>> {
    let configuration = configuration_argument(configuration)?;
    let workspace = crate::create_new_workspace(configuration.as_ref(), &id).map_err(to_pyerr)?;
    workspace_object(py, &workspace)
}

/// The registered workspace of that id, made if there is none. `ConfigurationError` if it exists with
/// another configuration.
#[pyfunction]
#[pyo3(signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID)),
    text_signature = "(configuration=None, id='DefaultWorkspace')")]
pub fn get_workspace_for_current_thread(
    py: Python<'_>,
    configuration: Option<&Any<'_>>,
    id: Id<'_>,
) -> PyResult<Py<PyAny>> {
    workspace_object(py, &get(configuration, &id)?)
}

fn get(configuration: Option<&Any<'_>>, id: &str) -> PyResult<Workspace> {
    let configuration = configuration_argument(configuration)?;
    crate::get_workspace(configuration.as_ref(), id).map_err(to_pyerr)
}

/// The same, entered: its `Scope`.
#[pyfunction]
#[pyo3(signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID)),
    text_signature = "(configuration=None, id='DefaultWorkspace')")]
pub fn get_and_activate_workspace(
    py: Python<'_>,
    configuration: Option<&Any<'_>>,
    id: Id<'_>,
) -> PyResult<PyScope> {
    let workspace = get(configuration, &id)?;
    faults::at_boundary(py)?;
    let scope = PyScope::new(registry::enter(&workspace).map_err(to_pyerr)?);
    collector::scope_entered(py)?;
    Ok(scope)
}

/// Register a workspace of this thread under its own or another id; nothing else.
#[pyfunction]
#[pyo3(signature = (ws, id = None))]
pub fn set_workspace_for_current_thread(ws: &Any<'_>, id: Option<Id<'_>>) -> PyResult<()> {
    let workspace = &workspace_argument(ws)?.get().core;
    registry::register(workspace, id.as_deref().unwrap_or(workspace.id())).map_err(to_pyerr)
}

/// Whether a workspace of that id is registered in this thread.
#[pyfunction]
pub fn check_if_workspace_exists(id: Id<'_>) -> bool {
    registry::find(&id).is_some()
}

/// Whether it is registered and open.
#[pyfunction]
pub fn check_if_workspace_exists_and_active(id: Id<'_>) -> bool {
    registry::find(&id).is_some_and(|w| w.is_scope_active())
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
pub fn destroy_workspace(ws: Option<&Any<'_>>) -> PyResult<()> {
    let workspace = match ws {
        Some(ws) => Some(workspace_argument(ws)?.get().core.clone()),
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
        return Err(wrong_type(configuration, "configuration", "a WorkspaceConfiguration", ""));
    };
    registry::set_default_configuration(configuration);
    Ok(())
}

/// The process-wide debug mode.
#[pyfunction]
pub fn get_debug_mode(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static MEMBERS: [PyOnceLock<Py<PyAny>>; DebugMode::ALL.len()] =
        [const { PyOnceLock::new() }; DebugMode::ALL.len()];
    let mode = registry::debug_mode();
    let member = MEMBERS[mode as usize]
        .get_or_try_init(py, || policy_member(py, "DebugMode", mode.name()))?;
    Ok(member.clone_ref(py))
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

// ---------------------------------------------------------------------- asserts

/// `ScopeError` if a workspace is open; with `allow_scoped_out` not while none is current.
#[pyfunction]
#[pyo3(signature = (msg, allow_scoped_out = false))]
pub fn assert_no_workspaces_open(
    msg: Msg<'_>,
    #[pyo3(from_py_with = arguments::allow_scoped_out)] allow_scoped_out: bool,
) -> PyResult<()> {
    registry::assert_no_workspaces_open(&msg, allow_scoped_out).map_err(to_pyerr)
}

/// `ScopeError` unless a workspace of that id is registered and open.
#[pyfunction]
pub fn assert_open_and_active(id: Id<'_>, msg: Msg<'_>) -> PyResult<()> {
    registry::assert_open_and_active(&id, &msg).map_err(to_pyerr)
}

/// `ScopeError` unless a workspace of that id is registered, open and current.
#[pyfunction]
pub fn assert_open_active_and_current(id: Id<'_>, msg: Msg<'_>) -> PyResult<()> {
    registry::assert_open_active_and_current(&id, &msg).map_err(to_pyerr)
}

// ---------------------------------------------------------------------- the class

/// A thread's workspaces by id (ND4J: `WorkspaceManager`). One object; every thread sees its own
/// workspaces through it. It owns the registered ones.
#[pyclass(frozen, name = "WorkspaceManager", module = "ndarena")]
pub struct WorkspaceManager;

#[pymethods]
#[expect(clippy::unused_self)]
impl WorkspaceManager {
    #[pyo3(signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID)),
    text_signature = "($self, configuration=None, id='DefaultWorkspace')")]
    fn create_new_workspace(
        &self,
        py: Python<'_>,
        configuration: Option<&Any<'_>>,
        id: Id<'_>,
    ) -> PyResult<Py<PyAny>> {
        create_new_workspace(py, configuration, id)
    }

    #[pyo3(signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID)),
    text_signature = "($self, configuration=None, id='DefaultWorkspace')")]
    fn get_workspace_for_current_thread(
        &self,
        py: Python<'_>,
        configuration: Option<&Any<'_>>,
        id: Id<'_>,
    ) -> PyResult<Py<PyAny>> {
        get_workspace_for_current_thread(py, configuration, id)
    }

    #[pyo3(signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID)),
    text_signature = "($self, configuration=None, id='DefaultWorkspace')")]
    fn get_and_activate_workspace(
        &self,
        py: Python<'_>,
        configuration: Option<&Any<'_>>,
        id: Id<'_>,
    ) -> PyResult<PyScope> {
        get_and_activate_workspace(py, configuration, id)
    }

    #[pyo3(signature = (ws, id = None))]
    fn set_workspace_for_current_thread(&self, ws: &Any<'_>, id: Option<Id<'_>>) -> PyResult<()> {
        set_workspace_for_current_thread(ws, id)
    }

    fn check_if_workspace_exists(&self, id: Id<'_>) -> bool {
        check_if_workspace_exists(id)
    }

    fn check_if_workspace_exists_and_active(&self, id: Id<'_>) -> bool {
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
    fn destroy_workspace(&self, ws: Option<&Any<'_>>) -> PyResult<()> {
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
