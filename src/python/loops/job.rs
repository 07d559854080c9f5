//! What a loop is called on: packed arrays and numbers, and how they are run through together.
//!
//! Invariants
//! 1. A `Packed` was looked at after the last other code ran: its address, dtype and lengths are those
//!    of the living array, aligned and without gaps. An element of bools is a byte.

#![allow(unsafe_code)]

use std::ffi::c_int;

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::scalar::is_numpy_float;
use super::{Flags, Loops, Strand, Strands};
use crate::python::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS};
use crate::python::seen::Seen;

/// More elements than this are computed without the interpreter's lock, by loops that take a nanosecond or so for
/// each. Where other threads want the lock, getting it back takes longer than fewer elements do.
pub(super) const LONG: isize = 1 << 15;
/// By all other loops, more than this.
pub(super) const LONG_IF_DEAR: isize = 1 << 11;

/// An array whose elements follow each other without gaps.
pub(super) struct Packed<'a, 'py> {
    pub(super) array: Seen<'a, 'py>,
    /// `C_CONTIGUOUS`, `F_CONTIGUOUS`, or both.
    pub(super) orders: c_int,
}

pub(super) enum Operand<'a, 'py> {
    Packed(Packed<'a, 'py>),
    Scalar(&'a Bound<'py, PyAny>),
}

impl<'a, 'py> Packed<'a, 'py> {
    #[inline]
    pub(super) fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Some(array) = Seen::in_place(object)? else { return Ok(None) };
        let flags = array.flags();
        let orders = flags & (C_CONTIGUOUS | F_CONTIGUOUS);
        let usable = flags & ALIGNED != 0 && orders != 0 && array.ndim() > 0 && array.size() > 0;
        Ok(usable.then_some(Self { array, orders }))
    }

    pub(super) fn strand(&self, step: isize) -> Strand {
        Strand { address: self.array.data(), step }
    }
}

impl<'a, 'py> Operand<'a, 'py> {
    #[inline]
    pub(super) fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        if object.is_exact_instance_of::<PyFloat>() || object.is_exact_instance_of::<PyInt>() {
            return Ok(Some(Self::Scalar(object)));
        }
        if let Some(packed) = Packed::of(object)? {
            return Ok(Some(Self::Packed(packed)));
        }
        let is_scalar = is_numpy_float(object)?;
        Ok(is_scalar.then_some(Self::Scalar(object)))
    }

    pub(super) fn object(&self) -> Bound<'py, PyAny> {
        match self {
            Self::Packed(packed) => packed.array.object().clone(),
            Self::Scalar(scalar) => (*scalar).clone(),
        }
    }
}

/// How the elements are run through: `rows` times a stretch.
pub(super) struct Walk {
    pub(super) rows: isize,
    count: isize,
    /// For each operand and the result, whether it goes on from row to row, and from element to element.
    goes: [Goes; 3],
}

#[derive(Clone, Copy)]
struct Goes {
    along: bool,
    down: Down,
}

/// Where the next row of an operand begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Down {
    /// Where this one does.
    Nowhere,
    /// An element further.
    Element,
    /// A row further.
    Row,
}

const WHOLE: Goes = Goes { along: true, down: Down::Row };

/// Whether the operands can be run through together, and the one that has the result's shape.
pub(super) fn walk(loops: &Loops, operands: &[Operand<'_, '_>]) -> Option<(Walk, usize)> {
    let straight = |count| Walk { rows: 1, count, goes: [WHOLE; 3] };
    match operands {
        [Operand::Packed(one)] | [Operand::Packed(one), Operand::Scalar(_)] => {
            Some((straight(one.array.size()), 0))
        }
        [Operand::Scalar(_), Operand::Packed(one)] => Some((straight(one.array.size()), 1)),
        [Operand::Packed(left), Operand::Packed(right)] => {
            let size = left.array.size();
            if left.array.has_shape_of(&right.array) {
                return (left.orders & right.orders != 0).then(|| (straight(size), 0));
            }
            if !loops.takes_rows() {
                return None;
            }
            rows_against(left, right)
                .map(|(rows, count, goes)| (Walk { rows, count, goes: [WHOLE, goes, WHOLE] }, 0))
                .or_else(|| {
                    let (rows, count, goes) = rows_against(right, left)?;
                    Some((Walk { rows, count, goes: [goes, WHOLE, WHOLE] }, 1))
                })
        }
        _ => None,
    }
}

/// Number and length of rows, and how the other operand goes: it is one row as long as they are, or a
/// column with an element for each of them.
fn rows_against(rows: &Packed<'_, '_>, other: &Packed<'_, '_>) -> Option<(isize, isize, Goes)> {
    if rows.array.ndim() < 2 || rows.orders & C_CONTIGUOUS == 0 {
        return None;
    }
    let (size, length) = (rows.array.size(), rows.array.last_length());
    if other.array.ndim() == 1 && other.array.size() == length {
        return Some((size / length, length, Goes { along: true, down: Down::Nowhere }));
    }
    let is_column = rows.array.ndim() == 2
        && other.array.ndim() == 2
        && other.array.last_length() == 1
        && other.array.size() == size / length;
    is_column.then_some((size / length, length, Goes { along: false, down: Down::Element }))
}

/// What is computed once all questions are answered.
pub(super) struct Job<'a> {
    pub(super) loops: &'a Loops,
    pub(super) entry: usize,
    pub(super) walk: Walk,
    pub(super) strands: Strands,
    /// The input whose elements are bools, one byte each, and become numbers of the loop's dtype.
    pub(super) flags: Option<usize>,
}

/// So many bools become numbers at a time.
const PIECE: isize = 1024;
const ROOM: usize = PIECE.unsigned_abs();

impl Job<'_> {
    /// # Safety
    /// Invariant 3 of `loops`, for every row; bools have a byte each.
    pub(super) unsafe fn run(&self) -> Flags {
        match self.flags {
            // SAFETY: the caller's word.
            Some(place) if self.strands[1 - place].step == 4 => unsafe {
                self.run_on(place, [0.0_f32; ROOM])
            },
            // SAFETY: the caller's word.
            Some(place) => unsafe { self.run_on(place, [0.0_f64; ROOM]) },
            // SAFETY: the caller's word.
            None => unsafe { self.run_rows() },
        }
    }

    /// Piece by piece on numbers made of bools.
    ///
    /// # Safety
    /// As `run`, of one row.
    unsafe fn run_on<T: From<bool>>(&self, place: usize, mut numbers: [T; ROOM]) -> Flags {
        let (mut flags, mut strands) = (Flags::NONE, self.strands);
        let bools = std::mem::replace(
            &mut strands[place],
            Strand { address: numbers.as_mut_ptr().cast(), step: self.strands[1 - place].step },
        );
        let mut done = 0;
        while done < self.walk.count {
            let count = (self.walk.count - done).min(PIECE);
            for (i, number) in (done..done + count).zip(&mut numbers) {
                // SAFETY: invariant 1: an element of the bools.
                *number = T::from(unsafe { bools.address.wrapping_offset(i).read() } != 0);
            }
            // SAFETY: the caller's word; the numbers are as many.
            flags = flags.or(unsafe { self.loops.run(self.entry, &strands, count) });
            for (_, strand) in strands.iter_mut().enumerate().filter(|&(i, _)| i != place) {
                strand.address = strand.address.wrapping_offset(strand.step * count);
            }
            done += count;
        }
        flags
    }

    /// # Safety
    /// As `run`.
    unsafe fn run_rows(&self) -> Flags {
        let mut flags = Flags::NONE;
        let mut strands = self.strands;
        let sizes = strands.map(|strand| strand.step);
        for (strand, goes) in strands.iter_mut().zip(&self.walk.goes) {
            strand.step *= isize::from(goes.along);
        }
        for _ in 0..self.walk.rows {
            // SAFETY: the caller's word.
            flags = flags.or(unsafe { self.loops.run(self.entry, &strands, self.walk.count) });
            for ((strand, goes), size) in strands.iter_mut().zip(&self.walk.goes).zip(sizes) {
                let bytes = match goes.down {
                    Down::Nowhere => 0,
                    Down::Element => size,
                    Down::Row => size * self.walk.count,
                };
                strand.address = strand.address.wrapping_offset(bytes);
            }
        }
        flags
    }

    pub(super) fn is_long(&self) -> bool {
        let most = if self.loops.is_quick(self.entry) { LONG } else { LONG_IF_DEAR };
        self.walk.rows.saturating_mul(self.walk.count) > most
    }
}
