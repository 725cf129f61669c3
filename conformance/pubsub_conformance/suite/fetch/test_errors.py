"""Errors of the system: the message stays, and the next fetch tries again."""

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
    expect_message,
    expect_nothing,
    no_descriptor_left,
    outcome,
)

pytestmark = pytest.mark.timing


def _expect_io_error(found: Message | Rejected | None, errno: str, file: Path) -> None:
    """The fetch has to fail with this error, and to leave the file that it could not read."""
    assert isinstance(found, Rejected), f"expected io-error {errno}, found {found}"
    error = (found.code, found.errno)
    assert error == ("io-error", errno), f"expected io-error {errno}, found {found}"
    assert file.exists(), f"the file was removed because the system once said {errno}"


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_no_descriptor_left(driver: Driver, base: Base) -> None:
    """A fetch without a descriptor fails with EMFILE; once there are descriptors, it yields the
    message."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    file = channel.directory / str(first.id)
    with no_descriptor_left(driver.pid):
        for _ in range(2):
            _expect_io_error(outcome(driver, channel), "EMFILE", file)
    expect_message(driver, channel, first, "the id in hand, with descriptors again")
    expect_message(driver, channel, second, "the message behind it")
    expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_a_directory_that_may_not_be_searched(start: Start, base: Base) -> None:
    """A fetch from a directory that denies access for a while fails with EACCES, and yields the
    message later."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    channel.directory.chmod(0)
    found = outcome(driver, channel)
    channel.directory.chmod(0o700)
    _expect_io_error(found, "EACCES", channel.directory / str(first.id))
    expect_message(driver, channel, first, "the id in hand, with the directory open again")
    expect_message(driver, channel, second, "the message behind it")


@pytest.mark.requirement("FETCH-21", role="subscriber")
def test_a_wait_with_an_id_in_hand(start: Start, base: Base) -> None:
    """A wait is ready at once if an id is in hand, even if the queue is empty."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    message = base.publish("a", b"in hand")
    channel.directory.chmod(0)
    found = outcome(driver, channel)
    channel.directory.chmod(0o700)
    if found == message:
        not_run("it can read a message from a directory that may not be searched")
    if not driver.wait(channel, 8):
        if driver.fetch(channel) is None:
            not_run("no id was in hand: it was given up, which breaks FETCH-8")
        pytest.fail("an id was in hand, but the wait was not ready")


@pytest.mark.requirement("FETCH-19", role="subscriber")
def test_a_file_that_denies_reading_is_invalid(start: Start, base: Base) -> None:
    """A message file whose mode denies reading is invalid: it is reported once and removed."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    closed, good = base.publish("a", b"closed"), base.publish("a", b"good")
    file = channel.directory / str(closed.id)
    file.chmod(0)
    with refuses("invalid-message", what="a fetch of a file whose mode denies reading it"):
        driver.fetch(channel)
    assert not file.exists(), "the file was reported as invalid, but not removed"
    expect_message(driver, channel, good, "the message behind it")


@pytest.mark.requirement("FETCH-8", role="subscriber")
@pytest.mark.parametrize("errno", ["EMFILE", "ENFILE", "ENOMEM", "EIO", "EACCES"])
def test_a_file_that_cannot_be_opened_now(driver: Driver, base: Base, errno: str) -> None:
    """If a message file cannot be opened now, fetch reports the error and yields the message
    later."""
    _check_fault(driver, base, OPEN, errno)


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_a_file_that_cannot_be_read_now(driver: Driver, base: Base) -> None:
    """If reading a message file fails with EIO, fetch reports it and yields the message later."""
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
    expect_message(driver, channel, first, f"the id in hand, after {errno} is over")
    expect_message(driver, channel, second, "the message behind it")
    expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-9", role="subscriber")
@pytest.mark.parametrize("octets", range(1, 8))
def test_octets_that_are_no_id_are_reported_once(driver: Driver, base: Base, octets: int) -> None:
    """Octets that are no whole id are reported once as damaged-queue, and do not shift later
    ids."""
    channel = driver.open("a")
    before = base.publish("a", b"before")
    enqueue(channel.directory, b"\xff" * octets)
    expect_message(driver, channel, before, f"a whole id, {octets} octets behind it")
    with refuses("damaged-queue", what=f"a fetch from a queue that holds {octets} octets"):
        driver.fetch(channel)
    expect_nothing(driver, channel, "the octets were reported once")
    after = [base.publish("a", b"after"), base.publish("a", b"after that")]
    for message in after:
        expect_message(
            driver, channel, message, f"published after {octets} octets had been discarded"
        )
