"""Who reaps, and which channels of the base are removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, channel_name, fresh_name, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import fill, has_reader
from pubsub_conformance.sockets import make_socket
from pubsub_conformance.suite.helpers import Start, owner
from pubsub_conformance.suite.scenes import NOBODY, start_without_privileges

from .support import LONG_AGO, RUNNING, entry_names, furnish


@pytest.mark.requirement("REAP-1", role="subscriber")
def test_opening_a_channel_reaps_the_base(driver: Driver, base: Base) -> None:
    """Opening a channel removes the channel that a killed subscriber left."""
    left = base.dead_channel("a", dead_pid())
    furnish(left)
    opened = driver.open("b")
    assert has_reader(opened.directory), f"the channel just opened has no reader\n{base.tree()}"
    assert not left.exists(), (
        f"{left.name} still exists after an opening, though its process has ended and its queue has"
        f" no reader\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-2", role="publisher")
def test_publishing_removes_only_what_is_its_own(driver: Driver, base: Base) -> None:
    """A publish removes neither dead channels, nor staged files or links of other publishers."""
    for pattern in ("a", "b"):
        furnish(base.dead_channel(pattern, dead_pid()))
    base.dead_channel("a", dead_pid(), queue=False)
    (base.tmp / str(fresh_id())).write_bytes(b"being written by another publisher")
    coming = base.tmp / fresh_name()
    furnish(coming)
    (base.path / "README").write_bytes(b"foreign")
    with base.open("a") as channel, base.open("a") as full:
        put(full.directory, a_message("a", b"the first in a queue that is full by now"))
        fill(full.directory)
        put(channel.directory, a_message("a", b"unread"))
        before = entry_names(base)
        let_age(*base.tmp.iterdir(), *base.path.iterdir())
        for topic in ("nobody.listens", "a"):
            driver.publish(topic, b"one queue takes it, one is full, one has no reader")
            gone = before - entry_names(base)
            assert not gone, f"a publish to {topic} removed {sorted(gone)}"


# --- Channels in the base --------------------------------------------------------------------


@pytest.mark.requirement("REAP-3", role="reaper")
@pytest.mark.parametrize("pid", ["ended", "2^32 + 1", "the largest"])
def test_a_channel_without_reader_and_process_is_removed(
    driver: Driver, base: Base, pid: str
) -> None:
    """A reaper removes a channel of any age whose queue has no reader and whose process does not
    run."""
    # Cut to 32 bits, 2^32 + 1 is 1, which always runs.
    left = base.dead_channel(
        "a.=", {"ended": dead_pid(), "2^32 + 1": 2**32 + 1, "the largest": 9_999_999_999}[pid]
    )
    furnish(left)
    driver.reap()
    assert not base.leftovers(), (
        f"the process of {left.name} does not run and its queue has no reader: expected nothing of"
        f" it, in the base or in tmp, found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-3", role="reaper")
@pytest.mark.parametrize("pid", [RUNNING, 1], ids=["the kit's", "1"])
def test_a_stale_channel_without_reader_is_removed_though_its_process_runs(
    driver: Driver, base: Base, pid: int
) -> None:
    """A reaper removes a channel whose queue has no reader and is stale, even if its process
    runs."""
    left = base.dead_channel("+", pid)
    furnish(left)
    driver.reap()
    assert left.exists(), (
        f"{left.name} was removed, though its queue is seconds old and its process runs"
    )
    let_age(left / "queue")
    driver.reap(stale_age=0)
    assert not base.leftovers(), (
        f"{left.name} has no reader and a stale queue (stale age 0): expected nothing of it,"
        f" found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-3", "BASE-10", role="reaper")
@pytest.mark.parametrize("kind", ["socket", "regular file", "directory", "symbolic link"])
def test_without_a_fifo_no_queue_is_without_a_reader(driver: Driver, base: Base, kind: str) -> None:
    """A reaper keeps a directory whose `queue` is no FIFO, even if opening it fails with ENXIO."""
    other = base.dead_channel("a", dead_pid(), queue=False)
    dead = base.dead_channel("a", dead_pid())
    queue = other / "queue"
    if kind == "socket":
        make_socket(queue)
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
        f"a directory whose 'queue' is a {kind} is no channel, and has to stay; found\n"
        f"{base.tree()}"
    )


@pytest.mark.requirement("REAP-4", role="reaper")
def test_a_channel_with_a_reader_stays(driver: Driver, base: Base) -> None:
    """A reaper keeps a channel that has a reader, whatever its age and its process id."""
    with base.open("a", pid=dead_pid()) as living:
        unread = put(living.directory, a_message("a", b"unread"))
        let_age(living.directory, living.directory / "queue", unread)
        before = living.directory.lstat().st_ctime_ns
        driver.reap()
        driver.reap(stale_age=0)
        assert living.directory.exists(), (
            f"{living.directory.name} has a reader and has to stay, whatever its process id and"
            f" age; found\n{base.tree()}"
        )
        assert living.directory.lstat().st_ctime_ns == before, (
            "the directory of a channel that has a reader was changed (renamed to tmp and back?):"
            " publishers miss it meanwhile"
        )
        later = base.publish("a", b"later")
        contents = [message.content for message in living.fetch_all()]
        assert contents == [b"unread", later.content], "the channel lost messages to a reaper"


@pytest.mark.requirement("REAP-5", role="reaper")
@pytest.mark.parametrize("pid", [RUNNING, 1], ids=["the kit's", "1"])
def test_a_young_channel_of_a_process_that_runs_stays(driver: Driver, base: Base, pid: int) -> None:
    """A reaper keeps a young channel without a reader if its process runs: the owner may be about
    to open it."""
    opening = base.dead_channel("a", pid)
    driver.reap()
    assert (opening / "queue").exists(), (
        f"{opening.name} has no reader yet, but its process runs and its queue is young: it has to"
        f" stay; found\n{base.tree()}"
    )


def _own_id(driver: Driver) -> int:
    """The process id that the driver's channels have in their names."""
    if "subscriber" in driver.hello.roles:  # a child of the process that was started may open them
        channel = driver.open("own.id")
        driver.close_channel(channel)
        return owner(channel)
    return driver.pid


@pytest.mark.requirement("REAP-16", role="reaper")
def test_a_channel_of_an_earlier_process_with_the_same_id_is_removed(
    start: Start, base: Base
) -> None:
    """A reaper removes a channel with its own process id if the queue is older than its process,
    as after the crash of process 1 of a container."""
    left = base.dead_channel("a.=", RUNNING)
    furnish(left)
    let_age(left / "queue", seconds=4)
    driver = start()
    # A rename leaves the times of the queue as they are.
    earlier = left.rename(base.path / channel_name("a.=", _own_id(driver)))
    driver.reap()
    assert not earlier.exists(), (
        f"{earlier.name} has no reader, and its queue is older than the reaper's process"
        f" {driver.pid}: expected nothing of it, found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-5", role="reaper")
def test_a_young_channel_of_the_reaper_itself_stays(driver: Driver, base: Base) -> None:
    """A reaper keeps a young channel with its own process id, which its process may be about to
    open."""
    opening = base.dead_channel("a", _own_id(driver))
    driver.reap()
    assert (opening / "queue").exists(), (
        f"{opening.name} has no reader yet, but it is younger than the reaper's process: it has to"
        f" stay; found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-17", role="reaper")
def test_a_zombie_does_not_run(driver: Driver, base: Base) -> None:
    """A reaper removes the channel of a zombie: a process that ended, but was not waited for."""
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        left = base.dead_channel("a", child.pid)
        furnish(left)
        driver.reap()
        assert not left.exists(), (
            f"the process of {left.name} is a zombie, so it does not run: expected nothing of it,"
            f" found\n{base.tree()}"
        )


@pytest.mark.requirement("REAP-5", role="reaper")
def test_the_name_of_a_process_is_not_its_state(driver: Driver, base: Base, tmp_path: Path) -> None:
    """A reaper keeps the young channel of a process that runs, whatever the process is called."""
    program = tmp_path / "x) Z 1 ("
    program.symlink_to(str(shutil.which("sleep")))
    child = subprocess.Popen(["sleep", "600"], executable=program)
    try:
        opening = base.dead_channel("a", child.pid)
        driver.reap()
        assert (opening / "queue").exists(), (
            f"a process that is called {program.name!r} runs, so its young channel has to stay;"
            f" found\n{base.tree()}"
        )
    finally:
        child.kill()
        child.wait()


@pytest.mark.requirement("REAP-5", role="reaper")
def test_a_process_of_another_user_runs(start: Start, base: Base) -> None:
    """A reaper that may not send a signal to a process (EPERM) takes it for running."""
    driver = start_without_privileges(start)
    with contextlib.ExitStack() as ending:
        pid = 1  # it belongs to root, which is another user unless the kit is root
        if os.geteuid() == 0:
            child = subprocess.Popen(["sleep", "600"], user=NOBODY)
            ending.callback(child.wait)
            ending.callback(child.kill)
            pid = child.pid
        opening = base.dead_channel("a", pid)
        driver.reap()
        assert (opening / "queue").exists(), (
            f"the process of {opening.name} runs, as another user: the channel has to stay;"
            f" found\n{base.tree()}"
        )


@pytest.mark.requirement("REAP-5", role="reaper")
@pytest.mark.parametrize("younger", ["st_ctime", "st_mtime"])
def test_a_queue_is_as_old_as_the_younger_of_its_times(
    driver: Driver, base: Base, younger: str
) -> None:
    """The age of a queue is that of the younger of its st_mtime and st_ctime."""
    opening = base.dead_channel("a", RUNNING)
    queue = opening / "queue"
    if younger == "st_ctime":
        os.utime(queue, LONG_AGO)
        driver.reap()
    else:
        soon = time.time() + 1000
        os.utime(queue, (soon, soon))
        later = base.path.with_name("later")  # when it is stale, so is the queue's st_ctime
        later.touch()
        let_age(later, opening)
        driver.reap(stale_age=0)
    assert queue.exists(), (
        f"the queue is not stale by its {younger}, and its process runs: the channel has to stay;"
        f" found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-6", role="reaper")
@pytest.mark.parametrize(
    ("stale", "runs"), [(False, False), (True, True), (False, True), (True, False)]
)
def test_a_directory_without_a_queue(driver: Driver, base: Base, stale: bool, runs: bool) -> None:
    """A reaper removes a directory without a queue only if it is stale and its process does not
    run."""
    half_made = base.dead_channel("a", RUNNING if runs else dead_pid(), queue=False)
    let_age(half_made)
    if stale:
        driver.reap(stale_age=0)
    else:
        driver.reap()
    if stale and not runs:
        assert not base.leftovers(), (
            f"{half_made.name} has no queue, is stale, and its process does not run: expected"
            f" nothing of it, found\n{base.tree()}"
        )
    else:
        assert half_made.exists(), (
            f"{half_made.name} has no queue: it has to stay unless it is stale (here: {stale}) and"
            f" its process does not run (here it {'runs' if runs else 'does not'})"
        )
