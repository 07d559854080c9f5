//! Programs written as bytes: what a fuzzer changes, and what its corpus keeps.
//!
//! First the configurations and the order of the end, then the steps. Every sequence of bytes is a program.

use ndarena::{
    AllocationPolicy, EscapePolicy, HugePages, LearningPolicy, ReusePolicy, Settings, SpillPolicy,
    WorkspaceConfiguration,
};
use proptest::test_runner::TestCaseError;

use super::program::{CONFIGURATIONS, Program, Step};
use super::{IDS, World};

/// Runs what the bytes say; the number of its steps.
pub fn play(bytes: &[u8]) -> Result<usize, TestCaseError> {
    let mut tape = Tape(bytes);
    let configurations = [(); IDS.len()].map(|()| tape.configuration());
    let odd = tape.coin().unwrap_or(false);
    let steps: Vec<Step> = std::iter::from_fn(|| tape.step()).collect();
    World::run_program(&Program { configurations, steps, odd })
}

struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> Option<usize> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first.into())
    }

    fn slot(&mut self) -> Option<usize> {
        self.byte().map(|byte| byte % IDS.len())
    }

    fn coin(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte % 2 == 1)
    }

    /// Mostly a few elements, sometimes many.
    fn length(&mut self) -> Option<usize> {
        self.byte().map(|byte| if byte < 220 { byte % 40 } else { (byte - 215) * 20 })
    }

    /// One of the known ones, and what a second byte changes in it where that is allowed.
    fn configuration(&mut self) -> WorkspaceConfiguration {
        let base = CONFIGURATIONS[self.byte().unwrap_or(0) % CONFIGURATIONS.len()].clone();
        let (what, value) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
        base.replace(|s| change(s, what, value)).unwrap_or(base)
    }

    fn step(&mut self) -> Option<Step> {
        Some(match self.byte()? % 64 {
            0..6 => Step::Enter(self.slot()?),
            6..8 => Step::Borrow(self.slot()?),
            8 => Step::ScopeOut,
            9..11 => Step::Close(self.byte()?),
            11..17 => Step::CloseInnermost,
            17 => Step::DropScope(self.byte()?),
            18 => Step::NotifyLeft(self.slot()?),
            19 => Step::SetCurrent(Some(self.slot()?)),
            20 => Step::SetCurrent(None),
            21..34 => Step::Make(self.slot()?, self.byte()?, self.length()?),
            34 => Step::MakeHuge(self.slot()?),
            35 => Step::Clone(self.byte()?),
            36 => Step::Reshape(self.byte()?, self.coin()?),
            37 => Step::Row(self.byte()?, self.byte()?),
            38..40 => Step::Dup(self.byte()?),
            40 => Step::LeverageTo(self.byte()?, self.slot()?, self.coin()?),
            41 => Step::Leverage(self.byte()?),
            42 => Step::LeverageOrDetach(self.byte()?, self.slot()?),
            43 => Step::Migrate(self.byte()?, self.coin()?),
            44..46 => Step::Write(self.byte()?),
            46..52 => Step::Drop(self.byte()?, false),
            52..54 => Step::Lease(self.byte()?),
            54..56 => Step::DropLease(self.byte()?, false),
            56 => Step::Toggle(self.slot()?, self.coin()?),
            57 => Step::Debug(self.slot()?, self.coin()?),
            58 => Step::Initialize(self.slot()?),
            59 => Step::Reset(self.slot()?),
            60 => Step::Trim(self.slot()?),
            61 => Step::Destroy(self.slot()?),
            62 => Step::TurnBack(self.slot()?),
            _ => Step::Recreate(self.slot()?),
        })
    }
}

fn change(s: &mut Settings, what: usize, value: usize) {
    let bytes = value as u64 * 16;
    match what % 16 {
        0 => s.alignment = 16 << (value % 9),
        1 => s.initial_size = bytes,
        2 => s.min_size = bytes,
        3 => s.max_size = bytes,
        4 => s.overallocation_limit = f64::from(u8::try_from(value % 8).unwrap_or(0)) / 2.0,
        5 => s.policy_spill = SpillPolicy::ALL[value % SpillPolicy::ALL.len()],
        6 => s.policy_reuse = ReusePolicy::ALL[value % ReusePolicy::ALL.len()],
        7 => s.policy_learning = LearningPolicy::ALL[value % LearningPolicy::ALL.len()],
        8 => s.policy_escape = EscapePolicy::ALL[value % EscapePolicy::ALL.len()],
        9 => s.policy_allocation = AllocationPolicy::ALL[value % AllocationPolicy::ALL.len()],
        10 => s.cycles_before_initialization = u32::try_from(value % 5).unwrap_or(0),
        11 => s.prefault = true,
        12 => s.huge_pages = HugePages::Never,
        _ => {}
    }
}
