//! `a[i]`, `a[i:j]` and their like on numbers, read and written without NumPy's machinery.
//!
//! `None` everywhere says that the general path is to be taken.

#![forbid(unsafe_code)]

use pyo3::prelude::*;
use pyo3::types::{PyEllipsis, PyInt, PySlice, PySliceMethods, PyTuple};

use super::fast;
use super::foreign;
use super::form::Form;
use super::handle::WorkspaceArray;
use super::loops::{filling, turning};
use super::npy::{C_CONTIGUOUS, F_CONTIGUOUS, FEW, WRITEABLE};
use super::numbers::is_number;
use super::seen::Seen;
use super::view::copy_packed;

/// The part of an array that a key of ints and slices names.
#[inline]
pub fn part<'py>(
    slf: &Bound<'py, WorkspaceArray>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let ours = slf.get();
    if !is_usable(ours) {
        return Ok(None);
    }
    let form = ours.form();
    if names_element(form, key) {
        return element(ours, key);
    }
    let mut part = Part::new();
    if !part.name(form, key)? {
        return Ok(None);
    }
    let view = ours.part(slf.py(), part.offset, part.shape(), part.strides())?;
    Ok(Some(view.into_any()))
}

/// A number, or an array of the same shape and dtype without gaps, into the part that a key of ints and slices, or `...`, names.
/// False: the general path, and nothing has changed.
pub fn assign<'py>(
    slf: &Bound<'py, WorkspaceArray>,
    key: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<bool> {
    let ours = slf.get();
    if !is_usable(ours) {
        return Ok(false);
    }
    if key.is(PyEllipsis::get(slf.py())) {
        return put(ours, ours.form(), value);
    }
    let mut part = Part::new();
    if !part.name(ours.form(), key)? {
        return Ok(false);
    }
    let form = ours.form().part(slf.py(), part.offset, part.shape(), part.strides());
    put(ours, &form, value)
}

fn put(ours: &WorkspaceArray, form: &Form, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(source) = Seen::in_place(value)? else { return filling::part(ours, form, value) };
    let orders = form.flags() & source.flags() & (C_CONTIGUOUS | F_CONTIGUOUS);
    let is_alike = orders != 0
        && form.flags() & WRITEABLE != 0
        && form.size().saturating_mul(form.item().size) <= SHORT
        && source.has_dtype(form.dtype(value.py()))
        && source.few_axes().is_some_and(|axes| axes.shape() == form.shape());
    if is_alike {
        Ok(copy_packed(&source, form).is_some())
    } else {
        turning::into(ours, form, &source)
    }
}

/// More bytes are copied by NumPy, while other threads have the interpreter.
const SHORT: isize = 1 << 20;

#[inline(always)]
fn is_usable(ours: &WorkspaceArray) -> bool {
    fast::is_on() && ours.is_at_hand() && ours.form().shape().len() <= FEW
}

/// Whether a key is an int for each axis.
#[inline]
fn names_element(form: &Form, key: &Bound<'_, PyAny>) -> bool {
    let ndim = form.shape().len();
    let is_int = |key: &Bound<'_, PyAny>| key.is_exact_instance_of::<PyInt>();
    match key.cast_exact::<PyTuple>() {
        Ok(keys) => ndim > 0 && keys.len() == ndim && keys.iter_borrowed().all(|key| is_int(&key)),
        Err(_) => ndim == 1 && is_int(key),
    }
}

/// The element of a number: a copy, and no code of others runs on the way to it.
#[inline]
fn element<'py>(
    ours: &WorkspaceArray,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !is_number(ours.form().item().type_num) {
        return Ok(None);
    }
    ours.template(key.py())?.object().get_item(key).map(Some)
}

/// The array with its axes in reverse order.
pub fn transposed<'py>(slf: &Bound<'py, WorkspaceArray>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (ours, form) = (slf.get(), slf.get().form());
    if !is_usable(ours) {
        return Ok(None);
    }
    let mut part = Part::new();
    for (&length, &stride) in form.shape().iter().zip(form.strides()).rev() {
        part.keep(length, stride);
    }
    let view = ours.part(slf.py(), part.offset, part.shape(), part.strides())?;
    Ok(Some(view.into_any()))
}

/// Which element an int names, if it is inside.
#[inline]
fn index(key: &Bound<'_, PyAny>, length: isize) -> Option<isize> {
    let index: isize = key.extract().ok()?;
    let index = if index < 0 { index + length } else { index };
    (0..length).contains(&index).then_some(index)
}

/// Axes that are left, and where they begin.
struct Part {
    ndim: usize,
    shape: [isize; FEW],
    strides: [isize; FEW],
    offset: isize,
}

impl Part {
    #[inline]
    fn new() -> Self {
        Self { ndim: 0, shape: [0; FEW], strides: [0; FEW], offset: 0 }
    }

    /// What a key leaves of the axes of an array. False: the general path.
    #[inline(always)]
    fn name(&mut self, form: &Form, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (shape, strides) = (form.shape(), form.strides());
        let taken = match key.cast_exact::<PyTuple>() {
            Ok(keys) => {
                for (i, key) in keys.iter_borrowed().enumerate() {
                    if !self.take(&key, shape.get(i).zip(strides.get(i)))? {
                        return Ok(false);
                    }
                }
                keys.len()
            }
            Err(_) => usize::from(self.take(key, shape.first().zip(strides.first()))?),
        };
        for (&length, &stride) in shape.iter().zip(strides).skip(taken) {
            self.keep(length, stride);
        }
        Ok(taken > 0)
    }

    /// One axis, if there is one, by an int inside it, or by a slice of ints. False: the general path.
    #[inline(always)]
    fn take(&mut self, key: &Bound<'_, PyAny>, axis: Option<(&isize, &isize)>) -> PyResult<bool> {
        let Some((&length, &stride)) = axis else { return Ok(false) };
        if key.is_exact_instance_of::<PyInt>() {
            let index = index(key, length);
            self.offset += index.unwrap_or(0) * stride;
            return Ok(index.is_some());
        }
        let Ok(slice) = key.cast_exact::<PySlice>() else { return Ok(false) };
        if !foreign::has_plain_members(slice)? {
            return Ok(false);
        }
        let Ok(steps) = slice.indices(length) else { return Ok(false) };
        match isize::try_from(steps.slicelength) {
            // NumPy's way: no step leads anywhere.
            Ok(0) => self.keep(0, stride),
            Ok(count) => {
                self.offset += steps.start * stride;
                self.keep(count, steps.step.wrapping_mul(stride));
            }
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    #[inline]
    fn keep(&mut self, length: isize, stride: isize) {
        self.shape[self.ndim] = length;
        self.strides[self.ndim] = stride;
        self.ndim += 1;
    }

    #[inline]
    fn shape(&self) -> &[isize] {
        &self.shape[..self.ndim]
    }

    #[inline]
    fn strides(&self) -> &[isize] {
        &self.strides[..self.ndim]
    }
}
