"""The processes of a process group that run: a zombie does not."""

from __future__ import annotations

import contextlib
import os
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
    listed = _by_proc if (PROC / "self" / "stat").exists() else _by_ps
    return sorted(pid for pid, state in listed(group) if state[0] not in "ZX")


def _by_proc(group: int) -> Iterator[tuple[int, str]]:
    """The id and the state of each process of a group.

    The system is asked for the group of every process of the machine, each time that a driver
    ends. To read it from a file would take ten times as long.
    """
    for name in filter(str.isdecimal, os.listdir(PROC)):
        with contextlib.suppress(OSError):  # it has just ended
            if os.getpgid(int(name)) == group:
                text = (PROC / name / "stat").read_text("utf-8", "replace")
                state, *_ = text.rpartition(")")[2].split()  # a name may have a ")"
                yield int(name), state


def _by_ps(group: int) -> Iterator[tuple[int, str]]:
    """The same from ps, which each of the BSDs and macOS has."""
    command = ["ps", "-A", "-o", "pid=", "-o", "pgid=", "-o", "stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, of, state = line.split()
        if int(of) == group:
            yield int(pid), state
