//! NumPy's ufuncs, each found once: those behind Python's operators by name.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::python::loops::{Loops, elementwise, matmul};
use crate::python::npy::numpy;

/// A ufunc of NumPy's, found once.
pub struct Ufunc {
    pub name: &'static str,
    found: PyOnceLock<(Py<PyAny>, Option<&'static Loops>)>,
}

impl Ufunc {
    pub const fn named(name: &'static str) -> Self {
        Self { name, found: PyOnceLock::new() }
    }

    pub fn found(&self, py: Python<'_>) -> PyResult<&(Py<PyAny>, Option<&'static Loops>)> {
        self.found.get_or_try_init(py, || {
            let ufunc = numpy(py)?.getattr(self.name)?;
            let is_matmul = self.name == "matmul";
            let loops = if is_matmul { Loops::of_matmul(py)? } else { Loops::of(&ufunc)? };
            Ok((ufunc.unbind(), loops))
        })
    }

    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        Ok(self.found(py)?.0.bind(py))
    }

    /// On numbers that lie packed; `None`: the general path.
    #[inline]
    pub fn fast<'py>(&self, inputs: &[&Bound<'py, PyAny>]) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (self.found(inputs[0].py())?.1, inputs) {
            (Some(loops), [left, right]) if self.name == "matmul" => {
                matmul::call(loops, left, right)
            }
            (Some(loops), _) => elementwise::call(loops, inputs),
            (None, _) => Ok(None),
        }
    }
}

impl Ufunc {
    /// The same into an array. False: the general path, and nothing has changed.
    #[inline]
    pub fn fast_into<'py>(
        &self,
        inputs: &[&Bound<'py, PyAny>],
        target: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        let Some(loops) = self.found(target.py())?.1 else { return Ok(false) };
        into(loops, self.name == "matmul", inputs, target)
    }
}

/// A ufunc on numbers that lie packed, which are the arguments from `first` on; `None`: the general path.
pub fn fast<'py>(
    ufunc: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    first: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(loops) = Loops::of(ufunc)? else { return Ok(None) };
    match (args.len() - first, loops.inputs()) {
        (1, 1) => elementwise::call(loops, &[&args.get_item(first)?]),
        (2, 2) => {
            let (left, right) = (args.get_item(first)?, args.get_item(first + 1)?);
            elementwise::call(loops, &[&left, &right])
        }
        _ => Ok(None),
    }
}

/// The same into an array. False: the general path, and nothing has changed.
pub fn fast_into<'py>(
    ufunc: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    first: usize,
    target: &Bound<'py, PyAny>,
) -> PyResult<bool> {
    let py = args.py();
    let (loops, is_matmul) = match (Loops::of(ufunc)?, Loops::of_matmul(py)?) {
        (Some(loops), _) => (loops, false),
        (None, Some(loops)) if loops.ufunc(py).is(ufunc) => (loops, true),
        _ => return Ok(false),
    };
    match args.len() - first {
        1 => into(loops, is_matmul, &[&args.get_item(first)?], target),
        2 => {
            let (left, right) = (args.get_item(first)?, args.get_item(first + 1)?);
            into(loops, is_matmul, &[&left, &right], target)
        }
        _ => Ok(false),
    }
}

fn into<'py>(
    loops: &Loops,
    is_matmul: bool,
    inputs: &[&Bound<'py, PyAny>],
    target: &Bound<'py, PyAny>,
) -> PyResult<bool> {
    match inputs {
        [left, right] if is_matmul => {
            matmul::into(loops, [left, right], [false; 2], target, matmul::Tile::WHOLE)
        }
        _ => elementwise::into(loops, inputs, target),
    }
}

macro_rules! ufuncs {
    ($($constant:ident $name:literal)*) => {
        $(pub static $constant: Ufunc = Ufunc::named($name);)*
    };
}

ufuncs! {
    ADD "add" SUBTRACT "subtract" MULTIPLY "multiply" MATMUL "matmul" DIVIDE "divide"
    FLOOR_DIVIDE "floor_divide" REMAINDER "remainder" DIVMOD "divmod" POWER "power"
    SQUARE "square" SQRT "sqrt" LEFT_SHIFT "left_shift" RIGHT_SHIFT "right_shift"
    BITWISE_AND "bitwise_and" BITWISE_OR "bitwise_or" BITWISE_XOR "bitwise_xor"
    NEGATIVE "negative" POSITIVE "positive" ABSOLUTE "absolute" INVERT "invert"
    LESS "less" LESS_EQUAL "less_equal" EQUAL "equal" NOT_EQUAL "not_equal"
    GREATER "greater" GREATER_EQUAL "greater_equal"
}
