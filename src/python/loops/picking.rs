//! Elements picked out of packed arrays: `where`, `a[places]`, `a[mask]`. They are moved, not computed, so the
//! bits are those that NumPy gives.
//!
//! `None` everywhere says that the general path is to be taken, and that nothing has changed.
//!
//! Invariants
//! 1. Those of `elementwise`: what was looked at is alive, aligned and without gaps, and pinned while other code
//!    runs. What is written is new memory.
//! 2. Other threads may change elements meanwhile, masks and places too: no element that was read is trusted
//!    a second time.

#![allow(unsafe_code)]

use std::ffi::c_int;

use pyo3::prelude::*;

use super::job::{LONG_IF_DEAR, Packed};
use crate::Buffer;
use crate::python::fast;
use crate::python::foreign;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::C_CONTIGUOUS;
use crate::python::numbers::Number;

/// The type number of bools.
const BOOL: c_int = 0;

/// `where(mask, x, y)` of one shape.
pub fn where_of<'py>(
    mask: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = mask.py();
    if !fast::is_on() {
        return Ok(None);
    }
    let (Some(mask), Some(x), Some(y)) = (Packed::of(mask)?, Packed::of(x)?, Packed::of(y)?) else {
        return Ok(None);
    };
    let orders = mask.orders & x.orders & y.orders;
    let Some(number) = number_of(&x)? else { return Ok(None) };
    let is_alike = orders != 0
        && y.array.has_dtype(number.dtype(py))
        && mask.array.item().type_num == BOOL
        && mask.array.has_shape_of(&x.array)
        && y.array.has_shape_of(&x.array);
    let Some(axes) = x.array.few_axes().filter(|_| is_alike) else { return Ok(None) };
    let made = fast::array(py, number, axes.shape(), orders & C_CONTIGUOUS == 0)?;
    let Some(result) = made else { return Ok(None) };
    let (from, to) = ([mask.array.data(), x.array.data(), y.array.data()], data_of(&result));
    let (count, size) = (x.array.size(), number.item.size);
    // SAFETY: invariant 1: so many elements of that size each.
    let done = aside(py, count, [&mask, &x, &y], || unsafe { choose(size, count, from, to) })?;
    Ok(done.then(|| result.into_any()))
}

/// `a[places]` of one axis, or `a[mask]` of the array's shape.
pub fn pick<'py>(
    array: &Bound<'py, WorkspaceArray>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !fast::is_on() {
        return Ok(None);
    }
    let Some(key) = Packed::of(key)? else { return Ok(None) };
    let Some(array) = Packed::of(array.as_any())? else { return Ok(None) };
    let (Some(number), Some(kind)) = (number_of(&array)?, number_of(&key)?) else {
        return Ok(None);
    };
    if array.orders & key.orders & C_CONTIGUOUS == 0 {
        return Ok(None);
    }
    let (is_line, kind) = (array.array.ndim() == 1 && key.array.ndim() == 1, kind.item);
    let are_places = kind.kind == 'i' && kind.size.unsigned_abs() == size_of::<isize>();
    if kind.type_num == BOOL && key.array.has_shape_of(&array.array) {
        masked(&array, &key, number)
    } else if are_places && is_line {
        taken(&array, &key, number)
    } else {
        Ok(None)
    }
}

fn masked<'py>(
    array: &Packed<'_, 'py>,
    mask: &Packed<'_, 'py>,
    number: &'static Number,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, count) = (array.array.py(), array.array.size());
    let from = [mask.array.data(), array.array.data()];
    // SAFETY: invariant 1: so many bools, and no other code runs.
    let picked = unsafe { count_of(from[0], count) };
    let Some(result) = fast::array(py, number, &[picked], false)? else { return Ok(None) };
    let (to, size) = ((data_of(&result), picked), number.item.size);
    // SAFETY: invariant 1: so many elements of that size, and room for those that were counted.
    let done = aside(py, count, [array, mask], || unsafe { compress(size, count, from, to) })?;
    Ok(done.then(|| result.into_any()))
}

fn taken<'py>(
    array: &Packed<'_, 'py>,
    places: &Packed<'_, 'py>,
    number: &'static Number,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, length, count) = (array.array.py(), array.array.size(), places.array.size());
    let from = (array.array.data(), length);
    let first = places.array.data().cast_const();
    // What will be refused takes no memory, as far as it shows at once.
    // SAFETY: invariant 1: so many places, and no other code runs.
    if count <= LONG_IF_DEAR && !unsafe { are_inside(first, count, length) } {
        return Ok(None);
    }
    let Some(result) = fast::array(py, number, &[count], false)? else { return Ok(None) };
    let (to, size) = (data_of(&result), number.item.size);
    // SAFETY: invariant 1: so many elements of that size, and room for as many as there are places.
    let take = || unsafe { take(size, (first, count), from, to) };
    let done = aside(py, count, [array, places], take)?;
    Ok(done.then(|| result.into_any()))
}

/// The dtype of the elements, if they are numbers of up to sixteen bytes.
fn number_of(array: &Packed<'_, '_>) -> PyResult<Option<&'static Number>> {
    let py = array.array.py();
    let number = Number::of(py, array.array.item().type_num)?;
    let is_it =
        |number: &&Number| number.item.size <= 16 && array.array.has_dtype(number.dtype(py));
    Ok(number.filter(is_it))
}

fn data_of(array: &Bound<'_, WorkspaceArray>) -> *mut u8 {
    array.get().form().data()
}

/// Runs the work, on many elements while other threads have the interpreter. Its answer is whether all is done.
fn aside<const N: usize>(
    py: Python<'_>,
    count: isize,
    operands: [&Packed<'_, '_>; N],
    work: impl FnOnce() -> bool,
) -> PyResult<bool> {
    if count <= LONG_IF_DEAR {
        return Ok(work());
    }
    let pins = operands.iter().map(|operand| operand.array.pin());
    let _pins: Vec<Option<Buffer>> = pins.collect::<PyResult<_>>()?;
    Ok(foreign::without_lock(py, work))
}

/// Elements of so many bytes, whatever they mean; they may lie at any address.
macro_rules! by_size {
    ($size:expr, $function:ident($($argument:expr),*)) => {
        match $size {
            // SAFETY: the caller's word, in each case.
            1 => unsafe { $function::<u8>($($argument),*) },
            // SAFETY: as above.
            2 => unsafe { $function::<u16>($($argument),*) },
            // SAFETY: as above.
            4 => unsafe { $function::<u32>($($argument),*) },
            // SAFETY: as above.
            8 => unsafe { $function::<u64>($($argument),*) },
            // SAFETY: as above; there is no other size.
            _ => unsafe { $function::<[u64; 2]>($($argument),*) },
        }
    };
}

/// # Safety
/// There are `count` bools, and as many elements of that size in all others.
unsafe fn choose(size: isize, count: isize, from: [*mut u8; 3], to: *mut u8) -> bool {
    by_size!(size, choose_of(count, from, to))
}

/// # Safety
/// As `choose`.
unsafe fn choose_of<T: Copy>(count: isize, [mask, x, y]: [*mut u8; 3], to: *mut u8) -> bool {
    for i in 0..count {
        // SAFETY: the caller's word.
        let one: T = unsafe { element(x, i) };
        // SAFETY: the caller's word.
        let other: T = unsafe { element(y, i) };
        // SAFETY: the caller's word.
        let is_one = unsafe { mask.wrapping_offset(i).read() } != 0;
        // SAFETY: the caller's word.
        unsafe { put(to, i, if is_one { one } else { other }) };
    }
    true
}

/// # Safety
/// There is such an element.
#[inline(always)]
unsafe fn element<T: Copy>(first: *const u8, index: isize) -> T {
    // SAFETY: the caller's word.
    unsafe { first.cast::<T>().wrapping_offset(index).read_unaligned() }
}

/// # Safety
/// There is room for it.
#[inline(always)]
unsafe fn put<T: Copy>(first: *mut u8, index: isize, value: T) {
    // SAFETY: the caller's word.
    unsafe { first.cast::<T>().wrapping_offset(index).write_unaligned(value) };
}

/// How many of the bools are set.
///
/// # Safety
/// There are so many.
unsafe fn count_of(mask: *const u8, count: isize) -> isize {
    // SAFETY: the caller's word.
    (0..count).map(|i| isize::from(unsafe { mask.wrapping_offset(i).read() } != 0)).sum()
}

/// Moves the elements whose bool is set. False: there are not as many as there is room for.
///
/// # Safety
/// There are `count` bools and elements of that size, and room for `picked` of them.
unsafe fn compress(size: isize, count: isize, from: [*mut u8; 2], to: (*mut u8, isize)) -> bool {
    by_size!(size, compress_of(count, from, to))
}

/// # Safety
/// As `compress`.
unsafe fn compress_of<T: Copy>(
    count: isize,
    [mask, from]: [*mut u8; 2],
    (to, room): (*mut u8, isize),
) -> bool {
    let (mut i, mut at) = (0, 0);
    // Without a branch on the bool: it is as likely set as not.
    while i < count && at < room {
        // SAFETY: the caller's word.
        let value: T = unsafe { element(from, i) };
        // SAFETY: the caller's word; invariant 2: there is room.
        unsafe { put(to, at, value) };
        // SAFETY: the caller's word.
        at += isize::from(unsafe { mask.wrapping_offset(i).read() } != 0);
        i += 1;
    }
    at == room
}

/// All bits of a negative number set, and of another one none.
#[inline(always)]
fn sign(number: isize) -> isize {
    number >> (isize::BITS - 1)
}

/// Whether all places, counted from the end if negative, lie inside of so many elements.
///
/// # Safety
/// There are `count` places.
unsafe fn are_inside(places: *const u8, count: isize, length: isize) -> bool {
    // Of a negative place, the distance from the end. The sign of what is left tells of the first outside.
    let left = (0..count).fold(0, |left, i| {
        // SAFETY: the caller's word.
        let place: isize = unsafe { element(places, i) };
        left | (length - 1 - (place ^ sign(place)))
    });
    left >= 0
}

/// Moves the elements of those places. False: one of them lies outside.
///
/// # Safety
/// There are `count` places, aligned, `length` elements of that size, and room for `count` of them.
unsafe fn take(
    size: isize,
    places: (*const u8, isize),
    from: (*mut u8, isize),
    to: *mut u8,
) -> bool {
    by_size!(size, take_of(places, from, to))
}

/// # Safety
/// As `take`.
#[allow(clippy::cast_ptr_alignment, reason = "packed arrays are aligned")]
unsafe fn take_of<T: Copy>(
    (places, count): (*const u8, isize),
    (from, length): (*mut u8, isize),
    to: *mut u8,
) -> bool {
    for i in 0..count {
        // SAFETY: the caller's word; invariant 2: it is read once, however the compiler may see it.
        let place = unsafe { places.cast::<isize>().wrapping_offset(i).read_volatile() };
        let place = place.wrapping_add(length & sign(place));
        if !(0..length).contains(&place) {
            return false;
        }
        // SAFETY: the caller's word; invariant 2: the place was looked at after it was read.
        let value: T = unsafe { element(from, place) };
        // SAFETY: the caller's word.
        unsafe { put(to, i, value) };
    }
    true
}
