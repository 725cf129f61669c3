"""Removing a directory and all in it (spec/channel.md, steps 3 and 4 of closing).

The way leads down into each directory that is not empty, and up again by `..`. Only the directory
at its end is open: no nesting is too deep, neither for a stack nor for the limit of open files.

A process that may write into the base can at any time move a directory elsewhere, or put a symbolic
link in its place. So no link is followed, and `..` has to be the directory from which the way came
down: nothing outside the base can be hit (BASE-15, CHAN-15). `rmdir` is tried before a directory is
opened, and refuses a mount point: what is mounted stays.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from .base import ATTEMPTS, LIST
from .files import entries, identity
from .interruption import Descriptors, of_system


class _Level(NamedTuple):
    """A directory that is being emptied."""

    name: str
    identity: tuple[int, int]
    inner: list[str]  # the directories in it that are still to be removed


def remove(at: int | None, name: str) -> OSError | None:
    """Remove a directory and all in it, following no link (CHAN-14, CHAN-15).

    An entry that cannot be removed keeps no other entry; the first such error is returned.
    """
    refused: list[OSError] = []
    try:
        # When it was emptied, a publisher that had found the channel before it was claimed may
        # have put a link there (CHAN-17).
        for _ in range(ATTEMPTS):
            if refused or _is_removed(at, name):
                break
            _empty(at, name, refused)
        else:
            refused.append(OSError(errno.ENOTEMPTY, f"emptied {ATTEMPTS} times in vain", name))
    except of_system(OSError) as error:
        refused.append(error)
    return refused[0] if refused else None


def _is_removed(at: int | None, name: str) -> bool:
    """Remove a directory, unless something is in it. Raises OSError: for a mount point, too."""
    try:
        os.rmdir(name, dir_fd=at)
    except of_system(FileNotFoundError):
        pass
    except of_system(OSError) as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _empty(at: int | None, name: str, refused: list[OSError]) -> None:
    """Remove what is in a directory. Two descriptors and no stack are enough for any depth."""
    here = Descriptors()  # the last directory of the way, and for a moment the one next to it
    with here, here:
        try:
            _walk(here, [_enter(at, name, here, refused)], refused)
        except of_system(FileNotFoundError):
            pass  # another process was faster
        except of_system(OSError) as error:
            refused.append(error)


def _walk(here: Descriptors, way: list[_Level], refused: list[OSError]) -> None:
    while way:
        if way[-1].inner:
            _go_down(here, way, refused)
        else:
            _go_up(here, way, refused)


def _go_down(here: Descriptors, way: list[_Level], refused: list[OSError]) -> None:
    """Remove an inner directory, or open it in place of the one that is open."""
    name = way[-1].inner.pop()
    try:
        if not _is_removed(here[0], name):
            level = _enter(here[0], name, here, refused)
            _check_way(os.stat("..", dir_fd=here[1]), way[-1])
            way.append(level)
            _close(here, 0)
    except of_system(OSError) as error:
        if len(here) > 1:
            _close(here, 1)
        if not isinstance(error, FileNotFoundError):
            refused.append(error)


def _go_up(here: Descriptors, way: list[_Level], refused: list[OSError]) -> None:
    """Remove the directory that is open, and open the one above it in its place."""
    emptied = way.pop()
    if way:
        _check_way(os.fstat(here.open("..", LIST, dir_fd=here[0])), way[-1])
        _close(here, 0)
        try:
            _is_removed(here[0], emptied.name)
        except of_system(OSError) as error:
            refused.append(error)


def _check_way(found: os.stat_result, above: _Level) -> None:
    """Raise FileNotFoundError if `..` leads elsewhere: a process moved the directory (BASE-15)."""
    if identity(found) != above.identity:
        raise FileNotFoundError(errno.ENOENT, "it was moved away", above.name)


def _close(held: Descriptors, index: int) -> None:
    any(map(os.close, map(held.pop, (index,))))


def _enter(at: int | None, name: str, here: Descriptors, refused: list[OSError]) -> _Level:
    """Open a directory, and remove all in it but the directories. Raises OSError."""
    directory = _open_to_empty(at, name, here)
    _allow_emptying(directory)
    level = _Level(name, identity(os.fstat(directory)), [])
    for entry in entries(directory):
        try:
            if entry.is_dir(follow_symlinks=False):
                level.inner.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
        except of_system(FileNotFoundError):
            pass
        except of_system(OSError) as error:
            refused.append(error)
    return level


def _open_to_empty(at: int | None, name: str, held: Descriptors) -> int:
    """Open a directory; one that denies it to us, its owner, is made to allow it (CHAN-14)."""
    try:
        return held.open(name, LIST, dir_fd=at)
    except of_system(PermissionError):
        _allow(at, name)
    return held.open(name, LIST, dir_fd=at)


def _allow_emptying(directory: int) -> None:
    """Give an open directory that denies something to us, its owner, the mode 0700 (CHAN-14)."""
    found = os.fstat(directory)
    if ~found.st_mode & stat.S_IRWXU and found.st_uid == os.geteuid():
        os.fchmod(directory, 0o700)


def _allow(at: int | None, name: str) -> None:
    """Give a directory that is to be removed the mode 0700, following no link (BASE-15).

    Raises OSError.
    """
    # OpenBSD has the call, though Python does not list it: there it looks for lchmod() alone.
    if os.chmod in os.supports_follow_symlinks or not hasattr(os, "O_PATH"):
        os.chmod(name, 0o700, dir_fd=at, follow_symlinks=False)
        return
    held = Descriptors()  # Linux has no such call before 6.6, but a path for each descriptor
    with held, held:
        path_only = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
        os.chmod(f"/proc/self/fd/{held.open(name, path_only, dir_fd=at)}", 0o700)
