//! One piece of memory from the system: taken, looked at by offset, given back.
//!
//! The only file of the core that touches pointers. Invariants:
//!
//! 1. `base` points to `len` bytes that belong to this block alone, readable and writable, from
//!    `reserve` until `drop`; every byte of them was initialised (zeroed) when taken.
//! 2. A range is used only after `check` has found it inside `0..len`.
//! 3. Bytes are written through raw pointers, and a Rust slice over them exists only inside a closure
//!    while the caller's borrow (array.rs) says that nobody else reads (for `&mut`) or writes them.
//! 4. `Element` types have no invalid bit patterns and no padding (sealed in layout.rs), and the
//!    range is aligned for them.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::Leases;
use crate::layout::Element;

/// From here on memory is mapped, below it comes from the heap.
const MAPPED_FROM: usize = 256 << 10;
/// Blocks of this size and more start at its half and ask for huge pages.
const HUGE_FROM: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;

static HELD: AtomicU64 = AtomicU64::new(0);
static KEEP_ALL: AtomicBool = AtomicBool::new(false);
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Bytes held from the system by all blocks of the process.
pub(crate) fn held_bytes() -> u64 {
    HELD.load(Ordering::Relaxed)
}

/// From now on nothing is given back: the interpreter ends, and a daemon thread may still be inside
/// a loop on this memory.
pub fn keep_everything() {
    KEEP_ALL.store(true, Ordering::SeqCst);
}

/// How often this process came out of a fork as the child.
pub(crate) fn forks() -> u64 {
    static REGISTER: Once = Once::new();
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::SeqCst);
    }
    REGISTER.call_once(|| {
        #[cfg(unix)]
        // SAFETY: the handler only adds to an atomic; it stays loaded as long as the process.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
    FORKS.load(Ordering::SeqCst)
}

/// The calling thread's number as Python's `threading.get_ident()` gives it.
pub(crate) fn thread_ident(otherwise: u64) -> u64 {
    #[cfg(all(unix, target_pointer_width = "64", not(miri)))]
    {
        let _ = otherwise;
        // SAFETY: pthread_self has no preconditions.
        #[allow(clippy::unnecessary_cast)]
        let ident = unsafe { libc::pthread_self() } as u64;
        ident
    }
    #[cfg(not(all(unix, target_pointer_width = "64", not(miri))))]
    otherwise
}

/// Where a block without bytes begins: aligned for everything.
#[repr(align(4096))]
struct Nowhere;

/// Memory of a workspace: an arena, a spill, a pin.
#[derive(Debug)]
pub(crate) struct Block {
    base: NonNull<u8>,
    len: usize,
    source: Source,
    /// Leases and operations in flight.
    pub(crate) leases: Leases,
    /// Number of arrays with at least one lease: what an escape counts.
    pub(crate) leased_arrays: Leases,
    retired: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Nothing,
    Heap(Layout),
    #[cfg(all(unix, not(miri)))]
    Mapped {
        start: NonNull<libc::c_void>,
        total: usize,
    },
}

// SAFETY: invariants 1 and 3: the memory belongs to the block, whichever thread holds it.
unsafe impl Send for Block {}
// SAFETY: as above; shared access goes through raw pointers or borrowed closures.
unsafe impl Sync for Block {}

impl Block {
    /// `len` zeroed bytes aligned to `align`, or `None` if the system refuses.
    pub(crate) fn reserve(len: u64, align: u64, huge_pages: bool) -> Option<Self> {
        let len = usize::try_from(len).ok()?;
        let align = usize::try_from(align).ok()?;
        let (base, source) = if len == 0 {
            (NonNull::<Nowhere>::dangling().cast(), Source::Nothing)
        } else if len < MAPPED_FROM || cfg!(any(miri, not(unix))) {
            let layout = Layout::from_size_align(len, align).ok()?;
            // SAFETY: the layout's size is not 0.
            (NonNull::new(unsafe { alloc_zeroed(layout) })?, Source::Heap(layout))
        } else {
            map(len, huge_pages && len >= HUGE_FROM)?
        };
        HELD.fetch_add(len as u64, Ordering::Relaxed);
        let (leases, leased_arrays) = (Leases::new(), Leases::new());
        Some(Self { base, len, source, leases, leased_arrays, retired: AtomicBool::new(false) })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Written off: it goes back when its last lease dies.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
    }

    /// Address of a range. The bytes behind it may be used under a lease only.
    pub(crate) fn at(&self, offset: u64, len: u64) -> *mut u8 {
        let start = self.check(offset, len);
        // SAFETY: invariants 1 and 2.
        unsafe { self.base.as_ptr().add(start) }
    }

    /// Sets every byte of a range that belongs to nobody but the caller.
    pub(crate) fn fill(&self, offset: u64, len: u64, byte: u8) {
        let target = self.at(offset, len);
        // SAFETY: invariants 1 to 3: `check` bounded the range, and the caller owns it.
        unsafe { target.write_bytes(byte, self.count(len)) };
    }

    /// Touches every page, so that the first use does not fault.
    pub(crate) fn prefault(&self) {
        for offset in (0..self.len).step_by(PAGE) {
            let byte = self.at(offset as u64, 1);
            // SAFETY: invariants 1 and 2; nobody has the block yet.
            unsafe { byte.write_volatile(0) };
        }
    }

    /// Lends a range as a slice.
    pub(crate) fn read<T: Element, R>(
        &self,
        offset: u64,
        n: usize,
        f: impl FnOnce(&[T]) -> R,
    ) -> R {
        let start = self.typed::<T>(offset, n);
        // SAFETY: invariants 1 to 4.
        f(unsafe { std::slice::from_raw_parts(start, n) })
    }

    /// Lends a range as a slice to write.
    pub(crate) fn write<T: Element, R>(
        &self,
        offset: u64,
        n: usize,
        f: impl FnOnce(&mut [T]) -> R,
    ) -> R {
        let start = self.typed::<T>(offset, n);
        // SAFETY: invariants 1 to 4; the caller's borrow is exclusive.
        f(unsafe { std::slice::from_raw_parts_mut(start, n) })
    }

    fn typed<T: Element>(&self, offset: u64, n: usize) -> *mut T {
        let start = self.at(offset, (n * size_of::<T>()) as u64).cast::<T>();
        assert!(start.is_aligned(), "arrays start at multiples of the workspace's alignment");
        start
    }

    fn check(&self, offset: u64, len: u64) -> usize {
        let end = offset.checked_add(len).expect("offsets come from layout.rs, checked");
        assert!(end <= self.len as u64, "range {offset}..{end} of a block of {} bytes", self.len);
        self.count(offset)
    }

    #[allow(clippy::unused_self)]
    fn count(&self, bytes: u64) -> usize {
        usize::try_from(bytes).expect("checked against len, which is a usize")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if KEEP_ALL.load(Ordering::SeqCst) {
            return;
        }
        HELD.fetch_sub(self.len as u64, Ordering::Relaxed);
        match self.source {
            Source::Nothing => {}
            // SAFETY: invariant 1: allocated in `reserve` with this layout, dropped once.
            Source::Heap(layout) => unsafe { dealloc(self.base.as_ptr(), layout) },
            #[cfg(all(unix, not(miri)))]
            Source::Mapped { start, total } => {
                // SAFETY: invariant 1: exactly what `map` mapped, dropped once.
                unsafe { libc::munmap(start.as_ptr(), total) };
            }
        }
    }
}

/// Maps `len` bytes; with `huge` at a 2 MiB boundary and advised for huge pages.
#[cfg(all(unix, not(miri)))]
fn map(len: usize, huge: bool) -> Option<(NonNull<u8>, Source)> {
    let slack = if huge { HUGE_PAGE } else { 0 };
    let total = len.checked_next_multiple_of(PAGE)?.checked_add(slack)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping anywhere has no preconditions.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), total, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = NonNull::new(start)?;
    let skip = if huge { start.cast::<u8>().align_offset(HUGE_PAGE) } else { 0 };
    // SAFETY: skip < slack, so the sum stays inside the mapping.
    let base = unsafe { start.cast::<u8>().add(skip) };
    #[cfg(target_os = "linux")]
    if huge {
        // SAFETY: the range lies inside the mapping; advice changes no contents. A refusal is harmless.
        unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
    }
    Some((base, Source::Mapped { start, total }))
}

#[cfg(not(all(unix, not(miri))))]
fn map(_len: usize, _huge: bool) -> Option<(NonNull<u8>, Source)> {
    None
}
