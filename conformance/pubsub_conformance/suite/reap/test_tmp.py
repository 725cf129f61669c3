"""What is in tmp: stale or young, file or directory."""

from __future__ import annotations

import os

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import Base, fresh_name
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import has_reader

from .support import LONG_AGO, _furnish


@pytest.mark.requirement("REAP-7", role="reaper")
def test_a_stale_file_in_tmp_is_removed(driver: Driver, base: Base) -> None:
    """A killed publisher left its staged file; the channels that took it keep theirs."""
    base.make()
    message = a_message("a", b"linked, and enqueued, before its publisher was killed")
    staged = base.stage(str(message.id), encode(message))
    others = [base.stage(name, b"left over") for name in ("1", "left-over", ".hidden", "a.b_c")]
    with base.open("a") as channel:
        os.link(staged, channel.directory / staged.name)
        let_age(staged, *others)
        driver.reap(stale_age=0)
        left = [path.name for path in base.tmp.iterdir()]
        assert not left, f"reaped with a stale age of 0: stale files stand in tmp still: {left}"
        assert channel.files() == [staged.name], (
            "the file in tmp was one name of a message file; its name in a channel must stay"
        )


@pytest.mark.requirement("REAP-8", role="reaper")
@pytest.mark.parametrize("mtime", ["now", "long ago"])
def test_a_file_in_tmp_that_is_not_stale_stays(driver: Driver, base: Base, mtime: str) -> None:
    """A publisher is at work. Its file is as old as its last status change; nothing else counts."""
    base.make()
    staged = base.stage(str(fresh_id()), b"being written")
    if mtime == "long ago":
        os.utime(staged, LONG_AGO)
    driver.reap()
    assert staged.exists(), (
        "a file in tmp was removed though its status changed seconds ago (stale age: an hour;"
        f" its st_mtime: {mtime})"
    )


@pytest.mark.requirement("REAP-9", role="reaper")
@pytest.mark.parametrize("kind", ["empty", "never read", "emptied by half", "queue is no FIFO"])
def test_a_stale_directory_in_tmp_is_removed(driver: Driver, base: Base, kind: str) -> None:
    """A process was killed on its way in, on its way out, or while it reaped."""
    base.make()
    left = base.tmp / fresh_name()
    left.mkdir()
    if kind == "never read":
        os.mkfifo(left / "queue")
    if kind == "queue is no FIFO":
        (left / "queue").write_bytes(b"")
    if kind != "empty":
        _furnish(left)
    let_age(left)
    driver.reap(stale_age=0)
    assert not base.leftovers(), (
        "reaped with a stale age of 0: the directory in tmp is stale and nobody reads a queue in"
        f" it, so nothing should be left of it; found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-10", role="reaper")
def test_a_directory_in_tmp_that_has_a_reader_stays(driver: Driver, base: Base) -> None:
    """A subscriber was stopped between opening its queue and showing its channel."""
    base.make()
    coming = base.tmp / fresh_name()
    coming.mkdir()
    os.mkfifo(coming / "queue")
    reading = os.open(coming / "queue", os.O_RDONLY | os.O_NONBLOCK)
    try:
        let_age(coming, coming / "queue")
        before = coming.lstat().st_ctime_ns
        driver.reap(stale_age=0)
        assert coming.exists(), (
            f"the queue of a directory in tmp has a reader, and yet it was removed\n{base.tree()}"
        )
        assert coming.lstat().st_ctime_ns == before, (
            "a directory in tmp whose queue has a reader was changed (renamed away and back?): its"
            " owner, who is about to rename it, would not find it"
        )
        assert has_reader(coming), "its queue was replaced"
    finally:
        os.close(reading)


@pytest.mark.requirement("REAP-10", role="reaper")
@pytest.mark.parametrize("mtime", ["now", "long ago"])
def test_a_directory_in_tmp_that_is_not_stale_stays(driver: Driver, base: Base, mtime: str) -> None:
    """A subscriber is between making its directory and opening its queue."""
    base.make()
    coming = base.tmp / fresh_name()
    coming.mkdir()
    os.mkfifo(coming / "queue")
    if mtime == "long ago":
        os.utime(coming / "queue", LONG_AGO)
        os.utime(coming, LONG_AGO)
    driver.reap()
    assert (coming / "queue").exists(), (
        "a directory in tmp was removed though its status changed seconds ago (stale age: an hour;"
        f" its st_mtime: {mtime})\n{base.tree()}"
    )
