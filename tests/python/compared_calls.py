"""How every function of NumPy is called in the comparison: names from NumPy, arguments from here.

A row of `CALLS` names the arguments of some functions: words for the positional ones, `name=word?` or
`name?` for a keyword that is given now and then. Every word is drawn by the function of `WORDS` that has
its name. A function without a row is called with an array for each parameter that it requires.
"""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from compared_operands import INTEGERS, MATRICES, NUMBERS, REALS, TRUE_REALS, Draw, Operand

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = {"": np, "linalg.": np.linalg, "fft.": np.fft}


def public_functions() -> dict[str, Any]:
    """Find every public callable of the three modules that is no class."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some names warn when they are looked at
        for prefix, module in MODULES.items():
            for name in sorted(set(dir(module))):
                value = None if name.startswith("_") else getattr(module, name, None)
                if callable(value) and not isinstance(value, type):
                    found[prefix + name] = value
    return found


FUNCTIONS = public_functions()
UFUNCS = {name: f for name, f in FUNCTIONS.items() if isinstance(f, np.ufunc)}

_NO_ARRAY = "takes no array"
_SETTING = "reads or sets a setting of NumPy's"
_FILE = "reads or writes files; test_array_functions.py does it"
EXCEPTIONS = {
    _NO_ARRAY: """arange bartlett base_repr binary_repr blackman broadcast_shapes datetime_data diag_indices
        empty eye fft.fftfreq fft.rfftfreq format_float_positional format_float_scientific frompyfunc
        fromfunction fromstring hamming hanning identity indices isdtype issubdtype kaiser mask_indices
        mintypecode ones promote_types tri tril_indices triu_indices typename zeros full""",
    _SETTING: """get_include get_printoptions getbufsize geterr geterrcall printoptions set_printoptions
        setbufsize seterr seterrcall show_config show_runtime""",
    _FILE: "fromfile fromregex genfromtxt load loadtxt save savetxt savez savez_compressed",
    "starts a suite of tests": "test linalg.test fft.test",
    "prints documentation": "info",
    "values are undefined": "empty_like",
    "makes matrices, of a list in another way than of an ndarray": "asmatrix bmat",
    "makes iterators, whose operands are leased views": "nested_iters",
    "gives a leased view by another protocol; test_array_exchange.py has it": "from_dlpack",
}
"""Functions that are not compared here, by the reason."""

NOT_DISPATCHED = {
    "array",
    "asanyarray",
    "asarray",
    "asarray_chkfinite",
    "ascontiguousarray",
    "asfortranarray",
    "frombuffer",
    "fromiter",
    "require",
    "poly",
    "roots",
}
"""NumPy does not ask their operand: they get a leased view and return plain arrays."""

ADDED = {
    "cumulative_prod": (2, 1),
    "cumulative_sum": (2, 1),
    "unstack": (2, 1),
    "matvec": (2, 2),
    "vecmat": (2, 2),
}
REMOVED = {"in1d": (2, 4), "trapz": (2, 4), "row_stack": (2, 5)}
"""Names that not every NumPy from 2.0 on has, with the first version that has them, or no longer."""

_REDUCE = "a axes? keepdims=flag? where=mask? out?"
CALLS = {
    # reductions
    "all any": _REDUCE,
    "amax amin max min nanmax nanmin": "a axes? keepdims=flag? where=mask? initial=number? out?",
    "sum prod nansum nanprod": "a axes? dtype? keepdims=flag? where=mask? initial=number? out?",
    "mean nanmean": "a axes? dtype=inexact? keepdims=flag? where=mask? out?",
    "std var nanstd nanvar": "a axes? dtype=inexact? ddof=small? keepdims=flag? where=mask? out?",
    "ptp": "a axes? keepdims=flag? out?",
    "median nanmedian": "n axes? keepdims=flag? out?",
    "percentile nanpercentile": "n percent axes? keepdims=flag? method? out?",
    "quantile nanquantile": "n fraction axes? keepdims=flag? method? out?",
    "average": "n axis? weights=same? returned=flag? keepdims=flag?",
    "cumsum cumprod nancumsum nancumprod": "a axis? dtype? out?",
    "cumulative_sum cumulative_prod": "a axis? dtype? include_initial=flag?",
    "argmax argmin nanargmax nanargmin": "a axis? keepdims=flag? out?",
    "count_nonzero": "a axes? keepdims=flag?",
    "trace": "m offset=small? dtype? out?",
    # order and sets
    "sort": "a axis? kind? stable=flag?",
    "argsort": "a axis? kind? stable=flag?",
    "partition argpartition": "vector one axis?",
    "lexsort": "keys axis?",
    "searchsorted": "vector like side?",
    "digitize": "n sorted right=flag?",
    "unique": "a return_index=flag? return_inverse=flag? return_counts=flag? axis?",
    "intersect1d": "a like return_indices=flag?",
    "setdiff1d setxor1d union1d": "a like",
    "isin": "a like invert=flag? assume_unique=flag?",
    "trim_zeros": "vector trim=ends?",
    # shapes
    "reshape": "a flat order?",
    "resize": "a shape",
    "ravel": "a order?",
    "transpose permute_dims": "a axes=permutation?",
    "moveaxis": "a axis axis",
    "rollaxis": "a axis",
    "swapaxes": "a axis axis",
    "expand_dims squeeze": "a axis",
    "flip": "a axes?",
    "rot90": "m small",
    "roll": "a small axis?",
    "broadcast_to": "a wider",
    "broadcast_arrays": "a b",
    "atleast_1d atleast_2d atleast_3d meshgrid ix_": "a like",
    "linalg.matrix_transpose matrix_transpose": "m",
    "diag diagflat": "n k=small?",
    "diagonal": "m offset=small?",
    "linalg.diagonal": "m offset=small?",
    "tril triu": "m k=small?",
    "tril_indices_from triu_indices_from": "m2 k=small?",
    "diag_indices_from": "square",
    "pad": "a pads mode=padding?",
    "repeat": "a small axis?",
    "tile": "a reps",
    "split array_split": "a two axis?",
    "hsplit vsplit": "a two",
    "dsplit": "deep two",
    "unstack": "a axis?",
    "concatenate concat": "arrays axis? dtype? out?",
    "stack": "arrays axis? dtype? out?",
    "block": "nested",
    "column_stack dstack": "arrays",
    "hstack vstack row_stack": "arrays dtype?",
    "append": "a like axis?",
    "insert": "a one like axis?",
    "delete": "a one axis?",
    "fill_diagonal": "w2 number wrap=flag?",
    # elements
    "take": "a indices axis? mode? out?",
    "take_along_axis": "a along axis0",
    "put": "w indices like mode?",
    "put_along_axis": "w along number axis0",
    "putmask place": "w mask like",
    "copyto": "w b where=mask? casting?",
    "choose": "choices arrays mode?",
    "compress": "bits a axis? out?",
    "extract": "mask_first a_like",
    "select": "conditions arrays default=number?",
    "where": "a b b",
    "piecewise": "n condition_list functions",
    "nan_to_num": "n copy=flag? nan=number?",
    "clip": "a number number out?",
    "astype": "a dtype copy=flag?",
    "copy": "a order?",
    "array asarray asanyarray": "a dtype? order?",
    "require": "a dtype",
    "full_like": "a number dtype? order? shape?",
    "zeros_like ones_like": "a dtype? order? shape?",
    "unravel_index": "indices_first shape",
    "ravel_multi_index": "index_pair dims mode?",
    "packbits unpackbits": "bytes axis?",
    "bincount": "counts weights=same? minlength=small_natural?",
    # numbers
    "isclose allclose": "n near equal_nan=flag?",
    "array_equal array_equiv": "a like",
    "round around": "n small out?",
    "fix isneginf isposinf": "r out?",
    "angle": "n deg=flag?",
    "diff": "a n=small_natural? axis? prepend=number?",
    "ediff1d": "n to_end=number?",
    "gradient": "n axis?",
    "trapezoid trapz": "n axis? dx=number?",
    "unwrap": "r axis?",
    "interp": "r sorted sorted_like left=number?",
    "linspace logspace geomspace": "n like3 num=four? endpoint=flag? axis=first_axis?",
    "histogram": "r bins=four? density=flag? weights=same?",
    "histogram_bin_edges": "r bins=four?",
    "histogram2d": "v vector_like bins=four?",
    "histogramdd": "m2 bins=four?",
    "corrcoef cov": "m2 rowvar=flag? dtype=inexact?",
    "convolve correlate": "v v mode=convolution?",
    "vander": "v N=small_natural? increasing=flag?",
    "sinc i0": "r",
    "in1d": "a like",
    # polynomials
    "polyadd polydiv polymul polysub": "v v",
    "polyval": "v like",
    "polyder polyint": "v m=small_natural?",
    "polyfit": "v vector_like one",
    "poly roots": "v",
    # products
    "dot inner outer kron": "n product out?",
    "vdot": "v vector_like",
    "cross linalg.cross": "triples triples_like",
    "tensordot linalg.tensordot": "m product axes=one?",
    "einsum": "subscripts m out?",
    "einsum_path": "subscripts m",
    "linalg.outer": "v v",
    "linalg.vecdot": "n like",
    "linalg.matmul": "m product",
    "linalg.multi_dot": "chain",
    # linear algebra
    "linalg.cholesky": "definite upper=flag?",
    "linalg.eigh linalg.eigvalsh": "definite UPLO?",
    "linalg.det linalg.eig linalg.eigvals linalg.inv linalg.slogdet": "square",
    "linalg.tensorinv": "fours ind=two?",
    "linalg.cond": "square p=ord?",
    "linalg.matrix_rank": "matrix hermitian=no?",
    "linalg.pinv": "matrix",
    "linalg.svd": "matrix full_matrices=flag? compute_uv=flag?",
    "linalg.svdvals": "matrix",
    "linalg.qr": "matrix mode=qr?",
    "linalg.matrix_power": "square small",
    "linalg.matrix_norm": "matrix ord? keepdims=flag?",
    "linalg.vector_norm": "n axes? keepdims=flag?",
    "linalg.norm": "n ord? axis? keepdims=flag?",
    "linalg.solve linalg.lstsq": "square right_hand",
    "linalg.tensorsolve": "square vector3",
    "linalg.trace": "m offset=small? dtype?",
    # Fourier
    "fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft": "n n=four? axis? norm? out?",
    "fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2": "m norm? out?",
    "fft.fftn fft.ifftn fft.rfftn fft.irfftn": "n axes=axes_tuple? norm? out?",
    "fft.fftshift fft.ifftshift": "a axes?",
    # functions of functions, dates, text, types
    "apply_along_axis": "function axis a",
    "apply_over_axes": "over a axis",
    "array2string": "a precision=small_natural?",
    "array_repr array_str": "a precision=small_natural?",
    "busday_count": "days days_like",
    "busday_offset": "days small roll?",
    "is_busday": "days",
    "datetime_as_string": "days unit?",
    "can_cast": "dtype dtype",
    "result_type common_type": "n like",
    "may_share_memory shares_memory": "a like",
    "size": "a axis?",
    "fromiter": "line type",
    "frombuffer": "plain_c",
    "iterable isscalar isfortran": "a",
    "real_if_close": "n",
    "min_scalar_type": "a",
}


ROWS = {name: row for names, row in CALLS.items() for name in names.split()}
KEYWORDS = {"axes": "axis"}
Arguments = tuple[list[Any], dict[str, Any]]


def sequence(draw: Draw, make: Callable[[], Any], n: int) -> Any:
    """Draw a list or a tuple of things."""
    return draw.pick(list, tuple)([make() for _ in range(n)])


def like(draw: Draw, dtypes: Any = None, shape: Any = None) -> Operand:
    """Draw an array that goes with the first one: mostly of its dtype, of its shape or a near one."""
    own = draw.first.dtype if draw.first is not None else np.dtype("f8")
    dtypes = draw.pick([own], [own], dtypes or NUMBERS)
    return draw.array(dtypes, draw.shape if shape is None else shape)


def related(draw: Draw) -> Operand:
    return like(draw, shape=draw.fitting_shape())


def with_ndim(draw: Draw, least: int, most: int = 4) -> tuple[int, ...]:
    """Draw a shape with so many axes."""
    return draw.pick(*[s for s in SHAPES_OF_ALL if least <= len(s) <= most])


SHAPES_OF_ALL = [(3,), (2, 3), (4,), (3, 3), (2, 3, 4), (1,), (0,), (1, 4), (0, 3), (2, 0, 3), (2, 2, 3, 2)]


def square(draw: Draw, *, definite: bool = False) -> Operand:
    """Draw a stack of square matrices that are far from singular, now and then something else."""
    n = draw.pick(3, 2, 1, 0)
    shape = draw.pick((n, n), (n, n), (2, n, n), (0, n, n), (n, n + 1), (n,))

    def fill(x: np.ndarray) -> np.ndarray:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            return x
        x = x + (np.swapaxes(x, -1, -2).conj() if definite else 0)
        return (x + np.eye(x.shape[-1], dtype=x.dtype) * 12).astype(x.dtype)

    return draw.array(MATRICES, shape, fill=fill, wild=False)


def ordered(draw: Draw, like_first: bool = False) -> Operand:
    return draw.array(TRUE_REALS, (4,), fill=lambda x: x if like_first else np.sort(x), wild=False)


def mask(draw: Draw) -> Any:
    return draw.array(["?"], draw.pick(draw.shape, draw.fitting_shape()))


def axes(draw: Draw) -> Any:
    return draw.pick(None, draw.axis(), (draw.axis(),), (0, -1), ())


def product(draw: Draw) -> Operand:
    last = draw.shape[-1:]
    return like(draw, shape=draw.pick(last, (*last, 2), last, (2, *last, 3), draw.shape))


def along(draw: Draw) -> Operand:
    shape = (2, *draw.shape[1:])
    top = max(1, draw.shape[0]) if draw.shape else 1
    return draw.array(INTEGERS[:1], shape, fill=lambda x: x % top, wild=False)


def indices(draw: Draw) -> Any:
    array = draw.array(INTEGERS, draw.pick((2,), (), (2, 2), (0,)), fill=lambda x: abs(x) % 3, wild=False)
    return draw.pick(array, array, 1, [0, -1])


def fixed_shape(*shape: int, dtypes: Any = NUMBERS, wild: bool = True) -> Callable[[Draw], Operand]:
    return lambda draw: draw.array(dtypes, shape, wild=wild)


def picked(*options: Any) -> Callable[[Draw], Any]:
    return lambda draw: draw.pick(*options)


def days(draw: Draw) -> Operand:
    return draw.array(["M8[D]"], wild=False)


CHAINS = [[(2, 3), (3, 2)], [(2, 3), (3, 4), (4, 2)]]
WORDS: dict[str, Callable[[Draw], Any]] = {
    "a": lambda d: d.array(),
    "b": related,
    "n": lambda d: d.array(NUMBERS),
    "r": lambda d: d.array(REALS),
    "v": lambda d: d.array(NUMBERS, d.pick((4,), (3,), (1,), (0,), (2, 3)), wild=False),
    "m": lambda d: d.array(NUMBERS, with_ndim(d, 2)),
    "m2": lambda d: d.array(NUMBERS, with_ndim(d, 2, 2), wild=False),
    "w": lambda d: d.array(writeable=True),
    "w2": lambda d: d.array(NUMBERS, with_ndim(d, 2), writeable=True),
    "vector": lambda d: d.array(shape=d.pick((4,), (5,), (3, 4))),
    "line": lambda d: d.array(NUMBERS, (4,)),
    "vector_like": like,
    "vector3": fixed_shape(3, dtypes=MATRICES, wild=False),
    "like": like,
    "like3": lambda d: d.array(NUMBERS, d.shape, wild=False),
    "near": related,
    "same": lambda d: d.array(TRUE_REALS, d.shape, fill=abs, wild=False),
    "mask": mask,
    "mask_first": lambda d: d.array(["?"]),
    "a_like": lambda d: d.array(shape=d.shape),
    "bits": lambda d: d.array(["?"], d.pick((2,), (3,), (4,))),
    "bytes": lambda d: d.array(["u1", "u1", "?"], d.pick((3,), (2, 3), (0,), (2, 9))),
    "counts": lambda d: d.array(INTEGERS, d.pick((4,), (0,), (6,)), fill=abs, wild=False),
    "choices": lambda d: d.array(INTEGERS, fill=lambda x: abs(x) % 2, wild=False),
    "indices": indices,
    "indices_first": lambda d: d.array(INTEGERS, fill=lambda x: abs(x) % 3, wild=False),
    "index_pair": lambda d: sequence(d, lambda: WORDS["choices"](d), 2),
    "along": along,
    "arrays": lambda d: sequence(d, lambda: d.array() if d.first is None else like(d), d.pick(2, 3)),
    "keys": lambda d: (d.array(), like(d)),  # the dispatcher of `lexsort` does not look into lists
    "deep": lambda d: d.array(shape=d.pick((2, 3, 4), (1, 1, 2), (0, 2, 2), (2, 3))),
    "nested": lambda d: [[d.array(NUMBERS), like(d)], [like(d), like(d)]],
    "conditions": lambda d: sequence(d, lambda: d.array(["?"], d.shape or None), 2),
    "condition_list": lambda d: [d.array(["?"], d.shape), d.array(["?"], d.shape)],
    "functions": lambda d: [d.pick(2, -1), d.pick(3, lambda x: x + 1, np.negative)],
    "function": picked(np.sum, np.sort, lambda x: x[:2] * 2, np.max),
    "over": picked(np.sum, np.max),
    "square": square,
    "definite": lambda d: square(d, definite=True),
    "matrix": lambda d: d.array(MATRICES, d.pick((3, 2), (2, 3), (3, 3), (2, 2, 3), (0, 2)), wild=False),
    "right_hand": lambda d: d.array(MATRICES, d.pick(d.shape[-1:], (*d.shape[-1:], 2), d.shape), wild=False),
    "fours": lambda d: d.array(
        MATRICES, (2, 2, 2, 2), fill=lambda x: (np.eye(4).reshape(x.shape) * 2).astype(x.dtype)
    ),
    "chain": lambda d: [d.array(NUMBERS, s, wild=False) for s in d.pick(*CHAINS)],
    "product": product,
    "subscripts": picked("...ij->...ji", "ij->i", "ij->", "ij->j", "...i", "ii"),
    "triples": lambda d: d.array(NUMBERS, d.pick((3,), (2, 3), (4, 3), (2,))),
    "triples_like": lambda d: like(d, shape=d.pick(d.shape, (3,))),
    "sorted": ordered,
    "sorted_like": lambda d: ordered(d, like_first=True),
    "days": days,
    "days_like": lambda d: d.array(["M8[D]"], d.fitting_shape(), wild=False),
    "plain_c": lambda d: d.array(["f8"], (4,)),
    "axis": lambda d: d.axis(),
    "axis0": picked(0),
    "first_axis": picked(0, -1),
    "axes": axes,
    "axes_tuple": lambda d: (d.axis(),),
    "permutation": lambda d: tuple(np.random.default_rng(d.pick(0, 1, 2)).permutation(len(d.shape)).tolist()),
    "shape": picked((2, 3), (6,), (3, 3, 2), ()),
    "dims": picked((2, 3), (4, 4)),
    "flat": lambda d: d.pick(-1, (-1, 1), d.shape[::-1], (2, -1)),
    "wider": lambda d: d.pick((2, *d.shape), d.shape, (*d.shape, 2)),
    "order": picked("C", "F", "A", "K"),
    "dtype": picked("f8", "f4", "i4", "c16", "?", ">f8", "U5", "M8[s]", "O"),
    "inexact": picked("f8", "f4", "c16", "g"),
    "flag": picked(True, False),
    "no": picked(False),
    "number": picked(1, 0.5, -2, 3),
    "small": picked(1, 0, -1, 2),
    "small_natural": picked(1, 2, 0),
    "one": picked(1, 0),
    "two": picked(2, [1], [1, 2]),
    "four": picked(4, 3),
    "reps": picked(2, (2, 1), (1, 2, 2)),
    "pads": picked(1, (1, 2), 0),
    "padding": picked("constant", "edge", "reflect", "wrap", "mean", "linear_ramp", "maximum"),
    "percent": lambda d: d.pick(50, [25, 75], d.array(TRUE_REALS, (2,), fill=abs, wild=False)),
    "fraction": lambda d: d.pick(
        0.5, [0.25, 0.75], d.array(["f8"], (2,), fill=lambda x: abs(x) / 8, wild=False)
    ),
    "method": picked("linear", "lower", "nearest", "inverted_cdf"),
    "kind": picked("stable", "quicksort", "heapsort"),
    "side": picked("left", "right"),
    "ends": picked("fb", "f", "b"),
    "mode": picked("raise", "wrap", "clip"),
    "casting": picked("same_kind", "unsafe", "no"),
    "convolution": picked("full", "same", "valid"),
    "ord": picked(2, 1, "fro", np.inf, -2, "nuc"),
    "UPLO": picked("L", "U"),
    "qr": picked("reduced", "complete", "r", "raw"),
    "norm": picked("ortho", "forward", "backward"),
    "roll": picked("forward", "raise", "nat"),
    "unit": picked("h", "auto", "D"),
    "type": picked("f8"),
}


def row_of(name: str) -> str:
    """Give the row of a function."""
    return ROWS.get(name) or " ".join(["a"] * required(name))


def arguments(draw: Draw, row: str) -> Arguments:
    """Draw the arguments that a row describes; `out?` is left to those who know the result."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in row.split():
        if not word.endswith("?"):
            args.append(WORDS[word](draw))
        elif word != "out?" and draw.pick(False, False, True):
            keyword, _, kind = word.rstrip("?").partition("=")
            kwargs[KEYWORDS.get(keyword, keyword)] = WORDS[kind or keyword](draw)
    return args, kwargs


def required(name: str) -> int:
    """Count the parameters that a function without a row must have."""
    try:
        parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    except ValueError:
        return 1
    needed = [p for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    return max(1, len(needed))
