//! `concatenate` and `stack` of packed arrays of one dtype, straight into memory of the current workspace.

#![forbid(unsafe_code)]

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyTuple};

use super::fast;
use super::foreign;
use super::handle::Plan;
use super::npy::{C_CONTIGUOUS, Ndarray};
use super::numbers::Number;
use super::order;
use super::place::Operands;
use super::seen::Seen;
use super::view::join_packed;

/// A smaller result is sooner copied.
const WORTHWHILE: usize = 16 << 10;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Join {
    Concatenate,
    Stack,
}

/// Arrays one after the other, along the first axis; `None`: the general path.
pub fn in_a_row<'py>(
    join: Join,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !fast::is_on() || args.len() != 1 || !kwargs.is_empty() {
        return Ok(None);
    }
    match items(args)? {
        Some(items) => made(args.py(), join, &items),
        None => Ok(None),
    }
}

/// Arrays one after the other in the current workspace, though none of them lies in one; `None`: in another way.
#[pyfunction]
#[pyo3(name = "_concatenate_here")]
pub fn concatenate_here<'py>(parts: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !fast::is_on() {
        return Ok(None);
    }
    let parts: Vec<_> = parts.iter().collect();
    match parts.first() {
        Some(first) => made(first.py(), Join::Concatenate, &parts),
        None => Ok(None),
    }
}

fn made<'py>(
    py: Python<'py>,
    join: Join,
    items: &[Bound<'py, PyAny>],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(arrays) = alike(items, Seen::in_place)? else { return Ok(None) };
    let Some(shape) = joined(&arrays, 0, join) else { return Ok(None) };
    let item = arrays[0].item();
    let Some(number) = Number::of(py, item.type_num)? else { return Ok(None) };
    let Some(result) = fast::array(py, number, &shape, false)? else { return Ok(None) };
    Ok(join_packed(py, &arrays, result.get().form())?.then(|| result.into_any()))
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
    let (Some(axis), Some(items)) = (axis(args, kwargs)?, items(args)?) else { return Ok(None) };
    let seen = |item| Ok(Ndarray::seen(item)?.map(Seen::Plain));
    let Some(arrays) = alike(&items, seen)? else { return Ok(None) };
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

/// What the first argument consists of.
fn items<'py>(args: &Bound<'py, PyTuple>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    let given = args.get_item(0)?;
    Ok(match (given.cast_exact::<PyTuple>(), given.cast_exact::<PyList>()) {
        (Ok(tuple), _) => Some(tuple.iter().collect()),
        (_, Ok(list)) => Some(list.iter().collect()),
        _ => None,
    })
}

/// The items as packed arrays of one dtype, of numbers.
fn alike<'a, 'py>(
    items: &'a [Bound<'py, PyAny>],
    read: impl Fn(&'a Bound<'py, PyAny>) -> PyResult<Option<Seen<'a, 'py>>>,
) -> PyResult<Option<Vec<Seen<'a, 'py>>>> {
    let mut arrays = Vec::with_capacity(items.len());
    for item in items {
        let Some(array) = read(item)? else { return Ok(None) };
        arrays.push(array);
    }
    let Some(first) = arrays.first() else { return Ok(None) };
    // Another byte order, or metadata, is not what the result has.
    let Some(number) = Number::of(first.py(), first.item().type_num)? else { return Ok(None) };
    let dtype = number.dtype(first.py());
    let fits = |array: &Seen<'_, '_>| array.has_dtype(dtype) && array.flags() & C_CONTIGUOUS != 0;
    Ok(arrays.iter().all(fits).then_some(arrays))
}

/// The shape of the result; `None` where NumPy refuses, or lays it out in an order of its own.
fn joined(arrays: &[Seen<'_, '_>], axis: isize, join: Join) -> Option<Vec<isize>> {
    let first = arrays.first()?.few_axes()?;
    let first = first.shape();
    if first.is_empty() {
        return None;
    }
    if join == Join::Stack {
        let count = isize::try_from(arrays.len()).ok()?;
        let is_same = |array: &Seen<'_, '_>| array.has_shape_of(&arrays[0]);
        let shape = std::iter::once(count).chain(first.iter().copied()).collect();
        return (axis == 0 && arrays.iter().all(is_same)).then_some(shape);
    }
    let ndim = isize::try_from(first.len()).ok()?;
    let axis = usize::try_from(if axis < 0 { axis + ndim } else { axis }).ok()?;
    let mut shape = first.to_vec();
    *shape.get_mut(axis)? = 0;
    for array in arrays {
        let own = array.few_axes()?;
        let own = own.shape();
        let fits = own.len() == shape.len()
            && own.iter().zip(&shape).enumerate().all(|(i, (a, b))| i == axis || a == b);
        if !fits {
            return None;
        }
        shape[axis] = shape[axis].checked_add(own[axis])?;
    }
    Some(shape)
}
