//! Creation methods of `Workspace`, with NumPy's signatures.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::create::create;
use super::fast;
use super::workspace::PyWorkspace;

macro_rules! makers {
    ($($method:ident $numpy:literal $signature:literal)*) => {
        #[pymethods]
        impl PyWorkspace {
            $(
                #[doc = concat!("`numpy.", $numpy, "`, in this workspace.")]
                #[pyo3(signature = (*args, **kwargs), text_signature = $signature)]
                fn $method<'py>(
                    &self,
                    args: &Bound<'py, PyTuple>,
                    kwargs: Option<&Bound<'py, PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    create(Some(&self.core), (stringify!($method), $numpy), args, kwargs)
                }
            )*
        }
    };
}

/// `empty` and its like: the fast path, then the general one.
macro_rules! quick_makers {
    ($($method:ident $numpy:literal $zeroed:literal $signature:literal)*) => {
        #[pymethods]
        impl PyWorkspace {
            $(
                #[doc = concat!("`numpy.", $numpy, "`, in this workspace.")]
                #[pyo3(
                    signature = (
                        shape = None, dtype = None, order = None, *, device = None, like = None
                    ),
                    text_signature = $signature
                )]
                fn $method<'py>(
                    slf: &Bound<'py, Self>,
                    shape: Option<&Bound<'py, PyAny>>,
                    dtype: Option<&Bound<'py, PyAny>>,
                    order: Option<&Bound<'py, PyAny>>,
                    device: Option<&Bound<'py, PyAny>>,
                    like: Option<&Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let workspace = &slf.get().core;
                    if let (Some(shape), None, None, None) = (shape, order, device, like) {
                        if let Some(array) = fast::empty(workspace, shape, dtype, $zeroed)? {
                            return Ok(array);
                        }
                    }
                    let names = (stringify!($method), $numpy);
                    let args = PyTuple::new(slf.py(), shape)?;
                    let kwargs = named(slf.py(), [dtype, order, device, like])?;
                    create(Some(workspace), names, &args, Some(&kwargs))
                }
            )*
        }
    };
}

/// Those arguments that were given, by name.
fn named<'py>(
    py: Python<'py>,
    values: [Option<&Bound<'py, PyAny>>; 4],
) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    for (name, value) in ["dtype", "order", "device", "like"].into_iter().zip(values) {
        if let Some(value) = value {
            named.set_item(name, value)?;
        }
    }
    Ok(named)
}

quick_makers! {
    empty "empty" false "($self, shape, dtype=None, order='C', *, device=None, like=None)"
    zeros "zeros" true "($self, shape, dtype=None, order='C', *, device=None, like=None)"
    create "zeros" true "($self, shape, dtype=None, order='C')"
    create_uninitialized "empty" false "($self, shape, dtype=None, order='C')"
}

#[pymethods]
impl PyWorkspace {
    /// `numpy.array`, in this workspace.
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "($self, object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0, like=None)"
    )]
    fn array<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let (1, None) = (args.len(), kwargs) {
            if let Some(copy) = fast::array_of(&self.core, &args.get_item(0)?)? {
                return Ok(copy);
            }
        }
        create(Some(&self.core), ("array", "array"), args, kwargs)
    }
}

makers! {
    ones "ones" "($self, shape, dtype=None, order='C', *, device=None, like=None)"
    full "full" "($self, shape, fill_value, dtype=None, order='C', *, device=None, like=None)"
    asarray "asarray" "($self, a, dtype=None, order=None, *, device=None, copy=None, like=None)"
    empty_like "empty_like"
        "($self, prototype, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    zeros_like "zeros_like"
        "($self, a, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    ones_like "ones_like"
        "($self, a, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    full_like "full_like"
        "($self, a, fill_value, dtype=None, order='K', subok=True, shape=None, *, device=None)"
}
