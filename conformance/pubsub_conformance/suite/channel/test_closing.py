"""Closing and removing: the channel is claimed whole and removed whole, and no link is followed."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import LIST, LOOK, RENAME, UNLINK, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import MESSAGE_NAME, Base, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.sockets import make_socket
from pubsub_conformance.suite.helpers import Start, refuses
from pubsub_conformance.suite.scenes import start_without_privileges

from .support import foreign_entries, is_received

pytestmark = pytest.mark.timing

NOT_EMPTY = ("ENOTEMPTY", "EEXIST")


def _furnish(directory: Path, outside: Path) -> None:
    """Fill a channel with messages and foreign entries, and with links that lead outside."""
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


def _check_untouched(outside: Path) -> None:
    """Nothing outside the base may have changed."""
    found = sorted(str(path.relative_to(outside)) for path in outside.rglob("*"))
    assert found == ["file", "inner", "inner/file"], f"links were followed; outside: {found}"
    assert (outside / "file").read_bytes() == b"outside", "a link was followed and written through"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_removes_everything_in_it(driver: Driver, base: Base, outside: Path) -> None:
    """Closing removes the channel with all messages, orphans, foreign entries and links in it."""
    channel, other = driver.open("a"), driver.open("a")
    driver.close_channel(other)
    assert base.channels() == [channel.directory]
    _furnish(channel.directory, outside)
    driver.close_channel(channel)
    assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_a_channel_that_is_full(driver: Driver, base: Base) -> None:
    """An owner can close a channel whose queue is full."""
    channel = driver.open("a")
    put(channel.directory, a_message("a"))
    fill(channel.directory)
    driver.close_channel(channel)
    assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_closes_that_channel_only(driver: Driver, base: Base) -> None:
    """Closing one channel leaves the owner's other channels open, with their messages."""
    closing, staying = driver.open("a"), driver.open("a")
    message = base.publish("a", b"x")
    driver.close_channel(closing)
    assert base.channels() == [staying.directory]
    assert driver.fetch(staying) == message
    assert is_received(base, driver, staying)


@pytest.mark.requirement("CHAN-15", role="subscriber")
def test_closing_follows_no_links(driver: Driver, outside: Path) -> None:
    """Closing a channel does not touch the targets of links in it."""
    channel = driver.open("a")
    _furnish(channel.directory, outside)
    with contextlib.suppress(Rejected):  # CHAN-14 says that it succeeds
        driver.close_channel(channel)
    _check_untouched(outside)


@pytest.mark.requirement("CHAN-15", role="reaper")
def test_reaping_follows_no_links(driver: Driver, base: Base, outside: Path) -> None:
    """Reaping a dead channel does not touch the targets of links in it."""
    dead = base.open("a", pid=dead_pid())
    _furnish(dead.directory, outside)
    dead.stop_reading()
    with contextlib.suppress(Rejected):  # REAP-3 says that it succeeds
        driver.reap()
    _check_untouched(outside)


@pytest.mark.requirement("CHAN-16", role="subscriber")
def test_closing_begins_with_a_rename_into_tmp(driver: Driver, base: Base) -> None:
    """The first change that closing makes is a rename of the whole directory into `tmp`."""
    channel = driver.open("a")
    _check_claim(base, channel.directory, driver, lambda: driver.close_channel(channel))


@pytest.mark.requirement("CHAN-16", role="reaper")
def test_reaping_begins_with_a_rename_into_tmp(driver: Driver, base: Base) -> None:
    """The first change that a reaper makes is a rename of the whole dead channel into `tmp`."""
    dead = base.open("a", pid=dead_pid())
    dead.stop_reading()
    _check_claim(base, dead.directory, driver, driver.reap)


def _check_claim(
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
    assert content == [before], f"after {call}, tmp held {content}; the channel had held {before}"
    assert not MESSAGE_NAME.fullmatch(claimed[0].name), (
        f"the claimed directory has the name of a message file: {claimed[0].name}"
    )
    assert not directory.exists(), f"the channel is visible again:\n{base.tree()}"
    assert os.listdir(base.tmp) == [], f"something is left in tmp:\n{base.tree()}"


@pytest.mark.requirement("CHAN-16", role="subscriber")
def test_nobody_sees_half_a_channel(driver: Driver, base: Base) -> None:
    """While a channel is closed, no listing of its directory in the base lacks an entry."""
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
                    # If it still exists, the listing was of the visible directory.
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
        assert not halves, f"the channel was visible with {halves[:3]} of {len(names)} entries"


@pytest.mark.requirement("CHAN-17", role="subscriber")
def test_a_late_link_while_closing(driver: Driver, base: Base) -> None:
    """If publishers make links in the claimed directory, closing still removes it."""

    def open_channel() -> tuple[Path, Callable[[], None]]:
        channel = driver.open("a")
        return channel.directory, functools.partial(driver.close_channel, channel)

    _check_late_link(base, driver, open_channel)


@pytest.mark.requirement("CHAN-17", role="reaper")
def test_a_late_link_while_reaping(driver: Driver, base: Base) -> None:
    """If publishers make links in the claimed directory, a reaper still removes it."""
    _check_late_link(base, driver, lambda: (base.dead_channel("a", dead_pid()), driver.reap))


def _check_late_link(
    base: Base, driver: Driver, make: Callable[[], tuple[Path, Callable[[], None]]]
) -> None:
    # A link is late if the driver looks no more, but removes the directory. An undisturbed removal
    # shows how many calls it makes there while the directory is empty.
    plain = _remove(base, driver, *make())
    if not plain.looks:
        not_run("the directory was never seen empty, in the base or in tmp")
    # A second link comes after the driver has met the first.
    removal = _remove(base, driver, *make(), links=2, after=plain.looks)
    assert not removal.directory.exists(), (
        f"the directory was left, with the late link:\n{base.tree()}"
    )
    if removal.failures == plain.failures:
        not_run("the driver saw the late link before it removed the directory")


class _Removal(NamedTuple):
    """The removal of a channel."""

    directory: Path
    """Where it was last."""
    looks: int
    """How many removals and listings ended while it was empty."""
    failures: int
    """How many removals failed because a directory was not empty."""


def _remove(
    base: Base,
    driver: Driver,
    directory: Path,
    take_down: Callable[[], None],
    links: int = 0,
    after: int = 0,
) -> _Removal:
    """Have a channel removed. Each late link comes `after` so many looks at the empty directory."""
    inode = directory.stat().st_ino
    looks = 0
    with traced(driver, stop((*UNLINK, *LIST), nth=None)) as trace:
        trace.begin(take_down)
        with contextlib.suppress(Rejected):  # the directory shows what is wrong
            for _ in trace.stops():
                # If it was claimed (CHAN-16), it is in tmp.
                for place in (directory, *(base.tmp.iterdir() if base.tmp.exists() else ())):
                    if place.exists() and place.stat().st_ino == inode:
                        directory = place
                        looks += not os.listdir(place)
                        if links and looks == after:
                            (place / str(fresh_id())).write_bytes(b"late")
                            links, looks = links - 1, 0
    failures = [call for call in trace.calls("rmdir", *UNLINK) if call.errno in NOT_EMPTY]
    return _Removal(directory, looks, len(failures))


@pytest.mark.requirement("CHAN-18", role="subscriber")
def test_a_closed_channel(driver: Driver, base: Base) -> None:
    """Fetching from a closed channel, and waiting for it, fail as channel-closed; other channels go
    on."""
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
    assert message is not None, "the open channel yields no message"
    assert message.content == b"unread"


@pytest.mark.requirement("CHAN-18", role="subscriber")
def test_closing_twice(driver: Driver, base: Base) -> None:
    """Closing a channel a second time does nothing, to this channel or to another one."""
    closed, open_ = driver.open("a"), driver.open("a")
    driver.close_channel(closed)
    # The implementation reports no error. Its driver may, because it forgot the handle.
    code = None
    try:
        driver.close_channel(closed)
    except Rejected as error:
        code = error.code
    assert code in (None, "channel-closed"), f"closing a closed channel: {code}"
    assert base.channels() == [open_.directory]
    assert is_received(base, driver, open_)


@pytest.mark.requirement("CHAN-19", role="subscriber")
def test_a_refused_pattern_leaves_nothing(driver: Driver, base: Base) -> None:
    """Opening refuses an invalid pattern before it touches the disk."""
    with pytest.raises(Rejected):  # TOPIC-2 says with which error
        driver.open("a b")
    assert not base.path.exists(), f"the refused opening left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_where_tmp_is_gone(driver: Driver, base: Base) -> None:
    """Closing removes the channel where `tmp` is gone: the claim's ENOENT means `tmp`."""
    channel = driver.open("a")
    base.publish("a", b"unread")
    shutil.rmtree(base.tmp)
    driver.close_channel(channel)
    assert not channel.directory.exists(), f"the channel still exists:\n{base.tree()}"
    assert base.leftovers() == [], f"closing left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-20", role="subscriber")
def test_closing_leaves_what_is_not_its_own(driver: Driver, base: Base) -> None:
    """Closing a channel leaves a foreign directory that somebody put into its place."""
    channel = driver.open("a")
    shutil.rmtree(channel.directory)
    channel.directory.mkdir()
    (channel.directory / "theirs").write_bytes(b"theirs")
    with contextlib.suppress(Rejected):  # closing a lost channel may fail
        driver.close_channel(channel)
    assert (channel.directory / "theirs").exists(), f"the foreign directory is gone:\n{base.tree()}"


@pytest.mark.requirement("CHAN-22", role="subscriber")
def test_another_directory_comes_before_the_claim(driver: Driver, base: Base) -> None:
    """If a foreign directory takes the channel's place right before the claim, closing puts it
    back."""
    swapped = 0
    for nth in range(1, 4):
        channel = driver.open("a")
        theirs = channel.directory / "theirs"
        away = base.path.parent / f"away-{nth}"
        with (
            traced(
                driver, stop(LOOK, nth), paths=[channel.directory, channel.directory.name]
            ) as trace,
            contextlib.suppress(Rejected),  # closing a lost channel may fail
        ):
            closing = trace.begin(driver.close_channel, channel)
            for _ in trace.stops():
                if channel.directory.is_dir():  # not claimed yet
                    channel.directory.rename(away)
                    channel.directory.mkdir()
                    theirs.write_bytes(b"theirs")
                    swapped += 1
            closing.result()
        if away.exists():
            assert (away / "queue").exists(), "the owner removed something outside of the base"
            assert theirs.exists(), f"the foreign directory was removed:\n{base.tree()}"
    if not swapped:
        not_run("the owner does not look at its directory before it claims it")


@pytest.mark.requirement("CHAN-14", role="subscriber")
@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_a_directory_that_denies_access_is_removed(start: Start, base: Base, full: bool) -> None:
    """Closing removes directories of the owner that lack permissions, for it can give itself
    access."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    for mode in range(0, 0o700, 0o100):
        closed = channel.directory / f"{mode:04o}"
        closed.mkdir()
        if full:
            (closed / "file").write_bytes(b"foreign")
            (closed / "inner" / "empty").mkdir(parents=True)
            (closed / "inner" / "file").write_bytes(b"foreign")
            (closed / "inner").chmod(mode)
        closed.chmod(mode)
    driver.close_channel(channel)
    assert not base.leftovers(), f"something is left after closing:\n{base.tree()}"
