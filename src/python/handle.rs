//! `WorkspaceArray`, the handle: a piece of workspace memory with a shape, checked on every use.
//!
//! Invariants
//! 1. A handle is written field by field into the place that a `Blank` has, which has room for it.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::error::to_pyerr;
use super::form::Form;
use super::holding::{Holding, Piece};
use super::naming::Call;
use super::npy::{self, Layout, Ndarray};
use super::numbers::Number;
use super::object::{self, Blank, Class, put};
use super::{order, view};
use crate::{Buffer, Error, Lease, Validity, Workspace};

/// An array in the memory of a workspace, with NumPy's surface, valid while its generation is.
///
/// It is a container, not a subclass of `numpy.ndarray`: every use first asks whether the memory
/// is still its own, and raises `StaleArrayError` if it is not.
#[pyclass(frozen, sequence, weakref, name = "WorkspaceArray", module = "ndarena")]
#[repr(C)]
pub struct WorkspaceArray {
    /// Where an unchecked cast to `PyArrayObject` would read data, shape, strides and flags, it
    /// finds null, no axes, and no flag set: neither contiguous nor writeable.
    blank: [usize; 8],
    holding: Holding,
    form: Form,
    /// Made when somebody needs an object of NumPy's.
    template: PyOnceLock<Py<PyAny>>,
}

impl Class for WorkspaceArray {
    fn layout() -> &'static object::Layout {
        static LAYOUT: object::Layout = object::Layout::unknown();
        &LAYOUT
    }

    fn give_back(&mut self, py: Python<'_>) {
        self.form.give_back(py);
        drop(self.template.take().map(|template| template.into_bound(py)));
    }
}

impl WorkspaceArray {
    /// A handle on the part of `buffer` that `layout` describes.
    pub fn new<'py>(
        py: Python<'py>,
        buffer: Buffer,
        layout: &Layout<'_, 'py>,
    ) -> PyResult<Bound<'py, Self>> {
        let form = view::form(py, &buffer, layout)?;
        let blank = object::allocate::<Self>(py)?;
        let place = blank.place();
        // SAFETY: invariant 1.
        unsafe { Holding::write_shared(Self::holding_of(place), buffer) };
        put!(place.form, form);
        // SAFETY: invariant 1: the rest of the fields.
        unsafe { Self::finish(blank, py) }
    }

    /// A handle on the part of this array that begins `offset` bytes after it.
    #[inline(always)]
    pub fn part<'py>(
        &self,
        py: Python<'py>,
        offset: isize,
        shape: &[isize],
        strides: &[isize],
    ) -> PyResult<Bound<'py, Self>> {
        let buffer = self.buffer(py).map_err(to_pyerr)?;
        let blank = object::allocate::<Self>(py)?;
        let place = blank.place();
        // SAFETY: invariant 1.
        unsafe { Holding::write_view(Self::holding_of(place), &self.holding, buffer) };
        put!(place.form, self.form.part(py, offset, shape, strides));
        // SAFETY: invariant 1: the rest of the fields.
        unsafe { Self::finish(blank, py) }
    }

    /// A handle on all of a piece, which has room for a packed array of that dtype and shape.
    #[inline(always)]
    pub fn packed<'py>(
        py: Python<'py>,
        piece: Piece,
        number: &'static Number,
        shape: &[isize],
        fortran: bool,
    ) -> PyResult<Bound<'py, Self>> {
        // What may have to be dropped on the way out lies in memory, and is copied from there.
        let piece = ManuallyDrop::new(piece);
        if !view::fills(piece.bytes(), shape, number.item.size) {
            return Err(Self::refused(piece, view::beyond()));
        }
        let blank = match object::allocate::<Self>(py) {
            Ok(blank) => blank,
            Err(error) => return Err(Self::refused(piece, error)),
        };
        let place = blank.place();
        // SAFETY: invariant 1.
        unsafe { Holding::write_own(Self::holding_of(place), &piece) };
        put!(place.form, Form::packed(py, piece.address(), number, shape, fortran));
        // SAFETY: invariant 1: the rest of the fields.
        unsafe { Self::finish(blank, py) }
    }

    #[cold]
    fn refused(piece: ManuallyDrop<Piece>, error: PyErr) -> PyErr {
        drop(ManuallyDrop::into_inner(piece));
        error
    }

    fn holding_of(place: *mut Self) -> *mut Holding {
        // SAFETY: invariant 1: inside the value.
        unsafe { &raw mut (*place).holding }
    }

    /// Whoever looked at operands has not used them yet, and nobody has seen the new memory: the collector
    /// had to wait.
    ///
    /// # Safety
    /// Holding and form were written.
    #[inline(always)]
    unsafe fn finish(blank: Blank<Self>, py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        let place = blank.place();
        put!(place.blank, [0; 8]);
        put!(place.template, PyOnceLock::new());
        // SAFETY: these are all fields.
        unsafe { blank.finish(py) }
    }

    /// Whether the memory is its own until other code runs: the calling thread, which alone ends the
    /// running cycle, is here. `false` says nothing.
    #[inline]
    pub fn is_at_hand(&self) -> bool {
        self.holding.is_valid_now() && self.holding.workspace().is_own()
    }

    /// The same, asked by the thread of that number.
    #[inline]
    pub fn is_at_hand_of(&self, thread: u64) -> bool {
        self.holding.is_valid_now() && self.holding.workspace().is_of(thread)
    }

    /// Shape, strides and dtype; works after the end too.
    #[inline]
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// The same as an object of NumPy's, which must never reach a user.
    #[inline]
    pub fn template<'a, 'py>(&'a self, py: Python<'py>) -> PyResult<&'a Ndarray<'py>> {
        if self.template.get(py).is_none() {
            let made = view::template(py, &self.form)?.into_object().unbind();
            // Another one may be there by now. `get_or_try_init` would let go of the interpreter every time.
            drop(self.template.set(py, made));
        }
        let template = self.template.get(py).map(|object| Ndarray::seen(object.bind(py)));
        template
            .transpose()?
            .flatten()
            .ok_or_else(|| PyTypeError::new_err("the handle holds no array"))
    }

    /// The workspace in which the memory was cut.
    pub fn workspace(&self) -> &Workspace {
        self.holding.workspace()
    }

    /// Generation of the workspace at the birth of the array.
    pub fn generation(&self) -> u64 {
        self.holding.generation()
    }

    /// Whether the memory is still the array's, and if not, why.
    pub fn validity(&self, py: Python<'_>) -> Validity {
        self.holding.validity(py)
    }

    /// The memory, valid or not; an error if the handle is closed.
    #[inline]
    pub fn buffer(&self, py: Python<'_>) -> Result<Buffer, Error> {
        self.holding.buffer(py)
    }

    /// Its bytes, if the handle alone has them and all of them are its own.
    pub fn sole_bytes(&self, py: Python<'_>) -> Option<usize> {
        self.holding.sole_bytes(py)
    }

    /// Ends this handle; what others hold on the memory stays.
    pub fn close(&self, py: Python<'_>) {
        self.holding.close(py);
    }

    /// The array as NumPy may see it, for as long as NumPy wants it, and its memory.
    pub fn lend<'py>(&self, py: Python<'py>) -> PyResult<Result<(Ndarray<'py>, Buffer), Error>> {
        match self.lease(py) {
            Ok(lease) => {
                let buffer = lease.buffer().clone();
                Ok(Ok((view::leased(py, &self.form, lease)?, buffer)))
            }
            Err(error) => Ok(Err(self.described(py, error)?)),
        }
    }

    fn lease(&self, py: Python<'_>) -> Result<Lease, Error> {
        Ok(self.buffer(py)?.into_lease()?)
    }

    /// A leased view for `operation`, which this array is the `self` of.
    pub fn lend_for<'py>(&self, py: Python<'py>, operation: &str) -> PyResult<Ndarray<'py>> {
        match self.lease(py) {
            Ok(lease) => view::leased(py, &self.form, lease),
            Err(error) => Err(to_pyerr(self.described(py, error)?.in_operation(operation, "self"))),
        }
    }

    /// The error, with the facts of this array in it.
    pub fn described(&self, py: Python<'_>, error: Error) -> PyResult<Error> {
        let shape: Vec<usize> = self.form.shape().iter().map(|n| n.unsigned_abs()).collect();
        let dtype = self.form.dtype(py).str()?;
        Ok(error.of_array(&shape, &dtype.to_string_lossy()))
    }
}

/// Before there is an array.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // SAFETY: an array leads to a dtype and to an array of NumPy's without a base.
    unsafe { object::prepare::<WorkspaceArray>(py) }?;
    view::register(py)
}

/// How a new array shall be laid out.
pub struct Plan<'a, 'py> {
    pub dtype: &'a Bound<'py, PyAny>,
    pub shape: &'a [isize],
    pub strides: &'a [isize],
    pub zeroed: bool,
}

/// A new array in `workspace`.
pub fn allocate<'py>(
    workspace: &Workspace,
    plan: &Plan<'_, 'py>,
    call: &Call<'_, 'py>,
) -> PyResult<Bound<'py, WorkspaceArray>> {
    let py = plan.dtype.py();
    let site = if workspace.is_debug() { calling_line(py)? } else { None };
    let buffer = workspace.allocate_at(plan.bytes()?, plan.zeroed, site);
    plan.handle_on(buffer.map_err(|error| plan.refused(error, call))?)
}

/// New arrays in `workspace`: all of them, or none.
pub fn allocate_all<'py>(
    workspace: &Workspace,
    plans: &[Plan<'_, 'py>],
    call: &Call<'_, 'py>,
) -> PyResult<Vec<Bound<'py, WorkspaceArray>>> {
    let [first, _, ..] = plans else {
        return plans.iter().map(|plan| allocate(workspace, plan, call)).collect();
    };
    let site = if workspace.is_debug() { calling_line(first.dtype.py())? } else { None };
    let sizes = plans.iter().map(Plan::bytes).collect::<PyResult<Vec<_>>>()?;
    let buffers = workspace.allocate_all(&sizes, site.as_deref());
    let buffers = buffers.map_err(|(error, i)| plans[i].refused(error, call))?;
    plans.iter().zip(buffers).map(|(plan, buffer)| plan.handle_on(buffer)).collect()
}

impl<'py> Plan<'_, 'py> {
    fn bytes(&self) -> PyResult<usize> {
        order::byte_size(self.shape, npy::item(self.dtype)?.size).ok_or_else(too_big)
    }

    fn handle_on(&self, buffer: Buffer) -> PyResult<Bound<'py, WorkspaceArray>> {
        // NumPy's way where there are no bytes: no step leads anywhere.
        let still = vec![0; self.shape.len()];
        let layout = Layout {
            dtype: self.dtype,
            shape: self.shape,
            strides: if buffer.is_empty() { &still } else { self.strides },
            data: std::ptr::with_exposed_provenance_mut(buffer.address()),
            writeable: true,
        };
        WorkspaceArray::new(self.dtype.py(), buffer, &layout)
    }

    fn refused(&self, error: Error, call: &Call<'_, 'py>) -> PyErr {
        let shape: Vec<usize> = self.shape.iter().map(|n| n.unsigned_abs()).collect();
        match self.dtype.str() {
            Ok(dtype) => {
                let error = error.in_call(&call.operation());
                to_pyerr(error.of_array(&shape, &dtype.to_string_lossy()))
            }
            Err(failed) => failed,
        }
    }
}

fn too_big() -> PyErr {
    PyValueError::new_err(
        "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size.",
    )
}

/// `file:line` of the Python code that runs.
fn calling_line(py: Python<'_>) -> PyResult<Option<String>> {
    let Ok(frame) = py.import("sys")?.call_method1("_getframe", (0,)) else {
        return Ok(None);
    };
    let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
    let line: usize = frame.getattr("f_lineno")?.extract()?;
    Ok(Some(format!("{file}:{line}")))
}

/// Whether elements of this type hold references, which workspace memory cannot.
pub fn has_references(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(npy::item(dtype)?.has_references)
}
