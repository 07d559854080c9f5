//! The product of two matrices: the loop of `matmul`, which hands packed and transposed ones to BLAS.
//!
//! Invariants
//! 1. Those of `elementwise`, with axes of any step where it has packed elements: the loop is given the
//!    steps, and the extent of each operand lies in its memory, as that of every array does.
//! 2. The loop of a core signature takes the number of products, then the lengths m, n, p of
//!    `(m,n),(n,p)->(m,p)`, and a step per operand, then the steps of all axes in the same order.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::elementwise::{LONG, finish, number_of};
use super::{Flags, Loops, NOTHING, Strand};
use crate::python::error::to_pyerr;
use crate::python::fast;
use crate::python::foreign;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{ALIGNED, FewAxes, Ndarray};
use crate::registry;

struct Matrix<'a, 'py> {
    array: Ndarray<'py>,
    ours: Option<&'a Bound<'py, WorkspaceArray>>,
    axes: FewAxes,
}

impl<'a, 'py> Matrix<'a, 'py> {
    #[inline]
    fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let (array, ours) = match object.cast_exact::<WorkspaceArray>() {
            Ok(ours) if ours.get().is_at_hand() => (ours.get().template(object.py())?, Some(ours)),
            Ok(_) => return Ok(None),
            Err(_) => match Ndarray::exact(object)? {
                Some(array) => (array, None),
                None => return Ok(None),
            },
        };
        let is_matrix = array.ndim() == 2 && array.flags() & ALIGNED != 0 && array.size() > 0;
        let axes = array.few_axes().filter(|_| is_matrix);
        Ok(axes.map(|axes| Self { array, ours, axes }))
    }
}

/// `left @ right` into new memory of the current workspace; `None`: the general path.
#[inline]
pub fn call<'py>(
    loops: &Loops,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = left.py();
    if !fast::is_on() {
        return Ok(None);
    }
    let (Some(first), Some(second)) = (Matrix::of(left)?, Matrix::of(right)?) else {
        return Ok(None);
    };
    let (&[m, n], &[rows, p]) = (first.axes.shape(), second.axes.shape()) else { return Ok(None) };
    let item = first.array.item();
    let Some((entry, result)) = loops.find(item.type_num) else { return Ok(None) };
    let Some(dtype) = number_of(py, item.type_num)? else { return Ok(None) };
    let fits = n == rows && result == item.type_num;
    if !fits || !first.array.has_dtype(dtype) || !second.array.has_dtype(dtype) {
        return Ok(None);
    }
    let Some(workspace) = registry::current_workspace().filter(fast::is_plain) else {
        return Ok(None);
    };
    let (shape, number) = ([m, p], (dtype.clone(), item.size));
    let Some(bytes) = fast::bytes(&shape, item.size) else { return Ok(None) };
    let Some(result) = fast::array(&workspace, number, &shape, bytes, (false, false))? else {
        return Ok(None);
    };
    let out = result.get().template(py)?;
    let strand = |array: &Ndarray<'py>| Strand { address: array.data(), step: 0 };
    let mut strands = [NOTHING; 3];
    for (place, array) in strands.iter_mut().zip([&first.array, &second.array, &out]) {
        *place = strand(array);
    }
    let (rows, columns) = (first.axes.strides(), second.axes.strides());
    let size = item.size;
    let steps = [0, 0, 0, rows[0], rows[1], columns[0], columns[1], p * size, size];
    // SAFETY: invariants 1 and 2: operands and result are alive and pinned, or no other code runs.
    let run = || unsafe { loops.run_core(entry, &strands, &[1, m, n, p], &steps) };
    let flags: Flags = if m.saturating_mul(n).saturating_mul(p) > LONG {
        let pin = |matrix: &Matrix<'_, '_>| matrix.ours.map(|ours| ours.get().buffer()).transpose();
        let _pins = (pin(&first).map_err(to_pyerr)?, pin(&second).map_err(to_pyerr)?);
        foreign::without_lock(py, run)
    } else {
        run()
    };
    finish(loops, &[left, right], result, flags).map(Some)
}
