"""What the tests of `async with` share."""

import asyncio

from ndarena import Workspace

FORMS = {
    "scope": Workspace.notify_scope_entered,  # async with ws.notify_scope_entered():
    "workspace": lambda ws: ws,  # async with ws:
}


async def turns(n=1):
    """Let the other tasks run, n times."""
    for _ in range(n):
        await asyncio.sleep(0)


async def both(*coroutines):
    """Wait for all of them; their results or exceptions."""
    return await asyncio.gather(*coroutines, return_exceptions=True)


async def until_set(event, enter, ws):
    """Stand in a scope until the event is set."""
    async with enter(ws):
        ws.ones(1)
        await event.wait()
