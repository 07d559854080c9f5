//! Python's operators on a `WorkspaceArray`: one-line calls into `ops`.

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::foreign;
use super::handle::WorkspaceArray;
use super::naming::Call;
use super::ops::{self, InPlaceOperand};
use super::place::Operands;

type Slf<'a, 'py> = &'a Bound<'py, WorkspaceArray>;
type Any<'a, 'py> = &'a Bound<'py, PyAny>;
type Object<'py> = PyResult<Bound<'py, PyAny>>;

/// `None` becomes `NotImplemented`: Python asks the other operand.
fn or_not_implemented<'py>(
    slf: Slf<'_, 'py>,
    result: Option<Bound<'py, PyAny>>,
) -> Bound<'py, PyAny> {
    result.unwrap_or_else(|| slf.py().NotImplemented().into_bound(slf.py()))
}

fn forward<'py>(name: &str, slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
    Ok(or_not_implemented(slf, ops::forward(name, slf.as_any(), other)?))
}

fn reflected<'py>(name: &str, slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
    ops::reflected(name, other, slf.as_any())
}

#[pymethods]
#[expect(clippy::needless_pass_by_value, reason = "arguments arrive by value")]
impl WorkspaceArray {
    fn __add__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("add", slf, other)
    }

    fn __radd__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("add", slf, other)
    }

    fn __iadd__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("iadd", slf, &other)
    }

    fn __sub__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("subtract", slf, other)
    }

    fn __rsub__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("subtract", slf, other)
    }

    fn __isub__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("isub", slf, &other)
    }

    fn __mul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("multiply", slf, other)
    }

    fn __rmul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("multiply", slf, other)
    }

    fn __imul__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("imul", slf, &other)
    }

    fn __matmul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("matmul", slf, other)
    }

    fn __rmatmul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("matmul", slf, other)
    }

    fn __imatmul__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("imatmul", slf, &other)
    }

    fn __truediv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("divide", slf, other)
    }

    fn __rtruediv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("divide", slf, other)
    }

    fn __itruediv__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("itruediv", slf, &other)
    }

    fn __floordiv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("floor_divide", slf, other)
    }

    fn __rfloordiv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("floor_divide", slf, other)
    }

    fn __ifloordiv__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("ifloordiv", slf, &other)
    }

    fn __mod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("remainder", slf, other)
    }

    fn __rmod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("remainder", slf, other)
    }

    fn __imod__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("imod", slf, &other)
    }

    fn __lshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("left_shift", slf, other)
    }

    fn __rlshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("left_shift", slf, other)
    }

    fn __ilshift__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("ilshift", slf, &other)
    }

    fn __rshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("right_shift", slf, other)
    }

    fn __rrshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("right_shift", slf, other)
    }

    fn __irshift__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("irshift", slf, &other)
    }

    fn __and__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("bitwise_and", slf, other)
    }

    fn __rand__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("bitwise_and", slf, other)
    }

    fn __iand__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("iand", slf, &other)
    }

    fn __or__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("bitwise_or", slf, other)
    }

    fn __ror__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("bitwise_or", slf, other)
    }

    fn __ior__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("ior", slf, &other)
    }

    fn __xor__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("bitwise_xor", slf, other)
    }

    fn __rxor__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("bitwise_xor", slf, other)
    }

    fn __ixor__<'py>(slf: Slf<'_, 'py>, other: InPlaceOperand<'py>) -> PyResult<()> {
        ops::in_place("ixor", slf, &other)
    }
}

#[pymethods]
#[expect(clippy::needless_pass_by_value, reason = "arguments arrive by value")]
impl WorkspaceArray {
    fn __divmod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward("divmod", slf, other)
    }

    fn __rdivmod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected("divmod", slf, other)
    }

    fn __pow__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>, modulo: Any<'_, 'py>) -> Object<'py> {
        // Three-argument `pow` is left to the other operands, as ndarray leaves it.
        let result = if modulo.is_none() { ops::power(slf.as_any(), other)? } else { None };
        Ok(or_not_implemented(slf, result))
    }

    fn __rpow__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>, modulo: Any<'_, 'py>) -> Object<'py> {
        if modulo.is_none() {
            reflected("power", slf, other)
        } else {
            Ok(or_not_implemented(slf, None))
        }
    }

    fn __ipow__<'py>(
        slf: Slf<'_, 'py>,
        other: InPlaceOperand<'py>,
        _modulo: Any<'_, 'py>,
    ) -> PyResult<()> {
        ops::in_place("ipow", slf, &other)
    }

    fn __neg__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary("negative", slf)
    }

    fn __pos__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary("positive", slf)
    }

    fn __abs__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary("absolute", slf)
    }

    fn __invert__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary("invert", slf)
    }

    fn __richcmp__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>, op: CompareOp) -> Object<'py> {
        let (ufunc, operator) = match op {
            CompareOp::Lt => ("less", "lt"),
            CompareOp::Le => ("less_equal", "le"),
            CompareOp::Eq => ("equal", "eq"),
            CompareOp::Ne => ("not_equal", "ne"),
            CompareOp::Gt => ("greater", "gt"),
            CompareOp::Ge => ("greater_equal", "ge"),
        };
        let result = ops::compare(ufunc, operator, slf.as_any(), other)?;
        Ok(or_not_implemented(slf, result))
    }

    fn __bool__(slf: Slf<'_, '_>) -> PyResult<bool> {
        slf.get().lend_for(slf.py(), "bool")?.object().is_truthy()
    }

    fn __int__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        converted("int", "__int__", slf)
    }

    fn __float__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        converted("float", "__float__", slf)
    }

    fn __complex__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        converted("complex", "__complex__", slf)
    }

    fn __index__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        converted("index", "__index__", slf)
    }

    fn __contains__(slf: Slf<'_, '_>, item: Any<'_, '_>) -> PyResult<bool> {
        let py = slf.py();
        let mut operands = Operands::new(py, Call::Method("contains"));
        let view = operands.add_self(slf)?;
        let args = operands.add_args(&PyTuple::new(py, [item])?)?;
        view.object().contains(args.get_item(0)?)
    }
}

/// What `int`, `float` and their like make of the array.
fn converted<'py>(operation: &str, special: &str, slf: Slf<'_, 'py>) -> Object<'py> {
    foreign::call_method(slf.get().lend_for(slf.py(), operation)?.object(), special, (), None)
}
