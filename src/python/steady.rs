//! Elements that NumPy looks at and then trusts, when it has let go of the interpreter: masks, places, what is
//! sorted. A thread that changes them meanwhile would lead it outside of the memory. Where there are other
//! threads, NumPy gets copies, which nobody else has.

#![forbid(unsafe_code)]

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::foreign;
use super::npy::{Ndarray, numpy};
use crate::registry;

/// Functions that trust an argument: its place and its name.
const TRUSTING: [(&str, usize, &str); 6] = [
    ("argpartition", 0, "a"),
    ("argsort", 0, "a"),
    ("bincount", 0, "x"),
    ("delete", 1, "obj"),
    ("lexsort", 0, "keys"),
    ("put_along_axis", 1, "indices"),
];
/// The same of methods of ufuncs.
const TRUSTING_METHODS: [&str; 2] = ["at", "reduceat"];

type Arguments<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

/// The arrays in a key, or the array that it is.
pub fn key(key: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    if foreign::is_alone(key.py()) { Ok(key) } else { copied(key) }
}

/// Arguments of a function of NumPy's.
pub fn of_function<'py>(
    func: &Bound<'py, PyAny>,
    (args, kwargs): Arguments<'py>,
) -> PyResult<Arguments<'py>> {
    static FUNCTIONS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let py = func.py();
    if foreign::is_alone(py) {
        return Ok((args, kwargs));
    }
    let found = FUNCTIONS.get_or_try_init(py, || functions(py))?.bind(py).get_item(func)?;
    let Some(found) = found else { return Ok((args, kwargs)) };
    let (place, name): (usize, String) = found.extract()?;
    replaced((args, kwargs), place, &name)
}

/// Arguments of a method of a ufunc.
pub fn of_ufunc<'py>(method: &str, arguments: Arguments<'py>) -> PyResult<Arguments<'py>> {
    let is_safe = !TRUSTING_METHODS.contains(&method) || foreign::is_alone(arguments.0.py());
    if is_safe { Ok(arguments) } else { replaced(arguments, 1, "indices") }
}

fn functions(py: Python<'_>) -> PyResult<Py<PyDict>> {
    let all = PyDict::new(py);
    for (function, place, name) in TRUSTING {
        all.set_item(numpy(py)?.getattr(function)?, (place, name))?;
    }
    Ok(all.unbind())
}

fn replaced<'py>(
    (args, kwargs): Arguments<'py>,
    place: usize,
    name: &str,
) -> PyResult<Arguments<'py>> {
    let mut items: Vec<_> = args.iter().collect();
    if let Some(item) = items.get_mut(place) {
        *item = copied(item.clone())?;
    }
    if let Some(kwargs) = &kwargs {
        if let Some(value) = kwargs.get_item(name)? {
            kwargs.set_item(name, copied(value)?)?;
        }
    }
    Ok((PyTuple::new(args.py(), items)?, kwargs))
}

/// What is sorted, or whose order is asked for, by a method of ndarray's; the copy goes back where it is due.
pub fn sorted<'py>(
    (view, name, is_in_place): (&Ndarray<'py>, &str, bool),
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, array) = (view.object().py(), view.object());
    // One that is not writeable is NumPy's to refuse.
    if foreign::is_alone(py) || is_in_place && !view.is_writeable() {
        return foreign::call_method(array, name, args, kwargs);
    }
    let copy = copied(array.clone())?;
    let result = foreign::call_method(&copy, name, args, kwargs)?;
    if is_in_place {
        foreign::call(&numpy(py)?.getattr(intern!(py, "copyto"))?, (array, copy), None)?;
    }
    Ok(result)
}

/// Arrays as copies, also those in a tuple; a sequence of another kind NumPy copies itself.
fn copied(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = value.py();
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        let items = tuple.iter().map(|item| array_copied(py, item));
        return Ok(PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any());
    }
    array_copied(py, value)
}

fn array_copied<'py>(py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if !value.is_instance(&numpy(py)?.getattr(intern!(py, "ndarray"))?)? {
        return Ok(value);
    }
    let _plain = registry::plain_results();
    foreign::call(&numpy(py)?.getattr(intern!(py, "array"))?, (value,), None)
}
