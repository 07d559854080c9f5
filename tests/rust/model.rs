//! Random programs against a model of plain vectors.
//!
//! The model knows who entered what and when, and what every array holds. After every step it is
//! compared with the workspaces: contents and validity of all arrays, leased bytes, addresses, counters.
//! `NDARENA_MODEL_STEPS` sets the number of steps, and `NDARENA_SEED` which ones.

mod elements;
mod program;
mod steps;
pub mod tape;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use ndarena::{
    Array, Dtype, Error, Lease, ReusePolicy, Scope, Validity, Workspace, WorkspaceConfiguration,
    WorkspaceStats, WorkspaceType, create_new_workspace, current_workspace, living_workspaces,
    scope_out_of_workspaces, set_current_workspace,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::elements::{are, with_dtype};
use self::program::{Program, Step, program};
use self::steps::discard;
use crate::support::{bytes_of, counters};

type Checked = Result<(), TestCaseError>;
type Rooted = Rc<RefCell<Root>>;

/// Names of the registry; a destroyed workspace is followed by another of its name.
const IDS: [&str; 3] = ["A", "B", "C"];

/// What the model knows of a workspace.
struct Space {
    ws: Workspace,
    slot: usize,
    generation: u64,
    open: bool,
    destroyed: bool,
    parent: Option<usize>,
    in_use: bool,
    cycles: u64,
    requested: u64,
    largest: u64,
    last: u64,
    alive: u64,
    peak: u64,
    escaped: u64,
}

impl Space {
    fn is_ring(&self) -> bool {
        self.ws.workspace_type() == WorkspaceType::Circular
    }

    fn now(&self) -> Born {
        Born { generation: self.generation, open: self.open }
    }

    fn padded(&self, bytes: usize) -> u64 {
        (bytes as u64).next_multiple_of(self.ws.configuration().alignment)
    }
}

/// The moment of an array's birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Born {
    generation: u64,
    open: bool,
}

/// Memory of one array: several handles, several leases.
struct Root {
    space: usize,
    born: Born,
    dtype: Dtype,
    numbers: Vec<u32>,
    leases: usize,
    overwritten: bool,
}

/// A handle: all of a root or a part of it.
struct Handle {
    array: Array,
    root: Rooted,
    start: usize,
}

struct Held {
    lease: Lease,
    bytes: Vec<u8>,
    root: Rooted,
}

struct Frame {
    number: usize,
    space: Option<usize>,
    is_full: bool,
    previous: Option<usize>,
}

struct World {
    spaces: Vec<Space>,
    slots: [usize; IDS.len()],
    current: Option<usize>,
    frames: Vec<Frame>,
    scopes: Vec<(Scope, usize)>,
    handles: Vec<Handle>,
    held: Vec<Held>,
    next_frame: usize,
    next_number: u32,
}

/// Where a copy should go.
enum Target {
    Itself,
    Detached,
    Space(usize),
    Refused(fn(&Error) -> bool),
}

impl World {
    /// A destroyed workspace stays current inside its own scopes only.
    fn drop_dead_current(&mut self) {
        let frames = &self.frames;
        self.current = self.current.filter(|&space| {
            !self.spaces[space].destroyed || frames.iter().any(|f| f.space == Some(space))
        });
    }
}

fn is_scope(error: &Error) -> bool {
    matches!(error, Error::Scope { .. })
}

fn is_destroyed(error: &Error) -> bool {
    matches!(error, Error::DestroyedWorkspace { .. })
}

fn is_shape(error: &Error) -> bool {
    matches!(error, Error::Shape { .. })
}

fn is_borrowed(error: &Error) -> bool {
    matches!(error, Error::Borrowed { .. })
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::UnknownWorkspace { .. })
}

impl World {
    /// Runs a whole program; the number of its steps.
    fn run_program(program: &Program) -> Result<usize, TestCaseError> {
        let mut world = World::new(&program.configurations);
        for &step in &program.steps {
            world.run(step)?;
        }
        world.end(program.odd)?;
        Ok(program.steps.len())
    }

    fn new(configurations: &[WorkspaceConfiguration; IDS.len()]) -> Self {
        let mut world = Self {
            spaces: Vec::new(),
            slots: [0; IDS.len()],
            current: None,
            frames: Vec::new(),
            scopes: Vec::new(),
            handles: Vec::new(),
            held: Vec::new(),
            next_frame: 0,
            next_number: 1,
        };
        set_current_workspace(None).unwrap();
        for (slot, configuration) in configurations.iter().enumerate() {
            world.create(slot, configuration);
        }
        world
    }

    fn create(&mut self, slot: usize, configuration: &WorkspaceConfiguration) {
        let ws = create_new_workspace(Some(configuration), IDS[slot]).unwrap();
        self.slots[slot] = self.spaces.len();
        self.spaces.push(Space {
            ws,
            slot,
            generation: 0,
            open: false,
            destroyed: false,
            parent: None,
            in_use: true,
            cycles: 0,
            requested: 0,
            largest: 0,
            last: 0,
            alive: 0,
            peak: 0,
            escaped: 0,
        });
    }

    // ------------------------------------------------------------------ what the model expects

    fn validity(&self, root: &Root) -> Validity {
        let space = &self.spaces[root.space];
        if space.destroyed {
            return Validity::Destroyed;
        }
        if space.is_ring() {
            let gone = root.overwritten;
            return if gone { Validity::Overwritten } else { Validity::Valid };
        }
        if root.born == space.now() {
            Validity::Valid
        } else if root.born.open && root.born.generation == space.generation {
            Validity::Leaked
        } else {
            Validity::Outdated
        }
    }

    /// Roots of the running cycle.
    fn alive(&self, space: usize) -> usize {
        let now = self.spaces[space].now();
        self.roots().iter().filter(|r| r.borrow().space == space && r.borrow().born == now).count()
    }

    fn roots(&self) -> Vec<Rooted> {
        let mut roots: Vec<Rooted> = Vec::new();
        let held = self.held.iter().map(|h| &h.root);
        for root in self.handles.iter().map(|h| &h.root).chain(held) {
            if !roots.iter().any(|r| Rc::ptr_eq(r, root)) {
                roots.push(Rc::clone(root));
            }
        }
        roots
    }

    fn may_allocate(&self, space: usize) -> bool {
        self.spaces[space].open || self.current == Some(space)
    }

    fn usable(&self, space: usize) -> Target {
        if self.spaces[space].destroyed {
            Target::Refused(is_destroyed)
        } else if self.may_allocate(space) {
            Target::Space(space)
        } else {
            Target::Refused(is_scope)
        }
    }

    // ------------------------------------------------------------------ steps

    fn run(&mut self, step: Step) -> Checked {
        let before: Vec<WorkspaceStats> = self.spaces.iter().map(|s| counters(&s.ws)).collect();
        let refused = self.take(step)?;
        if refused {
            let after: Vec<WorkspaceStats> = self.spaces.iter().map(|s| counters(&s.ws)).collect();
            prop_assert_eq!(before, after, "what is refused changes nothing");
        }
        self.check()
    }

    /// Takes a step; `true` if it was refused and must have changed nothing.
    fn take(&mut self, step: Step) -> Result<bool, TestCaseError> {
        match step {
            Step::Enter(slot) => self.enter(self.slots[slot]),
            Step::Borrow(slot) => self.borrow(self.slots[slot]),
            Step::ScopeOut => {
                let scope = scope_out_of_workspaces().unwrap();
                self.push(scope, None, false);
                Ok(false)
            }
            Step::Close(i) => self.close_some(i),
            Step::CloseInnermost => match self.frames.last().map(|f| f.number) {
                Some(number) => self.close_frame(number),
                None => Ok(false),
            },
            Step::DropScope(i) => {
                self.drop_scope(i);
                Ok(false)
            }
            Step::NotifyLeft(slot) => self.notify_left(self.slots[slot]),
            Step::SetCurrent(slot) => self.set_current(slot.map(|s| self.slots[s])),
            Step::Make(slot, kind, n) => self.make(self.slots[slot], kind, n),
            Step::MakeHuge(slot) => {
                if cfg!(miri) {
                    return Ok(false); // it ends the program where memory is exhausted
                }
                let space = &self.spaces[self.slots[slot]];
                prop_assert!(space.ws.allocate(1 << 62, true).is_err());
                prop_assert!(space.ws.zeros::<f64>(&[1 << 31, 1 << 31]).is_err());
                Ok(true)
            }
            Step::Destroy(slot) => {
                self.destroy(self.slots[slot]);
                Ok(false)
            }
            Step::Recreate(slot) => {
                let space = &self.spaces[self.slots[slot]];
                if space.destroyed {
                    let configuration = space.ws.configuration().clone();
                    self.create(slot, &configuration);
                }
                Ok(false)
            }
            Step::Toggle(..)
            | Step::Debug(..)
            | Step::Initialize(_)
            | Step::Reset(_)
            | Step::Trim(_) => self.control(step),
            Step::DropLease(i, elsewhere) => {
                if !self.held.is_empty() {
                    let held = self.held.swap_remove(i % self.held.len());
                    held.root.borrow_mut().leases -= 1;
                    discard(held.lease, elsewhere);
                    self.bury(held.root);
                }
                Ok(false)
            }
            _ if self.handles.is_empty() => Ok(false),
            _ => self.touch(step),
        }
    }

    // ------------------------------------------------------------------ the comparison

    fn check(&mut self) -> Checked {
        self.drop_dead_current();
        self.learn_overwritten()?;
        for Handle { array, root, start } in &self.handles {
            let root_ref = root.borrow();
            let expected = self.validity(&root_ref);
            prop_assert_eq!(array.validity(), expected);
            prop_assert_eq!(array.generation_id(), root_ref.born.generation);
            let part = &root_ref.numbers[*start..start + array.size()];
            let matching = with_dtype!(array.dtype(), T => {
                array.read::<T, _>(|values| are(values, part))
            });
            drop(root_ref);
            match matching {
                Ok(matching) => {
                    prop_assert_eq!(expected, Validity::Valid);
                    prop_assert!(
                        matching,
                        "{array:?} holds {part:?} no more",
                        part = root.borrow().numbers
                    );
                }
                Err(error) => {
                    self.expect_stale(root, error)?;
                }
            }
        }
        for Held { lease, bytes, .. } in &self.held {
            prop_assert_eq!(&bytes_of(lease), bytes, "leased bytes changed");
        }
        self.check_overlap()?;
        for i in 0..self.spaces.len() {
            self.check_counters(i)?;
        }
        let current = current_workspace();
        let expected = self.current.map(|i| self.spaces[i].ws.serial());
        prop_assert_eq!(current.map(|ws| ws.serial()), expected);
        Ok(())
    }

    /// When a ring comes round is not modelled: an array may be overwritten once its cycle is over (in
    /// the ancestor's arithmetic earlier), and for good.
    fn learn_overwritten(&self) -> Checked {
        for Handle { array, root, .. } in &self.handles {
            let mut root = root.borrow_mut();
            let space = &self.spaces[root.space];
            if !space.is_ring() || space.destroyed || array.validity() != Validity::Overwritten {
                continue;
            }
            let over = root.born != space.now() || space.ws.configuration().nd4j;
            prop_assert!(over, "an array of the running cycle was overwritten");
            root.overwritten = true;
        }
        Ok(())
    }

    fn check_overlap(&self) -> Checked {
        let valid = self.handles.iter().filter(|h| h.array.is_in_scope());
        let handles = valid.map(|h| (h.array.buffer(), &h.root));
        let held = self.held.iter().map(|h| (h.lease.buffer(), &h.root));
        let mut spans: Vec<_> = handles
            .chain(held)
            .filter(|(buffer, _)| !buffer.is_empty())
            .map(|(buffer, root)| (buffer.address(), buffer.len(), Rc::as_ptr(root)))
            .collect();
        spans.sort_unstable();
        spans.dedup();
        for pair in spans.windows(2) {
            prop_assert!(pair[0].0 + pair[0].1 <= pair[1].0, "two live arrays share memory");
        }
        Ok(())
    }

    fn check_counters(&self, i: usize) -> Checked {
        let space = &self.spaces[i];
        let stats = space.ws.stats();
        prop_assert_eq!(stats.is_destroyed, space.destroyed);
        prop_assert_eq!(stats.is_scope_active, space.open);
        prop_assert_eq!(stats.generation_id, space.generation);
        prop_assert_eq!(stats.cycles_count, space.cycles);
        prop_assert_eq!(stats.escaped_count, space.escaped);
        let parent = space.parent.map(|p| IDS[self.spaces[p].slot].to_owned());
        prop_assert_eq!(stats.parent_workspace, parent);
        let leased = self.held.iter().any(|h| h.root.borrow().space == i);
        prop_assert!(leased || stats.retired_size == 0, "retired without a lease");
        if space.destroyed {
            let held = (stats.current_size, stats.spilled_size, stats.pinned_size);
            prop_assert_eq!(held, (0, 0, 0));
            return Ok(());
        }
        prop_assert!(stats.current_offset <= stats.current_size || space.is_ring());
        prop_assert_eq!(stats.this_cycle_allocations, space.requested);
        prop_assert_eq!(stats.last_cycle_allocations, space.last);
        prop_assert_eq!(stats.peak_size, space.peak);
        if !space.is_ring() {
            prop_assert_eq!(stats.max_cycle_allocations, space.largest);
        }
        if space.ws.configuration().policy_reuse == ReusePolicy::WithinCycle && !space.is_ring() {
            prop_assert!(stats.spilled_size <= space.alive, "spills of the dead are counted");
        }
        prop_assert_eq!(stats.number_of_external_allocations == 0, stats.spilled_size == 0);
        prop_assert_eq!(stats.number_of_pinned_allocations == 0, stats.pinned_size == 0);
        Ok(())
    }

    /// Everything goes, in the order of `odd`; nothing stays.
    fn end(mut self, odd: bool) -> Checked {
        let serials: Vec<u64> = self.spaces.iter().map(|s| s.ws.serial()).collect();
        let held = std::mem::take(&mut self.held);
        let handles = std::mem::take(&mut self.handles);
        if odd {
            for i in 0..self.spaces.len() {
                self.destroy(i);
            }
            self.scopes.clear();
            drop(handles);
        } else {
            drop(handles);
            self.scopes.clear();
            for i in 0..self.spaces.len() {
                self.destroy(i);
            }
        }
        for Held { lease, bytes, .. } in &held {
            prop_assert_eq!(&bytes_of(lease), bytes, "leased bytes outlive the workspace");
        }
        drop(held);
        for space in &self.spaces {
            prop_assert_eq!(space.ws.stats().retired_size, 0);
        }
        set_current_workspace(None).unwrap();
        drop(self);
        prop_assert!(!living_workspaces().iter().any(|w| serials.contains(&w.serial())));
        Ok(())
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a whole number"))
}

/// Draws some programs.
fn programs(seed: u64, round: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&round.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let few = Config { cases: 4, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(few, rng)
}

/// Programs are drawn until so many steps were taken; what fails is made smaller first.
#[test]
fn random_programs_agree_with_plain_vectors() {
    let wanted = from_environment("NDARENA_MODEL_STEPS", if cfg!(miri) { 200 } else { 100_000 });
    let seed = from_environment("NDARENA_SEED", RandomState::new().hash_one(0));
    let taken = Cell::new(0);
    for round in 0_u64.. {
        if taken.get() >= wanted {
            break;
        }
        let done = programs(seed, round).run(&program(), |program| {
            taken.set(taken.get() + World::run_program(&program)? as u64);
            Ok(())
        });
        done.unwrap_or_else(|violation| panic!("NDARENA_SEED={seed}, round {round}: {violation}"));
    }
    println!("model: {} steps, NDARENA_SEED={seed}", taken.get());
}
