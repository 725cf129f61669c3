"""Descriptors that are kept for speed alone are closed when one is lacking (INLINE-24).

The program's own files and channels come first. A publisher keeps descriptors; every function of
this package that opens something tries once more without them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

_closers: list[Callable[[], bool]] = []


def when_lacking(close: Callable[[], bool]) -> None:
    """Have `close` called when a descriptor is lacking; it returns whether it closed any."""
    _closers.append(close)


def may_try_again(error: OSError) -> bool:
    """Whether a call that failed lacked a descriptor, and has one now: others were closed."""
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return False
    # Not any(): it leaves a generator behind, and a signal handler's exception there is lost.
    for close in _closers:  # noqa: SIM110
        if close():
            return True
    return False
