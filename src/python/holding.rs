//! The memory of an array of ours, for as long as its handle wants it, and whose it is.
//!
//! Invariants
//! 1. A workspace lives as long as a piece that was cut from it has not died (`Workspace::die`), or somebody
//!    has a handle on it.
//! 2. `workspace` is not counted as a handle. Whatever the memory is keeps the workspace: the piece, the
//!    buffer, which has the piece, or the handle of what was closed. It changes behind its lock, and the new
//!    is there before the old goes.
//! 3. A `Piece` is made of what was cut and the workspace it was cut from.
//! 4. What is current is kept by a handle of the thread's record until it runs other code.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::object::put;
use crate::array::Cut;
use crate::latch::Latch;
use crate::{Buffer, Error, Facts, Validity, Workspace, registry};

pub struct Holding {
    workspace: ManuallyDrop<Workspace>,
    generation: u64,
    /// See `Cut::valid_at`; `NEVER` where there is no such time, and once it is closed.
    valid_at: AtomicU64,
    memory: Latch<Memory>,
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
    /// There is room for it.
    #[inline(always)]
    pub unsafe fn write_own(place: *mut Self, piece: Piece) {
        let mut piece = ManuallyDrop::new(piece);
        // SAFETY: it is not looked at again.
        let cut = unsafe { ManuallyDrop::take(&mut piece.cut) };
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
        put!(place.memory, Latch::new(memory));
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
    pub fn validity(&self) -> Validity {
        match &*self.memory.lock() {
            Memory::Own(cut) => cut.validity(&self.workspace),
            Memory::Shared(buffer) => buffer.validity(),
            Memory::Closed { .. } => Validity::Closed,
        }
    }

    /// The memory, valid or not; an error if it is closed.
    pub fn buffer(&self) -> Result<Buffer, Error> {
        let mut memory = self.memory.lock();
        let created_at = match &mut *memory {
            Memory::Shared(buffer) => return Ok(buffer.clone()),
            Memory::Closed { created_at, .. } => created_at.clone(),
            own @ Memory::Own(_) => {
                let workspace = Workspace::clone(&self.workspace);
                let closed = Memory::Closed { created_at: None, _workspace: workspace.clone() };
                let owned = std::mem::replace(own, closed);
                let Memory::Own(cut) = owned else { unreachable!("matched above") };
                let buffer = Buffer::new(workspace, cut);
                *own = Memory::Shared(buffer.clone());
                return Ok(buffer);
            }
        };
        drop(memory);
        let facts = Facts {
            workspace_id: Some(self.workspace.id().to_owned()),
            array_generation: Some(self.generation),
            workspace_generation: Some(self.workspace.generation_id()),
            open_workspaces: Some(registry::open_workspaces()),
            created_at,
            ..Facts::default()
        };
        Err(Error::Stale { validity: Validity::Closed, facts: Box::new(facts) })
    }

    /// Its bytes, if nobody else has it and all of them are its own.
    pub fn sole_bytes(&self) -> Option<usize> {
        match &*self.memory.lock() {
            Memory::Own(cut) => Some(cut.len()),
            Memory::Shared(buffer) if buffer.is_sole() => Some(buffer.len()),
            Memory::Shared(_) | Memory::Closed { .. } => None,
        }
    }

    /// Ends it; what others hold on the memory stays.
    pub fn close(&self) {
        let mut memory = self.memory.lock();
        let created_at = match &*memory {
            Memory::Own(cut) => cut.created_at().map(str::to_owned),
            Memory::Shared(buffer) => buffer.created_at().map(str::to_owned),
            Memory::Closed { .. } => return,
        };
        self.valid_at.store(NEVER, Ordering::Relaxed);
        let workspace = Workspace::clone(&self.workspace);
        let ended =
            std::mem::replace(&mut *memory, Memory::Closed { created_at, _workspace: workspace });
        drop(memory);
        if let Memory::Own(cut) = ended {
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
