"""Message ids: they rise within a process, and are rarely those of another process (PUB-1, PUB-2).

Nothing relies on their being unique (PUB-3): staging and linking find an id that is taken, and
take the next one.
"""

from __future__ import annotations

import random
import threading
import time

from .process import in_forked_child, notice_fork

_RANDOM_BITS = 10  # microseconds << 10 stays below 2**63 until the year 2255

_lock = threading.RLock()  # a signal handler may publish, too
_random = random.Random()  # not the one that belongs to the program, which may count on its seed
_last = 2**46  # no id is below 2**56, not even while a clock without a battery says 1970 (PUB-1)


def next_id() -> int:
    """A message id of 64 bits: larger than every earlier one of this process (PUB-2)."""
    global _last
    notice_fork()
    with _lock:
        _last = max(_last + 1, time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000)
        return _last << _RANDOM_BITS | _random.getrandbits(_RANDOM_BITS)


def _renew() -> None:
    # A thread of the parent may hold the lock; in the child nobody would release it.
    global _lock
    _lock = threading.RLock()
    _random.seed()


in_forked_child(_renew)
