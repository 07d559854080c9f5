//! Elements that NumPy looks at and then trusts: masks, places, counts, what is sorted. It lets go of the
//! interpreter meanwhile, or other threads write without it. A thread that changes them meanwhile would lead it outside of the memory. Where there are other
//! threads, or may be before NumPy is done, it gets copies, which nobody else has.

#![forbid(unsafe_code)]

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PySlice, PyString, PyTuple};

use super::foreign;
use super::npy::{Ndarray, numpy};
use crate::registry;

/// Functions that trust an argument: its place and its name.
const TRUSTING: [(&str, usize, &str); 16] = [
    ("argpartition", 0, "a"),
    ("argsort", 0, "a"),
    ("argwhere", 0, "a"),
    ("bincount", 0, "x"),
    ("compress", 0, "condition"),
    ("delete", 1, "obj"),
    ("extract", 0, "condition"),
    ("flatnonzero", 0, "a"),
    ("histogram", 0, "a"),
    ("lexsort", 0, "keys"),
    ("nonzero", 0, "a"),
    ("piecewise", 1, "condlist"),
    ("put_along_axis", 1, "indices"),
    ("repeat", 1, "repeats"),
    ("take_along_axis", 1, "indices"),
    ("where", 0, "condition"),
];
/// Functions that sort the array itself where they may overwrite it: the place of this permission.
const OVERWRITING: [(&str, usize); 6] = [
    ("median", 3),
    ("nanmedian", 3),
    ("nanpercentile", 4),
    ("nanquantile", 4),
    ("percentile", 4),
    ("quantile", 4),
];
/// Methods of ufuncs that trust the places they are given.
const TRUSTING_METHODS: [&str; 2] = ["at", "reduceat"];

type Arguments<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

/// The arrays in a key, or the array that it is; `value` is what is put there.
pub fn key<'py>(
    key: Bound<'py, PyAny>,
    value: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = key.py();
    let stays = foreign::is_alone(py) && is_quiet(&key)? && value.map_or(Ok(true), is_quiet)?;
    if stays { Ok(key) } else { copied(key) }
}

/// Arguments of a function of NumPy's.
pub fn of_function<'py>(
    func: &Bound<'py, PyAny>,
    arguments: Arguments<'py>,
) -> PyResult<Arguments<'py>> {
    static FUNCTIONS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let py = func.py();
    if is_undisturbed(&arguments)? {
        return Ok(arguments);
    }
    let found = FUNCTIONS.get_or_try_init(py, || functions(py))?.bind(py).get_item(func)?;
    let Some(found) = found else { return Ok(arguments) };
    let (place, name): (usize, String) = found.extract()?;
    match name.as_str() {
        "overwrite_input" => forbidden(arguments, place, &name),
        // Between two arrays `where` trusts nothing.
        "condition"
            if arguments.0.len() == 3 && func.is(&numpy(py)?.getattr(intern!(py, "where"))?) =>
        {
            Ok(arguments)
        }
        _ => replaced(arguments, place, &name),
    }
}

/// Arguments of a method of a ufunc.
pub fn of_ufunc<'py>(method: &str, arguments: Arguments<'py>) -> PyResult<Arguments<'py>> {
    let stays = !TRUSTING_METHODS.contains(&method) || is_undisturbed(&arguments)?;
    if stays { Ok(arguments) } else { replaced(arguments, 1, "indices") }
}

/// Arguments of a method of ndarray's, of which it trusts the first, by that name.
pub fn of_method<'py>(arguments: Arguments<'py>, name: &str) -> PyResult<Arguments<'py>> {
    if is_undisturbed(&arguments)? { Ok(arguments) } else { replaced(arguments, 0, name) }
}

fn functions(py: Python<'_>) -> PyResult<Py<PyDict>> {
    let all = PyDict::new(py);
    for (function, place, name) in TRUSTING {
        all.set_item(numpy(py)?.getattr(function)?, (place, name))?;
    }
    for (function, place) in OVERWRITING {
        all.set_item(numpy(py)?.getattr(function)?, (place, "overwrite_input"))?;
    }
    Ok(all.unbind())
}

/// Whether no other thread can run Python until NumPy is done.
fn is_undisturbed((args, kwargs): &Arguments<'_>) -> PyResult<bool> {
    if !foreign::is_alone(args.py()) || !is_quiet(args)? {
        return Ok(false);
    }
    let mut values = kwargs.iter().flat_map(PyDictMethods::values);
    values.try_fold(true, |quiet, value| Ok(quiet && is_quiet(&value)?))
}

/// Whether NumPy runs no code of others when it converts a value: that might begin a thread.
fn is_quiet(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return tuple.iter().try_fold(true, |quiet, item| Ok(quiet && is_quiet(&item)?));
    }
    if let Ok(slice) = value.cast_exact::<PySlice>() {
        return foreign::has_plain_members(slice);
    }
    Ok(value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyString>()
        || value.is(value.py().Ellipsis())
        || Ndarray::exact(value)?.is_some())
}

fn replaced<'py>(arguments: Arguments<'py>, place: usize, name: &str) -> PyResult<Arguments<'py>> {
    changed(arguments, place, name, copied)
}

fn forbidden<'py>(arguments: Arguments<'py>, place: usize, name: &str) -> PyResult<Arguments<'py>> {
    changed(arguments, place, name, |value| {
        Ok(PyBool::new(value.py(), false).to_owned().into_any())
    })
}

/// Changes one argument, wherever it is given.
fn changed<'py>(
    (args, kwargs): Arguments<'py>,
    place: usize,
    name: &str,
    change: impl Fn(Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Arguments<'py>> {
    let mut items: Vec<_> = args.iter().collect();
    if let Some(item) = items.get_mut(place) {
        *item = change(item.clone())?;
    }
    if let Some(kwargs) = &kwargs {
        if let Some(value) = kwargs.get_item(name)? {
            kwargs.set_item(name, change(value)?)?;
        }
    }
    Ok((PyTuple::new(args.py(), items)?, kwargs))
}

/// What a method of ndarray's sorts, or looks at for the order or places of its elements; where it is sorted,
/// the copy goes back.
pub fn whole<'py>(
    (view, name): (&Ndarray<'py>, &str),
    arguments: Arguments<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, array) = (view.object().py(), view.object());
    let is_sorted = matches!(name, "sort" | "partition");
    // One that is not writeable is NumPy's to refuse.
    let stays = is_sorted && !view.is_writeable() || is_undisturbed(&arguments)?;
    let (args, kwargs) = arguments;
    if stays {
        return foreign::call_method(array, name, &args, kwargs.as_ref());
    }
    let copy = copied(array.clone())?;
    let result = foreign::call_method(&copy, name, &args, kwargs.as_ref())?;
    if is_sorted {
        foreign::call(&numpy(py)?.getattr(intern!(py, "copyto"))?, (array, copy), None)?;
    }
    Ok(result)
}

/// Arrays as copies, also those in a tuple of any class; a sequence of another kind NumPy copies itself.
fn copied(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = value.py();
    if let Ok(tuple) = value.cast::<PyTuple>() {
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
