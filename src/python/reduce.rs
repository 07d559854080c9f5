//! Reductions along axes, computed into memory of the current workspace.

use std::sync::atomic::{AtomicI32, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyInt, PyString, PyTuple};

use super::fast;
use super::foreign;
use super::handle::{Plan, WorkspaceArray, has_references};
use super::loops::Loops;
use super::loops::folding::{Begin, Fold};
use super::npy::{C_CONTIGUOUS, FEW, Ndarray, builtin_dtype, item, numpy};
use super::numbers::{Number, is_number};
use super::ops::remembered;
use super::order;
use super::place::Operands;
use crate::registry;

/// `ufunc.reduce`; `None` where NumPy has to say itself what the result is.
pub fn ufunc_reduce<'py>(
    operands: &mut Operands<'_, 'py>,
    ufunc: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = ufunc.py();
    if !ufunc.getattr(intern!(py, "signature"))?.is_none() {
        return Ok(None);
    }
    // Unlike the functions and methods, `ufunc.reduce` reduces the first axis if none is named.
    let missing = 0i32.into_pyobject(py)?.into_any();
    let reducer = ufunc.getattr(intern!(py, "reduce"))?;
    function(operands, &reducer, ufunc, args, kwargs, &missing)
}

/// A reduction given as a function of (array, axis=…, keepdims=…, out=…). `key` names it in the
/// memory of result types.
pub fn function<'py>(
    operands: &mut Operands<'_, 'py>,
    reducer: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
    missing_axis: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = reducer.py();
    let Some(workspace) = registry::current_workspace() else {
        return Ok(None);
    };
    if !writes_right(py)? {
        return Ok(None);
    }
    let Some(asked) = Asked::read(args, kwargs, missing_axis)? else {
        return Ok(None);
    };
    let Some(dtype) = result_dtype(reducer, key, &asked.array.dtype()?)? else {
        return Ok(None);
    };
    let itemsize = item(&dtype)?.size;
    let (shape, strides) = asked.result(itemsize);
    if shape.is_empty() {
        return Ok(None);
    }
    let plan = Plan { dtype: &dtype, shape: &shape, strides: &strides, zeroed: false };
    let out = operands.add_new(&workspace, &plan)?;
    let with_out = match kwargs {
        Some(kwargs) => kwargs.copy()?,
        None => PyDict::new(py),
    };
    with_out.set_item(intern!(py, "out"), out.object())?;
    foreign::call(reducer, args, Some(&with_out)).map(Some)
}

/// The ufuncs whose `reduce` a method of ndarray's is, and the dtypes of their results.
static QUICK: [Quick; 4] = [
    Quick::new("sum", "add", Some(Begin::Zero)),
    Quick::new("prod", "multiply", None),
    Quick::new("max", "maximum", Some(Begin::First)),
    Quick::new("min", "minimum", Some(Begin::First)),
];

struct Quick {
    method: &'static str,
    ufunc: &'static str,
    reducer: PyOnceLock<Py<PyAny>>,
    fold: Option<Fold>,
    loops: PyOnceLock<Option<&'static Loops>>,
    /// By type number of the elements; 0, which no result has that is not found anew, says unknown.
    results: [AtomicI32; 24],
}

impl Quick {
    const fn new(method: &'static str, ufunc: &'static str, begin: Option<Begin>) -> Self {
        let results = [const { AtomicI32::new(0) }; 24];
        let fold = match begin {
            Some(begin) => Some(Fold::new(begin)),
            None => None,
        };
        Self { method, ufunc, reducer: PyOnceLock::new(), fold, loops: PyOnceLock::new(), results }
    }

    fn reducer<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let reducer = self.reducer.get_or_try_init(py, || {
            let ufunc = numpy(py)?.getattr(self.ufunc)?;
            ufunc.getattr("reduce").map(Bound::unbind)
        })?;
        Ok(reducer.bind(py))
    }

    /// The way past NumPy's `reduce`, for what has the dtype of its result.
    fn fold(&self, array: &Bound<'_, WorkspaceArray>) -> PyResult<Option<(&Fold, &'static Loops)>> {
        let py = array.py();
        let loops =
            self.loops.get_or_try_init(py, || Loops::of(&numpy(py)?.getattr(self.ufunc)?))?;
        let (Some(fold), Some(loops)) = (&self.fold, loops) else { return Ok(None) };
        let is_same = self.result(array)?.is_some_and(|dtype| array.get().form().has_dtype(&dtype));
        if is_same {
            fold.learn(py, loops, array.get().form().item().type_num)?;
        }
        Ok(is_same.then_some((fold, loops)))
    }

    fn result<'py>(
        &self,
        array: &Bound<'py, WorkspaceArray>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, form) = (array.py(), array.get().form());
        let Some(known) =
            usize::try_from(form.item().type_num).ok().and_then(|t| self.results.get(t))
        else {
            return Ok(None);
        };
        let type_num = known.load(Ordering::Relaxed);
        if type_num > 0 {
            return builtin_dtype(py, type_num).map(Some);
        }
        let reducer = self.reducer(py)?;
        let found = result_dtype(reducer, reducer, form.dtype(py))?;
        if let Some(dtype) = &found {
            known.store(item(dtype)?.type_num, Ordering::Relaxed);
        }
        Ok(found)
    }
}

/// `sum`, `prod`, `max` and `min` of numbers in C order, over all axes or one; `None`: the general path.
pub fn method<'py>(
    name: &str,
    slf: &Bound<'py, WorkspaceArray>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = slf.py();
    let ours = slf.get();
    if !fast::is_on() || !ours.is_at_hand() || !writes_right(py)? {
        return Ok(None);
    }
    let Some(quick) = QUICK.iter().find(|quick| quick.method == name) else { return Ok(None) };
    let Some((axis, keepdims)) = only_axis(args, kwargs)? else { return Ok(None) };
    let form = ours.form();
    if !is_number(form.item().type_num) || form.flags() & C_CONTIGUOUS == 0 {
        return Ok(None);
    }
    let (reducer, none) = (quick.reducer(py)?, py.None().into_bound(py));
    // What was looked at may have been given away while the ways were compared.
    let fold = quick.fold(slf)?.filter(|_| ours.is_at_hand());
    if (axis.is_none() || form.shape().len() == 1) && !keepdims {
        if let (Some((fold, loops)), true) = (fold, axis.is_none()) {
            if let Some(result) = fold.all(py, loops, ours)? {
                return Ok(Some(result));
            }
        }
        let view = ours.lend_for(py, name)?;
        let args = (view.into_object(), axis, &none, &none, false);
        return foreign::call(reducer, args, None).map(Some);
    }
    let Some(out) = out_for(quick, slf, &axis, keepdims)? else { return Ok(None) };
    if let (Some((fold, loops)), Ok(axis), true) = (fold, axis.extract(), ours.is_at_hand()) {
        let target = out.get().form();
        let is_done = match axis {
            0 => fold.rows(py, loops, form, target)?,
            1 | -1 => fold.along(py, loops, form, target)?,
            _ => false,
        };
        if is_done {
            return Ok(Some(out.into_any()));
        }
    }
    let (view, target) = (ours.lend_for(py, name)?, out.get().lend_for(py, name)?);
    let args = (view.into_object(), axis, &none, target.into_object(), keepdims);
    foreign::call(reducer, args, None)?;
    Ok(Some(out.into_any()))
}

/// The axis, an int or `None` for all, and whether it stays, if nothing else is asked for.
fn only_axis<'py>(
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
    let py = args.py();
    let mut axis = match args.len() {
        0 => py.None().into_bound(py),
        1 => args.get_item(0)?,
        _ => return Ok(None),
    };
    let mut keepdims = false;
    for (name, value) in kwargs.into_iter().flatten() {
        let name = name.cast_into::<PyString>()?;
        match (&*name.to_cow()?, value.cast_exact::<PyBool>()) {
            ("axis", _) if args.is_empty() => axis = value,
            ("keepdims", Ok(keep)) => keepdims = keep.is_true(),
            _ => return Ok(None),
        }
    }
    let is_plain = axis.is_none() || axis.is_exact_instance_of::<PyInt>();
    Ok(is_plain.then_some((axis, keepdims)))
}

/// New memory of the current workspace for the reduction along one axis.
fn out_for<'py>(
    quick: &Quick,
    array: &Bound<'py, WorkspaceArray>,
    axis: &Bound<'py, PyAny>,
    keepdims: bool,
) -> PyResult<Option<Bound<'py, WorkspaceArray>>> {
    let (py, shape) = (array.py(), array.get().form().shape());
    if shape.len() > FEW {
        return Ok(None);
    }
    let count = isize::try_from(shape.len())?;
    let Ok(axis) = axis.extract::<isize>() else { return Ok(None) };
    let axis = if axis < 0 { axis + count } else { axis };
    let Some(axis) = usize::try_from(axis).ok().filter(|_| axis < count) else { return Ok(None) };
    let mut left = [0; FEW];
    let kept = shape.iter().enumerate().filter(|&(i, _)| keepdims || i != axis);
    for (place, (i, &length)) in left.iter_mut().zip(kept) {
        *place = if i == axis { 1 } else { length };
    }
    let left = &left[..shape.len() - usize::from(!keepdims)];
    let Some(dtype) = quick.result(array)? else { return Ok(None) };
    let Some(number) = Number::of(py, item(&dtype)?.type_num)? else { return Ok(None) };
    fast::array(py, number, left, false)
}

/// NumPy 2.0 and 2.1 write wrong values into `out` when they reduce arrays of some memory orders.
fn writes_right(py: Python<'_>) -> PyResult<bool> {
    static RIGHT: PyOnceLock<bool> = PyOnceLock::new();
    let right = RIGHT.get_or_try_init(py, || {
        let version: String = numpy(py)?.getattr("__version__")?.extract()?;
        Ok::<_, PyErr>(!version.starts_with("2.0.") && !version.starts_with("2.1."))
    })?;
    Ok(*right)
}

/// A reduction of one array along some of its axes.
struct Asked<'py> {
    array: Ndarray<'py>,
    reduced: Vec<bool>,
    keepdims: bool,
}

impl<'py> Asked<'py> {
    /// Only the plain forms: an array, an axis, keepdims.
    fn read(
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        missing_axis: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Self>> {
        let mut axis = match args.len() {
            1 => missing_axis.clone(),
            2 => args.get_item(1)?,
            _ => return Ok(None),
        };
        let Some(array) = Ndarray::exact(&args.get_item(0)?)? else {
            return Ok(None);
        };
        let mut keepdims = false;
        for (name, value) in kwargs.into_iter().flatten() {
            match name.extract::<&str>()? {
                "axis" if args.len() == 1 => axis = value,
                "keepdims" => match value.extract() {
                    Ok(value) => keepdims = value,
                    Err(_) => return Ok(None),
                },
                "dtype" | "out" if value.is_none() => {}
                _ => return Ok(None),
            }
        }
        let ndim = array.shape().len();
        let Some(reduced) = reduced_axes(&axis, ndim)? else {
            return Ok(None);
        };
        Ok(Some(Self { array, reduced, keepdims }))
    }

    /// Shape and strides of the result, in the array's memory order.
    fn result(&self, itemsize: isize) -> (Vec<isize>, Vec<isize>) {
        let own = self.array.shape();
        let steps = order::broadcast_strides(own.len(), &own, &self.array.strides());
        let along = own.iter().zip(&self.reduced);
        let shape: Vec<_> = along.map(|(&n, &reduced)| if reduced { 1 } else { n }).collect();
        // Reduced axes have their say in the order of the others.
        let strides = order::kept_strides(&shape, &[steps], itemsize);
        let axes = shape.into_iter().zip(strides).zip(&self.reduced);
        axes.filter(|&(_, &reduced)| self.keepdims || !reduced).map(|(axis, _)| axis).unzip()
    }
}

/// For each axis whether it is reduced; `None` where NumPy has to refuse.
fn reduced_axes(axis: &Bound<'_, PyAny>, ndim: usize) -> PyResult<Option<Vec<bool>>> {
    if axis.is_none() {
        return Ok(Some(vec![true; ndim]));
    }
    let several: Vec<isize> = match (axis.extract(), axis.cast::<PyTuple>()) {
        (Ok(single), _) => vec![single],
        (_, Ok(tuple)) => match tuple.extract() {
            Ok(several) => several,
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let mut reduced = vec![false; ndim];
    let count = isize::try_from(ndim)?;
    for axis in several {
        let place = usize::try_from(if axis < 0 { axis + count } else { axis });
        match place.ok().and_then(|place| reduced.get_mut(place)) {
            Some(seen) if !*seen => *seen = true,
            _ => return Ok(None),
        }
    }
    Ok(Some(reduced))
}

/// The dtype that NumPy gives the reduction of such elements, asked with a single element.
fn result_dtype<'py>(
    reducer: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = reducer.py();
    let key = PyTuple::new(py, [key, intern!(py, "reduce").as_any(), dtype])?;
    let answer = remembered(&key, || match sample(reducer, dtype) {
        Ok(answer) => Ok(answer),
        Err(_) => Ok(py.None().into_bound(py)),
    })?;
    let usable = !answer.is_none() && !has_references(&answer)?;
    Ok(usable.then_some(answer))
}

fn sample<'py>(
    reducer: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = reducer.py();
    let one = numpy(py)?.call_method1(intern!(py, "zeros"), ((1, 1), dtype))?;
    let result = reducer.call1((one, 0))?;
    result.getattr(intern!(py, "dtype"))
}

/// Half precision: its mean is rounded otherwise when it is written into `out`.
pub fn is_half(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(array) = Ndarray::exact(array)? else {
        return Ok(false);
    };
    let py = array.object().py();
    Ok(array.dtype()?.getattr(intern!(py, "char"))?.extract::<char>()? == 'e')
}
