//! Calls into code of others, NumPy's and the user's, while frames of ours wait below.
//!
//! Up to CPython 3.13 a daemon thread that wants the interpreter after its end is ended by
//! `pthread_exit`, whose forced unwind would run our destructors without the interpreter. Such a
//! thread is parked instead, as CPython does itself from 3.14 on.
//!
//! Invariants
//! 1. The pointers come from `Bound` references: alive, of the right types, the interpreter attached.
//! 2. `PyObject_Call` returns a new reference, or null with an exception set.
//! 3. A slice has three references after its head, to start, stop and step, where a slice of the running
//!    Python was seen to have them. They never change and are alive as long as the slice.

#![allow(unsafe_code)]

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PySlice, PyString, PyTuple};
use pyo3::{BoundObject, ffi, intern};

unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        kwargs: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

type Call = unsafe extern "C-unwind" fn(
    *mut ffi::PyObject,
    *mut ffi::PyObject,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// Dropped only by an unwind that comes out of the call: it ends here, for good.
struct Park;

impl Drop for Park {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// `callable(*args, **kwargs)`.
pub fn call<'py, A>(
    callable: &Bound<'py, PyAny>,
    args: A,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
{
    let py = callable.py();
    let args = args.into_pyobject(py).map_err(Into::into)?;
    let args = args.as_borrowed().as_ptr();
    let kwargs = kwargs.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // Behind a veil: pyo3 declares the same function as one that does not unwind.
    let function = std::hint::black_box(PyObject_Call as Call);
    let park = Park;
    // SAFETY: invariant 1. The tuple of arguments lives until the end of this function.
    let result = unsafe { function(callable.as_ptr(), args, kwargs) };
    std::mem::forget(park);
    // SAFETY: invariant 2.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }.map_err(|error| meant(py, error))
}

/// What NumPy has to say where it gives a result and an exception at once, as `put` does of a wrong mode.
#[cold]
fn meant(py: Python<'_>, error: PyErr) -> PyErr {
    let cause = error.is_instance_of::<PySystemError>(py).then(|| error.cause(py));
    cause.flatten().unwrap_or(error)
}

unsafe extern "C-unwind" {
    fn PyEval_RestoreThread(state: *mut ffi::PyThreadState);
}

type Restore = unsafe extern "C-unwind" fn(*mut ffi::PyThreadState);

/// Runs `work`, which touches no Python object, while other threads have the interpreter.
pub fn without_lock<R>(_py: Python<'_>, work: impl FnOnce() -> R) -> R {
    // SAFETY: invariant 1: attached, and attached again below.
    let state = unsafe { ffi::PyEval_SaveThread() };
    let result = work();
    let restore = std::hint::black_box(PyEval_RestoreThread as Restore);
    let park = Park;
    // SAFETY: the state that was just saved, in the same thread.
    unsafe { restore(state) };
    std::mem::forget(park);
    result
}

unsafe extern "C" {
    // Of every CPython, for debuggers: not a part of the stable interface.
    fn PyInterpreterState_ThreadHead(
        state: *mut ffi::PyInterpreterState,
    ) -> *mut ffi::PyThreadState;
    fn PyThreadState_Next(state: *mut ffi::PyThreadState) -> *mut ffi::PyThreadState;
}

/// Whether no other thread can run Python: the calling one is the first and the last that the interpreter knows.
pub fn is_alone(_py: Python<'_>) -> bool {
    // SAFETY: the interpreter is attached.
    let own = unsafe { ffi::PyThreadState_Get() };
    // SAFETY: as above.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the running interpreter; what it gives is compared only.
    let first = unsafe { PyInterpreterState_ThreadHead(interpreter) };
    // SAFETY: the calling thread's own state.
    first == own && unsafe { PyThreadState_Next(own) }.is_null()
}

/// Makes an object while the cyclic collector is off: up to CPython 3.11 it runs inside of allocations, and
/// code of others with it, finalisers and hooks. From 3.12 on it waits for the next line of Python.
#[inline]
pub fn undisturbed<R>(py: Python<'_>, make: impl FnOnce() -> R) -> R {
    static IS_IMPATIENT: PyOnceLock<bool> = PyOnceLock::new();
    if !*IS_IMPATIENT.get_or_init(py, || py.version_info() < (3, 12)) {
        return make();
    }
    // SAFETY: the interpreter is attached.
    let was_on = unsafe { ffi::PyGC_Disable() } == 1;
    let result = make();
    if was_on {
        // SAFETY: as above.
        unsafe { ffi::PyGC_Enable() };
    }
    result
}

/// A number for the Python frame that runs: the same at both ends of a `with` statement.
pub fn running_frame(_py: Python<'_>) -> usize {
    // SAFETY: the interpreter is attached; the borrowed frame is not touched.
    unsafe { ffi::PyEval_GetFrame() }.addr()
}

/// `object.name(*args, **kwargs)`.
pub fn call_method<'py, A>(
    object: &Bound<'py, PyAny>,
    name: &str,
    args: A,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
{
    call(&object.getattr(PyString::intern(object.py(), name))?, args, kwargs)
}

/// A slice as every CPython from 2.0 on has it.
#[repr(C)]
struct SliceFields {
    head: ffi::PyObject,
    members: [*mut ffi::PyObject; 3],
}

/// Whether start, stop and step are ints or `None`, which tell their values without code of others.
#[inline]
pub fn has_plain_members(slice: &Bound<'_, PySlice>) -> PyResult<bool> {
    static IS_KNOWN: PyOnceLock<bool> = PyOnceLock::new();
    let py = slice.py();
    if !*IS_KNOWN.get_or_try_init(py, || knows_slices(py))? {
        return Ok(false);
    }
    // SAFETY: invariant 3.
    let members = unsafe { (*slice.as_ptr().cast::<SliceFields>()).members };
    Ok(members.into_iter().all(|member| {
        // SAFETY: invariant 3.
        let member = unsafe { Borrowed::from_ptr(py, member) };
        member.is_none() || member.is_exact_instance_of::<PyInt>()
    }))
}

/// Whether a slice of the running Python has its members where we look for them.
#[cold]
fn knows_slices(py: Python<'_>) -> PyResult<bool> {
    let size: usize = py.get_type::<PySlice>().getattr("__basicsize__")?.extract()?;
    if size != size_of::<SliceFields>() {
        return Ok(false);
    }
    let slice = py.get_type::<PySlice>().call1((1_u64 << 40, 1_u64 << 41, 1_u64 << 42))?;
    // SAFETY: a slice has as many bytes, as was just seen; they are only compared.
    let members = unsafe { (*slice.as_ptr().cast::<SliceFields>()).members };
    for (member, name) in members.into_iter().zip(["start", "stop", "step"]) {
        if !std::ptr::eq(slice.getattr(name)?.as_ptr(), member) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A function of the module `operator` or `builtins`.
pub fn call_builtin<'py, A>(py: Python<'py>, name: &str, args: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
{
    let operator = py.import(intern!(py, "operator"))?;
    match operator.getattr_opt(name)? {
        Some(function) => call(&function, args, None),
        None => call(
            &py.import(intern!(py, "builtins"))?.getattr(PyString::intern(py, name))?,
            args,
            None,
        ),
    }
}
