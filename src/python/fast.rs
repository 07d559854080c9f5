//! What fast paths share: the switch that turns them off, dtypes and shapes that need no questions.
//!
//! Behind each fast path stands the general one, which gives the same bits, dtypes and messages.
//! `NDARENA_FAST=0` in the environment, read at import, leaves the general paths alone.

#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyString, PyTuple, PyType};

use super::handle::WorkspaceArray;
use super::npy::{self, ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, Ndarray, numpy};
use crate::{Workspace, registry};

static ON: AtomicBool = AtomicBool::new(true);

/// Whether fast paths are taken.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Turns fast paths on or off; whether they were on.
#[pyfunction(name = "_set_fast_paths")]
fn set_fast_paths(on: bool) -> bool {
    ON.swap(on, Ordering::Relaxed)
}

/// Reads the environment, and adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let is_off = std::env::var_os("NDARENA_FAST").is_some_and(|value| value == "0");
    ON.store(!is_off, Ordering::Relaxed);
    module.add_function(wrap_pyfunction!(set_fast_paths, module)?)
}

/// Built-in numbers have type numbers below that of half precision, or that one.
const HALF: i32 = 23;
const FIRST_OTHER: i32 = 17;

/// Whether elements of that type are plain numbers: bool, integers, floats, complex.
pub fn is_number(type_num: i32) -> bool {
    (0..FIRST_OTHER).contains(&type_num) || type_num == HALF
}

/// The dtype of a number and the size of an element.
pub type Number<'py> = (Bound<'py, PyAny>, isize);

/// What was asked for, and the dtype it means; written once, from the first place on, and read without a
/// lock. There is room for all classes, dtypes and names of numbers; where it is full, NumPy is asked.
static KNOWN: [PyOnceLock<Known>; 96] = [const { PyOnceLock::new() }; 96];
type Known = (Py<PyAny>, Py<PyAny>, isize);

/// The dtype of a number that `asked` means, if it surely means the same next time.
#[inline]
pub fn number<'py>(
    py: Python<'py>,
    asked: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Number<'py>>> {
    let Some(asked) = asked else {
        return number(py, Some(py.get_type::<PyFloat>().as_any()));
    };
    for place in &KNOWN {
        match place.get(py) {
            Some((key, dtype, size)) if key.is(asked) => {
                return Ok(Some((dtype.bind(py).clone(), *size)));
            }
            Some(_) => {}
            None => break,
        }
    }
    ask(asked)
}

#[cold]
fn ask<'py>(asked: &Bound<'py, PyAny>) -> PyResult<Option<Number<'py>>> {
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
    let item = npy::item(&dtype)?;
    if !is_number(item.type_num) || !npy::builtin_dtype(py, item.type_num)?.is(&dtype) {
        return Ok(None);
    }
    remember(asked, &dtype, item.size);
    Ok(Some((dtype, item.size)))
}

/// Of a name only the one object that code has it by; others would fill the table.
fn remember<'py>(asked: &Bound<'py, PyAny>, dtype: &Bound<'py, PyAny>, size: isize) {
    let py = asked.py();
    if let Ok(name) = asked.cast_exact::<PyString>() {
        if !PyString::intern(py, &name.to_string_lossy()).is(name) {
            return;
        }
    }
    let mut entry = Some((asked.clone().unbind(), dtype.clone().unbind(), size));
    for place in &KNOWN {
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
        let numbers = (0..=HALF).filter(|&t| is_number(t));
        let class = |t| npy::builtin_dtype(py, t)?.getattr("type").map(Bound::unbind);
        let mut classes = numbers.map(class).collect::<PyResult<Vec<_>>>()?;
        classes.push(py.get_type::<PyFloat>().into_any().unbind());
        classes.push(py.get_type::<PyInt>().into_any().unbind());
        classes.push(py.get_type::<PyBool>().into_any().unbind());
        classes.push(py.get_type::<PyComplex>().into_any().unbind());
        Ok::<_, PyErr>(classes)
    })?;
    Ok(classes.iter().any(|class| class.is(asked)))
}

/// Lengths of up to eight axes.
pub struct Shape {
    len: usize,
    lengths: [isize; 8],
}

impl Deref for Shape {
    type Target = [isize];

    #[inline]
    fn deref(&self) -> &[isize] {
        &self.lengths[..self.len]
    }
}

impl Shape {
    /// Of an int, or a tuple of a few, none of them negative.
    #[inline]
    pub fn of(asked: &Bound<'_, PyAny>) -> Option<Self> {
        let mut shape = Self { len: 1, lengths: [0; 8] };
        if let Ok(tuple) = asked.cast_exact::<PyTuple>() {
            shape.len = tuple.len();
            if shape.len > shape.lengths.len() {
                return None;
            }
            for (length, item) in shape.lengths.iter_mut().zip(tuple.iter_borrowed()) {
                *length = plain_length(&item)?;
            }
        } else {
            shape.lengths[0] = plain_length(asked)?;
        }
        Some(shape)
    }
}

/// Bytes of all elements; `None` if there are none, or too many.
#[inline]
pub fn bytes(shape: &[isize], itemsize: isize) -> Option<usize> {
    let bytes = shape.iter().try_fold(itemsize, |bytes, &n| bytes.checked_mul(n))?;
    usize::try_from(bytes).ok().filter(|&bytes| bytes > 0)
}

#[inline]
fn plain_length(item: &Bound<'_, PyAny>) -> Option<isize> {
    if !item.is_exact_instance_of::<PyInt>() {
        return None;
    }
    item.extract().ok().filter(|&n: &isize| n >= 0)
}

/// Whether arrays of the workspace can be made without looking at special cases. While it is open, the
/// calling thread alone can end what was made in it.
#[inline]
fn is_plain(workspace: &Workspace) -> bool {
    is_on() && workspace.is_scope_active() && !workspace.is_debug() && !workspace.is_dummy()
}

/// The workspace that new arrays go to, if they can be made without looking at special cases.
#[inline]
pub fn current() -> Option<Workspace> {
    if is_on() { registry::current_workspace().filter(is_plain) } else { None }
}

/// A new packed array of numbers in a workspace of the calling thread. `None`, and nothing has changed: the
/// general path says why.
#[inline]
pub fn array<'py>(
    workspace: Workspace,
    number: Number<'py>,
    shape: &[isize],
    bytes: usize,
    (zeroed, fortran): (bool, bool),
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    match workspace.cut_at_hand(bytes, zeroed) {
        Some(cut) => WorkspaceArray::of_cut(workspace, cut, number, shape, fortran).map(Some),
        None => array_aside(workspace, number, shape, bytes, (zeroed, fortran)),
    }
}

/// The same in memory that is not at hand.
#[cold]
fn array_aside<'py>(
    workspace: Workspace,
    number: Number<'py>,
    shape: &[isize],
    bytes: usize,
    (zeroed, fortran): (bool, bool),
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    let Ok(cut) = workspace.cut(bytes, zeroed, None) else { return Ok(None) };
    WorkspaceArray::of_cut(workspace, cut, number, shape, fortran).map(Some)
}

/// More bytes are copied by NumPy, while other threads have the interpreter.
const SHORT: usize = 1 << 20;

/// A copy of an object that is a packed array of numbers.
pub fn array_of<'py>(
    workspace: &Workspace,
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some((source, _)) = WorkspaceArray::in_place(object)? else { return Ok(None) };
    Ok(copy(workspace, source)?.map(Bound::into_any))
}

/// A copy of a packed array of numbers, in its order.
pub fn copy<'py>(
    workspace: &Workspace,
    source: &Ndarray<'py>,
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    let (item, flags) = (source.item(), source.flags());
    let is_packed = flags & (C_CONTIGUOUS | F_CONTIGUOUS) != 0 && flags & ALIGNED != 0;
    let has_room = is_plain(workspace) && workspace.is_own();
    if !is_packed || !is_number(item.type_num) || !has_room {
        return Ok(None);
    }
    let Some(axes) = source.few_axes() else { return Ok(None) };
    let Some(bytes) = bytes(axes.shape(), item.size).filter(|&bytes| bytes <= SHORT) else {
        return Ok(None);
    };
    let number = (source.dtype()?, item.size);
    let fortran = flags & C_CONTIGUOUS == 0;
    let Some(copy) = array(workspace.clone(), number, axes.shape(), bytes, (false, fortran))?
    else {
        return Ok(None);
    };
    let target = copy.get().template(source.object().py())?;
    Ok(npy::copy_packed(source, target, 0).map(|_| copy))
}

/// `empty` or `zeros`, of a shape and a dtype that need no questions, in C order.
#[inline]
pub fn empty<'py>(
    workspace: &Workspace,
    shape: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    zeroed: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !(is_plain(workspace) && workspace.is_own()) {
        return Ok(None);
    }
    let py = shape.py();
    let Some(shape) = Shape::of(shape) else { return Ok(None) };
    let Some(number) = number(py, dtype)? else { return Ok(None) };
    let Some(bytes) = bytes(&shape, number.1) else { return Ok(None) };
    Ok(array(workspace.clone(), number, &shape, bytes, (zeroed, false))?.map(Bound::into_any))
}
