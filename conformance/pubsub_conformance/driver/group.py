"""The processes of a process group that run: a zombie does not."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def running(group: int) -> list[int]:
    """The ids of the processes of a group that run.

    A process that ended is a zombie until its parent waits for it. If its parent ended first, that
    may take an init for ever, and killpg cannot tell a zombie from a process.
    """
    # NetBSD may have a /proc without this file.
    listed = _by_proc() if (PROC / "self" / "stat").exists() else _by_ps()
    return sorted(pid for pid, of, state in listed if of == group and state[0] not in "ZX")


def _by_proc() -> Iterator[tuple[int, int, str]]:
    """The id, the group and the state of each process."""
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it has just ended
                text = (entry / "stat").read_text("utf-8", "replace")
                state, _, group, *_ = text.rpartition(")")[2].split()  # a name may have a ")"
                yield int(entry.name), int(group), state


def _by_ps() -> Iterator[tuple[int, int, str]]:
    """The same from ps, which each of the BSDs and macOS has."""
    command = ["ps", "-A", "-o", "pid=", "-o", "pgid=", "-o", "stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, group, state = line.split()
        yield int(pid), int(group), state
