"""Ages: when an owner takes a file for an orphan, and waits whose clock jumps.

The driver's clock is set ahead of that of the files, so nobody waits for an hour.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import STALE_AGE, Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.clock import (
    AFTER_SECONDS,
    AGES,
    BEFORE_SECONDS,
    HUGE,
    JUMP_SECONDS,
    TIMEOUT_SECONDS,
    jump_until_done,
    start_with_clock,
)
from pubsub_conformance.suite.helpers import Start

from .support import expect_message, expect_nothing

pytestmark = pytest.mark.timing


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_a_file_is_no_orphan_until_it_is_stale(start: Start, base: Base, tmp_path: Path) -> None:
    """An owner keeps a file that is a few seconds younger than the stale age, for stale ages of a
    second to years, and for the usual one, an hour."""
    driver, clock = start_with_clock(start, base, tmp_path)
    channel = driver.open("a")
    for given in (None, *AGES):
        age = STALE_AGE if given is None else given
        clock.set(age - BEFORE_SECONDS)
        begin = time.time()
        message = a_message("a", b"linked, not yet enqueued")
        file = put(channel.directory, message, enqueue=False)
        expect_nothing(driver, channel, "the queue is empty")
        driver.reap(given)
        took = time.time() - begin
        if took >= BEFORE_SECONDS and not file.exists():
            not_run(f"it took {took:.1f} s to make a file and to reap")
        assert file.exists(), (
            f"a message was removed {BEFORE_SECONDS} s before it is stale; the stale age is"
            f" {age:g} s"
        )
        clock.set(0)
        enqueue(channel.directory, message.id)
        expect_message(driver, channel, message, "enqueued after the owner looked for orphans")


@pytest.mark.requirement("FETCH-16", role="subscriber")
def test_an_orphan_goes_once_it_is_stale(start: Start, base: Base, tmp_path: Path) -> None:
    """An owner removes an orphan that is a few seconds older than the stale age."""
    driver, clock = start_with_clock(start, base, tmp_path)
    channel = driver.open("a")
    for given in (None, *AGES):
        age = STALE_AGE if given is None else given
        orphan = put(channel.directory, a_message("a"), enqueue=False)
        clock.set(age + AFTER_SECONDS)
        driver.reap(given)
        assert not orphan.exists(), (
            f"an orphan is {age + AFTER_SECONDS:g} s old, and the stale age is {age:g} s: the owner"
            " should have removed it"
        )


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_no_stale_age_is_too_large(driver: Driver, base: Base) -> None:
    """An owner keeps a file that is seconds old, however large the stale age is."""
    channel = driver.open("a")
    file = put(channel.directory, a_message("a"), enqueue=False)
    for age in HUGE:
        driver.reap(age)
        assert file.exists(), f"a file that is seconds old was removed; the stale age is {age} s"


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_a_file_is_younger_than_the_clock_says(start: Start, base: Base, tmp_path: Path) -> None:
    """An owner whose clock was set back keeps a file that is younger than its clock says it can
    be."""
    driver, clock = start_with_clock(start, base, tmp_path)
    channel = driver.open("a")
    file = put(channel.directory, a_message("a"), enqueue=False)
    for back in (10, 3600, 2**30, int(time.time()) - 1000):
        clock.set(-back)
        for given in (None, 0, 1, 60):
            driver.reap(given)
            assert file.exists(), (
                f"a file was changed after the time of the owner's clock, which was set back by"
                f" {back} s: it is not stale, but was removed (stale age: {given or STALE_AGE} s)"
            )


@pytest.mark.requirement("FETCH-17", role="subscriber")
@pytest.mark.parametrize("ahead", [STALE_AGE / 2, STALE_AGE - BEFORE_SECONDS])
def test_fetching_for_an_hour_removes_nothing_young(
    start: Start, base: Base, tmp_path: Path, ahead: float
) -> None:
    """However long an owner has fetched and waited, it keeps files that are not stale."""
    driver, clock = start_with_clock(start, base, tmp_path, monotonic=True)
    channel = driver.open("a")
    expect_nothing(driver, channel, "a channel just opened")
    begin = time.time()
    late = a_message("a", b"linked long before it is enqueued")
    file = put(channel.directory, late, enqueue=False)
    clock.set(ahead)
    for _ in range(3):
        expect_nothing(driver, channel, f"{ahead} s later")
        driver.wait(channel, 0)
    if not file.exists() and time.time() - begin >= BEFORE_SECONDS:
        not_run("this machine is too slow")
    assert file.exists(), f"a message was removed as an orphan, {ahead} s after it was linked"
    enqueue(channel.directory, late.id)
    expect_message(driver, channel, late, "enqueued at last")


@pytest.mark.requirement("FETCH-17", "GUAR-2", role="subscriber")
def test_messages_that_waited_for_hours(start: Start, base: Base, tmp_path: Path) -> None:
    """An owner that fetches again after hours yields each message that is in its queue."""
    driver, clock = start_with_clock(start, base, tmp_path, monotonic=True)
    channel = driver.open("a")
    for hours in (1, 2, 24):
        sent = [base.publish("a", b"%d" % n) for n in range(3)]
        clock.set((hours + 1) * STALE_AGE)
        for message in sent:
            assert driver.wait(channel, 0), "the queue holds a message"
            expect_message(driver, channel, message, f"it was unread for {hours} hours or more")
        expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-15", role="subscriber")
@pytest.mark.parametrize("jump", [JUMP_SECONDS, -JUMP_SECONDS], ids=["ahead", "back"])
def test_a_clock_that_jumps_while_an_owner_waits(
    start: Start, base: Base, tmp_path: Path, jump: int
) -> None:
    """A wait lasts as long as its timeout says, even if the system's clock is set meanwhile."""
    driver, clock = start_with_clock(start, base, tmp_path)
    channel = driver.open("a")
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as worker:
        waiting = worker.submit(driver.wait, channel, TIMEOUT_SECONDS)
        jump_until_done(clock, waiting, jump, f"a wait of {TIMEOUT_SECONDS} s")
        took = time.monotonic() - begin
        assert not waiting.result(), "the queue is empty"
    assert took >= TIMEOUT_SECONDS, (
        f"the clock was set ahead, and a wait of {TIMEOUT_SECONDS} s ended after {took:.2f} s"
    )
