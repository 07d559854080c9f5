//! A thread's workspaces by id, and what holds for all threads: default configuration, debug mode.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::{DebugMode, WorkspaceConfiguration};
use crate::error::{Error, Facts, Result};
use crate::sync::lock;
use crate::thread::{ended, with};
use crate::workspace::Workspace;

pub use crate::thread::{
    Capture, Left, Plain, Report, ScopeToken, Task, TaskId, Told, any_workspace_active, borrow,
    current_workspace, end_thread, enter, enter_block, enter_task_block, exit_block, innermost,
    leave, lost_scopes, open_workspaces, plain_results, scope_depth, scope_out_of_workspaces,
    set_current_workspace, set_task_finder, threads_in_scope,
};
#[cfg(feature = "python")]
pub(crate) use crate::thread::{changes, owner_number, with_current};
pub(crate) use crate::thread::{enter_all, is_current};

static DEBUG_MODE: AtomicU8 = AtomicU8::new(0);
static DEFAULT_CONFIGURATION: Mutex<Option<WorkspaceConfiguration>> = Mutex::new(None);

/// Process-wide: what workspaces are made with when nothing is said.
pub fn default_configuration() -> WorkspaceConfiguration {
    lock(&DEFAULT_CONFIGURATION).clone().unwrap_or_default()
}

/// Replaces the process-wide default for workspaces made from now on.
pub fn set_default_configuration(configuration: WorkspaceConfiguration) {
    *lock(&DEFAULT_CONFIGURATION) = Some(configuration);
}

/// Process-wide debug mode.
pub fn debug_mode() -> DebugMode {
    match DEBUG_MODE.load(Ordering::Relaxed) {
        1 => DebugMode::SpillEverything,
        2 => DebugMode::BypassEverything,
        _ => DebugMode::Disabled,
    }
}

/// Sets the process-wide debug mode.
pub fn set_debug_mode(mode: DebugMode) {
    let code = match mode {
        DebugMode::Disabled => 0,
        DebugMode::SpillEverything => 1,
        DebugMode::BypassEverything => 2,
    };
    DEBUG_MODE.store(code, Ordering::Relaxed);
    if mode != DebugMode::BypassEverything {
        // The ids stay listed, as in the ancestor; the dummies are not remembered.
        let dummies = with(|t| t.dummies.values_mut().map(Option::take).collect::<Vec<_>>());
        drop(dummies);
    }
}

/// The registered workspace of that id, if any.
pub fn find(id: &str) -> Option<Workspace> {
    let bypass = debug_mode() == DebugMode::BypassEverything;
    with(|t| {
        let real = t.by_id.get(id).filter(|w| !w.is_destroyed());
        let dummy = t.dummies.get(id).and_then(Option::as_ref).filter(|_| bypass);
        real.or(dummy).cloned()
    })
    .flatten()
}

/// The registered workspaces, by id. Those that another thread destroyed leave here.
fn registered() -> Vec<(String, Workspace)> {
    with(|t| {
        t.by_id.change().retain(|_, w| !w.is_destroyed());
        t.by_id.iter().map(|(id, w)| (id.clone(), w.clone())).collect()
    })
    .unwrap_or_default()
}

/// The registered workspace of that id, made if there is none.
pub fn get_workspace(
    configuration: Option<&WorkspaceConfiguration>,
    id: &str,
) -> Result<Workspace> {
    if let Some(workspace) = find(id) {
        return match configuration.filter(|_| !workspace.is_dummy()) {
            Some(wanted) => check_same(&workspace, wanted).map(|()| workspace),
            None => Ok(workspace),
        };
    }
    if debug_mode() == DebugMode::BypassEverything {
        return dummy(id);
    }
    make(configuration, id)
}

fn make(configuration: Option<&WorkspaceConfiguration>, id: &str) -> Result<Workspace> {
    let configuration = configuration.cloned().unwrap_or_else(default_configuration);
    let workspace = Workspace::new(configuration, id)?;
    register(&workspace, id)?;
    Ok(workspace)
}

fn dummy(id: &str) -> Result<Workspace> {
    let workspace = Workspace::dummy(id)?;
    with(|t| t.dummies.insert(id.to_owned(), Some(workspace.clone())));
    Ok(workspace)
}

fn check_same(workspace: &Workspace, wanted: &WorkspaceConfiguration) -> Result<()> {
    let fields = workspace.configuration().difference(wanted);
    let Some(first) = fields.first() else { return Ok(()) };
    let mut error = Error::configuration(
        first,
        wanted.text_of(first),
        format!(
            "workspace [{}] exists with another configuration (differing: {}); get it without one, \
             use another id, or destroy it first",
            workspace.id(),
            fields.join(", ")
        ),
    );
    if let Some(facts) = error.facts_mut() {
        *facts = *workspace.facts();
    }
    Err(error)
}

/// A new registered workspace; an existing one of that id is destroyed if closed.
pub fn create_new_workspace(
    configuration: Option<&WorkspaceConfiguration>,
    id: &str,
) -> Result<Workspace> {
    let existing = find(id);
    if let Some(existing) = existing.as_ref().filter(|w| w.is_scope_active()) {
        let reason = format!(
            "workspace [{id}] is open, so no new one can take its id; close its scopes first"
        );
        return Err(Error::Scope { reason, facts: existing.facts() });
    }
    if debug_mode() == DebugMode::BypassEverything {
        return dummy(id);
    }
    let configuration = configuration.cloned().unwrap_or_else(default_configuration);
    let workspace = Workspace::replacing(existing.as_ref(), configuration, id)?;
    register(&workspace, id)?;
    Ok(workspace)
}

/// Registers a workspace of this thread under an id; nothing else.
pub fn register(workspace: &Workspace, id: &str) -> Result<()> {
    workspace.check_enter("set_workspace_for_current_thread")?;
    if workspace.is_dummy() {
        return Ok(());
    }
    let old =
        with(|t| (t.dummies.remove(id), t.by_id.change().insert(id.to_owned(), workspace.clone())));
    drop(old.ok_or_else(ended)?);
    Ok(())
}

/// Ids registered in this thread, sorted; those of dummies stay until a real workspace takes them.
pub fn workspace_ids() -> Vec<String> {
    let mut ids: Vec<_> = registered().into_iter().map(|(id, _)| id).collect();
    ids.extend(with(|t| t.dummies.keys().cloned().collect::<Vec<_>>()).unwrap_or_default());
    ids.sort();
    ids
}

/// Workspaces registered in this thread, in the order of their ids.
pub fn workspaces() -> Vec<Workspace> {
    registered().into_iter().map(|(_, workspace)| workspace).collect()
}

/// Destroys a workspace and frees its id.
pub fn destroy_workspace(workspace: &Workspace) -> Result<()> {
    if workspace.is_dummy() {
        let id = with(|t| t.dummies.remove(workspace.id()));
        drop(id);
        return Ok(());
    }
    workspace.destroy_workspace()
}

/// Destroys every workspace registered in this thread, open ones included.
pub fn destroy_all_workspaces() {
    let dummies = with(|t| std::mem::take(&mut t.dummies));
    drop(dummies);
    for workspace in workspaces() {
        workspace.destroy();
    }
}

// ---------------------------------------------------------------------- asserts

fn violated(reason: String, id: Option<&str>) -> Error {
    let facts = Facts {
        workspace_id: id.map(str::to_owned),
        open_workspaces: Some(open_workspaces()),
        ..Facts::default()
    };
    Error::Scope { reason, facts: Box::new(facts) }
}

/// Refuses if a workspace of this thread is open; with `allow_scoped_out` not while none is current.
pub fn assert_no_workspaces_open(message: &str, allow_scoped_out: bool) -> Result<()> {
    if !any_workspace_active() || allow_scoped_out && current_workspace().is_none() {
        return Ok(());
    }
    let lost = match lost_scopes() {
        0 => String::new(),
        n => format!(", {n} scope(s) without an object"),
    };
    let reason =
        format!("{message}: workspaces are open: [{}]{lost}", open_workspaces().join(", "));
    Err(violated(reason, None))
}

/// Refuses unless a workspace of that id is registered and open.
pub fn assert_open_and_active(id: &str, message: &str) -> Result<()> {
    if find(id).is_some_and(|w| w.is_scope_active()) {
        return Ok(());
    }
    Err(violated(
        format!(
            "{message}: no workspace [{id}] is registered and open in this thread; enter it first"
        ),
        Some(id),
    ))
}

/// Refuses unless a workspace of that id is registered, open and current.
pub fn assert_open_active_and_current(id: &str, message: &str) -> Result<()> {
    assert_open_and_active(id, message)?;
    let current = current_workspace();
    if current.is_some() && current == find(id) {
        return Ok(());
    }
    let current = current.map_or("none".to_owned(), |w| format!("[{}]", w.id()));
    let reason =
        format!("{message}: workspace [{id}] is open but not current; current is {current}");
    Err(violated(reason, Some(id)))
}
