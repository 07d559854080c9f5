//! What layers do to all rows of a matrix, in one go where NumPy would go through memory again and again:
//! biases and rectifiers, shares that add up to 1 and how far they are from labels, sums of rows. Numbers are
//! those of NumPy's loops, bit for bit.
//!
//! Invariants
//! 1. Those of `loops`. Arrays are of the same one of the two plain floating dtypes, aligned and without gaps,
//!    looked at after the last other code ran, and pinned while other threads have the interpreter.
//! 2. What is written is writeable, and lies apart from what is read or is the same elements.

#![allow(unsafe_code)]

pub mod cross_entropy;
pub mod softmax;
pub mod sums;

use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::elementwise::apart;
use super::job::LONG;
use super::{Flags, Loops, PLAIN_FLOATS, Strand};
use crate::python::fast;
use crate::python::foreign;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, FewAxes, numpy};
use crate::python::numbers::Number;
use crate::python::seen::Seen;

/// So many bytes are worked on at a time: they stay in the nearest cache.
const NEAR: isize = 8192;

/// Room for them, with whatever is there.
#[repr(align(64))]
struct Buffer(MaybeUninit<[u8; NEAR.unsigned_abs()]>);

impl Buffer {
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    fn address(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

#[repr(align(64))]
struct Zeros([u8; NEAR.unsigned_abs()]);

/// What a rectifier compares with: NumPy's loop is quicker with as many zeros than with one.
static ZEROS: Zeros = Zeros([0; NEAR.unsigned_abs()]);

/// A bias is repeated for so many times fewer rows than there are, at least.
const FEWER: isize = 4;

/// NumPy's loops for one dtype.
struct Steps {
    /// In the order of `Step`, with the entry of the table.
    loops: [(&'static Loops, usize); STEPS.len()],
    /// Bytes of an element.
    size: isize,
}

/// Which of them.
#[derive(Clone, Copy)]
enum Step {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    Exp,
    Log,
}

/// NumPy's names of them.
const STEPS: [&str; 8] =
    ["add", "subtract", "multiply", "divide", "maximum", "minimum", "exp", "log"];

/// By dtype; filled at import, as nobody waits between the look at an operand and its use.
static KNOWN: [PyOnceLock<Option<Steps>>; PLAIN_FLOATS.len()] =
    [const { PyOnceLock::new() }; PLAIN_FLOATS.len()];

/// Finds the loops.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    for (known, type_num) in KNOWN.iter().zip(PLAIN_FLOATS) {
        known.get_or_try_init(py, || Steps::find(py, c_int::from(type_num)))?;
    }
    Ok(())
}

impl Steps {
    /// Those for the elements of an array; `None` where they are not NumPy's own.
    fn of(array: &Seen<'_, '_>) -> Option<&'static Self> {
        let type_num = array.item().type_num;
        let place = PLAIN_FLOATS.iter().position(|t| c_int::from(*t) == type_num)?;
        KNOWN[place].get(array.py())?.as_ref()
    }

    fn find(py: Python<'_>, type_num: c_int) -> PyResult<Option<Self>> {
        let Some(number) = Number::of(py, type_num)? else { return Ok(None) };
        let mut found = Vec::new();
        for name in STEPS {
            let Some(loops) = Loops::of(&numpy(py)?.getattr(name)?)? else { return Ok(None) };
            match loops.find(type_num) {
                Some((entry, result)) if result == type_num && loops.entry(entry).is_some() => {
                    found.push((loops, entry));
                }
                _ => return Ok(None),
            }
        }
        let size = number.item.size;
        Ok(<[_; STEPS.len()]>::try_from(found).ok().map(|loops| Self { loops, size }))
    }

    /// # Safety
    /// Invariants 1 and 2, for `count` elements behind each of these.
    #[inline]
    unsafe fn run(&self, step: Step, strands: [Strand; 3], count: isize) -> Flags {
        let (loops, entry) = self.loops[step as usize];
        // SAFETY: the caller's word.
        unsafe { loops.run(entry, &strands, count) }
    }

    /// A number in their dtype.
    fn cell(&self, value: f64) -> Cell {
        if self.size == 8 {
            return Cell(value.to_ne_bytes());
        }
        let mut cell = Cell::default();
        #[expect(clippy::cast_possible_truncation, reason = "as NumPy takes Python's numbers")]
        cell.0[..4].copy_from_slice(&(value as f32).to_ne_bytes());
        cell
    }

    /// A number of their dtype.
    fn value(&self, Cell(cell): &Cell) -> f64 {
        if self.size == 8 {
            return f64::from_ne_bytes(*cell);
        }
        let [first, second, third, fourth, ..] = *cell;
        f32::from_ne_bytes([first, second, third, fourth]).into()
    }

    /// Elements one after the other.
    fn row(&self, address: *mut u8) -> Strand {
        Strand { address, step: self.size }
    }
}

/// One element again and again.
fn same(address: *mut u8) -> Strand {
    Strand { address, step: 0 }
}

/// One number of either dtype; at first 0.
#[derive(Default)]
#[repr(align(8))]
struct Cell([u8; 8]);

impl Cell {
    /// Again and again.
    fn strand(&mut self) -> Strand {
        same(self.0.as_mut_ptr())
    }
}

/// A floating array without gaps, its axes in whatever order.
struct Dense<'a, 'py> {
    array: Seen<'a, 'py>,
    axes: FewAxes,
    number: &'static Number,
}

impl<'a, 'py> Dense<'a, 'py> {
    fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Some(array) = Seen::in_place(object)? else { return Ok(None) };
        let (item, flags) = (array.item(), array.flags());
        let is_float = PLAIN_FLOATS.iter().any(|t| c_int::from(*t) == item.type_num);
        if !is_float || flags & ALIGNED == 0 || array.size() <= 0 {
            return Ok(None);
        }
        let (Some(axes), Some(number)) = (array.few_axes(), Number::of(array.py(), item.type_num)?)
        else {
            return Ok(None);
        };
        let usable = array.has_dtype(number.dtype(array.py()))
            && (flags & (C_CONTIGUOUS | F_CONTIGUOUS) != 0
                || is_dense(axes.shape(), axes.strides(), item.size));
        Ok(usable.then_some(Self { array, axes, number }))
    }

    fn is_in_rows(&self) -> bool {
        self.array.flags() & C_CONTIGUOUS != 0
    }

    fn is_alike(&self, other: &Self) -> bool {
        std::ptr::eq(self.number, other.number)
            && self.axes.shape() == other.axes.shape()
            && self.axes.strides() == other.axes.strides()
    }

    /// Whether one may be written while the other is read, element for element.
    fn may_become(&self, written: &Self) -> bool {
        self.array.data() == written.array.data() || apart(&self.array, &written.array)
    }
}

/// Whether elements follow each other without gaps along the axes in some order.
fn is_dense(shape: &[isize], strides: &[isize], size: isize) -> bool {
    let axes = || shape.iter().zip(strides).filter(|(length, _)| **length > 1);
    let mut next = size;
    let mut seen = 0;
    while let Some((length, _)) = axes().find(|(_, stride)| **stride == next) {
        next = next.saturating_mul(*length);
        seen += 1;
    }
    seen == axes().count()
}

/// Where a result like the first of two operands goes: what is given, else new memory, of the current workspace if
/// one of them is ours. To be asked before they are looked at, as other code may run. `None`: the general path, and
/// nothing was taken.
fn target_of<'py>(
    given: Option<Bound<'py, PyAny>>,
    operands: [&Bound<'py, PyAny>; 2],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if given.is_some() {
        return Ok(given);
    }
    let [like, other] = operands;
    let (Some(known), Some(other)) = (Dense::of(like)?, Dense::of(other)?) else {
        return Ok(None);
    };
    let shape = known.axes.shape();
    let fits = std::ptr::eq(known.number, other.number) && shape == other.axes.shape();
    if !fast::is_on() || !fits || shape.is_empty() {
        return Ok(None);
    }
    if !operands.iter().any(|operand| operand.is_exact_instance_of::<WorkspaceArray>()) {
        return foreign::call_method(numpy(like.py())?, "empty_like", (like,), None).map(Some);
    }
    let orders = known.array.flags() & (C_CONTIGUOUS | F_CONTIGUOUS);
    if orders == 0 {
        return Ok(None);
    }
    let made = fast::array(like.py(), known.number, shape, orders & C_CONTIGUOUS == 0)?;
    Ok(made.map(Bound::into_any))
}

/// Works, while other threads have the interpreter if there are more than so many elements.
fn work<const N: usize, R: Send>(
    py: Python<'_>,
    arrays: [&Dense<'_, '_>; N],
    most: isize,
    run: impl FnOnce() -> R,
) -> PyResult<R> {
    if arrays.iter().all(|dense| dense.array.size() <= most) {
        return Ok(run());
    }
    let _pins = arrays.iter().map(|dense| dense.array.pin()).collect::<PyResult<Vec<_>>>()?;
    Ok(foreign::without_lock(py, run))
}

/// `sums += bias`, one number for each element of axis 0 or of the last axis, and what is negative then
/// becomes 0 if that is asked for. False: nothing has changed, and it is to be done in another way.
#[pyfunction]
#[pyo3(name = "_add_bias")]
pub fn add_bias(
    sums: &Bound<'_, PyAny>,
    bias: &Bound<'_, PyAny>,
    axis: isize,
    rectifies: bool,
) -> PyResult<bool> {
    let py = sums.py();
    if axis != 0 && axis != -1 {
        return Err(PyValueError::new_err(format!("axis must be 0 or -1, not {axis}")));
    }
    let (Some(sums), Some(bias)) = (Dense::of(sums)?, Dense::of(bias)?) else { return Ok(false) };
    let shape = sums.axes.shape();
    let along = if axis == 0 { shape.first() } else { shape.last() };
    let usable = fast::is_on()
        && sums.is_in_rows()
        && sums.array.is_writeable()
        && std::ptr::eq(sums.number, bias.number)
        && bias.axes.shape().len() == 1
        && bias.axes.shape().first() == along
        && apart(&sums.array, &bias.array);
    let (Some(&count), true) = (along, usable) else { return Ok(false) };
    let Some(steps) = Steps::of(&sums.array) else { return Ok(false) };
    let biased = Biased {
        steps,
        first: sums.array.data(),
        bias: bias.array.data(),
        count,
        size: sums.array.size(),
        rectifies,
    };
    let run = if axis == 0 { Biased::by_rows } else { Biased::by_columns };
    // SAFETY: invariants 1 and 2: of the bias there are as many as the axis is long.
    let flags = work(py, [&sums, &bias], LONG, || unsafe { run(&biased) })?;
    flags.report(py, "add").map(|()| true)
}

struct Biased {
    steps: &'static Steps,
    first: *mut u8,
    bias: *mut u8,
    /// Elements of the bias.
    count: isize,
    /// Elements of the sums.
    size: isize,
    rectifies: bool,
}

// SAFETY: invariant 1: the memory is alive and pinned while another thread could have the interpreter, and this
// is used by the thread that made it alone.
unsafe impl Send for Biased {}

impl Biased {
    /// Elements that are worked on at a time.
    fn near(&self) -> isize {
        NEAR / self.steps.size
    }

    /// A number for every row.
    ///
    /// # Safety
    /// Invariants 1 and 2.
    unsafe fn by_rows(&self) -> Flags {
        let (length, size) = (self.size / self.count, self.steps.size);
        let mut flags = Flags::NONE;
        for row in 0..self.count {
            let own = same(self.bias.wrapping_offset(row * size));
            let first = self.first.wrapping_offset(row * length * size);
            // SAFETY: the caller's word: a row of the sums, and its number.
            flags = flags.or(unsafe { self.piecewise(first, length, |_| own) });
        }
        flags
    }

    /// A number for every column.
    ///
    /// # Safety
    /// Invariants 1 and 2.
    unsafe fn by_columns(&self) -> Flags {
        let (count, size) = (self.count, self.steps.size);
        let rows = self.size / count;
        // Few rows are gone through more often than the numbers are written for all of them.
        let together = (self.near() / count).min(rows / FEWER);
        let mut flags = Flags::NONE;
        if together < 2 {
            for row in 0..rows {
                let first = self.first.wrapping_offset(row * count * size);
                let own = |at: isize| self.steps.row(self.bias.wrapping_offset(at * size));
                // SAFETY: the caller's word: a row of the sums, and all numbers.
                flags = flags.or(unsafe { self.piecewise(first, count, own) });
            }
            return flags;
        }
        let bytes = (count * size).unsigned_abs();
        let mut repeated = Buffer::new();
        let bias = repeated.address();
        for place in 0..together.unsigned_abs() {
            let place = bias.wrapping_add(place * bytes);
            // SAFETY: the caller's word: the bias has so many bytes; there is room for as many of them.
            unsafe { self.bias.copy_to_nonoverlapping(place, bytes) };
        }
        let mut row = 0;
        while row < rows {
            let height = together.min(rows - row);
            let first = self.first.wrapping_offset(row * count * size);
            let own = |at: isize| self.steps.row(bias.wrapping_offset(at * size));
            // SAFETY: the caller's word: rows of the sums, and as many times all numbers.
            flags = flags.or(unsafe { self.piecewise(first, height * count, own) });
            row += height;
        }
        flags
    }

    /// Works on `length` elements; `bias` tells what is added to those from a place on.
    ///
    /// # Safety
    /// Invariants 1 and 2, for these elements.
    unsafe fn piecewise(
        &self,
        first: *mut u8,
        length: isize,
        bias: impl Fn(isize) -> Strand,
    ) -> Flags {
        let (steps, near) = (self.steps, self.near());
        let mut flags = Flags::NONE;
        let mut at = 0;
        while at < length {
            let piece = steps.row(first.wrapping_offset(at * steps.size));
            let count = near.min(length - at);
            // SAFETY: the caller's word.
            flags = flags.or(unsafe { steps.run(Step::Add, [piece, bias(at), piece], count) });
            if self.rectifies {
                let zeros = steps.row(ZEROS.0.as_ptr().cast_mut());
                // SAFETY: the caller's word; there are so many zeros, which are only read.
                unsafe { steps.run(Step::Maximum, [piece, zeros, piece], count) };
            }
            at += count;
        }
        flags
    }
}

/// `epsilon` where `x` is above 0, elsewhere 0 times it: in `out`, which may be either, or where results go. `None`:
/// nothing has changed, and it is to be done in another way.
#[pyfunction]
#[pyo3(name = "_rectify_back")]
pub fn rectify_back<'py>(
    x: &Bound<'py, PyAny>,
    epsilon: &Bound<'py, PyAny>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = x.py();
    let Some(target) = target_of(out, [epsilon, x])? else { return Ok(None) };
    let (Some(x), Some(epsilon), Some(out)) =
        (Dense::of(x)?, Dense::of(epsilon)?, Dense::of(&target)?)
    else {
        return Ok(None);
    };
    let usable = fast::is_on()
        && Flags::CAN_BE_READ
        && out.array.is_writeable()
        && x.is_alike(&out)
        && epsilon.is_alike(&out)
        && x.may_become(&out)
        && epsilon.may_become(&out);
    if !usable {
        return Ok(None);
    }
    let places = Places([&x, &epsilon, &out].map(|dense| dense.array.data()));
    let (count, is_single) = (x.array.size().unsigned_abs(), x.array.item().size == 4);
    let run = move || {
        let places = places;
        let pass = if is_single { pass_on::<f32> } else { pass_on::<f64> };
        // SAFETY: invariants 1 and 2: so many elements of that type in each.
        Flags::during(|| unsafe { pass(&places, count) })
    };
    work(py, [&x, &epsilon, &out], LONG, run)?.report(py, "multiply")?;
    Ok(Some(target))
}

struct Places([*mut u8; 3]);

// SAFETY: as for `Biased`.
unsafe impl Send for Places {}

trait Real: Copy + std::ops::Mul<Output = Self> + From<u8> {
    /// By its bits: a comparison with what is no number may raise a flag.
    fn is_above_zero(self) -> bool;
}

impl Real for f32 {
    #[inline(always)]
    fn is_above_zero(self) -> bool {
        self.to_bits().wrapping_sub(1) < Self::INFINITY.to_bits()
    }
}

impl Real for f64 {
    #[inline(always)]
    fn is_above_zero(self) -> bool {
        self.to_bits().wrapping_sub(1) < Self::INFINITY.to_bits()
    }
}

/// Elements that are in registers at a time.
const LANES: usize = 16;

/// # Safety
/// Invariants 1 and 2, for so many elements of that type at each place: of `x`, of `epsilon`, and written.
unsafe fn pass_on<T: Real>(Places([x, epsilon, out]): &Places, count: usize) {
    let passed =
        |x: T, epsilon: T| epsilon * if x.is_above_zero() { T::from(1) } else { T::from(0) };
    let (x, epsilon, out) = (x.cast::<T>(), epsilon.cast::<T>(), out.cast::<T>());
    let whole = count - count % LANES;
    for at in (0..whole).step_by(LANES) {
        let places = [x, epsilon].map(|first| first.wrapping_add(at).cast::<[T; LANES]>());
        // SAFETY: the caller's word.
        let [x, epsilon] = places.map(|place| unsafe { place.read() });
        let all: [T; LANES] = std::array::from_fn(|lane| passed(x[lane], epsilon[lane]));
        // SAFETY: the caller's word.
        unsafe { out.wrapping_add(at).cast::<[T; LANES]>().write(all) };
    }
    for at in whole..count {
        // SAFETY: the caller's word.
        let [x, epsilon] = [x, epsilon].map(|first| unsafe { first.wrapping_add(at).read() });
        // SAFETY: the caller's word.
        unsafe { out.wrapping_add(at).write(passed(x, epsilon)) };
    }
}
