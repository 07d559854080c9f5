//! A Python number, or one of NumPy's, as an element that a loop can read.

use std::ffi::c_int;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyInt};

use crate::python::npy;

/// `np.float32` and `np.float64`, and the type numbers of their dtypes.
fn float_classes(py: Python<'_>) -> PyResult<&'static [(Py<PyAny>, c_int)]> {
    static CLASSES: PyOnceLock<[(Py<PyAny>, c_int); 2]> = PyOnceLock::new();
    let classes = CLASSES.get_or_try_init(py, || {
        let class = |name: &str| npy::numpy(py)?.getattr(name).map(Bound::unbind);
        Ok::<_, PyErr>([(class("float32")?, FLOAT), (class("float64")?, DOUBLE)])
    })?;
    Ok(classes)
}

/// Finds the classes.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    float_classes(py).map(drop)
}

/// Whether it is of one of them.
#[inline]
pub(super) fn is_numpy_float(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = object.get_type();
    Ok(float_classes(object.py())?.iter().any(|(known, _)| known.is(&class)))
}

const BOOL: c_int = 0;
const FLOAT: c_int = 11;
const DOUBLE: c_int = 12;

/// A scalar in the bytes of an array's dtype.
#[repr(align(16))]
#[derive(Default)]
pub(super) struct Scalar([u8; 16]);

impl Scalar {
    /// Where its bytes begin, for as long as it stays where it is.
    pub(super) fn address(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// `None` where NumPy has to convert, warn or refuse.
    #[inline]
    pub(super) fn of(scalar: &Bound<'_, PyAny>, item: npy::Item) -> PyResult<Option<Self>> {
        let is_float = scalar.is_exact_instance_of::<PyFloat>();
        if !is_float && !scalar.is_exact_instance_of::<PyInt>() {
            let class = scalar.get_type();
            let same = |(known, t): &(Py<PyAny>, c_int)| known.is(&class) && *t == item.type_num;
            if !float_classes(scalar.py())?.iter().any(same) {
                return Ok(None);
            }
        }
        Ok(match item.kind {
            'f' => Self::of_float(scalar, item.type_num),
            'i' | 'u' if !is_float && item.type_num != BOOL => Self::of_int(scalar, item),
            _ => None,
        })
    }

    fn of_float(scalar: &Bound<'_, PyAny>, type_num: c_int) -> Option<Self> {
        let value: f64 = if scalar.is_exact_instance_of::<PyInt>() {
            let value: i32 = scalar.extract().ok().filter(|n: &i32| n.unsigned_abs() <= 1 << 24)?;
            value.into()
        } else {
            scalar.extract().ok()?
        };
        let mut cell = Self::default();
        match type_num {
            DOUBLE => cell.0[..8].copy_from_slice(&value.to_ne_bytes()),
            FLOAT => {
                #[allow(clippy::cast_possible_truncation, reason = "as NumPy rounds it")]
                let narrow = value as f32;
                let is_beyond = narrow.is_infinite() && value.is_finite();
                // Of what is no number the bits, and of what becomes zero the truth, are NumPy's to say.
                if is_beyond || value.is_nan() || (narrow == 0.0 && value != 0.0) {
                    return None;
                }
                cell.0[..4].copy_from_slice(&narrow.to_ne_bytes());
            }
            _ => return None,
        }
        Some(cell)
    }

    fn of_int(scalar: &Bound<'_, PyAny>, item: npy::Item) -> Option<Self> {
        let value: i64 = scalar.extract().ok()?;
        let size = usize::try_from(item.size).ok().filter(|&size| size <= 8)?;
        let bits = 8 * u32::try_from(size).ok()?;
        let fits = if item.kind == 'u' {
            value >= 0 && (bits == 64 || value < 1 << bits)
        } else {
            bits == 64 || (-(1 << (bits - 1))..1 << (bits - 1)).contains(&value)
        };
        if !fits || cfg!(target_endian = "big") {
            return None;
        }
        let mut cell = Self::default();
        cell.0[..size].copy_from_slice(&value.to_le_bytes()[..size]);
        Some(cell)
    }
}
