"""Which process this is, and what a forked child has to renew.

A fork that runs no hooks of Python is noticed by its process id: uWSGI forks like that, and so may
any library in C. A lock that another thread of the parent held stays held in such a child, so the
look comes before any lock is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .clock import wall_clock

STARTED = wall_clock()
"""Seconds since the epoch: when this process, or its parent, loaded the package (REAP-16)."""

_pid = os.getpid()
_renewals: list[Callable[[], object]] = []


def in_forked_child(renew: Callable[[], object]) -> None:
    """Have `renew` called once in each forked child, before anything else of this package runs."""
    _renewals.append(renew)


def notice_fork() -> None:
    """Renew what a forked child has to renew, if this is one."""
    global _pid
    if os.getpid() != _pid:
        for renew in _renewals:
            renew()
        _pid = os.getpid()


os.register_at_fork(after_in_child=notice_fork)
