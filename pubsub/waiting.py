"""Waiting for the messages of one channel or of several: one sleep for all of them."""

from __future__ import annotations

import math
import select
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Protocol, TypeVar, runtime_checkable

from .clock import deadline, monotonic
from .inbox import LOOK_SECONDS, Inbox
from .process import notice_fork


@runtime_checkable
class Awaited(Protocol):
    """A channel, as a wait sees it."""

    def _begin_wait(self, held: threading.Lock) -> Inbox:
        """This thread waits for messages, and holds that lock meanwhile. Raises ChannelClosed."""

    def _opened(self) -> Inbox:
        """The inbox of an open channel. Raises ChannelClosed."""

    def _finish(self) -> None:
        """Take a closing channel down, unless somebody uses it. Raises OSError."""


AnyChannel = TypeVar("AnyChannel", bound=Awaited)


def wait(channels: Iterable[AnyChannel], timeout_seconds: float | None = None) -> list[AnyChannel]:
    """Sleep until a message can be fetched from at least one of several open channels.

    Returns the channels that have a message, in the given order; an empty list if the time is
    over. `timeout_seconds` are seconds; None waits for ever, 0 does not wait.

        for channel in wait([jobs, news]):
            message = channel.get(0)  # None: another thread was faster

    Raises ChannelClosed if one of the channels is not open, also when another thread closes it
    meanwhile; ChannelLost, whose `filename` is the `directory_path` of the lost channel, though
    others may have messages; ValueError for no channel at all, or NaN; TypeError.
    """
    if isinstance(channels, Awaited):
        raise TypeError("channels is a list of channels, not one channel")
    chosen = [*channels]
    for channel in chosen:
        if not isinstance(channel, Awaited):
            raise TypeError(
                f"channels has objects of pubsub.Channel in it, not of {type(channel)!r}"
            )
    if not chosen:
        raise ValueError("channels is empty: no message would ever end the wait")
    return wait_for(chosen, timeout_seconds)


def wait_for(channels: list[AnyChannel], timeout_seconds: float | None) -> list[AnyChannel]:
    """The same, for objects that are known to be channels."""
    notice_fork()
    end = deadline(timeout_seconds, "timeout_seconds")
    held = threading.Lock()
    try:
        with held:
            return _sleep(_begin(channels, held), end)
    finally:
        _finish(channels)


def _begin(channels: list[AnyChannel], held: threading.Lock) -> dict[AnyChannel, Inbox]:
    return {channel: channel._begin_wait(held) for channel in channels}


def _sleep(inboxes: dict[AnyChannel, Inbox], end: float) -> list[AnyChannel]:
    poll = select.poll()
    queues = {channel: inbox.read_end for channel, inbox in inboxes.items()}
    for queue in queues.values():
        poll.register(queue, select.POLLIN)
    while True:
        left = max(0.0, end - monotonic())
        in_hand = {channel for channel, inbox in inboxes.items() if inbox.hand}  # FETCH-21
        seconds = 0.0 if in_hand else min(left, LOOK_SECONDS)
        readable = dict(poll.poll(math.ceil(seconds * 1000)))
        for channel in inboxes:
            channel._opened()
        ready = [
            channel for channel in inboxes if channel in in_hand or queues[channel] in readable
        ]
        for channel in inboxes.keys() - ready:
            # While others have messages, nobody fetches from this one, and notices that it is lost.
            if not ready or monotonic() >= inboxes[channel].next_look:
                inboxes[channel].look()
        if ready or left == 0:
            return ready


def _finish(channels: list[AnyChannel]) -> None:
    """Take down what a signal handler closed. The error of one channel keeps no other."""
    with ExitStack() as finishing:
        for channel in channels:
            finishing.callback(channel._finish)
