//! A workspace: id, owner thread, configuration, clock; its memory and counters behind one lock.
//!
//! Others see of it the clock (an atomic) and `Arc<Block>`s. Owner-only calls compare thread numbers
//! first. The lock is held for bookkeeping only, never while foreign code runs.

mod captured;
mod control;
mod cycles;
mod lending;
mod memory;
mod stats;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use crate::block;
use crate::clock::Clock;
use crate::config::{LocationPolicy, ResetPolicy, WorkspaceConfiguration, WorkspaceType};
use crate::cycle::{Bounds, State};
use crate::error::{Error, Facts, Result};
use crate::latch::{Held, Latch};
use crate::mapping::{self, Made};
use crate::registry;
use crate::sync::lock;
use crate::thread::{self, Inbox};

use memory::full;

pub use captured::{Captured, Holder, set_capture_floor};
pub use memory::allocated_bytes;
pub use stats::WorkspaceStats;

/// Id of a workspace for which none was given.
pub const DEFAULT_WORKSPACE_ID: &str = "DefaultWorkspace";

/// Whoever comes has to look at the books.
const STIRRED: u8 = 0;
/// A full enter finds them as it wants them.
const ENTERABLE: u8 = 1;
/// So does the close of a cycle in which nothing was cut: it counts itself and that is all.
const IDLE: u8 = 2;

static SERIALS: AtomicU64 = AtomicU64::new(1);
/// All workspaces; one list per depth of forks, because a thread that a fork did not bring along may
/// have held the lock of its own depth.
static ALL: [Mutex<Vec<Weak<Shared>>>; 16] = [const { Mutex::new(Vec::new()) }; 16];

fn all() -> MutexGuard<'static, Vec<Weak<Shared>>> {
    lock(&ALL[usize::try_from(block::forks()).unwrap_or(0) % ALL.len()])
}

/// Memory that is taken once and used again in every turn of a loop.
///
/// A handle; clones are the same workspace. The workspace owns its memory and frees it once no handle,
/// array, lease or open scope needs it.
#[derive(Clone)]
pub struct Workspace(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    id: String,
    serial: u64,
    owner: u64,
    thread_id: u64,
    forks: u64,
    inbox: Arc<Inbox>,
    kind: WorkspaceType,
    configuration: WorkspaceConfiguration,
    made: Option<Made>,
    clock: Clock,
    generation: AtomicU64,
    destroyed: AtomicBool,
    debug: AtomicBool,
    /// Who need not look at the books; written by the owner, and at the end of the workspace.
    rest: AtomicU8,
    /// Full closes that did not, since the last one that did.
    unwritten: AtomicU64,
    /// Where `Kept::parent` is; written with it.
    parent_at: AtomicPtr<Shared>,
    /// Of captured memory, once there may be some.
    bounds: OnceLock<Arc<Bounds>>,
    /// Captured memory may outlive the rest.
    state: Arc<Latch<Kept>>,
}

/// What the lock keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    state: State,
    /// What was current at the running full enter.
    parent: Option<Weak<Shared>>,
    /// Pieces that were cut and have not died.
    tenants: u64,
    /// Keeps the workspace for them, so that each need not count itself as a handle.
    resident: Option<Workspace>,
}

impl Kept {
    fn new(state: State) -> Self {
        Self { state, parent: None, tenants: 0, resident: None }
    }

    /// So many more pieces were cut from the workspace.
    #[inline]
    fn admit(&mut self, count: usize, workspace: &Workspace) {
        self.tenants += count as u64;
        if self.resident.is_none() && count > 0 {
            self.resident = Some(workspace.clone());
        }
    }

    /// What kept the workspace, if no piece is left; to be dropped when the lock is given back.
    #[inline]
    #[must_use = "until the lock is given back"]
    fn move_out(&mut self) -> Option<Workspace> {
        if self.tenants == 0 { self.resident.take() } else { None }
    }
}

impl Deref for Kept {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if Arc::strong_count(&self.state) > 1 {
            if let Some(mut state) = lock_after_forks(&self.state, self.forks) {
                state.destroy();
            }
        }
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workspace([{}], serial {})", self.0.id, self.0.serial)
    }
}

impl PartialEq for Workspace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Workspace {}

impl Workspace {
    /// A workspace owned by the calling thread and in no registry.
    pub fn new(configuration: WorkspaceConfiguration, id: &str) -> Result<Self> {
        Self::replacing(None, configuration, id)
    }

    /// The same; what it replaces ends, or nothing has changed.
    pub(crate) fn replacing(
        old: Option<&Self>,
        configuration: WorkspaceConfiguration,
        id: &str,
    ) -> Result<Self> {
        let kind = if configuration.policy_reset == ResetPolicy::EndOfBufferReached {
            WorkspaceType::Circular
        } else {
            WorkspaceType::Scoped
        };
        let workspace = Self::of_kind(kind, configuration, id, old)?;
        let Some(old) = old else { return Ok(workspace) };
        old.destroy();
        if workspace.arena().is_some_and(|block| block.is_viewed_file()) {
            workspace.destroy(); // another thread took a lease on the old one in the meantime
            return Err(mapping::still_viewed(&workspace.0.configuration, id));
        }
        Ok(workspace)
    }

    /// The stand-in of BYPASS_EVERYTHING: nothing is ever cut from it.
    pub(crate) fn dummy(id: &str) -> Result<Self> {
        Self::of_kind(WorkspaceType::Dummy, WorkspaceConfiguration::default(), id, None)
    }

    fn of_kind(
        kind: WorkspaceType,
        configuration: WorkspaceConfiguration,
        id: &str,
        old: Option<&Self>,
    ) -> Result<Self> {
        let owner = thread::owner_number();
        let inbox = thread::own_inbox().ok_or_else(thread::ended)?;
        let old = old.and_then(Self::arena);
        let opened = mapping::open(&configuration, id, old.as_deref())?;
        let (file, made) = opened.map_or((None, None), |(block, made)| (Some(block), made));
        let state = State::new(&configuration, file).map_err(|refused| full(id, refused))?;
        let workspace = Self(Arc::new(Shared {
            id: id.to_owned(),
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            owner,
            thread_id: block::thread_ident(owner),
            forks: block::forks(),
            inbox,
            kind,
            configuration,
            made,
            clock: Clock::new(),
            generation: AtomicU64::new(0),
            destroyed: AtomicBool::new(false),
            debug: AtomicBool::new(false),
            rest: AtomicU8::new(STIRRED),
            unwritten: AtomicU64::new(0),
            parent_at: AtomicPtr::new(ptr::null_mut()),
            bounds: OnceLock::new(),
            state: Arc::new(Latch::new(Kept::new(state))),
        }));
        thread::note_owned(&workspace);
        let mut all = all();
        if all.len() == all.capacity() {
            all.retain(|w| w.strong_count() > 0);
        }
        all.push(workspace.downgrade());
        Ok(workspace)
    }

    // ------------------------------------------------------------------ what never changes

    /// Its name in the registry.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// A number no other workspace of the process has.
    pub fn serial(&self) -> u64 {
        self.0.serial
    }

    /// The owner, as Python's `threading.get_ident()` gives it; may repeat.
    pub fn thread_id(&self) -> u64 {
        self.0.thread_id
    }

    /// The configuration it was made with.
    pub fn configuration(&self) -> &WorkspaceConfiguration {
        &self.0.configuration
    }

    /// Scoped, circular, or the dummy of BYPASS_EVERYTHING.
    pub fn workspace_type(&self) -> WorkspaceType {
        self.0.kind
    }

    pub(crate) fn is_circular(&self) -> bool {
        self.0.kind == WorkspaceType::Circular
    }

    /// Whether this is the dummy of BYPASS_EVERYTHING.
    pub fn is_dummy(&self) -> bool {
        self.0.kind == WorkspaceType::Dummy
    }

    /// Whether its arena lies in a file.
    pub(crate) fn is_mapped(&self) -> bool {
        self.0.configuration.policy_location == LocationPolicy::Mmap
    }

    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(weak: &Weak<Shared>) -> Option<Self> {
        weak.upgrade().map(Self)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    // ------------------------------------------------------------------ state

    /// Number of full enters so far.
    pub fn generation_id(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    /// Whether a cycle is running.
    pub fn is_scope_active(&self) -> bool {
        self.0.clock.is_open()
    }

    /// Whether it has come to its end.
    pub fn is_destroyed(&self) -> bool {
        self.0.destroyed.load(Ordering::SeqCst)
    }

    /// Whether released memory is poisoned and creation sites are kept.
    pub fn is_debug(&self) -> bool {
        self.0.debug.load(Ordering::Relaxed)
    }

    /// What was current at the running full enter.
    pub fn parent_workspace(&self) -> Option<Self> {
        let parent = self.state()?.parent.clone();
        parent.as_ref().and_then(Self::upgrade)
    }

    /// The state, or `None` where a thread that a fork did not bring along held the lock.
    #[inline]
    fn state(&self) -> Option<Held<'_, Kept>> {
        lock_after_forks(&self.0.state, self.0.forks)
    }

    /// The state, for the owner thread only.
    fn owned_state(&self, operation: &str) -> Result<Held<'_, Kept>> {
        if self.is_destroyed() {
            return Err(self.destroyed_error(operation));
        }
        self.check_owner(operation)?;
        self.stir();
        Ok(self.0.state.lock())
    }

    /// The next full enter, or close, has to look at the books.
    #[inline]
    fn stir(&self) {
        self.0.rest.store(STIRRED, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn check_owner(&self, operation: &str) -> Result<()> {
        if self.is_own() { Ok(()) } else { Err(self.not_owned(operation)) }
    }

    /// The owner's number.
    #[cfg(feature = "python")]
    #[inline]
    pub(crate) fn owner(&self) -> u64 {
        self.0.owner
    }

    /// Whether the thread of that number owns it.
    #[inline]
    pub(crate) fn is_of(&self, thread: u64) -> bool {
        self.0.owner == thread
    }

    /// Whether the calling thread owns it.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        thread::owner_number() == self.0.owner
    }

    #[cold]
    fn not_owned(&self, operation: &str) -> Error {
        let id = &self.0.id;
        let reason = if self.0.forks == block::forks() {
            format!(
                "{operation} of workspace [{id}] in a thread that does not own it; every thread has \
                 its own: get_workspace_for_current_thread(id=\"{id}\")"
            )
        } else {
            format!(
                "{operation} of workspace [{id}], which was inherited through a fork; \
                 make one of the child's own: get_workspace_for_current_thread(id=\"{id}\")"
            )
        };
        Error::WrongThread { reason, facts: self.facts() }
    }

    /// Where other threads leave word for the owner.
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.0.inbox
    }

    pub(crate) fn destroyed_error(&self, operation: &str) -> Error {
        let mut facts = self.facts();
        facts.operation = Some(operation.to_owned());
        Error::DestroyedWorkspace { facts }
    }

    pub(crate) fn facts(&self) -> Box<Facts> {
        Box::new(Facts {
            workspace_id: Some(self.0.id.clone()),
            workspace_generation: Some(self.generation_id()),
            open_workspaces: Some(registry::open_workspaces()),
            ..Facts::default()
        })
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Scope { reason, facts: self.facts() }
    }
}

/// Locks what was made when there had been so many forks; `None` where a thread that a fork did not bring
/// along holds it.
#[inline]
fn lock_after_forks<T>(latch: &Latch<T>, forks: u64) -> Option<Held<'_, T>> {
    if forks == block::forks() { Some(latch.lock()) } else { latch.try_lock() }
}

/// All workspaces of all living threads.
pub fn living_workspaces() -> Vec<Workspace> {
    let living: Vec<_> = all().iter().filter_map(Workspace::upgrade).collect();
    let is_live = |w: &Workspace| !w.is_destroyed() && !w.is_dummy() && !w.0.inbox.has_ended();
    living.into_iter().filter(is_live).collect()
}
