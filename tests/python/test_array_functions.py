"""Every function of NumPy that asks its array arguments first (`__array_function__`)."""

from __future__ import annotations

import inspect
import io

import numpy as np
import numpy.lib.stride_tricks
import pytest
from array_support import Refusal, assert_equal, open_scopes, outcome
from function_samples import SAMPLES

import ndarena

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MODULES = {
    "": np,
    "linalg.": np.linalg,
    "fft.": np.fft,
    "strings.": np.strings,
    "char.": np.char,
    "lib.stride_tricks.": numpy.lib.stride_tricks,
}
FUNCTIONS = {
    prefix + name: function
    for prefix, module in MODULES.items()
    for name, function in sorted(vars(module).items())
    if type(function) is type(np.sum) and not name.startswith("_")
}
CALLS = {
    "append": [lambda f, m, v: f(m, v), lambda f, m: f(m, m, axis=0)],
    "apply_along_axis": [lambda f, m: f(np.sort, 1, m), lambda f, m: f(np.sum, 0, m)],
    "apply_over_axes": [lambda f, c: f(np.sum, c, [0, 2])],
    "argpartition": [lambda f, v: f(v, 2)],
    "array_split": [lambda f, m: f(m, 2), lambda f, m: f(m, 3, axis=1)],
    "astype": [lambda f, m: f(m, np.int32)],
    "average": [lambda f, v, w: f(v, weights=w), lambda f, m: f(m, axis=1, returned=True)],
    "bincount": [lambda f, i: f(i), lambda f, i, v: f(i, weights=v, minlength=7)],
    "block": [lambda f, m: f([[m, m], [m, m]])],
    "broadcast_to": [lambda f, v3: f(v3, (2, 3))],
    "busday_count": [lambda f, t: f(t, "2024-04-01")],
    "busday_offset": [lambda f, t: f(t, 2, roll="forward")],
    "can_cast": [lambda f, m: f(m, np.float32), lambda f, m: f(np.int8, m.dtype)],
    "choose": [lambda f, n, v3: f(n, [v3, v3 * 2, v3 * 3])],
    "clip": [lambda f, m: f(m, -1, 2), lambda f, v, w: f(v, 0, w), lambda f, m, wide: f(m, -1, 1, out=wide)],
    "compress": [lambda f, b, v: f(b, v), lambda f, m: f([True, False, True], m, axis=0)],
    "concat": [lambda f, m: f([m, m], axis=1), lambda f, m, wide: f((m, wide))],
    "concatenate": [
        lambda f, m: f([m, m]),
        lambda f, m, v: f((m, v), axis=None),
        lambda f, m, wide: f((m[:1], m[:2]), out=wide),
        lambda f, m: f([m, m], dtype=np.float32, casting="same_kind"),
    ],
    "convolve": [lambda f, v, w: f(v, w, "same")],
    "copyto": [lambda f, wide, m: f(wide, m), lambda f, wide, m, b3: f(wide, m, where=b3)],
    "correlate": [lambda f, v, w: f(v, w, "full")],
    "cross": [lambda f, v3, s: f(v3, s)],
    "datetime_as_string": [lambda f, t: f(t, unit="h")],
    "delete": [lambda f, v, n: f(v, n), lambda f, m: f(m, 1, axis=0)],
    "diag_indices_from": [lambda f, s: f(s)],
    "digitize": [lambda f, v, w: f(v, w)],
    "dot": [lambda f, m, s: f(s, m), lambda f, v, w: f(v, w), lambda f, s, m, wide: f(s, m, out=wide)],
    "dsplit": [lambda f, c: f(c, 2)],
    "einsum": [lambda f, s, m: f("ij,jk->ik", s, m), lambda f, s: f("ii->i", s), lambda f, m: f("ij->", m)],
    "einsum_path": [lambda f, s, m: f("ij,jk->ik", s, m)],
    "expand_dims": [lambda f, m: f(m, 1)],
    "extract": [lambda f, b, v: f(b, v)],
    "fill_diagonal": [lambda f, s: f(s, 9), lambda f, s, n: f(s, n)],
    "full_like": [lambda f, m: f(m, 3), lambda f, m: f(m, 3, dtype=int, shape=(2, 2))],
    "geomspace": [lambda f, v3: f(v3, 50.0, 4)],
    "gradient": [lambda f, m: f(m), lambda f, v, w: f(v, w)],
    "histogram2d": [lambda f, v, w: f(v, w, bins=3)],
    "histogramdd": [lambda f, m: f(m, bins=2)],
    "histogram": [lambda f, v: f(v, bins=4), lambda f, v, w: f(v, bins=3, weights=w, density=True)],
    "histogram_bin_edges": [lambda f, v: f(v, "auto")],
    "hsplit": [lambda f, m: f(m, 2)],
    "i0": [lambda f, v: f(v)],
    "inner": [lambda f, v, w: f(v, w), lambda f, s: f(s, s)],
    "insert": [lambda f, v: f(v, 1, 9.0), lambda f, m, v3: f(m, 1, v3, axis=1)],
    "interp": [
        lambda f, v, w: f(v, w, w * 2),
        lambda f, v: f(1.5, [1, 2], [3, 4], period=None) + f(v, [0, 1], [2, 3]),
    ],
    "intersect1d": [lambda f, i, n: f(i, n), lambda f, i, n: f(i, n, return_indices=True)],
    "is_busday": [lambda f, t: f(t)],
    "isin": [lambda f, i, n: f(i, n), lambda f, m: f(m, [0.5, 1.5])],
    "ix_": [lambda f, n, i: f(n, i)],
    "kron": [lambda f, s, n: f(s, n)],
    "lexsort": [lambda f, i, v: f((i, v)), lambda f, m: f(m)],
    "linspace": [lambda f, v3: f(v3, v3 * 2, 5), lambda f, v3: f(0, v3, 4, retstep=True)],
    "logspace": [lambda f, v3: f(0, v3, 4)],
    "matrix_transpose": [lambda f, c: f(c)],
    "may_share_memory": [lambda f, m: f(m, m.T), lambda f, m, v: f(m, v)],
    "meshgrid": [lambda f, v, w: f(v, w), lambda f, v, w: f(v, w, indexing="ij", sparse=True, copy=False)],
    "moveaxis": [lambda f, c: f(c, 0, 2)],
    "nan_to_num": [lambda f, q: f(q), lambda f, q: f(q, copy=False, nan=3.0)],
    "nanpercentile": [lambda f, q: f(q, [10, 50])],
    "nanquantile": [lambda f, q: f(q, 0.3)],
    "packbits": [lambda f, u: f(u), lambda f, b: f(b, bitorder="little")],
    "pad": [lambda f, m: f(m, 1), lambda f, m: f(m, ((0, 1), (2, 0)), mode="reflect")],
    "partition": [lambda f, v: f(v, 2)],
    "percentile": [lambda f, v: f(v, 30), lambda f, m, v3: f(m, v3 * 10, axis=0)],
    "permute_dims": [lambda f, c: f(c, (2, 0, 1))],
    "piecewise": [lambda f, v: f(v, [v < 0, v >= 0], [-1, lambda x: x + 1])],
    "place": [lambda f, v, b: f(v, b, [7.0, 8.0])],
    "polyfit": [lambda f, v, w: f(w, v, 2), lambda f, v, w: f(w, v, 1, cov=True)],
    "polyint": [lambda f, v: f(v, 2)],
    "polyval": [lambda f, v, w: f(v, w)],
    "polyadd": [lambda f, v, v3: f(v, v3)],
    "polydiv": [lambda f, w, v3: f(w, v3)],
    "polymul": [lambda f, v, v3: f(v, v3)],
    "polysub": [lambda f, v, v3: f(v, v3)],
    "put": [lambda f, v, n: f(v, n, [7.0, 8.0])],
    "put_along_axis": [lambda f, m, i: f(m, i[:3].reshape(3, 1), 9.0, axis=1)],
    "putmask": [lambda f, v, b, w: f(v, b, w)],
    "quantile": [lambda f, v: f(v, 0.25), lambda f, m: f(m, [0.1, 0.9], axis=1)],
    "ravel_multi_index": [lambda f, n: f((n, n), (3, 3))],
    "real_if_close": [lambda f, z: f(z), lambda f, z: f(z * 1e-20 + 1)],
    "repeat": [lambda f, v: f(v, 2), lambda f, m, n: f(m, n, axis=0)],
    "reshape": [lambda f, m: f(m, (4, 3)), lambda f, m: f(m.T, (12,))],
    "resize": [lambda f, m: f(m, (2, 9))],
    "result_type": [lambda f, m, i: f(m, i, 3.0)],
    "roll": [lambda f, m: f(m, 2), lambda f, m: f(m, (1, 2), axis=(0, 1))],
    "rollaxis": [lambda f, c: f(c, 2)],
    "roots": [lambda f, v3: f(v3)],
    "searchsorted": [lambda f, w, v: f(w, v), lambda f, v, n: f(v[:3], 1.0, sorter=n)],
    "select": [lambda f, v, w: f([v > 0, v < -1], [v, w], default=5.0)],
    "setdiff1d": [lambda f, i, n: f(i, n)],
    "setxor1d": [lambda f, i, n: f(i, n)],
    "shares_memory": [lambda f, m: f(m, m[1:]), lambda f, m, v: f(m, v)],
    "split": [lambda f, m: f(m, 3), lambda f, v: f(v, [1, 3])],
    "stack": [lambda f, v, w: f([v, w]), lambda f, v, w: f((v, w), axis=-1)],
    "swapaxes": [lambda f, c: f(c, 0, 2)],
    "take": [lambda f, v, n: f(v, n), lambda f, m: f(m, 1), lambda f, m: f(m, [0, 2], axis=1, mode="clip")],
    "take_along_axis": [lambda f, m, i: f(m, i[:3].reshape(3, 1), axis=1)],
    "tensordot": [lambda f, s, m: f(s, m, 1), lambda f, c: f(c, c, axes=([0, 1], [0, 1]))],
    "tile": [lambda f, v3: f(v3, (2, 2))],
    "trapezoid": [lambda f, v, w: f(v, w)],
    "trim_zeros": [lambda f, i: f(i)],
    "union1d": [lambda f, i, n: f(i, n)],
    "unique": [
        lambda f, i: f(i),
        lambda f, i: f(i, return_index=True, return_inverse=True, return_counts=True),
    ],
    "unpackbits": [lambda f, u: f(u), lambda f, u: f(u[:2], count=5)],
    "unravel_index": [lambda f, n: f(n, (2, 2))],
    "unstack": [lambda f, m: f(m), lambda f, c: f(c, axis=1)],
    "vander": [lambda f, v3: f(v3, 4)],
    "vdot": [lambda f, v, w: f(v, w), lambda f, z: f(z, z)],
    "vsplit": [lambda f, m: f(m, 3)],
    "where": [lambda f, b, v, w: f(b, v, w), lambda f, v: f(v > 1), lambda f, v: f(v > 0, v, 0)],
    "linalg.cholesky": [lambda f, s: f(s)],
    "linalg.cross": [lambda f, v3, s: f(v3, s[0])],
    "linalg.eigh": [lambda f, s: f(s)],
    "linalg.eigvalsh": [lambda f, s: f(s)],
    "linalg.lstsq": [lambda f, s2, v3: f(s2, v3), lambda f, m, v3: f(m, v3, rcond=None)],
    "linalg.matmul": [lambda f, s, m: f(s, m)],
    "linalg.matrix_power": [lambda f, s: f(s, 3), lambda f, s: f(s, -1), lambda f, s: f(s, 1)],
    "linalg.multi_dot": [lambda f, s, s2, m: f([s, s2, m])],
    "linalg.norm": [lambda f, m: f(m), lambda f, m: f(m, axis=1), lambda f, v: f(v, 1)],
    "linalg.outer": [lambda f, v, w: f(v, w)],
    "linalg.qr": [lambda f, m: f(m), lambda f, m: f(m, mode="r")],
    "linalg.solve": [lambda f, s, v3: f(s, v3), lambda f, s, m: f(s, m)],
    "linalg.svd": [lambda f, m: f(m), lambda f, m: f(m, compute_uv=False)],
    "linalg.tensordot": [lambda f, s, m: f(s, m, axes=1)],
    "linalg.tensorinv": [lambda f, h: f(h, ind=2)],
    "linalg.tensorsolve": [lambda f, s, v3: f(s, v3)],
    "linalg.vecdot": [lambda f, v, w: f(v, w)],
    "fft.irfft": [lambda f, z: f(z)],
    "fft.irfft2": [lambda f, s: f(s)],
    "fft.irfftn": [lambda f, s: f(s)],
    "fft.fft": [lambda f, v: f(v), lambda f, m: f(m, n=3, axis=0, norm="ortho")],
    "lib.stride_tricks.sliding_window_view": [lambda f, v: f(v, 3)],
}
for _module in ("strings.", "char."):
    CALLS |= {
        _module + "center": [lambda f, text: f(text, 8, "*")],
        _module + "decode": [lambda f, raw: f(raw)],
        _module + "encode": [lambda f, text: f(text)],
        _module + "join": [lambda f, text: f("-", text)],
        _module + "ljust": [lambda f, text: f(text, 8)],
        _module + "rjust": [lambda f, text: f(text, 8)],
        _module + "mod": [lambda f, i: f(np.array(["%d"] * 5), i)],
        _module + "multiply": [lambda f, text: f(text, 2)],
        _module + "partition": [lambda f, text: f(text, " ")],
        _module + "rpartition": [lambda f, text: f(text, " ")],
        _module + "replace": [lambda f, text: f(text, "a", "bb")],
        _module + "translate": [lambda f, text: f(text, "x" * 256)],
        _module + "zfill": [lambda f, text: f(text, 7)],
    }
BEFORE_2_1 = np.lib.NumpyVersion(np.__version__) < "2.1.0"
"""Functions of text do not ask their arguments there, and `reshape` knows no ``copy``."""

if not BEFORE_2_1:
    CALLS["reshape"].append(lambda f, m: f(m, -1, copy=True))
GUESSES = [
    lambda f, m: f(m),
    lambda f, v: f(v),
    lambda f, s: f(s),
    lambda f, text: f(text),
    lambda f, i: f(i),
    lambda f, v, w: f(v, w),
    lambda f, text: f(text, text),
    lambda f, v: f([v, v]),
    lambda f, m: f(m, 1),
]
"""For a function not in the table: the first of these that NumPy accepts."""
APART = {"save", "savetxt", "savez", "savez_compressed", "empty_like"}
"""These write to files or leave values undefined; they have tests of their own."""
NOT_DISPATCHED = {"poly", "roots"}
"""NumPy asks the elements of a vector instead of the vector, so these get a leased view."""


def operands(call):
    return [SAMPLES[name]() for name in list(inspect.signature(call).parameters)[1:]]


def calls_of(name):
    if name in CALLS:
        return CALLS[name]
    function = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        return [
            next(
                g for g in GUESSES if not isinstance(outcome(lambda g=g: g(function, *operands(g))), Refusal)
            )
        ]


def test_every_function_of_the_table_exists():
    """Apart from those that a version of NumPy lacks, no entry is misspelt."""
    known = {name.rpartition(".")[2] for name in FUNCTIONS}
    text = {name for name in CALLS if name.startswith(("strings.", "char."))} if BEFORE_2_1 else set()
    assert {name.rpartition(".")[2] for name in CALLS.keys() - text} - known <= {
        "concat",
        "permute_dims",
        "unstack",
        "astype",
        "join",
    }
    assert len(FUNCTIONS) > (260 if BEFORE_2_1 else 280)


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in APART | NOT_DISPATCHED])
class TestEveryFunction:
    def test_result_type_values_and_place_are_right(self, scopes, name):
        for call in calls_of(name):
            arrays = operands(call)
            want = outcome(
                lambda call=call, arrays=arrays: call(FUNCTIONS[name], *[a.copy() for a in arrays])
            )
            assert not isinstance(want, Refusal), want
            scopes.check(lambda *a, call=call: call(FUNCTIONS[name], *a), *arrays)

    def test_without_a_current_workspace_what_is_new_is_plain(self, scopes, name):
        for call in calls_of(name):
            arrays = operands(call)
            ours = [scopes.outer.array(a) for a in arrays]
            with ndarena.get_memory_manager().scope_out_of_workspaces():
                got = call(FUNCTIONS[name], *ours)
            want = call(FUNCTIONS[name], *arrays)
            compare_plain(got, want, list(zip(ours, arrays, strict=True)))

    def test_a_stale_operand_is_refused(self, scopes, name):
        """Functions that only read shape and dtype keep working."""
        ws = ndarena.Workspace(id="GONE")
        if name in {"ndim", "shape", "size"}:
            with ws:
                a = ws.zeros((2, 3))
            assert FUNCTIONS[name](a) == FUNCTIONS[name](np.zeros((2, 3)))
            return
        call = calls_of(name)[0]
        with ws:
            stale = [ws.array(a) for a in operands(call)]
        before = scopes.inner.stats()
        with pytest.raises(ndarena.LeakedArrayError) as caught:
            call(FUNCTIONS[name], *stale)
        assert caught.value.workspace_id == "GONE"
        assert scopes.inner.stats() == before


def compare_plain(got, want, pairs):
    """Like `assert_result`, with no workspace to place new arrays in."""
    if isinstance(want, tuple | list):
        assert type(got) is type(want)
        for g, w in zip(got, want, strict=True):
            compare_plain(g, w, pairs)
    elif type(want) is np.ndarray:
        shared = [(o, p) for o, p in pairs if want.size and np.may_share_memory(want, p)]
        if shared:
            assert type(got) is ndarena.WorkspaceArray
            assert got.workspace is shared[0][0].workspace
        elif want.size:
            assert type(got) is np.ndarray
        assert_equal(got, want)
    else:
        assert type(got) is type(want)


def test_empty_like_lies_in_the_current_workspace(scopes):
    x = np.asfortranarray(SAMPLES["m"]())
    got = np.empty_like(scopes.outer.array(x))
    assert got.workspace is scopes.inner
    assert (got.shape, got.dtype, got.flags.f_contiguous) == (x.shape, x.dtype, True)
    with ndarena.get_memory_manager().scope_out_of_workspaces():
        assert type(np.empty_like(got)) is np.ndarray


@pytest.mark.parametrize("name", sorted(NOT_DISPATCHED))
def test_functions_whose_dispatch_looks_at_the_elements(scopes, name):
    got, want = (FUNCTIONS[name](a) for a in (scopes.outer.array(SAMPLES["v"]()), SAMPLES["v"]()))
    assert type(got) is np.ndarray
    assert_equal(got, want)


@pytest.mark.parametrize("write", [np.save, np.savez, np.savez_compressed, np.savetxt])
def test_writing_to_a_file(scopes, write):
    files = io.BytesIO(), io.BytesIO()
    x = SAMPLES["m"]()
    write(files[0], scopes.outer.array(x))
    write(files[1], x)
    if write in {np.save, np.savetxt}:
        assert files[0].getvalue() == files[1].getvalue()
    else:
        for file in files:
            file.seek(0)
        np.testing.assert_array_equal(np.load(files[0])["arr_0"], np.load(files[1])["arr_0"])


@pytest.mark.parametrize(
    "call",
    [
        lambda m, v: np.concatenate([m, v]),
        np.dot,
        lambda m, v: np.stack([m, v]),
        lambda m, v: np.reshape(m, (5, 5)),
        lambda m, v: np.sum(m, axis=4),
        lambda m, v: np.take(m, 99),
        lambda m, v: np.linalg.inv(m),
        lambda m, v: np.linalg.solve(np.zeros((5, 5)), v),
        lambda m, v: np.einsum("ij,k", m),
        lambda m, v: np.split(v, 2),
        lambda m, v: np.transpose(m, (0, 0)),
        np.where,
        lambda m, v: np.copyto(v, m),
        lambda m, v: np.mean(m, bogus=1),
        lambda m, v: np.sort(m, kind="nonsense"),
    ],
)
def test_errors_have_numpys_class_and_message(scopes, call):
    got = scopes.check(call, SAMPLES["m"](), SAMPLES["v"]())
    assert issubclass(got.kind, Exception)
