"""Removing what the dead left behind (reap.md)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import RENAME, UNLINK, fail, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, fresh_name, put
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import fill, has_reader
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start
from pubsub_conformance.suite.scenes import NOBODY, close_off, start_without_privileges

RUNNING = os.getpid()  # a process id that runs for as long as the test does

LONG_AGO = (0, 0)  # 1970, for st_atime and st_mtime: the times that a file's user may set


def _furnish(directory: Path) -> None:
    """Put into a directory what a channel may hold: messages, and what somebody else put there."""
    directory.mkdir(exist_ok=True)
    for number in range(3):
        message = a_message("a", b"unread %d" % number)
        (directory / str(message.id)).write_bytes(encode(message))
    (directory / "foreign").mkdir()
    (directory / "foreign" / "file").write_bytes(b"not of this layout")


def _names(base: Base) -> set[str]:
    """All that stands in the base, at any depth."""
    return {str(entry.relative_to(base.path)) for entry in base.path.rglob("*")}


# --- Who reaps -------------------------------------------------------------------------------


@pytest.mark.requirement("REAP-1", role="subscriber")
def test_opening_a_channel_reaps_the_base(driver: Driver, base: Base) -> None:
    """A killed subscriber left its channel: the next one to open a channel sweeps it up."""
    left = base.dead_channel("a", dead_pid())
    _furnish(left)
    opened = driver.open("b")
    assert has_reader(opened.directory), f"the channel just opened has no reader\n{base.tree()}"
    assert not left.exists(), (
        f"opened a channel beside {left.name}, whose process has ended and whose queue has no"
        f" reader: it should have been removed, and still stands\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-2", role="publisher")
def test_publishing_removes_only_what_is_its_own(driver: Driver, base: Base) -> None:
    """Dead channels, staged files of others, full queues: a publish leaves all as it was."""
    for pattern in ("a", "b"):
        _furnish(base.dead_channel(pattern, dead_pid()))
    base.dead_channel("a", dead_pid(), queue=False)
    (base.tmp / str(fresh_id())).write_bytes(b"being written by another publisher")
    coming = base.tmp / fresh_name()
    _furnish(coming)
    (base.path / "README").write_bytes(b"foreign")
    with base.open("a") as channel, base.open("a") as full:
        put(full.directory, a_message("a", b"the first in a queue that is full by now"))
        fill(full.directory)
        put(channel.directory, a_message("a", b"unread"))
        before = _names(base)
        let_age(*base.tmp.iterdir(), *base.path.iterdir())
        for topic in ("nobody.listens", "a"):
            driver.publish(topic, b"one queue takes it, one is full, one has no reader")
            gone = before - _names(base)
            assert not gone, f"published to {topic}: nothing of others may go: {sorted(gone)}"


# --- Channels in the base --------------------------------------------------------------------


@pytest.mark.requirement("REAP-3", role="reaper")
@pytest.mark.parametrize("pid", ["ended", "2^32 + 1", "the largest"])
def test_a_channel_without_reader_and_process_is_removed(
    driver: Driver, base: Base, pid: str
) -> None:
    """However young it is. (2^32 + 1 runs nowhere; cut to 32 bits it is 1, which always runs.)"""
    left = base.dead_channel(
        "a.=", {"ended": dead_pid(), "2^32 + 1": 2**32 + 1, "the largest": 9_999_999_999}[pid]
    )
    _furnish(left)
    driver.reap()
    assert not base.leftovers(), (
        f"reaped a base with {left.name}: no such process runs and the queue has no reader, so"
        f" nothing should be left of it, neither in the base nor in tmp; found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-3", role="reaper")
@pytest.mark.parametrize("pid", [RUNNING, 1], ids=["the kit's", "1"])
def test_a_stale_channel_without_reader_is_removed_though_its_process_runs(
    driver: Driver, base: Base, pid: int
) -> None:
    """In a container the dead subscriber was process 1, and process 1 always runs."""
    left = base.dead_channel("+", pid)
    _furnish(left)
    driver.reap()
    assert left.exists(), (
        f"{left.name} was removed though its queue is seconds old and its process runs"
    )
    let_age(left / "queue")
    driver.reap(stale_age=0)
    assert not base.leftovers(), (
        f"reaped with a stale age of 0: {left.name} has no reader and a stale queue, so nothing"
        f" should be left of it; found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-3", "BASE-10", role="reaper")
@pytest.mark.parametrize("kind", ["socket", "regular file", "directory", "symbolic link"])
def test_without_a_fifo_no_queue_is_without_a_reader(
    driver: Driver, base: Base, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """ENXIO counts of a FIFO alone: a socket answers so too. Such a directory is no channel."""
    other = base.dead_channel("a", dead_pid(), queue=False)
    dead = base.dead_channel("a", dead_pid())
    queue = other / "queue"
    if kind == "socket":
        monkeypatch.chdir(other)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("queue")
        monkeypatch.undo()
    elif kind == "regular file":
        queue.write_bytes(b"")
    elif kind == "directory":
        queue.mkdir()
    else:
        os.mkfifo(base.path / "elsewhere")
        queue.symlink_to(base.path / "elsewhere")
    let_age(other, queue)
    driver.reap(stale_age=0)
    assert not dead.exists(), "the dead channel beside it was not removed"
    assert queue.is_symlink() or queue.exists(), (
        f"a directory with a channel's name whose 'queue' is a {kind} is no channel and must be"
        f" left alone; found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-4", role="reaper")
def test_a_channel_with_a_reader_stays(driver: Driver, base: Base) -> None:
    """Its process seems not to run (another container's), its queue is old: its reader lives."""
    with base.open("a", pid=dead_pid()) as living:
        unread = put(living.directory, a_message("a", b"unread"))
        let_age(living.directory, living.directory / "queue", unread)
        before = living.directory.lstat().st_ctime_ns
        driver.reap()
        driver.reap(stale_age=0)
        assert living.directory.exists(), (
            f"{living.directory.name} has a reader and must stay, whatever its process id and age;"
            f" found\n{base.tree()}"
        )
        assert living.directory.lstat().st_ctime_ns == before, (
            "the directory of a channel that has a reader was changed (renamed away and back?):"
            " while it is away, publishers miss it"
        )
        later = base.publish("a", b"later")
        contents = [message.content for message in living.fetch_all()]
        assert contents == [b"unread", later.content], "the channel lost messages to a reaper"


@pytest.mark.requirement("REAP-5", role="reaper")
@pytest.mark.parametrize("pid", [RUNNING, 1], ids=["the kit's", "1"])
def test_a_young_channel_of_a_process_that_runs_stays(driver: Driver, base: Base, pid: int) -> None:
    """Its owner may be about to open it: formix-pubsub makes a channel visible before that."""
    opening = base.dead_channel("a", pid)
    driver.reap()
    assert (opening / "queue").exists(), (
        f"{opening.name} has no reader yet, but its process runs and its queue is young: it must"
        f" stay; found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-5", role="reaper")
def test_a_process_of_another_user_runs(start: Start, base: Base) -> None:
    """A reaper that may not send a signal to a process (EPERM) knows that it runs."""
    driver = start_without_privileges(start)
    with contextlib.ExitStack() as ending:
        pid = 1  # root's, so another's unless the kit is root itself
        if os.geteuid() == 0:
            child = subprocess.Popen(["sleep", "600"], user=NOBODY)
            ending.callback(child.wait)
            ending.callback(child.kill)
            pid = child.pid
        opening = base.dead_channel("a", pid)
        driver.reap()
        assert (opening / "queue").exists(), (
            f"the process of {opening.name} is another user's and runs: the channel must stay;"
            f" found\n{base.tree()}"
        )


@pytest.mark.requirement("REAP-5", role="reaper")
@pytest.mark.parametrize("younger", ["st_ctime", "st_mtime"])
def test_a_queue_is_as_old_as_the_younger_of_its_times(
    driver: Driver, base: Base, younger: str
) -> None:
    """A queue is stale by the younger of st_mtime and st_ctime; the other one says nothing."""
    opening = base.dead_channel("a", RUNNING)
    queue = opening / "queue"
    if younger == "st_ctime":
        os.utime(queue, LONG_AGO)
        driver.reap()
    else:
        soon = time.time() + 1000
        os.utime(queue, (soon, soon))
        later = base.path.with_name("later")  # once it is stale, the queue is by its st_ctime
        later.touch()
        let_age(later, opening)
        driver.reap(stale_age=0)
    assert queue.exists(), (
        f"the queue is not stale by its {younger}, and its process runs: the channel must stay;"
        f" found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-6", role="reaper")
@pytest.mark.parametrize(
    ("stale", "runs"), [(False, False), (True, True), (False, True), (True, False)]
)
def test_a_directory_without_a_queue(driver: Driver, base: Base, stale: bool, runs: bool) -> None:
    """Somebody is between mkdir and mkfifo, until both its age and its process say otherwise."""
    half_made = base.dead_channel("a", RUNNING if runs else dead_pid(), queue=False)
    let_age(half_made)
    if stale:
        driver.reap(stale_age=0)
    else:
        driver.reap()
    if stale and not runs:
        assert not base.leftovers(), (
            f"{half_made.name} has no queue, is stale, and its process does not run: nothing should"
            f" be left of it; found\n{base.tree()}"
        )
    else:
        assert half_made.exists(), (
            f"{half_made.name} has no queue: it must stay unless it is stale (here: {stale}) and"
            f" its process does not run (here it {'runs' if runs else 'does not'})"
        )


# --- What is in tmp --------------------------------------------------------------------------


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


# --- What is in the way ----------------------------------------------------------------------


def _leave(base: Base, kind: str) -> Path:
    """Something that a reaper is to remove, once it is stale."""
    if kind == "file in tmp":
        return base.stage(str(fresh_id()), b"left over")
    left = base.dead_channel("a", dead_pid()) if kind == "channel" else base.tmp / fresh_name()
    _furnish(left)
    return left


def _kinds_reaped(driver: Driver, base: Base) -> list[str]:
    """What this reaper removes where nothing is in its way; that it is all is REAP-3, 7 and 9."""
    base.make()
    left = {kind: _leave(base, kind) for kind in ("channel", "directory in tmp", "file in tmp")}
    let_age(*left.values())
    driver.reap(stale_age=0)
    kinds = [kind for kind, path in left.items() if not path.exists()]
    for path in left.values():
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not kinds:
        not_run("this reaper removes nothing, whatever is in its way or not")
    return kinds


@pytest.mark.requirement("REAP-11", role="reaper")
def test_what_cannot_be_reaped_keeps_nothing_else_from_it(start: Start, base: Base) -> None:
    """Closed to this user, or another's: passed over in silence, whatever the order of the list."""
    driver = start_without_privileges(start)
    kinds = _kinds_reaped(driver, base)
    dead: list[Path] = []
    for _ in range(8):
        dead += [_leave(base, kind) for kind in kinds]
        _close_off_channels(base)
        unclaimed = base.dead_channel("a", dead_pid())
        _furnish(unclaimed)
        close_off(unclaimed, 0o555)
        not_emptied = base.dead_channel("a", dead_pid())
        _furnish(not_emptied)
        close_off(not_emptied / "foreign", 0o555)
        for closed, mode in ((".", 0), ("foreign", 0o555)):
            in_tmp = base.tmp / fresh_name()
            _furnish(in_tmp)
            close_off(in_tmp / closed, mode)
    let_age(*dead, *base.tmp.iterdir())

    driver.reap(stale_age=0)

    left = [str(path.relative_to(base.path)) for path in dead if path.exists()]
    assert not left, (
        "reaped a base in which some directories cannot be looked at or removed: all the others"
        f" should be gone; left: {left}"
    )


def _close_off_channels(base: Base) -> list[Path]:
    """Channels of which cannot be known whether they have a reader."""
    directory, queue = base.dead_channel("a", dead_pid()), base.dead_channel("a", dead_pid())
    close_off(directory, 0)
    close_off(queue / "queue", 0)
    return [directory, queue]


@pytest.mark.requirement("CHAN-9", role="reaper")
def test_what_cannot_be_looked_at_is_not_dead(start: Start, base: Base) -> None:
    """A directory or a queue that is closed to this user: nobody knows whether somebody reads."""
    driver = start_without_privileges(start)
    unknown = _close_off_channels(base)
    let_age(*unknown)
    driver.reap(stale_age=0)
    lost = [path.name for path in unknown if not path.exists()]
    assert not lost, (
        "whether these have a reader could not be known, which is not to be taken for dead, and"
        f" yet they were removed: {lost}"
    )


# --- How it is reaped ------------------------------------------------------------------------


def _left_behind(base: Base, where: str) -> Path:
    """What a reaper is to remove: a dead channel in the base, or a stale directory in tmp."""
    if where == "base":
        left = base.dead_channel("a", dead_pid())
    else:
        base.make()
        left = base.tmp / fresh_name()
        left.mkdir()
        os.mkfifo(left / "queue")
    _furnish(left)
    let_age(left, left / "queue")
    return left


def _claimed(base: Base) -> Path:
    """Where a reaper, stopped after its rename, has put the one thing it was to reap."""
    found = list(base.tmp.iterdir())
    assert len(found) == 1, f"renamed, by a reaper, into tmp: one directory expected\n{base.tree()}"
    return found[0]


@pytest.mark.requirement("REAP-12", role="reaper")
@pytest.mark.parametrize("where", ["base", "tmp"])
def test_a_reaper_claims_before_it_removes(driver: Driver, base: Base, where: str) -> None:
    """The reaper is stopped at the first thing it does: that has to be the rename, of all of it."""
    left = _left_behind(base, where)
    content = sorted(path.relative_to(left) for path in left.rglob("*"))
    with traced(driver, stop((*RENAME, *UNLINK, "rmdir"))) as trace:
        reaping = trace.begin(driver.reap, 0)
        call = trace.stopped()
        assert not left.exists(), (
            f"the reaper's first change on disk was {call}; it has to be the rename of {left.name}"
            f" to a fresh name in tmp\n{base.tree()}"
        )
        claimed = _claimed(base)
        found = sorted(path.relative_to(claimed) for path in claimed.rglob("*"))
        assert found == content, (
            f"{left.name} was renamed with {content} in it; found after {call}: {found}"
        )
        assert not claimed.name.isdecimal(), (
            f"{claimed.name} is a name that a message file could have, not one for a directory"
        )
    reaping.result()
    assert not base.leftovers(), f"claimed, but not removed\n{base.tree()}"


@pytest.mark.requirement("REAP-13", role="reaper")
@pytest.mark.parametrize("where", ["base", "tmp"])
def test_a_reader_that_comes_before_the_claim_keeps_its_channel(
    driver: Driver, base: Base, where: str
) -> None:
    """It opened the queue between the reaper's probe and rename: the reaper has to see it."""
    left = _left_behind(base, where)
    content = sorted(left.rglob("*"))
    with traced(driver, stop(RENAME)) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        reading = os.open(_claimed(base) / "queue", os.O_RDONLY | os.O_NONBLOCK)
        trace.go_on()
        try:
            reaping.result()
            assert sorted(left.rglob("*")) == content, (
                f"the queue of {left.name} had a reader when the reaper had claimed it: it has to"
                f" be renamed back as it was; found\n{base.tree()}"
            )
            assert has_reader(left), "the queue that was renamed back is not the one that was read"
        finally:
            os.close(reading)
    driver.reap(stale_age=0)
    assert not base.leftovers(), f"its reader gone, the channel was not reaped\n{base.tree()}"


@pytest.mark.requirement("REAP-14", role="reaper")
def test_two_reapers_at_once(start: Start, base: Base) -> None:
    """Both meet what the other has just taken; neither may fail, and nothing may be left."""
    reapers = [start(), start()]
    kinds = _kinds_reaped(reapers[0], base)
    with ThreadPoolExecutor(len(reapers)) as pool:
        for _ in range(3):
            let_age(*[_leave(base, kind) for _ in range(40) for kind in kinds])
            reaping = [pool.submit(reaper.reap, 0) for reaper in reapers]
            for done in reaping:
                done.result()
            assert not base.leftovers(), f"two reapers left something\n{base.tree()}"


@pytest.mark.requirement("REAP-14", role="reaper")
def test_everything_else_is_taken_from_under_a_reaper(driver: Driver, base: Base) -> None:
    """Stopped after its first claim, the reaper finds all else gone, the claimed as well."""
    base.make()
    kinds = ("channel", "directory in tmp", "file in tmp")
    let_age(*[_leave(base, kind) for _ in range(5) for kind in kinds])
    with traced(driver, stop(RENAME)) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        for path in (*base.path.iterdir(), *base.tmp.iterdir()):
            if path != base.tmp:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        trace.go_on()
        reaping.result()
    assert not base.leftovers(), f"found after reaping\n{base.tree()}"


@pytest.mark.requirement("REAP-14", role="reaper")
@pytest.mark.parametrize("kind", ["channel", "directory in tmp", "file in tmp"])
def test_another_process_is_always_faster(driver: Driver, base: Base, kind: str) -> None:
    """What the reaper is about to take is gone each time (ENOENT); no error, the rest is reaped."""
    base.make()
    things = [_leave(base, kind) for _ in range(8)]
    let_age(*things)
    # Whether a reaper goes by the list as it is or sorted: one of these is what it meets first.
    listed = [Path(entry) for entry in os.scandir(things[0].parent) if Path(entry) in things]
    taken = {listed[0], min(things), max(things)}
    calls = UNLINK if kind == "file in tmp" else RENAME
    paths = [word for path in taken for word in (path, path.name)]
    with traced(driver, fail(calls, "ENOENT", None), paths=paths) as trace:
        driver.reap(stale_age=0)
    if not any(call.injected for call in trace.calls()):
        not_run(f"the driver reaps without {' or '.join(calls)}")
    left = [path.name for path in things if path.exists() and path not in taken]
    assert not left, (
        f"3 of 8 things to reap (each a {kind}) seemed to be gone when the reaper wanted to take"
        f" them: the others should be reaped, left is {left}"
    )


@pytest.mark.requirement("REAP-15", role="reaper")
def test_nothing_to_reap(driver: Driver, base: Base) -> None:
    """Where nobody has published or subscribed yet there is nothing to do, and no error."""
    driver.reap()
    assert not base.path.exists(), "reaping made the base"
