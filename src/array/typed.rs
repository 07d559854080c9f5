//! The arrays of a Rust user: handles with element type and shape, read and written inside closures.

use super::{Buffer, Destination, Root};
use crate::error::{Error, Result, Validity};
use crate::layout::{Dtype, Element, byte_size};
use crate::registry;
use crate::sync::Ordering;
use crate::workspace::Workspace;

/// An array of a Rust user: a handle on a buffer, with element type and shape, in C order.
///
/// The workspace owns the memory. Clones and views share it and its validity.
#[derive(Clone, Debug)]
pub struct Array {
    buffer: Buffer,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
}

/// The result of a copy-like operation that may leave every workspace.
#[derive(Clone, Debug)]
pub enum Moved<T> {
    /// Still (or newly) in a workspace.
    Attached(Array),
    /// Plain values, in C order.
    Detached(Vec<T>),
}

impl Array {
    pub(crate) fn allocate(
        workspace: &Workspace,
        dtype: Dtype,
        shape: &[usize],
        zeroed: bool,
    ) -> Result<Self> {
        let bytes = byte_size(shape, dtype.itemsize()).ok_or_else(|| Error::Shape {
            reason: format!("shape {shape:?} of {} is larger than the address space", dtype.name()),
        })?;
        let buffer = workspace.allocate(bytes, zeroed)?;
        Ok(Self { buffer, dtype, shape: shape.to_vec(), start: 0 })
    }

    /// Its memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Generation of its workspace at its birth.
    pub fn generation_id(&self) -> u64 {
        self.buffer.generation_id()
    }

    /// The workspace that owns its memory.
    pub fn workspace(&self) -> &Workspace {
        self.buffer.workspace()
    }

    /// Whether the memory is still its own, and if not, why.
    pub fn validity(&self) -> Validity {
        self.buffer.validity()
    }

    /// Whether it may be used.
    pub fn is_in_scope(&self) -> bool {
        self.validity() == Validity::Valid
    }

    /// Lends the elements, in C order, while `f` runs. Refused while somebody writes.
    pub fn read<T: Element, R>(&self, f: impl FnOnce(&[T]) -> R) -> Result<R> {
        self.check_dtype::<T>()?;
        let lease = self.buffer.clone().hold().map_err(|e| self.name(*e, "read"))?;
        let borrow = Reading::begin(&self.buffer)?;
        let result = lease.block().read(self.offset(), self.size(), f);
        drop(borrow);
        Ok(result)
    }

    /// Lends the elements to write, in C order, while `f` runs. Refused while anybody else looks:
    /// readers, writers, memory lent to Python.
    pub fn write<T: Element, R>(&self, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
        self.check_dtype::<T>()?;
        let lease = self.buffer.clone().hold().map_err(|e| self.name(*e, "write"))?;
        let borrow = Writing::begin(&self.buffer)?;
        let result = lease.block().write(self.offset(), self.size(), f);
        drop(borrow);
        Ok(result)
    }

    /// The elements as values of their own, in C order.
    pub fn detach<T: Element>(&self) -> Result<Vec<T>> {
        self.check_dtype::<T>()?;
        self.check("detach")?;
        self.read(<[T]>::to_vec)
    }

    /// The same memory in another shape.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        self.check("reshape")?;
        if byte_size(shape, 1) != Some(self.size()) {
            let reason = format!("cannot reshape {:?} into {shape:?}", self.shape);
            return Err(Error::Shape { reason });
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// The `i`-th part along the first axis: the same memory.
    pub fn row(&self, i: usize) -> Result<Self> {
        self.check("row")?;
        let Some((&rows, rest)) = self.shape.split_first().filter(|(rows, _)| i < **rows) else {
            let reason = format!("no row {i} in shape {:?}", self.shape);
            return Err(Error::Shape { reason });
        };
        debug_assert!(rows > 0);
        let stride = rest.iter().product::<usize>() * self.dtype.itemsize();
        Ok(Self { shape: rest.to_vec(), start: self.start + i * stride, ..self.clone() })
    }

    /// A copy in the current workspace, or plain values if there is none.
    pub fn dup<T: Element>(&self) -> Result<Moved<T>> {
        self.check("dup")?;
        let to =
            registry::current_workspace().map_or(Destination::Detached, Destination::Workspace);
        self.carry(to)
    }

    /// A copy in the parent of the current workspace (see `INDArray.leverage`).
    pub fn leverage<T: Element>(&self) -> Result<Moved<T>> {
        let to = self.buffer.leverage().map_err(|e| self.name(e, "leverage"))?;
        self.carry(to)
    }

    /// A copy in the workspace of that id; itself if it lies there already, or if there is none and
    /// existence is not enforced.
    pub fn leverage_to(&self, id: &str, enforce_existence: bool) -> Result<Self> {
        let to = self.buffer.leverage_to(id, enforce_existence);
        match to.map_err(|e| self.name(e, "leverage_to"))? {
            Destination::Workspace(target) => self.copy_to(&target),
            Destination::Itself | Destination::Detached => Ok(self.clone()),
        }
    }

    /// A copy in the workspace of that id if it is open, else plain values.
    pub fn leverage_or_detach<T: Element>(&self, id: &str) -> Result<Moved<T>> {
        let to = self.buffer.leverage_or_detach(id);
        let to = to.map_err(|e| self.name(e, "leverage_or_detach"))?;
        self.carry(to)
    }

    /// A copy in the current workspace; without one itself, or plain values.
    pub fn migrate<T: Element>(&self, detach_on_no_workspace: bool) -> Result<Moved<T>> {
        let to = self.buffer.migrate(detach_on_no_workspace);
        let to = to.map_err(|e| self.name(e, "migrate"))?;
        self.carry(to)
    }

    /// Follows the decision about where a copy goes.
    pub(crate) fn carry<T: Element>(&self, to: Destination) -> Result<Moved<T>> {
        self.check_dtype::<T>()?;
        match to {
            Destination::Itself => Ok(Moved::Attached(self.clone())),
            Destination::Detached => self.detach().map(Moved::Detached),
            Destination::Workspace(target) => self.copy_to(&target).map(Moved::Attached),
        }
    }

    fn copy_to(&self, target: &Workspace) -> Result<Self> {
        // Held first: the copy must not take the source's place in a ring.
        let from = self.buffer.clone().hold().map_err(|e| self.name(*e, "copy"))?;
        let _reading = Reading::begin(&self.buffer)?;
        let copy = Self::allocate(target, self.dtype, &self.shape, false)?;
        let bytes = self.size() * self.dtype.itemsize();
        let to = copy.buffer.clone().hold()?;
        from.block().read::<u8, _>(self.offset(), bytes, |source| {
            to.block()
                .write::<u8, _>(copy.offset(), bytes, |target| target.copy_from_slice(source));
        });
        Ok(copy)
    }

    fn offset(&self) -> u64 {
        self.buffer.0.cut.offset + self.start as u64
    }

    fn check(&self, operation: &str) -> Result<()> {
        self.buffer.check().map_err(|e| self.name(e, operation))
    }

    fn check_dtype<T: Element>(&self) -> Result<()> {
        let as_bytes = (T::DTYPE, self.dtype) == (Dtype::U8, Dtype::Bool);
        if T::DTYPE == self.dtype || as_bytes {
            return Ok(());
        }
        Err(Error::Dtype { found: self.dtype.name(), expected: T::DTYPE.name() })
    }

    fn name(&self, error: Error, operation: &str) -> Error {
        error.in_operation(operation, "self").of_array(&self.shape, self.dtype.name())
    }
}

/// A reader's atomic borrow on the root.
struct Reading<'a>(&'a Root);

impl<'a> Reading<'a> {
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        let root = &*buffer.0;
        let more = |n: isize| (n >= 0).then_some(n + 1);
        match root.borrow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
            Ok(_) => Ok(Self(root)),
            Err(_) => Err(Error::Borrowed { reason: "a `write` closure has it" }),
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.borrow.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A writer's.
struct Writing<'a>(&'a Root);

impl<'a> Writing<'a> {
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        let root = &*buffer.0;
        if root.borrow.compare_exchange(0, -1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(Error::Borrowed { reason: "another closure has it" });
        }
        let writing = Self(root);
        // The lease that `write` itself holds counts one.
        if buffer.lease_count() > 1 {
            return Err(Error::Borrowed { reason: "a view of it is lent out" });
        }
        Ok(writing)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.borrow.store(0, Ordering::SeqCst);
    }
}
