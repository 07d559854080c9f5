//! The few entries of NumPy's C API that we use, read from its `_ARRAY_API` table.
//!
//! Invariants
//! 1. The table is the one of the running NumPy, of ABI version 2 (checked when it is read), and
//!    lives as long as the process. Within an ABI version a slot keeps its number and signature.
//! 2. An `Ndarray` holds an object whose type is exactly `numpy.ndarray`, alive as long as it.
//! 3. Such an object begins with the fields of `PyArrayObject_fields` of NumPy's headers, which
//!    are part of the ABI; `dimensions` and `strides` have `nd` entries each. They may change
//!    whenever other code runs (a user sets `shape`), so they are copied out at once.
//! 4. A dtype begins with the fields of `PyArray_Descr` of NumPy 2's headers, which nobody changes
//!    after it was made, but for the names of a structured one.
//! 5. The memory behind an array made by `over` outlives it: the caller's duty (see `view`).

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyCapsuleMethods};
use pyo3::{ffi, intern};

mod ndarray;

pub use ndarray::{FEW, FewAxes, Ndarray};

const ABI_VERSION: c_uint = 0x0200_0000;
const ABI_MASK: c_uint = 0xff00_0000;

const GET_ABI_VERSION: usize = 0;
const NDARRAY_TYPE: usize = 2;
const DESCR_FROM_TYPE: usize = 45;
const SCALAR: usize = 60;
const NEW_FROM_DESCR: usize = 94;
const SET_BASE_OBJECT: usize = 282;
const SET_HANDLER: usize = 304;
const GET_HANDLER: usize = 305;

pub const C_CONTIGUOUS: c_int = 0x0001;
pub const F_CONTIGUOUS: c_int = 0x0002;
pub const ALIGNED: c_int = 0x0100;
pub const WRITEABLE: c_int = 0x0400;

type GetAbiVersion = unsafe extern "C" fn() -> c_uint;
type NewFromDescr = unsafe extern "C" fn(
    *mut ffi::PyTypeObject,
    *mut ffi::PyObject,
    c_int,
    *const isize,
    *const isize,
    *mut c_void,
    c_int,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;
type Scalar =
    unsafe extern "C" fn(*mut c_void, *mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject;
type DescrFromType = unsafe extern "C" fn(c_int) -> *mut ffi::PyObject;
type SetHandler = unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject;
type GetHandler = unsafe extern "C" fn() -> *mut ffi::PyObject;
type SetBaseObject = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> c_int;

/// What we took out of the table.
struct Api {
    ndarray: *mut ffi::PyTypeObject,
    descr_from_type: DescrFromType,
    scalar: Scalar,
    new_from_descr: NewFromDescr,
    set_base_object: SetBaseObject,
    set_handler: SetHandler,
    get_handler: GetHandler,
}

// SAFETY: addresses of static data and functions of NumPy (invariant 1).
unsafe impl Send for Api {}
// SAFETY: as above; nothing is written.
unsafe impl Sync for Api {}

fn api(py: Python<'_>) -> PyResult<&'static Api> {
    static API: PyOnceLock<Api> = PyOnceLock::new();
    API.get_or_try_init(py, || read_table(py))
}

fn read_table(py: Python<'_>) -> PyResult<Api> {
    let attribute = py.import("numpy._core._multiarray_umath")?.getattr("_ARRAY_API")?;
    let capsule = attribute.cast_into::<PyCapsule>()?;
    let table = capsule.pointer_checked(None)?.cast::<*const c_void>();
    // SAFETY: invariant 1: slot 0 is the function that tells the version, in every version.
    let version = unsafe { ptr::read(slot(table, GET_ABI_VERSION).cast::<GetAbiVersion>()) };
    // SAFETY: as above.
    let version = unsafe { version() };
    if version & ABI_MASK != ABI_VERSION {
        let found = format!("ndarena needs NumPy 2, found one of ABI version {version:#x}");
        return Err(PyImportError::new_err(found));
    }
    // SAFETY: invariant 1.
    let ndarray = unsafe { ptr::read(slot(table, NDARRAY_TYPE).cast()) };
    // SAFETY: invariant 1.
    let descr_from_type = unsafe { ptr::read(slot(table, DESCR_FROM_TYPE).cast()) };
    // SAFETY: invariant 1.
    let scalar = unsafe { ptr::read(slot(table, SCALAR).cast()) };
    // SAFETY: invariant 1.
    let new_from_descr = unsafe { ptr::read(slot(table, NEW_FROM_DESCR).cast()) };
    // SAFETY: invariant 1.
    let set_base_object = unsafe { ptr::read(slot(table, SET_BASE_OBJECT).cast()) };
    // SAFETY: invariant 1.
    let set_handler = unsafe { ptr::read(slot(table, SET_HANDLER).cast()) };
    // SAFETY: invariant 1.
    let get_handler = unsafe { ptr::read(slot(table, GET_HANDLER).cast()) };
    Ok(Api {
        ndarray,
        descr_from_type,
        scalar,
        new_from_descr,
        set_base_object,
        set_handler,
        get_handler,
    })
}

fn slot(table: NonNull<*const c_void>, number: usize) -> *const *const c_void {
    table.as_ptr().cast_const().wrapping_add(number)
}

/// The beginning of `PyArray_Descr` of NumPy 2's headers.
#[repr(C)]
struct DescrFields {
    head: ffi::PyObject,
    typeobj: *mut ffi::PyTypeObject,
    kind: u8,
    type_char: u8,
    byteorder: u8,
    former_flags: u8,
    type_num: c_int,
    flags: u64,
    itemsize: isize,
    alignment: isize,
}

const HOLDS_REFERENCES: u64 = 1;

/// What a dtype says about its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub type_num: c_int,
    pub size: isize,
    pub kind: char,
    pub has_references: bool,
    /// Addresses of aligned elements are multiples of it.
    pub alignment: u8,
}

/// Whether the object is a `numpy.dtype`; its metaclass is not asked.
#[inline]
pub fn is_dtype(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = dtype_class(object.py())?.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: a live object, and a class.
    Ok(unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), class) } != 0)
}

/// What `dtype`, a `numpy.dtype`, says about its elements.
pub fn item(dtype: &Bound<'_, PyAny>) -> PyResult<Item> {
    if !is_dtype(dtype)? {
        return Err(PyTypeError::new_err("not a numpy.dtype"));
    }
    // SAFETY: invariant 4: it is a dtype, as was just seen.
    Ok(unsafe { read_item(dtype.as_ptr()) })
}

/// # Safety
/// A dtype, alive.
unsafe fn read_item(dtype: *mut ffi::PyObject) -> Item {
    // SAFETY: invariant 4, and the caller's word.
    let fields = unsafe { &*dtype.cast::<DescrFields>() };
    Item {
        type_num: fields.type_num,
        size: fields.itemsize,
        kind: fields.kind.into(),
        has_references: fields.flags & HOLDS_REFERENCES != 0,
        alignment: u8::try_from(fields.alignment).unwrap_or(1),
    }
}

/// The one dtype of a built-in number.
pub fn builtin_dtype(py: Python<'_>, type_num: c_int) -> PyResult<Bound<'_, PyAny>> {
    let api = api(py)?;
    // SAFETY: invariant 1: any number is answered, by a new reference or an exception.
    let descr = unsafe { (api.descr_from_type)(type_num) };
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(py, descr) }
}

/// The number of that dtype whose bytes these are, as a scalar of NumPy's.
///
/// # Safety
/// As many bytes as an element has, aligned; the dtype is a number's.
pub unsafe fn scalar<'py>(
    dtype: &Bound<'py, PyAny>,
    bytes: *mut u8,
) -> PyResult<Bound<'py, PyAny>> {
    let py = dtype.py();
    let api = api(py)?;
    // SAFETY: invariant 1, and the caller's word; there is no base.
    let object = unsafe { (api.scalar)(bytes.cast(), dtype.as_ptr(), ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, object) }
}

/// Where an array lies and how it is laid out.
#[derive(Clone, Copy)]
pub struct Layout<'a, 'py> {
    pub dtype: &'a Bound<'py, PyAny>,
    pub shape: &'a [isize],
    pub strides: &'a [isize],
    pub data: *mut u8,
    pub writeable: bool,
}

/// An array over existing memory, without a base.
///
/// # Safety
/// Invariant 5; the dtype is one of NumPy's, without references and without a shape of its own.
pub unsafe fn over<'py>(py: Python<'py>, layout: &Layout<'_, 'py>) -> PyResult<Ndarray<'py>> {
    let api = api(py)?;
    let nd = c_int::try_from(layout.shape.len())?;
    let flags = if layout.writeable { WRITEABLE } else { 0 };
    let descr = layout.dtype.clone().into_ptr();
    // SAFETY: invariants 1 and 5; the call takes over our reference to the dtype, and reads
    // `nd` entries of shape and of strides.
    let object = unsafe {
        (api.new_from_descr)(
            api.ndarray,
            descr,
            nd,
            layout.shape.as_ptr(),
            layout.strides.as_ptr(),
            layout.data.cast(),
            flags,
            ptr::null_mut(),
        )
    };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, object) }.map(Ndarray::known)
}

/// Makes `base` the owner of the memory of `array`, which has no base yet.
pub fn set_base(array: &Ndarray<'_>, base: Bound<'_, PyAny>) -> PyResult<()> {
    let py = base.py();
    let api = api(py)?;
    // SAFETY: invariants 1 and 2; the call takes over our reference to the base.
    let status = unsafe { (api.set_base_object)(array.object().as_ptr(), base.into_ptr()) };
    if status < 0 { Err(PyErr::fetch(py)) } else { Ok(()) }
}

/// The memory handler of the context that runs: a capsule, if nobody broke it.
pub fn memory_handler(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let api = api(py)?;
    // SAFETY: invariant 1; the interpreter is attached.
    let handler = unsafe { (api.get_handler)() };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, handler) }
}

/// Makes `handler` that of the context that runs.
pub fn set_memory_handler(handler: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    let api = api(py)?;
    // SAFETY: invariant 1; the call takes a reference of its own.
    let before = unsafe { (api.set_handler)(handler.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, before) }.map(drop)
}

/// Whether others hold the object too, beside the `owners` references that we know of.
#[inline]
pub fn is_shared(object: &Bound<'_, PyAny>, owners: isize) -> bool {
    // SAFETY: a live object, read under the interpreter's lock.
    let count = unsafe { ffi::Py_REFCNT(object.as_ptr()) };
    count > owners
}

/// A class of NumPy's, looked up once.
macro_rules! numpy_class {
    ($(#[$doc:meta])* $function:ident $name:literal) => {
        $(#[$doc])*
        pub fn $function(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
            static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let class = CLASS
                .get_or_try_init(py, || numpy(py)?.getattr(intern!(py, $name)).map(Bound::unbind))?;
            Ok(class.bind(py))
        }
    };
}

numpy_class!(
    /// `numpy.dtype`
    dtype_class "dtype"
);
numpy_class!(
    /// `numpy.ndarray`
    ndarray_class "ndarray"
);
numpy_class!(
    /// `numpy.ufunc`
    ufunc_class "ufunc"
);

/// The module `numpy`.
pub fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = NUMPY.get_or_try_init(py, || py.import("numpy").map(Bound::unbind))?;
    Ok(module.bind(py))
}
