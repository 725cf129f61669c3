"""Room: when a marked queue gets a record, when an id, and when it is full."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.queue import fill, held, resize, size
from pubsub_conformance.oracle.record import LONGEST, Record
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.publish.support import (
    PATIENCE_SECONDS,
    UNDER_WAY_SECONDS,
    make_room,
    octets_in,
    publishing,
)
from pubsub_conformance.waiting import until

from .support import (
    USUAL_ROOM,
    check_lanes,
    lanes_in,
    marked,
    overhead,
    parts_in,
    settled,
    usual_room,
)

pytestmark = pytest.mark.timing

UNLOOKED = USUAL_ROOM // 16 // (8 + LONGEST)
"""How many of the longest records a publisher may write to a queue without a look (INLINE-13)."""

BURST = 4000
"""How many messages of 100 octets a queue of 64 KiB takes at least, if records fill it to half.

Records up to a sixteenth more would leave room for less than that.
"""


def shrink(channel: Channel, octets: int) -> None:
    """Give the empty queue of a channel room for so many octets."""
    resized = resize(channel.write_end, octets // os.sysconf("SC_PAGESIZE"))
    if not resized or size(channel.write_end) != octets:
        not_run(f"the system does not give a queue room for {octets} octets")


@pytest.mark.requirement("INLINE-13")
def test_a_queue_that_is_half_full_gets_files(driver: Driver, base: Base) -> None:
    """A queue of 64 KiB that holds 32 KiB when its channel is first seen gets files, and one that
    has room again gets records."""
    with marked(base) as [channel]:
        usual_room(channel)
        os.write(channel.write_end, bytes(32768))
        for number in range(10):
            assert driver.publish("a") == 1, f"publish {number}: the queue has room"
        check_lanes(channel, ["file"] * 10, "a queue of 65536 octets that holds 32768")
        assert driver.publish("a") == 1
        check_lanes(channel, ["record"], "a queue that is empty again")


@pytest.mark.requirement("INLINE-13")
def test_others_fill_a_queue_that_was_empty(driver: Driver, base: Base) -> None:
    """A publisher finds out that others have filled a queue half before it has written more than a
    sixteenth of its size."""
    with marked(base) as [channel]:
        usual_room(channel)
        settled(driver, base, channel)
        assert driver.publish("a") == 1
        parts_in(channel)
        os.write(channel.write_end, bytes(32768))
        content = bytes(LONGEST - overhead(driver, base, "b"))
        for _ in range(UNLOOKED + 1):
            assert driver.publish("a", content) == 1, "the queue has room"
        found = lanes_in(channel)
        assert found[-1] == "file", (
            f"a queue of 65536 octets held 32768, and the publisher wrote {UNLOOKED} records"
            f" or more without looking: {found}"
        )


@pytest.mark.requirement("INLINE-13")
def test_ids_fill_a_queue_as_well(driver: Driver, base: Base) -> None:
    """After a record and so many ids that the queue is half full, a publisher sends the next small
    message by file."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        shrink(channel, 8192)
        assert driver.publish("a") == 1
        check_lanes(channel, ["record"], "an empty queue")
        done = driver.produce("a", "p", 512, [2000], report="totals").finish()
        assert done.taken == 512, f"a queue of 8192 octets takes 1024 ids, and took {done.taken}"
        assert driver.publish("a") == 1, "the queue has room"
        check_lanes(channel, ["file"] * 513, "a queue of 8192 octets that got 512 ids")


@pytest.mark.requirement("INLINE-13")
def test_a_queue_that_was_made_small(driver: Driver, base: Base) -> None:
    """A queue that its owner made small after a first message takes three eighths as many messages
    as it would take ids: the publisher asks for the size of the queue at hand."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        for octets in (16384, 8192):
            shrink(channel, octets)
            number = octets // 8 * 3 // 8
            done = driver.produce("a", "p", number, [100], report="totals").finish()
            assert done.taken == number, (
                f"a queue of {octets} octets takes {octets // 8} ids: expected that it takes"
                f" {number} messages, found {done.taken}"
            )
            found = [message.headers["n"] for message in channel.fetch_all()]
            assert found == list(range(number)), "the messages that were counted did not come"


@pytest.mark.requirement("INLINE-13")
@pytest.mark.requirement("GUAR-4", role="publisher")
def test_a_burst_of_small_messages(driver: Driver, base: Base) -> None:
    """A queue of 64 KiB that nobody reads takes 4000 messages of 100 octets, first as records and
    then as files; all come, in order."""
    with marked(base) as [channel]:
        usual_room(channel)
        done = driver.produce("a", "p", BURST, [100], report="totals").finish()
        assert done.taken == BURST, (
            f"a queue of {USUAL_ROOM} octets: expected that it takes {BURST} messages, found"
            f" {done.taken}"
        )
        files = len(channel.files())
        assert 0 < files < BURST, f"expected records and files, found {files} files"
        found = [message.headers["n"] for message in channel.fetch_all()]
        assert found == list(range(BURST)), f"{BURST} messages were counted: found {len(found)}"


@pytest.mark.requirement("INLINE-16")
def test_a_record_that_does_not_fit(driver: Driver, base: Base) -> None:
    """A queue that is less than half full, but refuses a record, gets the message by file."""
    with marked(base, 2) as [channel, probe]:
        content = bytes(LONGEST - overhead(driver, base, "b"))
        for each in (channel, probe):
            usual_room(each)
            _fragment(each)
        with suppress(BlockingIOError):
            os.write(probe.write_end, bytes(1024))
            not_run("this system's queues have room for a record whenever they are not half full")
        probe.close()
        assert driver.publish("a", content) == 1, "the queue has room for an id"
        found = lanes_in(channel)
        assert found == ["file"], f"a queue with room for an id only: expected a file: {found}"


def _fragment(channel: Channel) -> None:
    """Leave a queue of 64 KiB less than half full, without a page that is free.

    On Linux, a queue is a ring of pages, each of which takes what it has whole room for.
    """
    for octets in (4096, *[2056] * 14, 3080):
        os.write(channel.write_end, bytes(octets))
    os.read(channel.read_end, 4088)
    assert held(channel.write_end) < 32768


@pytest.mark.requirement("INLINE-16")
@pytest.mark.requirement("GUAR-1", "PUB-10", role="publisher")
def test_a_full_marked_queue_is_not_counted(driver: Driver, base: Base) -> None:
    """A marked queue that is full is not counted, and its channel keeps no file; other channels
    get the message."""
    with marked(base, 2) as [full, other]:
        settled(driver, base, full, other)
        fill(full.directory)
        for content in (b"x", bytes(5000)):
            before = len(octets_in(other))
            assert before == 0, f"the queue of the other channel was not empty: {before} octets"
            assert driver.publish("a", content) == 1, "one of two queues is full"
            assert full.files() == [], f"a file is left in the full channel:\n{base.tree()}"
            check_lanes(other, ["file" if len(content) > 1000 else "record"], "the other channel")
        assert not [part for part in parts_in(full) if isinstance(part, Record) or part]


@pytest.mark.requirement("INLINE-16")
@pytest.mark.requirement("PUB-19", role="publisher")
def test_waiting_for_room_in_a_marked_queue(driver: Driver, base: Base) -> None:
    """A publish with a timeout tries a full marked queue again, until it takes the message."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        count = fill(channel.directory)
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as publish:
            waits = not until(publish.done, UNDER_WAY_SECONDS)
            make_room(channel, count)
            assert publish.result() == 1, "the queue had room before the timeout"
        assert waits, "the publish ended before the queue had room"
        found = lanes_in(channel)
        assert len(found) == 1, f"expected the message once, found {found}"
