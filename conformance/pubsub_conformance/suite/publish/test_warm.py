"""What becomes of channels between two publishes, and between two steps of one.

A publisher may keep a list of channels (PUB-21), but nothing of what is in them. A queue that is
replaced does not change the base, so that a kept list stays good.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import LINK, stop, traced
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.sockets import make_socket
from pubsub_conformance.suite.roles import settle

from .support import ids_in, nothing_left

pytestmark = pytest.mark.timing


def gone(queue: Path) -> None:
    """Leave nothing in the place of the queue."""


def a_fifo_without_a_reader(queue: Path) -> None:
    os.mkfifo(queue)


def a_file(queue: Path) -> None:
    queue.write_bytes(b"a file")


def a_directory(queue: Path) -> None:
    queue.mkdir()


def a_link_to_the_queue(queue: Path) -> None:
    queue.symlink_to("before")


def a_link_to_a_file(queue: Path) -> None:
    (queue.parent / "file").write_bytes(b"a file")
    queue.symlink_to("file")


REPLACED = pytest.mark.parametrize(
    "replace",
    [
        *(gone, a_fifo_without_a_reader, a_file, a_directory, make_socket),
        *(a_link_to_the_queue, a_link_to_a_file),
    ],
    ids=lambda replace: replace.__name__.replace("_", " "),
)


def contents(directory: Path) -> dict[str, bytes]:
    """The names in a directory, and the octets of the regular files."""
    found = sorted(directory.iterdir())
    return {each.name: each.read_bytes() if each.is_file() else b"" for each in found}


@pytest.mark.requirement("PUB-11", role="publisher")
@REPLACED
def test_a_queue_is_replaced_between_two_publishes(
    driver: Driver, base: Base, replace: Callable[[Path], object]
) -> None:
    """A publisher that has written to a queue writes nothing to what is in its place later, and
    nothing to the queue that was there."""
    with base.open("a") as channel, base.open("a") as other:
        settle(driver, base, "a")
        queue = channel.directory / "queue"
        for _ in range(2):
            channel.fetch_all()
            other.fetch_all()
            queue.rename(queue.with_name("before"))
            replace(queue)
            before = contents(channel.directory)
            assert driver.publish("a", b"x") == 1, "the other channel alone has a queue"
            assert contents(channel.directory) == before, "the publish changed the channel"
            assert ids_in(channel) == [], "an id was written to the queue that is not there"
            assert [message.content for message in other.fetch_all()] == [b"x"]
            if queue.is_dir() and not queue.is_symlink():
                queue.rmdir()
            else:
                queue.unlink(missing_ok=True)
            queue.with_name("before").rename(queue)
            assert driver.publish("a", b"y") == 2, "the queue is in its place again"
            assert [message.content for message in channel.fetch_all()] == [b"y"]


@pytest.mark.requirement("PUB-22", "CHAN-9", role="publisher")
def test_another_queue_with_a_reader_comes_in_the_place(driver: Driver, base: Base) -> None:
    """The queue is the one that is in the channel now, and no other gets the id."""
    with base.open("a") as channel:
        settle(driver, base, "a")
        channel.fetch_all()
        queue = channel.directory / "queue"
        queue.unlink()
        os.mkfifo(queue, 0o600)
        assert driver.publish("a") == 0, "the new queue has no reader"
        reader = os.open(queue, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert driver.publish("a") == 1, "the new queue has a reader"
            assert len(os.read(reader, 64)) == 8, "the new queue did not get one id"
            assert ids_in(channel) == [], "an id was written to the queue that was there before"
        finally:
            os.close(reader)


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_of_the_same_name_is_made_again(driver: Driver, base: Base) -> None:
    """A publish reaches the channel that has the name now."""
    with base.open("a") as channel, base.open("a") as other:
        settle(driver, base, "a")
        for _ in range(2):
            channel.fetch_all()
            old = channel.directory.rename(base.path / "elsewhere")
            assert driver.publish("a") == 1, "one channel is left"
            other.directory.rename(channel.directory)
            assert driver.publish("a", b"x") == 1, "another channel has the name now"
            assert [message.content for message in other.fetch_all()][1:] == []
            channel.directory.rename(other.directory)
            old.rename(channel.directory)
            assert driver.publish("a") == 2, "both channels are in their places again"
            assert ids_in(channel)[:-1] == [], "ids were written to a channel that was elsewhere"
            ids_in(other)


def channel_gone(channel: Channel) -> None:
    shutil.rmtree(channel.directory)


def channel_closed(channel: Channel) -> None:
    channel.close()


def channel_is_a_file(channel: Channel) -> None:
    channel.directory.rename(channel.base.path / "elsewhere")
    channel.directory.write_bytes(b"")


def queue_gone(channel: Channel) -> None:
    (channel.directory / "queue").unlink()


def queue_is_a_file(channel: Channel) -> None:
    queue_gone(channel)
    (channel.directory / "queue").write_bytes(b"")


def queue_is_a_link(channel: Channel) -> None:
    (channel.directory / "queue").rename(channel.directory / "before")
    (channel.directory / "queue").symlink_to("before")


def queue_without_a_reader(channel: Channel) -> None:
    queue_gone(channel)
    os.mkfifo(channel.directory / "queue")


@contextmanager
def _put_away(channel: Channel) -> Iterator[None]:
    """Remove what a test put into the place of a channel."""
    try:
        yield
    finally:
        shutil.rmtree(channel.base.path / "elsewhere", ignore_errors=True)
        if channel.directory.is_file():
            channel.directory.unlink()


@pytest.mark.requirement("PUB-13", "PUB-12", role="publisher")
@pytest.mark.parametrize(
    "lose",
    [
        *(channel_gone, channel_closed, channel_is_a_file, queue_gone, queue_is_a_file),
        *(queue_is_a_link, queue_without_a_reader),
    ],
    ids=lambda lose: lose.__name__.replace("_", " "),
)
def test_a_channel_is_lost_after_it_was_listed(
    driver: Driver, base: Base, lose: Callable[[Channel], None]
) -> None:
    """A channel that is lost while another gets the message is passed over: it is not counted, and
    is no error."""
    for warm in (False, True):
        with base.open("a") as one, base.open("a") as two:
            if warm:
                settle(driver, base, "a")
                one.fetch_all()
                two.fetch_all()
            with traced(driver, stop(LINK)) as trace:
                count = trace.begin(driver.publish, "a", b"x")
                call = trace.stopped()
                first, second = (one, two) if one.directory in _parents(call.paths) else (two, one)
                with _put_away(second):
                    lose(second)
                    trace.go_on()
                    assert count.result() == 1, f"{lose.__name__}: one channel is left"
                    assert [message.content for message in first.fetch_all()] == [b"x"]
                    assert second.closed or ids_in(second) == [], "the lost channel got an id"
        nothing_left(base, f"a publish in which a channel was lost ({lose.__name__})")


def _parents(paths: list[Path]) -> list[Path]:
    return [path.parent for path in paths]
