"""Every dtype without references, in every byte order and shape; those with references are refused."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from array_support import DTYPES, NUMERIC, address, assert_equal, open_scopes, sample

import ndarena

SHAPES = [(), (1,), (0,), (3, 0, 2), (5,), (2, 3), (2, 1, 3)]
WITH_REFERENCES = {
    "object": object,
    "object by letter": "O",
    "a field of objects": [("x", "i4"), ("y", "O")],
    "nested objects": [("x", [("y", "f8"), ("z", "O", (2,))])],
    "variable-width text": np.dtypes.StringDType(),
}


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestEveryDtype:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_a_copy_in_the_workspace_is_equal(self, scopes, dtype, shape, order):
        x = sample(dtype, shape, order)
        a = scopes.inner.array(x)
        assert a.dtype == x.dtype
        assert a.flags.f_contiguous == x.flags.f_contiguous
        assert_equal(a, x)

    def test_memory_starts_at_the_alignment(self, scopes, dtype):
        for a in [scopes.inner.empty(n, dtype) for n in (1, 3, 7)]:
            assert address(a) % 64 == 0
            assert a.flags.aligned

    def test_zeros_are_zero_where_memory_was_used_before(self, scopes, dtype):
        for _ in range(3):
            a = scopes.inner.array(sample(dtype))
            del a
        assert_equal(scopes.inner.zeros((2, 3), dtype), np.zeros((2, 3), dtype))

    def test_elements_are_numpys_scalars(self, scopes, dtype):
        scopes.check(lambda a: a[1, 2], sample(dtype))
        a, x = scopes.outer.array(sample(dtype)), sample(dtype)
        np.testing.assert_equal(a.item(3), x.item(3))
        np.testing.assert_equal(a.tolist(), x.tolist())

    def test_views_and_copies(self, scopes, dtype):
        scopes.check(lambda a: (a.T, a[1:], a[:, ::-1], a.ravel(), a[[0, 0]], np.flip(a)), sample(dtype))

    def test_comparison_sorting_and_text(self, scopes, dtype):
        scopes.check(operator.eq, sample(dtype), sample(dtype))
        scopes.check(lambda a: np.sort(a, axis=None), sample(dtype))
        scopes.check(lambda a: np.concatenate([a, a]), sample(dtype))
        scopes.check(str, sample(dtype))

    def test_detached_copies_keep_dtype_and_values(self, scopes, dtype):
        x = sample(dtype)
        got = scopes.inner.array(x).detach()
        assert type(got) is np.ndarray
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got, x)

    def test_a_stale_array_of_it_is_refused(self, dtype):
        ws = ndarena.Workspace(id="GONE")
        with ws:
            arrays = [ws.zeros(shape, dtype) for shape in SHAPES]
        for a in arrays:
            for touch in [
                np.copy,
                np.asarray,
                lambda a: a[...],
                lambda a: a.copy(),
                lambda a: a.detach(),
                lambda a: a == "x",
            ]:
                with pytest.raises(ndarena.LeakedArrayError):
                    touch(a)


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("target", NUMERIC)
@pytest.mark.parametrize("source", NUMERIC)
def test_conversions(scopes, source, target):
    scopes.check(lambda a: a.astype(target), sample(source))
    got = scopes.outer.array(sample(source)).cast_to(target)
    assert_equal(got, sample(source).astype(target))


@pytest.mark.parametrize("dtype", WITH_REFERENCES.values(), ids=WITH_REFERENCES)
class TestDtypesWithReferences:
    def test_are_refused_by_every_constructor(self, scopes, dtype):
        ws, before = scopes.inner, scopes.inner.stats()
        a = scopes.outer.zeros(3)
        for refuse in [
            lambda: ws.empty(3, dtype),
            lambda: ws.zeros(3, dtype),
            lambda: ws.ones(3, dtype),
            lambda: ws.full(3, 0, dtype),
            lambda: ws.array([1, 2], dtype),
            lambda: ws.asarray(a, dtype),
            lambda: ws.array(np.zeros(3, dtype)),
            lambda: ws.asarray(np.zeros(3, dtype)),
            lambda: ws.empty_like(np.zeros(3, dtype)),
            lambda: ws.zeros_like(a, dtype),
            lambda: ws.create((3,), dtype),
            lambda: ws.create_uninitialized((3,), dtype),
        ]:
            with pytest.raises(TypeError):
                refuse()
        assert ws.stats() == before

    def test_results_of_them_are_plain(self, scopes, dtype):
        x = np.zeros(3, dtype)
        got = np.where(scopes.outer.array([True, False, True]), x, x)
        assert type(got) is np.ndarray
        assert got.dtype == x.dtype


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()], ids=str)
def test_a_cast_to_a_dtype_with_references_is_plain(scopes, dtype):
    x = sample("U3")
    a = scopes.outer.array(x)
    for got in [a.cast_to(dtype), a.astype(dtype)]:
        assert type(got) is np.ndarray
        assert got.dtype == dtype
        assert got.tolist() == x.tolist()


def test_a_list_of_objects_is_refused(scopes):
    with pytest.raises(TypeError):
        scopes.inner.array([object(), None])


def test_unknown_dtypes_are_numpys_error(scopes):
    for dtype in ["nonsense", 3, [("x",)], {"names": 1}]:
        with pytest.raises(TypeError):
            scopes.inner.zeros(3, dtype)


def test_byte_order_is_kept(scopes):
    for dtype in [">i2", ">f4", ">c8", ">U2", ">M8[s]"]:
        a = scopes.inner.array(sample(dtype))
        assert a.dtype.byteorder == ">"
        assert a.T.dtype.byteorder == ">"
        assert a.copy().dtype.byteorder == ">"
        assert a.detach().dtype.byteorder == ">"
        assert a.tobytes() == sample(dtype).tobytes()


def test_a_result_of_an_operation_is_of_native_order(scopes):
    assert (scopes.outer.array(sample(">f8")) + 1).dtype == np.dtype("f8")
    assert (scopes.outer.array(sample(">f8")) + 1).dtype.isnative


def test_metadata_of_a_dtype_and_titles_survive(scopes):
    dtype = np.dtype({"names": ["x"], "formats": ["f8"], "titles": ["of x"], "itemsize": 24})
    a = scopes.inner.zeros(3, dtype)
    assert a.dtype == dtype
    assert a.itemsize == 24
    assert a.dtype.fields["of x"][2] == "of x"


def test_half_and_extended_precision(scopes):
    scopes.check(lambda a: a * a + a, np.array([6e4, 1e-7, 1.0], np.float16))
    scopes.check(lambda a: a + np.finfo(np.longdouble).eps, np.ones(3, np.longdouble))
    scopes.check(lambda a: a * 1j, np.ones(3, np.clongdouble))


def test_dates(scopes):
    days = np.array(["2024-02-28", "NaT", "1969-12-31"], "M8[D]")
    scopes.check(lambda a: a + np.timedelta64(1, "D"), days)
    scopes.check(lambda a: a - a[0], days)
    scopes.check(lambda a: a - np.datetime64("2024-01-01"), days)
    scopes.check(np.isnat, days)
    scopes.check(lambda a: a.astype("M8[Y]"), days)
    scopes.check(lambda a: a < np.datetime64("2000-01-01"), days)
    scopes.check(lambda a: a + 1.5, days)


def test_text(scopes):
    scopes.check(lambda a: a == "2", sample("U3"))
    scopes.check(lambda a: np.strings.add(a, "x"), sample("U3"))
    scopes.check(np.strings.str_len, np.array(["a", "bc"]))  # upper() is dispatched from NumPy 2.1 on
    scopes.check(lambda a: a + 1, sample("U3"))


def test_many_axes(scopes):
    deepest = (1,) * 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else (1,) * 32
    assert scopes.inner.zeros(deepest).ndim == 64
    with pytest.raises(ValueError, match="maximum"):
        scopes.inner.zeros((*deepest, 1))
