"""What the tests of fetching share."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.message import Message

READ = ("read", "readv", "pread64", "preadv", "preadv2")

AT_ONCE_SECONDS = 1.0
"""The time limit for ten fetches that do not wait. They take microseconds."""

LOST_SECONDS = 4.0
"""The time limit from the loss of a channel to the end of a wait, which looks once a second."""

ASLEEP_SECONDS = 0.1
"""How long a driver sleeps before a test looks how fast it wakes up."""

DELAY_SECONDS = 0.02
"""How long a message may take to end a wait, beyond a request that does not wait."""

WATCHED_SECONDS = 2.5
"""The length of a wait that is watched. It is watched in parts of PART_SECONDS."""

PART_SECONDS = 0.5
PROCESSOR_SECONDS = 0.2
WAKE_UPS = 30
"""How much a driver may use in a part of a wait. A run time has timers (some wake up twenty times a
second); a loop around a sleep of 10 ms wakes up fifty times in a part."""


def expect_message(driver: Driver, channel: OpenChannel, expected: Message, where: str) -> None:
    """The next fetch has to yield this message, and to remove its file."""
    found = driver.fetch(channel)
    assert found == expected, f"{where}: expected {expected}, found {found}"
    file = channel.directory / str(expected.id)
    assert not file.exists(), f"{where}: the message was yielded, but its file was not removed"


def expect_nothing(driver: Driver, channel: OpenChannel, where: str) -> None:
    """The next fetch has to yield no message."""
    found = driver.fetch(channel)
    assert found is None, f"{where}: expected no message, found {found}"


def outcome(driver: Driver, channel: OpenChannel) -> Message | Rejected | None:
    """The result or the error of a fetch."""
    try:
        return driver.fetch(channel)
    except Rejected as error:
        return error


@contextmanager
def no_descriptor_left(pid: int) -> Iterator[None]:
    """Let a process open no descriptor inside. Needs `resource.prlimit` and /proc."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in range(len(used) + 1) if number not in used)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
