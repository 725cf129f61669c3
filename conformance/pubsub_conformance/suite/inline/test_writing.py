"""Publishing to a marked channel: which messages become records, and how a record is written."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import WRITE, Injection, fail, traced
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import InvalidMessage, decode
from pubsub_conformance.oracle.record import LONGEST, MARKER, Record, record
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.publish.support import nothing_left, octets_in
from pubsub_conformance.suite.scenes import NOBODY

from .support import check_lanes, marked, overhead, parts_in, settled, usual_room

pytestmark = pytest.mark.timing

EIGHT_OCTETS = Injection("inject=?write:retval=8:when=1")
"""The first write returns 8, whatever it was to write, and is not done."""


def _check_record(channel: Channel, topic: str, content: bytes) -> None:
    """The queue has to hold one record of this message, and nothing else."""
    octets = octets_in(channel)
    message = octets[8 : 8 + int.from_bytes(octets[6:8], "big")]
    expected = record(channel.directory, message)
    assert octets == expected, (
        f"a record for {channel.directory.name}: expected {expected.hex(' ')},"
        f" found {octets.hex(' ')}"
    )
    try:
        found = decode(message)
    except InvalidMessage as fault:
        pytest.fail(f"the octets of the record are no message: {fault}: {message.hex(' ')}")
    assert (found.topic, found.content) == (topic, content), f"{topic} {content!r}: found {found}"


@pytest.mark.requirement("INLINE-6")
def test_a_record_has_the_layout_of_the_page(driver: Driver, base: Base) -> None:
    """A record begins with 80 00, the channel's characters and the length; then come the message
    and zeros up to a multiple of 8 octets."""
    with marked(base, 2) as channels:
        for length in range(16):
            content = b"\xff" * length
            assert driver.publish("a", content) == 2, "two channels are open"
            for channel in channels:
                _check_record(channel, "a", content)


@pytest.mark.requirement("INLINE-6")
def test_a_record_of_a_long_topic(driver: Driver, base: Base) -> None:
    """A record contains a message of any topic, with any headers."""
    topic = ".".join(["topic"] * 33)
    with marked(base, 1, "+") as [channel]:
        assert driver.publish(topic, b"x", {"n": 1, "text": "ä", "none": None}) == 1
        _check_record(channel, topic, b"x")


@pytest.mark.requirement("INLINE-6", "INLINE-12")
def test_a_record_of_the_longest_message(driver: Driver, base: Base) -> None:
    """A message file of 1016 octets becomes a record of 1024, and one of 1017 stays a file."""
    room = LONGEST - overhead(driver, base)
    with marked(base) as [channel]:
        assert driver.publish("a", b"x" * room) == 1
        assert channel.files() == [], f"a message of 1016 octets left a file:\n{base.tree()}"
        _check_record(channel, "a", b"x" * room)
        assert driver.publish("a", b"x" * (room + 1)) == 1
        check_lanes(channel, ["file"], "a message file of 1017 octets")


@pytest.mark.requirement("INLINE-7")
def test_a_record_is_written_in_one_write(driver: Driver, base: Base) -> None:
    """A publish writes to the queue once: the whole record."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        for length in (0, 1, 900):
            with traced(driver) as trace:
                assert driver.publish("a", bytes(length)) == 1
            queue = channel.directory / "queue"
            writes = [call for call in trace.calls(*WRITE) if call.descriptor == queue]
            octets = octets_in(channel)
            if not writes:
                not_run("no write to the queue was seen")
            assert len(writes) == 1, f"expected one write to the queue, found {writes}"
            assert writes[0].result == len(octets), f"expected {len(octets)} octets: {writes[0]}"


@pytest.mark.requirement("INLINE-7")
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_queue_that_takes_a_part_of_a_record(driver: Driver, base: Base, warm: bool) -> None:
    """A write to the queue that returns fewer octets than the record has is an io-error, and the
    channel is not counted."""
    with marked(base) as [channel]:
        if warm:
            settled(driver, base, channel)
        queue = channel.directory / "queue"
        with traced(driver, EIGHT_OCTETS, paths=[queue, "queue"]) as trace:
            try:
                found: object = driver.publish("a", b"x")
            except Rejected as error:
                found = (error.code, error.count)
        if not any(call.injected for call in trace.calls(*WRITE)):
            not_run("strace saw no write to the queue that it could cut short")
        assert found == ("io-error", 0), f"expected an io-error and the count 0, found {found}"


@pytest.mark.requirement("INLINE-12")
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_small_messages_travel_without_files(driver: Driver, base: Base, warm: bool) -> None:
    """Small messages leave no file in a marked channel, whether its list of channels is new or
    kept; an unmarked channel beside it gets files."""
    with marked(base) as [channel], base.open("a") as other:
        if warm:
            settled(driver, base, channel, other)
        for length in (0, 1, 100, 800):
            assert driver.publish("a", bytes(length)) == 2, "two channels are open"
            check_lanes(channel, ["record"], f"a content of {length} octets, a marked channel")
            check_lanes(other, ["file"], f"a content of {length} octets, an unmarked channel")
        nothing_left(base, "messages to a marked and to an unmarked channel")


@pytest.mark.requirement("INLINE-12")
def test_a_queue_that_is_almost_half_full_gets_records(driver: Driver, base: Base) -> None:
    """A queue of 64 KiB that holds one word less than 32 KiB gets a record."""
    with marked(base) as [channel]:
        usual_room(channel)
        os.write(channel.write_end, bytes(32760))
        assert driver.publish("a") == 1
        check_lanes(channel, ["record"], "a queue of 65536 octets that holds 32760")


@pytest.mark.requirement("INLINE-12")
def test_a_fill_that_cannot_be_seen(driver: Driver, base: Base) -> None:
    """If the fill of a queue cannot be seen (FIONREAD fails), it is taken for less than half full:
    it gets a record, and the publish reports no error."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        queue = channel.directory / "queue"
        with traced(driver, fail(("ioctl",), "EPERM", None), paths=[queue]):
            for _ in range(10):
                assert driver.publish("a", bytes(900)) == 1, "the queue has room"
        check_lanes(channel, ["record"] * 10, "a queue whose fill cannot be seen")


def _no_marker(channel: Channel) -> None:
    pass


def _a_link_to_a_file(channel: Channel) -> None:
    (channel.base.path.parent / "elsewhere").write_bytes(b"")
    (channel.directory / MARKER).symlink_to(channel.base.path.parent / "elsewhere")


def _a_dangling_link(channel: Channel) -> None:
    (channel.directory / MARKER).symlink_to("nowhere")


def _a_directory(channel: Channel) -> None:
    (channel.directory / MARKER).mkdir()


def _a_fifo(channel: Channel) -> None:
    os.mkfifo(channel.directory / MARKER, 0o600)


def _of_another_user(channel: Channel) -> None:
    (channel.directory / MARKER).touch(0o600)
    os.chown(channel.directory / MARKER, NOBODY, NOBODY)


@pytest.mark.requirement("INLINE-5")
@pytest.mark.parametrize(
    "mark",
    [
        *(_no_marker, _a_link_to_a_file, _a_dangling_link, _a_directory, _a_fifo),
        *([_of_another_user] if os.geteuid() == 0 else []),  # only root may give a file away
    ],
    ids=lambda mark: mark.__name__.removeprefix("_").replace("_", " "),
)
def test_what_is_no_marker(driver: Driver, base: Base, mark: Callable[[Channel], None]) -> None:
    """A channel is marked only by a regular file of the queue's owner; others get files."""
    with base.open("a") as channel, marked(base) as [other]:
        mark(channel)
        before = channel.files()
        for when in ("at first", "with a list that was kept"):
            assert driver.publish("a") == 2, f"two channels are open, {when}"
            found = parts_in(channel)
            assert len(found) == 1, f"one message was published, {when}: found {found}"
            assert not isinstance(found[0], Record), (
                f"expected a file {when}, found a record: the channel is not marked"
            )
            (channel.directory / str(found[0])).unlink()
            assert channel.files() == before, f"the publish changed the channel:\n{base.tree()}"
            check_lanes(other, ["record"], f"a marked channel, {when}")
            settled(driver, base, channel, other)
        if (channel.directory / MARKER).is_dir():
            (channel.directory / MARKER).rmdir()


@pytest.mark.requirement("INLINE-12")
@pytest.mark.requirement("PUB-7", role="publisher")
def test_a_large_message_to_marked_channels(driver: Driver, base: Base) -> None:
    """A message that is too large for a record is one file with a link in each channel."""
    with marked(base, 2) as channels, base.open("a") as other:
        assert driver.publish("a", bytes(5000)) == 3
        inodes = {
            (channel.directory / name).stat().st_ino
            for channel in (*channels, other)
            for name in channel.files()
        }
        assert len(inodes) == 1, f"expected one file with three links:\n{base.tree()}"
        for channel in (*channels, other):
            check_lanes(channel, ["file"], "a content of 5000 octets")
        nothing_left(base, "a large message")
