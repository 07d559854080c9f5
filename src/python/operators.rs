//! Python's operators on a `WorkspaceArray`: one-line calls into `ops`.

use std::ffi::c_int;

use pyo3::basic::CompareOp;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::foreign;
use super::handle::WorkspaceArray;
use super::indexing;
use super::naming::Call;
use super::ops;
use super::ops::ufuncs::{self, Ufunc};
use super::place::Operands;
use super::shortcut::{self, Operator, Table};
use super::temporaries;

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

fn forward<'py>(ufunc: &Ufunc, slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
    if let Some(result) = temporaries::reuse(ufunc, slf.as_any(), other)? {
        return Ok(result);
    }
    Ok(or_not_implemented(slf, ops::forward(ufunc, slf.as_any(), other)?))
}

fn reflected<'py>(ufunc: &Ufunc, slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
    if let Some(result) = temporaries::reuse(ufunc, other, slf.as_any())? {
        return Ok(result);
    }
    ops::reflected(ufunc, other, slf.as_any())
}

fn in_place<'py>(name: &str, ufunc: &Ufunc, slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
    Ok(or_not_implemented(slf, ops::in_place((name, ufunc), slf, other)?))
}

/// The operators of arithmetic that expressions have most of.
struct Arithmetic<const WHICH: usize>;

impl<const WHICH: usize> Arithmetic<WHICH> {
    const ALL: [(&'static Ufunc, c_int, usize); 4] = [
        (&ufuncs::ADD, ffi::Py_nb_add, 0),
        (&ufuncs::SUBTRACT, ffi::Py_nb_subtract, 1),
        (&ufuncs::MULTIPLY, ffi::Py_nb_multiply, 2),
        (&ufuncs::DIVIDE, ffi::Py_nb_true_divide, 30),
    ];
}

impl<const WHICH: usize> Operator for Arithmetic<WHICH> {
    const SLOT: (c_int, Table, usize) = (Self::ALL[WHICH].1, Table::Number, Self::ALL[WHICH].2);

    fn original() -> &'static PyOnceLock<ffi::binaryfunc> {
        static ORIGINALS: [PyOnceLock<ffi::binaryfunc>; 4] = [const { PyOnceLock::new() }; 4];
        &ORIGINALS[WHICH]
    }

    #[inline]
    fn take<'py>(left: Any<'_, 'py>, right: Any<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if temporaries::may_reuse(left, right) {
            return Ok(None);
        }
        Self::ALL[WHICH].0.fast(&[left, right])
    }
}

/// `a[key]`.
struct Part;

impl Operator for Part {
    const SLOT: (c_int, Table, usize) = (ffi::Py_mp_subscript, Table::Mapping, 1);

    fn original() -> &'static PyOnceLock<ffi::binaryfunc> {
        static ORIGINAL: PyOnceLock<ffi::binaryfunc> = PyOnceLock::new();
        &ORIGINAL
    }

    #[inline]
    fn take<'py>(array: Any<'_, 'py>, key: Any<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match array.cast_exact::<WorkspaceArray>() {
            Ok(array) => indexing::part(array, key),
            Err(_) => Ok(None),
        }
    }
}

/// Puts the shortcuts in their places.
fn put_shortcuts(class: &Bound<'_, PyType>) {
    shortcut::of_operator::<Arithmetic<0>>(class);
    shortcut::of_operator::<Arithmetic<1>>(class);
    shortcut::of_operator::<Arithmetic<2>>(class);
    shortcut::of_operator::<Arithmetic<3>>(class);
    shortcut::of_operator::<Part>(class);
}

/// Puts the in-place operators in their places: whatever they return is what the name is bound to, where
/// a slot of pyo3's would return the array itself.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<WorkspaceArray>();
    let methods = class.getattr("__dict__")?;
    for name in [
        "iadd",
        "isub",
        "imul",
        "imatmul",
        "itruediv",
        "ifloordiv",
        "imod",
        "ipow",
        "ilshift",
        "irshift",
        "iand",
        "ior",
        "ixor",
    ] {
        let private = format!("_{name}");
        class.setattr(format!("__{name}__"), methods.get_item(&private)?)?;
        class.delattr(private)?;
    }
    put_shortcuts(&class);
    Ok(())
}

#[pymethods]
impl WorkspaceArray {
    fn __add__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::ADD, slf, other)
    }

    fn __radd__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::ADD, slf, other)
    }

    #[pyo3(name = "_iadd")]
    fn iadd<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("iadd", &ufuncs::ADD, slf, other)
    }

    fn __sub__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::SUBTRACT, slf, other)
    }

    fn __rsub__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::SUBTRACT, slf, other)
    }

    #[pyo3(name = "_isub")]
    fn isub<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("isub", &ufuncs::SUBTRACT, slf, other)
    }

    fn __mul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::MULTIPLY, slf, other)
    }

    fn __rmul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::MULTIPLY, slf, other)
    }

    #[pyo3(name = "_imul")]
    fn imul<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("imul", &ufuncs::MULTIPLY, slf, other)
    }

    fn __matmul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::MATMUL, slf, other)
    }

    fn __rmatmul__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::MATMUL, slf, other)
    }

    #[pyo3(name = "_imatmul")]
    fn imatmul<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("imatmul", &ufuncs::MATMUL, slf, other)
    }

    fn __truediv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::DIVIDE, slf, other)
    }

    fn __rtruediv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::DIVIDE, slf, other)
    }

    #[pyo3(name = "_itruediv")]
    fn itruediv<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("itruediv", &ufuncs::DIVIDE, slf, other)
    }

    fn __floordiv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::FLOOR_DIVIDE, slf, other)
    }

    fn __rfloordiv__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::FLOOR_DIVIDE, slf, other)
    }

    #[pyo3(name = "_ifloordiv")]
    fn ifloordiv<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("ifloordiv", &ufuncs::FLOOR_DIVIDE, slf, other)
    }

    fn __mod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::REMAINDER, slf, other)
    }

    fn __rmod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::REMAINDER, slf, other)
    }

    #[pyo3(name = "_imod")]
    fn imod<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("imod", &ufuncs::REMAINDER, slf, other)
    }

    fn __lshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::LEFT_SHIFT, slf, other)
    }

    fn __rlshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::LEFT_SHIFT, slf, other)
    }

    #[pyo3(name = "_ilshift")]
    fn ilshift<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("ilshift", &ufuncs::LEFT_SHIFT, slf, other)
    }

    fn __rshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::RIGHT_SHIFT, slf, other)
    }

    fn __rrshift__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::RIGHT_SHIFT, slf, other)
    }

    #[pyo3(name = "_irshift")]
    fn irshift<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("irshift", &ufuncs::RIGHT_SHIFT, slf, other)
    }

    fn __and__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::BITWISE_AND, slf, other)
    }

    fn __rand__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::BITWISE_AND, slf, other)
    }

    #[pyo3(name = "_iand")]
    fn iand<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("iand", &ufuncs::BITWISE_AND, slf, other)
    }

    fn __or__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::BITWISE_OR, slf, other)
    }

    fn __ror__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::BITWISE_OR, slf, other)
    }

    #[pyo3(name = "_ior")]
    fn ior<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("ior", &ufuncs::BITWISE_OR, slf, other)
    }

    fn __xor__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::BITWISE_XOR, slf, other)
    }

    fn __rxor__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::BITWISE_XOR, slf, other)
    }

    #[pyo3(name = "_ixor")]
    fn ixor<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("ixor", &ufuncs::BITWISE_XOR, slf, other)
    }
}

#[pymethods]
impl WorkspaceArray {
    fn __divmod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        forward(&ufuncs::DIVMOD, slf, other)
    }

    fn __rdivmod__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        reflected(&ufuncs::DIVMOD, slf, other)
    }

    fn __pow__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>, modulo: Any<'_, 'py>) -> Object<'py> {
        // Three-argument `pow` is left to the other operands, as ndarray leaves it.
        let result = if modulo.is_none() { ops::power(slf.as_any(), other)? } else { None };
        Ok(or_not_implemented(slf, result))
    }

    fn __rpow__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>, modulo: Any<'_, 'py>) -> Object<'py> {
        if modulo.is_none() {
            reflected(&ufuncs::POWER, slf, other)
        } else {
            Ok(or_not_implemented(slf, None))
        }
    }

    #[pyo3(name = "_ipow")]
    fn ipow<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>) -> Object<'py> {
        in_place("ipow", &ufuncs::POWER, slf, other)
    }

    fn __neg__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary(&ufuncs::NEGATIVE, slf)
    }

    fn __pos__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary(&ufuncs::POSITIVE, slf)
    }

    fn __abs__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary(&ufuncs::ABSOLUTE, slf)
    }

    fn __invert__<'py>(slf: Slf<'_, 'py>) -> Object<'py> {
        ops::unary(&ufuncs::INVERT, slf)
    }

    fn __richcmp__<'py>(slf: Slf<'_, 'py>, other: Any<'_, 'py>, op: CompareOp) -> Object<'py> {
        let (ufunc, operator) = match op {
            CompareOp::Lt => (&ufuncs::LESS, "lt"),
            CompareOp::Le => (&ufuncs::LESS_EQUAL, "le"),
            CompareOp::Eq => (&ufuncs::EQUAL, "eq"),
            CompareOp::Ne => (&ufuncs::NOT_EQUAL, "ne"),
            CompareOp::Gt => (&ufuncs::GREATER, "gt"),
            CompareOp::Ge => (&ufuncs::GREATER_EQUAL, "ge"),
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
