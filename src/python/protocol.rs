//! NumPy's protocols: ufuncs, functions, conversion, exchange.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::fast;
use super::foreign;
use super::handle::WorkspaceArray;
use super::joining::{self, Join};
use super::loops::{Loops, elementwise, picking};
use super::naming::{Call, all_known};
use super::npy::{Ndarray, ndarray_class, numpy, ufunc_class};
use super::numbers::is_number;
use super::place::{Operands, copy_into};
use super::shortcut::{self, Args, Shortcut};
use super::{ops, reduce, steady};

type Slf<'a, 'py> = &'a Bound<'py, WorkspaceArray>;
type Object<'py> = PyResult<Bound<'py, PyAny>>;

#[pymethods]
impl WorkspaceArray {
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "($self, ufunc, method, /, *inputs, **kwargs)"
    )]
    fn __array_ufunc__<'py>(
        slf: Slf<'_, 'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Object<'py> {
        let py = slf.py();
        if args.len() < 2 {
            return Err(PyTypeError::new_err("__array_ufunc__ takes a ufunc, a method and inputs"));
        }
        let (ufunc, method) = (&args.get_item(0)?, args.get_item(1)?);
        let method: &str = method.extract()?;
        if let ("__call__", None) = (method, kwargs) {
            if let Some(result) = ops::ufuncs::fast(ufunc, args, 2)? {
                return Ok(result);
            }
        }
        if let ("__call__", Some(target)) = (method, only_out(kwargs)?) {
            if ops::ufuncs::fast_into(ufunc, args, 2, &target)? {
                return Ok(target);
            }
        }
        let inputs = &args.get_slice(2, args.len());
        if !ufunc.is_instance(ufunc_class(py)?)? {
            return Err(PyTypeError::new_err("__array_ufunc__ takes a ufunc of NumPy's"));
        }
        if has_foreign_ufunc(inputs, kwargs)? {
            return Ok(py.NotImplemented().into_bound(py));
        }
        drop_repeated(method, inputs, kwargs)?;
        ops::call_ufunc(ufunc, method, inputs, kwargs, Call::Ufunc { ufunc, method })
    }

    fn __array_function__<'py>(
        slf: Slf<'_, 'py>,
        func: &Bound<'py, PyAny>,
        types: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Object<'py> {
        let py = slf.py();
        if !all_known(types, slf.get_type().as_any())? {
            return Ok(py.NotImplemented().into_bound(py));
        }
        if Known::of(py)?.metadata.contains(func)? {
            return metadata(func, args, kwargs);
        }
        call_function(func, args, kwargs)
    }

    /// The module `ndarena`, in which NumPy's names are at home too.
    #[pyo3(signature = (*, api_version = None))]
    fn __array_namespace__<'py>(
        slf: Slf<'_, 'py>,
        api_version: Option<&Bound<'py, PyAny>>,
    ) -> Object<'py> {
        let py = slf.py();
        let view = slf.get().lend_for(py, "array_namespace")?;
        let kwargs = PyDict::new(py);
        kwargs.set_item(intern!(py, "api_version"), api_version)?;
        // NumPy knows which versions it serves, and refuses the others.
        view.object().call_method("__array_namespace__", (), Some(&kwargs))?;
        Ok(py.import("ndarena")?.into_any())
    }

    #[pyo3(signature = (dtype = None, *, copy = None))]
    fn __array__<'py>(
        slf: Slf<'_, 'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<&Bound<'py, PyAny>>,
    ) -> Object<'py> {
        let py = slf.py();
        let view = slf.get().lend_for(py, "array")?;
        let kwargs = PyDict::new(py);
        kwargs.set_item(intern!(py, "dtype"), dtype)?;
        kwargs.set_item(intern!(py, "copy"), copy)?;
        foreign::call_method(numpy(py)?, "asarray", (view.object(),), Some(&kwargs))
    }

    #[pyo3(
        signature = (**kwargs),
        text_signature = "($self, /, *, stream=None, max_version=None, dl_device=None, copy=None)"
    )]
    fn __dlpack__<'py>(slf: Slf<'_, 'py>, kwargs: Option<&Bound<'py, PyDict>>) -> Object<'py> {
        let view = slf.get().lend_for(slf.py(), "dlpack")?;
        foreign::call_method(view.object(), "__dlpack__", (), kwargs)
    }

    fn __dlpack_device__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        let view = slf.get().lend_for(slf.py(), "dlpack_device")?;
        view.object().call_method0("__dlpack_device__")
    }
}

/// A ufunc called on arrays, and on nothing else.
struct Called;

impl Shortcut for Called {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &ORIGINAL
    }

    #[inline]
    fn take<'py>(
        _slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (Some(ufunc), Some(method), Some(input)) = (args.get(0), args.get(1), args.get(2))
        else {
            return Ok(None);
        };
        let is_call = method
            .cast_exact::<PyString>()
            .is_ok_and(|m| m.to_str().is_ok_and(|m| m == "__call__"));
        if !is_call {
            return Ok(None);
        }
        let Some(loops) = Loops::of(&ufunc)? else { return Ok(None) };
        match (args.len(), args.get(3)) {
            (3, _) => elementwise::call(loops, &[&input]),
            (4, Some(other)) => elementwise::call(loops, &[&input, &other]),
            _ => Ok(None),
        }
    }
}

/// A view.
struct Viewed;

impl Shortcut for Viewed {
    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &ORIGINAL
    }

    #[inline]
    fn take<'py>(
        slf: &Bound<'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (Ok(slf), 0) = (slf.cast_exact::<WorkspaceArray>(), args.len()) else {
            return Ok(None);
        };
        slf.get().lend_for(slf.py(), "numpy").map(|view| Some(view.into_object()))
    }
}

/// Puts the shortcuts in their places.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<WorkspaceArray>();
    shortcut::of_method::<Called>(&class, "__array_ufunc__")?;
    shortcut::of_method::<Viewed>(&class, "numpy")
}

/// What is to take the result, if nothing else is asked for.
fn only_out<'py>(kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(kwargs) = kwargs.filter(|kwargs| kwargs.len() == 1) else { return Ok(None) };
    let Some(out) = kwargs.get_item(intern!(kwargs.py(), "out"))? else { return Ok(None) };
    let Ok(out) = out.cast_into_exact::<PyTuple>() else { return Ok(None) };
    if out.len() != 1 {
        return Ok(None);
    }
    out.get_item(0).map(Some)
}

/// Inputs that were given by name NumPy hands over twice: in their places, and by name.
fn drop_repeated(
    method: &str,
    inputs: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let Some(kwargs) = kwargs.filter(|_| method.starts_with("reduce") || method == "accumulate")
    else {
        return Ok(());
    };
    for (input, name) in inputs.iter().zip(["array", "indices"]) {
        if kwargs.get_item(name)?.is_some_and(|named| named.is(&input)) {
            kwargs.del_item(name)?;
        }
    }
    Ok(())
}

/// Whether an operand outside the family of ndarray takes part in ufuncs by itself.
fn has_foreign_ufunc(
    inputs: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<bool> {
    let py = inputs.py();
    let mut operands: Vec<_> = inputs.iter().collect();
    for name in ["out", "where"] {
        let Some(value) = kwargs.map(|k| k.get_item(name)).transpose()?.flatten() else {
            continue;
        };
        match value.cast_into::<PyTuple>() {
            Ok(outputs) => operands.extend(outputs.iter()),
            Err(value) => operands.push(value.into_inner()),
        }
    }
    let ndarray = ndarray_class(py)?;
    for operand in operands {
        let takes_part = !operand.is_exact_instance_of::<WorkspaceArray>()
            && operand.get_type().hasattr(intern!(py, "__array_ufunc__"))?;
        if takes_part && !operand.is_instance(ndarray)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Functions of NumPy's that are treated each in its own way.
struct Known {
    /// They ask for shape and size only, which an array has after its end too.
    metadata: Py<PyDict>,
    /// They reduce along axes and take `out`.
    reductions: Py<PyDict>,
    concatenate: Py<PyAny>,
    stack: Py<PyAny>,
    choose: Py<PyAny>,
    sort: Py<PyAny>,
}

struct KnownHere<'py> {
    metadata: Bound<'py, PyDict>,
    reductions: Bound<'py, PyDict>,
    all: &'static Known,
}

impl KnownHere<'_> {
    fn join(&self, func: &Bound<'_, PyAny>) -> Option<Join> {
        if self.all.concatenate.is(func) {
            Some(Join::Concatenate)
        } else {
            self.all.stack.is(func).then_some(Join::Stack)
        }
    }
}

const METADATA: [&str; 3] = ["shape", "ndim", "size"];
const REDUCTIONS: [&str; 9] = ["sum", "prod", "max", "min", "amax", "amin", "any", "all", "mean"];

impl Known {
    fn of(py: Python<'_>) -> PyResult<KnownHere<'_>> {
        static KNOWN: PyOnceLock<Known> = PyOnceLock::new();
        let known = KNOWN.get_or_try_init(py, || {
            let metadata = functions(py, &METADATA)?;
            let function = |name: &str| numpy(py)?.getattr(name).map(Bound::unbind);
            Ok::<_, PyErr>(Self {
                metadata,
                reductions: functions(py, &REDUCTIONS)?,
                concatenate: function("concatenate")?,
                stack: function("stack")?,
                choose: function("where")?,
                sort: function("sort")?,
            })
        })?;
        let metadata = known.metadata.bind(py).clone();
        Ok(KnownHere { metadata, reductions: known.reductions.bind(py).clone(), all: known })
    }
}

fn functions(py: Python<'_>, names: &[&str]) -> PyResult<Py<PyDict>> {
    let set = PyDict::new(py);
    for name in names {
        set.set_item(numpy(py)?.getattr(*name)?, py.None())?;
    }
    Ok(set.unbind())
}

/// `np.shape` and its like, asked of an array that has our shape and memory of its own.
fn metadata<'py>(
    func: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> Object<'py> {
    let py = func.py();
    let stand_in = |value: Bound<'py, PyAny>| -> Object<'py> {
        let Ok(handle) = value.cast::<WorkspaceArray>() else {
            return Ok(value);
        };
        let point = numpy(py)?.call_method1("empty", ((),))?;
        numpy(py)?
            .call_method1("broadcast_to", (point, PyTuple::new(py, handle.get().form().shape())?))
    };
    let args = args.iter().map(stand_in).collect::<PyResult<Vec<_>>>()?;
    let converted = PyDict::new(py);
    for (name, value) in kwargs {
        converted.set_item(name, stand_in(value)?)?;
    }
    foreign::call(func, PyTuple::new(py, args)?, Some(&converted))
}

/// A function of NumPy's on leased views.
pub fn call_function<'py>(
    func: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> Object<'py> {
    let py = func.py();
    let known = Known::of(py)?;
    let join = known.join(func);
    if let Some(join) = join {
        if let Some(result) = joining::in_a_row(join, args, kwargs)? {
            return Ok(result);
        }
    }
    if known.all.choose.is(func) && args.len() == 3 && kwargs.is_empty() {
        let [mask, x, y] = [args.get_item(0)?, args.get_item(1)?, args.get_item(2)?];
        if let Some(result) = picking::where_of(&mask, &x, &y)? {
            return Ok(result);
        }
    }
    let mut operands = Operands::new(py, Call::Function(func));
    let arguments = (operands.add_args(args)?, operands.add_kwargs(Some(kwargs))?);
    let (args, kwargs) = steady::of_function(func, arguments)?;
    if known.all.sort.is(func) {
        if let Some(sorted) = sorted(func, &args, kwargs.as_ref())? {
            return Ok(sorted);
        }
    }
    if let Some(join) = join {
        if let Some(result) =
            joining::function(&mut operands, (func, join), &args, kwargs.as_ref())?
        {
            return operands.settle(result);
        }
    }
    if known.reductions.contains(func)? && !is_half_mean(func, &args)? {
        let all_axes = py.None().into_bound(py);
        let placed =
            reduce::function(&mut operands, func, func, &args, kwargs.as_ref(), &all_axes)?;
        if let Some(result) = placed {
            return operands.settle(result);
        }
    }
    // Past its dispatcher: what was not converted (sequences of other classes) must not come back.
    let direct = func.getattr_opt(intern!(py, "_implementation"))?;
    let func = direct.as_ref().unwrap_or(func);
    operands.settle(foreign::call(func, &args, kwargs.as_ref())?)
}

/// `np.sort` of an array of numbers, along its last axis: a copy in the current workspace, sorted where it lies.
fn sorted<'py>(
    func: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let is_plain = args.len() == 1 && kwargs.is_none_or(PyDictMethods::is_empty);
    let Some(workspace) = fast::current().filter(|_| is_plain) else { return Ok(None) };
    let Some(array) = Ndarray::exact(&args.get_item(0)?)? else { return Ok(None) };
    if array.ndim() == 0 || !is_number(array.item().type_num) {
        return Ok(None);
    }
    let copy = copy_into(&workspace, &array, &Call::Function(func))?;
    let view = copy.get().lend_for(func.py(), "sort")?;
    foreign::call_method(view.object(), "sort", (), None)?;
    Ok(Some(copy.into_any()))
}

/// See `reduce::is_half`.
fn is_half_mean(func: &Bound<'_, PyAny>, args: &Bound<'_, PyTuple>) -> PyResult<bool> {
    let py = func.py();
    match args.get_item(0) {
        Ok(array) if func.is(&numpy(py)?.getattr(intern!(py, "mean"))?) => reduce::is_half(&array),
        _ => Ok(false),
    }
}
