//! What an operation and its arguments are called, for the error that refuses one of them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::npy::{ndarray_class, numpy};

/// Which of our doors a caller came through.
#[derive(Clone, Copy)]
pub enum Call<'a, 'py> {
    /// An operator: its operands are `left` and `right`.
    Operator(&'a str),
    /// A method, or a special method without its underscores.
    Method(&'a str),
    /// A method of a ufunc.
    Ufunc { ufunc: &'a Bound<'py, PyAny>, method: &'a str },
    /// A function of NumPy's, or one of ours with NumPy's signature.
    Function(&'a Bound<'py, PyAny>),
    /// A method of ours with the signature of a function of NumPy's.
    Maker { name: &'a str, function: &'a Bound<'py, PyAny> },
}

/// Where an argument stands in a call.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    Position(usize),
    Keyword(&'a str),
}

impl Call<'_, '_> {
    /// Name of the operation.
    pub fn operation(&self) -> String {
        match self {
            Self::Operator(name) | Self::Method(name) | Self::Maker { name, .. } => {
                (*name).to_owned()
            }
            Self::Ufunc { ufunc, method: "__call__" } => name_of(ufunc),
            Self::Ufunc { ufunc, method } => format!("{}.{method}", name_of(ufunc)),
            Self::Function(function) => name_of(function),
        }
    }

    /// Name of the argument, followed by its place inside nested sequences.
    pub fn argument(&self, py: Python<'_>, place: Place<'_>, inside: &[usize]) -> String {
        let name = match (self, place) {
            (Self::Ufunc { .. }, Place::Keyword("out")) => return "out".to_owned(),
            (_, Place::Keyword(name)) => name.to_owned(),
            (Self::Operator(_), Place::Position(0)) => "left".to_owned(),
            (Self::Operator(_), Place::Position(_)) => "right".to_owned(),
            (Self::Ufunc { method: "at" | "reduceat", .. }, Place::Position(1)) => {
                "indices".to_owned()
            }
            (Self::Ufunc { method: "at", .. }, Place::Position(2)) => "x2".to_owned(),
            (Self::Ufunc { .. }, Place::Position(i)) => format!("x{}", i + 1),
            (Self::Method(name), Place::Position(i)) => method_parameter(py, name, i),
            (Self::Function(function) | Self::Maker { function, .. }, Place::Position(i)) => {
                parameter(function, i)
            }
        };
        inside.iter().fold(name, |name, index| format!("{name}[{index}]"))
    }
}

fn name_of(callable: &Bound<'_, PyAny>) -> String {
    let name = callable.getattr(intern!(callable.py(), "__name__"));
    name.and_then(|name| name.extract()).unwrap_or_else(|_| "call".to_owned())
}

/// Name of the i-th positional parameter of ndarray's method.
fn method_parameter(py: Python<'_>, method: &str, i: usize) -> String {
    match (method, i) {
        ("getitem" | "setitem", 0) => return "key".to_owned(),
        ("setitem", 1) => return "value".to_owned(),
        _ => {}
    }
    let unbound = numpy(py).and_then(|np| np.getattr("ndarray")?.getattr(method));
    match unbound {
        Ok(function) => parameter(&function, i + 1),
        Err(_) => format!("args[{i}]"),
    }
}

/// Name of the i-th positional parameter of a function; `*args` gives `args[2]`.
fn parameter(function: &Bound<'_, PyAny>, i: usize) -> String {
    signature_name(function, i).unwrap_or_else(|_| documented_name(function, i))
}

fn signature_name(function: &Bound<'_, PyAny>, i: usize) -> PyResult<String> {
    let py = function.py();
    let signature = py.import("inspect")?.call_method1("signature", (function,))?;
    let parameters = signature.getattr("parameters")?.call_method0("values")?;
    for (at, parameter) in parameters.try_iter()?.enumerate() {
        let parameter = parameter?;
        let name: String = parameter.getattr("name")?.extract()?;
        let kind = parameter.getattr("kind")?.getattr("name")?;
        match kind.extract::<String>()?.as_str() {
            "VAR_POSITIONAL" => return Ok(format!("{name}[{}]", i - at)),
            _ if at == i => return Ok(name),
            _ => {}
        }
    }
    Ok(format!("args[{i}]"))
}

/// Functions written in C tell their signature since NumPy 2.4 only; these are the older ones'.
fn documented_name(function: &Bound<'_, PyAny>, i: usize) -> String {
    let names: &[&str] = match name_of(function).as_str() {
        "concatenate" => &["arrays"],
        "where" => &["condition", "x", "y"],
        "dot" | "inner" | "vdot" | "may_share_memory" | "shares_memory" => &["a", "b"],
        "copyto" => &["dst", "src"],
        "putmask" => &["a", "mask", "values"],
        "empty_like" => &["prototype"],
        "lexsort" => &["keys"],
        "bincount" => &["x", "weights"],
        "result_type" => return format!("arrays_and_dtypes[{i}]"),
        _ => &[],
    };
    names.get(i).map_or_else(|| format!("args[{i}]"), |&name| name.to_owned())
}

/// Whether `types` hold nothing but ndarrays, their subclasses, and ours.
pub fn all_known(types: &Bound<'_, PyAny>, ours: &Bound<'_, PyAny>) -> PyResult<bool> {
    let ndarray = ndarray_class(types.py())?;
    for kind in types.try_iter()? {
        let kind = kind?;
        if kind.is(ours) || kind.is(ndarray) {
            continue;
        }
        let kind = kind.cast_into::<PyType>()?;
        if !kind.is_subclass(ndarray)? && !kind.is_subclass(ours)? {
            return Ok(false);
        }
    }
    Ok(true)
}
