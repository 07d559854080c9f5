//! Arrays on the move: detach, leverage, migrate, dup and cast, as methods and as functions.
//!
//! Where an array goes is decided by the core; here it is copied.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;

use super::arguments::{self, Casting, Id, Order};
use super::array::detached;
use super::create::refuse_references;
use super::error::to_pyerr;
use super::foreign;
use super::handle::{WorkspaceArray, has_references};
use super::naming::Call;
use super::npy::{Ndarray, item, numpy};
use super::place::{Operands, copy_as, copy_into};
use crate::{Buffer, Destination, Error, registry};

type Slf<'a, 'py> = &'a Bound<'py, WorkspaceArray>;
type Any<'a, 'py> = &'a Bound<'py, PyAny>;
type Object<'py> = PyResult<Bound<'py, PyAny>>;

#[pymethods]
impl WorkspaceArray {
    /// An independent plain array.
    #[pyo3(name = "detach")]
    fn detach_method<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        detached(slf, "detach")
    }

    /// A copy in the parent of the current workspace.
    #[pyo3(name = "leverage")]
    fn leverage_method<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        moved(slf, "leverage", Buffer::leverage)
    }

    /// A copy in the named workspace.
    #[pyo3(name = "leverage_to", signature = (id, enforce_existence = false))]
    fn leverage_to_method<'py>(
        slf: Slf<'_, 'py>,
        id: Id<'_>,
        #[pyo3(from_py_with = arguments::enforce_existence)] enforce_existence: bool,
    ) -> Object<'py> {
        moved(slf, "leverage_to", |buffer| buffer.leverage_to(&id, enforce_existence))
    }

    /// A copy in the named workspace, or a plain one if it is not open.
    #[pyo3(name = "leverage_or_detach")]
    fn leverage_or_detach_method<'py>(slf: Slf<'_, 'py>, id: Id<'_>) -> Object<'py> {
        moved(slf, "leverage_or_detach", |buffer| buffer.leverage_or_detach(&id))
    }

    /// A copy in the current workspace.
    #[pyo3(name = "migrate", signature = (detach_on_no_workspace = false))]
    fn migrate_method<'py>(
        slf: Slf<'_, 'py>,
        #[pyo3(from_py_with = arguments::detach_on_no_workspace)] detach_on_no_workspace: bool,
    ) -> Object<'py> {
        moved(slf, "migrate", |buffer| buffer.migrate(detach_on_no_workspace))
    }

    /// A copy in the current workspace, or a plain one.
    #[pyo3(name = "dup", signature = (order = None))]
    fn dup_method<'py>(slf: Slf<'_, 'py>, order: Option<Order<'_>>) -> Object<'py> {
        duplicate(&slf.get().lend_for(slf.py(), "dup")?, order.as_deref())
    }

    /// The same as `dup`; unlike `numpy.ndarray.copy` it keeps the memory order.
    #[pyo3(signature = (order = None))]
    fn copy<'py>(slf: Slf<'_, 'py>, order: Option<Order<'_>>) -> Object<'py> {
        duplicate(&slf.get().lend_for(slf.py(), "copy")?, order.as_deref())
    }

    fn __copy__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        duplicate(&slf.get().lend_for(slf.py(), "copy")?, None)
    }

    /// A zero-copy plain view; while it lives, its memory is never given to anybody else.
    fn numpy<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        Ok(slf.get().lend_for(slf.py(), "numpy")?.into_object())
    }

    /// The array itself if it has that dtype, else a copy that has it.
    #[pyo3(name = "cast_to")]
    fn cast_to_method<'py>(slf: Slf<'_, 'py>, dtype: Any<'_, 'py>) -> Object<'py> {
        cast(slf.as_any(), &slf.get().lend_for(slf.py(), "cast_to")?, dtype)
    }

    /// `numpy.ndarray.astype`.
    #[pyo3(
        signature = (
            dtype, order = Order("K"), casting = Casting("unsafe"), subok = true, copy = true
        ),
        text_signature = "($self, dtype, order='K', casting='unsafe', subok=True, copy=True)"
    )]
    fn astype<'py>(
        slf: Slf<'_, 'py>,
        dtype: Any<'_, 'py>,
        order: Order<'_>,
        casting: Casting<'_>,
        subok: bool,
        copy: bool,
    ) -> Object<'py> {
        let py = slf.py();
        let call = Call::Method("astype");
        let mut operands = Operands::new(py, call);
        let view = operands.add_self(slf)?;
        if let (Some(workspace), "K" | "k", true, Some(dtype)) =
            (registry::current_workspace(), &*order, copy, plain_number(dtype)?)
        {
            return Ok(copy_as(&workspace, &view, (&dtype, &casting), &call)?.into_any());
        }
        let args = (dtype, &*order, &*casting, subok, copy);
        operands.settle(foreign::call_method(view.object(), "astype", args, None)?)
    }
}

/// The dtype if it says by itself how many bytes an element takes.
pub(super) fn plain_number<'py>(dtype: Any<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = dtype.py();
    let dtype = numpy(py)?.call_method1(intern!(py, "dtype"), (dtype,))?;
    let kind = item(&dtype)?.kind;
    Ok(matches!(kind, 'b' | 'i' | 'u' | 'f' | 'c').then_some(dtype))
}

/// Follows the core's decision about where an array goes.
fn moved<'py>(
    slf: Slf<'_, 'py>,
    operation: &str,
    decide: impl FnOnce(&Buffer) -> Result<Destination, Error>,
) -> Object<'py> {
    let py = slf.py();
    // Checked first, and leased until the copy is made.
    let view = slf.get().lend_for(py, operation)?;
    let destination = slf.get().buffer(py).and_then(|buffer| decide(&buffer));
    let destination = destination.or_else(|error| {
        let error = slf.get().described(py, error)?;
        Err(to_pyerr(error.in_operation(operation, "self")))
    })?;
    match destination {
        Destination::Itself => Ok(slf.clone().into_any()),
        Destination::Detached => detached(slf, operation),
        Destination::Workspace(workspace) => {
            Ok(copy_into(&workspace, &view, &Call::Method(operation))?.into_any())
        }
    }
}

/// A copy in the current workspace, or a plain one if there is none.
fn duplicate<'py>(source: &Ndarray<'py>, order: Option<&str>) -> Object<'py> {
    let workspace = registry::current_workspace();
    if let (Some(workspace), None | Some("K" | "k")) = (&workspace, order) {
        if !has_references(&source.dtype()?)? {
            return Ok(copy_into(workspace, source, &Call::Method("dup"))?.into_any());
        }
    }
    let _plain = workspace.is_none().then(registry::plain_results);
    let copy = foreign::call_method(source.object(), "copy", (order.unwrap_or("K"),), None)?;
    placed(copy)
}

/// A fresh plain array, moved into the current workspace if there is one.
fn placed(fresh: Bound<'_, PyAny>) -> Object<'_> {
    Operands::new(fresh.py(), Call::Method("dup")).settle(fresh)
}

/// `array` itself if it has that dtype, else a copy in the current workspace.
fn cast<'py>(array: Any<'_, 'py>, view: &Ndarray<'py>, dtype: Any<'_, 'py>) -> Object<'py> {
    let py = array.py();
    let dtype = numpy(py)?.call_method1(intern!(py, "dtype"), (dtype,))?;
    if view.dtype()?.eq(&dtype)? {
        return Ok(array.clone());
    }
    let Some(workspace) = registry::current_workspace() else {
        let _plain = registry::plain_results();
        return foreign::call_method(view.object(), "astype", (dtype,), None);
    };
    match plain_number(&dtype)? {
        Some(number) if !has_references(&view.dtype()?)? => {
            Ok(copy_as(&workspace, view, (&number, "unsafe"), &Call::Method("cast_to"))?.into_any())
        }
        _ => placed(foreign::call_method(view.object(), "astype", (dtype,), None)?),
    }
}

/// A plain array, of whatever class.
fn plain<'py>(array: Any<'_, 'py>) -> Object<'py> {
    let py = array.py();
    if array.is_instance(&numpy(py)?.getattr(intern!(py, "ndarray"))?)? {
        return Ok(array.clone());
    }
    let kind = array.get_type();
    Err(PyTypeError::new_err(format!("expected a WorkspaceArray or an ndarray, got {kind}")))
}

/// A plain array as exactly an ndarray.
pub(super) fn plain_view<'py>(array: Any<'_, 'py>) -> PyResult<Ndarray<'py>> {
    let py = array.py();
    let view = foreign::call_method(numpy(py)?, "asarray", (plain(array)?,), None)?;
    Ndarray::exact(&view)?.ok_or_else(|| PyTypeError::new_err("asarray gave no ndarray"))
}

/// An independent plain array; a plain one is returned as it is.
#[pyfunction]
fn detach<'py>(array: Any<'_, 'py>) -> Object<'py> {
    match array.cast() {
        Ok(ours) => detached(ours, "detach"),
        Err(_) => plain(array),
    }
}

/// A copy in the parent of the current workspace; a plain array is returned as it is.
#[pyfunction]
fn leverage<'py>(array: Any<'_, 'py>) -> Object<'py> {
    match array.cast() {
        Ok(ours) => WorkspaceArray::leverage_method(ours),
        Err(_) => plain(array),
    }
}

/// A copy in the named workspace; a plain array is returned as it is.
#[pyfunction]
#[pyo3(signature = (array, id, enforce_existence = false))]
fn leverage_to<'py>(
    array: Any<'_, 'py>,
    id: Id<'_>,
    #[pyo3(from_py_with = arguments::enforce_existence)] enforce_existence: bool,
) -> Object<'py> {
    match array.cast() {
        Ok(ours) => WorkspaceArray::leverage_to_method(ours, id, enforce_existence),
        Err(_) => plain(array),
    }
}

/// A copy in the named workspace, or a plain one; a plain array is returned as it is.
#[pyfunction]
fn leverage_or_detach<'py>(array: Any<'_, 'py>, id: Id<'_>) -> Object<'py> {
    match array.cast() {
        Ok(ours) => WorkspaceArray::leverage_or_detach_method(ours, id),
        Err(_) => plain(array),
    }
}

/// A copy in the current workspace, of a plain array too.
#[pyfunction]
#[pyo3(signature = (array, detach_on_no_workspace = false))]
fn migrate<'py>(
    array: Any<'_, 'py>,
    #[pyo3(from_py_with = arguments::detach_on_no_workspace)] detach_on_no_workspace: bool,
) -> Object<'py> {
    if let Ok(ours) = array.cast() {
        return WorkspaceArray::migrate_method(ours, detach_on_no_workspace);
    }
    match registry::current_workspace() {
        Some(workspace) => {
            let view = plain_view(array)?;
            refuse_references(&view.dtype()?)?;
            Ok(copy_into(&workspace, &view, &Call::Method("migrate"))?.into_any())
        }
        None => plain(array),
    }
}

/// A copy in the current workspace, or a plain one.
#[pyfunction]
#[pyo3(signature = (array, order = None))]
fn dup<'py>(array: Any<'_, 'py>, order: Option<Order<'_>>) -> Object<'py> {
    match array.cast() {
        Ok(ours) => WorkspaceArray::dup_method(ours, order),
        Err(_) => duplicate(&plain_view(array)?, order.as_deref()),
    }
}

/// The array itself if it has that dtype, else a copy that has it.
#[pyfunction]
fn cast_to<'py>(array: Any<'_, 'py>, dtype: Any<'_, 'py>) -> Object<'py> {
    match array.cast() {
        Ok(ours) => WorkspaceArray::cast_to_method(ours, dtype),
        Err(_) => cast(array, &plain_view(array)?, dtype),
    }
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(detach, module)?)?;
    module.add_function(wrap_pyfunction!(leverage, module)?)?;
    module.add_function(wrap_pyfunction!(leverage_to, module)?)?;
    module.add_function(wrap_pyfunction!(leverage_or_detach, module)?)?;
    module.add_function(wrap_pyfunction!(migrate, module)?)?;
    module.add_function(wrap_pyfunction!(dup, module)?)?;
    module.add_function(wrap_pyfunction!(cast_to, module)?)
}
