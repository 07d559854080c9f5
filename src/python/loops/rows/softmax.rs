//! Shares that add up to 1, row by row.
//!
//! Invariants
//! 1. Those of `rows`: arrays that were looked at after the last other code ran, and are pinned while other threads
//!    have the interpreter.
//! 2. What is written is writeable, and lies apart from what is read or is the same elements.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::{Cell, Dense, NEAR, Step, Steps, work};
use crate::python::fast;
use crate::python::loops::job::LONG_IF_DEAR;
use crate::python::loops::{Flags, NOTHING};

/// Sets the rows of `out`, which may be `x`, to the exponentials of those of `x` over their sum. False: nothing
/// has changed, and it is to be done in another way.
#[pyfunction]
#[pyo3(name = "_softmax")]
pub fn softmax(x: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = x.py();
    let (Some(x), Some(out)) = (Dense::of(x)?, Dense::of(out)?) else { return Ok(false) };
    let &[rows, length] = x.axes.shape() else { return Ok(false) };
    let usable = fast::is_on()
        && x.is_in_rows()
        && out.is_in_rows()
        && out.array.is_writeable()
        && x.is_alike(&out)
        && x.may_become(&out);
    let Some(steps) = Steps::of(&x.array).filter(|_| usable) else { return Ok(false) };
    let softmax = Softmax { steps, x: x.array.data(), out: out.array.data(), rows, length };
    // SAFETY: invariants 1 and 2: so many rows of that length in both.
    let [subtract, exp, divide] = work(py, [&x, &out], LONG_IF_DEAR, || unsafe { softmax.run() })?;
    subtract.report(py, "subtract")?;
    exp.report(py, "exp")?;
    divide.report(py, "divide").map(|()| true)
}

struct Softmax {
    steps: &'static Steps,
    x: *mut u8,
    out: *mut u8,
    rows: isize,
    length: isize,
}

// SAFETY: invariant 1: the memory is alive and pinned while another thread could have the interpreter, and
// this is used by the thread that made it alone.
unsafe impl Send for Softmax {}

impl Softmax {
    /// # Safety
    /// Invariants 1 and 2.
    unsafe fn run(&self) -> [Flags; 3] {
        let bytes = self.length * self.steps.size;
        let together = (NEAR / bytes).clamp(1, self.rows);
        let mut flags = [Flags::NONE; 3];
        let mut row = 0;
        while row < self.rows {
            let count = together.min(self.rows - row);
            let [x, out] = [self.x, self.out].map(|first| first.wrapping_offset(row * bytes));
            // SAFETY: the caller's word: rows of both.
            let here = unsafe { self.some(x, out, count) };
            flags = [0, 1, 2].map(|i| flags[i].or(here[i]));
            row += count;
        }
        flags
    }

    /// Some rows that stay near: all of them step by step.
    ///
    /// # Safety
    /// Invariants 1 and 2, for so many rows.
    unsafe fn some(&self, x: *mut u8, out: *mut u8, rows: isize) -> [Flags; 3] {
        let (steps, length) = (self.steps, self.length);
        let (mut subtract, mut divide) = (Flags::NONE, Flags::NONE);
        let size = steps.size.unsigned_abs();
        for row in 0..rows {
            let [x, out] = [x, out].map(|first| first.wrapping_offset(row * length * steps.size));
            let mut largest = Cell::default();
            let top = largest.strand();
            // SAFETY: the caller's word: a row has a first element, and a cell room for it.
            unsafe { x.copy_to_nonoverlapping(top.address, size) };
            if length > 1 {
                let rest = steps.row(x.wrapping_offset(steps.size));
                // SAFETY: as above: the rest of the row is folded into the cell.
                unsafe { steps.run(Step::Maximum, [top, rest, top], length - 1) };
            }
            let strands = [steps.row(x), top, steps.row(out)];
            // SAFETY: the caller's word.
            subtract = subtract.or(unsafe { steps.run(Step::Subtract, strands, length) });
        }
        let all = [steps.row(out), steps.row(out), NOTHING];
        // SAFETY: the caller's word.
        let exp = unsafe { steps.run(Step::Exp, all, rows * length) };
        for row in 0..rows {
            let out = steps.row(out.wrapping_offset(row * length * steps.size));
            let mut total = Cell::default();
            let sum = total.strand();
            // SAFETY: the caller's word: the row is folded into the cell, which is 0.
            unsafe { steps.run(Step::Add, [sum, out, sum], length) };
            // SAFETY: the caller's word.
            divide = divide.or(unsafe { steps.run(Step::Divide, [out, sum, out], length) });
        }
        [subtract, exp, divide]
    }
}
