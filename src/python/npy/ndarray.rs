//! An `ndarray` of NumPy's, and what is read out of its fields.
//!
//! Invariants
//! 1. An `Ndarray` holds an object whose type is exactly `numpy.ndarray`, alive as long as it.
//! 2. Such an object begins with the fields of `PyArrayObject_fields` of NumPy's headers, which
//!    are part of the ABI; `dimensions` and `strides` have `nd` entries each. They may change
//!    whenever other code runs (a user sets `shape`), so they are copied out at once.
//! 3. Its dtype begins with the fields of a dtype of NumPy's.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Deref;
use std::{ptr, slice};

use pyo3::ffi;
use pyo3::prelude::*;

use super::{Item, WRITEABLE, api, read_item};

/// NumPy's limit.
const MAX_DIMS: usize = 64;

/// `PyArrayObject_fields` of NumPy's headers, as far as we read it.
#[repr(C)]
pub(super) struct Fields {
    head: ffi::PyObject,
    pub(super) data: *mut u8,
    pub(super) nd: c_int,
    pub(super) dimensions: *const isize,
    pub(super) strides: *const isize,
    base: *mut ffi::PyObject,
    descr: *mut ffi::PyObject,
    pub(super) flags: c_int,
}

/// Shape or strides of an array, copied: whoever owns the array may change it at any time.
#[derive(Clone, Copy)]
pub struct Axes {
    len: usize,
    values: [isize; MAX_DIMS],
}

impl Deref for Axes {
    type Target = [isize];

    fn deref(&self) -> &[isize] {
        &self.values[..self.len]
    }
}

/// Shape and strides of an array with few axes.
#[derive(Clone, Copy)]
pub struct FewAxes {
    len: usize,
    shape: [isize; FEW],
    strides: [isize; FEW],
}

/// So many axes are few.
pub const FEW: usize = 8;

impl FewAxes {
    /// These, if they are few.
    #[inline]
    pub fn of(shape: &[isize], strides: &[isize]) -> Option<Self> {
        let len = shape.len();
        let mut axes = Self { len, shape: [0; FEW], strides: [0; FEW] };
        axes.shape.get_mut(..len)?.copy_from_slice(shape);
        axes.strides[..len].copy_from_slice(strides);
        Some(axes)
    }

    /// The same the other way round.
    #[inline]
    pub fn turned(mut self) -> Self {
        self.shape[..self.len].reverse();
        self.strides[..self.len].reverse();
        self
    }

    /// Number of elements along each axis.
    #[inline]
    pub fn shape(&self) -> &[isize] {
        &self.shape[..self.len]
    }

    /// Bytes from one element to the next along each axis.
    #[inline]
    pub fn strides(&self) -> &[isize] {
        &self.strides[..self.len]
    }
}

/// An object whose type is exactly `numpy.ndarray`.
#[derive(Clone)]
#[repr(transparent)]
pub struct Ndarray<'py>(Bound<'py, PyAny>);

impl<'py> Ndarray<'py> {
    /// The object as an array, if it is exactly one.
    pub fn exact(object: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        Ok(Self::seen(object)?.cloned())
    }

    /// The same, without a reference of its own.
    #[inline]
    pub fn seen<'a>(object: &'a Bound<'py, PyAny>) -> PyResult<Option<&'a Self>> {
        let ndarray = api(object.py())?.ndarray;
        if !ptr::eq(object.get_type_ptr(), ndarray) {
            return Ok(None);
        }
        // SAFETY: an `Ndarray` is nothing but such an object, and is laid out like it (invariant 2).
        Ok(Some(unsafe { &*ptr::from_ref(object).cast::<Self>() }))
    }

    /// An object of which that is known.
    pub(super) fn known(object: Bound<'py, PyAny>) -> Self {
        Self(object)
    }

    /// The object itself.
    pub fn object(&self) -> &Bound<'py, PyAny> {
        &self.0
    }

    /// The object itself, without a new reference.
    pub fn into_object(self) -> Bound<'py, PyAny> {
        self.0
    }

    pub(super) fn fields(&self) -> *const Fields {
        self.0.as_ptr().cast::<Fields>().cast_const()
    }

    /// Address of the first element.
    pub fn data(&self) -> *mut u8 {
        // SAFETY: invariants 1 and 2.
        unsafe { (*self.fields()).data }
    }

    /// Number of elements along each axis.
    pub fn shape(&self) -> Axes {
        // SAFETY: invariants 1 and 2.
        let dimensions = unsafe { (*self.fields()).dimensions };
        self.axes(dimensions)
    }

    /// Bytes from one element to the next along each axis.
    pub fn strides(&self) -> Axes {
        // SAFETY: invariants 1 and 2.
        let strides = unsafe { (*self.fields()).strides };
        self.axes(strides)
    }

    /// Shape and strides, if there are few of them.
    #[inline]
    pub fn few_axes(&self) -> Option<FewAxes> {
        // SAFETY: invariants 1 and 2.
        let fields = unsafe { &*self.fields() };
        let len = usize::try_from(fields.nd).ok().filter(|&len| len <= FEW)?;
        let mut axes = FewAxes { len, shape: [0; FEW], strides: [0; FEW] };
        for axis in 0..len {
            // SAFETY: invariant 2: `nd` entries, which nobody changes before they are copied here.
            axes.shape[axis] = unsafe { *fields.dimensions.wrapping_add(axis) };
            // SAFETY: as above.
            axes.strides[axis] = unsafe { *fields.strides.wrapping_add(axis) };
        }
        Some(axes)
    }

    fn axes(&self, first: *const isize) -> Axes {
        // SAFETY: invariants 1 and 2.
        let nd = unsafe { (*self.fields()).nd };
        let mut axes =
            Axes { len: usize::try_from(nd).unwrap_or(0).min(MAX_DIMS), values: [0; MAX_DIMS] };
        if axes.len > 0 {
            // SAFETY: invariant 2: `nd` entries, which nobody changes before they are copied here.
            axes.values[..axes.len]
                .copy_from_slice(unsafe { slice::from_raw_parts(first, axes.len) });
        }
        axes
    }

    /// NumPy's flags.
    pub fn flags(&self) -> c_int {
        // SAFETY: invariants 1 and 2.
        unsafe { (*self.fields()).flags }
    }

    /// Whether NumPy lets one write into it.
    pub fn is_writeable(&self) -> bool {
        self.flags() & WRITEABLE != 0
    }

    /// Number of axes.
    pub fn ndim(&self) -> usize {
        // SAFETY: invariants 1 and 2.
        let nd = unsafe { (*self.fields()).nd };
        usize::try_from(nd).unwrap_or(0)
    }

    /// Number of elements along the last axis; 0 of a point.
    pub fn last_length(&self) -> isize {
        // SAFETY: dropped at the end of this function.
        unsafe { self.lengths() }.last().copied().unwrap_or(0)
    }

    /// Whether it has so many elements along each axis.
    pub fn has_shape(&self, shape: &[isize]) -> bool {
        // SAFETY: dropped at the end of this function, in which nothing changes the array.
        shape == unsafe { self.lengths() }
    }

    /// Whether both have the same number of elements along each axis.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        // SAFETY: dropped at the end of this function, in which nothing changes the arrays.
        let own = unsafe { self.lengths() };
        // SAFETY: as above.
        own == unsafe { other.lengths() }
    }

    /// # Safety
    /// The slice is to be dropped before other code runs (invariant 3).
    unsafe fn lengths(&self) -> &[isize] {
        // SAFETY: invariants 1 and 2.
        let fields = unsafe { &*self.fields() };
        let len = usize::try_from(fields.nd).unwrap_or(0);
        if len == 0 {
            return &[];
        }
        // SAFETY: invariant 2: `nd` entries.
        unsafe { slice::from_raw_parts(fields.dimensions, len) }
    }

    /// The element type, a `numpy.dtype`.
    pub fn dtype(&self) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: invariants 1 and 2: an array has a dtype as long as it lives.
        let descr = unsafe { (*self.fields()).descr };
        // SAFETY: as above; the reference is counted anew.
        unsafe { Bound::from_borrowed_ptr_or_err(self.0.py(), descr) }
    }

    /// What its dtype says about its elements.
    pub fn item(&self) -> Item {
        // SAFETY: invariants 1 and 2.
        let descr = unsafe { (*self.fields()).descr };
        // SAFETY: the dtype of a living array.
        unsafe { read_item(descr) }
    }

    /// Whether its dtype is exactly this object.
    pub fn has_dtype(&self, dtype: &Bound<'_, PyAny>) -> bool {
        // SAFETY: invariants 1 and 2.
        let descr = unsafe { (*self.fields()).descr };
        ptr::eq(descr, dtype.as_ptr())
    }

    /// Number of elements.
    pub fn size(&self) -> isize {
        // SAFETY: dropped at the end of this function.
        let shape = unsafe { self.lengths() };
        if shape.contains(&0) { 0 } else { shape.iter().fold(1, |n, &axis| n.saturating_mul(axis)) }
    }
}
