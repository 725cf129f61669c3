"""Files that are no messages: they are reported once and removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import Message, a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.sockets import make_socket
from pubsub_conformance.suite.helpers import answers, refuses

from .support import (
    expect_message,
    expect_nothing,
)


@pytest.mark.requirement("FETCH-4", role="subscriber")
def test_the_file_of_a_message_is_gone_when_it_is_yielded(driver: Driver, base: Base) -> None:
    """A fetch removes the file of the message that it yields, and no other file."""
    channel = driver.open("a")
    sent = [base.publish("a", b"%d" % n) for n in range(5)]
    while sent:
        assert driver.fetch(channel) == sent.pop(0)
        found = {entry.name for entry in channel.directory.iterdir()} - {"queue"}
        expected = {str(message.id) for message in sent}
        assert found == expected, (
            f"after a fetch, {len(sent)} messages are unread: expected the files"
            f" {sorted(expected)}, found {sorted(found)}"
        )


@pytest.mark.requirement("FETCH-5", role="subscriber")
def test_a_file_that_is_not_a_message_is_reported_and_removed(driver: Driver) -> None:
    """Fetch reports each invalid message of the specification, and an empty file, as
    invalid-message, removes it, and yields the next message."""
    channel = driver.open("a")
    faults = {row["fault"]: bytes.fromhex(row["hex"]) for row in vectors.table("invalid-message")}
    for fault, data in {**faults, "empty": b""}.items():
        id = int.from_bytes(data[5:13], "big") or fresh_id()
        bad = put(channel.directory, data, name=str(id))
        good = a_message("a", fault.encode())
        put(channel.directory, good)
        with refuses("invalid-message", what=f"a fetch of a file with this fault: {fault}"):
            driver.fetch(channel)
        assert not bad.exists(), f"a file with this fault was reported, but not removed: {fault}"
        expect_message(driver, channel, good, f"the message behind one with this fault: {fault}")


@pytest.mark.requirement("FETCH-6", role="subscriber")
def test_a_message_under_the_name_of_another_is_invalid(driver: Driver) -> None:
    """A file whose name is not the id inside is an invalid-message, and is removed."""
    channel = driver.open("a")
    good = a_message("a", b"good")
    wrong = put(channel.directory, encode(good), name=str(good.id + 1))
    put(channel.directory, good)
    with refuses("invalid-message", what="a fetch of a file whose name is not the id inside"):
        driver.fetch(channel)
    assert not wrong.exists(), "the file was reported as invalid, but not removed"
    expect_message(driver, channel, good, "the message of that id, under its own name")


@contextmanager
def _irregular(kind: str, path: Path, message: Message, elsewhere: Path) -> Iterator[None]:
    """Make an entry that is not a regular file. Where it can, it offers a good message."""
    if kind == "symbolic link":
        elsewhere.write_bytes(encode(message))
        path.symlink_to(elsewhere)
    elif kind == "dangling link":
        path.symlink_to(elsewhere)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, 0o020666, os.stat("/dev/null").st_rdev)
    elif kind == "socket":
        make_socket(path)
    else:
        os.mkfifo(path)
    if kind != "FIFO that holds a message":
        yield
        return
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(writing, encode(message))
        yield
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.requirement("FETCH-7", role="subscriber")
@pytest.mark.parametrize(
    "kind",
    [
        "symbolic link",
        "dangling link",
        "directory",
        "FIFO",
        "FIFO that holds a message",
        "socket",
        *(["device"] if os.geteuid() == 0 else []),  # only root may make one
    ],
)
def test_what_is_not_a_regular_file_is_invalid(driver: Driver, base: Base, kind: str) -> None:
    """Fetch reports an entry that is not a regular file as invalid-message, without following it
    or waiting for it, and yields the next message."""
    channel = driver.open("a")
    offered = a_message("a", b"never to be yielded")
    elsewhere = base.path / "elsewhere"
    with _irregular(kind, channel.directory / str(offered.id), offered, elsewhere):
        enqueue(channel.directory, offered.id)
        good = base.publish("a", b"good")
        what = f"a fetch of a message that is a {kind}"
        with answers(what), refuses("invalid-message", what=what):
            driver.fetch(channel)
    if kind == "symbolic link":
        assert elsewhere.exists(), "a symbolic link was followed: the file it points to is gone"
    expect_message(driver, channel, good, f"the message behind a {kind}")
    expect_nothing(driver, channel, "all was fetched")
