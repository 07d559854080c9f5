//! Arrays: memory cut from a workspace, the time of its birth, and who may look at it.
//!
//! ```text
//!   Array ──┐                      Workspace ── clock ── State ──┐
//!   view  ──┴─▶ Buffer (born 7) ─────────────────────────────────┼─▶ Block (mapped bytes)
//!   Lease ──────▶ Buffer, and counts on the Block ───────────────┘
//! ```
//! A handle is checked at each use; a lease keeps the bytes from everybody else until it is dropped.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Weak};

use crate::block::{self, Block};
use crate::clock::{self, Leases};
use crate::cycle::{Home, Placed};
use crate::error::{Error, Facts, Result, Validity};
use crate::layout::{Dtype, Element, byte_size};
use crate::registry;
use crate::ring::Tenure;
use crate::workspace::Workspace;

/// One piece of workspace memory. Clones are further handles on the same bytes; when the last of them
/// and the last lease are gone, the memory is free for others.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Cut>);

#[derive(Debug)]
struct Cut {
    workspace: Workspace,
    born: u64,
    generation: u64,
    block: Weak<Block>,
    address: usize,
    offset: u64,
    len: usize,
    home: Home,
    tenure: Option<Arc<Tenure>>,
    leases: Leases,
    /// Of Rust users: number of readers, or −1 for a writer.
    borrow: AtomicIsize,
    site: Option<String>,
}

/// While it lives, the buffer's memory is given to nobody else, also after its scope has ended.
#[derive(Debug)]
pub struct Lease {
    buffer: Buffer,
    block: Arc<Block>,
    /// Of a file: forks of the process so far.
    fork_steps: u64,
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

impl Buffer {
    pub(crate) fn new(
        workspace: Workspace,
        placed: Placed,
        len: usize,
        site: Option<String>,
    ) -> Self {
        let Placed { block, offset, home, tenure } = placed;
        Self(Arc::new(Cut {
            born: workspace.clock().now(),
            generation: workspace.generation_id(),
            workspace,
            address: block.at(offset, len as u64) as usize,
            block: Arc::downgrade(&block),
            offset,
            len,
            home,
            tenure,
            leases: Leases::new(),
            borrow: AtomicIsize::new(0),
            site,
        }))
    }

    /// The workspace it was cut from.
    pub fn workspace(&self) -> &Workspace {
        &self.0.workspace
    }

    /// Generation of the workspace at its birth.
    pub fn generation_id(&self) -> u64 {
        self.0.generation
    }

    /// Where its bytes begin. A number to compare; the bytes may be used under a lease only.
    pub fn address(&self) -> usize {
        self.0.address
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// `file:line` of its creation, where debug was on.
    pub fn created_at(&self) -> Option<&str> {
        self.0.site.as_deref()
    }

    /// Whether two handles are of the same memory.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the memory is still its own. Never `Closed`: that is of handles.
    pub fn validity(&self) -> Validity {
        let cut = &*self.0;
        let now = cut.workspace.clock().now();
        if cut.workspace.is_destroyed() || self.is_inherited_file() {
            return Validity::Destroyed;
        }
        if let Some(tenure) = &cut.tenure {
            return if tenure.clock.now() == 0 { Validity::Valid } else { Validity::Overwritten };
        }
        if now == cut.born {
            Validity::Valid
        } else if cut.born & 1 == 1 && now == cut.born + 1 {
            Validity::Leaked
        } else {
            Validity::Outdated
        }
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
        facts.array_generation = Some(self.0.generation);
        facts.created_at.clone_from(&self.0.site);
        facts
    }

    /// Keeps the bytes: counts up, then looks at the clock.
    pub fn lease(&self) -> Result<Lease> {
        let lease = self.hold()?;
        if self.0.borrow.load(Ordering::SeqCst) < 0 {
            return Err(Error::Borrowed { reason: "a `write` closure has it" });
        }
        Ok(lease)
    }

    fn hold(&self) -> Result<Lease> {
        let cut = &*self.0;
        let Some(block) = cut.block.upgrade() else {
            return Err(self.stale(self.why_gone()));
        };
        if block.is_inherited_file() {
            return Err(self.stale(Validity::Destroyed));
        }
        let fork_steps = block.holds().map_or(0, |_| block::fork_steps());
        block.count_up();
        cut.hold(&block);
        let held = match &cut.tenure {
            Some(tenure) => clock::lease(&tenure.clock, &tenure.leases, 0),
            None => cut.workspace.clock().now() == cut.born,
        };
        if !held {
            cut.release(&block);
            give_back(&block, &cut.workspace);
            return Err(self.stale(self.why_gone()));
        }
        if cut.leases.up() == 0 {
            block.leased_arrays.up();
        }
        Ok(Lease { buffer: self.clone(), block, fork_steps })
    }

    /// In a forked child: the bytes lie in a file that the parent goes on writing to.
    fn is_inherited_file(&self) -> bool {
        self.0.workspace.is_mapped()
            && self.0.block.upgrade().is_some_and(|block| block.is_inherited_file())
    }

    fn why_gone(&self) -> Validity {
        match self.validity() {
            Validity::Valid => Validity::Destroyed,
            validity => validity,
        }
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

impl Cut {
    fn hold(&self, block: &Block) {
        if let (Some(holds), None) = (block.holds(), &self.tenure) {
            holds.add(self.offset, self.len as u64, self.born);
        }
    }

    fn release(&self, block: &Block) {
        if let (Some(holds), None) = (block.holds(), &self.tenure) {
            holds.remove(self.offset, self.born);
        }
    }

    /// A fork fell into the life of a lease on a file: the child may look at the bytes from now on, so
    /// the parent never gives them to others.
    fn leave_to_child(&self, block: &Block) {
        if let (Some(holds), None, false) = (block.holds(), &self.tenure, block.is_inherited_file())
        {
            holds.leave_to_child(self.offset, self.born);
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.workspace.die(self.home, (self.offset, self.len as u64), self.born);
    }
}

impl Lease {
    /// Where the bytes begin. Others may hold leases on the same bytes: writes race as in NumPy.
    pub fn as_ptr(&self) -> *mut u8 {
        self.block.at(self.buffer.0.offset, self.buffer.0.len as u64)
    }

    /// What it keeps.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let cut = &*self.buffer.0;
        if cut.leases.down() {
            self.block.leased_arrays.down();
        }
        if self.block.holds().is_some() && self.fork_steps != block::fork_steps() {
            cut.leave_to_child(&self.block);
        } else {
            cut.release(&self.block);
            if let Some(tenure) = &cut.tenure {
                tenure.leases.down();
            }
        }
        give_back(&self.block, &cut.workspace);
    }
}

/// Counts down; the last look at a retired block sends it back.
fn give_back(block: &Block, workspace: &Workspace) {
    if block.count_down() && block.is_retired() {
        workspace.reclaim();
    }
}

/// An array of a Rust user: a handle on a buffer, with element type and shape, in C order.
///
/// The workspace owns the memory. Clones and views share it and its validity.
#[derive(Clone, Debug)]
pub struct Array {
    buffer: Buffer,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
}

/// The result of a copy-like operation that may leave every workspace.
#[derive(Clone, Debug)]
pub enum Moved<T> {
    /// Still (or newly) in a workspace.
    Attached(Array),
    /// Plain values, in C order.
    Detached(Vec<T>),
}

impl Array {
    pub(crate) fn allocate(
        workspace: &Workspace,
        dtype: Dtype,
        shape: &[usize],
        zeroed: bool,
    ) -> Result<Self> {
        let bytes = byte_size(shape, dtype.itemsize()).ok_or_else(|| Error::Shape {
            reason: format!("shape {shape:?} of {} is larger than the address space", dtype.name()),
        })?;
        let buffer = workspace.allocate(bytes, zeroed)?;
        Ok(Self { buffer, dtype, shape: shape.to_vec(), start: 0 })
    }

    /// Its memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Generation of its workspace at its birth.
    pub fn generation_id(&self) -> u64 {
        self.buffer.generation_id()
    }

    /// The workspace that owns its memory.
    pub fn workspace(&self) -> &Workspace {
        self.buffer.workspace()
    }

    /// Whether the memory is still its own, and if not, why.
    pub fn validity(&self) -> Validity {
        self.buffer.validity()
    }

    /// Whether it may be used.
    pub fn is_in_scope(&self) -> bool {
        self.validity() == Validity::Valid
    }

    /// Lends the elements, in C order, while `f` runs. Refused while somebody writes.
    pub fn read<T: Element, R>(&self, f: impl FnOnce(&[T]) -> R) -> Result<R> {
        self.check_dtype::<T>()?;
        let lease = self.buffer.hold().map_err(|e| self.name(e, "read"))?;
        let borrow = Reading::begin(&self.buffer)?;
        let result = lease.block.read(self.offset(), self.size(), f);
        drop(borrow);
        Ok(result)
    }

    /// Lends the elements to write, in C order, while `f` runs. Refused while anybody else looks:
    /// readers, writers, memory lent to Python.
    pub fn write<T: Element, R>(&self, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
        self.check_dtype::<T>()?;
        let lease = self.buffer.hold().map_err(|e| self.name(e, "write"))?;
        let borrow = Writing::begin(&self.buffer)?;
        let result = lease.block.write(self.offset(), self.size(), f);
        drop(borrow);
        Ok(result)
    }

    /// The elements as values of their own, in C order.
    pub fn detach<T: Element>(&self) -> Result<Vec<T>> {
        self.check_dtype::<T>()?;
        self.check("detach")?;
        self.read(<[T]>::to_vec)
    }

    /// The same memory in another shape.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        self.check("reshape")?;
        if byte_size(shape, 1) != Some(self.size()) {
            let reason = format!("cannot reshape {:?} into {shape:?}", self.shape);
            return Err(Error::Shape { reason });
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// The `i`-th part along the first axis: the same memory.
    pub fn row(&self, i: usize) -> Result<Self> {
        self.check("row")?;
        let Some((&rows, rest)) = self.shape.split_first().filter(|(rows, _)| i < **rows) else {
            let reason = format!("no row {i} in shape {:?}", self.shape);
            return Err(Error::Shape { reason });
        };
        debug_assert!(rows > 0);
        let stride = rest.iter().product::<usize>() * self.dtype.itemsize();
        Ok(Self { shape: rest.to_vec(), start: self.start + i * stride, ..self.clone() })
    }

    /// A copy in the current workspace, or plain values if there is none.
    pub fn dup<T: Element>(&self) -> Result<Moved<T>> {
        self.check("dup")?;
        let to =
            registry::current_workspace().map_or(Destination::Detached, Destination::Workspace);
        self.carry(to)
    }

    /// A copy in the parent of the current workspace (see `INDArray.leverage`).
    pub fn leverage<T: Element>(&self) -> Result<Moved<T>> {
        let to = self.buffer.leverage().map_err(|e| self.name(e, "leverage"))?;
        self.carry(to)
    }

    /// A copy in the workspace of that id; itself if it lies there already, or if there is none and
    /// existence is not enforced.
    pub fn leverage_to(&self, id: &str, enforce_existence: bool) -> Result<Self> {
        let to = self.buffer.leverage_to(id, enforce_existence);
        match to.map_err(|e| self.name(e, "leverage_to"))? {
            Destination::Workspace(target) => self.copy_to(&target),
            Destination::Itself | Destination::Detached => Ok(self.clone()),
        }
    }

    /// A copy in the workspace of that id if it is open, else plain values.
    pub fn leverage_or_detach<T: Element>(&self, id: &str) -> Result<Moved<T>> {
        let to = self.buffer.leverage_or_detach(id);
        let to = to.map_err(|e| self.name(e, "leverage_or_detach"))?;
        self.carry(to)
    }

    /// A copy in the current workspace; without one itself, or plain values.
    pub fn migrate<T: Element>(&self, detach_on_no_workspace: bool) -> Result<Moved<T>> {
        let to = self.buffer.migrate(detach_on_no_workspace);
        let to = to.map_err(|e| self.name(e, "migrate"))?;
        self.carry(to)
    }

    /// Follows the decision about where a copy goes.
    pub(crate) fn carry<T: Element>(&self, to: Destination) -> Result<Moved<T>> {
        self.check_dtype::<T>()?;
        match to {
            Destination::Itself => Ok(Moved::Attached(self.clone())),
            Destination::Detached => self.detach().map(Moved::Detached),
            Destination::Workspace(target) => self.copy_to(&target).map(Moved::Attached),
        }
    }

    fn copy_to(&self, target: &Workspace) -> Result<Self> {
        // Held first: the copy must not take the source's place in a ring.
        let from = self.buffer.hold().map_err(|e| self.name(e, "copy"))?;
        let _reading = Reading::begin(&self.buffer)?;
        let copy = Self::allocate(target, self.dtype, &self.shape, false)?;
        let bytes = self.size() * self.dtype.itemsize();
        let to = copy.buffer.hold()?;
        from.block.read::<u8, _>(self.offset(), bytes, |source| {
            to.block.write::<u8, _>(copy.offset(), bytes, |target| target.copy_from_slice(source));
        });
        Ok(copy)
    }

    fn offset(&self) -> u64 {
        self.buffer.0.offset + self.start as u64
    }

    fn check(&self, operation: &str) -> Result<()> {
        self.buffer.check().map_err(|e| self.name(e, operation))
    }

    fn check_dtype<T: Element>(&self) -> Result<()> {
        let as_bytes = (T::DTYPE, self.dtype) == (Dtype::U8, Dtype::Bool);
        if T::DTYPE == self.dtype || as_bytes {
            return Ok(());
        }
        Err(Error::Dtype { found: self.dtype.name(), expected: T::DTYPE.name() })
    }

    fn name(&self, error: Error, operation: &str) -> Error {
        error.in_operation(operation, "self").of_array(&self.shape, self.dtype.name())
    }
}

/// A reader's atomic borrow on the root.
struct Reading<'a>(&'a Cut);

impl<'a> Reading<'a> {
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        let cut = &*buffer.0;
        let more = |n: isize| (n >= 0).then_some(n + 1);
        match cut.borrow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
            Ok(_) => Ok(Self(cut)),
            Err(_) => Err(Error::Borrowed { reason: "a `write` closure has it" }),
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.borrow.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A writer's.
struct Writing<'a>(&'a Cut);

impl<'a> Writing<'a> {
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        let cut = &*buffer.0;
        if cut.borrow.compare_exchange(0, -1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(Error::Borrowed { reason: "another closure has it" });
        }
        let writing = Self(cut);
        // The lease that `write` itself holds counts one.
        if cut.leases.count() > 1 {
            return Err(Error::Borrowed { reason: "a view of it is lent out" });
        }
        Ok(writing)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.borrow.store(0, Ordering::SeqCst);
    }
}
