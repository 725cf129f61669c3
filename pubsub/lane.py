"""The way to one channel of a list: its path, and its queue if that takes records (spec/inline.md).

The queue of a marked channel may be kept open, so that a message costs it one write. A signal
handler that publishes may close it at any point of ours: so a record is written by way of a FileIO,
which is closed before the number is. Against other threads listing.py has a lock.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import FileIO
from itertools import islice, repeat

from . import queue
from .capacity import allowance, can_tell
from .files import FileDescriptors, identity
from .interruption import Descriptors, of_system

_NOBODY = -1


class Lane:
    """The way to one channel, as long as the list of channels stays the same."""

    __slots__ = (
        "_marker_owner",
        "heading",
        "is_unmarked",
        "kept",
        "left",
        "path",
        "queue",
        "writers",
    )

    def __init__(self, path: str) -> None:
        """`path` is that of the channel, at which nobody has looked yet."""
        self.path = path
        self.queue = f"{path}/queue"
        # One, or none. The list is made here: another thread, or a signal handler, may keep the
        # queue while this one is still looking for the marker.
        self.kept = FileDescriptors()
        self.writers: list[FileIO] = []  # what is kept, as files that do not close it
        self.left = 0  # octets that may be written before the next look at the room (INLINE-13)
        self.heading = b""  # of its records
        self._marker_owner: int | None = None  # not known
        self.is_unmarked = False  # or not known

    def is_marked(self, queue_status: os.stat_result) -> bool:
        """Whether the channel takes records (INLINE-5); the status is that of its opened queue."""
        if self._marker_owner is None:
            owner = _owner_of_marker(self.path)
            if owner != _NOBODY:
                self.heading = queue.heading(self.path)
            self._marker_owner = owner
            self.is_unmarked = owner == _NOBODY
        return self._marker_owner == queue_status.st_uid

    def keep(self, opened: Descriptors, status: os.stat_result, places: Iterator[int]) -> None:
        """Keep the opened queue of a marked channel, if that is not done, and takes a place.

        A signal handler that publishes here may do it, too: both are then counted, and closed.
        """
        if not self.kept:
            self.kept.identity = identity(status)
            self.kept.extend(map(opened.pop, islice(places, 1)))
        self._renew_writers()

    def _renew_writers(self) -> None:
        self.writers[:] = map(FileIO, self.kept, repeat("w"), repeat(False))  # no bytecode between

    def has_room(self) -> bool:
        """Look at the room of the kept queue (INLINE-13). False: it has none, or none is kept."""
        self.left = sum(map(allowance, self.kept))
        return self.left > 0

    def close(self) -> None:
        """Close the kept queue, if there is one. May be repeated."""
        any(map(FileIO.close, self.writers))
        self.left = 0
        self.kept.close()

    def forget_foreign(self) -> None:
        """Forget the kept queue if the program has closed it."""
        any(map(FileIO.close, self.writers))
        self.left = 0
        self.kept.forget_foreign()
        self._renew_writers()


def cut_short(written: int, size: int) -> OSError:
    """The error of a queue that took a part of a record: no system should do that (INLINE-7)."""
    return OSError(errno.EIO, f"the queue took {written} octets of {size}")


def _owner_of_marker(path: str) -> int:
    """The user to whom the marker in the channel at this path belongs."""
    try:
        found = os.lstat(f"{path}/{queue.MARKER}") if can_tell else None
    except of_system(OSError):
        return _NOBODY
    return found.st_uid if found and stat.S_ISREG(found.st_mode) else _NOBODY
