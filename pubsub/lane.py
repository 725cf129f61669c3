"""The way to one channel of a list: its path, and its queue if that takes records (spec/inline.md).

The queue of a marked channel may be kept open, so that a message costs it one write. A signal
handler that publishes may close it at any point of ours: so the number is taken from where it is
kept by the very call that writes to it. Against other threads listing.py has a lock.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from itertools import islice

from . import queue
from .capacity import allowance, can_tell
from .files import FileDescriptors, identity
from .interruption import Descriptors, of_system
from .sigpipe import Write

_NOBODY = -1


class Lane:
    """The way to one channel, as long as the list of channels stays the same."""

    __slots__ = ("_heading", "_marker_owner", "kept", "left", "path")

    def __init__(self, path: str) -> None:
        """`path` is that of the channel, at which nobody has looked yet."""
        self.path = path
        # One, or none. The list is made here: another thread, or a signal handler, may keep the
        # queue while this one is still looking for the marker.
        self.kept = FileDescriptors()
        self.left = 0  # octets that may be written before the next look at the room (INLINE-13)
        self._heading = b""
        self._marker_owner: int | None = None  # not known

    def is_marked(self, queue_status: os.stat_result) -> bool:
        """Whether the channel takes records (INLINE-5); the status is that of its opened queue."""
        if self._marker_owner is None:
            owner = _owner_of_marker(self.path)
            if owner != _NOBODY:
                self._heading = queue.heading(self.path)
            self._marker_owner = owner
        return self._marker_owner == queue_status.st_uid

    def record(self, body: bytes) -> bytes:
        """The record for this channel whose body this is."""
        return self._heading + body

    def keep(self, opened: Descriptors, status: os.stat_result, places: Iterator[int]) -> None:
        """Keep the opened queue of a marked channel, if that is not done, and takes a place.

        A signal handler that publishes here may do it, too: both are then counted, and closed.
        """
        if not self.kept:
            self.kept.identity = identity(status)
            self.kept.extend(map(opened.pop, islice(places, 1)))

    def send(self, body: bytes, write: Write) -> bool:
        """Write a record to the kept queue. False: it has no room, or it was closed meanwhile.

        Raises OSError, such as BlockingIOError and BrokenPipeError.
        """
        record = self._heading + body
        size = len(record)
        if self.left < size:
            self.left = sum(map(allowance, self.kept))
            if not self.left:
                return False
        for written in map(write, self.kept, (record,)):
            self.left -= written
            if written != size:
                raise cut_short(written, size)
            return True
        return False


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
