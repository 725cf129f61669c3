"""Fetching from a marked channel: what begins a record, what is damage, and what is in hand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.linux.strace import stop, traced
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import Message, a_message, decode, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue, held, open_queue
from pubsub_conformance.oracle.record import MARKER, characters, record, send
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.fetch.support import (
    READ,
    expect_message,
    expect_nothing,
    no_descriptor_left,
    outcome,
)
from pubsub_conformance.suite.helpers import refuses

from .support import enlarged, expect_all, open_marked

pytestmark = pytest.mark.timing

Row = dict[str, str]

ROWS = vectors.table("queue")
FILE = decode(
    vectors.octets(""" 50 4d 53 47 01 19 11 77 a5 e8 20 01 85 00 06 44 5d e9 7a 08 00
    00 00 00 01 61 00 00 00 00 00 00 00 00 """)
)
"""The message whose file is in the channel."""

BEFORE = a_message("a", bytes(900))
"""The message of the records that come first where a read is to end within a queue."""

AT_ONCE = 65536
"""As many octets as one read may take (INLINE-19)."""


def _yields(*words: str) -> list[Row]:
    """The vectors of which fetches yield one of these."""
    return [row for row in ROWS if set(words) & set(row["fetches"].split(", "))]


def _others(*words: str) -> list[Row]:
    return [row for row in ROWS if row not in _yields(*words)]


def _check_rows(
    driver: Driver, channel: OpenChannel, rows: Iterable[Row], before: bytes = b""
) -> None:
    """Each queue of the specification has to yield what it says, behind these records."""
    file = channel.directory / str(FILE.id)
    for row in rows:
        where = f"{row['queue']}, behind {len(before)} octets" if before else row["queue"]
        if not file.exists():
            put(channel.directory, FILE, enqueue=False)
        entries = _entries(channel.directory)
        queue = [BEFORE] * before.count(encode(BEFORE))
        enqueue(channel.directory, before)
        enqueue(
            channel.directory,
            vectors.octets(row["hex"]).replace(b"fVd3", characters(channel.directory)),
        )
        for message in queue:
            expect_message_of_record(driver, channel, message)
        expected = [] if row["fetches"] == "none" else row["fetches"].split(", ")
        found: list[str] = []
        while (name := _name(outcome(driver, channel))) and len(found) <= len(expected):
            found.append(name)
        assert found == expected, f"{where}: expected {expected}, found {found}"
        if "file" in expected:
            entries.pop(file.name)
        after = _entries(channel.directory)
        assert after == entries, f"{where}: a fetch changed the directory: {entries} to {after}"


def _name(found: Message | Rejected | None) -> str:
    """What the table calls the outcome of a fetch; empty if there was no message."""
    if isinstance(found, Rejected):
        return found.code
    if found is None:
        return ""
    if found == FILE:
        return "file"
    if found.id == FILE.id:
        return "twin"
    return "record" if found.id == 1806356480000000391 else f"another message: {found}"


def _entries(directory: Path) -> dict[str, bytes]:
    """The entries beside the queue, with their content."""
    return {
        entry.name: entry.read_bytes() for entry in directory.iterdir() if entry.name != "queue"
    }


def _split(driver: Driver, base: Base, rows: list[Row]) -> None:
    """The queues of the specification have to yield the same wherever a read of 64 KiB ends."""
    channel = open_marked(driver, base)
    one = record(channel.directory, encode(BEFORE))
    queue = open_queue(channel.directory)
    try:
        enlarged(queue)
        for ends_after in (8, 24):
            full, rest = divmod(AT_ONCE - ends_after, len(one))
            _check_rows(driver, channel, rows, one * full + bytes(rest))
    finally:
        os.close(queue)


@pytest.mark.requirement("INLINE-8")
def test_what_begins_a_record(driver: Driver, base: Base) -> None:
    """Each queue of the specification without an error yields the messages that it says: a word is
    a record's only if the marker bits, the characters and the length are right."""
    channel = open_marked(driver, base)
    _check_rows(driver, channel, _others("invalid-message", "damaged-queue"))


@pytest.mark.requirement("INLINE-8")
def test_records_that_a_read_cuts(driver: Driver, base: Base) -> None:
    """The same queues yield the same where a read of 64 KiB ends within them."""
    _split(driver, base, _others("invalid-message", "damaged-queue"))


@pytest.mark.requirement("INLINE-9")
def test_invalid_records(driver: Driver, base: Base) -> None:
    """Each invalid record of the specification is reported once, and passed over whole."""
    channel = open_marked(driver, base)
    _check_rows(driver, channel, _yields("invalid-message"))
    _split(driver, base, _yields("invalid-message"))


@pytest.mark.requirement("INLINE-9")
def test_the_longest_invalid_record(driver: Driver, base: Base) -> None:
    """An invalid record of 1016 octets, which contains good records and ids, is passed over whole,
    with its padding."""
    channel = open_marked(driver, base)
    good = a_message("a", b"behind it")
    inside = record(channel.directory, encode(a_message("a", b"inside")))
    for length in (1009, 1012, 1016):
        send(channel.directory, (inside * 30)[:length])
        send(channel.directory, good)
        with refuses("invalid-message", what=f"a fetch of {length} octets that are no message"):
            driver.fetch(channel)
        expect_all(driver, channel, [good], f"behind an invalid record of {length} octets")


@pytest.mark.requirement("INLINE-10")
def test_damage_is_reported_once(driver: Driver, base: Base) -> None:
    """What is cut short at the end of the queue is reported once as damaged-queue, and what is
    written later is yielded."""
    channel = open_marked(driver, base)
    after = a_message("a", b"after the damage")
    for row in _yields("damaged-queue"):
        _check_rows(driver, channel, [row])
        send(channel.directory, after)
        expect_all(driver, channel, [after], f"written after: {row['queue']}")
    _split(driver, base, _yields("damaged-queue"))


@pytest.mark.requirement("INLINE-10")
def test_the_end_of_a_read_is_no_damage(driver: Driver, base: Base) -> None:
    """A queue of 1 MiB that holds 300 records of 1000 octets yields them all: where a read ends
    within a record, the rest is in the queue."""
    channel = open_marked(driver, base)
    queue = open_queue(channel.directory)
    try:
        enlarged(queue)
        sent = [a_message("a", b"%04d" % n + bytes(950)) for n in range(300)]
        for message in sent:
            send(channel.directory, message)
        expect_all(driver, channel, sent, "300 records in a queue of 1 MiB")
    finally:
        os.close(queue)


@pytest.mark.requirement("INLINE-10")
def test_a_record_that_comes_after_the_damage_was_seen(driver: Driver, base: Base) -> None:
    """A record that is written right after a fetch found the queue at its end, with a part of a
    record in hand, is yielded by the next fetch."""
    channel = open_marked(driver, base)
    good = a_message("a", b"after the damage")
    enqueue(channel.directory, record(channel.directory, encode(a_message("a", b"cut")))[:-8])
    with traced(driver, stop(READ, None), paths=[channel.directory / "queue"]) as trace:
        found = trace.begin(outcome, driver, channel)
        for call in trace.stops():
            if call.errno == "EAGAIN":
                send(channel.directory, good)
                trace.go_on()
                break
        else:
            not_run("no read was seen that found the queue empty")
        refused = found.result()
    assert isinstance(refused, Rejected), f"expected damaged-queue, found {refused}"
    assert refused.code == "damaged-queue", f"expected damaged-queue, found {refused}"
    expect_all(driver, channel, [good], "a record that was written after the queue was empty")


@pytest.mark.requirement("INLINE-8")
def test_a_marker_that_vanished(driver: Driver, base: Base) -> None:
    """An owner that marked its channel yields records whether or not the marker is still there."""
    channel = open_marked(driver, base)
    sent = [a_message("a", b"%d" % n) for n in range(4)]
    send(channel.directory, sent[0])
    (channel.directory / MARKER).unlink()
    send(channel.directory, sent[1])
    send(channel.directory, sent[2])
    put(channel.directory, sent[3])
    expect_all(driver, channel, sent, "the marker was removed")


@pytest.mark.requirement("INLINE-8")
@pytest.mark.parametrize("asked", [False, True], ids=["not asked for", "of another channel"])
def test_a_record_that_is_none_here(driver: Driver, base: Base, asked: bool) -> None:
    """Records in a channel that its owner did not mark, even if somebody else did, are ids without
    files, and so are those with the characters of another channel."""
    channel = open_marked(driver, base) if asked else driver.open("a")
    other = driver.open("b", inline=True)
    if not asked:
        (channel.directory / MARKER).touch(0o600)
    stray = record(other.directory if asked else channel.directory, encode(a_message("a")))
    behind = a_message("a", b"behind it")
    enqueue(channel.directory, stray)
    put(channel.directory, behind)
    expect_all(driver, channel, [behind], "behind a record that is none in this channel")


@pytest.mark.requirement("INLINE-8")
def test_ids_of_2_63_and_more(driver: Driver, base: Base) -> None:
    """Ids of 2^63 and more are ids in a marked channel, too, except those that begin a record; in
    an unmarked channel, each is one."""
    inline, plain = open_marked(driver, base), driver.open("a")
    for channel in (inline, plain):
        four = int.from_bytes(characters(channel.directory), "big") << 16
        bits, other = 0x8000 << 48, 0x8001 << 48
        ids = [2**63, 2**63 + 2**40, bits + 34, bits + (four ^ 1 << 20) + 34, bits + four + 33]
        ids += [bits + four + 1017, other + four + 34, 2**64 - 1]
        if channel is plain:
            ids += [bits + four + n for n in (34, 49, 1016)]
        sent = [a_message("a", b"%d" % id, id=id) for id in ids]
        for message in sent:
            put(channel.directory, message)
        expect_all(driver, channel, sent, f"{'a marked' if channel is inline else 'an unmarked'}")


@pytest.mark.requirement("INLINE-11")
def test_a_record_with_the_id_of_a_file(driver: Driver, base: Base) -> None:
    """A record, valid or not, that has the id of a file leaves the file as it is; the file is
    yielded as well, and two records of one id are two messages."""
    channel = open_marked(driver, base)
    file = a_message("a", b"the file")
    twins = [a_message("a", content, id=file.id) for content in (b"first", b"second")]
    put(channel.directory, file, enqueue=False)
    before = (channel.directory / str(file.id)).stat()
    for twin in twins:
        send(channel.directory, twin)
        expect_message_of_record(driver, channel, twin)
    send(channel.directory, encode(file)[:-1] + b"\0\0\0")
    with refuses("invalid-message", what="a fetch of an invalid record with the id of the file"):
        driver.fetch(channel)
    after = (channel.directory / str(file.id)).stat()
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns), (
        "the file with the id of a record was changed"
    )
    enqueue(channel.directory, file.id)
    expect_all(driver, channel, [file], "the file whose id a record had, too")


def expect_message_of_record(driver: Driver, channel: OpenChannel, expected: Message) -> None:
    """The next fetch has to yield this message of a record."""
    found = driver.fetch(channel)
    assert found == expected, f"a record: expected {expected}, found {found}"


@pytest.mark.requirement("INLINE-19")
def test_a_batch_has_a_limit(driver: Driver, base: Base) -> None:
    """A fetch takes at most 64 KiB out of a queue that holds 300 KB."""
    channel = open_marked(driver, base)
    queue = open_queue(channel.directory)
    try:
        enlarged(queue)
        first, last = a_message("a", b"first"), a_message("a", b"last")
        put(channel.directory, first)
        stray = b"".join(fresh_id().to_bytes(8, "big") for _ in range(300_000 // 8))
        for at in range(0, len(stray), 4096):
            enqueue(channel.directory, stray[at : at + 4096])
        send(channel.directory, last)
        before = held(queue)
        expect_message(driver, channel, first, "the first message of a queue of 300 KB")
        taken = before - held(queue)
        assert taken <= AT_ONCE, f"one fetch took {taken} octets out of the queue"
        expect_all(driver, channel, [last], "the last message of a queue of 300 KB")
    finally:
        os.close(queue)


# --- What other pages say of a message in the queue holds for one in hand ---------------------


@pytest.mark.requirement("FETCH-1", "GUAR-2", role="subscriber")
def test_records_and_files_come_in_order(driver: Driver, base: Base) -> None:
    """Records, files and wake-ups come in the order of the queue, while more are written; files
    are removed."""
    channel = open_marked(driver, base, "a.=")
    sent: list[Message] = []

    def write(numbers: range) -> None:
        for n in numbers:
            message = a_message(f"a.{'xyz'[n % 3]}", b"%d" % n * (n % 50), {"n": n})
            (put if n % 7 in (0, 1, 5) else send)(channel.directory, message)
            if n % 5 == 0:
                enqueue(channel.directory, 0)
            sent.append(message)

    write(range(100))
    for number in range(40):
        expect_message(driver, channel, sent[number], f"message {number} of the queue")
    write(range(100, 150))
    expect_all(driver, channel, sent[40:], "records and files in turn")
    left = sorted(entry.name for entry in channel.directory.iterdir())
    assert left == [MARKER, "queue"], f"all was fetched, but the channel holds {left}"


@pytest.mark.requirement("FETCH-21", role="subscriber")
def test_a_wait_with_messages_in_hand(driver: Driver, base: Base) -> None:
    """After one of three records was fetched, a wait is ready at once, and so again after the
    second; then it is not."""
    channel = open_marked(driver, base)
    sent = [a_message("a", b"%d" % n) for n in range(3)]
    for message in sent:
        send(channel.directory, message)
    for message in sent:
        assert driver.wait(channel, 8), f"a wait before the fetch of {message} was not ready"
        expect_message_of_record(driver, channel, message)
    expect_nothing(driver, channel, "all records were fetched")
    assert not driver.wait(channel, 0), "all records were fetched, but a wait was ready"


@pytest.mark.requirement("FETCH-14", role="subscriber")
def test_messages_in_hand_come_before_the_loss(driver: Driver, base: Base) -> None:
    """After one of three records was fetched and the channel was removed, the other two are
    yielded; then a wait ends with channel-lost."""
    channel = open_marked(driver, base)
    sent = [a_message("a", b"%d" % n) for n in range(3)]
    for message in sent:
        send(channel.directory, message)
    expect_message_of_record(driver, channel, sent[0])
    channel.directory.rename(base.tmp / "elsewhere")
    for message in sent[1:]:
        assert driver.wait(channel, 8), "messages were left, but a wait was not ready"
        expect_message_of_record(driver, channel, message)
    with refuses("channel-lost", what="a wait in a channel whose directory is gone"):
        driver.wait(channel, 8)


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_an_id_that_cannot_be_opened_among_records(driver: Driver, base: Base) -> None:
    """If the file of an id cannot be opened now, the id stays the first, and the records behind it
    stay, too."""
    channel = open_marked(driver, base)
    before, file = a_message("a", b"before"), a_message("a", b"file")
    after = [a_message("a", b"after"), a_message("a", b"after that")]
    send(channel.directory, before)
    path = put(channel.directory, file)
    for message in after:
        send(channel.directory, message)
    expect_message_of_record(driver, channel, before)
    with no_descriptor_left(driver.pid):
        for _ in range(2):
            found = outcome(driver, channel)
            assert isinstance(found, Rejected), f"expected io-error EMFILE, found {found}"
            assert (found.code, found.errno) == ("io-error", "EMFILE"), found
            assert path.exists(), "the file that could not be opened was removed"
    expect_all(driver, channel, [file, *after], "with descriptors again")


@pytest.mark.requirement("FETCH-22", role="subscriber")
def test_thousands_of_ids_without_a_file_in_a_batch(driver: Driver, base: Base) -> None:
    """A fetch of 8000 ids without a file yields the record behind them, or no message at once."""
    channel = open_marked(driver, base)
    stray = b"".join(fresh_id().to_bytes(8, "big") for _ in range(8000))
    for at in range(0, len(stray), 4096):
        enqueue(channel.directory, stray[at : at + 4096])
    expect_nothing(driver, channel, "the queue held 8000 ids without a file")
    for at in range(0, len(stray), 4096):
        enqueue(channel.directory, stray[at : at + 4096])
    last = a_message("a", b"behind them")
    send(channel.directory, last)
    expect_all(driver, channel, [last], "behind 8000 ids without a file")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_a_file_whose_id_is_in_hand_is_no_orphan(driver: Driver, base: Base) -> None:
    """A stale file whose id was read together with a record before it stays, and is yielded."""
    channel = open_marked(driver, base)
    record_first, stale = a_message("a", b"a record"), a_message("a", b"a stale file")
    path = put(channel.directory, stale, enqueue=False)
    let_age(path)
    send(channel.directory, record_first)
    enqueue(channel.directory, stale.id)
    expect_message_of_record(driver, channel, record_first)
    driver.reap(stale_age=0)
    assert path.exists(), "the removal of orphans took a file whose id was in hand"
    expect_all(driver, channel, [stale], "a stale file whose id was in hand")
