//! Values for whoever has the interpreter: one that is changed where it lies, one to take and to put back.
//!
//! Invariants
//! 1. The value is touched here only, with the interpreter attached. The module says that it needs the
//!    interpreter's lock (`gil_used`) and is refused without it, so one thread is here at a time.
//! 2. What touches it runs no code of others, and does not come back here.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;

use pyo3::prelude::*;

/// A value that is changed where it lies.
pub struct Place<T>(UnsafeCell<T>);

// SAFETY: invariant 1: the value goes from thread to thread as a whole.
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// What `touch` makes of the value.
    ///
    /// # Safety
    /// Invariant 2.
    #[inline(always)]
    pub unsafe fn with<R>(&self, _py: Python<'_>, touch: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: invariant 1, and the caller's word: nobody else has it meanwhile.
        touch(unsafe { &mut *self.0.get() })
    }

    /// The value, which nobody else can ask for.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// A place for one value, or none.
pub struct Slot<T>(Place<Option<T>>);

impl<T> Slot<T> {
    pub fn new(value: Option<T>) -> Self {
        Self(Place::new(value))
    }

    /// What is there; then nothing is.
    #[inline]
    pub fn take(&self, py: Python<'_>) -> Option<T> {
        // SAFETY: invariant 2: it is moved.
        unsafe { self.0.with(py, Option::take) }
    }

    /// Puts a value there. What was there goes, and may run code of others when the new one is in place.
    #[inline]
    pub fn put(&self, py: Python<'_>, value: T) {
        // SAFETY: invariant 2: it is moved.
        let old = unsafe { self.0.with(py, |place| place.replace(value)) };
        drop(old);
    }
}

impl<T> Slot<Py<T>> {
    /// Another reference to the object that is there.
    #[inline]
    pub fn get(&self, py: Python<'_>) -> Option<Py<T>> {
        // SAFETY: invariant 2: a reference is counted.
        unsafe { self.0.with(py, |value| value.as_ref().map(|object| object.clone_ref(py))) }
    }
}
