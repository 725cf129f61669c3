"""The oracle's queues: the FIFO `queue` of a channel, seen from the publisher's side."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
from pathlib import Path


def open_queue(channel_dir: Path) -> int:
    """A descriptor for writing, which the caller closes.

    Raises OSError: ENXIO where nobody reads, and what else the system says.
    """
    return os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)


def has_reader(channel_dir: Path) -> bool:
    """CHAN-9; what is not known (no queue there, say) is an OSError."""
    try:
        os.close(open_queue(channel_dir))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def enqueue(channel_dir: Path, data: int | bytes) -> None:
    """Write an id, or these very octets, to the queue in one write."""
    octets = data.to_bytes(8, "big") if isinstance(data, int) else data
    queue = open_queue(channel_dir)
    try:
        written = os.write(queue, octets)
    finally:
        os.close(queue)
    if written != len(octets):
        raise OSError(errno.EAGAIN, f"the queue took {written} of {len(octets)} octets")


def fill(channel_dir: Path, id: int = 0) -> int:
    """Write the id until the queue is full; how many times that was.

    0 is what a subscriber skips (FETCH-10).
    """
    queue = open_queue(channel_dir)
    count = 0
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(queue, id.to_bytes(8, "big"))
                count += 1
    finally:
        os.close(queue)
    return count


def waiting(channel_dir: Path) -> int:
    """How many ids lie in the queue; 0 if the system does not say."""
    try:
        queue = open_queue(channel_dir)
    except OSError:
        return 0
    try:
        octets = fcntl.ioctl(queue, termios.FIONREAD, bytes(4))
    except OSError:
        return 0
    finally:
        os.close(queue)
    return int(struct.unpack("i", octets)[0]) // 8


def resize(queue: int, pages: int) -> bool:
    """Give an open queue room for so many pages. False: the system cannot, or does not let us."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return False
    try:
        fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, pages * os.sysconf("SC_PAGESIZE"))
    except OSError:
        return False
    return True
