//! Temporaries of expressions: a large one that nobody will see again gives its memory to the result.
//!
//! `a * b + a - b` needs one new array instead of three, as it does with NumPy's own arrays.

#![forbid(unsafe_code)]

use std::ffi::{CString, c_int};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::callers::{self, Chain, Ends};
use super::handle::WorkspaceArray;
use super::loops::elementwise;
use super::npy;
use super::ops::ufuncs::Ufunc;

/// From so many bytes on; NumPy's limit, too.
const LARGE: usize = 256 << 10;

/// Operators of expressions: ufunc, slot, and how they are written.
const OPERATORS: [(&str, c_int, &str); 11] = [
    ("add", ffi::Py_nb_add, "+"),
    ("subtract", ffi::Py_nb_subtract, "-"),
    ("multiply", ffi::Py_nb_multiply, "*"),
    ("divide", ffi::Py_nb_true_divide, "/"),
    ("floor_divide", ffi::Py_nb_floor_divide, "//"),
    ("remainder", ffi::Py_nb_remainder, "%"),
    ("left_shift", ffi::Py_nb_lshift, "<<"),
    ("right_shift", ffi::Py_nb_rshift, ">>"),
    ("bitwise_and", ffi::Py_nb_and, "&"),
    ("bitwise_or", ffi::Py_nb_or, "|"),
    ("bitwise_xor", ffi::Py_nb_xor, "^"),
];

/// An array that is an operand of expressions of ours, by which their callers are learned: its address.
static EXAMPLE: AtomicUsize = AtomicUsize::new(0);
static SEEN: Mutex<Vec<Chain>> = Mutex::new(Vec::new());
static REUSED: AtomicU64 = AtomicU64::new(0);

/// How often a temporary has given its memory to a result since the process began.
#[pyfunction(name = "_reused_temporaries")]
fn reused_temporaries() -> u64 {
    REUSED.load(Ordering::Relaxed)
}

/// Adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(reused_temporaries, module)?)
}

/// Who calls an operator on behalf of an expression.
struct Known {
    ends: Ends,
    chains: Vec<Chain>,
}

/// Whether an operand might give its memory to the result, or the callers are being learned.
#[inline]
pub fn may_reuse(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> bool {
    let is_large = |operand: &Bound<'_, PyAny>| {
        let Ok(array) = operand.cast_exact::<WorkspaceArray>() else { return false };
        let form = array.get().form();
        form.size().saturating_mul(form.item().size).unsigned_abs() >= LARGE
    };
    let is_temporary = |operand| !npy::is_shared(operand, 1) && is_large(operand);
    EXAMPLE.load(Ordering::Relaxed) != 0 || is_temporary(left) || is_temporary(right)
}

/// The result in the memory of an operand; `None`, and nothing has changed: it needs memory of its own.
#[inline]
pub fn reuse<'py>(
    ufunc: &Ufunc,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !(npy::is_shared(left, 1) && npy::is_shared(right, 1)) {
        return try_reuse(ufunc, left, right);
    }
    match EXAMPLE.load(Ordering::Relaxed) {
        0 => Ok(None),
        example => Ok(note(ufunc, [left, right], example)),
    }
}

#[cold]
fn try_reuse<'py>(
    ufunc: &Ufunc,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(loops) = ufunc.found(left.py())?.1 else { return Ok(None) };
    for operand in [left, right] {
        let Ok(target) = operand.cast_exact::<WorkspaceArray>() else { continue };
        // Learning evaluates expressions, so the array is looked at again afterwards.
        let usable = is_large_and_sole(target)
            && is_expression(ufunc, target)?
            && is_large_and_sole(target)
            && is_unwatched(target)?;
        if usable && elementwise::reuse(loops, [left, right], target, ufunc.name)? {
            REUSED.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(operand.clone()));
        }
    }
    Ok(None)
}

/// Whether nobody but the caller has the array, nor its memory.
fn is_large_and_sole(array: &Bound<'_, WorkspaceArray>) -> bool {
    !npy::is_shared(array.as_any(), 1)
        && array.get().sole_bytes(array.py()).is_some_and(|bytes| bytes >= LARGE)
}

/// Whether no weak reference leads to the array.
fn is_unwatched(array: &Bound<'_, WorkspaceArray>) -> PyResult<bool> {
    static COUNT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let count = COUNT.import(array.py(), "weakref", "getweakrefcount")?;
    Ok(count.call1((array,))?.extract::<usize>()? == 0)
}

/// Whether the operator was called for an expression.
fn is_expression(ufunc: &Ufunc, example: &Bound<'_, WorkspaceArray>) -> PyResult<bool> {
    static KNOWN: [PyOnceLock<Known>; OPERATORS.len()] =
        [const { PyOnceLock::new() }; OPERATORS.len()];
    let py = example.py();
    let Some(place) = OPERATORS.iter().position(|operator| operator.0 == ufunc.name) else {
        return Ok(false);
    };
    let known = match KNOWN[place].get(py) {
        Some(known) => known,
        None => match learn(place, example)? {
            Some(known) => KNOWN[place].get_or_init(py, || known),
            None => return Ok(false),
        },
    };
    Ok(callers::chain(known.ends).is_some_and(|chain| known.chains.contains(&chain)))
}

/// Evaluates expressions to see who calls; `None` while somebody looks on, who could call as well.
#[cold]
fn learn(place: usize, example: &Bound<'_, WorkspaceArray>) -> PyResult<Option<Known>> {
    let py = example.py();
    let (_, slot, sign) = OPERATORS[place];
    let Some(ends) = Ends::of(&py.get_type::<WorkspaceArray>(), slot) else { return Ok(None) };
    let sys = py.import("sys")?;
    if !(sys.call_method0("gettrace")?.is_none() && sys.call_method0("getprofile")?.is_none()) {
        return Ok(None);
    }
    // Often enough for the interpreter to have tried its specialised instructions.
    let code = format!("for _ in range(64):\n    x {sign} x\n    1 {sign} x\n");
    let code = CString::new(code).expect("no NUL in it");
    let names = PyDict::new(py);
    names.set_item("x", example)?;
    let example = example.as_ptr().addr();
    if EXAMPLE.compare_exchange(0, example, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return Ok(None);
    }
    let ran = py.run(&code, Some(&names), None);
    EXAMPLE.store(0, Ordering::Relaxed);
    let mut chains = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    ran?;
    chains.sort_unstable();
    chains.dedup();
    Ok(Some(Known { ends, chains }))
}

/// Notes who called the operator for the example, which is the result, too.
#[cold]
fn note<'py>(
    ufunc: &Ufunc,
    operands: [&Bound<'py, PyAny>; 2],
    example: usize,
) -> Option<Bound<'py, PyAny>> {
    let found = operands.into_iter().find(|operand| operand.as_ptr().addr() == example)?;
    let (_, slot, _) = OPERATORS.iter().find(|operator| operator.0 == ufunc.name)?;
    let ends = Ends::of(&found.get_type(), *slot)?;
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(callers::chain(ends));
    Some(found.clone())
}
