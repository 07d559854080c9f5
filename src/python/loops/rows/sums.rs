//! Sums of a few rows.
//!
//! Invariants
//! 1. Those of `rows`: arrays that were looked at after the last other code ran. No other thread has the interpreter
//!    meanwhile.
//! 2. What is written is writeable, and lies apart from what is read or is the same elements.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::{Dense, Step, Steps, same};
use crate::python::fast;
use crate::python::loops::Flags;
use crate::python::loops::elementwise::apart;

/// Of more rows a product with ones is sooner done.
const FEW: isize = 64;
/// And of more elements.
const SHORT: isize = 2048;

/// Sets `out`, one number for each column, to the sums of a few rows. False: nothing has changed, and it is to be done
/// in another way.
#[pyfunction]
#[pyo3(name = "_add_up_rows")]
pub fn add_up_rows(rows: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = rows.py();
    let (Some(rows), Some(out)) = (Dense::of(rows)?, Dense::of(out)?) else { return Ok(false) };
    let &[count, length] = rows.axes.shape() else { return Ok(false) };
    let usable = fast::is_on()
        && count <= FEW
        && rows.array.size() <= SHORT
        && rows.is_in_rows()
        && *out.axes.shape() == [length]
        && out.array.is_writeable()
        && std::ptr::eq(rows.number, out.number)
        && apart(&rows.array, &out.array);
    let Some(steps) = Steps::of(&rows.array).filter(|_| usable) else { return Ok(false) };
    let bytes = length * steps.size;
    let (first, sums) = (rows.array.data(), out.array.data());
    // SAFETY: invariants 1 and 2: as many bytes as a row has.
    unsafe { sums.write_bytes(0, bytes.unsigned_abs()) };
    let mut flags = Flags::NONE;
    if length == 1 {
        let strands = [same(sums), steps.row(first), same(sums)];
        // SAFETY: as above: all rows, each a number, are folded into one; no other code runs.
        flags = unsafe { steps.run(Step::Add, strands, count) };
    } else {
        for row in 0..count {
            let strands = [sums, first.wrapping_offset(row * bytes), sums].map(|at| steps.row(at));
            // SAFETY: as above, a row and the sums; no other code runs.
            flags = flags.or(unsafe { steps.run(Step::Add, strands, length) });
        }
    }
    flags.report(py, "reduce").map(|()| true)
}
