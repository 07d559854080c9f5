//! The dtypes of numbers: bool, integers, floats, complex, each found once, and what means one of them.

#![forbid(unsafe_code)]

use std::ffi::c_int;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyString, PyType};

use super::npy::{self, Item, numpy};

/// Built-in numbers have type numbers below that of half precision, or that one.
const HALF: i32 = 23;
const FIRST_OTHER: i32 = 17;
/// That of NumPy's default.
const DOUBLE: i32 = 12;

/// Whether elements of that type are plain numbers: bool, integers, floats, complex.
pub fn is_number(type_num: i32) -> bool {
    (0..FIRST_OTHER).contains(&type_num) || type_num == HALF
}

/// The one dtype of a number, and what it says.
#[derive(Debug)]
pub struct Number {
    dtype: Py<PyAny>,
    pub item: Item,
}

impl Number {
    /// That of a type number.
    #[inline]
    pub fn of(py: Python<'_>, type_num: c_int) -> PyResult<Option<&'static Self>> {
        let index = usize::try_from(type_num).unwrap_or(usize::MAX);
        Ok(all(py)?.get(index).and_then(Option::as_ref))
    }

    /// The dtype itself.
    #[inline]
    pub fn dtype<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.dtype.bind(py)
    }

    /// That which `asked` means, if it surely means the same next time; `None` is for NumPy's default.
    #[inline]
    pub fn meant_by(
        py: Python<'_>,
        asked: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<&'static Self>> {
        let Some(asked) = asked else { return Self::of(py, DOUBLE) };
        for place in &MEANINGS {
            match place.get(py) {
                Some((key, number)) if key.is(asked) => return Ok(Some(number)),
                Some(_) => {}
                None => break,
            }
        }
        ask(asked)
    }
}

/// By type number.
type All = [Option<Number>; 24];

fn all(py: Python<'_>) -> PyResult<&'static All> {
    static ALL: PyOnceLock<All> = PyOnceLock::new();
    ALL.get_or_try_init(py, || {
        let mut all = [const { None }; 24];
        for (type_num, place) in (0..).zip(&mut all).filter(|(t, _)| is_number(*t)) {
            let dtype = npy::builtin_dtype(py, type_num)?;
            let item = npy::item(&dtype)?;
            *place = Some(Number { dtype: dtype.unbind(), item });
        }
        Ok(all)
    })
}

/// What was asked for, and what it means; written once, from the first place on, and read without a lock.
/// There is room for all classes, dtypes and names of numbers; where it is full, NumPy is asked.
static MEANINGS: [PyOnceLock<(Py<PyAny>, &Number)>; 96] = [const { PyOnceLock::new() }; 96];

#[cold]
fn ask(asked: &Bound<'_, PyAny>) -> PyResult<Option<&'static Number>> {
    let py = asked.py();
    let is_dtype = npy::is_dtype(asked)?;
    if !(is_dtype || is_number_class(asked)? || is_number_name(asked)) {
        return Ok(None);
    }
    let dtype = if is_dtype {
        asked.clone()
    } else {
        let Ok(dtype) = numpy(py)?.call_method1("dtype", (asked,)) else { return Ok(None) };
        dtype
    };
    let number = Number::of(py, npy::item(&dtype)?.type_num)?;
    let number = number.filter(|number| number.dtype.is(&dtype));
    if let Some(number) = number {
        remember(asked, number);
    }
    Ok(number)
}

/// Of a name only the one object that code has it by; others would fill the table.
fn remember(asked: &Bound<'_, PyAny>, number: &'static Number) {
    let py = asked.py();
    if let Ok(name) = asked.cast_exact::<PyString>() {
        if !PyString::intern(py, &name.to_string_lossy()).is(name) {
            return;
        }
    }
    let mut entry = Some((asked.clone().unbind(), number));
    for place in &MEANINGS {
        place.get_or_init(py, || entry.take().expect("taken once, by the first that is free"));
        if entry.is_none() {
            return;
        }
    }
}

/// Whether it is a string that surely names a number; of others NumPy may warn.
fn is_number_name(asked: &Bound<'_, PyAny>) -> bool {
    const NAMES: [&str; 14] = [
        "float64",
        "float32",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "complex128",
        "complex64",
        "bool",
        "float",
    ];
    let name = asked.cast_exact::<PyString>();
    name.is_ok_and(|name| NAMES.contains(&&*name.to_string_lossy()))
}

/// Whether it is a class of numbers of Python's or NumPy's, whose dtype never changes, and of which NumPy
/// never warns.
fn is_number_class(asked: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASSES: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let py = asked.py();
    if !asked.is_instance_of::<PyType>() {
        return Ok(false);
    }
    let classes = CLASSES.get_or_try_init(py, || {
        let class = |number: &Number| number.dtype(py).getattr("type").map(Bound::unbind);
        let mut classes = all(py)?.iter().flatten().map(class).collect::<PyResult<Vec<_>>>()?;
        classes.push(py.get_type::<PyFloat>().into_any().unbind());
        classes.push(py.get_type::<PyInt>().into_any().unbind());
        classes.push(py.get_type::<PyBool>().into_any().unbind());
        classes.push(py.get_type::<PyComplex>().into_any().unbind());
        Ok::<_, PyErr>(classes)
    })?;
    Ok(classes.iter().any(|class| class.is(asked)))
}
