"""The room of a queue: how many octets it takes at least."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from pubsub_conformance.judge.fullness import SMALLEST_QUEUE
from pubsub_conformance.oracle.queue import open_queue, resize, size

SMALL_QUEUE: Final = 2
"""Pages of a queue that shall soon be full. One would not do: a page frees its room as a whole."""


def room(directory: Path, small: bool) -> int:
    """The number of octets that the queue of a channel takes at least.

    On Linux, a queue that shall be `small` is made so first.
    """
    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        return SMALLEST_QUEUE
    try:
        queue = open_queue(directory)
    except OSError:
        return SMALLEST_QUEUE
    try:
        if small and not resize(queue, SMALL_QUEUE):
            return SMALLEST_QUEUE
        # What is read frees a page only with the last of it, so one page may be as good as taken.
        return size(queue) - os.sysconf("SC_PAGESIZE")
    except OSError:
        return SMALLEST_QUEUE
    finally:
        os.close(queue)
