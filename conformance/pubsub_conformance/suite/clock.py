"""A driver whose clock a test sets: libfaketime puts CLOCK_REALTIME ahead or back.

The times of files are the system's, so that with its clock an hour ahead a driver sees files that
are an hour old. CLOCK_MONOTONIC stays as it is, and waits take as long as ever, unless a test wants
it otherwise.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.faketime import preload
from pubsub_conformance.oracle.base import STALE_AGE, Base
from pubsub_conformance.plugin import not_run

from .helpers import Start

BEFORE_SECONDS = 5
"""How long before it is stale an entry has to stay. On a machine that needs so long to make and to
reap it, the test is not run."""

AFTER_SECONDS = 2
"""How long after that time it has to go. An implementation may count in whole seconds."""

AGES = (
    *(0.5, 1, 59, 60, 61, 3599, 3600, 3600.5, 3601, 86400),
    *(2**31 / 1000, 2**32 / 1000, 2**31, 2**32),
)
"""Stale ages in seconds. The last ones leave 32 bits in milliseconds or in seconds."""

HUGE = (
    *(2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 10**10),
    *(2.0**53, 2.0**63, 2.0**64),  # a driver may know no larger integer than 2^53 - 1
    *(2**bits / unit for bits in (31, 32) for unit in (10**3, 10**6)),
    *(2**bits / unit for bits in (63, 64) for unit in (10**3, 10**6, 10**9)),
)
"""Stale ages in seconds, of half an hour or more, that leave 31, 32, 63 or 64 bits in some unit."""

CLOSE_SECONDS = 60
"""How near to the time that a test has set the driver's clock has to be."""


JUMP_SECONDS = 100
PAUSE_SECONDS = 0.05
"""While a driver waits, its clock jumps by so many seconds, and again after each pause."""

TIMEOUT_SECONDS = 1.2
PATIENCE_SECONDS = 8
"""How long a request with a timeout of TIMEOUT_SECONDS may take on a slow machine."""


class Clock:
    """The clock of one driver, as far ahead of the system's as a file says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)

    def set(self, seconds: float) -> None:
        """Put the clock so many seconds ahead of the system's, or behind it if negative."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{seconds:+f}")
        os.replace(fresh, self._path)  # the driver may be reading it


def start_with_clock(
    start: Start, base: Base, directory: Path, *, begin: float = 0, monotonic: bool = False
) -> tuple[Driver, Clock]:
    """A driver and its clock, which begins so many seconds ahead, and is a file in `directory`.

    With `monotonic`, CLOCK_MONOTONIC is set, too.

    Without libfaketime, or a driver that obeys it, the test is not run.
    """
    libraries = preload()
    if libraries is None:
        not_run("setting the driver's clock needs libfaketime")
    clock = Clock(directory / "clock")
    clock.set(begin)
    dont_fake = None if monotonic else "1"
    driver = start(
        LD_PRELOAD=libraries,
        FAKETIME_TIMESTAMP_FILE=str(directory / "clock"),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DISABLE_SHM="1",
        FAKETIME_DONT_FAKE_MONOTONIC=dont_fake,
        DONT_FAKE_MONOTONIC=dont_fake,
        NO_FAKE_STAT="1",
    )
    if "publisher" not in driver.hello.roles:
        not_run("only the timestamp of a message shows whether the driver's clock was set")
    with base.open("clock") as channel:
        for ahead in (begin,) if begin else (86400, 0):
            clock.set(ahead)
            driver.publish("clock")
            message = channel.fetch()
            if message is None:
                not_run("the driver's clock is not known: its message did not arrive")
            if abs(message.timestamp / 1e6 - time.time() - ahead) > CLOSE_SECONDS:
                not_run("libfaketime does not reach the driver's clock")
    return driver, clock


def jump_until_done(clock: Clock, request: Future[Any], jump: int, what: str) -> None:
    """Set the clock by `jump` seconds, and again, until the request ends; it has to end in time."""
    begin = time.monotonic()
    jumps = 0
    while not wait([request], PAUSE_SECONDS).done:
        jumps += 1
        clock.set(jump * jumps)
        if time.monotonic() - begin > PATIENCE_SECONDS:
            clock.set(10 * STALE_AGE)  # so that it ends
            pytest.fail(
                f"the clock was set back, and {what} has not ended after {PATIENCE_SECONDS} s"
            )
