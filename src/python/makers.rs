//! Creation methods of `Workspace`, with NumPy's signatures.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::create::create;
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

makers! {
    empty "empty" "($self, shape, dtype=None, order='C', *, device=None, like=None)"
    zeros "zeros" "($self, shape, dtype=None, order='C', *, device=None, like=None)"
    ones "ones" "($self, shape, dtype=None, order='C', *, device=None, like=None)"
    full "full" "($self, shape, fill_value, dtype=None, order='C', *, device=None, like=None)"
    array "array" "($self, object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0, like=None)"
    asarray "asarray" "($self, a, dtype=None, order=None, *, device=None, copy=None, like=None)"
    empty_like "empty_like"
        "($self, prototype, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    zeros_like "zeros_like"
        "($self, a, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    ones_like "ones_like"
        "($self, a, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    full_like "full_like"
        "($self, a, fill_value, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    create "zeros" "($self, shape, dtype=None, order='C')"
    create_uninitialized "empty" "($self, shape, dtype=None, order='C')"
}
