//! `WorkspaceArray` as a container: metadata, element access, text, pickling, its end.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PySlice, PyString, PyTuple};

use super::arguments::Msg;
use super::config::policy_member;
use super::error::to_pyerr;
use super::flags::Flags;
use super::foreign;
use super::handle::WorkspaceArray;
use super::indexing;
use super::loops::picking;
use super::naming::{Call, Place};
use super::place::Operands;
use super::steady;
use super::view;
use super::workspace::workspace_object;
use crate::{Validity, registry};

type Slf<'a, 'py> = &'a Bound<'py, WorkspaceArray>;
type Object<'py> = PyResult<Bound<'py, PyAny>>;

/// An attribute that works after the end too.
fn metadata<'py>(slf: Slf<'_, 'py>, name: &str) -> Object<'py> {
    slf.get().template(slf.py())?.object().getattr(PyString::intern(slf.py(), name))
}

#[pymethods]
impl WorkspaceArray {
    /// Number of elements along each axis.
    #[getter]
    fn shape<'py>(slf: Slf<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(slf.py(), slf.get().form().shape())
    }

    /// The element type.
    #[getter]
    fn dtype<'py>(slf: Slf<'_, 'py>) -> Bound<'py, PyAny> {
        slf.get().form().dtype(slf.py()).clone()
    }

    /// Number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.form().shape().len()
    }

    /// Number of elements.
    #[getter]
    fn size(&self) -> isize {
        self.form().size()
    }

    /// Bytes of all elements.
    #[getter]
    fn nbytes(&self) -> isize {
        self.form().size().saturating_mul(self.form().item().size)
    }

    /// Bytes of one element.
    #[getter]
    fn itemsize(&self) -> isize {
        self.form().item().size
    }

    /// Bytes from one element to the next along each axis.
    #[getter]
    fn strides<'py>(slf: Slf<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(slf.py(), slf.get().form().strides())
    }

    /// How the elements lie in memory.
    #[getter]
    fn flags(slf: Slf<'_, '_>) -> PyResult<Flags> {
        metadata(slf, "flags").map(Flags::new)
    }

    /// The workspace in which the array was made.
    #[getter(workspace)]
    fn workspace_object(slf: Slf<'_, '_>) -> PyResult<Py<PyAny>> {
        workspace_object(slf.py(), slf.get().workspace())
    }

    /// Number of full enters of the workspace at the birth of the array.
    #[getter]
    fn generation_id(&self) -> u64 {
        self.generation()
    }

    /// Whether the array was made in a workspace: always, unlike a plain array.
    #[getter]
    #[expect(clippy::unused_self)]
    fn is_attached(&self) -> bool {
        true
    }

    /// Whether the memory is still the array's.
    #[getter]
    fn is_in_scope(&self, py: Python<'_>) -> bool {
        self.validity(py) == Validity::Valid
    }

    /// Whether the memory is still the array's, and if not, why.
    #[getter(validity)]
    fn validity_member(slf: Slf<'_, '_>) -> PyResult<Py<PyAny>> {
        policy_member(slf.py(), "Validity", slf.get().validity(slf.py()).name())
    }

    /// Ends this handle; views made earlier stay valid.
    #[pyo3(name = "close")]
    fn close_handle(&self, py: Python<'_>) {
        self.close(py);
    }

    fn __len__(slf: Slf<'_, '_>) -> PyResult<usize> {
        match slf.get().form().shape().first() {
            Some(&length) => Ok(length.unsigned_abs()),
            None => slf.get().template(slf.py())?.object().len(),
        }
    }

    fn __iter__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        let view = slf.get().lend_for(slf.py(), "iter")?;
        if view.shape().is_empty() {
            return Err(PyTypeError::new_err("iteration over a 0-d array"));
        }
        view::items(slf.as_any())
    }

    fn __reversed__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        slf.get().lend_for(slf.py(), "reversed")?;
        slf.len()?;
        let none = slf.py().None();
        let backwards = slf.py().get_type::<PySlice>().call1((&none, &none, -1))?;
        view::items(&slf.get_item(backwards)?)
    }

    fn __getitem__<'py>(slf: Slf<'_, 'py>, key: &Bound<'py, PyAny>) -> Object<'py> {
        if let Some(part) = indexing::part(slf, key)? {
            return Ok(part);
        }
        if let Some(picked) = picking::pick(slf, key)? {
            return Ok(picked);
        }
        let mut operands = Operands::new(slf.py(), Call::Method("getitem"));
        let view = operands.add_self(slf)?;
        let key = steady::key(operands.add(key, Place::Position(0))?, None)?;
        operands.settle(foreign::call_builtin(slf.py(), "getitem", (view.object(), key))?)
    }

    fn __setitem__<'py>(
        slf: Slf<'_, 'py>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if indexing::assign(slf, key, value)? {
            return Ok(());
        }
        let mut operands = Operands::new(slf.py(), Call::Method("setitem"));
        let view = operands.add_self(slf)?;
        let key = operands.add(key, Place::Position(0))?;
        let value = operands.add(value, Place::Position(1))?;
        let key = steady::key(key, Some(&value))?;
        foreign::call_builtin(slf.py(), "setitem", (view.object(), key, value)).map(drop)
    }

    fn __delitem__(slf: Slf<'_, '_>, _key: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.get().lend_for(slf.py(), "delitem")?;
        Err(PyValueError::new_err("cannot delete array elements"))
    }

    fn __repr__(slf: Slf<'_, '_>) -> PyResult<String> {
        let py = slf.py();
        match slf.get().lend(py)? {
            Ok((view, _)) => Ok(as_ours(
                &foreign::call_builtin(slf.py(), "repr", (view.object(),))?.extract::<String>()?,
            )),
            Err(_) => obituary(slf),
        }
    }

    fn __str__(slf: Slf<'_, '_>) -> PyResult<String> {
        match slf.get().lend(slf.py())? {
            Ok((view, _)) => foreign::call_builtin(slf.py(), "str", (view.object(),))?.extract(),
            Err(_) => obituary(slf),
        }
    }

    fn __format__<'py>(slf: Slf<'_, 'py>, spec: &Bound<'py, PyString>) -> Object<'py> {
        let py = slf.py();
        if spec.is_empty()? {
            return Ok(slf.str()?.into_any());
        }
        let view = slf.get().lend_for(py, "format")?;
        foreign::call_method(view.object(), "__format__", (spec,), None)
    }

    /// The text of the array for notebooks.
    fn _repr_html_(slf: Slf<'_, '_>) -> PyResult<String> {
        let escape = slf.py().import("html")?.getattr("escape")?;
        let text: String = escape.call1((slf.repr()?, false))?.extract()?;
        Ok(format!("<pre>{text}</pre>"))
    }

    fn __reduce_ex__<'py>(slf: Slf<'_, 'py>, protocol: i32) -> Object<'py> {
        let copy = detached(slf, "reduce_ex")?;
        foreign::call_method(&copy, "__reduce_ex__", (protocol,), None)
    }

    fn __deepcopy__<'py>(slf: Slf<'_, 'py>, _memo: &Bound<'py, PyAny>) -> Object<'py> {
        detached(slf, "deepcopy")
    }
}

/// An independent plain array with the same elements in the same memory order.
pub fn detached<'py>(slf: Slf<'_, 'py>, operation: &str) -> Object<'py> {
    let py = slf.py();
    let view = slf.get().lend_for(py, operation)?;
    let _plain = registry::plain_results();
    foreign::call(&view.object().getattr(intern!(py, "copy"))?, (intern!(py, "K"),), None)
}

/// NumPy's text of a plain array, under our name and aligned with it.
fn as_ours(text: &str) -> String {
    let Some(rest) = text.strip_prefix("array(") else {
        return text.to_owned();
    };
    let shift = " ".repeat("WorkspaceArray".len() - "array".len());
    format!("WorkspaceArray({}", rest.replace('\n', &format!("\n{shift}")))
}

/// What there is to say of an array whose memory is gone.
fn obituary(slf: Slf<'_, '_>) -> PyResult<String> {
    let array = slf.get();
    let workspace = array.workspace();
    Ok(format!(
        "<stale WorkspaceArray: {}, shape {}, dtype {}, workspace [{}], array generation {}, \
         workspace generation {}>",
        array.validity(slf.py()).name(),
        WorkspaceArray::shape(slf)?,
        array.form().dtype(slf.py()),
        workspace.id(),
        array.generation(),
        workspace.generation_id(),
    ))
}

/// Raises `StaleArrayError`, with `msg` before it, unless the array may be used.
#[pyfunction]
fn assert_valid_array(a: &Bound<'_, PyAny>, msg: Msg<'_>) -> PyResult<()> {
    let Ok(array) = a.cast::<WorkspaceArray>() else {
        return Ok(());
    };
    let py = array.py();
    let Err(error) = array.get().lend(py)? else { return Ok(()) };
    let refusal = to_pyerr(error);
    let value = refusal.value(py);
    value.setattr(intern!(py, "args"), (format!("{}: {value}", &*msg),))?;
    Err(refusal)
}

/// Adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(assert_valid_array, module)?)
}
