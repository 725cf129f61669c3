"""The system's clocks.

Not `time.time` and `time.monotonic`: tests of a program replace these to freeze or shift its time,
and that must neither make the files of other processes look old nor keep a wait from ending.
"""

from __future__ import annotations

import math
import time
from functools import partial

from .interruption import of_system


def number(seconds: float, name: str) -> float:
    """A time as a plain `float`, whatever kind of number it is (a Decimal, a Fraction).

    Raises TypeError, and ValueError for NaN, which call the argument by `name`.
    """
    try:
        plain = math.copysign(seconds, seconds)  # float() would read a text as well
    except of_system(TypeError):
        raise TypeError(f"{name} is a number of seconds, not {type(seconds).__name__}") from None
    if math.isnan(plain):
        raise ValueError(f"{name} is a number of seconds, not NaN")
    return plain


def duration(seconds: float, name: str) -> float:
    """The same. Raises ValueError, too, if the time is negative."""
    plain = number(seconds, name)
    if plain < 0:
        raise ValueError(f"{name} must be non-negative")
    return plain


def deadline(seconds: float | None, name: str) -> float:
    """When a time is over, on the clock `monotonic`; None is never over.

    Raises TypeError, ValueError.
    """
    if seconds is None:
        return math.inf
    plain = number(seconds, name)
    return monotonic() + plain if plain > 0 else 0.0


def wall_clock() -> float:
    """Seconds since the epoch, as the times of files are."""
    return time.clock_gettime(time.CLOCK_REALTIME)


monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Seconds on a clock that does not jump (FETCH-15)."""
