"""Message ids: they rise within a process, and are rarely those of another process (PUB-1, PUB-2).

Nothing relies on their being unique (PUB-3): staging and linking find an id that is taken, and
take the next one.
"""

from __future__ import annotations

import os
import random
import threading
import time

_RANDOM_BITS = 10  # microseconds << 10 stays below 2**63 until the year 2255

_lock = threading.RLock()  # a signal handler may publish, too
_last = 2**46  # no id is below 2**56, not even while a clock without a battery says 1970 (PUB-1)


def next_id() -> int:
    """A message id of 64 bits: larger than every earlier one of this process (PUB-2)."""
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        return _last << _RANDOM_BITS | random.getrandbits(_RANDOM_BITS)


def _after_fork_in_child() -> None:
    # A thread of the parent may hold the lock; in the child nobody would release it.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
