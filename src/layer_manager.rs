//! The roles of arrays in a network: in which workspace each lives, and whether one lies where it should.
//!
//! ```text
//!   ArrayType ──▶ Role ──▶ name ──▶ this thread's registry ──▶ Workspace
//!                  └─────▶ scoped out: plain arrays
//! ```
//! The manager holds names, not workspaces: it may be used in any thread, and each finds its own.

mod arrays;
mod builder;

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::array::{Buffer, Destination};
use crate::config::{WorkspaceConfiguration, choices};
use crate::error::{Error, Facts, Result};
use crate::registry::{self, ScopeToken};
use crate::scope::Scope;
use crate::workspace::Workspace;

pub use arrays::Cast;
pub use builder::LayerWorkspaceMgrBuilder;

choices! {
    /// What an array is to a layer.
    ArrayType {
        /// Input of a layer, kept for its backward pass.
        Input = "INPUT",
        /// Output of a layer.
        Activations = "ACTIVATIONS",
        /// Gradient with respect to the input of a layer.
        ActivationGrad = "ACTIVATION_GRAD",
        /// Scratch of a layer's forward pass.
        FfWorkingMem = "FF_WORKING_MEM",
        /// Scratch of a layer's backward pass.
        BpWorkingMem = "BP_WORKING_MEM",
        /// Scratch of one time step forward.
        RnnFfLoopWorkingMem = "RNN_FF_LOOP_WORKING_MEM",
        /// Scratch of one time step backward.
        RnnBpLoopWorkingMem = "RNN_BP_LOOP_WORKING_MEM",
        /// Scratch of the updater.
        UpdaterWorkingMem = "UPDATER_WORKING_MEM",
        /// What the forward pass keeps for the backward pass, the input apart.
        FfCache = "FF_CACHE",
    }
}

/// Memory that the layers of a network share: whatever a layer puts there under a key.
pub type Helper = Arc<dyn Any + Send + Sync>;

/// A workspace by name, and what it is made with.
pub(crate) type Named<'a> = (&'a str, &'a WorkspaceConfiguration);

/// Where arrays of one type live.
#[derive(Clone, Debug, Default)]
struct Role {
    scoped_out: bool,
    name: Option<String>,
    configuration: Option<WorkspaceConfiguration>,
}

impl Role {
    fn out() -> Self {
        Self { scoped_out: true, ..Self::default() }
    }

    fn named(name: &str, configuration: WorkspaceConfiguration) -> Self {
        Self { scoped_out: false, name: Some(name.to_owned()), configuration: Some(configuration) }
    }
}

/// Which workspace each kind of array lives in (DL4J: `LayerWorkspaceMgr`). It owns no memory: the
/// workspaces are those of the calling thread's registry.
#[derive(Clone, Debug, Default)]
pub struct LayerWorkspaceMgr {
    roles: [Role; ArrayType::ALL.len()],
    no_leverage: BTreeSet<String>,
    helpers: HashMap<String, Helper>,
    is_immutable: bool,
}

/// Where an array lies, for a manager to judge.
#[derive(Debug)]
pub(crate) enum Located<'a> {
    /// Outside every workspace.
    Detached,
    /// In a workspace, and valid.
    In(&'a Buffer),
    /// Its memory is gone: the error that says so.
    Stale(Error),
}

impl<'a> Located<'a> {
    pub(crate) fn of(buffer: &'a Buffer) -> Self {
        buffer.check().map_or_else(Self::Stale, |()| Self::In(buffer))
    }

    /// The memory, if it is in a workspace; an error if it is gone.
    fn usable(self, operation: &str) -> Result<Option<&'a Buffer>> {
        match self {
            Self::Detached => Ok(None),
            Self::In(buffer) => Ok(Some(buffer)),
            Self::Stale(error) => Err(error.in_operation(operation, "a")),
        }
    }
}

impl LayerWorkspaceMgr {
    /// A manager in which nothing is configured yet.
    pub fn builder() -> LayerWorkspaceMgrBuilder {
        LayerWorkspaceMgrBuilder::default()
    }

    /// A manager in one call: per type a workspace, or none. Types that are not named get `default`.
    pub fn new<'a>(
        types: impl IntoIterator<Item = (ArrayType, Option<(&'a str, WorkspaceConfiguration)>)>,
        default: Option<(&'a str, WorkspaceConfiguration)>,
    ) -> Self {
        let builder = match default {
            Some((name, configuration)) => Self::builder().default_workspace(name, configuration),
            None => Self::builder().default_no_workspace(),
        };
        let with = |builder: LayerWorkspaceMgrBuilder, (t, workspace)| match workspace {
            Some((name, configuration)) => builder.with(t, name, configuration),
            None => builder.no_workspace_for(t),
        };
        types.into_iter().fold(builder, with).build()
    }

    /// A manager without workspaces: every array is a plain one.
    pub fn no_workspaces() -> Self {
        Self::builder().default_no_workspace().build()
    }

    /// The same, which refuses every change.
    pub fn no_workspaces_immutable() -> Self {
        Self { is_immutable: true, ..Self::no_workspaces() }
    }

    // ------------------------------------------------------------------ roles

    /// Puts arrays of a type into the workspace of that name, made with that configuration.
    pub fn set_workspace(
        &mut self,
        t: ArrayType,
        name: &str,
        configuration: WorkspaceConfiguration,
    ) -> Result<()> {
        self.check_mutable("set_workspace")?;
        self.roles[t as usize] = Role::named(name, configuration);
        Ok(())
    }

    /// Arrays of a type are plain from now on.
    pub fn set_scoped_out_for(&mut self, t: ArrayType) -> Result<()> {
        self.check_mutable("set_scoped_out_for")?;
        self.roles[t as usize] = Role::out();
        Ok(())
    }

    /// Whether arrays of a type are plain.
    pub fn is_scoped_out(&self, t: ArrayType) -> bool {
        self.roles[t as usize].scoped_out
    }

    /// Whether a type is scoped out or has the name of a workspace.
    pub fn has_configuration(&self, t: ArrayType) -> bool {
        self.is_scoped_out(t) || self.roles[t as usize].name.is_some()
    }

    /// What the workspace of a type is made with.
    pub fn get_configuration(&self, t: ArrayType) -> Option<&WorkspaceConfiguration> {
        self.roles[t as usize].configuration.as_ref()
    }

    /// Changes the configuration alone; a type that is scoped out stays so.
    pub fn set_configuration(
        &mut self,
        t: ArrayType,
        configuration: WorkspaceConfiguration,
    ) -> Result<()> {
        self.check_mutable("set_configuration")?;
        self.roles[t as usize].configuration = Some(configuration);
        Ok(())
    }

    /// The name of the workspace of a type.
    pub fn get_workspace_name(&self, t: ArrayType) -> Option<&str> {
        self.roles[t as usize].name.as_deref()
    }

    /// Changes the name alone; a type that is scoped out stays so.
    pub fn set_workspace_name(&mut self, t: ArrayType, name: &str) -> Result<()> {
        self.check_mutable("set_workspace_name")?;
        self.roles[t as usize].name = Some(name.to_owned());
        Ok(())
    }

    /// Arrays in the workspace of that name stay where they are and are right everywhere.
    pub fn set_no_leverage_override(&mut self, name: &str) -> Result<()> {
        self.check_mutable("set_no_leverage_override")?;
        self.no_leverage.insert(name.to_owned());
        Ok(())
    }

    /// What was put there under a key.
    pub fn get_helper_workspace(&self, key: &str) -> Option<&Helper> {
        self.helpers.get(key)
    }

    /// Puts a value there for all layers; what it replaces comes back.
    pub fn set_helper_workspace(&mut self, key: &str, value: Helper) -> Result<Option<Helper>> {
        self.check_mutable("set_helper_workspace")?;
        Ok(self.helpers.insert(key.to_owned(), value))
    }

    /// All values that were put there.
    pub fn helper_workspaces(&self) -> impl Iterator<Item = &Helper> {
        self.helpers.values()
    }

    /// Takes all of them out.
    pub fn take_helper_workspaces(&mut self) -> HashMap<String, Helper> {
        std::mem::take(&mut self.helpers)
    }

    fn check_mutable(&self, operation: &str) -> Result<()> {
        if !self.is_immutable {
            return Ok(());
        }
        let reason = format!(
            "{operation} of a LayerWorkspaceMgr that is immutable; \
             LayerWorkspaceMgr.no_workspaces() gives one that may be changed"
        );
        Err(Error::Usage { reason })
    }

    // ------------------------------------------------------------------ guards

    /// The workspace that a type is configured with; `None` if it is scoped out.
    fn configured(&self, operation: &str, t: ArrayType) -> Result<Option<Named<'_>>> {
        let role = &self.roles[t as usize];
        if role.scoped_out {
            return Ok(None);
        }
        match (&role.configuration, &role.name) {
            (None, _) => Err(unconfigured(operation, t, "configuration")),
            (_, None) => Err(unconfigured(operation, t, "name of a workspace")),
            (Some(configuration), Some(name)) => Ok(Some((name, configuration))),
        }
    }

    /// The name of the workspace that a type shall be in; `None`: it shall be plain, as it also is in
    /// the dummies of `BYPASS_EVERYTHING`.
    fn wanted(&self, operation: &str, t: ArrayType) -> Result<Option<&str>> {
        let name = self.configured(operation, t)?.map(|(name, _)| name);
        Ok(name.filter(|name| !registry::find(name).is_some_and(|w| w.is_dummy())))
    }

    /// The workspace of a type, which must be open; `None`: its arrays are plain.
    fn open(&self, operation: &str, t: ArrayType) -> Result<Option<Workspace>> {
        let Some(name) = self.wanted(operation, t)? else { return Ok(None) };
        let open = registry::find(name).filter(Workspace::is_scope_active);
        open.map(Some).ok_or_else(|| {
            let cure = format!("enter it first: `with mgr.notify_scope_entered(ArrayType.{t}):`");
            refused(operation, t, name, None, &format!("is not open; {cure}"))
        })
    }

    fn is_home(&self, t: ArrayType, buffer: &Buffer) -> bool {
        let name = self.get_workspace_name(t);
        name.and_then(registry::find).as_ref() == Some(buffer.workspace())
    }

    fn stays_anywhere(&self, buffer: &Buffer) -> bool {
        self.no_leverage.contains(buffer.workspace().id())
    }

    // ------------------------------------------------------------------ scopes

    /// Enters the workspaces of these types in their order, making those that are missing: all of them
    /// or none. The scope closes them in reverse order; its workspace is the last one.
    pub fn notify_scope_entered(&self, types: &[ArrayType]) -> Result<Scope> {
        self.enter(types).map(Scope::new)
    }

    /// Makes the open workspace of a type current.
    pub fn notify_scope_borrowed(&self, t: ArrayType) -> Result<Scope> {
        self.borrow(t).map(Scope::new)
    }

    pub(crate) fn enter(&self, types: &[ArrayType]) -> Result<ScopeToken> {
        let wanted = types.iter().map(|&t| self.configured("notify_scope_entered", t));
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        let mut made = Vec::new();
        let found = wanted.into_iter().map(|named| find_or_make(named, &mut made));
        let found: Result<Vec<_>> = found.collect();
        let entered = found.and_then(|workspaces| registry::enter_all(&workspaces));
        if entered.is_err() {
            made.iter().for_each(Workspace::undo);
        }
        entered
    }

    pub(crate) fn borrow(&self, t: ArrayType) -> Result<ScopeToken> {
        match self.open("notify_scope_borrowed", t)? {
            Some(workspace) => registry::borrow(&workspace),
            None => registry::scope_out_of_workspaces(),
        }
    }

    /// Whether the workspace of a type is open; true if it is scoped out.
    pub fn is_workspace_open(&self, t: ArrayType) -> Result<bool> {
        let name = self.wanted("is_workspace_open", t)?;
        Ok(name.is_none_or(|name| registry::find(name).is_some_and(|w| w.is_scope_active())))
    }

    /// Refuses unless the workspace of a type is open.
    pub fn assert_open(&self, t: ArrayType, message: Option<&str>) -> Result<()> {
        match self.wanted("assert_open", t)? {
            Some(name) if !self.is_workspace_open(t)? => {
                Err(refused("assert_open", t, name, message, "is not open"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses if the workspace of a type is open.
    pub fn assert_not_open(&self, t: ArrayType, message: Option<&str>) -> Result<()> {
        match self.wanted("assert_not_open", t)? {
            Some(name) if self.is_workspace_open(t)? => {
                Err(refused("assert_not_open", t, name, message, "is open"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses unless the workspace of a type is current.
    pub fn assert_current_workspace(&self, t: ArrayType, message: Option<&str>) -> Result<()> {
        let operation = "assert_current_workspace";
        let Some(name) = self.wanted(operation, t)? else { return Ok(()) };
        let current = registry::current_workspace();
        if current.is_some() && current == registry::find(name) {
            return Ok(());
        }
        let current = current.map_or("none".to_owned(), |w| format!("[{}]", w.id()));
        let what = format!("is not current; current is {current}");
        Err(refused(operation, t, name, message, &what))
    }

    // ------------------------------------------------------------------ where arrays go

    /// Where a new array of a type goes.
    pub(crate) fn place(&self, operation: &str, t: ArrayType) -> Result<Destination> {
        Ok(self.open(operation, t)?.map_or(Destination::Detached, Destination::Workspace))
    }

    /// Where `dup` puts its copy.
    pub(crate) fn place_dup(&self, t: ArrayType, a: Located<'_>) -> Result<Destination> {
        a.usable("dup")?;
        self.place("dup", t)
    }

    /// Where `cast_to` puts its result.
    pub(crate) fn place_cast(
        &self,
        t: ArrayType,
        a: Located<'_>,
        is_correct_type: bool,
        dup_if_correct_type: bool,
    ) -> Result<Destination> {
        let buffer = a.usable("cast_to")?;
        let may_stay = is_correct_type && !dup_if_correct_type;
        if may_stay && buffer.is_none_or(|buffer| self.is_home(t, buffer)) {
            return Ok(Destination::Itself);
        }
        self.place("cast_to", t)
    }

    /// Where `leverage_to` puts an array.
    pub(crate) fn place_leveraged(&self, t: ArrayType, a: Located<'_>) -> Result<Destination> {
        match a.usable("leverage_to")? {
            Some(buffer) if !self.stays_anywhere(buffer) => self.bring("leverage_to", t, buffer),
            _ => Ok(Destination::Itself),
        }
    }

    fn bring(&self, operation: &str, t: ArrayType, buffer: &Buffer) -> Result<Destination> {
        Ok(match self.place(operation, t)? {
            Destination::Workspace(target) if &target == buffer.workspace() => Destination::Itself,
            elsewhere => elsewhere,
        })
    }

    /// Whether an array lies where it should; with `migrate_if_invalid`, where it has to go.
    pub(crate) fn place_validated(
        &self,
        t: ArrayType,
        a: Located<'_>,
        migrate_if_invalid: bool,
        exception_if_detached: bool,
    ) -> Result<Destination> {
        let operation = "validate_array_location";
        if matches!(a, Located::In(buffer) if self.stays_anywhere(buffer)) {
            return Ok(Destination::Itself);
        }
        let wanted = self.wanted(operation, t)?;
        let is_right = match &a {
            Located::Detached => wanted.is_none() || !exception_if_detached,
            Located::In(buffer) => wanted.is_some() && self.is_home(t, buffer),
            Located::Stale(_) => false,
        };
        match a {
            _ if is_right => Ok(Destination::Itself),
            Located::In(buffer) if migrate_if_invalid => self.bring(operation, t, buffer),
            misplaced => Err(misplacement(t, wanted, misplaced).in_operation(operation, "a")),
        }
    }
}

/// The registered workspace of that name, made if there is none, and then noted in `made`.
fn find_or_make(named: Option<Named<'_>>, made: &mut Vec<Workspace>) -> Result<Option<Workspace>> {
    let Some((name, configuration)) = named else { return Ok(None) };
    let is_new = registry::find(name).is_none();
    let workspace = registry::get_workspace(Some(configuration), name)?;
    if is_new && !workspace.is_dummy() {
        made.push(workspace.clone());
    }
    workspace.allow_unused();
    Ok(Some(workspace))
}

fn unconfigured(operation: &str, t: ArrayType, missing: &str) -> Error {
    let reason = format!(
        "no {missing} was given for this type; call mgr.set_workspace(ArrayType.{t}, name, \
         configuration), or mgr.set_scoped_out_for(ArrayType.{t}) for plain arrays"
    );
    Error::configuration("array_type", t, reason).in_operation(operation, "t")
}

fn refused(operation: &str, t: ArrayType, name: &str, message: Option<&str>, what: &str) -> Error {
    let prefix = message.map_or_else(String::new, |message| format!("{message}: "));
    let reason = format!("{prefix}workspace [{name}] of {t} {what}");
    let facts = Facts {
        workspace_id: Some(name.to_owned()),
        open_workspaces: Some(registry::open_workspaces()),
        ..Facts::default()
    };
    Error::Scope { reason, facts: Box::new(facts) }.in_operation(operation, "t")
}

/// The error of an array that does not lie where it should.
fn misplacement(t: ArrayType, wanted: Option<&str>, a: Located<'_>) -> Error {
    let right = wanted.map_or("detached".to_owned(), |name| format!("in workspace [{name}]"));
    let mut facts =
        Box::new(Facts { open_workspaces: Some(registry::open_workspaces()), ..Facts::default() });
    let found = match a {
        Located::Detached => format!("is detached; call mgr.dup(ArrayType.{t}, a)"),
        Located::In(buffer) => {
            let place = Place(buffer.workspace(), wanted);
            facts = buffer.facts();
            format!("is in {place}; call mgr.leverage_to(ArrayType.{t}, a)")
        }
        Located::Stale(error) => {
            if let Some(known) = error.facts() {
                facts.as_mut().clone_from(known);
            }
            format!("its memory is gone: {error}")
        }
    };
    let reason = format!("an array of {t} should be {right}, but {found}");
    Error::Location { reason, facts }
}

/// The workspace in which an array was found instead of the one of the name `1`.
struct Place<'a>(&'a Workspace, Option<&'a str>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(found, wanted) = self;
        if *wanted != Some(found.id()) {
            return write!(f, "workspace [{}]", found.id());
        }
        write!(f, "another workspace of that name (of thread {})", found.thread_id())
    }
}
