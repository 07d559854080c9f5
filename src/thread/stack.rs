//! Scopes that close in reverse order, and what is current among them.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::frames::{Block, Capture, Frame, Frames, Kind};
use super::scopes::Opened;
use super::{Left, Report, ScopeToken, Thread};
use crate::error::{Error, Quick, Result};
use crate::workspace::Workspace;

const NOTHING_TO_ENTER: &str = "there is nothing to enter: name at least one array type";

/// The open scopes of a thread, or of a task that has some of its own.
#[derive(Default)]
pub(super) struct Stack {
    pub(super) current: Current,
    pub(super) frames: Frames,
    /// `with ws:` statements that run on though their scopes were closed inside.
    bereft: Vec<Block>,
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

impl Stack {
    /// A new one, whose first scopes are these.
    pub(super) fn new(current: Current, frames: Frames) -> Self {
        Self { current, frames, bereft: Vec::new() }
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
        self.frames.is_empty() && self.bereft.is_empty()
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

    /// Whether it has a scope that nobody can close: its object died, and its workspace is destroyed.
    pub(super) fn has_dead(&self) -> bool {
        self.frames.iter().any(Frame::is_dead)
    }

    /// A destroyed workspace stays current inside its own scopes only, where using it is refused.
    pub(super) fn drop_dead_current(&mut self) {
        let Current::Set(workspace) = &self.current else { return };
        let is_inside = |f: &Frame| f.workspace.as_ref() == Some(workspace);
        if workspace.is_destroyed() && !self.frames.iter().any(is_inside) {
            self.current = Current::Nothing;
        }
    }

    /// The latest running `with` of a workspace: the one at `place`, or any. The serial of its scope.
    pub(super) fn block_of(&self, workspace: &Workspace, place: Option<usize>) -> Option<u64> {
        let is_it = |b: &Block| {
            b.workspace == workspace.serial() && place.is_none_or(|place| place == b.place)
        };
        let open = self.frames.iter().filter_map(Frame::block);
        open.chain(self.bereft.iter().copied()).filter(is_it).map(|b| b.serial).max()
    }

    /// Whether the one scope of these numbers is the innermost.
    #[inline]
    pub(super) fn ends_with(&self, serials: &RangeInclusive<u64>) -> bool {
        serials.start() == serials.end()
            && self.frames.last().is_some_and(|f| f.serial == *serials.end())
    }

    /// The same, of a scope that an object stands for.
    #[inline]
    pub(super) fn ends_with_object(&self, serials: &RangeInclusive<u64>) -> bool {
        self.ends_with(serials) && self.frames.last().is_some_and(|f| f.place.is_none())
    }

    /// Whether the `with` at `place` is the innermost of all, as its scope is.
    #[inline]
    pub(super) fn ends_with_block(&self, workspace: &Workspace, place: usize) -> bool {
        let is_it = |frame: &Frame| {
            frame.place == Some(place) && frame.workspace.as_ref() == Some(workspace)
        };
        self.bereft.is_empty() && self.frames.last().is_some_and(is_it)
    }

    /// Forgets a `with` whose scope was closed inside.
    pub(super) fn end_bereft(&mut self, serial: u64) {
        self.bereft.retain(|block| block.serial != serial);
    }

    pub(super) fn forget_blocks(&mut self) {
        self.bereft.clear();
    }
}

impl Thread {
    pub(super) fn push(&mut self, kind: Kind, workspace: Option<Workspace>) -> ScopeToken {
        let serial = self.push_frame(kind, workspace.clone(), None);
        let opened =
            workspace.map_or_else(|| Opened::Out(Arc::clone(&self.inbox)), Opened::Workspace);
        ScopeToken::new(serial..=serial, self.number, opened)
    }

    /// A new innermost scope; its number.
    #[inline]
    fn push_frame(
        &mut self,
        kind: Kind,
        workspace: Option<Workspace>,
        place: Option<usize>,
    ) -> u64 {
        self.serial += 1;
        if self.is_idle() {
            self.inbox.set_busy(true);
        }
        let frame = self.stack.frames.push();
        frame.serial = self.serial;
        frame.kind = kind;
        frame.place = place;
        frame.workspace = workspace;
        frame.previous = std::mem::replace(&mut self.stack.current, Current::Innermost);
        (frame.lost, frame.capture) = (false, Capture::No);
        self.serial
    }

    /// Closes the innermost scope; a `with ws:` that it is of runs on.
    pub(super) fn pop(&mut self, left: &mut Left) {
        let block = self.stack.frames.last().and_then(Frame::block);
        self.stack.bereft.extend(block);
        drop(self.end_innermost(left));
    }

    /// Closes the innermost scope, and with it the `with` that it is of; the handle that it held.
    pub(super) fn end_innermost(&mut self, left: &mut Left) -> Option<Workspace> {
        let frame = self.stack.frames.pop()?;
        let (kind, lost, capture) = (frame.kind, frame.lost, frame.capture);
        let workspace = frame.workspace.take();
        self.stack.current = std::mem::take(&mut frame.previous);
        if capture != Capture::No {
            end_capture(capture, workspace.as_ref(), left);
        }
        if let (Kind::Full, Some(workspace)) = (kind, &workspace) {
            if !workspace.is_destroyed() && !self.hand_over(workspace) {
                workspace.end_cycle().into_iter().for_each(|closed| {
                    left.tell().reports.push(Report::of(workspace, *closed));
                });
            }
        }
        if let (true, Some(workspace)) = (lost, &workspace) {
            workspace.uncount_lost_scope();
        }
        self.stack.drop_dead_current();
        if self.is_idle() {
            self.inbox.set_busy(false);
        }
        workspace
    }

    /// Closes scopes with everything inside them, innermost first.
    pub(super) fn unwind(&mut self, scopes: &Range<usize>, left: &mut Left) {
        while self.stack.frames.len() > scopes.end {
            left.tell().left_open.extend(self.stack.frames.last().map(Frame::label));
            self.pop(left);
        }
        self.close_down_to(scopes.start, left);
    }

    pub(super) fn close_down_to(&mut self, depth: usize, left: &mut Left) {
        while self.stack.frames.len() > depth {
            self.pop(left);
        }
    }

    pub(super) fn enter(&mut self, workspace: &Workspace) -> Quick<ScopeToken> {
        let kind = self.begin(workspace)?;
        Ok(self.push(kind, Some(workspace.clone())))
    }

    /// Begins a cycle, if the workspace is closed.
    #[inline]
    fn begin(&mut self, workspace: &Workspace) -> Quick<Kind> {
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
        let first = self.serial + 1;
        let mut together: Option<ScopeToken> = None;
        for workspace in workspaces {
            let token = match workspace {
                Some(workspace) => self.enter(workspace)?,
                None => self.push(Kind::Out, None),
            };
            together = Some(token.from(first));
        }
        together.ok_or_else(|| Error::Usage { reason: NOTHING_TO_ENTER.to_owned() })
    }

    /// Enters for a `with ws:` that stands at `place`, or for an object; the number of the scope, which holds
    /// the `spare` handle, if there is one.
    #[inline]
    pub(super) fn enter_with(
        &mut self,
        workspace: &Workspace,
        spare: &mut Option<Workspace>,
        place: Option<usize>,
        capture: Capture,
    ) -> Quick<u64> {
        let kind = self.begin(workspace)?;
        let handle = spare.take().unwrap_or_else(|| workspace.clone());
        let serial = self.push_frame(kind, Some(handle), place);
        if capture != Capture::No {
            self.stack.frames.last_mut().into_iter().for_each(|f| f.begin_capture(capture));
        }
        Ok(serial)
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

    /// Closes one scope from among others: those inside it stay open, as if they were entered before it.
    pub(super) fn take_out(&mut self, at: usize, left: &mut Left) {
        if let [frame, inside, ..] = &mut self.stack.frames[at..] {
            let before = std::mem::take(&mut frame.previous);
            if let Current::Innermost = inside.previous {
                inside.previous = before;
            }
            frame.previous = std::mem::take(&mut self.stack.current);
            let (kind, workspace) = (frame.kind, frame.workspace.clone());
            self.stack.frames[at..].rotate_left(1);
            if let (Kind::Full, Some(workspace)) = (kind, workspace) {
                let (taken, others) = self.stack.frames[at..].split_last_mut().unzip();
                let mut others = others.into_iter().flatten();
                if let Some(taken) = taken.filter(|_| others.any(|f| f.inherit(&workspace))) {
                    taken.kind = Kind::Continued;
                }
            }
        }
        self.pop(left);
    }

    pub(super) fn close_dead_here(&mut self) {
        while let Some(at) = self.stack.frames.iter().rposition(Frame::is_dead) {
            self.take_out(at, &mut Left::default());
        }
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

/// A scope that captures is closed.
#[cold]
fn end_capture(capture: Capture, workspace: Option<&Workspace>, left: &mut Left) {
    if let Some(workspace) = workspace {
        workspace.close_capture();
    }
    if capture == Capture::Installed {
        left.take_away(workspace.map(Workspace::serial));
    }
}
