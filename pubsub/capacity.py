"""How much a queue holds, and how much is in it: what records need to know (spec/inline.md).

A queue without such answers gets no marker, and no records.
"""

from __future__ import annotations

import fcntl
import os
import termios
from array import array

from . import queue
from .interruption import of_system

_SMALLEST = 32 * 1024  # octets of a queue that is marked (INLINE-3)
_LARGE = 2**20  # octets; what Linux allows unless configured
_PAGE = 4096  # octets; the system rounds up to a page of its own

can_tell = hasattr(fcntl, "F_GETPIPE_SZ")
"""Whether this system says how much a queue holds: Linux does."""


def octets(end: int) -> int:
    """The number of octets in a queue, of which `end` is a descriptor. Raises OSError."""
    found = array("i", [0])
    fcntl.ioctl(end, termios.FIONREAD, found)
    return found[0]


def is_fit(read_end: int, write_end: int) -> bool:
    """Whether an empty queue may be marked (INLINE-3)."""
    try:
        if (
            not can_tell
            or fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ) < _SMALLEST
            or os.fpathconf(write_end, "PC_PIPE_BUF") < queue.LONGEST_RECORD
        ):
            return False
        os.write(write_end, queue.WAKE_UP)
        told = octets(write_end)
        return os.read(read_end, queue.WORD_OCTETS) == queue.WAKE_UP and told == queue.WORD_OCTETS
    except of_system(OSError):
        return False


def allowance(write_end: int) -> int:
    """How many octets of records may be written before the next look (INLINE-13).

    0: the queue is half full, or fuller. Up to there is the most: beyond, records take the room of
    too many ids.
    """
    try:
        size = fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ)
        return max(min(size // 2 - octets(write_end), size // 16), 0)
    except of_system(OSError):
        return queue.LONGEST_RECORD  # it is taken for less than half full


def grow(read_end: int) -> None:
    """Give a queue room for 1 MiB, if the system allows it."""
    try:
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _LARGE)
    except of_system(OSError):
        pass  # the user has many pipes


def free(read_end: int) -> None:
    """Give back the memory of a queue that is about to close (INLINE-25). May be repeated."""
    try:
        left = octets(read_end)  # not until it is empty: publishers may be faster
        while left > 0:
            left -= len(os.read(read_end, left)) or left
    except of_system(OSError):
        pass
    try:
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PAGE)
    except of_system(OSError):
        pass
