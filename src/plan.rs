//! The plan of a cycle: its requests and deaths, laid out at fixed offsets once they are known.
//!
//! A cycle that repeats need not search for room: every request goes where the layout of the first
//! such cycle put it, as long as those who had that place before are dead. See
//! [`Arena`](crate::arena::Arena) for who serves a cycle that has no plan, or leaves it.

#![forbid(unsafe_code)]

mod log;
mod shapes;

use log::{Life, halves, narrow};

pub use log::{Event, Log};
pub use shapes::Shapes;

/// A cycle with more requests than this has no plan: laying one out takes quadratic time.
pub const MAX_REQUESTS: usize = 4096;
/// Plans kept at a time.
pub const MAX_PLANS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Step {
    len: u64,
    offset: u64,
    /// Deaths before it, in the cycle that was planned.
    deaths: usize,
}

/// Fixed offsets for the requests of one cycle.
#[derive(Debug, Default)]
pub struct Plan {
    steps: Vec<Step>,
    /// Where in the list of owners those stand who had the place of a request last; those before them died
    /// earlier.
    spans: Vec<(u32, u32)>,
    owners: Vec<u32>,
    /// Whose deaths they were in the cycle that was planned, one after the other.
    deaths: Vec<u32>,
    height: u64,
}

/// How far a cycle has followed its plan to the letter, each birth and each death in its turn. Nothing
/// else is noted of such a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    births: usize,
    deaths: usize,
}

impl Progress {
    /// At the begin of a cycle.
    pub const START: Self = Self { births: 0, deaths: 0 };
    /// Not to the letter; the log knows.
    pub const NONE: Self = Self { births: usize::MAX, deaths: usize::MAX };

    /// Requests made.
    pub fn births(self) -> usize {
        self.births
    }
}

impl Plan {
    /// Where the next request goes, if it is the planned one in every respect.
    #[inline]
    pub fn birth(&self, at: &mut Progress, len: u64, limit: u64) -> Option<u64> {
        let step = self.steps.get(at.births)?;
        if len != step.len || at.deaths != step.deaths || step.offset + len > limit {
            return None;
        }
        at.births += 1;
        Some(step.offset)
    }

    /// Whether the next death is that of the i-th request, as planned. If it comes before its turn, the next
    /// birth is not the planned one.
    #[inline]
    pub fn death(&self, at: &mut Progress, index: u64) -> bool {
        if self.deaths.get(at.deaths).is_none_or(|&next| u64::from(next) != index) {
            return false;
        }
        at.deaths += 1;
        true
    }

    /// Writes the progress into an empty log.
    pub fn write(&self, at: Progress, log: &mut Log) {
        let mut deaths = self.deaths.iter().take(at.deaths).enumerate().peekable();
        for step in self.steps.iter().take(at.births) {
            while let Some((_, &death)) = deaths.next_if(|&(died, _)| died < step.deaths) {
                log.end(death as usize);
            }
            log.push(step.len);
        }
        deaths.for_each(|(_, &death)| _ = log.end(death as usize));
    }

    /// The lowest of several layouts of `log`, never higher than the one given, which has `height`.
    pub fn lay_out(log: &Log, given: &[u64], height: u64) -> Self {
        let (lives, peak) = (log.lives(), log.peak());
        let mut layout = Layout { offsets: given.to_vec(), height };
        let keys: [&dyn Fn(&Life) -> u128; 3] = [
            &|life| u128::from(life.len),
            &|life| u128::from(life.len) * life.lifetime(),
            &|life| life.lifetime(),
        ];
        for key in keys {
            if layout.height <= peak {
                break; // no layout is lower than what is alive at once
            }
            let mut order: Vec<usize> = (0..lives.len()).collect();
            order.sort_by_key(|&index| std::cmp::Reverse(key(&lives[index])));
            if let Some(lower) = Layout::greedy(&lives, &order, layout.height) {
                layout = lower;
            }
        }
        Self::of(log, &lives, &layout)
    }

    fn of(log: &Log, lives: &[Life], layout: &Layout) -> Self {
        let deaths = log.deaths();
        let mut plan = Self { height: layout.height, ..Self::default() };
        plan.steps.reserve_exact(lives.len());
        plan.spans.reserve_exact(lives.len());
        let mut places = Places::default();
        for (index, (life, &offset)) in (0..).zip(lives.iter().zip(&layout.offsets)) {
            let first = plan.owners.len();
            places.take(offset, offset + life.len, index, &mut plan.owners);
            let owners = (narrow(first), narrow(plan.owners.len()));
            let deaths = deaths.partition_point(|&death| halves(death).0 <= index);
            plan.steps.push(Step { len: life.len, offset, deaths });
            plan.spans.push(owners);
        }
        plan.deaths = deaths.into_iter().map(|death| halves(death).1).collect();
        plan
    }

    /// Where the next request of the cycle goes; `None` if it is not the planned one, if its place is
    /// still in use, or if it would end beyond `limit`. It may be shorter than planned.
    pub fn follow(&self, log: &Log, len: u64, limit: u64) -> Option<u64> {
        let step = self.steps.get(log.len())?;
        let (first, end) = self.spans[log.len()];
        let owners = &self.owners[first as usize..end as usize];
        let fits = len <= step.len && step.offset + len <= limit;
        let is_free = fits && owners.iter().all(|&owner| !log.is_alive(owner as usize));
        is_free.then_some(step.offset)
    }

    /// Offset of the i-th request.
    pub fn offset(&self, index: usize) -> u64 {
        self.steps[index].offset
    }

    /// Bytes the plan needs.
    pub fn height(&self) -> u64 {
        self.height
    }
}

struct Layout {
    offsets: Vec<u64>,
    height: u64,
}

impl Layout {
    /// Places the requests one after the other, each in the smallest gap that those who live at the
    /// same time leave. `None` as soon as the layout is not lower than `below`.
    fn greedy(lives: &[Life], order: &[usize], below: u64) -> Option<Self> {
        let mut offsets = vec![0; lives.len()];
        let mut placed: Vec<(u64, &Life)> = Vec::with_capacity(lives.len());
        let mut height = 0;
        for &index in order {
            let life = &lives[index];
            let offset = gap(&placed, life);
            let end = offset + life.len;
            if end >= below {
                return None;
            }
            height = height.max(end);
            offsets[index] = offset;
            let at = placed.partition_point(|other| other.0 < offset);
            placed.insert(at, (offset, life));
        }
        Some(Self { offsets, height })
    }
}

/// The smallest gap for `life` among those placed already (sorted by offset), else their end.
fn gap(placed: &[(u64, &Life)], life: &Life) -> u64 {
    let mut end = 0;
    let mut best: Option<(u64, u64)> = None;
    for (offset, other) in placed.iter().filter(|(_, other)| other.meets(life)) {
        let size = offset.saturating_sub(end);
        if size >= life.len && best.is_none_or(|(smallest, _)| size < smallest) {
            best = Some((size, end));
        }
        end = end.max(offset + other.len);
    }
    best.map_or(end, |(_, offset)| offset)
}

/// Who had each place last: disjoint ranges, sorted.
#[derive(Default)]
struct Places(Vec<(u64, u64, u32)>);

impl Places {
    /// Gives `start..end` to `owner`, and adds those who had parts of it to `before`.
    fn take(&mut self, start: u64, end: u64, owner: u32, before: &mut Vec<u32>) {
        let known = before.len();
        let first = self.0.partition_point(|place| place.1 <= start);
        let last = self.0.partition_point(|place| place.0 < end);
        for place in &self.0[first..last] {
            if !before[known..].contains(&place.2) {
                before.push(place.2);
            }
        }
        let left = self.0[first..last].first().filter(|place| place.0 < start);
        let right = self.0[first..last].last().filter(|place| place.1 > end);
        let left = left.map(|place| (place.0, start, place.2));
        let right = right.map(|place| (end, place.1, place.2));
        let new = left.into_iter().chain([(start, end, owner)]).chain(right);
        self.0.splice(first..last, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[(u64, Option<usize>)]) -> Log {
        let mut log = Log::default();
        for &(len, death) in events {
            match death {
                Some(index) => assert!(log.end(index)),
                None => log.push(len),
            }
        }
        log
    }

    const fn birth(len: u64) -> (u64, Option<usize>) {
        (len, None)
    }

    const fn death(index: usize) -> (u64, Option<usize>) {
        (0, Some(index))
    }

    /// Two early small spans, and a late large one that fits only where both were.
    fn early_and_late() -> Log {
        log(&[birth(64), birth(64), death(0), death(1), birth(128), birth(64)])
    }

    #[test]
    fn a_layout_is_as_low_as_the_peak_where_it_can_be() {
        let plan = Plan::lay_out(&early_and_late(), &[0, 64, 128, 256], 320);
        assert_eq!(plan.height(), 192);
    }

    #[test]
    fn the_given_layout_is_kept_unless_a_lower_one_is_found() {
        let given = [64, 0, 0, 128];
        let plan = Plan::lay_out(&early_and_late(), &given, 192);
        assert_eq!([0, 1, 2, 3].map(|i| plan.offset(i)), given);
    }

    #[test]
    fn a_step_waits_for_all_that_had_its_place() {
        let plan = Plan::lay_out(&early_and_late(), &[64, 0, 0, 128], 192);
        let follow = |events: &[_]| plan.follow(&log(events), 128, u64::MAX);
        let (a, b) = (birth(64), birth(64));
        assert_eq!(follow(&[a, b]), None);
        assert_eq!(follow(&[a, b, death(0)]), None);
        assert_eq!(follow(&[a, b, death(1)]), None);
        assert_eq!(follow(&[a, b, death(1), death(0)]), Some(0));
    }

    #[test]
    fn a_step_takes_a_shorter_request_and_no_longer_one() {
        let plan = Plan::lay_out(&early_and_late(), &[64, 0, 0, 128], 192);
        let before = [birth(64)];
        assert_eq!(plan.follow(&log(&before), 16, u64::MAX), Some(0));
        assert_eq!(plan.follow(&log(&before), 65, u64::MAX), None);
    }

    #[test]
    fn a_death_before_its_turn_is_found_at_the_next_birth() {
        let plan =
            Plan::lay_out(&log(&[birth(64), birth(64), death(0), birth(64)]), &[0, 64, 0], 128);
        let mut at = Progress::START;
        assert_eq!(plan.birth(&mut at, 64, u64::MAX), Some(0));
        assert!(plan.death(&mut at, 0), "the next one, too early");
        assert_eq!(plan.birth(&mut at, 64, u64::MAX), None);
        let (mut written, mut events) = (Log::default(), Vec::new());
        plan.write(at, &mut written);
        written.events(&mut events);
        assert_eq!(events, [Event::Birth(0), Event::Death(0)]);
    }

    #[test]
    fn a_log_is_written_as_far_as_the_plan_was_followed() {
        let cycle =
            [birth(64), birth(32), death(1), birth(16), death(0), death(2), birth(8), death(3)];
        let whole = log(&cycle);
        let plan = Plan::lay_out(&whole, &[0, 64, 64, 0], 128);
        let (mut at, mut expected, mut events) = (Progress::START, Vec::new(), Vec::new());
        whole.events(&mut expected);
        for (count, (len, died)) in cycle.into_iter().enumerate() {
            let mut written = Log::default();
            plan.write(at, &mut written);
            written.events(&mut events);
            assert_eq!(events, expected[..count]);
            match died {
                Some(index) => assert!(plan.death(&mut at, index as u64)),
                None => assert!(plan.birth(&mut at, len, u64::MAX).is_some()),
            }
        }
    }

    #[test]
    fn owners_are_those_who_had_the_place_last() {
        let mut places = Places::default();
        let mut take = |start, end, owner| {
            let mut before = Vec::new();
            places.take(start, end, owner, &mut before);
            before
        };
        assert!(take(0, 10, 0).is_empty());
        assert!(take(10, 20, 1).is_empty());
        assert_eq!(take(4, 6, 2), [0]);
        assert_eq!(take(0, 20, 3), [0, 2, 1], "the first once, though it has two pieces");
        assert_eq!(take(5, 8, 4), [3]);
    }

    #[test]
    fn equal_cycles_have_equal_hashes() {
        let cycle = [birth(64), birth(32), death(0), birth(64)];
        let mut other = cycle;
        assert_eq!(log(&cycle).hash(), log(&other).hash());
        other[2] = death(1);
        assert_ne!(log(&cycle).hash(), log(&other).hash(), "another dies");
        other = cycle;
        other[1] = birth(48);
        assert_ne!(log(&cycle).hash(), log(&other).hash(), "another length");
    }

    #[test]
    fn events_are_in_the_order_they_were_noted() {
        let mut events = Vec::new();
        log(&[birth(1), birth(2), death(1), birth(3), death(0)]).events(&mut events);
        let (birth, death) = (Event::Birth, Event::Death);
        assert_eq!(events, [birth(0), birth(1), death(1), birth(2), death(0)]);
    }
}
