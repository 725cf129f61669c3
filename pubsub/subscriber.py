"""Subscribing: a callback for each message of a channel."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from types import CoroutineType

from .channel import Channel, ChannelClosed, fetch
from .clock import is_negative, monotonic
from .inbox import DamagedQueue
from .interruption import of_system
from .message import Message
from .message_file import InvalidMessage

_logger = logging.getLogger("pubsub")

_NEVER_RUN = 0x20 | 0x80 | 0x200
"""Flags of the code of generators, coroutines and asynchronous generators (inspect.CO_…)."""


def subscribe(
    channel: Channel,
    callback: Callable[[Message], object],
    timeout_seconds: float = 0,
    *,
    on_error: Callable[[Exception], object] | None = None,
) -> int:
    """Call `callback` with each message of an open channel, for `timeout_seconds`; 0: for ever.

    Returns the number of messages, when the time is over or the channel is closed, by the
    callback or another thread. An `Exception` of the callback does not end the loop, and neither
    does a file that is not a message (InvalidMessage, DamagedQueue): `on_error` is called with the
    exception, or the logger "pubsub" records it. An exception of `on_error` ends the loop.

    Takes over no signals. What a signal handler raises ends the loop, but while the callback works
    an `Exception` cannot be told from one of the callback: a handler that is to end the loop raises
    a BaseException, as KeyboardInterrupt and SystemExit are.

    Raises TypeError, before any message is taken, if the callback cannot work: it cannot be called,
    or calling it only makes a coroutine or a generator; ValueError for a negative time;
    ChannelClosed; ChannelLost; OSError.
    """
    _check_callback(callback)
    if is_negative(timeout_seconds, "timeout_seconds"):
        raise ValueError("timeout_seconds must be non-negative")
    if not channel.is_open:
        raise ChannelClosed(f"{channel!r} must be open")
    deadline = monotonic() + timeout_seconds if timeout_seconds else math.inf
    count = 0
    while (left := deadline - monotonic()) > 0:
        try:
            message = fetch(channel)
            if message is None:
                channel.wait(None if left == math.inf else left)
                continue
        except of_system(ChannelClosed):
            break
        except of_system(InvalidMessage, DamagedQueue) as error:
            if on_error:
                on_error(error)
            else:
                _logger.error("%r received what is not a message: %s", channel, error)
            continue
        count += 1
        try:
            _check_result(callback(message))
        except Exception as error:
            if on_error:
                on_error(error)
            else:
                _logger.exception("callback of %r failed on %r", channel, message)
    return count


def _check_callback(callback: object) -> None:
    """Raise TypeError if a call of this object does none of its work."""
    if not callable(callback):
        raise TypeError(f"callback is called with each message; {callback!r} cannot be called")
    while isinstance(callback, functools.partial):
        callback = callback.func
    code = getattr(callback, "__code__", None) or getattr(type(callback).__call__, "__code__", None)
    if code is not None and code.co_flags & _NEVER_RUN:
        raise TypeError(
            f"a call of {callback!r} makes a coroutine or generator, which nobody would run;"
            " asyncio waits for channel.fileno() instead (see the README)"
        )


def _check_result(result: object) -> None:
    """Raise TypeError if the callback has returned work that nobody will do."""
    if type(result) is CoroutineType:
        result.close()  # or Python warns that it was never awaited
        raise TypeError("the callback returned a coroutine, which nobody awaits")
