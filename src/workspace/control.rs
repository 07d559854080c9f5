//! What the owner of a workspace may ask of it, and its end.

use std::sync::atomic::Ordering;

use super::{Kept, Workspace};
use crate::block;
use crate::error::Result;
use crate::latch::Held;
use crate::mapping::Made;
use crate::thread;

impl Workspace {
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

    /// Ends all arrays of a ring that are not leased, and gives the next cycle the first of their blocks, not
    /// the one whose turn it is: what was used last is in the processor's caches. Other workspaces have
    /// nothing to turn back. Refused while the workspace is open.
    pub fn turn_back(&self) -> Result<()> {
        let mut state = self.owned_state("turn_back")?;
        if !self.is_scope_active() {
            state.turn_back();
            return Ok(());
        }
        drop(state);
        Err(self.refuse(format!(
            "turn_back of workspace [{}], which is open: leave it first",
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
            self.stir();
            self.0.destroyed.store(true, Ordering::SeqCst);
            if self.is_scope_active() {
                state.keep_peak();
            }
            self.0.clock.end();
            state.destroy();
            let resident = state.move_out();
            drop(state);
            drop(resident);
        }
        thread::forget(self);
    }
}
