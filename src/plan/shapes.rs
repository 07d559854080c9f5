//! The cycles seen lately, what serves them, and which comes next.

use super::{MAX_PLANS, Plan};

const MAX_SHAPES: usize = 64;
/// A plan makes room for another when it was not used for so many cycles.
const IDLE_CYCLES: u64 = 64;
/// A plan that is left in so many cycles in a row is dropped.
const MAX_MISSES: u8 = 3;
/// How cycles of one shape are served.
#[derive(Debug)]
enum Service {
    /// Seen once, or its plan was dropped: the next such cycle makes a plan.
    Unknown,
    Planned(Plan),
    /// The running cycle, or the last one, has the plan, which is so high.
    InHand(u64),
    /// Too long for a plan, or no room for one.
    Dynamic,
}

#[derive(Debug)]
struct Shape {
    service: Service,
    /// The shape that followed this one last.
    next: Option<usize>,
    misses: u8,
}

/// What all shapes are searched for.
#[derive(Clone, Copy, Debug)]
struct Mark {
    hash: u64,
    first_len: u64,
    /// Number of the last cycle of this shape.
    used: u64,
}

/// The cycles seen lately, by shape, and which of them comes next.
#[derive(Debug, Default)]
pub struct Shapes {
    known: Vec<Shape>,
    marks: Vec<Mark>,
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
            next.filter(|&slot| usual(&self.known[slot]) && len <= self.marks[slot].first_len);
        let slot = next.or_else(|| {
            let same =
                |slot: &usize| self.marks[*slot].first_len == len && usual(&self.known[*slot]);
            (0..self.known.len()).filter(same).max_by_key(|&slot| self.marks[slot].used)
        })?;
        let height = match &self.known[slot].service {
            Service::Planned(plan) => plan.height,
            Service::InHand(height) => *height,
            Service::Unknown | Service::Dynamic => return None,
        };
        (height <= capacity).then_some(slot)
    }

    /// The plan of a shape.
    pub fn plan(&self, slot: usize) -> Option<&Plan> {
        match &self.known.get(slot)?.service {
            Service::Planned(plan) => Some(plan),
            Service::Unknown | Service::InHand(_) | Service::Dynamic => None,
        }
    }

    /// Hands out the plan of a shape, for its cycles.
    pub fn take(&mut self, slot: usize) -> Plan {
        let height = self.plan(slot).map_or(0, Plan::height);
        match std::mem::replace(&mut self.known[slot].service, Service::InHand(height)) {
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

    /// Plans held, that in hand among them.
    pub fn plans(&self) -> usize {
        let is_plan =
            |shape: &&Shape| matches!(shape.service, Service::Planned(_) | Service::InHand(_));
        self.known.iter().filter(is_plan).count()
    }

    /// The shape with this hash.
    pub fn find(&self, hash: u64) -> Option<usize> {
        self.marks.iter().position(|mark| mark.hash == hash)
    }

    /// A cycle of this shape closed: a hit for its plan.
    pub fn close(&mut self, slot: usize) {
        if let Some(last) = self.last {
            self.known[last].next = Some(slot);
        }
        self.cycles += 1;
        self.last = Some(slot);
        self.marks[slot].used = self.cycles;
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
        let shape = Shape { service: Service::Unknown, next: None, misses: 0 };
        let mark = Mark { hash, first_len, used: 0 };
        if self.known.len() < MAX_SHAPES {
            self.known.reserve_exact(MAX_SHAPES - self.known.len());
            self.marks.reserve_exact(MAX_SHAPES - self.marks.len());
            self.known.push(shape);
            self.marks.push(mark);
            return self.known.len() - 1;
        }
        let oldest = (0..MAX_SHAPES).min_by_key(|&slot| self.marks[slot].used).unwrap_or(0);
        self.known[oldest] = shape;
        self.marks[oldest] = mark;
        oldest
    }

    /// Makes room for a plan; false if all that are held are in use.
    pub fn make_room(&mut self) -> bool {
        if self.plans() < MAX_PLANS {
            return true;
        }
        let planned = (0..self.known.len()).filter(|&slot| self.plan(slot).is_some());
        let Some(oldest) = planned.min_by_key(|&slot| self.marks[slot].used) else {
            return true;
        };
        let idle = self.cycles - self.marks[oldest].used >= IDLE_CYCLES;
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
        self.marks.clear();
        self.last = None;
    }
}
