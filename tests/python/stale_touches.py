"""Every way to touch an array, and how the error names a stale one."""

from __future__ import annotations

import copy
import operator
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import ndarena

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Touch:
    """A use of a stale array `a` (with a valid `b` of the same shape), and how the error names it."""

    name: str
    use: Callable[[Any, Any], object]
    operation: str | None
    argument: str | tuple[str, ...] | None


def operators():
    """Named by their ufunc, blamed as left or right."""
    table = {
        "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
        "floor_divide": operator.floordiv, "remainder": operator.mod, "power": operator.pow,
        "divmod": divmod, "matmul": operator.matmul, "bitwise_and": operator.and_,
        "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "left_shift": operator.lshift,
        "right_shift": operator.rshift, "less": operator.lt, "less_equal": operator.le,
        "equal": operator.eq, "not_equal": operator.ne, "greater": operator.gt,
        "greater_equal": operator.ge,
    }  # fmt: skip
    mirrored = {
        "less": "greater",
        "less_equal": "greater_equal",
        "greater": "less",
        "greater_equal": "less_equal",
    }
    for name, op in table.items():
        yield Touch(f"a {name} b", lambda a, b, op=op: op(a, b), name, "left")
        yield Touch(f"b {name} a", lambda a, b, op=op: op(b, a), name, "right")
        yield Touch(f"a {name} ndarray", lambda a, b, op=op: op(a, np.ones((4, 4))), name, "left")
        yield Touch(f"ndarray {name} a", lambda a, b, op=op: op(np.ones((4, 4)), a), name, "x2")
        if name != "matmul":
            yield Touch(f"a {name} 2", lambda a, b, op=op: op(a, 2), name, "left")
            if name in mirrored:
                yield Touch(f"2 {name} a", lambda a, b, op=op: op(2, a), None, None)
            else:
                yield Touch(f"2 {name} a", lambda a, b, op=op: op(2, a), name, ("left", "right"))
    for name, op in {
        "negative": operator.neg,
        "positive": operator.pos,
        "absolute": abs,
        "invert": operator.invert,
    }.items():
        yield Touch(f"{name} a", lambda a, b, op=op: op(a), name, ("left", "x1"))


def in_place_operators():
    for name in [
        "iadd",
        "isub",
        "imul",
        "itruediv",
        "ifloordiv",
        "imod",
        "ipow",
        "imatmul",
        "iand",
        "ior",
        "ixor",
        "ilshift",
        "irshift",
    ]:
        op = getattr(operator, name)
        yield Touch(f"a {name} b", lambda a, b, op=op: op(a, b), name, "left")
        yield Touch(f"b {name} a", lambda a, b, op=op: op(b, a), name, "right")
    yield Touch("ndarray iadd a", lambda a, b: operator.iadd(np.ones((4, 4)), a), "add", "x2")


def ufuncs():
    for name, ufunc in sorted(vars(np).items()):
        if not isinstance(ufunc, np.ufunc) or ufunc.__name__ != name:
            continue
        if ufunc.nin == 1:
            yield Touch(f"np.{name}(a)", lambda a, b, u=ufunc: u(a), name, "x1")
        else:
            yield Touch(f"np.{name}(a, b)", lambda a, b, u=ufunc: u(a, b), name, "x1")
            yield Touch(f"np.{name}(b, a)", lambda a, b, u=ufunc: u(b, a), name, "x2")
    plain = np.ones((4, 4))
    yield Touch("np.add(out=a)", lambda a, b: np.add(b, b, out=a), "add", "out")
    yield Touch("np.add(plain, out=a)", lambda a, b: np.add(plain, plain, out=a), "add", "out")
    yield Touch("np.add(where=a)", lambda a, b: np.add(b, b, where=a, out=plain), "add", "where")
    yield Touch("np.modf(out=(b, a))", lambda a, b: np.modf(b, out=(b, a)), "modf", "out")
    yield Touch("np.add(a, 2)", lambda a, b: np.add(a, 2), "add", "x1")
    yield Touch("np.add(2, a)", lambda a, b: np.add(2, a), "add", "x2")
    yield Touch("np.add(a, a)", lambda a, b: np.add(a, a), "add", "x1")
    yield Touch("np.add(a, list)", lambda a, b: np.add(a, [1.0] * 4), "add", "x1")
    yield Touch("np.add(plain, a)", lambda a, b: np.add(plain, a), "add", "x2")
    yield Touch("add.reduce", lambda a, b: np.add.reduce(a), "add.reduce", ("x1", "array"))
    yield Touch("add.accumulate", lambda a, b: np.add.accumulate(a), "add.accumulate", ("x1", "array"))
    yield Touch("add.reduceat", lambda a, b: np.add.reduceat(a, [0, 2]), "add.reduceat", ("x1", "array"))
    yield Touch("add.outer", np.add.outer, "add.outer", "x1")
    yield Touch("add.outer right", lambda a, b: np.add.outer(b, a), "add.outer", "x2")
    yield Touch("add.at", lambda a, b: np.add.at(a, [0], 1), "add.at", ("x1", "a"))
    yield Touch("add.reduce(out=a)", lambda a, b: np.add.reduce(b, axis=0, out=a), "add.reduce", "out")


def methods():
    """Blamed on `self`, named as they are."""
    calls = {
        "all": (), "any": (), "argmax": (), "argmin": (), "argpartition": (1,), "argsort": (),
        "astype": ("f4",), "byteswap": (), "choose": ([1, 2],), "clip": (0, 1), "compress": ([True],),
        "conj": (), "conjugate": (), "copy": (), "cumprod": (), "cumsum": (), "diagonal": (), "dot": (2,),
        "dumps": (), "fill": (0,), "flatten": (), "getfield": ("f8",), "item": (0,), "max": (), "mean": (),
        "min": (), "nonzero": (), "partition": (1,), "prod": (), "put": ([0], [1]), "ravel": (),
        "repeat": (2,), "reshape": (16,), "round": (), "searchsorted": (1,), "setfield": (1, "f8"),
        "sort": (), "squeeze": (), "std": (), "sum": (), "swapaxes": (0, 1), "take": ([0],),
        "to_device": ("cpu",), "tobytes": (), "tofile": ("/dev/null",), "tolist": (), "trace": (),
        "transpose": (), "var": (), "view": (), "detach": (), "leverage": (), "leverage_to": ("HERE",),
        "leverage_or_detach": ("HERE",), "migrate": (), "dup": (), "cast_to": ("f4",), "numpy": (),
    }  # fmt: skip
    for name, arguments in calls.items():
        yield Touch(f"a.{name}", lambda a, b, n=name, p=arguments: getattr(a, n)(*p), name, "self")
    yield Touch("a.cast_to(same)", lambda a, b: a.cast_to("f8"), "cast_to", "self")
    yield Touch("a.leverage_to(own)", lambda a, b: a.leverage_to("HELD"), "leverage_to", "self")


def attributes_and_access():
    def write(a, _):
        a[0] = 1

    def write_real(a, _):
        a.real = 1

    def write_flat(a, _):
        a.flat = 1

    for name in ["T", "mT", "flat", "real", "imag", "ctypes", "data"]:
        yield Touch(f"a.{name}", lambda a, b, n=name: getattr(a, n), name, "self")
    yield Touch("a.real = 1", write_real, "real", "self")
    yield Touch("a.flat = 1", write_flat, "flat", "self")
    yield Touch("a[0]", lambda a, b: a[0], "getitem", "self")
    yield Touch("a[0, 0]", lambda a, b: a[0, 0], "getitem", "self")
    yield Touch("a[...]", lambda a, b: a[...], "getitem", "self")
    yield Touch("a[[0]]", lambda a, b: a[[0]], "getitem", "self")
    yield Touch("a[out of bounds]", lambda a, b: a[99], "getitem", "self")
    yield Touch("a[0] = 1", write, "setitem", "self")
    yield Touch("in", lambda a, b: 1 in a, "contains", "self")
    yield Touch("iter", lambda a, b: iter(a), "iter", "self")
    yield Touch("list", lambda a, b: list(a), None, "self")
    yield Touch("unpacking", lambda a, b: [*a], None, "self")
    yield Touch("bool", lambda a, b: bool(a), "bool", "self")
    yield Touch("int", lambda a, b: int(a), "int", "self")
    yield Touch("float", lambda a, b: float(a), "float", "self")
    yield Touch("complex", lambda a, b: complex(a), "complex", "self")
    yield Touch("index", lambda a, b: operator.index(a), "index", "self")
    yield Touch("format with a specification", lambda a, b: format(a, ".2f"), "format", "self")
    yield Touch("plain[a]", lambda a, b: np.arange(9.0)[a], None, None)
    yield Touch("b[a]", lambda a, b: b[a], None, None)
    yield Touch("b[...] = a", lambda a, b: b.__setitem__(..., a), None, None)
    yield Touch("plain[...] = a", lambda a, b: np.ones((4, 4)).__setitem__(..., a), None, None)


def exports():
    yield Touch("np.asarray", lambda a, b: np.asarray(a), "array", "self")
    yield Touch("np.array", lambda a, b: np.array(a), "array", "self")
    yield Touch("np.array of a list", lambda a, b: np.array([a, a]), None, "self")
    yield Touch("a.__array__", lambda a, b: a.__array__(), "array", "self")
    yield Touch("memoryview", lambda a, b: memoryview(a), "buffer", "self")
    yield Touch("bytes", lambda a, b: bytes(a), None, "self")
    yield Touch("np.frombuffer", lambda a, b: np.frombuffer(a), None, "self")
    yield Touch("np.from_dlpack", lambda a, b: np.from_dlpack(a), None, "self")
    yield Touch("a.__dlpack__", lambda a, b: a.__dlpack__(), "dlpack", "self")
    yield Touch("copy.copy", lambda a, b: copy.copy(a), "copy", "self")
    yield Touch("copy.deepcopy", lambda a, b: copy.deepcopy(a), "deepcopy", "self")
    for protocol in [0, 2, 5]:
        yield Touch(f"pickle {protocol}", lambda a, b, p=protocol: pickle.dumps(a, p), None, "self")


def functions():
    """Blamed by NumPy's name of the parameter."""
    calls = {
        "sum": "a", "mean": "a", "std": "a", "max": "a", "argmax": "a", "sort": "a", "cumsum": "a",
        "ravel": "a", "transpose": "a", "copy": "a", "round": "a", "any": "a", "nonzero": "a",
        "squeeze": "a", "argsort": "a", "median": "a", "trace": "a", "diff": "a", "unique": "ar",
        "flip": "m", "tril": "m", "nan_to_num": "x", "array_repr": "arr", "array_str": "a",
        "array2string": "a", "zeros_like": "a", "linalg.inv": "a", "linalg.det": "a", "linalg.svd": "a",
        "linalg.norm": "x", "linalg.eigh": "a", "fft.fft": "a", "fft.rfftn": "a", "fft.fftshift": "x",
    }  # fmt: skip
    for path, argument in calls.items():
        function = operator.attrgetter(path)(np)
        yield Touch(f"np.{path}", lambda a, b, f=function: f(a), path.rpartition(".")[2], argument)
    pairs = {
        "dot": ("a", "b"), "inner": ("a", "b"), "outer": ("a", "b"), "kron": ("a", "b"),
        "allclose": ("a", "b"), "tensordot": ("a", "b"), "isclose": ("a", "b"), "append": ("arr", "values"),
        "array_equal": ("a1", "a2"), "linalg.solve": ("a", "b"), "copyto": ("dst", "src"),
    }  # fmt: skip
    for path, (first, second) in pairs.items():
        function = operator.attrgetter(path)(np)
        name = path.rpartition(".")[2]
        yield Touch(f"np.{path}(a, b)", lambda a, b, f=function: f(a, b), name, first)
        yield Touch(f"np.{path}(b, a)", lambda a, b, f=function: f(b, a), name, second)
    yield Touch("np.where(a, b, b)", lambda a, b: np.where(a, b, b), "where", "condition")
    yield Touch("np.where(b, a, b)", lambda a, b: np.where(b, a, b), "where", "x")
    yield Touch("np.where(b, b, a)", lambda a, b: np.where(b, b, a), "where", "y")
    yield Touch("np.sum(out=a)", lambda a, b: np.sum(b, axis=0, out=a), "sum", "out")
    yield Touch("np.take(b, a)", lambda a, b: np.take(b, a), "take", "indices")
    yield Touch("np.clip", lambda a, b: np.clip(b, a, b), "clip", "a_min")
    yield Touch("np.concatenate", lambda a, b: np.concatenate([b, b, a]), "concatenate", "arrays[2]")
    yield Touch("np.concatenate of a tuple", lambda a, b: np.concatenate((a, b)), "concatenate", "arrays[0]")
    yield Touch("np.concatenate(out=a)", lambda a, b: np.concatenate([b, b], out=a), "concatenate", "out")
    yield Touch("np.stack", lambda a, b: np.stack([b, a]), "stack", "arrays[1]")
    yield Touch("np.vstack", lambda a, b: np.vstack([b, a]), "vstack", "tup[1]")
    yield Touch("np.einsum", lambda a, b: np.einsum("ij,jk", b, a), "einsum", None)
    yield Touch("np.block", lambda a, b: np.block([[b, a]]), "block", None)
    yield Touch("np.meshgrid", lambda a, b: np.meshgrid(b, a), "meshgrid", None)
    yield Touch("np.broadcast_arrays", lambda a, b: np.broadcast_arrays(b, a), "broadcast_arrays", None)
    yield Touch("np.save", lambda a, b: np.save("/dev/null", a), "save", "arr")
    yield Touch("np.nditer", lambda a, b: np.nditer(a), None, None)
    yield Touch("np.ndenumerate", lambda a, b: np.ndenumerate(a), None, None)
    yield Touch("np.vectorize", lambda a, b: np.vectorize(abs)(a), None, None)
    yield Touch("np.ma.array", lambda a, b: np.ma.array(a), None, None)
    yield Touch("np.random.permutation", lambda a, b: np.random.default_rng(0).permutation(a), None, None)
    yield Touch("np.testing", np.testing.assert_allclose, None, None)
    for name in ["detach", "leverage", "migrate", "dup"]:
        yield Touch(f"ndarena.{name}", lambda a, b, n=name: getattr(ndarena, n)(a), name, None)
    yield Touch("ndarena.asarray", lambda a, b: ndarena.asarray(a), "asarray", None)
    yield Touch("ndarena.array", lambda a, b: ndarena.array(a), "array", None)


TOUCHES = [
    *operators(),
    *in_place_operators(),
    *ufuncs(),
    *methods(),
    *attributes_and_access(),
    *exports(),
    *functions(),
]
