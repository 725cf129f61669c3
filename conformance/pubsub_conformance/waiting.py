"""The clock that the kit and its drivers share, and waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable


def now() -> int:
    """The time in nanoseconds of CLOCK_MONOTONIC, the clock of the driver protocol (DRIVER-12)."""
    # Not time.monotonic_ns: on macOS that is not the clock of the drivers.
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def until(holds: Callable[[], bool], seconds: float, *, poll: float = 0.001) -> bool:
    """Wait until a condition holds, which is checked every `poll` seconds.

    Returns False if it does not hold within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll)
    return True
