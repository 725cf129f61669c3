"""Keeping the list of channels (PUB-21, PUB-22)."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import (
    LIST,
    stop,
    traced,
)
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import decode
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.suite.roles import settle

from .support import (
    comes,
    octets_in,
    several,
)

pytestmark = pytest.mark.timing


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_that_opens_after_each_publish(driver: Driver, base: Base) -> None:
    """A publish reaches a channel however soon after the last publish it opened.

    If the clock of the file system is coarse (ramfs; others before Linux 6.13), publish and opening
    fall into one tick, and the times of the base say nothing: a `--home` there is the hard case.
    """
    base.make()
    for number in range(300):
        driver.publish("a")
        with base.open("a") as channel:
            assert driver.publish("a") == 1, f"one channel was open (round {number})"
            assert len(channel.fetch_all()) == 1


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_that_opens_in_the_midst_of_a_stream(driver: Driver, base: Base) -> None:
    """A channel that opens during a fast stream of publishes gets every later message."""
    with base.open("a") as steady:
        for _ in range(50):
            events = driver.produce("a", "p", 20, [10])
            assert comes(steady), "the first message of the stream did not come"
            with base.open("a") as late:
                for event in events:
                    assert event.error is None, event
                late.fetch_all()
                assert driver.publish("a", b"later") == 2, "two channels are open"
                assert [message.content for message in late.fetch_all()] == [b"later"]
            steady.fetch_all()


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_base_whose_time_was_set_back(driver: Driver, base: Base) -> None:
    """A publish reaches a new channel even if somebody set the modification time of the base
    back."""
    base.make()
    with base.open("a"):
        settle(driver, base, "a")
        before = base.path.stat()
        with base.open("a"):
            os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert base.path.stat().st_mtime_ns == before.st_mtime_ns
            assert driver.publish("a") == 2, "two channels are open"


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_base_that_was_replaced(driver: Driver, base: Base) -> None:
    """If another directory takes the place of the base, a publish reaches its channels, and not
    the old ones."""
    with several(base, 2):
        settle(driver, base, "a")
        before = base.path.stat()
        base.path.rename(base.path.with_name("moved"))
        with base.open("a") as channel:
            os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert driver.publish("a", b"x") == 1, "one channel is open in the new base"
            assert [message.content for message in channel.fetch_all()] == [b"x"]


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_that_opens_while_the_base_is_listed(driver: Driver, base: Base) -> None:
    """A publish may miss a channel that opens while it lists the base; later ones reach it."""
    with base.open("a"), ExitStack() as closing:
        settle(driver, base, "a")
        closing.enter_context(base.open("other"))  # so that the base has to be listed again
        with traced(driver, stop(LIST, None), paths=[base.path]) as trace:
            count = trace.begin(driver.publish, "a")
            for call in trace.stops():
                if call.result == 0:  # the end of the directory was read
                    break
            closing.enter_context(base.open("a"))
        assert count.result() in (1, 2)
        for _ in range(2):
            assert driver.publish("a") == 2, "two channels were open before this publish"


@pytest.mark.requirement("PUB-22", role="publisher")
@pytest.mark.parametrize("with_queue", [True, False])
def test_a_channel_that_comes_alive_in_its_place(
    driver: Driver, base: Base, with_queue: bool
) -> None:
    """A channel that was seen without a reader, or without a queue, is tried again by every
    publish."""
    directory = base.dead_channel("a", os.getpid(), queue=with_queue)
    settle(driver, base, "a")
    before = base.path.stat()
    if not with_queue:
        os.mkfifo(directory / "queue", 0o600)
    reader = os.open(directory / "queue", os.O_RDONLY | os.O_NONBLOCK)
    try:
        after = base.path.stat()
        assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
        assert driver.publish("a", b"x") == 1, "the queue has a reader now"
        id = int.from_bytes(os.read(reader, 8), "big")
        assert decode((directory / str(id)).read_bytes()).content == b"x"
    finally:
        os.close(reader)
    assert driver.publish("a") == 0, "the queue has no reader any more"


@pytest.mark.requirement("PUB-22", role="publisher")
def test_a_queue_that_was_full_is_tried_again(driver: Driver, base: Base) -> None:
    """A queue that was full is tried again by the next publish."""
    with base.open("a") as channel:
        fill(channel.directory)
        settle(driver, base, "a")
        octets_in(channel)
        assert driver.publish("a") == 1, "its queue has room again"
        assert len(channel.fetch_all()) == 1
