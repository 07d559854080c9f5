//! Creation methods of `Workspace`, with NumPy's signatures.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::create::create;
use super::fast;
use super::shortcut::{self, Args, Shortcut};
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

/// `empty` and its like of a shape and a dtype, in this order.
struct Quick<const ZEROED: bool, const NAME: u8>;

impl<const ZEROED: bool, const NAME: u8> Shortcut for Quick<ZEROED, NAME> {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINALS: [PyOnceLock<Py<PyAny>>; 4] = [const { PyOnceLock::new() }; 4];
        &ORIGINALS[usize::from(NAME)]
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (Ok(slf), Some(shape), 1 | 2) =
            (slf.cast_exact::<PyWorkspace>(), args.get(0), args.len())
        else {
            return Ok(None);
        };
        let dtype = args.get(1).filter(|dtype| !dtype.is_none());
        fast::empty(&slf.get().core, &shape, dtype.as_deref(), ZEROED)
    }
}

/// Puts the shortcuts in their places.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<PyWorkspace>();
    shortcut::of_method::<Quick<false, 0>>(&class, "empty")?;
    shortcut::of_method::<Quick<true, 1>>(&class, "zeros")?;
    shortcut::of_method::<Quick<true, 2>>(&class, "create")?;
    shortcut::of_method::<Quick<false, 3>>(&class, "create_uninitialized")
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
