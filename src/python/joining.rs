//! `concatenate` and `stack` of packed arrays of one dtype, straight into memory of the current workspace.

#![forbid(unsafe_code)]

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyTuple};

use super::fast::{self, is_number};
use super::foreign;
use super::handle::{Plan, WorkspaceArray};
use super::npy::{C_CONTIGUOUS, Ndarray, builtin_dtype, copy_packed};
use super::order;
use super::place::Operands;

/// A smaller result is sooner copied.
const WORTHWHILE: usize = 16 << 10;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Join {
    Concatenate,
    Stack,
}

/// Small arrays one after the other, along the first axis; `None`: the general path.
pub fn small<'py>(
    join: Join,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !fast::is_on() || args.len() != 1 || !kwargs.is_empty() {
        return Ok(None);
    }
    let at_hand = |item: &Bound<'py, PyAny>| {
        Ok(WorkspaceArray::in_place(item)?.map(|(array, _)| array.clone()))
    };
    let Some(arrays) = arrays(args, at_hand)? else { return Ok(None) };
    let Some(shape) = joined(&arrays, 0, join) else { return Ok(None) };
    let (dtype, size) = (arrays[0].dtype()?, arrays[0].item().size);
    let bytes = fast::bytes(&shape, size).filter(|&bytes| bytes < WORTHWHILE);
    let workspace = fast::current();
    let (Some(bytes), Some(workspace)) = (bytes, workspace) else { return Ok(None) };
    let made = fast::array(workspace, (dtype, size), &shape, bytes, (false, false))?;
    let Some(result) = made else { return Ok(None) };
    let target = result.get().template(args.py())?;
    let mut at = 0;
    for array in &arrays {
        match copy_packed(array, target, at) {
            Some(end) => at = end,
            None => return Ok(None),
        }
    }
    Ok(Some(result.into_any()))
}

/// The function on leased views; `None` where NumPy has to say itself what the result is.
pub fn function<'py>(
    operands: &mut Operands<'_, 'py>,
    (function, join): (&Bound<'py, PyAny>, Join),
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = function.py();
    let Some(workspace) = fast::current() else {
        return Ok(None);
    };
    let (Some(axis), Some(arrays)) = (axis(args, kwargs)?, arrays(args, Ndarray::exact)?) else {
        return Ok(None);
    };
    let Some(shape) = joined(&arrays, axis, join) else { return Ok(None) };
    let dtype = arrays[0].dtype()?;
    if fast::bytes(&shape, arrays[0].item().size).is_none_or(|bytes| bytes < WORTHWHILE) {
        return Ok(None);
    }
    let strides = order::c_strides(&shape, arrays[0].item().size);
    let plan = Plan { dtype: &dtype, shape: &shape, strides: &strides, zeroed: false };
    let out = operands.add_new(&workspace, &plan)?;
    let with_out = PyDict::new(py);
    with_out.set_item(intern!(py, "axis"), axis)?;
    with_out.set_item(intern!(py, "out"), out.object())?;
    foreign::call(function, (args.get_item(0)?,), Some(&with_out)).map(Some)
}

/// The axis, if nothing else is asked for.
fn axis(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Option<isize>> {
    let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
    let axis = match (args.len(), kwargs) {
        (1, None) => return Ok(Some(0)),
        (2, None) => args.get_item(1)?,
        (1, Some(kwargs)) if kwargs.len() == 1 => match kwargs.get_item("axis")? {
            Some(axis) => axis,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(if axis.is_exact_instance_of::<PyInt>() { axis.extract().ok() } else { None })
}

/// The first argument as packed arrays of one dtype, of numbers.
fn arrays<'py>(
    args: &Bound<'py, PyTuple>,
    read: impl Fn(&Bound<'py, PyAny>) -> PyResult<Option<Ndarray<'py>>>,
) -> PyResult<Option<Vec<Ndarray<'py>>>> {
    let given = args.get_item(0)?;
    let items: Vec<_> = match (given.cast_exact::<PyTuple>(), given.cast_exact::<PyList>()) {
        (Ok(tuple), _) => tuple.iter().collect(),
        (_, Ok(list)) => list.iter().collect(),
        _ => return Ok(None),
    };
    let mut arrays = Vec::with_capacity(items.len());
    for item in &items {
        let Some(array) = read(item)? else { return Ok(None) };
        arrays.push(array);
    }
    let Some(first) = arrays.first() else { return Ok(None) };
    let (type_num, dtype) = (first.item().type_num, first.dtype()?);
    // Another byte order, or metadata, is not what the result has.
    let number = is_number(type_num) && builtin_dtype(given.py(), type_num)?.is(&dtype);
    let fits = |array: &Ndarray<'_>| array.has_dtype(&dtype) && array.flags() & C_CONTIGUOUS != 0;
    Ok((number && arrays.iter().all(fits)).then_some(arrays))
}

/// The shape of the result; `None` where NumPy refuses, or lays it out in an order of its own.
fn joined(arrays: &[Ndarray<'_>], axis: isize, join: Join) -> Option<Vec<isize>> {
    let first = arrays.first()?.shape();
    if first.is_empty() {
        return None;
    }
    if join == Join::Stack {
        let count = isize::try_from(arrays.len()).ok()?;
        let is_same = |array: &Ndarray<'_>| *array.shape() == *first;
        let shape = std::iter::once(count).chain(first.iter().copied()).collect();
        return (axis == 0 && arrays.iter().all(is_same)).then_some(shape);
    }
    let ndim = isize::try_from(first.len()).ok()?;
    let axis = usize::try_from(if axis < 0 { axis + ndim } else { axis }).ok()?;
    let mut shape = first.to_vec();
    *shape.get_mut(axis)? = 0;
    for array in arrays {
        let own = array.shape();
        let fits = own.len() == shape.len()
            && own.iter().zip(&shape).enumerate().all(|(i, (a, b))| i == axis || a == b);
        if !fits {
            return None;
        }
        shape[axis] = shape[axis].checked_add(own[axis])?;
    }
    Some(shape)
}
