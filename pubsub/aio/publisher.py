"""Publishing: waiting for room leaves the event loop to others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from .. import queue
from ..clock import duration, monotonic
from ..delivery import deliver
from ..headers import HeaderValue
from ..interruption import Descriptors, of_system
from ..message import Content, Message
from ..publisher import PublishFailed
from .loop import is_turn_over, settle, sleep

_ROOM_SECONDS = 0.1  # how long to wait before a full queue is tried again unasked


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
    if is_turn_over():
        await asyncio.sleep(0)
    message = Message(topic, data, headers)
    first = deliver(message)
    taken, full, failed = first.taken, first.full, first.failed
    while full and (left := end - monotonic()) > 0:
        await room(full, left)
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


async def room(channels: list[str], seconds: float) -> None:
    """Sleep until one of these channels, whose queues are full, is worth another try.

    That is no later than after `seconds`.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[bool] = loop.create_future()
    queues = Descriptors()
    with queues, queues:
        try:
            try:
                _watch(loop, channels, queues, found)
                await sleep(found, min(seconds, _ROOM_SECONDS))
            finally:
                _unwatch(loop, queues)
        finally:
            _unwatch(loop, queues)


def _watch(
    loop: asyncio.AbstractEventLoop,
    channels: list[str],
    queues: Descriptors,
    found: asyncio.Future[bool],
) -> None:
    for path in channels[:16]:  # the others are tried again when the time is over
        try:
            opened = queues.open(f"{path}/queue", queue.WRITE)
        except of_system(OSError):
            continue  # the next try meets the error again
        loop.add_writer(opened, settle, found)


def _unwatch(loop: asyncio.AbstractEventLoop, queues: Descriptors) -> None:
    if not loop.is_closed():
        for opened in queues:
            loop.remove_writer(opened)
