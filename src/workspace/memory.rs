//! Memory cut from a workspace, and taken back.

use std::sync::Arc;

use super::Workspace;
use crate::array::{Buffer, Cut};
use crate::block::{self, Block};
use crate::cycle::{Home, Placed, Refused};
use crate::error::{Error, Facts, Result};
use crate::registry;

impl Workspace {
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
        self.stir();
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
        self.stir();
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
        self.stir();
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

    pub(super) fn arena(&self) -> Option<Arc<Block>> {
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
}

/// Whether memory comes zeroed from the system: a spill's own block.
fn is_fresh(placed: &Placed) -> bool {
    matches!(placed.home, Home::Spill(..))
}

pub(super) fn full(id: &str, refused: Refused) -> Error {
    let facts = Facts { workspace_id: Some(id.to_owned()), ..Facts::default() };
    Error::Full { requested: refused.requested, reason: refused.reason, facts: Box::new(facts) }
}

/// Bytes held for all workspaces of all threads: arenas, spills, pins, retired blocks.
pub fn allocated_bytes() -> u64 {
    block::held_bytes()
}
