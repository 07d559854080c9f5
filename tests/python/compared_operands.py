"""Operands for the comparison with NumPy: arrays of every dtype, shape and layout, drawn by hypothesis.

An operand is drawn once and made twice, as a plain array and as a `WorkspaceArray` with the same bytes and
the same strides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_support import DTYPES
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ndarena

SHAPES = [
    (3,), (2, 3), (4,), (3, 3), (2, 3, 4), (3, 2), (1,), (), (0,), (5,), (1, 4), (4, 1), (2, 1, 3), (0, 3),
    (2, 0, 3), (2, 2, 3, 2), (1, 1), (3, 1, 1, 2),
]  # fmt: skip
"""The first ones are the simplest: hypothesis shrinks towards them."""

COMMON = ["f8", "i8", "f4", "?", "c16", "i4", "u1", "f2", ">f8", ">i4", "i1", "u8", "c8"]
NUMBERS = [*COMMON, "g", "G", "u2", "i2", "u4", ">c16", "q", "Q"]
REALS = [d for d in NUMBERS if np.dtype(d).kind in "fiu"]
TRUE_REALS = ["f8", "f4", "i8", ">f8", "i4"]
INTEGERS = ["i8", "i4", "u1", "i2", ">i4", "u8", "i1"]
MATRICES = ["f8", "f4", "c16", "i4", ">f8", "c8"]

TAME = [0.5, 2.0, 1.0, -1.5, 3.25, 0.25, -2.0]
WILD = [0.5, -0.0, np.nan, 2.0, np.inf, 1e-5, -3.0, 0.0, 65504.0, -np.inf]


def values(dtype: np.dtype[Any], shape: Sequence[int], start: int, *, wild: bool) -> np.ndarray:
    """Fill an array with the values that its dtype is worth testing with, from the `start`-th on."""
    n = int(np.prod(shape))
    if dtype.names is not None:
        array = np.zeros(shape, dtype)
        for k, name in enumerate(dtype.names):
            field = array[name]
            field[...] = values(field.dtype, field.shape, start + k, wild=wild)
        return array
    pool: np.ndarray
    if dtype.kind in "fc":
        pool = np.array(WILD if wild else TAME, "c16" if dtype.kind == "c" else "f8")
        if dtype.kind == "c":
            pool.imag = np.roll(pool.real, 3)
    elif dtype.kind == "b":
        pool = np.array([True, False, True, True, False])
    elif dtype.kind == "u":
        pool = np.array([3, 1, 2, 0, 5, 200 if wild else 4])
    elif dtype.kind == "i":
        pool = np.array([3, 1, -2, 0, 5, -128 if wild else 4])
    elif dtype.kind in "mM":
        pool = np.array([3, 1, "NaT" if wild else 4, 0, 5], np.dtype(dtype.kind + "8[D]")).astype(dtype)
    elif dtype.kind == "V":
        pool = np.array([b"ab", b"b", b"", b"abc"], f"S{dtype.itemsize}").view(dtype)
    else:
        pool = np.array(["ab", "b", "", "aB ", "12"]).astype(dtype)
    with np.errstate(all="ignore"):
        return np.resize(np.roll(pool, -start), n).astype(dtype).reshape(shape)


def identity(x: Any) -> Any:
    return x


View = Callable[[Any], Any]


def unaligned(array: np.ndarray) -> tuple[np.ndarray, View]:
    raw = np.frombuffer(b"?" + array.tobytes(), np.uint8).copy()
    return raw, lambda x: x[1:].view(array.dtype).reshape(array.shape)


LAYOUTS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, View]]] = {
    "C": lambda a: (a.copy(), identity),
    "F": lambda a: (a.T.copy(), lambda x: x.T),
    "strided": lambda a: (np.repeat(a, 2, axis=-1), lambda x: x[..., 1::2]),
    "reversed": lambda a: (np.flip(a).copy(), lambda x: x[(slice(None, None, -1),) * a.ndim]),
    "turned": lambda a: (np.moveaxis(a, 0, -1).copy(), lambda x: np.moveaxis(x, -1, 0)),
    "unaligned": unaligned,
    "broadcast first": lambda a: (a[:1].copy(), lambda x: np.broadcast_to(x, a.shape)),
    "broadcast last": lambda a: (a[..., :1].copy(), lambda x: np.broadcast_to(x, a.shape)),
    # the first axis innermost, backwards, the last one broadcast
    "tangled": lambda a: (np.flip(a[..., :1].T).copy(), lambda x: np.broadcast_to(np.flip(x).T, a.shape)),
}
"""A contiguous array, and the view of it that has an array's values in that layout (nearly: broadcast)."""
BROADCAST = {"broadcast first", "broadcast last", "tangled"}


@dataclass(frozen=True)
class Operand:
    """An array to be made, plain or in the workspace named `place`."""

    base: np.ndarray
    view: View
    layout: str
    place: str

    def plain(self) -> np.ndarray:
        array: np.ndarray = self.view(self.base.copy())
        return array

    def ours(self, places: dict[str, ndarena.Workspace]) -> Any:
        if self.place == "plain":
            return self.plain()
        return self.view(places[self.place].array(self.base))

    def __repr__(self) -> str:
        array = self.plain()
        return f"<{self.layout} {array.dtype} {array.shape} in {self.place}: {array.tolist()}>"


@functools.cache
def below(n: int) -> st.SearchStrategy[int]:
    return st.integers(0, n - 1)


START = st.integers(0, 4)


class Draw:
    """Draws the arguments of one call. The first array drawn is the one to which the others fit."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.first: np.ndarray | None = None

    def pick(self, *options: Any) -> Any:
        """Draw one of the options; hypothesis shrinks towards the first."""
        return options[self.data.draw(below(len(options)))]

    def dtype(self, names: Sequence[Any]) -> np.dtype[Any]:
        return np.dtype(self.pick(*names))

    def any_dtype(self) -> np.dtype[Any]:
        return self.dtype(self.pick(COMMON, COMMON, DTYPES))

    def array(
        self,
        dtypes: Sequence[Any] | None = None,
        shape: Sequence[int] | None = None,
        *,
        fill: Callable[[np.ndarray], np.ndarray] = identity,
        wild: bool = True,
        writeable: bool = False,
    ) -> Operand:
        """Draw an array: of one of the dtypes, of that shape or of any, filled by `fill` if it is given."""
        shape = self.pick(*SHAPES) if shape is None else tuple(shape)
        dtype = self.any_dtype() if dtypes is None else self.dtype(dtypes)
        is_wild = wild and self.pick(False, True)
        made = np.asarray(fill(values(dtype, shape, self.data.draw(START), wild=is_wild)))
        fitting = [
            x
            for x in LAYOUTS
            if (made.ndim or x == "C")
            and not (made.size == 0 and x in {"strided", "unaligned", *BROADCAST})
            and not (writeable and x in BROADCAST)
        ]
        layout = self.pick(*fitting)
        base, view = LAYOUTS[layout](made)
        place = "outer" if self.first is None else self.pick("outer", "inner", "plain")
        operand = Operand(base, view, layout, place)
        if self.first is None:
            self.first = operand.plain()
        return operand

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first array."""
        return () if self.first is None else self.first.shape

    def fitting_shape(self) -> tuple[int, ...]:
        """Draw a shape that broadcasts against the first one, or now and then one that does not."""
        shape = list(self.shape)
        match self.pick("same", "last", "one", "point", "other"):
            case "last":
                return tuple(shape[1:])
            case "one" if shape:
                shape[self.pick(*range(len(shape)))] = 1
            case "point":
                return ()
            case "other":
                shape_: tuple[int, ...] = self.pick(*SHAPES)
                return shape_
        return tuple(shape)

    def axis(self) -> int:
        """Draw an axis of the first array, seldom one that it does not have."""
        n = len(self.shape)
        axis: int = self.pick(*range(-n, n), n) if n else self.pick(0, -1)
        return axis
