//! Which task runs in the calling thread, and an awaitable that has nothing to wait for.
//!
//! asyncio is asked, and only where a task has scopes of its own. A context variable would not do: a
//! child task and a callback inherit the context of their maker, and tasks may share one.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyWeakrefReference;

use super::error::to_pyerr;
use super::foreign;
use crate::registry::{self, Task, TaskId};
use crate::{Error, Facts};

const NO_TASK: &str = "`async with` gives its scope to the asyncio task that runs, and none runs here; \
                       write `with ws.notify_scope_entered():`";

static ASYNCIO: PyOnceLock<Asyncio> = PyOnceLock::new();

/// The tasks that have, or had, scopes of their own, by address: good until the task dies.
static KNOWN: LazyLock<Mutex<HashMap<usize, Known>>> = LazyLock::new(Mutex::default);

struct Known {
    id: TaskId,
    /// Calls its `Farewell` when the task dies.
    _weak: Py<PyWeakrefReference>,
}

fn known() -> MutexGuard<'static, HashMap<usize, Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held by the weak reference to a task: with it the core's task ends.
#[pyclass(frozen)]
struct Farewell {
    address: usize,
    _task: Task,
}

#[pymethods]
impl Farewell {
    fn __call__(&self, _weak: &Bound<'_, PyAny>) {
        let dead = known().remove(&self.address);
        drop(dead);
    }
}

/// `asyncio.current_task()` in two steps, in C all the way: between lines of Python a signal could
/// strike.
struct Asyncio {
    running_loop: Py<PyAny>,
    task_of: Py<PyAny>,
}

impl Asyncio {
    fn find(py: Python<'_>) -> PyResult<Self> {
        let asyncio = py.import("_asyncio")?;
        let task_of = match asyncio.getattr_opt("current_task")? {
            Some(function) => function,
            None => asyncio.getattr("_current_tasks")?.getattr("get")?, // CPython 3.11
        };
        let running_loop = asyncio.getattr("_get_running_loop")?.unbind();
        Ok(Self { running_loop, task_of: task_of.unbind() })
    }
}

fn running(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let asyncio = ASYNCIO.get_or_try_init(py, || Asyncio::find(py))?;
    let running_loop = foreign::call(asyncio.running_loop.bind(py), (), None)?;
    if running_loop.is_none() {
        return Ok(None);
    }
    let task = foreign::call(asyncio.task_of.bind(py), (running_loop,), None)?;
    Ok((!task.is_none()).then_some(task))
}

/// The task that runs, if it has, or had, scopes of its own.
pub fn find() -> Option<TaskId> {
    let address = Python::try_attach(|py| running(py).ok().flatten().map(|t| t.as_ptr().addr()));
    known().get(&address.flatten()?).map(|task| task.id)
}

/// The refusal of `async with` where no task runs.
pub fn no_task() -> PyErr {
    let open_workspaces = Some(registry::open_workspaces());
    let facts = Box::new(Facts { open_workspaces, ..Facts::default() });
    to_pyerr(Error::Scope { reason: NO_TASK.to_owned(), facts })
}

/// The task that runs, if any, which is to have scopes of its own.
pub fn own(py: Python<'_>) -> PyResult<Option<TaskId>> {
    let Some(task) = running(py)? else { return Ok(None) };
    let address = task.as_ptr().addr();
    if let Some(task) = known().get(&address) {
        return Ok(Some(task.id));
    }
    let core = Task::new().map_err(to_pyerr)?;
    let id = core.id();
    let farewell = Bound::new(py, Farewell { address, _task: core })?;
    let weak = PyWeakrefReference::new_with(&task, farewell)?.unbind();
    let old = known().insert(address, Known { id, _weak: weak });
    drop(old);
    Ok(Some(id))
}

/// What `__aenter__` and `__aexit__` return: their work is done at the call, so that nothing can come
/// between.
#[pyclass(frozen)]
pub struct Done {
    value: Py<PyAny>,
}

impl Done {
    pub fn new(value: Py<PyAny>) -> Self {
        Self { value }
    }
}

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<()> {
        Err(PyStopIteration::new_err((self.value.clone_ref(py),)))
    }
}
