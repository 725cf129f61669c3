"""The room of a queue: how many ids it holds at least."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from pubsub_conformance.judge.fullness import SMALLEST_QUEUE
from pubsub_conformance.oracle.queue import open_queue, resize

SMALL_QUEUE: Final = 2
"""Pages of a queue that shall soon be full. One would not do: a page frees its room as a whole."""


def room(directory: Path, small: bool) -> int:
    """The number of ids that the queue of a channel holds at least.

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
        # Read ids free their page only with the last of it, so one page may be as good as taken.
        return (fcntl.fcntl(queue, fcntl.F_GETPIPE_SZ) - os.sysconf("SC_PAGESIZE")) // 8
    except OSError:
        return SMALLEST_QUEUE
    finally:
        os.close(queue)
