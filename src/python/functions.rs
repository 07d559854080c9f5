//! NumPy's functions as functions of the module: what they do with arrays of ours, without the way through
//! NumPy's override protocols.

use std::ffi::CString;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::foreign;
use super::handle::WorkspaceArray;
use super::npy::{Ndarray, numpy};
use super::ops::ufuncs::Ufunc;
use super::protocol::call_function;
use super::shortcut::{self, Args, Shortcut};

type Object<'py> = PyResult<Bound<'py, PyAny>>;
type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// Both, as one dictionary. An `out` that is `None` is none.
fn with_out<'py>(
    py: Python<'py>,
    out: Given<'_, 'py>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(out) = out else { return Ok(kwargs.cloned()) };
    let all = kwargs.cloned().unwrap_or_else(|| PyDict::new(py));
    all.set_item("out", out)?;
    Ok(Some(all))
}

/// Whether one of them is an array of ours.
#[inline]
fn is_ours(objects: &[&Bound<'_, PyAny>]) -> bool {
    objects.iter().any(|object| object.is_exact_instance_of::<WorkspaceArray>())
}

/// The ufunc on arguments of which one is ours; `None`: by another way.
#[inline]
fn direct<'py>(ufunc: &Ufunc, args: Args<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !args.are_positional() {
        return direct_into(ufunc, args);
    }
    match (args.len(), args.get(0), args.get(1)) {
        (1, Some(one), _) if is_ours(&[&one]) => ufunc.fast(&[&one]),
        (2, Some(one), Some(other)) if is_ours(&[&one, &other]) => ufunc.fast(&[&one, &other]),
        _ => Ok(None),
    }
}

/// The same where `out` is given by name, and nothing else.
fn direct_into<'py>(ufunc: &Ufunc, args: Args<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(one) = args.get(0) else { return Ok(None) };
    let Some(out) = args.named(intern!(one.py(), "out")) else { return Ok(None) };
    let is_done = match (args.len(), args.get(1)) {
        (1, _) if is_ours(&[&one]) || is_ours(&[&out]) => ufunc.fast_into(&[&one], &out)?,
        (2, Some(other)) if is_ours(&[&one, &other]) || is_ours(&[&out]) => {
            ufunc.fast_into(&[&one, &other], &out)?
        }
        _ => false,
    };
    Ok(is_done.then(|| out.to_owned()))
}

/// The ufunc by NumPy's own ways.
fn general<'py>(
    ufunc: &Ufunc,
    inputs: &[&Bound<'py, PyAny>],
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Object<'py> {
    let py = inputs[0].py();
    foreign::call(ufunc.object(py)?, &PyTuple::new(py, inputs)?, kwargs)
}

macro_rules! ufunc_functions {
    ($all:ident $signature:literal $($name:ident($($input:ident),+))*) => {
        $(
            #[doc = concat!("`numpy.", stringify!($name), "`; its methods (`reduce` and others) are at NumPy's.")]
            #[pyfunction]
            #[pyo3(
                signature = ($($input,)+ /, out = None, **kwargs),
                text_signature = $signature
            )]
            fn $name<'py>(
                $($input: &Bound<'py, PyAny>,)+
                out: Given<'_, 'py>,
                kwargs: Option<&Bound<'py, PyDict>>,
            ) -> Object<'py> {
                static UFUNC: Ufunc = Ufunc::named(stringify!($name));
                let inputs = [$($input),+];
                if let (Some(out), None) = (out, kwargs) {
                    if is_ours(&inputs) || is_ours(&[out]) {
                        if UFUNC.fast_into(&inputs, out)? {
                            return Ok(out.clone());
                        }
                    }
                }
                let kwargs = with_out(inputs[0].py(), out, kwargs)?;
                if kwargs.is_none() && is_ours(&inputs) {
                    if let Some(result) = UFUNC.fast(&inputs)? {
                        return Ok(result);
                    }
                }
                general(&UFUNC, &inputs, kwargs.as_ref())
            }
        )*

        fn $all(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $({
                /// Arguments alone.
                struct Direct;

                impl Shortcut for Direct {
                    const TAKES_NAMES: bool = true;

                    fn original() -> &'static PyOnceLock<Py<PyAny>> {
                        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                        &ORIGINAL
                    }

                    fn take<'py>(
                        _module: &Bound<'py, PyAny>,
                        args: Args<'_, 'py>,
                    ) -> PyResult<Option<Bound<'py, PyAny>>> {
                        static UFUNC: Ufunc = Ufunc::named(stringify!($name));
                        direct(&UFUNC, args)
                    }
                }

                let function = wrap_pyfunction!($name, module)?;
                module.add_function(function.clone())?;
                shortcut::of_function::<Direct>(module, &function, stringify!($name))?;
            })*
            Ok(())
        }
    };
}

ufunc_functions! {
    add_unary
    "(x, /, out=None, *, where=True, casting='same_kind', order='K', dtype=None, subok=True, signature=None)"
    absolute(x) negative(x) positive(x) square(x) sqrt(x) cbrt(x) reciprocal(x) sign(x)
    exp(x) exp2(x) expm1(x) log(x) log2(x) log10(x) log1p(x)
    sin(x) cos(x) tan(x) arcsin(x) arccos(x) arctan(x)
    sinh(x) cosh(x) tanh(x) arcsinh(x) arccosh(x) arctanh(x)
    floor(x) ceil(x) trunc(x) rint(x) fabs(x) signbit(x) isnan(x) isinf(x) isfinite(x)
    logical_not(x) invert(x) conjugate(x) deg2rad(x) rad2deg(x) degrees(x) radians(x)
}

ufunc_functions! {
    add_binary
    "(x1, x2, /, out=None, *, where=True, casting='same_kind', order='K', dtype=None, subok=True, signature=None)"
    add(x1, x2) subtract(x1, x2) multiply(x1, x2) divide(x1, x2) floor_divide(x1, x2) remainder(x1, x2)
    fmod(x1, x2) power(x1, x2) float_power(x1, x2) matmul(x1, x2)
    maximum(x1, x2) minimum(x1, x2) fmax(x1, x2) fmin(x1, x2)
    arctan2(x1, x2) hypot(x1, x2) copysign(x1, x2) nextafter(x1, x2) heaviside(x1, x2)
    logaddexp(x1, x2) logaddexp2(x1, x2)
    equal(x1, x2) not_equal(x1, x2) less(x1, x2) less_equal(x1, x2) greater(x1, x2) greater_equal(x1, x2)
    logical_and(x1, x2) logical_or(x1, x2) logical_xor(x1, x2)
    bitwise_and(x1, x2) bitwise_or(x1, x2) bitwise_xor(x1, x2) left_shift(x1, x2) right_shift(x1, x2)
    gcd(x1, x2) lcm(x1, x2)
}

/// Other names of the same.
const ALIASES: [(&str, &str); 16] = [
    ("abs", "absolute"),
    ("acos", "arccos"),
    ("acosh", "arccosh"),
    ("asin", "arcsin"),
    ("asinh", "arcsinh"),
    ("atan", "arctan"),
    ("atan2", "arctan2"),
    ("atanh", "arctanh"),
    ("bitwise_invert", "invert"),
    ("bitwise_left_shift", "left_shift"),
    ("bitwise_not", "invert"),
    ("bitwise_right_shift", "right_shift"),
    ("conj", "conjugate"),
    ("mod", "remainder"),
    ("pow", "power"),
    ("true_divide", "divide"),
];

/// Functions of NumPy's that are no ufuncs.
const FUNCTIONS: [&str; 26] = [
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "clip",
    "concatenate",
    "cumsum",
    "dot",
    "einsum",
    "max",
    "mean",
    "min",
    "outer",
    "prod",
    "repeat",
    "reshape",
    "sort",
    "squeeze",
    "stack",
    "std",
    "sum",
    "take",
    "transpose",
    "var",
    "where",
];

/// Whether NumPy's protocol would ask nobody but us.
fn are_ours(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<bool> {
    let mut ours = false;
    for arg in args {
        let is_ours = arg.is_exact_instance_of::<WorkspaceArray>();
        ours |= is_ours;
        if !is_ours && Ndarray::exact(&arg)?.is_none() && arg.hasattr("__array_function__")? {
            return Ok(false);
        }
    }
    let plain = |value: &Bound<'_, PyAny>| value.hasattr("__array_function__").map(|has| !has);
    for (_, value) in kwargs.into_iter().flatten() {
        if !value.is_exact_instance_of::<WorkspaceArray>() && !plain(&value)? {
            return Ok(false);
        }
    }
    Ok(ours)
}

fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for name in FUNCTIONS {
        let function = numpy(py)?.getattr(name)?.unbind();
        let call = move |args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>| {
            let py = args.py();
            let function = function.bind(py);
            let result = if are_ours(args, kwargs)? {
                let none = PyDict::new(py);
                call_function(function, args, kwargs.unwrap_or(&none))
            } else {
                foreign::call(function, args, kwargs)
            };
            result.map(Bound::unbind)
        };
        let text =
            |text: String| CString::new(text).map(|text| &*Box::leak(text.into_boxed_c_str()));
        let texts = (text(name.to_owned())?, text(format!("`numpy.{name}`."))?);
        module.add(name, PyCFunction::new_closure(py, Some(texts.0), Some(texts.1), call)?)?;
    }
    Ok(())
}

/// Adds the submodule `functions`, whose names the package makes its own.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let functions = PyModule::new(module.py(), "functions")?;
    add_unary(&functions)?;
    add_binary(&functions)?;
    add_functions(&functions)?;
    for (alias, name) in ALIASES {
        if numpy(module.py())?.hasattr(alias)? {
            functions.add(alias, functions.getattr(name)?)?;
        }
    }
    module.add_submodule(&functions)
}
