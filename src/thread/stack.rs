//! Scopes that close in reverse order, and what is current among them.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::scopes::Opened;
use super::{Left, Report, ScopeToken, Thread};
use crate::error::{Error, Result};
use crate::workspace::Workspace;

const NOTHING_TO_ENTER: &str = "there is nothing to enter: name at least one array type";

/// The open scopes of a thread, or of a task that has some of its own.
#[derive(Default)]
pub(super) struct Stack {
    pub(super) current: Current,
    pub(super) frames: Vec<Frame>,
    /// `with ws:` statements that have begun: their scopes have no object to tell them by.
    blocks: Vec<Block>,
}

/// One running `with ws:`. Where it stands (a number of the caller's) tells it from others of the same
/// workspace, whose suspended generators and coroutines leave in any order.
struct Block {
    /// Serial of the workspace.
    workspace: u64,
    place: usize,
    serial: u64,
}

/// One open scope.
pub(super) struct Frame {
    pub(super) serial: u64,
    kind: Kind,
    pub(super) workspace: Option<Workspace>,
    pub(super) previous: Current,
    pub(super) lost: bool,
    pub(super) capture: Capture,
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

/// Where new arrays go.
#[derive(Default)]
pub(super) enum Current {
    /// Into no workspace.
    #[default]
    Nothing,
    /// Into that of the innermost scope, if it has one.
    Innermost,
    /// Into one that was made current without a scope, or whose scope is on another stack.
    Set(Workspace),
}

impl Current {
    pub(super) fn of(workspace: Option<Workspace>) -> Self {
        workspace.map_or(Self::Nothing, Self::Set)
    }
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

    pub(super) fn begin_capture(&mut self, capture: Capture) {
        self.capture = capture;
        if let Some(workspace) = &self.workspace {
            workspace.open_capture();
        }
    }

    fn end_capture(&self, left: &mut Left) {
        if let Some(workspace) = &self.workspace {
            workspace.close_capture();
        }
        if self.capture == Capture::Installed {
            left.handlers.push(self.workspace.as_ref().map(Workspace::serial));
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
    pub(super) fn new(current: Current, frames: Vec<Frame>) -> Self {
        Self { current, frames, blocks: Vec::new() }
    }

    /// The workspace that new arrays go to.
    pub(super) fn current(&self) -> Option<&Workspace> {
        match &self.current {
            Current::Nothing => None,
            Current::Set(workspace) => Some(workspace),
            Current::Innermost => {
                let frame = self.frames.last().filter(|frame| frame.kind != Kind::Out)?;
                frame.workspace.as_ref()
            }
        }
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
        let Current::Set(workspace) = &self.current else { return };
        let is_inside = |f: &Frame| f.workspace.as_ref() == Some(workspace);
        if workspace.is_destroyed() && !self.frames.iter().any(is_inside) {
            self.current = Current::Nothing;
        }
    }

    /// The latest running `with` of a workspace: the one at `place`, or any.
    pub(super) fn block_of(&self, workspace: &Workspace, place: Option<usize>) -> Option<usize> {
        let is_it = |b: &Block| {
            b.workspace == workspace.serial() && place.is_none_or(|place| place == b.place)
        };
        self.blocks.iter().rposition(is_it)
    }

    /// Whether the one scope of these numbers is the innermost.
    #[inline]
    pub(super) fn ends_with(&self, serials: &RangeInclusive<u64>) -> bool {
        serials.start() == serials.end()
            && self.frames.last().is_some_and(|f| f.serial == *serials.end())
    }

    /// Forgets the `with` at `place` if it is the innermost of all, as its scope is; true then.
    #[inline]
    pub(super) fn end_innermost_block(&mut self, workspace: &Workspace, place: usize) -> bool {
        let is_it = |b: &Block| b.workspace == workspace.serial() && b.place == place;
        let is_innermost = self.blocks.last().is_some_and(|block| {
            is_it(block) && self.frames.last().is_some_and(|f| f.serial == block.serial)
        });
        if is_innermost {
            self.blocks.pop();
        }
        is_innermost
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
        let serial = self.push_frame(kind, workspace.clone());
        let opened =
            workspace.map_or_else(|| Opened::Out(Arc::clone(&self.inbox)), Opened::Workspace);
        ScopeToken { serials: serial..=serial, owner: self.number, opened }
    }

    /// A new innermost scope; its number.
    fn push_frame(&mut self, kind: Kind, workspace: Option<Workspace>) -> u64 {
        self.serial += 1;
        if self.is_idle() {
            self.inbox.set_busy(true);
        }
        let previous = std::mem::replace(&mut self.stack.current, Current::Innermost);
        self.stack.frames.push(Frame {
            serial: self.serial,
            kind,
            workspace,
            previous,
            lost: false,
            capture: Capture::No,
        });
        self.serial
    }

    pub(super) fn pop(&mut self, left: &mut Left) {
        let Some(frame) = self.stack.frames.pop() else { return };
        if frame.capture != Capture::No {
            frame.end_capture(left);
        }
        if let (Kind::Full, Some(workspace)) = (frame.kind, &frame.workspace) {
            if !workspace.is_destroyed() && !self.hand_over(workspace) {
                let closed = workspace.end_cycle();
                if closed.has_news() {
                    left.reports.push(Report::of(workspace, closed));
                }
            }
        }
        if let (true, Some(workspace)) = (frame.lost, &frame.workspace) {
            workspace.uncount_lost_scope();
        }
        self.stack.current = frame.previous;
        self.stack.drop_dead_current();
        if self.is_idle() {
            self.inbox.set_busy(false);
        }
    }

    /// Closes scopes with everything inside them, innermost first.
    pub(super) fn unwind(&mut self, scopes: &Range<usize>, left: &mut Left) {
        while self.stack.frames.len() > scopes.end {
            left.left_open.extend(self.stack.frames.last().map(Frame::label));
            self.pop(left);
        }
        self.close_down_to(scopes.start, left);
    }

    pub(super) fn close_down_to(&mut self, depth: usize, left: &mut Left) {
        while self.stack.frames.len() > depth {
            self.pop(left);
        }
    }

    pub(super) fn enter(&mut self, workspace: &Workspace) -> Result<ScopeToken> {
        let kind = self.begin(workspace)?;
        Ok(self.push(kind, Some(workspace.clone())))
    }

    /// Begins a cycle, if the workspace is closed.
    fn begin(&mut self, workspace: &Workspace) -> Result<Kind> {
        Ok(match workspace {
            dummy if dummy.is_dummy() => Kind::Out,
            open if open.is_scope_active() => Kind::Continued,
            closed => {
                closed.begin_cycle(self.stack.current())?;
                Kind::Full
            }
        })
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
        let kind = self.begin(workspace)?;
        let serial = self.push_frame(kind, Some(workspace.clone()));
        self.stack.blocks.push(Block { workspace: workspace.serial(), place, serial });
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
