"""Entries of `tmp`: stale or young, files or directories."""

from __future__ import annotations

import os

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import Base, fresh_name
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import has_reader

from .support import LONG_AGO, furnish


@pytest.mark.requirement("REAP-7", role="reaper")
def test_a_stale_file_in_tmp_is_removed(driver: Driver, base: Base) -> None:
    """A reaper removes stale files from `tmp`; the links of a staged file in channels stay."""
    base.make()
    message = a_message("a", b"linked, and enqueued, before its publisher was killed")
    staged = base.stage(str(message.id), encode(message))
    others = [base.stage(name, b"left over") for name in ("1", "left-over", ".hidden", "a.b_c")]
    with base.open("a") as channel:
        os.link(staged, channel.directory / staged.name)
        let_age(staged, *others)
        driver.reap(stale_age=0)
        left = [path.name for path in base.tmp.iterdir()]
        assert not left, f"stale files were left in tmp (stale age 0): {left}"
        assert channel.files() == [staged.name], (
            "the staged file has another name in a channel, which has to stay"
        )


@pytest.mark.requirement("REAP-8", role="reaper")
@pytest.mark.parametrize("mtime", ["now", "long ago"])
def test_a_file_in_tmp_that_is_not_stale_stays(driver: Driver, base: Base, mtime: str) -> None:
    """A reaper keeps a file in `tmp` whose status changed recently, whatever its st_mtime is."""
    base.make()
    staged = base.stage(str(fresh_id()), b"being written")
    if mtime == "long ago":
        os.utime(staged, LONG_AGO)
    driver.reap()
    assert staged.exists(), (
        "a file in tmp was removed, though its status changed seconds ago (stale age: an hour;"
        f" its st_mtime: {mtime})"
    )


@pytest.mark.requirement("REAP-9", role="reaper")
@pytest.mark.parametrize("kind", ["empty", "never read", "emptied by half", "queue is no FIFO"])
def test_a_stale_directory_in_tmp_is_removed(driver: Driver, base: Base, kind: str) -> None:
    """A reaper removes a stale directory from `tmp` if its queue, if any, has no reader."""
    base.make()
    left = base.tmp / fresh_name()
    left.mkdir()
    if kind == "never read":
        os.mkfifo(left / "queue")
    if kind == "queue is no FIFO":
        (left / "queue").write_bytes(b"")
    if kind != "empty":
        furnish(left)
    let_age(left)
    driver.reap(stale_age=0)
    assert not base.leftovers(), (
        "the directory in tmp is stale (stale age 0) and has no queue with a reader: expected"
        f" nothing of it, found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-10", role="reaper")
def test_a_directory_in_tmp_that_has_a_reader_stays(driver: Driver, base: Base) -> None:
    """A reaper keeps a stale directory in `tmp` whose queue has a reader."""
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
            f"a directory in tmp was removed, though its queue has a reader\n{base.tree()}"
        )
        assert coming.lstat().st_ctime_ns == before, (
            "a directory in tmp whose queue has a reader was changed (renamed and back?): its owner"
            " may rename it at this moment"
        )
        assert has_reader(coming), "its queue was replaced"
    finally:
        os.close(reading)


@pytest.mark.requirement("REAP-10", role="reaper")
@pytest.mark.parametrize("mtime", ["now", "long ago"])
def test_a_directory_in_tmp_that_is_not_stale_stays(driver: Driver, base: Base, mtime: str) -> None:
    """A reaper keeps a directory in `tmp` whose status changed recently, whatever its st_mtime
    is."""
    base.make()
    coming = base.tmp / fresh_name()
    coming.mkdir()
    os.mkfifo(coming / "queue")
    if mtime == "long ago":
        os.utime(coming / "queue", LONG_AGO)
        os.utime(coming, LONG_AGO)
    driver.reap()
    assert (coming / "queue").exists(), (
        "a directory in tmp was removed, though its status changed seconds ago (stale age: an hour;"
        f" its st_mtime: {mtime})\n{base.tree()}"
    )
