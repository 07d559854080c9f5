//! Tasks of a thread that have a stack of their own: those inside a scope that may span an `await`.
//!
//! The stack of the code that runs is in place, the others are asleep. What a task is, the binding
//! knows: it is asked which one runs, and only while some task of the thread has a stack.

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::inbox::{Inbox, Mail};
use super::stack::{Current, Stack};
use super::{Left, THREAD, Thread, ended, own_inbox, with};
use crate::error::Result;
use crate::workspace::Workspace;

static IDS: AtomicU64 = AtomicU64::new(1);
static FINDER: OnceLock<fn() -> Option<TaskId>> = OnceLock::new();

/// Names a task; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

/// Whose a stack is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Thread,
    Task(TaskId),
}

/// A task of the thread that made this. Dropped when the task is over, in whatever thread: scopes that
/// it left open are closed at the owner's next enter or leave.
#[derive(Debug)]
pub struct Task {
    id: TaskId,
    inbox: Arc<Inbox>,
}

impl Task {
    /// A task of the calling thread.
    pub fn new() -> Result<Self> {
        let inbox = own_inbox().ok_or_else(ended)?;
        Ok(Self { id: TaskId(IDS.fetch_add(1, Ordering::Relaxed)), inbox })
    }

    /// Its name.
    pub fn id(&self) -> TaskId {
        self.id
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.inbox.post(Mail::TaskEnded(self.id));
    }
}

/// Says, once, how the task that runs in the calling thread is found.
pub fn set_task_finder(finder: fn() -> Option<TaskId>) {
    FINDER.get_or_init(|| finder);
}

fn running_task() -> Option<TaskId> {
    // Not while the record is in use: the finder may run code of others, which may come back here.
    let is_free = THREAD.try_with(|cell| cell.try_borrow().is_ok()).unwrap_or(false);
    FINDER.get().filter(|_| is_free).and_then(|find| find())
}

/// Runs on the calling thread's record with the stack of the running code in place.
#[inline]
pub(super) fn on_stack<R>(f: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    match with(|t| if t.asleep.is_empty() { Ok(f(t)) } else { Err(f) })? {
        Ok(result) => Some(result),
        Err(f) => on_stack_of_running_task(f),
    }
}

#[cold]
fn on_stack_of_running_task<R>(f: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    let runs = running_task().map_or(Whose::Thread, Whose::Task);
    with(|t| {
        t.switch(runs);
        let result = f(t);
        t.settle();
        result
    })
}

impl Thread {
    /// Puts a task's stack in place; a task without one uses the thread's.
    #[inline]
    pub(super) fn switch(&mut self, to: Whose) {
        if to != self.running {
            self.put_in_place(to);
        }
    }

    fn put_in_place(&mut self, to: Whose) {
        let to = if self.asleep.contains_key(&to) { to } else { Whose::Thread };
        if to == self.running {
            return;
        }
        let next = self.asleep.remove(&to).unwrap_or_default();
        let last = std::mem::replace(&mut self.stack, next);
        let whose = std::mem::replace(&mut self.running, to);
        if whose == Whose::Thread || !last.is_empty() {
            self.asleep.insert(whose, last);
        }
    }

    /// A task's stack ends with its last scope.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.running != Whose::Thread && self.stack.is_empty() {
            self.switch(Whose::Thread);
        }
    }

    /// Gives a task a stack of its own, unless it has one: the thread's innermost scopes, from `depth`
    /// on, move there.
    pub(super) fn begin_stack(&mut self, task: TaskId, depth: usize) {
        if self.running != Whose::Thread {
            return;
        }
        let mut moved = self.stack.frames.split_off(depth);
        let current = match moved.first_mut() {
            Some(first) => {
                let before = std::mem::take(&mut first.previous);
                let current = std::mem::replace(&mut self.stack.current, before);
                first.previous = Current::of(self.stack.current().cloned());
                current
            }
            None => Current::of(self.stack.current().cloned()),
        };
        let own = std::mem::replace(&mut self.stack, Stack::new(current, moved));
        self.asleep.insert(self.running, own);
        self.running = Whose::Task(task);
    }

    /// Closes what a task that is over left open.
    pub(super) fn end_task(&mut self, task: TaskId) {
        let task = Whose::Task(task);
        self.on_stack_of(task, |t| {
            if t.running == task {
                t.close_down_to(0, &mut Left::default());
                t.stack.forget_blocks();
            }
        });
    }

    /// Another task is still inside: its scope will end the cycle.
    pub(super) fn hand_over(&mut self, workspace: &Workspace) -> bool {
        if self.asleep.is_empty() {
            return false;
        }
        let frames = self.asleep.values_mut().flat_map(|stack| stack.frames.iter_mut());
        frames.into_iter().any(|frame| frame.inherit(workspace))
    }

    /// Whether no scope is open, on any stack.
    pub(super) fn is_idle(&self) -> bool {
        self.stack.frames.is_empty()
            && (self.asleep.is_empty() || self.asleep.values().all(|s| s.frames.is_empty()))
    }

    pub(super) fn depth(&self) -> usize {
        let asleep: usize = self.asleep.values().map(|s| s.frames.len()).sum();
        self.stack.frames.len() + asleep
    }

    fn on_stack_of<R>(&mut self, whose: Whose, f: impl FnOnce(&mut Self) -> R) -> R {
        let here = self.running;
        self.switch(whose);
        let result = f(self);
        self.settle();
        self.switch(here);
        result
    }

    /// The stack for which that holds, the one in place asked first.
    fn find_stack(&self, holds: impl Fn(&Stack) -> bool) -> Option<Whose> {
        if holds(&self.stack) {
            return Some(self.running);
        }
        self.asleep.iter().find(|(_, stack)| holds(stack)).map(|(whose, _)| *whose)
    }

    /// Where these scopes stand, if they are open, on whatever stack.
    pub(super) fn is_open(&self, serials: &RangeInclusive<u64>) -> bool {
        self.find_stack(|s| s.frames_of(serials).is_some()).is_some()
    }

    /// Marks scopes whose object died, on whatever stack they are.
    pub(super) fn lose(&mut self, serials: &RangeInclusive<u64>) {
        self.stack.lose(serials);
        self.asleep.values_mut().for_each(|stack| stack.lose(serials));
        self.close_dead();
    }

    /// Closes the scopes that nobody else can.
    pub(super) fn close_dead(&mut self) {
        while let Some(whose) = self.find_stack(Stack::has_dead) {
            self.on_stack_of(whose, Self::close_dead_here);
        }
    }

    /// The end of a `with`: its scopes are closed on the stack where they stand, with all inside.
    pub(super) fn exit(&mut self, serials: &RangeInclusive<u64>, left: &mut Left) {
        if let Some(scopes) = self.stack.frames_of(serials) {
            self.unwind(&scopes, left);
            return self.settle();
        }
        let Some(whose) = self.find_stack(|s| s.frames_of(serials).is_some()) else { return };
        self.on_stack_of(whose, |t| t.exit(serials, left));
    }

    /// The end of the `with ws:` that stands at `place`, else of the workspace's latest.
    #[inline]
    pub(super) fn exit_block(
        &mut self,
        workspace: &Workspace,
        place: usize,
        left: &mut Left,
        spare: &mut Option<Workspace>,
    ) {
        if self.stack.ends_with_block(workspace, place) {
            *spare = self.end_innermost(left);
            return self.settle();
        }
        self.exit_block_aside(workspace, place, left);
    }

    #[cold]
    fn exit_block_aside(&mut self, workspace: &Workspace, place: usize, left: &mut Left) {
        let at_place = self.find_stack(|s| s.block_of(workspace, Some(place)).is_some());
        let place = at_place.map(|_| place);
        let latest = || self.find_stack(|s| s.block_of(workspace, None).is_some());
        let Some(whose) = at_place.or_else(latest) else { return };
        self.on_stack_of(whose, |t| {
            let Some(serial) = t.stack.block_of(workspace, place) else { return };
            if let Some(scopes) = t.stack.frames_of(&(serial..=serial)) {
                t.unwind(&scopes, left);
            }
            t.stack.end_bereft(serial);
        });
    }

    /// Where scopes stand on the stack in place. `Err` if another one has them: they are its to close.
    pub(super) fn own_frames(
        &self,
        serials: &RangeInclusive<u64>,
        workspace: Option<&Workspace>,
    ) -> Result<Option<Range<usize>>> {
        let here = self.stack.frames_of(serials);
        if here.is_some() || !self.is_open(serials) {
            return Ok(here);
        }
        let label = workspace.map_or("scope_out_of_workspaces", Workspace::id);
        let reason = format!(
            "a scope of [{label}] was opened by another task of this thread, or before this task had \
             scopes of its own; it is left where it was entered: write `async with \
             ws.notify_scope_entered():` in the task that is to be inside"
        );
        Err(self.scope_error(workspace, reason))
    }
}
