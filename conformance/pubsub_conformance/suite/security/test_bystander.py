"""A bystander of another user, who looks at the base after every step of a process.

What is wrong for a moment only is seen only so: an entry that is made with a wide mode and closed
off in the next step, a message in a channel before it is complete, a channel before it can receive.
What another user may do follows from the modes, so the kit looks at these itself.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.linux.strace import (
    LINK,
    MAKE_DIRECTORY,
    MAKE_FIFO,
    OPEN,
    RENAME,
    UNLINK,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME, Base, put
from pubsub_conformance.oracle.message import InvalidMessage, a_message, decode
from pubsub_conformance.oracle.queue import has_reader
from pubsub_conformance.suite.helpers import Start, through, umask

pytestmark = pytest.mark.timing

CHMOD = ("chmod", "fchmod", "fchmodat", "fchmodat2")
MADE = (*MAKE_DIRECTORY, *MAKE_FIFO, *OPEN, *CHMOD)
SHOWN = (*RENAME, *LINK, *CHMOD)
"""The calls after which something may be there that another user may use, or may see."""

CONTENT = bytes(200_000)
"""Of a message that most implementations write in several steps, or that fills a buffer."""


def publish(driver: Driver, _: Base) -> None:
    """Publish a large message."""
    driver.publish("a", CONTENT)


def use_a_channel(driver: Driver, base: Base) -> None:
    """Open a channel, fetch a message, and close the channel."""
    channel = driver.open("a")
    put(channel.directory, a_message("a"))
    driver.fetch(channel)
    driver.close_channel(channel)


WORK: dict[str, Callable[[Driver, Base], None]] = {
    "publisher": publish,
    "subscriber": use_a_channel,
}


def looks(
    driver: Driver, base: Base, work: Callable[[Driver, Base], None], calls: tuple[str, ...]
) -> Iterator[Call]:
    """The calls of these names while the driver works; it is stopped after each of them."""
    with traced(driver, stop(calls, None)) as trace:
        trace.begin(work, driver, base)
        yield from trace.stops()


def entries(base: Base) -> dict[Path, os.stat_result]:
    """Everything in the base now."""
    return {path: path.lstat() for path in base.path.rglob("*")}


def of_channels(found: dict[Path, os.stat_result], base: Base) -> dict[Path, os.stat_result]:
    """Those of them that are channels, or are in one."""
    return {
        path: status
        for path, status in found.items()
        if CHANNEL_NAME.fullmatch(path.relative_to(base.path).parts[0])
    }


def bits(status: os.stat_result, mode: int) -> tuple[int, int, str]:
    """The bits for group and others that an entry needs and may have, in a base of this mode."""
    base = mode & 0o077
    readable = base & 0o044 & (base & 0o022) << 1
    shared = base if mode & 0o022 else 0
    if stat.S_ISFIFO(status.st_mode):
        return shared & 0o022, base & 0o022 if shared else base, "queue"
    if stat.S_ISREG(status.st_mode):
        return (readable if shared else 0), readable, "message file"
    return shared, base, "directory"


@pytest.fixture
def make(start: Start, base: Base) -> Iterator[Callable[[int, int], Driver]]:
    """A function that makes a base of a mode, with channels, and starts a driver with a umask."""
    with ExitStack() as closing:

        def make(mode: int, mask: int) -> Driver:
            base.make(mode)
            for _ in range(2):
                closing.enter_context(base.open("a"))
            shutil.rmtree(base.tmp)  # for the driver to make
            return start(prefix=umask(mask))

        yield make
        base.make_tmp()  # the kit needs it to close its channels


def check_that_nothing_is_too_open(driver: Driver, base: Base, role: str, mode: int) -> None:
    """At no time may an entry have a bit that it may not have."""
    known = set(entries(base))
    for call in looks(driver, base, WORK[role], MADE):
        for path, status in entries(base).items():
            _, allowed, what = bits(status, mode)
            found = status.st_mode & 0o077
            assert path in known or not found & ~allowed, (
                f"after {call}: in a base of mode {mode:04o}, a {what} may have the bits"
                f" {allowed:03o} for group and others; found {found:03o} for {path}"
            )


@through("BASE-8", *WORK)
@pytest.mark.parametrize("mode", [0o700, 0o755], ids="{:04o}".format)
def test_nothing_is_too_open_for_a_moment(
    make: Callable[[int, int], Driver], base: Base, role: str, mode: int
) -> None:
    """From the first moment, with umask 000, nothing is more open than the base."""
    check_that_nothing_is_too_open(make(mode, 0), base, role, mode)


@through("BASE-9", *WORK)
@pytest.mark.parametrize("mode", [0o770, 0o1777], ids="{:04o}".format)
def test_nothing_is_too_open_in_a_shared_base(
    make: Callable[[int, int], Driver], base: Base, role: str, mode: int
) -> None:
    """From the first moment, with umask 000, nobody else may write to a message file or read from
    a queue."""
    check_that_nothing_is_too_open(make(mode, 0), base, role, mode)


@through("BASE-9", *WORK)
@pytest.mark.parametrize("mode", [0o770, 0o1777], ids="{:04o}".format)
def test_what_is_in_a_channel_can_be_used_at_once(
    make: Callable[[int, int], Driver], base: Base, role: str, mode: int
) -> None:
    """With umask 077, a channel in the base, its queue and its messages have all their bits from
    the first moment: another user who meets them can use them."""
    driver = make(mode, 0o077)
    for call in looks(driver, base, WORK[role], SHOWN):
        for path, status in of_channels(entries(base), base).items():
            needed, _, what = bits(status, mode)
            found = status.st_mode & 0o077
            assert found & needed == needed, (
                f"after {call}: in a base of mode {mode:04o}, a {what} needs the bits"
                f" {needed:03o} for group and others; found {found:03o} for {path}"
            )


@through("BASE-3", *WORK)
def test_the_base_is_closed_from_the_first_moment(start: Start, base: Base, role: str) -> None:
    """With umask 000, a base that is made is never open to others, not for a moment."""
    driver = start(prefix=umask(0))
    for call in looks(driver, base, WORK[role], MADE):
        mode = base.path.lstat().st_mode & 0o777 if base.path.exists() else 0o700
        assert not mode & 0o077, f"after {call}: the base has the mode {mode:04o}, not 0700"


@pytest.mark.requirement("PUB-5", "PUB-7", role="publisher")
def test_nobody_sees_half_a_message(driver: Driver, base: Base) -> None:
    """After every step of a publish, each message file in a channel is complete, with its id as its
    name."""
    with base.open("a"), base.open("a"):
        for call in looks(driver, base, publish, (*OPEN, *LINK, *RENAME)):
            for path in of_channels(entries(base), base):
                if MESSAGE_NAME.fullmatch(path.name):
                    try:
                        id = decode(path.read_bytes()).id
                    except InvalidMessage as error:
                        pytest.fail(f"after {call}: {path.name} is in a channel: {error}")
                    assert str(id) == path.name, f"after {call}: the file holds the id {id}"


@pytest.mark.requirement("CHAN-10", "CHAN-16", role="subscriber")
def test_nobody_sees_half_a_channel_of_its_owner(driver: Driver, base: Base) -> None:
    """After every step of opening and closing, a channel in the base has a queue with a reader."""
    base.make()
    for call in looks(driver, base, use_a_channel, (*SHOWN, *MADE, *UNLINK, "rmdir")):
        for channel in base.path.iterdir():
            if CHANNEL_NAME.fullmatch(channel.name):
                names = sorted(entry.name for entry in channel.iterdir())
                assert "queue" in names, f"after {call}: the channel holds {names}, and no queue"
                assert has_reader(channel), f"after {call}: nobody reads the queue of the channel"


@pytest.mark.requirement("CHAN-16", "REAP-12", role="reaper")
def test_nobody_sees_half_a_dead_channel(driver: Driver, base: Base) -> None:
    """After every step of a reaper, a dead channel is there with all its entries, or is not
    there."""
    dead = base.dead_channel("a", dead_pid())
    for _ in range(3):
        put(dead, a_message("a"), enqueue=False)
    before = sorted(os.listdir(dead))

    def reap(driver: Driver, _: Base) -> None:
        driver.reap()

    for call in looks(driver, base, reap, (*SHOWN, *UNLINK, "rmdir")):
        if dead.exists():
            now = sorted(os.listdir(dead))
            assert now == before, f"after {call}: the channel in the base holds {now}"
    assert not dead.exists(), "the dead channel was left"
