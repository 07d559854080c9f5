//! The one map from the core's errors to Python's exceptions: a full match, no wildcard.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::faults;
use crate::{Error, Facts, Validity};

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// A class of `ndarena.errors`.
pub(crate) fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let module =
        ERRORS.get_or_try_init(py, || PyModule::import(py, "ndarena.errors").map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

/// The Python exception of a refusal, with message and facts.
#[cold]
pub(crate) fn to_pyerr(error: impl Into<Error>) -> PyErr {
    let error = error.into();
    Python::attach(|py| build(py, &error).unwrap_or_else(|failed| failed))
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let facts = match error.facts() {
        Some(facts) => to_dict(py, facts)?,
        None => PyDict::new(py),
    };
    let name = match error {
        Error::Stale { validity, .. } => stale_class(*validity),
        Error::Full { .. } => match faults::in_place_of_refusal(py) {
            Some(injected) => return Ok(injected),
            None => "WorkspaceFullError",
        },
        Error::Scope { .. } => "ScopeError",
        Error::WrongThread { .. } => "WrongThreadError",
        Error::Escaped { .. } => "EscapedViewError",
        Error::Location { .. } => "ArrayLocationError",
        Error::UnknownWorkspace { .. } => "UnknownWorkspaceError",
        Error::Configuration { field, value, reason, .. } => {
            facts.set_item("field", field)?;
            facts.set_item("value", value)?;
            facts.set_item("reason", reason)?;
            "ConfigurationError"
        }
        Error::DestroyedWorkspace { .. } => "DestroyedWorkspaceError",
        Error::Dtype { .. } | Error::Usage { .. } => {
            return Ok(PyTypeError::new_err(error.to_string()));
        }
        Error::Shape { .. } => {
            return Ok(pyo3::exceptions::PyValueError::new_err(error.to_string()));
        }
        Error::Borrowed { .. } => {
            return Ok(pyo3::exceptions::PyBufferError::new_err(error.to_string()));
        }
    };
    let exception = class(py, name)?.call((error.to_string(),), Some(&facts))?;
    Ok(PyErr::from_value(exception))
}

fn stale_class(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "StaleArrayError",
        Validity::Leaked => "LeakedArrayError",
        Validity::Outdated => "OutdatedArrayError",
        Validity::Overwritten => "OverwrittenArrayError",
        Validity::Destroyed => "DestroyedArrayError",
        Validity::Closed => "ClosedArrayError",
    }
}

fn to_dict<'py>(py: Python<'py>, facts: &Facts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("workspace_id", &facts.workspace_id)?;
    dict.set_item("array_generation", facts.array_generation)?;
    dict.set_item("workspace_generation", facts.workspace_generation)?;
    if let Some(open) = &facts.open_workspaces {
        dict.set_item("open_workspaces", PyTuple::new(py, open)?)?;
    }
    dict.set_item("operation", &facts.operation)?;
    dict.set_item("argument", &facts.argument)?;
    if let Some(shape) = &facts.shape {
        dict.set_item("shape", PyTuple::new(py, shape)?)?;
    }
    dict.set_item("dtype", &facts.dtype)?;
    dict.set_item("created_at", &facts.created_at)?;
    Ok(dict)
}

/// Emits a warning of a class of `ndarena.errors` or of the built-ins. `Err`: it was made an error.
pub(crate) fn warn(py: Python<'_>, class: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
    let message = std::ffi::CString::new(message.replace('\0', " "))?;
    PyErr::warn(py, class, &message, 1)
}

/// Adds a line to an exception that is already on its way.
pub(crate) fn add_note(exception: &Bound<'_, PyAny>, note: &str) -> PyResult<()> {
    exception.call_method1("add_note", (PyString::new(exception.py(), note),)).map(drop)
}
