//! `a[i]`, `a[i:j]` and their like on numbers: elements and views without NumPy's machinery.
//!
//! `None` everywhere says that the general path is to be taken.

#![forbid(unsafe_code)]

use pyo3::prelude::*;
use pyo3::types::{PyInt, PySlice, PySliceMethods, PyTuple};

use super::error::to_pyerr;
use super::fast::{self, is_number};
use super::handle::WorkspaceArray;
use super::npy::{FEW, Layout, Ndarray};

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
    let array = ours.template(slf.py())?;
    let ndim = array.ndim();
    let names_an_element = if key.is_exact_instance_of::<PyInt>() {
        ndim == 1
    } else {
        let tuple = key.cast_exact::<PyTuple>();
        tuple.is_ok_and(|key| {
            key.len() == ndim
                && key.iter_borrowed().all(|item| item.is_exact_instance_of::<PyInt>())
        })
    };
    if names_an_element && ndim > 0 {
        // The element of a number is a copy, and no code of others runs on the way to it.
        let is_number = is_number(array.item().type_num);
        return if is_number { array.object().get_item(key).map(Some) } else { Ok(None) };
    }
    let Some(part) = Part::of(&array, key)? else { return Ok(None) };
    if ours.is_at_hand() { part.view(ours, &array).map(Some) } else { Ok(None) }
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
    fn of(array: &Ndarray<'_>, key: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let Some(axes) = array.few_axes() else { return Ok(None) };
        let (shape, strides) = (axes.shape(), axes.strides());
        let mut part = Self { ndim: 0, shape: [0; FEW], strides: [0; FEW], offset: 0 };
        let named = match key.cast_exact::<PyTuple>() {
            Ok(tuple) => {
                if tuple.len() > shape.len() {
                    return Ok(None);
                }
                for (axis, item) in tuple.iter_borrowed().enumerate() {
                    if !part.take(&item, (shape[axis], strides[axis]))? {
                        return Ok(None);
                    }
                }
                tuple.len()
            }
            Err(_) if shape.is_empty() => return Ok(None),
            Err(_) if !part.take(key, (shape[0], strides[0]))? => return Ok(None),
            Err(_) => 1,
        };
        for axis in named..shape.len() {
            part.keep(shape[axis], strides[axis]);
        }
        Ok(Some(part))
    }

    /// One axis by an int or a slice; false if the key is something else, or out of bounds.
    #[inline]
    fn take(&mut self, key: &Bound<'_, PyAny>, (length, stride): (isize, isize)) -> PyResult<bool> {
        if key.is_exact_instance_of::<PyInt>() {
            let Ok(index) = key.extract::<isize>() else { return Ok(false) };
            let index = if index < 0 { index + length } else { index };
            self.offset += index * stride;
            return Ok((0..length).contains(&index));
        }
        let Ok(slice) = key.cast_exact::<PySlice>() else { return Ok(false) };
        let steps = slice.indices(length)?;
        self.offset += steps.start * stride;
        self.keep(isize::try_from(steps.slicelength)?, steps.step.saturating_mul(stride));
        Ok(true)
    }

    fn keep(&mut self, length: isize, stride: isize) {
        self.shape[self.ndim] = length;
        self.strides[self.ndim] = stride;
        self.ndim += 1;
    }

    fn view<'py>(
        &self,
        ours: &WorkspaceArray,
        array: &Ndarray<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let layout = Layout {
            dtype: &array.dtype()?,
            shape: &self.shape[..self.ndim],
            strides: &self.strides[..self.ndim],
            data: array.data().wrapping_offset(self.offset),
            writeable: array.is_writeable(),
        };
        let buffer = ours.buffer().map_err(to_pyerr)?;
        Ok(WorkspaceArray::new(array.object().py(), buffer, &layout)?.into_any())
    }
}
