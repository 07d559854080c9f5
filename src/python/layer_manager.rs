//! `LayerWorkspaceMgr` as Python sees it: convert, one question to the core, and a copy where it says.

mod builder;
mod source;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use super::arguments::{self, Key, Msg, Name, Order, wrong_type};
use super::array_type::array_type;
use super::capture;
use super::collector;
use super::config::PyWorkspaceConfiguration;
use super::create::create;
use super::error::to_pyerr;
use super::fast;
use super::faults;
use super::handle::WorkspaceArray;
use super::holding::Found;
use super::npy::numpy;
use super::scope::PyScope;
use super::shortcut::{self, Args, Shortcut};
use super::workspace::configuration_argument;
use crate::layer_manager::Located;
use crate::registry::ScopeToken;
use crate::{ArrayType, Destination, Error, LayerWorkspaceMgr, WorkspaceConfiguration};

pub use builder::PyBuilder;
use source::Source;

type Any<'a, 'py> = &'a Bound<'py, PyAny>;
type Object<'py> = PyResult<Bound<'py, PyAny>>;
type Named = (String, WorkspaceConfiguration);

static IMMUTABLE: PyOnceLock<Py<PyLayerWorkspaceMgr>> = PyOnceLock::new();

/// A configuration, which must be given.
fn configuration(given: Any<'_, '_>) -> PyResult<WorkspaceConfiguration> {
    configuration_argument(Some(given))?
        .ok_or_else(|| wrong_type(given, "configuration", "a WorkspaceConfiguration", ""))
}

/// A pair of name and configuration, or `None`.
fn workspace(given: Any<'_, '_>) -> PyResult<Option<Named>> {
    if given.is_none() {
        return Ok(None);
    }
    let Ok((name, conf)) = given.extract::<(String, Bound<'_, PyAny>)>() else {
        let shown = given.repr()?;
        return Err(PyTypeError::new_err(format!(
            "a workspace is given as (name, configuration), or None for plain arrays, not {shown}"
        )));
    };
    Ok(Some((name, configuration(&conf)?)))
}

fn borrowed(workspace: Option<&Named>) -> Option<(&str, WorkspaceConfiguration)> {
    workspace.map(|(name, configuration)| (name.as_str(), configuration.clone()))
}

/// Which workspace each kind of array lives in (DL4J: `LayerWorkspaceMgr`).
///
/// `LayerWorkspaceMgr({type: (name, configuration) | None, …}, default=None)`; types that are not named
/// get the default, and where that is `None`, plain arrays. It owns no memory: the workspaces are those
/// of the calling thread, by name.
#[pyclass(frozen, weakref, name = "LayerWorkspaceMgr", module = "ndarena")]
pub struct PyLayerWorkspaceMgr {
    core: Mutex<LayerWorkspaceMgr>,
    /// By type, the workspace in which an array was made last.
    found: [Found; ArrayType::ALL.len()],
}

impl From<LayerWorkspaceMgr> for PyLayerWorkspaceMgr {
    fn from(core: LayerWorkspaceMgr) -> Self {
        Self { core: Mutex::new(core), found: [const { Found::nothing() }; ArrayType::ALL.len()] }
    }
}

impl PyLayerWorkspaceMgr {
    fn core(&self) -> MutexGuard<'_, LayerWorkspaceMgr> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the core; the lock is given back before any Python code runs.
    fn ask<R>(
        &self,
        question: impl FnOnce(&mut LayerWorkspaceMgr) -> Result<R, Error>,
    ) -> PyResult<R> {
        let answer = question(&mut self.core());
        answer.map_err(to_pyerr)
    }

    /// Gives a type another role.
    fn change(
        &self,
        t: Any<'_, '_>,
        change: impl FnOnce(&mut LayerWorkspaceMgr, ArrayType) -> Result<(), Error>,
    ) -> PyResult<()> {
        let kind = array_type(t)?;
        self.ask(|core| change(core, kind))?;
        self.found[kind as usize].forget(t.py());
        Ok(())
    }

    /// Where `source` goes.
    fn place(
        &self,
        source: &Source<'_>,
        question: impl FnOnce(&LayerWorkspaceMgr, Located<'_>) -> Result<Destination, Error>,
    ) -> PyResult<Destination> {
        let answer = question(&self.core(), source.located());
        answer.map_err(|error| source.refused(error))
    }

    /// An array of a type in C order, if it goes to a workspace and needs no questions.
    #[inline]
    fn make_quickly<'py>(
        &self,
        operation: &str,
        (t, shape, dtype): (Any<'_, 'py>, Any<'_, 'py>, Option<Any<'_, 'py>>),
        zeroed: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let kind = array_type(t)?;
        let found = &self.found[kind as usize];
        if let Some(array) = fast::empty_found(found, shape, dtype, zeroed)? {
            return Ok(Some(array));
        }
        match self.ask(|core| core.place(operation, kind))? {
            Destination::Workspace(workspace) => {
                self.core().get_workspace_name(kind).inspect(|id| found.note(t.py(), id));
                fast::empty(&workspace, shape, dtype, zeroed)
            }
            _ => Ok(None),
        }
    }

    fn make<'py>(
        &self,
        operation: &str,
        numpy_name: &str,
        t: Any<'_, 'py>,
        args: (Any<'_, 'py>, Option<Any<'_, 'py>>, &str),
    ) -> Object<'py> {
        let kind = array_type(t)?;
        let name = (operation, numpy_name);
        let place = self.ask(|core| core.place(operation, kind))?;
        let args = args.into_pyobject(t.py())?;
        match place {
            Destination::Workspace(workspace) => create(Some(&workspace), name, &args, None),
            _ => create(None, name, &args, None),
        }
    }

    fn scope(
        &self,
        py: Python<'_>,
        open: impl FnOnce(&mut LayerWorkspaceMgr) -> Result<ScopeToken, Error>,
    ) -> PyResult<PyScope> {
        faults::at_boundary(py)?;
        let mut token = self.ask(open)?;
        if token.workspace().is_none() {
            token = capture::scope_out(py, token)?;
        }
        let scope = PyScope::new(token);
        collector::scope_entered(py)?;
        Ok(scope)
    }
}

/// `create` and `create_uninitialized` of a type, a shape and a dtype, in this order.
struct Quick<const ZEROED: bool>;

impl<const ZEROED: bool> Shortcut for Quick<ZEROED> {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINALS: [PyOnceLock<Py<PyAny>>; 2] = [const { PyOnceLock::new() }; 2];
        &ORIGINALS[usize::from(ZEROED)]
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (Ok(manager), Some(t), Some(shape), 2 | 3) =
            (slf.cast_exact::<PyLayerWorkspaceMgr>(), args.get(0), args.get(1), args.len())
        else {
            return Ok(None);
        };
        let dtype = args.get(2).filter(|dtype| !dtype.is_none());
        let operation = if ZEROED { "create" } else { "create_uninitialized" };
        manager.get().make_quickly(operation, (&t, &shape, dtype.as_deref()), ZEROED)
    }
}

/// `validate_array_location` of an array at hand that lies where arrays of its type were made last.
struct Validation;

impl Shortcut for Validation {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &ORIGINAL
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (Ok(manager), Some(t), Some(a), 2) =
            (slf.cast_exact::<PyLayerWorkspaceMgr>(), args.get(0), args.get(1), args.len())
        else {
            return Ok(None);
        };
        let Ok(array) = a.cast_exact::<WorkspaceArray>() else { return Ok(None) };
        let found = &manager.get().found[array_type(&t)? as usize];
        let array = array.get();
        let is_right = fast::is_on() && array.is_at_hand() && found.is(slf.py(), array.workspace());
        Ok(is_right.then(|| a.to_owned()))
    }
}

/// Puts the shortcuts in their places.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<PyLayerWorkspaceMgr>();
    shortcut::of_method::<Validation>(&class, "validate_array_location")?;
    shortcut::of_method::<Quick<true>>(&class, "create")?;
    shortcut::of_method::<Quick<false>>(&class, "create_uninitialized")
}

#[pymethods]
impl PyLayerWorkspaceMgr {
    #[new]
    #[pyo3(signature = (types, default = None))]
    fn new(types: Any<'_, '_>, default: Option<Any<'_, '_>>) -> PyResult<Self> {
        let mut named = Vec::new();
        let Some(items) = types.getattr_opt("items")? else {
            let wanted = "a dict of array types and (name, configuration) or None";
            return Err(wrong_type(types, "types", wanted, ""));
        };
        for item in items.call0()?.try_iter()? {
            let (t, given) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            named.push((array_type(&t)?, workspace(&given)?));
        }
        let default = default.map(workspace).transpose()?.flatten();
        let types = named.iter().map(|(t, workspace)| (*t, borrowed(workspace.as_ref())));
        Ok(LayerWorkspaceMgr::new(types, borrowed(default.as_ref())).into())
    }

    /// A builder in which nothing is configured yet.
    #[staticmethod]
    fn builder() -> PyBuilder {
        PyBuilder::default()
    }

    /// A manager without workspaces: every array is a plain one.
    #[staticmethod]
    fn no_workspaces() -> Self {
        LayerWorkspaceMgr::no_workspaces().into()
    }

    /// The one manager without workspaces that refuses every change.
    #[staticmethod]
    fn no_workspaces_immutable(py: Python<'_>) -> PyResult<Py<Self>> {
        let make = || Py::new(py, Self::from(LayerWorkspaceMgr::no_workspaces_immutable()));
        Ok(IMMUTABLE.get_or_try_init(py, make)?.clone_ref(py))
    }

    // ------------------------------------------------------------------ arrays

    /// Zeros of a type.
    #[pyo3(
        signature = (t, shape, dtype = None, order = Order("C")),
        text_signature = "($self, t, shape, dtype='float64', order='C')"
    )]
    fn create<'py>(
        &self,
        t: Any<'_, 'py>,
        shape: Any<'_, 'py>,
        dtype: Option<Any<'_, 'py>>,
        order: Order<'_>,
    ) -> Object<'py> {
        self.make("create", "zeros", t, (shape, dtype, &order))
    }

    /// An array of a type whose elements are whatever the memory held.
    #[pyo3(
        signature = (t, shape, dtype = None, order = Order("C")),
        text_signature = "($self, t, shape, dtype='float64', order='C')"
    )]
    fn create_uninitialized<'py>(
        &self,
        t: Any<'_, 'py>,
        shape: Any<'_, 'py>,
        dtype: Option<Any<'_, 'py>>,
        order: Order<'_>,
    ) -> Object<'py> {
        self.make("create_uninitialized", "empty", t, (shape, dtype, &order))
    }

    /// A copy, as an array of that type; in the order of `a` unless another one is asked for.
    #[pyo3(signature = (t, a, order = None))]
    fn dup<'py>(&self, t: Any<'_, 'py>, a: Any<'_, 'py>, order: Option<Order<'_>>) -> Object<'py> {
        let (t, a) = (array_type(t)?, Source::new(a, "dup")?);
        a.carried(&self.place(&a, |core, place| core.place_dup(t, place))?, order.as_deref())
    }

    /// `a` itself if it has that dtype and is plain or lies where the type belongs, else a copy that
    /// has it, as an array of that type; always a copy with `dup_if_correct_type`.
    #[pyo3(signature = (t, dtype, a, dup_if_correct_type = false))]
    fn cast_to<'py>(
        &self,
        t: Any<'_, 'py>,
        dtype: Any<'_, 'py>,
        a: Any<'_, 'py>,
        #[pyo3(from_py_with = arguments::dup_if_correct_type)] dup_if_correct_type: bool,
    ) -> Object<'py> {
        let (t, a) = (array_type(t)?, Source::new(a, "cast_to")?);
        let dtype = numpy(dtype.py())?.call_method1(intern!(dtype.py(), "dtype"), (dtype,))?;
        let is_correct = a.view.dtype()?.eq(&dtype)?;
        let place = self
            .place(&a, |core, place| core.place_cast(t, place, is_correct, dup_if_correct_type));
        a.converted(&place?, &dtype)
    }

    /// `a` itself if it is plain or lies where the type belongs, else a copy there.
    fn leverage_to<'py>(&self, t: Any<'_, 'py>, a: Any<'_, 'py>) -> Object<'py> {
        let (t, a) = (array_type(t)?, Source::new(a, "leverage_to")?);
        a.carried(&self.place(&a, |core, place| core.place_leveraged(t, place))?, None)
    }

    /// `a` itself if it lies where the type belongs, else `ArrayLocationError`, or, with
    /// `migrate_if_invalid`, a copy in the right place. A plain array where one of a workspace is
    /// expected is wrong only with `exception_if_detached`.
    #[pyo3(signature = (t, a, migrate_if_invalid = false, exception_if_detached = true))]
    fn validate_array_location<'py>(
        &self,
        t: Any<'_, 'py>,
        a: Any<'_, 'py>,
        #[pyo3(from_py_with = arguments::migrate_if_invalid)] migrate_if_invalid: bool,
        #[pyo3(from_py_with = arguments::exception_if_detached)] exception_if_detached: bool,
    ) -> Object<'py> {
        let (t, a) = (array_type(t)?, Source::new(a, "validate_array_location")?);
        let to = self.place(&a, |core, place| {
            core.place_validated(t, place, migrate_if_invalid, exception_if_detached)
        });
        a.carried(&to?, None)
    }

    // ------------------------------------------------------------------ scopes

    /// Enter the workspaces of these types in their order: all of them or none. The `with` target is
    /// the last one, `None` if it is scoped out.
    #[pyo3(signature = (*types))]
    fn notify_scope_entered(&self, types: &Bound<'_, PyTuple>) -> PyResult<PyScope> {
        let kinds = types.iter().map(|t| array_type(&t)).collect::<PyResult<Vec<_>>>()?;
        self.scope(types.py(), |core| core.enter(&kinds))
    }

    /// Make the open workspace of a type current.
    fn notify_scope_borrowed(&self, t: Any<'_, '_>) -> PyResult<PyScope> {
        let kind = array_type(t)?;
        self.scope(t.py(), |core| core.borrow(kind))
    }

    /// Whether the workspace of a type is open; true if it is scoped out.
    fn is_workspace_open(&self, t: Any<'_, '_>) -> PyResult<bool> {
        let t = array_type(t)?;
        self.ask(|core| core.is_workspace_open(t))
    }

    /// `ScopeError` unless the workspace of a type is open.
    #[pyo3(signature = (t, msg = None))]
    fn assert_open(&self, t: Any<'_, '_>, msg: Option<Msg<'_>>) -> PyResult<()> {
        let t = array_type(t)?;
        self.ask(|core| core.assert_open(t, msg.as_deref()))
    }

    /// `ScopeError` if the workspace of a type is open.
    #[pyo3(signature = (t, msg = None))]
    fn assert_not_open(&self, t: Any<'_, '_>, msg: Option<Msg<'_>>) -> PyResult<()> {
        let t = array_type(t)?;
        self.ask(|core| core.assert_not_open(t, msg.as_deref()))
    }

    /// `ScopeError` unless the workspace of a type is current.
    #[pyo3(signature = (t, msg = None))]
    fn assert_current_workspace(&self, t: Any<'_, '_>, msg: Option<Msg<'_>>) -> PyResult<()> {
        let t = array_type(t)?;
        self.ask(|core| core.assert_current_workspace(t, msg.as_deref()))
    }

    // ------------------------------------------------------------------ roles

    /// Put arrays of a type into the workspace of that name, made with that configuration.
    fn set_workspace(&self, t: Any<'_, '_>, name: Name<'_>, conf: Any<'_, '_>) -> PyResult<()> {
        let conf = configuration(conf)?;
        self.change(t, |core, t| core.set_workspace(t, &name, conf))
    }

    /// What the workspace of a type is made with.
    fn get_configuration(&self, t: Any<'_, '_>) -> PyResult<Option<PyWorkspaceConfiguration>> {
        let t = array_type(t)?;
        let found = self.core().get_configuration(t).cloned();
        Ok(found.map(|core| PyWorkspaceConfiguration { core }))
    }

    /// Change the configuration alone; a type that is scoped out stays so.
    fn set_configuration(&self, t: Any<'_, '_>, conf: Any<'_, '_>) -> PyResult<()> {
        let (t, conf) = (array_type(t)?, configuration(conf)?);
        self.ask(|core| core.set_configuration(t, conf))
    }

    /// The name of the workspace of a type.
    fn get_workspace_name(&self, t: Any<'_, '_>) -> PyResult<Option<String>> {
        let t = array_type(t)?;
        Ok(self.core().get_workspace_name(t).map(str::to_owned))
    }

    /// Change the name alone; a type that is scoped out stays so.
    fn set_workspace_name(&self, t: Any<'_, '_>, name: Name<'_>) -> PyResult<()> {
        self.change(t, |core, t| core.set_workspace_name(t, &name))
    }

    /// Arrays of a type are plain from now on.
    fn set_scoped_out_for(&self, t: Any<'_, '_>) -> PyResult<()> {
        self.change(t, LayerWorkspaceMgr::set_scoped_out_for)
    }

    /// Whether arrays of a type are plain.
    fn is_scoped_out(&self, t: Any<'_, '_>) -> PyResult<bool> {
        let t = array_type(t)?;
        Ok(self.core().is_scoped_out(t))
    }

    /// Whether a type is scoped out or has the name of a workspace.
    fn has_configuration(&self, t: Any<'_, '_>) -> PyResult<bool> {
        let t = array_type(t)?;
        Ok(self.core().has_configuration(t))
    }

    /// Arrays in the workspace of that name stay where they are and are right everywhere.
    fn set_no_leverage_override(&self, name: Name<'_>) -> PyResult<()> {
        self.ask(|core| core.set_no_leverage_override(&name))
    }

    /// What a layer put there under a key, or `None`.
    fn get_helper_workspace(&self, py: Python<'_>, key: Key<'_>) -> Option<Py<PyAny>> {
        let value = self.core().get_helper_workspace(&key).cloned();
        value.and_then(|value| value.downcast_ref::<Py<PyAny>>().map(|value| value.clone_ref(py)))
    }

    /// Put a value there for all layers.
    fn set_helper_workspace(&self, key: Key<'_>, value: Py<PyAny>) -> PyResult<()> {
        self.ask(|core| core.set_helper_workspace(&key, Arc::new(value))).map(drop)
    }

    fn __repr__(&self) -> String {
        let core = self.core();
        let role = |t: &ArrayType| match (core.get_workspace_name(*t), core.is_scoped_out(*t)) {
            (_, true) => format!("{t}: no workspace"),
            (Some(name), _) => format!("{t}: [{name}]"),
            (None, _) => format!("{t}: unconfigured"),
        };
        let roles: Vec<_> = ArrayType::ALL.iter().map(role).collect();
        format!("<LayerWorkspaceMgr {}>", roles.join(", "))
    }

    #[expect(clippy::unused_self)]
    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a LayerWorkspaceMgr does not pickle: make one where it is needed",
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let core = match self.core.try_lock() {
            Ok(core) => core,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        core.helper_workspaces()
            .filter_map(|value| value.downcast_ref::<Py<PyAny>>())
            .try_for_each(|value| visit.call(value))
    }

    fn __clear__(&self) {
        let helpers = self.core().take_helper_workspaces();
        drop(helpers);
    }
}
