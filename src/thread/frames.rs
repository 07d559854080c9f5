//! Open scopes, one inside the other.

use std::ops::{Deref, DerefMut};

use super::stack::Current;
use crate::workspace::Workspace;

/// One open scope.
pub(super) struct Frame {
    pub(super) serial: u64,
    pub(super) kind: Kind,
    /// Where the `with ws:` stands whose scope it is.
    pub(super) place: Option<usize>,
    pub(super) workspace: Option<Workspace>,
    pub(super) previous: Current,
    pub(super) lost: bool,
    pub(super) capture: Capture,
}

/// One running `with ws:`, whose scope has no object to tell it by. Where it stands (a number of the
/// caller's) tells it from others of the same workspace, whose suspended generators and coroutines leave in
/// any order.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Serial of the workspace.
    pub(super) workspace: u64,
    pub(super) place: usize,
    /// Of its scope.
    pub(super) serial: u64,
}

/// What a scope does about NumPy's own allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Nothing.
    No,
    /// They are captured by a handler that was there already.
    Joined,
    /// It brought a handler, which goes with it.
    Installed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Began a cycle; closing it ends the cycle.
    Full,
    /// Continues a running cycle: re-entry, borrow.
    Continued,
    /// No workspace is current.
    Out,
}

impl Frame {
    pub(super) fn block(&self) -> Option<Block> {
        let workspace = self.workspace.as_ref()?.serial();
        self.place.map(|place| Block { workspace, place, serial: self.serial })
    }

    pub(super) fn label(&self) -> String {
        match (&self.workspace, self.kind) {
            (Some(workspace), Kind::Full | Kind::Continued) => workspace.id().to_owned(),
            _ => "scope_out_of_workspaces".to_owned(),
        }
    }

    /// Nobody can close it, and nothing is told at its end.
    pub(super) fn is_dead(&self) -> bool {
        let is_over = self.workspace.as_ref().is_some_and(Workspace::is_destroyed);
        self.lost && is_over && self.capture == Capture::No
    }

    pub(super) fn lose(&mut self) {
        self.lost = true;
        if let Some(workspace) = &self.workspace {
            workspace.count_lost_scope();
        }
    }

    pub(super) fn begin_capture(&mut self, capture: Capture) {
        self.capture = capture;
        if let Some(workspace) = &self.workspace {
            workspace.open_capture();
        }
    }

    /// From now on the end of this scope ends the cycle, if it is one of that workspace.
    pub(super) fn inherit(&mut self, workspace: &Workspace) -> bool {
        let is_heir =
            self.kind == Kind::Continued && self.workspace.as_ref().is_some_and(|w| w == workspace);
        if is_heir {
            self.kind = Kind::Full;
        }
        is_heir
    }
}

/// The open scopes of a stack, the innermost last. Frames of closed ones are written over: a frame is never
/// moved.
#[derive(Default)]
pub(super) struct Frames {
    all: Vec<Frame>,
    open: usize,
}

impl Deref for Frames {
    type Target = [Frame];

    #[inline]
    fn deref(&self) -> &[Frame] {
        &self.all[..self.open]
    }
}

impl DerefMut for Frames {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Frame] {
        &mut self.all[..self.open]
    }
}

impl Frames {
    /// A frame for a new innermost scope, to be written.
    #[inline]
    pub(super) fn push(&mut self) -> &mut Frame {
        if self.open == self.all.len() {
            self.grow();
        }
        self.open += 1;
        &mut self.all[self.open - 1]
    }

    #[cold]
    fn grow(&mut self) {
        self.all.push(Frame {
            serial: 0,
            kind: Kind::Out,
            place: None,
            workspace: None,
            previous: Current::Nothing,
            lost: false,
            capture: Capture::No,
        });
    }

    /// The frame of the innermost scope, which is no longer one; to be read, and nothing left in it.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<&mut Frame> {
        self.open = self.open.checked_sub(1)?;
        self.all.get_mut(self.open)
    }

    /// Those from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        self.all.truncate(self.open);
        let all = self.all.split_off(at);
        self.open = self.all.len();
        Self { open: all.len(), all }
    }
}
