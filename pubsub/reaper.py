"""Taking channels down, and removing what the dead left behind (spec/reap.md).

What is removed is claimed first, by a rename into `tmp`: the rename decides who won, and nobody
ever sees a channel that is half gone (CHAN-16, REAP-12).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress

from .base import STALE_AGE, Base, look


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
        with os.scandir(base.tmp) as entries:
            staged = list(entries)  # some systems skip entries if others go while they list
        for entry in staged:
            with suppress(OSError):
                _reap_staged(base, entry, stale_before)


def claim(base: Base, path: str) -> str:
    """Rename a directory to a fresh name in `tmp`; where it is now (REAP-12)."""
    claimed = base.fresh()
    try:
        os.rename(path, claimed)
    except FileNotFoundError:
        base.make_tmp()  # it may be `tmp` that is gone
        os.rename(path, claimed)
    return claimed


def remove(base: Base, path: str) -> None:
    """Remove a claimed directory and all in it, following no link (CHAN-14, CHAN-15).

    A directory in it is claimed in its turn, so that no nesting is too deep.
    """
    claimed = [path]
    while claimed:
        directory = claimed.pop()
        while True:
            for name in os.listdir(directory):
                entry = f"{directory}/{name}"
                with suppress(FileNotFoundError):
                    if stat.S_ISDIR(os.lstat(entry).st_mode):
                        claimed.append(claim(base, entry))
                    else:
                        os.unlink(entry)
            try:
                os.rmdir(directory)
                break
            except OSError as error:
                # A publisher on its way in since before the claim put a link there (CHAN-17).
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def _reap_directory(base: Base, path: str) -> None:
    claimed = claim(base, path)
    if _may_be_read(f"{claimed}/queue"):  # REAP-13
        os.rename(claimed, path)
    else:
        remove(base, claimed)


def _reap_staged(base: Base, entry: os.DirEntry[str], stale_before: float) -> None:
    if entry.stat(follow_symlinks=False).st_ctime >= stale_before:  # REAP-8, REAP-10
        return
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)  # REAP-7
    elif not _may_be_read(f"{entry.path}/queue"):
        _reap_directory(base, entry.path)  # REAP-9


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


def _may_be_read(queue: str) -> bool:
    """False if certainly nobody reads this queue: it is not there, or no FIFO, or says ENXIO."""
    try:
        if not stat.S_ISFIFO(os.lstat(queue).st_mode):
            return False
        os.close(os.open(queue, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
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
