//! Objects of our own classes, made where they lie.
//!
//! pyo3 makes the value first and moves it into the object. What was written word by word and is read in
//! larger pieces makes the processor wait, for longer than all the rest takes.
//!
//! Invariants
//! 1. An object of a frozen class of pyo3's that is `Send` and has no dict holds its value at one offset, the
//!    same in all of them, and beside it nothing but the head and words that are null: so it was seen in one
//!    that pyo3 made.
//! 2. `PyType_GenericAlloc`, which is what such a class allocates with, gives an object with a head and zeros,
//!    or null with an exception set.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{ptr, slice};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{PyClass, PyClassInitializer};

use super::foreign;

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

/// Where the objects of a class have their value, once one of them was looked at.
pub struct Offset(AtomicUsize);

const UNKNOWN: usize = 0;
/// The class is not laid out as we know it.
const STRANGE: usize = usize::MAX;

/// A class of ours whose objects nobody changes, without a base.
pub trait Class: PyClass<Frozen = True> + Into<PyClassInitializer<Self>> + Send + Sync {}

impl<T> Class for T where T: PyClass<Frozen = True> + Into<PyClassInitializer<Self>> + Send + Sync {}

impl Offset {
    pub const fn unknown() -> Self {
        Self(AtomicUsize::new(UNKNOWN))
    }

    /// An object with the value that is written into the given place; the collector does not run meanwhile.
    ///
    /// # Safety
    /// `write` writes a whole value.
    #[inline(always)]
    pub unsafe fn make<'py, T>(
        &self,
        py: Python<'py>,
        write: impl FnOnce(*mut T),
    ) -> PyResult<Bound<'py, T>>
    where
        T: Class,
    {
        let offset = self.0.load(Ordering::Relaxed);
        let is_known = !matches!(offset, UNKNOWN | STRANGE);
        let class = T::type_object_raw(py);
        // SAFETY: invariant 2: a class, the interpreter attached.
        let allocate = || unsafe { ffi::PyType_GenericAlloc(class, 0) };
        let object = if is_known { foreign::undisturbed(py, allocate) } else { ptr::null_mut() };
        let mut aside = MaybeUninit::uninit();
        let place = if object.is_null() {
            aside.as_mut_ptr()
        } else {
            // SAFETY: invariant 1: there is its place, and nobody has the object yet.
            unsafe { object.byte_add(offset) }.cast()
        };
        // Called here alone, to be a part of this function.
        write(place);
        if object.is_null() {
            // SAFETY: the caller's word.
            return self.make_otherwise(py, unsafe { aside.assume_init() }, is_known);
        }
        // SAFETY: a new reference to an object of the class, which is whole now.
        let object = unsafe { Bound::from_owned_ptr(py, object) };
        // SAFETY: as above.
        Ok(unsafe { object.cast_into_unchecked() })
    }

    /// Where there was no object to write into, for want of memory or of knowledge.
    #[cold]
    #[inline(never)]
    fn make_otherwise<'py, T>(
        &self,
        py: Python<'py>,
        value: T,
        is_known: bool,
    ) -> PyResult<Bound<'py, T>>
    where
        T: Class,
    {
        if is_known {
            return Err(PyErr::fetch(py));
        }
        let object = foreign::undisturbed(py, || Bound::new(py, value))?;
        if self.0.load(Ordering::Relaxed) == UNKNOWN {
            self.0.store(offset_of(&object)?, Ordering::Relaxed);
        }
        Ok(object)
    }
}

/// Where an object has its value, if there is nothing beside it.
fn offset_of<T: Class>(object: &Bound<'_, T>) -> PyResult<usize> {
    let size: usize = object.as_any().get_type().getattr("__basicsize__")?.extract()?;
    let start = object.as_ptr().cast_const().cast::<u8>();
    let offset = ptr::from_ref(object.get()).addr() - start.addr();
    let (head, end) = (size_of::<ffi::PyObject>(), offset + size_of::<T>());
    if !(head..=size).contains(&offset) || end > size {
        return Ok(STRANGE);
    }
    let is_null = |from: usize, to: usize| {
        // SAFETY: bytes of a living object; those beside the value are words of its own (invariant 1).
        let bytes = unsafe { slice::from_raw_parts(start.wrapping_add(from), to - from) };
        bytes.iter().all(|&byte| byte == 0)
    };
    Ok(if is_null(head, offset) && is_null(end, size) { offset } else { STRANGE })
}
