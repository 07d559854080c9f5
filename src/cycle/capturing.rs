//! Captured memory: what NumPy allocates by itself while a scope captures, in blocks of its own.
//!
//! Its arrays free themselves, whenever they like. So nothing is rewound at the end of a cycle: whoever
//! is still alive stays where it lies, and the next cycle allocates beside it. Memory is placed by the
//! good fit of arenas, one for each block; which piece begins at an address is looked up in a table
//! with an entry for every [`floor`] bytes, as no piece is shorter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::State;
use super::placing::POISON;
use crate::block::Block;
use crate::config::{DebugMode, HugePages, SpillPolicy, WorkspaceConfiguration};
use crate::faults::{self, Refuser};
use crate::fit::{GoodFit, NONE};
use crate::layout::align_up;

/// No block is smaller, unless `max_size` says so: from here on blocks get huge pages.
const SMALLEST: u64 = 4 << 20;
/// Blocks are as long as whole huge pages.
const STEP: u64 = 2 << 20;
/// NumPy's kernels like whole cache lines.
const GRANULE: u64 = 64;

static FLOOR: AtomicU64 = AtomicU64::new(16 << 10);

/// Requests of fewer bytes are not captured.
pub(crate) fn floor() -> u64 {
    FLOOR.load(Ordering::Relaxed)
}

/// Sets the floor for workspaces that have not captured yet: a power of two, at least a cache line.
pub(crate) fn set_floor(bytes: u64) -> bool {
    let fits = bytes.is_power_of_two() && bytes >= GRANULE;
    if fits {
        FLOOR.store(bytes, Ordering::Relaxed);
    }
    fits
}

/// What is known of captured memory without a lock: between which addresses it has ever lain, as what is
/// outside is somebody else's, and whether a scope captures.
#[derive(Debug)]
pub(crate) struct Bounds {
    low: AtomicU64,
    high: AtomicU64,
    /// Open scopes that capture; the owner counts, the end of the workspace sets it to 0.
    scopes: AtomicU32,
}

impl Bounds {
    fn new() -> Self {
        let (low, high) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Self { low, high, scopes: AtomicU32::new(0) }
    }

    /// A scope that captures was opened.
    pub(crate) fn open(&self) {
        self.scopes.store(self.scopes.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// A scope that captures was closed.
    pub(crate) fn close(&self) {
        self.scopes.store(self.scopes.load(Ordering::Relaxed).saturating_sub(1), Ordering::Release);
    }

    /// Whether there is one.
    #[inline]
    pub(crate) fn is_capturing(&self) -> bool {
        self.scopes.load(Ordering::Acquire) > 0
    }

    /// Before a piece of the range is handed out.
    fn include(&self, start: u64, len: u64) {
        self.low.fetch_min(start, Ordering::Relaxed);
        self.high.fetch_max(start + len, Ordering::Relaxed);
    }

    /// Relaxed is enough: whoever has an address of ours has it from somebody who saw the range.
    #[inline]
    pub(crate) fn contain(&self, address: u64) -> bool {
        self.low.load(Ordering::Relaxed) <= address && address < self.high.load(Ordering::Relaxed)
    }
}

/// A piece of captured memory.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its first byte.
    pub start: *mut u8,
    /// So many bytes from the first on may hold anything; those behind them are zero.
    pub dirty: usize,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Released {
    /// It was not ours.
    Nothing,
    /// A piece.
    Piece,
    /// The last piece of a block, which is to be dropped without the lock.
    Block(#[expect(dead_code, reason = "it is kept until it is dropped")] Box<Slab>),
}

/// The captured memory of one workspace.
#[derive(Debug)]
pub(super) struct Heap {
    granule: u64,
    slot_bits: u32,
    /// Bytes of all blocks together.
    limit: u64,
    huge_pages: bool,
    poisons: bool,
    cycle: u32,
    /// Those that serve requests, the learned one first.
    slabs: Vec<Slab>,
    /// Those that go back with their last piece.
    closed: Vec<Slab>,
    /// What one block needs for everything at once.
    learned: u64,
    this_cycle: u64,
    counts: CapturedCounts,
    bounds: Arc<Bounds>,
}

/// What captured memory adds to the counters of a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapturedCounts {
    pub(crate) size: u64,
    pub(crate) offset: u64,
    pub(crate) learned: u64,
    pub(crate) this_cycle: u64,
    pub(crate) last_cycle: u64,
    /// With everything else of that cycle.
    pub(crate) max_cycle: u64,
    pub(crate) external: u64,
    pub(crate) spilled: u64,
    pub(crate) retired: u64,
}

/// A block, and who lies where in it.
#[derive(Debug)]
pub(crate) struct Slab {
    block: Block,
    start: u64,
    fit: GoodFit,
    /// The piece that begins in each slot.
    pieces: Vec<Entry>,
    alive: u64,
    alive_bytes: u64,
    /// Of these, those of earlier cycles.
    survivors: u64,
    survivor_bytes: u64,
    /// It was taken because the others were full: its pieces count as spills.
    is_overflow: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    span: u32,
    born: u32,
    len: u64,
}

const NOBODY: Entry = Entry { span: NONE, born: 0, len: 0 };

impl Slab {
    fn new(block: Block, granule: u64, slot_bits: u32) -> Self {
        let slots = usize::try_from(block.len() >> slot_bits).unwrap_or(0) + 1;
        Self {
            start: block.at(0, 0).addr() as u64,
            fit: GoodFit::new(granule),
            pieces: vec![NOBODY; slots],
            alive: 0,
            alive_bytes: 0,
            survivors: 0,
            survivor_bytes: 0,
            is_overflow: false,
            block,
        }
    }

    fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.block.len()
    }

    /// A piece of `len` bytes, if there is room; its offset, and how many of its bytes were used before.
    fn take(&mut self, len: u64, born: u32, slot_bits: u32) -> Option<(u64, u64)> {
        let high = self.fit.high;
        let span = self.fit.alloc(len, self.block.len())?;
        let offset = self.fit.offset(span);
        *self.piece_mut(offset, slot_bits) = Entry { span, born, len };
        self.alive += 1;
        self.alive_bytes += len;
        Some((offset, high.saturating_sub(offset).min(len)))
    }

    fn piece_mut(&mut self, offset: u64, slot_bits: u32) -> &mut Entry {
        &mut self.pieces[usize::try_from(offset >> slot_bits).unwrap_or(usize::MAX)]
    }

    /// The piece that begins at the address, removed from the table.
    fn remove(&mut self, address: u64, slot_bits: u32) -> Entry {
        let entry = self.piece_at(address, slot_bits);
        if entry.span != NONE {
            *self.piece_mut(address - self.start, slot_bits) = NOBODY;
            self.fit.free(entry.span);
            self.alive -= 1;
            self.alive_bytes -= entry.len;
        }
        entry
    }

    /// The piece that begins at the address, which lies in the block.
    fn piece_at(&self, address: u64, slot_bits: u32) -> Entry {
        let offset = address - self.start;
        let slot = usize::try_from(offset >> slot_bits).unwrap_or(usize::MAX);
        let entry = self.pieces.get(slot).copied().unwrap_or(NOBODY);
        if entry.span == NONE || self.fit.offset(entry.span) == offset { entry } else { NOBODY }
    }
}

impl Heap {
    fn new(config: &WorkspaceConfiguration, poisons: bool) -> Self {
        let bounded = config.policy_spill == SpillPolicy::Fail;
        let limit = match config.max_size {
            0 if bounded => config.initial_size.max(config.min_size),
            0 => u64::MAX,
            max => max,
        };
        Self {
            granule: config.alignment.max(GRANULE),
            slot_bits: floor().trailing_zeros(),
            limit,
            huge_pages: config.huge_pages == HugePages::Advise,
            poisons,
            cycle: 0,
            slabs: Vec::new(),
            closed: Vec::new(),
            learned: 0,
            this_cycle: 0,
            counts: CapturedCounts::default(),
            bounds: Arc::new(Bounds::new()),
        }
    }

    fn held(&self) -> u64 {
        self.slabs.iter().chain(&self.closed).map(|s| s.block.len()).sum()
    }

    /// A piece of at least `bytes`, and its length; `alone`: in a block that nobody else gets.
    fn take(&mut self, bytes: u64, alone: bool) -> Option<(Piece, u64)> {
        let len = bytes.checked_add(self.granule - 1)? & !(self.granule - 1);
        let (cycle, bits, poisons) = (self.cycle, self.slot_bits, self.poisons);
        let mut found = None;
        if !alone {
            let take = |(i, slab): (usize, &mut Slab)| Some((i, slab.take(len, cycle, bits)?));
            found = self.slabs.iter_mut().enumerate().find_map(take);
        }
        let (slab, (offset, used)) = match found {
            Some((i, place)) => (&self.slabs[i], place),
            None => self.take_beyond(len, alone)?,
        };
        let overflows = slab.is_overflow;
        let mut dirty = used;
        if poisons {
            slab.block.fill(offset, len, POISON);
            dirty = len;
        }
        let piece = Piece {
            start: slab.block.at(offset, len),
            dirty: usize::try_from(dirty).unwrap_or(usize::MAX),
        };
        self.this_cycle += len;
        if overflows {
            self.counts.external += 1;
            self.counts.spilled += len;
        }
        Some((piece, len))
    }

    /// The same in a new block.
    #[cold]
    #[inline(never)]
    fn take_beyond(&mut self, len: u64, alone: bool) -> Option<(&Slab, (u64, u64))> {
        let room = self.limit.checked_sub(self.held())?;
        if room < len {
            return None;
        }
        let is_learned = !alone && self.slabs.is_empty() && len <= self.learned;
        let wanted =
            if is_learned { self.learned } else { self.slabs.iter().map(|s| s.block.len()).sum() };
        let wanted = if alone { len } else { wanted.max(len).max(SMALLEST) };
        let size = if alone { len } else { align_up(wanted, STEP)?.min(room) };
        let reserve = |size| Block::reserve(size, self.granule, self.huge_pages);
        let block = reserve(size).or_else(|| reserve(len))?;
        let mut slab = Slab::new(block, self.granule, self.slot_bits);
        self.bounds.include(slab.start, slab.block.len());
        slab.is_overflow = !is_learned;
        let place = slab.take(len, self.cycle, self.slot_bits)?;
        let list = if alone { &mut self.closed } else { &mut self.slabs };
        list.push(slab);
        list.last().map(|slab| (slab, place))
    }

    fn slab_of(&self, address: u64) -> Option<&Slab> {
        self.slabs.iter().chain(&self.closed).find(|slab| slab.contains(address))
    }

    /// Takes back the piece that begins there: what it was, and the block if it was its last one.
    fn give_back(&mut self, address: u64) -> Option<(Entry, Option<Box<Slab>>)> {
        let (bits, cycle) = (self.slot_bits, self.cycle);
        let mut all = self.slabs.iter_mut().chain(&mut self.closed);
        let slab = all.find(|slab| slab.contains(address))?;
        let entry = slab.remove(address, bits);
        if entry.span == NONE {
            return Some((entry, None)); // nobody's: a second `free` of the same address
        }
        if self.poisons {
            slab.block.fill(address - slab.start, entry.len, POISON);
        }
        if slab.is_overflow {
            self.counts.external -= 1;
            self.counts.spilled -= entry.len;
        }
        if entry.born != cycle {
            slab.survivors -= 1;
            slab.survivor_bytes -= entry.len;
        }
        if slab.alive > 0 {
            return Some((entry, None));
        }
        let over = self.closed.iter().position(|s| s.contains(address));
        Some((entry, over.map(|i| Box::new(self.closed.swap_remove(i)))))
    }

    /// A cycle ends in which `others` bytes were requested beside: the number of survivors.
    fn close(&mut self, others: u64) -> u64 {
        self.counts.last_cycle = self.this_cycle;
        self.counts.max_cycle = self.counts.max_cycle.max(self.this_cycle + others);
        self.this_cycle = 0;
        let survivors = self.settle();
        self.learn();
        survivors
    }

    /// Whoever is alive is a survivor from now on: how many new ones there are.
    fn settle(&mut self) -> u64 {
        self.cycle = self.cycle.wrapping_add(1);
        (self.counts.external, self.counts.spilled) = (0, 0);
        let mut new = 0;
        for slab in self.slabs.iter_mut().chain(&mut self.closed) {
            new += slab.alive - slab.survivors;
            (slab.survivors, slab.survivor_bytes) = (slab.alive, slab.alive_bytes);
            slab.is_overflow = false;
        }
        new
    }

    /// One block for all, if it took several. Those with survivors are retired.
    fn learn(&mut self) {
        let needed: u64 = self.slabs.iter().map(|s| s.fit.high).sum();
        self.learned = self.learned.max(needed).min(self.limit);
        if self.slabs.len() < 2 {
            return;
        }
        self.slabs.sort_by_key(|s| std::cmp::Reverse(s.block.len()));
        let survivors = self.slabs.iter().chain(&self.closed).filter(|s| s.alive > 0);
        let room = self.limit - survivors.map(|s| s.block.len()).sum::<u64>().min(self.limit);
        let keeps = self.slabs[0].block.len() >= self.learned.min(room);
        let others = self.slabs.split_off(usize::from(keeps));
        self.closed.extend(others.into_iter().filter(|slab| slab.alive > 0));
    }

    /// No more pieces from what there is; empty blocks go back.
    fn retire_all(&mut self) {
        self.closed.append(&mut self.slabs);
        self.closed.retain(|slab| slab.alive > 0);
        self.learned = 0;
    }

    fn trim(&mut self) -> u64 {
        let before = self.held();
        self.slabs.retain(|slab| slab.alive > 0);
        self.learned = 0;
        before - self.held()
    }

    fn counts(&self) -> CapturedCounts {
        let ready = || self.slabs.iter().filter(|s| !s.is_overflow);
        let retired = self.closed.iter().filter(|s| !s.is_overflow).map(|s| s.block.len());
        let survivors = self.slabs.iter().map(|s| s.survivor_bytes);
        CapturedCounts {
            size: ready().map(|s| s.block.len()).sum(),
            offset: ready().map(|s| s.fit.cursor).sum(),
            learned: self.learned,
            this_cycle: self.this_cycle,
            retired: retired.chain(survivors).sum(),
            ..self.counts
        }
    }
}

impl State {
    /// Where captured memory lies; from now on there may be some.
    pub(crate) fn begin_capturing(
        &mut self,
        config: &WorkspaceConfiguration,
        debug: bool,
    ) -> Arc<Bounds> {
        let heap = self.heap.get_or_insert_with(|| Box::new(Heap::new(config, debug)));
        Arc::clone(&heap.bounds)
    }

    /// Captured memory is filled at its birth and at its death, or not.
    pub(crate) fn poison_captured(&mut self, poisons: bool) {
        if let Some(heap) = &mut self.heap {
            heap.poisons = poisons;
        }
    }

    /// A piece of at least `bytes`; `None`: nobody captures, or it is full. Nothing has changed then.
    pub(crate) fn capture(&mut self, bytes: u64, mode: DebugMode) -> Option<Piece> {
        let heap = self.heap.as_mut().filter(|heap| heap.bounds.is_capturing())?;
        if faults::refuses(Refuser::Arena) {
            return None;
        }
        let alone = !self.in_use || mode == DebugMode::SpillEverything;
        let (piece, len) = heap.take(bytes, alone)?;
        self.ever_allocated = true;
        self.alive_bytes += len;
        self.counters.peak = self.counters.peak.max(self.alive_bytes);
        Some(piece)
    }

    /// The length of the captured piece at an address.
    pub(crate) fn captured_len(&self, address: u64) -> Option<u64> {
        let heap = self.heap.as_ref()?;
        let slab = heap.slab_of(address)?;
        Some(slab.piece_at(address, heap.slot_bits).len)
    }

    /// Takes back captured memory.
    pub(crate) fn release_captured(&mut self, address: u64) -> Released {
        let Some(heap) = &mut self.heap else { return Released::Nothing };
        let Some((entry, emptied)) = heap.give_back(address) else { return Released::Nothing };
        if entry.span != NONE && entry.born == heap.cycle {
            self.alive_bytes = self.alive_bytes.saturating_sub(entry.len);
        }
        emptied.map_or(Released::Piece, Released::Block)
    }

    pub(crate) fn captured_counts(&self) -> CapturedCounts {
        self.heap.as_ref().map_or_else(CapturedCounts::default, |heap| heap.counts())
    }

    /// A full close in which `used` bytes were requested beside: the number of captured survivors.
    pub(super) fn end_captured_cycle(&mut self, used: u64) -> u64 {
        self.heap.as_mut().map_or(0, |heap| heap.close(used))
    }

    /// The end of the workspace: what is alive stays until it dies.
    pub(super) fn retire_captured(&mut self) {
        if let Some(heap) = &mut self.heap {
            heap.bounds.scopes.store(0, Ordering::Release);
            heap.this_cycle = 0;
            heap.settle();
            heap.retire_all();
        }
    }

    /// Gives back what is not in use; the number of bytes.
    pub(super) fn trim_captured(&mut self) -> u64 {
        let idle = self.heap.as_mut().filter(|heap| !heap.bounds.is_capturing());
        idle.map_or(0, |heap| heap.trim())
    }
}
