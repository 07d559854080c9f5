//! `a[i]`, `a[i:j]` and their like on numbers: elements and views without NumPy's machinery.
//!
//! `None` everywhere says that the general path is to be taken.

#![forbid(unsafe_code)]

use pyo3::prelude::*;
use pyo3::types::{PyInt, PySlice, PySliceMethods, PyTuple};

use super::error::to_pyerr;
use super::fast;
use super::foreign;
use super::form::Form;
use super::handle::WorkspaceArray;
use super::npy::FEW;
use super::numbers::is_number;

/// The part of an array that a key of ints and slices names.
#[inline]
pub fn part<'py>(
    slf: &Bound<'py, WorkspaceArray>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let ours = slf.get();
    if !fast::is_on() || !ours.is_at_hand() {
        return Ok(None);
    }
    let form = ours.form();
    if form.shape().len() > FEW {
        return Ok(None);
    }
    let Ok(tuple) = key.cast_exact::<PyTuple>() else {
        return single(ours, form, key);
    };
    let all_ints = || tuple.iter_borrowed().all(|key| key.is_exact_instance_of::<PyInt>());
    if tuple.len() == form.shape().len() && !tuple.is_empty() && all_ints() {
        return element(ours, key);
    }
    for (i, key) in tuple.iter_borrowed().enumerate() {
        let Some(&length) = form.shape().get(i) else { return Ok(None) };
        if !is_plain(&key, length)? {
            return Ok(None);
        }
    }
    if tuple.is_empty() {
        return Ok(None);
    }
    let mut part = Part::new();
    let mut left = form.shape().iter().copied().zip(form.strides().iter().copied());
    for (key, axis) in tuple.iter_borrowed().zip(&mut left) {
        if part.take(&key, axis).is_none() {
            return Ok(None);
        }
    }
    for (length, stride) in left {
        part.keep(length, stride);
    }
    part.view(slf.py(), ours).map(Some)
}

/// The same for a key that is no tuple.
#[inline]
fn single<'py>(
    ours: &WorkspaceArray,
    form: &Form,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (shape, strides) = (form.shape(), form.strides());
    let Some(&length) = shape.first() else { return Ok(None) };
    if shape.len() == 1 && key.is_exact_instance_of::<PyInt>() {
        return element(ours, key);
    }
    if !is_plain(key, length)? {
        return Ok(None);
    }
    let mut part = Part::new();
    if part.take(key, (length, strides[0])).is_none() {
        return Ok(None);
    }
    for (&length, &stride) in shape.iter().zip(strides).skip(1) {
        part.keep(length, stride);
    }
    part.view(key.py(), ours).map(Some)
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

/// Whether a key of one axis is an int inside it, or a slice of ints.
#[inline]
fn is_plain(key: &Bound<'_, PyAny>, length: isize) -> PyResult<bool> {
    if key.is_exact_instance_of::<PyInt>() {
        return Ok(index(key, length).is_some());
    }
    let Ok(slice) = key.cast_exact::<PySlice>() else { return Ok(false) };
    foreign::has_plain_members(slice)
}

/// The array with its axes in reverse order.
pub fn transposed<'py>(slf: &Bound<'py, WorkspaceArray>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let ours = slf.get();
    if !fast::is_on() || !ours.is_at_hand() {
        return Ok(None);
    }
    let form = ours.form();
    if form.shape().len() > FEW {
        return Ok(None);
    }
    let mut view = Part::new();
    for (&length, &stride) in form.shape().iter().zip(form.strides()).rev() {
        view.keep(length, stride);
    }
    view.view(slf.py(), ours).map(Some)
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

    /// One axis by an int or a slice; `None`: NumPy has to refuse it.
    #[inline]
    fn take(&mut self, key: &Bound<'_, PyAny>, (length, stride): (isize, isize)) -> Option<()> {
        let Ok(slice) = key.cast_exact::<PySlice>() else {
            self.offset += index(key, length)? * stride;
            return Some(());
        };
        let steps = slice.indices(length).ok()?;
        match isize::try_from(steps.slicelength).ok()? {
            // NumPy's way: no step leads anywhere.
            0 => self.keep(0, stride),
            count => {
                self.offset += steps.start * stride;
                self.keep(count, steps.step.wrapping_mul(stride));
            }
        }
        Some(())
    }

    fn keep(&mut self, length: isize, stride: isize) {
        self.shape[self.ndim] = length;
        self.strides[self.ndim] = stride;
        self.ndim += 1;
    }

    fn view<'py>(&self, py: Python<'py>, ours: &WorkspaceArray) -> PyResult<Bound<'py, PyAny>> {
        let (shape, strides) = (&self.shape[..self.ndim], &self.strides[..self.ndim]);
        let form = ours.form().part(py, self.offset, shape, strides);
        let buffer = ours.buffer().map_err(to_pyerr)?;
        Ok(WorkspaceArray::on(py, buffer, form)?.into_any())
    }
}
