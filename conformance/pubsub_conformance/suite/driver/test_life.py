"""The base directory, the handles of channels, and the end of a driver."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.suite.helpers import Start, refuses

from .support import LONG_SECONDS, claims, finds, probes

pytestmark = pytest.mark.timing


def open_channels(driver: Driver) -> list[Path]:
    """Have the driver open two channels, one with an unread message. Returns their directories.

    Returns an empty list for a driver without the role subscriber.
    """
    if not claims(driver, "subscriber"):
        return []
    first, second = driver.open("end.="), driver.open("+")
    put(first.directory, a_message("end.here"))
    return [first.directory, second.directory]


@pytest.mark.requirement("DRIVER-8")
def test_home(start: Start, base: Base) -> None:
    """The driver works in the base directory that PUBSUB_HOME names."""
    driver = start()
    with finds("read PUBSUB_HOME when the process starts"):
        if claims(driver, "subscriber"):
            directory = driver.open("home").directory
            assert directory.is_dir(), f"there is no directory {directory}"
        if claims(driver, "publisher"):
            with base.open("home") as channel:
                driver.publish("home")
                assert channel.fetch(), f"the message did not reach a channel in {base.path}"


@pytest.mark.requirement("DRIVER-11")
def test_channel_that_is_not_open(start: Start) -> None:
    """A handle that is closed, or that the driver never gave, gets the error channel-closed; no
    handle is given twice."""
    driver = start()
    with finds("keep a table of handles; do not reuse a closed one"):
        closed = driver.open("handle")
        driver.close_channel(closed)
        another = driver.open("handle")
        assert another.handle != closed.handle, f"the handle {closed.handle} was given twice"
        for op in ("fetch", "wait", "consume", "close"):
            for handle in (closed.handle, "never given"):
                with refuses("channel-closed", what=f"{op} of {handle!r}"):
                    driver.request(op, channel=handle, **probes()[op])


@pytest.mark.requirement("DRIVER-6")
def test_end_of_stdin(start: Start) -> None:
    """At the end of stdin the driver removes its channels and exits with status 0."""
    driver = start()
    directories = open_channels(driver)
    with finds("leave the loop at the end of stdin; wait for threads and children"):
        driver.close()
    left = [str(directory) for directory in directories if directory.exists()]
    assert not left, f"channels left behind at the end of stdin: {left}"


def nothing(driver: Driver) -> None:
    """No request is running."""


def waiting(driver: Driver) -> None:
    """The driver waits for a message."""
    channel = driver.open("quiet")
    driver.begin("wait", channel=channel.handle, timeout=LONG_SECONDS)


def consuming(driver: Driver) -> None:
    """A `consume` is running: it has reported a message."""
    channel = driver.open("quiet")
    put(channel.directory, a_message("quiet"))
    next(driver.consume(channel, idle=LONG_SECONDS))


def producing(driver: Driver) -> None:
    """A `produce` is running: it has reported a publish."""
    next(driver.produce("quiet", "p", 2, [0], rate=1 / LONG_SECONDS))


@pytest.mark.requirement("DRIVER-7")
@pytest.mark.parametrize("work", [nothing, waiting, consuming, producing])
def test_sigterm(start: Start, work: Callable[[Driver], None]) -> None:
    """At SIGTERM, idle or busy, the driver removes its channels and exits with status 0."""
    driver = start()
    with finds("handle SIGTERM; have `poll` watch a pipe that the handler writes to"):
        directories = open_channels(driver)
        work(driver)
        driver.close(signal.SIGTERM)
    left = [str(directory) for directory in directories if directory.exists()]
    assert not left, f"channels left behind at SIGTERM: {left}"
