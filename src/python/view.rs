//! Leases as NumPy sees them: arrays over workspace memory, the buffer protocol, iteration.
//!
//! Invariants
//! 1. Memory of a `Buffer` stays mapped, and is given to nobody else, while a `Lease` on it lives.
//! 2. An array that leaves this crate has a `LeaseObject` as its base, directly or through other
//!    arrays; the base lives as long as the array.
//! 3. A *template* has no base and never leaves this crate. Its memory is touched through it, or by the
//!    address in a `Form`, only while the array is *at hand* (`WorkspaceArray::is_at_hand`) and until other
//!    code runs, or under a lease: `loops`, `indexing` and `joining` do so.
//! 4. Elements of an array made here lie inside the span of its buffer: `form` and `handle` check it.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Range;
use std::ptr;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::foreign;
use super::form::Form;
use super::handle::WorkspaceArray;
use super::npy::{self, C_CONTIGUOUS, F_CONTIGUOUS, Layout, Ndarray};
use super::object::{self, Class};
use super::order;
use super::seen::Seen;
use crate::{Buffer, Lease};

/// The base of every view that leaves the crate: while it lives, the memory is nobody else's.
#[pyclass(frozen, name = "Lease", module = "ndarena._core")]
pub struct LeaseObject {
    _lease: Lease,
}

impl Class for LeaseObject {
    fn layout() -> &'static object::Layout {
        static LAYOUT: object::Layout = object::Layout::unknown();
        &LAYOUT
    }

    fn give_back(&mut self, _py: Python<'_>) {}
}

/// Before there is a lease.
pub fn register(py: Python<'_>) -> PyResult<()> {
    // SAFETY: a lease leads to nothing of Python's.
    unsafe { object::prepare::<LeaseObject>(py) }
}

/// How an array lies whose elements are in `buffer`; an error if they are not.
pub fn form<'py>(py: Python<'py>, buffer: &Buffer, layout: &Layout<'_, 'py>) -> PyResult<Form> {
    let itemsize = npy::item(layout.dtype)?.size;
    let (low, high) = order::extent(layout.shape, layout.strides, itemsize);
    let (start, span) = (layout.data.addr(), buffer.address()..buffer.address() + buffer.len());
    let mut layout = *layout;
    if low == high {
        // Without elements: NumPy reads a byte at the address all the same.
        if !span.contains(&start) {
            layout.data = ptr::with_exposed_provenance_mut(buffer.address());
        }
    } else if !lies_inside(&span, start, [low, high]) {
        return Err(beyond());
    }
    // SAFETY: invariant 3.
    let array = unsafe { npy::over(py, &layout) }?;
    Form::of(&array)
}

/// Whether packed elements fill so many bytes.
#[inline]
pub fn fills(bytes: usize, shape: &[isize], itemsize: isize) -> bool {
    order::byte_size(shape, itemsize) == Some(bytes)
}

/// Why there is no such array.
#[cold]
pub fn beyond() -> PyErr {
    PyBufferError::new_err("the view reaches beyond the memory of its array")
}

/// An array that lies like ours, but is never read or written.
pub fn template<'py>(py: Python<'py>, form: &Form) -> PyResult<Ndarray<'py>> {
    // SAFETY: invariant 3.
    unsafe { npy::over(py, &form.layout(py)) }
}

fn lies_inside(span: &Range<usize>, start: usize, extent: [isize; 2]) -> bool {
    let ends = extent.map(|offset| start.checked_add_signed(offset));
    ends.into_iter().all(|end| end.is_some_and(|end| (span.start..=span.end).contains(&end)))
}

/// An array as NumPy may see it: its base holds the lease.
pub fn leased<'py>(py: Python<'py>, form: &Form, lease: Lease) -> PyResult<Ndarray<'py>> {
    // SAFETY: invariants 1 and 4; the lease lives as long as the array (invariant 2), because it
    // becomes its base, or the array dies unseen if that fails.
    let view = unsafe { npy::over(py, &form.layout(py)) }?;
    let blank = object::allocate::<LeaseObject>(py)?;
    // SAFETY: there is room for it.
    unsafe { blank.place().write(LeaseObject { _lease: lease }) };
    // SAFETY: all of it is written.
    let base = unsafe { blank.finish(py) }?;
    npy::set_base(&view, base.into_any())?;
    Ok(view)
}

/// Copies the bytes of a packed array into another of as many; `None`: they are not such. Both are at hand.
pub fn copy_packed(source: &Seen<'_, '_>, target: &Form) -> Option<()> {
    let (from, count) = span(source)?;
    if target.item().has_references || target.flags() & (C_CONTIGUOUS | F_CONTIGUOUS) == 0 {
        return None;
    }
    let room = usize::try_from(target.size().checked_mul(target.item().size)?).ok();
    // SAFETY: invariants 3 and 4: bytes that both have, without gaps; `copy` allows an overlap.
    (room == Some(count)).then(|| unsafe { ptr::copy(from, target.data(), count) })
}

/// Copies the bytes of packed arrays one after the other into new memory, which they fill; many bytes while
/// other threads have the interpreter. False: they are not such. All are at hand.
pub fn join_packed(py: Python<'_>, sources: &[Seen<'_, '_>], target: &Form) -> PyResult<bool> {
    let spans = sources.iter().map(span).collect::<Option<Vec<_>>>();
    let bytes = |spans: &Vec<(*mut u8, usize)>| spans.iter().map(|(_, bytes)| bytes).sum::<usize>();
    let room = usize::try_from(target.size().saturating_mul(target.item().size)).ok();
    let Some(spans) = spans.filter(|spans| Some(bytes(spans)) == room) else { return Ok(false) };
    let first = target.data();
    let copy = || {
        spans.iter().fold(first, |to, &(from, bytes)| {
            // SAFETY: invariants 3 and 4: memory that was just measured, and is held by what is pinned.
            unsafe { ptr::copy_nonoverlapping(from, to, bytes) };
            to.wrapping_add(bytes)
        });
    };
    if room.is_some_and(|room| room > SHORT) {
        let _pins = sources.iter().map(Seen::pin).collect::<PyResult<Vec<_>>>()?;
        foreign::without_lock(py, copy);
    } else {
        copy();
    }
    Ok(true)
}

/// Fewer bytes are copied before another thread would have begun.
const SHORT: usize = 128 << 10;

/// Where a packed array begins, and its bytes; `None` of elements with references.
fn span(array: &Seen<'_, '_>) -> Option<(*mut u8, usize)> {
    let is_packed = array.flags() & (C_CONTIGUOUS | F_CONTIGUOUS) != 0;
    let bytes = array.size().checked_mul(array.item().size)?;
    let bytes = usize::try_from(bytes).ok().filter(|_| is_packed && !array.item().has_references);
    bytes.map(|bytes| (array.data(), bytes))
}

#[pymethods]
impl WorkspaceArray {
    /// The buffer protocol: the exporter is a leased view, which holds the lease.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        request: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let py = slf.py();
        let view = slf.get().lend_for(py, "buffer")?;
        if !comes_back(&view)? {
            return Err(PyBufferError::new_err("a buffer cannot tell this dtype; use numpy()"));
        }
        // SAFETY: the view is alive (invariant 2 of `npy`), `request` is a buffer of whoever
        // called the slot; the exporter that is written into it owns a reference to the view,
        // hence to the lease (invariant 2), and gives it back itself when it is released.
        let status = unsafe { ffi::PyObject_GetBuffer(view.object().as_ptr(), request, flags) };
        if status < 0 { Err(PyErr::fetch(py)) } else { Ok(()) }
    }
}

/// Whether NumPy reads the dtype out of a buffer as it is. It asks for a buffer before `__array__`.
fn comes_back(view: &Ndarray<'_>) -> PyResult<bool> {
    let dtype = view.dtype()?;
    let py = dtype.py();
    if view.item().kind != 'V' {
        return Ok(true);
    }
    let empty = npy::numpy(py)?.call_method1("empty", (1, &dtype))?;
    let buffer = py.import("builtins")?.getattr("memoryview")?.call1((empty,))?;
    let Ok(back) = npy::numpy(py)?.call_method1("asarray", (buffer,)) else { return Ok(false) };
    let back = back.getattr(pyo3::intern!(py, "dtype"))?;
    Ok(back.eq(&dtype)? && back.repr()?.as_any().eq(dtype.repr()?)?)
}

/// An iterator that asks `sequence` for item after item.
pub fn items<'py>(sequence: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a live object; the iterator owns a reference to it.
    let iterator = unsafe { ffi::PySeqIter_New(sequence.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(sequence.py(), iterator) }
}
