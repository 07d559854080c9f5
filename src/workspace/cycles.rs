//! The cycles of a workspace: full enters and full closes, as its thread's scopes ask for them.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memory::full;
use super::{ENTERABLE, IDLE, STIRRED, Shared, Workspace};
use crate::cycle::{Closed, State};
use crate::error::{Quick, Result};
use crate::registry;

impl Workspace {
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
    #[inline]
    pub(crate) fn begin_cycle(&self, parent: Option<&Self>) -> Quick<()> {
        let shared = &self.0;
        let parent_at = parent.map_or(ptr::null(), |parent| Arc::as_ptr(&parent.0)).cast_mut();
        let is_same = shared.parent_at.load(Ordering::Relaxed) == parent_at;
        if is_same && shared.rest.load(Ordering::Relaxed) != STIRRED {
            shared.clock.tick_untouched();
            self.count_enter();
            return Ok(());
        }
        self.begin_cycle_anew(parent, parent_at)
    }

    /// The same with a look at the books.
    #[inline(never)]
    fn begin_cycle_anew(&self, parent: Option<&Self>, parent_at: *mut Shared) -> Quick<()> {
        let mut state = self.0.state.lock();
        self.take_arena(&mut state)?;
        if self.0.parent_at.swap(parent_at, Ordering::Relaxed) != parent_at {
            state.parent = parent.map(Self::downgrade);
        }
        self.tick(&state);
        self.count_enter();
        state.enter(&self.0.clock, self.is_debug());
        Ok(())
    }

    fn count_enter(&self) {
        self.0.generation.store(self.generation_id() + 1, Ordering::Release);
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
        if self.0.rest.load(Ordering::Relaxed) == IDLE {
            self.0.clock.tick_untouched();
            self.0.unwritten.store(self.unwritten() + 1, Ordering::Relaxed);
            return None;
        }
        self.end_used_cycle()
    }

    /// Full closes that are not in the books.
    pub(super) fn unwritten(&self) -> u64 {
        self.0.unwritten.load(Ordering::Relaxed)
    }

    fn end_used_cycle(&self) -> Option<Box<Closed>> {
        let mode = registry::debug_mode();
        let mut state = self.0.state.lock();
        self.tick(&state);
        state.counters.count_empty(self.unwritten());
        self.0.unwritten.store(0, Ordering::Relaxed);
        let closed = state.close(&self.0.configuration, mode, &self.0.clock, self.is_debug());
        let rest = match state.is_at_rest() {
            true if state.tenants == 0 && state.is_idle(&self.0.configuration) => IDLE,
            true => ENTERABLE,
            false => STIRRED,
        };
        self.0.rest.store(rest, Ordering::Relaxed);
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
}
