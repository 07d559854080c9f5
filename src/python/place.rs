//! Operands on their way into NumPy, and results on their way out.
//!
//! Every workspace array goes in as a leased view, all of them before anything is computed or
//! allocated. What comes out is told by its address: inside an operand's memory it is a view of
//! that operand, anything else is put into the current workspace.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::error::to_pyerr;
use super::fast;
use super::foreign;
use super::handle::{Plan, WorkspaceArray, allocate, allocate_all, has_references};
use super::naming::{Call, Place};
use super::npy::{Layout, Ndarray, is_shared, item, numpy};
use super::order;
use crate::{Buffer, Error, Workspace, registry};

/// The operands of one operation.
pub struct Operands<'a, 'py> {
    py: Python<'py>,
    call: Call<'a, 'py>,
    ours: Vec<Operand<'py>>,
    plain: Vec<Ndarray<'py>>,
}

struct Operand<'py> {
    handle: Bound<'py, WorkspaceArray>,
    buffer: Buffer,
    view: Ndarray<'py>,
}

/// So deep may sequences be nested in an argument: NumPy's limit of axes.
const MAX_DEPTH: usize = 64;
/// And in a result: no function of NumPy's nests deeper.
const MAX_RESULT_DEPTH: usize = 4;

/// Why an argument cannot go in.
enum Refusal {
    Python(PyErr),
    Stale { error: Error, inside: Vec<usize> },
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl<'a, 'py> Operands<'a, 'py> {
    /// No operands yet.
    pub fn new(py: Python<'py>, call: Call<'a, 'py>) -> Self {
        Self { py, call, ours: Vec::new(), plain: Vec::new() }
    }

    /// The array whose method or access this is.
    pub fn add_self(&mut self, handle: &Bound<'py, WorkspaceArray>) -> PyResult<Ndarray<'py>> {
        self.lend(handle)?
            .map_err(|error| to_pyerr(error.in_operation(&self.call.operation(), "self")))
    }

    /// One argument: workspace arrays in it, also inside lists and tuples, become leased views.
    pub fn add(
        &mut self,
        argument: &Bound<'py, PyAny>,
        place: Place<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.convert(argument, 0).map_err(|refusal| self.explain(refusal, place))
    }

    /// All positional arguments.
    pub fn add_args(&mut self, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
        let converted =
            args.iter().enumerate().map(|(i, item)| self.add(&item, Place::Position(i)));
        let converted = converted.collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(self.py, converted)
    }

    /// All keyword arguments.
    pub fn add_kwargs(
        &mut self,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(kwargs) = kwargs else {
            return Ok(None);
        };
        let converted = PyDict::new(self.py);
        for (key, value) in kwargs {
            let name: String = key.extract()?;
            converted.set_item(key, self.add(&value, Place::Keyword(&name))?)?;
        }
        Ok(Some(converted))
    }

    fn explain(&self, refusal: Refusal, place: Place<'_>) -> PyErr {
        match refusal {
            Refusal::Python(error) => error,
            Refusal::Stale { error, inside } => {
                let argument = self.call.argument(self.py, place, &inside);
                to_pyerr(error.in_operation(&self.call.operation(), &argument))
            }
        }
    }

    fn convert(
        &mut self,
        argument: &Bound<'py, PyAny>,
        depth: usize,
    ) -> Result<Bound<'py, PyAny>, Refusal> {
        if let Ok(handle) = argument.cast::<WorkspaceArray>() {
            return match self.lend(handle)? {
                Ok(view) => Ok(view.into_object()),
                Err(error) => Err(Refusal::Stale { error, inside: Vec::new() }),
            };
        }
        if let Some(array) = Ndarray::exact(argument)? {
            self.plain.push(array);
        } else if depth == MAX_DEPTH {
            // NumPy refuses it, or takes the sequence for an element.
        } else if let Ok(list) = argument.cast_exact::<PyList>() {
            let items: Vec<_> = list.iter().collect();
            if let Some(items) = self.convert_items(&items, depth + 1)? {
                return Ok(PyList::new(self.py, items)?.into_any());
            }
        } else if let Ok(tuple) = argument.cast::<PyTuple>() {
            let items: Vec<_> = tuple.iter().collect();
            if let Some(items) = self.convert_items(&items, depth + 1)? {
                return Ok(like_tuple(tuple, items)?);
            }
        }
        Ok(argument.clone())
    }

    /// The items of a sequence, or `None` if there is nothing to convert in them.
    fn convert_items(
        &mut self,
        items: &[Bound<'py, PyAny>],
        depth: usize,
    ) -> Result<Option<Vec<Bound<'py, PyAny>>>, Refusal> {
        let mut converted = Vec::with_capacity(items.len());
        let mut changed = false;
        for (i, item) in items.iter().enumerate() {
            let value = self.convert(item, depth).map_err(|refusal| refusal.inside(i))?;
            changed |= !value.is(item);
            converted.push(value);
        }
        Ok(changed.then_some(converted))
    }

    fn lend(
        &mut self,
        handle: &Bound<'py, WorkspaceArray>,
    ) -> PyResult<Result<Ndarray<'py>, Error>> {
        if let Some(operand) = self.ours.iter().find(|o| o.handle.is(handle)) {
            return Ok(Ok(operand.view.clone()));
        }
        Ok(handle.get().lend(self.py)?.map(|(view, buffer)| {
            self.ours.push(Operand { handle: handle.clone(), buffer, view: view.clone() });
            view
        }))
    }

    /// A new array of the current workspace, as an operand that comes back as itself.
    pub fn add_new(
        &mut self,
        workspace: &Workspace,
        plan: &Plan<'_, 'py>,
    ) -> PyResult<Ndarray<'py>> {
        let handle = allocate(workspace, plan, &self.call)?;
        self.lend(&handle)?.map_err(to_pyerr)
    }

    /// The same for several, of which all are made or none.
    pub fn add_all_new(
        &mut self,
        workspace: &Workspace,
        plans: &[Plan<'_, 'py>],
    ) -> PyResult<Vec<Ndarray<'py>>> {
        let handles = allocate_all(workspace, plans, &self.call)?;
        handles.iter().map(|handle| self.lend(handle)?.map_err(to_pyerr)).collect()
    }

    /// What the caller gets for NumPy's result.
    pub fn settle(&self, result: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // A sequence that somebody else holds too was not made by NumPy.
        if result.is_instance_of::<PyList>() || result.is_instance_of::<PyTuple>() {
            return if is_shared(&result, 1) { Ok(result) } else { self.settle_items(&result, 0) };
        }
        self.settle_item(result, 1, 0)
    }

    /// What is made of a part of a result, of which NumPy and we hold `owners` references.
    fn settle_item(
        &self,
        item: Bound<'py, PyAny>,
        owners: isize,
        depth: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        match Ndarray::exact(&item)? {
            Some(array) => self.settle_array(array, owners),
            None if depth == MAX_RESULT_DEPTH || is_shared(&item, owners) => Ok(item),
            None => self.settle_items(&item, depth),
        }
    }

    fn settle_items(
        &self,
        result: &Bound<'py, PyAny>,
        depth: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let settle = |items: Vec<Bound<'py, PyAny>>| -> PyResult<Vec<_>> {
            // Each item is held by the result, once or more, and by us.
            let owners = |item: &Bound<'py, PyAny>| {
                let held = items.iter().filter(|other| other.is(item)).count();
                isize::try_from(2 * held).unwrap_or(isize::MAX - 2)
            };
            items
                .iter()
                .map(|item| self.settle_item(item.clone(), owners(item) + 1, depth + 1))
                .collect()
        };
        if let Ok(list) = result.cast_exact::<PyList>() {
            Ok(PyList::new(self.py, settle(list.iter().collect())?)?.into_any())
        } else if let Ok(tuple) = result.cast::<PyTuple>() {
            like_tuple(tuple, settle(tuple.iter().collect())?)
        } else {
            Ok(result.clone())
        }
    }

    /// `array` itself, as an array of `workspace`, if it lies there.
    pub fn found_in(
        &self,
        workspace: &Workspace,
        array: &Ndarray<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_there = |operand: &Operand<'py>| operand.buffer.workspace() == workspace;
        if let Some(operand) = self.ours.iter().find(|o| o.view.object().is(array.object())) {
            return Ok(is_there(operand).then(|| operand.handle.clone().into_any()));
        }
        let found = find(&self.ours, |o| Ok(is_there(o) && o.contains(array)?))?;
        found.map(|operand| operand.view_of(array)).transpose()
    }

    fn settle_array(&self, array: Ndarray<'py>, owners: isize) -> PyResult<Bound<'py, PyAny>> {
        // `Ndarray::exact` holds one more.
        let is_theirs = is_shared(array.object(), owners + 1);
        if let Some(operand) = self.ours.iter().find(|o| o.view.object().is(array.object())) {
            return Ok(operand.handle.clone().into_any());
        }
        if let Some(operand) = find(&self.ours, |o| o.contains(&array))? {
            return operand.view_of(&array);
        }
        let is_theirs = is_theirs || find(&self.plain, |plain| shares(plain, &array))?.is_some();
        if is_theirs || has_references(&array.dtype()?)? {
            return Ok(array.into_object());
        }
        match registry::current_workspace() {
            Some(workspace) => self.moved(&workspace, &array),
            None => Ok(array.into_object()),
        }
    }

    fn moved(&self, workspace: &Workspace, array: &Ndarray<'py>) -> PyResult<Bound<'py, PyAny>> {
        let copy = match fast::copy(workspace, array)? {
            Some(copy) => copy,
            None => copy_into(workspace, array, &self.call)?,
        };
        if !array.is_writeable() {
            copy.get().form().make_read_only();
        }
        Ok(copy.into_any())
    }
}

impl Refusal {
    fn inside(mut self, index: usize) -> Self {
        if let Self::Stale { inside, .. } = &mut self {
            inside.insert(0, index);
        }
        self
    }
}

impl<'py> Operand<'py> {
    /// Whether the elements of `array` lie in this operand's memory.
    fn contains(&self, array: &Ndarray<'py>) -> PyResult<bool> {
        let start = self.buffer.address();
        let span = start..start + self.buffer.len();
        if array.size() == 0 || span.is_empty() {
            return descends(array, &self.view);
        }
        Ok(span.contains(&array.data().addr()))
    }

    fn view_of(&self, array: &Ndarray<'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.handle.py();
        let dtype = array.dtype()?;
        let layout = Layout {
            dtype: &dtype,
            shape: &array.shape(),
            strides: &array.strides(),
            data: array.data(),
            writeable: array.is_writeable(),
        };
        Ok(WorkspaceArray::new(py, self.buffer.clone(), &layout)?.into_any())
    }
}

/// Whether `result` is `operand` or lies in its memory.
fn shares<'py>(operand: &Ndarray<'py>, result: &Ndarray<'py>) -> PyResult<bool> {
    if result.size() == 0 || operand.size() == 0 {
        return descends(result, operand);
    }
    let itemsize = operand.item().size;
    let (low, high) = order::extent(&operand.shape(), &operand.strides(), itemsize);
    let start = operand.data().addr();
    let span = start.wrapping_add_signed(low)..start.wrapping_add_signed(high);
    Ok(operand.object().is(result.object()) || span.contains(&result.data().addr()))
}

/// Where there are no bytes to tell by: whether `array` was made from `ancestor`.
fn descends<'py>(array: &Ndarray<'py>, ancestor: &Ndarray<'py>) -> PyResult<bool> {
    let py = array.object().py();
    let mut link = Some(array.clone());
    while let Some(array) = link {
        if array.object().is(ancestor.object()) {
            return Ok(true);
        }
        link = Ndarray::exact(&array.object().getattr(intern!(py, "base"))?)?;
    }
    Ok(false)
}

/// The first item for which `test` holds.
fn find<T>(items: &[T], mut test: impl FnMut(&T) -> PyResult<bool>) -> PyResult<Option<&T>> {
    for item in items {
        if test(item)? {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

/// A tuple of the same type as `tuple`, named tuples included.
fn like_tuple<'py>(
    tuple: &Bound<'py, PyTuple>,
    items: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = tuple.py();
    if tuple.is_exact_instance_of::<PyTuple>() {
        return Ok(PyTuple::new(py, items)?.into_any());
    }
    match tuple.get_type().getattr_opt(intern!(py, "_make"))? {
        Some(make) => make.call1((items,)),
        None => Ok(tuple.clone().into_any()),
    }
}

/// A copy of `source` in `workspace`, in the same memory order.
pub fn copy_into<'py>(
    workspace: &Workspace,
    source: &Ndarray<'py>,
    call: &Call<'_, 'py>,
) -> PyResult<Bound<'py, WorkspaceArray>> {
    copy_as(workspace, source, (&source.dtype()?, "unsafe"), call)
}

/// A copy of `source` with another element type in `workspace`, in the same memory order.
pub fn copy_as<'py>(
    workspace: &Workspace,
    source: &Ndarray<'py>,
    (dtype, casting): (&Bound<'py, PyAny>, &str),
    call: &Call<'_, 'py>,
) -> PyResult<Bound<'py, WorkspaceArray>> {
    let itemsize = item(dtype)?.size;
    let shape = source.shape();
    let strides = order::copied_strides(&shape, &source.strides(), itemsize);
    let plan = Plan { dtype, shape: &shape, strides: &strides, zeroed: false };
    let copy = allocate(workspace, &plan, call)?;
    copy_values(&copy, source.object(), casting)?;
    Ok(copy)
}

/// Writes `values` into a new array.
pub fn copy_values<'py>(
    target: &Bound<'py, WorkspaceArray>,
    values: &Bound<'py, PyAny>,
    casting: &str,
) -> PyResult<()> {
    let py = target.py();
    let view = target.get().lend_for(py, "copyto")?;
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "casting"), casting)?;
    let copyto = numpy(py)?.getattr(intern!(py, "copyto"))?;
    foreign::call(&copyto, (view.object(), values), Some(&kwargs)).map(drop)
}
