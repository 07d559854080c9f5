"""`capture_numpy`: NumPy's own allocations served by a workspace, counted, bounded, and always safe."""

import gc
import tracemalloc

import numpy as np
import pytest
from capture_support import (
    BYTES,
    CountingHandler,
    N,
    bytes_at,
    capturing,
    handler_name,
    is_captured,
)
from support import KIB, MIB, output_of, run_program

import ndarena as nd


@pytest.fixture
def ws():
    return capturing()


@pytest.fixture(autouse=True)
def default_handler():
    """Every scope takes its handler away."""
    yield
    assert handler_name() == "default_allocator"


# ---------------------------------------------------------------- what is captured


def test_numpys_own_arrays_come_from_the_workspace(ws):
    with ws.notify_scope_entered(capture_numpy=True) as target:
        assert target is ws
        a = np.ones(N)
        b = a * 2 + 1
        assert type(b) is np.ndarray
        assert ws.this_cycle_allocations == 2 * BYTES, "NumPy writes the sum over the product"
        assert handler_name(b) == "ndarena"
        assert b.flags.owndata
    assert b.sum() == 3 * N


def filled(array):
    array.fill(1.0)
    return array


MAKERS = {
    "empty": lambda: filled(np.empty(N)),
    "zeros": lambda: np.zeros(N),
    "ufunc": lambda: np.add(np.float64(1), np.broadcast_to(2.0, N)),
    "random": lambda: np.random.default_rng(0).random(N),
    "concatenate": lambda: np.concatenate([np.broadcast_to(1.0, N)] * 2),
    "astype": lambda: np.broadcast_to(np.int8(1), N).astype("f8"),
    "object": lambda: np.full(N, None),
    "structured": lambda: np.zeros(N, "i4,f8"),
    "text": lambda: np.full(N, "a"),
    "reduction": lambda: np.broadcast_to(1.0, (3, N)).sum(axis=0),
    "matrix product": lambda: np.broadcast_to(1.0, (300, 3)) @ np.broadcast_to(1.0, (3, 300)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_whatever_makes_an_array_is_captured(ws, make):
    wanted = make()
    with ws.notify_scope_entered(capture_numpy=True):
        assert is_captured(ws, make)
        assert make().tobytes() == wanted.tobytes() or wanted.dtype == object


def test_captured_from_sixteen_kibibytes_on(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        assert not is_captured(ws, lambda: np.empty(16 * KIB - 1, "u1"))
        assert is_captured(ws, lambda: np.empty(16 * KIB, "u1"))


def test_the_environment_sets_the_floor_for_tests():
    source = """
        import numpy as np
        import ndarena as nd

        with nd.capture_numpy() as ws:
            a, b = np.empty(63, "u1"), np.empty(64, "u1")
            print(ws.this_cycle_allocations)
    """
    assert output_of(source, env={"NDARENA_CAPTURE_FLOOR": "64"}) == "64\n"
    assert output_of(source, env={"NDARENA_CAPTURE_FLOOR": "1 KiB"}) == "0\n"
    for wrong in ("63", "0", "-64", "many"):
        done = run_program(source, env={"NDARENA_CAPTURE_FLOOR": wrong})
        assert done.returncode == 1
        assert f"ConfigurationError: NDARENA_CAPTURE_FLOOR={wrong}: must be a power of two" in done.stderr


def test_captured_arrays_begin_at_whole_cache_lines(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        arrays = [np.empty(16 * KIB + 24 * i, "u1") for i in range(20)]
        assert {a.ctypes.data % 64 for a in arrays} == {0}


def test_zeros_are_zero_in_used_and_in_fresh_memory(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        np.full(N, 7.0)
        for n in (N, 3 * N, N // 2):
            assert not np.zeros(n).any()
            np.full(n, 7.0)


def test_without_the_argument_nothing_is_captured(ws):
    with ws.notify_scope_entered():
        assert not is_captured(ws)
        assert handler_name() == "default_allocator"
        ws.ones(1)
    with ws:
        assert not is_captured(ws)


def test_detached_and_other_plain_results_are_not_captured(ws):
    roles = nd.LayerWorkspaceMgr({nd.ArrayType.INPUT: None})
    with ws.notify_scope_entered(capture_numpy=True):
        a = ws.ones(N)
        for make in (
            a.detach,
            lambda: nd.detach(a),
            lambda: roles.create(nd.ArrayType.INPUT, N),
            lambda: roles.dup(nd.ArrayType.INPUT, a),
            lambda: a.__reduce_ex__(4),
        ):
            assert not is_captured(ws, make)
        nd.set_current_workspace(None)
        assert not is_captured(ws, a.dup)
        assert not is_captured(ws, lambda: a.cast_to("f4"))
        assert not is_captured(ws, lambda: nd.zeros(N))
        nd.set_current_workspace(ws)
        assert is_captured(ws)


def test_run_gives_plain_results_that_are_not_captured(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        a = ws.ones(N)
        assert not is_captured(ws, lambda: ws.run(lambda: a))


# ---------------------------------------------------------------- counts


def test_captured_arrays_count_like_any_others(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        a, b = np.empty(N), ws.empty(N)
        s = ws.stats()
        assert s.this_cycle_allocations == s.peak_size == 2 * BYTES
        assert (s.number_of_external_allocations, s.spilled_size) == (2, 2 * BYTES)
        del a
        np.empty(N)
        s = ws.stats()
        assert (s.this_cycle_allocations, s.peak_size) == (3 * BYTES, 2 * BYTES)
        assert (s.number_of_external_allocations, s.spilled_size) == (1, BYTES)
        del b
    s = ws.stats()
    assert (s.this_cycle_allocations, s.last_cycle_allocations) == (0, 3 * BYTES)
    assert s.max_cycle_allocations == 3 * BYTES
    assert (s.escaped_count, s.retired_size) == (0, 0)


def test_after_the_learning_cycle_nothing_spills(ws):
    for cycle in range(4):
        with ws.notify_scope_entered(capture_numpy=True):
            arrays = [np.empty(N) for _ in range(20)]
            spilled = ws.number_of_external_allocations
            del arrays
        assert spilled == (20 if cycle == 0 else 0)
    assert ws.current_size >= 20 * BYTES
    assert ws.current_size <= 20 * BYTES * 1.15 + 2 * MIB
    assert ws.initial_block_size == 20 * BYTES


def test_survivors_are_counted_and_left_alone():
    """`policy_escape` is for views of the workspace's own arrays."""
    ws = capturing(policy_escape="RAISE")
    with ws.notify_scope_entered(capture_numpy=True):
        a, b = np.full(N, 1.0), np.full(N, 2.0)
    assert (ws.escaped_count, ws.retired_size) == (2, 2 * BYTES)
    with ws.notify_scope_entered(capture_numpy=True):
        c = np.full(N, 3.0)
    assert ws.escaped_count == 3
    assert (a.sum(), b.sum(), c.sum()) == (N, 2 * N, 3 * N)
    del a
    assert ws.retired_size == 2 * BYTES
    with ws.notify_scope_entered(capture_numpy=True):
        d = np.full(N, 4.0)
    assert (ws.escaped_count, ws.retired_size) == (4, 3 * BYTES)
    del b, c, d
    assert ws.retired_size == 0


def test_memory_of_survivors_is_not_reused_until_they_die(ws):
    kept = []
    for turn in range(12):
        with ws.notify_scope_entered(capture_numpy=True):
            kept.append(np.full(N, float(turn)))
            np.full(3 * N, -1.0)
        if turn % 3 == 2:
            kept.pop(0)
        assert [a[0] for a in kept] == [a[-1] for a in kept] == [a.mean() for a in kept]


def test_captured_arrays_hinder_no_control(ws):
    """They are plain: `reset` and `initialize_workspace` are about the workspace's own arrays."""
    with ws.notify_scope_entered(capture_numpy=True):
        a = np.full(N, 1.0)
        ws.reset()
        ws.initialize_workspace()
        np.full(N, 2.0)
        assert a.sum() == N


def test_a_view_keeps_its_captured_array(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        view, buffer = np.full(N, 5.0)[::2], memoryview(np.full(N, 6.0))
    for _ in range(3):
        with ws.notify_scope_entered(capture_numpy=True):
            np.full(4 * N, -1.0)
    assert ws.retired_size >= 2 * BYTES
    assert view.mean() == 5.0
    assert buffer[0] == buffer[N - 1] == 6.0


def test_a_reference_cycle_counts_until_it_is_collected(ws):
    with ws.notify_scope_entered(capture_numpy=True):
        loop = [np.full(N, 1.0)]
        loop.append(loop)
    del loop
    assert ws.retired_size == BYTES
    gc.collect()
    assert ws.retired_size == 0


def test_the_traceback_of_an_exception_keeps_the_locals(ws):
    def fail():
        local = np.full(N, 1.0)
        raise ValueError(local.size)

    with pytest.raises(ValueError) as caught, ws.notify_scope_entered(capture_numpy=True):
        fail()
    assert handler_name() == "default_allocator"
    assert ws.retired_size == BYTES
    del caught
    gc.collect()
    assert ws.retired_size == 0


def test_unused_scopes_warn_and_name_the_floor(ws):
    with pytest.warns(nd.UnusedWorkspaceWarning, match=r"capture_numpy=True.*16 KiB"):
        for _ in range(3):
            with ws:
                pass


# ---------------------------------------------------------------- realloc, poison, tracing


def test_resize_takes_memory_of_the_found_handler(ws):
    with CountingHandler() as found:
        with ws.notify_scope_entered(capture_numpy=True):
            a = np.arange(N, dtype="f8")
            a.resize(2 * N, refcheck=False)
            assert found.large() == [("realloc", 2 * BYTES)]
            assert ws.peak_size == BYTES
            assert a[:N].tolist() == list(range(N))
            assert not a[N:].any()
            b = np.arange(N, dtype="f8")
        b.resize(N // 2, refcheck=False)
        b.resize(3 * N, refcheck=False)
        assert b[: N // 2].tolist() == list(range(N // 2))
        assert ws.retired_size == 0
        del a, b
        assert found.alive == set()


def test_text_is_read_in_memory_that_grows_without_the_lock(ws, tmp_path):
    numbers = np.arange(20_000.0)
    numbers.tofile(tmp_path / "text", sep=" ")
    text = (tmp_path / "text").read_text(encoding="ascii")
    with ws.notify_scope_entered(capture_numpy=True):
        for _ in range(3):
            assert np.array_equal(np.fromfile(tmp_path / "text", sep=" "), numbers)
            assert np.array_equal(np.fromstring(text, sep=" "), numbers)
            assert np.array_equal(np.fromiter(map(float, range(20_000)), float), numbers)


def test_debug_poisons_captured_memory_at_birth_and_at_death(ws):
    ws.enable_debug(True)
    with ws.notify_scope_entered(capture_numpy=True):
        kept = np.ones(N)
        a = np.empty(N)
        assert set(a.tobytes()) == {0xDD}
        address = a.ctypes.data
        a[:] = 1.0
        del a
        assert set(bytes_at(address, BYTES)) == {0xDD}
        assert not np.zeros(2 * N).any()
    address = kept.ctypes.data
    del kept
    assert set(bytes_at(address, BYTES)) == {0xDD}
    ws.enable_debug(False)
    with ws.notify_scope_entered(capture_numpy=True):
        a = np.ones(N)
        address = a.ctypes.data
        del a
        assert bytes_at(address, 8) == np.float64(1).tobytes()


def test_tracemalloc_sees_captured_arrays(ws):
    tracemalloc.start()
    try:
        with ws.notify_scope_entered(capture_numpy=True):
            a = np.empty(N)
            with_it = tracemalloc.get_traced_memory()[0]
            del a
            assert with_it - tracemalloc.get_traced_memory()[0] >= BYTES
    finally:
        tracemalloc.stop()


def test_at_the_interpreters_end_captured_arrays_do_no_harm():
    source = """
        import sys, threading, time
        import numpy as np
        import ndarena as nd

        ws = nd.Workspace(id="LAST")
        scope = ws.notify_scope_entered(capture_numpy=True)
        kept = np.ones(100_000)
        sys.kept = [np.ones(100_000), kept[::2]]
        np.kept = ws

        def forever():
            own = nd.Workspace(id="THREAD")
            with own.notify_scope_entered(capture_numpy=True):
                big = np.ones(1_000_000)
                while True:
                    big = big * 1.5 - big.mean()

        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.2)
        print("end")
    """
    for _ in range(3):
        assert output_of(source) == "end\n"
