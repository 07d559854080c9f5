"""How scopes of tasks end that nobody leaves in good order: generators, dead tasks, loops, threads."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest
from async_support import both, turns, until_set
from support import eventually, in_thread, output_of

import ndarena as nd
from ndarena import Workspace

current = nd.get_current_workspace


@pytest.fixture
def ws():
    return Workspace(id="W")


@pytest.fixture
def other():
    return Workspace(id="OTHER")


# ---------------------------------------------------------------- generators


def test_asynchronous_generators(ws, enter):
    """One that is run to its end or closed leaves its scope on the stack of the task that asks it."""

    async def rows(n):
        async with enter(ws):
            for i in range(n):
                await turns()
                yield ws.full(2, i)

    async def consumer():
        async for row in rows(3):
            assert current() is ws
            assert row.is_in_scope
        assert current() is None
        async with contextlib.aclosing(rows(10)) as few:
            assert (await anext(few)).tolist() == [0, 0]
        assert current() is None

    async def main():
        await asyncio.gather(consumer(), consumer())

    asyncio.run(main())
    assert not ws.is_scope_active


def test_a_generator_that_is_given_up(ws, enter):
    """The loop closes it in another task: its scope is closed where it stands."""

    async def rows():
        async with enter(ws):
            while True:
                yield ws.ones(1)

    async def main():
        async for _ in rows():
            break
        await turns(3)
        assert not ws.is_scope_active
        assert current() is None

    asyncio.run(main())


def test_a_generator_suspended_in_a_plain_scope_of_a_task(ws, other, enter):
    """It is told, as everywhere, and closes with all inside."""

    def rows():
        with other:
            yield

    async def main():
        async with enter(ws):
            generator = rows()
            next(generator)
            with ws:
                ws.ones(1)
                with pytest.raises(nd.ScopeError, match="generator"):
                    generator.close()
            assert current() is ws

    asyncio.run(main())
    assert not other.is_scope_active


def test_a_generator_of_the_thread_closed_inside_a_task(ws, other, enter):
    """Its scope ends on the thread's stack, the task's is left alone."""

    def rows():
        with other:
            yield

    async def main():
        generator = rows()
        next(generator)
        async with enter(ws):
            ws.ones(1)
            generator.close()
            assert not other.is_scope_active
            assert current() is ws
        assert current() is None

    asyncio.run(main())


def test_exit_stacks(ws, other, enter):
    """`AsyncExitStack` enters and leaves in frames of its own."""

    async def task():
        async with contextlib.AsyncExitStack() as stack:
            assert await stack.enter_async_context(enter(ws)) is ws
            await turns()
            stack.enter_context(other)
            await turns()
            assert current() is other
        assert current() is None

    async def main():
        await asyncio.gather(task(), task())

    asyncio.run(main())
    assert not (ws.is_scope_active or other.is_scope_active)


# ---------------------------------------------------------------- ends


class Stubborn:
    """Waits for ever, also when it is told to stop: a coroutine in it never gets to its `__aexit__`."""

    def __await__(self):
        while True:
            with contextlib.suppress(GeneratorExit):
                yield


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("where", ["here", "another thread"])
@pytest.mark.parametrize("closes", [True, False])
def test_a_task_that_dies_suspended(ws, enter, closes, where):
    """Its scopes are closed, there at once or by the owner at its next enter or leave."""

    async def body(waiting):
        if closes:
            async with enter(ws):
                await waiting
        else:
            await enter(ws).__aenter__()
            await waiting

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    waiting = [loop.create_future()]
    tasks = [loop.create_task(body(waiting[0]))]
    loop.run_until_complete(turns(2))
    assert ws.is_scope_active
    loop.close()
    dead = weakref.ref(tasks[0])

    def let_go():
        tasks.clear()
        waiting.clear()
        gc.collect()

    let_go() if where == "here" else in_thread(let_go)
    assert dead() is None
    with Workspace(id="ANY"):
        assert not ws.is_scope_active
    assert current() is None


def test_addresses_of_dead_tasks_are_used_again(ws):
    """A new task never finds the scopes of one that is gone, wherever it lies in memory."""

    async def leaves_open():
        await ws.notify_scope_entered().__aenter__()

    async def looks():
        assert current() is None
        async with Workspace(id="ANY"):
            pass
        assert current() is None

    async def main():
        addresses = set()
        for _ in range(50):
            for body in (leaves_open, looks):
                task = asyncio.create_task(body())
                addresses.add(id(task))
                await task
                del task
        assert len(addresses) < 100
        with Workspace(id="ANY"):
            assert not ws.is_scope_active

    asyncio.run(main())


def test_a_task_is_watched_once(ws, enter):
    """However many scopes it opens, one after the other."""

    async def main():
        task = asyncio.current_task()
        before = weakref.getweakrefcount(task)
        for _ in range(100):
            async with enter(ws):
                ws.ones(1)
                await turns()
        assert weakref.getweakrefcount(task) == before + 1

    asyncio.run(main())


def test_a_scope_object_that_dies_is_counted(ws):
    """The scope stays open and is counted as lost, in the task whose it is."""

    async def task():
        await ws.notify_scope_entered().__aenter__()
        assert ws.stats().lost_scopes == 1
        await turns()
        with pytest.raises(nd.ScopeError, match=r"1 scope\(s\) without an object"):
            nd.assert_no_workspaces_open("here")
        ws.close()
        assert ws.stats().lost_scopes == 0

    async def elsewhere():
        await turns()
        nd.assert_no_workspaces_open("here")

    async def main():
        await asyncio.gather(task(), elsewhere())

    asyncio.run(main())


def test_a_closed_loop_with_pending_tasks(ws, other, enter):
    """The task keeps its scope while it lives; the thread is free of it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(until_set(asyncio.Event(), enter, ws))
    loop.run_until_complete(turns(2))
    assert ws.is_scope_active
    assert current() is None
    nd.assert_no_workspaces_open("outside")
    with other:
        other.ones(1)
        assert current() is other
    task.cancel()
    loop.run_until_complete(both(task))
    loop.close()
    assert not ws.is_scope_active


def test_the_end_of_a_thread_ends_its_tasks(enter):
    """Scopes of suspended tasks are closed, the thread's workspaces destroyed."""
    made, tasks, loop = [], [], asyncio.new_event_loop()

    def program():
        ws = Workspace(id="W")
        made.append(ws)
        tasks.append(loop.create_task(until_set(asyncio.Event(), enter, ws)))
        loop.run_until_complete(turns(2))
        assert ws.is_scope_active

    thread = threading.Thread(target=program)
    thread.start()
    thread.join()
    assert eventually(lambda: made[0].is_destroyed)
    assert not made[0].is_scope_active
    tasks[0].cancel()
    loop.run_until_complete(both(tasks[0]))
    loop.close()


def test_a_fork_inside_a_scope():
    """The child has nothing current; the scope it inherited closes as a no-op."""
    program = """
        import asyncio, os, warnings
        import ndarena as nd
        warnings.simplefilter("ignore", DeprecationWarning)

        async def main():
            ws = nd.Workspace(id="W")
            async with ws.notify_scope_entered(), ws:
                a = ws.full(3, 7.0)
                await asyncio.sleep(0)
                pid = os.fork()
                if pid == 0:
                    assert nd.get_current_workspace() is None
                    own = nd.Workspace(id="OWN")
                    with own.notify_scope_entered():
                        own.ones(1)
                        assert nd.get_current_workspace() is own
                    assert a.tolist() == [7.0] * 3
            if pid == 0:
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert not ws.is_scope_active
            print("well")

        asyncio.run(main())
    """
    assert output_of(program) == "well\n"


def test_a_program_may_end_inside():
    """Suspended tasks at the end of the interpreter do no harm."""
    program = """
        import asyncio
        import ndarena as nd

        async def body(ws):
            async with ws.notify_scope_entered():
                await asyncio.Event().wait()

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        tasks = [loop.create_task(body(nd.Workspace(id=f"W{i}"))) for i in range(3)]
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        loop.close()
        print("well")
    """
    assert output_of(program) == "well\n"


def test_the_collector_waits_for_the_last_scope_of_all_tasks(ws, other, enter):
    """A thread is in a scope while one of its tasks is."""
    over = asyncio.Event()

    async def main():
        task = asyncio.create_task(until_set(over, enter, other))
        await turns()
        async with enter(ws):
            ws.ones(1)
            assert not gc.isenabled()
        assert not gc.isenabled()
        over.set()
        await task
        assert gc.isenabled()

    with nd.gc_policy(auto_gc_window=100_000):
        asyncio.run(main())
