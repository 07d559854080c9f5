//! The product of two matrices: the loop of `matmul`, which hands packed and transposed ones to BLAS.
//!
//! Invariants
//! 1. Those of `elementwise`, with axes of any step where it has packed elements: the loop is given the
//!    steps, and the extent of each operand lies in its memory, as that of every array does.
//! 2. The loop of a core signature takes the number of products, then the lengths m, n, p of
//!    `(m,n),(n,p)->(m,p)`, and a step per operand, then the steps of all axes in the same order.

#![allow(unsafe_code)]

use std::ffi::c_int;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::elementwise::{finish, is_quiet};
use super::{Flags, Loops, NOTHING, PLAIN_FLOATS, Strand};
use crate::python::fast;
use crate::python::foreign;
use crate::python::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, FewAxes};
use crate::python::numbers::Number;
use crate::python::order;
use crate::python::seen::Seen;

/// More multiplications are done without the interpreter's lock. `OpenBLAS` shares what is larger among threads, and
/// may wait for the end of another thread's product before it does.
const SHORT: isize = 1 << 18;
/// The same of a matrix and a vector.
const SHORT_OF_A_VECTOR: isize = 1 << 13;
/// The same of numbers that BLAS does not multiply at best, and of a matrix with itself.
const SHORT_IF_DEAR: isize = 1 << 11;

struct Matrix<'a, 'py> {
    array: Seen<'a, 'py>,
    axes: FewAxes,
}

impl<'a, 'py> Matrix<'a, 'py> {
    #[inline]
    fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Some(array) = Seen::in_place(object)? else { return Ok(None) };
        let is_matrix = array.ndim() == 2 && array.flags() & ALIGNED != 0 && array.size() > 0;
        let axes = array.few_axes().filter(|_| is_matrix);
        Ok(axes.map(|axes| Self { array, axes }))
    }

    /// The transposed matrix, if that is asked for.
    #[inline]
    fn turned(self, is_turned: bool) -> Self {
        if is_turned { Self { axes: self.axes.turned(), ..self } } else { self }
    }

    /// Whether no byte from the first to the last of the one is among those of the other.
    fn is_apart(&self, other: &Self, size: isize) -> bool {
        let span = |matrix: &Self| {
            let (low, high) = order::extent(matrix.axes.shape(), matrix.axes.strides(), size);
            let start = matrix.array.data().addr();
            (start.wrapping_add_signed(low), start.wrapping_add_signed(high))
        };
        let ((a, a_end), (b, b_end)) = (span(self), span(other));
        a_end <= b || b_end <= a
    }
}

/// Two matrices that can be multiplied.
struct Product<'a, 'py> {
    first: Matrix<'a, 'py>,
    second: Matrix<'a, 'py>,
    entry: usize,
    size: isize,
    number: &'static Number,
}

impl<'a, 'py> Product<'a, 'py> {
    #[inline]
    fn of(
        loops: &Loops,
        [left, right]: [&'a Bound<'py, PyAny>; 2],
        turned: [bool; 2],
    ) -> PyResult<Option<Self>> {
        let (Some(first), Some(second)) = (Matrix::of(left)?, Matrix::of(right)?) else {
            return Ok(None);
        };
        let (first, second) = (first.turned(turned[0]), second.turned(turned[1]));
        let item = first.array.item();
        let Some((entry, result)) = loops.find(item.type_num) else { return Ok(None) };
        let Some(number) = Number::of(left.py(), item.type_num)? else { return Ok(None) };
        let dtype = number.dtype(left.py());
        let fits = first.axes.shape()[1] == second.axes.shape()[0]
            && result == item.type_num
            && first.array.has_dtype(dtype)
            && second.array.has_dtype(dtype);
        Ok(fits.then_some(Self { first, second, entry, size: item.size, number }))
    }

    fn shape(&self) -> [isize; 2] {
        [self.first.axes.shape()[0], self.second.axes.shape()[1]]
    }

    /// So many multiplications at most are done before another thread would have begun.
    fn short(&self) -> isize {
        let plain =
            PLAIN_FLOATS.iter().any(|t| c_int::from(*t) == self.first.array.item().type_num);
        if !plain || self.first.array.data() == self.second.array.data() {
            SHORT_IF_DEAR
        } else if self.shape().contains(&1) {
            SHORT_OF_A_VECTOR
        } else {
            SHORT
        }
    }

    /// Computes it tile by tile into an array of that shape and dtype, which lies apart and has these strides.
    ///
    /// # Safety
    /// Invariants 1 and 2; the result is nobody else's, or pinned.
    unsafe fn run(
        &self,
        py: Python<'py>,
        loops: &Loops,
        out: *mut u8,
        strides: &[isize],
        tile: Tile,
    ) -> PyResult<Flags> {
        let ([m, p], n) = (self.shape(), self.first.axes.shape()[1]);
        let (first, second) = (self.first.axes.strides(), self.second.axes.strides());
        let addresses = [self.first.array.data(), self.second.array.data(), out];
        let row = |Piece { top, left, height, width, count }: Piece| {
            let begin = [top * first[0], left * second[1], top * strides[0] + left * strides[1]];
            let mut strands = [NOTHING; 3];
            for ((place, address), offset) in strands.iter_mut().zip(addresses).zip(begin) {
                *place = Strand { address: address.wrapping_offset(offset), step: 0 };
            }
            let across = [0, width * second[1], width * strides[1]];
            let axes = [first[0], first[1], second[0], second[1], strides[0], strides[1]];
            let steps: [isize; 9] =
                std::array::from_fn(|i| if i < 3 { across[i] } else { axes[i - 3] });
            // SAFETY: the caller's word: operands and result are alive and pinned, or no other code runs.
            unsafe { loops.run_core(self.entry, &strands, &[count, height, n, width], &steps) }
        };
        let run = || tile.pieces([m, p]).map(row).fold(Flags::NONE, Flags::or);
        if m.saturating_mul(n).saturating_mul(p) <= self.short() {
            return Ok(run());
        }
        let _pins = (self.first.array.pin()?, self.second.array.pin()?);
        Ok(foreign::without_lock(py, run))
    }
}

/// Into how many rows and columns at a time a result is cut.
#[derive(Clone, Copy)]
pub struct Tile {
    height: isize,
    width: isize,
}

/// Tiles beside each other.
#[derive(Clone, Copy)]
struct Piece {
    top: isize,
    left: isize,
    height: isize,
    width: isize,
    count: isize,
}

impl Tile {
    /// No result is larger.
    pub const WHOLE: Self = Self { height: isize::MAX, width: isize::MAX };

    /// A result of this shape, row by row: all whole tiles, then what is left over.
    fn pieces(self, [m, p]: [isize; 2]) -> impl Iterator<Item = Piece> {
        let (height, width) = (self.height.min(m), self.width.min(p));
        let (count, rest) = (p / width, p % width);
        let tops = (0..m).step_by(height.unsigned_abs());
        tops.flat_map(move |top| {
            let height = height.min(m - top);
            let tiles = Piece { top, left: 0, height, width, count };
            let last = Piece { left: p - rest, width: rest, count: 1, ..tiles };
            std::iter::once(tiles).chain((rest > 0).then_some(last))
        })
    }
}

/// `left @ right` into an array, in tiles of so many rows and columns; each is a product of its own. False: it
/// is to be done in another way.
#[pyfunction]
#[pyo3(name = "_multiply_in_tiles")]
pub fn multiply_in_tiles(
    left: &Bound<'_, PyAny>,
    right: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    height: isize,
    width: isize,
) -> PyResult<bool> {
    if height < 1 || width < 1 {
        let reason = format!("tiles have rows and columns, not {height} and {width}");
        return Err(PyValueError::new_err(reason));
    }
    let Some(loops) = Loops::of_matmul(left.py())? else { return Ok(false) };
    into(loops, [left, right], [false; 2], out, Tile { height, width })
}

/// `left @ right` into an array, of which each is transposed first if that is asked for. False: it is to be done in
/// another way.
#[pyfunction]
#[pyo3(name = "_multiply")]
pub fn multiply(
    left: &Bound<'_, PyAny>,
    right: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    turns_left: bool,
    turns_right: bool,
) -> PyResult<bool> {
    let Some(loops) = Loops::of_matmul(left.py())? else { return Ok(false) };
    into(loops, [left, right], [turns_left, turns_right], out, Tile::WHOLE)
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
    let Some(product) = Product::of(loops, [left, right], [false; 2])? else { return Ok(None) };
    let (shape, size) = (product.shape(), product.size);
    let Some(result) = fast::array(py, product.number, &shape, false)? else { return Ok(None) };
    let out = result.get().form().data();
    // SAFETY: invariants 1 and 2; the result is new, in a workspace that only this thread ends.
    let flags = unsafe { product.run(py, loops, out, &[shape[1] * size, size], Tile::WHOLE) }?;
    finish(loops, &[left, right], result, flags).map(Some)
}

/// The same into an array that lies apart, of matrices some of which are `turned`. False: the general path, and
/// nothing has changed that it does not write.
pub fn into<'py>(
    loops: &Loops,
    matrices: [&Bound<'py, PyAny>; 2],
    turned: [bool; 2],
    target: &Bound<'py, PyAny>,
    tile: Tile,
) -> PyResult<bool> {
    let py = target.py();
    if !fast::is_on() {
        return Ok(false);
    }
    let Some(product) = Product::of(loops, matrices, turned)? else { return Ok(false) };
    let Some(out) = Matrix::of(target)? else { return Ok(false) };
    let is_packed = out.array.flags() & (C_CONTIGUOUS | F_CONTIGUOUS) != 0;
    let usable = is_packed
        && *out.axes.shape() == product.shape()
        && out.array.has_dtype(product.number.dtype(py))
        && out.array.is_writeable()
        && out.is_apart(&product.first, product.size)
        && out.is_apart(&product.second, product.size);
    if !usable {
        return Ok(false);
    }
    let _pin = out.array.pin()?;
    // SAFETY: invariants 1 and 2; the result lies apart from the operands, and is pinned.
    let flags = unsafe { product.run(py, loops, out.array.data(), out.axes.strides(), tile) }?;
    is_quiet(py, flags)
}
