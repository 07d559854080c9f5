//! `WorkspaceConfiguration` for Python: keyword arguments in, enum members out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString, PyType};

use crate::config::{
    AllocationPolicy, EscapePolicy, HugePages, LearningPolicy, LocationPolicy, MirroringPolicy,
    ResetPolicy, ReusePolicy, Settings, SpillPolicy, WorkspaceConfiguration,
};
use crate::error::Error;
use crate::layout::parse_bytes;

use super::error::to_pyerr;

/// How a workspace behaves: immutable, comparable, hashable, and valid.
#[pyclass(frozen, eq, hash, name = "WorkspaceConfiguration", module = "ndarena")]
#[derive(PartialEq, Hash)]
pub struct PyWorkspaceConfiguration {
    /// The configuration itself.
    pub core: WorkspaceConfiguration,
}

#[pymethods]
impl PyWorkspaceConfiguration {
    #[new]
    #[pyo3(
        signature = (**fields),
        text_signature = "(*, policy_allocation='OVERALLOCATE', policy_spill='EXTERNAL', \
            policy_mirroring='FULL', policy_learning='FIRST_LOOP', policy_reset='BLOCK_LEFT', \
            policy_location='RAM', temp_file_path=None, initial_size=0, min_size=0, max_size=0, \
            cycles_before_initialization=0, overallocation_limit=0.3, steps_number=2, \
            policy_reuse='WITHIN_CYCLE', policy_escape='RETIRE', alignment=64, \
            huge_pages='ADVISE', prefault=False)"
    )]
    fn new(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(py, WorkspaceConfiguration::default(), fields, "WorkspaceConfiguration")
    }

    /// ND4J's arithmetic to the byte; the release decides about the alignment.
    #[classmethod]
    #[pyo3(
        signature = (**fields),
        text_signature = "($cls, *, release='1.0.0-M2.1', **fields)"
    )]
    fn nd4j(cls: &Bound<'_, PyType>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let fields = fields.map(PyDictMethods::copy).transpose()?;
        let mut release = None;
        if let Some(fields) = &fields {
            release = fields.get_item("release")?;
            fields.call_method1("pop", ("release", cls.py().None()))?;
        }
        let base = preset(release.as_ref())?;
        changed(cls.py(), base, fields.as_ref(), "WorkspaceConfiguration.nd4j")
    }

    /// The same configuration with some fields changed.
    #[pyo3(signature = (**changes))]
    fn replace(&self, py: Python<'_>, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(py, self.core.clone(), changes, "WorkspaceConfiguration.replace")
    }

    #[getter]
    fn policy_allocation(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "AllocationPolicy", self.core.policy_allocation.name())
    }

    #[getter]
    fn policy_spill(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "SpillPolicy", self.core.policy_spill.name())
    }

    #[getter]
    fn policy_mirroring(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "MirroringPolicy", self.core.policy_mirroring.name())
    }

    #[getter]
    fn policy_learning(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "LearningPolicy", self.core.policy_learning.name())
    }

    #[getter]
    fn policy_reset(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "ResetPolicy", self.core.policy_reset.name())
    }

    #[getter]
    fn policy_location(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "LocationPolicy", self.core.policy_location.name())
    }

    #[getter]
    fn temp_file_path(&self) -> Option<&OsStr> {
        self.core.temp_file_path.as_deref().map(Path::as_os_str)
    }

    #[getter]
    fn initial_size(&self) -> u64 {
        self.core.initial_size
    }

    #[getter]
    fn min_size(&self) -> u64 {
        self.core.min_size
    }

    #[getter]
    fn max_size(&self) -> u64 {
        self.core.max_size
    }

    #[getter]
    fn cycles_before_initialization(&self) -> u32 {
        self.core.cycles_before_initialization
    }

    #[getter]
    fn overallocation_limit(&self) -> f64 {
        self.core.overallocation_limit
    }

    #[getter]
    fn steps_number(&self) -> u32 {
        self.core.steps_number
    }

    #[getter]
    fn policy_reuse(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "ReusePolicy", self.core.policy_reuse.name())
    }

    #[getter]
    fn policy_escape(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "EscapePolicy", self.core.policy_escape.name())
    }

    #[getter]
    fn alignment(&self) -> u64 {
        self.core.alignment
    }

    #[getter]
    fn huge_pages(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        policy_member(py, "HugePages", self.core.huge_pages.name())
    }

    #[getter]
    fn prefault(&self) -> bool {
        self.core.prefault
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let shown = what_differs(slf)?
            .iter()
            .map(|(field, value)| Ok(format!("{field}={}", value.repr()?)))
            .collect::<PyResult<Vec<_>>>()?;
        let preset = if slf.get().core.nd4j { ".nd4j" } else { "" };
        Ok(format!("WorkspaceConfiguration{preset}({})", shown.join(", ")))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, ())> {
        let class = slf.get_type().into_any();
        let make = if slf.get().core.nd4j { class.getattr("nd4j")? } else { class };
        let partial = slf.py().import("functools")?.getattr("partial")?;
        Ok((partial.call((make,), Some(&what_differs(slf)?))?, ()))
    }
}

/// The member `name` of the enumeration `enum_class` of `ndarena.policies`.
pub fn policy_member(py: Python<'_>, enum_class: &str, name: &str) -> PyResult<Py<PyAny>> {
    Ok(policy_class(py, enum_class)?.getattr(PyString::intern(py, name))?.unbind())
}

fn policy_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let classes = CLASSES
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("ndarena.policies")?.dict().unbind()))?;
    classes.bind(py).as_any().get_item(name)
}

/// The ancestor's arithmetic of a release, of the usual one if none is given.
fn preset(release: Option<&Bound<'_, PyAny>>) -> PyResult<WorkspaceConfiguration> {
    let release = release.map(|value| Given { field: "release", value }.string("must be a str"));
    let release = release.transpose()?;
    let release = release.as_deref().unwrap_or(WorkspaceConfiguration::ND4J_RELEASE);
    WorkspaceConfiguration::nd4j(release, Settings::default()).map_err(to_pyerr)
}

/// The fields, with their values, in which a configuration differs from its defaults.
fn what_differs<'py>(
    configuration: &Bound<'py, PyWorkspaceConfiguration>,
) -> PyResult<Bound<'py, PyDict>> {
    let core = &configuration.get().core;
    let defaults = if core.nd4j { preset(None)? } else { WorkspaceConfiguration::default() };
    let fields = PyDict::new(configuration.py());
    for field in core.difference(&defaults) {
        fields.set_item(field, configuration.getattr(field)?)?;
    }
    Ok(fields)
}

/// `base` with the given fields changed; `caller` is named if one of them does not exist.
fn changed(
    py: Python<'_>,
    base: WorkspaceConfiguration,
    fields: Option<&Bound<'_, PyDict>>,
    caller: &str,
) -> PyResult<PyWorkspaceConfiguration> {
    let mut settings = Settings::clone(&base);
    for (field, value) in fields.into_iter().flatten() {
        let field = field.extract::<String>()?;
        let given = Given { field: &field, value: &value };
        if !given.put_into(&mut settings)? {
            return Err(unknown(py, &field, caller)?);
        }
    }
    match WorkspaceConfiguration::new(settings) {
        Ok(core) => Ok(PyWorkspaceConfiguration { core }),
        Err(error) => Err(contradiction(py, error, base, fields)?),
    }
}

/// The exception for a field that does not exist, which lists those that do.
fn unknown(py: Python<'_>, field: &str, caller: &str) -> PyResult<PyErr> {
    let class = py.get_type::<PyWorkspaceConfiguration>();
    let signature = py.import("inspect")?.call_method1("signature", (class,))?;
    let fields = signature.getattr("parameters")?.try_iter()?;
    let fields = fields.map(|name| name?.extract()).collect::<PyResult<Vec<String>>>()?.join(", ");
    Ok(PyTypeError::new_err(format!(
        "{caller}() got an unexpected keyword argument '{field}'; the fields are {fields}"
    )))
}

/// The exception for a refused configuration, with the field's value as it was given, or as it is
/// in `base`.
fn contradiction(
    py: Python<'_>,
    error: Error,
    base: WorkspaceConfiguration,
    fields: Option<&Bound<'_, PyDict>>,
) -> PyResult<PyErr> {
    let Error::Configuration { field, .. } = &error else {
        return Ok(to_pyerr(error));
    };
    let given = match fields {
        Some(fields) => fields.get_item(field)?,
        None => None,
    };
    let value = match given {
        Some(value) => plain(&value)?,
        None => Bound::new(py, PyWorkspaceConfiguration { core: base })?.getattr(field)?,
    };
    with_value(error, &value)
}

/// The exception for a refused field, whose `value` is an object rather than a text.
fn with_value(error: Error, value: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let exception = to_pyerr(error);
    exception.value(value.py()).setattr("value", value)?;
    Ok(exception)
}

/// A value that an error may keep: itself if it is a number, a text, an enumeration's member or
/// `None`, else its `repr`. An error holds no reference to arrays.
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let member = value.py().import("enum")?.getattr("Enum")?;
    let keeps = value.is_none()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyString>()
        || value.is_instance(&member)?;
    if keeps { Ok(value.clone()) } else { Ok(value.repr()?.into_any()) }
}

/// An enumeration of the core and its class in Python.
#[derive(Clone, Copy)]
struct Choice<T: 'static> {
    class: &'static str,
    members: &'static [T],
    name: fn(T) -> &'static str,
}

macro_rules! choice {
    ($class:ident) => {
        Choice { class: stringify!($class), members: $class::ALL, name: $class::name }
    };
}

/// A field as the caller gave it.
struct Given<'a, 'py> {
    field: &'a str,
    value: &'a Bound<'py, PyAny>,
}

impl Given<'_, '_> {
    /// Converts the value and stores it; false if there is no such field.
    fn put_into(&self, s: &mut Settings) -> PyResult<bool> {
        match self.field {
            "policy_allocation" => s.policy_allocation = self.one_of(choice!(AllocationPolicy))?,
            "policy_spill" => s.policy_spill = self.one_of(choice!(SpillPolicy))?,
            "policy_mirroring" => s.policy_mirroring = self.one_of(choice!(MirroringPolicy))?,
            "policy_learning" => s.policy_learning = self.one_of(choice!(LearningPolicy))?,
            "policy_reset" => s.policy_reset = self.one_of(choice!(ResetPolicy))?,
            "policy_location" => s.policy_location = self.one_of(choice!(LocationPolicy))?,
            "temp_file_path" => s.temp_file_path = self.path()?,
            "initial_size" => s.initial_size = self.size()?,
            "min_size" => s.min_size = self.size()?,
            "max_size" => s.max_size = self.size()?,
            "cycles_before_initialization" => s.cycles_before_initialization = self.count()?,
            "overallocation_limit" => s.overallocation_limit = self.number()?,
            "steps_number" => s.steps_number = self.count()?,
            "policy_reuse" => s.policy_reuse = self.one_of(choice!(ReusePolicy))?,
            "policy_escape" => s.policy_escape = self.one_of(choice!(EscapePolicy))?,
            "alignment" => s.alignment = self.size()?,
            "huge_pages" => s.huge_pages = self.one_of(choice!(HugePages))?,
            "prefault" => s.prefault = self.flag()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn one_of<T: Copy>(&self, choice: Choice<T>) -> PyResult<T> {
        let value = self.value;
        let name = if value.is_instance(&policy_class(value.py(), choice.class)?)? {
            value.getattr("name")?
        } else {
            value.clone()
        };
        let wanted = name.extract::<String>().unwrap_or_default();
        let called = |member: &T| (choice.name)(*member).eq_ignore_ascii_case(&wanted);
        choice.members.iter().copied().find(called).ok_or_else(|| {
            let names: Vec<_> = choice.members.iter().copied().map(choice.name).collect();
            let names = names.join(", ");
            self.refused(&format!("must be a {} or its name: {names}", choice.class))
        })
    }

    fn size(&self) -> PyResult<u64> {
        const UNITS: &str = "must be a whole number of bytes: an int, or a text with a unit, B, KB, \
                             MB, GB, TB (powers of 1000), KiB, MiB, GiB or TiB (powers of 1024)";
        if !self.value.is_instance_of::<PyString>() {
            return self.integer(UNITS);
        }
        parse_bytes(&self.string(UNITS)?).ok_or_else(|| self.refused(UNITS))
    }

    fn count(&self) -> PyResult<u32> {
        let count = self.integer("must be an int")?;
        u32::try_from(count).map_err(|_| self.refused("is too large"))
    }

    fn integer(&self, wanted: &str) -> PyResult<u64> {
        if self.is_bool() {
            return Err(self.refused(wanted));
        }
        let negative = match self.value.extract::<i64>() {
            Ok(n) => match u64::try_from(n) {
                Ok(n) => return Ok(n),
                Err(_) => true,
            },
            Err(e) if e.is_instance_of::<PyOverflowError>(self.value.py()) => self.value.lt(0)?,
            Err(e) => return Err(self.refused_if_unfit(e, wanted)),
        };
        let reason = if negative { "must not be negative" } else { "is too large" };
        Err(self.refused(reason))
    }

    fn number(&self) -> PyResult<f64> {
        const NUMBER: &str = "must be a number";
        if self.is_bool() {
            return Err(self.refused(NUMBER));
        }
        self.value.extract::<f64>().map_err(|e| self.refused_if_unfit(e, NUMBER))
    }

    fn flag(&self) -> PyResult<bool> {
        self.value.extract::<bool>().map_err(|e| self.refused_if_unfit(e, "must be a bool"))
    }

    fn path(&self) -> PyResult<Option<PathBuf>> {
        const PATH: &str =
            "must be a path that the system can encode: a str or an os.PathLike of a str";
        let path = self.value.extract::<Option<PathBuf>>();
        path.map_err(|e| self.refused_if_unfit(e, PATH))
    }

    fn string(&self, wanted: &str) -> PyResult<String> {
        self.value.extract::<String>().map_err(|e| self.refused_if_unfit(e, wanted))
    }

    /// NumPy's `bool` included.
    fn is_bool(&self) -> bool {
        self.value.extract::<bool>().is_ok()
    }

    /// A conversion that fails because of the value is a refusal; anything else, such as an
    /// interrupt, stays what it is.
    fn refused_if_unfit(&self, error: PyErr, wanted: &str) -> PyErr {
        let py = self.value.py();
        let unfit = error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py)
            || error.is_instance_of::<PyOverflowError>(py);
        if unfit { self.refused(wanted) } else { error }
    }

    fn refused(&self, reason: &str) -> PyErr {
        let refusal = || {
            let shown = self.value.repr()?.to_string();
            with_value(Error::configuration(self.field, shown, reason), &plain(self.value)?)
        };
        refusal().unwrap_or_else(|error| error)
    }
}
