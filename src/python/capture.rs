//! Scopes that capture NumPy's own allocations: enter, with a handler; a private workspace per thread.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::collector;
use super::error::to_pyerr;
use super::faults;
use super::handler;
use super::scope::PyScope;
use super::workspace::PyWorkspace;
use crate::registry::{Capture, ScopeToken};
use crate::{Error, WorkspaceConfiguration};

const PRIVATE_ID: &str = "capture_numpy";

/// From how many bytes on allocations are captured, where the environment says so: for tests.
pub fn read_environment() -> PyResult<()> {
    let Some(value) = std::env::var_os("NDARENA_CAPTURE_FLOOR").filter(|v| !v.is_empty()) else {
        return Ok(());
    };
    let value = value.to_string_lossy();
    let bytes = value.parse().ok().or_else(|| crate::parse_bytes(&value)).unwrap_or(0);
    crate::set_capture_floor(bytes).map_err(|_| {
        let reason = "must be a power of two, and at least 64";
        to_pyerr(Error::configuration("NDARENA_CAPTURE_FLOOR", &value, reason))
    })
}

/// A scope of `workspace` inside which NumPy's own allocations are served by it.
pub fn enter<'py>(workspace: &Bound<'py, PyWorkspace>) -> PyResult<Bound<'py, PyScope>> {
    let (py, own) = (workspace.py(), workspace.get());
    let core = &own.core;
    if core.is_dummy() {
        return PyScope::enter(workspace, Capture::No);
    }
    core.check_enter("notify_scope_entered").map_err(to_pyerr)?;
    let how = handler::install(py, core, &own.handlers).map_err(|e| refused(py, &e, core))?;
    let entered = PyScope::enter(workspace, how);
    if entered.is_err() && how == Capture::Installed {
        handler::remove(py, &[Some(core.serial())])?;
    }
    entered
}

/// A scope out of workspaces: a capture that runs pauses.
pub fn scope_out(py: Python<'_>, scope: ScopeToken) -> PyResult<ScopeToken> {
    if let Err(error) = handler::pause(py, &scope) {
        scope.close().map_err(to_pyerr)?;
        return Err(error);
    }
    Ok(scope)
}

/// The handler that is there, or NumPy, does not let us.
fn refused(py: Python<'_>, cause: &PyErr, workspace: &crate::Workspace) -> PyErr {
    let reason = format!(
        "workspace [{}] cannot capture: NumPy's memory handler could not be set ({cause}); nothing was \
         entered: restore a valid handler, or enter without capture_numpy",
        workspace.id()
    );
    let error = to_pyerr(Error::Scope { reason, facts: workspace.facts() });
    error.set_cause(py, Some(cause.clone_ref(py)));
    error
}

/// NumPy's own allocations, served by a private workspace of the calling thread: its `Scope`.
#[pyfunction]
pub fn capture_numpy(py: Python<'_>) -> PyResult<Bound<'_, PyScope>> {
    let workspace = private(py)?;
    faults::at_boundary(py)?;
    let scope = enter(&workspace)?;
    collector::scope_entered(py)?;
    Ok(scope)
}

/// Made at the first call, and anew if it was destroyed or comes from before a fork.
fn private(py: Python<'_>) -> PyResult<Bound<'_, PyWorkspace>> {
    static STORAGE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let local = || py.import(intern!(py, "threading"))?.getattr("local")?.call0();
    let storage = STORAGE.get_or_try_init(py, || local().map(Bound::unbind))?.bind(py);
    let name = intern!(py, "workspace");
    if let Some(known) = storage.getattr_opt(name)? {
        let known = known.cast_into::<PyWorkspace>()?;
        if known.get().core.check_enter("capture_numpy").is_ok() {
            return Ok(known);
        }
    }
    let core = crate::Workspace::new(WorkspaceConfiguration::default(), PRIVATE_ID);
    let new = PyWorkspace::new_object(py, core.map_err(to_pyerr)?)?;
    new.get().core.allow_unused();
    storage.setattr(name, &new)?;
    Ok(new)
}
