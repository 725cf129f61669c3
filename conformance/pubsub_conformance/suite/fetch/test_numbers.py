"""Numbers: a full queue, thousands of ids without files, thousands of files without ids."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue, fill, open_queue, resize
from pubsub_conformance.suite.numbers import ENDS, make_foreign, missing

from .support import expect_message, expect_nothing, outcome

pytestmark = pytest.mark.timing

IDS = (
    *(
        1,
        2,
        9,
        10,
        255,
        256,
        2**16,
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**32,
        2**32 + 1,
        2**53,
        2**53 + 1,
    ),
    *(2**56 - 1, 2**56, 2**63 - 1, 2**63, 2**63 + 1, 10**19 - 1, 10**19, 2**64 - 2, 2**64 - 1),
)
"""Ids where a number of some size ends, or its decimal form grows."""


@pytest.mark.requirement("FETCH-1", "GUAR-2", role="subscriber")
def test_ids_of_any_size(driver: Driver) -> None:
    """A fetch yields the message of each id from 1 to 2^64 - 1, under the id's decimal name."""
    channel = driver.open("a")
    for order in (IDS, IDS[::-1]):
        messages = [a_message("a", b"%d" % id, id=id) for id in order]
        for message in messages:
            put(channel.directory, message)
        for message in messages:
            expect_message(driver, channel, message, f"the id {message.id}")
    expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-1", "GUAR-2", role="subscriber")
def test_a_full_queue_is_read(driver: Driver) -> None:
    """An owner yields all messages of a full queue once, in order."""
    channel = driver.open("a")
    queue = open_queue(channel.directory)
    resize(queue, 4)
    os.close(queue)
    room = fill(channel.directory)  # ids of 0, which a fetch skips
    expect_nothing(driver, channel, "the queue is full of ids of 0")
    _put_many(channel.directory, room)
    events = [*driver.consume(channel, count=room, deadline=30)]
    errors = [event.error for event in events if event.error]
    assert not errors, f"{len(errors)} of {room} fetches failed: {errors[:1]}"
    found = [(event.headers or {}).get("n") for event in events]
    assert found == list(range(room)), (
        f"the queue held {room} messages in order; {len(found)} came, the first that is not next at"
        f" {next((n for n, value in enumerate(found) if value != n), len(found))}"
    )
    left = os.listdir(channel.directory)
    assert left == ["queue"], f"all was fetched, but {len(left)} entries are left"


def _put_many(directory: Path, number: int) -> None:
    """Put so many messages into a channel, numbered by the header `n`."""
    queue = open_queue(directory)
    try:
        for n in range(number):
            message = a_message("a", b"", {"n": n})
            with open(directory / str(message.id), "xb") as file:
                file.write(encode(message))
            _write(queue, message.id)
    finally:
        os.close(queue)


def _write(queue: int, id: int) -> None:
    try:
        os.write(queue, id.to_bytes(8, "big"))
    except BlockingIOError:
        pytest.fail("the queue has no room, although a fetch found it empty")


@pytest.mark.requirement("FETCH-3", "FETCH-10", role="subscriber")
@pytest.mark.parametrize("stray", ["0", "without a file"])
def test_a_message_behind_thousands_of_ids(driver: Driver, stray: str) -> None:
    """One fetch yields a message behind as many ids without a file, or ids of 0, as the queue
    takes."""
    channel = driver.open("a")
    room = fill(channel.directory)
    expect_nothing(driver, channel, "the queue is full of ids of 0")
    for number in (*(end for end in ENDS if end < room), room - 1):
        _enqueue(channel.directory, number, 0 if stray == "0" else fresh_id())
        message = a_message("a", b"%d" % number)
        put(channel.directory, message)
        expect_message(driver, channel, message, f"behind {number} ids: {stray}")


def _enqueue(directory: Path, number: int, id: int) -> None:
    queue = open_queue(directory)
    try:
        for _ in range(number):
            _write(queue, id)
    finally:
        os.close(queue)


@pytest.mark.requirement("FETCH-17", "CHAN-3", role="subscriber")
def test_messages_among_thousands_of_files(driver: Driver, base: Base) -> None:
    """An owner yields messages, and keeps foreign entries, in a directory with thousands of orphans
    and foreign entries."""
    channel = driver.open("a")
    foreign = make_foreign(channel.directory, 100)
    for _ in range(2049):
        (channel.directory / str(fresh_id())).touch()
    young = [base.publish("a", b"%d" % n) for n in range(3)]
    for message in young[:2]:
        expect_message(driver, channel, message, "in a directory with thousands of files")
    let_age(channel.directory / str(young[2].id))
    driver.reap(stale_age=0)  # the queue is not empty: nothing is an orphan yet
    expect_message(driver, channel, young[2], "in a directory with thousands of files")
    gone = missing(foreign, channel.directory)
    assert not gone, f"{len(gone)} foreign entries were removed"


@pytest.mark.requirement("FETCH-16", role="subscriber")
def test_thousands_of_orphans(driver: Driver) -> None:
    """An owner removes thousands of orphans at once."""
    channel = driver.open("a")
    orphans = [channel.directory / str(fresh_id()) for _ in range(2049)]
    for orphan in orphans:
        orphan.touch()
    let_age(orphans[-1])
    driver.reap(stale_age=0)
    left = {str(orphan.name) for orphan in orphans} & {*os.listdir(channel.directory)}
    assert not left, f"of {len(orphans)} orphans, {len(left)} were left"


@pytest.mark.requirement("GUAR-2", "CHAN-14", role="subscriber")
def test_many_channels_of_one_process(driver: Driver, base: Base) -> None:
    """A process with 129 open channels yields the messages of each from it, and closes them all."""
    channels = [driver.open("a.=" if n % 2 else "+") for n in range(129)]
    sent = [base.publish("a.b", b"%d" % n) for n in range(2)]
    for number, channel in enumerate(channels):
        for message in sent:
            expect_message(driver, channel, message, f"channel {number + 1} of {len(channels)}")
    for channel in channels:
        driver.close_channel(channel)
    assert not base.leftovers(), f"{len(base.leftovers())} entries are left of 129 closed channels"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_a_channel_with_thousands_of_entries_is_closed(driver: Driver, base: Base) -> None:
    """Closing removes thousands of unread messages and foreign entries, wide and deep."""
    channel = driver.open("a")
    _put_many(channel.directory, 64)
    for _ in range(2049):
        (channel.directory / str(fresh_id())).touch()
    make_foreign(channel.directory, 100)
    inner = channel.directory / "deep"
    for _ in range(257):
        inner.mkdir()
        inner = inner / "d"
    driver.close_channel(channel)
    assert not base.leftovers(), f"closing left {len(base.leftovers())} entries"


@pytest.mark.requirement("FETCH-9", role="subscriber")
@pytest.mark.parametrize("octets", range(1, 8))
def test_stray_octets_in_front_of_a_full_queue(driver: Driver, base: Base, octets: int) -> None:
    """Stray octets in front of hundreds of ids shift them; once the queue is empty and they were
    reported, the next message comes."""
    channel = driver.open("a")
    enqueue(channel.directory, b"\xff" * octets)
    for _ in range(257):
        enqueue(channel.directory, fresh_id())
    for _ in range(3):  # a fetch may end after as many ids as the queue held (FETCH-22)
        found = outcome(driver, channel)
        if found is not None:
            break
    assert isinstance(found, Rejected), f"expected damaged-queue, found {found}"
    assert found.code == "damaged-queue", f"expected damaged-queue, found {found}"
    message = base.publish("a", b"afterwards")
    expect_message(driver, channel, message, f"after {octets} stray octets and 257 ids")


YEARS = (
    *(2**31 / 1000, 2**32 / 1000, 2**31, 2**32, 2**32 + 1),
    *(2**bits / unit for bits in (63, 64) for unit in (10**6, 10**9)),
)
"""Timeouts in seconds that leave 31, 32, 63 or 64 bits in some unit."""

PAUSE_SECONDS = 0.05


@pytest.mark.requirement("FETCH-13", "GUAR-2", role="subscriber")
def test_a_wait_that_may_take_years(driver: Driver, base: Base) -> None:
    """A wait with a timeout of years ends when a message comes, and not before: its timeout does
    not overflow."""
    channel = driver.open("a")
    for timeout in YEARS:
        with ThreadPoolExecutor(1) as worker:
            waiting = worker.submit(
                driver.request, "wait", within=30, channel=channel.handle, timeout=timeout
            )
            wait_for([waiting], PAUSE_SECONDS)  # longer if it does not overflow
            message = base.publish("a")
            found = waiting.result()
        assert found["ready"] is True, (
            f"a wait of {timeout:g} s ended before a message came: expected ready, found {found}"
        )
        expect_message(driver, channel, message, f"it ended a wait of {timeout:g} s")
