"""Fetching and waiting (fetch.md)."""

from __future__ import annotations

import concurrent.futures
import os
import random
import resource
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.linux.strace import LIST, OPEN, fail, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import Message, a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue, fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, answers, refuses
from pubsub_conformance.suite.scenes import start_without_privileges

READ = ("read", "readv", "pread64", "preadv", "preadv2")

AT_ONCE_SECONDS = 1.0
"""For ten fetches that do not wait: much for what takes microseconds, little beside any waiting."""

LOST_SECONDS = 4.0
"""From the loss of a directory to the end of a wait: a look a second, and a slow machine."""

DELAY_SECONDS = 0.02
"""What a message may take to end a wait, beyond what a request takes that does not wait."""

IDLE_SECONDS = 1.0
"""How long a driver is watched while it waits for nothing."""

IDLE_PROCESSOR_SECONDS = 0.25
IDLE_WAKE_UPS = 60
"""What it may use meanwhile. A run time has its own clockwork (some wake up twenty times a second);
a loop around a sleep of 10 ms wakes up a hundred times."""


def _expect(driver: Driver, channel: OpenChannel, expected: Message, where: str) -> None:
    """The next fetch has to yield this message, and to leave nothing of it."""
    found = driver.fetch(channel)
    assert found == expected, f"{where}: expected {expected}, found {found}"
    file = channel.directory / str(expected.id)
    assert not file.exists(), f"{where}: the message was yielded, but its file still stands"


def _expect_nothing(driver: Driver, channel: OpenChannel, where: str) -> None:
    found = driver.fetch(channel)
    assert found is None, f"{where}: expected no message, found {found}"


# --- Order -----------------------------------------------------------------------------------


@pytest.mark.requirement("FETCH-1", role="subscriber")
def test_messages_come_in_the_order_of_the_queue(driver: Driver, base: Base) -> None:
    """Three publishers in turn, a hundred messages, fetched while more are coming."""
    channel = driver.open("a.=")
    sent = [base.publish(f"a.{'xyz'[n % 3]}", b"%d" % n, {"n": n}) for n in range(60)]
    for number in range(20):
        _expect(driver, channel, sent[number], f"message {number} of the queue")
    sent += [base.publish("a.w", b"%d" % n, {"n": n}) for n in range(60, 100)]
    for number in range(20, 100):
        _expect(driver, channel, sent[number], f"message {number} of the queue")
    _expect_nothing(driver, channel, "after the last message")


@pytest.mark.requirement("FETCH-12", role="subscriber")
@pytest.mark.parametrize("order", ["falling", "shuffled"])
def test_neither_ids_nor_files_set_the_order(driver: Driver, order: str, seed: int) -> None:
    """Publishers' ids need not rise in a queue, nor be enqueued in the order they were linked."""
    channel = driver.open("a")
    messages = [a_message("a", b"%d" % n, id=2**56 + n) for n in range(30)]
    for message in messages:
        put(channel.directory, message, enqueue=False)
    if order == "falling":
        messages.reverse()
    else:
        random.Random(seed).shuffle(messages)
    for message in messages:
        enqueue(channel.directory, message.id)
    for number, message in enumerate(messages):
        _expect(driver, channel, message, f"number {number} of the queue, its ids {order}")


@pytest.mark.requirement("FETCH-12", role="subscriber")
def test_a_file_that_no_id_speaks_for_is_not_yielded(driver: Driver, base: Base) -> None:
    """Linked, not yet enqueued: its publisher is between two steps."""
    channel = driver.open("a")
    early = a_message("a", b"linked first, enqueued last")
    put(channel.directory, early, enqueue=False)
    _expect_nothing(driver, channel, "the queue is empty, whatever files there are")
    _expect(driver, channel, base.publish("a", b"enqueued"), "the only id in the queue")
    enqueue(channel.directory, early.id)
    _expect(driver, channel, early, "enqueued at last")


# --- An empty queue, and ids without a message -----------------------------------------------


@pytest.mark.requirement("FETCH-2", role="subscriber")
def test_an_empty_queue_is_said_to_be_empty_at_once(driver: Driver, base: Base) -> None:
    """Before the first message, and after the last one."""
    channel = driver.open("a")
    for when in ("a channel just opened", "the only message was fetched"):
        begin = time.monotonic()
        for _ in range(10):
            _expect_nothing(driver, channel, when)
        took = time.monotonic() - begin
        assert took < AT_ONCE_SECONDS, (
            f"{when}: ten fetches from an empty queue took {took:.1f} s; a fetch must not wait"
        )
        _expect(driver, channel, base.publish("a"), when)


@pytest.mark.requirement("FETCH-3", role="subscriber")
def test_an_id_without_a_file_is_skipped(driver: Driver) -> None:
    """One publisher withdrew its message, another's was removed; the next fetch goes past them."""
    channel = driver.open("a")
    good = [a_message("a", b"first"), a_message("a", b"second")]
    for message in good:
        for _ in range(100):
            enqueue(channel.directory, fresh_id())
        put(channel.directory, message)
    enqueue(channel.directory, fresh_id())
    for message in good:
        _expect(driver, channel, message, "behind a hundred ids without a file")
    _expect_nothing(driver, channel, "the last id of the queue has no file")


@pytest.mark.requirement("FETCH-10", role="subscriber")
def test_an_id_of_0_is_skipped(driver: Driver) -> None:
    """0 is no message's id: it only wakes an owner up, even where something is called 0."""
    channel = driver.open("a")
    enqueue(channel.directory, 0)
    _expect_nothing(driver, channel, "the queue holds an id of 0")
    foreign = put(channel.directory, b"not a message", name="0")
    good = a_message("a", b"behind it")
    put(channel.directory, good)
    _expect(driver, channel, good, "behind an id of 0, with a foreign file of this name")
    assert foreign.exists(), "a foreign file called 0 was taken for a message, and removed"


# --- Files that are no message ---------------------------------------------------------------


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


# --- When the system does not let it ---------------------------------------------------------


def _outcome(driver: Driver, channel: OpenChannel) -> Message | Rejected | None:
    try:
        return driver.fetch(channel)
    except Rejected as no:
        return no


def _expect_io_error(found: Message | Rejected | None, errno: str, file: Path) -> None:
    """What a fetch came to, and the file that it could not read."""
    assert isinstance(found, Rejected), f"the system said {errno}, a fetch has to say so: {found}"
    told = (found.code, found.errno)
    assert told == ("io-error", errno), f"expected an io-error of {errno}, found {found}"
    assert file.exists(), f"the system said {errno} once, and the file was removed for it"


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_no_descriptor_left(driver: Driver, base: Base) -> None:
    """A process out of descriptors (EMFILE) cannot read its message now; it can later."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    file = channel.directory / str(first.id)
    with _no_descriptor_left(driver.pid):
        for _ in range(2):
            _expect_io_error(_outcome(driver, channel), "EMFILE", file)
    _expect(driver, channel, first, "descriptors are there again: the id that was in hand")
    _expect(driver, channel, second, "the message behind it")
    _expect_nothing(driver, channel, "all was fetched")


@contextmanager
def _no_descriptor_left(pid: int) -> Iterator[None]:
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in range(len(used) + 1) if number not in used)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_a_directory_that_may_not_be_searched(start: Start, base: Base) -> None:
    """The channel directory denies everything (EACCES) for a while; it is not the file's fault."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    channel.directory.chmod(0)
    found = _outcome(driver, channel)
    channel.directory.chmod(0o700)
    _expect_io_error(found, "EACCES", channel.directory / str(first.id))
    _expect(driver, channel, first, "the directory is open again: the id that was in hand")
    _expect(driver, channel, second, "the message behind it")


@pytest.mark.requirement("FETCH-21", role="subscriber")
def test_a_wait_with_an_id_in_hand(start: Start, base: Base) -> None:
    """The queue is empty, for its one id was taken; but the message is still to come."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    message = base.publish("a", b"in hand")
    channel.directory.chmod(0)
    found = _outcome(driver, channel)
    channel.directory.chmod(0o700)
    if found == message:
        not_run("it reads a message from a directory that may not be searched")
    if not driver.wait(channel, 8):
        if driver.fetch(channel) is None:
            not_run("no id was in hand: it was given up, which is FETCH-8's business")
        pytest.fail("a message was in hand, and the wait said that there is none")


@pytest.mark.requirement("FETCH-19", role="subscriber")
def test_a_file_that_denies_reading_is_invalid(start: Start, base: Base) -> None:
    """Another user's publisher made a file that nobody may read: it would stay so for ever."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    closed, good = base.publish("a", b"closed"), base.publish("a", b"good")
    file = channel.directory / str(closed.id)
    file.chmod(0)
    with refuses("invalid-message", what="a fetch of a file whose mode denies reading it"):
        driver.fetch(channel)
    assert not file.exists(), "the file was reported as invalid, but not removed"
    _expect(driver, channel, good, "the message behind it")


@pytest.mark.requirement("FETCH-8", role="subscriber")
@pytest.mark.parametrize("errno", ["EMFILE", "ENFILE", "ENOMEM", "EIO", "EACCES"])
def test_a_file_that_cannot_be_opened_now(driver: Driver, base: Base, errno: str) -> None:
    """The system's fault, not the message's: it stays, its id stays in hand, and it comes later."""
    _check_fault(driver, base, OPEN, errno)


@pytest.mark.requirement("FETCH-8", role="subscriber")
def test_a_file_that_cannot_be_read_now(driver: Driver, base: Base) -> None:
    """The file is open when the system fails to read from it (EIO)."""
    _check_fault(driver, base, READ, "EIO")


def _check_fault(driver: Driver, base: Base, calls: tuple[str, ...], errno: str) -> None:
    channel = driver.open("a")
    first, second = base.publish("a", b"first"), base.publish("a", b"second")
    file = channel.directory / str(first.id)
    with traced(driver, fail(calls, errno, None), paths=[file, file.name]) as trace:
        for _ in range(2):
            found = _outcome(driver, channel)
            if not any(call.injected for call in trace.calls()):
                not_run(f"the driver reads a message without {' or '.join(calls)}")
            _expect_io_error(found, errno, file)
    _expect(driver, channel, first, f"{errno} is over: the id that was in hand")
    _expect(driver, channel, second, "the message behind it")
    _expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-9", role="subscriber")
@pytest.mark.parametrize("octets", range(1, 8))
def test_octets_that_are_no_id_are_reported_once(driver: Driver, base: Base, octets: int) -> None:
    """Somebody wrote a part of an id: it is discarded, and shifts none of those that come."""
    channel = driver.open("a")
    before = base.publish("a", b"before")
    enqueue(channel.directory, b"\xff" * octets)
    _expect(driver, channel, before, f"a whole id, {octets} octets behind it")
    with refuses("damaged-queue", what=f"a fetch from a queue that holds {octets} octets"):
        driver.fetch(channel)
    _expect_nothing(driver, channel, "the octets were reported once")
    after = [base.publish("a", b"after"), base.publish("a", b"after that")]
    for message in after:
        _expect(driver, channel, message, f"published after {octets} octets had been discarded")


# --- Waiting ---------------------------------------------------------------------------------


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_wait_burns_no_processor_time(driver: Driver) -> None:
    """While nothing comes, the driver sleeps in the kernel: neither a loop nor many short naps."""
    if not Path(f"/proc/{driver.pid}/stat").exists():
        not_run("this system does not show what another process uses")
    channel = driver.open("a")
    assert not driver.wait(channel, 0), "the queue is empty, and the driver calls it ready"
    time_before, wake_ups_before = _processor_seconds(driver.pid), _wake_ups(driver.pid)
    begin = time.monotonic()
    ready = driver.wait(channel, IDLE_SECONDS)
    took = time.monotonic() - begin
    used = _processor_seconds(driver.pid) - time_before
    wake_ups = _wake_ups(driver.pid) - wake_ups_before
    assert not ready, "the queue is empty, and the driver calls it ready"
    assert took > IDLE_SECONDS * 0.9, f"a wait of {IDLE_SECONDS:g} s was over after {took:.2f} s"
    assert used < IDLE_PROCESSOR_SECONDS, (
        f"a wait of {IDLE_SECONDS:g} s for nothing took {used:.2f} s of processor time"
    )
    assert wake_ups < IDLE_WAKE_UPS, (
        f"a wait of {IDLE_SECONDS:g} s for nothing woke up {wake_ups} times: it does not wait in"
        " the kernel for the queue, it looks at it again and again"
    )


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


def _wake_ups(pid: int) -> int:
    """How often its threads went to sleep of their own will."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


@contextmanager
def _waiting(driver: Driver, channel: OpenChannel, timeout: float) -> Iterator[Future[bool]]:
    """A wait that goes on meanwhile; the queue must be empty."""
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(driver.wait, channel, timeout)
        concurrent.futures.wait([wait], 0.1)
        if wait.done():
            pytest.fail(f"a wait of {timeout:g} s on an empty queue was over at once: {wait}")
        yield wait


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_message_ends_a_wait_without_delay(driver: Driver, base: Base) -> None:
    """The kernel wakes the waiter: no nap has to end first. (Measured against an empty request.)"""
    channel = driver.open("a")
    requests, delays = [], []
    for _ in range(11):
        begin = time.monotonic()
        assert not driver.wait(channel, 0)
        requests.append(time.monotonic() - begin)
        with _waiting(driver, channel, 8) as wait:
            sent = base.publish("a")
            published = time.monotonic()
            assert wait.result(), "a message came, and the wait ended as if there were none"
            delays.append(time.monotonic() - published)
        _expect(driver, channel, sent, "what a wait was ready for")
    delay, request = statistics.median(delays), statistics.median(requests)
    assert delay < DELAY_SECONDS + 5 * request, (
        f"a message ended a wait {1000 * delay:.0f} ms after it had been published (the median of"
        f" {len(delays)}), where a request takes {1000 * request:.0f} ms: the wait adds a delay"
    )


def _remove_channel(channel: OpenChannel, _: Base) -> None:
    shutil.rmtree(channel.directory)


def _remove_queue(channel: OpenChannel, _: Base) -> None:
    (channel.directory / "queue").unlink()


def _rename_base(_: OpenChannel, base: Base) -> None:
    base.path.rename(base.path.with_name("elsewhere"))


def _replace_channel(channel: OpenChannel, base: Base) -> None:
    channel.directory.rename(base.path / "elsewhere")
    channel.directory.mkdir(0o700)
    os.mkfifo(channel.directory / "queue", 0o600)


@pytest.mark.requirement("FETCH-20", role="subscriber")
def test_a_fetch_tells_that_the_channel_is_lost(driver: Driver, base: Base) -> None:
    """An owner that never waits in the implementation learns of the loss by fetching."""
    channel = driver.open("a")
    assert driver.fetch(channel) is None, "nothing was published"
    _remove_channel(channel, base)
    deadline = time.monotonic() + LOST_SECONDS
    with refuses("channel-lost", what=f"fetching for {LOST_SECONDS} s from a channel that is gone"):
        while time.monotonic() < deadline:
            assert driver.fetch(channel) is None
            time.sleep(0.05)


@pytest.mark.requirement("FETCH-14", role="subscriber")
@pytest.mark.parametrize(
    "lose",
    [_remove_channel, _remove_queue, _rename_base, _replace_channel],
    ids=lambda lose: lose.__name__.strip("_").replace("_", " "),
)
def test_a_wait_ends_when_the_channel_is_lost(
    driver: Driver, base: Base, lose: Callable[[OpenChannel, Base], None]
) -> None:
    """Nobody can write to the queue any more, and nothing but a look at the disk tells so."""
    channel = driver.open("a")
    sent = base.publish("a", b"while it is there")
    assert driver.wait(channel, 8), "a message is there, and the wait is not ready"
    _expect(driver, channel, sent, "while the channel is there")
    with _waiting(driver, channel, 2 * LOST_SECONDS) as wait:
        lose(channel, base)
        begin = time.monotonic()
        with refuses("channel-lost", what=f"a wait during: {lose.__name__.strip('_')}"):
            wait.result()
        took = time.monotonic() - begin
    assert took < LOST_SECONDS, (
        f"channel-lost came {took:.1f} s after the queue had gone from its path; the owner has to"
        " look at least once a second"
    )


# --- Orphans ---------------------------------------------------------------------------------


@pytest.mark.requirement("FETCH-16", role="subscriber")
def test_orphans_are_removed_by_the_owner(driver: Driver, base: Base) -> None:
    """A killed publisher left files that no id speaks for; the channel is open all the time."""
    channel = driver.open("a")
    orphans = [put(channel.directory, a_message("a"), enqueue=False) for _ in range(3)]
    let_age(*orphans)
    driver.reap(stale_age=0)
    left = [path.name for path in orphans if path.exists()]
    assert not left, (
        "the queue is empty, these files are stale and no id speaks for them: the owner should"
        f" have removed them: {left}"
    )
    _expect(driver, channel, base.publish("a"), "after orphans were removed")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_unread_messages_are_no_orphans(driver: Driver, base: Base) -> None:
    """A slow subscriber's messages are old, and one publisher has not enqueued its id yet."""
    channel = driver.open("a")
    _expect_nothing(driver, channel, "a channel just opened")  # seen empty, but before the listing
    late = a_message("a", b"linked long before it is enqueued")
    unread = [base.publish("a", b"%d" % n) for n in range(3)]
    files = [channel.directory / str(message.id) for message in unread]
    files.append(put(channel.directory, late, enqueue=False))
    let_age(*files)
    driver.reap(stale_age=0)
    gone = [path.name for path in files if not path.exists()]
    assert not gone, (
        "the queue was not empty since these files became stale, so whether an id speaks for them"
        f" could not be known, and yet they were removed: {gone}"
    )
    enqueue(channel.directory, late.id)
    for message in (*unread, late):
        _expect(driver, channel, message, "old, but unread")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_a_file_that_is_not_stale_is_no_orphan(driver: Driver, base: Base) -> None:
    """Its publisher links it now and enqueues it in a moment; its st_mtime says nothing."""
    channel = driver.open("a")
    message = a_message("a", b"being published")
    file = put(channel.directory, message, enqueue=False)
    os.utime(file, (0, 0))
    _expect_nothing(driver, channel, "the queue is empty")
    driver.reap()
    assert file.exists(), "a file was removed though its status changed seconds ago"
    enqueue(channel.directory, message.id)
    _expect(driver, channel, message, "enqueued after the owner had looked for orphans")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_the_file_of_the_id_in_hand_is_no_orphan(driver: Driver, base: Base) -> None:
    """Its id is not in the queue any more, but the owner could not open it yet (FETCH-8)."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    message = base.publish("a", b"in hand")
    file = channel.directory / str(message.id)
    with _no_descriptor_left(driver.pid):
        found = _outcome(driver, channel)
    if not file.exists():
        not_run(f"without a descriptor it came to {found}, and no id is in hand")
    let_age(file)
    driver.reap(stale_age=0)
    assert file.exists(), "the file was removed as an orphan while its id was in hand"


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_the_queue_is_seen_empty_after_the_files_were_listed(driver: Driver, base: Base) -> None:
    """The id comes right after the listing: an owner that looked at the queue before misses it."""
    channel = driver.open("a")
    orphan = put(channel.directory, a_message("a"), enqueue=False)
    let_age(orphan)
    driver.reap(stale_age=0)
    if orphan.exists():
        return  # this owner never removes orphans (FETCH-16), so none too soon
    message = a_message("a", b"enqueued between listing and removal")
    file = put(channel.directory, message, enqueue=False)
    let_age(file)
    with traced(driver, stop(LIST), paths=[channel.directory]) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        enqueue(channel.directory, message.id)
        trace.go_on()
        reaping.result()
    assert file.exists(), (
        "a publisher enqueued a message after the owner had listed it as stale and before it"
        " removed what it had listed: the queue has to be looked at in between"
    )
    _expect(driver, channel, message, "counted by its publisher")


@pytest.mark.requirement("FETCH-18", role="reaper")
def test_a_reaper_leaves_the_messages_of_a_living_channel(driver: Driver, base: Base) -> None:
    """Only its owner knows which of them are orphans; its process id seems not to run, though."""
    with base.open("a", pid=dead_pid()) as channel:
        sent = [base.publish("a", b"%d" % n) for n in range(3)]
        put(channel.directory, a_message("a", b"not enqueued yet"), enqueue=False)
        files = channel.files()
        let_age(*channel.directory.iterdir())
        driver.reap(stale_age=0)
        assert channel.files() == files, (
            f"another's channel has a reader and held {files}; after a reaper: {channel.files()}"
        )
        assert channel.fetch_all() == sent


@pytest.mark.requirement("FETCH-18", role="publisher")
def test_a_publisher_leaves_the_messages_of_others(driver: Driver, base: Base) -> None:
    """It withdraws its own link from a full queue, and no other file of that channel."""
    with base.open("a") as channel:
        sent = base.publish("a", b"unread")
        put(channel.directory, a_message("a", b"not enqueued yet"), enqueue=False)
        fill(channel.directory)
        files = channel.files()
        let_age(*channel.directory.iterdir())
        driver.publish("a", b"there is no room for this")
        gone = set(files) - set(channel.files())
        assert not gone, f"a full channel held {files}; a publish that found no room took {gone}"
        assert channel.fetch_all() == [sent]
