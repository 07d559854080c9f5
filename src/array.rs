//! Arrays: memory cut from a workspace, the time of its birth, and who may look at it.
//!
//! ```text
//!   Array ──┐                      Workspace ── clock ── State ──┐
//!   view  ──┴─▶ Buffer (born 7) ─────────────────────────────────┼─▶ Block (mapped bytes)
//!   Lease ──────▶ Buffer, and counts on the Block ───────────────┘
//! ```
//! A handle is checked at each use; a lease keeps the bytes from everybody else until it is dropped.

mod lease;
#[cfg(all(test, loom))]
mod loom_models;
mod typed;

use std::fmt;
use std::sync::{Arc, Weak};

use crate::block::Block;
use crate::clock::Leases;
use crate::cycle::{Home, Placed, Ticket};
use crate::error::{Error, Facts, Result, Validity};
use crate::registry;
use crate::ring::Tenure;
use crate::sync::AtomicIsize;
use crate::workspace::Workspace;

pub use lease::Lease;
pub use typed::{Array, Moved};

/// One piece of workspace memory. Clones are further handles on the same bytes; when the last of them
/// and the last lease are gone, the memory is free for others.
#[derive(Clone)]
pub struct Buffer(Arc<Root>);

struct Root {
    workspace: Workspace,
    cut: Cut,
    leases: Leases,
    /// Of Rust users: number of readers, or −1 for a writer.
    borrow: AtomicIsize,
}

/// Memory cut from a workspace, as long as it has one owner, who hands out no handles and lets it
/// [`die`](Workspace::die).
pub(crate) struct Cut {
    born: u64,
    address: usize,
    offset: u64,
    len: usize,
    /// Of its place in the arena, if it has one. Flat, as the whole is copied with every array: the parts of
    /// an enum are written one by one and copied in larger pieces, for which the processor waits.
    ticket: Ticket,
    /// What few have.
    more: Option<Box<More>>,
}

struct More {
    /// The memory, unless it is the arena's, which the workspace tells.
    block: Option<Weak<Block>>,
    tenure: Option<Arc<Tenure>>,
    site: Option<Box<str>>,
    /// Where the memory is not the arena's to take back.
    home: Home,
}

/// Where a copy-like operation puts its result. The decision; the caller copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The very array that was given.
    Itself,
    /// A copy outside every workspace.
    Detached,
    /// A copy in this workspace.
    Workspace(Workspace),
}

impl Cut {
    pub(crate) fn new(born: u64, placed: Placed, len: usize, site: Option<String>) -> Self {
        let Placed { block, address, offset, home, tenure } = placed;
        let ticket = if let Home::Arena(ticket) = home { ticket } else { Ticket::NONE };
        let is_spilled = matches!(home, Home::Spill(..));
        let has_more = is_spilled || block.is_some() || tenure.is_some() || site.is_some();
        let more = has_more.then(|| {
            let block = block.as_ref().map(Arc::downgrade);
            Box::new(More { block, tenure, site: site.map(String::into_boxed_str), home })
        });
        Self { born, address, offset, len, ticket, more }
    }

    /// In a running cycle's arena.
    #[cfg(feature = "python")]
    #[inline]
    pub(crate) fn of_arena(
        born: u64,
        (address, offset): (usize, u64),
        len: usize,
        ticket: Ticket,
    ) -> Self {
        Self { born, address, offset, len, ticket, more: None }
    }

    /// Number of full enters at its birth: the clock counts enters and leaves.
    pub(crate) fn generation_id(&self) -> u64 {
        self.born.div_ceil(2)
    }

    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// The time of its birth.
    pub(crate) fn born(&self) -> u64 {
        self.born
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What its death is told by: who takes it back, the place, the time of its birth.
    #[inline]
    pub(crate) fn facts_of_death(&self) -> (Home, (u64, u64), u64) {
        let home = match &self.more {
            Some(more) => more.home,
            None if self.ticket == Ticket::NONE => Home::Nobody,
            None => Home::Arena(self.ticket),
        };
        (home, (self.offset, self.len as u64), self.born)
    }

    pub(crate) fn created_at(&self) -> Option<&str> {
        self.more.as_ref()?.site.as_deref()
    }

    /// Whether it lies in the arena of a cycle: leases on it are counted behind the workspace's lock.
    #[inline]
    fn is_of_cycle(&self) -> bool {
        self.more.is_none() && self.born & 1 == 1
    }

    fn tenure(&self) -> Option<&Tenure> {
        self.more.as_ref()?.tenure.as_deref()
    }

    /// The time at which alone it is valid; `None` where more than the workspace's clock has a say: in
    /// rings and files, and outside cycles.
    #[cfg(feature = "python")]
    pub(crate) fn valid_at(&self, workspace: &Workspace) -> Option<u64> {
        let clock_only = self.tenure().is_none() && !workspace.is_mapped();
        (clock_only && self.born & 1 == 1).then_some(self.born)
    }

    pub(crate) fn validity(&self, workspace: &Workspace) -> Validity {
        let now = workspace.clock().now();
        if workspace.is_destroyed() || self.is_inherited_file(workspace) {
            return Validity::Destroyed;
        }
        if let Some(tenure) = self.tenure() {
            return if tenure.clock.now() == 0 { Validity::Valid } else { Validity::Overwritten };
        }
        if now == self.born {
            Validity::Valid
        } else if self.born & 1 == 1 && now == self.born + 1 {
            Validity::Leaked
        } else {
            Validity::Outdated
        }
    }

    /// In a forked child: the bytes lie in a file that the parent goes on writing to.
    fn is_inherited_file(&self, workspace: &Workspace) -> bool {
        workspace.is_mapped()
            && self.block(workspace).is_some_and(|block| block.is_inherited_file())
    }

    /// The memory, if there is any left to look at.
    fn block(&self, workspace: &Workspace) -> Option<Arc<Block>> {
        match self.more.as_ref().and_then(|more| more.block.as_ref()) {
            Some(block) => block.upgrade(),
            None => workspace.arena_at(self.born),
        }
    }
}

impl Buffer {
    /// The first handle on what was cut from a workspace.
    pub(crate) fn new(workspace: Workspace, cut: Cut) -> Self {
        let (leases, borrow) = (Leases::new(), AtomicIsize::new(0));
        Self(Arc::new(Root { workspace, cut, leases, borrow }))
    }

    /// The workspace it was cut from.
    pub fn workspace(&self) -> &Workspace {
        &self.0.workspace
    }

    /// Generation of the workspace at its birth.
    pub fn generation_id(&self) -> u64 {
        self.0.cut.generation_id()
    }

    /// Where its bytes begin. A number to compare; the bytes may be used under a lease only.
    pub fn address(&self) -> usize {
        self.0.cut.address()
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.cut.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.cut.len() == 0
    }

    /// `file:line` of its creation, where debug was on.
    pub fn created_at(&self) -> Option<&str> {
        self.0.cut.created_at()
    }

    /// The time at which alone it is valid, where the workspace's clock decides alone.
    #[cfg(feature = "python")]
    pub(crate) fn valid_at(&self) -> Option<u64> {
        self.0.cut.valid_at(&self.0.workspace)
    }

    /// Whether two handles are of the same memory.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether there is no other handle, and no lease.
    #[cfg(feature = "python")]
    pub(crate) fn is_sole(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Whether the memory is still its own. Never `Closed`: that is of handles.
    pub fn validity(&self) -> Validity {
        self.0.cut.validity(&self.0.workspace)
    }

    /// `Err(Error::Stale)` unless the memory is still its own.
    pub fn check(&self) -> Result<()> {
        match self.validity() {
            Validity::Valid => Ok(()),
            validity => Err(self.stale(validity)),
        }
    }

    /// The error that says why this buffer cannot be used.
    pub fn stale(&self, validity: Validity) -> Error {
        Error::Stale { validity, facts: self.facts() }
    }

    /// What is known of it, and of its workspace now.
    pub(crate) fn facts(&self) -> Box<Facts> {
        let mut facts = self.0.workspace.facts();
        facts.array_generation = Some(self.generation_id());
        facts.created_at = self.created_at().map(str::to_owned);
        facts
    }

    // ------------------------------------------------------------------ where copies go

    /// `leverage`: to the parent of the current workspace.
    pub fn leverage(&self) -> Result<Destination> {
        self.check()?;
        let Some(current) = registry::current_workspace() else { return Ok(Destination::Detached) };
        match current.parent_workspace() {
            None => Ok(Destination::Detached),
            Some(parent) if &parent == self.workspace() => Ok(Destination::Itself),
            Some(parent) => usable(parent),
        }
    }

    /// `leverageTo`: to the registered workspace of that id.
    pub fn leverage_to(&self, id: &str, enforce_existence: bool) -> Result<Destination> {
        self.check()?;
        match registry::find(id) {
            None if enforce_existence => Err(unknown(id)),
            None => Ok(Destination::Itself),
            Some(target) if &target == self.workspace() => Ok(Destination::Itself),
            Some(target) => usable(target),
        }
    }

    /// `leverageOrDetach`: to that workspace if it is open, else detached.
    pub fn leverage_or_detach(&self, id: &str) -> Result<Destination> {
        self.check()?;
        match registry::find(id) {
            Some(target) if target.is_scope_active() => self.leverage_to(id, false),
            _ => Ok(Destination::Detached),
        }
    }

    /// `migrate`: to the current workspace.
    pub fn migrate(&self, detach_on_no_workspace: bool) -> Result<Destination> {
        self.check()?;
        Ok(match registry::current_workspace() {
            Some(current) => Destination::Workspace(current),
            None if detach_on_no_workspace => Destination::Detached,
            None => Destination::Itself,
        })
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, bytes, validity) = (self.workspace().id(), self.len(), self.validity().name());
        let generation = self.generation_id();
        write!(f, "Buffer([{id}], generation {generation}, {bytes} bytes, {validity})")
    }
}

fn usable(target: Workspace) -> Result<Destination> {
    if target.is_destroyed() {
        return Err(target.destroyed_error("leverage_to"));
    }
    if target.is_scope_active() || registry::is_current(&target) {
        return Ok(Destination::Workspace(target));
    }
    let reason = format!(
        "workspace [{}] is neither open nor current, so nothing can be placed there; enter it first: \
         `with ws.notify_scope_entered():`, or call leverage_or_detach",
        target.id()
    );
    Err(Error::Scope { reason, facts: target.facts() })
}

fn unknown(id: &str) -> Error {
    let mut facts =
        crate::error::Facts { workspace_id: Some(id.to_owned()), ..crate::error::Facts::default() };
    facts.open_workspaces = Some(registry::open_workspaces());
    Error::UnknownWorkspace { facts: Box::new(facts) }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.workspace.die(&self.cut);
    }
}
