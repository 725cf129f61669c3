"""Channels whose messages tasks wait for."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from ..channel import Channel as BlockingChannel
from ..channel import ChannelClosed, fetch
from ..clock import deadline, monotonic
from ..message import Message
from .loop import LOOK_SECONDS, Registration, is_turn_over


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
        self._registration: Registration | None = None

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
        if channel is not None and channel._inbox and channel.is_open:  # else Python may be ending
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
        if is_turn_over():
            await asyncio.sleep(0)
        while True:
            message = fetch(self._channel)
            if message is not None:
                return message
            left = end - monotonic()
            if left <= 0:
                return None
            if not await self._registered().wait(min(left, LOOK_SECONDS)):
                raise ChannelClosed(f"{self!r} was closed")

    def __aiter__(self) -> Channel:
        """The messages, until the channel is closed, by another task or by the loop's body.

        Raises ChannelClosed if the channel is not open when the iteration begins; then what `get`
        raises. An exception ends an iteration; a new one goes on behind it.
        """
        if not self.is_open:
            raise ChannelClosed(f"{self!r} is not open: call open(), or use `async with`")
        return self

    async def __anext__(self) -> Message:
        try:
            message = await self.get()
        except ChannelClosed:
            raise StopAsyncIteration from None
        assert message is not None  # the time is never over
        return message

    def _registered(self) -> Registration:
        """The registration of the queue in the running loop. Raises ChannelClosed, RuntimeError."""
        loop = asyncio.get_running_loop()
        registration = self._registration
        if registration is None or registration.is_over:
            registration = self._registration = Registration(loop, self._channel.fileno())
        elif registration.loop is not loop:
            raise RuntimeError(f"a task of another event loop waits on {self!r}")
        return registration
