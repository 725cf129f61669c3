"""The system's clocks.

Not `time.time` and `time.monotonic`: tests of a program replace these to freeze or shift its time,
and that must neither make the files of other processes look old nor keep a wait from ending.
"""

from __future__ import annotations

import time

from .interruption import of_system


def is_negative(seconds: float, name: str) -> bool:
    """Whether a time to wait is negative, or no time at all (NaN).

    Raises TypeError if it is not a number, and calls the argument by `name`.
    """
    try:
        return not seconds >= 0
    except of_system(TypeError):
        raise TypeError(f"{name} is a number of seconds, not {type(seconds).__name__}") from None


def wall_clock() -> float:
    """Seconds since the epoch, as the times of files are."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def monotonic() -> float:
    """Seconds on a clock that does not jump (FETCH-15)."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
