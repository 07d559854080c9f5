//! ndarray's methods and computed attributes on a `WorkspaceArray`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::foreign;
use super::handle::WorkspaceArray;
use super::indexing;
use super::loops::filling;
use super::naming::{Call, Place};
use super::npy::{Ndarray, numpy};
use super::place::Operands;
use super::reduce;
use super::shortcut::{self, Shortcut};
use super::steady;

type Slf<'a, 'py> = &'a Bound<'py, WorkspaceArray>;
type Args<'a, 'py> = &'a Bound<'py, PyTuple>;
type Kwargs<'a, 'py> = Option<&'a Bound<'py, PyDict>>;
type Object<'py> = PyResult<Bound<'py, PyAny>>;

/// A method of ndarray's on leased views; arrays in its result are settled.
fn method<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    args: Args<'_, 'py>,
    kwargs: Kwargs<'_, 'py>,
) -> Object<'py> {
    on_views(name, slf, (args, kwargs), |view, (args, kwargs)| {
        foreign::call_method(view.object(), name, &args, kwargs.as_ref())
    })
}

/// What `work` makes of a leased view of the array, and of the arguments, settled.
fn on_views<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    (args, kwargs): (Args<'_, 'py>, Kwargs<'_, 'py>),
    work: impl FnOnce(&Ndarray<'py>, (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>)) -> Object<'py>,
) -> Object<'py> {
    let mut operands = Operands::new(slf.py(), Call::Method(name));
    let view = operands.add_self(slf)?;
    let arguments = (operands.add_args(args)?, operands.add_kwargs(kwargs)?);
    operands.settle(work(&view, arguments)?)
}

/// A method of ndarray's that gives Python objects, or writes files.
fn export<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    args: Args<'_, 'py>,
    kwargs: Kwargs<'_, 'py>,
) -> Object<'py> {
    let view = slf.get().lend_for(slf.py(), name)?;
    if view.dtype()?.getattr(intern!(slf.py(), "names"))?.is_none() {
        return foreign::call_method(view.object(), name, args, kwargs);
    }
    // Of a structured array, the objects may hold arrays.
    method(name, slf, args, kwargs)
}

/// A method that sorts the array, or tells its order, or where it is not 0.
fn trusting<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    args: Args<'_, 'py>,
    kwargs: Kwargs<'_, 'py>,
) -> Object<'py> {
    on_views(name, slf, (args, kwargs), |view, arguments| steady::whole((view, name), arguments))
}

/// A method that trusts a mask, or counts.
fn selecting<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    args: Args<'_, 'py>,
    kwargs: Kwargs<'_, 'py>,
) -> Object<'py> {
    let first = if name == "repeat" { "repeats" } else { "condition" };
    on_views(name, slf, (args, kwargs), |view, arguments| {
        let (args, kwargs) = steady::of_method(arguments, first)?;
        foreign::call_method(view.object(), name, &args, kwargs.as_ref())
    })
}

/// `put`. NumPy refuses a number that names no mode after it has written.
fn putting<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    args: Args<'_, 'py>,
    kwargs: Kwargs<'_, 'py>,
) -> Object<'py> {
    let named = kwargs.map(|kwargs| kwargs.get_item("mode")).transpose()?.flatten();
    let mode = args.get_item(2).ok().or(named);
    if let Some(number) = mode.and_then(|mode| mode.extract::<i64>().ok()) {
        if !(0..=2).contains(&number) {
            let reason = format!("mode must be 'raise', 'wrap' or 'clip' (0, 1, 2), not {number}");
            return Err(PyValueError::new_err(reason));
        }
    }
    method(name, slf, args, kwargs)
}

/// A reduction, into memory of the current workspace where there is one.
fn reduction<'py>(
    name: &str,
    slf: Slf<'_, 'py>,
    args: Args<'_, 'py>,
    kwargs: Kwargs<'_, 'py>,
) -> Object<'py> {
    let py = slf.py();
    if let Some(result) = reduce::method(name, slf, args, kwargs)? {
        return Ok(result);
    }
    let mut operands = Operands::new(py, Call::Method(name));
    let view = operands.add_self(slf)?.into_object();
    let args = operands.add_args(args)?;
    let kwargs = operands.add_kwargs(kwargs)?;
    let unbound =
        numpy(py)?.getattr(intern!(py, "ndarray"))?.getattr(PyString::intern(py, name))?;
    let all: Vec<_> = std::iter::once(view.clone()).chain(args.iter()).collect();
    let all = PyTuple::new(py, all)?;
    let is_half_mean = name == "mean" && reduce::is_half(&view)?;
    if !is_half_mean {
        let every = py.None().into_bound(py);
        let placed =
            reduce::function(&mut operands, &unbound, &unbound, &all, kwargs.as_ref(), &every)?;
        if let Some(result) = placed {
            return operands.settle(result);
        }
    }
    operands.settle(foreign::call(&unbound, &all, kwargs.as_ref())?)
}

macro_rules! methods {
    ($how:ident: $($name:ident)*) => {
        #[pymethods]
        impl WorkspaceArray {
            $(
                #[doc = concat!("`numpy.ndarray.", stringify!($name), "`.")]
                #[pyo3(signature = (*args, **kwargs))]
                fn $name<'py>(
                    slf: Slf<'_, 'py>,
                    args: Args<'_, 'py>,
                    kwargs: Option<&Bound<'py, PyDict>>,
                ) -> Object<'py> {
                    $how(stringify!($name), slf, args, kwargs)
                }
            )*
        }
    };
}

methods! { method:
    argmax argmin byteswap choose clip conj conjugate
    cumprod cumsum diagonal dot fill flatten getfield ravel reshape
    round searchsorted setfield squeeze std swapaxes take trace transpose var view
}

methods! { trusting: argpartition argsort nonzero partition sort }

methods! { selecting: compress repeat }

methods! { putting: put }

methods! { reduction: all any max mean min prod sum }

methods! { export: dump dumps item tobytes tofile tolist }

/// `fill` with a number.
struct Filled;

impl Shortcut for Filled {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &ORIGINAL
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: shortcut::Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (slf.cast_exact::<WorkspaceArray>(), args.get(0), args.len()) {
            (Ok(slf), Some(value), 1) if filling::whole(slf, &value)? => {
                Ok(Some(slf.py().None().into_bound(slf.py())))
            }
            _ => Ok(None),
        }
    }
}

/// Puts the shortcut in its place.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    shortcut::of_method::<Filled>(&module.py().get_type::<WorkspaceArray>(), "fill")
}

/// An attribute of the leased view, settled.
fn attribute<'py>(name: &str, slf: Slf<'_, 'py>) -> Object<'py> {
    let mut operands = Operands::new(slf.py(), Call::Method(name));
    let view = operands.add_self(slf)?;
    operands.settle(view.object().getattr(PyString::intern(slf.py(), name))?)
}

fn set_attribute<'py>(name: &str, slf: Slf<'_, 'py>, value: &Bound<'py, PyAny>) -> PyResult<()> {
    let mut operands = Operands::new(slf.py(), Call::Method(name));
    let view = operands.add_self(slf)?;
    let value = operands.add(value, Place::Keyword("value"))?;
    view.object().setattr(PyString::intern(slf.py(), name), value)
}

#[pymethods]
impl WorkspaceArray {
    /// `numpy.ndarray.to_device`.
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "($self, device, /, *, stream=None)"
    )]
    fn to_device<'py>(
        slf: Slf<'_, 'py>,
        args: Args<'_, 'py>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Object<'py> {
        method("to_device", slf, args, kwargs)
    }

    /// `numpy.ndarray.setflags`, which has nothing to set here.
    #[pyo3(signature = (write = None, align = None, uic = None))]
    fn setflags(
        slf: Slf<'_, '_>,
        write: Option<&Bound<'_, PyAny>>,
        align: Option<&Bound<'_, PyAny>>,
        uic: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        slf.get().lend_for(slf.py(), "setflags")?;
        if write.or(align).or(uic).is_none() {
            return Ok(());
        }
        Err(PyTypeError::new_err(
            "the flags of a WorkspaceArray cannot be set; take a view with numpy() and set its flags",
        ))
    }

    /// The array with its axes in reverse order: a view.
    #[getter(T)]
    fn transposed<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        match indexing::transposed(slf)? {
            Some(view) => Ok(view),
            None => attribute("T", slf),
        }
    }

    /// The array with its last two axes exchanged: a view.
    #[getter(mT)]
    fn matrix_transposed<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("mT", slf)
    }

    /// The real part: a view.
    #[getter]
    fn real<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("real", slf)
    }

    #[setter]
    fn set_real<'py>(slf: Slf<'_, 'py>, value: &Bound<'py, PyAny>) -> PyResult<()> {
        set_attribute("real", slf, value)
    }

    /// The imaginary part: a view, or zeros.
    #[getter]
    fn imag<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("imag", slf)
    }

    #[setter]
    fn set_imag<'py>(slf: Slf<'_, 'py>, value: &Bound<'py, PyAny>) -> PyResult<()> {
        set_attribute("imag", slf, value)
    }

    /// An iterator over the elements, from a leased view.
    #[getter]
    fn flat<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("flat", slf)
    }

    #[setter]
    fn set_flat<'py>(slf: Slf<'_, 'py>, value: &Bound<'py, PyAny>) -> PyResult<()> {
        set_attribute("flat", slf, value)
    }

    /// A leased view as ctypes sees it.
    #[getter]
    fn ctypes<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("ctypes", slf)
    }

    /// A leased view as a memoryview.
    #[getter]
    fn data<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("data", slf)
    }

    /// The memory belongs to the workspace, not to another array.
    #[getter]
    fn base(slf: Slf<'_, '_>) -> PyResult<Option<Py<PyAny>>> {
        slf.get().lend_for(slf.py(), "base").map(|_| None)
    }

    /// Where the elements lie: "cpu".
    #[getter]
    fn device<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        attribute("device", slf)
    }
}
