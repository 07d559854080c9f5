//! How far shares are from labels, and what goes back through softmax from there.
//!
//! Invariants
//! 1. Those of `rows`: arrays that were looked at after the last other code ran, and are pinned while other threads
//!    have the interpreter.
//! 2. What is written is writeable, and lies apart from what is read or is the same elements.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::{Buffer, Cell, Dense, NEAR, Step, Steps, target_of, work};
use crate::python::fast;
use crate::python::loops::elementwise::apart;
use crate::python::loops::job::LONG;
use crate::python::loops::{Flags, NOTHING};

/// The sum of `-labels * log(output)`, of outputs kept between two bounds, if there are few. `None`: it is to be done
/// in another way.
#[pyfunction]
#[pyo3(name = "_cross_entropy")]
pub fn cross_entropy(
    labels: &Bound<'_, PyAny>,
    output: &Bound<'_, PyAny>,
    least: f64,
    most: f64,
) -> PyResult<Option<f64>> {
    let py = labels.py();
    let (Some(labels), Some(output)) = (Dense::of(labels)?, Dense::of(output)?) else {
        return Ok(None);
    };
    let Some(steps) = Steps::of(&labels.array) else { return Ok(None) };
    let count = labels.array.size();
    if !(fast::is_on() && labels.is_in_rows() && labels.is_alike(&output))
        || count > NEAR / steps.size
    {
        return Ok(None);
    }
    let mut room = Buffer::new();
    let (mut least, mut most, mut total) = (steps.cell(least), steps.cell(most), Cell::default());
    let (least, most, sum) = (least.strand(), most.strand(), total.strand());
    let [labels, output, room] =
        [labels.array.data(), output.array.data(), room.address()].map(|at| steps.row(at));
    let run = |step, strands| {
        // SAFETY: invariants 1 and 2: so many labels and outputs, and room for as many; no other code runs.
        unsafe { steps.run(step, strands, count) }
    };
    run(Step::Maximum, [output, least, room]);
    run(Step::Minimum, [room, most, room]);
    let log = run(Step::Log, [room, room, NOTHING]);
    let multiply = run(Step::Multiply, [room, labels, room]);
    let reduce = run(Step::Add, [sum, room, sum]);
    log.report(py, "log")?;
    multiply.report(py, "multiply")?;
    reduce.report(py, "reduce")?;
    Ok(Some(0.0 - steps.value(&total))) // a sum is no negative zero
}

/// `output` times the sum of the labels of its row, minus the labels: in `out`, which may be the output, or where
/// results go. `None`: nothing has changed, and it is to be done in another way.
#[pyfunction]
#[pyo3(name = "_cross_entropy_back")]
pub fn cross_entropy_back<'py>(
    labels: &Bound<'py, PyAny>,
    output: &Bound<'py, PyAny>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = labels.py();
    let Some(target) = target_of(out, [output, labels])? else { return Ok(None) };
    let (Some(labels), Some(output), Some(out)) =
        (Dense::of(labels)?, Dense::of(output)?, Dense::of(&target)?)
    else {
        return Ok(None);
    };
    let &[rows, length] = labels.axes.shape() else { return Ok(None) };
    let all = [&labels, &output, &out];
    let usable = fast::is_on()
        && labels.is_in_rows()
        && output.is_alike(&labels)
        && out.is_alike(&labels)
        && out.array.is_writeable()
        && apart(&labels.array, &out.array)
        && output.may_become(&out);
    let Some(steps) = Steps::of(&labels.array).filter(|_| usable) else { return Ok(None) };
    let places = all.map(|dense| dense.array.data());
    let back = Back { steps, places, rows, length };
    // SAFETY: invariants 1 and 2: so many rows of that length in each.
    let [reduce, multiply, subtract] = work(py, all, LONG, || unsafe { back.run() })?;
    reduce.report(py, "reduce")?;
    multiply.report(py, "multiply")?;
    subtract.report(py, "subtract")?;
    Ok(Some(target))
}

struct Back {
    steps: &'static Steps,
    /// Of labels, outputs, and what is written.
    places: [*mut u8; 3],
    rows: isize,
    length: isize,
}

// SAFETY: invariant 1: the memory is alive and pinned while another thread could have the interpreter, and
// this is used by the thread that made it alone.
unsafe impl Send for Back {}

impl Back {
    /// # Safety
    /// Invariants 1 and 2.
    unsafe fn run(&self) -> [Flags; 3] {
        let (steps, length) = (self.steps, self.length);
        let mut flags = [Flags::NONE; 3];
        for row in 0..self.rows {
            let here = self.places.map(|first| first.wrapping_offset(row * length * steps.size));
            let [labels, output, out] = here.map(|place| steps.row(place));
            let mut sum = Cell::default();
            let sum = sum.strand();
            // SAFETY: the caller's word: a row is folded into the cell.
            let reduce = unsafe { steps.run(Step::Add, [sum, labels, sum], length) };
            // SAFETY: the caller's word.
            let multiply = unsafe { steps.run(Step::Multiply, [output, sum, out], length) };
            // SAFETY: the caller's word.
            let subtract = unsafe { steps.run(Step::Subtract, [out, labels, out], length) };
            flags = [flags[0].or(reduce), flags[1].or(multiply), flags[2].or(subtract)];
        }
        flags
    }
}
