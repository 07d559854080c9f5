//! `WorkspaceArray`, the handle: a piece of workspace memory with a shape, checked on every use.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use super::error::to_pyerr;
use super::foreign;
use super::naming::Call;
use super::npy::{self, Layout, Ndarray};
use super::{order, view};
use crate::array::Cut;
use crate::latch::Latch;
use crate::{Buffer, Error, Facts, Lease, Validity, Workspace, registry};

/// An array in the memory of a workspace, with NumPy's surface, valid while its generation is.
///
/// It is a container, not a subclass of `numpy.ndarray`: every use first asks whether the memory
/// is still its own, and raises `StaleArrayError` if it is not.
#[pyclass(frozen, sequence, weakref, name = "WorkspaceArray", module = "ndarena")]
#[repr(C)]
pub struct WorkspaceArray {
    /// Where an unchecked cast to `PyArrayObject` would read data, shape, strides and flags, it
    /// finds null, no axes, and no flag set: neither contiguous nor writeable.
    _blank: [usize; 7],
    memory: Latch<Memory>,
    workspace: Workspace,
    generation: u64,
    /// See `Cut::valid_at`; `NEVER` where there is no such time, and once the handle is closed.
    valid_at: AtomicU64,
    template: Py<PyAny>,
}

/// An array, and its handle if it is one of ours.
pub type InPlace<'a, 'py> = (&'a Ndarray<'py>, Option<&'a Bound<'py, WorkspaceArray>>);

const NEVER: u64 = u64::MAX;

enum Memory {
    /// Nobody else has it.
    Own(Cut),
    /// Others may have it: views of this array, leases.
    Shared(Buffer),
    Closed {
        created_at: Option<String>,
    },
}

impl WorkspaceArray {
    /// A handle on the part of `buffer` that `layout` describes.
    pub fn new<'py>(
        py: Python<'py>,
        buffer: Buffer,
        layout: &Layout<'_, 'py>,
    ) -> PyResult<Bound<'py, Self>> {
        let template = view::template(py, &buffer, layout)?;
        let (generation, valid_at) = (buffer.generation_id(), buffer.valid_at());
        let workspace = buffer.workspace().clone();
        Self::bind(workspace, Memory::Shared(buffer), (generation, valid_at), template)
    }

    /// A handle on all of `cut`, which has room for a packed array of that dtype, a number's, and shape.
    #[inline(always)]
    pub(crate) fn of_cut<'py>(
        workspace: Workspace,
        cut: Cut,
        number: (Bound<'py, PyAny>, isize),
        shape: &[isize],
        fortran: bool,
    ) -> PyResult<Bound<'py, Self>> {
        match view::packed((cut.address(), cut.len()), number, shape, fortran) {
            Ok(template) => {
                let times = (cut.generation_id(), cut.valid_at(&workspace));
                Self::bind(workspace, Memory::Own(cut), times, template)
            }
            Err(error) => {
                workspace.die(&cut);
                Err(error)
            }
        }
    }

    #[inline(always)]
    fn bind(
        workspace: Workspace,
        memory: Memory,
        (generation, valid_at): (u64, Option<u64>),
        template: Ndarray<'_>,
    ) -> PyResult<Bound<'_, Self>> {
        let py = template.object().py();
        let array = Self {
            _blank: [0; 7],
            memory: Latch::new(memory),
            workspace,
            generation,
            valid_at: AtomicU64::new(valid_at.unwrap_or(NEVER)),
            template: template.into_object().unbind(),
        };
        // Whoever looked at operands has not used them yet, and nobody has seen the new memory.
        foreign::undisturbed(py, || Bound::new(py, array))
    }

    /// Whether the memory is its own until other code runs: the calling thread, which alone ends the
    /// running cycle, is here. `false` says nothing.
    #[inline]
    pub fn is_at_hand(&self) -> bool {
        self.is_valid_now() && self.workspace.is_own()
    }

    /// The same, asked by the thread of that number.
    #[inline]
    pub fn is_at_hand_of(&self, thread: u64) -> bool {
        self.is_valid_now() && self.workspace.is_of(thread)
    }

    #[inline]
    fn is_valid_now(&self) -> bool {
        self.workspace.clock().now() == self.valid_at.load(Ordering::Relaxed)
    }

    /// The array that an object is, to be touched in place until other code runs, and its handle if it is
    /// one of ours; `None` if it is no array, or not at hand.
    #[inline]
    pub fn in_place<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<Option<InPlace<'a, 'py>>> {
        match object.cast_exact::<Self>() {
            Ok(ours) if ours.get().is_at_hand() => {
                Ok(Some((ours.get().template(object.py())?, Some(ours))))
            }
            Ok(_) => Ok(None),
            Err(_) => Ok(Ndarray::seen(object)?.map(|array| (array, None))),
        }
    }

    /// Shape, strides and dtype; works after the end too, and must never reach a user.
    #[inline]
    pub fn template<'a, 'py>(&'a self, py: Python<'py>) -> PyResult<&'a Ndarray<'py>> {
        let template = Ndarray::seen(self.template.bind(py))?;
        template.ok_or_else(|| PyTypeError::new_err("the handle holds no array"))
    }

    /// From now on its views refuse writing; for a handle that nobody has yet.
    pub fn make_read_only(&self, py: Python<'_>) -> PyResult<()> {
        self.template(py)?.object().call_method1(intern!(py, "setflags"), (false,)).map(drop)
    }

    /// The workspace in which the memory was cut.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Generation of the workspace at the birth of the array.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the memory is still the array's, and if not, why.
    pub fn validity(&self) -> Validity {
        match &*self.memory.lock() {
            Memory::Own(cut) => cut.validity(&self.workspace),
            Memory::Shared(buffer) => buffer.validity(),
            Memory::Closed { .. } => Validity::Closed,
        }
    }

    /// The memory, valid or not; an error if the handle is closed.
    pub fn buffer(&self) -> Result<Buffer, Error> {
        let mut memory = self.memory.lock();
        let created_at = match &mut *memory {
            Memory::Shared(buffer) => return Ok(buffer.clone()),
            Memory::Closed { created_at } => created_at.clone(),
            own @ Memory::Own(_) => {
                let owned = std::mem::replace(own, Memory::Closed { created_at: None });
                let Memory::Own(cut) = owned else { unreachable!("matched above") };
                let buffer = Buffer::new(self.workspace.clone(), cut);
                *own = Memory::Shared(buffer.clone());
                return Ok(buffer);
            }
        };
        drop(memory);
        let facts = Facts {
            workspace_id: Some(self.workspace.id().to_owned()),
            array_generation: Some(self.generation),
            workspace_generation: Some(self.workspace.generation_id()),
            open_workspaces: Some(registry::open_workspaces()),
            created_at,
            ..Facts::default()
        };
        Err(Error::Stale { validity: Validity::Closed, facts: Box::new(facts) })
    }

    /// Its bytes, if the handle alone has them and all of them are its own.
    pub fn sole_bytes(&self) -> Option<usize> {
        match &*self.memory.lock() {
            Memory::Own(cut) => Some(cut.len()),
            Memory::Shared(buffer) if buffer.is_sole() => Some(buffer.len()),
            Memory::Shared(_) | Memory::Closed { .. } => None,
        }
    }

    /// Ends this handle; what others hold on the memory stays.
    pub fn close(&self) {
        let mut memory = self.memory.lock();
        let created_at = match &*memory {
            Memory::Own(cut) => cut.created_at().map(str::to_owned),
            Memory::Shared(buffer) => buffer.created_at().map(str::to_owned),
            Memory::Closed { .. } => return,
        };
        self.valid_at.store(NEVER, Ordering::Relaxed);
        let ended = std::mem::replace(&mut *memory, Memory::Closed { created_at });
        drop(memory);
        if let Memory::Own(cut) = ended {
            self.workspace.die(&cut);
        }
    }

    /// The array as NumPy may see it, for as long as NumPy wants it, and its memory.
    pub fn lend<'py>(&self, py: Python<'py>) -> PyResult<Result<(Ndarray<'py>, Buffer), Error>> {
        match self.lease() {
            Ok(lease) => {
                let buffer = lease.buffer().clone();
                Ok(Ok((view::leased(self.template(py)?, lease)?, buffer)))
            }
            Err(error) => Ok(Err(self.described(py, error)?)),
        }
    }

    fn lease(&self) -> Result<Lease, Error> {
        Ok(self.buffer()?.into_lease()?)
    }

    /// A leased view for `operation`, which this array is the `self` of.
    pub fn lend_for<'py>(&self, py: Python<'py>, operation: &str) -> PyResult<Ndarray<'py>> {
        match self.lease() {
            Ok(lease) => view::leased(self.template(py)?, lease),
            Err(error) => Err(to_pyerr(self.described(py, error)?.in_operation(operation, "self"))),
        }
    }

    /// The error, with the facts of this array in it.
    pub fn described(&self, py: Python<'_>, error: Error) -> PyResult<Error> {
        let template = self.template(py)?;
        let shape: Vec<usize> = template.shape().iter().map(|n| n.unsigned_abs()).collect();
        let dtype = template.dtype()?.str()?;
        Ok(error.of_array(&shape, &dtype.to_string_lossy()))
    }
}

impl Drop for WorkspaceArray {
    #[inline]
    fn drop(&mut self) {
        if let Memory::Own(cut) = self.memory.get_mut() {
            self.workspace.die(cut);
        }
    }
}

/// How a new array shall be laid out.
pub struct Plan<'a, 'py> {
    pub dtype: &'a Bound<'py, PyAny>,
    pub shape: &'a [isize],
    pub strides: &'a [isize],
    pub zeroed: bool,
}

/// A new array in `workspace`.
pub fn allocate<'py>(
    workspace: &Workspace,
    plan: &Plan<'_, 'py>,
    call: &Call<'_, 'py>,
) -> PyResult<Bound<'py, WorkspaceArray>> {
    let py = plan.dtype.py();
    let site = if workspace.is_debug() { calling_line(py)? } else { None };
    let buffer = workspace.allocate_at(plan.bytes()?, plan.zeroed, site);
    plan.handle_on(buffer.map_err(|error| plan.refused(error, call))?)
}

/// New arrays in `workspace`: all of them, or none.
pub fn allocate_all<'py>(
    workspace: &Workspace,
    plans: &[Plan<'_, 'py>],
    call: &Call<'_, 'py>,
) -> PyResult<Vec<Bound<'py, WorkspaceArray>>> {
    let [first, _, ..] = plans else {
        return plans.iter().map(|plan| allocate(workspace, plan, call)).collect();
    };
    let site = if workspace.is_debug() { calling_line(first.dtype.py())? } else { None };
    let sizes = plans.iter().map(Plan::bytes).collect::<PyResult<Vec<_>>>()?;
    let buffers = workspace.allocate_all(&sizes, site.as_deref());
    let buffers = buffers.map_err(|(error, i)| plans[i].refused(error, call))?;
    plans.iter().zip(buffers).map(|(plan, buffer)| plan.handle_on(buffer)).collect()
}

impl<'py> Plan<'_, 'py> {
    fn bytes(&self) -> PyResult<usize> {
        order::byte_size(self.shape, npy::item(self.dtype)?.size).ok_or_else(too_big)
    }

    fn handle_on(&self, buffer: Buffer) -> PyResult<Bound<'py, WorkspaceArray>> {
        // NumPy's way where there are no bytes: no step leads anywhere.
        let still = vec![0; self.shape.len()];
        let layout = Layout {
            dtype: self.dtype,
            shape: self.shape,
            strides: if buffer.is_empty() { &still } else { self.strides },
            data: std::ptr::with_exposed_provenance_mut(buffer.address()),
            writeable: true,
        };
        WorkspaceArray::new(self.dtype.py(), buffer, &layout)
    }

    fn refused(&self, error: Error, call: &Call<'_, 'py>) -> PyErr {
        let shape: Vec<usize> = self.shape.iter().map(|n| n.unsigned_abs()).collect();
        match self.dtype.str() {
            Ok(dtype) => {
                let error = error.in_call(&call.operation());
                to_pyerr(error.of_array(&shape, &dtype.to_string_lossy()))
            }
            Err(failed) => failed,
        }
    }
}

fn too_big() -> PyErr {
    PyValueError::new_err(
        "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size.",
    )
}

/// `file:line` of the Python code that runs.
fn calling_line(py: Python<'_>) -> PyResult<Option<String>> {
    let Ok(frame) = py.import("sys")?.call_method1("_getframe", (0,)) else {
        return Ok(None);
    };
    let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
    let line: usize = frame.getattr("f_lineno")?.extract()?;
    Ok(Some(format!("{file}:{line}")))
}

/// Whether elements of this type hold references, which workspace memory cannot.
pub fn has_references(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(npy::item(dtype)?.has_references)
}
