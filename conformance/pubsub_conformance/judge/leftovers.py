"""Names in a base directory at rest that should not be there."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from pubsub_conformance.oracle.base import CHANNEL_NAME, names_in


def leftovers(home: Path, channels: Collection[str], unknown: int, killed: int) -> Iterator[str]:
    """Names that cannot be the work of dead processes, in a base where all queues are empty.

    `channels` are the open ones, `unknown` is the number of publishes whose outcome nobody knows,
    `killed` the number of processes that were killed, or that failed to close a channel. The names
    of foreign entries are not looked at.
    """
    in_tmp = names_in(home / "tmp")
    staged = [f"tmp/{name}" for name in in_tmp if name.isdecimal()]
    orphans = [
        f"{name}/{message}"
        for name in sorted(channels)
        for message in names_in(home / name)
        if message.isdecimal()
    ]
    claimed = [f"tmp/{name}" for name in in_tmp if not name.isdecimal()]
    dead = [name for name in names_in(home) if _is_dead(name, channels)]
    # A publish has one message staged and is in one channel at a time.
    for names, most in (staged, unknown), (orphans, unknown), (claimed + dead, killed):
        if len(names) > most:
            yield from names


def not_reaped(home: Path, channels: Collection[str], before: float) -> Iterator[str]:
    """Names that a reaper should have removed: they last changed before this time (seconds since
    1970).

    Orphans in channels of living processes may stay: removing them is only recommended (FETCH-16).
    """
    for name in names_in(home / "tmp"):
        if _changed(home / "tmp" / name) < before:
            yield f"tmp/{name}"
    for name in names_in(home):
        if _is_dead(name, channels) and _changed(home / name) < before:
            yield name


def _is_dead(name: str, channels: Collection[str]) -> bool:
    return name not in channels and CHANNEL_NAME.fullmatch(name) is not None


def _changed(path: Path) -> float:
    """When a file, or the queue in a directory, last changed; a file that is gone is young."""
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_ctime
        try:
            queue = os.lstat(path / "queue")
        except FileNotFoundError:
            return status.st_ctime
        return max(status.st_ctime, queue.st_mtime, queue.st_ctime)
    except FileNotFoundError:
        return math.inf
