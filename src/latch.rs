//! A lock for short bookkeeping, whose release is a plain store.
//!
//! A `Mutex` asks at each release whether somebody waits, which costs as much as taking it. Here whoever
//! waits looks again by itself. That is right where nearly all calls come from one thread and no section
//! waits for anything: the books of a workspace.
//!
//! Invariants
//! 1. The value is touched through a `Held` only. There is one at a time: it is made by who turned
//!    `is_taken` from false to true, and turns it back, in its `Drop`, when the value is no longer touched.
//! 2. Taking acquires what giving back released.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::sync::{AtomicBool, Ordering, wait};

/// A value that one thread touches at a time.
pub(crate) struct Latch<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: invariant 1: the value is only ever with one thread, to which it is sent, as it were.
unsafe impl<T: Send> Sync for Latch<T> {}

impl<T> Latch<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, as soon as nobody else has it.
    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let mut rounds = 0;
        loop {
            if let Some(held) = self.try_lock() {
                return held;
            }
            wait(rounds);
            rounds += 1;
        }
    }

    /// The value, unless somebody has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Held<'_, T>> {
        let taken =
            self.is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| Held { latch: self })
    }
}

impl<T> fmt::Debug for Latch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Latch")
    }
}

/// The value, until this is dropped.
pub(crate) struct Held<'a, T> {
    latch: &'a Latch<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1: this is the one `Held`.
        unsafe { &*self.latch.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: invariant 1: this is the one `Held`, and it is borrowed mutably.
        unsafe { &mut *self.latch.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.latch.is_taken.store(false, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// Two threads count; loom watches that no two touches of the number overlap.
    #[test]
    fn loom_one_at_a_time() {
        loom::model(|| {
            let latch = Arc::new(Latch::new(UnsafeCell::new(0)));
            let count = |latch: &Latch<UnsafeCell<u32>>| {
                let held = latch.lock();
                // SAFETY: of the model: loom reports an overlapping touch.
                held.with_mut(|number| unsafe { *number += 1 });
            };
            let other = {
                let latch = Arc::clone(&latch);
                thread::spawn(move || count(&latch))
            };
            count(&latch);
            other.join().unwrap();
            // SAFETY: as above.
            assert_eq!(latch.lock().with(|number| unsafe { *number }), 2);
        });
    }
}
