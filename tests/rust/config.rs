//! What a configuration accepts, what it refuses, and how two of them compare.

use std::collections::HashSet;

use ndarena::{
    AllocationPolicy, DebugMode, Error, EscapePolicy, HugePages, LearningPolicy, LocationPolicy,
    MirroringPolicy, ResetPolicy, ReusePolicy, Settings, SpillPolicy, WorkspaceConfiguration,
    WorkspaceType,
};
use proptest::prelude::*;

fn with(change: impl FnOnce(&mut Settings)) -> Result<WorkspaceConfiguration, Error> {
    WorkspaceConfiguration::default().replace(change)
}

/// Asserts that the change is refused because of `field`, and that the reason names the others.
#[track_caller]
fn refused(field: &str, others: &[&str], change: impl FnOnce(&mut Settings)) {
    match with(change) {
        Err(Error::Configuration { field: named, reason, .. }) => {
            assert_eq!(named, field, "{reason}");
            for other in others {
                assert!(reason.contains(other), "{reason:?} does not name {other}");
            }
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn accepted(change: impl FnOnce(&mut Settings)) -> WorkspaceConfiguration {
    with(change).expect("a valid configuration")
}

fn ring(s: &mut Settings) {
    s.policy_reset = ResetPolicy::EndOfBufferReached;
}

fn mapped(s: &mut Settings) {
    s.policy_location = LocationPolicy::Mmap;
    s.policy_learning = LearningPolicy::None;
}

#[test]
fn defaults_are_those_of_the_contract() {
    let c = WorkspaceConfiguration::new(Settings::default()).unwrap();
    assert_eq!(c, WorkspaceConfiguration::default());
    assert_eq!(c.policy_allocation, AllocationPolicy::Overallocate);
    assert_eq!(c.policy_spill, SpillPolicy::External);
    assert_eq!(c.policy_mirroring, MirroringPolicy::Full);
    assert_eq!(c.policy_learning, LearningPolicy::FirstLoop);
    assert_eq!(c.policy_reset, ResetPolicy::BlockLeft);
    assert_eq!(c.policy_location, LocationPolicy::Ram);
    assert_eq!(c.temp_file_path, None);
    assert_eq!((c.initial_size, c.min_size, c.max_size), (0, 0, 0));
    assert_eq!((c.cycles_before_initialization, c.steps_number), (0, 2));
    assert_eq!(c.overallocation_limit.to_bits(), 0.3_f64.to_bits());
    assert_eq!(c.policy_reuse, ReusePolicy::WithinCycle);
    assert_eq!(c.policy_escape, EscapePolicy::Retire);
    assert_eq!((c.alignment, c.huge_pages), (64, HugePages::Advise));
    assert!(!c.prefault && !c.nd4j);
}

#[test]
fn limits_that_are_no_fraction_are_refused() {
    let refused_ones =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, -f64::MIN_POSITIVE, 1e300];
    for limit in refused_ones {
        refused("overallocation_limit", &[], |s| s.overallocation_limit = limit);
    }
    for limit in [0.0, -0.0, 0.29, 2.5, 1e6] {
        accepted(|s| s.overallocation_limit = limit);
    }
}

#[test]
fn sizes_above_the_maximum_are_refused() {
    refused("min_size", &["max_size=100"], |s| (s.min_size, s.max_size) = (101, 100));
    refused("initial_size", &["max_size=100"], |s| (s.initial_size, s.max_size) = (101, 100));
    accepted(|s| (s.initial_size, s.min_size, s.max_size) = (100, 100, 100));
    accepted(|s| (s.initial_size, s.min_size) = (100, 200)); // 0: no maximum
}

#[test]
fn sizes_that_no_process_can_hold_are_refused() {
    let largest = i64::MAX.unsigned_abs();
    refused("initial_size", &[], |s| s.initial_size = largest + 1);
    refused("min_size", &[], |s| s.min_size = u64::MAX);
    refused("max_size", &[], |s| s.max_size = largest + 1);
    accepted(|s| (s.initial_size, s.min_size, s.max_size) = (largest, largest, largest));
}

#[test]
fn a_mapped_file_cannot_learn() {
    for learning in [LearningPolicy::FirstLoop, LearningPolicy::OverTime] {
        refused("policy_learning", &["policy_location=MMAP"], |s| {
            mapped(s);
            s.initial_size = 1 << 20;
            s.policy_learning = learning;
        });
    }
}

#[test]
fn a_mapped_file_needs_a_size() {
    refused("initial_size", &["policy_location=MMAP", "temp_file_path"], mapped);
    accepted(|s| {
        mapped(s);
        s.initial_size = 1;
    });
    accepted(|s| {
        mapped(s);
        s.temp_file_path = Some("arena.bin".into());
    });
}

#[test]
fn a_path_needs_a_mapped_file() {
    refused("temp_file_path", &["policy_location=MMAP"], |s| {
        s.temp_file_path = Some("arena.bin".into());
    });
    for path in ["", "a\0b"] {
        refused("temp_file_path", &[], |s| {
            mapped(s);
            s.temp_file_path = Some(path.into());
        });
    }
}

#[test]
fn failing_needs_an_arena() {
    for learning in LearningPolicy::ALL {
        let named = format!("policy_learning={learning}");
        refused("initial_size", &["policy_spill=FAIL", &named], |s| {
            s.policy_spill = SpillPolicy::Fail;
            s.policy_learning = *learning;
        });
        accepted(|s| {
            s.policy_spill = SpillPolicy::Fail;
            s.policy_learning = *learning;
            s.initial_size = 1;
        });
    }
    accepted(|s| {
        mapped(s); // the file has the size
        s.policy_spill = SpillPolicy::Fail;
        s.temp_file_path = Some("arena.bin".into());
    });
}

#[test]
fn an_enlarged_ring_needs_whole_blocks() {
    refused("overallocation_limit", &["policy_reset", "policy_allocation", "0.3"], ring);
    for limit in [0.0, 0.5, 0.999, 1.5, 2.5] {
        refused("overallocation_limit", &["policy_reset", "policy_allocation"], |s| {
            ring(s);
            s.overallocation_limit = limit;
        });
    }
    for (limit, blocks) in [(1.0, 2), (2.0, 3), (25.0, 26)] {
        let configuration = accepted(|s| {
            ring(s);
            s.overallocation_limit = limit;
        });
        assert_eq!(configuration.ring_blocks(), blocks);
    }
}

#[test]
fn a_strict_ring_has_one_block_whatever_the_limit() {
    for limit in [0.0, 0.3, 2.0, 2.5] {
        let configuration = accepted(|s| {
            ring(s);
            s.policy_allocation = AllocationPolicy::Strict;
            s.overallocation_limit = limit;
        });
        assert_eq!(configuration.ring_blocks(), 1);
    }
}

#[test]
fn alignments_are_powers_of_two_from_16_to_4096() {
    for alignment in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096] {
        assert_eq!(accepted(|s| s.alignment = alignment).alignment, alignment);
    }
    for alignment in [0, 1, 8, 15, 17, 48, 100, 4095, 8192, u64::MAX] {
        refused("alignment", &[], |s| s.alignment = alignment);
    }
}

#[test]
fn over_time_with_no_cycles_is_initialised_by_hand() {
    accepted(|s| s.policy_learning = LearningPolicy::OverTime);
}

#[test]
fn a_refused_change_leaves_the_configuration_alone() {
    let configuration = accepted(|s| s.max_size = 100);
    let before = configuration.clone();
    assert!(configuration.replace(|s| s.min_size = 200).is_err());
    assert_eq!(configuration, before);
    assert_eq!(configuration.replace(|s| s.min_size = 50).unwrap().max_size, 100);
}

#[test]
fn releases_decide_about_the_alignment() {
    let table = [("1.0.0-M1", 16), ("1.0.0-M1.1", 16), ("1.0.0-M2", 32), ("1.0.0-M2.1", 32)];
    for (release, alignment) in table {
        let c = WorkspaceConfiguration::nd4j(release, Settings::default()).unwrap();
        assert_eq!((c.alignment, c.policy_reuse, c.nd4j), (alignment, ReusePolicy::AtReset, true));
    }
    assert_eq!(WorkspaceConfiguration::ND4J_RELEASE, "1.0.0-M2.1");
}

#[test]
fn unknown_releases_are_refused_with_the_known_ones() {
    for release in ["", "1.0.0", "1.0.0-m2", "1.0.0-M3", "0.9.1"] {
        match WorkspaceConfiguration::nd4j(release, Settings::default()) {
            Err(Error::Configuration { field, value, reason, .. }) => {
                assert_eq!((field.as_str(), value.as_str()), ("release", release));
                for known in ["1.0.0-M1", "1.0.0-M1.1", "1.0.0-M2", "1.0.0-M2.1"] {
                    assert!(reason.contains(known), "{reason}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_ancestors_arithmetic_keeps_what_is_given() {
    let given = Settings { alignment: 16, initial_size: 1000, ..Settings::default() };
    let c = WorkspaceConfiguration::nd4j("1.0.0-M2.1", given).unwrap();
    assert_eq!((c.alignment, c.initial_size, c.nd4j), (16, 1000, true));
    assert!(c.replace(|s| s.initial_size = 5).unwrap().nd4j);
}

#[test]
fn the_ancestors_arithmetic_is_validated_alike() {
    let ring = Settings {
        policy_reset: ResetPolicy::EndOfBufferReached,
        overallocation_limit: 2.5,
        ..Settings::default()
    };
    let error = WorkspaceConfiguration::nd4j("1.0.0-M2.1", ring).unwrap_err();
    assert!(error.to_string().starts_with("overallocation_limit=2.5"), "{error}");

    let c = WorkspaceConfiguration::nd4j("1.0.0-M2.1", Settings::default()).unwrap();
    let error = c.replace(|s| s.policy_reuse = ReusePolicy::WithinCycle).unwrap_err();
    assert!(error.to_string().starts_with("policy_reuse=WITHIN_CYCLE"), "{error}");
    assert!(error.to_string().contains("nd4j"), "{error}");
}

/// One configuration per field, each differing from the default in that field only.
fn single_changes() -> Vec<(&'static str, WorkspaceConfiguration)> {
    let change = |field, change: fn(&mut Settings)| (field, accepted(change));
    vec![
        change("policy_allocation", |s| s.policy_allocation = AllocationPolicy::Strict),
        change("policy_spill", |s| s.policy_spill = SpillPolicy::Reallocate),
        change("policy_mirroring", |s| s.policy_mirroring = MirroringPolicy::HostOnly),
        change("policy_learning", |s| s.policy_learning = LearningPolicy::OverTime),
        change("initial_size", |s| s.initial_size = 1),
        change("min_size", |s| s.min_size = 1),
        change("max_size", |s| s.max_size = 1),
        change("cycles_before_initialization", |s| s.cycles_before_initialization = 1),
        change("overallocation_limit", |s| s.overallocation_limit = 1.0),
        change("steps_number", |s| s.steps_number = 3),
        change("policy_reuse", |s| s.policy_reuse = ReusePolicy::AtReset),
        change("policy_escape", |s| s.policy_escape = EscapePolicy::Raise),
        change("alignment", |s| s.alignment = 16),
        change("huge_pages", |s| s.huge_pages = HugePages::Never),
        change("prefault", |s| s.prefault = true),
    ]
}

#[test]
fn differences_are_named() {
    let default = WorkspaceConfiguration::default();
    assert!(default.difference(&default).is_empty());
    for (field, changed) in single_changes() {
        assert_eq!(default.difference(&changed), [field]);
        assert_eq!(changed.difference(&default), [field]);
    }
    let strict_ring = accepted(|s| {
        ring(s);
        s.policy_allocation = AllocationPolicy::Strict;
    });
    assert_eq!(default.difference(&strict_ring), ["policy_allocation", "policy_reset"]);
    let file = accepted(|s| {
        mapped(s);
        s.temp_file_path = Some("arena.bin".into());
    });
    assert_eq!(default.difference(&file), ["policy_learning", "policy_location", "temp_file_path"]);
    let ancestor = WorkspaceConfiguration::nd4j("1.0.0-M2.1", Settings::default()).unwrap();
    assert_eq!(default.difference(&ancestor), ["policy_reuse", "alignment", "nd4j"]);
}

#[test]
fn equal_configurations_are_one_in_a_set() {
    let mut set: HashSet<_> = single_changes().into_iter().map(|(_, changed)| changed).collect();
    let count = set.len();
    assert_eq!(count, single_changes().len());
    set.extend(single_changes().into_iter().map(|(_, changed)| changed));
    assert_eq!(set.len(), count);
    assert!(set.insert(accepted(|s| s.overallocation_limit = 0.0)));
    assert!(!set.insert(accepted(|s| s.overallocation_limit = -0.0)), "both zeros are equal");
}

/// Every member of an enumeration has that name and is found by it, in any case.
macro_rules! assert_names {
    ($choice:ident: $($name:literal)+) => {
        assert_eq!($choice::ALL.iter().map(|m| m.name()).collect::<Vec<_>>(), [$($name),+]);
        for member in $choice::ALL {
            let name = member.name();
            assert_eq!($choice::from_name(name), Some(*member));
            assert_eq!($choice::from_name(&name.to_lowercase()), Some(*member));
            assert_eq!(member.to_string(), name);
        }
        for unknown in ["", "OTHER", concat!(" ", $($name),+)] {
            assert_eq!($choice::from_name(unknown), None);
        }
    };
}

#[test]
fn policies_have_the_ancestors_names() {
    assert_names!(AllocationPolicy: "STRICT" "OVERALLOCATE");
    assert_names!(SpillPolicy: "EXTERNAL" "REALLOCATE" "FAIL");
    assert_names!(MirroringPolicy: "FULL" "HOST_ONLY");
    assert_names!(LearningPolicy: "FIRST_LOOP" "OVER_TIME" "NONE");
    assert_names!(ResetPolicy: "BLOCK_LEFT" "ENDOFBUFFER_REACHED");
    assert_names!(LocationPolicy: "RAM" "MMAP");
    assert_names!(ReusePolicy: "WITHIN_CYCLE" "AT_RESET");
    assert_names!(EscapePolicy: "RETIRE" "WARN" "RAISE");
    assert_names!(HugePages: "NEVER" "ADVISE");
    assert_names!(DebugMode: "DISABLED" "SPILL_EVERYTHING" "BYPASS_EVERYTHING");
    assert_names!(WorkspaceType: "SCOPED" "CIRCULAR" "DUMMY");
}

/// Sizes that agree now and then.
fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1_u64..4, any::<u64>()]
}

fn any_limit() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.3), Just(2.0), prop::num::f64::ANY]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let policies = (
        prop::sample::select(AllocationPolicy::ALL),
        prop::sample::select(SpillPolicy::ALL),
        prop::sample::select(LearningPolicy::ALL),
        prop::sample::select(ResetPolicy::ALL),
        prop::sample::select(LocationPolicy::ALL),
    );
    let sizes = (any_size(), any_size(), any_size());
    let rest =
        (any_limit(), prop_oneof![Just(64), Just(128), any::<u64>()], prop::option::of("\\PC*"));
    (policies, sizes, rest).prop_map(
        |((allocation, spill, learning, reset, location), (initial, min, max), rest)| Settings {
            policy_allocation: allocation,
            policy_spill: spill,
            policy_learning: learning,
            policy_reset: reset,
            policy_location: location,
            initial_size: initial,
            min_size: min,
            max_size: max,
            overallocation_limit: rest.0,
            alignment: rest.1,
            temp_file_path: rest.2.map(Into::into),
            ..Settings::default()
        },
    )
}

proptest! {
    /// No input panics, and what exists is valid: validating it again succeeds.
    #[test]
    fn any_settings_are_valid_or_refused(settings in any_settings(), nd4j in any::<bool>()) {
        let built = if nd4j {
            WorkspaceConfiguration::nd4j("1.0.0-M2", settings)
        } else {
            WorkspaceConfiguration::new(settings)
        };
        match built {
            Ok(c) => {
                prop_assert!(c.ring_blocks() >= 1);
                prop_assert!(c.max_size == 0 || c.initial_size.max(c.min_size) <= c.max_size);
                prop_assert_eq!(c.replace(|_| ()), Ok(c));
            }
            Err(error) => {
                let refused = matches!(error, Error::Configuration { .. });
                prop_assert!(refused);
            }
        }
    }
}
