"""Taking channels down, and removing what the dead left behind (spec/reap.md).

What is removed is claimed first, by a rename into `tmp`: the rename decides who won, and nobody
ever sees a channel that is half gone (CHAN-16, REAP-12).

Whoever may write into the base may swap what stands in it for a symbolic link at any time. What is
removed is therefore reached by name from a descriptor of `tmp`, or of a directory in it, that was
opened without following links: nothing outside the base can be hit (BASE-15, CHAN-15).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress

from .base import ATTEMPTS, STALE_AGE, WRITE_QUEUE, Base, fresh_in_tmp, look

_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def reap(stale_age: float = STALE_AGE) -> None:
    """Remove dead channels, and what has stood in `tmp` for `stale_age` seconds or longer.

    Leaves alone whatever is alive, young, or another user's. Raises BaseUnusable.
    """
    base = look()
    if base is None:
        return
    stale_before = time.time() - stale_age
    with suppress(FileNotFoundError):  # the base was taken away: nothing is left to reap
        for path, _pattern, pid in base.channels():
            with suppress(OSError):  # REAP-11, REAP-14: passed over
                if _is_dead(path, pid, stale_before):
                    _reap_directory(base, path)
        tmp = os.open(base.tmp, _LIST)
        try:
            with os.scandir(tmp) as entries:
                staged = list(entries)  # some systems skip entries if others go while they list
            for entry in staged:
                with suppress(OSError):
                    _reap_staged(tmp, entry, stale_before)
        finally:
            os.close(tmp)


def claim(base: Base, path: str) -> tuple[int, str]:
    """Rename a directory to a fresh name in `tmp` (REAP-12).

    A descriptor of `tmp`, which the caller closes, and the name.
    """
    for _ in range(ATTEMPTS):
        tmp = base.open_tmp()
        try:
            return tmp, _claim(path, tmp)
        except BaseException as error:
            os.close(tmp)
            # Not found: it may be `tmp` that went since.
            if not isinstance(error, FileNotFoundError) or not os.path.lexists(path):
                raise
    raise OSError(errno.EAGAIN, "tmp was taken away again and again", base.tmp)


def _claim(path: str, tmp: int, at: int | None = None) -> str:
    claimed = fresh_in_tmp()
    os.rename(path, claimed, src_dir_fd=at, dst_dir_fd=tmp)
    return claimed


def remove(tmp: int, name: str) -> None:
    """Remove a claimed directory and all in it, following no link (CHAN-14, CHAN-15).

    A directory in it is claimed in its turn, so that no nesting is too deep. What cannot be removed
    keeps nothing else; the first such error is raised in the end.
    """
    refused: list[OSError] = []
    claimed = [name]
    while claimed:
        name = claimed.pop()
        try:
            directory = os.open(name, _LIST, dir_fd=tmp)
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(error)
            continue
        try:
            while not _empty(tmp, directory, claimed, refused):
                try:
                    os.rmdir(name, dir_fd=tmp)
                    break
                except OSError as error:
                    # A publisher on its way in since before the claim put a link there (CHAN-17).
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        refused.append(error)
                        break
        finally:
            os.close(directory)
    if refused:
        raise refused[0]


def _empty(tmp: int, directory: int, claimed: list[str], refused: list[OSError]) -> bool:
    """Remove what is in a directory, and claim the directories in it. Whether something resists."""
    before = len(refused)
    for name in os.listdir(directory):
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                claimed.append(_claim(name, tmp, directory))
            else:
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            refused.append(error)
    return len(refused) > before


def _reap_directory(base: Base, path: str) -> None:
    tmp, claimed = claim(base, path)
    try:
        _bury(tmp, claimed, path)
    finally:
        os.close(tmp)


def _bury(tmp: int, claimed: str, path: str, at: int | None = None) -> None:
    if _may_be_read(f"{claimed}/queue", tmp):  # REAP-13
        os.rename(claimed, path, src_dir_fd=tmp, dst_dir_fd=at)
    else:
        remove(tmp, claimed)


def _reap_staged(tmp: int, entry: os.DirEntry[str], stale_before: float) -> None:
    if entry.stat(follow_symlinks=False).st_ctime >= stale_before:  # REAP-8, REAP-10
        return
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.name, dir_fd=tmp)  # REAP-7
    elif not _may_be_read(f"{entry.name}/queue", tmp):
        _bury(tmp, _claim(entry.name, tmp, tmp), entry.name, tmp)  # REAP-9


def _is_dead(path: str, pid: int, stale_before: float) -> bool:
    """REAP-3 to REAP-6."""
    try:
        queue = os.lstat(f"{path}/queue")
    except FileNotFoundError:
        return os.lstat(path).st_ctime < stale_before and not _runs(pid)
    if not stat.S_ISFIFO(queue.st_mode):
        return False  # BASE-10: not a channel
    if max(queue.st_mtime, queue.st_ctime) >= stale_before and _runs(pid):
        return False
    return not _may_be_read(f"{path}/queue")


def _may_be_read(queue: str, at: int | None = None) -> bool:
    """False if certainly nobody reads this queue: it is not there, or no FIFO, or says ENXIO."""
    try:
        if not stat.S_ISFIFO(os.stat(queue, dir_fd=at, follow_symlinks=False).st_mode):
            return False
        os.close(os.open(queue, WRITE_QUEUE, dir_fd=at))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR)  # CHAN-9
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # none, or a number that none can have
        return False
    except PermissionError:
        return True  # another user's
    return True
