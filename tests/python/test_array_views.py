"""Views: which methods share memory, and that they share validity, workspace and lifetime with it."""

from __future__ import annotations

import numpy as np
import pytest
from array_support import address, assert_equal, open_scopes, overlap, sample

import ndarena

SHARING = {
    "slice": lambda a: a[1:, ::2],
    "row": lambda a: a[0],
    "ellipsis": lambda a: a[...],
    "new axis": lambda a: a[None],
    "T": lambda a: a.T,
    "mT": lambda a: a.mT,
    "transpose": lambda a: a.transpose(1, 0),
    "swapaxes": lambda a: a.swapaxes(0, 1),
    "reshape": lambda a: a.reshape(6, 2),
    "reshape to one axis": lambda a: a.reshape(-1),
    "ravel": lambda a: a.ravel(),
    "squeeze": lambda a: a.reshape(3, 1, 4).squeeze(),
    "diagonal": lambda a: a.diagonal(),
    "view": lambda a: a.view(),
    "view as bytes": lambda a: a.view(np.uint8),
    "real": lambda a: a.view(complex).real,
    "imag": lambda a: a.view(complex).imag,
    "getfield": lambda a: a.getfield(np.float32, 4),
    "np.reshape": lambda a: np.reshape(a, (2, 6)),
    "np.ravel": np.ravel,
    "np.transpose": np.transpose,
    "np.swapaxes": lambda a: np.swapaxes(a, 0, 1),
    "np.moveaxis": lambda a: np.moveaxis(a, 0, 1),
    "np.expand_dims": lambda a: np.expand_dims(a, 1),
    "np.squeeze": lambda a: np.squeeze(a[None]),
    "np.flip": np.flip,
    "np.rot90": np.rot90,
    "np.broadcast_to": lambda a: np.broadcast_to(a, (2, 3, 4)),
    "np.split": lambda a: np.split(a, 3)[1],
    "np.hsplit": lambda a: np.hsplit(a, 2)[1],
    "np.atleast_3d": np.atleast_3d,
    "np.diagonal": np.diagonal,
    "np.diag": lambda a: np.diag(a[:, :3]),
    "np.unstack": lambda a: next(iter(np.split(a, 3))),
    "np.real": lambda a: np.real(a.view(complex)),
    "np.einsum": lambda a: np.einsum("ij->ji", a),
    "sliding window": lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
    "iteration": lambda a: next(iter(a)),
    "view of a view": lambda a: a[1:].T[::2].reshape(2, 2, 1)[..., 0],
}


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


@pytest.mark.parametrize("make", SHARING.values(), ids=SHARING)
class TestEveryView:
    def test_lies_in_the_memory_of_its_array(self, scopes, make):
        x = sample("d", (3, 4))
        a, before = scopes.outer.array(x), scopes.inner.stats()
        view, want = make(a), make(x)
        assert type(view) is ndarena.WorkspaceArray
        assert address(view) - address(a) == address(want) - address(x)
        assert view.strides == want.strides
        assert view.flags.writeable == want.flags.writeable
        assert_equal(view, want)
        assert scopes.inner.stats() == before

    def test_belongs_to_the_workspace_and_generation_of_its_array(self, scopes, make):
        a = scopes.outer.array(sample("d", (3, 4)))
        view = make(a)
        assert view.workspace is scopes.outer
        assert view.generation_id == a.generation_id
        assert view.is_attached
        assert view.is_in_scope

    def test_ends_with_its_array(self, make):
        ws = ndarena.Workspace(id="VIEWS")
        with ws:
            view = make(ws.array(sample("d", (3, 4))))
        assert view.validity is ndarena.Validity.LEAKED
        with pytest.raises(ndarena.LeakedArrayError):
            view + 1

    def test_sees_what_is_written_to_its_array(self, scopes, make):
        a = scopes.outer.array(sample("d", (3, 4)))
        view = make(a)
        a[...] = 0
        assert not np.any(view)

    def test_outlives_the_handle_it_was_made_from(self, scopes, make):
        """Neither dropping nor closing the handle gives the memory away while a view of it is held."""
        want = make(sample("d", (3, 4)))
        for end in [lambda a: a.close(), lambda a: None]:
            a = scopes.inner.array(sample("d", (3, 4)))
            view = make(a)
            end(a)
            del a
            fresh = [scopes.inner.full((3, 4), 9.0) for _ in range(4)]
            assert not any(overlap(view, x) for x in fresh)
            assert_equal(view, want)


COPYING = {
    "flatten": lambda a: a.flatten(),
    "copy": lambda a: a.copy(),
    "ravel of a transpose": lambda a: a.T.ravel(),
    "reshape of a transpose": lambda a: a.T.reshape(6, 2),
    "reshape with copy": lambda a: (
        a.reshape(4, 3, copy=True) if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else a.copy()
    ),
    "ravel in the other order": lambda a: a.ravel("F"),
    "fancy": lambda a: a[[0, 1]],
    "mask": lambda a: a[a > 1],
    "take": lambda a: a.take([0, 2], axis=0),
    "repeat": lambda a: a.repeat(2),
    "astype": lambda a: a.astype("d"),
    "np.roll": lambda a: np.roll(a, 1),
    "np.tile": lambda a: np.tile(a, 2),
    "np.sort": np.sort,
    "np.diagflat": np.diagflat,
    "np.real of complex": lambda a: np.real(a + 1j * a) + 0,
}


@pytest.mark.parametrize("make", COPYING.values(), ids=COPYING)
def test_copies_lie_in_the_current_workspace(scopes, make):
    a = scopes.outer.array(sample("d", (3, 4)))
    copy = make(a)
    assert copy.workspace is scopes.inner
    assert not overlap(copy, a)
    assert_equal(copy, make(sample("d", (3, 4))))


LAYOUTS = {
    "C order": lambda a: a,
    "transposed": lambda a: a.T,
    "every second column": lambda a: a[:, ::2],
    "reversed": lambda a: a[::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_ravel_and_reshape_follow_what_numpy_did(scopes, layout):
    """A view where NumPy makes one, a copy where it must."""
    for call in [
        lambda a: a.ravel(),
        lambda a: a.ravel("F"),
        lambda a: a.ravel("K"),
        lambda a: a.ravel("A"),
        lambda a: a.reshape(-1),
        lambda a: a.reshape(a.shape[::-1], order="F"),
        np.real,
        np.atleast_2d,
        np.ravel,
    ]:
        scopes.check(lambda a, call=call: call(layout(a)), sample("d", (3, 4)))


IDENTITY = {
    "squeeze of nothing": lambda a: a.squeeze(),
    "asarray of the workspace": lambda a: a.workspace.asarray(a),
    "cast_to": lambda a: a.cast_to(a.dtype),
    "np.positive into itself": lambda a: np.positive(a, out=a),
    "np.atleast_1d": np.atleast_1d,
    "np.atleast_2d": np.atleast_2d,
    "np.real": np.real,
    "astype without copy": lambda a: a.astype(a.dtype, copy=False),
    "in place": lambda a: a.__iadd__(1),
    "clip into itself": lambda a: a.clip(0, 1, out=a),
    "np.nan_to_num": lambda a: np.nan_to_num(a, copy=False),
    "sum into itself": lambda a: np.multiply.accumulate(a, out=a),
    "to_device": lambda a: a.to_device("cpu"),
    "leverage_to its own workspace": lambda a: a.leverage_to(a.workspace.id),
}


@pytest.mark.parametrize("name", IDENTITY)
def test_the_operand_itself_comes_back_as_the_same_handle(scopes, name):
    """Where NumPy returns its very argument; where it makes a view, so do we."""
    x, a = sample("d", (3, 4)), scopes.outer.array(sample("d", (3, 4)))
    ours_only = {"asarray of the workspace", "cast_to", "leverage_to its own workspace"}
    if name == "leverage_to its own workspace":
        ndarena.get_workspace_manager().set_workspace_for_current_thread(scopes.outer)
    if name in ours_only or IDENTITY[name](x) is x:
        assert IDENTITY[name](a) is a
    else:
        assert address(IDENTITY[name](a)) == address(a)


def test_views_of_plain_arrays_stay_plain(scopes):
    x = sample("d", (3, 4))
    assert type(x[1:]) is np.ndarray
    assert type(np.transpose(x)) is np.ndarray


def test_real_and_imag_of_complex_write_through(scopes):
    def write(a):
        a.real = 3
        a.imag = [1, 2, 3]
        a.real[0] = -1
        return a.imag

    scopes.check(write, sample("D", (2, 3)))
    scopes.check(lambda a: a.imag, sample("d"))


def test_zero_size_views(scopes):
    a = scopes.outer.zeros((3, 0))
    for view in [a.T, a[1:], a.reshape(0, 5)]:
        assert view.workspace is scopes.outer
        assert view.validity is ndarena.Validity.VALID


def test_closing_a_view_leaves_its_array(scopes):
    a = scopes.outer.array(sample("d"))
    view = a[0]
    view.close()
    assert view.validity is ndarena.Validity.CLOSED
    assert a.validity is ndarena.Validity.VALID
    assert_equal(a, sample("d"))


def test_closing_an_array_leaves_its_views(scopes):
    a = scopes.outer.array(sample("d"))
    view = a[0]
    a.close()
    assert a.validity is ndarena.Validity.CLOSED
    assert view.is_in_scope
    assert_equal(view, sample("d")[0])
