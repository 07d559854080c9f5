//! Creation functions with NumPy's signatures, of a workspace and of the module.
//!
//! `create` is all of them: with a workspace the array is cut from it, without one NumPy makes it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString, PyTuple};

use super::arguments::{Arguments, Signature};
use super::foreign;
use super::handle::{Plan, WorkspaceArray, allocate, has_references};
use super::naming::Call;
use super::npy::{Ndarray, is_dtype, item, numpy};
use super::order;
use super::place::{Operands, copy_into, copy_values};
use crate::{Workspace, registry};

type Object<'py> = PyResult<Bound<'py, PyAny>>;

const EMPTY: Signature = Signature {
    positional: &["shape", "dtype", "order"],
    keyword: &["device", "like"],
    required: 1,
};
const FULL: Signature = Signature {
    positional: &["shape", "fill_value", "dtype", "order"],
    keyword: &["device", "like"],
    required: 2,
};
const EMPTY_LIKE: Signature = Signature {
    positional: &["prototype", "dtype", "order", "subok", "shape"],
    keyword: &["device"],
    required: 1,
};
const FILLED_LIKE: Signature = Signature {
    positional: &["a", "dtype", "order", "subok", "shape"],
    keyword: &["device"],
    required: 1,
};
const FULL_LIKE: Signature = Signature {
    positional: &["a", "fill_value", "dtype", "order", "subok", "shape"],
    keyword: &["device"],
    required: 2,
};
const ARRAY: Signature = Signature {
    positional: &["object", "dtype"],
    keyword: &["copy", "order", "subok", "ndmin", "ndmax", "like"],
    required: 1,
};
const ASARRAY: Signature = Signature {
    positional: &["a", "dtype", "order"],
    keyword: &["device", "copy", "like"],
    required: 1,
};

/// Where a new array goes, and who asked for it.
struct Room<'a, 'py> {
    workspace: &'a Workspace,
    call: Call<'a, 'py>,
}

/// NumPy's function `name`, called as `operation`, with its result in `workspace`.
pub fn create<'py>(
    workspace: Option<&Workspace>,
    (operation, name): (&str, &str),
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Object<'py> {
    let py = args.py();
    let function = numpy(py)?.getattr(PyString::intern(py, name))?;
    let call = Call::Maker { name: operation, function: &function };
    let mut operands = Operands::new(py, call);
    let args = operands.add_args(args)?;
    let kwargs = operands.add_kwargs(kwargs)?;
    let Some(workspace) = workspace.filter(|w| !w.is_dummy()) else {
        let _plain = registry::plain_results();
        return foreign::call(&function, &args, kwargs.as_ref());
    };
    let room = &Room { workspace, call };
    let bind = |signature: &Signature| signature.bind(name, &args, kwargs.as_ref());
    match name {
        "empty" | "zeros" | "ones" => by_shape(room, name, &bind(&EMPTY)?),
        "full" => by_shape(room, name, &bind(&FULL)?),
        "empty_like" => by_example(room, name, &bind(&EMPTY_LIKE)?, "prototype"),
        "zeros_like" | "ones_like" => by_example(room, name, &bind(&FILLED_LIKE)?, "a"),
        "full_like" => by_example(room, name, &bind(&FULL_LIKE)?, "a"),
        "array" => by_values(room, &operands, &bind(&ARRAY)?, "object", true),
        "asarray" => by_values(room, &operands, &bind(&ASARRAY)?, "a", false),
        _ => moved(room, &foreign::call(&function, &args, kwargs.as_ref())?),
    }
}

/// A result of NumPy's, moved into the workspace; of a tuple, the arrays in it.
fn moved<'py>(room: &Room<'_, 'py>, result: &Bound<'py, PyAny>) -> Object<'py> {
    if let Some(array) = Ndarray::exact(result)? {
        refuse_references(&array.dtype()?)?;
        return Ok(copy_into(room.workspace, &array, &room.call)?.into_any());
    }
    let Ok(tuple) = result.cast::<PyTuple>() else {
        return Ok(result.clone());
    };
    let items = tuple.iter().map(|item| moved(room, &item)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyTuple::new(result.py(), items)?.into_any())
}

/// `empty`, `zeros`, `ones`, `full`.
fn by_shape<'py>(room: &Room<'_, 'py>, name: &str, given: &Arguments<'py>) -> Object<'py> {
    given.check_device_and_like()?;
    let shape = shape_of(&given.required("shape")?)?;
    let fill = given.get("fill_value").map(as_values).transpose()?;
    let default = fill.as_ref().map(Ndarray::dtype).transpose()?;
    let (dtype, shape) = element_type(given.py(), given.get("dtype"), default, shape)?;
    let itemsize = itemsize_of(&dtype)?;
    let strides = match order_of(given.get("order"), "C")?.as_str() {
        "C" => order::c_strides(&shape, itemsize),
        "F" => order::f_strides(&shape, itemsize),
        _ => return Err(PyValueError::new_err("only 'C' or 'F' order is permitted")),
    };
    let plan = Plan { dtype: &dtype, shape: &shape, strides: &strides, zeroed: name == "zeros" };
    let fill = fill.map(|fill| fitting(fill, &dtype, &shape)).transpose()?;
    filled(room, &plan, name, fill.as_ref())
}

/// The fill value in the new dtype, refused before memory is asked for if it does not fit.
fn fitting<'py>(
    fill: Ndarray<'py>,
    dtype: &Bound<'py, PyAny>,
    shape: &[isize],
) -> PyResult<Ndarray<'py>> {
    let py = dtype.py();
    let cast = foreign::call_method(fill.object(), "astype", (dtype,), None)?;
    let shape = PyTuple::new(py, shape)?;
    foreign::call_method(numpy(py)?, "broadcast_to", (&cast, shape), None)?;
    Ok(Ndarray::exact(&cast)?.unwrap_or(fill))
}

/// `empty_like`, `zeros_like`, `ones_like`, `full_like`.
fn by_example<'py>(
    room: &Room<'_, 'py>,
    name: &str,
    given: &Arguments<'py>,
    example: &str,
) -> Object<'py> {
    given.check_device_and_like()?;
    let example = as_values(&given.required(example)?)?;
    let shape = match given.get("shape") {
        Some(shape) => shape_of(shape)?,
        None => example.shape().to_vec(),
    };
    let default = Some(example.dtype()?);
    let (dtype, shape) = element_type(given.py(), given.get("dtype"), default, shape)?;
    let itemsize = itemsize_of(&dtype)?;
    let kept = order::broadcast_strides(shape.len(), &example.shape(), &example.strides());
    let strides = match order_of(given.get("order"), "K")?.as_str() {
        "F" => order::f_strides(&shape, itemsize),
        "A" if is_fortran(&example)? => order::f_strides(&shape, itemsize),
        "K" if example.shape().len() == shape.len() => {
            order::kept_strides(&shape, &[kept], itemsize)
        }
        _ => order::c_strides(&shape, itemsize),
    };
    let fill = given.get("fill_value").map(as_values).transpose()?;
    let fill = fill.map(|fill| fitting(fill, &dtype, &shape)).transpose()?;
    let zeroed = name == "zeros_like";
    let plan = Plan { dtype: &dtype, shape: &shape, strides: &strides, zeroed };
    filled(room, &plan, name, fill.as_ref())
}

fn filled<'py>(
    room: &Room<'_, 'py>,
    plan: &Plan<'_, 'py>,
    name: &str,
    fill: Option<&Ndarray<'py>>,
) -> Object<'py> {
    let array: Bound<'py, WorkspaceArray> = allocate(room.workspace, plan, &room.call)?;
    match fill {
        Some(values) => copy_values(&array, values.object(), "unsafe")?,
        None if name.starts_with("ones") => {
            copy_values(&array, &1i32.into_pyobject(array.py())?.into_any(), "unsafe")?;
        }
        None => {}
    }
    Ok(array.into_any())
}

/// `array`, `asarray`: the given array itself where it may be and lies there already, else a copy.
fn by_values<'py>(
    room: &Room<'_, 'py>,
    operands: &Operands<'_, 'py>,
    given: &Arguments<'py>,
    values: &str,
    copies: bool,
) -> Object<'py> {
    let py = given.py();
    given.check_device_and_like()?;
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "copy"), py.None())?;
    for name in ["dtype", "order", "ndmin", "ndmax"] {
        if let Some(value) = given.get(name) {
            kwargs.set_item(name, value)?;
        }
    }
    let array = numpy(py)?.getattr(intern!(py, "array"))?;
    let source = foreign::call(&array, (given.required(values)?,), Some(&kwargs))?;
    let source = as_values(&source)?;
    refuse_references(&source.dtype()?)?;
    let (may_share, must_share) = match given.get("copy") {
        None => (!copies, false),
        Some(copy) if copy.is_none() => (true, false),
        Some(copy) => (!copy.is_truthy()?, !copy.is_truthy()?),
    };
    if may_share {
        if let Some(same) = operands.found_in(room.workspace, &source)? {
            return Ok(same);
        }
    }
    if must_share {
        let reason = "Unable to avoid copy while creating an array as requested.";
        return Err(PyValueError::new_err(reason));
    }
    Ok(copy_into(room.workspace, &source, &room.call)?.into_any())
}

/// Whatever NumPy makes an array of, as exactly an ndarray.
fn as_values<'py>(values: &Bound<'py, PyAny>) -> PyResult<Ndarray<'py>> {
    let py = values.py();
    let array = foreign::call_method(numpy(py)?, "asarray", (values,), None)?;
    Ndarray::exact(&array)?.ok_or_else(|| PyTypeError::new_err("asarray gave no ndarray"))
}

fn is_fortran(array: &Ndarray<'_>) -> PyResult<bool> {
    let py = array.object().py();
    array.object().getattr(intern!(py, "flags"))?.getattr(intern!(py, "fnc"))?.extract()
}

fn itemsize_of(dtype: &Bound<'_, PyAny>) -> PyResult<isize> {
    Ok(item(dtype)?.size)
}

const MAX_DIMENSIONS: usize = 64;

/// A shape: one length, or a sequence of them.
fn shape_of(shape: &Bound<'_, PyAny>) -> PyResult<Vec<isize>> {
    let length_of = |item: Bound<'_, PyAny>| item.extract::<Length>().map(|length| length.0);
    // What is nearly always given, without asking for more and being refused.
    if shape.is_exact_instance_of::<PyInt>() {
        return checked(vec![length_of(shape.clone())?]);
    }
    if let Ok(tuple) = shape.cast_exact::<PyTuple>() {
        return checked(tuple.iter().map(length_of).collect::<PyResult<Vec<_>>>()?);
    }
    let lengths = match (shape.extract::<Length>(), shape.try_iter()) {
        (Ok(Length(length)), _) => vec![length],
        (Err(error), _) if shape.hasattr("__index__")? && !shape.hasattr("__len__")? => {
            return Err(error);
        }
        (_, Ok(items)) if is_sequence(shape)? => {
            items.map(|item| length_of(item?)).collect::<PyResult<Vec<_>>>()?
        }
        _ => {
            let what = shape.repr()?;
            return Err(PyTypeError::new_err(format!(
                "expected a sequence of integers or a single integer, got '{what}'"
            )));
        }
    };
    checked(lengths)
}

fn is_sequence(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.hasattr("__getitem__")? && !object.is_instance_of::<PyDict>())
}

fn checked(lengths: Vec<isize>) -> PyResult<Vec<isize>> {
    if lengths.iter().any(|&n| n < 0) {
        return Err(PyValueError::new_err("negative dimensions are not allowed"));
    }
    if lengths.len() > MAX_DIMENSIONS {
        return Err(PyValueError::new_err(format!(
            "maximum supported dimension for an ndarray is currently {MAX_DIMENSIONS}, found {}",
            lengths.len()
        )));
    }
    Ok(lengths)
}

/// The length of one axis.
struct Length(isize);

impl<'py> FromPyObject<'_, 'py> for Length {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyBool>() {
            let message = "'bool' object cannot be interpreted as an integer";
            return Err(PyTypeError::new_err(message));
        }
        let length: PyResult<isize> = object.extract();
        match length {
            Ok(length) => Ok(Self(length)),
            Err(error)
                if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(object.py()) =>
            {
                Err(PyValueError::new_err("Maximum allowed dimension exceeded"))
            }
            Err(error) => Err(error),
        }
    }
}

/// The dtype of the elements, and the shape with the dtype's own appended.
fn element_type<'py>(
    py: Python<'py>,
    dtype: Option<&Bound<'py, PyAny>>,
    default: Option<Bound<'py, PyAny>>,
    mut shape: Vec<isize>,
) -> PyResult<(Bound<'py, PyAny>, Vec<isize>)> {
    let none = py.None().into_bound(py);
    let asked = match dtype {
        Some(dtype) if !dtype.is_none() => dtype.clone(),
        _ => default.unwrap_or(none),
    };
    let mut dtype = if is_dtype(&asked)? {
        asked
    } else {
        numpy(py)?.call_method1(intern!(py, "dtype"), (asked,))?
    };
    refuse_references(&dtype)?;
    while let Some((base, own)) = dtype
        .getattr(intern!(py, "subdtype"))?
        .extract::<Option<(Bound<'py, PyAny>, Vec<isize>)>>()?
    {
        shape.extend(own);
        dtype = base;
    }
    let kind = item(&dtype)?.kind;
    if itemsize_of(&dtype)? == 0 && matches!(kind, 'S' | 'U') {
        dtype = numpy(py)?.call_method1(intern!(py, "dtype"), (format!("{kind}1"),))?;
    }
    Ok((dtype, shape))
}

/// Workspace memory is reused as bytes; references in it would never be given back.
pub fn refuse_references(dtype: &Bound<'_, PyAny>) -> PyResult<()> {
    if !has_references(dtype)? {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "a workspace cannot hold elements of dtype {}, which are references; \
         make a plain array with numpy",
        dtype.str()?
    )))
}

/// The memory order asked for, as one capital letter.
fn order_of(order: Option<&Bound<'_, PyAny>>, default: &str) -> PyResult<String> {
    let Some(order) = order.filter(|order| !order.is_none()) else {
        return Ok(default.to_owned());
    };
    let Ok(text) = order.cast::<PyString>() else {
        let kind = order.get_type();
        return Err(PyTypeError::new_err(format!("order must be str, not {}", kind.name()?)));
    };
    let letter = text.to_string_lossy().to_uppercase();
    if matches!(letter.as_str(), "C" | "F" | "A" | "K") {
        return Ok(letter);
    }
    Err(PyValueError::new_err(format!("order must be one of 'C', 'F', 'A', or 'K' (got '{text}')")))
}

macro_rules! functions {
    ($($name:ident $signature:literal)*) => {
        $(
            #[doc = concat!("`numpy.", stringify!($name), "` in the current workspace.")]
            #[pyfunction]
            #[pyo3(signature = (*args, **kwargs), text_signature = $signature)]
            fn $name<'py>(
                args: &Bound<'py, PyTuple>,
                kwargs: Option<&Bound<'py, PyDict>>,
            ) -> Object<'py> {
                let name = stringify!($name);
                create(registry::current_workspace().as_ref(), (name, name), args, kwargs)
            }
        )*

        /// Adds the functions to the module.
        pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
}

functions! {
    empty "(shape, dtype=float, order='C', *, device=None, like=None)"
    zeros "(shape, dtype=float, order='C', *, device=None, like=None)"
    ones "(shape, dtype=None, order='C', *, device=None, like=None)"
    full "(shape, fill_value, dtype=None, order='C', *, device=None, like=None)"
    array "(object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0, like=None)"
    asarray "(a, dtype=None, order=None, *, device=None, copy=None, like=None)"
    empty_like "(prototype, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    zeros_like "(a, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    ones_like "(a, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    full_like "(a, fill_value, dtype=None, order='K', subok=True, shape=None, *, device=None)"
    arange "(start, stop=None, step=None, dtype=None, *, device=None, like=None)"
    linspace "(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0, *, device=None)"
    eye "(N, M=None, k=0, dtype=float, order='C', *, device=None, like=None)"
    identity "(n, dtype=None, *, like=None)"
}
