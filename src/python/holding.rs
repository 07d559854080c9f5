//! The memory of an array of ours, for as long as its handle wants it, and whose it is.
//!
//! Invariants
//! 1. A workspace lives as long as a piece that was cut from it has not died (`Workspace::die`), or somebody
//!    has a handle on it.
//! 2. `workspace` is not counted as a handle. Whatever the memory is keeps the workspace: the piece, the
//!    buffer, which has the piece, or the handle of what was closed. The new is there before the old goes.
//! 3. A `Piece` is made of what was cut and the workspace it was cut from.
//! 4. What is current is kept by a handle of the thread's record until it runs other code.
//! 5. A thread's registry keeps each workspace until it changes, which is counted before.
//! 6. What touches `memory` asks the core alone, which runs no Python.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use super::object::put;
use super::slot::Place;
use crate::array::Cut;
use crate::{Buffer, Error, Facts, Validity, Workspace, registry};

pub struct Holding {
    workspace: ManuallyDrop<Workspace>,
    generation: u64,
    /// See `Cut::valid_at`; `NEVER` where there is no such time, and once it is closed.
    valid_at: AtomicU64,
    memory: Place<Memory>,
}

/// What was cut for a new array.
pub struct Piece {
    workspace: ManuallyDrop<Workspace>,
    cut: ManuallyDrop<Cut>,
}

impl Piece {
    /// Of what was cut from the workspace.
    #[inline(always)]
    fn of(workspace: &Workspace, cut: Cut) -> Self {
        Self { workspace: uncounted(workspace), cut: ManuallyDrop::new(cut) }
    }

    /// Address of its first byte.
    #[inline]
    pub fn address(&self) -> usize {
        self.cut.address()
    }

    /// Its length.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.cut.len()
    }
}

/// New memory in a workspace of the calling thread. `None`, and nothing has changed: the general path says why.
#[inline(always)]
pub fn cut(workspace: &Workspace, bytes: usize, zeroed: bool) -> Option<Piece> {
    let cut = match workspace.cut_at_hand(bytes, zeroed) {
        Some(cut) => cut,
        None => cut_aside(workspace, bytes, zeroed)?,
    };
    Some(Piece::of(workspace, cut))
}

/// The same where the memory is not at hand.
#[cold]
fn cut_aside(workspace: &Workspace, bytes: usize, zeroed: bool) -> Option<Cut> {
    workspace.cut(bytes, zeroed, None).ok()
}

/// The same in the workspace that new arrays go to, if `test`, which runs no code of others, agrees.
#[inline(always)]
pub fn cut_here(bytes: usize, test: impl FnOnce(&Workspace) -> bool) -> Option<Piece> {
    let workspace = registry::with_current(uncounted)?;
    if test(&workspace) { cut(&workspace, bytes, false) } else { None }
}

/// A registered workspace, found again without a look-up.
pub struct Found(Place<Option<Known>>);

struct Known {
    thread: u64,
    changes: u64,
    workspace: ManuallyDrop<Workspace>,
}

impl Known {
    /// Whether the registry of the calling thread still has what it had. Otherwise what this leads to may be
    /// gone (invariant 5).
    #[inline(always)]
    fn is_there(&self) -> bool {
        self.changes == registry::changes() && self.thread == registry::owner_number()
    }
}

impl Found {
    /// Nothing was looked up yet.
    pub const fn nothing() -> Self {
        Self(Place::new(None))
    }

    /// Looks up what is registered in the calling thread.
    pub fn note(&self, py: Python<'_>, id: &str) {
        let (thread, changes) = (registry::owner_number(), registry::changes());
        let found = registry::find(id).filter(|workspace| !workspace.is_dummy());
        let workspace = found.as_ref().map(uncounted);
        let known = workspace.map(|workspace| Known { thread, changes, workspace });
        // SAFETY: invariant 6.
        unsafe { self.0.with(py, |place| *place = known) };
    }

    /// Whether a look-up in the calling thread would find that one; `false` says nothing.
    #[inline]
    pub fn is(&self, py: Python<'_>, workspace: &Workspace) -> bool {
        let is_it = |place: &mut Option<Known>| {
            place.as_ref().is_some_and(|known| known.is_there() && *known.workspace == *workspace)
        };
        // SAFETY: invariant 6.
        unsafe { self.0.with(py, is_it) }
    }

    /// The next look-up may find something else.
    pub fn forget(&self, py: Python<'_>) {
        // SAFETY: invariant 6.
        unsafe { self.0.with(py, |place| *place = None) };
    }

    /// New memory there, if a look-up in the calling thread would find the same, and `test`, which runs no code
    /// of others, agrees.
    #[inline(always)]
    pub fn cut(
        &self,
        py: Python<'_>,
        (bytes, zeroed): (usize, bool),
        test: impl FnOnce(&Workspace) -> bool,
    ) -> Option<Piece> {
        let known = |place: &mut Option<Known>| {
            let known = place.as_ref()?;
            known.is_there().then(|| uncounted(&known.workspace))
        };
        // SAFETY: invariant 6.
        let workspace = unsafe { self.0.with(py, known) }?;
        if test(&workspace) { cut(&workspace, bytes, zeroed) } else { None }
    }
}

impl Drop for Piece {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is not looked at again.
        let cut = unsafe { ManuallyDrop::take(&mut self.cut) };
        self.workspace.die(&cut);
    }
}

const NEVER: u64 = u64::MAX;

enum Memory {
    /// Nobody else has it.
    Own(Cut),
    /// Others may have it: views of the array, leases.
    Shared(Buffer),
    Closed {
        created_at: Option<String>,
        _workspace: Workspace,
    },
}

/// A copy that is never dropped.
#[inline]
fn uncounted(workspace: &Workspace) -> ManuallyDrop<Workspace> {
    // SAFETY: a living workspace, which outlives the copy (invariants 1, 2 and 4).
    ManuallyDrop::new(unsafe { ptr::read(workspace) })
}

impl Holding {
    /// Writes that of a piece.
    ///
    /// # Safety
    /// There is room for it, and the piece is not looked at again, nor dropped.
    #[inline(always)]
    pub unsafe fn write_own(place: *mut Self, piece: &Piece) {
        // SAFETY: the caller's word.
        let cut = ManuallyDrop::into_inner(unsafe { ptr::read(&raw const piece.cut) });
        let times = (cut.generation_id(), cut.valid_at(&piece.workspace));
        // SAFETY: the caller's word.
        unsafe { Self::write(place, &piece.workspace, times, Memory::Own(cut)) };
    }

    /// Writes that of what others have, too.
    ///
    /// # Safety
    /// There is room for it.
    #[inline(always)]
    pub unsafe fn write_shared(place: *mut Self, buffer: Buffer) {
        let workspace = uncounted(buffer.workspace());
        let times = (buffer.generation_id(), buffer.valid_at());
        // SAFETY: the caller's word.
        unsafe { Self::write(place, &workspace, times, Memory::Shared(buffer)) };
    }

    /// Writes that of a view, from that of its array and the array's memory.
    ///
    /// # Safety
    /// There is room for it.
    #[inline(always)]
    pub unsafe fn write_view(place: *mut Self, array: &Self, buffer: Buffer) {
        let valid_at = array.valid_at.load(Ordering::Relaxed);
        let times = (array.generation, Some(valid_at));
        // SAFETY: the caller's word.
        unsafe { Self::write(place, &array.workspace, times, Memory::Shared(buffer)) };
    }

    /// # Safety
    /// There is room for it.
    #[inline(always)]
    unsafe fn write(
        place: *mut Self,
        workspace: &Workspace,
        (generation, valid_at): (u64, Option<u64>),
        memory: Memory,
    ) {
        let valid_at = AtomicU64::new(valid_at.unwrap_or(NEVER));
        put!(place.workspace, uncounted(workspace));
        put!(place.generation, generation);
        put!(place.valid_at, valid_at);
        put!(place.memory, Place::new(memory));
    }

    /// The workspace in which the memory was cut.
    #[inline]
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Generation of the workspace at the birth of the array.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this is the time at which alone it is valid.
    #[inline]
    pub fn is_valid_now(&self) -> bool {
        self.workspace.clock().now() == self.valid_at.load(Ordering::Relaxed)
    }

    /// Whether the memory is still the array's, and if not, why.
    pub fn validity(&self, py: Python<'_>) -> Validity {
        let look = |memory: &mut Memory| match memory {
            Memory::Own(cut) => cut.validity(&self.workspace),
            Memory::Shared(buffer) => buffer.validity(),
            Memory::Closed { .. } => Validity::Closed,
        };
        // SAFETY: invariant 6.
        unsafe { self.memory.with(py, look) }
    }

    /// The memory, valid or not; an error if it is closed.
    #[inline]
    pub fn buffer(&self, py: Python<'_>) -> Result<Buffer, Error> {
        // SAFETY: invariant 6.
        let shared = unsafe { self.memory.with(py, |memory| self.share(memory)) };
        shared.map_err(|created_at| self.closed(created_at))
    }

    /// The same; where it is closed, where it was made.
    #[inline]
    fn share(&self, memory: &mut Memory) -> Result<Buffer, Option<String>> {
        match memory {
            Memory::Shared(buffer) => Ok(buffer.clone()),
            Memory::Closed { created_at, .. } => Err(created_at.clone()),
            Memory::Own(_) => Ok(self.begin_to_share(memory)),
        }
    }

    #[cold]
    fn begin_to_share(&self, memory: &mut Memory) -> Buffer {
        let workspace = Workspace::clone(&self.workspace);
        let closed = Memory::Closed { created_at: None, _workspace: workspace.clone() };
        let Memory::Own(cut) = std::mem::replace(memory, closed) else {
            unreachable!("the caller has seen it")
        };
        let buffer = Buffer::new(workspace, cut);
        *memory = Memory::Shared(buffer.clone());
        buffer
    }

    #[cold]
    fn closed(&self, created_at: Option<String>) -> Error {
        let facts = Facts {
            workspace_id: Some(self.workspace.id().to_owned()),
            array_generation: Some(self.generation),
            workspace_generation: Some(self.workspace.generation_id()),
            open_workspaces: Some(registry::open_workspaces()),
            created_at,
            ..Facts::default()
        };
        Error::Stale { validity: Validity::Closed, facts: Box::new(facts) }
    }

    /// Its bytes, if nobody else has it and all of them are its own.
    pub fn sole_bytes(&self, py: Python<'_>) -> Option<usize> {
        let look = |memory: &mut Memory| match memory {
            Memory::Own(cut) => Some(cut.len()),
            Memory::Shared(buffer) if buffer.is_sole() => Some(buffer.len()),
            Memory::Shared(_) | Memory::Closed { .. } => None,
        };
        // SAFETY: invariant 6.
        unsafe { self.memory.with(py, look) }
    }

    /// Ends it; what others hold on the memory stays.
    pub fn close(&self, py: Python<'_>) {
        let close = |memory: &mut Memory| {
            let created_at = match memory {
                Memory::Own(cut) => cut.created_at().map(str::to_owned),
                Memory::Shared(buffer) => buffer.created_at().map(str::to_owned),
                Memory::Closed { .. } => return None,
            };
            self.valid_at.store(NEVER, Ordering::Relaxed);
            let workspace = Workspace::clone(&self.workspace);
            Some(std::mem::replace(memory, Memory::Closed { created_at, _workspace: workspace }))
        };
        // SAFETY: invariant 6.
        let ended = unsafe { self.memory.with(py, close) };
        if let Some(Memory::Own(cut)) = ended {
            self.workspace.die(&cut);
        }
    }
}

impl Drop for Holding {
    #[inline]
    fn drop(&mut self) {
        if let Memory::Own(cut) = self.memory.get_mut() {
            self.workspace.die(cut);
        }
    }
}
