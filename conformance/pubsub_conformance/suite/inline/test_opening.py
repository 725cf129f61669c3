"""Opening and closing: the marker, the queues that get none, and what closing frees."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.linux.strace import (
    MAKE_FIFO,
    OPEN,
    RENAME,
    Injection,
    fail,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import enqueue, held, open_queue, resize, size
from pubsub_conformance.oracle.record import MARKER, is_marked, send
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.channel.support import check_sound, is_received
from pubsub_conformance.suite.helpers import Start, umask

from .support import check_fit, expect_all, open_marked, why_unfit

pytestmark = pytest.mark.timing


@pytest.mark.requirement("INLINE-1")
def test_a_marked_channel_is_visible_with_its_marker(driver: Driver, base: Base) -> None:
    """Right after the rename that makes a channel visible, its marker is there: an empty regular
    file of the queue's owner."""
    check_fit(base)
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a", inline=True)
        trace.stopped()
        visible = [(directory.name, is_marked(directory)) for directory in base.channels()]
        trace.go_on()
        channel = opened.result()
    assert visible == [(channel.directory.name, True)], (
        f"expected a marked channel right after the rename, found {visible}"
    )
    marker = (channel.directory / MARKER).lstat()
    assert marker.st_size == 0, f"the marker has {marker.st_size} octets"
    check_sound(base, driver, channel)


@pytest.mark.requirement("INLINE-1")
def test_an_open_channel_keeps_its_marker(driver: Driver, base: Base) -> None:
    """The marker is still there after messages were fetched, as records and by file."""
    channel = open_marked(driver, base)
    sent = [a_message("a", b"%d" % n) for n in range(3)]
    for message in sent:
        send(channel.directory, message)
    expect_all(driver, channel, sent, "three records")
    assert is_received(base, driver, channel)
    assert is_marked(channel.directory), f"the marker is gone:\n{base.tree()}"


@pytest.mark.requirement("INLINE-1")
@pytest.mark.requirement("BASE-9", role="subscriber")
def test_the_bits_of_a_marker(start: Start, base: Base) -> None:
    """In a shared base, a marker has no permission bits for group and others."""
    base.make(0o770)
    channel = open_marked(start(prefix=umask(0)), base)
    mode = stat.S_IMODE((channel.directory / MARKER).lstat().st_mode)
    assert not mode & 0o077, f"expected no bits for group and others, found {mode:04o}"


@pytest.mark.requirement("INLINE-2")
def test_a_channel_without_the_lane(driver: Driver, base: Base) -> None:
    """A channel whose opener did not ask for the lane has no marker, after one that has."""
    for _ in range(2):
        channel = driver.open("a")
        names = sorted(os.listdir(channel.directory))
        assert names == ["queue"], f"expected a queue and nothing else, found {names}"
        driver.open("a", inline=True)


HOLDER = """
import contextlib, fcntl, os, sys

for _ in range(400):
    write_end = os.pipe()[1]
    if fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ) < 32768:
        print("ready", flush=True)
        sys.stdin.read()
        break
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 2**20)
"""
"""A program that holds so many pipes that its user gets only small ones (Linux), until the end of
its stdin."""


LIMITED = ("setpriv", "--bounding-set=-sys_resource,-sys_admin", "--inh-caps=-all")
"""The prefix that binds root to the limit of pipes, too. It binds nobody else of root's."""


@contextmanager
def _small_queues() -> Iterator[None]:
    """Have root hold so many pipes that a new one has little room."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        not_run("needs root and setpriv, to bind one process by the limit of pipes")
    with subprocess.Popen(
        [*LIMITED, sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        try:
            if holder.stdout.readline() != b"ready\n":
                not_run("no user of this system has too many pipes")
            yield
        finally:
            holder.stdin.close()


@pytest.mark.requirement("INLINE-3")
def test_a_system_without_fit_queues(driver: Driver, base: Base) -> None:
    """A channel for which the lane is asked opens, and receives, on every system: without a marker
    where no queue is fit."""
    channel = driver.open("a", inline=True)
    if reason := why_unfit(base):
        found = (channel.directory / MARKER).exists()
        assert not found, f"expected no marker, for {reason}; found one"
    assert is_received(base, driver, channel), "the channel does not receive"


@pytest.mark.requirement("INLINE-3")
def test_a_queue_with_little_room(start: Start, base: Base) -> None:
    """If a user holds so many pipes that a new queue has room for 8 KiB, a channel opens without a
    marker, and receives."""
    check_fit(base)
    with _small_queues():
        driver = start(prefix=LIMITED)
        channel = driver.open("a", inline=True)
    queue = open_queue(channel.directory)
    room = size(queue)
    os.close(queue)
    if room >= 32768:
        not_run(f"the queue has room for {room} octets nevertheless")
    assert not (channel.directory / MARKER).exists(), f"a queue of {room} octets was marked"
    assert is_received(base, driver, channel), "the channel does not receive"


@pytest.mark.requirement("INLINE-3")
@pytest.mark.parametrize("how", ["error=ENOTTY", "retval=0"])
def test_a_fill_that_the_write_end_does_not_show(driver: Driver, base: Base, how: str) -> None:
    """If FIONREAD fails at the write end of the queue, or says 0 after a word was written, the
    channel opens without a marker, and receives."""
    check_fit(base)
    with traced(driver, Injection(f"inject=?ioctl:{how}")) as trace:
        channel = driver.open("a", inline=True)
    if not any("FIONREAD" in call.args for call in trace.calls("ioctl")):
        marker = is_marked(channel.directory)
        assert not marker, "the channel was marked, but its fill was not asked for (FIONREAD)"
    assert not (channel.directory / MARKER).exists(), "the fill was not to be seen: found a marker"
    assert is_received(base, driver, channel), "the channel does not receive"


@pytest.mark.requirement("INLINE-3")
def test_the_probe_is_read_back(driver: Driver, base: Base) -> None:
    """The queue of a channel that was just opened is empty."""
    channel = open_marked(driver, base)
    queue = open_queue(channel.directory)
    octets = held(queue)
    os.close(queue)
    assert octets == 0, f"the queue of a channel that was just opened holds {octets} octets"
    assert not driver.wait(channel, 0), "nothing was published, but a wait was ready"


def _making_of_the_marker(driver: Driver) -> tuple[str, int]:
    """The name of the call by which an opening makes the marker, and its number in the opening."""
    with traced(driver) as trace:
        driver.close_channel(driver.open("a", inline=True))
    calls = trace.calls(*OPEN, *MAKE_FIFO)
    made = [call for call in calls if _makes_the_marker(call)]
    if not made:
        not_run("the making of the marker was not seen")
    alike = [call for call in calls if call.name == made[0].name]
    return made[0].name, alike.index(made[0]) + 1


def _makes_the_marker(call: Call) -> bool:
    makes = call.name not in OPEN or "O_CREAT" in call.flags
    return makes and any(path.name == MARKER for path in call.paths)


@contextmanager
def _no_marker(driver: Driver, errno: str) -> Iterator[None]:
    """Have the making of the marker fail with this error."""
    call, number = _making_of_the_marker(driver)
    with traced(driver, fail((call,), errno, number)) as trace:
        yield
    if not any(made.injected and _makes_the_marker(made) for made in trace.calls(call)):
        not_run("strace made another call fail")


@pytest.mark.requirement("INLINE-4")
@pytest.mark.parametrize("errno", ["ENOSPC", "EDQUOT"])
def test_no_room_for_a_marker(driver: Driver, base: Base, errno: str) -> None:
    """If the marker cannot be made for want of room, the channel opens without one, and
    receives."""
    check_fit(base)
    with _no_marker(driver, errno):
        try:
            channel = driver.open("a", inline=True)
        except Rejected as error:
            pytest.fail(f"the marker cannot be made ({errno}): expected a channel, found {error}")
    assert os.listdir(channel.directory) == ["queue"], f"found a marker:\n{base.tree()}"
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-21", role="subscriber")
@pytest.mark.parametrize("errno", ["EMFILE", "EACCES", "EIO"])
def test_a_marker_that_cannot_be_made(driver: Driver, base: Base, errno: str) -> None:
    """If the marker cannot be made for another reason, the opening fails and leaves nothing."""
    check_fit(base)
    with _no_marker(driver, errno), pytest.raises(Rejected) as refusal:
        driver.open("a", inline=True)
    found = refusal.value.code, refusal.value.errno
    assert found == ("io-error", errno), f"expected io-error {errno}, found {refusal.value}"
    assert base.leftovers() == [], f"something is left of the opening:\n{base.tree()}"


@pytest.mark.requirement("CHAN-21", role="subscriber")
def test_an_opening_that_fails_removes_the_marker(driver: Driver, base: Base) -> None:
    """If the rename of a marked channel fails, its directory and its marker are removed."""
    base.make()
    with traced(driver, fail(RENAME, "EIO", None)), pytest.raises(Rejected) as refusal:
        driver.open("a", inline=True)
    assert refusal.value.code == "io-error", f"expected io-error, found {refusal.value}"
    assert base.leftovers() == [], f"something is left of the opening:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_removes_the_marker(driver: Driver, base: Base) -> None:
    """Closing a marked channel, with messages in the queue and by file, leaves nothing."""
    channel = open_marked(driver, base)
    send(channel.directory, a_message("a"))
    base.publish("a")
    driver.close_channel(channel)
    assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"


@pytest.mark.requirement("INLINE-25")
@pytest.mark.parametrize("fetched", [False, True], ids=["", "after a fetch"])
def test_closing_empties_the_queue(driver: Driver, base: Base, fetched: bool) -> None:
    """A publisher that keeps the write end of a marked channel that was closed finds the queue
    empty, with the size of one page."""
    channel = open_marked(driver, base)
    queue = open_queue(channel.directory)
    try:
        for _ in range(20):
            send(channel.directory, a_message("a", bytes(900)))
            enqueue(channel.directory, 0)
        if fetched:
            driver.fetch(channel)
            for _ in range(20):
                send(channel.directory, a_message("a", bytes(900)))
        driver.close_channel(channel)
        _check_freed(queue)
    finally:
        os.close(queue)


@pytest.mark.requirement("INLINE-25")
def test_closing_empties_a_large_queue(driver: Driver, base: Base) -> None:
    """A queue of 1 MiB is read empty, too."""
    channel = open_marked(driver, base)
    queue = open_queue(channel.directory)
    try:
        if not resize(queue, 2**20 // os.sysconf("SC_PAGESIZE")):
            not_run("the system does not give a queue room for 1 MiB")
        for _ in range(200):
            enqueue(channel.directory, bytes(4096))
        driver.close_channel(channel)
        _check_freed(queue)
    finally:
        os.close(queue)


@pytest.mark.requirement("INLINE-25")
def test_a_message_that_comes_while_the_channel_closes(driver: Driver, base: Base) -> None:
    """A record that a late publisher writes right after the rename of a closing channel is read,
    too: the queue is emptied after the rename."""
    channel = open_marked(driver, base)
    queue = open_queue(channel.directory)
    try:
        late = bytes(4096)
        with traced(driver, stop(RENAME)) as trace:
            closing = trace.begin(driver.close_channel, channel)
            trace.stopped()
            os.write(queue, late)
            trace.go_on()
            closing.result()
        _check_freed(queue)
    finally:
        os.close(queue)


def _check_freed(queue: int) -> None:
    octets, room, page = held(queue), size(queue), os.sysconf("SC_PAGESIZE")
    assert (octets, room) == (0, page), (
        f"a queue whose channel was closed: expected 0 octets in {page}, found {octets} in {room}"
    )


@pytest.mark.requirement("REAP-3", role="reaper")
def test_a_dead_marked_channel_is_removed(driver: Driver, base: Base) -> None:
    """A reaper removes a marked channel whose owner has died, with its marker."""
    directory = base.dead_channel("a", dead_pid())
    (directory / MARKER).touch(0o600)
    driver.reap()
    assert base.leftovers() == [], f"the dead channel is left:\n{base.tree()}"
