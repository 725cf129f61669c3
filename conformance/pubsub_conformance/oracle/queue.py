"""The oracle's queues: the FIFO `queue` of a channel, from the publisher's side."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
from pathlib import Path

LEAST_ROOM = 32768
"""The least size, in octets, of a queue that may be marked (INLINE-3)."""


def open_queue(channel_dir: Path) -> int:
    """A descriptor for writing, which the caller closes.

    Raises OSError, with ENXIO if the queue has no reader.
    """
    return os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)


def has_reader(channel_dir: Path) -> bool:
    """Whether the queue has a reader (CHAN-9). Raises OSError if that is not known."""
    try:
        os.close(open_queue(channel_dir))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def enqueue(channel_dir: Path, data: int | bytes) -> None:
    """Write an id, or these octets, to the queue in one write. Raises OSError."""
    octets = data.to_bytes(8, "big") if isinstance(data, int) else data
    queue = open_queue(channel_dir)
    try:
        written = os.write(queue, octets)
    finally:
        os.close(queue)
    if written != len(octets):
        raise OSError(errno.EAGAIN, f"the queue took {written} of {len(octets)} octets")


def fill(channel_dir: Path, id: int = 0) -> int:
    """Write an id until the queue is full. Returns how many times it was written.

    A subscriber skips the id 0 (FETCH-10). Raises OSError.
    """
    queue = open_queue(channel_dir)
    count = 0
    try:
        # Many at once, which takes a tenth of the time. Behind a few octets, Linux would begin a
        # new page for them, and the queue would be full too soon.
        for ids in (select.PIPE_BUF // 8, 1) if _is_empty(queue) else (1,):
            octets = id.to_bytes(8, "big") * ids
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(queue, octets)
                    count += ids
    finally:
        os.close(queue)
    return count


def _is_empty(queue: int) -> bool:
    """Whether an open queue holds nothing, as far as the system says so."""
    with contextlib.suppress(OSError):
        return held(queue) == 0
    return False


def waiting(channel_dir: Path) -> int:
    """How many ids are in the queue of an unmarked channel, or 0 if the system does not say."""
    return waiting_octets(channel_dir) // 8


def waiting_octets(channel_dir: Path) -> int:
    """How many octets are in the queue, or 0 if the system does not say."""
    with contextlib.suppress(OSError):
        queue = open_queue(channel_dir)
        try:
            return held(queue)
        finally:
            os.close(queue)
    return 0


def held(queue: int) -> int:
    """How many octets an open queue holds. On Linux a write end tells it, too. Raises OSError."""
    return int(struct.unpack("i", fcntl.ioctl(queue, termios.FIONREAD, bytes(4)))[0])


def size(queue: int) -> int:
    """How many octets an open queue can hold. Raises OSError; only Linux has this call."""
    return fcntl.fcntl(queue, fcntl.F_GETPIPE_SZ)


def unfit(queue: int) -> str:
    """Why this open, empty queue may not be marked (INLINE-3); empty if it may.

    Writes a word 0 to it.
    """
    try:
        room = size(queue)
        os.write(queue, bytes(8))
        seen = held(queue)
    except (AttributeError, OSError) as error:
        return f"this system does not tell the size and the fill of a queue: {error}"
    if room < LEAST_ROOM or seen != 8:
        return f"a new queue has room for {room} octets, and its write end shows {seen} of 8"
    return ""


def resize(queue: int, pages: int) -> bool:
    """Give an open queue room for so many pages. Returns False if the system does not allow it."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return False
    try:
        fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, pages * os.sysconf("SC_PAGESIZE"))
    except OSError:
        return False
    return True
