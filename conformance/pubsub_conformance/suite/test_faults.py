"""What fails without strace: full file systems, limits, clocks, the smallest queues.

`pubsub-conformance faults` makes each system call fail; here the system itself does it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.namespace import own_tmpfs, seen_by
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import Message
from pubsub_conformance.oracle.queue import open_queue, resize
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start

T = TypeVar("T")

LARGE = bytes(2**20)

TRIES = 20
"""Descriptors that an operation may need at a time; with so many it has to succeed."""


def _refused(request: Callable[[], object], *errnos: str) -> None:
    """The operation fails, and says why; of the base, it may say no more than that."""
    found = _tried(request)
    assert _says(found, *errnos), f"expected io-error, {' or '.join(errnos)}, found {found}"


def _tried(request: Callable[[], T]) -> T | Rejected:
    try:
        return request()
    except Rejected as error:
        return error


def _says(found: object, *errnos: str) -> bool:
    """Whether this is an error that says what the system said."""
    if not isinstance(found, Rejected):
        return False
    return found.code == "base-unusable" or (found.code == "io-error" and found.errno in errnos)


def _nothing_is_left(base: Base, channels: int) -> None:
    left = base.tree()
    assert not list(base.tmp.glob("*")), f"left in tmp:\n{left}"
    assert len(base.channels()) == channels, f"expected {channels} channels:\n{left}"


# --- a file system that is full ---


def _on_tmpfs(start: Start, home: Path, options: str) -> tuple[Driver, Base]:
    """A driver whose base is a file system of its own, and the base as it is seen from here."""
    home.mkdir(parents=True)
    driver = start(prefix=own_tmpfs(home, options))
    return driver, Base(seen_by(driver, home.resolve()))


@pytest.mark.requirement("PUB-13", "PUB-14", role="publisher")
def test_a_file_system_that_is_full(start: Start, home: Path) -> None:
    """A message for which there is no room is an error, leaves nothing, and the next one goes."""
    driver, base = _on_tmpfs(start, home, "size=256k")
    with base.open("a") as channel:
        for _ in range(3):
            _refused(lambda: driver.publish("a", LARGE), "ENOSPC")
            _nothing_is_left(base, channels=1)
            assert channel.files() == [], f"left in the channel:\n{base.tree()}"
            assert driver.publish("a", b"small") == 1
            assert [message.content for message in channel.fetch_all()] == [b"small"]


@pytest.mark.requirement("CHAN-21", role="subscriber")
def test_a_file_system_that_takes_no_more_files(start: Start, home: Path) -> None:
    """A channel that cannot be made, at whatever step, is an error and leaves nothing."""
    driver, base = _on_tmpfs(start, home, "size=1m,nr_inodes=16")
    driver.close_channel(driver.open("a"))
    fillers: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            fillers.append(base.path / f"filler{len(fillers)}")
            fillers[-1].touch()
    fillers.pop()
    while isinstance(channel := _tried(lambda: driver.open("a")), Rejected):
        assert _says(channel, "ENOSPC"), f"expected io-error ENOSPC, found {channel}"
        _nothing_is_left(base, channels=0)
        fillers.pop().unlink()  # one more file has room
    directory = base.path / channel.directory.name
    assert (directory / "queue").is_fifo(), f"the channel is not there:\n{base.tree()}"


# --- limits ---


@contextlib.contextmanager
def _limited(pid: int, what: int, soft: int) -> Iterator[None]:
    limits = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, limits)


def _until_there_are_enough(
    driver: Driver, try_it: Callable[[], None], clean: Callable[[], None]
) -> None:
    """Let the process open no descriptor, one, two…, until the operation succeeds."""
    if not hasattr(resource, "prlimit") or not Path("/proc/self/fd").is_dir():
        not_run("this system cannot set the limits of another process")
    for spare in range(TRIES):
        used = {int(entry.name) for entry in Path(f"/proc/{driver.pid}/fd").iterdir()}
        free = [number for number in range(len(used) + TRIES) if number not in used]
        with _limited(driver.pid, resource.RLIMIT_NOFILE, free[spare]):
            found = _tried(try_it)
        if not isinstance(found, Rejected):
            return
        assert _says(found, "EMFILE"), f"{spare} descriptors left: io-error EMFILE, not {found}"
        clean()
        now = {int(entry.name) for entry in Path(f"/proc/{driver.pid}/fd").iterdir()}
        assert len(now) <= len(used), f"with {spare} descriptors left, some stay open: {now - used}"
    pytest.fail(f"{TRIES} descriptors are not enough")


@pytest.mark.requirement("PUB-13", "PUB-14", role="publisher")
def test_descriptors_are_short_for_a_publish(driver: Driver, base: Base) -> None:
    """However many descriptors a publisher lacks, it says so, counts right, and leaves nothing."""
    with base.open("a") as first, base.open("=") as second:
        driver.publish("a")  # what it keeps open, it has now
        first.fetch_all(), second.fetch_all()

        def publish() -> None:
            took = -1
            try:
                took = driver.publish("a")
            except Rejected as error:
                took = error.count or 0
                raise
            finally:
                came = len(first.fetch_all()) + len(second.fetch_all())
                assert took == came, f"{came} queues took it, the count says {took}"

        def clean() -> None:
            _nothing_is_left(base, channels=2)
            assert first.files() == second.files() == [], f"left:\n{base.tree()}"

        _until_there_are_enough(driver, publish, clean)
        assert driver.publish("a") == 2, "descriptors are there again"


@pytest.mark.requirement("CHAN-21", role="subscriber")
def test_descriptors_are_short_for_an_opening(driver: Driver, base: Base) -> None:
    """However many descriptors an opening lacks, it says so and leaves nothing."""
    driver.close_channel(driver.open("a"))  # what it keeps open, it has now
    _until_there_are_enough(
        driver, lambda: driver.close_channel(driver.open("a")), lambda: _nothing_is_left(base, 0)
    )


@pytest.mark.requirement("PUB-13", "PUB-14", role="publisher")
def test_a_limit_on_the_size_of_files(start: Start, base: Base) -> None:
    """A message larger than files may be (EFBIG) is an error, leaves nothing, and the next goes."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    # The signal that comes with the error is the program's affair, not the implementation's.
    driver = start(prefix=["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh"])
    with base.open("a") as channel:
        with _limited(driver.pid, resource.RLIMIT_FSIZE, len(LARGE) // 2):
            _refused(lambda: driver.publish("a", LARGE), "EFBIG")
            _nothing_is_left(base, channels=1)
            assert driver.publish("a", b"small") == 1
        assert driver.publish("a", LARGE) == 1
        sizes = [len(message.content) for message in channel.fetch_all()]
        assert sizes == [5, len(LARGE)], "what was counted arrives"


# --- the smallest queue ---


def _shrink(queue: int) -> int:
    """Make an open queue as small as the system can; how many ids it holds then."""
    if not resize(queue, 1):
        not_run("this system cannot shrink a queue")
    return os.sysconf("SC_PAGESIZE") // 8


@pytest.mark.requirement("GUAR-1", role="publisher")
def test_the_smallest_queue(driver: Driver, base: Base) -> None:
    """Into the smallest queue that there is, what is counted is there, and nothing else."""
    with base.open("a") as channel:
        room = _shrink(channel.write_end)
        for _ in range(2):
            counts = [driver.publish("a", str(n).encode()) for n in range(room + 10)]
            took = [str(n).encode() for n, count in enumerate(counts) if count]
            assert 0 < len(took) < len(counts), f"{len(took)} of {len(counts)} were taken"
            assert len(channel.files()) == len(took), "a file for each that was counted, no other"
            assert [message.content for message in channel.fetch_all()] == took


@pytest.mark.requirement("GUAR-2", role="subscriber")
def test_the_smallest_queue_of_an_owner(driver: Driver, base: Base) -> None:
    """An owner whose queue is the smallest that there is yields all that it took."""
    channel = driver.open("a")
    queue = open_queue(channel.directory)
    try:
        room = _shrink(queue)
    finally:
        os.close(queue)
    sent = []
    for n in range(room + 10):
        message = base.publish("a", str(n).encode())
        if (channel.directory / str(message.id)).exists():
            sent.append(message.content)
    assert len(sent) < room + 10, "the queue was not full"
    found: list[bytes] = []
    while (fetched := driver.fetch(channel)) is not None:
        found.append(fetched.content)
    assert found == sent


# --- the clock ---


@pytest.mark.requirement("PUB-2", role="publisher")
def test_a_clock_that_is_set_back(start: Start, base: Base, tmp_path: Path) -> None:
    """Ids of one process rise though the clock is set back, and the messages arrive."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob(
        "/usr/lib*/faketime/libfaketime.so.1"
    )
    if not found:
        not_run("setting a clock back needs libfaketime")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    driver = start(
        LD_PRELOAD=found[0],
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        DONT_FAKE_MONOTONIC="1",
        NO_FAKE_STAT="1",
    )
    messages: list[Message] = []
    with base.open("a") as channel:
        for offset in ("+0", "-3600", "-7200", "+0"):
            clock.write_text(offset)
            for _ in range(2):
                assert driver.publish("a") == 1
            messages += channel.fetch_all()
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids)), f"ids do not rise: {ids}"
    if messages[2].timestamp >= messages[1].timestamp:
        not_run("libfaketime does not reach the driver's clock")
