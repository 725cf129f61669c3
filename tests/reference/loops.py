"""What tests of pubsub.aio look at in an event loop, and in a channel."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import types
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any

from pubsub import Message, aio


def registered(loop: asyncio.AbstractEventLoop) -> set[int]:
    """The descriptors that the loop watches. uvloop does not tell: none."""
    selector = getattr(loop, "_selector", None)
    return set(selector.get_map()) if selector else set()


async def turns(number: int = 5) -> None:
    """Let the loop turn. One turn is enough for a task to begin to wait."""
    for _ in range(number):
        await asyncio.sleep(0)


async def contents(channel: aio.Channel) -> list[bytes]:
    """What can be fetched."""
    found = []
    while (message := await channel.get(0)) is not None:
        found.append(message.content)
    return found


async def first(channel: aio.Channel, number: int) -> AsyncIterator[Message]:
    """As many messages of the channel."""
    for _ in range(number):
        message = await channel.get()
        assert message is not None
        yield message


def shrink(*channels: aio.Channel) -> None:
    """Give the queues of these channels a page, where the system allows it: they fill sooner."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        for channel in channels:
            opened = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
            fcntl.fcntl(opened, fcntl.F_SETPIPE_SZ, resource.getpagesize())
            os.close(opened)


@types.coroutine
def cancelled_at(
    number: int, late: bool, work: Coroutine[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """Run `work`, and cancel it in the await of that number, as an event loop does.

    `late`: when that await has ended, but before its task goes on. Returns what `work` returns if
    it has fewer awaits.
    """
    for turn in range(number + 1):
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            return ended.value
        if turn < number or late:
            yield awaited
    work.throw(asyncio.CancelledError())
    raise AssertionError("it went on")
