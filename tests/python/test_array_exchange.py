"""How arrays leave: views for NumPy, buffers, DLPack, pickles and copies."""

from __future__ import annotations

import copy
import ctypes
import io
import pickle

import numpy as np
import pytest
from array_support import DTYPES, Refusal, address, assert_equal, open_scopes, outcome, sample

import ndarena

ZERO_COPY = {
    "numpy": lambda a: a.numpy(),
    "np.asarray": np.asarray,
    "np.asanyarray": np.asanyarray,
    "np.ascontiguousarray": np.ascontiguousarray,
    "np.array without copy": lambda a: np.array(a, copy=False),
    "np.asarray without copy": lambda a: np.asarray(a, copy=False),
    "__array__": lambda a: a.__array__(),
    "memoryview": lambda a: np.asarray(memoryview(a)),
    "np.from_dlpack": np.from_dlpack,
    "np.frombuffer": lambda a: np.frombuffer(memoryview(a)).reshape(a.shape),
}


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


@pytest.fixture
def a(scopes):
    return scopes.inner.array(sample("d"))


@pytest.mark.parametrize("view", ZERO_COPY.values(), ids=ZERO_COPY)
class TestZeroCopyViews:
    def test_are_plain_arrays_over_the_same_memory(self, a, view):
        got = view(a)
        assert type(got) is np.ndarray
        assert address(got) == address(a)
        assert got.strides == a.strides
        assert_equal(got, sample("d"))

    def test_cost_no_memory_of_the_workspace(self, scopes, a, view):
        before = scopes.inner.this_cycle_allocations
        kept = view(a)
        assert scopes.inner.this_cycle_allocations == before
        assert kept is not None

    def test_see_later_writes_and_write_through(self, a, view):
        got = view(a)
        a[0, 0] = 42
        assert got[0, 0] == 42
        if got.flags.writeable:
            got[1, 1] = 7
            assert a[1, 1] == 7

    def test_of_a_closed_handle_are_refused(self, a, view):
        a.close()
        with pytest.raises(ndarena.ClosedArrayError):
            view(a)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestEveryDtype:
    def test_numpy(self, scopes, dtype):
        for x in [
            sample(dtype),
            sample(dtype).T,
            sample(dtype)[::-1, ::2],
            sample(dtype, ()),
            sample(dtype, (0, 2)),
        ]:
            got = scopes.outer.array(x).numpy()
            assert type(got) is np.ndarray
            np.testing.assert_array_equal(got, x, strict=True)

    def test_the_buffer_protocol_is_numpys(self, scopes, dtype):
        """Format, shape, strides and values of the buffer, or the refusal of dtypes that have no format."""

        def describe(a):
            view = memoryview(a)
            return (
                view.format,
                view.itemsize,
                view.ndim,
                view.shape,
                view.strides,
                view.readonly,
                view.tobytes(),
            )

        dtype = np.dtype(dtype)
        back = outcome(lambda: np.asarray(memoryview(np.empty(1, dtype))).dtype)
        if dtype.kind == "V" and repr(back) != repr(dtype):
            # NumPy would take this buffer, asked first, for another dtype: it is refused, `numpy()` is not.
            with pytest.raises(BufferError, match="numpy"):
                memoryview(scopes.outer.array(sample(dtype)))
            assert np.asarray(scopes.outer.array(sample(dtype))).dtype == dtype
            return
        for x in [sample(dtype), sample(dtype, (4,)), sample(dtype, ())]:
            assert outcome(lambda x=x: describe(scopes.outer.array(x))) == outcome(lambda x=x: describe(x))
        ours, x = scopes.outer.array(sample(dtype)), sample(dtype)
        assert outcome(lambda: describe(ours[:, ::2])) == outcome(lambda: describe(x[:, ::2]))

    def test_dlpack_is_numpys(self, scopes, dtype):
        got = outcome(lambda: np.from_dlpack(scopes.outer.array(sample(dtype))))
        want = outcome(lambda: np.from_dlpack(sample(dtype)))
        if isinstance(want, Refusal):
            assert got == want
        else:
            np.testing.assert_array_equal(got, want, strict=True)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_pickle_is_a_plain_array(self, scopes, dtype, protocol):
        for x in [sample(dtype), sample(dtype, (2, 3), "F"), sample(dtype, ()), sample(dtype)[:, ::2]]:
            got = pickle.loads(pickle.dumps(scopes.outer.array(x), protocol))
            want = pickle.loads(pickle.dumps(np.array(x), protocol))  # a view of its own loses its byte order
            assert type(got) is np.ndarray
            np.testing.assert_array_equal(got, want, strict=True)

    def test_a_deep_copy_is_a_plain_array(self, scopes, dtype):
        x = sample(dtype)
        got = copy.deepcopy({"a": [scopes.outer.array(x)]})["a"][0]
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, x, strict=True)


def test_conversion_with_a_dtype_copies(a):
    got = np.asarray(a, dtype=np.float32)
    assert type(got) is np.ndarray
    assert_equal(got, sample("d").astype("f"))
    assert address(got) != address(a)
    assert np.asarray(a, dtype=float).__array_interface__["data"][0] == address(a)


def test_np_array_copies(a):
    for got in [np.array(a), np.array(a, copy=True), np.asarray(a, copy=True), a.__array__(copy=True)]:
        assert type(got) is np.ndarray
        got[0, 0] = -1
    assert a[0, 0] == 0.5


def test_a_conversion_that_must_copy_but_may_not_is_numpys_error(scopes):
    for call in [
        lambda a: np.asarray(a, dtype="f4", copy=False),
        lambda a: a.__array__("f4", copy=False),
        lambda a: np.array(a, dtype="i4", copy=False),
    ]:
        with pytest.raises(ValueError, match="copy"):
            call(scopes.outer.array(sample("d")))


def test_a_nested_list_of_arrays_is_stacked(scopes):
    a = scopes.outer.array(sample("d", (3,)))
    got = np.array([a, a])
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, np.array([sample("d", (3,))] * 2))


def test_memoryviews(a):
    view = memoryview(a)
    assert view.format == "d"
    assert view.shape == (2, 3)
    assert not view.readonly
    view[0, 0] = 9.0
    assert a[0, 0] == 9.0
    assert bytes(a) == a.tobytes()
    assert memoryview(a).c_contiguous
    assert memoryview(a.T).f_contiguous
    assert io.BytesIO(a).getvalue() == a.tobytes()


def test_a_buffer_keeps_the_memory_until_it_is_released(scopes):
    a = scopes.inner.array(sample("d"))
    view = memoryview(a)
    del a
    fresh = [scopes.inner.full((2, 3), 9.0) for _ in range(4)]
    assert view.tolist() == sample("d").tolist()
    view.release()
    assert len(fresh) == 4


def test_a_buffer_of_a_read_only_view_is_read_only(a):
    view = np.broadcast_to(a, (2, 2, 3))
    assert memoryview(view).readonly
    assert not view.numpy().flags.writeable
    assert not np.asarray(view).flags.writeable


def test_ctypes_from_buffer(a):
    numbers = (ctypes.c_double * 6).from_buffer(a)
    numbers[0] = 11.0
    assert a[0, 0] == 11.0


def test_byte_arrays_accept_arrays(a):
    assert bytearray(a) == sample("d").tobytes()
    target = bytearray(sample("d", start=9).tobytes())
    memoryview(a).cast("B")[:] = target
    assert_equal(a, sample("d", start=9))


def test_dlpack_device_and_keywords_are_numpys(a):
    x = sample("d")
    assert a.__dlpack_device__() == x.__dlpack_device__()
    for keywords in [
        {},
        {"stream": None},
        {"max_version": None},
        {"max_version": (1, 0)},
        {"dl_device": (1, 0)},
        {"dl_device": None, "copy": None},
        {"copy": True},
        {"copy": False},
        {"stream": 1},
        {"dl_device": (2, 0)},
        {"bogus": 1},
    ]:
        got, want = (
            outcome(lambda k=keywords: a.__dlpack__(**k)),
            outcome(lambda k=keywords: x.__dlpack__(**k)),
        )
        if isinstance(want, Refusal):
            assert got.kind is want.kind
        else:
            assert type(got) is type(want)


def test_dlpack_of_a_read_only_view_follows_numpy(scopes):
    def export(a):
        return np.from_dlpack(np.broadcast_to(a, (2, 2, 3)))

    want, got = outcome(lambda: export(sample("d"))), outcome(lambda: export(scopes.outer.array(sample("d"))))
    if isinstance(want, Refusal):
        assert got == want
    else:
        assert got.flags.writeable == want.flags.writeable
        np.testing.assert_array_equal(got, want)


def test_an_unused_capsule_gives_its_lease_back():
    ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="1 MiB"), "CAPSULE")
    with ws:
        capsule = ws.ones(3).__dlpack__()
    assert ws.retired_size > 0
    del capsule
    assert ws.retired_size == 0
    ws.destroy_workspace()


def test_out_of_band_pickles_are_plain_arrays(scopes):
    x = sample("d", (64, 8))
    a, buffers = scopes.inner.array(x), []
    payload = pickle.dumps(a, 5, buffer_callback=buffers.append)
    got = pickle.loads(payload, buffers=[bytes(b) for b in buffers])
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, x)


def test_a_pickle_shares_nothing_with_the_array(a):
    got = pickle.loads(pickle.dumps(a))
    got[...] = -1
    assert_equal(a, sample("d"))


def test_one_array_in_a_pickle_twice_stays_one(a):
    first, second = pickle.loads(pickle.dumps([a, a]))
    assert first is second


def test_a_deep_copy_shares_nothing_and_outlives_the_scope():
    ws = ndarena.Workspace(id="DEEP")
    with ws:
        got = copy.deepcopy(ws.ones(4))
    assert type(got) is np.ndarray
    assert got.tolist() == [1.0] * 4
    ws.destroy_workspace()


def test_copy_is_dup(scopes):
    """Both copy into the current workspace."""
    a = scopes.outer.array(sample("d"))
    for got in [copy.copy(a), a.copy(), a.dup()]:
        assert type(got) is ndarena.WorkspaceArray
        assert got.workspace is scopes.inner
        assert address(got) != address(a)
        assert_equal(got, sample("d"))


def test_workspaces_do_not_pickle(scopes):
    with pytest.raises(TypeError):
        pickle.dumps(scopes.outer)
