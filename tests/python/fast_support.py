"""What the tests of the fast paths share: the switch, and one call made in three ways.

A call is made on workspace arrays with fast paths, on workspace arrays without them, and on plain arrays.
All three must agree in bits, dtype, strides, warnings and the text of errors.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_support import NUMERIC
from compared_results import bits, in_numpys_words

import ndarena
from ndarena._core import _set_fast_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Make = Any
"""`Workspace.array` or `numpy.array`."""
Maker = Any
"""A function that makes an operand with a `Make`."""

UFUNCS = {f.__name__: f for f in vars(np).values() if isinstance(f, np.ufunc)}
ONE_RESULT = {n: f for n, f in UFUNCS.items() if f.nout == 1 and f.signature is None and f.nin <= 2}
UNARY = {n: f for n, f in ONE_RESULT.items() if f.nin == 1}
BINARY = {n: f for n, f in ONE_RESULT.items() if f.nin == 2}
DTYPES = [np.dtype(char) for char in dict.fromkeys(NUMERIC)]
INEXACT = [dtype for dtype in DTYPES if dtype.kind in "fc"]
INTEGERS = [dtype for dtype in DTYPES if dtype.kind in "iu"]

OPERATORS = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "or_",
    "xor",
]
IN_PLACE = ["i" + name.rstrip("_") for name in OPERATORS]
COMPARISONS = ["lt", "le", "eq", "ne", "gt", "ge"]


@contextlib.contextmanager
def fast_paths(*, on: bool) -> Iterator[None]:
    """Set the switch for a while."""
    before = _set_fast_paths(on)
    try:
        yield
    finally:
        _set_fast_paths(before)


@dataclass(frozen=True)
class Told:
    """What there is to compare of a result: its class and all that it tells."""

    kind: str
    facts: tuple[Any, ...]


def told(value: Any) -> Told:
    """Give what must be the same of a result."""
    if isinstance(value, ndarena.WorkspaceArray):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        steps = [step for n, step in zip(value.shape, value.strides, strict=True) if n != 1]
        return Told("array", (value.dtype, value.shape, steps, value.flags.writeable, bits(value)))
    if isinstance(value, np.generic):
        return Told(type(value).__name__, (value.dtype, bits(np.asarray(value))))
    if isinstance(value, tuple | list):
        return Told(type(value).__name__, tuple(told(item) for item in value))
    return Told(type(value).__name__, (value,))


def tried(call: Callable[[], Any]) -> Told:
    """Give what a call returns or raises."""
    try:
        value = call()
    except Exception as error:
        return Told(type(error).__name__, (in_numpys_words(str(error)),))
    return told(value)


def heard(call: Callable[[], Any]) -> tuple[Told, list[Any]]:
    """Give what a call returns or raises, and all its warnings with the place they point at."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = tried(call)
    return result, [(w.category, in_numpys_words(str(w.message)), w.filename, w.lineno) for w in caught]


def three_ways(
    workspace: ndarena.Workspace,
    call: Callable[..., Any],
    *makers: Maker,
    ask: Callable[[Callable[[], Any]], Any] = tried,
) -> Any:
    """Assert that the three ways agree in the result and in the operands afterwards; what NumPy gave.

    Parameters
    ----------
    workspace
        An open workspace, for operands and results.
    call
        Takes the operands.
    makers
        Functions that make an operand with `Workspace.array` or `numpy.array`, or operands.
    ask
        Makes the call and gives what shall be compared.

    """

    def way(make: Make) -> Any:
        operands = [maker(make) if callable(maker) else maker for maker in makers]
        answer = ask(lambda: call(*operands))
        return answer, [told(operand) for operand in operands]

    with fast_paths(on=True):
        fast = way(workspace.array)
    with fast_paths(on=False):
        general = way(workspace.array)
    numpys = way(np.array)
    assert general == numpys, f"the general path: {call} {shown(makers)}"
    assert fast == numpys, f"the fast path: {call} {shown(makers)}"
    return numpys[0]


def shown(makers: Sequence[Maker]) -> str:
    operands = [maker(np.array) if callable(maker) else maker for maker in makers]
    return ", ".join(f"{type(x).__name__} {getattr(x, 'dtype', '')} {x!r}" for x in operands)


def numbers(dtype: Any, n: int, start: int = 0) -> np.ndarray:
    """Make `n` values of the dtype, the awkward ones among them from the `start`-th on."""
    dtype = np.dtype(dtype)
    pool: np.ndarray
    if dtype.kind == "b":
        pool = np.array([True, False, False, True, True])
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        small = [0, 1, 2, 3, 5, 7, 40, *([-1, -2, -7] if dtype.kind == "i" else [])]
        pool = np.array([*small, limits.max, limits.min, limits.max - 1, limits.min + 1], dtype)
    else:
        pool = awkward(np.empty(0, dtype).real.dtype)
        if dtype.kind == "c":
            pool = (pool + np.zeros(1, dtype)).astype(dtype)
            pool.imag = np.roll(pool.real, 5)
    tame = np.arange(1, 12).astype(dtype) if dtype.kind in "bu" else (np.arange(1, 12) - 4).astype(dtype)
    return np.resize(np.roll(np.concatenate([pool, tame]), -start), n)


def awkward(dtype: np.dtype[Any]) -> np.ndarray:
    """Give the values of a real dtype that loops treat apart."""
    limits = np.finfo(dtype)
    some = [limits.max, limits.tiny, limits.smallest_subnormal, limits.eps, -limits.max, -limits.tiny]
    values = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5, 2.0, -2.5, 1e4, -700.0, 88.5]
    return np.array([*some, *values], dtype)


def packed(array: np.ndarray) -> Maker:
    """Make copies of the array as it is."""
    return lambda make: make(array)


def misaligned(array: np.ndarray) -> Maker:
    """Make copies of the array one byte off their alignment."""
    raw = np.frombuffer(b"?" + array.tobytes(), np.uint8)
    return lambda make: make(raw)[1:].view(array.dtype).reshape(array.shape)


def laid_out(array: np.ndarray) -> dict[str, Maker]:
    """Give makers of the same values in every layout; the array is of two axes."""
    return {
        "C": packed(np.ascontiguousarray(array)),
        "F": packed(np.asfortranarray(array)),
        "strided": lambda make: make(np.repeat(array, 2, axis=-1))[..., 1::2],
        "rows apart": lambda make: make(np.repeat(array, 2, axis=0))[::2],
        "reversed": lambda make: make(np.flip(array).copy())[::-1, ::-1],
        "backwards": lambda make: make(array[:, ::-1].copy())[:, ::-1],
        "misaligned": misaligned(array),
        "swapped": packed(array.astype(array.dtype.newbyteorder())),
        "read only": lambda make: read_only(make(array)),
        "broadcast": lambda make: np.broadcast_to(make(array[0].copy()), array.shape),
    }


def read_only(array: Any) -> Any:
    return np.broadcast_to(array, array.shape)


def edges(dtype: np.dtype[Any]) -> list[Any]:
    """Give Python's numbers at and beyond the limits of the dtype."""
    ints = [0, 1, -1, 2, 3, 2**31, -(2**31), 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        ints += [limits.min - 1, limits.min, limits.max, limits.max + 1]
    floats = [0.0, -0.0, 1.5, 0.5, 2.0, np.nan, np.inf, -np.inf, 1e300, 1e-46, 5e-324]
    if dtype.kind in "fc":
        ints += [2**24, 2**24 + 1, 2**53 + 1, 65519, 65520]
        # The midpoint between the largest number of single precision and infinity, and the one below.
        floats += [3.4028235677973366e38, 3.4028235677973362e38, 65519.9, 1.00000005960464477539]
    return [*ints, *floats, True, False, 1 + 2j]


def numpys_scalars() -> list[np.generic]:
    """Give one scalar or two of every class of NumPy's numbers."""
    scalars = [dtype.type(1) for dtype in DTYPES]
    for kind in (np.float32, np.float64):
        scalars += [kind(x) for x in (0.0, -0.0, 2.5, np.nan, np.inf)]
    signalling = np.array([0x7FA00001], "u4").view("f4")[0]
    return [*scalars, signalling, np.float64(1e300), np.int8(-128), np.uint64(2**64 - 1)]


def close_scopes(workspace):
    """Close what is open of a workspace, also of one that was destroyed."""
    with contextlib.suppress(ndarena.ScopeError):
        while True:
            workspace.notify_scope_left()
