//! What a fork does to us: how often it came, and who keeps the locks of files.
//!
//! The lock of a file belongs to the open file, which a forked child shares. A child keeps its
//! descriptor exactly if a lease on the mapping was alive at the fork, until the last of its leases
//! ends; the parent then lets go without unlocking. Invariants:
//!
//! 1. The handlers of a fork touch atomics and close descriptors: they neither allocate nor wait.
//! 2. A descriptor noted in `SLOTS` is open, and closed by one alone: in the process that opened it by
//!    its `FileLock`, in a child by the handler or by the last lease.
#![allow(unsafe_code)]

#[cfg(unix)]
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(unix, not(miri)))]
pub(crate) use locks::FileLock;

static FORKS: AtomicU64 = AtomicU64::new(0);
static FORK_STEPS: AtomicU64 = AtomicU64::new(0);

/// How often this process came out of a fork as the child, since [`count_forks`] was called first.
#[inline]
pub(crate) fn forks() -> u64 {
    FORKS.load(Ordering::SeqCst)
}

/// Nothing to count.
#[cfg(not(unix))]
pub(crate) fn count_forks() {}

/// Registers, once, what counts them: before the first thread has a record.
#[cfg(unix)]
pub(crate) fn count_forks() {
    static REGISTER: Once = Once::new();
    extern "C" fn before() {
        FORK_STEPS.fetch_add(1, Ordering::SeqCst);
        #[cfg(not(miri))]
        locks::before_fork();
    }
    extern "C" fn in_parent() {
        #[cfg(not(miri))]
        locks::after_fork();
        FORK_STEPS.fetch_add(1, Ordering::SeqCst);
    }
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::SeqCst);
        FORK_STEPS.fetch_add(1, Ordering::SeqCst);
        #[cfg(not(miri))]
        locks::in_child();
    }
    REGISTER.call_once(|| {
        // SAFETY: invariant 1; the handlers stay loaded as long as the process.
        unsafe {
            libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
        }
    });
}

/// A number that changes before and after each fork, in parent and child: equal at two moments means
/// that no child has seen the process between them.
pub(crate) fn fork_steps() -> u64 {
    FORK_STEPS.load(Ordering::SeqCst)
}

#[cfg(all(unix, not(miri)))]
mod locks {
    use std::fs::{File, Metadata};
    use std::io;
    use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

    use crate::fork::forks;

    /// What a descriptor is, and how many leases there are on the file that it locks.
    struct Slot {
        state: AtomicU32,
        leases: AtomicU32,
    }

    /// No lock of ours.
    const FREE: u32 = 0;
    const OWN: u32 = 1;
    /// A forked child may hold the lock too.
    const SHARED: u32 = 2;
    /// A parent's, kept for a lease.
    const INHERITED: u32 = 3;

    /// One for each descriptor.
    static SLOTS: [Slot; 1 << 18] =
        [const { Slot { state: AtomicU32::new(FREE), leases: AtomicU32::new(0) } }; 1 << 18];
    /// Slots that were ever in use: those below.
    static USED: AtomicUsize = AtomicUsize::new(0);
    /// Forks under way.
    static FORKING: AtomicUsize = AtomicUsize::new(0);

    fn used() -> &'static [Slot] {
        &SLOTS[..USED.load(Ordering::SeqCst)]
    }

    /// Who forks notes it first, then looks at the leases; who leases counts first, then looks whether
    /// somebody forks: whichever comes second sees the other.
    pub(super) fn before_fork() {
        FORKING.fetch_add(1, Ordering::SeqCst);
        for slot in used().iter().filter(|slot| slot.leases.load(Ordering::SeqCst) > 0) {
            slot.share();
        }
    }

    pub(super) fn after_fork() {
        FORKING.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn in_child() {
        FORKING.store(0, Ordering::SeqCst);
        for (fd, slot) in used().iter().enumerate() {
            if slot.state.load(Ordering::SeqCst) == FREE {
                continue;
            }
            slot.state.store(INHERITED, Ordering::SeqCst);
            if slot.leases.load(Ordering::SeqCst) == 0 {
                slot.close(fd);
            }
        }
    }

    impl Slot {
        fn share(&self) {
            let (own, shared) = (OWN, SHARED);
            let _ = self.state.compare_exchange(own, shared, Ordering::SeqCst, Ordering::SeqCst);
        }

        /// What was inherited is not needed any more.
        fn close(&self, fd: usize) {
            let state = self.state.swap(FREE, Ordering::SeqCst);
            if let (INHERITED, Ok(fd)) = (state, RawFd::try_from(fd)) {
                // SAFETY: invariant 2: inherited, and closed by whoever found it so.
                unsafe { libc::close(fd) };
            }
        }
    }

    /// A lock on a file, by a descriptor of its own: that of the mapping lives on in forked children.
    #[derive(Debug)]
    pub(crate) struct FileLock {
        file: Option<File>,
        slot: usize,
        forks: u64,
    }

    impl FileLock {
        /// `Err(WouldBlock)`: somebody else has it.
        pub(crate) fn take(file: File) -> io::Result<Self> {
            crate::fork::count_forks();
            let forks = forks();
            let slot = usize::try_from(file.as_raw_fd()).ok().filter(|&fd| fd < SLOTS.len());
            let slot = slot.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
            USED.fetch_max(slot + 1, Ordering::SeqCst);
            SLOTS[slot].leases.store(0, Ordering::SeqCst);
            SLOTS[slot].state.store(OWN, Ordering::SeqCst);
            let lock = Self { file: Some(file), slot, forks };
            lock.flock(libc::LOCK_EX | libc::LOCK_NB)?;
            Ok(lock)
        }

        pub(crate) fn metadata(&self) -> io::Result<Metadata> {
            self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.metadata()
        }

        /// One more lease on the file.
        pub(crate) fn count_up(&self) {
            let slot = &SLOTS[self.slot];
            slot.leases.fetch_add(1, Ordering::SeqCst);
            if FORKING.load(Ordering::SeqCst) > 0 {
                slot.share();
            }
        }

        /// One less; the last one of a forked child closes what it inherited.
        pub(crate) fn count_down(&self) {
            let slot = &SLOTS[self.slot];
            let last = slot.leases.fetch_sub(1, Ordering::SeqCst) == 1;
            if last && slot.state.load(Ordering::SeqCst) == INHERITED {
                slot.close(self.slot);
            }
        }

        /// Whether somebody looks at the file through a lease, or a forked child may do so.
        pub(crate) fn is_viewed(&self) -> bool {
            let slot = &SLOTS[self.slot];
            slot.leases.load(Ordering::SeqCst) > 0 || slot.state.load(Ordering::SeqCst) != OWN
        }

        fn flock(&self, operation: libc::c_int) -> io::Result<()> {
            let Some(file) = &self.file else { return Ok(()) };
            // SAFETY: invariant 2: `file` keeps the descriptor open.
            match unsafe { libc::flock(file.as_raw_fd(), operation) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    impl Drop for FileLock {
        fn drop(&mut self) {
            if self.forks != forks() {
                let inherited = self.file.take().map(IntoRawFd::into_raw_fd);
                debug_assert!(inherited.is_some(), "closed by the handler or the last lease");
                return;
            }
            let slot = &SLOTS[self.slot];
            if slot.state.load(Ordering::SeqCst) == OWN {
                let _ = self.flock(libc::LOCK_UN); // closing unlocks too, unless a fork is under way
            }
            slot.state.store(FREE, Ordering::SeqCst);
        }
    }
}
