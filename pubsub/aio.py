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

from __future__ import annotations

import asyncio
import math
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from . import queue
from .channel import Channel as BlockingChannel
from .channel import ChannelClosed, fetch
from .clock import deadline, duration, monotonic
from .delivery import deliver
from .headers import HeaderValue
from .interruption import Descriptors, of_system
from .message import Content, Message
from .publisher import PublishFailed

_LOOK_SECONDS = 0.25  # FETCH-20: a fetch each, of which one in half a second looks at the directory
_ROOM_SECONDS = 0.1  # how long to wait before a full queue is tried again unasked
_CALLS_IN_A_TURN = 64


class Channel:
    """One subscription, as `pubsub.Channel`, for the tasks of an event loop.

    Several tasks may wait on one channel: each message goes to one of them. A channel belongs to
    no loop: it may be opened before there is one, and used from another one later. At one time,
    tasks of one loop wait on it.

    A channel that is collected as garbage while it is open closes, with a ResourceWarning.
    """

    def __init__(self, topic: str, inline: bool = False) -> None:
        """`topic` is a pattern: `=` stands for any one word, `+` for one or more.

        `inline` asks for the inline lane, as in `pubsub.Channel`. Touches no disk. Raises
        InvalidPattern, TypeError.
        """
        self._channel = BlockingChannel(topic, inline)
        self._registration: _Registration | None = None

    @property
    def topic(self) -> str:
        """The pattern."""
        return self._channel.topic

    @property
    def is_open(self) -> bool:
        """Whether the channel is open: it receives messages, and they can be fetched."""
        return self._channel.is_open

    @property
    def is_inline(self) -> bool:
        """Whether the channel is open, and small messages travel inline to it."""
        return self._channel.is_inline

    @property
    def directory_path(self) -> Path:
        """The channel's directory, since it was last opened. Raises ChannelClosed before."""
        return self._channel.directory_path

    def __repr__(self) -> str:
        return f"aio.{self._channel!r}"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a channel cannot be copied or pickled: its queue has one owner (CHAN-4)")

    def open(self) -> None:
        """Make the channel's directory and begin to receive. Does nothing if it is open.

        Does not wait, so it is no coroutine. Raises BaseUnusable, OSError; nothing is left then.
        """
        if not self.is_open:
            self._registration = None  # a forked child inherits one
        self._channel.open()

    def close(self) -> None:
        """Stop receiving, and remove the directory with its unread messages.

        Ends iterations over the channel; a `get` that waits raises ChannelClosed. Does nothing if
        the channel is closed. Does not wait, so it is no coroutine.

        Raises RuntimeError if tasks of an event loop in another thread wait on the channel: that
        loop has to close it (`loop.call_soon_threadsafe(channel.close)`). Raises OSError if the
        directory could not be removed; the channel is closed nevertheless.
        """
        registration = self._registration
        if not registration or not self.is_open:
            self._channel.close()
            return
        registration.check_thread()
        try:
            registration.end(False)
        finally:
            registration.end(False)  # once more: see interruption.py
            self._channel.close()

    async def __aenter__(self) -> Channel:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        channel: BlockingChannel | None = getattr(self, "_channel", None)  # None: a wrong pattern
        if channel is not None and channel.is_open:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=1)
            channel.close()

    async def get(self, timeout_seconds: float | None = None) -> Message | None:
        """The next message; waits for one. None: the time is over.

        `timeout_seconds` are seconds; None waits for ever, 0 does not wait. A task that is
        cancelled here, by `asyncio.timeout` for instance, has taken no message.

        Raises ChannelClosed, also when another task closes the channel meanwhile; ChannelLost,
        within a second; InvalidMessage, DamagedQueue and OSError as `pubsub.fetch`, after which the
        next call goes on; TypeError; RuntimeError if a task of another event loop waits.
        """
        end = deadline(timeout_seconds, "timeout_seconds")
        if _is_turn_over():
            await asyncio.sleep(0)
        while True:
            message = fetch(self._channel)
            if message is not None:
                return message
            left = end - monotonic()
            if left <= 0:
                return None
            if not await self._registered().wait(min(left, _LOOK_SECONDS)):
                raise ChannelClosed(f"{self!r} was closed")

    def __aiter__(self) -> Channel:
        """The messages, until the channel is closed, by another task or by the loop's body.

        Raises ChannelClosed if the channel is not open when the iteration begins; then what `get`
        raises. An exception ends an iteration; a new one goes on behind it.
        """
        if not self.is_open:
            raise ChannelClosed(f"{self!r} must be open")
        return self

    async def __anext__(self) -> Message:
        try:
            message = await self.get()
        except ChannelClosed:
            raise StopAsyncIteration from None
        assert message is not None  # the time is never over
        return message

    def _registered(self) -> _Registration:
        """The registration of the queue in the running loop. Raises ChannelClosed, RuntimeError."""
        loop = asyncio.get_running_loop()
        registration = self._registration
        if registration is None or registration.is_over:
            registration = self._registration = _Registration(loop, self._channel.fileno())
        elif registration.loop is not loop:
            raise RuntimeError(f"a task of another event loop waits on {self!r}")
        return registration


class _Registration:
    """Tasks of one event loop that wait until a descriptor is readable, once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self.loop = loop
        self._descriptor = descriptor
        self._waiters: list[asyncio.Future[bool]] = []
        self._has_ended = False

    @property
    def is_over(self) -> bool:
        """Whether no more task can wait here."""
        return self._has_ended or self.loop.is_closed()

    async def wait(self, seconds: float) -> bool:
        """Sleep until the descriptor is readable or the time is over. False: the channel closes."""
        waiter: asyncio.Future[bool] = self.loop.create_future()
        timer = self.loop.call_later(seconds, _settle, waiter)
        try:
            if not self._waiters:
                self.loop.add_reader(self._descriptor, self.end)
            self._waiters.append(waiter)
            return await waiter
        finally:
            timer.cancel()
            self._waiters = [other for other in self._waiters if other is not waiter]
            if not self._waiters:
                self.end()

    def end(self, is_open: bool = True) -> None:
        """Remove the reader and wake the tasks. May be repeated."""
        if not self.is_over:
            self.loop.remove_reader(self._descriptor)
        self._has_ended = True  # from now on the number may be another file's
        if not self.loop.is_closed():
            for waiter in self._waiters:
                _settle(waiter, is_open)

    def check_thread(self) -> None:
        """Raise RuntimeError if the loop runs in another thread."""
        if self.is_over or not self.loop.is_running():
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self.loop:
            raise RuntimeError(
                "tasks of an event loop in another thread wait on the channel:"
                " call loop.call_soon_threadsafe(channel.close)"
            )


async def publish(
    topic: str,
    data: Content,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout: float | None = 0,
) -> int:
    """Publish a message to all channels whose pattern matches `topic`.

    As `pubsub.publish`, but it waits for room in full queues without blocking the event loop:
    `timeout` are seconds; None waits for ever, 0 does not wait. Returns the number of channels
    whose queue took the message. A task that is cancelled while it waits has published the message
    to those that had room.

    Raises what `pubsub.publish` raises.
    """
    end = math.inf if timeout is None else monotonic() + duration(timeout, "timeout")
    if _is_turn_over():
        await asyncio.sleep(0)
    message = Message(topic, data, headers)
    first = deliver(message)
    taken, full, failed = first.taken, first.full, first.failed
    while full and (left := end - monotonic()) > 0:
        await _room(full, min(left, _ROOM_SECONDS))
        try:
            again = deliver(message, 0, frozenset(full).__contains__)
        except of_system(OSError) as error:
            if not taken:
                raise
            failed.extend((path, error) for path in full)
            break
        taken += again.taken
        failed += again.failed
        full = again.full
    if failed:
        raise PublishFailed(len(taken), failed)
    return len(taken)


async def _room(channels: list[str], seconds: float) -> None:
    """Sleep until the full queue of one of these channels has room, or the time is over."""
    loop = asyncio.get_running_loop()
    room: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(seconds, _settle, room)
    queues = Descriptors()
    with queues, queues:
        try:
            try:
                _watch(loop, channels, queues, room)
                await room
            finally:
                _unwatch(loop, queues)
        finally:
            _unwatch(loop, queues)
            timer.cancel()


def _watch(
    loop: asyncio.AbstractEventLoop,
    channels: list[str],
    queues: Descriptors,
    room: asyncio.Future[bool],
) -> None:
    for path in channels[:16]:  # the others are tried again when the time is over
        try:
            opened = queues.open(f"{path}/queue", queue.WRITE)
        except of_system(OSError):
            continue  # the next try meets the error again
        loop.add_writer(opened, _settle, room)


def _unwatch(loop: asyncio.AbstractEventLoop, queues: Descriptors) -> None:
    if not loop.is_closed():
        for opened in queues:
            loop.remove_writer(opened)


def _settle(waiter: asyncio.Future[bool], result: bool = True) -> None:
    if not waiter.done():
        waiter.set_result(result)


class _Calls(threading.local):
    """The calls in this thread since the last one that let other tasks run."""

    number = 0


_calls = _Calls()


def _is_turn_over() -> bool:
    """Whether this call has to let other tasks run."""
    _calls.number += 1
    if _calls.number < _CALLS_IN_A_TURN:
        return False
    _calls.number = 0
    return True
