"""What a test needs beside the base: a process that has ended, and files that are old."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def dead_pid() -> int:
    """The id of a process that has just ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def let_age(*paths: Path, seconds: int = 1) -> None:
    """Wait until these files are `seconds` older than now, counted in whole seconds.

    Nobody can set the time of a status change. So a test that needs a stale file lets it age, and
    reaps with a stale age of 0.
    """
    statuses = [path.lstat() for path in paths]
    youngest = max(max(status.st_ctime, status.st_mtime) for status in statuses)
    while int(time.time()) < int(youngest) + seconds:
        time.sleep(0.01)
