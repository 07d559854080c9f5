//! Scopes as Python sees them: what entering hands out, and what leaving has to tell.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyGeneratorExit, PyResourceWarning};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBool;

use super::collector;
use super::error::{add_note, class, to_pyerr, warn};
use super::faults;
use super::handler;
use super::npy;
use super::shortcut::{self, Args, Shortcut};
use super::slot::Slot;
use super::task::{self, Done};
use super::workspace::{PyWorkspace, workspace_object};
use crate::registry::{Capture, Left, Report, ScopeToken};
use crate::{Error, EscapePolicy, Facts, Workspace, WorkspaceType, registry};

/// An open scope of a workspace: a context manager whose `with` target is the workspace.
///
/// It owns no memory. An object that is garbage-collected changes nothing: the scope stays open
/// until it is closed.
#[pyclass(frozen, name = "Scope", module = "ndarena")]
pub struct PyScope {
    token: ScopeToken,
    closed: AtomicBool,
    /// The workspace's object, where it was at hand.
    object: Slot<Py<PyWorkspace>>,
}

impl PyScope {
    pub fn new(token: ScopeToken) -> Self {
        Self { token, closed: AtomicBool::new(false), object: Slot::new(None) }
    }

    /// A scope of `workspace`, which its token has just entered.
    pub fn of<'py>(
        workspace: &Bound<'py, PyWorkspace>,
        token: ScopeToken,
    ) -> PyResult<Bound<'py, Self>> {
        let object = Slot::new(Some(workspace.clone().unbind()));
        Bound::new(workspace.py(), Self { token, closed: AtomicBool::new(false), object })
    }

    /// Enters.
    #[inline]
    pub fn enter<'py>(
        workspace: &Bound<'py, PyWorkspace>,
        capture: Capture,
    ) -> PyResult<Bound<'py, Self>> {
        if let Some(scope) = Self::again(workspace, capture)? {
            return Ok(scope);
        }
        let token = registry::enter(&workspace.get().core).map_err(to_pyerr)?;
        token.capture(capture);
        Self::of(workspace, token)
    }

    /// Enters with the object of an earlier scope of the workspace, which is closed and which nobody has
    /// any more; `None` if there is none.
    #[inline]
    fn again<'py>(
        workspace: &Bound<'py, PyWorkspace>,
        capture: Capture,
    ) -> PyResult<Option<Bound<'py, Self>>> {
        let (py, own) = (workspace.py(), workspace.get());
        let Some(scope) = own.spare.take(py).map(|scope| scope.into_bound(py)) else {
            return Ok(None);
        };
        if npy::is_shared(scope.as_any(), 1) {
            return Ok(None);
        }
        let this = scope.get();
        let mut handle = own.handle.take(py);
        this.token.enter_again(&own.core, &mut handle, capture).map_err(to_pyerr)?;
        this.closed.store(false, Ordering::Relaxed);
        this.object.put(py, workspace.clone().unbind());
        Ok(Some(scope))
    }

    /// The scope is closed; if nobody but a `with` statement has it, it will do for the next one.
    #[inline]
    fn spare(slf: &Bound<'_, Self>, handle: Option<Workspace>) {
        let py = slf.py();
        if npy::is_shared(slf.as_any(), 1) {
            return;
        }
        // Bound, as what is not is released later, in a list of its own.
        if let Some(object) = slf.get().object.take(py).map(|object| object.into_bound(py)) {
            object.get().keep(py, handle);
            object.get().spare.put(py, slf.clone().unbind());
        }
    }
}

#[pymethods]
impl PyScope {
    /// The workspace, or `None` of a scope out of workspaces.
    #[getter]
    fn workspace(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.object.get(py) {
            Some(object) => Ok(Some(object.into_any())),
            None => self.token.workspace().map(|w| workspace_object(py, w)).transpose(),
        }
    }

    /// Closes the scope; idempotent. `ScopeError` if it is not the innermost one.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let left = self.token.close().map_err(to_pyerr)?;
        self.closed.store(true, Ordering::Relaxed);
        settle(py, &left, None)
    }

    /// Closes the scope wherever it stands; scopes inside it stay open. What one layer hands to the next
    /// lives in two workspaces in turn, neither inside the other.
    fn _leave_apart(slf: &Bound<'_, Self>) -> PyResult<()> {
        let left = slf.get().token.leave_apart().map_err(to_pyerr)?;
        slf.get().closed.store(true, Ordering::Relaxed);
        if is_quiet(&left) {
            Self::spare(slf, None);
            return Ok(());
        }
        settle(slf.py(), &left, None)
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.token.check_open().map_err(to_pyerr)?;
        self.workspace(py)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        _class: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        slf.get().closed.store(true, Ordering::Relaxed);
        let mut handle = None;
        match slf.get().token.exit_with(&mut handle) {
            Ok(left) if is_quiet(&left) => Self::spare(slf, handle),
            Ok(Left::Handler(one)) if is_undisturbed() => {
                handler::remove(slf.py(), &[one])
                    .or_else(|error| report(&error, slf.py(), noted_on(exception)))?;
                Self::spare(slf, handle);
            }
            left => finish(slf.py(), left, exception)?,
        }
        Ok(false)
    }

    /// The scope becomes the running task's, with a stack of its own, and may span an `await`.
    fn __aenter__(&self, py: Python<'_>) -> PyResult<Done> {
        let workspace = self.workspace(py)?;
        let Some(task) = task::own(py)? else {
            // Nobody has a name for the scope of `async with ws.notify_scope_entered():`.
            let closed = self.close(py);
            let error = task::no_task();
            closed.or_else(|failed| report(&failed, py, Some(error.value(py))))?;
            return Err(error);
        };
        self.token.move_to_task(task).map_err(to_pyerr)?;
        Ok(Done::new(workspace.unwrap_or_else(|| py.None())))
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        class: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Done> {
        Self::__exit__(slf, class, exception, traceback)?;
        Ok(Done::new(slf.py().None()))
    }

    fn __repr__(&self) -> String {
        let state = if self.token.is_open() { "open" } else { "closed" };
        match self.token.workspace() {
            Some(workspace) => format!("<Scope of [{}], {state}>", workspace.id()),
            None => format!("<Scope out of workspaces, {state}>"),
        }
    }

    #[expect(clippy::unused_self)]
    fn __reduce__(&self) -> PyResult<()> {
        Err(pyo3::exceptions::PyTypeError::new_err(
            "a Scope belongs to its thread: it does not pickle",
        ))
    }
}

impl Drop for PyScope {
    fn drop(&mut self) {
        if !*self.closed.get_mut() {
            self.token.lose();
        }
    }
}

/// The two ends of a `with` block.
struct End<const IS_EXIT: bool>;

impl<const IS_EXIT: bool> Shortcut for End<IS_EXIT> {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINALS: [PyOnceLock<Py<PyAny>>; 2] = [const { PyOnceLock::new() }; 2];
        &ORIGINALS[usize::from(IS_EXIT)]
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, Ok(scope)) = (slf.py(), slf.cast_exact::<PyScope>()) else { return Ok(None) };
        match (IS_EXIT, args.len(), args.get(1)) {
            (false, 0, _) => {
                let workspace = scope.get().__enter__(py)?;
                Ok(Some(workspace.unwrap_or_else(|| py.None()).into_bound(py)))
            }
            (true, 3, Some(exception)) => {
                let swallows = PyScope::__exit__(scope, &exception, &exception, &exception)?;
                Ok(Some(PyBool::new(py, swallows).to_owned().into_any()))
            }
            _ => Ok(None),
        }
    }
}

/// Puts the shortcuts in their places.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<PyScope>();
    shortcut::of_method::<End<false>>(&class, "__enter__")?;
    shortcut::of_method::<End<true>>(&class, "__exit__")
}

/// Whether the end of a scope leaves nothing to tell or to do.
#[inline]
pub fn is_quiet(left: &Left) -> bool {
    left.is_quiet() && is_undisturbed()
}

/// Whether nothing else happens at the ends of scopes.
#[inline]
fn is_undisturbed() -> bool {
    !collector::is_paced() && !faults::may_be_at_boundary()
}

/// The end of a `with` block, with what is on its way as `exception`.
#[cold]
pub fn finish(
    py: Python<'_>,
    left: crate::Quick<Left>,
    exception: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // Counted anew, as a shortcut may be below.
    Python::attach(|_| finish_attached(py, left, exception))
}

fn finish_attached(
    py: Python<'_>,
    left: crate::Quick<Left>,
    exception: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let exception = noted_on(exception);
    match left {
        Ok(left) => settle(py, &left, exception),
        Err(error) => report(&to_pyerr(error), py, exception),
    }
}

/// The exception that is on its way, if there is one that an error is to be noted on.
fn noted_on<'a, 'py>(exception: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyAny>> {
    // A generator's end gives way: nobody would see the note.
    (!exception.is_none() && !exception.is_instance_of::<PyGeneratorExit>()).then_some(exception)
}

/// Raises an error, or notes it on the exception that is on its way.
fn report(error: &PyErr, py: Python<'_>, exception: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(exception) = exception else { return Err(error.clone_ref(py)) };
    let kind = error.get_type(py).name()?.to_string();
    add_note(exception, &format!("{kind}: {}", error.value(py)))
}

/// What closing has to tell, after everything is completely closed: errors, warnings, the collector.
pub fn settle(py: Python<'_>, left: &Left, exception: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let mut first: Option<PyErr> = None;
    let removed =
        if left.handlers().is_empty() { Ok(()) } else { handler::remove(py, left.handlers()) };
    let collected = collector::scope_left(py);
    let injected = faults::at_boundary(py).err().into_iter();
    for problem in injected.chain(removed.err()).chain(problems(py, left)) {
        match &first {
            Some(error) => report(&problem, py, Some(error.value(py).as_any()))?,
            None if exception.is_some() => report(&problem, py, exception)?,
            None => first = Some(problem),
        }
    }
    first.map_or(collected, Err)
}

fn problems(py: Python<'_>, left: &Left) -> Vec<PyErr> {
    if left.reports.is_empty() && left.left_open.is_empty() {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if !left.left_open.is_empty() {
        let reason = format!(
            "the `with` block ended with scopes still open inside: [{}]; they were closed first, \
             innermost first: close each inside, or use `with` for them too (a coroutine suspended inside \
             a `with` leaves it open: write `async with ws.notify_scope_entered():` around an `await`; a \
             generator: leave the scope before `yield`)",
            left.left_open.join(", ")
        );
        let facts = Facts {
            workspace_id: left.left_open.first().cloned(),
            open_workspaces: Some(registry::open_workspaces()),
            ..Facts::default()
        };
        problems.push(to_pyerr(Error::Scope { reason, facts: Box::new(facts) }));
    }
    for cycle in &left.reports {
        problems.extend(cycle_problems(py, cycle).into_iter().filter_map(Result::err));
    }
    problems
}

fn cycle_problems(py: Python<'_>, cycle: &Report) -> [PyResult<()>; 3] {
    [escapes(py, cycle), unused(py, cycle), many_retired(py, cycle)]
}

fn escapes(py: Python<'_>, cycle: &Report) -> PyResult<()> {
    if cycle.escaped == 0 {
        return Ok(());
    }
    let error = cycle.escaped_error();
    match cycle.workspace.configuration().policy_escape {
        EscapePolicy::Retire => Ok(()),
        EscapePolicy::Warn => warn(py, &class(py, "EscapedViewWarning")?, &error.to_string()),
        EscapePolicy::Raise => Err(to_pyerr(error)),
    }
}

fn unused(py: Python<'_>, cycle: &Report) -> PyResult<()> {
    if !cycle.unused || cycle.workspace.workspace_type() == WorkspaceType::Dummy {
        return Ok(());
    }
    let message = format!(
        "workspace [{}] has closed its first three cycles without one allocation: the operands were \
         plain arrays, and plain operands give plain results; use ws.asarray(x) for an operand, or \
         notify_scope_entered(capture_numpy=True) for NumPy's own arrays of 16 KiB and more",
        cycle.workspace.id()
    );
    warn(py, &class(py, "UnusedWorkspaceWarning")?, &message)
}

fn many_retired(py: Python<'_>, cycle: &Report) -> PyResult<()> {
    if !cycle.many_retired {
        return Ok(());
    }
    let site = match &cycle.site {
        Some(site) => format!(" (the last of them holds an array created at {site})"),
        None => String::new(),
    };
    let message = format!(
        "1000 blocks of workspace [{}] are retired and still viewed{site}; drop the views, or keep \
         detach() instead",
        cycle.workspace.id()
    );
    warn(py, &py.get_type::<PyResourceWarning>(), &message)
}
