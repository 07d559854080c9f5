"""`async with` that goes wrong: exceptions, cancellation, what is refused and in which words."""

import asyncio
import contextlib

import pytest
from async_support import both, turns, until_set
from support import fixed, in_thread

import ndarena as nd
from ndarena import Workspace

current = nd.get_current_workspace


@pytest.fixture
def ws():
    return Workspace(id="W")


@pytest.fixture
def other():
    return Workspace(id="OTHER")


# ---------------------------------------------------------------- exceptions and cancellation


def test_a_cancelled_task_leaves_its_scopes(ws, other, enter):
    """Wherever the cancellation strikes."""

    async def task():
        async with enter(ws):
            ws.ones(1)
            await turns()
            async with enter(other):
                other.ones(1)
                await turns(2)
            await turns()

    async def main(after):
        running = asyncio.create_task(task())
        await turns(after)
        running.cancel()
        await both(running)
        assert running.cancelled()
        assert not (ws.is_scope_active or other.is_scope_active)
        assert current() is None

    for after in range(5):
        asyncio.run(main(after))


def test_a_failing_group_leaves_its_scopes(ws, enter):
    """The exceptions are the tasks' own; cancelled members leave, too."""

    async def fails():
        async with enter(ws):
            ws.ones(1)
            await turns()
            raise KeyError("mine")

    async def waits():
        async with enter(ws):
            await asyncio.Event().wait()

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert [repr(e) for e in caught.value.exceptions] == ["KeyError('mine')"]
    assert not ws.is_scope_active


def test_a_time_out_inside(ws, enter):
    """`asyncio.timeout` around an `await` in a scope."""

    async def main():
        async with enter(ws):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            assert current() is ws
            ws.ones(1)

    asyncio.run(main())
    assert not ws.is_scope_active


def test_scopes_left_open_inside_are_named(ws, other, enter):
    """As an error, or as a note on the exception that is on its way."""

    async def body(error):
        async with enter(ws):
            other.notify_scope_entered()
            await turns()
            if error:
                raise error

    with pytest.raises(nd.ScopeError, match=r"\[OTHER\].*async with"):
        asyncio.run(body(None))
    with pytest.raises(KeyError) as caught:
        asyncio.run(body(KeyError("mine")))
    assert "OTHER" in caught.value.__notes__[0]
    assert not (ws.is_scope_active or other.is_scope_active)


def test_views_that_escape_are_told_at_the_end(enter):
    """`policy_escape` holds for the async form."""
    ws = Workspace(nd.WorkspaceConfiguration(policy_escape="RAISE"))
    kept = []

    async def body():
        async with enter(ws):
            kept.append(ws.ones(2).numpy())
            await turns()

    with pytest.raises(nd.EscapedViewError):
        asyncio.run(body())
    assert not ws.is_scope_active
    assert kept[0].tolist() == [1, 1]


def test_a_full_workspace_names_the_scopes_of_the_task(ws, enter):
    """The refusal of an allocation looks for the running task, too."""
    small, over = Workspace(fixed(64, policy_spill="FAIL"), "SMALL"), asyncio.Event()

    async def main():
        task = asyncio.create_task(until_set(over, enter, ws))
        await turns()
        async with enter(small):
            with pytest.raises(nd.WorkspaceFullError) as caught:
                small.ones(1000)
            assert caught.value.open_workspaces == ("SMALL",)
            small.ones(1)
        over.set()
        await task

    asyncio.run(main())


# ---------------------------------------------------------------- wrong uses


def test_plain_scopes_across_an_await_are_told_what_to_write(ws, other):
    """Tasks without `async with` share the thread's stack and close it out of order."""

    async def task(mine, steps):
        with mine.notify_scope_entered():
            mine.ones(1)
            await turns(steps)

    async def main():
        return await both(task(ws, 1), task(other, 3))

    first, _ = asyncio.run(main())
    assert isinstance(first, nd.ScopeError)
    assert "async with ws.notify_scope_entered():" in str(first)
    assert not (ws.is_scope_active or other.is_scope_active)

    async def explicit():
        scope = ws.notify_scope_entered()
        inner = other.notify_scope_entered()
        with pytest.raises(nd.ScopeError, match="async with"):
            scope.close()
        inner.close()
        scope.close()

    asyncio.run(explicit())


def test_nothing_may_come_between_entering_and_async_with(ws, other):
    """It is refused in words that say what to write, and changes nothing."""

    async def body():
        scope = ws.notify_scope_entered()
        inner = other.notify_scope_entered()
        with pytest.raises(nd.ScopeError, match=r"\[OTHER\].*async with ws.notify_scope_entered"):
            async with scope:
                pass
        assert current() is other
        inner.close()
        async with scope:
            await turns()
        async with ws:
            scope = ws.notify_scope_entered()
            with other, pytest.raises(nd.ScopeError, match="async with"):
                await scope.__aenter__()
            scope.close()

    asyncio.run(body())
    assert not ws.is_scope_active


def test_without_a_task_it_is_refused(ws, enter):
    """A coroutine that no loop runs has no task; nothing stays open."""

    async def body():
        async with enter(ws):
            pass

    coroutine = body()
    with pytest.raises(nd.ScopeError, match="asyncio task"):
        coroutine.send(None)
    assert not ws.is_scope_active

    async def callback():
        with pytest.raises(nd.ScopeError, match="asyncio task"):
            body().send(None)
        done.set()

    async def main():
        asyncio.get_running_loop().call_soon(run, callback())
        await done.wait()

    def run(coroutine):
        with contextlib.suppress(StopIteration):
            coroutine.send(None)

    done = asyncio.Event()
    asyncio.run(main())
    assert not ws.is_scope_active


def test_a_closed_scope_is_refused(ws):
    """As `with` refuses it."""

    async def body():
        scope = ws.notify_scope_entered()
        scope.close()
        with pytest.raises(nd.ScopeError, match="closed"):
            async with scope:
                pass

    asyncio.run(body())


def test_closing_is_idempotent(ws, enter):
    """Closed inside, closed twice, used with both forms: each scope ends once."""

    async def body():
        async with enter(ws):
            async with enter(ws):
                ws.ones(1)
                ws.close()
                await turns()
                assert current() is ws
            assert ws.is_scope_active
        scope = ws.notify_scope_entered()
        async with scope:
            ws.ones(1)
            with scope:
                await turns()
            assert not ws.is_scope_active
            scope.close()
        with ws.notify_scope_entered() as again, ws.notify_scope_entered() as scope:
            assert again is scope is ws
        scope = ws.notify_scope_entered()
        with scope:
            async with scope:
                await turns()
            assert not ws.is_scope_active
        await scope.__aexit__(None, None, None)

    asyncio.run(body())
    assert (ws.is_scope_active, ws.cycles_count) == (False, 4)


def test_another_task_neither_enters_nor_closes_it(ws, enter):
    """It is refused in words that say so; the end of the `with` closes it all the same."""
    scopes, over = [], asyncio.Event()

    async def owner():
        async with ws.notify_scope_entered() as _, Workspace(id="MIDDLE").notify_scope_entered():
            scopes.append(ws.notify_scope_borrowed())
            await over.wait()
            assert current() is ws
            scopes[0].close()

    async def foreigner():
        await turns()
        for call in (scopes[0].close, scopes[0].__enter__, scopes[0].__aenter__):
            with pytest.raises(nd.ScopeError, match=r"\[W\].*another task"):
                call()
        with pytest.raises(nd.ScopeError, match="no open scope"):
            ws.notify_scope_left()
        async with enter(Workspace(id="MINE")):
            with pytest.raises(nd.ScopeError, match="another task"):
                scopes[0].close()
        assert ws.is_scope_active
        over.set()

    async def main():
        await asyncio.gather(owner(), foreigner())

    asyncio.run(main())
    assert not ws.is_scope_active


def test_an_end_in_another_task_closes_it_where_it_stands(ws, other, enter):
    """`__aexit__` always closes, with all inside; what the others have open is left alone."""

    async def owner(ready):
        manager = enter(ws)
        await manager.__aenter__()
        ready.set_result(manager)
        await asyncio.Event().wait()

    async def main():
        ready = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(owner(ready))
        manager = await ready
        async with other:
            await manager.__aexit__(None, None, None)
            assert not ws.is_scope_active
            assert current() is other
        task.cancel()
        await both(task)

    asyncio.run(main())


def test_an_end_in_another_thread(ws):
    """`WrongThreadError` there; the owner closes it at its next enter or leave."""

    async def owner(ready):
        scope = ws.notify_scope_entered()
        await scope.__aenter__()
        ready.set_result(scope)
        await turns(100)

    async def main():
        ready = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(owner(ready))
        scope = await ready
        with pytest.raises(nd.WrongThreadError):
            in_thread(scope.__aexit__, None, None, None)
        assert ws.is_scope_active
        with Workspace(id="ANY"):
            assert not ws.is_scope_active
        task.cancel()
        await both(task)

    asyncio.run(main())


def test_another_thread_cannot_take_a_scope(ws):
    """Nor can a task of another loop."""

    async def thief(scope):
        with pytest.raises(nd.WrongThreadError):
            async with scope:
                pass

    async def other_form():
        with pytest.raises(nd.WrongThreadError):
            async with ws:
                pass

    with ws.notify_scope_entered() as _, ws.notify_scope_entered() as _:
        scope = ws.notify_scope_borrowed()
        in_thread(asyncio.run, thief(scope))
        in_thread(asyncio.run, other_form())
        assert ws.is_scope_active
        scope.close()
