"""The clock that the kit and its drivers share, waiting for a condition, and Ctrl-C meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that raise KeyboardInterrupt in a command, see surroundings.py."""


def now() -> int:
    """The time in nanoseconds of CLOCK_MONOTONIC, the clock of the driver protocol (DRIVER-12)."""
    # Not time.monotonic_ns: on macOS that is not the clock of the drivers.
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def until(holds: Callable[[], bool], seconds: float, *, poll: float = 0.001) -> bool:
    """Wait until a condition holds, which is checked every `poll` seconds.

    Returns False if it does not hold within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll)
    return True


@contextmanager
def put_off() -> Iterator[None]:
    """Put off Ctrl-C, and what else ends a command, until the end of the block.

    KeyboardInterrupt comes between any two instructions. Within threading.Condition it leaves a
    lock that nobody releases, and the thread that needs the lock next never ends. What the main
    thread does with threads, futures and events belongs here. It must not take long.
    """
    usual: dict[int, Callable[[int, FrameType | None], object]] = {}
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in _INTERRUPTS:
                if callable(handler := signal.getsignal(number)):
                    usual[number] = handler
                    signal.signal(number, note)
        yield
    finally:
        for put, handler in usual.items():
            signal.signal(put, handler)
        for late in came:
            usual[late](late, None)


class Flag(threading.Event):
    """An event whose lock no Ctrl-C leaves held. The main thread must not wait for it for long."""

    def set(self) -> None:
        with put_off():
            super().set()

    def clear(self) -> None:
        with put_off():
            super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        with put_off():
            return super().wait(timeout)


def begin(pool: Executor, work: Iterable[Callable[[], T]]) -> list[Future[T]]:
    """Have threads do the work. Wait for them with `unfinished`, and then ask for the results."""
    with put_off():
        return [pool.submit(each) for each in work]


def unfinished(futures: Iterable[Future[Any]], seconds: float) -> int:
    """Wait until all futures are finished, or so many seconds. Returns the number of the others."""
    with put_off():
        return len(wait(futures, seconds).not_done)
