//! `a[i]`, `a[i:j]` and their like on numbers: elements and views without NumPy's machinery.
//!
//! `None` everywhere says that the general path is to be taken.

#![forbid(unsafe_code)]

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PySlice, PySliceMethods, PyTuple};

use super::error::to_pyerr;
use super::fast::{self, is_number};
use super::foreign;
use super::handle::WorkspaceArray;
use super::npy::{FEW, FewAxes, Layout, Ndarray};

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
    let Some(axes) = array.few_axes() else { return Ok(None) };
    let single = [key.as_borrowed()];
    let tuple = key.cast_exact::<PyTuple>();
    let keys: &mut dyn Iterator<Item = Borrowed<'_, 'py, PyAny>> = match &tuple {
        Ok(tuple) => &mut tuple.iter_borrowed(),
        Err(_) => &mut single.into_iter(),
    };
    let (mut named, mut ints) = (0, 0);
    for key in keys {
        let Some(&length) = axes.shape().get(named) else { return Ok(None) };
        let is_int = key.is_exact_instance_of::<PyInt>();
        let is_plain = match key.cast_exact::<PySlice>() {
            Ok(slice) => foreign::has_plain_members(&slice)?,
            Err(_) => is_int && index(&key, length).is_some(),
        };
        if !is_plain {
            return Ok(None);
        }
        named += 1;
        ints += usize::from(is_int);
    }
    if named == 0 {
        return Ok(None);
    }
    if ints == array.ndim() {
        // The element of a number is a copy, and no code of others runs on the way to it.
        let is_number = is_number(array.item().type_num);
        return if is_number { array.object().get_item(key).map(Some) } else { Ok(None) };
    }
    let part = match &tuple {
        Ok(tuple) => Part::of(&axes, tuple.iter_borrowed()),
        Err(_) => Part::of(&axes, single.into_iter()),
    };
    part.map(|part| part.view(ours, &array)).transpose()
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
    fn of<'a, 'py: 'a>(
        axes: &FewAxes,
        keys: impl Iterator<Item = Borrowed<'a, 'py, PyAny>>,
    ) -> Option<Self> {
        let mut part = Self { ndim: 0, shape: [0; FEW], strides: [0; FEW], offset: 0 };
        let mut left = axes.shape().iter().copied().zip(axes.strides().iter().copied());
        for (key, axis) in keys.zip(&mut left) {
            part.take(&key, axis)?;
        }
        for (length, stride) in left {
            part.keep(length, stride);
        }
        Some(part)
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
