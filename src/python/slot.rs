//! A place for one value, for whoever has the interpreter: to take from, and to put into.
//!
//! Invariants
//! 1. The value is touched here only, with the interpreter attached. The module says that it needs the
//!    interpreter's lock (`gil_used`) and is refused without it, so one thread is here at a time.
//! 2. What touches it moves it, or counts a reference, and runs no code of others.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;

use pyo3::prelude::*;

pub struct Slot<T>(UnsafeCell<Option<T>>);

// SAFETY: invariant 1: the value goes from thread to thread as a whole.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub fn new(value: Option<T>) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// What is there; then nothing is.
    #[inline]
    pub fn take(&self, _py: Python<'_>) -> Option<T> {
        // SAFETY: invariants 1 and 2.
        unsafe { &mut *self.0.get() }.take()
    }

    /// Puts a value there. What was there goes, and may run code of others when the new one is in place.
    #[inline]
    pub fn put(&self, _py: Python<'_>, value: T) {
        // SAFETY: invariants 1 and 2.
        let old = unsafe { &mut *self.0.get() }.replace(value);
        drop(old);
    }
}

impl<T> Slot<Py<T>> {
    /// Another reference to the object that is there.
    #[inline]
    pub fn get(&self, py: Python<'_>) -> Option<Py<T>> {
        // SAFETY: invariants 1 and 2.
        let value = unsafe { &*self.0.get() };
        value.as_ref().map(|object| object.clone_ref(py))
    }
}
