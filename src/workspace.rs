//! A workspace: id, owner thread, configuration, clock; its memory and counters behind one lock.
//!
//! Others see of it the clock (an atomic) and `Arc<Block>`s. Owner-only calls compare thread numbers
//! first. The lock is held for bookkeeping only, never while foreign code runs.

mod captured;
mod stats;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::array::{Buffer, Cut};
use crate::block::{self, Block};
use crate::clock::Clock;
use crate::config::{LocationPolicy, ResetPolicy, WorkspaceConfiguration, WorkspaceType};
use crate::cycle::{Closed, Home, Placed, Refused, State};
use crate::error::{Error, Facts, Quick, Result};
use crate::latch::{Held, Latch};
use crate::mapping::{self, Made};
use crate::registry;
use crate::sync::lock;
use crate::thread::{self, Inbox};

pub use captured::{Captured, Holder, set_capture_floor};
pub use stats::WorkspaceStats;

/// Id of a workspace for which none was given.
pub const DEFAULT_WORKSPACE_ID: &str = "DefaultWorkspace";

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

    fn set_parent(&mut self, parent: Option<&Workspace>) {
        let known = self.parent.as_ref().map(Weak::as_ptr);
        if known != parent.map(|parent| Arc::as_ptr(&parent.0)) {
            self.parent = parent.map(Workspace::downgrade);
        }
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
        Ok(self.0.state.lock())
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

    // ------------------------------------------------------------------ memory

    /// Cuts `bytes` from the workspace, which must be open or current in the calling thread.
    pub fn allocate(&self, bytes: usize, zeroed: bool) -> Result<Buffer> {
        self.allocate_at(bytes, zeroed, None)
    }

    /// The same, noting where it was asked for.
    pub fn allocate_at(&self, bytes: usize, zeroed: bool, site: Option<String>) -> Result<Buffer> {
        let cut = self.cut(bytes, zeroed, site)?;
        Ok(Buffer::new(self.clone(), cut))
    }

    /// The same, for one owner.
    pub(crate) fn cut(&self, bytes: usize, zeroed: bool, site: Option<String>) -> Result<Cut> {
        self.check_may_allocate()?;
        let mode = registry::debug_mode();
        let placed = {
            let mut state = self.0.state.lock();
            let placed = state.place(&self.0.configuration, mode, bytes as u64);
            if site.is_some() && placed.is_ok() {
                state.set_site(site.as_deref());
            }
            state.admit(usize::from(placed.is_ok()), self);
            placed
        };
        let placed = placed.map_err(|refused| self.full_error(refused))?;
        if zeroed && bytes > 0 && !is_fresh(&placed) {
            let block = placed.block.clone().or_else(|| self.arena());
            block.inspect(|block| block.fill(placed.offset, bytes as u64, 0));
        }
        Ok(Cut::new(self.0.clock.now(), placed, bytes, site))
    }

    /// The same in the arena of the running cycle, where nothing is to be asked; else `None`, and nothing has
    /// changed. The calling thread is the owner's.
    #[cfg(feature = "python")]
    #[inline(always)]
    pub(crate) fn cut_at_hand(&self, bytes: usize, zeroed: bool) -> Option<Cut> {
        debug_assert!(self.is_own());
        if !self.is_scope_active() || registry::debug_mode() != crate::DebugMode::Disabled {
            return None;
        }
        let mut state = self.0.state.lock();
        let (place, home) = state.place_at_hand(&self.0.configuration, bytes as u64, zeroed)?;
        state.admit(1, self);
        drop(state);
        Some(Cut::of_arena(self.0.clock.now(), place, bytes, home))
    }

    /// Cuts several at once: all of them, or none and the number of the one that was refused.
    pub fn allocate_all(
        &self,
        sizes: &[usize],
        site: Option<&str>,
    ) -> std::result::Result<Vec<Buffer>, (Error, usize)> {
        self.check_may_allocate().map_err(|error| (error, 0))?;
        let mode = registry::debug_mode();
        let placed = {
            let mut state = self.0.state.lock();
            let placed = state.place_all(&self.0.configuration, mode, sizes);
            if site.is_some() && placed.is_ok() {
                state.set_site(site);
            }
            state.admit(placed.as_ref().map_or(0, Vec::len), self);
            placed
        };
        let placed = placed.map_err(|(refused, i)| (self.full_error(refused), i))?;
        let buffer = |(placed, &bytes)| {
            let cut = Cut::new(self.0.clock.now(), placed, bytes, site.map(str::to_owned));
            Buffer::new(self.clone(), cut)
        };
        Ok(placed.into_iter().zip(sizes).map(buffer).collect())
    }

    fn arena(&self) -> Option<Arc<Block>> {
        self.state().and_then(|state| state.block().cloned())
    }

    /// The arena, if the workspace still has the one of that time. Whoever gets it looks at the clock
    /// again after counting up.
    pub(crate) fn arena_at(&self, time: u64) -> Option<Arc<Block>> {
        let state = self.state()?;
        state.block().filter(|_| self.0.clock.now() == time).cloned()
    }

    #[inline]
    fn check_may_allocate(&self) -> Result<()> {
        if self.is_scope_active() && self.is_own() {
            return Ok(());
        }
        self.check_may_allocate_closed()
    }

    #[cold]
    fn check_may_allocate_closed(&self) -> Result<()> {
        if self.is_destroyed() {
            return Err(self.destroyed_error("allocation"));
        }
        self.check_owner("allocation")?;
        if self.is_scope_active() || registry::is_current(self) {
            return Ok(());
        }
        Err(self.refuse(format!(
            "workspace [{}] is not open; enter it first: `with ws.notify_scope_entered():`",
            self.0.id
        )))
    }

    fn full_error(&self, refused: Refused) -> Error {
        let mut error = full(&self.0.id, refused);
        if let Some(facts) = error.facts_mut() {
            *facts = *self.facts();
        }
        error
    }

    /// Takes back what was cut; its owner is gone, and with it perhaps the last that kept the workspace.
    #[inline]
    pub(crate) fn die(&self, cut: &Cut) {
        let Some(mut state) = self.state() else { return };
        let (home, place, born) = cut.facts_of_death();
        let running = self.0.clock.now() == born;
        state.die(&self.0.configuration, home, place, running, self.is_debug());
        state.tenants -= 1;
        // Inside a cycle the next piece comes soon.
        let resident = if self.is_scope_active() { None } else { state.move_out() };
        drop(state);
        drop(resident);
    }

    /// The last lease on a retired block is gone.
    pub(crate) fn reclaim(&self) {
        if let Some(mut state) = self.state() {
            state.reclaim();
        }
    }

    // ------------------------------------------------------------------ cycles

    /// Takes what a full enter needs, so that it can no longer be refused.
    pub(crate) fn prepare_cycle(&self) -> Result<()> {
        Ok(self.take_arena(&mut self.0.state.lock())?)
    }

    #[inline]
    fn take_arena(&self, state: &mut State) -> Quick<()> {
        let lacks_arena = state.size() > 0 && state.block().is_none();
        if lacks_arena { self.make_arena(state) } else { Ok(()) }
    }

    #[cold]
    fn make_arena(&self, state: &mut State) -> Quick<()> {
        let made = state.ensure_block(&self.0.configuration);
        made.map(drop).map_err(|refused| Box::new(full(&self.0.id, refused)))
    }

    /// Cycles without an allocation are in order: what is made in it is for its roles to decide.
    pub(crate) fn allow_unused(&self) {
        self.0.state.lock().allow_unused();
    }

    pub(crate) fn check_enter(&self, operation: &str) -> Result<()> {
        if self.is_destroyed() {
            return Err(self.destroyed_error(operation));
        }
        self.check_owner(operation)
    }

    /// A full enter. `Err`: the system refuses the arena; nothing has changed.
    pub(crate) fn begin_cycle(&self, parent: Option<&Self>) -> Quick<()> {
        let mut state = self.0.state.lock();
        self.take_arena(&mut state)?;
        state.set_parent(parent);
        self.tick(&state);
        self.0.generation.store(self.generation_id() + 1, Ordering::Release);
        state.enter(&self.0.clock, self.is_debug());
        Ok(())
    }

    fn tick(&self, state: &State) {
        if state.is_untouched() {
            self.0.clock.tick_untouched();
        } else {
            self.0.clock.tick();
        }
    }

    /// A full close.
    #[inline]
    pub(crate) fn end_cycle(&self) -> Option<Box<Closed>> {
        let mode = registry::debug_mode();
        let mut state = self.0.state.lock();
        self.tick(&state);
        let closed = state.close(&self.0.configuration, mode, &self.0.clock, self.is_debug());
        let resident = state.move_out();
        drop(state);
        drop(resident);
        closed
    }

    pub(crate) fn count_lost_scope(&self) {
        if let Some(mut state) = self.state() {
            state.counters.lost_scopes += 1;
        }
    }

    pub(crate) fn uncount_lost_scope(&self) {
        if let Some(mut state) = self.state() {
            state.counters.lost_scopes = state.counters.lost_scopes.saturating_sub(1);
        }
    }

    // ------------------------------------------------------------------ control

    /// Derives the size from what was observed (`initializeWorkspace`). Refused while an array or
    /// lease of the running cycle is alive.
    pub fn initialize_workspace(&self) -> Result<()> {
        let mut state = self.idle_state("initialize_workspace")?;
        state.initialize(&self.0.configuration);
        Ok(())
    }

    /// Rewinds. Refused while an array or lease of the running cycle is alive.
    pub fn reset(&self) -> Result<()> {
        let mut state = self.idle_state("reset")?;
        state.reset(&self.0.clock, self.is_scope_active(), self.is_debug());
        Ok(())
    }

    fn idle_state(&self, operation: &str) -> Result<Held<'_, Kept>> {
        let state = self.owned_state(operation)?;
        let alive = state.alive_arrays();
        if alive == 0 {
            return Ok(state);
        }
        drop(state);
        Err(self.refuse(format!(
            "{operation} of workspace [{}] while {alive} array(s) or views of the running cycle are \
             alive; drop them or close the scope first",
            self.0.id
        )))
    }

    /// Switches the use of the arena off (arrays made meanwhile are external) or on again.
    pub fn toggle_workspace_use(&self, in_use: bool) -> Result<()> {
        self.owned_state("toggle_workspace_use")?.set_in_use(in_use);
        Ok(())
    }

    /// Poisons released memory and keeps creation sites.
    pub fn enable_debug(&self, debug: bool) -> Result<()> {
        self.owned_state("enable_debug")?.poison_captured(debug);
        self.0.debug.store(debug, Ordering::Relaxed);
        Ok(())
    }

    /// Gives memory that is not in use back to the system; the number of bytes.
    pub fn trim(&self) -> Result<u64> {
        if self.is_destroyed() {
            return Ok(0);
        }
        let mut state = self.owned_state("trim")?;
        Ok(state.trim(self.is_scope_active()))
    }

    /// Ends the workspace: its arrays become DESTROYED, leased memory is retired, the rest goes back,
    /// open scopes become no-ops. Idempotent; allowed while open for the owner, and for other threads
    /// while no scope is open.
    pub fn destroy_workspace(&self) -> Result<()> {
        if self.is_destroyed() {
            return Ok(());
        }
        if self.is_scope_active() || self.0.forks != block::forks() {
            self.check_owner("destroy_workspace")?;
        }
        self.destroy();
        Ok(())
    }

    /// As if it had never been made: nobody has it yet.
    pub(crate) fn undo(&self) {
        self.0.made.iter().for_each(Made::undo);
        self.destroy();
    }

    pub(crate) fn destroy(&self) {
        if let Some(mut state) = self.state() {
            self.0.destroyed.store(true, Ordering::SeqCst);
            self.0.clock.end();
            state.destroy();
            let resident = state.move_out();
            drop(state);
            drop(resident);
        }
        thread::forget(self);
    }
}

/// Locks what was made when there had been so many forks; `None` where a thread that a fork did not bring
/// along holds it.
#[inline]
fn lock_after_forks<T>(latch: &Latch<T>, forks: u64) -> Option<Held<'_, T>> {
    if forks == block::forks() { Some(latch.lock()) } else { latch.try_lock() }
}

/// Whether memory comes zeroed from the system: a spill's own block.
fn is_fresh(placed: &Placed) -> bool {
    matches!(placed.home, Home::Spill(..))
}

fn full(id: &str, refused: Refused) -> Error {
    let facts = Facts { workspace_id: Some(id.to_owned()), ..Facts::default() };
    Error::Full { requested: refused.requested, reason: refused.reason, facts: Box::new(facts) }
}

/// Bytes held for all workspaces of all threads: arenas, spills, pins, retired blocks.
pub fn allocated_bytes() -> u64 {
    block::held_bytes()
}

/// All workspaces of all living threads.
pub fn living_workspaces() -> Vec<Workspace> {
    let living: Vec<_> = all().iter().filter_map(Workspace::upgrade).collect();
    let is_live = |w: &Workspace| !w.is_destroyed() && !w.is_dummy() && !w.0.inbox.has_ended();
    living.into_iter().filter(is_live).collect()
}
