"""Attacks from inside: messages that a hostile writer makes, or changes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.linux.strace import LOOK, stop, traced
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue, fill, resize, waiting
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    answers,
    most_memory,
    refuses,
)

from .support import GIB, check_that_it_receives, make_outside, untouched

pytestmark = pytest.mark.timing


@pytest.fixture
def outside(home: Path) -> Path:
    return make_outside(home)


@pytest.mark.requirement("FETCH-5", "FETCH-6", role="subscriber")
@pytest.mark.parametrize("what", ["a file", "a message"])
def test_a_hard_link_to_another_file(driver: Driver, outside: Path, what: str) -> None:
    """A hard link to another file in place of a message is an invalid-message: the link is
    removed, and the file stays."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    if what == "a message":
        (outside / "precious").write_bytes(encode(a_message("a", b"for another channel")))
    with untouched(outside):
        planted = channel.directory / str(fresh_id())
        os.link(outside / "precious", planted)
        enqueue(channel.directory, int(planted.name))
        with refuses("invalid-message", what=f"a fetch of a hard link to {what}"):
            driver.fetch(channel)
        assert not planted.exists(), "the file was reported, but not removed"
    check_that_it_receives(driver, channel, "after")


def truncate(file: Path, _: Path) -> None:
    os.truncate(file, 100)


def grow(file: Path, _: Path) -> None:
    with file.open("ab") as more:
        more.write(b"more" * 1000)


def overwrite(file: Path, _: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


def become_a_fifo(file: Path, _: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def become_a_link(file: Path, outside: Path) -> None:
    file.unlink()
    file.symlink_to(outside / "precious")


@pytest.mark.requirement("FETCH-5", "FETCH-7", role="subscriber")
@pytest.mark.parametrize("change", [truncate, grow, overwrite, become_a_fifo, become_a_link])
def test_a_message_changes_while_it_is_fetched(
    driver: Driver, outside: Path, change: Callable[[Path, Path], None]
) -> None:
    """A message that changes while it is fetched is yielded as it was, or is an
    invalid-message."""
    channel = driver.open("a")
    message = a_message("a", b"x" * 100_000)
    file = put(channel.directory, message)
    what = f"a message that is changed ({change.__name__}) while it is fetched"
    with (
        untouched(outside),
        traced(driver, stop((*LOOK, "fstat")), paths=[file, file.name]) as trace,
    ):
        fetching = trace.begin(driver.fetch, channel)
        trace.stopped()
        change(file, outside)
        trace.go_on()
        with answers(what):
            try:
                assert fetching.result() == message, f"{what}: expected it as it was, or an error"
            except Rejected as error:
                if error.code != "invalid-message":
                    pytest.fail(f"{what}: expected invalid-message, found {error}")
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("MSG-13", role="subscriber")
def test_a_file_of_a_tebioctet_without_content(driver: Driver) -> None:
    """A sparse file of 1 TiB is an invalid-message, and costs the reader less than 1 GiB of
    memory."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    message = a_message("a")
    file = put(channel.directory, message, enqueue=False)
    try:
        os.truncate(file, 1024 * GIB)
    except OSError as error:
        not_run(f"a file of 1 TiB cannot be made here: {error}")
    enqueue(channel.directory, message.id)
    before = most_memory(driver)
    what = "a fetch of a file of 1 TiB"
    with answers(what), refuses("invalid-message", what=what):
        driver.fetch(channel)
    assert most_memory(driver) - before < GIB, "the driver took more than 1 GiB to refuse the file"
    assert not file.exists(), "the file was reported, but not removed"
    check_that_it_receives(driver, channel, "after")


FLOODED_SECONDS = 90.0
"""For a fetch that reads so many ids on a busy machine."""

ENOUGH = 4 * 131072
"""Ids: four times what the largest queue holds. A fetch that has read so many has no limit."""

FLOODS = 20
"""How often a fetch is tried that finds the queue empty though it is filled all the time."""


def _floods(driver: Driver, channel: OpenChannel) -> bool:
    """Fetch while the queue is filled again and again. Returns whether it was never empty.

    The driver is stopped while the queue is filled, so that it need not be slower than the kit.
    """
    read, full = 0, fill(channel.directory, id=1)
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(driver.fetch, channel)
        while not fetching.done() and read < ENOUGH:
            if waiting(channel.directory) < full * 3 // 4:
                os.killpg(driver.pid, signal.SIGSTOP)
                read += fill(channel.directory, id=1)
                os.killpg(driver.pid, signal.SIGCONT)
        if not fetching.done():
            driver.kill()
            pytest.fail(f"a fetch has read {read} ids without a file, and has not ended")
    assert fetching.result() is None, "none of these ids has a file"
    return waiting(channel.directory) > 0


@pytest.mark.requirement("FETCH-22", role="subscriber")
@pytest.mark.parametrize("inline", [False, True], ids=["unmarked", "marked"])
def test_ids_without_a_file_come_faster_than_they_are_read(driver: Driver, inline: bool) -> None:
    """A fetch ends while others write ids without files faster than it reads; the next message
    comes after that."""
    channel = driver.open("a", inline=inline)
    check_that_it_receives(driver, channel, "before")
    driver.limits = driver.limits._replace(reply_seconds=FLOODED_SECONDS)
    with (channel.directory / "queue").open("wb", buffering=0) as queue:
        resize(queue.fileno(), 128)  # so that it is never empty, on a busy machine either
        if not any(_floods(driver, channel) for _ in range(FLOODS)):
            not_run("the driver empties a queue faster than the kit fills it")
    while driver.wait(channel, 0):
        assert driver.fetch(channel) is None, "none of these ids has a file"
    check_that_it_receives(driver, channel, "after")
