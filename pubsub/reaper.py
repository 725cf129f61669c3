"""Removing what dead processes left behind (spec/reap.md), and claiming what is to be removed.

A directory is claimed before anything in it is removed, by a rename into `tmp`: the rename decides
which process removes it, and nobody ever sees a channel that is half gone (CHAN-16, REAP-12).

A process that may write into the base can at any time swap an entry for a symbolic link. So the
names of what is removed are reached from a descriptor of `tmp`, or of a directory in it, that was
opened without following links: nothing outside the base can be hit (BASE-15, CHAN-15).
"""

from __future__ import annotations

import errno
import os
import stat

from . import process, queue
from .base import ATTEMPTS, LIST, STALE_AGE, Base, fresh_in_tmp, look
from .clock import number, wall_clock
from .files import entries, exists, is_of_kind
from .interruption import Descriptors, of_system
from .place import located
from .removal import remove

_COARSE_SECONDS = 2.0  # by which the times of files may be behind, if they are whole seconds
_TICK_SECONDS = 0.1  # the same, if they are not: a clock ticks more often (REAP-16)


def reap(stale_age: float = STALE_AGE) -> None:
    """Remove dead channels, and entries of `tmp` that are `stale_age` seconds old or older.

    Leaves alone what is alive, what is younger, and what belongs to another user (REAP-11).
    Raises TypeError, ValueError; BaseUnusable; OSError if the base or its `tmp` cannot be listed.
    """
    stale_before = wall_clock() - number(stale_age, "stale_age")
    base = look()
    if base is None:
        return
    runs = _Processes()
    tmp = Descriptors()
    try:
        for path, _pattern, pid in base.channels():
            try:
                if _is_dead(path, pid, stale_before, runs):
                    _reap_directory(base, path)
            except of_system(OSError):
                pass  # REAP-11, REAP-14: passed over
        with tmp, tmp:
            _reap_tmp(base, tmp.open(base.tmp, LIST), stale_before)
    except of_system(FileNotFoundError):
        pass  # the base was removed: nothing is left to reap


def leftovers(stale_age: float = STALE_AGE) -> list[str]:
    """The paths of what `reap` would remove now; removes nothing. Raises what `reap` raises."""
    stale_before = wall_clock() - number(stale_age, "stale_age")
    base = look()
    if base is None:
        return []
    runs = _Processes()
    tmp = Descriptors()
    found = []
    try:
        for path, _pattern, pid in base.channels():
            try:
                if _is_dead(path, pid, stale_before, runs):
                    found.append(path)
            except of_system(OSError):
                pass
        with tmp, tmp:
            tmp.open(base.tmp, LIST)
            found += [
                f"{base.tmp}/{entry.name}"
                for entry in entries(tmp[0])
                if _is_left_over(tmp[0], entry, stale_before)
            ]
    except of_system(FileNotFoundError):
        pass  # the base was removed
    return found


def claim(base: Base, path: str, name: str, tmp: Descriptors) -> None:
    """Rename a directory to `name` in `tmp` (REAP-12); `tmp` is opened unless it is open.

    Raises FileNotFoundError if the directory is gone, OSError.
    """
    for _ in range(ATTEMPTS):
        try:
            os.rename(path, name, dst_dir_fd=tmp[0] if tmp else base.open_tmp(tmp))
            return
        except of_system(FileNotFoundError):
            tmp.close()
            if not exists(path):
                raise
            # It is `tmp` that is gone.
    raise OSError(errno.EAGAIN, "tmp was removed again and again", base.tmp)


def _reap_directory(base: Base, path: str) -> None:
    tmp = Descriptors()
    with tmp, tmp:
        name = fresh_in_tmp()
        try:
            claim(base, path, name, tmp)
        except of_system(OSError) as error:
            if error.errno != errno.EXDEV:
                raise
            _remove_in_place(path)  # REAP-18
        else:
            _bury(tmp[0], name, path)


def _bury(tmp: int, claimed: str, path: str, at: int | None = None) -> None:
    """Remove a claimed directory, or give it back if its queue has a reader."""
    if _may_be_read(f"{claimed}/queue", tmp):  # REAP-13
        os.rename(claimed, path, src_dir_fd=tmp, dst_dir_fd=at)
    else:
        error = remove(tmp, claimed)
        if error:
            raise error


def _remove_in_place(name: str, at: int | None = None) -> None:
    """Remove a directory that cannot be renamed, its queue first (REAP-18). Raises OSError."""
    held = Descriptors()
    with held, held:
        directory = held.open(name, LIST, dir_fd=at)
        if is_of_kind("queue", lambda mode: not stat.S_ISDIR(mode), directory):
            os.unlink("queue", dir_fd=directory)
    error = remove(at, name)
    if error:
        raise error


def _reap_tmp(base: Base, tmp: int, stale_before: float) -> None:
    try:
        found = entries(tmp)  # all at once: some systems skip entries if others go meanwhile
    except of_system(OSError) as error:
        raise located(error, base.tmp) from error
    for entry in found:
        try:
            _reap_staged(tmp, entry, stale_before)
        except of_system(OSError):
            pass  # REAP-11, REAP-14


def _reap_staged(tmp: int, entry: os.DirEntry[str], stale_before: float) -> None:
    if entry.stat(follow_symlinks=False).st_ctime >= stale_before:  # REAP-8, REAP-10
        return
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.name, dir_fd=tmp)  # REAP-7
    elif not _may_be_read(f"{entry.name}/queue", tmp):  # REAP-9
        claimed = fresh_in_tmp()
        try:
            os.rename(entry.name, claimed, src_dir_fd=tmp, dst_dir_fd=tmp)
        except of_system(OSError) as error:
            if error.errno != errno.EXDEV:
                raise
            _remove_in_place(entry.name, tmp)  # REAP-18
        else:
            _bury(tmp, claimed, entry.name, tmp)


def _is_left_over(tmp: int, entry: os.DirEntry[str], stale_before: float) -> bool:
    """Whether an entry of `tmp` is to be removed (REAP-7 to REAP-10)."""
    try:
        return entry.stat(follow_symlinks=False).st_ctime < stale_before and not (
            entry.is_dir(follow_symlinks=False) and _may_be_read(f"{entry.name}/queue", tmp)
        )
    except of_system(OSError):
        return False


def _is_dead(path: str, pid: int, stale_before: float, runs: _Processes) -> bool:
    """Whether a channel in the base is to be removed (REAP-3 to REAP-6, REAP-16)."""
    try:
        found = os.lstat(f"{path}/queue")
    except of_system(FileNotFoundError):
        return os.lstat(path).st_ctime < stale_before and not runs[pid]
    if not stat.S_ISFIFO(found.st_mode):
        return False  # BASE-10: not a channel
    changed = max(found.st_mtime, found.st_ctime)
    if changed >= stale_before and runs[pid] and not _is_of_an_earlier_process(pid, changed):
        return False
    return not _may_be_read(f"{path}/queue")


def _may_be_read(path: str, at: int | None = None) -> bool:
    """False if nobody reads this queue: it is not there, or no FIFO, or ENXIO says so (CHAN-9)."""
    held = Descriptors()
    try:
        if not stat.S_ISFIFO(os.stat(path, dir_fd=at, follow_symlinks=False).st_mode):
            return False
        with held, held:
            held.open(path, queue.WRITE, dir_fd=at)
    except of_system(OSError) as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR)
    return True


def _is_of_an_earlier_process(pid: int, changed: float) -> bool:
    """Whether a queue without a reader, changed at that time, is older than this very process.

    Then a process that had our id before us has left it (REAP-16): process 1 of a container, say.
    """
    behind = _TICK_SECONDS if changed % 1 else _COARSE_SECONDS
    return pid == os.getpid() and changed < process.STARTED - behind


class _Processes(dict[int, bool]):
    """Whether a process of an id runs; each is asked once."""

    def __missing__(self, pid: int) -> bool:
        runs = self[pid] = _runs(pid)
        return runs


def _runs(pid: int) -> bool:
    """Whether a process has this id, and has not ended."""
    try:
        os.kill(pid, 0)
    except of_system(ProcessLookupError, OverflowError):  # none, or a number that none can have
        return False
    except of_system(PermissionError):
        pass  # another user's
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, and its parent has not waited for it yet (REAP-17)."""
    held = Descriptors()
    try:
        with held, held:
            status = os.read(held.open(f"/proc/{pid}/stat", os.O_RDONLY), 512)
    except of_system(OSError):
        return False  # it has just gone, or this system does not show it
    # The state follows the name, which is in parentheses and may hold any octet.
    return status.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])
