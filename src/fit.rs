//! Offsets below a limit: a bump cursor, and a good fit among the holes that deaths leave.

#![forbid(unsafe_code)]

/// No span.
pub(crate) const NONE: u32 = u32::MAX;

/// Offsets that only grow until everything is reset: the arithmetic of `AT_RESET` and of rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bump {
    offset: u64,
}

impl Bump {
    /// Starts at offset 0.
    pub const fn new() -> Self {
        Self { offset: 0 }
    }

    /// The next `len` bytes, if they end within `capacity`.
    #[inline]
    pub fn alloc(&mut self, len: u64, capacity: u64) -> Option<u64> {
        let start = self.offset;
        self.offset = start.checked_add(len).filter(|&end| end <= capacity)?;
        Some(start)
    }

    /// Everything is free again.
    pub fn reset(&mut self) {
        self.offset = 0;
    }

    /// End of the bytes in use.
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Goes on at `offset`.
    pub fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
    }
}

const COLUMNS: usize = 16;
const ROWS: usize = 28;
/// Of a span that is no hole.
const IN_USE: u16 = u16::MAX;
/// Holes of its own class that a request compares before it takes any that is large enough.
const COMPARED: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    offset: u64,
    len: u64,
    /// Neighbours in memory; free spans never touch.
    before: u32,
    after: u32,
    /// Neighbours in the list of holes of the same class.
    previous: u32,
    next: u32,
    /// Its class while it is a hole, else [`IN_USE`].
    class: u16,
}

impl Span {
    fn is_hole(&self) -> bool {
        self.class != IN_USE
    }
}

/// Bump cursor with roll-back, and holes below it in a two-level index by size.
///
/// Which offset a request gets does not depend on the capacity: a limit only refuses.
#[derive(Debug)]
pub(crate) struct GoodFit {
    granule_bits: u32,
    pub(crate) spans: Vec<Span>,
    /// Recycled entries of `spans`, linked by `next`.
    vacant: u32,
    /// The span below the cursor.
    last: u32,
    /// Died last, below others, and is not a hole yet: often the next request has its length.
    fresh: u32,
    pub(crate) cursor: u64,
    pub(crate) high: u64,
    rows: u32,
    columns: [u16; ROWS],
    holes: Box<[Holes; ROWS * COLUMNS]>,
}

/// The holes of one class.
#[derive(Clone, Copy, Debug)]
struct Holes {
    first: u32,
    /// All holes of the list are shorter.
    bound: u64,
}

const NO_HOLES: Holes = Holes { first: NONE, bound: 0 };

impl GoodFit {
    pub(crate) fn new(granule: u64) -> Self {
        Self {
            granule_bits: granule.trailing_zeros(),
            spans: Vec::new(),
            vacant: NONE,
            last: NONE,
            fresh: NONE,
            cursor: 0,
            high: 0,
            rows: 0,
            columns: [0; ROWS],
            holes: Box::new([NO_HOLES; ROWS * COLUMNS]),
        }
    }

    /// Frees everything.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.high = 0;
        if self.cursor > 0 {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.fresh = NONE;
        self.cursor = 0;
        self.last = NONE;
        self.vacant = NONE;
        self.spans.clear();
        self.forget_holes();
    }

    /// Empties the lists that are not empty.
    fn forget_holes(&mut self) {
        while self.rows != 0 {
            let row = self.rows.trailing_zeros() as usize;
            self.rows &= self.rows - 1;
            let mut columns = std::mem::take(&mut self.columns[row]);
            while columns != 0 {
                self.holes[row * COLUMNS + columns.trailing_zeros() as usize] = NO_HOLES;
                columns &= columns - 1;
            }
        }
    }

    pub(crate) fn offset(&self, span: u32) -> u64 {
        self.at(span).offset
    }

    pub(crate) fn alloc(&mut self, len: u64, capacity: u64) -> Option<u32> {
        let fresh = self.fresh;
        if fresh != NONE {
            if self.at(fresh).len == len {
                self.fresh = NONE;
                return Some(fresh);
            }
            self.settle();
        }
        let hole = if self.rows == 0 { NONE } else { self.find(len) };
        if hole != NONE {
            return Some(self.cut(hole, len));
        }
        let fits = self.cursor.checked_add(len).is_some_and(|end| end <= capacity);
        fits.then(|| self.push(len))
    }

    /// As `alloc` in an arena without end.
    pub(crate) fn alloc_endless(&mut self, len: u64) -> u32 {
        self.alloc(len, u64::MAX).unwrap_or_else(|| self.push(len))
    }

    /// Uses the `len` bytes at `offset`, which is not below the cursor.
    pub(crate) fn adopt(&mut self, offset: u64, len: u64) -> u32 {
        let gap = offset - self.cursor;
        if gap > 0 {
            let hole = self.push(gap);
            self.insert(hole);
        }
        self.push(len)
    }

    pub(crate) fn free(&mut self, span: u32) {
        self.settle();
        self.fresh = span;
        if span == self.last {
            self.settle();
        }
    }

    /// Makes a hole of the span that died last.
    fn settle(&mut self) {
        let mut span = std::mem::replace(&mut self.fresh, NONE);
        if span == NONE {
            return;
        }
        debug_assert!(!self.at(span).is_hole());
        let Span { before, after, .. } = *self.at(span);
        if after != NONE && self.at(after).is_hole() {
            self.remove(after);
            self.merge(span, after);
        }
        if before != NONE && self.at(before).is_hole() {
            self.remove(before);
            self.merge(before, span);
            span = before;
        }
        if span == self.last {
            self.roll_back();
        } else {
            self.insert(span);
        }
    }

    fn at(&self, span: u32) -> &Span {
        &self.spans[span as usize]
    }

    fn at_mut(&mut self, span: u32) -> &mut Span {
        &mut self.spans[span as usize]
    }

    /// A span in use at the cursor.
    #[inline]
    fn push(&mut self, len: u64) -> u32 {
        let (offset, before) = (self.cursor, self.last);
        let span = self.create(offset, len, before, NONE);
        if before != NONE {
            self.at_mut(before).after = span;
        }
        self.last = span;
        self.cursor = offset.saturating_add(len);
        self.high = self.high.max(self.cursor);
        span
    }

    /// Takes the last span off; what is below it is in use.
    fn roll_back(&mut self) {
        let Span { offset, before, .. } = *self.at(self.last);
        self.recycle(self.last);
        if before != NONE {
            self.at_mut(before).after = NONE;
        }
        self.last = before;
        self.cursor = offset;
    }

    /// The lower `len` bytes of a hole; the rest remains a hole.
    #[inline]
    fn cut(&mut self, hole: u32, len: u64) -> u32 {
        self.remove(hole);
        let Span { offset, len: room, before, .. } = *self.at(hole);
        if room == len {
            return hole;
        }
        let span = self.create(offset, len, before, hole);
        if before != NONE {
            self.at_mut(before).after = span;
        }
        let rest = self.at_mut(hole);
        rest.offset = offset + len;
        rest.len = room - len;
        rest.before = span;
        self.insert(hole);
        span
    }

    /// Adds `upper` to `lower`, its neighbour.
    fn merge(&mut self, lower: u32, upper: u32) {
        let Span { len, after, .. } = *self.at(upper);
        self.recycle(upper);
        let merged = self.at_mut(lower);
        merged.len += len;
        merged.after = after;
        if after == NONE {
            self.last = lower;
        } else {
            self.at_mut(after).before = lower;
        }
    }

    #[inline]
    fn create(&mut self, offset: u64, len: u64, before: u32, after: u32) -> u32 {
        let new = Span { offset, len, before, after, previous: NONE, next: NONE, class: IN_USE };
        if self.vacant == NONE {
            let span = u32::try_from(self.spans.len()).expect("fewer spans than bytes of address");
            self.spans.push(new);
            return span;
        }
        let span = self.vacant;
        self.vacant = self.at(span).next;
        *self.at_mut(span) = new;
        span
    }

    fn recycle(&mut self, span: u32) {
        self.at_mut(span).next = self.vacant;
        self.vacant = span;
    }

    #[inline]
    fn class(&self, len: u64) -> usize {
        let granules = len >> self.granule_bits;
        let log = granules.max(1).ilog2();
        if log < 4 {
            return low_bits(granules);
        }
        let row = log as usize - 3;
        if row >= ROWS {
            return ROWS * COLUMNS - 1;
        }
        row * COLUMNS + low_bits(granules >> (log - 4))
    }

    /// A hole of at least `len` bytes: of the own class, else of the next class that has one.
    fn find(&mut self, len: u64) -> u32 {
        let class = self.class(len);
        let own = self.holes[class];
        if len < own.bound {
            let hole = self.search(own.first, len);
            if hole != NONE {
                return hole;
            }
            self.holes[class].bound = len;
        }
        let (mut row, column) = (class / COLUMNS, class % COLUMNS);
        let mut columns = u32::from(self.columns[row]) & (u32::MAX << (column + 1));
        if columns == 0 {
            let rows = u64::from(self.rows) & (u64::MAX << (row + 1));
            if rows == 0 {
                return NONE;
            }
            row = rows.trailing_zeros() as usize;
            columns = u32::from(self.columns[row]);
        }
        self.holes[row * COLUMNS + columns.trailing_zeros() as usize].first
    }

    /// The shortest sufficient hole among the first few of a list, else the first one behind them.
    fn search(&self, first: u32, len: u64) -> u32 {
        let (mut hole, mut best, mut room) = (first, NONE, u64::MAX);
        let mut compared = 0;
        while hole != NONE && room != len && (best == NONE || compared < COMPARED) {
            let span = self.at(hole);
            if span.len >= len && span.len < room {
                (best, room) = (hole, span.len);
            }
            hole = span.next;
            compared += 1;
        }
        best
    }

    #[inline]
    fn insert(&mut self, span: u32) {
        let len = self.at(span).len;
        let class = self.class(len);
        let list = &mut self.holes[class];
        let next = list.first;
        list.first = span;
        list.bound = list.bound.max(len + 1);
        if next == NONE {
            self.rows |= 1 << (class / COLUMNS);
            self.columns[class / COLUMNS] |= 1 << (class % COLUMNS);
        } else {
            self.at_mut(next).previous = span;
        }
        let hole = self.at_mut(span);
        hole.previous = NONE;
        hole.next = next;
        hole.class = u16::try_from(class).unwrap_or(IN_USE);
    }

    #[inline]
    fn remove(&mut self, hole: u32) {
        let Span { class, previous, next, .. } = *self.at(hole);
        self.at_mut(hole).class = IN_USE;
        if next != NONE {
            self.at_mut(next).previous = previous;
        }
        if previous != NONE {
            self.at_mut(previous).next = next;
            return;
        }
        let class = usize::from(class);
        self.holes[class].first = next;
        if next == NONE {
            self.holes[class].bound = 0;
            let row = class / COLUMNS;
            self.columns[row] &= !(1 << (class % COLUMNS));
            if self.columns[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }
}

fn low_bits(n: u64) -> usize {
    (n & 0b1111) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANULE: u64 = 64;

    #[test]
    fn classes_grow_with_the_length() {
        let fit = GoodFit::new(GRANULE);
        let classes: Vec<usize> = (1..5000).map(|n| fit.class(n * GRANULE)).collect();
        assert!(classes.is_sorted());
        assert_eq!(classes[..16], (1..=16).collect::<Vec<_>>(), "small lengths have their own");
        assert_eq!(fit.class(u64::MAX), ROWS * COLUMNS - 1);
    }

    #[test]
    fn holes_merge_and_the_cursor_rolls_back() {
        let mut fit = GoodFit::new(GRANULE);
        let spans: Vec<u32> = (1..=5).map(|n| fit.alloc_endless(n * GRANULE)).collect();
        assert_eq!(fit.cursor, 15 * GRANULE);
        fit.free(spans[1]);
        fit.free(spans[3]);
        fit.free(spans[2]);
        let merged = fit.alloc_endless(9 * GRANULE);
        assert_eq!(fit.offset(merged), GRANULE);
        assert_eq!(fit.rows, 0, "no hole is left");
        fit.free(merged);
        fit.free(spans[4]);
        assert_eq!(fit.cursor, GRANULE);
        fit.free(spans[0]);
        assert_eq!((fit.cursor, fit.last, fit.rows), (0, NONE, 0));
    }

    #[test]
    fn the_own_class_is_searched_to_its_end() {
        let mut fit = GoodFit::new(GRANULE);
        let lens = (0..20).map(|i| if i == 0 { 103 } else { 100 });
        let spans: Vec<u32> = lens
            .map(|n| {
                let span = fit.alloc_endless(n * GRANULE);
                fit.alloc_endless(GRANULE);
                span
            })
            .collect();
        for &span in &spans {
            fit.free(span);
        }
        let cursor = fit.cursor;
        assert_eq!(fit.alloc(104 * GRANULE, cursor), None);
        let found = fit.alloc(102 * GRANULE, cursor).expect("the first of twenty holes is enough");
        assert_eq!(fit.offset(found), 0);
        assert_eq!(fit.alloc(102 * GRANULE, cursor), None);
        assert!(fit.alloc(100 * GRANULE, cursor).is_some());
    }
}
