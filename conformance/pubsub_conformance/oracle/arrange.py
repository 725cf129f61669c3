"""What a test arranges outside the base: a process that has ended, and the passing of time."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def dead_pid() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def let_age(*paths: Path) -> None:
    """Wait until these are older than now even to somebody who counts whole seconds.

    The time of a status change cannot be set, so a test that needs something stale asks for a
    stale age of 0.
    """
    statuses = [path.lstat() for path in paths]
    youngest = max(max(status.st_ctime, status.st_mtime) for status in statuses)
    while int(time.time()) <= int(youngest):
        time.sleep(0.01)
