"""The channels of this process that have an inbox: for its end, and for forks.

A forked child owns none of its parent's channels. It closes its copies of the descriptors, so that
they do not make the parent's channels look alive for longer than they are.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Protocol

from .log import logger
from .process import in_forked_child, notice_fork


class Owner(Protocol):
    """A channel."""

    def close(self) -> None:
        """Take the channel down. Raises OSError."""

    def _disown(self) -> None:
        """Let go of the parent's channel, in a forked child."""


lock = threading.RLock()
"""Who makes or closes descriptors of a channel holds it: a fork finds each in its list, or none."""

owners: set[Owner] = set()
"""The channels that have an inbox."""


def _close_all() -> None:
    notice_fork()
    for channel in list(owners):
        try:
            channel.close()
        except OSError as error:
            logger().warning("%r cannot be removed: %s", channel, error)


def _renew() -> None:
    """Let go of the channels of the parent, in a forked child."""
    global lock
    lock = threading.RLock()
    for channel in owners:
        channel._disown()
    owners.clear()


atexit.register(_close_all)
in_forked_child(_renew)
os.register_at_fork(
    before=lambda: lock.acquire(),
    after_in_parent=lambda: lock.release(),
)
