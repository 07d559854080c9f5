//! Captured memory as a memory handler sees it: it may outlive the workspace, and is used by any
//! thread, with or without the interpreter's lock.

use std::sync::Arc;

use super::{Kept, Workspace, lock_after_forks};
use crate::block;
use crate::cycle::{self, Bounds, Piece, Released};
use crate::error::{Error, Result};
use crate::latch::{Held, Latch};
use crate::registry;
use crate::thread;

/// The captured memory of a workspace. It does not keep the workspace, only pieces that are alive.
#[derive(Clone, Debug)]
pub struct Captured {
    serial: u64,
    owner: u64,
    forks: u64,
    floor: usize,
    state: Arc<Latch<Kept>>,
    bounds: Arc<Bounds>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Not the workspace's.
    Other,
    /// A captured piece of so many bytes.
    Captured(usize),
    /// Of a forked child, when a thread that it lacks was at work in the parent: nobody knows.
    Unknown,
}

impl Workspace {
    /// Its captured memory, for a memory handler.
    pub fn captured(&self) -> Captured {
        let shared = &self.0;
        Captured {
            serial: shared.serial,
            owner: shared.owner,
            forks: shared.forks,
            floor: usize::try_from(cycle::floor()).unwrap_or(usize::MAX),
            bounds: Arc::clone(self.bounds()),
            state: Arc::clone(&shared.state),
        }
    }

    fn bounds(&self) -> &Arc<Bounds> {
        let shared = &self.0;
        let begin = || {
            self.stir();
            shared.state.lock().begin_capturing(&shared.configuration, self.is_debug())
        };
        shared.bounds.get_or_init(begin)
    }

    /// A scope that captures was opened.
    pub(crate) fn open_capture(&self) {
        self.bounds().open();
    }

    /// A scope that captures was closed.
    pub(crate) fn close_capture(&self) {
        self.bounds().close();
    }
}

impl Captured {
    /// That of the workspace.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether a scope is open that captures.
    pub fn is_capturing(&self) -> bool {
        self.bounds.is_capturing()
    }

    fn state(&self) -> Option<Held<'_, Kept>> {
        lock_after_forks(&self.state, self.forks)
    }

    /// At least `bytes`, in the owner's thread while a scope captures. `None`: too small, or full, or
    /// not there, or not now.
    #[inline]
    pub fn take(&self, bytes: usize) -> Option<Piece> {
        if bytes < self.floor { None } else { self.take_large(bytes) }
    }

    #[inline(never)]
    fn take_large(&self, bytes: usize) -> Option<Piece> {
        if !thread::captures(self.owner) || self.is_inherited() {
            return None;
        }
        self.state.lock().capture(bytes as u64, registry::debug_mode())
    }

    /// Whose memory begins at an address.
    pub fn holder_of(&self, address: usize) -> Holder {
        if !self.bounds.contain(address as u64) {
            return Holder::Other;
        }
        let Some(state) = self.state() else { return Holder::Unknown };
        let len = state.captured_len(address as u64);
        len.map_or(Holder::Other, |len| Holder::Captured(usize::try_from(len).unwrap_or(0)))
    }

    /// Takes a piece back, in whatever thread. False: it is somebody else's.
    #[inline]
    pub fn give_back(&self, address: usize) -> bool {
        self.bounds.contain(address as u64) && self.give_back_inside(address)
    }

    #[inline(never)]
    fn give_back_inside(&self, address: usize) -> bool {
        let Some(mut state) = self.state() else { return true };
        let released = state.release_captured(address as u64);
        drop(state);
        !matches!(released, Released::Nothing)
    }

    /// Whether this is a forked child, which captures nothing.
    pub fn is_inherited(&self) -> bool {
        self.forks != block::forks()
    }
}

/// Sets from how many bytes on allocations are captured, by workspaces that have not captured yet.
/// For tests: 16 KiB is a good measure.
pub fn set_capture_floor(bytes: u64) -> Result<()> {
    if cycle::set_floor(bytes) {
        return Ok(());
    }
    let reason = "must be a power of two, and at least 64";
    Err(Error::configuration("capture_floor", bytes, reason))
}
