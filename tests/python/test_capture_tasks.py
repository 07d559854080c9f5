"""Captures of generators, of tasks and of forked children."""

import asyncio

import numpy as np
import pytest
from async_support import both, turns
from capture_support import N, capturing, handler_name, is_captured
from support import KIB, in_thread, output_of

import ndarena as nd


@pytest.fixture
def ws():
    return capturing()


@pytest.fixture(autouse=True)
def default_handler():
    """Every scope takes its handler away, in its context."""
    yield
    assert handler_name() == "default_allocator"


# ---------------------------------------------------------------- generators and tasks


def test_a_generator_that_is_suspended_inside_captures_its_caller(ws):
    def arrays():
        with ws.notify_scope_entered(capture_numpy=True):
            yield np.full(N, 1.0)

    generator = arrays()
    a = next(generator)
    assert is_captured(ws), "the caller runs in the same context"
    generator.close()
    assert handler_name() == "default_allocator"
    assert a.sum() == N


def test_a_generator_that_ends_in_another_thread_captures_no_more(ws):
    def arrays():
        with ws.notify_scope_entered(capture_numpy=True):
            yield

    generator = arrays()
    next(generator)
    with pytest.raises(nd.WrongThreadError):
        in_thread(generator.close)
    other = capturing()
    with other:
        other.ones(1)
    assert not ws.is_scope_active
    assert not is_captured(ws)
    with other.notify_scope_entered(capture_numpy=True):
        assert is_captured(other)
    assert handler_name() == "default_allocator"


def test_tasks_have_their_own_capture():
    async def work(ws, other):
        async with ws.notify_scope_entered(capture_numpy=True):
            for _ in range(5):
                assert is_captured(ws)
                assert not is_captured(other)
                await turns()
        return handler_name()

    async def main():
        a, b = capturing(), capturing()
        assert await both(work(a, b), work(b, a)) == ["default_allocator"] * 2

    asyncio.run(main())


def test_tasks_of_one_workspace_share_its_cycle(ws):
    async def work(n):
        async with ws.notify_scope_entered(capture_numpy=True):
            for _ in range(n):
                assert is_captured(ws)
                await turns()

    async def main():
        assert await both(work(2), work(6), work(4)) == [None] * 3

    asyncio.run(main())
    assert ws.cycles_count == 1


def test_other_tasks_are_not_captured(ws):
    async def bystander():
        seen = []
        for _ in range(6):
            seen.append(is_captured(ws))
            await turns()
        return seen

    async def main():
        other = asyncio.ensure_future(bystander())
        async with ws.notify_scope_entered(capture_numpy=True):
            await turns(3)
            assert is_captured(ws)
        return await other

    assert asyncio.run(main()) == [False] * 6


def test_a_task_made_inside_is_captured_until_the_scope_ends(ws):
    async def child(go):
        inside = is_captured(ws)
        await go.wait()
        return inside, is_captured(ws), handler_name()

    async def main():
        go = asyncio.Event()
        async with ws.notify_scope_entered(capture_numpy=True):
            task = asyncio.ensure_future(child(go))
            await turns(2)
        go.set()
        return await task

    assert asyncio.run(main()) == (True, False, "ndarena")


def test_a_child_that_enters_goes_on_when_its_parent_has_left(ws):
    async def child(go):
        async with ws.notify_scope_entered(capture_numpy=True):
            await go.wait()
            return is_captured(ws)

    async def main():
        go = asyncio.Event()
        async with ws.notify_scope_entered(capture_numpy=True):
            task = asyncio.ensure_future(child(go))
            await turns(2)
        go.set()
        assert await task
        assert not is_captured(ws, lambda: np.empty(N)), "closed with the child"
        return handler_name()

    assert asyncio.run(main()) == "default_allocator"


def test_a_cancelled_task_takes_its_handler_with_it(ws):
    async def work():
        async with ws.notify_scope_entered(capture_numpy=True):
            await asyncio.sleep(60)

    async def main():
        task = asyncio.ensure_future(work())
        await turns(2)
        assert ws.is_scope_active
        task.cancel()
        await both(task)
        assert not ws.is_scope_active
        return handler_name()

    assert asyncio.run(main()) == "default_allocator"


def test_scoping_out_across_an_await_suspends_its_task_only(ws):
    async def out(go):
        async with ws.notify_scope_entered(capture_numpy=True):
            async with nd.scope_out_of_workspaces():
                await go.wait()
                first = is_captured(ws)
            return first, is_captured(ws)

    async def main():
        go = asyncio.Event()
        task = asyncio.ensure_future(out(go))
        await turns(2)
        async with ws.notify_scope_entered(capture_numpy=True):
            assert is_captured(ws)
            go.set()
            return await task

    assert asyncio.run(main()) == (False, True)


# ---------------------------------------------------------------- forked children, lazy imports


def test_a_forked_child_reads_frees_and_captures_on_its_own():
    done = output_of("""
        import os, sys
        import numpy as np
        import ndarena as nd

        ws = nd.Workspace(id="PARENT")
        with ws.notify_scope_entered(capture_numpy=True):
            a, b = np.full(100_000, 1.0), np.full(100_000, 2.0)
            before = ws.this_cycle_allocations
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    c = np.full(100_000, 3.0)  # the handler is still there, and passes it on
                    assert ws.this_cycle_allocations == before
                    del b
                    a.resize(200_000, refcheck=False)
                    assert a[:100_000].sum() == 100_000 and c.sum() == 300_000
                    own = nd.Workspace(id="CHILD")
                    with own.notify_scope_entered(capture_numpy=True):
                        d = np.full(100_000, 4.0)
                        assert own.this_cycle_allocations == 800_000
                    with nd.capture_numpy() as private:
                        e = np.full(100_000, 5.0)
                        assert private.this_cycle_allocations == 800_000
                    try:
                        ws.notify_scope_entered(capture_numpy=True)
                    except nd.WrongThreadError:
                        code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert (a.sum(), b.sum()) == (100_000, 200_000)
            np.full(100_000, 6.0)
            assert ws.this_cycle_allocations == before + 800_000
        print("well")
    """)
    assert done == "well\n"


def test_a_fork_amid_threads_that_allocate_leaves_no_lock_behind():
    """The child may find a lock held by a thread that it lacks: it waits for nobody."""
    done = output_of("""
        import os, threading
        import numpy as np
        import ndarena as nd

        ws = nd.Workspace(id="PARENT")
        stop, box = threading.Event(), []

        def free():
            while not stop.is_set():
                try:
                    box.pop()
                except IndexError:
                    pass

        thread = threading.Thread(target=free)
        thread.start()
        for turn in range(40):
            with ws.notify_scope_entered(capture_numpy=True):
                box.extend(np.full(4096, float(i)) for i in range(20))
                kept = np.full(4096, 7.0)
                pid = os.fork()
                if pid == 0:
                    kept = kept * 2
                    box.clear()
                    np.full(100_000, 1.0)
                    os._exit(0)
                _, status = os.waitpid(pid, 0)
                assert status == 0
        stop.set()
        thread.join()
        print("well")
    """)
    assert done == "well\n"


def test_small_constants_of_a_lazy_import_are_not_pinned():
    done = output_of("""
        import numpy as np
        import ndarena as nd

        with nd.capture_numpy() as ws:
            import sklearn.linear_model  # with SciPy's constants and caches
            alive = ws.peak_size
        print(ws.escaped_count, ws.retired_size)
    """)
    escaped, retired = map(int, done.split())
    assert escaped <= 2
    assert retired <= 64 * KIB
