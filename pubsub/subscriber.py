"""Subscribing: a callback for each message of a channel."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType

from .channel import Channel, ChannelClosed, check_channel, fetch
from .clock import duration, monotonic
from .hand import DamagedQueue
from .interruption import code_of, of_system
from .log import logger
from .message import Message
from .message_file import InvalidMessage

_NEVER_RUN = 0x20 | 0x80 | 0x200
"""Flags of the code of generators, coroutines and asynchronous generators (inspect.CO_...)."""


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

    Raises TypeError, before any message is taken, for an argument of a wrong type, and if a
    callback cannot work: it cannot be called, or calling it only makes a coroutine or a generator;
    ValueError for a negative time; ChannelClosed; ChannelLost; OSError.
    """
    check_channel(channel)
    _check_callback(callback, "callback")
    if on_error is not None:
        _check_callback(on_error, "on_error")
    seconds = duration(timeout_seconds, "timeout_seconds")
    if not channel.is_open:
        raise channel._closed()
    deadline = monotonic() + seconds if seconds else math.inf
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
                _check_result(on_error(error), "on_error")
            else:
                logger().error("%r received what is not a message: %s", channel, error)
            continue
        count += 1
        try:
            _check_result(callback(message), "callback")
        except Exception as error:
            if on_error:
                _check_result(on_error(error), "on_error")
            else:
                logger().exception("callback of %r failed on %r", channel, message)
    return count


def _check_callback(callback: object, name: str) -> None:
    """Raise TypeError, with the argument's name, if a call of this object does none of its work."""
    if not callable(callback):
        raise TypeError(f"{name} is a function, not {type(callback).__name__}")
    while isinstance(callback, functools.partial):
        callback = callback.func
    if getattr(code_of(callback), "co_flags", 0) & _NEVER_RUN:
        raise TypeError(
            f"a call of {name} {callback!r} makes a coroutine or generator, which nobody would run;"
            " asyncio waits for channel.fileno() instead (see the README)"
        )


def _check_result(result: object, name: str) -> None:
    """Raise TypeError if the callback of this name has returned work that nobody will do."""
    if isinstance(result, (CoroutineType, GeneratorType, AsyncGeneratorType)):
        if isinstance(result, CoroutineType):
            result.close()  # or Python warns that it was never awaited
        raise TypeError(f"{name} returned a {type(result).__name__}, which nobody runs")
