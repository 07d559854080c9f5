"""The other doors: methods of ufuncs, methods of ndarray, element access, operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from compared_calls import WORDS, Arguments, arguments, like
from compared_operands import INTEGERS, NUMBERS, Draw
from compared_results import made, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = {"tostring"}  # deprecated since NumPy 1.19; from 2.3 on no array has it
OF_NDARRAY = [
    n for n in dir(np.ndarray) if not n.startswith("_") and callable(getattr(np.ndarray, n)) and n not in GONE
]
METHODS_APART = {
    "copy": "keeps the memory order, where ndarray's makes it C",
    "dump": "writes a file",
    "dumps": "pickles a plain array",
    "resize": "would move memory; a WorkspaceArray has no such method",
    "setflags": "there are no flags to set",
    "to_device": "takes no array",
    "tofile": "writes a file",
}
"""Methods of ndarray that are not compared, with the reason."""

_METHODS = {
    "all any": "a axes? keepdims=flag? where=mask? out?",
    "argmax argmin": "a axis? keepdims=flag? out?",
    "argpartition partition": "w one axis?",
    "argsort": "a axis? kind?",
    "sort": "w axis? kind?",
    "astype": "a dtype order? casting? copy=flag?",
    "choose": "choices arrays mode?",
    "clip": "a number number out?",
    "compress": "a truths axis? out?",
    "cumprod cumsum": "a axis? dtype? out?",
    "diagonal trace": "m small",
    "dot": "n product out?",
    "fill": "w number",
    "flatten ravel": "a order?",
    "getfield": "a dtype",
    "item": "single",
    "max min": "a axes? keepdims=flag? where=mask? initial=number? out?",
    "mean": "a axes? dtype=inexact? keepdims=flag? where=mask? out?",
    "std var": "a axes? dtype=inexact? ddof=small? keepdims=flag? where=mask? out?",
    "sum prod": "a axes? dtype? keepdims=flag? where=mask? initial=number? out?",
    "put": "w indices like mode?",
    "repeat": "a small axis?",
    "reshape": "a flat order?",
    "round": "n small out?",
    "searchsorted": "vector like side?",
    "setfield": "w number dtype",
    "squeeze": "a axis",
    "swapaxes": "a axis axis",
    "take": "a indices axis? mode? out?",
    "tobytes": "a order?",
    "view": "a dtype",
}
METHOD_ROWS = {name: row for names, row in _METHODS.items() for name in names.split()}
"""A method without a row is called without arguments."""

ATTRIBUTES = ["T", "mT", "real", "imag"]
BINARY = "add sub mul truediv floordiv mod pow matmul lshift rshift and_ or_ xor lt le eq ne gt ge"
IN_PLACE_ROWS = {"imatmul": "w_square like"}
IN_PLACE = "iadd isub imul itruediv ifloordiv imod ipow imatmul ilshift irshift iand ior ixor"
UNARY = "neg pos abs invert"

UFUNC_METHODS = ["__call__", "__call__", "reduce", "accumulate", "reduceat", "outer", "at"]
_UFUNC_ROWS = {
    "reduce": "a axes? dtype? keepdims=flag? where=mask? initial=number? out?",
    "accumulate": "a axis? dtype? out?",
    "reduceat": "a indices axis? dtype?",
    "at": "w indices scalar_or_like",
    "outer": "a scalar_or_like out?",
    "generalised": "m product dtype? casting? out?",
    "isnat": "dates out?",
    "unary": "a dtype? casting? order? where=mask? out?",
    "binary": "a scalar_or_related dtype? casting? order? where=mask? out?",
}


KEYS = [
    lambda d: d.pick(0, -1, 1, 9),
    lambda d: slice(*d.pick((None,), (1, None), (None, None, -1), (None, None, 2), (2, 2))),
    lambda d: ...,
    lambda d: None,
    lambda d: d.array(INTEGERS, d.pick((2,), (), (2, 1), (0,)), fill=lambda x: abs(x) % 2, wild=False),
    lambda d: d.array(["?"], d.pick(d.shape, d.shape[:1])),
    lambda d: d.pick([0, 1], [0], []),
]


def key(draw: Draw) -> Any:
    """Draw an index: of numbers, slices, new axes, arrays of integers or truth values."""
    n = draw.pick(1, 2, 1, 3)
    parts = tuple(draw.pick(*KEYS)(draw) for _ in range(n))
    return parts[0] if n == 1 else parts


WORDS |= {
    "key": key,
    "single": lambda d: d.array(shape=d.pick((), (1,), (1, 1), (2,))),
    "dates": lambda d: d.array(["M8[D]", "m8[s]", ">M8[ms]", "M8[ns]"]),
    "w_square": lambda d: d.array(NUMBERS, d.pick((3, 3), (2, 3, 3), (2, 3)), writeable=True),
    "truths": lambda d: d.array(["?"], d.pick((2,), (3,))),
    "scalar_or_like": lambda d: d.pick(like(d), 2, 0.5, True),
    "scalar_or_related": lambda d: d.pick(WORDS["b"], WORDS["b"], WORDS["number"])(d),
}

Call = tuple["Callable[..., Any]", Arguments]


def ufunc_call(draw: Draw, ufunc: np.ufunc) -> Call:
    """Draw a call of a ufunc or of one of its methods."""
    method = draw.pick(*UFUNC_METHODS) if ufunc.signature is None and ufunc.nin == 2 else "__call__"
    if method != "__call__":
        return with_out(draw, getattr(ufunc, method), _UFUNC_ROWS[method])
    kind = "generalised" if ufunc.signature is not None else "unary" if ufunc.nin == 1 else "binary"
    return with_out(draw, ufunc, _UFUNC_ROWS.get(ufunc.__name__, _UFUNC_ROWS[kind]))


def called(name: str) -> Callable[..., Any]:
    return lambda array, *args, **kwargs: getattr(array, name)(*args, **kwargs)


def method_call(draw: Draw, name: str) -> Call:
    """Draw a call of a method of ndarray."""
    return with_out(draw, called(name), METHOD_ROWS.get(name, "a"))


def with_out(draw: Draw, call: Callable[..., Any], row: str) -> Call:
    """Draw the arguments of a row, and now and then an `out` for the result, mostly of its dtype."""
    args, kwargs = arguments(draw, row)
    # What `where` leaves out is undefined, unless an `out` or an initial value says what it is.
    needs_out = "where" in kwargs and isinstance(call, np.ufunc)
    if "out?" not in row.split() or not (needs_out or draw.pick(False, True)):
        return call, (args, kwargs)
    plain = made((args, kwargs), lambda operand: operand.plain())
    want = outcome(lambda: call(*plain[0], **plain[1])).result
    if isinstance(want, np.ndarray) and not want.dtype.hasobject:
        dtype = want.dtype if needs_out else draw.pick(want.dtype, want.dtype, np.dtype("f8"), np.dtype("f4"))
        kwargs["out"] = draw.array([dtype], want.shape, writeable=True)
    elif needs_out:
        del kwargs["where"]
    return call, (args, kwargs)
