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
