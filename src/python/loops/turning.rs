//! A packed matrix into one that is packed the other way: `a[...] = b` where one lies row by row, the other
//! column by column. Elements are moved, not computed.
//!
//! Invariants
//! 1. Both are *at hand* when they are looked at, and other code runs only while their memory is pinned: their
//!    elements lie without gaps inside of their memory, as many in both, at any address.
//! 2. They have no byte in common.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::job::LONG;
use crate::python::error::to_pyerr;
use crate::python::foreign;
use crate::python::form::Form;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{C_CONTIGUOUS, F_CONTIGUOUS, WRITEABLE};
use crate::python::seen::Seen;

/// All elements of an array at hand, or of a part of it, from another of its shape. False: the general path,
/// and nothing has changed.
pub fn into(ours: &WorkspaceArray, form: &Form, source: &Seen<'_, '_>) -> PyResult<bool> {
    let Some(matrix) = Matrix::between(form, source) else { return Ok(false) };
    let turn: unsafe fn(&Matrix) = match form.item().size {
        4 => Matrix::turn::<u32>,
        8 => Matrix::turn::<u64>,
        _ => return Ok(false),
    };
    // SAFETY: invariants 1 and 2: a matrix of elements of that size.
    let turn = || unsafe { turn(&matrix) };
    if form.size() > LONG {
        let py = source.py();
        let _pins = (ours.buffer(py).map_err(to_pyerr)?, source.pin()?);
        foreign::without_lock(py, turn);
    } else {
        turn();
    }
    Ok(true)
}

/// Side of a tile: its lines in both matrices are a line of the cache each, or two.
const TILE: isize = 16;
/// Rows and columns that are turned in registers.
const BLOCK: [isize; 4] = [0, 1, 2, 3];

/// Where a matrix is moved to, row by row, and from, column by column.
struct Matrix {
    rows: isize,
    columns: isize,
    to: usize,
    from: usize,
}

impl Matrix {
    /// `None`: another shape or dtype, or both lie alike or meet.
    fn between(target: &Form, source: &Seen<'_, '_>) -> Option<Self> {
        let axes = source.few_axes()?;
        let &[first, second] = target.shape() else { return None };
        let orders = [target.flags(), source.flags()].map(|f| f & (C_CONTIGUOUS | F_CONTIGUOUS));
        let (rows, columns) = match orders {
            [C_CONTIGUOUS, F_CONTIGUOUS] => (first, second),
            [F_CONTIGUOUS, C_CONTIGUOUS] => (second, first),
            _ => return None,
        };
        let (to, from) = (target.data().expose_provenance(), source.data().expose_provenance());
        let bytes = target.size().saturating_mul(target.item().size).unsigned_abs();
        let is_fit = axes.shape() == [first, second]
            && target.flags() & WRITEABLE != 0
            && source.has_dtype(target.dtype(source.py()))
            && !target.item().has_references
            && to.abs_diff(from) >= bytes;
        is_fit.then_some(Self { rows, columns, to, from })
    }

    /// # Safety
    /// There are so many elements of that type at both addresses, and nobody else has those that are written.
    unsafe fn turn<T: Copy>(&self) {
        let starts = |end: isize| (0..end).step_by(TILE.unsigned_abs());
        for top in starts(self.rows) {
            for left in starts(self.columns) {
                // SAFETY: the caller's word: a tile ends with the matrix.
                unsafe { self.tile::<T>(top, left) };
            }
        }
    }

    /// # Safety
    /// As `turn`; the tile begins inside.
    unsafe fn tile<T: Copy>(&self, top: isize, left: isize) {
        const STEP: isize = BLOCK[BLOCK.len() - 1] + 1;
        let (bottom, right) = ((top + TILE).min(self.rows), (left + TILE).min(self.columns));
        for row in (top..bottom).step_by(BLOCK.len()) {
            for column in (left..right).step_by(BLOCK.len()) {
                if row + STEP <= bottom && column + STEP <= right {
                    // SAFETY: the block lies inside of the matrix.
                    unsafe { self.block::<T>(row, column) };
                    continue;
                }
                for i in row..bottom.min(row + STEP) {
                    for j in column..right.min(column + STEP) {
                        // SAFETY: the element lies inside of the matrix.
                        let element = unsafe { self.source::<T>(i, j).read_unaligned() };
                        // SAFETY: as above.
                        unsafe { self.target::<T>(i, j).write_unaligned(element) };
                    }
                }
            }
        }
    }

    /// # Safety
    /// As `turn`; the block lies inside.
    #[inline(always)]
    unsafe fn block<T: Copy>(&self, row: isize, column: isize) {
        type Line<T> = [T; BLOCK.len()];
        let columns: [Line<T>; BLOCK.len()] = BLOCK.map(|j| {
            // SAFETY: the caller's word: elements of a column follow each other.
            unsafe { self.source::<T>(row, column + j).cast::<Line<T>>().read_unaligned() }
        });
        for (i, place) in BLOCK.into_iter().enumerate() {
            let line: Line<T> = columns.map(|column| column[i]);
            let to = self.target::<T>(row + place, column).cast::<Line<T>>();
            // SAFETY: the caller's word: elements of a row follow each other.
            unsafe { to.write_unaligned(line) };
        }
    }

    fn target<T>(&self, row: isize, column: isize) -> *mut T {
        let first = std::ptr::with_exposed_provenance_mut::<T>(self.to);
        first.wrapping_offset(row * self.columns + column)
    }

    fn source<T>(&self, row: isize, column: isize) -> *const T {
        let first = std::ptr::with_exposed_provenance::<T>(self.from);
        first.wrapping_offset(column * self.rows + row)
    }
}
