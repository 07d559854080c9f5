//! The wishes: how a workspace is to behave. A `WorkspaceConfiguration` that exists is valid.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::grow;

macro_rules! choices {
    ($(
        $(#[$doc:meta])*
        $choice:ident { $($(#[$member_doc:meta])* $member:ident = $name:literal),+ $(,)? }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $choice { $($(#[$member_doc])* $member),+ }

        impl $choice {
            /// All members, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$member),+];

            /// The name in capitals, as Python shows it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$member => $name),+ }
            }

            /// The member of that name, in any case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.name().eq_ignore_ascii_case(name))
            }
        }

        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )+};
}

pub(crate) use choices;

choices! {
    /// How large the arena is made.
    AllocationPolicy {
        /// As large as given or learned.
        Strict = "STRICT",
        /// Enlarged once by the over-allocation limit; a ring gets that many further blocks.
        Overallocate = "OVERALLOCATE",
    }
    /// What happens to a request that does not fit.
    SpillPolicy {
        /// It is served outside the arena.
        External = "EXTERNAL",
        /// It is served outside, and the arena grows at the end of the cycle.
        Reallocate = "REALLOCATE",
        /// It is refused.
        Fail = "FAIL",
    }
    /// Whether a device would hold a copy of the arena; without effect on the CPU.
    MirroringPolicy {
        /// On host and device.
        Full = "FULL",
        /// On the host only.
        HostOnly = "HOST_ONLY",
    }
    /// When the size is derived from what was used.
    LearningPolicy {
        /// From the first cycle that allocates.
        FirstLoop = "FIRST_LOOP",
        /// From the largest of the first `cycles_before_initialization` cycles.
        OverTime = "OVER_TIME",
        /// Never: the size is `initial_size`.
        None = "NONE",
    }
    /// When memory is used again from its beginning.
    ResetPolicy {
        /// At the end of every cycle: a scoped workspace.
        BlockLeft = "BLOCK_LEFT",
        /// When the end is reached: a circular workspace.
        EndOfBufferReached = "ENDOFBUFFER_REACHED",
    }
    /// Where the arena lies.
    LocationPolicy {
        /// In the memory of the process.
        Ram = "RAM",
        /// In a mapped file.
        Mmap = "MMAP",
    }
    /// When the memory of an array that died may serve another.
    ReusePolicy {
        /// Within the same cycle.
        WithinCycle = "WITHIN_CYCLE",
        /// At the reset only, as in the ancestor.
        AtReset = "AT_RESET",
    }
    /// What a view that outlives its scope means.
    EscapePolicy {
        /// Its memory is retired and counted.
        Retire = "RETIRE",
        /// The same, with a warning.
        Warn = "WARN",
        /// The same, with an error.
        Raise = "RAISE",
    }
    /// Whether the system is asked for huge pages.
    HugePages {
        /// No.
        Never = "NEVER",
        /// By advice, which it may ignore.
        Advise = "ADVISE",
    }
    /// What all workspaces do while a fault is looked for.
    DebugMode {
        /// Nothing special.
        Disabled = "DISABLED",
        /// Every request is served outside the arena.
        SpillEverything = "SPILL_EVERYTHING",
        /// No workspace is used at all.
        BypassEverything = "BYPASS_EVERYTHING",
    }
    /// The kind of a workspace.
    WorkspaceType {
        /// Reset at the end of every cycle.
        Scoped = "SCOPED",
        /// A ring of blocks.
        Circular = "CIRCULAR",
        /// Stands for no workspace.
        Dummy = "DUMMY",
    }
}

/// The fields of a configuration, not yet validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How large the arena is made.
    pub policy_allocation: AllocationPolicy,
    /// What happens to a request that does not fit.
    pub policy_spill: SpillPolicy,
    /// Accepted and without effect on the CPU.
    pub policy_mirroring: MirroringPolicy,
    /// When the size is derived from what was used.
    pub policy_learning: LearningPolicy,
    /// Scoped or circular.
    pub policy_reset: ResetPolicy,
    /// Process memory or a mapped file.
    pub policy_location: LocationPolicy,
    /// The file to map.
    pub temp_file_path: Option<PathBuf>,
    /// Bytes taken when the workspace is made; 0: none.
    pub initial_size: u64,
    /// Lower bound of a learned size; 0: none.
    pub min_size: u64,
    /// Upper bound of every size; 0: none.
    pub max_size: u64,
    /// `OVER_TIME`: cycles to learn from; 0: until initialised by hand.
    pub cycles_before_initialization: u32,
    /// Fraction added by `OVERALLOCATE`; for a ring the number of further blocks.
    pub overallocation_limit: f64,
    /// Accepted and ignored, as in the ancestor.
    pub steps_number: u32,
    /// When the memory of an array that died may serve another.
    pub policy_reuse: ReusePolicy,
    /// What a view that outlives its scope means.
    pub policy_escape: EscapePolicy,
    /// Bytes to a multiple of which every request is rounded.
    pub alignment: u64,
    /// Whether the system is asked for huge pages.
    pub huge_pages: HugePages,
    /// Whether pages are touched when they are taken.
    pub prefault: bool,
    /// Whether sizes are computed as the ancestor does; set by [`WorkspaceConfiguration::nd4j`].
    pub nd4j: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy_allocation: AllocationPolicy::Overallocate,
            policy_spill: SpillPolicy::External,
            policy_mirroring: MirroringPolicy::Full,
            policy_learning: LearningPolicy::FirstLoop,
            policy_reset: ResetPolicy::BlockLeft,
            policy_location: LocationPolicy::Ram,
            temp_file_path: None,
            initial_size: 0,
            min_size: 0,
            max_size: 0,
            cycles_before_initialization: 0,
            overallocation_limit: 0.3,
            steps_number: 2,
            policy_reuse: ReusePolicy::WithinCycle,
            policy_escape: EscapePolicy::Retire,
            alignment: 64,
            huge_pages: HugePages::Advise,
            prefault: false,
            nd4j: false,
        }
    }
}

/// How a workspace behaves: immutable, comparable, hashable, and valid.
///
/// ```
/// use ndarena::{LearningPolicy, Settings, WorkspaceConfiguration};
///
/// let configuration = WorkspaceConfiguration::new(Settings {
///     initial_size: 10 << 20,
///     policy_learning: LearningPolicy::None,
///     ..Settings::default()
/// })?;
/// assert_eq!(configuration.initial_size, 10_485_760);
/// # Ok::<(), ndarena::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkspaceConfiguration(Settings);

/// The releases of the ancestor whose numbers are known, with the bytes to which each rounds.
const RELEASES: [(&str, u64); 4] =
    [("1.0.0-M1", 16), ("1.0.0-M1.1", 16), ("1.0.0-M2", 32), ("1.0.0-M2.1", 32)];

/// More head-room is a mistake.
const LARGEST_LIMIT: f64 = 1e6;

/// No process can hold more.
const LARGEST_SIZE: u64 = i64::MAX.unsigned_abs();

impl WorkspaceConfiguration {
    /// The release of the ancestor that is meant where none is named.
    pub const ND4J_RELEASE: &str = "1.0.0-M2.1";

    /// Validates the settings. The error names the field that must change first.
    pub fn new(mut settings: Settings) -> Result<Self> {
        settings.overallocation_limit += 0.0; // -0.0 becomes 0.0: equal configurations hash alike
        check_sizes(&settings)?;
        check_limit(&settings)?;
        check_alignment(&settings)?;
        check_location(&settings)?;
        check_spill(&settings)?;
        check_reuse(&settings)?;
        Ok(Self(settings))
    }

    /// The ancestor's arithmetic to the byte: its alignment, memory reused at the reset only, its
    /// rings and its growth. An alignment other than the default one is kept.
    pub fn nd4j(release: &str, settings: Settings) -> Result<Self> {
        let rounding = RELEASES.iter().find(|(known, _)| *known == release);
        let &(_, rounding) = rounding.ok_or_else(|| {
            let known = RELEASES.map(|(known, _)| known).join(", ");
            Error::configuration("release", release, format!("is not known; known are {known}"))
        })?;
        let alignment = match settings.alignment {
            given if given == Settings::default().alignment => rounding,
            given => given,
        };
        Self::new(Settings {
            alignment,
            policy_reuse: ReusePolicy::AtReset,
            nd4j: true,
            ..settings
        })
    }

    /// The same configuration with some fields changed, validated anew.
    pub fn replace(&self, change: impl FnOnce(&mut Settings)) -> Result<Self> {
        let mut settings = self.0.clone();
        change(&mut settings);
        Self::new(settings)
    }

    /// The number of blocks of a ring of this configuration.
    pub fn ring_blocks(&self) -> u64 {
        match self.policy_allocation {
            AllocationPolicy::Strict => 1,
            AllocationPolicy::Overallocate => grow(1, self.overallocation_limit),
        }
    }

    /// The names of the fields in which two configurations differ, in the order of declaration.
    #[expect(clippy::float_cmp, reason = "another limit is another configuration")]
    pub fn difference(&self, other: &Self) -> Vec<&'static str> {
        macro_rules! differing {
            ($($field:ident)+) => {
                [$((stringify!($field), self.$field != other.$field)),+]
            };
        }
        let fields = differing!(
            policy_allocation policy_spill policy_mirroring policy_learning policy_reset
            policy_location temp_file_path initial_size min_size max_size
            cycles_before_initialization overallocation_limit steps_number policy_reuse
            policy_escape alignment huge_pages prefault nd4j
        );
        fields.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
    }

    /// A field's value as text.
    pub(crate) fn text_of(&self, field: &str) -> String {
        let text = format!("{:?}", self.0);
        let value = text.split_once(&format!(" {field}: ")).map(|(_, rest)| rest);
        let value = value.and_then(|rest| rest.split([',', '}']).next());
        value.unwrap_or("?").trim().to_owned()
    }
}

impl Deref for WorkspaceConfiguration {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0
    }
}

impl Eq for WorkspaceConfiguration {} // the limit is never NaN

impl Hash for WorkspaceConfiguration {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let policies = (
            self.policy_allocation,
            self.policy_spill,
            self.policy_mirroring,
            self.policy_learning,
            self.policy_reset,
            self.policy_location,
            self.policy_reuse,
            self.policy_escape,
        );
        let sizes = (self.initial_size, self.min_size, self.max_size, self.alignment);
        let counts = (self.cycles_before_initialization, self.steps_number);
        let rest = (&self.temp_file_path, self.huge_pages, self.prefault, self.nd4j);
        (policies, sizes, counts, rest, self.overallocation_limit.to_bits()).hash(state);
    }
}

fn check_sizes(s: &Settings) -> Result<()> {
    let sizes =
        [("initial_size", s.initial_size), ("min_size", s.min_size), ("max_size", s.max_size)];
    for (field, size) in sizes {
        if size > LARGEST_SIZE {
            return Err(Error::configuration(field, size, "is more than a process can hold"));
        }
    }
    for (field, size) in &sizes[..2] {
        if s.max_size > 0 && *size > s.max_size {
            let reason = format!("is above max_size={}", s.max_size);
            return Err(Error::configuration(field, size, reason));
        }
    }
    Ok(())
}

fn check_limit(s: &Settings) -> Result<()> {
    let limit = s.overallocation_limit;
    let refuse = |reason: &str| Err(Error::configuration("overallocation_limit", limit, reason));
    if !limit.is_finite() {
        return refuse("must be a finite number");
    }
    if limit < 0.0 {
        return refuse("must not be negative");
    }
    if limit > LARGEST_LIMIT {
        return refuse("is beyond reason: at most 1000000 times the learned size");
    }
    let enlarged_ring = s.policy_reset == ResetPolicy::EndOfBufferReached
        && s.policy_allocation == AllocationPolicy::Overallocate;
    if enlarged_ring && (limit < 1.0 || limit.fract() != 0.0) {
        return refuse(
            "a ring (policy_reset=ENDOFBUFFER_REACHED) under policy_allocation=OVERALLOCATE has \
             1 + overallocation_limit blocks: give a whole number of at least 1 (the default 0.3 \
             is none), or policy_allocation=STRICT for a single block",
        );
    }
    Ok(())
}

fn check_alignment(s: &Settings) -> Result<()> {
    if s.alignment.is_power_of_two() && (16..=4096).contains(&s.alignment) {
        return Ok(());
    }
    let reason = "must be a power of two from 16 to 4096";
    Err(Error::configuration("alignment", s.alignment, reason))
}

fn check_location(s: &Settings) -> Result<()> {
    match (&s.temp_file_path, s.policy_location) {
        (Some(path), LocationPolicy::Ram) => {
            let reason = "only policy_location=MMAP maps a file";
            Err(Error::configuration("temp_file_path", path.display(), reason))
        }
        (_, LocationPolicy::Mmap) if s.policy_learning != LearningPolicy::None => {
            let reason = "a mapped file (policy_location=MMAP) cannot learn its size: give NONE";
            Err(Error::configuration("policy_learning", s.policy_learning, reason))
        }
        (Some(path), LocationPolicy::Mmap) if !is_path(path) => {
            let reason = "is not the path of a file";
            Err(Error::configuration(
                "temp_file_path",
                format!("{:?}", path.to_string_lossy()),
                reason,
            ))
        }
        (None, LocationPolicy::Mmap) if s.initial_size == 0 => {
            let reason = "policy_location=MMAP needs the size of its file: give initial_size, or \
                          the temp_file_path of an existing file";
            Err(Error::configuration("initial_size", 0, reason))
        }
        _ => Ok(()),
    }
}

fn is_path(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    !bytes.is_empty() && !bytes.contains(&0)
}

fn check_spill(s: &Settings) -> Result<()> {
    let size_of_file = s.policy_location == LocationPolicy::Mmap;
    if s.policy_spill != SpillPolicy::Fail || s.initial_size > 0 || size_of_file {
        return Ok(());
    }
    let reason = match s.policy_learning {
        LearningPolicy::None => {
            "with policy_learning=NONE there is never an arena, and policy_spill=FAIL refuses \
             every request outside of it: give an initial_size"
                .to_owned()
        }
        learning => format!(
            "policy_spill=FAIL refuses every request outside the arena, so that \
             policy_learning={learning} learns nothing from size 0: give an initial_size"
        ),
    };
    Err(Error::configuration("initial_size", 0, reason))
}

fn check_reuse(s: &Settings) -> Result<()> {
    if s.nd4j && s.policy_reuse != ReusePolicy::AtReset {
        let reason = "the ancestor's arithmetic (nd4j) knows only AT_RESET";
        return Err(Error::configuration("policy_reuse", s.policy_reuse, reason));
    }
    Ok(())
}
