//! Sums into an array of which elements are one and the same, as those of windows that overlap in an image.
//!
//! Invariants
//! 1. Those of `loops`. Of a row of the target no two elements have a byte in common, and all of it lies apart
//!    from what is added; NumPy lets one write into it.

#![allow(unsafe_code)]

use pyo3::intern;
use pyo3::prelude::*;

use super::{Flags, Loops, Strand};
use crate::python::fast;
use crate::python::foreign;
use crate::python::npy::{ALIGNED, Ndarray, numpy};
use crate::python::numbers::Number;
use crate::python::order;

/// `target[i] += values[i]`, one row after the other, while other threads have the interpreter; elements of the
/// target may be the same. False: nothing has changed, and it is to be done in another way.
#[pyfunction]
#[pyo3(name = "_add_overlapping")]
pub fn add_overlapping(target: &Bound<'_, PyAny>, values: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = target.py();
    let add = numpy(py)?.getattr(intern!(py, "add"))?;
    let Some(loops) = Loops::of(&add)?.filter(|_| fast::is_on()) else { return Ok(false) };
    let (Some(target), Some(values)) = (Ndarray::seen(target)?, Ndarray::seen(values)?) else {
        return Ok(false);
    };
    let Some(sum) = Sum::of(py, loops, target, values)? else { return Ok(false) };
    let (target, values) = (target.data(), values.data());
    // SAFETY: invariant 1; the caller's references keep both.
    let flags = foreign::without_lock(py, || unsafe { sum.run(&sum.axes, [target, values]) });
    flags.report(py, "add").map(|()| true)
}

/// An axis, and how far it is from element to element in target and values.
#[derive(Clone, Copy)]
struct Axis {
    length: isize,
    steps: [isize; 2],
}

struct Sum<'a> {
    loops: &'a Loops,
    entry: usize,
    /// The last one is that of the rows.
    axes: Vec<Axis>,
}

impl<'a> Sum<'a> {
    fn of<'py>(
        py: Python<'py>,
        loops: &'a Loops,
        target: &Ndarray<'py>,
        values: &Ndarray<'py>,
    ) -> PyResult<Option<Self>> {
        let item = target.item();
        let (Some((entry, produced)), Some(number)) =
            (loops.find(item.type_num), Number::of(py, item.type_num)?)
        else {
            return Ok(None);
        };
        let (Some(own), Some(others)) = (target.few_axes(), values.few_axes()) else {
            return Ok(None);
        };
        let dtype = number.dtype(py);
        let usable = produced == item.type_num
            && target.has_dtype(dtype)
            && values.has_dtype(dtype)
            && target.is_writeable()
            && target.flags() & values.flags() & ALIGNED != 0
            && own.shape() == others.shape()
            && !own.shape().contains(&0);
        let span = |array: &Ndarray<'_>, strides: &[isize]| {
            let (low, high) = order::extent(own.shape(), strides, item.size);
            let start = array.data().addr();
            (start.wrapping_add_signed(low), start.wrapping_add_signed(high))
        };
        let ((a, a_end), (b, b_end)) =
            (span(target, own.strides()), span(values, others.strides()));
        let axes = joined(own.shape(), own.strides(), others.strides());
        let has_rows =
            axes.last().is_some_and(|row| row.length == 1 || row.steps[0].abs() >= item.size);
        let is_apart = a_end <= b || b_end <= a;
        Ok((usable && has_rows && is_apart).then_some(Self { loops, entry, axes }))
    }

    /// # Safety
    /// Invariant 1, for what the axes reach from there.
    unsafe fn run(&self, axes: &[Axis], [target, values]: [*mut u8; 2]) -> Flags {
        let Some((outer, inner)) = axes.split_first() else { return Flags::NONE };
        if inner.is_empty() {
            let sum = Strand { address: target, step: outer.steps[0] };
            let strands = [sum, Strand { address: values, step: outer.steps[1] }, sum];
            // SAFETY: the caller's word.
            return unsafe { self.loops.run(self.entry, &strands, outer.length) };
        }
        (0..outer.length).fold(Flags::NONE, |flags, i| {
            let [there, theirs] = outer.steps.map(|step| step * i);
            let begin = [target.wrapping_offset(there), values.wrapping_offset(theirs)];
            // SAFETY: the caller's word.
            flags.or(unsafe { self.run(inner, begin) })
        })
    }
}

/// The axes, those at the end as one where both arrays go on from one to the other as within it.
fn joined(shape: &[isize], target: &[isize], values: &[isize]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = shape
        .iter()
        .zip(target.iter().zip(values))
        .map(|(&length, (&there, &theirs))| Axis { length, steps: [there, theirs] })
        .collect();
    while let [.., outer, row] = axes[..] {
        if outer.steps != row.steps.map(|step| step * row.length) {
            break;
        }
        axes.pop();
        if let Some(last) = axes.last_mut() {
            *last = Axis { length: outer.length * row.length, steps: row.steps };
        }
    }
    axes
}
