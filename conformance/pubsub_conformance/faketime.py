"""libfaketime: a process whose clock is not that of the system.

The times of files are the system's, so with its clock an hour ahead a process sees files that are
an hour old.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Sequence
from pathlib import Path

from .driver import Driver
from .linux import Unavailable

_LIBRARIES = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib*/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)

_CLOSE = 60.0
"""Seconds by which the clock of a process may seem to be wrong: it took so long to be asked."""


def preload() -> str | None:
    """LD_PRELOAD with libfaketime before what it has; None if libfaketime is not installed."""
    found = next((found for pattern in _LIBRARIES for found in glob.glob(pattern)), None)
    return f"{found} {os.environ.get('LD_PRELOAD', '')}".strip() if found else None


def ahead(command: Sequence[str], seconds: int, home: Path) -> list[str]:
    """The command, with its clocks so many seconds ahead of the system's.

    Also CLOCK_MONOTONIC: libfaketime 0.9.10 refuses some sleeps by a clock that it leaves alone. A
    message shows whether its process obeys: it is published in the base directory `home`. Raises
    Unavailable; DriverError and Rejected as a driver does.
    """
    libraries = preload()
    if libraries is None:
        raise Unavailable("setting a clock ahead needs libfaketime, which is not installed")
    variables = {
        "LD_PRELOAD": libraries,
        "FAKETIME": f"+{seconds}",
        "FAKETIME_DISABLE_SHM": "1",
        "NO_FAKE_STAT": "1",
    }
    changed = ["env", *(f"{name}={value}" for name, value in variables.items()), *command]
    with Driver(changed, home) as driver:
        channel = driver.open("clock")
        driver.publish("clock")
        message = driver.fetch(channel)
        driver.close_channel(channel)
    if message is None or abs(message.timestamp / 1e6 - time.time() - seconds) > _CLOSE:
        raise Unavailable("libfaketime does not reach the clock of the driver")
    return changed
