"""The library for asyncio: who waits for a message, or for room, lets other tasks run.

    from pubsub import aio

    async with aio.Channel("news.=") as channel:
        async for message in channel:
            print(message.topic, message.content)

Theory of operation
===================

Nothing here starts a thread: what a thread does goes on after the task that asked for it was
cancelled. The file system answers in microseconds; only waiting is left to the event loop.

*A message leaves its channel in the step that returns it.* There is no await behind the fetch, so a
task that is cancelled in any await has taken nothing.

*The event loop knows a descriptor only while somebody waits for it.* asyncio keeps readers by the
number of the descriptor: one that stays registered after the descriptor was closed makes the next
channel with that number deaf. So a registration is an object that ends when the queue is readable,
when the last task that waits leaves, and before the channel closes; whichever comes first.

*A turn of the loop is bounded.* A task that finds a message each time does not wait, and would keep
all others waiting. So it lets them run after a number of calls.
"""

from .channel import Channel
from .publisher import publish
from .request import reply, request

__all__ = ["Channel", "publish", "reply", "request"]
