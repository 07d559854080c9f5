//! The words of failure: one enum, the facts as fields, the whole message in `Display`.
//!
//! A message has three parts: what happened, where (workspace, generations, open scopes), what to do.

use std::fmt;

/// What every fallible function of the crate returns.
pub type Result<T> = std::result::Result<T, Error>;
/// The same where errors are rare and the way is short: it is moved in registers.
pub type Quick<T> = std::result::Result<T, Box<Error>>;

impl From<Box<Error>> for Error {
    fn from(error: Box<Error>) -> Self {
        *error
    }
}

/// Whether the memory of an array is still its own, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validity {
    /// The memory is still the array's.
    Valid,
    /// Its cycle is closed and none has begun since.
    Leaked,
    /// The workspace was entered again since.
    Outdated,
    /// Its block of a circular workspace was taken again.
    Overwritten,
    /// The workspace was destroyed.
    Destroyed,
    /// This handle was closed.
    Closed,
}

impl Validity {
    /// The name in capitals, as Python shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Leaked => "LEAKED",
            Self::Outdated => "OUTDATED",
            Self::Overwritten => "OVERWRITTEN",
            Self::Destroyed => "DESTROYED",
            Self::Closed => "CLOSED",
        }
    }

    fn cure(self) -> &'static str {
        match self {
            Self::Valid => "the array is valid",
            Self::Leaked | Self::Outdated => {
                "call detach() or leverage_to(id) on it before its scope closes"
            }
            Self::Overwritten => {
                "call detach() on it, or hold numpy() of it, before the ring comes round"
            }
            Self::Destroyed => "call detach() on it before the workspace is destroyed",
            Self::Closed => "keep a dup() or another handle if you need it after close()",
        }
    }
}

/// What is known about a failure; `None` where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Id of the workspace concerned.
    pub workspace_id: Option<String>,
    /// Generation of the workspace at the array's birth.
    pub array_generation: Option<u64>,
    /// Generation of the workspace now.
    pub workspace_generation: Option<u64>,
    /// Ids of the workspaces open in the calling thread, outermost first.
    pub open_workspaces: Option<Vec<String>>,
    /// Ufunc, function or method that was refused.
    pub operation: Option<String>,
    /// The argument at fault.
    pub argument: Option<String>,
    /// Shape of the array concerned.
    pub shape: Option<Vec<usize>>,
    /// Element type of the array concerned.
    pub dtype: Option<String>,
    /// `file:line` of the array's creation, where debug is on.
    pub created_at: Option<String>,
}

/// Every way in which the crate refuses.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// An array is used after its memory went to others.
    Stale {
        /// Never `Valid`.
        validity: Validity,
        /// What is known.
        facts: Box<Facts>,
    },
    /// A request cannot be served: by policy, or because the system refuses.
    Full {
        /// Bytes asked for.
        requested: u64,
        /// Why it cannot be served.
        reason: String,
        /// What is known.
        facts: Box<Facts>,
    },
    /// A scope is used against its rules.
    Scope {
        /// What happened and what to do.
        reason: String,
        /// What is known.
        facts: Box<Facts>,
    },
    /// Something that belongs to one thread is used in another.
    WrongThread {
        /// What happened and what to do.
        reason: String,
        /// What is known.
        facts: Box<Facts>,
    },
    /// Views outlived their scope under `EscapePolicy::Raise`.
    Escaped {
        /// Number of arrays with living views.
        arrays: usize,
        /// What is known.
        facts: Box<Facts>,
    },
    /// An array lies in the wrong place.
    Location {
        /// What happened and what to do.
        reason: String,
        /// What is known.
        facts: Box<Facts>,
    },
    /// No workspace of that id is registered in this thread.
    UnknownWorkspace {
        /// What is known.
        facts: Box<Facts>,
    },
    /// A configuration contradicts itself or the one in use.
    Configuration {
        /// The field that must change first.
        field: String,
        /// Its value, as text.
        value: String,
        /// Why it is refused.
        reason: String,
        /// What is known.
        facts: Box<Facts>,
    },
    /// The workspace itself is used after its end.
    DestroyedWorkspace {
        /// What is known.
        facts: Box<Facts>,
    },
    /// The array has another element type than the one asked for.
    Dtype {
        /// Element type of the array.
        found: &'static str,
        /// Element type asked for.
        expected: &'static str,
    },
    /// Shapes or lengths do not fit each other or the address space.
    Shape {
        /// What does not fit.
        reason: String,
    },
    /// A call that can never be right.
    Usage {
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The memory is being read or written, or is lent out.
    Borrowed {
        /// Who holds it.
        reason: &'static str,
    },
}

impl Error {
    /// A refused configuration field.
    pub fn configuration(field: &str, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::Configuration {
            field: field.to_owned(),
            value: value.to_string(),
            reason: reason.into(),
            facts: Box::default(),
        }
    }

    /// The facts, if the variant carries any.
    pub fn facts(&self) -> Option<&Facts> {
        match self {
            Self::Stale { facts, .. }
            | Self::Full { facts, .. }
            | Self::Scope { facts, .. }
            | Self::WrongThread { facts, .. }
            | Self::Escaped { facts, .. }
            | Self::Location { facts, .. }
            | Self::UnknownWorkspace { facts }
            | Self::Configuration { facts, .. }
            | Self::DestroyedWorkspace { facts } => Some(facts),
            Self::Dtype { .. }
            | Self::Shape { .. }
            | Self::Usage { .. }
            | Self::Borrowed { .. } => None,
        }
    }

    /// The facts, to be completed by whoever knows more.
    pub fn facts_mut(&mut self) -> Option<&mut Facts> {
        match self {
            Self::Stale { facts, .. }
            | Self::Full { facts, .. }
            | Self::Scope { facts, .. }
            | Self::WrongThread { facts, .. }
            | Self::Escaped { facts, .. }
            | Self::Location { facts, .. }
            | Self::UnknownWorkspace { facts }
            | Self::Configuration { facts, .. }
            | Self::DestroyedWorkspace { facts } => Some(facts),
            Self::Dtype { .. }
            | Self::Shape { .. }
            | Self::Usage { .. }
            | Self::Borrowed { .. } => None,
        }
    }

    /// The same error, naming the operation and the argument at fault.
    #[must_use]
    pub fn in_operation(mut self, operation: &str, argument: &str) -> Self {
        if let Some(facts) = self.facts_mut() {
            facts.operation = Some(operation.to_owned());
            facts.argument = Some(argument.to_owned());
        }
        self
    }

    /// The same error, naming the operation that could not be served.
    #[must_use]
    pub fn in_call(mut self, operation: &str) -> Self {
        if let Some(facts) = self.facts_mut() {
            facts.operation = Some(operation.to_owned());
        }
        self
    }

    /// The same error, naming shape and element type of the array concerned.
    #[must_use]
    pub fn of_array(mut self, shape: &[usize], dtype: &str) -> Self {
        if let Some(facts) = self.facts_mut() {
            facts.shape = Some(shape.to_vec());
            facts.dtype = Some(dtype.to_owned());
        }
        self
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { validity, facts } => stale_message(f, *validity, facts),
            Self::Full { requested, reason, facts } => {
                write!(f, "workspace [{}] cannot serve {requested} bytes: {reason}", id_of(facts))
            }
            Self::Scope { reason, facts } | Self::WrongThread { reason, facts } => {
                write!(f, "{reason}{}", Open(facts))
            }
            Self::Escaped { arrays, facts } => write!(
                f,
                "{arrays} array(s) of workspace [{}] are still viewed after their scope was closed; \
                 their memory was retired, not reused: drop the views or call detach() inside the scope",
                id_of(facts)
            ),
            Self::UnknownWorkspace { facts } => write!(
                f,
                "no workspace [{}] in this thread; make it with get_workspace_for_current_thread(id=…){}",
                id_of(facts),
                Open(facts)
            ),
            Self::Configuration { field, value, reason, .. } => {
                write!(f, "{field}={value}: {reason}")
            }
            Self::DestroyedWorkspace { facts } => write!(
                f,
                "workspace [{}] was destroyed{}; its id is free again: make a new one with \
                 get_workspace_for_current_thread(id=…)",
                id_of(facts),
                match &facts.operation {
                    Some(op) => format!(" and refuses {op}"),
                    None => String::new(),
                }
            ),
            Self::Dtype { found, expected } => {
                write!(f, "the array holds {found}, not {expected}; use cast_to")
            }
            Self::Location { reason, .. } | Self::Shape { reason } | Self::Usage { reason } => {
                f.write_str(reason)
            }
            Self::Borrowed { reason } => write!(f, "the memory is in use: {reason}"),
        }
    }
}

fn id_of(facts: &Facts) -> &str {
    facts.workspace_id.as_deref().unwrap_or("?")
}

/// The open scopes of the thread, as the tail of a message.
struct Open<'a>(&'a Facts);

impl fmt::Display for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.open_workspaces {
            None => Ok(()),
            Some(open) => write!(f, " (open in this thread: [{}])", open.join(", ")),
        }
    }
}

fn stale_message(f: &mut fmt::Formatter<'_>, validity: Validity, facts: &Facts) -> fmt::Result {
    match (&facts.operation, &facts.argument) {
        (Some(op), Some(argument)) => write!(f, "Op [{op}] {argument} argument uses")?,
        (Some(op), None) => write!(f, "Op [{op}] uses")?,
        _ => f.write_str("Array uses")?,
    }
    write!(
        f,
        " {} workspace pointer from workspace [{}]",
        validity.name().to_lowercase(),
        id_of(facts)
    )?;
    if let (Some(born), Some(now)) = (facts.array_generation, facts.workspace_generation) {
        let closed = if validity == Validity::Leaked { ", closed" } else { "" };
        write!(f, ": array generation {born}, workspace generation {now}{closed}")?;
    }
    if let Some(shape) = &facts.shape {
        write!(f, "; shape {shape:?}, dtype {}", facts.dtype.as_deref().unwrap_or("?"))?;
    }
    if let Some(site) = &facts.created_at {
        write!(f, "; created at {site}")?;
    }
    write!(f, "{}; {} (README: What dies when)", Open(facts), validity.cure())
}
