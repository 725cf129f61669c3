"""Message ids: they rise within a process and rarely meet those of another (PUB-1, PUB-2).

That they never meet is nothing that anybody relies on (PUB-3): whoever stages or links a
message finds out, and takes the next id.
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
    # Another thread of the parent may have held the lock; nobody would ever release it here.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
