//! A thread's workspaces by id, of which every change is counted: who found one knows whether a look-up would
//! find the same again.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::workspace::Workspace;

/// Of all threads.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Keeps each workspace from one change to the next.
#[derive(Default)]
pub(crate) struct Registered(BTreeMap<String, Workspace>);

/// How often the registry of a thread has changed so far, or that of another.
#[cfg(feature = "python")]
#[inline]
pub(crate) fn changes() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

impl Registered {
    /// To be changed.
    pub(crate) fn change(&mut self) -> &mut BTreeMap<String, Workspace> {
        CHANGES.fetch_add(1, Ordering::Relaxed);
        &mut self.0
    }
}

impl Deref for Registered {
    type Target = BTreeMap<String, Workspace>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.change();
    }
}
