//! Objects of our own classes, made where they lie, and ended without detours.
//!
//! pyo3 makes the value first and moves it into the object. What was written word by word and is read in
//! larger pieces makes the processor wait, for longer than all the rest takes.
//!
//! Invariants
//! 1. An object of a frozen class of pyo3's that is `Send` and has no dict consists of its head, its value and,
//!    if it can have weak references, a word that leads to them. A class is known if its size says so.
//! 2. Objects of a known class were taken from the cyclic collector before there were any (`shortcut::of_end`):
//!    `PyObject_Malloc` and `PyObject_Init` make them, and count the class, `PyObject_Free` ends them.
//! 3. CPython calls the function that ends objects with the interpreter attached and an object of the class
//!    that nobody has any more.

#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::{PyClass, PyClassInitializer};

use super::foreign;
use super::shortcut;

/// Writes a field of a value that is not there yet, at a place that has room for the whole.
macro_rules! put {
    ($place:ident.$field:ident, $value:expr) => {{
        // SAFETY: the caller's word: inside the value.
        let field = unsafe { &raw mut (*$place).$field };
        // SAFETY: as above; nothing is dropped.
        unsafe { field.write($value) };
    }};
}
pub(super) use put;

/// A class of ours whose objects nobody changes, without a base.
pub trait Class: PyClass<Frozen = True> + Into<PyClassInitializer<Self>> + Send + Sync {
    /// How its objects are laid out.
    fn layout() -> &'static Layout;

    /// Gives back the references that a value has, when it ends. Those that are left, pyo3 drops later.
    fn give_back(&mut self, py: Python<'_>);
}

/// How the objects of a class are laid out, if it is known.
pub struct Layout(PyOnceLock<Places>);

/// Where an object has the word that leads to weak references, if there is one, and its size.
struct Places {
    weak: Option<usize>,
    size: usize,
}

impl Layout {
    pub const fn unknown() -> Self {
        Self(PyOnceLock::new())
    }
}

const HEAD: usize = size_of::<ffi::PyObject>();

/// Looks at a class of which there is no object yet.
///
/// # Safety
/// No object of the class can be a part of a cycle.
pub unsafe fn prepare<T: Class>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<T>();
    let number = |name: &str| class.getattr(name)?.extract::<usize>();
    let (size, weak) = (number("__basicsize__")?, number("__weakrefoffset__")?);
    let behind = HEAD + size_of::<T>();
    let weak = if weak == 0 { None } else { Some(weak) };
    let is_known = match weak {
        None => size == behind,
        Some(weak) => weak == behind && size == behind + size_of::<usize>(),
    };
    // SAFETY: the caller's word.
    if is_known && unsafe { shortcut::of_end(&class, end::<T>) } {
        T::layout().0.get_or_init(py, || Places { weak, size });
    }
    Ok(())
}

/// An object whose value is still to be written.
///
/// In two calls, and not with a closure: what a closure takes along may end up in memory, from where it is
/// copied in larger pieces than it was written in.
pub struct Blank<T> {
    /// Null where pyo3 has to make it.
    object: *mut ffi::PyObject,
    place: *mut T,
}

/// A new object without a value. The cyclic collector does not run meanwhile.
#[inline(always)]
pub fn allocate<T: Class>(py: Python<'_>) -> PyResult<Blank<T>> {
    let Some(places) = T::layout().0.get(py) else { return Ok(aside()) };
    // SAFETY: the interpreter is attached.
    let object = unsafe { ffi::PyObject_Malloc(places.size) }.cast::<ffi::PyObject>();
    if object.is_null() {
        return Err(PyMemoryError::new_err(()));
    }
    if let Some(weak) = places.weak {
        // SAFETY: invariant 1: a word of the object.
        unsafe { object.wrapping_byte_add(weak).cast::<usize>().write(0) };
    }
    // SAFETY: invariant 2: memory for an object of the class.
    unsafe { ffi::PyObject_Init(object, T::type_object_raw(py)) };
    Ok(Blank { object, place: object.wrapping_add(1).cast() })
}

#[cold]
fn aside<T>() -> Blank<T> {
    let place = Box::into_raw(Box::<T>::new_uninit());
    Blank { object: ptr::null_mut(), place: place.cast() }
}

impl<T: Class> Blank<T> {
    /// Where its value is to be written.
    #[inline(always)]
    pub fn place(&self) -> *mut T {
        self.place
    }

    /// The object.
    ///
    /// # Safety
    /// The whole value was written.
    #[inline(always)]
    pub unsafe fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, T>> {
        if self.object.is_null() {
            // SAFETY: `aside` made the box; the caller's word.
            return make_otherwise(py, unsafe { Box::from_raw(self.place) });
        }
        // SAFETY: a new reference to an object of the class, which is whole now.
        let object = unsafe { Bound::from_owned_ptr(py, self.object) };
        // SAFETY: as above.
        Ok(unsafe { object.cast_into_unchecked() })
    }
}

/// By pyo3's way.
#[cold]
fn make_otherwise<T: Class>(py: Python<'_>, value: Box<T>) -> PyResult<Bound<'_, T>> {
    foreign::undisturbed(py, || Bound::new(py, *value))
}

/// What CPython calls when nobody has an object any more.
unsafe extern "C" fn end<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: invariant 3.
    let py = unsafe { Python::assume_attached() };
    // There since this function is in its place.
    let Some(places) = T::layout().0.get(py) else { return };
    // Invariant 1.
    let value = object.wrapping_add(1).cast::<T>();
    let drop_value = || {
        // SAFETY: invariant 3.
        unsafe { &mut *value }.give_back(py);
        // SAFETY: invariant 3.
        unsafe { ptr::drop_in_place(value) };
    };
    if catch_unwind(AssertUnwindSafe(drop_value)).is_err() {
        PanicException::new_err("the end of an object panicked").write_unraisable(py, None);
    }
    if let Some(weak) = places.weak {
        // SAFETY: invariant 1.
        if unsafe { object.wrapping_byte_add(weak).cast::<usize>().read() } != 0 {
            // SAFETY: invariants 1 and 3.
            unsafe { ffi::PyObject_ClearWeakRefs(object) };
        }
    }
    // SAFETY: invariant 3.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: invariant 2.
    unsafe { ffi::PyObject_Free(object.cast()) };
    // SAFETY: invariant 2: the object's reference.
    unsafe { ffi::Py_DECREF(class.cast()) };
}
