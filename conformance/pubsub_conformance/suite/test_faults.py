"""Faults of the system: full file systems, limits, clocks that are set back, the smallest queues.

`pubsub-conformance faults` makes each system call fail with strace; here the system makes it fail.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.driver.group import running
from pubsub_conformance.linux.namespace import own_tmpfs, seen_by
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import Message
from pubsub_conformance.oracle.queue import open_queue, resize
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.clock import start_with_clock
from pubsub_conformance.suite.helpers import Start
from pubsub_conformance.suite.inline.support import marked, queues_of

T = TypeVar("T")

LARGE = bytes(2**20)

TRIES = 20
"""How many descriptors are enough for an operation."""


def _check_fails(request: Callable[[], object], *errnos: str) -> None:
    """The operation has to fail with one of these errors, or with base-unusable."""
    found = _tried(request)
    assert _reports(found, *errnos), f"expected io-error {' or '.join(errnos)}, found {found}"


def _tried(request: Callable[[], T]) -> T | Rejected:
    """The result of a request, or its error."""
    try:
        return request()
    except Rejected as error:
        return error


def _reports(found: object, *errnos: str) -> bool:
    """Whether this is an error that reports one of the system's errors."""
    if not isinstance(found, Rejected):
        return False
    return found.code == "base-unusable" or (found.code == "io-error" and found.errno in errnos)


def _check_nothing_left(base: Base, channels: int) -> None:
    """The base has to hold so many channels, and nothing in `tmp`."""
    left = base.tree()
    assert not list(base.tmp.glob("*")), f"a file is left in tmp:\n{left}"
    assert len(base.channels()) == channels, f"expected {channels} channels:\n{left}"


# --- a file system that is full ---


def _on_tmpfs(start: Start, home: Path, options: str) -> tuple[Driver, Base]:
    """A driver whose base is a new tmpfs, and the base at its path in the kit's namespace."""
    home.mkdir(parents=True)
    driver = start(prefix=own_tmpfs(home, options))
    return driver, Base(seen_by(driver, home.resolve()))


@pytest.mark.requirement("PUB-13", "PUB-14", role="publisher")
def test_a_file_system_that_is_full(start: Start, home: Path) -> None:
    """A publish without room in the file system fails and leaves nothing; the next one works."""
    driver, base = _on_tmpfs(start, home, "size=256k")
    with base.open("a") as channel:
        for _ in range(3):
            _check_fails(lambda: driver.publish("a", LARGE), "ENOSPC")
            _check_nothing_left(base, channels=1)
            assert channel.files() == [], f"a message is left in the channel:\n{base.tree()}"
            assert driver.publish("a", b"small") == 1
            assert [message.content for message in channel.fetch_all()] == [b"small"]


@pytest.mark.requirement("CHAN-21", role="subscriber")
def test_a_file_system_that_takes_no_more_files(start: Start, home: Path) -> None:
    """An opening that fails for want of inodes, at whatever step, leaves nothing."""
    driver, base = _on_tmpfs(start, home, "size=1m,nr_inodes=16")
    driver.close_channel(driver.open("a"))
    fillers: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            fillers.append(base.path / f"filler{len(fillers)}")
            fillers[-1].touch()
    fillers.pop()
    while isinstance(channel := _tried(lambda: driver.open("a")), Rejected):
        assert _reports(channel, "ENOSPC"), f"expected io-error ENOSPC, found {channel}"
        _check_nothing_left(base, channels=0)
        assert fillers, f"there is room again for every file, and opening fails with {channel}"
        fillers.pop().unlink()  # to make room for one more file
    directory = base.path / channel.directory.name
    assert (directory / "queue").is_fifo(), f"the channel does not exist:\n{base.tree()}"


# --- limits ---


@pytest.mark.requirement("CHAN-21", role="subscriber")
@pytest.mark.parametrize("spare", [6, 12, 30, 300])
def test_a_base_with_a_long_path(start: Start, home: Path, spare: int) -> None:
    """An opening leaves nothing if it fails because the paths in its base are too long."""
    limit = os.pathconf("/", "PC_PATH_MAX")
    if limit < 0:
        not_run("this system has no limit on paths")
    # Not below `home`, which a report lists by paths.
    deep, octets = str(home.with_name("deep")), limit - spare - 1  # and the NUL at the end
    while len(os.fsencode(deep)) < octets - 200:
        deep += "/" + "d" * 99
    deep += "/" + "d" * (octets - len(os.fsencode(deep)) - 1)
    os.makedirs(deep, 0o700)
    driver = start(PUBSUB_HOME=deep)
    refused = _tried(lambda: driver.close_channel(driver.open("a")))
    # fwalk() goes from descriptor to descriptor, for which there is no limit.
    left = [name for _, names, files, _ in os.fwalk(deep) for name in (*names, *files)]
    assert left in ([], ["tmp"]), f"after the opening ({refused}): {left}"


@contextlib.contextmanager
def _limited(pid: int, what: int, soft: int) -> Iterator[None]:
    limits = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, limits[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it died: its request reports that
            resource.prlimit(pid, what, limits)


def _until_there_are_enough(
    driver: Driver, try_it: Callable[[], object], clean: Callable[[], None]
) -> None:
    """Let the process open no descriptor, one, two…, until the operation succeeds.

    `clean` checks, after each error, that it left nothing.
    """
    if not hasattr(resource, "prlimit") or not Path("/proc/self/fd").is_dir():
        not_run("this system cannot set the limits of another process")
    for spare in range(TRIES):
        used = {int(entry.name) for entry in Path(f"/proc/{driver.pid}/fd").iterdir()}
        free = [number for number in range(len(used) + TRIES) if number not in used]
        with _limited(driver.pid, resource.RLIMIT_NOFILE, free[spare]):
            found = _tried(try_it)
        if not isinstance(found, Rejected):
            return
        assert _reports(found, "EMFILE"), (
            f"with {spare} descriptors left: expected io-error EMFILE, found {found}"
        )
        clean()
        now = {int(entry.name) for entry in Path(f"/proc/{driver.pid}/fd").iterdir()}
        assert len(now) <= len(used), f"with {spare} descriptors left, some stay open: {now - used}"
    pytest.fail(f"{TRIES} descriptors are not enough")


@pytest.mark.requirement("PUB-13", "PUB-14", role="publisher")
def test_descriptors_are_short_for_a_publish(driver: Driver, base: Base) -> None:
    """A publish without enough descriptors fails with the right count, and leaves nothing."""
    with base.open("a") as first, base.open("=") as second:
        driver.publish("a")  # so that it has open what it keeps open
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
                assert took == came, f"{came} queues took the id, the count is {took}"

        def clean() -> None:
            _check_nothing_left(base, channels=2)
            assert first.files() == second.files() == [], f"left:\n{base.tree()}"

        _until_there_are_enough(driver, publish, clean)
        assert driver.publish("a") == 2, "the publisher has descriptors again"


@pytest.mark.requirement("CHAN-21", role="subscriber")
def test_descriptors_are_short_for_an_opening(driver: Driver, base: Base) -> None:
    """An opening without enough descriptors fails, and leaves nothing."""
    driver.close_channel(driver.open("a"))  # so that it has open what it keeps open
    _until_there_are_enough(
        driver, lambda: driver.close_channel(driver.open("a")), lambda: _check_nothing_left(base, 0)
    )


@pytest.mark.requirement("INLINE-23")
def test_descriptors_are_short_without_standard_error(start: Start, base: Base) -> None:
    """Without enough descriptors, of which one is free among 0 to 2, a publisher and an owner fail,
    and hold no queue under that one."""
    driver = start(prefix=["sh", "-c", 'exec "$@" 2>&- 3</dev/null', "sh"])

    def check() -> None:
        low = [number for number, path in queues_of(driver).items() if number < 3]
        assert not low, f"expected no queue under the numbers 0 to 2, found one under {low}"

    def open_one() -> None:
        channel = driver.open("a", inline=True)
        check()
        driver.close_channel(channel)

    if "subscriber" in driver.hello.roles:
        open_one()  # so that it has open what it keeps open
        _until_there_are_enough(driver, open_one, check)
    if "publisher" in driver.hello.roles:
        with marked(base):
            _until_there_are_enough(driver, lambda: driver.publish("a"), check)
            check()


@pytest.mark.requirement("PUB-5", "PUB-13", "PUB-14", "GUAR-1", role="publisher")
def test_a_limit_on_the_size_of_files(start: Start, base: Base) -> None:
    """A publish of a message above the limit of file sizes (EFBIG) is written in part only: it
    fails and leaves nothing; the next one works."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    # The program, not the implementation, has to ignore the signal that comes with the error.
    driver = start(prefix=["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh"])
    with base.open("a") as channel:
        with contextlib.ExitStack() as limited:
            # Not before: what a runtime keeps of its programs in files would be cut, too.
            for process in running(driver.pid):
                limited.enter_context(_limited(process, resource.RLIMIT_FSIZE, len(LARGE) // 2))
            for content in (LARGE[: len(LARGE) // 2 + 8000], LARGE):
                error = _tried(partial(driver.publish, "a", content))
                assert isinstance(error, Rejected), f"expected io-error EFBIG, counted {error}"
                assert (error.code, error.errno, error.count or 0) == ("io-error", "EFBIG", 0)
                _check_nothing_left(base, channels=1)
                assert channel.files() == [], f"a part of a message is published:\n{base.tree()}"
            assert driver.publish("a", b"small") == 1
        assert driver.publish("a", LARGE) == 1
        sizes = [len(message.content) for message in channel.fetch_all()]
        assert sizes == [5, len(LARGE)], "the counted messages have to arrive"


# --- the smallest queue ---


def _shrink(queue: int) -> int:
    """Make an open queue as small as the system can. Returns how many ids it holds then."""
    if not resize(queue, 1):
        not_run("this system cannot shrink a queue")
    return os.sysconf("SC_PAGESIZE") // 8


@pytest.mark.requirement("GUAR-1", role="publisher")
def test_the_smallest_queue(driver: Driver, base: Base) -> None:
    """A channel with the smallest queue gets the messages that were counted, and no others."""
    with base.open("a") as channel:
        room = _shrink(channel.write_end)
        for _ in range(2):
            counts = [driver.publish("a", str(n).encode()) for n in range(room + 10)]
            took = [str(n).encode() for n, count in enumerate(counts) if count]
            assert 0 < len(took) < len(counts), f"{len(took)} of {len(counts)} were counted"
            assert len(channel.files()) == len(took), "expected one file for each counted message"
            assert [message.content for message in channel.fetch_all()] == took


@pytest.mark.requirement("GUAR-2", role="subscriber")
def test_the_smallest_queue_of_an_owner(driver: Driver, base: Base) -> None:
    """An owner with the smallest queue yields all messages that the queue took."""
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
    """The ids of a process rise even if the clock is set back, and its messages arrive."""
    driver, clock = start_with_clock(start, base, tmp_path)
    messages: list[Message] = []
    with base.open("a") as channel:
        for ahead in (0, -3600, -7200, 0):
            clock.set(ahead)
            for _ in range(2):
                assert driver.publish("a") == 1
            messages += channel.fetch_all()
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids)), f"ids do not rise: {ids}"
    assert len(ids) == 8, f"of 8 messages, {len(ids)} were in the queue"
