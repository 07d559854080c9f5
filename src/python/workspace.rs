//! `Workspace` as Python sees it: convert, one call of the core, convert.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyString, PyWeakrefMethods, PyWeakrefReference};

use super::arguments::{self, Id, wrong_type};
use super::config::{PyWorkspaceConfiguration, policy_member};
use super::error::to_pyerr;
use super::faults;
use super::scope::{PyScope, finish, is_quiet, settle};
use super::shortcut::{self, Args, Shortcut};
use super::slot::Slot;
use super::stats::{self, PyWorkspaceStats};
use super::task::{self, Done};
use super::{capture, collector, foreign, handler, thread_end};
use crate::registry::Capture;
use crate::{DEFAULT_WORKSPACE_ID, Workspace, WorkspaceConfiguration, registry};

const TAKES: &str = "it takes configuration=WorkspaceConfiguration(…) and id=…";

/// The Python object of each workspace that has one, so that every way leads to the same.
static OBJECTS: LazyLock<Mutex<HashMap<u64, Py<PyWeakrefReference>>>> =
    LazyLock::new(Mutex::default);

fn objects() -> MutexGuard<'static, HashMap<u64, Py<PyWeakrefReference>>> {
    OBJECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// *The* Python object of a workspace.
pub fn workspace_object(py: Python<'_>, workspace: &Workspace) -> PyResult<Py<PyAny>> {
    let known = objects().get(&workspace.serial()).map(|weak| weak.clone_ref(py));
    if let Some(object) = known.and_then(|weak| weak.bind(py).upgrade()) {
        return Ok(object.unbind());
    }
    Ok(PyWorkspace::new_object(py, workspace.clone())?.into_any().unbind())
}

fn remember(object: &Bound<'_, PyWorkspace>) -> PyResult<()> {
    thread_end::watch(object.py())?;
    let weak = PyWeakrefReference::new(object)?.unbind();
    let old = objects().insert(object.get().core.serial(), weak);
    drop(old);
    Ok(())
}

/// A configuration argument: one of ours, or `None`.
pub fn configuration_argument(
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<WorkspaceConfiguration>> {
    let Some(value) = value.filter(|v| !v.is_none()) else { return Ok(None) };
    if let Ok(configuration) = value.cast::<PyWorkspaceConfiguration>() {
        return Ok(Some(configuration.get().core.clone()));
    }
    let hint = if value.is_instance_of::<PyString>() { "; an id is given as id=…" } else { "" };
    Err(wrong_type(value, "configuration", "a WorkspaceConfiguration", hint))
}

/// A workspace argument, `ws` everywhere.
pub fn workspace_argument<'a, 'py>(
    value: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyWorkspace>> {
    value.cast().map_err(|_| {
        let cure = "; get_workspace_for_current_thread(id=…) gives the one of an id";
        let hint = if value.is_instance_of::<PyString>() { cure } else { "" };
        wrong_type(value, "ws", "a Workspace", hint)
    })
}

/// Memory that is taken once and used again in every turn of a loop (ND4J: `MemoryWorkspace`).
///
/// `Workspace(configuration=None, id=DEFAULT_WORKSPACE_ID)` is owned by the calling thread and in no
/// registry. The workspace owns its memory: arrays made in it are valid until their cycle ends.
#[pyclass(frozen, weakref, name = "Workspace", module = "ndarena")]
pub struct PyWorkspace {
    pub core: Workspace,
    pub handlers: handler::Cache,
    /// A handle for the next scope.
    pub handle: Slot<Workspace>,
    /// Its object: that of a closed scope, which nobody else has.
    pub spare: Slot<Py<PyScope>>,
}

impl PyWorkspace {
    /// The object of a workspace that has none.
    pub fn new_object(py: Python<'_>, core: Workspace) -> PyResult<Bound<'_, Self>> {
        let (handlers, handle) = (handler::Cache::default(), Slot::new(None));
        let object = Bound::new(py, Self { core, handlers, handle, spare: Slot::new(None) })?;
        remember(&object)?;
        Ok(object)
    }

    /// The end of a `with` block, with what is on its way as `exception`.
    #[inline]
    fn leave(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut handle = None;
        match registry::exit_block(&self.core, foreign::running_frame(py), &mut handle) {
            Ok(left) if is_quiet(&left) => {
                self.keep(py, handle);
                Ok(())
            }
            left => finish(py, left, exception),
        }
    }

    /// Keeps the handle that a scope held.
    #[inline]
    pub fn keep(&self, py: Python<'_>, handle: Option<Workspace>) {
        if let Some(handle) = handle {
            self.handle.put(py, handle);
        }
    }
}

impl Drop for PyWorkspace {
    fn drop(&mut self) {
        let serial = self.core.serial();
        let dead = Python::try_attach(|py| {
            let weak = objects().get(&serial).map(|weak| weak.clone_ref(py));
            weak.is_some_and(|weak| weak.bind(py).upgrade().is_none())
        });
        if dead == Some(true) {
            let old = objects().remove(&serial);
            drop(old);
        }
    }
}

#[pymethods]
impl PyWorkspace {
    #[new]
    #[pyo3(
        signature = (configuration = None, id = Id(DEFAULT_WORKSPACE_ID), **others),
        text_signature = "(configuration=None, id='DefaultWorkspace')"
    )]
    fn new<'py>(
        py: Python<'py>,
        configuration: Option<&Bound<'py, PyAny>>,
        id: Id<'_>,
        others: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        arguments::no_others(others, "Workspace", TAKES)?;
        let configuration = configuration_argument(configuration)?;
        let configuration = configuration.unwrap_or_else(registry::default_configuration);
        let core = Workspace::new(configuration, &id).map_err(to_pyerr)?;
        Self::new_object(py, core)
    }

    // ------------------------------------------------------------------ scopes

    /// Enter: begin a cycle, or continue the running one. `capture_numpy`: NumPy's own allocations come
    /// from this workspace, too.
    #[pyo3(signature = (*, capture_numpy = false))]
    fn notify_scope_entered<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = arguments::capture_numpy)] capture_numpy: bool,
    ) -> PyResult<Bound<'py, PyScope>> {
        faults::at_boundary(slf.py())?;
        let scope =
            if capture_numpy { capture::enter(slf)? } else { PyScope::enter(slf, Capture::No)? };
        collector::scope_entered(slf.py())?;
        Ok(scope)
    }

    /// Not used for three cycles: networks open workspaces for layers that may need none.
    fn _allow_unused(&self) {
        self.core.allow_unused();
    }

    /// Of a ring: what is not leased ends, and the next cycle gets the first block of it.
    fn _turn_back(&self) -> PyResult<()> {
        self.core.turn_back().map_err(to_pyerr)
    }

    /// Make the open workspace current, in its running cycle.
    fn notify_scope_borrowed<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyScope>> {
        faults::at_boundary(slf.py())?;
        let token = registry::borrow(&slf.get().core).map_err(to_pyerr)?;
        let scope = PyScope::of(slf, token)?;
        collector::scope_entered(slf.py())?;
        Ok(scope)
    }

    /// Close the innermost open scope of this workspace.
    fn notify_scope_left(&self, py: Python<'_>) -> PyResult<()> {
        settle(py, &registry::leave(&self.core).map_err(to_pyerr)?, None)
    }

    /// The same as `notify_scope_left`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.notify_scope_left(py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        faults::at_boundary(slf.py())?;
        let place = foreign::running_frame(slf.py());
        let own = slf.get();
        registry::enter_block(&own.core, &mut own.handle.take(slf.py()), place)
            .map_err(to_pyerr)?;
        collector::scope_entered(slf.py())?;
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _class: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        self.leave(py, exception).map(|()| false)
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Done> {
        let py = slf.py();
        let task = task::own(py)?.ok_or_else(task::no_task)?;
        faults::at_boundary(py)?;
        let place = foreign::running_frame(py);
        registry::enter_task_block(&slf.get().core, place, task).map_err(to_pyerr)?;
        collector::scope_entered(py)?;
        Ok(Done::new(slf.into_any().unbind()))
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        class: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Done> {
        self.__exit__(py, class, exception, traceback)?;
        Ok(Done::new(py.None()))
    }

    // ------------------------------------------------------------------ control

    /// Derive the size from what was observed. `ScopeError` while an array or view of the running
    /// cycle is alive.
    fn initialize_workspace(&self) -> PyResult<()> {
        self.core.initialize_workspace().map_err(to_pyerr)
    }

    /// End the workspace: its arrays become DESTROYED, viewed memory is retired, the rest goes back.
    fn destroy_workspace(&self) -> PyResult<()> {
        self.core.destroy_workspace().map_err(to_pyerr)
    }

    /// Switch the use of the arena off or on; arrays made meanwhile are external.
    fn toggle_workspace_use(
        &self,
        #[pyo3(from_py_with = arguments::use_workspace)] use_workspace: bool,
    ) -> PyResult<()> {
        self.core.toggle_workspace_use(use_workspace).map_err(to_pyerr)
    }

    /// Poison released memory and keep creation sites.
    fn enable_debug(&self, #[pyo3(from_py_with = arguments::debug)] debug: bool) -> PyResult<()> {
        self.core.enable_debug(debug).map_err(to_pyerr)
    }

    /// Rewind. `ScopeError` while an array or view of the running cycle is alive.
    fn reset(&self) -> PyResult<()> {
        self.core.reset().map_err(to_pyerr)
    }

    /// Give memory that is not in use back to the system; the number of bytes.
    fn trim(&self) -> PyResult<u64> {
        self.core.trim().map_err(to_pyerr)
    }

    // ------------------------------------------------------------------ state

    /// Its name in the registry.
    #[getter]
    fn id(&self) -> &str {
        self.core.id()
    }

    /// The owner, as `threading.get_ident()` gives it; may repeat.
    #[getter]
    fn thread_id(&self) -> u64 {
        self.core.thread_id()
    }

    /// Always 0: the CPU.
    #[getter]
    #[expect(clippy::unused_self)]
    fn device_id(&self) -> u32 {
        0
    }

    /// The configuration it was made with.
    #[getter]
    fn configuration(&self) -> PyWorkspaceConfiguration {
        PyWorkspaceConfiguration { core: self.core.configuration().clone() }
    }

    /// SCOPED, CIRCULAR or DUMMY.
    #[getter]
    fn workspace_type(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "WorkspaceType", self.core.workspace_type().name())
    }

    /// Number of full enters so far.
    #[getter]
    fn generation_id(&self) -> u64 {
        self.core.stats().generation_id
    }

    /// Size of the arena in bytes; 0: none yet.
    #[getter]
    fn current_size(&self) -> u64 {
        self.core.stats().current_size
    }

    /// End of the highest span in use, in bytes.
    #[getter]
    fn current_offset(&self) -> u64 {
        self.core.stats().current_offset
    }

    /// Bytes requested in the running cycle.
    #[getter]
    fn this_cycle_allocations(&self) -> u64 {
        self.core.stats().this_cycle_allocations
    }

    /// Bytes requested in the last cycle.
    #[getter]
    fn last_cycle_allocations(&self) -> u64 {
        self.core.stats().last_cycle_allocations
    }

    /// Most bytes requested in one cycle.
    #[getter]
    fn max_cycle_allocations(&self) -> u64 {
        self.core.stats().max_cycle_allocations
    }

    /// Most bytes alive at once in the running cycle, else in the last one.
    #[getter]
    fn peak_size(&self) -> u64 {
        self.core.stats().peak_size
    }

    /// Number of full closes.
    #[getter]
    fn cycles_count(&self) -> u64 {
        self.core.stats().cycles_count
    }

    /// Steps of the ring.
    #[getter]
    fn step_number(&self) -> u64 {
        self.core.stats().step_number
    }

    /// Size learned, before head-room; of a ring: its block.
    #[getter]
    fn initial_block_size(&self) -> u64 {
        self.core.stats().initial_block_size
    }

    /// Spilled blocks alive.
    #[getter]
    fn number_of_external_allocations(&self) -> u64 {
        self.core.stats().number_of_external_allocations
    }

    /// Their bytes.
    #[getter]
    fn spilled_size(&self) -> u64 {
        self.core.stats().spilled_size
    }

    /// Pinned blocks of a ring alive.
    #[getter]
    fn number_of_pinned_allocations(&self) -> u64 {
        self.core.stats().number_of_pinned_allocations
    }

    /// Their bytes.
    #[getter]
    fn pinned_size(&self) -> u64 {
        self.core.stats().pinned_size
    }

    /// Bytes of retired memory that views still hold.
    #[getter]
    fn retired_size(&self) -> u64 {
        self.core.stats().retired_size
    }

    /// Arrays that were still viewed when their scope closed, so far.
    #[getter]
    fn escaped_count(&self) -> u64 {
        self.core.stats().escaped_count
    }

    /// The same as `current_offset`.
    #[getter]
    fn host_offset(&self) -> u64 {
        self.current_offset()
    }

    /// The same as `current_offset`.
    #[getter]
    fn primary_offset(&self) -> u64 {
        self.current_offset()
    }

    /// Whether a cycle is running.
    #[getter]
    fn is_scope_active(&self) -> bool {
        self.core.is_scope_active()
    }

    /// Whether it has come to its end.
    #[getter]
    fn is_destroyed(&self) -> bool {
        self.core.is_destroyed()
    }

    /// What was current at the running full enter.
    #[getter]
    fn parent_workspace(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.core.parent_workspace().map(|parent| workspace_object(py, &parent)).transpose()
    }

    /// All counters at one moment.
    fn stats(&self, py: Python<'_>) -> PyResult<PyWorkspaceStats> {
        let configuration = Py::new(py, self.configuration())?.into_any();
        PyWorkspaceStats::new(py, self.core.stats(), configuration)
    }

    fn __repr__(&self) -> String {
        stats::line(&self.core)
    }

    fn _repr_html_(&self) -> String {
        stats::bar(&self.core)
    }

    #[expect(clippy::unused_self)]
    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Workspace belongs to its thread: it does not pickle"))
    }
}

/// The ways in and out: entering by `with`, by a `Scope`, and leaving the `with` block.
struct Way<const WHICH: u8>;

const BLOCK_IN: u8 = 0;
const BLOCK_OUT: u8 = 1;
const SCOPE_IN: u8 = 2;

impl<const WHICH: u8> Shortcut for Way<WHICH> {
    const TAKES_NAMES: bool = WHICH == SCOPE_IN;

    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINALS: [PyOnceLock<Py<PyAny>>; 3] = [const { PyOnceLock::new() }; 3];
        &ORIGINALS[usize::from(WHICH)]
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(workspace) = slf.cast_exact::<PyWorkspace>() else { return Ok(None) };
        match (WHICH, args.len()) {
            (BLOCK_IN, 0) => {
                PyWorkspace::__enter__(workspace.clone()).map(|entered| Some(entered.into_any()))
            }
            (BLOCK_OUT, 3) => {
                let Some(exception) = args.get(1) else { return Ok(None) };
                workspace.get().leave(slf.py(), &exception)?;
                Ok(Some(PyBool::new(slf.py(), false).to_owned().into_any()))
            }
            (SCOPE_IN, 0) => {
                let Some(captures) = captures(slf.py(), args) else { return Ok(None) };
                PyWorkspace::notify_scope_entered(workspace, captures).map(|s| Some(s.into_any()))
            }
            _ => Ok(None),
        }
    }
}

/// What `capture_numpy` says, if nothing else is said by name and it is a bool.
#[inline]
fn captures<'py>(py: Python<'py>, args: Args<'_, 'py>) -> Option<bool> {
    if args.are_positional() {
        return Some(false);
    }
    let value = args.named(intern!(py, "capture_numpy"))?;
    value.cast_exact::<PyBool>().ok().map(|value| value.is_true())
}

/// Puts the shortcuts in their places.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<PyWorkspace>();
    shortcut::of_method::<Way<BLOCK_IN>>(&class, "__enter__")?;
    shortcut::of_method::<Way<BLOCK_OUT>>(&class, "__exit__")?;
    shortcut::of_method::<Way<SCOPE_IN>>(&class, "notify_scope_entered")
}
