//! An array that takes part in something, whosever it is: what is looked at before it is touched in place.

#![forbid(unsafe_code)]

use std::ffi::c_int;

use pyo3::prelude::*;

use super::error::to_pyerr;
use super::handle::WorkspaceArray;
use super::npy::{FewAxes, Item, Ndarray, WRITEABLE};
use crate::Buffer;

/// An array that is there: one of ours, or one of NumPy's, whose owner may change it whenever other code runs.
#[derive(Clone, Copy)]
pub enum Seen<'a, 'py> {
    Ours(&'a Bound<'py, WorkspaceArray>),
    Plain(&'a Ndarray<'py>),
}

impl<'a, 'py> Seen<'a, 'py> {
    /// The array that an object is, to be touched in place until other code runs; `None` if it is no array,
    /// or not at hand.
    #[inline]
    pub fn in_place(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        match object.cast_exact::<WorkspaceArray>() {
            Ok(ours) => Ok(ours.get().is_at_hand().then_some(Self::Ours(ours))),
            Err(_) => Ok(Ndarray::seen(object)?.map(Self::Plain)),
        }
    }

    pub fn py(&self) -> Python<'py> {
        self.object().py()
    }

    /// The object itself.
    pub fn object(&self) -> &'a Bound<'py, PyAny> {
        match self {
            Self::Ours(array) => array.as_any(),
            Self::Plain(array) => array.object(),
        }
    }

    /// Keeps memory of ours from being given away while other code runs.
    pub fn pin(&self) -> PyResult<Option<Buffer>> {
        match self {
            Self::Ours(array) => array.get().buffer(array.py()).map(Some).map_err(to_pyerr),
            Self::Plain(_) => Ok(None),
        }
    }

    /// Address of the first element.
    #[inline]
    pub fn data(&self) -> *mut u8 {
        match self {
            Self::Ours(array) => array.get().form().data(),
            Self::Plain(array) => array.data(),
        }
    }

    /// NumPy's flags.
    #[inline]
    pub fn flags(&self) -> c_int {
        match self {
            Self::Ours(array) => array.get().form().flags(),
            Self::Plain(array) => array.flags(),
        }
    }

    /// Whether NumPy lets one write into it.
    pub fn is_writeable(&self) -> bool {
        self.flags() & WRITEABLE != 0
    }

    /// Number of axes.
    #[inline]
    pub fn ndim(&self) -> usize {
        match self {
            Self::Ours(array) => array.get().form().shape().len(),
            Self::Plain(array) => array.ndim(),
        }
    }

    /// Number of elements.
    #[inline]
    pub fn size(&self) -> isize {
        match self {
            Self::Ours(array) => array.get().form().size(),
            Self::Plain(array) => array.size(),
        }
    }

    /// Number of elements along the last axis; 0 of a point.
    pub fn last_length(&self) -> isize {
        match self {
            Self::Ours(array) => array.get().form().shape().last().copied().unwrap_or(0),
            Self::Plain(array) => array.last_length(),
        }
    }

    /// Shape and strides, if there are few of them.
    #[inline]
    pub fn few_axes(&self) -> Option<FewAxes> {
        match self {
            Self::Ours(array) => {
                let form = array.get().form();
                FewAxes::of(form.shape(), form.strides())
            }
            Self::Plain(array) => array.few_axes(),
        }
    }

    /// Whether both have the same number of elements along each axis.
    #[inline]
    pub fn has_shape_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ours(one), Self::Ours(other)) => {
                one.get().form().has_shape_of(other.get().form())
            }
            (Self::Ours(ours), Self::Plain(array)) | (Self::Plain(array), Self::Ours(ours)) => {
                array.has_shape(ours.get().form().shape())
            }
            (Self::Plain(one), Self::Plain(other)) => one.has_shape_of(other),
        }
    }

    /// The element type, a `numpy.dtype`.
    pub fn dtype(&self) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Ours(array) => Ok(array.get().form().dtype(array.py()).clone()),
            Self::Plain(array) => array.dtype(),
        }
    }

    /// What its dtype says about its elements.
    #[inline]
    pub fn item(&self) -> Item {
        match self {
            Self::Ours(array) => array.get().form().item(),
            Self::Plain(array) => array.item(),
        }
    }

    /// Whether its dtype is exactly this object.
    #[inline]
    pub fn has_dtype(&self, dtype: &Bound<'_, PyAny>) -> bool {
        match self {
            Self::Ours(array) => array.get().form().has_dtype(dtype),
            Self::Plain(array) => array.has_dtype(dtype),
        }
    }
}
