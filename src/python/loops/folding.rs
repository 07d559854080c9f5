//! Sums and extremes by NumPy's own loops, called as its `reduce` calls them.
//!
//! How that is, is not written down anywhere. So a few examples are computed both ways first, once for each
//! ufunc and dtype; where a bit differs, NumPy is left to do it.
//!
//! Invariants
//! 1. Those of `elementwise`. A loop whose first input is its output, at step 0, folds the second input into
//!    it; at the step of its elements it folds one row into another.
//! 2. What is folded is packed in C order, aligned and not empty, as `Rows` says it is.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::elementwise::is_quiet;
use super::{Flags, Loops, Strand};
use crate::python::error::to_pyerr;
use crate::python::foreign;
use crate::python::form::Form;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{self, ALIGNED, C_CONTIGUOUS, Ndarray, numpy};
use crate::python::numbers::Number;

/// More elements are computed while other threads have the interpreter.
const FEW: isize = 8192;

/// What a fold begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Zeros, as NumPy adds.
    Zero,
    /// The first of what is folded.
    First,
}

/// The folds of one ufunc, and by type number whether they are NumPy's: not known, yes, no.
pub struct Fold {
    begin: Begin,
    known: [AtomicU8; 24],
}

const YES: u8 = 1;
const NO: u8 = 2;

/// What is folded: rows of elements, packed.
#[derive(Clone, Copy)]
struct Rows {
    first: *mut u8,
    count: isize,
    length: isize,
    size: isize,
}

impl Rows {
    fn row(&self, index: isize) -> *mut u8 {
        self.first.wrapping_offset(index * self.length * self.size)
    }
}

fn is_unknown(known: &AtomicU8) -> bool {
    known.load(Ordering::Relaxed) == 0
}

/// A number, as bytes that any dtype can be read from.
#[repr(align(16))]
struct Cell([u8; 16]);

impl Fold {
    pub const fn new(begin: Begin) -> Self {
        Self { begin, known: [const { AtomicU8::new(0) }; 24] }
    }

    /// All elements of an array that is at hand; `None`: NumPy has to do it.
    pub fn all<'py>(
        &self,
        py: Python<'py>,
        loops: &Loops,
        array: &WorkspaceArray,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let form = array.form();
        let Some((number, entry)) = self.usable(py, loops, form)? else { return Ok(None) };
        let size = form.item().size;
        let rows = Rows { first: form.data(), count: 1, length: form.size(), size };
        let mut cell = Cell([0; 16]);
        let flags = if rows.length > FEW {
            let _pin = array.buffer(py).map_err(to_pyerr)?;
            // SAFETY: invariants 1 and 2: at hand, and pinned while other code runs.
            foreign::without_lock(py, || unsafe { self.elements(loops, entry, rows, &mut cell) })
        } else {
            // SAFETY: invariants 1 and 2: at hand, and no other code runs.
            unsafe { self.elements(loops, entry, rows, &mut cell) }
        };
        if !is_quiet(py, flags)? {
            return Ok(None);
        }
        // SAFETY: the bytes of a number of that dtype.
        unsafe { npy::scalar(number.dtype(py), cell.0.as_mut_ptr()) }.map(Some)
    }

    /// The rows of a matrix that is at hand into `out`, new memory for one of them. False: NumPy has to do it.
    pub fn rows(&self, py: Python<'_>, loops: &Loops, form: &Form, out: &Form) -> PyResult<bool> {
        let &[count, length] = form.shape() else { return Ok(false) };
        let Some((number, entry)) = self.usable(py, loops, form)? else { return Ok(false) };
        let usable = count > 1
            && length > 1
            && form.size() <= FEW
            && out.size() == length
            && out.flags() & C_CONTIGUOUS != 0
            && out.has_dtype(number.dtype(py));
        if !usable {
            return Ok(false);
        }
        let rows = Rows { first: form.data(), count, length, size: form.item().size };
        // SAFETY: invariants 1 and 2; the result is new, and has a row's length.
        let flags = unsafe { self.lines(loops, entry, rows, out.data()) };
        is_quiet(py, flags)
    }

    /// Each row of a matrix that is at hand into `out`, new memory for as many numbers. False: NumPy has to
    /// do it.
    pub fn along(&self, py: Python<'_>, loops: &Loops, form: &Form, out: &Form) -> PyResult<bool> {
        let &[count, length] = form.shape() else { return Ok(false) };
        let Some((number, entry)) = self.usable(py, loops, form)? else { return Ok(false) };
        let usable = length > 1
            && form.size() <= FEW
            && out.size() == count
            && out.flags() & C_CONTIGUOUS != 0
            && out.has_dtype(number.dtype(py));
        if !usable {
            return Ok(false);
        }
        let rows = Rows { first: form.data(), count, length, size: form.item().size };
        // SAFETY: invariants 1 and 2; the result is new, and has a number for each row.
        let flags = unsafe { self.each(loops, entry, rows, out.data()) };
        is_quiet(py, flags)
    }

    /// The dtype and the loop, if both ways are known to give the same.
    fn usable(
        &self,
        py: Python<'_>,
        loops: &Loops,
        form: &Form,
    ) -> PyResult<Option<(&'static Number, usize)>> {
        let type_num = form.item().type_num;
        let Some((entry, produced)) = loops.find(type_num) else { return Ok(None) };
        let Some(number) = Number::of(py, type_num)? else { return Ok(None) };
        let is_packed = form.flags() & C_CONTIGUOUS != 0 && form.flags() & ALIGNED != 0;
        let is_plain = is_packed
            && produced == type_num
            && form.has_dtype(number.dtype(py))
            && form.size() > 0;
        let known = self.known_of(type_num);
        let is_numpys = known.is_some_and(|known| known.load(Ordering::Relaxed) == YES);
        Ok((is_plain && is_numpys).then_some((number, entry)))
    }

    /// Compares both ways for elements of a type, once. Runs code of NumPy's.
    pub fn learn(&self, py: Python<'_>, loops: &Loops, type_num: c_int) -> PyResult<()> {
        let Some(known) = self.known_of(type_num).filter(|known| is_unknown(known)) else {
            return Ok(());
        };
        let (Some((entry, _)), Some(number)) = (loops.find(type_num), Number::of(py, type_num)?)
        else {
            return Ok(());
        };
        let is_same = number.item.size <= 16 && self.compare(py, loops, (number, entry))?;
        known.store(if is_same { YES } else { NO }, Ordering::Relaxed);
        Ok(())
    }

    fn known_of(&self, type_num: c_int) -> Option<&AtomicU8> {
        self.known.get(usize::try_from(type_num).ok()?)
    }

    /// Whether both ways give the same for some examples.
    #[cold]
    fn compare(
        &self,
        py: Python<'_>,
        loops: &Loops,
        (number, entry): (&'static Number, usize),
    ) -> PyResult<bool> {
        const EXAMPLES: [(isize, isize, Option<i32>); 11] = [
            (1, 1, None),
            (1, 7, None),
            (1, 333, None),
            (1, 8195, None),
            (1, 33333, None),
            (5, 7, Some(0)),
            (2, 150, Some(0)),
            (1, 7, Some(1)),
            (1, 333, Some(1)),
            (5, 7, Some(1)),
            (3, 150, Some(1)),
        ];
        for (count, length, axis) in EXAMPLES {
            for is_zero in [false, true] {
                let example = example(number.dtype(py), (count, length), is_zero)?;
                let reduce = loops.ufunc(py).getattr("reduce")?;
                let theirs = foreign::call(&reduce, (example.object(), axis), None)?;
                let theirs = theirs.call_method0("tobytes")?.cast_into::<PyBytes>()?;
                let size = number.item.size;
                let rows = Rows { first: example.data(), count, length, size };
                let places = if axis == Some(0) { length } else { count };
                let mut ours = vec![0_u128; usize::try_from(places)?];
                let out = ours.as_mut_ptr().cast::<u8>();
                let flags = if axis == Some(0) {
                    // SAFETY: invariants 1 and 2: an array of ours alone, and no other code runs; there is
                    // room for a row.
                    unsafe { self.lines(loops, entry, rows, out) }
                } else {
                    // SAFETY: as above; there is room for a number of each row.
                    unsafe { self.each(loops, entry, rows, out) }
                };
                let bytes = usize::try_from(places * size)?;
                let ours: Vec<u8> = ours.iter().flat_map(|n| n.to_ne_bytes()).take(bytes).collect();
                if flags != Flags::NONE || PyErr::take(py).is_some() || theirs.as_bytes() != ours {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// # Safety
    /// Invariants 1 and 2, of one row; the loop is of its dtype.
    unsafe fn elements(&self, loops: &Loops, entry: usize, rows: Rows, cell: &mut Cell) -> Flags {
        let mut from = 0;
        if self.begin == Begin::First {
            let bytes = rows.size.unsigned_abs().min(cell.0.len());
            // SAFETY: invariant 2: there is an element.
            unsafe { ptr::copy_nonoverlapping(rows.first, cell.0.as_mut_ptr(), bytes) };
            from = 1;
        }
        if from == rows.length {
            return Flags::NONE;
        }
        let folded = Strand { address: cell.0.as_mut_ptr(), step: 0 };
        let address = rows.first.wrapping_offset(from * rows.size);
        let strands = [folded, Strand { address, step: rows.size }, folded];
        // SAFETY: the caller's word.
        unsafe { loops.run(entry, &strands, rows.length - from) }
    }

    /// # Safety
    /// Invariants 1 and 2; the loop is of their dtype, of at most 16 bytes, and there is room for a number of
    /// each row at `out`.
    unsafe fn each(&self, loops: &Loops, entry: usize, rows: Rows, out: *mut u8) -> Flags {
        (0..rows.count).fold(Flags::NONE, |flags, row| {
            let mut cell = Cell([0; 16]);
            let one = Rows { first: rows.row(row), count: 1, ..rows };
            // SAFETY: the caller's word: one of the rows.
            let flags = flags.or(unsafe { self.elements(loops, entry, one, &mut cell) });
            let place = out.wrapping_offset(row * rows.size);
            // SAFETY: the caller's word: there is room for it.
            unsafe { ptr::copy_nonoverlapping(cell.0.as_ptr(), place, rows.size.unsigned_abs()) };
            flags
        })
    }

    /// # Safety
    /// Invariants 1 and 2; the loop is of their dtype, and there is room for a row at `out`.
    unsafe fn lines(&self, loops: &Loops, entry: usize, rows: Rows, out: *mut u8) -> Flags {
        let bytes = (rows.length * rows.size).unsigned_abs();
        let mut from = 0;
        if self.begin == Begin::First {
            // SAFETY: the caller's word: there is a row, and room for one.
            unsafe { ptr::copy_nonoverlapping(rows.first, out, bytes) };
            from = 1;
        } else {
            // SAFETY: as above.
            unsafe { ptr::write_bytes(out, 0, bytes) };
        }
        let folded = Strand { address: out, step: rows.size };
        (from..rows.count).fold(Flags::NONE, |flags, row| {
            let strands = [folded, Strand { address: rows.row(row), step: rows.size }, folded];
            // SAFETY: the caller's word.
            flags.or(unsafe { loops.run(entry, &strands, rows.length) })
        })
    }
}

/// Numbers of some size and both signs, where there are two, or zeros with a sign.
fn example<'py>(
    dtype: &Bound<'py, PyAny>,
    (count, length): (isize, isize),
    is_zero: bool,
) -> PyResult<Ndarray<'py>> {
    let py = dtype.py();
    let numbers = numpy(py)?.call_method1("arange", (1, count * length + 1))?;
    // Small ones for unsigned integers, too: a negative one would be far too large.
    let numbers =
        numpy(py)?.call_method1("sin", (numbers,))?.mul(if is_zero { 0.0 } else { 50.0 })?;
    let is_unsigned = npy::item(dtype)?.kind == 'u';
    let numbers = if is_unsigned { numbers.call_method0("__abs__")? } else { numbers };
    let array = numbers.call_method1("astype", (dtype,))?;
    let array = array.call_method1("reshape", (count, length))?;
    Ndarray::exact(&array)?.ok_or_else(|| pyo3::exceptions::PyTypeError::new_err("no array"))
}
