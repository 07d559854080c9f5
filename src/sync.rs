//! The switch: atomics and thread-locals of std, or of loom where the model checker runs.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(not(loom))]
pub(crate) use std::thread_local as thread_locals;

/// loom's, which knows no `const` values.
#[cfg(loom)]
macro_rules! thread_locals {
    () => {};
    ($(#[$note:meta])* static $name:ident: $type:ty = const { $value:expr }; $($rest:tt)*) => {
        loom::thread_local! { $(#[$note])* static $name: $type = $value; }
        thread_locals! { $($rest)* }
    };
    ($(#[$note:meta])* static $name:ident: $type:ty = $value:expr; $($rest:tt)*) => {
        loom::thread_local! { $(#[$note])* static $name: $type = $value; }
        thread_locals! { $($rest)* }
    };
}
#[cfg(loom)]
pub(crate) use thread_locals;

/// What std's thread-local cells can do, for loom's.
#[cfg(loom)]
pub(crate) trait LocalCell<T> {
    fn get(&'static self) -> T;
    fn replace(&'static self, value: T) -> T;
    fn set(&'static self, value: T);
}

#[cfg(loom)]
impl<T: Copy + Default> LocalCell<T> for loom::thread::LocalKey<std::cell::Cell<T>> {
    fn get(&'static self) -> T {
        self.try_with(std::cell::Cell::get).unwrap_or_default()
    }

    fn replace(&'static self, value: T) -> T {
        self.try_with(|cell| cell.replace(value)).unwrap_or_default()
    }

    fn set(&'static self, value: T) {
        self.replace(value);
    }
}

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

/// Waits a little for another thread, the longer the more often it was in vain.
#[cold]
pub(crate) fn wait(rounds: u32) {
    #[cfg(loom)]
    {
        let _ = rounds;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    match rounds {
        0..16 => std::hint::spin_loop(),
        16..64 => std::thread::yield_now(),
        _ => std::thread::sleep(std::time::Duration::from_micros(50)),
    }
}
