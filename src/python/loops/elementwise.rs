//! Ufuncs on numbers of one dtype that lie packed in memory: NumPy's loops without its machinery.
//!
//! `None` everywhere says that the general path is to be taken, and that nothing has changed.
//!
//! Invariants
//! 1. Arrays of ours are *at hand* when they are looked at, and other code runs only while their memory is
//!    pinned: their cycle is the calling thread's to end, so only a `close` could give their memory away.
//! 2. A `Packed` was looked at after the last other code ran: its address, dtype and lengths are those
//!    of the living array, aligned and without gaps.
//! 3. What is written is new memory, or an array that NumPy lets one write into, with inputs that lie
//!    exactly there or elsewhere.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::{cell, ptr};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::alike;
use super::job::{Job, Operand, Packed, walk};
use super::scalar::Scalar;
use super::{Flags, Loops, NOTHING, Strand, Strands};
use crate::python::fast;
use crate::python::foreign;
use crate::python::handle::WorkspaceArray;
use crate::python::naming::Call;
use crate::python::npy::{self, C_CONTIGUOUS, F_CONTIGUOUS};
use crate::python::numbers::Number;
use crate::python::place::Operands;
use crate::python::seen::Seen;

/// What is written in place is remembered up to so many bytes, to be computed again by NumPy if there is
/// something to report.
const REMEMBERED: usize = 64 << 10;

thread_local! {
    /// Where it is remembered.
    static KEPT: cell::Cell<Vec<u8>> = const { cell::Cell::new(Vec::new()) };
}

/// The ufunc on its inputs, into new memory of the current workspace.
#[inline]
pub fn call<'py>(
    loops: &Loops,
    inputs: &[&Bound<'py, PyAny>],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !fast::is_on() || inputs.len() != loops.inputs() {
        return Ok(None);
    }
    match *inputs {
        [one] => {
            if let Some(result) = alike::call(loops, [one])? {
                return Ok(Some(result));
            }
            let Some(one) = Operand::of(one)? else { return Ok(None) };
            compute(inputs[0].py(), loops, &[one])
        }
        [left, right] => {
            if let Some(result) = alike::call(loops, [left, right])? {
                return Ok(Some(result));
            }
            let Some(left) = Operand::of(left)? else { return Ok(None) };
            let Some(right) = Operand::of(right)? else { return Ok(None) };
            compute(inputs[0].py(), loops, &[left, right])
        }
        _ => Ok(None),
    }
}

#[inline]
fn compute<'py>(
    py: Python<'py>,
    loops: &Loops,
    operands: &[Operand<'_, 'py>],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some((walk, lead)) = walk(loops, operands) else { return Ok(None) };
    let flags = flags_among(loops, operands);
    let lead = flags.map_or(lead, |place| 1 - place);
    let Operand::Packed(first) = &operands[lead] else { return Ok(None) };
    let item = first.array.item();
    let Some((entry, produced)) = loops.find(item.type_num) else { return Ok(None) };
    let mut cell = Scalar::default();
    let Some((mut strands, orders)) = strands(py, operands, item, &mut cell, flags)? else {
        return Ok(None);
    };
    let Some(axes) = first.array.few_axes() else { return Ok(None) };
    let Some(number) = Number::of(py, produced)? else { return Ok(None) };
    let made = fast::array(py, number, axes.shape(), orders & C_CONTIGUOUS == 0)?;
    let Some(result) = made else { return Ok(None) };
    strands[operands.len()] =
        Strand { address: result.get().form().data(), step: number.item.size };
    let job = Job { loops, entry, walk, strands, flags };
    let flags = run(py, &job, operands)?;
    if is_quiet(py, flags)? {
        return Ok(Some(result.into_any()));
    }
    let inputs: Vec<_> = operands.iter().map(Operand::object).collect();
    replay(loops, &PyTuple::new(py, inputs)?, &result).map(Some)
}

/// Which of two inputs of one shape is made of bools, where the other is of single or double precision.
#[inline]
fn flags_among(loops: &Loops, operands: &[Operand<'_, '_>]) -> Option<usize> {
    const BOOL: c_int = 0;
    const SINGLE_AND_DOUBLE: [c_int; 2] = [11, 12];
    let [Operand::Packed(left), Operand::Packed(right)] = operands else { return None };
    let types = [left.array.item().type_num, right.array.item().type_num];
    let place = types.iter().position(|&t| t == BOOL)?;
    let usable = SINGLE_AND_DOUBLE.contains(&types[1 - place])
        && left.array.has_shape_of(&right.array)
        && loops.takes_rows();
    usable.then_some(place)
}

/// Where the operands begin, scalars in `cell`, and the orders that all of them have.
#[inline]
fn strands<'py>(
    py: Python<'py>,
    operands: &[Operand<'_, 'py>],
    item: npy::Item,
    cell: &mut Scalar,
    flags: Option<usize>,
) -> PyResult<Option<(Strands, c_int)>> {
    let Some(number) = Number::of(py, item.type_num)? else { return Ok(None) };
    let dtype = number.dtype(py);
    let mut strands = [NOTHING; 3];
    let mut orders = C_CONTIGUOUS | F_CONTIGUOUS;
    for (place, (strand, operand)) in strands.iter_mut().zip(operands).enumerate() {
        *strand = match operand {
            Operand::Packed(packed) if flags == Some(place) => {
                orders &= packed.orders;
                packed.strand(1)
            }
            Operand::Packed(packed) if packed.array.has_dtype(dtype) => {
                orders &= packed.orders;
                packed.strand(item.size)
            }
            Operand::Packed(_) => return Ok(None),
            Operand::Scalar(scalar) => {
                let Some(value) = Scalar::of(scalar, item)? else { return Ok(None) };
                *cell = value;
                Strand { address: cell.address(), step: 0 }
            }
        };
    }
    Ok(Some((strands, orders)))
}

/// The result, or what NumPy says if there is something to report.
#[inline]
pub(super) fn finish<'py>(
    loops: &Loops,
    inputs: &[&Bound<'py, PyAny>],
    result: Bound<'py, WorkspaceArray>,
    flags: Flags,
) -> PyResult<Bound<'py, PyAny>> {
    let py = result.py();
    if is_quiet(py, flags)? {
        return Ok(result.into_any());
    }
    replay(loops, &PyTuple::new(py, inputs)?, &result)
}

/// The ufunc on its inputs, into an array that may be one of them. False: nothing has changed.
pub fn into<'py>(
    loops: &Loops,
    inputs: &[&Bound<'py, PyAny>],
    target: &Bound<'py, PyAny>,
) -> PyResult<bool> {
    if !fast::is_on() || inputs.len() != loops.inputs() {
        return Ok(false);
    }
    let Some(written) = Packed::of(target)? else { return Ok(false) };
    let mut operands = Vec::with_capacity(2);
    for input in inputs {
        let Some(operand) = Operand::of(input)? else { return Ok(false) };
        operands.push(operand);
    }
    write(target.py(), loops, &operands, &written)
}

/// A ufunc of two inputs into one of them, which nobody will see again. False: nothing has changed.
pub fn reuse<'py>(
    loops: &Loops,
    inputs: [&Bound<'py, PyAny>; 2],
    target: &Bound<'py, WorkspaceArray>,
    name: &str,
) -> PyResult<bool> {
    let py = target.py();
    if !fast::is_here(target.get().workspace()) || loops.inputs() != 2 {
        return Ok(false);
    }
    let Some(written) = Packed::of(target.as_any())? else { return Ok(false) };
    let (Some(left), Some(right)) = (Operand::of(inputs[0])?, Operand::of(inputs[1])?) else {
        return Ok(false);
    };
    let operands = [left, right];
    let Some((walk, lead)) = walk(loops, &operands) else { return Ok(false) };
    let Operand::Packed(first) = &operands[lead] else { return Ok(false) };
    let item = first.array.item();
    let Some((entry, produced)) = loops.find(item.type_num) else { return Ok(false) };
    let mut cell = Scalar::default();
    let Some((mut strands, orders)) = strands(py, &operands, item, &mut cell, None)? else {
        return Ok(false);
    };
    let is_whole = target.get().sole_bytes(py)
        == usize::try_from(written.array.size().saturating_mul(item.size)).ok();
    let usable = produced == item.type_num
        && is_whole
        && written.array.is_writeable()
        && written.array.has_shape_of(&first.array)
        && written.orders & orders != 0
        && meets(&operands, &written, true) == Some(true);
    if !usable {
        return Ok(false);
    }
    strands[2] = written.strand(item.size);
    let flags = run(py, &Job { loops, entry, walk, strands, flags: None }, &operands)?;
    // What it was is gone: NumPy is told what happened instead of computing it again.
    PyErr::take(py).map_or(Ok(()), Err)?;
    flags.report(py, name).map(|()| true)
}

fn write<'py>(
    py: Python<'py>,
    loops: &Loops,
    operands: &[Operand<'_, 'py>],
    written: &Packed<'_, 'py>,
) -> PyResult<bool> {
    let Some((walk, lead)) = walk(loops, operands) else { return Ok(false) };
    let Operand::Packed(first) = &operands[lead] else { return Ok(false) };
    let item = first.array.item();
    let Some((entry, produced)) = loops.find(item.type_num) else { return Ok(false) };
    let mut cell = Scalar::default();
    let Some((mut strands, orders)) = strands(py, operands, item, &mut cell, None)? else {
        return Ok(false);
    };
    let Some(number) = Number::of(py, produced)? else { return Ok(false) };
    let size = written.array.item().size;
    let bytes = usize::try_from(written.array.size().saturating_mul(size)).unwrap_or(usize::MAX);
    let Some(is_input) = meets(operands, written, size == item.size) else {
        return Ok(false);
    };
    let usable = written.array.has_dtype(number.dtype(py))
        && written.array.is_writeable()
        && written.array.has_shape_of(&first.array)
        && written.orders & orders != 0
        && (!is_input || bytes <= REMEMBERED);
    if !usable {
        return Ok(false);
    }
    let out = written.strand(size);
    strands[operands.len()] = out;
    let job = Job { loops, entry, walk, strands, flags: None };
    if !is_input {
        let _pin = written.array.pin()?;
        let flags = run(py, &job, operands)?;
        return is_quiet(py, flags);
    }
    let mut kept = KEPT.try_with(cell::Cell::take).unwrap_or_default();
    kept.reserve(bytes);
    // SAFETY: invariants 1 and 2: as many bytes as the array has, and room for them.
    unsafe { ptr::copy_nonoverlapping(out.address, kept.as_mut_ptr(), bytes) };
    // SAFETY: invariants 1 to 3: no other code runs.
    let flags = unsafe { job.run() };
    // No other code runs before the old elements are back, not even to ask whether underflow matters.
    let is_done = flags == Flags::NONE && !raised(py);
    if !is_done {
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(kept.as_ptr(), out.address, bytes) };
    }
    let _ = KEPT.try_with(|place| place.set(kept));
    Ok(is_done)
}

/// Whether what is written is an input, too, element for element, which `may_be` so; `None` if it meets one
/// in another way.
fn meets(operands: &[Operand<'_, '_>], written: &Packed<'_, '_>, may_be: bool) -> Option<bool> {
    let mut is_input = false;
    for operand in operands {
        let Operand::Packed(read) = operand else { continue };
        if apart(&written.array, &read.array) {
            continue;
        }
        let is_same = may_be
            && read.array.data() == written.array.data()
            && read.array.has_shape_of(&written.array);
        if !is_same {
            return None;
        }
        is_input = true;
    }
    Some(is_input)
}

/// Whether the elements of two packed arrays have no byte in common.
pub(super) fn apart(one: &Seen<'_, '_>, other: &Seen<'_, '_>) -> bool {
    let span = |array: &Seen<'_, '_>| {
        let bytes = array.size().saturating_mul(array.item().size).unsigned_abs();
        (array.data().addr(), array.data().addr().saturating_add(bytes))
    };
    let ((a, a_end), (b, b_end)) = (span(one), span(other));
    a_end <= b || b_end <= a
}

/// Runs the job, a long one while other threads have the interpreter.
#[inline]
fn run(py: Python<'_>, job: &Job<'_>, operands: &[Operand<'_, '_>]) -> PyResult<Flags> {
    Ok(if job.is_long() {
        let pins = operands.iter().map(|operand| match operand {
            Operand::Packed(packed) => packed.array.pin(),
            Operand::Scalar(_) => Ok(None),
        });
        let _pins = pins.collect::<PyResult<Vec<_>>>()?;
        // SAFETY: invariants 1 to 3: the pins keep what is ours, the caller's references the rest.
        foreign::without_lock(py, || unsafe { job.run() })
    } else {
        // SAFETY: invariants 1 to 3: no other code runs.
        unsafe { job.run() }
    })
}

/// Whether the loop has nothing to report: no exception, and no flag but an underflow that is ignored.
#[inline]
pub(super) fn is_quiet(py: Python<'_>, flags: Flags) -> PyResult<bool> {
    Ok(!raised(py) && (flags == Flags::NONE || flags.is_underflow() && ignores_underflow(py)?))
}

/// As NumPy does unless it is told otherwise; underflows are common, and computing again is dear.
#[cold]
fn ignores_underflow(py: Python<'_>) -> PyResult<bool> {
    static GETERR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let geterr = GETERR
        .get_or_try_init(py, || npy::numpy(py)?.getattr("geterr").map(Bound::unbind))?
        .bind(py);
    foreign::call(geterr, (), None)?.get_item("under")?.eq("ignore")
}

/// Whether the loop set an exception; it is dropped, as NumPy will set it again.
#[inline]
fn raised(py: Python<'_>) -> bool {
    PyErr::occurred(py) && PyErr::take(py).is_some()
}

/// The same by NumPy's own machinery, which warns, raises or calls back as the user has it.
#[cold]
fn replay<'py>(
    loops: &Loops,
    inputs: &Bound<'py, PyTuple>,
    result: &Bound<'py, WorkspaceArray>,
) -> PyResult<Bound<'py, PyAny>> {
    // Counted anew, as a shortcut may be below.
    Python::attach(|_| recompute(loops, inputs, result))
}

fn recompute<'py>(
    loops: &Loops,
    inputs: &Bound<'py, PyTuple>,
    result: &Bound<'py, WorkspaceArray>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = inputs.py();
    let ufunc = loops.ufunc(py);
    let mut operands = Operands::new(py, Call::Ufunc { ufunc, method: "__call__" });
    let inputs = operands.add_args(inputs)?;
    let kwargs = PyDict::new(py);
    kwargs.set_item("out", operands.add_self(result)?.into_object())?;
    foreign::call(ufunc, &inputs, Some(&kwargs))?;
    Ok(result.clone().into_any())
}
