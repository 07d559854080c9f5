//! Scopes that close in reverse order, and what is current among them.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Left, Report, ScopeToken, THREADS_IN_SCOPE, Thread};
use crate::cycle::Closed;
use crate::error::{Error, Result};
use crate::workspace::Workspace;

static SERIALS: AtomicU64 = AtomicU64::new(1);

const NOTHING_TO_ENTER: &str = "there is nothing to enter: name at least one array type";

/// The open scopes of a thread, or of a task that has some of its own.
#[derive(Default)]
pub(super) struct Stack {
    pub(super) current: Option<Workspace>,
    pub(super) frames: Vec<Frame>,
    /// `with ws:` statements that have begun: their scopes have no object to tell them by.
    blocks: Vec<Block>,
}

/// One running `with ws:`. Where it stands (a number of the caller's) tells it from others of the same
/// workspace, whose suspended generators and coroutines leave in any order.
struct Block {
    workspace: Workspace,
    place: usize,
    serial: u64,
}

/// One open scope.
pub(super) struct Frame {
    pub(super) serial: u64,
    kind: Kind,
    pub(super) workspace: Option<Workspace>,
    pub(super) previous: Option<Workspace>,
    pub(super) lost: bool,
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
    fn label(&self) -> String {
        match (&self.workspace, self.kind) {
            (Some(workspace), Kind::Full | Kind::Continued) => workspace.id().to_owned(),
            _ => "scope_out_of_workspaces".to_owned(),
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        if let Some(workspace) = &self.workspace {
            workspace.count_lost_scope();
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

impl Stack {
    /// A new one, whose first scopes are these.
    pub(super) fn new(current: Option<Workspace>, frames: Vec<Frame>) -> Self {
        Self { current, frames, blocks: Vec::new() }
    }

    /// No scope is open, and no `with ws:` runs whose scope was closed inside.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.blocks.is_empty()
    }

    pub(super) fn open_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for workspace in self.frames.iter().filter_map(|f| f.workspace.as_ref()) {
            if !workspace.is_destroyed() && !ids.iter().any(|id| id == workspace.id()) {
                ids.push(workspace.id().to_owned());
            }
        }
        ids
    }

    /// Where the open ones of these scopes stand; they are neighbours.
    pub(super) fn frames_of(&self, serials: &RangeInclusive<u64>) -> Option<Range<usize>> {
        let is_named = |f: &Frame| serials.contains(&f.serial);
        let last = self.frames.iter().rposition(is_named)?;
        let named = self.frames[..last].iter().rev().take_while(|&f| is_named(f)).count();
        Some(last - named..last + 1)
    }

    pub(super) fn lose(&mut self, serials: &RangeInclusive<u64>) {
        self.frames.iter_mut().filter(|f| serials.contains(&f.serial)).for_each(Frame::lose);
    }

    /// A destroyed workspace stays current inside its own scopes only, where using it is refused.
    pub(super) fn drop_dead_current(&mut self) {
        let is_dead = |w: &Workspace| {
            w.is_destroyed() && !self.frames.iter().any(|f| f.workspace.as_ref() == Some(w))
        };
        if self.current.as_ref().is_some_and(is_dead) {
            self.current = None;
        }
    }

    /// The latest running `with` of a workspace: the one at `place`, or any.
    pub(super) fn block_of(&self, workspace: &Workspace, place: Option<usize>) -> Option<usize> {
        let is_it =
            |b: &Block| &b.workspace == workspace && place.is_none_or(|place| place == b.place);
        self.blocks.iter().rposition(is_it)
    }

    /// Forgets a running `with`; the serial of its scope.
    pub(super) fn end_block(&mut self, index: usize) -> u64 {
        self.blocks.remove(index).serial
    }

    pub(super) fn forget_blocks(&mut self) {
        self.blocks.clear();
    }
}

impl Thread {
    pub(super) fn push(&mut self, kind: Kind, workspace: Option<Workspace>) -> ScopeToken {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let next = if kind == Kind::Out { None } else { workspace.clone() };
        if self.is_idle() {
            THREADS_IN_SCOPE.fetch_add(1, Ordering::SeqCst);
        }
        let previous = std::mem::replace(&mut self.stack.current, next);
        let (opened, lost) = (workspace.clone(), false);
        self.stack.frames.push(Frame { serial, kind, workspace: opened, previous, lost });
        let serials = serial..=serial;
        ScopeToken { serials, owner: self.number, workspace, inbox: Arc::clone(&self.inbox) }
    }

    pub(super) fn pop(&mut self, left: &mut Left) -> Option<Frame> {
        let frame = self.stack.frames.pop()?;
        if let (Kind::Full, Some(workspace)) = (frame.kind, &frame.workspace) {
            if !workspace.is_destroyed() && !self.hand_over(workspace) {
                let Closed { site, escaped, unused, many_retired } = workspace.end_cycle();
                let workspace = workspace.clone();
                left.reports.push(Report { workspace, site, escaped, unused, many_retired });
            }
        }
        if let (true, Some(workspace)) = (frame.lost, &frame.workspace) {
            workspace.uncount_lost_scope();
        }
        self.stack.current.clone_from(&frame.previous);
        self.stack.drop_dead_current();
        if self.is_idle() {
            THREADS_IN_SCOPE.fetch_sub(1, Ordering::SeqCst);
        }
        Some(frame)
    }

    /// Closes scopes with everything inside them, innermost first.
    pub(super) fn unwind(&mut self, scopes: &Range<usize>, left: &mut Left) {
        while self.stack.frames.len() > scopes.end {
            if let Some(frame) = self.pop(left) {
                left.left_open.push(frame.label());
            }
        }
        self.close_down_to(scopes.start, left);
    }

    pub(super) fn close_down_to(&mut self, depth: usize, left: &mut Left) {
        while self.stack.frames.len() > depth {
            self.pop(left);
        }
    }

    pub(super) fn enter(&mut self, workspace: &Workspace) -> Result<ScopeToken> {
        let kind = match workspace {
            dummy if dummy.is_dummy() => Kind::Out,
            open if open.is_scope_active() => Kind::Continued,
            closed => {
                closed.begin_cycle(self.stack.current.as_ref())?;
                Kind::Full
            }
        };
        Ok(self.push(kind, Some(workspace.clone())))
    }

    pub(super) fn enter_in_order(
        &mut self,
        workspaces: &[Option<Workspace>],
    ) -> Result<ScopeToken> {
        let mut together: Option<ScopeToken> = None;
        for workspace in workspaces {
            let mut token = match workspace {
                Some(workspace) => self.enter(workspace)?,
                None => self.push(Kind::Out, None),
            };
            if let Some(outer) = together {
                token.serials = *outer.serials.start()..=*token.serials.end();
            }
            together = Some(token);
        }
        together.ok_or_else(|| Error::Usage { reason: NOTHING_TO_ENTER.to_owned() })
    }

    pub(super) fn enter_block(&mut self, workspace: &Workspace, place: usize) -> Result<()> {
        let serial = *self.enter(workspace)?.serials.end();
        self.stack.blocks.push(Block { workspace: workspace.clone(), place, serial });
        Ok(())
    }

    /// `Err` if scopes inside these are open; `what` is done to them, `cure` is what to do instead.
    pub(super) fn check_innermost(
        &self,
        scopes: &Range<usize>,
        what: &str,
        cure: &str,
    ) -> Result<()> {
        let inside: Vec<_> =
            self.stack.frames[scopes.end..].iter().rev().map(Frame::label).collect();
        if inside.is_empty() {
            return Ok(());
        }
        let frame = &self.stack.frames[scopes.end - 1];
        let reason = format!(
            "a scope of [{}] {what} while scopes inside it are open: [{}]; {cure}",
            frame.label(),
            inside.join(", ")
        );
        Err(self.scope_error(frame.workspace.as_ref(), reason))
    }

    pub(super) fn close_innermost(&mut self, scopes: &Range<usize>, left: &mut Left) -> Result<()> {
        let cure = "scopes close in reverse order (a coroutine suspended inside a `with` closes it out \
                    of order: write `async with ws.notify_scope_entered():` around an `await`; a \
                    generator: leave the scope before `yield`)";
        self.check_innermost(scopes, "is closed", cure)?;
        self.close_down_to(scopes.start, left);
        Ok(())
    }
}
