//! Arguments: those of the creation functions, bound to NumPy's parameter names, and single ones, converted.

use std::ops::Deref;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::npy::numpy;

/// Parameters of a function: those that may be positional, those that are keyword-only.
pub struct Signature {
    pub positional: &'static [&'static str],
    pub keyword: &'static [&'static str],
    /// How many of the positional ones must be given.
    pub required: usize,
}

/// Arguments by name.
pub struct Arguments<'py> {
    py: Python<'py>,
    given: Vec<(&'static str, Bound<'py, PyAny>)>,
}

impl Signature {
    /// Binds a call's arguments, refusing what Python would refuse.
    pub fn bind<'py>(
        &self,
        function: &str,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Arguments<'py>> {
        let refuse = |what: String| Err(PyTypeError::new_err(format!("{function}() {what}")));
        if args.len() > self.positional.len() {
            let most = self.positional.len();
            return refuse(format!(
                "takes at most {most} positional arguments ({} given)",
                args.len()
            ));
        }
        let mut given: Vec<_> = self.positional.iter().copied().zip(args.iter()).collect();
        for (key, value) in kwargs.into_iter().flatten() {
            let key: String = key.extract()?;
            let all = self.positional.iter().chain(self.keyword);
            let Some(&name) = all.into_iter().find(|&&name| name == key) else {
                return refuse(format!("got an unexpected keyword argument '{key}'"));
            };
            if given.iter().any(|(known, _)| *known == name) {
                return refuse(format!("got multiple values for argument '{key}'"));
            }
            given.push((name, value));
        }
        let needed = &self.positional[..self.required];
        match needed.iter().find(|&&name| !given.iter().any(|(known, _)| *known == name)) {
            Some(name) => refuse(format!("missing required argument '{name}'")),
            None => Ok(Arguments { py: args.py(), given }),
        }
    }
}

impl<'py> Arguments<'py> {
    /// The interpreter.
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    /// The argument of that name, if it was given.
    pub fn get(&self, name: &str) -> Option<&Bound<'py, PyAny>> {
        self.given.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The argument of that name, which `bind` made sure of.
    pub fn required(&self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let value = self.get(name).cloned();
        value.ok_or_else(|| PyTypeError::new_err(format!("missing required argument '{name}'")))
    }

    /// `device=` may be the processor only; `like=` may not hand the call to another library.
    pub fn check_device_and_like(&self) -> PyResult<()> {
        let py = self.py;
        if let Some(device) = self.get("device").filter(|device| !device.is_none()) {
            if !device.eq("cpu")? {
                return Err(PyValueError::new_err(format!(
                    "Device not understood. Only \"cpu\" is allowed, but received: {}",
                    device.str()?
                )));
            }
        }
        if let Some(like) = self.get("like").filter(|like| !like.is_none()) {
            if !like.is_instance(&numpy(py)?.getattr(intern!(py, "ndarray"))?)? {
                return Err(PyTypeError::new_err(
                    "like= must be an ndarray or a WorkspaceArray: the array is made in a workspace",
                ));
            }
        }
        Ok(())
    }
}

/// The refusal of an argument of another type than is due, with a hint for some.
pub fn wrong_type(value: &Bound<'_, PyAny>, name: &str, wanted: &str, hint: &str) -> PyErr {
    let kind = if value.is_none() { value.str() } else { value.get_type().name() };
    kind.map_or_else(
        |error| error,
        |kind| PyTypeError::new_err(format!("{name} must be {wanted}, not {kind}{hint}")),
    )
}

/// Refuses keywords that a call does not take, and says what it takes.
pub fn no_others(fields: Option<&Bound<'_, PyDict>>, caller: &str, cure: &str) -> PyResult<()> {
    let Some((field, _)) = fields.and_then(|fields| fields.iter().next()) else { return Ok(()) };
    let message = format!("{caller}() got an unexpected keyword argument '{field}'; {cure}");
    Err(PyTypeError::new_err(message))
}

/// Texts, each of which has the name of its parameter in its refusal.
macro_rules! texts {
    ($($kind:ident $name:literal)*) => {
        $(
            #[doc = concat!("The argument `", $name, "`.")]
            #[derive(Clone, Copy)]
            pub struct $kind<'a>(pub &'a str);

            impl<'a, 'py> FromPyObject<'a, 'py> for $kind<'a> {
                type Error = PyErr;

                fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
                    text(value, $name).map(Self)
                }
            }

            impl Deref for $kind<'_> {
                type Target = str;

                fn deref(&self) -> &str {
                    self.0
                }
            }
        )*
    };
}

texts! { Id "id" Name "name" Key "key" Msg "msg" Order "order" Casting "casting" }

fn text<'a>(value: Borrowed<'a, '_, PyAny>, name: &str) -> PyResult<&'a str> {
    value.extract().map_err(|error: PyErr| of_type(&value, error, name, "a str"))
}

/// The same for flags, as functions for `from_py_with`.
macro_rules! flags {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("The argument `", stringify!($name), "`.")]
            pub fn $name(value: &Bound<'_, PyAny>) -> PyResult<bool> {
                value.extract().map_err(|e| of_type(value, e, stringify!($name), "True or False"))
            }
        )*
    };
}

flags! {
    allow_scoped_out capture_numpy debug detach_on_no_workspace dup_if_correct_type enabled
    enforce_existence exception_if_detached migrate_if_invalid use_workspace
}

/// The refusal of an argument whose type does not fit; another error stays what it is.
fn of_type(value: &Bound<'_, PyAny>, error: PyErr, name: &str, wanted: &str) -> PyErr {
    let is_type = error.is_instance_of::<PyTypeError>(value.py());
    if is_type { wrong_type(value, name, wanted, "") } else { error }
}
