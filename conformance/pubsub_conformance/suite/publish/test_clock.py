"""A publisher whose clock is wrong, or jumps: nothing but the timestamp depends on it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pubsub_conformance.oracle.base import STALE_AGE, Base, fresh_name
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.suite.clock import (
    CLOSE_SECONDS,
    JUMP_SECONDS,
    TIMEOUT_SECONDS,
    jump_until_done,
    start_with_clock,
)
from pubsub_conformance.suite.helpers import Start

from .support import nothing_left, publishing

pytestmark = pytest.mark.timing

DATES = (1, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 7 * 10**9, 10**9)
"""Seconds since the epoch: from 1970 to 2191, and where 31 and 32 bits end."""


@pytest.mark.requirement("PUB-1", "PUB-2", "MSG-5", role="publisher")
def test_messages_of_any_date(start: Start, base: Base, tmp_path: Path) -> None:
    """A publisher's ids are at least 2^56 and rise, and its timestamps are right, in whichever year
    its clock is."""
    driver, clock = start_with_clock(start, base, tmp_path, begin=DATES[0] - time.time())
    last = 0
    with base.open("a") as channel:
        for date in DATES:
            begin = time.time()
            clock.set(date - begin)
            for _ in range(2):
                assert driver.publish("a") == 1, f"{date} s after the epoch, one channel was open"
            took = time.time() - begin
            for message in channel.fetch_all():
                assert 2**56 <= message.id < 2**64, (
                    f"{date} s after the epoch, the id {message.id} is not from 2^56 to 2^64 - 1"
                )
                assert message.id > last, f"the id {message.id} follows {last}: ids have to rise"
                last = message.id
                late = message.timestamp / 1e6 - date
                assert -CLOSE_SECONDS < late < CLOSE_SECONDS + took, (
                    f"the clock said {date} s after the epoch: expected about {date}000000"
                    f" microseconds, found the timestamp {message.timestamp}"
                )
    nothing_left(base, "publishes of many years")


@pytest.mark.requirement("PUB-21", "GUAR-5", role="publisher")
@pytest.mark.parametrize("ahead", [-STALE_AGE, STALE_AGE], ids=["behind", "ahead"])
def test_channels_that_open_whatever_the_clock_says(
    start: Start, base: Base, tmp_path: Path, ahead: float
) -> None:
    """A publisher whose clock is an hour wrong reaches a channel however soon after the last
    publish it opened."""
    driver, clock = start_with_clock(start, base, tmp_path)
    clock.set(ahead)
    for number in range(50):
        driver.publish("a")
        with base.open("a") as channel:
            assert driver.publish("a") == 1, f"one channel was open (round {number})"
            assert len(channel.fetch_all()) == 1


@pytest.mark.requirement("REAP-2", role="publisher")
def test_a_publisher_hours_later_removes_only_its_own(
    start: Start, base: Base, tmp_path: Path
) -> None:
    """A publish removes nothing that is stale, however old it is."""
    driver, clock = start_with_clock(start, base, tmp_path)
    left = [base.stage(str(fresh_id()), b"left over"), base.tmp / fresh_name()]
    left[1].mkdir()
    left += [base.dead_channel("a", 2**31 - 1), base.dead_channel("a", 2**31 - 1, queue=False)]
    with base.open("a") as channel:
        left.append(channel.directory / str(fresh_id()))
        left[-1].write_bytes(b"an orphan")
        for ahead in (STALE_AGE + 1, 24 * STALE_AGE):
            clock.set(ahead)
            assert driver.publish("a") == 1
            gone = [path.name for path in left if not path.exists()]
            assert not gone, f"a publish removed what others left {ahead} s ago: {gone}"


@pytest.mark.requirement("PUB-19", role="publisher")
@pytest.mark.parametrize("jump", [JUMP_SECONDS, -JUMP_SECONDS], ids=["ahead", "back"])
def test_a_clock_that_jumps_while_a_queue_is_full(
    start: Start, base: Base, tmp_path: Path, jump: int
) -> None:
    """A publish to a full queue ends when its timeout is over, even if the system's clock is set
    meanwhile."""
    driver, clock = start_with_clock(start, base, tmp_path)
    with base.open("a") as channel:
        fill(channel.directory)
        begin = time.monotonic()
        with publishing(driver, "a", timeout=TIMEOUT_SECONDS) as count:
            what = f"a publish with a timeout of {TIMEOUT_SECONDS} s"
            jump_until_done(clock, count, jump, what)
            took = time.monotonic() - begin
            assert count.result() == 0, "the queue is full"
        assert took >= TIMEOUT_SECONDS, (
            f"the clock was set ahead, and a publish with a timeout of {TIMEOUT_SECONDS} s ended"
            f" after {took:.2f} s"
        )
        nothing_left(base, "a publish to a full queue")
