//! The plan of a cycle: its requests and deaths, laid out at fixed offsets once they are known.
//!
//! A cycle that repeats need not search for room: every request goes where the layout of the first
//! such cycle put it, as long as those who had that place before are dead. See
//! [`Arena`](crate::arena::Arena) for who serves a cycle that has no plan, or leaves it.

#![forbid(unsafe_code)]

/// A cycle with more requests than this has no plan: laying one out takes quadratic time.
pub const MAX_REQUESTS: usize = 4096;
/// Plans kept at a time.
pub const MAX_PLANS: usize = 16;

const MAX_SHAPES: usize = 64;
/// A plan makes room for another when it was not used for so many cycles.
const IDLE_CYCLES: u64 = 64;
/// A plan that is left in so many cycles in a row is dropped.
const MAX_MISSES: u8 = 3;
const ALIVE: u64 = u64::MAX;
/// No request.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Request {
    len: u64,
    /// How many requests were made before its death, and in the lower half how many died before it;
    /// else [`ALIVE`].
    death: u64,
}

/// A request in the time of requests: from its own number to that of the first one after its death.
#[derive(Clone, Copy, Debug)]
struct Life {
    len: u64,
    birth: u32,
    death: u32,
}

impl Life {
    fn meets(&self, other: &Self) -> bool {
        self.birth < other.death && other.birth < self.death
    }

    fn lifetime(&self) -> u128 {
        u128::from(self.death - self.birth)
    }
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The i-th request was made.
    Birth(u32),
    /// Its memory was given back.
    Death(u32),
}

/// Requests and deaths of the running cycle in their order, up to [`MAX_REQUESTS`].
#[derive(Clone, Debug, Default)]
pub struct Log {
    requests: Vec<Request>,
    deaths: usize,
}

impl Log {
    /// Forgets the cycle.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.deaths = 0;
    }

    /// Requests in the log.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Requests that fit without asking the heap.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.requests.capacity()
    }

    /// True when no further request is taken.
    pub fn is_full(&self) -> bool {
        self.requests.len() == MAX_REQUESTS
    }

    /// Notes a request.
    pub fn push(&mut self, len: u64) {
        debug_assert!(!self.is_full());
        self.requests.push(Request { len, death: ALIVE });
    }

    /// Takes the last request back, as if it had not been made.
    pub fn pop(&mut self) {
        self.requests.pop();
    }

    /// Notes the death of the i-th request; false if it is not in the log.
    pub fn end(&mut self, index: usize) -> bool {
        let made = self.requests.len();
        let Some(request) = self.requests.get_mut(index) else {
            return false;
        };
        debug_assert!(request.death == ALIVE, "a span dies once");
        request.death = pair(made, self.deaths);
        self.deaths += 1;
        true
    }

    /// Notes the deaths of all that live.
    pub fn end_all(&mut self) {
        for index in 0..self.len() {
            if self.is_alive(index) {
                self.end(index);
            }
        }
    }

    /// True until the death of the i-th request.
    pub fn is_alive(&self, index: usize) -> bool {
        self.requests[index].death == ALIVE
    }

    /// Length of the i-th request.
    pub fn request_len(&self, index: usize) -> u64 {
        self.requests[index].len
    }

    /// The living, oldest first.
    pub fn alive(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).take(self.len()).filter(|&index| self.is_alive(index as usize))
    }

    /// Most bytes alive at once.
    pub fn peak(&self) -> u64 {
        let (mut alive, mut peak) = (0, 0);
        let mut events = Vec::new();
        self.events(&mut events);
        for event in events {
            match event {
                Event::Birth(index) => alive += self.request_len(index as usize),
                Event::Death(index) => alive -= self.request_len(index as usize),
            }
            peak = peak.max(alive);
        }
        peak
    }

    /// Writes the cycle's events in their order.
    pub fn events(&self, into: &mut Vec<Event>) {
        into.clear();
        into.resize(self.len() + self.deaths, Event::Birth(NOBODY));
        for (index, request) in (0..).zip(&self.requests) {
            if request.death != ALIVE {
                let (made, died) = halves(request.death);
                into[made as usize + died as usize] = Event::Death(index);
            }
        }
        let births = into.iter_mut().filter(|event| **event == Event::Birth(NOBODY));
        for (index, event) in (0..).zip(births) {
            *event = Event::Birth(index);
        }
    }

    /// Equal for equal cycles: the same lengths, the same order of births and deaths.
    pub fn hash(&self) -> u64 {
        let mixed = |hash, request: &Request| mix(mix(hash, request.len), request.death);
        self.requests.iter().fold(0, mixed)
    }

    /// The deaths in their order, each with the number of requests made before it.
    fn deaths(&self) -> Vec<u64> {
        let mut deaths = vec![0; self.deaths];
        for (index, request) in self.requests.iter().enumerate() {
            if request.death != ALIVE {
                let (made, died) = halves(request.death);
                deaths[died as usize] = pair(made as usize, index);
            }
        }
        deaths
    }

    fn lives(&self) -> Vec<Life> {
        let end = narrow(self.len());
        let life = |(birth, request): (u32, &Request)| Life {
            len: request.len,
            birth,
            death: if request.death == ALIVE { end } else { halves(request.death).0 },
        };
        (0..).zip(&self.requests).map(life).collect()
    }
}

/// Two small numbers in one word.
#[inline]
fn pair(upper: usize, lower: usize) -> u64 {
    (upper as u64) << 32 | lower as u64
}

fn halves(word: u64) -> (u32, u32) {
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (half(word >> 32), half(word))
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(29) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[derive(Clone, Copy, Debug)]
struct Step {
    len: u64,
    offset: u64,
    /// Deaths before it, in the cycle that was planned.
    deaths: usize,
    /// Where in the plan's list the requests stand that had its place last; those before them died
    /// earlier.
    owners: (u32, u32),
}

/// Fixed offsets for the requests of one cycle.
#[derive(Debug, Default)]
pub struct Plan {
    steps: Vec<Step>,
    owners: Vec<u32>,
    /// The deaths of the cycle that was planned: requests made before, in the lower half whose it is.
    deaths: Vec<u64>,
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

    /// Whether the death of the i-th request is the planned one in every respect.
    #[inline]
    pub fn death(&self, at: &mut Progress, index: usize) -> bool {
        if self.deaths.get(at.deaths) != Some(&pair(at.births, index)) {
            return false;
        }
        at.deaths += 1;
        true
    }

    /// Writes the progress into an empty log.
    pub fn write(&self, at: Progress, log: &mut Log) {
        let mut deaths = self.deaths.iter().take(at.deaths).peekable();
        for made in 0..=at.births {
            while let Some(&death) = deaths.next_if(|&&death| halves(death).0 as usize == made) {
                log.end(halves(death).1 as usize);
            }
            if made < at.births {
                log.push(self.steps[made].len);
            }
        }
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
        let mut plan = Self { height: layout.height, deaths: log.deaths(), ..Self::default() };
        plan.steps.reserve_exact(lives.len());
        let mut places = Places::default();
        for (index, (life, &offset)) in (0..).zip(lives.iter().zip(&layout.offsets)) {
            let first = plan.owners.len();
            places.take(offset, offset + life.len, index, &mut plan.owners);
            let owners = (narrow(first), narrow(plan.owners.len()));
            let deaths = plan.deaths.partition_point(|&death| halves(death).0 <= index);
            plan.steps.push(Step { len: life.len, offset, deaths, owners });
        }
        plan
    }

    /// Where the next request of the cycle goes; `None` if it is not the planned one, if its place is
    /// still in use, or if it would end beyond `limit`. It may be shorter than planned.
    pub fn follow(&self, log: &Log, len: u64, limit: u64) -> Option<u64> {
        let step = self.steps.get(log.len())?;
        let owners = &self.owners[step.owners.0 as usize..step.owners.1 as usize];
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

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
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

/// How cycles of one shape are served.
#[derive(Debug)]
enum Service {
    /// Seen once, or its plan was dropped: the next such cycle makes a plan.
    Unknown,
    Planned(Plan),
    /// The running cycle has the plan.
    Running,
    /// Too long for a plan, or no room for one.
    Dynamic,
}

#[derive(Debug)]
struct Shape {
    hash: u64,
    first_len: u64,
    service: Service,
    /// The shape that followed this one last.
    next: Option<usize>,
    misses: u8,
    used: u64,
}

/// The cycles seen lately, by shape, and which of them comes next.
#[derive(Debug, Default)]
pub struct Shapes {
    known: Vec<Shape>,
    last: Option<usize>,
    cycles: u64,
}

impl Shapes {
    /// The plan for a cycle that begins with a request of `len` bytes: the shape that followed the
    /// last one before, if it can begin so; else the latest that does.
    pub fn expect(&self, len: u64, capacity: u64) -> Option<usize> {
        let usual = |shape: &Shape| !matches!(shape.service, Service::Unknown);
        let next = self.last.and_then(|last| self.known[last].next);
        let next =
            next.filter(|&slot| usual(&self.known[slot]) && len <= self.known[slot].first_len);
        let slot = next.or_else(|| {
            let same =
                |slot: &usize| usual(&self.known[*slot]) && self.known[*slot].first_len == len;
            (0..self.known.len()).filter(same).max_by_key(|&slot| self.known[slot].used)
        })?;
        self.plan(slot).filter(|plan| plan.height <= capacity).map(|_| slot)
    }

    /// The plan of a shape.
    pub fn plan(&self, slot: usize) -> Option<&Plan> {
        match &self.known.get(slot)?.service {
            Service::Planned(plan) => Some(plan),
            Service::Unknown | Service::Running | Service::Dynamic => None,
        }
    }

    /// Hands out the plan of a shape, for a cycle.
    pub fn take(&mut self, slot: usize) -> Plan {
        match std::mem::replace(&mut self.known[slot].service, Service::Running) {
            Service::Planned(plan) => plan,
            other => {
                self.known[slot].service = other;
                Plan::default()
            }
        }
    }

    /// Takes it back.
    pub fn give_back(&mut self, slot: usize, plan: Plan) {
        self.known[slot].service = Service::Planned(plan);
    }

    /// Plans held, that of the running cycle among them.
    pub fn plans(&self) -> usize {
        let is_plan =
            |shape: &&Shape| matches!(shape.service, Service::Planned(_) | Service::Running);
        self.known.iter().filter(is_plan).count()
    }

    /// The shape with this hash.
    pub fn find(&self, hash: u64) -> Option<usize> {
        self.known.iter().position(|shape| shape.hash == hash)
    }

    /// A cycle of this shape closed: a hit for its plan.
    pub fn close(&mut self, slot: usize) {
        if let Some(last) = self.last {
            self.known[last].next = Some(slot);
        }
        self.cycles += 1;
        self.last = Some(slot);
        self.known[slot].used = self.cycles;
        self.known[slot].misses = 0;
    }

    /// A cycle left the plan of this shape.
    pub fn miss(&mut self, slot: usize) {
        let shape = &mut self.known[slot];
        shape.misses += 1;
        if shape.misses >= MAX_MISSES {
            shape.service = Service::Unknown;
            shape.misses = 0;
        }
    }

    /// Remembers a shape that was not known; the one unused longest makes room.
    pub fn add(&mut self, hash: u64, first_len: u64) -> usize {
        let shape =
            Shape { hash, first_len, service: Service::Unknown, next: None, misses: 0, used: 0 };
        if self.known.len() < MAX_SHAPES {
            self.known.reserve_exact(MAX_SHAPES - self.known.len());
            self.known.push(shape);
            return self.known.len() - 1;
        }
        let oldest = (0..MAX_SHAPES).min_by_key(|&slot| self.known[slot].used).unwrap_or(0);
        self.known[oldest] = shape;
        oldest
    }

    /// Makes room for a plan; false if all that are held are in use.
    pub fn make_room(&mut self) -> bool {
        if self.plans() < MAX_PLANS {
            return true;
        }
        let planned = (0..self.known.len()).filter(|&slot| self.plan(slot).is_some());
        let Some(oldest) = planned.min_by_key(|&slot| self.known[slot].used) else {
            return true;
        };
        let idle = self.cycles - self.known[oldest].used >= IDLE_CYCLES;
        if idle {
            self.known[oldest].service = Service::Unknown;
        }
        idle
    }

    /// Serves cycles of this shape by `plan` from now on, or dynamically.
    pub fn serve(&mut self, slot: usize, plan: Option<Plan>) {
        self.known[slot].service = plan.map_or(Service::Dynamic, Service::Planned);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.clear();
        self.last = None;
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
