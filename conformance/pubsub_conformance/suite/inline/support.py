"""What the tests of the inline lane share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import Message, decode
from pubsub_conformance.oracle.queue import resize, size, unfit
from pubsub_conformance.oracle.record import Cut, Part, Record, is_marked, parts
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.publish.support import octets_in
from pubsub_conformance.suite.roles import settle

USUAL_ROOM = 65536
"""The size of a queue that some tests fill in a certain way."""


def why_unfit(base: Base) -> str:
    """Why no queue of this system may be marked (INLINE-3); empty if queues may."""
    with base.open("fit") as channel:
        return unfit(channel.write_end)


def check_fit(base: Base) -> None:
    """Do not run the test where the system has no queues that may be marked (INLINE-3)."""
    if reason := why_unfit(base):
        not_run(reason)


def open_marked(driver: Driver, base: Base, pattern: str = "a") -> OpenChannel:
    """A marked channel of the driver."""
    check_fit(base)
    channel = driver.open(pattern, inline=True)
    if not is_marked(channel.directory):
        pytest.fail(f"expected a marked channel, found none (INLINE-1):\n{base.tree()}")
    return channel


@contextmanager
def marked(base: Base, number: int = 1, pattern: str = "a") -> Iterator[list[Channel]]:
    """So many marked channels of the kit, which are closed in the end."""
    check_fit(base)
    with ExitStack() as closing:
        yield [closing.enter_context(base.open(pattern, inline=True)) for _ in range(number)]


def usual_room(channel: Channel) -> None:
    """Do not run the test unless the queue has its usual size."""
    if size(channel.write_end) != USUAL_ROOM:
        not_run(f"a new queue has room for {size(channel.write_end)} octets, not {USUAL_ROOM}")


def enlarged(queue: int) -> None:
    """Give an open queue room for 1 MiB, or do not run the test."""
    if not resize(queue, 2**20 // os.sysconf("SC_PAGESIZE")):
        not_run("the system does not give a queue room for 1 MiB")


def settled(driver: Driver, base: Base, *channels: Channel, topic: str = "a") -> None:
    """Have the driver keep the list of channels, and empty these channels."""
    settle(driver, base, topic)
    for channel in channels:
        channel.fetch_all()


def parts_in(channel: Channel) -> list[Part]:
    """Take all that the queue of a channel of the kit holds."""
    return list(parts(octets_in(channel), channel.directory))


def lanes_in(channel: Channel) -> list[str]:
    """Take all messages out of a channel of the kit: how each came, "record" or "file"."""
    found: list[str] = []
    for part in parts_in(channel):
        assert not isinstance(part, Cut), f"the queue ends with {len(part.octets)} octets too many"
        if isinstance(part, Record):
            decode(part.octets)
            found.append("record")
        elif part:
            file = channel.directory / str(part)
            assert file.exists(), f"the queue holds the id {part}, which has no file"
            file.unlink()
            found.append("file")
    return found


def check_lanes(channel: Channel, expected: list[str], what: str) -> None:
    """The messages in a channel of the kit have to have come in these lanes."""
    found = lanes_in(channel)
    assert found == expected, f"{what}: expected {expected}, found {found}"
    left = channel.files()
    assert left == [], f"{what}: expected no file without an id in the queue, found {left}"


def overhead(driver: Driver, base: Base, topic: str = "a") -> int:
    """How many octets a message file of the driver has beside the content, without headers."""
    with base.open(topic) as channel:
        assert driver.publish(topic) == 1, "one channel is open"
        (name,) = channel.files()
        return (channel.directory / name).stat().st_size


def expect_all(driver: Driver, channel: OpenChannel, expected: list[Message], what: str) -> None:
    """The driver has to fetch these messages, in this order, and then none."""
    for number, message in enumerate(expected):
        found = driver.fetch(channel)
        assert found == message, f"{what}: message {number}: expected {message}, found {found}"
    found = driver.fetch(channel)
    assert found is None, f"{what}: expected no further message, found {found}"


def queues_of(driver: Driver) -> dict[int, Path]:
    """The queues that the driver has open, by the number of the descriptor."""
    place = Path(f"/proc/{driver.pid}/fd")
    if not place.is_dir():
        not_run("only /proc/PID/fd shows the descriptors of another process")
    found = {}
    for entry in place.iterdir():
        try:
            path = Path(os.readlink(entry).removesuffix(" (deleted)"))
        except OSError:  # it was just closed
            continue
        if path.name == "queue":
            found[int(entry.name)] = path
    return found
