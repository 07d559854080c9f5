//! One piece of memory from the system: taken, looked at by offset, given back.
//!
//! The only file of the core that touches pointers. Invariants:
//!
//! 1. `base` points to `len` bytes that belong to this block alone, readable and writable, from
//!    `reserve` or `map_file` until `drop`; every byte of them was initialised (zeroed, or read from
//!    the file) when taken.
//! 2. A range is used only after `check` has found it inside `0..len`.
//! 3. Bytes are written through raw pointers, and a Rust slice over them exists only inside a closure
//!    while the caller's borrow (array.rs) says that nobody else reads (for `&mut`) or writes them.
//! 4. `Element` types have no invalid bit patterns and no padding (sealed in layout.rs), and the
//!    range is aligned for them.
//! 5. A file is as long as its mapping, with its blocks on disk, and locked against everybody who
//!    asks. Others who write to it or truncate it all the same are beyond our reach (SAFETY.md).
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
#[cfg(all(unix, not(miri)))]
use std::{fs::File, io, os::fd::AsRawFd, sync::Arc};
#[cfg(all(unix, not(miri), not(target_vendor = "apple")))]
use std::{mem::MaybeUninit, os::unix::fs::MetadataExt};

use crate::clock::Leases;
use crate::faults::{self, Refuser};
#[cfg(all(unix, not(miri)))]
use crate::fork::FileLock;
pub(crate) use crate::fork::{count_forks, fork_steps, forks};
use crate::holds::Holds;
use crate::layout::Element;
use crate::sync;

/// From here on memory is mapped, below it comes from the heap.
const MAPPED_FROM: usize = 256 << 10;
/// Blocks of this size and more start at its half and ask for huge pages.
const HUGE_FROM: usize = 4 << 20;
#[cfg(all(unix, not(miri)))]
const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;
/// No system's pages are larger.
#[cfg(all(unix, not(miri)))]
const LARGEST_PAGE: usize = 64 << 10;

static HELD: AtomicU64 = AtomicU64::new(0);
static KEEP_ALL: AtomicBool = AtomicBool::new(false);

/// Bytes held from the system by all blocks of the process.
pub(crate) fn held_bytes() -> u64 {
    HELD.load(Ordering::Relaxed)
}

/// From now on nothing is given back: the interpreter ends, and a daemon thread may still be inside
/// a loop on this memory.
pub fn keep_everything() {
    KEEP_ALL.store(true, Ordering::SeqCst);
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

/// Where a block without bytes begins: aligned for everything. NumPy reads a byte at the address
/// of an array without elements too.
#[repr(align(4096))]
struct Nowhere(AtomicU8);
static NOWHERE: Nowhere = Nowhere(AtomicU8::new(0));

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
    retired: sync::AtomicBool,
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
    #[cfg(all(unix, not(miri)))]
    File(Mapping),
}

/// The bytes of a file. The lock goes after the mapping.
#[cfg(all(unix, not(miri)))]
#[derive(Debug)]
struct Mapping {
    holds: Holds,
    forks: u64,
    lock: Option<Arc<FileLock>>,
    total: usize,
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
            (NonNull::from(&NOWHERE.0).cast(), Source::Nothing)
        } else if faults::refuses(Refuser::System) {
            return None;
        } else if len < MAPPED_FROM || cfg!(any(miri, not(unix))) {
            let layout = Layout::from_size_align(len, align).ok()?;
            // SAFETY: the layout's size is not 0.
            (NonNull::new(unsafe { alloc_zeroed(layout) })?, Source::Heap(layout))
        } else {
            map(len, huge_pages && len >= HUGE_FROM)?
        };
        Some(Self::new(base, len, source))
    }

    /// The first `len` bytes of a file, which is so long and has its blocks on disk. What is written
    /// reaches the file. The lock is kept as long as the mapping.
    #[cfg(all(unix, not(miri)))]
    pub(crate) fn map_file(file: &File, len: u64, lock: Option<Arc<FileLock>>) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // The file lies over the beginning of a mapping that goes on behind it: see `map`.
        let total =
            len.checked_add(1).and_then(|total| total.checked_next_multiple_of(LARGEST_PAGE));
        let total = total.ok_or(io::ErrorKind::OutOfMemory)?;
        if faults::refuses(Refuser::System) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping anywhere has no preconditions.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), total, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let (fd, flags) = (file.as_raw_fd(), libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: over a part of the mapping just made; `file` keeps the descriptor open.
        let over = unsafe { libc::mmap(start, len, protection, flags, fd, 0) };
        if over == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            // SAFETY: the mapping just made.
            unsafe { libc::munmap(start, total) };
            return Err(error);
        }
        let base = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Mapping { holds: Holds::default(), forks: forks(), lock, total };
        Ok(Self::new(base, len, Source::File(mapping)))
    }

    fn new(base: NonNull<u8>, len: usize, source: Source) -> Self {
        HELD.fetch_add(len as u64, Ordering::Relaxed);
        let (leases, leased_arrays) = (Leases::new(), Leases::new());
        Self { base, len, source, leases, leased_arrays, retired: sync::AtomicBool::new(false) }
    }

    /// Of a file: which ranges are leased, as such a block cannot be replaced by another.
    pub(crate) fn holds(&self) -> Option<&Holds> {
        match &self.source {
            #[cfg(all(unix, not(miri)))]
            Source::File(mapping) => Some(&mapping.holds),
            _ => None,
        }
    }

    /// Of a file that the parent of this forked process mapped, and goes on writing to.
    pub(crate) fn is_inherited_file(&self) -> bool {
        match &self.source {
            #[cfg(all(unix, not(miri)))]
            Source::File(mapping) => mapping.forks != forks(),
            _ => false,
        }
    }

    /// Of a named file: what keeps it from others.
    #[cfg(all(unix, not(miri)))]
    pub(crate) fn file_lock(&self) -> Option<&Arc<FileLock>> {
        match &self.source {
            Source::File(mapping) => mapping.lock.as_ref(),
            _ => None,
        }
    }

    /// Of a named file: whether somebody looks at it through a lease, or a forked child may do so.
    pub(crate) fn is_viewed_file(&self) -> bool {
        match &self.source {
            #[cfg(all(unix, not(miri)))]
            Source::File(mapping) => mapping.lock.as_ref().is_some_and(|lock| lock.is_viewed()),
            _ => false,
        }
    }

    /// One more lease or operation in flight.
    pub(crate) fn count_up(&self) {
        #[cfg(all(unix, not(miri)))]
        self.file_lock().inspect(|lock| lock.count_up());
        self.leases.up();
    }

    /// One less; true if that was the last.
    pub(crate) fn count_down(&self) -> bool {
        let last = self.leases.down();
        sync::then_look();
        #[cfg(all(unix, not(miri)))]
        self.file_lock().inspect(|lock| lock.count_down());
        last
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
        sync::then_look();
    }

    /// Whether the byte at that address is one of its own.
    pub(crate) fn has(&self, address: usize) -> bool {
        address.checked_sub(self.base.addr().get()).is_some_and(|offset| offset < self.len)
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

    /// Touches every page, so that the first use does not fault; those of a file are read, as written
    /// pages would all go back to the disk.
    pub(crate) fn prefault(&self) {
        let is_file = self.holds().is_some();
        for offset in (0..self.len).step_by(PAGE) {
            let byte = self.at(offset as u64, 1);
            if is_file {
                // SAFETY: invariants 1 and 2.
                unsafe { byte.read_volatile() };
            } else {
                // SAFETY: invariants 1 and 2; nobody has the block yet.
                unsafe { byte.write_volatile(0) };
            }
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
        match &self.source {
            Source::Nothing => {}
            // SAFETY: invariant 1: allocated in `reserve` with this layout, dropped once.
            Source::Heap(layout) => unsafe { dealloc(self.base.as_ptr(), *layout) },
            #[cfg(all(unix, not(miri)))]
            Source::Mapped { start, total } => {
                // SAFETY: invariant 1: exactly what `map` mapped, dropped once.
                unsafe { libc::munmap(start.as_ptr(), *total) };
            }
            #[cfg(all(unix, not(miri)))]
            Source::File(Mapping { total, .. }) => {
                // SAFETY: invariant 1: exactly what `map_file` mapped, dropped once.
                unsafe { libc::munmap(self.base.as_ptr().cast(), *total) };
            }
        }
    }
}

/// Maps `len` bytes, and at least one more, as the end of an array is the address of its empty slices;
/// with `huge` at a 2 MiB boundary and advised for huge pages.
#[cfg(all(unix, not(miri)))]
fn map(len: usize, huge: bool) -> Option<(NonNull<u8>, Source)> {
    let slack = if huge { HUGE_PAGE } else { 0 };
    let total = len.checked_add(1)?.checked_next_multiple_of(PAGE)?.checked_add(slack)?;
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

/// Reserves the first `len` bytes of a file on disk, and makes it so long. Contents stay.
#[cfg(all(unix, not(miri), not(target_vendor = "apple")))]
pub(crate) fn reserve_on_disk(file: &File, len: u64) -> io::Result<()> {
    let end = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
    check_free(file, len)?;
    loop {
        // SAFETY: `file` keeps the descriptor open.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, end) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Beforehand, as a reservation that fails may first have taken all there was.
#[cfg(all(unix, not(miri), not(target_vendor = "apple")))]
#[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
fn check_free(file: &File, len: u64) -> io::Result<()> {
    let missing = len.saturating_sub(file.metadata()?.blocks().saturating_mul(512));
    let mut found = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `file` keeps the descriptor open, and `found` outlives the call.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written by the call; of integers, which zeros would fill as well.
    let found = unsafe { found.assume_init() };
    let free = (found.f_bavail as u64).saturating_mul(found.f_frsize as u64);
    if missing <= free || found.f_blocks == 0 {
        return Ok(());
    }
    let reason = format!("it lacks {missing} bytes on the disk, where {free} are free");
    Err(io::Error::new(io::ErrorKind::StorageFull, reason))
}

/// Reserves the first `len` bytes of a file on disk, and makes it so long. Contents stay.
#[cfg(all(unix, not(miri), target_vendor = "apple"))]
pub(crate) fn reserve_on_disk(file: &File, len: u64) -> io::Result<()> {
    let present = file.metadata()?.len();
    let missing = libc::off_t::try_from(len.saturating_sub(present))
        .map_err(|_| io::ErrorKind::StorageFull)?;
    if missing == 0 {
        return Ok(());
    }
    let store = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: missing,
        fst_bytesalloc: 0,
    };
    // SAFETY: `file` keeps the descriptor open, and `store` outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PREALLOCATE, &raw const store) } == -1 {
        return Err(io::Error::last_os_error());
    }
    file.set_len(len)
}
