"""Leases: a raw view never shows foreign bytes, however it was made and whoever holds it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import weakref

import numpy as np
import pytest
from array_support import address, overlap
from leases_support import ARENA, CONFIGURATIONS, VALUES, churn
from support import assert_nothing_left

import ndarena


class Array:
    """Holds what a foreign library would keep of an array."""

    def __init__(self, a):
        self.memory = memoryview(a)

    def values(self):
        return np.array(self.memory)


VIEWS = {
    "numpy": (lambda a: a.numpy(), np.array),
    "np.asarray": (np.asarray, np.array),
    "a view of a view": (lambda a: a.numpy()[::-1].T.reshape(4, 3)[...], lambda v: np.array(v).T[::-1]),
    "a view of a workspace view": (lambda a: a.T[1:].numpy(), lambda v: np.vstack([VALUES.T[:1], v]).T),
    "memoryview": (memoryview, np.array),
    "a slice of a memoryview": (
        lambda a: memoryview(a.reshape(-1))[2:],
        lambda v: np.append(VALUES.flat[:2], v).reshape(3, 4),
    ),
    "a cast memoryview": (lambda a: memoryview(a).cast("B"), lambda v: np.frombuffer(v).reshape(3, 4).copy()),
    "np.frombuffer": (lambda a: np.frombuffer(memoryview(a)), lambda v: v.reshape(3, 4).copy()),
    "np.from_dlpack": (np.from_dlpack, np.array),
    "a capsule, opened late": (lambda a: Capsule(a.__dlpack__()), lambda v: np.array(np.from_dlpack(v))),
    "flat": (lambda a: a.flat, lambda v: np.array([v[k] for k in range(12)]).reshape(3, 4)),
    "ctypes": (lambda a: a.ctypes, lambda v: np.array(np.ctypeslib.as_array(v.data_as(POINTER), (3, 4)))),
    "data": (lambda a: a.data, np.array),
    "np.nditer": (np.nditer, lambda v: np.array([float(x) for x in v]).reshape(3, 4)),
    "np.ndenumerate": (np.ndenumerate, lambda v: np.array([x for _, x in v]).reshape(3, 4)),
    "as_strided": (
        lambda a: np.lib.stride_tricks.as_strided(a.numpy(), (12,), (8,)),
        lambda v: v.reshape(3, 4).copy(),
    ),
    "np.ma": (lambda a: np.ma.array(a, copy=False), lambda v: np.array(v.data)),
    "np.matrix": (lambda a: a.numpy().view(np.matrix), np.array),
    "a foreign library": (Array, Array.values),
}
POINTER = ctypes.POINTER(ctypes.c_double)


class Capsule:
    """A DLPack capsule on its way to a consumer."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **_keywords):
        return self.capsule

    def __dlpack_device__(self):
        return (1, 0)


def collect_until(condition):
    """Run the collector only where NumPy or ctypes left a reference cycle round a view."""
    if not condition():
        gc.collect()


@pytest.fixture(params=CONFIGURATIONS)
def ws(request):
    ws = ndarena.Workspace(CONFIGURATIONS[request.param], "LEASES")
    ws.enable_debug(request.param == "poisoned")
    yield ws
    ws.destroy_workspace()


@pytest.mark.parametrize(("view", "read"), VIEWS.values(), ids=VIEWS)
class TestOldValuesStay:
    def test_after_the_scope(self, ws, view, read):
        with ws:
            kept = view(ws.array(VALUES))
        churn(ws)
        np.testing.assert_array_equal(read(kept), VALUES)

    def test_within_the_cycle_after_the_handle_was_closed(self, ws, view, read):
        with ws:
            a = ws.array(VALUES)
            kept = view(a)
            a.close()
            del a
            for _ in range(40):
                ws.full((3, 4), -7.0)
            np.testing.assert_array_equal(read(kept), VALUES)

    def test_after_destruction(self, ws, view, read):
        with ws:
            kept = view(ws.array(VALUES))
            ws.destroy_workspace()
        other = ndarena.Workspace(ARENA, "OTHER")
        churn(other)
        np.testing.assert_array_equal(read(kept), VALUES)

    def test_after_the_workspace_object_is_gone(self, view, read):
        ws = ndarena.Workspace(ARENA, "DROPPED")
        with ws:
            kept = view(ws.array(VALUES))
        del ws
        churn(ndarena.Workspace(ARENA, "OTHER"))
        np.testing.assert_array_equal(read(kept), VALUES)

    def test_the_memory_comes_back_when_the_view_dies(self, view, read):
        ws = ndarena.Workspace(ARENA, "RETURNED")
        start = ndarena.get_memory_manager().allocated_bytes()
        with ws:
            kept = view(ws.array(VALUES))
        assert ws.retired_size > 0
        assert ws.escaped_count == 1
        churn(ws, turns=2)
        assert ws.retired_size > 0
        np.testing.assert_array_equal(read(kept), VALUES)
        del kept
        collect_until(lambda: ws.retired_size == 0)
        assert ws.retired_size == 0
        ws.destroy_workspace()
        assert ndarena.get_memory_manager().allocated_bytes() <= start


def test_a_view_can_be_written_long_after_without_harm(ws):
    with ws:
        kept = ws.array(VALUES).numpy()
    with ws:
        fresh = ws.zeros((3, 4))
        kept[...] = 5
        assert fresh.tolist() == np.zeros((3, 4)).tolist()
    assert kept.tolist() == np.full((3, 4), 5.0).tolist()


def test_memory_is_not_given_to_others_while_a_view_lives(ws):
    """By address: no array made in later cycles overlaps it."""
    with ws:
        kept = ws.array(VALUES).numpy()
    for _ in range(5):
        with ws:
            made = [ws.empty((3, 4)) for _ in range(50)]
            assert not any(overlap(kept, a) for a in made)


def test_memory_is_reused_once_the_view_is_dead():
    ws = ndarena.Workspace(ARENA, "REUSED")
    places = set()
    for _ in range(50):
        with ws:
            a = ws.array(VALUES)
            places.add(address(a))
            kept = a.numpy()
        del kept, a
    assert len(places) <= 3
    ws.destroy_workspace()


def test_two_arrays_with_views_are_two_escapes(ws):
    with ws:
        a, b, c = ws.ones(3), ws.ones(3), ws.ones(3)
        kept = [a.numpy(), a.numpy(), a[1:].numpy(), b.numpy()]
    assert ws.escaped_count == 2
    assert c.validity is ndarena.Validity.LEAKED
    assert len(kept) == 4


def test_a_handle_without_a_lease_is_no_escape(ws):
    with ws:
        a = ws.ones(3)
        a.numpy()
        memoryview(a).release()
    assert ws.escaped_count == 0
    assert ws.retired_size == 0


def test_each_retired_block_is_kept_by_its_own_views():
    ws = ndarena.Workspace(ARENA, "SEVERAL")
    kept = []
    for turn in range(6):
        with ws:
            kept.append(ws.full((3, 4), float(turn)).numpy())
    assert [view.tolist() for view in kept] == [np.full((3, 4), float(k)).tolist() for k in range(6)]
    sizes = [ws.retired_size]
    while kept:
        kept.pop(0)
        sizes.append(ws.retired_size)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] == 0
    ws.destroy_workspace()


class TestFramesOfTracebacks:
    def test_a_local_of_a_failed_function_stays(self, ws):
        def fail():
            view = ws.array(VALUES).numpy()
            raise KeyError(view.shape)

        with ws, contextlib.suppress(IndexError):
            try:
                fail()
            except KeyError as error:
                kept = error
        churn(ws)
        frame = kept.__traceback__.tb_next.tb_frame
        np.testing.assert_array_equal(frame.f_locals["view"], VALUES)

    def test_an_exception_that_leaves_the_scope_keeps_the_values(self, ws):
        def fail():
            view = ws.array(VALUES).numpy()
            raise KeyError(view.shape)

        with pytest.raises(KeyError) as caught, ws:
            fail()
        churn(ws)
        traceback = caught.value.__traceback__
        while traceback.tb_next:
            traceback = traceback.tb_next
        np.testing.assert_array_equal(traceback.tb_frame.f_locals["view"], VALUES)

    def test_a_numpy_function_that_failed_keeps_no_foreign_bytes(self, ws):
        """Its frames hold leased views of the operands."""
        with ws:
            a = ws.array(VALUES)
            try:
                np.linalg.inv(a)
            except np.linalg.LinAlgError as error:
                kept = error
        del a
        churn(ws)
        traceback, seen = kept.__traceback__, 0
        while traceback:
            for value in traceback.tb_frame.f_locals.values():
                if type(value) is np.ndarray and value.shape == VALUES.shape:
                    np.testing.assert_array_equal(value, VALUES)
                    seen += 1
            traceback = traceback.tb_next
        assert seen > 0

    def test_a_generator_that_is_suspended_keeps_its_view(self, ws):
        def rows(a):
            view = a.numpy()
            yield view.shape
            yield view.copy()

        with ws:
            generator = rows(ws.array(VALUES))
            next(generator)
        churn(ws)
        np.testing.assert_array_equal(next(generator), VALUES)

    def test_a_reference_cycle_keeps_its_view_until_it_is_collected(self):
        ws = ndarena.Workspace(ARENA, "CYCLE")
        gc.disable()
        try:
            with ws:
                loop = [ws.array(VALUES).numpy()]
                loop.append(loop)
            reference = weakref.ref(loop[0])
            del loop
            churn(ws)
            np.testing.assert_array_equal(reference(), VALUES)
            gc.collect()
            assert reference() is None
            assert ws.retired_size == 0
        finally:
            gc.enable()
        ws.destroy_workspace()


class TestRings:
    RING = ndarena.WorkspaceConfiguration(
        initial_size=4096, policy_learning="NONE", policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=2
    )

    def test_a_leased_block_is_not_overwritten(self):
        ws = ndarena.Workspace(self.RING, "RING")
        with ws:
            kept = ws.array(VALUES).numpy()
        for _ in range(12):
            with ws:
                made = [ws.full(60, -7.0) for _ in range(4)]
                assert not any(overlap(kept, a) for a in made)
        np.testing.assert_array_equal(kept, VALUES)
        assert ws.escaped_count == 0
        ws.destroy_workspace()

    def test_a_handle_is_no_lease(self):
        ws = ndarena.Workspace(self.RING, "RING")
        with ws:
            a = ws.array(VALUES)
        assert a.validity is ndarena.Validity.VALID
        for _ in range(12):
            with ws:
                ws.full(400, -7.0)
        assert a.validity is ndarena.Validity.OVERWRITTEN
        with pytest.raises(ndarena.OverwrittenArrayError):
            a.sum()
        ws.destroy_workspace()

    def test_an_array_stays_readable_until_its_block_is_taken_again(self):
        ws = ndarena.Workspace(self.RING, "RING")
        with ws:
            a = ws.full(400, 3.0)
        with ws:
            ws.full(400, -7.0)
        assert a.validity is ndarena.Validity.VALID
        assert a.sum() == 1200.0
        ws.destroy_workspace()


class TestEscapesInTheMiddleOfAnOperation:
    def test_a_callback_that_destroys_the_workspace(self):
        ws = ndarena.Workspace(ARENA, "DESTROYED IN CALLBACK")
        a = None
        with ws:
            a = ws.zeros(1000)

            def destroy(_kind, _flag):
                ws.destroy_workspace()

            with np.errstate(divide="call", call=destroy):
                result = np.divide(1.0, a)
        assert a.validity is ndarena.Validity.DESTROYED
        assert isinstance(result, ndarena.WorkspaceArray | np.ndarray)
        if isinstance(result, ndarena.WorkspaceArray):
            assert result.validity is ndarena.Validity.DESTROYED

    def test_a_callback_that_finds_the_operands(self):
        """Whatever Python code can reach during an operation keeps its values afterwards."""
        ws = ndarena.Workspace(ARENA, "FOUND")
        found = []

        def search(_kind, _flag):
            for x in gc.get_objects():
                if type(x) is tuple:
                    found.extend(y for y in x if type(y) is np.ndarray and y.shape == (77,))

        with ws:
            a = ws.zeros(77)
            with np.errstate(divide="call", call=search):
                b = np.log(a)
            want = [np.array(x) for x in found]
            del a, b
        churn(ws)
        for got, values in zip(found, want, strict=True):
            np.testing.assert_array_equal(got, values)

    def test_a_subclass_that_keeps_what_it_is_given(self):
        kept = []

        class Keeper(np.ndarray):
            def __array_finalize__(self, other):
                kept.append(other)

        ws = ndarena.Workspace(ARENA, "KEEPER")
        with ws:
            ws.array(VALUES).numpy().view(Keeper)
        churn(ws)
        views = [x for x in kept if x is not None]
        assert views
        for x in views:
            np.testing.assert_array_equal(np.asarray(x), VALUES)


def test_an_internal_array_never_leaves_the_class(ws):
    """Every ndarray that can be got hold of has a base that holds its lease."""
    with ws:
        a = ws.array(VALUES)
        for view in [
            a.numpy(),
            np.asarray(a),
            a.__array__(),
            np.asarray(a.T),
            np.asarray(memoryview(a)),
            np.from_dlpack(a),
        ]:
            assert view.base is not None
            assert not view.flags.owndata
        assert gc.get_referents(a) == []


def test_views_of_zero_size_are_harmless(ws):
    with ws:
        kept = [ws.zeros(0).numpy(), memoryview(ws.zeros((0, 3))), ws.zeros((3, 0)).T.numpy()]
    churn(ws)
    assert [len(bytes(x)) for x in kept] == [0, 0, 0]


def test_what_a_test_leaves_alive_is_noticed():
    """The question that stands behind every test: a view, or a workspace, that outlives it."""
    held, alive = ndarena.allocated_bytes(), len(ndarena.allocation_statistics())
    ws = ndarena.Workspace(ARENA, "VIEWED")
    with ws:
        view = ws.ones(3).numpy()
    with pytest.raises(AssertionError, match=r"still held; alive: \[.*'\[VIEWED\] [1-9]\d* retired'"):
        assert_nothing_left(held, alive, seconds=0)
    ws.destroy_workspace()
    with pytest.raises(AssertionError, match=r"[1-9]\d* bytes are still held"):
        assert_nothing_left(held, alive, seconds=0)
    assert view.tolist() == [1, 1, 1]
    del view
    assert_nothing_left(held, alive)
