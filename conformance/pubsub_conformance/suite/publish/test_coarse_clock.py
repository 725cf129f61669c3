"""A base on a file system with a coarse clock: the times of files prove less than elsewhere.

Two changes of the base within one tick leave it with the same times. The tick of ramfs is a few
milliseconds long, that of ext2 with small inodes a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.coarse import of_seconds, of_ticks
from pubsub_conformance.linux.namespace import seen_by
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import Start
from pubsub_conformance.suite.roles import settle

pytestmark = pytest.mark.timing

CLOCKS = pytest.mark.parametrize(
    "mounted",
    [of_ticks, *([of_seconds] if os.geteuid() == 0 else [])],  # only root has loop devices
    ids=lambda mounted: mounted.__name__[3:],
)
"""Run the test on each of these file systems."""

LANES = pytest.mark.parametrize(
    "inline",
    [False, pytest.param(True, marks=pytest.mark.requirement("INLINE-12", "INLINE-21"))],
    ids=["files", "records"],
)
"""Run the test with channels that are not marked, and with marked ones."""

Mounted = Callable[[Path], tuple[str, ...]]


def start_on(start: Start, base: Base, mounted: Mounted) -> tuple[Driver, Base]:
    """A driver whose base is on such a file system, and the base as the kit sees it."""
    place = base.path.with_name("coarse")
    place.mkdir()
    driver = start(prefix=mounted(place), PUBSUB_HOME=str(place / "base"))
    coarse = Base(seen_by(driver, place / "base"), base.marked)
    coarse.make()
    return driver, coarse


@pytest.mark.requirement("PUB-21", role="publisher")
@CLOCKS
@LANES
def test_a_channel_opens_within_the_tick_of_a_publish(
    start: Start, base: Base, mounted: Mounted, inline: bool
) -> None:
    """A publish reaches a channel that was opened within the same tick as the last publish."""
    driver, coarse = start_on(start, base, mounted)
    for number in range(100):
        driver.publish("a")
        with coarse.open("a", inline=inline) as channel:
            assert driver.publish("a") == 1, f"one channel was open (round {number})"
            if inline:
                assert channel.files() == [], "a small message came to a marked channel by file"
            assert len(channel.fetch_all()) == 1


@pytest.mark.requirement("PUB-21", role="publisher")
@CLOCKS
@LANES
def test_a_channel_opens_in_the_tick_of_another(
    start: Start, base: Base, mounted: Mounted, inline: bool
) -> None:
    """A publish between two openings of one tick does not keep a list without the second channel,
    even after the tick is over."""
    driver, coarse = start_on(start, base, mounted)
    with coarse.open("a", inline=inline):
        settle(driver, coarse, "a")
        with coarse.open("a", inline=inline):
            assert driver.publish("a") == 2, "two channels were open"
            with coarse.open("a", inline=inline):
                for _ in range(2):
                    assert driver.publish("a") == 3, "three channels were open"
                settle(driver, coarse, "a")
                assert driver.publish("a") == 3, "three channels were open"


@pytest.mark.requirement("REAP-5", role="reaper")
@CLOCKS
def test_a_channel_that_only_seems_older_than_the_reaper(
    start: Start, base: Base, mounted: Mounted
) -> None:
    """A channel of the reaper's own process may seem to be older than the process: by up to two
    seconds where times are whole seconds, by a tick elsewhere. It stays."""
    for _ in range(2):
        time.sleep(-(time.time() - 0.4) % 1)  # so that driver and channel begin in one second
        driver, coarse = start_on(start, base, mounted)
        young = coarse.dead_channel("a", driver.pid)
        driver.reap()
        assert young.exists(), (
            f"the reaper has removed a channel of its own process {driver.pid}, which was made"
            " after the process had started; the clock of this file system is coarse"
        )
        driver.close()
        base.path.with_name("coarse").rmdir()
