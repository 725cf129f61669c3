"""Whether a channel is alive (CHAN-9)."""

from __future__ import annotations

import os

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import (
    OPEN,
    fail,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.plugin import not_run
from pubsub_conformance.sockets import make_socket

pytestmark = pytest.mark.timing


@pytest.mark.requirement("CHAN-9", role="publisher")
def test_a_publisher_does_not_look_at_the_process(driver: Driver, base: Base) -> None:
    """A publisher counts a queue with a reader, whether the process in the channel's name runs or
    not."""
    with base.open("a", pid=dead_pid()) as read:
        base.dead_channel("a", os.getpid())
        base.dead_channel("a", driver.pid)
        base.dead_channel("a", 1)
        assert driver.publish("a", b"x") == 1, "one queue has a reader, three have none"
        assert [message.content for message in read.fetch_all()] == [b"x"]


@pytest.mark.requirement("CHAN-9", role="reaper")
def test_a_socket_is_not_a_dead_queue(driver: Driver, base: Base) -> None:
    """A reaper keeps a directory whose `queue` is a socket, though opening it fails with ENXIO."""
    directory = base.dead_channel("a", dead_pid(), queue=False)
    make_socket(directory / "queue")
    dead = base.dead_channel("a", dead_pid())
    driver.reap()
    assert not dead.exists(), "the dead channel was not reaped"
    assert (directory / "queue").is_socket(), f"the socket was treated as a queue:\n{base.tree()}"


@pytest.mark.requirement("CHAN-9", role="reaper")
@pytest.mark.parametrize("errno", ["EACCES", "EMFILE", "ENFILE", "ENOMEM"])
def test_a_queue_that_cannot_be_opened_is_not_dead(driver: Driver, base: Base, errno: str) -> None:
    """A reaper keeps a channel whose queue it cannot open: only ENXIO says that nobody reads."""
    directory = base.dead_channel("a", dead_pid())
    queue = directory / "queue"
    with traced(driver, fail(OPEN, errno, None), paths=[queue, "queue"]) as trace:
        driver.reap()
    if not any(call.injected for call in trace.calls(*OPEN)):
        not_run("strace saw no opening of the queue that it could make fail")
    assert directory.exists(), f"a channel whose queue failed to open with {errno} was removed"
    driver.reap()
    assert not directory.exists(), "the queue opens with ENXIO, so the channel has to be removed"
