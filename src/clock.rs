//! The clock that answers "is it still mine?", the leases, and the pair of the two.
//!
//! A clock is odd while its workspace is open and even while it is closed. An array remembers the
//! time of its birth; equal means valid. A block of a ring has a clock of its own, which moves when
//! the block is taken again.
//!
//! The pair: **who frees ticks first, then looks at the leases; who leases counts up first, then
//! looks at the clock.** Both sides are sequentially consistent, so whichever comes second sees the
//! other: a reader holds a lease, or is refused. Nobody waits.

use crate::sync::{AtomicU64, AtomicUsize, Ordering, then_look};

/// Time of a workspace or of a ring's block.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Odd: a cycle is running.
    pub(crate) fn is_open(&self) -> bool {
        self.now() & 1 == 1
    }

    /// Open becomes closed, closed becomes open. Only the owner ticks.
    pub(crate) fn tick(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// The same where nothing was born at the present time: there is nobody to be told.
    pub(crate) fn tick_untouched(&self) {
        self.0.store(self.now() + 1, Ordering::Release);
    }

    /// The next closed time: nothing born before it is valid any more.
    pub(crate) fn end(&self) {
        let step = 2 - (self.now() & 1);
        self.0.fetch_add(step, Ordering::SeqCst);
    }
}

/// How many leases and operations hold a piece of memory.
#[derive(Debug)]
pub(crate) struct Leases(AtomicUsize);

impl Leases {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts up; the count before.
    pub(crate) fn up(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Counts down; true if that was the last.
    pub(crate) fn down(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Counts so many more.
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::SeqCst);
    }

    /// Counts up where one lock is held at every change; true if that was the first.
    #[inline]
    pub(crate) fn up_locked(&self) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before + 1, Ordering::Relaxed);
        before == 0
    }

    /// Counts down there; true if that was the last.
    #[inline]
    pub(crate) fn down_locked(&self) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before - 1, Ordering::Relaxed);
        before == 1
    }
}

/// The reader's half of the pair: counts up, then looks. False (nothing counted): stale.
pub(crate) fn lease(clock: &Clock, leases: &Leases, born: u64) -> bool {
    leases.up();
    then_look();
    if clock.now() == born {
        return true;
    }
    leases.down();
    false
}

/// The owner's half: after the tick, may the memory be given to others?
///
/// Takes the clock only to make the order visible: call it after `tick` or `end`.
pub(crate) fn is_free(_ticked: &Clock, leases: &Leases) -> bool {
    then_look();
    leases.count() == 0
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// Memory that loom watches: a read while somebody writes is an error of the model.
    struct Memory {
        clock: Clock,
        leases: Leases,
        bytes: UnsafeCell<u64>,
    }

    // SAFETY: of the model: every access to `bytes` goes through the pair, which is what loom checks.
    #[allow(unsafe_code)]
    unsafe impl Sync for Memory {}

    impl Memory {
        fn open() -> Arc<Self> {
            let clock = Clock::new();
            clock.tick();
            Arc::new(Self { clock, leases: Leases::new(), bytes: UnsafeCell::new(7) })
        }

        fn read_leased(&self, born: u64) -> Option<u64> {
            if !lease(&self.clock, &self.leases, born) {
                return None;
            }
            #[allow(unsafe_code)]
            // SAFETY: of the model: loom reports an overlapping write.
            let value = self.bytes.with(|p| unsafe { *p });
            self.leases.down();
            Some(value)
        }

        /// Overwrites if the pair allows; otherwise the block would be retired.
        fn reuse(&self) -> bool {
            let free = is_free(&self.clock, &self.leases);
            if free {
                #[allow(unsafe_code)]
                // SAFETY: of the model: loom reports an overlapping read.
                self.bytes.with_mut(|p| unsafe { *p = 9 });
            }
            free
        }
    }

    /// Leave and enter again: the next cycle writes where a reader of the last one may look.
    #[test]
    fn loom_leave_and_enter_against_a_reader() {
        loom::model(|| {
            let memory = Memory::open();
            let born = memory.clock.now();
            let reader = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || memory.read_leased(born))
            };
            memory.clock.tick();
            if is_free(&memory.clock, &memory.leases) {
                memory.clock.tick();
                memory.reuse();
            }
            assert!(matches!(reader.join().unwrap(), None | Some(7)));
        });
    }

    /// A current but never entered workspace: enter is the step that frees.
    #[test]
    fn loom_enter_against_a_reader_of_a_never_entered_workspace() {
        loom::model(|| {
            let memory = Arc::new(Memory {
                clock: Clock::new(),
                leases: Leases::new(),
                bytes: UnsafeCell::new(7),
            });
            let reader = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || memory.read_leased(0))
            };
            memory.clock.tick();
            memory.reuse();
            assert!(matches!(reader.join().unwrap(), None | Some(7)));
        });
    }

    /// A ring's block: look; leased means step over, nothing ticked. Free: tick, look again.
    #[test]
    fn loom_ring_block_against_two_readers() {
        loom::model(|| {
            let memory = Memory::open();
            let born = memory.clock.now();
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let memory = Arc::clone(&memory);
                    thread::spawn(move || memory.read_leased(born))
                })
                .collect();
            let taken = memory.leases.count() == 0 && {
                memory.clock.end();
                memory.reuse()
            };
            let stepped_over = memory.clock.now() == born;
            for reader in readers {
                let read = reader.join().unwrap();
                assert!(matches!(read, None | Some(7)));
                assert!(!stepped_over || read == Some(7), "a block stepped over stays valid");
            }
            assert!(!(taken && stepped_over));
        });
    }

    /// Destroy from another thread while a third one reads.
    #[test]
    fn loom_destroy_against_a_reader() {
        loom::model(|| {
            let memory = Memory::open();
            let born = memory.clock.now();
            let reader = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || memory.read_leased(born))
            };
            let destroyer = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    memory.clock.end();
                    memory.reuse();
                })
            };
            assert!(matches!(reader.join().unwrap(), None | Some(7)));
            destroyer.join().unwrap();
        });
    }
}
