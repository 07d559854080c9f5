//! `ArrayType` as Python sees it: a class with nine members, found by identity.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::error::to_pyerr;
use crate::{ArrayType, Error};

static MEMBERS: PyOnceLock<Vec<Py<PyArrayType>>> = PyOnceLock::new();

macro_rules! members {
    ($($(#[$doc:meta])* $member:ident)+) => {
        /// What an array is to a layer. A member, or its name in any case, says so to a `LayerWorkspaceMgr`.
        #[pyclass(
            frozen, eq, eq_int, name = "ArrayType", module = "ndarena",
            rename_all = "SCREAMING_SNAKE_CASE"
        )]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum PyArrayType { $($(#[$doc])* $member),+ }

        impl PyArrayType {
            fn core(self) -> ArrayType {
                match self { $(Self::$member => ArrayType::$member),+ }
            }
        }
    };
}

members! {
    /// Input of a layer, kept for its backward pass.
    Input
    /// Output of a layer.
    Activations
    /// Gradient with respect to the input of a layer.
    ActivationGrad
    /// Scratch of a layer's forward pass.
    FfWorkingMem
    /// Scratch of a layer's backward pass.
    BpWorkingMem
    /// Scratch of one time step forward.
    RnnFfLoopWorkingMem
    /// Scratch of one time step backward.
    RnnBpLoopWorkingMem
    /// Scratch of the updater.
    UpdaterWorkingMem
    /// What the forward pass keeps for the backward pass, the input apart.
    FfCache
}

/// The members in the order of the core's.
fn members(py: Python<'_>) -> PyResult<&Vec<Py<PyArrayType>>> {
    MEMBERS.get_or_try_init(py, || {
        let class = py.get_type::<PyArrayType>();
        let member = |t: &ArrayType| Ok(class.getattr(t.name())?.cast_into()?.unbind());
        ArrayType::ALL.iter().map(member).collect()
    })
}

/// An argument that names a type: a member, found by identity first, or a name.
pub fn array_type(given: &Bound<'_, PyAny>) -> PyResult<ArrayType> {
    let members = members(given.py())?;
    if let Some(index) = members.iter().position(|member| member.as_ptr() == given.as_ptr()) {
        return Ok(ArrayType::ALL[index]);
    }
    let Ok(name) = given.cast::<PyString>() else {
        let kind = given.get_type();
        return Err(PyTypeError::new_err(format!(
            "expected an ArrayType or its name, got {}",
            kind.name()?
        )));
    };
    let name = name.to_string_lossy();
    ArrayType::from_name(&name).ok_or_else(|| {
        let known: Vec<_> = ArrayType::ALL.iter().map(|t| t.name()).collect();
        let reason = format!("is not known; known are {}", known.join(", "));
        to_pyerr(Error::configuration("array_type", name, reason))
    })
}

#[pymethods]
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "a method of a Python object takes a reference"
)]
impl PyArrayType {
    /// The member of that name, in any case.
    #[new]
    fn new(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        Ok(members(py)?[array_type(value)? as usize].clone_ref(py))
    }

    /// The name in capitals.
    #[getter]
    fn name(&self) -> &'static str {
        self.core().name()
    }

    /// The same as `name`.
    #[getter]
    fn value(&self) -> &'static str {
        self.name()
    }

    /// All members, in the order of their declaration.
    #[staticmethod]
    #[pyo3(name = "members")]
    fn all(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, members(py)?)
    }

    /// As that of the integer it equals.
    fn __hash__(&self) -> isize {
        *self as isize
    }

    fn __str__(&self) -> String {
        format!("ArrayType.{}", self.name())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (&'static str,)) {
        (slf.as_any().get_type(), (slf.get().name(),))
    }
}

/// Gives the class its `__members__`, by name.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let by_name = PyDict::new(py);
    for member in members(py)? {
        by_name.set_item(member.get().name(), member)?;
    }
    let proxy = py.import("types")?.call_method1("MappingProxyType", (by_name,))?;
    py.get_type::<PyArrayType>().setattr("__members__", proxy)
}
