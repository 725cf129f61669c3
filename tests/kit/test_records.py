"""The oracle's records (spec/inline.md): the kit on both sides of a marked channel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pubsub_conformance import requirements, vectors
from pubsub_conformance.oracle.base import Base, Channel, put
from pubsub_conformance.oracle.message import (
    DamagedQueue,
    InvalidMessage,
    Message,
    a_message,
    decode,
    pack,
)
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.oracle.record import (
    MARKER,
    Cut,
    Record,
    characters,
    is_marked,
    parts,
    record,
    send,
)

ROWS = vectors.table("queue")
FILE = Message(1806356480000000389, 1764020000000000, "a", {}, b"")


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path / "base")


@pytest.fixture
def channel(base: Base) -> Iterator[Channel]:
    with base.open("a", inline=True) as opened:
        yield opened


def outcomes(channel: Channel) -> list[str]:
    """What fetches yield until one finds no message, in the words of the page."""
    found: list[str] = []
    while True:
        try:
            message = channel.fetch()
        except DamagedQueue:
            found.append("damaged-queue")
        except InvalidMessage:
            found.append("invalid-message")
        else:
            if message is None:
                return found or ["none"]
            twin = "file" if message == FILE else "twin"
            found.append(twin if message.id == FILE.id else "record")


@pytest.mark.parametrize("row", ROWS, ids=[row["queue"] for row in ROWS])
def test_the_vectors(channel: Channel, row: dict[str, str]) -> None:
    put(channel.directory, FILE, enqueue=False)
    octets = vectors.octets(row["hex"]).replace(b"fVd3", characters(channel.directory))
    enqueue(channel.directory, octets)
    assert outcomes(channel) == row["fetches"].split(", ")
    found = list(parts(octets, channel.directory))
    damaged = isinstance(found[-1], Cut) if found else False
    assert damaged == ("damaged-queue" in row["fetches"])


def test_the_worked_example_of_the_page(channel: Channel) -> None:
    page = (requirements.SPEC / "inline.md").read_text("utf-8")
    dump = page.partition("### Worked example")[2].split("```")[1]
    octets = vectors.octets(dump).replace(b"fVd3", characters(channel.directory))
    id, message, wake_up = parts(octets, channel.directory)
    assert (id, wake_up) == (1806356480000000389, 0)
    assert isinstance(message, Record)
    assert decode(message.octets).content == b"goal!"
    assert octets[8:-8] == record(channel.directory, message.octets)


def test_records_and_files_come_in_order(channel: Channel) -> None:
    sent = [a_message("a", b"%d" % n * n) for n in range(20)]
    for number, message in enumerate(sent):
        (put if number % 3 else send)(channel.directory, message)
    assert channel.fetch_all() == sent
    assert channel.files() == []


def test_a_channel_without_a_marker_takes_records_for_ids(base: Base) -> None:
    with base.open("a") as channel:
        send(channel.directory, a_message("a"))
        assert channel.fetch() is None


def test_what_a_marker_is(base: Base, tmp_path: Path) -> None:
    with base.open("a", inline=True) as marked, base.open("a") as plain:
        assert is_marked(marked.directory)
        assert not is_marked(plain.directory)
        (tmp_path / "file").touch()
        (plain.directory / MARKER).symlink_to(tmp_path / "file")
        assert not is_marked(plain.directory)
        assert marked.files() == []
        queue = os.fstat(marked.read_end)
        assert base.marked == {(queue.st_dev, queue.st_ino)}
    assert base.leftovers() == []


def test_a_record_has_the_length_that_the_page_gives(channel: Channel) -> None:
    shortest = pack(1 << 56, 0, b"a", b"", b"")
    assert decode(shortest).topic == "a"
    assert len(record(channel.directory, shortest)) == 48
    assert len(record(channel.directory, bytes(1016))) == 1024
