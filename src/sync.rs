//! The switch: atomics of std, or of loom where the model checker runs.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Between one's own mark and the look at the other's. The accesses are sequentially consistent already;
/// loom takes them for acquire and release, and knows that order of fences only.
pub(crate) fn then_look() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Locks, whatever became of an earlier holder: every critical section leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
