"""What the tests of publishing share."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import Base, Channel

AT_ONCE_SECONDS = 3.0
"""The time limit for a publish that does not wait. It takes milliseconds; a wait would not end."""

PATIENCE_SECONDS = 20.0
"""The timeout of a publish that works until the test lets it end."""

ROOM_SECONDS = 10.0
"""The time limit for a message of a publish at work to come, on a slow machine."""

UNDER_WAY_SECONDS = 0.5
"""After this time, a publish has ended or waits for room. It takes milliseconds."""

LARGE = 300_000
"""The size of a content, in octets, that is larger than most buffers."""


def octets_in(channel: Channel) -> bytes:
    """Take all octets out of the queue."""
    found = b""
    while True:
        try:
            found += os.read(channel.read_end, 65536)
        except BlockingIOError:
            return found


def ids_in(channel: Channel) -> list[int]:
    """Take all ids out of the queue."""
    octets = octets_in(channel)
    assert len(octets) % 8 == 0, f"the queue held {len(octets)} octets, which are no whole ids"
    return [int.from_bytes(octets[at : at + 8], "big") for at in range(0, len(octets), 8)]


def comes(channel: Channel) -> bool:
    """Wait for octets in the queue, for ROOM_SECONDS at most. Returns whether there are any."""
    return bool(select.select([channel.read_end], [], [], ROOM_SECONDS)[0])


def make_room(channel: Channel, held: int) -> None:
    """Take as many ids out of a full queue as it held, and leave those that come meanwhile."""
    for _ in range(held):
        os.read(channel.read_end, 8)


def check_each_yields(channels: list[Channel], content: bytes) -> None:
    """Each of the channels has to hold one message, with this content."""
    contents = [[message.content for message in channel.fetch_all()] for channel in channels]
    assert contents == [[content]] * len(channels), (
        f"expected the message once in each channel, found {contents}"
    )


def nothing_left(base: Base, after: str) -> None:
    """The base may hold nothing but the channels of the kit."""
    assert base.leftovers() == [], f"something is left after {after}:\n{base.tree()}"


@contextmanager
def publishing(driver: Driver, topic: str, **fields: Any) -> Iterator[Future[int]]:
    """A publish that works while the test goes on."""
    with ThreadPoolExecutor(1) as worker:
        yield worker.submit(driver.publish, topic, **fields)


@contextmanager
def several(base: Base, number: int, pattern: str = "a") -> Iterator[list[Channel]]:
    """So many channels of the kit, which are closed in the end."""
    with ExitStack() as closing:
        yield [closing.enter_context(base.open(pattern)) for _ in range(number)]


def name_in(channel: Channel, call: Call) -> Path:
    """The path in the channel that this link makes, or was to make."""
    names = [path for path in call.paths if path.parent == channel.directory]
    assert names, f"expected a link in {channel.directory}, found {call}"
    return names[0]
