//! Captured memory without a memory handler: pieces that come and go while scopes open and close.

use ndarena::registry::{self, Capture, ScopeToken};
use ndarena::{Captured, Holder, SpillPolicy, Workspace, allocated_bytes, set_capture_floor};
use proptest::prelude::*;

use crate::support::{KIB, fixed, workspace};

const MIB: u64 = KIB * KIB;

fn enter(ws: &Workspace) -> ScopeToken {
    let token = registry::enter(ws).unwrap();
    token.capture(Capture::Installed);
    token
}

fn take(captured: &Captured, bytes: usize) -> Option<usize> {
    captured.take(bytes).map(|piece| piece.start.addr())
}

#[test]
fn only_a_scope_that_captures_serves_and_only_in_its_thread() {
    let ws = workspace(|_| {});
    let captured = ws.captured();
    assert!(captured.take(100_000).is_none());
    let plain = registry::enter(&ws).unwrap();
    assert!(captured.take(100_000).is_none());
    let scope = enter(&ws);
    assert!(captured.is_capturing());
    let piece = take(&captured, 100_000).unwrap();
    assert_eq!(captured.holder_of(piece), Holder::Captured(100_032));
    assert_eq!(captured.holder_of(piece + 64), Holder::Captured(0), "inside, nothing begins");
    assert_eq!(captured.holder_of(0), Holder::Other);
    assert!(captured.take(16 * 1024 - 1).is_none(), "too small");
    std::thread::scope(|s| {
        s.spawn(|| assert!(captured.take(100_000).is_none()));
    });
    {
        let _plain = registry::plain_results();
        assert!(captured.take(100_000).is_none());
        let _again = registry::plain_results();
    }
    assert!(captured.take(100_000).is_some());
    assert_eq!(scope.close().unwrap().handlers(), [Some(ws.serial())]);
    assert!(captured.take(100_000).is_none());
    assert_eq!(plain.close().unwrap().handlers(), []);
    assert!(captured.give_back(piece));
    assert!(!captured.give_back(piece.wrapping_sub(1 << 40)));
}

#[test]
fn a_scope_that_joins_brings_no_handler() {
    let ws = workspace(|_| {});
    let outer = enter(&ws);
    let inner = registry::enter(&ws).unwrap();
    inner.capture(Capture::Joined);
    outer.close().unwrap_err();
    assert_eq!(inner.close().unwrap().handlers(), []);
    assert!(ws.captured().is_capturing());
    let out = registry::scope_out_of_workspaces().unwrap();
    out.capture(Capture::Installed);
    let left = outer.exit().unwrap();
    assert_eq!(left.handlers(), [None, Some(ws.serial())], "innermost first");
    assert!(!ws.captured().is_capturing());
}

#[test]
fn pieces_outlive_the_workspace_and_take_their_memory_with_them() {
    let ws = workspace(|_| {});
    let captured = ws.captured();
    let scope = enter(&ws);
    let pieces: Vec<_> = (0..5).map(|_| take(&captured, 1_000_000).unwrap()).collect();
    scope.close().unwrap();
    assert_eq!(ws.stats().escaped_count, 5);
    drop(scope);
    drop(ws);
    assert!(!captured.is_capturing());
    for piece in pieces {
        assert_eq!(captured.holder_of(piece), Holder::Captured(1_000_000));
        assert!(captured.give_back(piece));
    }
}

#[test]
fn what_is_full_serves_nothing_and_counts_nothing() {
    for ws in [
        workspace(|s| s.max_size = MIB),
        workspace(|s| {
            fixed(s, MIB);
            s.policy_spill = SpillPolicy::Fail;
        }),
    ] {
        let (captured, scope) = (ws.captured(), enter(&ws));
        let piece = take(&captured, 600_000).unwrap();
        let before = ws.stats();
        assert!(captured.take(600_000).is_none());
        assert!(captured.take(usize::MAX).is_none());
        assert_eq!(ws.stats(), before);
        assert!(captured.give_back(piece));
        assert!(captured.take(1_048_576).is_some(), "all of it");
        scope.close().unwrap();
    }
}

#[test]
fn several_blocks_become_one() {
    let ws = workspace(|_| {});
    let captured = ws.captured();
    let mut held = Vec::new();
    for turn in 0..4 {
        let scope = enter(&ws);
        let pieces: Vec<_> = (0..20).map(|_| take(&captured, 1_000_000).unwrap()).collect();
        let spills = if turn == 0 { 20 } else { 0 };
        assert_eq!(ws.stats().number_of_external_allocations, spills);
        assert!(pieces.into_iter().all(|piece| captured.give_back(piece)));
        scope.close().unwrap();
        held.push(ws.stats().current_size);
    }
    assert_eq!(held[1..], [20 * MIB; 3], "20 000 640 bytes, in whole huge pages");
    assert_eq!(ws.trim().unwrap(), 20 * MIB);
    assert!(allocated_bytes() < u64::MAX / 2, "never below nothing");
}

#[test]
fn the_floor_is_a_power_of_two() {
    for bytes in [0, 1, 63, 96, 16 * KIB + 1] {
        set_capture_floor(bytes).unwrap_err();
    }
    set_capture_floor(16 * KIB).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Leave,
    Take(usize),
    GiveBack(usize),
    Trim,
    Use(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Enter),
        1 => Just(Step::Leave),
        6 => (16 * 1024..400_000usize).prop_map(Step::Take),
        5 => any::<usize>().prop_map(Step::GiveBack),
        1 => Just(Step::Trim),
        1 => any::<bool>().prop_map(Step::Use),
    ]
}

/// What the model knows of a piece.
struct Held {
    start: usize,
    len: usize,
    cycle: u64,
}

/// The model: pieces by address, and the sums that the counters show.
struct Model {
    ws: Workspace,
    captured: Captured,
    scopes: Vec<ScopeToken>,
    held: Vec<Held>,
    requested: u64,
    peak: u64,
    escaped: u64,
}

impl Model {
    fn alive(&self, current: bool) -> impl Iterator<Item = &Held> {
        let now = self.ws.stats().generation_id;
        let open = !self.scopes.is_empty();
        self.held.iter().filter(move |p| (open && p.cycle == now) == current)
    }

    fn bytes(&self, current: bool) -> u64 {
        self.alive(current).map(|p| p.len as u64).sum()
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Enter => {
                if self.scopes.is_empty() {
                    (self.requested, self.peak) = (0, 0);
                }
                self.scopes.push(enter(&self.ws));
            }
            Step::Leave => self.leave(),
            Step::Take(bytes) => self.take(bytes)?,
            Step::GiveBack(i) if !self.held.is_empty() => {
                let piece = self.held.swap_remove(i % self.held.len());
                prop_assert!(self.captured.give_back(piece.start));
            }
            Step::GiveBack(_) => {}
            Step::Trim => drop(self.ws.trim().unwrap()),
            Step::Use(in_use) => self.ws.toggle_workspace_use(in_use).unwrap(),
        }
        self.check()
    }

    fn leave(&mut self) {
        if self.scopes.len() == 1 {
            self.escaped += self.alive(true).count() as u64;
        }
        if let Some(scope) = self.scopes.pop() {
            scope.close().unwrap();
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), TestCaseError> {
        let Some(piece) = self.captured.take(bytes) else {
            let bounded = self.ws.configuration().max_size > 0;
            prop_assert!(self.scopes.is_empty() || bounded);
            return Ok(());
        };
        let (start, len) = (piece.start.addr(), bytes.next_multiple_of(64));
        prop_assert_eq!(start % 64, 0);
        prop_assert!(piece.dirty <= len);
        for other in &self.held {
            let apart = start + len <= other.start || other.start + other.len <= start;
            prop_assert!(apart, "two pieces in one place");
        }
        self.held.push(Held { start, len, cycle: self.ws.generation_id() });
        self.requested += len as u64;
        self.peak = self.peak.max(self.bytes(true));
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let s = self.ws.stats();
        let open = !self.scopes.is_empty();
        prop_assert_eq!(s.this_cycle_allocations, if open { self.requested } else { 0 });
        prop_assert_eq!(s.peak_size, self.peak);
        prop_assert_eq!(s.escaped_count, self.escaped);
        prop_assert!(s.retired_size >= self.bytes(false));
        prop_assert_eq!(s.retired_size == 0, self.bytes(false) == 0);
        prop_assert!(s.spilled_size <= self.bytes(true));
        for piece in &self.held {
            let holder = self.captured.holder_of(piece.start);
            prop_assert_eq!(holder, Holder::Captured(piece.len));
        }
        let max = self.ws.configuration().max_size;
        prop_assert!(max == 0 || s.current_size <= max);
        Ok(())
    }
}

fn run(steps: &[Step], max_size: u64) -> Result<(), TestCaseError> {
    let ws = workspace(|s| s.max_size = max_size);
    let captured = ws.captured();
    let (scopes, held) = (Vec::new(), Vec::new());
    let mut model = Model { ws, captured, scopes, held, requested: 0, peak: 0, escaped: 0 };
    for step in steps {
        model.apply(step)?;
    }
    while !model.scopes.is_empty() {
        model.leave();
    }
    for piece in std::mem::take(&mut model.held) {
        prop_assert!(model.captured.give_back(piece.start));
    }
    prop_assert_eq!(model.ws.stats().retired_size, 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 400 }, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_apart_and_counted(
        steps in prop::collection::vec(step(), 1..120),
        max_size in prop_oneof![Just(0), Just(MIB), Just(3 * MIB), Just(9 * MIB)],
    ) {
        run(&steps, max_size)?;
    }
}
