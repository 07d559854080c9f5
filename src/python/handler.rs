//! NEP 49: the memory handler that serves NumPy's own allocations from a workspace.
//!
//! A handler is a capsule in a context variable of NumPy's; every array keeps the capsule of its memory.
//! Ours remembers the handler it was put over: that one serves what ours does not, and comes back when
//! the scope ends. So there is a capsule for each pair of a workspace and a handler found.
//!
//! Invariants
//! 1. A capsule named `mem_handler` points to a `PyDataMem_Handler` that lives as long as it. One made
//!    here, whose name lies at `CAPSULE`, points to an `Installed`, which begins with the former. It is
//!    the context of the capsule and the `ctx` of the callbacks, too.
//! 2. NumPy holds the capsule during every callback, as the context's or as that of the array concerned.
//! 3. `found` is a reference of its own to a capsule, so `below`, the allocator of that or of one that
//!    it holds in the same way, lives as long as the `Installed`.
//! 4. An address of which `Captured` says so is a piece of at least that length, and the caller's.
//! 5. The callbacks touch no Python object and leave no lock behind when they call others. They run with
//!    or without the interpreter's lock (`realloc`); nothing of ours unwinds out of them, and what unwinds
//!    out of `below` finds nothing to drop. `destroy` runs with the lock.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::npy;
use crate::registry::{Capture, ScopeToken};
use crate::{Captured, Holder, Piece, Workspace};

static CAPSULE: &CStr = c"mem_handler";
const NAME: &[u8] = b"ndarena";

type Malloc = unsafe extern "C-unwind" fn(*mut c_void, usize) -> *mut c_void;
type Calloc = unsafe extern "C-unwind" fn(*mut c_void, usize, usize) -> *mut c_void;
type Realloc = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void, usize);

/// `PyDataMemAllocator` of NumPy's headers.
#[repr(C)]
#[derive(Clone, Copy)]
struct Allocator {
    ctx: *mut c_void,
    malloc: Malloc,
    calloc: Calloc,
    realloc: Realloc,
    free: Free,
}

/// `PyDataMem_Handler` of NumPy's headers, version 1. The name is of C's characters, and ends with 0.
#[repr(C)]
struct Handler {
    name: [u8; 127],
    version: u8,
    allocator: Allocator,
}

/// What a capsule of ours points to.
#[repr(C)]
struct Installed {
    handler: Handler,
    role: Role,
    below: Allocator,
    found: NonNull<ffi::PyObject>,
}

enum Role {
    /// Serves from a workspace.
    Capture(Captured),
    /// Keeps others from doing so, as long as this scope is open.
    Pause(ScopeToken),
}

impl Role {
    /// Of what its scope installed, as [`Left::handlers`](crate::registry::Left) names it.
    fn serial(&self) -> Option<u64> {
        match self {
            Self::Capture(captured) => Some(captured.serial()),
            Self::Pause(_) => None,
        }
    }

    /// Whether its scope is open. One that is not may still be installed: scopes of different contexts
    /// end in any order.
    fn is_live(&self) -> bool {
        match self {
            Self::Capture(captured) => captured.is_capturing() && !captured.is_inherited(),
            Self::Pause(scope) => scope.is_open(),
        }
    }

    fn captured(&self) -> Option<&Captured> {
        match self {
            Self::Capture(captured) => Some(captured),
            Self::Pause(_) => None,
        }
    }
}

/// The last capsule of a workspace, for its next scope.
#[derive(Default)]
pub struct Cache(AtomicPtr<ffi::PyObject>);

impl Cache {
    fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let capsule = self.0.load(Ordering::Acquire);
        // SAFETY: the cache owns a reference, and who replaces it is attached, as we are: not now.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, capsule) }
    }

    fn set(&self, capsule: &Bound<'_, PyAny>) {
        let old = self.0.swap(capsule.clone().into_ptr(), Ordering::AcqRel);
        // SAFETY: the cache's own reference, or null.
        drop(unsafe { Bound::from_owned_ptr_or_opt(capsule.py(), old) });
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let capsule = *self.0.get_mut();
        // Without an interpreter nobody can take it, and the process ends.
        Python::try_attach(|py| {
            // SAFETY: the cache's own reference, or null.
            drop(unsafe { Bound::from_owned_ptr_or_opt(py, capsule) });
        });
    }
}

/// The functions of a handler.
fn allocator_of(capsule: &Bound<'_, PyAny>) -> PyResult<Allocator> {
    // SAFETY: a live object; anything but a capsule of that name gives null with an exception set.
    let pointer = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), CAPSULE.as_ptr()) };
    let handler = NonNull::new(pointer.cast::<Handler>());
    let handler = handler.ok_or_else(|| PyErr::fetch(capsule.py()))?;
    // SAFETY: invariant 1; the capsule is alive.
    Ok(unsafe { (*handler.as_ptr()).allocator })
}

/// What a capsule of ours points to; told by the address of its name, which no other has.
fn ours<'a>(capsule: &'a Bound<'_, PyAny>) -> Option<&'a Installed> {
    let object = capsule.as_ptr();
    // SAFETY: a live object.
    if unsafe { ffi::PyCapsule_CheckExact(object) } == 0 {
        return None;
    }
    // SAFETY: a live capsule.
    let name = unsafe { ffi::PyCapsule_GetName(object) };
    if !ptr::eq(name, CAPSULE.as_ptr()) {
        return None;
    }
    // SAFETY: a live capsule of ours; its context is set where it is made.
    let installed = unsafe { ffi::PyCapsule_GetContext(object) };
    // SAFETY: invariant 1; nobody writes to it, and the borrow keeps the capsule.
    unsafe { installed.cast::<Installed>().as_ref() }
}

impl Installed {
    fn found<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        // SAFETY: invariant 3.
        unsafe { Bound::from_borrowed_ptr(py, self.found.as_ptr()) }
    }
}

/// The handler without those of ours whose scope is over, on top of it.
fn without_ended(handler: Bound<'_, PyAny>) -> Bound<'_, PyAny> {
    let mut top = handler;
    while let Some(ended) = ours(&top).filter(|it| !it.role.is_live()) {
        top = ended.found(top.py());
    }
    top
}

/// The uppermost handler that is not ours.
fn foreign<'py>(handler: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    let mut top = handler.clone();
    while let Some(it) = ours(&top) {
        top = it.found(top.py());
    }
    top
}

/// A capsule of ours over the handler `found`; `below` serves what it does not.
fn capsule<'py>(
    role: Role,
    found: &Bound<'py, PyAny>,
    below: Allocator,
) -> PyResult<Bound<'py, PyAny>> {
    let py = found.py();
    let mut name = [0; 127];
    name[..NAME.len()].copy_from_slice(NAME);
    let allocator = Allocator { ctx: ptr::null_mut(), malloc, calloc, realloc, free };
    let handler = Handler { name, version: 1, allocator };
    let found = NonNull::new(found.clone().into_ptr()).expect("a Bound is never null");
    let installed = Box::into_raw(Box::new(Installed { handler, role, below, found }));
    // SAFETY: just made, and nobody has it yet.
    unsafe { (*installed).handler.allocator.ctx = installed.cast() };
    // SAFETY: the name is static, and `destroy` takes back what `into_raw` gave.
    let made = unsafe { ffi::PyCapsule_New(installed.cast(), CAPSULE.as_ptr(), Some(destroy)) };
    if made.is_null() {
        let error = PyErr::fetch(py);
        // SAFETY: nobody else has it.
        discard(unsafe { Box::from_raw(installed) });
        return Err(error);
    }
    // SAFETY: a new capsule; until it has its context it is nobody's (`ours`).
    unsafe { ffi::PyCapsule_SetContext(made, installed.cast()) };
    // SAFETY: a new reference, not null.
    Ok(unsafe { Bound::from_owned_ptr(py, made) })
}

/// The interpreter is attached, although not through us.
fn discard(installed: Box<Installed>) {
    let found = installed.found;
    drop(installed);
    // SAFETY: invariant 3: the reference that was its own.
    unsafe { ffi::Py_DECREF(found.as_ptr()) };
}

unsafe extern "C" fn destroy(capsule: *mut ffi::PyObject) {
    // SAFETY: the capsule that dies is one of ours, with this name.
    let installed = unsafe { ffi::PyCapsule_GetPointer(capsule, CAPSULE.as_ptr()) };
    // SAFETY: from `into_raw`, once; nobody else has it any more (invariant 2).
    discard(unsafe { Box::from_raw(installed.cast::<Installed>()) });
}

/// Puts a handler over what is there, or changes nothing. Where memory is short CPython may set a context
/// variable and fail all the same.
fn put(handler: &Bound<'_, PyAny>, before: &Bound<'_, PyAny>) -> PyResult<()> {
    npy::set_memory_handler(handler).inspect_err(|_| {
        let _ = npy::set_memory_handler(before); // the first error is what is told
    })
}

/// Captures for a workspace that is about to be entered; until it is, the handler passes everything on.
pub fn install(py: Python<'_>, workspace: &Workspace, cache: &Cache) -> PyResult<Capture> {
    let current = without_ended(npy::memory_handler(py)?);
    let wanted = Some(workspace.serial());
    if ours(&current).is_some_and(|it| it.role.serial() == wanted) {
        return Ok(Capture::Joined);
    }
    let is_fit = |known: &Bound<'_, PyAny>| {
        ours(known).is_some_and(|it| ptr::eq(it.found.as_ptr(), current.as_ptr()))
    };
    let handler = if let Some(handler) = cache.get(py).filter(is_fit) {
        handler
    } else {
        let below = allocator_of(&current)?;
        let new = capsule(Role::Capture(workspace.captured()), &current, below)?;
        cache.set(&new);
        new
    };
    put(&handler, &current)?;
    Ok(Capture::Installed)
}

/// Inside the scope, which is out of workspaces, nothing is captured.
pub fn pause(py: Python<'_>, scope: &ScopeToken) -> PyResult<()> {
    let current = without_ended(npy::memory_handler(py)?);
    if ours(&current).is_none_or(|it| it.role.serial().is_none()) {
        return Ok(());
    }
    let below = allocator_of(&foreign(&current))?;
    put(&capsule(Role::Pause(scope.clone()), &current, below)?, &current)?;
    scope.capture(Capture::Installed);
    Ok(())
}

/// Takes away what scopes that were closed had installed, innermost first. What is not on top in this
/// context stays: it passes everything on.
pub fn remove(py: Python<'_>, closed: &[Option<u64>]) -> PyResult<()> {
    for serial in closed {
        let current = npy::memory_handler(py)?;
        if let Some(it) = ours(&current).filter(|it| it.role.serial() == *serial) {
            npy::set_memory_handler(&without_ended(it.found(py)))?;
        }
    }
    Ok(())
}

// ---------------------------------------------------------------------- the callbacks

fn take(installed: &Installed, bytes: usize) -> Option<Piece> {
    let captured = installed.role.captured()?;
    catch_unwind(AssertUnwindSafe(|| captured.take(bytes))).unwrap_or(None)
}

fn holder_of(installed: &Installed, address: usize) -> Holder {
    let Some(captured) = installed.role.captured() else { return Holder::Other };
    let found = catch_unwind(AssertUnwindSafe(|| captured.holder_of(address)));
    found.unwrap_or(Holder::Unknown)
}

fn give_back(installed: &Installed, address: usize) -> bool {
    let Some(captured) = installed.role.captured() else { return false };
    catch_unwind(AssertUnwindSafe(|| captured.give_back(address))).unwrap_or(true)
}

unsafe extern "C-unwind" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: invariants 1 and 2.
    let it = unsafe { &*ctx.cast::<Installed>() };
    match take(it, size) {
        Some(piece) => piece.start.cast(),
        // SAFETY: invariant 3.
        None => unsafe { (it.below.malloc)(it.below.ctx, size) },
    }
}

unsafe extern "C-unwind" fn calloc(ctx: *mut c_void, n: usize, size: usize) -> *mut c_void {
    // SAFETY: invariants 1 and 2.
    let it = unsafe { &*ctx.cast::<Installed>() };
    match n.checked_mul(size).and_then(|bytes| take(it, bytes)) {
        Some(piece) => {
            // SAFETY: invariant 4: `dirty` is at most the length of the piece.
            unsafe { piece.start.write_bytes(0, piece.dirty) };
            piece.start.cast()
        }
        // SAFETY: invariant 3.
        None => unsafe { (it.below.calloc)(it.below.ctx, n, size) },
    }
}

/// From captured memory into that of the handler below.
unsafe extern "C-unwind" fn realloc(
    ctx: *mut c_void,
    old: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: invariants 1 and 2.
    let it = unsafe { &*ctx.cast::<Installed>() };
    let len = match holder_of(it, old.addr()) {
        // SAFETY: invariant 3; the memory is its own.
        Holder::Other => return unsafe { (it.below.realloc)(it.below.ctx, old, size) },
        Holder::Unknown => return ptr::null_mut(),
        Holder::Captured(len) => len,
    };
    // Not its `malloc`, which may rely on the interpreter's lock.
    // SAFETY: invariant 3.
    let new = unsafe { (it.below.realloc)(it.below.ctx, ptr::null_mut(), size) };
    if new.is_null() {
        return new;
    }
    // SAFETY: invariant 4; `new` has `size` bytes of its own.
    unsafe { new.cast::<u8>().copy_from_nonoverlapping(old.cast(), len.min(size)) };
    give_back(it, old.addr());
    new
}

unsafe extern "C-unwind" fn free(ctx: *mut c_void, old: *mut c_void, size: usize) {
    // SAFETY: invariants 1 and 2.
    let it = unsafe { &*ctx.cast::<Installed>() };
    if !give_back(it, old.addr()) {
        // SAFETY: invariant 3; the memory is its own.
        unsafe { (it.below.free)(it.below.ctx, old, size) };
    }
}
