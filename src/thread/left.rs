//! What leaving scopes did that somebody must be told of, or must do: mostly nothing.

use std::ops::Deref;
use std::slice;

use crate::cycle::Closed;
use crate::error::Error;
use crate::workspace::Workspace;

/// What a closed cycle has to tell.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose cycle it was.
    pub workspace: Workspace,
    /// Creation site of its last array, where debug is on.
    pub site: Option<String>,
    /// Arrays whose views are still alive.
    pub escaped: usize,
    /// Three cycles without one allocation.
    pub unused: bool,
    /// Many retired blocks alive at once.
    pub many_retired: bool,
}

impl Report {
    pub(super) fn of(workspace: &Workspace, closed: Closed) -> Self {
        let Closed { site, escaped, unused, many_retired } = closed;
        Self { workspace: workspace.clone(), site, escaped, unused, many_retired }
    }

    /// What is to be raised where its policy is [`EscapePolicy::Raise`](crate::EscapePolicy::Raise).
    pub fn escaped_error(&self) -> Error {
        let mut facts = self.workspace.facts();
        facts.array_generation = facts.workspace_generation;
        Error::Escaped { arrays: self.escaped, facts }
    }
}

/// What closing one or more scopes did: mostly nothing that is to be told.
#[derive(Clone, Debug, Default)]
pub enum Left {
    /// Nothing.
    #[default]
    Quiet,
    /// A memory handler is to be taken away, and that is all: see [`Left::handlers`].
    Handler(Option<u64>),
    /// More than that.
    Told(Box<Told>),
}

/// What there is to tell or to do.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Of the full cycles that ended, in their order, those that have something to tell.
    pub reports: Vec<Report>,
    /// Ids of scopes that were still open inside and were closed first, innermost first.
    pub left_open: Vec<String>,
    handlers: Vec<Option<u64>>,
}

impl Left {
    /// Whether there is nothing to tell or to do.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Quiet)
    }

    /// Memory handlers to be taken away, innermost first: of the workspace with this serial number, or
    /// of a scope out of workspaces.
    pub fn handlers(&self) -> &[Option<u64>] {
        match self {
            Self::Quiet => &[],
            Self::Handler(one) => slice::from_ref(one),
            Self::Told(told) => &told.handlers,
        }
    }

    /// Where something is noted.
    pub(super) fn tell(&mut self) -> &mut Told {
        if !matches!(self, Self::Told(_)) {
            let handlers = self.handlers().to_vec();
            *self = Self::Told(Box::new(Told { handlers, ..Told::default() }));
        }
        match self {
            Self::Told(told) => told,
            Self::Quiet | Self::Handler(_) => unreachable!("just put there"),
        }
    }

    /// Notes a memory handler.
    pub(super) fn take_away(&mut self, handler: Option<u64>) {
        match self {
            Self::Quiet => *self = Self::Handler(handler),
            Self::Handler(_) | Self::Told(_) => self.tell().handlers.push(handler),
        }
    }
}

impl Deref for Left {
    type Target = Told;

    fn deref(&self) -> &Told {
        static NOTHING: Told =
            Told { reports: Vec::new(), left_open: Vec::new(), handlers: Vec::new() };
        match self {
            Self::Told(told) => told,
            Self::Quiet | Self::Handler(_) => &NOTHING,
        }
    }
}
