"""What stays open when an operation is done again and again (BASE-16).

One descriptor more after one operation proves nothing: an implementation may keep some. So each
operation is done until it is warm, and then the number may not grow with each repetition. Beside
these tests, the kit looks after every test for descriptors of channels, queues and messages.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.driver.group import running
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue, fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.sockets import make_socket
from pubsub_conformance.suite.helpers import Start, refuses, through
from pubsub_conformance.suite.roles import EVERYBODY, attempt
from pubsub_conformance.suite.scenes import (
    close_off,
    start_without_privileges,
    tmp_is_a_file,
    tmp_is_a_link,
)

WARM, REPEATED = 2, 5
"""How often an operation is done before the descriptors are counted, and after that."""

Operation = Callable[[], object]


def opened(driver: Driver) -> dict[tuple[int, str], str]:
    """Where each descriptor of the driver leads to, by process and number."""
    found = {}
    for process in running(driver.pid):
        place = Path(f"/proc/{process}/fd")
        if not place.is_dir():
            not_run("only /proc/PID/fd shows the descriptors of another process")
        for entry in place.iterdir():
            with suppress(OSError):  # it was just closed
                found[process, entry.name] = os.readlink(entry)
    return found


def check_that_none_is_left(driver: Driver, operation: Operation, what: str) -> None:
    """The number of descriptors may not grow each time that the operation is done."""
    for _ in range(WARM):
        operation()
    before = opened(driver)
    for _ in range(REPEATED):
        operation()
    after = opened(driver)
    new = sorted(after[one] for one in after.keys() - before.keys())
    assert len(after) - len(before) < REPEATED, (
        f"{what}, done {REPEATED} times: expected that the number of descriptors stays the same,"
        f" found {len(after)} instead of {len(before)}; the new ones lead to {', '.join(new)}"
    )


def refused(operation: Operation, *codes: str, what: str = "the request") -> Operation:
    """The operation, which has to fail with one of these codes."""

    def again() -> None:
        with refuses(*codes, what=what):
            operation()

    return again


def open_to_all(base: Base) -> None:
    base.path.chmod(0o777)


def base_is_a_file(base: Base) -> None:
    shutil.rmtree(base.path)
    base.path.write_bytes(b"")


@through("BASE-16", *EVERYBODY)
@pytest.mark.parametrize(
    "spoil",
    [open_to_all, base_is_a_file, tmp_is_a_file, tmp_is_a_link],
    ids=lambda spoil: spoil.__name__.replace("_", " "),
)
def test_a_refused_base_leaves_nothing_open(
    driver: Driver, base: Base, role: str, spoil: Callable[[Base], None]
) -> None:
    """An operation that is refused again and again because of the base leaves no descriptor."""
    base.make()
    base.dead_channel("a", dead_pid())
    living = base.open("a")  # so that a publisher needs tmp
    spoil(base)

    def again() -> None:
        with suppress(Rejected):  # which error, others of the page say
            attempt(role, driver)

    try:
        check_that_none_is_left(driver, again, f"{role}: {spoil.__name__.replace('_', ' ')}")
    finally:
        living.stop_reading()


@pytest.mark.requirement("BASE-16", role=("publisher", "subscriber"))
def test_a_fault_of_the_caller_leaves_nothing_open(driver: Driver, base: Base) -> None:
    """Requests that are refused for their arguments leave no descriptor."""
    channel = driver.open("a")
    for operation, code in (
        (lambda: driver.publish("a..b"), "invalid-topic"),
        (lambda: driver.publish("a", headers={"x": [1]}), "invalid-headers"),
        (lambda: driver.open("a."), "invalid-pattern"),
    ):
        check_that_none_is_left(driver, refused(operation, code), code)
    driver.close_channel(channel)
    for closed in (
        lambda: driver.fetch(channel),
        lambda: driver.wait(channel, 0),
    ):
        check_that_none_is_left(driver, refused(closed, "channel-closed"), "channel-closed")


def put_all_kinds(base: Base, closing: ExitStack) -> None:
    """Make channels of each kind that a publisher or a reaper meets."""
    closing.enter_context(base.open("a"))
    full = closing.enter_context(base.open("a"))
    fill(full.directory)
    base.dead_channel("a", os.getpid())
    base.dead_channel("a", os.getpid(), queue=False)
    queues = [base.dead_channel("a", os.getpid(), queue=False) / "queue" for _ in range(4)]
    queues[0].write_bytes(b"")
    queues[1].symlink_to(full.directory / "queue")
    queues[2].mkdir()
    make_socket(queues[3])


@pytest.mark.requirement("BASE-16", role="publisher")
@pytest.mark.parametrize("timeout", [None, 0.02])
def test_a_publish_leaves_nothing_open(driver: Driver, base: Base, timeout: float | None) -> None:
    """A publish to channels that are alive, dead, full or none leaves no descriptor."""
    with ExitStack() as closing:
        put_all_kinds(base, closing)
        check_that_none_is_left(driver, lambda: driver.publish("a", timeout=timeout), "publish")


@pytest.mark.requirement("BASE-16", role="publisher")
@pytest.mark.parametrize("denied", ["queue", "directory"])
def test_a_publish_that_fails_leaves_nothing_open(start: Start, base: Base, denied: str) -> None:
    """A publish that may not open a queue, or make a link beside it, leaves no descriptor."""
    driver = start_without_privileges(start)
    with base.open("a") as channel:
        if denied == "queue":
            close_off(channel.directory / "queue", 0)
        else:
            close_off(channel.directory, 0o555)
        try:
            operation = refused(lambda: driver.publish("a"), "io-error")
            check_that_none_is_left(driver, operation, f"a publish that is denied the {denied}")
        finally:
            channel.directory.chmod(0o700)


@pytest.mark.requirement("BASE-16", role="subscriber")
def test_an_invalid_message_leaves_nothing_open(driver: Driver) -> None:
    """A fetch of what is no message leaves no descriptor, whatever it is."""
    channel = driver.open("a")
    file = encode(a_message("a"))
    directory = channel.directory

    def fetch_what(make: Callable[[Path], object]) -> Operation:
        def again() -> None:
            id = fresh_id()
            make(directory / str(id))
            enqueue(directory, id)
            with refuses("invalid-message", what="the fetch of what is no message"):
                driver.fetch(channel)

        return again

    for what, make in {
        "another id": lambda path: put(directory, file, name=path.name, enqueue=False),
        "too short": lambda path: path.write_bytes(file[:7]),
        "no message": lambda path: path.write_bytes(b"x" * len(file)),
        "empty": lambda path: path.write_bytes(b""),
        "too long": lambda path: path.write_bytes(file + b"x"),
        "a link": lambda path: path.symlink_to("queue"),
        "a FIFO": lambda path: os.mkfifo(path),
        "a socket": make_socket,
        "a directory": lambda path: path.mkdir(),
    }.items():
        check_that_none_is_left(driver, fetch_what(make), f"a fetch of what is no message: {what}")


@pytest.mark.requirement("BASE-16", role="subscriber")
def test_a_fetch_leaves_nothing_open(start: Start, base: Base) -> None:
    """A fetch that yields a message, or none, or fails for now, leaves no descriptor."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    queue = channel.directory / "queue"

    def of_a_message() -> None:
        sent = base.publish("a", b"x")
        assert driver.wait(channel, 1)
        assert driver.fetch(channel) == sent
        assert driver.fetch(channel) is None

    def of_no_id() -> None:
        with queue.open("ab", buffering=0) as end:
            end.write(b"123")
        with refuses("damaged-queue", what="a fetch of 3 octets"):
            driver.fetch(channel)

    def of_no_file() -> None:
        enqueue(channel.directory, fresh_id())
        assert driver.fetch(channel) is None

    for operation in (of_a_message, of_no_id, of_no_file):
        check_that_none_is_left(
            driver, operation, f"a fetch {operation.__name__.replace('_', ' ')}"
        )
    put(channel.directory, a_message("a"))
    close_off(channel.directory, 0)
    try:
        again = refused(lambda: driver.fetch(channel), "io-error")
        check_that_none_is_left(driver, again, "a fetch from a directory that denies access")
    finally:
        close_off(channel.directory, 0o777)


def leave_it(_: Path) -> None:
    """Close the channel as it is."""


def put_another(directory: Path) -> None:
    """Put another channel in its place."""
    directory.rename(directory.with_name("elsewhere"))
    directory.mkdir()
    os.mkfifo(directory / "queue")


def remove_queue(directory: Path) -> None:
    (directory / "queue").unlink()


def plant(directory: Path) -> None:
    """Plant what the owner cannot remove."""
    (directory / "planted").mkdir()
    (directory / "planted" / "file").write_bytes(b"")
    close_off(directory / "planted", 0)


@pytest.mark.requirement("BASE-16", role="subscriber")
@pytest.mark.parametrize(
    "lose",
    [leave_it, shutil.rmtree, remove_queue, put_another, plant],
    ids=lambda lose: lose.__name__.replace("_", " "),
)
def test_a_channel_leaves_nothing_open(
    start: Start, base: Base, lose: Callable[[Path], object]
) -> None:
    """A channel that is closed leaves no descriptor, whatever became of it before."""
    driver = start_without_privileges(start)

    def again() -> None:
        channel = driver.open("a")
        lose(channel.directory)
        with suppress(Rejected):  # channel-lost
            driver.wait(channel, 0)
        with suppress(Rejected):
            driver.fetch(channel)
        with suppress(Rejected):  # it is closed nevertheless
            driver.close_channel(channel)
        shutil.rmtree(base.path / "elsewhere", ignore_errors=True)

    check_that_none_is_left(driver, again, f"opening and closing a channel ({lose.__name__})")


@pytest.mark.requirement("BASE-16", "CHAN-21", role="subscriber")
def test_an_opening_that_fails_leaves_nothing_open(start: Start, base: Base) -> None:
    """An opening that cannot rename its directory into the base leaves no descriptor."""
    driver = start_without_privileges(start)
    base.make()
    close_off(base.path, 0o555)
    try:
        again = refused(lambda: driver.open("a"), "io-error", "base-unusable")
        check_that_none_is_left(driver, again, "an opening in a base that denies writing")
        assert os.listdir(base.tmp) == [], f"something is left in tmp:\n{base.tree()}"
    finally:
        close_off(base.path, 0o777)


@pytest.mark.requirement("BASE-16", role="reaper")
def test_a_reaper_leaves_nothing_open(start: Start, base: Base) -> None:
    """A reaper leaves no descriptor, whether channels are alive or dead, go or resist."""
    driver = start_without_privileges(start)
    ended = dead_pid()
    with ExitStack() as closing:
        put_all_kinds(base, closing)

        def again() -> None:
            dead, resisting, unknown = (base.dead_channel("a", ended) for _ in range(3))
            put(dead, a_message("a"), enqueue=False)
            plant(resisting)
            close_off(unknown / "queue", 0)
            base.stage(str(fresh_id()), b"x")
            (base.tmp / "directory").mkdir(exist_ok=True)
            driver.reap()
            driver.reap(stale_age=0)
            assert not dead.exists(), f"the dead channel was left:\n{base.tree()}"

        check_that_none_is_left(driver, again, "reaping")


MOST = 7
"""More descriptors than these no operation on one channel needs at the same time."""


@contextmanager
def few_descriptors(driver: Driver, room: int) -> Iterator[None]:
    """Let the driver open so many descriptors at a time."""
    used = {int(number) for process, number in opened(driver) if process == driver.pid}
    free = [number for number in range(len(used) + room + 1) if number not in used]
    limits = resource.prlimit(driver.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(driver.pid, resource.RLIMIT_NOFILE, (free[room], limits[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it died: its request reports that
            resource.prlimit(driver.pid, resource.RLIMIT_NOFILE, limits)


@through("BASE-16", *EVERYBODY)
def test_operations_without_descriptors_leave_nothing_open(
    driver: Driver, base: Base, role: str
) -> None:
    """An operation that fails because it may open no file, or only some, leaves no descriptor."""
    if not hasattr(resource, "prlimit"):
        not_run("needs prlimit, to take descriptors from another process")
    base.make()
    channel = driver.open("a") if role == "subscriber" else None
    ended = dead_pid()

    def once() -> None:
        if channel:
            with suppress(Rejected):
                driver.fetch(channel)
            with suppress(Rejected):
                driver.close_channel(driver.open("a"))
        else:
            with suppress(Rejected):
                attempt(role, driver)

    def again() -> None:
        for room in range(MOST):
            base.dead_channel("a", ended)
            if channel:
                base.publish("a")
            with few_descriptors(driver, room):
                once()

    with base.open("a"):
        once()  # a runtime may open what it keeps at its first use, and end if it cannot
        check_that_none_is_left(driver, again, f"{role} with few descriptors")
