//! What fast paths share: the switch that turns them off, dtypes and shapes that need no questions.
//!
//! Behind each fast path stands the general one, which gives the same bits, dtypes and messages.
//! `NDARENA_FAST=0` in the environment, read at import, leaves the general paths alone.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};

use super::handle::WorkspaceArray;
use super::holding::{self, Found, Piece};
use super::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, Ndarray};
use super::numbers::Number;
use super::seen::Seen;
use super::view;
use crate::{Workspace, registry};

static ON: AtomicBool = AtomicBool::new(true);

/// Whether fast paths are taken.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Turns fast paths on or off; whether they were on.
#[pyfunction(name = "_set_fast_paths")]
fn set_fast_paths(on: bool) -> bool {
    ON.swap(on, Ordering::Relaxed)
}

/// Reads the environment, and adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let is_off = std::env::var_os("NDARENA_FAST").is_some_and(|value| value == "0");
    ON.store(!is_off, Ordering::Relaxed);
    module.add_function(wrap_pyfunction!(set_fast_paths, module)?)
}

/// Room for the lengths of a shape. They stay where they are written: what is written one by one and moved as a
/// whole makes the processor wait.
type Lengths = [isize; 8];

/// The shape that an int means, or a tuple of a few, none of them negative.
#[inline]
fn shape_of<'a>(asked: &Bound<'_, PyAny>, lengths: &'a mut Lengths) -> Option<&'a [isize]> {
    let Ok(tuple) = asked.cast_exact::<PyTuple>() else {
        lengths[0] = plain_length(asked)?;
        return lengths.get(..1);
    };
    for (length, item) in lengths.iter_mut().zip(tuple.iter_borrowed()) {
        *length = plain_length(&item)?;
    }
    lengths.get(..tuple.len())
}

/// Bytes of all elements; `None` if there are none, or too many.
#[inline]
pub fn bytes(shape: &[isize], itemsize: isize) -> Option<usize> {
    let bytes = shape.iter().try_fold(itemsize, |bytes, &n| bytes.checked_mul(n))?;
    usize::try_from(bytes).ok().filter(|&bytes| bytes > 0)
}

#[inline]
fn plain_length(item: &Bound<'_, PyAny>) -> Option<isize> {
    if !item.is_exact_instance_of::<PyInt>() {
        return None;
    }
    item.extract().ok().filter(|&n: &isize| n >= 0)
}

/// Whether arrays of the workspace can be made without looking at special cases. While it is open, the
/// calling thread alone can end what was made in it.
#[inline]
fn is_plain(workspace: &Workspace) -> bool {
    is_on() && workspace.is_scope_active() && !workspace.is_debug() && !workspace.is_dummy()
}

/// The workspace that new arrays go to, if they can be made without looking at special cases.
#[inline]
pub fn current() -> Option<Workspace> {
    if is_on() { registry::current_workspace().filter(is_plain) } else { None }
}

/// Whether that is the one.
pub fn is_here(workspace: &Workspace) -> bool {
    current().is_some_and(|current| current == *workspace)
}

/// New memory in the current workspace, if `test` has nothing against it.
#[inline(always)]
pub fn piece_here(bytes: usize, test: impl FnOnce(&Workspace) -> bool) -> Option<Piece> {
    holding::cut_here(bytes, |workspace| is_plain(workspace) && test(workspace))
}

/// A new packed array of numbers in the current workspace; `None`: the general path.
#[inline]
pub fn array<'py>(
    py: Python<'py>,
    number: &'static Number,
    shape: &[isize],
    fortran: bool,
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    let Some(bytes) = bytes(shape, number.item.size) else { return Ok(None) };
    let Some(piece) = piece_here(bytes, |_| true) else { return Ok(None) };
    WorkspaceArray::packed(py, piece, number, shape, fortran).map(Some)
}

/// More bytes are copied by NumPy, while other threads have the interpreter.
const SHORT: usize = 1 << 20;

/// A copy of an object that is a packed array of numbers.
pub fn array_of<'py>(
    workspace: &Workspace,
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(source) = Seen::in_place(object)? else { return Ok(None) };
    Ok(copy_of(workspace, &source)?.map(Bound::into_any))
}

/// A copy of a packed array of numbers, in its order.
pub fn copy<'py>(
    workspace: &Workspace,
    source: &Ndarray<'py>,
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    copy_of(workspace, &Seen::Plain(source))
}

fn copy_of<'py>(
    workspace: &Workspace,
    source: &Seen<'_, 'py>,
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    let (item, flags) = (source.item(), source.flags());
    let is_packed = flags & (C_CONTIGUOUS | F_CONTIGUOUS) != 0 && flags & ALIGNED != 0;
    let has_room = is_plain(workspace) && workspace.is_own();
    let number = Number::of(source.py(), item.type_num)?;
    let number = number.filter(|number| source.has_dtype(number.dtype(source.py())));
    let (Some(number), true, true) = (number, is_packed, has_room) else { return Ok(None) };
    let Some(axes) = source.few_axes() else { return Ok(None) };
    let Some(bytes) = bytes(axes.shape(), item.size).filter(|&bytes| bytes <= SHORT) else {
        return Ok(None);
    };
    let fortran = flags & C_CONTIGUOUS == 0;
    let Some(piece) = holding::cut(workspace, bytes, false) else { return Ok(None) };
    let copy = WorkspaceArray::packed(source.py(), piece, number, axes.shape(), fortran)?;
    Ok(view::copy_packed(source, copy.get().form()).map(|()| copy))
}

/// `empty` or `zeros`, of a shape and a dtype that need no questions, in C order.
#[inline]
pub fn empty<'py>(
    workspace: &Workspace,
    shape: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    zeroed: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !(is_plain(workspace) && workspace.is_own()) {
        return Ok(None);
    }
    empty_of(workspace, shape, dtype, zeroed)
}

/// The same in a workspace that was found before.
#[inline]
pub fn empty_found<'py>(
    found: &Found,
    shape: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    zeroed: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    empty_of(found, shape, dtype, zeroed)
}

/// What memory is cut from, when all questions are answered. No closure, to be a part of who asks.
trait Room {
    fn cut(&self, py: Python<'_>, bytes: usize, zeroed: bool) -> Option<Piece>;
}

impl Room for Workspace {
    #[inline(always)]
    fn cut(&self, _py: Python<'_>, bytes: usize, zeroed: bool) -> Option<Piece> {
        holding::cut(self, bytes, zeroed)
    }
}

impl Room for Found {
    #[inline(always)]
    fn cut(&self, py: Python<'_>, bytes: usize, zeroed: bool) -> Option<Piece> {
        Self::cut(self, py, (bytes, zeroed), is_plain)
    }
}

#[inline(always)]
fn empty_of<'py>(
    room: &impl Room,
    shape: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    zeroed: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = shape.py();
    let mut lengths = [0; 8];
    let Some(shape) = shape_of(shape, &mut lengths) else { return Ok(None) };
    let Some(number) = Number::meant_by(py, dtype)? else { return Ok(None) };
    let Some(bytes) = bytes(shape, number.item.size) else { return Ok(None) };
    let Some(piece) = room.cut(py, bytes, zeroed) else { return Ok(None) };
    Ok(Some(WorkspaceArray::packed(py, piece, number, shape, false)?.into_any()))
}
