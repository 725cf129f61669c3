"""Errors of the system: the message stays, and the next fetch tries it again."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import OPEN, fail, traced
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import Message
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, refuses
from pubsub_conformance.suite.scenes import start_without_privileges

from .support import (
    READ,
    _expect,
    _expect_nothing,
    no_descriptor_left,
    outcome,
)


def _expect_io_error(found: Message | Rejected | None, errno: str, file: Path) -> None:
    """What a fetch came to, and the file that it could not read."""
    assert isinstance(found, Rejected), f"the system said {errno}, a fetch has to say so: {found}"
    told = (found.code, found.errno)
    assert told == ("io-error", errno), f"expected an io-error of {errno}, found {found}"
    assert file.exists(), f"the system said {errno} once, and the file was removed for it"


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_no_descriptor_left(driver: Driver, base: Base) -> None:
    """A process out of descriptors (EMFILE) cannot read its message now; it can later."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    file = channel.directory / str(first.id)
    with no_descriptor_left(driver.pid):
        for _ in range(2):
            _expect_io_error(outcome(driver, channel), "EMFILE", file)
    _expect(driver, channel, first, "descriptors are there again: the id that was in hand")
    _expect(driver, channel, second, "the message behind it")
    _expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_a_directory_that_may_not_be_searched(start: Start, base: Base) -> None:
    """The channel directory denies everything (EACCES) for a while; it is not the file's fault."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    channel.directory.chmod(0)
    found = outcome(driver, channel)
    channel.directory.chmod(0o700)
    _expect_io_error(found, "EACCES", channel.directory / str(first.id))
    _expect(driver, channel, first, "the directory is open again: the id that was in hand")
    _expect(driver, channel, second, "the message behind it")


@pytest.mark.requirement("FETCH-21", role="subscriber")
def test_a_wait_with_an_id_in_hand(start: Start, base: Base) -> None:
    """The queue is empty, for its one id was taken; but the message is still to come."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    message = base.publish("a", b"in hand")
    channel.directory.chmod(0)
    found = outcome(driver, channel)
    channel.directory.chmod(0o700)
    if found == message:
        not_run("it reads a message from a directory that may not be searched")
    if not driver.wait(channel, 8):
        if driver.fetch(channel) is None:
            not_run("no id was in hand: it was given up, which is FETCH-8's business")
        pytest.fail("a message was in hand, and the wait said that there is none")


@pytest.mark.requirement("FETCH-19", role="subscriber")
def test_a_file_that_denies_reading_is_invalid(start: Start, base: Base) -> None:
    """Another user's publisher made a file that nobody may read: it would stay so for ever."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    closed, good = base.publish("a", b"closed"), base.publish("a", b"good")
    file = channel.directory / str(closed.id)
    file.chmod(0)
    with refuses("invalid-message", what="a fetch of a file whose mode denies reading it"):
        driver.fetch(channel)
    assert not file.exists(), "the file was reported as invalid, but not removed"
    _expect(driver, channel, good, "the message behind it")


@pytest.mark.requirement("FETCH-8", role="subscriber")
@pytest.mark.parametrize("errno", ["EMFILE", "ENFILE", "ENOMEM", "EIO", "EACCES"])
def test_a_file_that_cannot_be_opened_now(driver: Driver, base: Base, errno: str) -> None:
    """The system's fault, not the message's: it stays, its id stays in hand, and it comes later."""
    _check_fault(driver, base, OPEN, errno)


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_a_file_that_cannot_be_read_now(driver: Driver, base: Base) -> None:
    """The file is open when the system fails to read from it (EIO)."""
    _check_fault(driver, base, READ, "EIO")


def _check_fault(driver: Driver, base: Base, calls: tuple[str, ...], errno: str) -> None:
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    file = channel.directory / str(first.id)
    with traced(driver, fail(calls, errno, None), paths=[file, file.name]) as trace:
        for _ in range(2):
            found = outcome(driver, channel)
            if not any(call.injected for call in trace.calls()):
                not_run(f"the driver reads a message without {' or '.join(calls)}")
            _expect_io_error(found, errno, file)
    _expect(driver, channel, first, f"{errno} is over: the id that was in hand")
    _expect(driver, channel, second, "the message behind it")
    _expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-9", role="subscriber")
@pytest.mark.parametrize("octets", range(1, 8))
def test_octets_that_are_no_id_are_reported_once(driver: Driver, base: Base, octets: int) -> None:
    """Somebody wrote a part of an id: it is discarded, and shifts none of those that come."""
    channel = driver.open("a")
    before = base.publish("a", b"before")
    enqueue(channel.directory, b"\xff" * octets)
    _expect(driver, channel, before, f"a whole id, {octets} octets behind it")
    with refuses("damaged-queue", what=f"a fetch from a queue that holds {octets} octets"):
        driver.fetch(channel)
    _expect_nothing(driver, channel, "the octets were reported once")
    after = [base.publish("a", b"after"), base.publish("a", b"after that")]
    for message in after:
        _expect(driver, channel, message, f"published after {octets} octets had been discarded")
