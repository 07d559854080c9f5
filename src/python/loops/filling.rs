//! One number into all elements of packed memory, as `fill` and `a[...] = number` have it.
//!
//! Invariants
//! 1. The array is *at hand* when it is looked at, and other code runs only while its memory is pinned: its
//!    elements are aligned, without gaps, and lie inside of its memory.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::job::LONG;
use super::scalar::Scalar;
use crate::python::error::to_pyerr;
use crate::python::fast;
use crate::python::foreign;
use crate::python::form::Form;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, WRITEABLE};
use crate::python::numbers::Number;

/// All elements of an array. False: the general path, and nothing has changed.
#[inline]
pub fn whole(array: &Bound<'_, WorkspaceArray>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let ours = array.get();
    if !fast::is_on() || !ours.is_at_hand() {
        return Ok(false);
    }
    part(ours, ours.form(), value)
}

/// The elements of an array at hand that a form made of its own has.
#[inline]
pub fn part(ours: &WorkspaceArray, form: &Form, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, item, flags) = (value.py(), form.item(), form.flags());
    let is_packed = flags & (C_CONTIGUOUS | F_CONTIGUOUS) != 0;
    let may_write = flags & (ALIGNED | WRITEABLE) == ALIGNED | WRITEABLE;
    let Some(number) = Number::of(py, item.type_num)? else { return Ok(false) };
    if !is_packed || !may_write || !form.has_dtype(number.dtype(py)) {
        return Ok(false);
    }
    let Some(mut scalar) = Scalar::of(value, item)? else { return Ok(false) };
    let (first, from) = (form.data().expose_provenance(), scalar.address().expose_provenance());
    let repeat = || {
        let first = std::ptr::with_exposed_provenance_mut::<u8>(first);
        let from = std::ptr::with_exposed_provenance::<u8>(from);
        // SAFETY: invariant 1; the scalar has the bytes of an element.
        unsafe { repeat(first, form.size(), from, item.size) };
    };
    if form.size() > LONG {
        let _pin = ours.buffer(py).map_err(to_pyerr)?;
        foreign::without_lock(py, repeat);
    } else {
        repeat();
    }
    Ok(true)
}

/// # Safety
/// There are so many elements of that size, and one at `from`; both are aligned.
unsafe fn repeat(first: *mut u8, count: isize, from: *const u8, size: isize) {
    match size {
        // SAFETY: the caller's word.
        1 => unsafe { repeat_one(first, count, from) },
        // SAFETY: as above.
        2 => unsafe { repeat_one::<u16>(first.cast(), count, from.cast()) },
        // SAFETY: as above.
        4 => unsafe { repeat_one::<u32>(first.cast(), count, from.cast()) },
        // SAFETY: as above.
        8 => unsafe { repeat_one::<u64>(first.cast(), count, from.cast()) },
        _ => unreachable!("a scalar of another size"),
    }
}

/// # Safety
/// As `repeat`.
unsafe fn repeat_one<T: Copy>(first: *mut T, count: isize, from: *const T) {
    // SAFETY: the caller's word.
    let value = unsafe { from.read() };
    for place in 0..count {
        // SAFETY: the caller's word.
        unsafe { first.wrapping_offset(place).write(value) };
    }
}
