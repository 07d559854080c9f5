//! One thread's side of things: its number, its open scopes, what is current, what it owns.
//!
//! Everything here is thread-local and safe. The end of the thread, and a fork, find all of it in one
//! place: the thread's workspaces end with it; a forked child starts with nothing and a new number.

mod frames;
mod inbox;
mod left;
mod mailbox;
mod registered;
mod scopes;
mod stack;
mod tasks;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::block;
use crate::error::{Error, Facts, Result};
#[cfg(loom)]
use crate::sync::LocalCell;
use crate::sync::{lock, thread_locals};
use crate::workspace::{Shared, Workspace};

use registered::Registered;
use stack::{Current, Stack};
use tasks::{Whose, on_stack};

pub use frames::Capture;
pub(crate) use inbox::Inbox;
pub use left::{Left, Report, Told};
#[cfg(feature = "python")]
pub(crate) use registered::changes;
pub(crate) use scopes::enter_all;
pub use scopes::{
    ScopeToken, borrow, enter, enter_block, enter_task_block, exit_block, innermost, leave,
    scope_out_of_workspaces,
};
pub use tasks::{Task, TaskId, set_task_finder};

static NUMBERS: AtomicU64 = AtomicU64::new(1);
/// Of all threads, by depth of forks: see `workspace::ALL`.
static INBOXES: [Mutex<Vec<Weak<Inbox>>>; 16] = [const { Mutex::new(Vec::new()) }; 16];

thread_locals! {
    static THREAD: RefCell<Thread> = RefCell::new(Thread::new());
    /// The thread's number, and the forks at which it was drawn.
    static NUMBER: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// The number of the record, if there is one and no `Plain` lives: where captured memory may be taken.
    static CAPTURES: Cell<u64> = const { Cell::new(0) };
}

/// While it lives, nothing is captured in this thread.
#[derive(Debug)]
pub struct Plain {
    number: u64,
    own_thread: PhantomData<*const ()>,
}

/// What NumPy makes from now on is to lie outside every workspace.
#[must_use = "until this is dropped"]
pub fn plain_results() -> Plain {
    Plain { number: CAPTURES.replace(0), own_thread: PhantomData }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if CAPTURES.get() == 0 {
            CAPTURES.set(self.number);
        }
    }
}

/// Whether captured memory may be taken in the calling thread: it has this number, and no `Plain` lives.
pub(crate) fn captures(owner: u64) -> bool {
    CAPTURES.get() == owner
}

fn inboxes() -> MutexGuard<'static, Vec<Weak<Inbox>>> {
    lock(&INBOXES[usize::try_from(block::forks()).unwrap_or(0) % INBOXES.len()])
}

/// What is known of the calling thread.
pub(crate) struct Thread {
    number: u64,
    forks: u64,
    /// Of the scope entered last.
    serial: u64,
    /// The stack in place.
    stack: Stack,
    /// Whose that is.
    running: Whose,
    /// The other stacks.
    asleep: BTreeMap<Whose, Stack>,
    /// Registered workspaces.
    pub(crate) by_id: Registered,
    /// Stand-ins made under BYPASS_EVERYTHING.
    pub(crate) dummies: BTreeMap<String, Option<Workspace>>,
    owned: Vec<Weak<Shared>>,
    inbox: Arc<Inbox>,
}

impl Thread {
    fn new() -> Self {
        block::count_forks();
        let (number, forks) = (NUMBERS.fetch_add(1, Ordering::Relaxed), block::forks());
        NUMBER.set((number, forks));
        CAPTURES.set(number);
        let inbox = Arc::new(Inbox::new());
        let mut inboxes = inboxes();
        if inboxes.len() == inboxes.capacity() {
            inboxes.retain(|inbox| inbox.strong_count() > 0);
        }
        inboxes.push(Arc::downgrade(&inbox));
        Self {
            number,
            forks,
            serial: 0,
            stack: Stack::default(),
            running: Whose::Thread,
            asleep: BTreeMap::new(),
            by_id: Registered::default(),
            dummies: BTreeMap::new(),
            owned: Vec::new(),
            inbox,
        }
    }

    /// In a forked child: nothing is open, and the number is new.
    #[cold]
    fn begin_anew(&mut self) {
        let inherited = std::mem::replace(self, Self::new());
        drop(inherited);
    }

    fn facts(&self, workspace: Option<&Workspace>) -> Box<Facts> {
        Box::new(Facts {
            workspace_id: workspace.map(|w| w.id().to_owned()),
            workspace_generation: workspace.map(Workspace::generation_id),
            open_workspaces: Some(self.stack.open_ids()),
            ..Facts::default()
        })
    }

    fn scope_error(&self, workspace: Option<&Workspace>, reason: String) -> Error {
        Error::Scope { reason, facts: self.facts(workspace) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if NUMBER.get().0 == self.number {
            NUMBER.set((0, 0));
        }
        if self.forks == block::forks() {
            self.close_down_to(0, &mut Left::default());
            while let Some((_, stack)) = self.asleep.pop_first() {
                self.stack = stack;
                self.close_down_to(0, &mut Left::default());
            }
            self.inbox.end();
            for workspace in self.owned.iter().filter_map(Workspace::upgrade) {
                if !workspace.is_circular() {
                    workspace.destroy();
                }
            }
        }
    }
}

/// Runs on the calling thread's record; `None` once the thread is past its end.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    let forks = block::forks();
    THREAD
        .try_with(|cell| {
            let mut thread = cell.try_borrow_mut().ok()?;
            if thread.forks != forks {
                thread.begin_anew();
            }
            Some(f(&mut thread))
        })
        .ok()
        .flatten()
}

/// The end of the calling thread, as far as workspaces are concerned: open scopes are closed, its
/// scoped workspaces destroyed. Happens by itself when the thread ends; a binding may know earlier.
pub fn end_thread() {
    let over = with(|t| std::mem::replace(t, Thread::new()));
    drop(over);
}

pub(crate) fn ended() -> Error {
    let reason = "this thread is past its end: workspaces can no longer be used in it".to_owned();
    Error::WrongThread { reason, facts: Box::default() }
}

// ---------------------------------------------------------------------- the thread

/// The calling thread's number; never used twice in a process, new in a forked child.
#[inline]
pub(crate) fn owner_number() -> u64 {
    let (number, forks) = NUMBER.get();
    if number > 0 && forks == block::forks() {
        return number;
    }
    with(|t| t.number).unwrap_or(0)
}

pub(crate) fn note_owned(workspace: &Workspace) {
    with(|t| {
        if t.owned.len() == t.owned.capacity() {
            t.owned.retain(|w| w.strong_count() > 0);
        }
        t.owned.push(workspace.downgrade());
    });
}

/// A destroyed workspace leaves the calling thread's registry; its id is free again.
pub(crate) fn forget(workspace: &Workspace) {
    let removed = with(|t| {
        t.close_dead();
        match t.by_id.get(workspace.id()) {
            Some(registered) if registered == workspace => t.by_id.change().remove(workspace.id()),
            _ => None,
        }
    });
    drop(removed);
}

/// The calling thread's letter box.
pub(crate) fn own_inbox() -> Option<Arc<Inbox>> {
    with(|t| Arc::clone(&t.inbox))
}

/// Attends to scopes of this thread whose objects died elsewhere.
pub(crate) fn read_losses() {
    with(Thread::read_losses);
}

/// How many scopes are open in this thread, in all its tasks.
pub fn scope_depth() -> usize {
    with(|t| t.depth()).unwrap_or(0)
}

/// How many threads of the process have a scope open.
pub fn threads_in_scope() -> usize {
    let inboxes = inboxes();
    inboxes.iter().filter_map(Weak::upgrade).filter(|inbox| inbox.is_busy()).count()
}

// ---------------------------------------------------------------------- the stack of the running code

/// Ids of the workspaces with an open scope around the running code, outermost first.
pub fn open_workspaces() -> Vec<String> {
    on_stack(|t| t.stack.open_ids()).unwrap_or_default()
}

/// Whether there is an open workspace among them.
pub fn any_workspace_active() -> bool {
    on_stack(|t| {
        let workspaces = t.stack.frames.iter().filter_map(|f| f.workspace.as_ref());
        workspaces.into_iter().any(Workspace::is_scope_active)
    })
    .unwrap_or(false)
}

/// Open scopes around the running code whose `Scope` object died without closing them.
pub fn lost_scopes() -> usize {
    on_stack(|t| {
        t.read_inbox();
        let is_over = |w: &Workspace| w.is_destroyed();
        let is_lost = |f: &&frames::Frame| f.lost && !f.workspace.as_ref().is_some_and(is_over);
        t.stack.frames.iter().filter(is_lost).count()
    })
    .unwrap_or(0)
}

/// The workspace that new arrays go to.
pub fn current_workspace() -> Option<Workspace> {
    on_stack(|t| {
        t.stack.drop_dead_current();
        t.stack.current().cloned()
    })
    .flatten()
}

/// What `look` makes of the workspace that new arrays go to.
#[cfg(feature = "python")]
#[inline]
pub(crate) fn with_current<R>(look: impl FnOnce(&Workspace) -> R) -> Option<R> {
    on_stack(|t| {
        t.stack.drop_dead_current();
        t.stack.current().map(look)
    })
    .flatten()
}

pub(crate) fn is_current(workspace: &Workspace) -> bool {
    on_stack(|t| t.stack.current() == Some(workspace)).unwrap_or(false)
}

/// Makes a workspace of this thread current without entering it; `None`: no workspace.
pub fn set_current_workspace(workspace: Option<&Workspace>) -> Result<()> {
    if let Some(workspace) = workspace {
        workspace.check_enter("current_workspace")?;
    }
    let workspace = workspace.filter(|w| !w.is_dummy()).cloned();
    let next = Current::of(workspace);
    let old = on_stack(|t| std::mem::replace(&mut t.stack.current, next)).ok_or_else(ended)?;
    drop(old);
    Ok(())
}
