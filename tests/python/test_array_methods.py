"""Every method and attribute of ndarray, and what a workspace array has beside them."""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref

import numpy as np
import pytest
from array_support import address, assert_equal, open_scopes, plain, sample

import ndarena

REFUSED = {"resize", "setflags"}
"""Methods of ndarray that would move or re-label memory behind the handle."""

CALLS = {
    "all": [lambda a: a.all(), lambda a: a.all(axis=0), lambda a: a.all(1, keepdims=True)],
    "any": [lambda a: a.any(), lambda a: a.any(axis=-1)],
    "argmax": [lambda a: a.argmax(), lambda a: a.argmax(axis=1), lambda a: a.argmax(0, keepdims=True)],
    "argmin": [lambda a: a.argmin(), lambda a: a.argmin(axis=0)],
    "argpartition": [lambda a: a.argpartition(1), lambda a: a.argpartition(1, axis=0)],
    "argsort": [lambda a: a.argsort(), lambda a: a.argsort(axis=0, kind="stable")],
    "astype": [
        lambda a: a.astype("f4"),
        lambda a: a.astype(int),
        lambda a: a.astype("U8"),
        lambda a: a.astype(a.dtype),
        lambda a: a.astype(a.dtype, copy=False),
        lambda a: a.astype("i1", order="F", casting="unsafe", subok=False, copy=True),
        lambda a: a.astype("i1", casting="safe"),
        lambda a: a.astype(object),
    ],
    "byteswap": [
        lambda a: a.byteswap().view(np.uint8),
        lambda a: a.byteswap(inplace=True).byteswap(inplace=True),
    ],
    "choose": [lambda a: a.astype(int).__mod__(2).choose([a, -a])],
    "clip": [
        lambda a: a.clip(1, 2),
        lambda a: a.clip(min=1),
        lambda a: a.clip(max=a[0]),
        lambda a: a.clip(0, 2, out=a),
    ],
    "compress": [lambda a: a.compress([True, False], axis=0), lambda a: a.compress([False, True, True])],
    "conj": [lambda a: a.conj(), lambda a: (a + 1j).conj()],
    "conjugate": [lambda a: (a * 2j).conjugate()],
    "copy": [lambda a: a.copy("C"), lambda a: a.copy("F"), lambda a: a.T.copy(order="A")],
    "cumprod": [lambda a: a.cumprod(), lambda a: a.cumprod(axis=1, dtype="f4")],
    "cumsum": [lambda a: a.cumsum(), lambda a: a.cumsum(0), lambda a: a.cumsum(axis=1, out=a)],
    "diagonal": [lambda a: a.diagonal(), lambda a: a.diagonal(1, 0, 1)],
    "dot": [lambda a: a.dot(a.T), lambda a: a.dot(2), lambda a: a.dot([1, 2, 3]), lambda a: a.dot(a)],
    "dump": [],
    "dumps": [],
    "fill": [lambda a: a.fill(3), lambda a: a[0].fill(7), lambda a: a.fill("text")],
    "flatten": [lambda a: a.flatten(), lambda a: a.flatten("F"), lambda a: a.T.flatten("A")],
    "getfield": [lambda a: a.getfield("i4", 4), lambda a: a.getfield("f8"), lambda a: a.getfield("f8", 8)],
    "item": [
        lambda a: a.item(0),
        lambda a: a.item(1, 2),
        lambda a: a.item((0, 1)),
        lambda a: a.item(),
        lambda a: a.item(9),
    ],
    "max": [
        lambda a: a.max(),
        lambda a: a.max(axis=0),
        lambda a: a.max(initial=100.0),
        lambda a: a.max(1, keepdims=True),
    ],
    "mean": [
        lambda a: a.mean(),
        lambda a: a.mean(axis=1),
        lambda a: a.mean(dtype="f4"),
        lambda a: a.mean(0, where=a > 1),
    ],
    "min": [lambda a: a.min(), lambda a: a.min(axis=1, initial=0, where=[True, False, True])],
    "nonzero": [lambda a: a.nonzero(), lambda a: (a > 1).nonzero()],
    "partition": [lambda a: a.partition(1), lambda a: a.partition(1, axis=0)],
    "prod": [lambda a: a.prod(), lambda a: a.prod(axis=0, dtype=int), lambda a: a.prod(1, initial=2)],
    "put": [lambda a: a.put([0, 4], [8, 9]), lambda a: a.put([99], 1), lambda a: a.put([99], 1, mode="clip")],
    "ravel": [lambda a: a.ravel(), lambda a: a.ravel("F"), lambda a: a.T.ravel("K")],
    "repeat": [lambda a: a.repeat(2), lambda a: a.repeat([1, 2], axis=0)],
    "reshape": [
        lambda a: a.reshape(3, 2),
        lambda a: a.reshape((6,)),
        lambda a: a.reshape(-1, 2, order="F"),
        lambda a: a.reshape(4),
    ],
    "round": [lambda a: a.round(), lambda a: a.round(-1), lambda a: a.round(decimals=1, out=a)],
    "searchsorted": [
        lambda a: a.ravel().searchsorted([1, 2]),
        lambda a: a.ravel().searchsorted(1.5, side="right"),
    ],
    "setfield": [lambda a: a.setfield(7, "f4", 4), lambda a: a.setfield(1, "f8", 3)],
    "sort": [lambda a: a.sort(), lambda a: a.sort(axis=0, kind="stable"), lambda a: a[:, ::-1].sort()],
    "squeeze": [lambda a: a.squeeze(), lambda a: a[:1].squeeze(0), lambda a: a.squeeze(0)],
    "std": [lambda a: a.std(), lambda a: a.std(axis=0, ddof=1)],
    "sum": [
        lambda a: a.sum(),
        lambda a: a.sum(axis=0),
        lambda a: a.sum((0, 1), dtype="f4"),
        lambda a: a.sum(axis=7),
    ],
    "swapaxes": [lambda a: a.swapaxes(0, 1), lambda a: a.swapaxes(0, 2)],
    "take": [
        lambda a: a.take([0, 5]),
        lambda a: a.take(1),
        lambda a: a.take([[0], [1]], axis=1),
        lambda a: a.take(9),
    ],
    "to_device": [lambda a: a.to_device("cpu"), lambda a: a.to_device("cuda")],
    "tobytes": [lambda a: a.tobytes(), lambda a: a.tobytes("F"), lambda a: a.T.tobytes()],
    "tofile": [],
    "tolist": [lambda a: a.tolist(), lambda a: a[0, 0:0].tolist(), lambda a: a.astype("U3").tolist()],
    "trace": [lambda a: a.trace(), lambda a: a.trace(1, dtype=int)],
    "transpose": [
        lambda a: a.transpose(),
        lambda a: a.transpose(1, 0),
        lambda a: a.transpose((1, 0)),
        lambda a: a.transpose(0, 0),
    ],
    "var": [
        lambda a: a.var(),
        lambda a: a.var(axis=1, keepdims=True),
        lambda a: a.var(0, mean=a.mean(0, keepdims=True)),
    ],
    "view": [
        lambda a: a.view(),
        lambda a: a.view("i8"),
        lambda a: a.view(dtype="f4"),
        lambda a: a.view("i2,i2"),
        lambda a: a.view(bool),
    ],
}
ATTRIBUTES = {
    "T": [lambda a: a.T],
    "mT": [lambda a: a.mT, lambda a: a[0].mT],
    "real": [lambda a: a.real, lambda a: a.astype("F").real],
    "imag": [lambda a: a.imag, lambda a: a.astype("F").imag],
    "dtype": [lambda a: a.dtype],
    "shape": [lambda a: a.shape],
    "strides": [lambda a: a.size and a.strides, lambda a: a.size and a.T.strides],
    "ndim": [lambda a: a.ndim],
    "size": [lambda a: a.size],
    "itemsize": [lambda a: a.itemsize],
    "nbytes": [lambda a: a.nbytes],
    "device": [lambda a: a.device],
    "flat": [
        lambda a: list(a.flat),
        lambda a: a.flat[3],
        lambda a: a.flat[[0, 2]].tolist(),
        lambda a: len(a.flat),
    ],
    "flags": [lambda a: (a.flags.c_contiguous, a.flags.f_contiguous, a.flags.writeable, a.flags.aligned)],
}
OF_THEIR_OWN = {"base", "ctypes", "data"}
"""Attributes that cannot be equal to an ndarray's: tests below."""


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


def test_the_tables_name_everything_that_ndarray_has():
    plain = np.eye(3)  # some names that NumPy 2.0 lists refuse to be used
    public = {name for name in dir(plain) if not name.startswith("_") and hasattr(plain, name)} - {"tostring"}
    assert public - set(CALLS) - set(ATTRIBUTES) - OF_THEIR_OWN - REFUSED == set()
    assert public - REFUSED <= set(dir(ndarena.WorkspaceArray))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["d", "f"])
@pytest.mark.parametrize("name", [*CALLS, *ATTRIBUTES])
def test_every_method_does_what_it_does_in_numpy(scopes, name, dtype, order):
    for call in {**CALLS, **ATTRIBUTES}[name]:
        scopes.check(call, sample(dtype, (2, 3), order))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1), (2, 3, 4)])
@pytest.mark.parametrize("name", [*CALLS, *ATTRIBUTES])
def test_every_method_on_every_shape(scopes, name, shape):
    for call in {**CALLS, **ATTRIBUTES}[name]:
        scopes.check(call, sample("d", shape))


def test_reductions_of_other_dtypes(scopes):
    for dtype in ["?", "b", "B", "e", "g", "F", "M8[D]", "m8[s]", "U3", ">i4"]:
        for name in [
            "sum",
            "prod",
            "min",
            "max",
            "mean",
            "std",
            "all",
            "any",
            "argmax",
            "cumsum",
            "round",
            "sort",
        ]:
            scopes.check(lambda a, name=name: getattr(a, name)(axis=0), sample(dtype))
            scopes.check(lambda a, name=name: getattr(a, name)(), sample(dtype))


def test_a_reduction_lies_in_the_current_workspace(scopes):
    a = scopes.outer.array(sample("d"))
    for result in [
        a.sum(axis=0),
        a.max(axis=1),
        a.mean(axis=0),
        a.cumsum(),
        a.argsort(),
        a.astype("f4"),
        a.copy(),
    ]:
        assert type(result) is ndarena.WorkspaceArray
        assert result.workspace is scopes.inner


def test_a_full_reduction_is_numpys_scalar(scopes):
    a = scopes.outer.array(sample("f"))
    assert type(a.sum()) is np.float32
    assert type(a.max()) is np.float32
    assert type(a.argmax()) is np.intp
    assert type(a.all()) is np.bool_
    assert type(a.item(0)) is float


def test_writing_methods_return_none_and_write(scopes):
    a = scopes.outer.array([3.0, 1.0, 2.0])
    assert a.sort() is None
    assert_equal(a, np.array([1.0, 2.0, 3.0]))
    assert a.fill(4) is None
    assert_equal(a, np.full(3, 4.0))
    a.flat = [1, 2, 3]
    assert_equal(a, np.array([1.0, 2.0, 3.0]))
    a.flat[1] = 9
    assert a[1] == 9


def test_files(scopes, tmp_path):
    a, x = scopes.outer.array(sample("d")), sample("d")
    a.tofile(tmp_path / "binary")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "binary"), x.ravel())
    a.tofile(tmp_path / "text", sep=",", format="%.3f")
    x.tofile(tmp_path / "want", sep=",", format="%.3f")
    assert (tmp_path / "text").read_text() == (tmp_path / "want").read_text()
    a.dump(tmp_path / "pickle")
    loaded = np.load(tmp_path / "pickle", allow_pickle=True)
    assert type(loaded) is np.ndarray
    np.testing.assert_array_equal(loaded, x)


def test_what_would_move_memory_is_refused(scopes):
    """No setting of shape, dtype, strides or data, no resize, no setflags(write=)."""
    a = scopes.outer.array(sample("d"))
    for name, value in [("shape", (6,)), ("dtype", "i8"), ("strides", (8, 8)), ("data", b"")]:
        with pytest.raises(AttributeError):
            setattr(a, name, value)
    with pytest.raises((AttributeError, TypeError, ValueError)):
        a.resize(9)
    for value in [True, False]:
        with pytest.raises((AttributeError, TypeError, ValueError)):
            a.setflags(write=value)
    assert_equal(a, sample("d"))
    assert a.flags.writeable


def test_flags_of_a_handle_cannot_be_set(scopes):
    a = scopes.outer.array(sample("d"))
    with pytest.raises((AttributeError, ValueError)):
        a.flags.writeable = False
    a[0, 0] = 5
    assert a[0, 0] == 5


def test_the_interfaces_that_hide_their_owner_are_absent(scopes):
    a = scopes.outer.zeros(3)
    assert not hasattr(a, "__array_interface__")
    assert not hasattr(a, "__array_struct__")


def test_ctypes_and_data_keep_the_memory(scopes):
    a = scopes.inner.array(sample("d"))
    handle, memory, where = a.ctypes, a.data, address(a)
    assert handle.data == where
    assert type(memory) is memoryview
    del a
    for _ in range(8):
        scopes.inner.full((2, 3), 99.0)
    assert memory.tolist() == sample("d").tolist()
    assert handle.data_as(ctypes.POINTER(ctypes.c_double))[1] == 1.0


def test_base_shows_no_raw_memory(scopes):
    """Whatever `base` is, it is no array that could be used after the end."""
    assert not isinstance(scopes.outer.zeros((2, 3))[0].base, np.ndarray)


def test_an_unchecked_cast_reads_flags_of_zero(scopes):
    """C code that takes the object for a PyArrayObject finds no flag set, so it neither reads nor writes."""

    class PyArrayObject(ctypes.Structure):
        _fields_ = [
            ("refcount", ctypes.c_ssize_t),
            ("type", ctypes.c_void_p),
            ("data", ctypes.c_void_p),
            ("nd", ctypes.c_int),
            ("dimensions", ctypes.c_void_p),
            ("strides", ctypes.c_void_p),
            ("base", ctypes.c_void_p),
            ("descr", ctypes.c_void_p),
            ("flags", ctypes.c_int),
        ]

    genuine, ours = np.zeros(3), scopes.outer.zeros(3)
    assert PyArrayObject.from_address(id(genuine)).flags & 0x400
    assert PyArrayObject.from_address(id(ours)).flags == 0


def test_the_class_is_final(scopes):
    a = scopes.outer.zeros(3)
    assert type(a) is ndarena.WorkspaceArray
    assert not isinstance(a, np.ndarray)
    assert not hasattr(a, "__dict__")
    assert gc.get_referents(a) == []
    assert not gc.is_tracked(a)
    with pytest.raises(TypeError):
        type("Sub", (ndarena.WorkspaceArray,), {})
    with pytest.raises(AttributeError):
        a.note = 1
    with pytest.raises(TypeError):
        ndarena.WorkspaceArray()


def test_weak_references(scopes):
    a = scopes.outer.zeros(3)
    reference = weakref.ref(a)
    assert reference() is a
    del a
    assert reference() is None


def test_sizes(scopes):
    assert sys.getsizeof(scopes.outer.zeros(10_000)) > 0
    assert len(scopes.outer.zeros((4, 2))) == 4
    with pytest.raises(TypeError, match="len\\(\\) of unsized object"):
        len(scopes.outer.zeros(()))


def test_text(scopes):
    for x in [sample("d"), sample("U3"), np.array(2.5), np.array(3), np.empty((0, 2)), sample("M8[D]")]:
        a = scopes.outer.array(x)
        assert str(a) == str(x)
        assert f"{a}" == f"{x}"
    assert "0.5" in repr(scopes.outer.array(sample("d")))
    scopes.check(lambda a: format(a, ".2f"), np.array(2.5))
    scopes.check(lambda a: format(a, ".2f"), sample("d"))
    assert "<" in scopes.outer.zeros(3)._repr_html_()


def test_facts_of_an_array(scopes):
    a = scopes.outer.zeros(3)
    assert a.workspace is scopes.outer
    assert a.generation_id == scopes.outer.generation_id == 1
    assert a.is_attached is True
    assert a.is_in_scope is True
    assert a.validity is ndarena.Validity.VALID


def test_module_functions_agree_with_methods(scopes):
    """`ndarena.sum` and the like are NumPy's functions; ours take workspace and plain arrays."""
    a = scopes.outer.array(sample("d"))
    assert ndarena.sum(a) == a.sum()
    np.testing.assert_array_equal(plain(ndarena.detach(a)), sample("d"))


@pytest.mark.parametrize("mode", [3, -1, np.int8(3)])
def test_a_wrong_mode_of_put_is_told_before_it_writes(mode):
    """NumPy itself writes, and gives a result and an exception at once: a `SystemError`."""
    with ndarena.Workspace(id="W") as ws:
        a = ws.array(np.arange(6.0))
        for put in (lambda: a.put(1, 2.0, mode), lambda: a.put(1, 2.0, mode=mode)):
            with pytest.raises(ValueError, match="mode must be"):
                put()
        assert a.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        with pytest.raises(ValueError, match="clipmode"):
            np.put(a, 1, 2.0, mode)
