//! Leases: who has one on a piece of memory keeps it from everybody else.
//!
//! One on an array of a running cycle's arena is counted behind the workspace's lock, as that is the lock under
//! which the cycle ends: two steps of it, and no more, for a view that comes and goes. All others count on their
//! block, and look at the clock then.

use std::sync::Arc;
use std::{fmt, ptr};

use super::{Buffer, Cut, Root};
use crate::block::{self, Block};
use crate::clock;
use crate::error::{Error, Quick, Result, Validity};
use crate::sync::Ordering;
use crate::workspace::Workspace;

/// While it lives, the buffer's memory is given to nobody else, also after its scope has ended.
pub struct Lease {
    buffer: Buffer,
    /// `None` where nobody asked for it, and the workspace's books keep it.
    block: Option<Arc<Block>>,
    /// Of a file: forks of the process so far.
    fork_steps: u64,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.buffer).finish()
    }
}

impl Buffer {
    /// Keeps the bytes: counts up, then looks at the clock.
    pub fn lease(&self) -> Result<Lease> {
        Ok(self.clone().hold()?.unless_written()?)
    }

    /// The same, with this handle as the one that the lease holds. Who asks knows where the bytes are.
    #[cfg(feature = "python")]
    #[inline]
    pub(crate) fn into_lease(self) -> Quick<Lease> {
        let lease = if self.0.cut.is_of_cycle() { self.borrow(None) } else { self.hold() };
        lease?.unless_written()
    }

    /// A lease that knows its block.
    pub(super) fn hold(self) -> Quick<Lease> {
        let Root { workspace, cut, leases, .. } = &*self.0;
        let Some(block) = cut.block(workspace) else {
            return self.refuse(self.why_gone());
        };
        if cut.is_of_cycle() {
            return self.borrow(Some(block));
        }
        if block.is_inherited_file() {
            return self.refuse(Validity::Destroyed);
        }
        let fork_steps = block.holds().map_or(0, |_| block::fork_steps());
        block.count_up();
        cut.hold(&block);
        let held = match cut.tenure() {
            Some(tenure) => clock::lease(&tenure.clock, &tenure.leases, 0),
            None => workspace.clock().now() == cut.born,
        };
        if !held {
            cut.release(&block);
            give_back(&block, workspace);
            return self.refuse(self.why_gone());
        }
        if leases.up() == 0 {
            block.leased_arrays.up();
        }
        Ok(Lease { buffer: self, block: Some(block), fork_steps })
    }

    /// A lease on memory of the running cycle's arena.
    #[inline]
    fn borrow(self, block: Option<Arc<Block>>) -> Quick<Lease> {
        let Root { workspace, cut, leases, .. } = &*self.0;
        if workspace.lend(cut.born, leases) {
            Ok(Lease { buffer: self, block, fork_steps: 0 })
        } else {
            self.refuse(self.why_gone())
        }
    }

    /// The number of leases on it.
    pub(super) fn lease_count(&self) -> usize {
        let Root { workspace, cut, leases, .. } = &*self.0;
        if cut.is_of_cycle() { workspace.count_leases(leases) } else { leases.count() }
    }

    #[cold]
    fn refuse<T>(&self, validity: Validity) -> Quick<T> {
        Err(Box::new(self.stale(validity)))
    }

    fn why_gone(&self) -> Validity {
        match self.validity() {
            Validity::Valid => Validity::Destroyed,
            validity => validity,
        }
    }
}

impl Lease {
    /// Where the bytes begin. Others may hold leases on the same bytes: writes race as in NumPy.
    pub fn as_ptr(&self) -> *mut u8 {
        let Cut { address, offset, len, .. } = self.buffer.0.cut;
        match &self.block {
            Some(block) => block.at(offset, len as u64),
            None => ptr::with_exposed_provenance_mut(address),
        }
    }

    /// What it keeps.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The memory, of a lease that knows it.
    pub(super) fn block(&self) -> &Block {
        self.block.as_ref().expect("`hold` looked it up")
    }

    /// Unless a Rust user writes.
    #[inline]
    fn unless_written(self) -> Quick<Self> {
        if self.buffer.0.borrow.load(Ordering::SeqCst) < 0 {
            return Err(Box::new(Error::Borrowed { reason: "a `write` closure has it" }));
        }
        Ok(self)
    }

    /// The end of one that counts on its block.
    #[cold]
    fn end_on(&self, block: &Block) {
        let Root { workspace, cut, leases, .. } = &*self.buffer.0;
        if leases.down() {
            block.leased_arrays.down();
        }
        if block.holds().is_some() && self.fork_steps != block::fork_steps() {
            cut.leave_to_child(block);
        } else {
            cut.release(block);
            if let Some(tenure) = cut.tenure() {
                tenure.leases.down();
            }
        }
        give_back(block, workspace);
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let Root { workspace, cut, leases, .. } = &*self.buffer.0;
        match &self.block {
            Some(block) if !cut.is_of_cycle() => self.end_on(block),
            _ => workspace.take_home(cut, leases),
        }
    }
}

impl Cut {
    fn hold(&self, block: &Block) {
        if let (Some(holds), None) = (block.holds(), self.tenure()) {
            holds.add(self.offset, self.len as u64, self.born);
        }
    }

    fn release(&self, block: &Block) {
        if let (Some(holds), None) = (block.holds(), self.tenure()) {
            holds.remove(self.offset, self.born);
        }
    }

    /// A fork fell into the life of a lease on a file: the child may look at the bytes from now on, so
    /// the parent never gives them to others.
    fn leave_to_child(&self, block: &Block) {
        if let (Some(holds), None, false) =
            (block.holds(), self.tenure(), block.is_inherited_file())
        {
            holds.leave_to_child(self.offset, self.born);
        }
    }
}

/// Counts down; the last look at a retired block sends it back.
fn give_back(block: &Block, workspace: &Workspace) {
    if block.count_down() && block.is_retired() {
        workspace.reclaim();
    }
}
