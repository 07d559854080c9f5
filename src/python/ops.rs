//! Ufuncs on workspace arrays: who decides, where the result goes, and NumPy that computes it.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyComplex, PyDict, PyFloat, PyInt, PyNone, PyString, PyTuple};

use super::foreign;
use super::handle::{Plan, WorkspaceArray, has_references};
use super::loops::elementwise;
use super::naming::Call;
use super::npy::{Ndarray, item, numpy};
use super::place::Operands;
use super::{order, reduce, steady};
use crate::registry;
use ufuncs::Ufunc;

pub mod ufuncs;

/// What the other operand of an operator is to us.
pub enum Standing {
    /// We compute: an array, a scalar, a sequence, anything NumPy converts.
    Ours,
    /// A subclass of ndarray: its operators are NumPy's, or better.
    Subclass,
    /// It takes part in ufuncs by itself: NumPy hands it the call.
    Foreign,
    /// It asks to be left to its own operators.
    Defers,
}

/// NumPy's rule for operators, with subclasses of ndarray counted as foreign.
pub fn standing(other: &Bound<'_, PyAny>) -> PyResult<Standing> {
    let py = other.py();
    if other.is_exact_instance_of::<WorkspaceArray>()
        || Ndarray::exact(other)?.is_some()
        || is_plain_scalar(other)?
    {
        return Ok(Standing::Ours);
    }
    if let Some(ufunc) = handler(other)? {
        return Ok(if ufunc.is_none() {
            Standing::Defers
        } else if other.is_instance(&numpy(py)?.getattr(intern!(py, "ndarray"))?)? {
            Standing::Subclass
        } else {
            Standing::Foreign
        });
    }
    let priority = other.getattr_opt(intern!(py, "__array_priority__"))?;
    let priority = priority.and_then(|p| p.extract::<f64>().ok());
    // The priority of ndarray is 0, that of an object which names none is far below.
    let is_higher = priority.is_some_and(|p| p > 0.0);
    Ok(if is_higher { Standing::Defers } else { Standing::Ours })
}

fn handler<'py>(other: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    other.get_type().getattr_opt(intern!(other.py(), "__array_ufunc__"))
}

fn is_plain_scalar(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_exact_instance_of::<PyComplex>()
        || object.is_exact_instance_of::<PyNone>()
        || is_numpy_scalar(object)?)
}

fn is_numpy_scalar(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static GENERIC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let generic =
        GENERIC.get_or_try_init(py, || numpy(py)?.getattr("generic").map(Bound::unbind))?.bind(py);
    object.is_instance(generic)
}

/// `ours <operator> other`; `None` leaves it to the other operand.
pub fn forward<'py>(
    ufunc: &Ufunc,
    ours: &Bound<'py, PyAny>,
    other: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(result) = ufunc.fast(&[ours, other])? {
        return Ok(Some(result));
    }
    match standing(other)? {
        Standing::Defers | Standing::Subclass => Ok(None),
        Standing::Foreign => foreign::call(ufunc.object(ours.py())?, (ours, other), None).map(Some),
        Standing::Ours => call_operator(ufunc, ours, other).map(Some),
    }
}

/// `other <operator> ours`, once the other operand has declined.
pub fn reflected<'py>(
    ufunc: &Ufunc,
    other: &Bound<'py, PyAny>,
    ours: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(result) = ufunc.fast(&[other, ours])? {
        return Ok(result);
    }
    if handler(other)?.is_some() {
        return foreign::call(ufunc.object(ours.py())?, (other, ours), None);
    }
    call_operator(ufunc, other, ours)
}

fn call_operator<'py>(
    ufunc: &Ufunc,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = left.py();
    let args = PyTuple::new(py, [left, right])?;
    call_ufunc(ufunc.object(py)?, "__call__", &args, None, Call::Operator(ufunc.name))
}

/// A unary operator.
pub fn unary<'py>(
    ufunc: &Ufunc,
    operand: &Bound<'py, WorkspaceArray>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = operand.py();
    if let Some(result) = ufunc.fast(&[operand.as_any()])? {
        return Ok(result);
    }
    let ufunc = ufunc.object(py)?;
    let args = PyTuple::new(py, [operand])?;
    call_ufunc(ufunc, "__call__", &args, None, Call::Ufunc { ufunc, method: "__call__" })
}

/// An operator that writes into its left operand, `iadd` and its like; `None` leaves it to the other one.
pub fn in_place<'py>(
    (name, ufunc): (&str, &Ufunc),
    target: &Bound<'py, WorkspaceArray>,
    other: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = target.py();
    if let (Some(loops), false) = (ufunc.found(py)?.1, ufunc.name == "matmul") {
        if elementwise::into(loops, &[target.as_any(), other], target.as_any())? {
            return Ok(Some(target.clone().into_any()));
        }
    }
    match standing(other)? {
        Standing::Foreign => {
            let kwargs = PyDict::new(py);
            kwargs.set_item(intern!(py, "out"), (target,))?;
            foreign::call(ufunc.object(py)?, (target, other), Some(&kwargs)).map(Some)
        }
        // NumPy lets only a priority decide here; without a handler the ufunc refuses.
        Standing::Defers if handler(other)?.is_none() => Ok(None),
        _ => through_operator(name, name, target.as_any(), other).map(Some),
    }
}

/// An operator that NumPy's own operator computes from leased views.
pub fn through_operator<'py>(
    name: &str,
    operator: &str,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = left.py();
    let mut operands = Operands::new(py, Call::Operator(name));
    let views = operands.add_args(&PyTuple::new(py, [left, right])?)?;
    let operator = py.import(intern!(py, "operator"))?.getattr(PyString::intern(py, operator))?;
    operands.settle(foreign::call(&operator, views, None)?)
}

/// `ours ** exponent`, with NumPy's shortcuts for the common exponents.
pub fn power<'py>(
    ours: &Bound<'py, PyAny>,
    exponent: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !matches!(standing(exponent)?, Standing::Ours) {
        return forward(&ufuncs::POWER, ours, exponent);
    }
    let is_number =
        exponent.is_exact_instance_of::<PyInt>() || exponent.is_exact_instance_of::<PyFloat>();
    let number = if is_number { exponent.extract::<f64>().ok() } else { None };
    match (number, kind_of(ours)?) {
        (Some(2.0), Some('f' | 'c')) => shortcut(&ufuncs::SQUARE, ours).map(Some),
        (Some(0.5), Some('f' | 'c')) => shortcut(&ufuncs::SQRT, ours).map(Some),
        (Some(n), Some('f' | 'c')) if ![-1.0, 0.0, 1.0].contains(&n) => {
            forward(&ufuncs::POWER, ours, exponent)
        }
        _ => through_operator("power", "pow", ours, exponent).map(Some),
    }
}

fn shortcut<'py>(ufunc: &Ufunc, left: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = left.py();
    if let Some(result) = ufunc.fast(&[left])? {
        return Ok(result);
    }
    let args = PyTuple::new(py, [left])?;
    call_ufunc(ufunc.object(py)?, "__call__", &args, None, Call::Operator("power"))
}

/// A comparison; `None` leaves it to the other operand.
pub fn compare<'py>(
    ufunc: &Ufunc,
    operator: &str,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(result) = ufunc.fast(&[left, right])? {
        return Ok(Some(result));
    }
    let is_ours = matches!(standing(right)?, Standing::Ours);
    if is_ours && !(is_numeric(left)? && is_numeric(right)?) {
        // NumPy's own operator knows what to answer where no loop compares the two.
        return through_operator(ufunc.name, operator, left, right).map(Some);
    }
    forward(ufunc, left, right)
}

/// Whether a comparison with this operand is a plain ufunc call.
fn is_numeric(operand: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(operand.is_instance_of::<PyInt>()
        || operand.is_instance_of::<PyFloat>()
        || operand.is_instance_of::<PyComplex>()
        || matches!(kind_of(operand)?, Some('b' | 'i' | 'u' | 'f' | 'c')))
}

/// The kind of an operand's dtype, if it has one.
fn kind_of(operand: &Bound<'_, PyAny>) -> PyResult<Option<char>> {
    let py = operand.py();
    if let Some(array) = Ndarray::exact(operand)? {
        return Ok(Some(array.item().kind));
    }
    if let Ok(ours) = operand.cast_exact::<WorkspaceArray>() {
        return Ok(Some(ours.get().form().item().kind));
    }
    let Some(dtype) = operand.getattr_opt(intern!(py, "dtype"))? else {
        return Ok(None);
    };
    let Some(kind) = dtype.getattr_opt(intern!(py, "kind"))? else {
        return Ok(None);
    };
    Ok(kind.extract().ok())
}

/// A ufunc's method on operands of which at least one is ours.
pub fn call_ufunc<'py>(
    ufunc: &Bound<'py, PyAny>,
    method: &str,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
    call: Call<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut operands = Operands::new(ufunc.py(), call);
    let arguments = (operands.add_args(args)?, operands.add_kwargs(kwargs)?);
    let (args, kwargs) = steady::of_ufunc(method, arguments)?;
    let kwargs = kwargs.as_ref().filter(|kwargs| !kwargs.is_empty());
    let placed = match method {
        "__call__" if kwargs.is_none() => elementwise(&mut operands, ufunc, &args)?,
        "reduce" => reduce::ufunc_reduce(&mut operands, ufunc, &args, kwargs)?,
        _ => None,
    };
    match placed {
        Some(result) => operands.settle(result),
        None => operands.settle(foreign::call_method(ufunc, method, &args, kwargs)?),
    }
}

/// The ufunc called into new memory of the current workspace; `None` where NumPy has to say
/// itself what the result is: no workspace, a scalar, operands that it must convert or refuse.
fn elementwise<'py>(
    operands: &mut Operands<'_, 'py>,
    ufunc: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = ufunc.py();
    let Some(workspace) = registry::current_workspace() else {
        return Ok(None);
    };
    let Some(inputs) = Inputs::read(ufunc, args)? else {
        return Ok(None);
    };
    let Some(shape) = inputs.result_shape() else {
        return Ok(None);
    };
    let Some(dtypes) = result_dtypes(ufunc, &inputs.kinds)? else {
        return Ok(None);
    };
    if shape.is_empty() {
        return Ok(None);
    }
    let strides = dtypes.iter().map(|dtype| inputs.result_strides(&shape, dtype));
    let strides = strides.collect::<PyResult<Vec<_>>>()?;
    let plan = |(dtype, strides)| Plan { dtype, shape: &shape, strides, zeroed: false };
    let plans: Vec<_> = dtypes.iter().zip(strides.iter().map(Vec::as_slice)).map(plan).collect();
    let outputs = operands.add_all_new(&workspace, &plans)?;
    let outputs = outputs.into_iter().map(Ndarray::into_object);
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "out"), PyTuple::new(py, outputs.collect::<Vec<_>>())?)?;
    foreign::call(ufunc, args, Some(&kwargs)).map(Some)
}

/// What the inputs of a ufunc say about its result.
struct Inputs<'py> {
    is_matmul: bool,
    arrays: Vec<Option<Ndarray<'py>>>,
    /// For each input its dtype, or the Python type of a scalar.
    kinds: Vec<Bound<'py, PyAny>>,
}

impl<'py> Inputs<'py> {
    fn read(ufunc: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>) -> PyResult<Option<Self>> {
        let py = ufunc.py();
        let nin: usize = ufunc.getattr(intern!(py, "nin"))?.extract()?;
        let is_matmul = ufunc.is(&numpy(py)?.getattr(intern!(py, "matmul"))?);
        let is_elementwise = ufunc.getattr(intern!(py, "signature"))?.is_none();
        if args.len() != nin || !(is_matmul || is_elementwise) {
            return Ok(None);
        }
        let mut inputs = Self { is_matmul, arrays: Vec::new(), kinds: Vec::new() };
        for arg in args {
            let array = Ndarray::exact(&arg)?;
            let kind = match &array {
                Some(array) => array.dtype()?,
                None if is_numpy_scalar(&arg)? => arg.getattr(intern!(py, "dtype"))?,
                None if arg.is_exact_instance_of::<PyBool>() => {
                    numpy(py)?.getattr(intern!(py, "True_"))?.getattr(intern!(py, "dtype"))?
                }
                None if is_plain_scalar(&arg)? && !arg.is_none() => arg.get_type().into_any(),
                None => return Ok(None),
            };
            inputs.arrays.push(array);
            inputs.kinds.push(kind);
        }
        Ok(Some(inputs))
    }

    fn shapes(&self) -> Vec<Vec<isize>> {
        let shape = |array: &Option<Ndarray<'py>>| array.as_ref().map(|a| a.shape().to_vec());
        self.arrays.iter().map(|array| shape(array).unwrap_or_default()).collect()
    }

    fn result_shape(&self) -> Option<Vec<isize>> {
        if !self.is_matmul {
            return order::broadcast_shape(self.shapes().iter().map(Vec::as_slice));
        }
        let shapes = self.shapes();
        order::matmul_shape(shapes.first()?, shapes.get(1)?)
    }

    fn result_strides(&self, shape: &[isize], dtype: &Bound<'py, PyAny>) -> PyResult<Vec<isize>> {
        let itemsize = item(dtype)?.size;
        // The matrices of a product lie in C order, the stack of them in that of the operands' stacks.
        let inner = if self.is_matmul { 2 } else { 0 };
        let stacked = |a: &Ndarray<'py>| a.shape().len().saturating_sub(inner);
        let loops = self.arrays.iter().flatten().map(stacked).max().unwrap_or(0);
        let strides = self.arrays.iter().flatten().map(|a| {
            let own = stacked(a);
            let mut steps = order::broadcast_strides(loops, &a.shape()[..own], &a.strides()[..own]);
            steps.resize(shape.len(), 0);
            steps
        });
        let strides: Vec<_> = strides.collect();
        Ok(order::kept_strides(shape, &strides, itemsize))
    }
}

const CACHE_LIMIT: usize = 4096;

/// Memory for answers that NumPy gives again and again.
pub fn remembered<'py>(
    key: &Bound<'py, PyTuple>,
    answer: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static CACHE: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let py = key.py();
    let cache = CACHE.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(known) = cache.get_item(key)? {
        return Ok(known);
    }
    let answer = answer()?;
    if cache.len() >= CACHE_LIMIT {
        cache.clear();
    }
    cache.set_item(key, &answer)?;
    Ok(answer)
}

/// The dtypes of the results; `None` where NumPy has no loop, or one that makes references.
fn result_dtypes<'py>(
    ufunc: &Bound<'py, PyAny>,
    kinds: &[Bound<'py, PyAny>],
) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    let py = ufunc.py();
    let key = PyTuple::new(py, std::iter::once(ufunc).chain(kinds).collect::<Vec<_>>())?;
    let answer = remembered(&key, || {
        let resolved = resolve(ufunc, kinds);
        match resolved {
            Ok(dtypes) => Ok(dtypes),
            // NumPy will say the same, better, when it is asked to compute.
            Err(_) => Ok(py.None().into_bound(py)),
        }
    })?;
    if answer.is_none() {
        return Ok(None);
    }
    Ok(Some(answer.try_iter()?.collect::<PyResult<_>>()?))
}

fn resolve<'py>(
    ufunc: &Bound<'py, PyAny>,
    kinds: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let py = ufunc.py();
    let nout: usize = ufunc.getattr(intern!(py, "nout"))?.extract()?;
    let unknown = std::iter::repeat_n(py.None().into_bound(py), nout);
    let asked = PyTuple::new(py, kinds.iter().cloned().chain(unknown).collect::<Vec<_>>())?;
    let resolved = ufunc.call_method1(intern!(py, "resolve_dtypes"), (asked,))?;
    let outputs = resolved.cast_into::<PyTuple>()?.get_slice(kinds.len(), usize::MAX);
    for dtype in &outputs {
        if has_references(&dtype)? {
            return Err(PyValueError::new_err("elements with references"));
        }
    }
    Ok(outputs.into_any())
}
