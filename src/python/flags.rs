//! ndarray's flags, to be read only.

use pyo3::basic::CompareOp;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// How the elements of an array lie in memory: NumPy's flags, which cannot be set.
#[pyclass(frozen, name = "Flags", module = "ndarena")]
pub struct Flags(Py<PyAny>);

impl Flags {
    /// The flags of an array that never leaves the crate.
    pub fn new(flags: Bound<'_, PyAny>) -> Self {
        Self(flags.unbind())
    }
}

#[pymethods]
impl Flags {
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        if name.starts_with("__") {
            return Err(PyAttributeError::new_err(format!("flags have no attribute '{name}'")));
        }
        self.0.bind(py).getattr(PyString::intern(py, name))
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.0.bind(py).get_item(key)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.bind(py).repr()?.to_string_lossy().into_owned())
    }

    fn __richcmp__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mine = self.0.bind(other.py());
        match other.cast::<Self>() {
            Ok(other) => mine.rich_compare(&other.get().0, op),
            Err(_) => mine.rich_compare(other, op),
        }
    }
}
