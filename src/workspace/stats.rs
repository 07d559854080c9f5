//! A workspace's counters at one moment.

use super::Workspace;
use crate::arena::{CycleEvent, PlanCounts};
use crate::config::WorkspaceType;
use crate::cycle::{CapturedCounts, Counters, State};
use crate::thread;

/// Everything a workspace counts, at one moment. Sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the contract and of ND4J's getters")]
pub struct WorkspaceStats {
    pub id: String,
    pub thread_id: u64,
    pub device_id: u32,
    pub workspace_type: WorkspaceType,
    pub generation_id: u64,
    pub current_size: u64,
    pub current_offset: u64,
    pub this_cycle_allocations: u64,
    pub last_cycle_allocations: u64,
    pub max_cycle_allocations: u64,
    pub peak_size: u64,
    pub cycles_count: u64,
    pub step_number: u64,
    pub initial_block_size: u64,
    pub number_of_external_allocations: u64,
    pub spilled_size: u64,
    pub number_of_pinned_allocations: u64,
    pub pinned_size: u64,
    pub retired_size: u64,
    pub escaped_count: u64,
    pub lost_scopes: u64,
    pub requests_on_plan: u64,
    pub requests_dynamic: u64,
    pub cycles_diverged: u64,
    pub is_scope_active: bool,
    pub is_destroyed: bool,
    pub parent_workspace: Option<String>,
}

impl Workspace {
    /// Births and deaths in the running cycle, in their order: up to 4096 births, and nothing of
    /// workspaces whose memory is not used again within a cycle. What is alive at the end is not in it.
    pub fn cycle_log(&self) -> Vec<CycleEvent> {
        self.state().map_or_else(Vec::new, |state| state.cycle_log())
    }

    /// All counters at once. Of a workspace inherited through a fork: what can still be read.
    pub fn stats(&self) -> WorkspaceStats {
        thread::read_losses();
        let state = self.state();
        let mut c = state.as_ref().map_or_else(Counters::default, |s| s.counters);
        c.count_empty(self.unwritten());
        let plan = state.as_ref().map_or_else(PlanCounts::default, |s| s.plan_counts());
        let parent = state.as_ref().and_then(|s| s.parent.as_ref()).and_then(Self::upgrade);
        let h = state.as_ref().map_or_else(CapturedCounts::default, |s| s.captured_counts());
        let is_open = self.is_scope_active();
        let read = |f: fn(&State) -> u64| state.as_ref().map_or(0, |s| f(s));
        WorkspaceStats {
            id: self.0.id.clone(),
            thread_id: self.0.thread_id,
            device_id: 0,
            workspace_type: self.0.kind,
            generation_id: self.generation_id(),
            current_size: read(State::size) + h.size,
            current_offset: read(State::offset) + h.offset,
            this_cycle_allocations: c.this_cycle + h.this_cycle,
            last_cycle_allocations: c.last_cycle + h.last_cycle,
            max_cycle_allocations: c.max_cycle.max(h.max_cycle),
            peak_size: if is_open { c.peak } else { c.peak.max(c.last_peak) },
            cycles_count: c.cycles,
            step_number: c.step,
            initial_block_size: c.initial_block_size + h.learned,
            number_of_external_allocations: c.external + h.external,
            spilled_size: c.spilled + h.spilled,
            number_of_pinned_allocations: c.pinned_count,
            pinned_size: c.pinned,
            retired_size: read(State::retired_size),
            escaped_count: c.escaped,
            lost_scopes: c.lost_scopes,
            requests_on_plan: plan.planned,
            requests_dynamic: plan.dynamic,
            cycles_diverged: plan.diverged,
            is_scope_active: is_open,
            is_destroyed: self.is_destroyed(),
            parent_workspace: parent.map(|p| p.0.id.clone()),
        }
    }
}
