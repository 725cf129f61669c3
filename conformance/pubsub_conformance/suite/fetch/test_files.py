"""Files that are no message: reported once, and removed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import Message, a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.suite.helpers import answers, refuses

from .support import (
    _expect,
    _expect_nothing,
)


@pytest.mark.requirement("FETCH-4", role="subscriber")
def test_the_file_of_a_message_is_gone_when_it_is_yielded(driver: Driver, base: Base) -> None:
    """And only its file: what was not fetched yet stays."""
    channel = driver.open("a")
    sent = [base.publish("a", b"%d" % n) for n in range(5)]
    while sent:
        assert driver.fetch(channel) == sent.pop(0)
        found = {entry.name for entry in channel.directory.iterdir()} - {"queue"}
        expected = {str(message.id) for message in sent}
        assert found == expected, (
            f"fetched a message, {len(sent)} are unread: the files in the channel should be"
            f" {sorted(expected)}, found {sorted(found)}"
        )


@pytest.mark.requirement("FETCH-5", role="subscriber")
def test_a_file_that_is_not_a_message_is_reported_and_removed(driver: Driver) -> None:
    """Every invalid message of the specification, and an empty file; a good one behind each."""
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
        _expect(driver, channel, good, f"the message behind one with this fault: {fault}")


@pytest.mark.requirement("FETCH-6", role="subscriber")
def test_a_message_under_the_name_of_another_is_invalid(driver: Driver) -> None:
    """The id in the file is not its name; a good message has that id, and that name."""
    channel = driver.open("a")
    good = a_message("a", b"good")
    wrong = put(channel.directory, encode(good), name=str(good.id + 1))
    put(channel.directory, good)
    with refuses("invalid-message", what="a fetch of a file whose name is not the id inside"):
        driver.fetch(channel)
    assert not wrong.exists(), "the file was reported as invalid, but not removed"
    _expect(driver, channel, good, "the message of that id, under its own name")


@contextmanager
def _irregular(kind: str, path: Path, message: Message, elsewhere: Path) -> Iterator[None]:
    """Something that is not a regular file; where it can, it offers a good message."""
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
        with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as listener:
            patch.chdir(path.parent)  # the path of a socket must be short
            listener.bind(path.name)
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
        *(["device"] if os.geteuid() == 0 else []),  # which only root may make
    ],
)
def test_what_is_not_a_regular_file_is_invalid(driver: Driver, base: Base, kind: str) -> None:
    """Not followed, not waited for, nothing of it yielded; the next message comes."""
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
    _expect(driver, channel, good, f"the message behind a {kind}")
    _expect_nothing(driver, channel, "all was fetched")
