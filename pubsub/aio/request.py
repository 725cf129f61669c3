"""Requests of tasks, and the replies to them.

An event loop has one channel for the replies to all requests of its tasks. Of the requests that
wait for a reply, the first one reads for all, as in `pubsub.request`: one that leaves, in whatever
way, wakes the one that is first now.

The channel closes with its loop. A loop does not announce its end, but `asyncio.run` closes the
asynchronous generators that were begun in it, so one of these holds the channel. The channel of a
loop that ends otherwise closes at the first request in another loop, or when the interpreter exits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

from ..base import fresh_name
from ..channel import ChannelClosed
from ..clock import deadline, monotonic
from ..delivery import deliver
from ..files import exists
from ..hand import DamagedQueue
from ..headers import HeaderValue
from ..ids import next_id
from ..inbox import ChannelLost
from ..interruption import of_system
from ..log import logger
from ..message import Content, Message
from ..message_file import InvalidMessage
from ..place import Place
from ..process import in_forked_child
from ..request import CORRELATION_ID, RESPONSE_TOPIC, joined, return_address, was_taken
from .channel import Channel
from .loop import settle, sleep
from .publisher import publish, room


async def request(
    topic: str,
    data: Content,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout_seconds: float | None = 5,
) -> Message | None:
    """Publish a request, and wait for the reply. None: the time is over.

    As `pubsub.request`: `timeout_seconds` are seconds; None waits for ever, 0 does not wait. Any
    number of tasks may wait for replies. The event loop opens one channel for all of them; it
    closes when `asyncio.run` ends.

    Raises NobodyListens at once if no channel takes the request, and what else `pubsub.request`
    raises.
    """
    end = deadline(timeout_seconds, "timeout_seconds")
    replies = await _replies_here()
    waiting = _Waiting()
    ours = {RESPONSE_TOPIC: replies.channel.topic, CORRELATION_ID: waiting.id}
    message = Message(topic, data, joined(headers, ours))
    try:
        replies.requests[waiting.id] = waiting
        replies.open()
        if not await _publish(message, end):
            return None
        replies.readers[waiting.id] = waiting
        return await replies.wait(waiting, end)
    finally:
        replies.leave(waiting)


async def reply(
    request: Message,
    data: Content,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout: float | None = 0,
) -> int:
    """Publish the reply to a request that was received.

    As `pubsub.reply`, but it may wait for room in a full queue as `publish` does.
    """
    topic, id = return_address(request)
    return await publish(topic, data, joined(headers, {CORRELATION_ID: id}), timeout=timeout)


async def _publish(message: Message, end: float) -> bool:
    """Publish a request. False: all queues are full, and the time is over.

    Raises NobodyListens, PublishFailed, OSError.
    """
    while True:
        outcome = deliver(message)
        if was_taken(outcome, message.topic):
            return True
        left = end - monotonic()
        if left <= 0:
            return False
        await room(outcome.full, left)


class _Waiting:
    """One request, and its reply once that is there."""

    def __init__(self) -> None:
        self.id = str(next_id())
        self.reply: Message | None = None
        self.bell: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class _Replies:
    """The replies to the requests in one event loop and one base."""

    def __init__(self) -> None:
        """Touches no disk."""
        self.channel = Channel(f"responses.{fresh_name()}", inline=True)
        self.requests: dict[str, _Waiting] = {}  # by correlation id
        self.readers: dict[str, _Waiting] = {}  # those of them that wait: the first one reads
        self._held = self._hold()

    async def begin(self) -> None:
        """The channel closes with the running loop from now on."""
        await self._held.__anext__()

    async def _hold(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.channel.close()

    def open(self) -> None:
        """Open the channel, unless it is open and in its place. Raises BaseUnusable, OSError."""
        self.channel.open()
        if not exists(f"{self.channel.directory_path}/queue"):
            self.channel.close()
            self.channel.open()

    async def wait(self, waiting: _Waiting, end: float) -> Message | None:
        """The reply to a request. None: the time is over."""
        while not waiting.reply and (left := end - monotonic()) > 0:
            if next(iter(self.readers.values())) is waiting:
                await self._read(left)
            else:
                waiting.bell = asyncio.get_running_loop().create_future()
                await sleep(waiting.bell, left)
        return waiting.reply

    async def _read(self, seconds: float) -> None:
        """Give one reply to its request, or wait for one. Raises BaseUnusable, OSError."""
        try:
            message = await self.channel.get(seconds)
        except of_system(ChannelClosed, ChannelLost):
            self.open()
        except of_system(InvalidMessage, DamagedQueue) as error:
            logger().error("%r received what is not a message: %s", self.channel, error)
        else:
            if message:
                self._give(message)

    def _give(self, reply: Message) -> None:
        waiting = self.requests.get(str(reply.headers.get(CORRELATION_ID)))
        if waiting:  # or the reply came too late
            waiting.reply = reply
            settle(waiting.bell)

    def leave(self, waiting: _Waiting) -> None:
        """A request is over. May be repeated."""
        self.readers.pop(waiting.id, None)
        self.requests.pop(waiting.id, None)
        for first in [*self.readers.values()][:1]:
            settle(first.bell)


_replies: dict[tuple[asyncio.AbstractEventLoop, Place], _Replies] = {}

in_forked_child(_replies.clear)


async def _replies_here() -> _Replies:
    """The replies of the running loop in today's base."""
    key = asyncio.get_running_loop(), Place.here()
    if key not in _replies:
        for other in [*_replies]:
            if other[0].is_closed():
                ended = _replies.pop(other, None)
                if ended:  # no other thread was faster
                    ended.channel.close()
        _replies[key] = _Replies()
        await _replies[key].begin()
    return _replies[key]
