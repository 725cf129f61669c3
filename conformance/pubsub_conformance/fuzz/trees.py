"""Files and directories of any kind and depth: made, compared, removed."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any

from ..sockets import make_socket

DEEP = 1500
"""Nested directories: more than a path can name, or a stack hold."""

LOOK_DEPTH = 3

Look = dict[str, Any]
"""Relative name to type and mode, inode number, size, and target of a link."""


def make_special(path: Path, kind: str) -> None:
    """Make a FIFO, a socket or a device. Raises OSError."""
    if kind == "FIFO":
        os.mkfifo(path, 0o600)
    elif kind == "socket":
        make_socket(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def make_deep(path: Path) -> None:
    """Make nested directories below this one."""
    directory = os.open(path, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("deeper", dir_fd=directory)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(directory)


def look(path: Path, depth: int = LOOK_DEPTH) -> Look:
    """The entry at a path and the entries below it, down to a depth; empty if there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return {}
    is_directory = stat.S_ISDIR(status.st_mode)
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    found: Look = {"": (stat.filemode(status.st_mode), status.st_ino, size, target)}
    if is_directory and depth:
        with contextlib.suppress(PermissionError):
            for entry in path.iterdir():
                for name, seen in look(entry, depth - 1).items():
                    found[f"{entry.name}/{name}"] = seen
    return found


def difference(before: Look, after: Look) -> str | None:
    """The first difference between two looks, in words; None if there is none."""
    if before == after:
        return None
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return f"changed: {names[0]!r} from {before.get(names[0])} to {after.get(names[0])}"


def status_changed(path: Path) -> float:
    """When the status of a file changed last, in seconds since the epoch; 0 if it is gone."""
    try:
        return path.lstat().st_ctime
    except FileNotFoundError:
        return 0.0


def clear(path: Path) -> None:
    """Remove a tree of any depth, whatever its modes: deeper directories are moved up first."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return
    numbers = iter(range(10**9))
    while entries := _listed(path):
        for entry in entries:
            if not stat.S_ISDIR(entry.lstat().st_mode):
                entry.unlink()
                continue
            for inner in _listed(entry):
                if stat.S_ISDIR(inner.lstat().st_mode):
                    inner.chmod(0o700)
                    inner.rename(path / f"up-{next(numbers)}")
                else:
                    inner.unlink()
            entry.rmdir()
    path.rmdir()


def _listed(directory: Path) -> list[Path]:
    directory.chmod(0o700)
    return list(directory.iterdir())
