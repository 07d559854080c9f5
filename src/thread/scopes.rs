//! Entering and leaving, as the rest of the crate asks for it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frames::{Capture, Kind};
use super::inbox::{Inbox, Mail};
use super::left::Left;
use super::tasks::{TaskId, Whose, on_stack};
use super::{Thread, ended, with};
use crate::block;
use crate::error::{Error, Quick, Result};
use crate::workspace::Workspace;

/// Names one open scope, or several that were opened together; may travel, but only its own thread can
/// close it.
#[derive(Clone, Debug)]
pub struct ScopeToken {
    serials: Serials,
    owner: u64,
    opened: Opened,
}

/// The first and the last number; written by who has the token alone.
#[derive(Debug)]
struct Serials(AtomicU64, AtomicU64);

impl Clone for Serials {
    fn clone(&self) -> Self {
        Self::of(&self.get())
    }
}

impl Serials {
    fn of(range: &RangeInclusive<u64>) -> Self {
        Self(AtomicU64::new(*range.start()), AtomicU64::new(*range.end()))
    }

    #[inline]
    fn get(&self) -> RangeInclusive<u64> {
        self.0.load(Ordering::Relaxed)..=self.1.load(Ordering::Relaxed)
    }
}

/// What a scope is of.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Workspace(Workspace),
    /// No workspace is current inside; where its thread is reached.
    Out(Arc<Inbox>),
}

/// Enters: a new cycle, or the running one if the workspace is open already.
pub fn enter(workspace: &Workspace) -> Quick<ScopeToken> {
    let entered = on_stack(|t| {
        t.may_enter(workspace).then(|| {
            t.read_inbox();
            t.enter(workspace)
        })
    });
    entered.flatten().unwrap_or_else(|| refuse(workspace))
}

/// Why a workspace cannot be entered; asked once the thread's record is free again.
#[cold]
fn refuse<T>(workspace: &Workspace) -> Quick<T> {
    workspace.check_enter("notify_scope_entered")?;
    Err(Box::new(ended()))
}

/// Enters all of these, in their order, or none; `None` scopes out of workspaces. The token closes them
/// in reverse order; its workspace is the last one.
pub(crate) fn enter_all(workspaces: &[Option<Workspace>]) -> Result<ScopeToken> {
    for workspace in workspaces.iter().flatten() {
        workspace.check_enter("notify_scope_entered")?;
        if !workspace.is_scope_active() {
            workspace.prepare_cycle()?;
        }
    }
    on_stack(|t| {
        t.read_inbox();
        let depth = t.stack.frames.len();
        let entered = t.enter_in_order(workspaces);
        if entered.is_err() {
            t.close_down_to(depth, &mut Left::default());
        }
        entered
    })
    .unwrap_or_else(|| Err(ended()))
}

/// Enters for a `with ws:` block that stands at `place`, to be left by [`exit_block`].
/// `spare` is a handle of the same workspace, if there is one, for the scope to hold.
#[inline]
pub fn enter_block(
    workspace: &Workspace,
    spare: &mut Option<Workspace>,
    place: usize,
) -> Quick<()> {
    enter_with(workspace, spare, Some(place), Capture::No).map(drop)
}

#[inline]
fn enter_with(
    workspace: &Workspace,
    spare: &mut Option<Workspace>,
    place: Option<usize>,
    capture: Capture,
) -> Quick<u64> {
    debug_assert!(spare.as_ref().is_none_or(|spare| spare == workspace));
    let entered = on_stack(|t| {
        if !t.may_enter(workspace) {
            return None;
        }
        t.read_inbox();
        Some(t.enter_with(workspace, spare, place, capture))
    });
    entered.flatten().unwrap_or_else(|| refuse(workspace))
}

/// The same for an `async with ws:` block of the task that runs.
pub fn enter_task_block(workspace: &Workspace, place: usize, task: TaskId) -> Result<()> {
    workspace.check_enter("notify_scope_entered")?;
    with(|t| {
        t.read_inbox();
        t.switch(Whose::Task(task));
        t.begin_stack(task, t.stack.frames.len());
        let entered = t.enter_with(workspace, &mut None, Some(place), Capture::No);
        t.settle();
        entered?;
        Ok(())
    })
    .unwrap_or_else(|| Err(ended()))
}

/// Leaves the `with ws:` block that stands at `place`; scopes still open inside are closed first.
/// In another thread: refused, and the owner closes it at its next enter or leave. What the scope held comes
/// back as `spare`.
#[inline]
pub fn exit_block(
    workspace: &Workspace,
    place: usize,
    spare: &mut Option<Workspace>,
) -> Quick<Left> {
    on_stack(|t| {
        let mut left = Left::default();
        if !workspace.is_of(t.number) {
            return t.abandon_block(workspace, place).map(|()| left);
        }
        t.read_inbox();
        t.exit_block(workspace, place, &mut left, spare);
        Ok(left)
    })
    .unwrap_or_else(|| Err(Box::new(ended())))
}

impl Thread {
    /// Whether a workspace is one of this thread's, and not at its end.
    #[inline]
    fn may_enter(&self, workspace: &Workspace) -> bool {
        workspace.is_of(self.number) && !workspace.is_destroyed()
    }

    /// The end of a `with ws:` of another thread's, or of one that is over.
    #[cold]
    fn abandon_block(&self, workspace: &Workspace, place: usize) -> Quick<()> {
        let inbox = workspace.inbox();
        if inbox.forks != self.forks || inbox.has_ended() {
            return Ok(());
        }
        inbox.post(Mail::AbandonedBlock(workspace.clone(), place));
        Err(Box::new(foreign_scope(self, Some(workspace))))
    }
}

fn foreign_scope(t: &Thread, workspace: Option<&Workspace>) -> Error {
    let label = workspace.map_or("scope_out_of_workspaces", Workspace::id);
    let reason = format!(
        "a scope of [{label}] is closed in a thread that did not open it; close it in its own thread"
    );
    Error::WrongThread { reason, facts: t.facts(workspace) }
}

/// Makes an open workspace current, in its running cycle.
pub fn borrow(workspace: &Workspace) -> Result<ScopeToken> {
    workspace.check_enter("notify_scope_borrowed")?;
    on_stack(|t| {
        t.read_inbox();
        if workspace.is_dummy() {
            return Ok(t.push(Kind::Out, Some(workspace.clone())));
        }
        if !workspace.is_scope_active() {
            let reason = format!(
                "workspace [{}] is not open, so it cannot be borrowed; enter it: \
                 `with ws.notify_scope_entered():`",
                workspace.id()
            );
            return Err(t.scope_error(Some(workspace), reason));
        }
        Ok(t.push(Kind::Continued, Some(workspace.clone())))
    })
    .unwrap_or_else(|| Err(ended()))
}

/// Inside, no workspace is current while all stay open.
pub fn scope_out_of_workspaces() -> Result<ScopeToken> {
    on_stack(|t| {
        t.read_inbox();
        t.push(Kind::Out, None)
    })
    .ok_or_else(ended)
}

/// Closes the innermost open scope of a workspace (`close`, `notifyScopeLeft`).
pub fn leave(workspace: &Workspace) -> Result<Left> {
    if workspace.inbox().forks != block::forks() {
        return Ok(Left::default());
    }
    workspace.check_owner("notify_scope_left")?;
    on_stack(|t| {
        t.read_inbox();
        let mut left = Left::default();
        let frames = &t.stack.frames;
        let Some(index) = frames.iter().rposition(|f| f.workspace.as_ref() == Some(workspace))
        else {
            let reason = format!("workspace [{}] has no open scope to close", workspace.id());
            return Err(t.scope_error(Some(workspace), reason));
        };
        t.close_innermost(&(index..index + 1), &mut left)?;
        Ok(left)
    })
    .unwrap_or_else(|| Err(ended()))
}

/// The token of a workspace's innermost open scope, if any.
pub fn innermost(workspace: &Workspace) -> Option<ScopeToken> {
    on_stack(|t| {
        let frame = t.stack.frames.iter().rfind(|f| f.workspace.as_ref() == Some(workspace))?;
        let opened = Opened::Workspace(workspace.clone());
        Some(ScopeToken::new(frame.serial..=frame.serial, t.number, opened))
    })
    .flatten()
}

impl ScopeToken {
    pub(super) fn new(serials: RangeInclusive<u64>, owner: u64, opened: Opened) -> Self {
        Self { serials: Serials::of(&serials), owner, opened }
    }

    /// The same, of all scopes from `first` on.
    pub(super) fn from(self, first: u64) -> Self {
        self.serials.0.store(first, Ordering::Relaxed);
        self
    }

    /// Enters the workspace again with this token, whose scope is closed and which nobody else looks at:
    /// from now on it names the new scope. `spare` is as in [`enter_block`].
    #[inline]
    pub fn enter_again(
        &self,
        workspace: &Workspace,
        spare: &mut Option<Workspace>,
        capture: Capture,
    ) -> Quick<()> {
        debug_assert!(self.workspace() == Some(workspace));
        let serial = enter_with(workspace, spare, None, capture)?;
        self.serials.0.store(serial, Ordering::Relaxed);
        self.serials.1.store(serial, Ordering::Relaxed);
        Ok(())
    }

    /// The workspace it belongs to, if any.
    pub fn workspace(&self) -> Option<&Workspace> {
        match &self.opened {
            Opened::Workspace(workspace) => Some(workspace),
            Opened::Out(_) => None,
        }
    }

    fn inbox(&self) -> &Inbox {
        match &self.opened {
            Opened::Workspace(workspace) => workspace.inbox(),
            Opened::Out(inbox) => inbox,
        }
    }

    /// `Err` unless the scope is open, in its own thread and task.
    pub fn check_open(&self) -> Result<()> {
        on_stack(|t| {
            if t.number == self.owner && t.stack.ends_with(&self.serials.get()) {
                return Ok(());
            }
            self.open_frames(t).map(drop)
        })
        .unwrap_or_else(|| Err(ended()))
    }

    fn open_frames(&self, t: &Thread) -> Result<std::ops::Range<usize>> {
        self.check_thread(t)?;
        t.own_frames(&self.serials.get(), self.workspace())?.ok_or_else(|| {
            let reason = "this scope is closed; enter the workspace again: \
                          `with ws.notify_scope_entered():`";
            t.scope_error(self.workspace(), reason.to_owned())
        })
    }

    /// Whether the scope is still open (asked in its own thread).
    pub fn is_open(&self) -> bool {
        with(|t| t.is_open(&self.serials.get())).unwrap_or(false)
    }

    fn check_thread(&self, t: &Thread) -> Result<()> {
        if t.number == self.owner { Ok(()) } else { Err(self.foreign(t)) }
    }

    fn foreign(&self, t: &Thread) -> Error {
        foreign_scope(t, self.workspace())
    }

    /// The end of the `with` of another thread's scope, which closes it later, or of one that is over.
    #[cold]
    fn abandon(&self, t: &Thread) -> Quick<()> {
        if self.is_over(t) {
            return Ok(());
        }
        self.inbox().post(Mail::Abandoned(self.serials.get()));
        Err(Box::new(self.foreign(t)))
    }

    /// The scope, which must be the innermost one, becomes one of the task that runs: from its first on
    /// a task has a stack of its own.
    pub fn move_to_task(&self, task: TaskId) -> Result<()> {
        with(|t| {
            t.switch(Whose::Task(task));
            let scopes = self.open_frames(t)?;
            let cure = "enter and `async with` belong together: write \
                        `async with ws.notify_scope_entered():`";
            t.check_innermost(&scopes, "is to be the task's", cure)?;
            t.begin_stack(task, scopes.start);
            Ok(())
        })
        .unwrap_or_else(|| Err(ended()))
    }

    /// From now on the scope captures NumPy's own allocations; out of workspaces it keeps others from it.
    /// `Left::handlers` names what it installed.
    pub fn capture(&self, how: Capture) {
        if how == Capture::No {
            return;
        }
        on_stack(|t| {
            if let Some(scopes) = t.stack.frames_of(&self.serials.get()) {
                t.stack.frames[scopes.end - 1].begin_capture(how);
            }
        });
    }

    /// Explicit close: the innermost scope only; closed already is no error.
    pub fn close(&self) -> Result<Left> {
        on_stack(|t| {
            let mut left = Left::default();
            if t.number != self.owner {
                return if self.is_over(t) { Ok(left) } else { Err(self.foreign(t)) };
            }
            t.read_inbox();
            if let Some(scopes) = t.own_frames(&self.serials.get(), self.workspace())? {
                t.close_innermost(&scopes, &mut left)?;
            }
            Ok(left)
        })
        .unwrap_or_else(|| Err(ended()))
    }

    /// Closes the scope wherever it stands; scopes inside it stay open. Closed already is no error.
    pub fn leave_apart(&self) -> Result<Left> {
        on_stack(|t| {
            let mut left = Left::default();
            if t.number != self.owner {
                return if self.is_over(t) { Ok(left) } else { Err(self.foreign(t)) };
            }
            t.read_inbox();
            if let Some(scopes) = t.own_frames(&self.serials.get(), self.workspace())? {
                scopes.rev().for_each(|at| t.take_out(at, &mut left));
            }
            Ok(left)
        })
        .unwrap_or_else(|| Err(ended()))
    }

    /// Leaving a `with` block: scopes still open inside are closed first and named.
    pub fn exit(&self) -> Quick<Left> {
        self.exit_with(&mut None)
    }

    /// The same; what the scope held comes back as `spare`.
    #[inline]
    pub fn exit_with(&self, spare: &mut Option<Workspace>) -> Quick<Left> {
        with(|t| {
            let mut left = Left::default();
            if t.number != self.owner {
                return self.abandon(t).map(|()| left);
            }
            t.read_inbox();
            if t.stack.ends_with_object(&self.serials.get()) {
                *spare = t.end_innermost(&mut left);
                t.settle();
            } else {
                t.exit(&self.serials.get(), &mut left);
            }
            Ok(left)
        })
        .unwrap_or_else(|| Err(Box::new(ended())))
    }

    /// Its object died without `with`, `close` or `notify_scope_left`: the scope stays open and is
    /// counted as lost.
    pub fn lose(&self) {
        let here = with(|t| {
            if t.number != self.owner {
                return false;
            }
            t.lose(&self.serials.get());
            true
        });
        if here == Some(false) {
            self.inbox().post(Mail::Lost(self.serials.get()));
        }
    }

    /// A scope opened before a fork, or in a thread that is over: it closes as a no-op.
    fn is_over(&self, t: &Thread) -> bool {
        self.inbox().forks != t.forks || self.inbox().has_ended()
    }
}
