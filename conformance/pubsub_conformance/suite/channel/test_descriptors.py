"""The descriptors of a queue: who opens it, with which flags, and in which order."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.linux.strace import (
    LINK,
    OPEN,
    Trace,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import has_reader
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import WITHOUT_STANDARD_ERROR, Start, owner, through

from .support import QUIET_SECONDS, is_received, reads

pytestmark = pytest.mark.timing


@dataclass(frozen=True)
class Descriptor:
    """A descriptor of a process, as Linux shows it."""

    number: int
    flags: int
    """The flags of open(2), with the present state of O_CLOEXEC."""

    def __repr__(self) -> str:
        return f"{self.number}: {self.flags:#o}"

    @property
    def access(self) -> int:
        return self.flags & os.O_ACCMODE


def descriptors(pid: int, queue: Path) -> list[Descriptor]:
    """The descriptors that a process has of this queue. Needs Linux."""
    if sys.platform != "linux":
        not_run("only Linux shows the descriptors of another process")
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not entry.exists() or not entry.samefile(queue):
                continue
            info = Path(f"/proc/{pid}/fdinfo", entry.name).read_text()
        except FileNotFoundError:  # closed meanwhile
            continue
        flags = re.search(r"^flags:\s*([0-7]+)$", info, re.MULTILINE)
        assert flags, info
        found.append(Descriptor(int(entry.name), int(flags[1], 8)))
    return sorted(found, key=lambda descriptor: descriptor.number)


def opens_of_queues(trace: Trace) -> list[Call]:
    """The calls that opened a queue."""
    return [call for call in trace.calls(*OPEN) if any(path.name == "queue" for path in call.paths)]


@through("CHAN-4", "publisher", "reaper")
def test_nobody_else_opens_a_queue_for_reading(driver: Driver, base: Base, role: str) -> None:
    """Publishing and reaping open no queue for reading."""
    for call in _opens_of_others_queues(driver, base, role):
        assert not reads(call), f"another's queue was opened for reading: {call}"


@through("CHAN-5", "publisher", "reaper")
def test_nobody_else_creates_a_queue(driver: Driver, base: Base, role: str) -> None:
    """Publishing and reaping open no queue with O_CREAT."""
    for call in _opens_of_others_queues(driver, base, role):
        assert "O_CREAT" not in call.flags, f"a queue was opened with O_CREAT: {call}"


def _opens_of_others_queues(driver: Driver, base: Base, role: str) -> list[Call]:
    with base.open("a"), base.open("a"):
        base.dead_channel("a", os.getpid())
        base.dead_channel("a", dead_pid())
        with traced(driver) as trace:
            if role == "reaper":
                driver.reap()
            else:
                driver.publish("a")
    opens = opens_of_queues(trace)
    if not opens:
        not_run("no opening of a queue was seen")
    return opens


@pytest.mark.requirement("CHAN-4", role="subscriber")
def test_a_subscriber_reads_its_own_queue_only(driver: Driver, base: Base) -> None:
    """Opening a channel and fetching from it open no other queue for reading."""
    dead = base.dead_channel("a", dead_pid())
    with base.open("a") as other:
        put(other.directory, a_message("a", b"other's"))
        with traced(driver) as trace:
            channel = driver.open("a")
            driver.fetch(channel)
            driver.close_channel(channel)
        for queue in (dead / "queue", other.directory / "queue"):
            opens = [call for call in opens_of_queues(trace) if queue in call.paths]
            assert not any(reads(call) for call in opens), f"opened for reading: {opens}"
        assert len(other.fetch_all()) == 1, "the other channel lost an id"


@pytest.mark.requirement("CHAN-5", role="subscriber")
def test_an_owner_opens_without_creating(driver: Driver) -> None:
    """Opening a channel opens its queue without O_CREAT, after mkfifo made it."""
    with traced(driver) as trace:
        channel = driver.open("a")
        driver.close_channel(channel)
    opens = opens_of_queues(trace)
    if not opens:
        not_run("the opening of the queue was not seen")
    for call in opens:
        assert "O_CREAT" not in call.flags, f"a queue was opened with O_CREAT: {call}"


@pytest.mark.requirement("CHAN-4", role="publisher")
def test_publishing_does_not_bring_a_queue_to_life(driver: Driver, base: Base) -> None:
    """A publisher does not count a queue without a reader, and does not become its reader."""
    directory = base.dead_channel("a", os.getpid())
    for _ in range(3):
        assert driver.publish("a") == 0, "the queue has no reader"
        assert not has_reader(directory), "the publisher reads the queue of another process"


def looks_at_an_owner(driver: Driver, base: Base) -> Iterator[tuple[str, list[Descriptor]]]:
    """The descriptors that an owner has of its queue, at several moments of its life."""
    channel = driver.open("a")
    queue = channel.directory / "queue"
    yield "after it was opened", descriptors(owner(channel), queue)
    is_received(base, driver, channel)
    yield "after a message", descriptors(owner(channel), queue)
    driver.wait(channel, 0.01)
    yield "after a wait", descriptors(owner(channel), queue)


@pytest.mark.requirement("CHAN-6", role="subscriber")
def test_an_owner_has_both_ends(driver: Driver, base: Base) -> None:
    """An owner always has a read end and a write end of its queue open."""
    for when, found in looks_at_an_owner(driver, base):
        access = {descriptor.access for descriptor in found}
        assert access & {os.O_RDONLY, os.O_RDWR}, f"{when}: no read end of the queue: {found}"
        assert access & {os.O_WRONLY, os.O_RDWR}, f"{when}: no write end of the queue: {found}"


@pytest.mark.requirement("CHAN-7", role="subscriber")
def test_no_descriptor_of_an_owner_does_both(driver: Driver, base: Base) -> None:
    """No descriptor of an owner both reads and writes its queue, at any time."""
    for when, found in looks_at_an_owner(driver, base):
        assert all(each.access != os.O_RDWR for each in found), f"{when}: open as O_RDWR: {found}"


STANDARD_ERROR = pytest.mark.parametrize(
    "prefix",
    [(), WITHOUT_STANDARD_ERROR],
    ids=["standard error open", "standard error closed"],
)
"""What is opened in its place may be moved to another number, and loses its flags there."""


@pytest.mark.requirement("CHAN-8", role="subscriber")
@STANDARD_ERROR
def test_the_descriptors_of_an_owner(start: Start, base: Base, prefix: tuple[str, ...]) -> None:
    """All descriptors that an owner has of its queue are always non-blocking and close-on-exec."""
    driver = start(prefix=prefix)
    for when, found in looks_at_an_owner(driver, base):
        for each in found:
            assert each.flags & os.O_NONBLOCK, f"{when}: not O_NONBLOCK: {each}"
            assert each.flags & os.O_CLOEXEC, f"{when}: not O_CLOEXEC: {each}"


@pytest.mark.requirement("CHAN-6", role="subscriber")
def test_the_queue_does_not_end(driver: Driver, base: Base) -> None:
    """After the last publisher is gone, an empty queue is empty: a wait sees no end and no
    hang-up."""
    channel = driver.open("a")
    for _ in range(3):
        assert is_received(base, driver, channel)
        assert driver.fetch(channel) is None, "the queue is empty"
        assert driver.wait(channel, QUIET_SECONDS) is False, (
            "the wait ended without a message: if the owner has no write end, the close of the last"
            " publisher is a hang-up"
        )


@pytest.mark.requirement("CHAN-7", role="subscriber")
def test_the_read_end_is_opened_first(driver: Driver) -> None:
    """The first descriptor that an owner opens of its queue reads, and none reads and writes."""
    with traced(driver) as trace:
        channel = driver.open("a")
        driver.close_channel(channel)
    opens = [call for call in opens_of_queues(trace) if "O_PATH" not in call.flags]
    if not opens:
        not_run("the opening of the queue was not seen")
    assert not any("O_RDWR" in call.flags for call in opens), f"opened with O_RDWR: {opens}"
    assert reads(opens[0]), f"the first descriptor of the queue does not read: {opens[0]}"


@pytest.mark.requirement("CHAN-8", role="publisher")
@STANDARD_ERROR
def test_the_descriptors_of_a_publisher(start: Start, base: Base, prefix: tuple[str, ...]) -> None:
    """A publisher's descriptor of a queue is non-blocking and close-on-exec."""
    driver = start(prefix=prefix)
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a")
        thread = trace.stopped().pid
        found = descriptors(thread, channel.directory / "queue")
        trace.go_on()
        assert count.result() == 1
    if not found:
        not_run("the queue was not open when the link was made")
    for each in found:
        assert each.flags & os.O_NONBLOCK, f"not O_NONBLOCK: {each}"
        assert each.flags & os.O_CLOEXEC, f"not O_CLOEXEC: {each}"
