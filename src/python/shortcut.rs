//! Ways into the methods that are called most often, past pyo3's: arguments are looked at where they lie, and
//! what a shortcut does not take goes to the function that pyo3 made.
//!
//! Invariants
//! 1. CPython calls a function of `METH_FASTCALL | METH_KEYWORDS` with the interpreter attached, an object of the
//!    class (or the module), and `count` arguments, behind which stand as many values as `names` has names.
//! 2. Definitions of functions live for ever.
//! 3. No panic leaves a function that C calls.
//! 4. CPython calls a binary slot with the interpreter attached and two objects. `Operator::original` has the
//!    function that stood in the slot.
//! 5. A heap type is larger than its beginning and the tables of slots in it, which are looked at inside its
//!    bytes only. A slot that holds what `PyType_GetSlot` gives for its number is that slot; it is written with
//!    the interpreter attached, before anybody has an object of the class.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_ulong, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

/// A function with a shortcut. What runs in it is not counted among pyo3's attachments: a `Py` that it drops is
/// released a little later.
pub trait Shortcut: 'static {
    /// Whether it looks at arguments by name, too.
    const TAKES_NAMES: bool = false;

    /// The function that pyo3 made.
    fn original() -> &'static PyOnceLock<Py<PyAny>>;

    /// The result; `None`, and nothing has changed: the original is to be called.
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>>;
}

/// Arguments, where the caller has them.
#[derive(Clone, Copy)]
pub struct Args<'a, 'py> {
    py: Python<'py>,
    first: *const *mut ffi::PyObject,
    /// Of those by position.
    count: usize,
    names: *mut ffi::PyObject,
    callers: PhantomData<&'a ()>,
}

impl<'a, 'py> Args<'a, 'py> {
    #[inline]
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether none is by name.
    #[inline]
    pub fn are_positional(self) -> bool {
        self.names.is_null()
    }

    #[inline]
    pub fn get(self, place: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        if place >= self.count { None } else { Some(self.at(place)) }
    }

    /// The one argument by name, if there is one alone and its name is this interned string.
    #[inline]
    pub fn named(self, name: &Bound<'py, PyString>) -> Option<Borrowed<'a, 'py, PyAny>> {
        // SAFETY: invariant 1: a tuple, or null.
        if self.names.is_null() || unsafe { ffi::PyTuple_Size(self.names) } != 1 {
            return None;
        }
        // SAFETY: invariant 1: it has one item.
        let only = unsafe { ffi::PyTuple_GetItem(self.names, 0) };
        ptr::eq(only, name.as_ptr()).then(|| self.at(self.count))
    }

    /// The argument at that place, behind those by position those by name.
    #[inline]
    fn at(self, place: usize) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: invariant 1.
        let argument = unsafe { *self.first.wrapping_add(place) };
        // SAFETY: invariant 1: alive as long as the call.
        unsafe { Borrowed::from_ptr(self.py, argument) }
    }
}

unsafe extern "C" {
    // Of every CPython from 3.9 on; part of the stable interface since 3.12.
    fn PyObject_Vectorcall(
        callable: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// What CPython calls for a method, whose object is the first argument of the original, or for a function of a
/// module.
unsafe extern "C" fn entry<S: Shortcut, const IS_METHOD: bool>(
    slf: *mut ffi::PyObject,
    first: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: invariant 1.
    let py = unsafe { Python::assume_attached() };
    let count = count.unsigned_abs();
    if names.is_null() || S::TAKES_NAMES {
        // SAFETY: invariant 1.
        let this = unsafe { Borrowed::from_ptr(py, slf) };
        let args = Args { py, first, count, names, callers: PhantomData };
        match catch_unwind(AssertUnwindSafe(|| S::take(&this, args))) {
            Ok(Ok(Some(result))) => return result.into_ptr(),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return raise(py, error),
            Err(_) => return raise(py, PanicException::new_err("a shortcut of ndarena panicked")),
        }
    }
    let object = if IS_METHOD { Some(slf) } else { None };
    // SAFETY: invariant 1.
    unsafe { original::<S>(py, object, first, count, names) }
}

#[cold]
fn raise(py: Python<'_>, error: PyErr) -> *mut ffi::PyObject {
    error.restore(py);
    ptr::null_mut()
}

/// # Safety
/// Invariant 1; a method's object is given.
#[inline(never)]
unsafe fn original<S: Shortcut>(
    py: Python<'_>,
    object: Option<*mut ffi::PyObject>,
    first: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // There from the beginning, as the shortcut was put in its place.
    let Some(original) = S::original().get(py) else { return ptr::null_mut() };
    let Some(object) = object else {
        // SAFETY: invariant 1.
        return unsafe { PyObject_Vectorcall(original.as_ptr(), first, count, names) };
    };
    let values_by_name = if names.is_null() {
        0
    } else {
        // SAFETY: invariant 1: a tuple.
        unsafe { ffi::PyTuple_Size(names) }.unsigned_abs()
    };
    let values = (0..count + values_by_name).map(|place| {
        // SAFETY: invariant 1.
        unsafe { *first.wrapping_add(place) }
    });
    let all: Vec<_> = std::iter::once(object).chain(values).collect();
    // SAFETY: invariant 1: the same arguments, behind the object.
    unsafe { PyObject_Vectorcall(original.as_ptr(), all.as_ptr(), count + 1, names) }
}

/// Puts a shortcut in the place of a method.
pub fn of_method<S: Shortcut>(class: &Bound<'_, PyType>, name: &str) -> PyResult<()> {
    let py = class.py();
    let original = class.getattr("__dict__")?.get_item(name)?;
    let definition = define(&original, name, entry::<S, true>)?;
    // SAFETY: invariant 2; a class.
    let new = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: a new reference, or null with an exception set.
    let new = unsafe { Bound::from_owned_ptr_or_err(py, new) }?;
    S::original().get_or_init(py, || original.unbind());
    class.setattr(name, new)
}

/// Puts a shortcut in the place of a function of a module.
pub fn of_function<S: Shortcut>(
    module: &Bound<'_, PyModule>,
    original: &Bound<'_, PyAny>,
    name: &str,
) -> PyResult<()> {
    let py = module.py();
    let definition = define(original, name, entry::<S, false>)?;
    let home = original.getattr("__module__")?;
    // SAFETY: invariant 2; a module and its name, of which the function takes references of its own.
    let new = unsafe { ffi::PyCFunction_NewEx(definition, module.as_ptr(), home.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let new = unsafe { Bound::from_owned_ptr_or_err(py, new) }?;
    S::original().get_or_init(py, || original.clone().unbind());
    module.setattr(name, new)
}

type Entry = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// A definition with the words of the original.
fn define(
    original: &Bound<'_, PyAny>,
    name: &str,
    entry: Entry,
) -> PyResult<*mut ffi::PyMethodDef> {
    let words = |attribute: &str| original.getattr(attribute)?.extract::<Option<String>>();
    let (signature, text) = (words("__text_signature__")?, words("__doc__")?.unwrap_or_default());
    let text = match signature {
        Some(signature) => format!("{name}{signature}\n--\n\n{text}"),
        None => text,
    };
    let text: &'static CStr = Box::leak(CString::new(text)?.into_boxed_c_str());
    let name: &'static CStr = Box::leak(CString::new(name)?.into_boxed_c_str());
    Ok(Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: entry },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: text.as_ptr(),
    })))
}

/// An operator, or a look-up by key, with a shortcut.
pub trait Operator: 'static {
    /// Its slot, and where it stands in the class's table of such.
    const SLOT: (c_int, Table, usize);

    /// The function that pyo3 made.
    fn original() -> &'static PyOnceLock<ffi::binaryfunc>;

    /// The result; `None`, and nothing has changed: the original is to be called.
    fn take<'py>(
        left: &Bound<'py, PyAny>,
        right: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>>;
}

/// A table of slots of a class.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Number,
    Mapping,
}

/// A slot of a table: a function of two objects, or none.
type Slot = Option<ffi::binaryfunc>;

/// The beginning of a class, as CPython up to 3.14 with the interpreter's lock has it.
#[repr(C)]
struct ClassFields {
    head: [usize; 6],
    end: *mut c_void,
    calls: [usize; 5],
    as_number: *mut Slot,
    as_sequence: *mut *mut c_void,
    as_mapping: *mut Slot,
    more_calls: [usize; 6],
    flags: c_ulong,
    doc: usize,
    traverse: *mut c_void,
    others: [usize; 16],
    free: *mut c_void,
}

/// What CPython calls for an operator.
unsafe extern "C" fn binary<O: Operator>(
    left: *mut ffi::PyObject,
    right: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: invariant 4.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: invariant 4.
    let one = unsafe { Borrowed::from_ptr(py, left) };
    // SAFETY: invariant 4.
    let other = unsafe { Borrowed::from_ptr(py, right) };
    match catch_unwind(AssertUnwindSafe(|| O::take(&one, &other))) {
        Ok(Ok(Some(result))) => return result.into_ptr(),
        Ok(Ok(None)) => {}
        Ok(Err(error)) => return raise(py, error),
        Err(_) => return raise(py, PanicException::new_err("a shortcut of ndarena panicked")),
    }
    // There before this function was in its place.
    let Some(original) = O::original().get(py) else { return ptr::null_mut() };
    // SAFETY: invariant 4.
    let result = unsafe { original(left, right) };
    // Not the last thing that is done: who looks at the callers of the slot wants to see this frame.
    std::hint::black_box(result)
}

/// Puts a shortcut in the place of an operator, where the slot is found.
pub fn of_operator<O: Operator>(class: &Bound<'_, PyType>) {
    let (number, table, index) = O::SLOT;
    let fields = fields(class);
    let table = match table {
        // SAFETY: invariant 5: so many bytes a class has.
        Table::Number => unsafe { (*fields).as_number },
        // SAFETY: as above.
        Table::Mapping => unsafe { (*fields).as_mapping },
    };
    let place = table.wrapping_add(index);
    // SAFETY: a heap type, and one of the interpreter's slot numbers.
    let original = unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), number) };
    if original.is_null() || !is_of(class, place) {
        return;
    }
    // SAFETY: invariant 5: inside the class.
    let Some(found) = (unsafe { *place }) else { return };
    if found as *mut c_void == original {
        O::original().get_or_init(class.py(), || found);
        // SAFETY: as above; a function of the slot's kind.
        unsafe { *place = Some(binary::<O>) };
    }
}

/// Takes the objects of a class from the cyclic collector, where flags and slots are found: `end` ends them, and
/// gives their memory back with `PyObject_Free`.
///
/// # Safety
/// There is no object of the class yet, and none can be a part of a cycle.
pub unsafe fn of_end(class: &Bound<'_, PyType>, end: ffi::destructor) -> bool {
    const HAVE_GC: c_ulong = 1 << 14;
    // What CPython keeps before an object otherwise, by its `object.h` up to 3.14.
    const OTHERS: c_ulong = 1 << 2 | 1 << 3 | 1 << 4;
    let slot = |number: c_int| {
        // SAFETY: a heap type, and one of the interpreter's slot numbers.
        unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), number) }
    };
    // SAFETY: invariant 5: so many bytes a class has.
    let fields = unsafe { &mut *fields(class) };
    // SAFETY: a class.
    let flags = unsafe { ffi::PyType_GetFlags(class.as_type_ptr()) };
    let are_found = fields.flags == flags
        && fields.end == slot(ffi::Py_tp_dealloc)
        && fields.traverse == slot(ffi::Py_tp_traverse)
        && fields.free == slot(ffi::Py_tp_free);
    if !are_found || flags & OTHERS != 0 {
        return false;
    }
    fields.flags &= !HAVE_GC;
    fields.end = end as *mut c_void;
    fields.free = ffi::PyObject_Free as *mut c_void;
    true
}

fn fields(class: &Bound<'_, PyType>) -> *mut ClassFields {
    class.as_ptr().cast()
}

/// Whether a slot lies inside the object of the class, as those of a heap type do.
fn is_of(class: &Bound<'_, PyType>, place: *mut Slot) -> bool {
    let start = class.as_ptr().addr();
    let size = class.get_type().getattr("__basicsize__").and_then(|size| size.extract::<usize>());
    size.is_ok_and(|size| (start..start + size).contains(&place.addr()))
}
