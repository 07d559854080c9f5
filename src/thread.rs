//! One thread's side of things: its number, its open scopes, what is current, what it owns.
//!
//! Everything here is thread-local and safe. The end of the thread, and a fork, find all of it in one
//! place: the thread's workspaces end with it; a forked child starts with nothing and a new number.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::block;
use crate::cycle::Closed;
use crate::error::{Error, Facts, Result};
use crate::sync::lock;
use crate::workspace::{Shared, Workspace};

static NUMBERS: AtomicU64 = AtomicU64::new(1);
static SERIALS: AtomicU64 = AtomicU64::new(1);
static THREADS_IN_SCOPE: AtomicUsize = AtomicUsize::new(0);

const NOTHING_TO_ENTER: &str = "there is nothing to enter: name at least one array type";

thread_local! {
    static THREAD: RefCell<Thread> = RefCell::new(Thread::new());
}

/// What is known of the calling thread.
pub(crate) struct Thread {
    number: u64,
    forks: u64,
    current: Option<Workspace>,
    frames: Vec<Frame>,
    /// `with ws:` statements that have begun: their scopes have no object to tell them by.
    blocks: Vec<Block>,
    /// Registered workspaces.
    pub(crate) by_id: BTreeMap<String, Workspace>,
    /// Stand-ins made under BYPASS_EVERYTHING.
    pub(crate) dummies: BTreeMap<String, Option<Workspace>>,
    owned: Vec<Weak<Shared>>,
    inbox: Arc<Inbox>,
}

/// One running `with ws:`. Where it stands (a number of the caller's) tells it from others of the same
/// workspace, whose suspended generators and coroutines leave in any order.
struct Block {
    workspace: Workspace,
    place: usize,
    serial: u64,
}

/// One open scope.
struct Frame {
    serial: u64,
    kind: Kind,
    workspace: Option<Workspace>,
    previous: Option<Workspace>,
    lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Began a cycle; closing it ends the cycle.
    Full,
    /// Continues a running cycle: re-entry, borrow.
    Continued,
    /// No workspace is current.
    Out,
}

/// What other threads leave for a thread: scopes of its that ended over there.
#[derive(Debug)]
pub(crate) struct Inbox {
    forks: u64,
    /// The thread is over; its scopes are closed.
    ended: AtomicBool,
    full: AtomicBool,
    mail: Mutex<Vec<Mail>>,
}

#[derive(Debug)]
enum Mail {
    /// The scope's `__exit__` ran over there.
    Abandoned(RangeInclusive<u64>),
    /// The innermost `with ws:` of this workspace ended over there.
    AbandonedBlock(Workspace, usize),
    /// The scope's object died over there.
    Lost(RangeInclusive<u64>),
}

impl Inbox {
    /// Whether the thread is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn post(&self, mail: Mail) {
        lock(&self.mail).push(mail);
        self.full.store(true, Ordering::SeqCst);
    }
}

/// Names one open scope, or several that were opened together; may travel, but only its own thread can
/// close it.
#[derive(Clone, Debug)]
pub struct ScopeToken {
    serials: RangeInclusive<u64>,
    owner: u64,
    workspace: Option<Workspace>,
    inbox: Arc<Inbox>,
}

/// What a closed cycle has to tell.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose cycle it was.
    pub workspace: Workspace,
    /// Creation site of its last array, where debug is on.
    pub site: Option<String>,
    /// Arrays whose views are still alive.
    pub escaped: usize,
    /// Three cycles without one allocation.
    pub unused: bool,
    /// Many retired blocks alive at once.
    pub many_retired: bool,
}

impl Report {
    /// What is to be raised where its policy is [`EscapePolicy::Raise`](crate::EscapePolicy::Raise).
    pub fn escaped_error(&self) -> Error {
        let mut facts = self.workspace.facts();
        facts.array_generation = facts.workspace_generation;
        Error::Escaped { arrays: self.escaped, facts }
    }
}

/// What closing one or more scopes did.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Full cycles that ended, in their order.
    pub reports: Vec<Report>,
    /// Ids of scopes that were still open inside and were closed first, innermost first.
    pub left_open: Vec<String>,
}

impl Thread {
    fn new() -> Self {
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            forks: block::forks(),
            current: None,
            frames: Vec::new(),
            blocks: Vec::new(),
            by_id: BTreeMap::new(),
            dummies: BTreeMap::new(),
            owned: Vec::new(),
            inbox: Arc::new(Inbox {
                forks: block::forks(),
                ended: AtomicBool::new(false),
                full: AtomicBool::new(false),
                mail: Mutex::default(),
            }),
        }
    }

    fn open_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for workspace in self.frames.iter().filter_map(|f| f.workspace.as_ref()) {
            if !workspace.is_destroyed() && !ids.iter().any(|id| id == workspace.id()) {
                ids.push(workspace.id().to_owned());
            }
        }
        ids
    }

    /// Whether any scope of an open workspace is on the stack.
    pub(crate) fn has_open_scope(&self) -> bool {
        self.frames.iter().filter_map(|f| f.workspace.as_ref()).any(Workspace::is_scope_active)
    }

    fn facts(&self, workspace: Option<&Workspace>) -> Box<Facts> {
        Box::new(Facts {
            workspace_id: workspace.map(|w| w.id().to_owned()),
            workspace_generation: workspace.map(Workspace::generation_id),
            open_workspaces: Some(self.open_ids()),
            ..Facts::default()
        })
    }

    fn scope_error(&self, workspace: Option<&Workspace>, reason: String) -> Error {
        Error::Scope { reason, facts: self.facts(workspace) }
    }

    fn push(&mut self, kind: Kind, workspace: Option<Workspace>) -> ScopeToken {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let next = if kind == Kind::Out { None } else { workspace.clone() };
        let previous = std::mem::replace(&mut self.current, next);
        if self.frames.is_empty() {
            THREADS_IN_SCOPE.fetch_add(1, Ordering::SeqCst);
        }
        let lost = false;
        let opened = workspace.clone();
        self.frames.push(Frame { serial, kind, workspace: opened, previous, lost });
        let serials = serial..=serial;
        ScopeToken { serials, owner: self.number, workspace, inbox: Arc::clone(&self.inbox) }
    }

    fn pop(&mut self, left: &mut Left) -> Option<Frame> {
        let frame = self.frames.pop()?;
        if let (Kind::Full, Some(workspace)) = (frame.kind, &frame.workspace) {
            if !workspace.is_destroyed() {
                let Closed { site, escaped, unused, many_retired } = workspace.end_cycle();
                let workspace = workspace.clone();
                left.reports.push(Report { workspace, site, escaped, unused, many_retired });
            }
        }
        if let (true, Some(workspace)) = (frame.lost, &frame.workspace) {
            workspace.uncount_lost_scope();
        }
        self.current.clone_from(&frame.previous);
        self.drop_dead_current();
        if self.frames.is_empty() {
            THREADS_IN_SCOPE.fetch_sub(1, Ordering::SeqCst);
        }
        Some(frame)
    }

    /// A destroyed workspace stays current inside its own scopes only, where using it is refused.
    fn drop_dead_current(&mut self) {
        let is_dead = |w: &Workspace| {
            w.is_destroyed() && !self.frames.iter().any(|f| f.workspace.as_ref() == Some(w))
        };
        if self.current.as_ref().is_some_and(is_dead) {
            self.current = None;
        }
    }

    /// Where the open ones of these scopes stand; they are neighbours.
    fn frames_of(&self, serials: &RangeInclusive<u64>) -> Option<Range<usize>> {
        let is_named = |f: &Frame| serials.contains(&f.serial);
        let last = self.frames.iter().rposition(is_named)?;
        let named = self.frames[..last].iter().rev().take_while(|&f| is_named(f)).count();
        Some(last - named..last + 1)
    }

    /// Closes scopes with everything inside them, innermost first.
    fn unwind(&mut self, scopes: &Range<usize>, left: &mut Left) {
        while self.frames.len() > scopes.end {
            if let Some(frame) = self.pop(left) {
                left.left_open.push(frame.label());
            }
        }
        self.close_down_to(scopes.start, left);
    }

    fn close_down_to(&mut self, depth: usize, left: &mut Left) {
        while self.frames.len() > depth {
            self.pop(left);
        }
    }

    fn lose(&mut self, serials: &RangeInclusive<u64>) {
        self.frames.iter_mut().filter(|f| serials.contains(&f.serial)).for_each(Frame::lose);
    }

    /// Attends to what other threads left: silently, as nobody here asked.
    fn read_inbox(&mut self) {
        if !self.inbox.full.swap(false, Ordering::SeqCst) {
            return;
        }
        let mail = std::mem::take(&mut *lock(&self.inbox.mail));
        for letter in mail {
            let abandoned = match letter {
                Mail::Abandoned(serials) => self.frames_of(&serials),
                Mail::AbandonedBlock(workspace, place) => self.end_block(&workspace, place),
                Mail::Lost(serials) => {
                    self.lose(&serials);
                    None
                }
            };
            if let Some(scopes) = abandoned {
                self.unwind(&scopes, &mut Left::default());
            }
        }
    }

    /// Forgets the block that stands at `place`, else the workspace's latest; where its scope stands
    /// if that is still open.
    fn end_block(&mut self, workspace: &Workspace, place: usize) -> Option<Range<usize>> {
        let blocks = &self.blocks;
        let here = blocks.iter().rposition(|b| b.place == place && &b.workspace == workspace);
        let index = here.or_else(|| blocks.iter().rposition(|b| &b.workspace == workspace))?;
        let block = self.blocks.remove(index);
        self.frames_of(&(block.serial..=block.serial))
    }

    /// Attends to scopes whose objects died in other threads.
    fn read_losses(&mut self) {
        let lost = |letter: &Mail| matches!(letter, Mail::Lost(_));
        let (losses, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *lock(&self.inbox.mail)).into_iter().partition(lost);
        *lock(&self.inbox.mail) = rest;
        for letter in losses {
            if let Mail::Lost(serials) = letter {
                self.lose(&serials);
            }
        }
    }
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
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.forks == block::forks() {
            let mut left = Left::default();
            while self.pop(&mut left).is_some() {}
            self.inbox.ended.store(true, Ordering::SeqCst);
            for workspace in self.owned.iter().filter_map(Workspace::upgrade) {
                if !workspace.is_circular() {
                    workspace.destroy();
                }
            }
        }
    }
}

/// Runs on the calling thread's record; `None` once the thread is past its end.
pub(crate) fn with<R>(f: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    let forks = block::forks();
    THREAD
        .try_with(|cell| {
            let mut thread = cell.try_borrow_mut().ok()?;
            if thread.forks != forks {
                THREADS_IN_SCOPE.store(0, Ordering::SeqCst);
                let inherited = std::mem::replace(&mut *thread, Thread::new());
                drop(inherited);
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
pub(crate) fn owner_number() -> u64 {
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
    let removed = with(|t| match t.by_id.get(workspace.id()) {
        Some(registered) if registered == workspace => t.by_id.remove(workspace.id()),
        _ => None,
    });
    drop(removed);
}

/// Ids of the workspaces with an open scope in this thread, outermost first.
pub fn open_workspaces() -> Vec<String> {
    with(|t| t.open_ids()).unwrap_or_default()
}

/// How many scopes are open in this thread.
pub fn scope_depth() -> usize {
    with(|t| t.frames.len()).unwrap_or(0)
}

/// How many threads of the process have a scope open.
pub fn threads_in_scope() -> usize {
    THREADS_IN_SCOPE.load(Ordering::SeqCst)
}

/// Open scopes of the thread whose `Scope` object died without closing them.
pub fn lost_scopes() -> usize {
    with(|t| {
        t.read_inbox();
        t.frames.iter().filter(|f| f.lost).count()
    })
    .unwrap_or(0)
}

// ---------------------------------------------------------------------- what is current

/// The workspace that new arrays go to.
pub fn current_workspace() -> Option<Workspace> {
    with(|t| {
        t.drop_dead_current();
        t.current.clone()
    })
    .flatten()
}

pub(crate) fn is_current(workspace: &Workspace) -> bool {
    with(|t| t.current.as_ref() == Some(workspace)).unwrap_or(false)
}

/// Makes a workspace of this thread current without entering it; `None`: no workspace.
pub fn set_current_workspace(workspace: Option<&Workspace>) -> Result<()> {
    if let Some(workspace) = workspace {
        workspace.check_enter("current_workspace")?;
    }
    let workspace = workspace.filter(|w| !w.is_dummy()).cloned();
    let old = with(|t| std::mem::replace(&mut t.current, workspace)).ok_or_else(ended)?;
    drop(old);
    Ok(())
}

// ---------------------------------------------------------------------- scopes

/// Enters: a new cycle, or the running one if the workspace is open already.
pub fn enter(workspace: &Workspace) -> Result<ScopeToken> {
    workspace.check_enter("notify_scope_entered")?;
    with(|t| {
        t.read_inbox();
        t.enter(workspace)
    })
    .unwrap_or_else(|| Err(ended()))
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
    with(|t| {
        t.read_inbox();
        let depth = t.frames.len();
        let entered = t.enter_in_order(workspaces);
        if entered.is_err() {
            t.close_down_to(depth, &mut Left::default());
        }
        entered
    })
    .unwrap_or_else(|| Err(ended()))
}

/// Enters for a `with ws:` block that stands at `place`, to be left by [`exit_block`].
pub fn enter_block(workspace: &Workspace, place: usize) -> Result<()> {
    let serial = *enter(workspace)?.serials.end();
    let workspace = workspace.clone();
    with(|t| t.blocks.push(Block { workspace, place, serial })).ok_or_else(ended)
}

/// Leaves the `with ws:` block that stands at `place`; scopes still open inside are closed first.
/// In another thread: refused, and the owner closes it at its next enter or leave.
pub fn exit_block(workspace: &Workspace, place: usize) -> Result<Left> {
    let inbox = workspace.inbox();
    with(|t| {
        if inbox.forks != t.forks || inbox.has_ended() {
            return Ok(Left::default());
        }
        if !Arc::ptr_eq(inbox, &t.inbox) {
            inbox.post(Mail::AbandonedBlock(workspace.clone(), place));
            return Err(foreign_scope(t, Some(workspace)));
        }
        t.read_inbox();
        let mut left = Left::default();
        if let Some(scopes) = t.end_block(workspace, place) {
            t.unwind(&scopes, &mut left);
        }
        Ok(left)
    })
    .unwrap_or_else(|| Err(ended()))
}

/// Attends to scopes of this thread whose objects died elsewhere.
pub(crate) fn read_losses() {
    with(Thread::read_losses);
}

fn foreign_scope(t: &Thread, workspace: Option<&Workspace>) -> Error {
    let label = workspace.map_or("scope_out_of_workspaces", Workspace::id);
    let reason = format!(
        "a scope of [{label}] is closed in a thread that did not open it; close it in its own thread"
    );
    Error::WrongThread { reason, facts: t.facts(workspace) }
}

/// The calling thread's letter box.
pub(crate) fn own_inbox() -> Option<Arc<Inbox>> {
    with(|t| Arc::clone(&t.inbox))
}

/// Makes an open workspace current, in its running cycle.
pub fn borrow(workspace: &Workspace) -> Result<ScopeToken> {
    workspace.check_enter("notify_scope_borrowed")?;
    with(|t| {
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
    with(|t| {
        t.read_inbox();
        t.push(Kind::Out, None)
    })
    .ok_or_else(ended)
}

impl ScopeToken {
    /// The workspace it belongs to, if any.
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_ref()
    }

    /// `Err` unless the scope is open, in its own thread.
    pub fn check_open(&self) -> Result<()> {
        with(|t| {
            self.check_thread(t)?;
            if t.frames_of(&self.serials).is_some() {
                return Ok(());
            }
            let reason = "this scope is closed; enter the workspace again: \
                          `with ws.notify_scope_entered():`";
            Err(t.scope_error(self.workspace.as_ref(), reason.to_owned()))
        })
        .unwrap_or_else(|| Err(ended()))
    }

    /// Whether the scope is still open (asked in its own thread).
    pub fn is_open(&self) -> bool {
        with(|t| t.frames_of(&self.serials).is_some()).unwrap_or(false)
    }

    fn check_thread(&self, t: &Thread) -> Result<()> {
        if t.number == self.owner { Ok(()) } else { Err(foreign_scope(t, self.workspace.as_ref())) }
    }

    /// Explicit close: the innermost scope only; closed already is no error.
    pub fn close(&self) -> Result<Left> {
        with(|t| {
            if self.is_over(t) {
                return Ok(Left::default());
            }
            self.check_thread(t)?;
            t.read_inbox();
            let mut left = Left::default();
            let Some(scopes) = t.frames_of(&self.serials) else { return Ok(left) };
            t.close_innermost(&scopes, &mut left)?;
            Ok(left)
        })
        .unwrap_or_else(|| Err(ended()))
    }

    /// Leaving a `with` block: scopes still open inside are closed first and named.
    pub fn exit(&self) -> Result<Left> {
        with(|t| {
            if self.is_over(t) {
                return Ok(Left::default());
            }
            if let Err(error) = self.check_thread(t) {
                self.inbox.post(Mail::Abandoned(self.serials.clone()));
                return Err(error);
            }
            t.read_inbox();
            let mut left = Left::default();
            if let Some(scopes) = t.frames_of(&self.serials) {
                t.unwind(&scopes, &mut left);
            }
            Ok(left)
        })
        .unwrap_or_else(|| Err(ended()))
    }

    /// Its object died without `with`, `close` or `notify_scope_left`: the scope stays open and is
    /// counted as lost.
    pub fn lose(&self) {
        let here = with(|t| {
            if t.number != self.owner {
                return false;
            }
            t.lose(&self.serials);
            true
        });
        if here == Some(false) {
            self.inbox.post(Mail::Lost(self.serials.clone()));
        }
    }

    /// A scope opened before a fork, or in a thread that is over: it closes as a no-op.
    fn is_over(&self, t: &Thread) -> bool {
        self.inbox.forks != t.forks || self.inbox.has_ended()
    }
}

impl Thread {
    fn enter(&mut self, workspace: &Workspace) -> Result<ScopeToken> {
        let kind = match workspace {
            dummy if dummy.is_dummy() => Kind::Out,
            open if open.is_scope_active() => Kind::Continued,
            closed => {
                closed.begin_cycle(self.current.as_ref())?;
                Kind::Full
            }
        };
        Ok(self.push(kind, Some(workspace.clone())))
    }

    fn enter_in_order(&mut self, workspaces: &[Option<Workspace>]) -> Result<ScopeToken> {
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

    fn close_innermost(&mut self, scopes: &Range<usize>, left: &mut Left) -> Result<()> {
        if scopes.end < self.frames.len() {
            let inside: Vec<_> = self.frames[scopes.end..].iter().rev().map(Frame::label).collect();
            let frame = &self.frames[scopes.end - 1];
            let reason = format!(
                "a scope of [{}] is closed while scopes inside it are open: [{}]; scopes close in \
                 reverse order (a coroutine or generator suspended inside a `with` closes it out of \
                 order: leave the scope before `await` or `yield`)",
                frame.label(),
                inside.join(", ")
            );
            return Err(self.scope_error(frame.workspace.as_ref(), reason));
        }
        self.close_down_to(scopes.start, left);
        Ok(())
    }
}

/// Closes the innermost open scope of a workspace (`close`, `notifyScopeLeft`).
pub fn leave(workspace: &Workspace) -> Result<Left> {
    if workspace.inbox().forks != block::forks() {
        return Ok(Left::default());
    }
    workspace.check_owner("notify_scope_left")?;
    with(|t| {
        t.read_inbox();
        let mut left = Left::default();
        let Some(index) = t.frames.iter().rposition(|f| f.workspace.as_ref() == Some(workspace))
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
    with(|t| {
        let frame = t.frames.iter().rfind(|f| f.workspace.as_ref() == Some(workspace))?;
        Some(ScopeToken {
            serials: frame.serial..=frame.serial,
            owner: t.number,
            workspace: frame.workspace.clone(),
            inbox: Arc::clone(&t.inbox),
        })
    })
    .flatten()
}
