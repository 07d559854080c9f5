//! How an array of ours lies in memory: what every use of it looks at, without an object of NumPy's.

#![forbid(unsafe_code)]

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};

use pyo3::prelude::*;

use super::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, Item, Layout, Ndarray, WRITEABLE};
use super::numbers::Number;
use super::order;

/// Address, dtype, lengths and steps of an array, which never change, and NumPy's flags for them.
pub struct Form {
    address: usize,
    /// There until the end.
    dtype: Option<Py<PyAny>>,
    item: Item,
    flags: AtomicI32,
    ndim: usize,
    axes: Axes,
}

/// Lengths and steps. Those of few axes stand at the end of their places, behind ones and zeros.
enum Axes {
    Few([isize; FEW], [isize; FEW]),
    /// All lengths, then all steps.
    Many(Box<[isize]>),
}

/// So many axes take no memory of their own.
const FEW: usize = 4;

impl Axes {
    #[inline(always)]
    fn new(shape: &[isize], strides: &[isize]) -> Self {
        if shape.len() > FEW {
            return Self::Many([shape, strides].concat().into_boxed_slice());
        }
        Self::Few(at_the_end(shape, 1), at_the_end(strides, 0))
    }

    /// Those of packed elements.
    #[inline(always)]
    fn packed(shape: &[isize], itemsize: isize, fortran: bool) -> Self {
        if shape.len() > FEW {
            let strides = if fortran { order::f_strides } else { order::c_strides };
            return Self::new(shape, &strides(shape, itemsize));
        }
        // Constant places, here and below: what stays in registers is written into the object at once.
        let [a, b, c, d] = at_the_end(shape, 1);
        let steps = if fortran {
            [itemsize, itemsize * a, itemsize * a * b, itemsize * a * b * c]
        } else {
            [itemsize * b * c * d, itemsize * c * d, itemsize * d, itemsize]
        };
        Self::Few([a, b, c, d], steps)
    }
}

/// A few numbers, with another in the places before them.
#[inline(always)]
fn at_the_end(numbers: &[isize], other: isize) -> [isize; FEW] {
    let number = |place: usize| {
        let index = (place + numbers.len()).wrapping_sub(FEW);
        numbers.get(index).copied().unwrap_or(other)
    };
    [number(0), number(1), number(2), number(3)]
}

impl Form {
    /// That of an array of NumPy's.
    pub fn of(array: &Ndarray<'_>) -> PyResult<Self> {
        let (shape, strides) = (array.shape(), array.strides());
        Ok(Self {
            address: array.data().expose_provenance(),
            dtype: Some(array.dtype()?.unbind()),
            item: array.item(),
            flags: AtomicI32::new(array.flags()),
            ndim: shape.len(),
            axes: Axes::new(&shape, &strides),
        })
    }

    /// That of a packed array of numbers, aligned and not empty, in C order or the reverse.
    #[inline(always)]
    pub fn packed(
        py: Python<'_>,
        address: usize,
        number: &'static Number,
        shape: &[isize],
        fortran: bool,
    ) -> Self {
        let axes = Axes::packed(shape, number.item.size, fortran);
        let is_line = shape.len() < 2 || shape.iter().filter(|&&n| n != 1).count() < 2;
        let orders = match fortran {
            _ if is_line => C_CONTIGUOUS | F_CONTIGUOUS,
            true => F_CONTIGUOUS,
            false => C_CONTIGUOUS,
        };
        let flags = AtomicI32::new(orders | ALIGNED | WRITEABLE);
        let dtype = Some(number.dtype(py).clone().unbind());
        Self { address, dtype, item: number.item, flags, ndim: shape.len(), axes }
    }

    /// That of a part of an array, which begins `offset` bytes after it.
    #[inline(always)]
    pub fn part(&self, py: Python<'_>, offset: isize, shape: &[isize], strides: &[isize]) -> Self {
        let address = self.address.wrapping_add_signed(offset);
        let alignment = usize::from(self.item.alignment).max(1);
        let flags = orders(shape, strides, self.item.size)
            | aligned(address, alignment, shape, strides)
            | self.flags() & WRITEABLE;
        Self {
            address,
            dtype: Some(self.dtype(py).clone().unbind()),
            item: self.item,
            flags: AtomicI32::new(flags),
            ndim: shape.len(),
            axes: Axes::new(shape, strides),
        }
    }

    /// Address of the first element.
    #[inline]
    pub fn data(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address)
    }

    /// Number of elements along each axis.
    #[inline]
    pub fn shape(&self) -> &[isize] {
        match &self.axes {
            Axes::Few(lengths, _) => lengths.get(FEW.wrapping_sub(self.ndim)..).unwrap_or(&[]),
            Axes::Many(axes) => &axes[..self.ndim],
        }
    }

    /// Bytes from one element to the next along each axis.
    #[inline]
    pub fn strides(&self) -> &[isize] {
        match &self.axes {
            Axes::Few(_, steps) => steps.get(FEW.wrapping_sub(self.ndim)..).unwrap_or(&[]),
            Axes::Many(axes) => &axes[self.ndim..],
        }
    }

    /// Whether both have the same number of elements along each axis.
    #[inline]
    pub fn has_shape_of(&self, other: &Self) -> bool {
        match (&self.axes, &other.axes) {
            (Axes::Few(one, _), Axes::Few(other_one, _)) => {
                self.ndim == other.ndim && one == other_one
            }
            _ => self.shape() == other.shape(),
        }
    }

    /// The element type, a `numpy.dtype`.
    #[inline]
    pub fn dtype<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.dtype.as_ref().expect("it is not at its end").bind(py)
    }

    /// Whether its dtype is exactly this object.
    #[inline]
    pub fn has_dtype(&self, dtype: &Bound<'_, PyAny>) -> bool {
        self.dtype.as_ref().is_some_and(|own| own.is(dtype))
    }

    /// Whether both have the same dtype, the object.
    #[inline]
    pub fn has_dtype_of(&self, other: &Self) -> bool {
        self.dtype.as_ref().map(Py::as_ptr) == other.dtype.as_ref().map(Py::as_ptr)
    }

    /// What it says about its elements.
    #[inline]
    pub fn item(&self) -> Item {
        self.item
    }

    /// NumPy's flags.
    #[inline]
    pub fn flags(&self) -> c_int {
        self.flags.load(Ordering::Relaxed)
    }

    /// From now on nobody may write.
    pub fn make_read_only(&self) {
        self.flags.fetch_and(!WRITEABLE, Ordering::Relaxed);
    }

    /// Number of elements; where one of the lengths is zero, the others may be of any size.
    #[inline]
    pub fn size(&self) -> isize {
        match &self.axes {
            Axes::Few([a, b, c, d], _) => a.wrapping_mul(*b).wrapping_mul(*c).wrapping_mul(*d),
            Axes::Many(_) => self.shape().iter().fold(1, |n, &axis| n.wrapping_mul(axis)),
        }
    }

    /// Gives back the reference to the dtype: this is its end.
    pub fn give_back(&mut self, py: Python<'_>) {
        drop(self.dtype.take().map(|dtype| dtype.into_bound(py)));
    }

    /// The same for NumPy.
    pub fn layout<'a, 'py>(&'a self, py: Python<'py>) -> Layout<'a, 'py> {
        Layout {
            dtype: self.dtype(py),
            shape: self.shape(),
            strides: self.strides(),
            data: self.data(),
            writeable: self.flags() & WRITEABLE != 0,
        }
    }
}

/// Whether all elements are aligned, as one of NumPy's flags.
#[inline(always)]
fn aligned(address: usize, alignment: usize, shape: &[isize], strides: &[isize]) -> c_int {
    let mut all = address;
    for (&length, step) in shape.iter().zip(strides) {
        match length {
            0 => return ALIGNED,
            1 => {}
            _ => all |= step.unsigned_abs(),
        }
    }
    if all & (alignment - 1) == 0 { ALIGNED } else { 0 }
}

/// The orders in which elements follow each other without gaps, as NumPy has it: the step of an axis of one
/// element says nothing.
#[inline(always)]
fn orders(shape: &[isize], strides: &[isize], itemsize: isize) -> c_int {
    if let ([length], [step]) = (shape, strides) {
        let follow = *length < 2 || *step == itemsize;
        return if follow { C_CONTIGUOUS | F_CONTIGUOUS } else { 0 };
    }
    orders_of_several(shape, strides, itemsize)
}

fn orders_of_several(shape: &[isize], strides: &[isize], itemsize: isize) -> c_int {
    if shape.contains(&0) {
        return C_CONTIGUOUS | F_CONTIGUOUS;
    }
    let axes = || shape.iter().zip(strides).filter(|&(&length, _)| length != 1);
    let follow = |(expected, fits): (isize, bool), (&length, &step): (&isize, &isize)| {
        (expected.wrapping_mul(length), fits && step == expected)
    };
    let (_, c) = axes().rev().fold((itemsize, true), follow);
    let (_, fortran) = axes().fold((itemsize, true), follow);
    (c_int::from(c) * C_CONTIGUOUS) | (c_int::from(fortran) * F_CONTIGUOUS)
}
