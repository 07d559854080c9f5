"""What a handle tells at any time, also after its memory is gone."""

from __future__ import annotations

import html
import sys
import weakref

import numpy as np
import pytest
from array_support import DTYPES, sample

import ndarena
from ndarena import Validity


def leaked(ws, make):
    with ws:
        return make()


def outdated(ws, make):
    a = leaked(ws, make)
    with ws:
        ws.zeros(1)
    return a


def destroyed(ws, make):
    with ws:
        a = make()
    ws.destroy_workspace()
    return a


def closed(ws, make):
    with ws:
        a = make()
        a.close()
    return a


ENDS = {
    Validity.LEAKED: leaked,
    Validity.OUTDATED: outdated,
    Validity.DESTROYED: destroyed,
    Validity.CLOSED: closed,
}
MAKERS = {
    "C order": lambda ws: ws.array(sample("d", (3, 4))),
    "F order": lambda ws: ws.array(sample("f", (3, 4), "F")),
    "non-contiguous": lambda ws: ws.array(sample("l", (3, 4)))[::2, ::-1],
    "zero-dimensional": lambda ws: ws.array(2.5),
    "zero-size": lambda ws: ws.zeros((0, 3)),
    "structured": lambda ws: ws.array(sample([("x", "i4"), ("y", "f8")], (3,))),
    "text": lambda ws: ws.array(sample("U3", (3,))),
    "read-only": lambda ws: np.broadcast_to(ws.zeros(3), (2, 3)),
}
METADATA = [
    "shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "workspace", "generation_id",
    "is_attached",
]  # fmt: skip


def metadata(a):
    flags = [a.flags[name] for name in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE", "ALIGNED")]
    return (
        [getattr(a, name) for name in METADATA],
        flags,
        np.shape(a),
        np.ndim(a),
        np.size(a),
        sys.getsizeof(a) > 0,
    )


@pytest.fixture
def ws():
    ws = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="1 MiB"), "META")
    yield ws
    ws.destroy_workspace()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("validity", ENDS, ids=lambda v: v.name)
class TestAfterTheEnd:
    def test_metadata_stay_what_they_were(self, ws, validity, make):
        seen = []

        def made():
            a = make(ws)
            seen.append(metadata(a))
            return a

        a = ENDS[validity](ws, made)
        assert metadata(a) == seen[0]

    def test_validity_says_why(self, ws, validity, make):
        a = ENDS[validity](ws, lambda: make(ws))
        assert a.validity is validity
        assert a.is_in_scope is False
        assert a.is_attached is True

    def test_text_says_that_it_is_stale_and_shows_no_values(self, ws, validity, make):
        a = ENDS[validity](ws, lambda: make(ws))
        for text in [repr(a), str(a), format(a, ""), f"{a}", html.unescape(a._repr_html_())]:
            assert validity.name.lower() in text.lower()
            assert str(a.dtype) in text or a.dtype.name in text or repr(a.dtype) in text
            assert "META" in text
            assert str(a.shape) in text
            for value in ["2.5", "1.5", "'1'", "[[", "0. "]:
                assert value not in text

    def test_weak_references_go_on(self, ws, validity, make):
        a = ENDS[validity](ws, lambda: make(ws))
        reference = weakref.ref(a)
        assert reference() is a
        del a
        assert reference() is None

    def test_length(self, ws, validity, make):
        a = ENDS[validity](ws, lambda: make(ws))
        if a.ndim:
            assert len(a) == a.shape[0]
        else:
            with pytest.raises(TypeError):
                len(a)

    def test_a_hash_is_a_type_error(self, ws, validity, make):
        with pytest.raises(TypeError, match="unhashable"):
            hash(ENDS[validity](ws, lambda: make(ws)))

    def test_close_is_idempotent(self, ws, validity, make):
        a = ENDS[validity](ws, lambda: make(ws))
        a.close()
        a.close()
        assert a.validity is not Validity.VALID


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3)])
def test_metadata_are_numpys(ws, dtype, shape):
    want = np.zeros(shape, dtype)
    with ws:
        a = ws.zeros(shape, dtype)
        for name in ["shape", "dtype", "ndim", "size", "nbytes", "itemsize"]:
            assert getattr(a, name) == getattr(want, name)
        if want.size:
            assert a.strides == want.strides
        assert a.flags.c_contiguous
        assert a.flags.writeable
        assert a.flags.aligned


def test_both_generations_are_shown_in_the_text_of_a_stale_array(ws):
    for _ in range(4):
        with ws:
            a = ws.zeros(3)
    for _ in range(7):
        with ws:
            ws.zeros(3)
    assert a.generation_id == 4
    assert ws.generation_id == 11
    assert "4" in repr(a)
    assert "11" in repr(a)


def test_generations_count_full_enters(ws):
    assert ws.generation_id == 0
    for turn in range(1, 4):
        with ws:
            assert ws.zeros(2).generation_id == ws.generation_id == turn
            with ws:
                assert ws.zeros(2).generation_id == turn
            with ws.notify_scope_borrowed():
                assert ws.zeros(2).generation_id == turn


def test_closed_wins_over_later_ends_of_the_workspace(ws):
    with ws:
        a = ws.zeros(3)
        a.close()
        assert a.validity is Validity.CLOSED
        assert not a.is_in_scope
    ws.destroy_workspace()
    assert a.validity is Validity.CLOSED


def test_a_handle_keeps_its_workspace_object():
    """While the array refers to it, every way to the workspace gives the same object."""
    ws = ndarena.Workspace(id="HELD BY AN ARRAY")
    with ws:
        a = ws.zeros(3)
    kept = a.workspace
    assert kept is ws
    del ws, kept
    assert a.workspace.id == "HELD BY AN ARRAY"
    assert a.validity is not Validity.VALID


def test_validity_members():
    assert [v.name for v in Validity] == ["VALID", "LEAKED", "OUTDATED", "OVERWRITTEN", "DESTROYED", "CLOSED"]
    assert all(v.value == v.name for v in Validity)
