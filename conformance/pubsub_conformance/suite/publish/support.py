"""What several tests of publishing share."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import (
    Call,
)
from pubsub_conformance.oracle.base import Base, Channel

AT_ONCE_SECONDS = 3.0
"""For a publish that has nothing to wait for. It takes milliseconds; a wait would be for ever."""

PATIENCE_SECONDS = 20.0
"""The timeout of a publish that is to be at work until the test lets it end."""

ROOM_SECONDS = 10.0
"""For what a publish at work does meanwhile, on a slow machine."""

UNDER_WAY_SECONDS = 0.5
"""After this a publish has ended, or waits for something. It takes milliseconds."""

LARGE = 300_000
"""Octets of content that no single buffer on the way is likely to hold."""


def octets_in(channel: Channel) -> bytes:
    """Take everything out of the queue."""
    found = b""
    while True:
        try:
            found += os.read(channel.read_end, 65536)
        except BlockingIOError:
            return found


def ids_in(channel: Channel) -> list[int]:
    octets = octets_in(channel)
    assert len(octets) % 8 == 0, f"the queue held {len(octets)} octets, which are no whole ids"
    return [int.from_bytes(octets[at : at + 8], "big") for at in range(0, len(octets), 8)]


def comes(channel: Channel) -> bool:
    """Whether the queue holds something within ROOM_SECONDS."""
    return bool(select.select([channel.read_end], [], [], ROOM_SECONDS)[0])


def make_room(channel: Channel, held: int) -> None:
    """Take as many ids out of a full queue as it held, and not what follows at once."""
    for _ in range(held):
        os.read(channel.read_end, 8)


def settle(driver: Driver, base: Base, topic: str) -> None:
    """Publish until what an implementation may keep of the base's listing is kept (PUB-21)."""
    probe = base.path.with_name("probe")
    listed = base.path.stat()
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_mtime_ns > max(listed.st_mtime_ns, listed.st_ctime_ns):
            break
    for _ in range(2):
        driver.publish(topic)


def nothing_left(base: Base, after: str) -> None:
    assert base.leftovers() == [], f"after {after}, this is left:\n{base.tree()}"


@contextmanager
def publishing(driver: Driver, topic: str, **fields: Any) -> Iterator[Future[int]]:
    """A publish that is at work while the test goes on."""
    with ThreadPoolExecutor(1) as worker:
        yield worker.submit(driver.publish, topic, **fields)


@contextmanager
def several(base: Base, number: int, pattern: str = "a") -> Iterator[list[Channel]]:
    with ExitStack() as closing:
        yield [closing.enter_context(base.open(pattern)) for _ in range(number)]


def name_in(channel: Channel, call: Call) -> Path:
    """The name in the channel that a link was to make."""
    names = [path for path in call.paths if path.parent == channel.directory]
    assert names, f"{call} was to make a name in {channel.directory}"
    return names[0]
