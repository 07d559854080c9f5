//! Who called an operator: the interpreter's loop for an expression, or anybody else.
//!
//! An operand with one reference is a temporary only in the first case: `functools.partial`, `map`, a bound
//! method, an array of objects or a C extension may hold the only reference, and use it again.
//!
//! ```text
//!   our function ─▶ … ─▶ slot │ ─▶ binary_op1 ─▶ PyNumber_Add ─▶ evaluation loop
//!                             └── these return addresses, and no others
//! ```
//!
//! Invariants
//! 1. `_Unwind_Backtrace` calls `step` on the calling thread, once per frame from the innermost on, with a
//!    context that is valid during the call and the pointer it was given; nothing keeps either.
//! 2. `step` runs no Python code, and does not unwind.

#![allow(unsafe_code)]

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Frames of ours, and of the interpreter's, at the most.
const OURS: usize = 16;
const THEIRS: usize = 4;

/// The return addresses from a slot up to the evaluation loop, 0 where there are no more.
pub type Chain = [usize; THEIRS];

/// Where the slot of a class and the evaluation loop begin.
#[derive(Clone, Copy)]
pub struct Ends {
    slot: usize,
    evaluation: usize,
}

impl Ends {
    /// Of a slot; `None` where frames cannot be told, or where a temporary may be somebody else's too.
    pub fn of(class: &Bound<'_, PyType>, slot: c_int) -> Option<Self> {
        let evaluation = evaluation_loop(class.py())?;
        // SAFETY: a heap type, and one of the interpreter's slot numbers.
        let slot = unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), slot) }.addr();
        (slot != 0).then_some(Self { slot, evaluation })
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn evaluation_loop(py: Python<'_>) -> Option<usize> {
    // From 3.14 on the loop borrows what local names hold: one reference does not say temporary.
    if py.version_info() >= (3, 14) {
        return None;
    }
    // SAFETY: a name that ends in NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_PyEval_EvalFrameDefault".as_ptr()) };
    (!found.is_null()).then(|| found.addr())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn evaluation_loop(_: Python<'_>) -> Option<usize> {
    None
}

/// What a walk up the stack has seen.
struct Walk {
    ends: Ends,
    ours: usize,
    theirs: Option<usize>,
    chain: Chain,
    is_whole: bool,
}

/// The chain of callers of the slot in which we are; `None` if it does not lead to the evaluation loop at once.
#[inline(never)]
pub fn chain(ends: Ends) -> Option<Chain> {
    let mut walk = Walk { ends, ours: 0, theirs: None, chain: [0; THEIRS], is_whole: false };
    climb(&mut walk);
    walk.is_whole.then_some(walk.chain)
}

impl Walk {
    /// Notes a frame; whether to go on.
    fn note(&mut self, function: usize, address: usize) -> bool {
        let Some(place) = self.theirs else {
            if function == self.ends.slot {
                self.theirs = Some(0);
            }
            self.ours += 1;
            return self.ours < OURS;
        };
        self.chain[place] = address;
        self.theirs = Some(place + 1);
        self.is_whole = function == self.ends.evaluation;
        !self.is_whole && place + 1 < THEIRS
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod unwind {
    use std::ffi::{c_int, c_void};

    pub(super) type Step = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
    pub(super) const GO_ON: c_int = 0;
    pub(super) const STOP: c_int = 4;

    unsafe extern "C" {
        #[link_name = "_Unwind_Backtrace"]
        pub(super) fn backtrace(step: Step, state: *mut c_void) -> c_int;
        #[link_name = "_Unwind_GetIP"]
        pub(super) fn address(context: *mut c_void) -> usize;
        #[link_name = "_Unwind_GetRegionStart"]
        pub(super) fn function(context: *mut c_void) -> usize;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn climb(walk: &mut Walk) {
    // SAFETY: invariants 1 and 2.
    unsafe { unwind::backtrace(step, std::ptr::from_mut(walk).cast()) };
}

/// # Safety
/// Invariant 1: a context, and a `Walk`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" fn step(context: *mut std::ffi::c_void, state: *mut std::ffi::c_void) -> c_int {
    // SAFETY: invariant 1.
    let walk = unsafe { &mut *state.cast::<Walk>() };
    // SAFETY: invariant 1.
    let function = unsafe { unwind::function(context) };
    // SAFETY: invariant 1.
    let address = unsafe { unwind::address(context) };
    if walk.note(function, address) { unwind::GO_ON } else { unwind::STOP }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn climb(walk: &mut Walk) {
    // No walk is begun where there is no loop to be found.
    walk.note(0, 0);
}
