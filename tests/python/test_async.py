"""`async with`: scopes that belong to a task, may span an `await`, and are seen by nobody else."""

import asyncio
import contextvars
import random
from collections import Counter

import numpy as np
import pytest
from async_support import turns, until_set

import ndarena as nd
from ndarena import Workspace

current = nd.get_current_workspace


@pytest.fixture
def ws():
    return Workspace(id="W")


@pytest.fixture
def other():
    return Workspace(id="OTHER")


# ---------------------------------------------------------------- the scope of a task


def test_the_target_is_the_workspace(ws, enter):
    """It is entered like any other and left before the task goes on."""

    async def body():
        async with enter(ws) as target:
            assert target is ws
            a = ws.ones(3)
            await turns()
            assert current() is ws
            assert (a + 1).workspace is ws
        assert current() is None
        assert not a.is_in_scope

    asyncio.run(body())
    assert (ws.generation_id, ws.is_scope_active) == (1, False)


def test_ten_thousand_switches(enter):
    """Interleaved tasks, each with scopes of its own: none ever sees the workspace of another."""
    switches = 0

    async def task(number):
        nonlocal switches
        outer, inner = Workspace(id=f"OUTER{number}"), Workspace(id=f"INNER{number}")
        for _ in range(50):
            assert current() is None
            async with enter(outer):
                state = outer.full(4, float(number))
                for turn in range(4):
                    async with enter(inner):
                        a = nd.full(4, 1.0) * state
                        await turns()
                        switches += 1
                        assert current() is inner
                        assert (a.workspace, inner.parent_workspace) == (inner, outer)
                        assert a.tolist() == [number + turn] * 4
                    assert current() is outer
                    state += 1
                    await turns()
                    switches += 1
                    assert current() is outer

    async def main():
        async with asyncio.TaskGroup() as group:
            for number in range(25):
                group.create_task(task(number))

    asyncio.run(main())
    assert switches >= 10_000
    assert current() is None


FACTORIES = [None, *filter(None, [getattr(asyncio, "eager_task_factory", None)])]


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed, factory):
    """Tasks that nest scopes of all kinds, in workspaces they share, see what a plain list says they see."""
    rng, spaces, inside = random.Random(seed), [Workspace(id=f"W{i}") for i in range(3)], Counter()

    async def block(outer, depth):
        for _ in range(rng.randrange(1, 4)):
            await turns(rng.randrange(3))
            assert current() is outer
            for ws in spaces:
                assert ws.is_scope_active == (inside[ws] > 0)
            if depth < 4:
                await enter_one(rng.choice(spaces), outer, depth)
                assert current() is outer

    async def enter_one(ws, outer, depth):
        form = rng.choice(["async", "short", "out", "plain"]) if depth else "async"
        if form == "out":
            async with nd.scope_out_of_workspaces():
                await block(None, depth + 1)
            return
        inside[ws] += 1
        if form == "plain":
            with ws:
                await filled(ws, depth)
        else:
            async with ws.notify_scope_entered() if form == "async" else ws:
                await filled(ws, depth)
        inside[ws] -= 1

    async def filled(ws, depth):
        a = ws.full(3, 7)
        await block(ws, depth + 1)
        assert a.tolist() == [7] * 3

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        await asyncio.gather(*(block(None, 0) for _ in range(10)))

    asyncio.run(main())
    assert not any(ws.is_scope_active for ws in spaces)


def test_a_plain_scope_goes_on_the_stack_of_its_task(ws, enter):
    """Inside `async with` a plain `with` may span an `await`, too."""

    async def task(number):
        inner = Workspace(id=f"INNER{number}")
        async with enter(Workspace(id=f"OWN{number}")) as own:
            own.ones(1)
            for _ in range(10):
                with inner, ws.notify_scope_entered():
                    ws.ones(1)
                    assert current() is ws
                    await turns(number)
                    assert current() is ws
                    ws.notify_scope_left()
                    assert current() is inner
                    inner.ones(1)
                    with nd.scope_out_of_workspaces():
                        await turns()
                        assert current() is None
                assert current() is own

    async def main():
        await asyncio.gather(*(task(number) for number in range(1, 8)))

    asyncio.run(main())
    assert not ws.is_scope_active


def test_the_stack_begins_with_what_was_current(ws, other, enter):
    """The thread's workspace is the parent, stays current for the others, and again for the task."""

    async def body():
        async with enter(other):
            assert other.parent_workspace is ws
            nd.set_current_workspace(None)
            assert await asyncio.create_task(seen()) is ws
            assert current() is None
        assert current() is ws

    async def seen():
        return current()

    with ws:
        ws.ones(1)
        asyncio.run(body())
        assert current() is ws
    assert ws.generation_id == 1


def test_what_was_current_is_the_thread_s_again(ws, other, enter):
    """Leaving the last scope of its own a task sees what the thread has by then."""
    entered, left = asyncio.Event(), asyncio.Event()

    async def own():
        async with enter(other):
            entered.set()
            await left.wait()
        return current()

    async def thread_s():
        await entered.wait()
        nd.set_current_workspace(ws)
        left.set()

    async def main():
        return (await asyncio.gather(own(), thread_s()))[0]

    assert asyncio.run(main()) is ws


def test_children_do_not_inherit(ws, enter):
    """Neither tasks, nor callbacks, nor threads that a task starts are inside its scopes."""
    seen = []

    async def child():
        seen.append(current())
        await turns()
        seen.append(current())
        return nd.ones(3)

    async def body():
        async with enter(ws):
            ws.ones(1)
            made = [asyncio.create_task(child()), asyncio.ensure_future(child())]
            asyncio.get_running_loop().call_soon(lambda: seen.append(current()))
            async with asyncio.TaskGroup() as group:
                made.append(group.create_task(child()))
            seen.append(await asyncio.to_thread(current))
            for task in made:
                assert type(await task) is np.ndarray
            assert contextvars.copy_context().run(current) is ws
            assert current() is ws

    asyncio.run(body())
    assert seen == [None] * 8


def test_a_child_has_scopes_of_its_own(ws, other, enter):
    """It may open some while its parent stands in its own."""

    async def child():
        async with enter(other):
            await turns()
            assert current() is other

    async def body():
        async with enter(ws):
            task = asyncio.create_task(child())
            for _ in range(4):
                await turns()
                assert current() is ws
            await task

    asyncio.run(body())
    assert other.cycles_count == ws.cycles_count == 1


def test_asserts_and_errors_speak_of_the_running_task(ws, other, enter):
    """What is open elsewhere in the thread is none of a task's business."""
    over = asyncio.Event()

    async def body():
        task = asyncio.create_task(until_set(over, enter, other))
        await turns()
        assert other.is_scope_active
        nd.assert_no_workspaces_open("here")
        assert not nd.any_workspace_active_for_current_thread()
        async with enter(ws):
            with pytest.raises(nd.ScopeError, match=r"\[W\]") as caught:
                nd.assert_no_workspaces_open("here")
            assert caught.value.open_workspaces == ("W",)
        over.set()
        await task

    asyncio.run(body())


def test_the_other_scopes(ws, other):
    """Borrowing, scoping out, the manager's and those of layers have the form as well."""
    conf = nd.WorkspaceConfiguration()
    mgr = nd.LayerWorkspaceMgr({"INPUT": ("IN", conf), "ACTIVATIONS": ("ACT", conf)})

    async def task():
        async with nd.get_and_activate_workspace(id="MINE") as mine, ws.notify_scope_entered():
            ws.ones(1)
            async with mine.notify_scope_borrowed():
                await turns()
                assert current() is mine
            async with nd.scope_out_of_workspaces() as nothing:
                await turns()
                assert nothing is current() is None
            async with mgr.notify_scope_entered("INPUT", "ACTIVATIONS") as last:
                await turns()
                assert current() is last
                assert last.parent_workspace.id == "IN"
            assert current() is ws

    async def first():
        async with mgr.notify_scope_entered("INPUT", "ACTIVATIONS") as last:
            await turns(5)
            assert current() is last
        assert current() is other

    async def main():
        await asyncio.gather(task(), first(), task())

    with other:
        other.ones(1)
        asyncio.run(main())
    assert not nd.any_workspace_active_for_current_thread()


# ---------------------------------------------------------------- one workspace, several tasks


def test_the_last_to_leave_ends_the_cycle(ws, enter):
    """Entering what another task has open continues its cycle, whoever began it."""
    arrays, leave = [], [asyncio.Event() for _ in range(3)]

    async def task(number):
        async with enter(ws):
            arrays.append(ws.full(2, number))
            await leave[number].wait()
            return [a.is_in_scope for a in arrays]

    async def main():
        tasks = [asyncio.create_task(task(number)) for number in range(3)]
        for number in (0, 2, 1):
            await turns(2)
            assert (ws.is_scope_active, ws.generation_id, ws.cycles_count) == (True, 1, 0)
            leave[number].set()
            assert await tasks[number] == [True] * 3
        assert (ws.is_scope_active, ws.cycles_count) == (False, 1)

    asyncio.run(main())
    assert [a.validity.name for a in arrays] == ["LEAKED"] * 3
    with ws:
        ws.ones(1)
    assert ws.cycles_count == 2


def test_the_thread_and_a_task_in_one_workspace(ws, enter):
    """A task that began the cycle may leave before the thread that continues it, and the other way."""
    over = asyncio.Event()

    async def body():
        task = asyncio.create_task(until_set(over, enter, ws))
        await turns()
        with ws:
            a = ws.ones(2)
            over.set()
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: None)
            await task
            assert a.is_in_scope
        assert not a.is_in_scope
        over.clear()
        with ws:
            a = ws.ones(2)
            task = asyncio.create_task(until_set(over, enter, ws))
            await turns()
        assert a.is_in_scope
        over.set()
        await task
        assert not a.is_in_scope

    asyncio.run(body())
    assert (ws.is_scope_active, ws.cycles_count) == (False, 2)


def test_a_workspace_destroyed_while_another_task_is_inside(ws, enter):
    """Its scopes become no-ops, on every stack."""
    over = asyncio.Event()

    async def main():
        task = asyncio.create_task(until_set(over, enter, ws))
        await turns()
        async with enter(ws):
            ws.destroy_workspace()
            over.set()
            await task
            with pytest.raises(nd.DestroyedWorkspaceError):
                nd.ones(1)
        assert current() is None

    asyncio.run(main())
