"""Closing and removing: claimed whole, everything removed, no link followed."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import (
    RENAME,
    UNLINK,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import MESSAGE_NAME, Base, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses

from .support import foreign_entries, is_received, make_socket


def _furnish(directory: Path, outside: Path) -> None:
    """Fill a channel with all that may stand in one, links to what is outside included."""
    for _ in range(3):
        put(directory, a_message("a", b"unread"))
        put(directory, a_message("a", b"orphan"), enqueue=False)
    foreign_entries(directory)
    deep = directory / str(fresh_id())
    deep.mkdir()
    for _ in range(5):
        deep = deep / "deeper"
        deep.mkdir()
        (deep / "file").write_bytes(b"foreign")
    make_socket(directory / "socket")
    (directory / "to-file").symlink_to(outside / "file")
    (directory / "to-directory").symlink_to(outside)
    (directory / str(fresh_id())).symlink_to(outside)
    (deep / "to-directory").symlink_to(outside, target_is_directory=True)


@pytest.fixture
def outside(home: Path) -> Path:
    """A directory outside the base, for links to lead to."""
    path = home.parent / "outside"
    (path / "inner").mkdir(parents=True)
    (path / "file").write_bytes(b"outside")
    (path / "inner" / "file").write_bytes(b"outside")
    return path


def _untouched(outside: Path) -> None:
    found = sorted(str(path.relative_to(outside)) for path in outside.rglob("*"))
    assert found == ["file", "inner", "inner/file"], f"links were followed; outside: {found}"
    assert (outside / "file").read_bytes() == b"outside", "a link was followed and written through"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_removes_everything_in_it(driver: Driver, base: Base, outside: Path) -> None:
    """Unread messages, orphans, foreign entries, directories and links go."""
    channel, other = driver.open("a"), driver.open("a")
    driver.close_channel(other)
    assert base.channels() == [channel.directory]
    _furnish(channel.directory, outside)
    driver.close_channel(channel)
    assert base.leftovers() == [], f"after closing, this is left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_a_channel_that_is_full(driver: Driver, base: Base) -> None:
    """A full queue does not keep an owner from closing."""
    channel = driver.open("a")
    put(channel.directory, a_message("a"))
    fill(channel.directory)
    driver.close_channel(channel)
    assert base.leftovers() == [], f"after closing, this is left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_closes_that_channel_only(driver: Driver, base: Base) -> None:
    """Other channels of the owner stay open, with their messages."""
    closing, staying = driver.open("a"), driver.open("a")
    message = base.publish("a", b"x")
    driver.close_channel(closing)
    assert base.channels() == [staying.directory]
    assert driver.fetch(staying) == message
    assert is_received(base, driver, staying)


@pytest.mark.requirement("CHAN-15", role="subscriber")
def test_closing_follows_no_links(driver: Driver, outside: Path) -> None:
    """Whatever becomes of the links in a channel that is closed, what they lead to stays."""
    channel = driver.open("a")
    _furnish(channel.directory, outside)
    with contextlib.suppress(Rejected):  # that it comes to its end is CHAN-14
        driver.close_channel(channel)
    _untouched(outside)


@pytest.mark.requirement("CHAN-15", role="reaper")
def test_reaping_follows_no_links(driver: Driver, base: Base, outside: Path) -> None:
    """Whatever becomes of the links in a dead channel, what they lead to stays."""
    dead = base.open("a", pid=dead_pid())
    _furnish(dead.directory, outside)
    dead.stop_reading()
    with contextlib.suppress(Rejected):  # that it is removed is REAP-3
        driver.reap()
    _untouched(outside)


@pytest.mark.requirement("CHAN-16", role="subscriber")
def test_closing_begins_with_a_rename_into_tmp(driver: Driver, base: Base) -> None:
    """Stopped at the first thing that closing does to the directory: all of it is in `tmp`."""
    channel = driver.open("a")
    _is_claimed_whole(base, channel.directory, driver, lambda: driver.close_channel(channel))


@pytest.mark.requirement("CHAN-16", role="reaper")
def test_reaping_begins_with_a_rename_into_tmp(driver: Driver, base: Base) -> None:
    """As closing: what a reaper found dead is moved to `tmp` before anything in it goes."""
    dead = base.open("a", pid=dead_pid())
    dead.stop_reading()
    _is_claimed_whole(base, dead.directory, driver, driver.reap)


def _is_claimed_whole(
    base: Base, directory: Path, driver: Driver, take_down: Callable[[], None]
) -> None:
    for _ in range(3):
        put(directory, a_message("a"), enqueue=False)
    before = sorted(os.listdir(directory))
    with traced(driver, stop([*RENAME, *UNLINK, "rmdir"])) as trace:
        taken_down = trace.begin(take_down)
        call = trace.stopped()
        visible = directory.exists()
        claimed = list(base.tmp.iterdir())
        content = [sorted(os.listdir(entry)) for entry in claimed]
    taken_down.result()
    assert not visible, f"the channel was still visible after {call}"
    assert content == [before], f"in tmp, after {call}: {content}; in the channel before: {before}"
    assert not MESSAGE_NAME.fullmatch(claimed[0].name), "a name that a message file could have"
    assert not directory.exists(), f"the channel is there again:\n{base.tree()}"
    assert os.listdir(base.tmp) == [], f"left in tmp:\n{base.tree()}"


@pytest.mark.requirement("CHAN-16", role="subscriber")
def test_nobody_sees_half_a_channel(driver: Driver, base: Base) -> None:
    """Somebody who looks all the time never sees a channel from which something is missing."""
    for _ in range(3):
        channel = driver.open("a")
        names = {"queue", *(f"foreign-{number}" for number in range(1000))}
        for name in names - {"queue"}:
            (channel.directory / name).touch()
        inode = channel.directory.stat().st_ino
        closed = threading.Event()
        halves: list[int] = []

        def look(
            directory: Path = channel.directory,
            whole: set[str] = names,
            inode: int = inode,
            closed: threading.Event = closed,
            halves: list[int] = halves,
        ) -> None:
            while not closed.is_set():
                try:
                    found = set(os.listdir(directory))
                    # Still there afterwards: then the list was of what was visible.
                    if found != whole and directory.stat().st_ino == inode:
                        halves.append(len(found))
                except FileNotFoundError:
                    return

        looking = threading.Thread(target=look)
        looking.start()
        try:
            driver.close_channel(channel)
        finally:
            closed.set()
            looking.join()
        assert not halves, f"seen in the base with {halves[:3]} of {len(names)} entries"


@pytest.mark.requirement("CHAN-17", role="subscriber")
def test_a_late_link_while_closing(driver: Driver, base: Base) -> None:
    """A publisher puts its link into the claimed directory: closing goes on until it is gone."""
    channel = driver.open("a")
    take_down = functools.partial(driver.close_channel, channel)
    _meets_a_late_link(base, channel.directory, driver, take_down)


@pytest.mark.requirement("CHAN-17", role="reaper")
def test_a_late_link_while_reaping(driver: Driver, base: Base) -> None:
    """As closing: a reaper goes on until the directory is gone."""
    dead = base.dead_channel("a", dead_pid())
    _meets_a_late_link(base, dead, driver, driver.reap)


def _meets_a_late_link(
    base: Base, directory: Path, driver: Driver, take_down: Callable[[], None]
) -> None:
    # When a removal has left the directory empty, the driver has read it, and removes it next: a
    # link that comes now is late. A second one comes after the driver has met the first.
    inode = directory.stat().st_ino
    left = [fresh_id(), fresh_id()]
    claimed: Path | None = None
    with traced(driver, stop(UNLINK, nth=None)) as trace:
        trace.begin(take_down)
        with contextlib.suppress(Rejected):  # the directory shows what is wrong
            for _ in trace.stops():
                # In tmp, if it was claimed (CHAN-16).
                for place in (directory, *(base.tmp.iterdir() if base.tmp.exists() else ())):
                    if left and place.exists() and place.stat().st_ino == inode:
                        claimed = place
                        if not os.listdir(place):
                            (place / str(left.pop())).write_bytes(b"late")
    if claimed is None:
        not_run("the directory is neither in the base nor in tmp")
    assert not claimed.exists(), f"the late link was left, and its directory:\n{base.tree()}"
    met = [call for call in trace.calls("rmdir", *UNLINK) if call.errno in ("ENOTEMPTY", "EEXIST")]
    if not met:
        not_run("the late link was seen before the directory was to be removed")


@pytest.mark.requirement("CHAN-18", role="subscriber")
def test_a_closed_channel(driver: Driver, base: Base) -> None:
    """Fetching from it and waiting for it fail as `channel-closed`; others go on."""
    closed, open_ = driver.open("a"), driver.open("a")
    base.publish("a", b"unread")
    driver.close_channel(closed)
    for _ in range(2):
        with refuses("channel-closed", what="a fetch from a closed channel"):
            driver.fetch(closed)
        with refuses("channel-closed", what="a wait for a closed channel"):
            driver.wait(closed, 0)
        with refuses("channel-closed", what="consuming a closed channel"):
            list(driver.consume(closed, deadline=0))
    message = driver.fetch(open_)
    assert message is not None, "the channel that is open was closed, too"
    assert message.content == b"unread"


@pytest.mark.requirement("CHAN-18", role="subscriber")
def test_closing_twice(driver: Driver, base: Base) -> None:
    """It does nothing: another channel is not taken for it, and nothing else is removed."""
    closed, open_ = driver.open("a"), driver.open("a")
    driver.close_channel(closed)
    # The implementation says nothing; that its driver does not know the handle any more is as good.
    refused = None
    try:
        driver.close_channel(closed)
    except Rejected as no:
        refused = no.code
    assert refused in (None, "channel-closed"), f"closing a closed channel: {refused}"
    assert base.channels() == [open_.directory]
    assert is_received(base, driver, open_)


@pytest.mark.requirement("CHAN-19", role="subscriber")
def test_a_refused_pattern_leaves_nothing(driver: Driver, base: Base) -> None:
    """The pattern is judged before the disk is touched."""
    with pytest.raises(Rejected):  # as what is for TOPIC-2 to say
        driver.open("a b")
    assert not base.path.exists(), f"a refused opening left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_where_tmp_is_gone(driver: Driver, base: Base) -> None:
    """ENOENT from the claim does not say that the channel is gone: it may be `tmp` that is."""
    channel = driver.open("a")
    base.publish("a", b"unread")
    shutil.rmtree(base.tmp)
    driver.close_channel(channel)
    assert not channel.directory.exists(), f"the channel is still there:\n{base.tree()}"
    assert base.leftovers() == [], f"closing left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-20", role="subscriber")
def test_closing_leaves_what_is_not_its_own(driver: Driver, base: Base) -> None:
    """Somebody took the channel away and put a directory of their own in its place."""
    channel = driver.open("a")
    shutil.rmtree(channel.directory)
    channel.directory.mkdir()
    (channel.directory / "theirs").write_bytes(b"theirs")
    with contextlib.suppress(Rejected):  # whether a lost channel can be closed in peace is not said
        driver.close_channel(channel)
    assert (channel.directory / "theirs").exists(), f"it is gone:\n{base.tree()}"
