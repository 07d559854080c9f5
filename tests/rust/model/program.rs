//! Programs: the steps they are made of, and the workspaces they run in.

use std::sync::LazyLock;

use ndarena::{
    AllocationPolicy, EscapePolicy, LearningPolicy, ReusePolicy, Settings, SpillPolicy,
    WorkspaceConfiguration,
};
use proptest::prelude::*;

use super::IDS;
use crate::support::{configuration, fixed, ring};

/// One step of a program. Numbers choose among what there is, by remainder.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Enter(usize),
    Borrow(usize),
    ScopeOut,
    Close(usize),
    CloseInnermost,
    DropScope(usize),
    NotifyLeft(usize),
    SetCurrent(Option<usize>),
    Make(usize, usize, usize),
    MakeHuge(usize),
    Clone(usize),
    Reshape(usize, bool),
    Row(usize, usize),
    Dup(usize),
    LeverageTo(usize, usize, bool),
    Leverage(usize),
    LeverageOrDetach(usize, usize),
    Migrate(usize, bool),
    Write(usize),
    Drop(usize, bool),
    Lease(usize),
    DropLease(usize, bool),
    Toggle(usize, bool),
    Debug(usize, bool),
    Initialize(usize),
    Reset(usize),
    Trim(usize),
    TurnBack(usize),
    Destroy(usize),
    Recreate(usize),
}

/// What is run: in which workspaces, which steps, and in which order all goes at the end.
#[derive(Clone, Debug)]
pub struct Program {
    pub configurations: [WorkspaceConfiguration; IDS.len()],
    pub steps: Vec<Step>,
    pub odd: bool,
}

pub fn program() -> impl Strategy<Value = Program> {
    let one = || proptest::sample::select(CONFIGURATIONS.as_slice());
    let steps = proptest::collection::vec(step(), 1..100);
    ([one(), one(), one()], steps, any::<bool>()).prop_map(|(configurations, steps, odd)| Program {
        configurations,
        steps,
        odd,
    })
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let slot = 0..IDS.len();
    let some = 0_usize..1000;
    let on = any::<bool>();
    let length = prop_oneof![8 => 0_usize..40, 1 => 200_usize..800];
    prop_oneof![
        8 => slot.clone().prop_map(Enter),
        2 => slot.clone().prop_map(Borrow),
        1 => Just(ScopeOut),
        2 => some.clone().prop_map(Close),
        8 => Just(CloseInnermost),
        1 => some.clone().prop_map(DropScope),
        2 => slot.clone().prop_map(NotifyLeft),
        2 => proptest::option::of(slot.clone()).prop_map(SetCurrent),
        24 => (slot.clone(), some.clone(), length).prop_map(|(s, kind, n)| Make(s, kind, n)),
        1 => slot.clone().prop_map(MakeHuge),
        2 => some.clone().prop_map(Clone),
        2 => (some.clone(), on).prop_map(|(a, fits)| Reshape(a, fits)),
        3 => (some.clone(), some.clone()).prop_map(|(a, i)| Row(a, i)),
        3 => some.clone().prop_map(Dup),
        3 => (some.clone(), slot.clone(), on).prop_map(|(a, s, e)| LeverageTo(a, s, e)),
        2 => some.clone().prop_map(Leverage),
        2 => (some.clone(), slot.clone()).prop_map(|(a, s)| LeverageOrDetach(a, s)),
        2 => (some.clone(), on).prop_map(|(a, detach)| Migrate(a, detach)),
        6 => some.clone().prop_map(Write),
        14 => (some.clone(), prop::bool::weighted(0.02)).prop_map(|(a, there)| Drop(a, there)),
        5 => some.clone().prop_map(Lease),
        5 => (some.clone(), prop::bool::weighted(0.05)).prop_map(|(l, there)| DropLease(l, there)),
        1 => (slot.clone(), on).prop_map(|(s, on)| Toggle(s, on)),
        1 => (slot.clone(), on).prop_map(|(s, on)| Debug(s, on)),
        1 => slot.clone().prop_map(Initialize),
        1 => slot.clone().prop_map(Reset),
        1 => slot.clone().prop_map(Trim),
        1 => slot.clone().prop_map(TurnBack),
        1 => slot.clone().prop_map(Destroy),
        4 => slot.prop_map(Recreate),
    ]
}

/// The configurations a program's workspaces may have.
pub static CONFIGURATIONS: LazyLock<Vec<WorkspaceConfiguration>> = LazyLock::new(|| {
    let at_reset = |s: &mut Settings| s.policy_reuse = ReusePolicy::AtReset;
    let nd4j = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        WorkspaceConfiguration::nd4j(WorkspaceConfiguration::ND4J_RELEASE, settings).unwrap()
    };
    vec![
        configuration(|_| {}),
        configuration(at_reset),
        configuration(|s| fixed(s, 1024)),
        configuration(|s| s.policy_spill = SpillPolicy::Reallocate),
        configuration(|s| {
            at_reset(s);
            s.policy_spill = SpillPolicy::Reallocate;
            s.max_size = 1000;
        }),
        configuration(|s| {
            fixed(s, 4096);
            s.policy_spill = SpillPolicy::Fail;
        }),
        configuration(|s| {
            s.policy_learning = LearningPolicy::OverTime;
            s.cycles_before_initialization = 3;
            s.policy_escape = EscapePolicy::Raise;
            s.alignment = 4096;
        }),
        configuration(|s| ring(s, 0, 2.0)),
        configuration(|s| ring(s, 1000, 2.0)),
        configuration(|s| {
            ring(s, 0, 1.0);
            s.policy_spill = SpillPolicy::Reallocate;
        }),
        configuration(|s| {
            ring(s, 2048, 1.0);
            s.policy_allocation = AllocationPolicy::Strict;
            s.policy_spill = SpillPolicy::Fail;
        }),
        configuration(|s| {
            ring(s, 0, 1.0);
            at_reset(s);
            s.max_size = 1000;
        }),
        nd4j(|_| {}),
        nd4j(|s| ring(s, 0, 3.0)),
        nd4j(|s| ring(s, 900, 1.0)),
    ]
});
