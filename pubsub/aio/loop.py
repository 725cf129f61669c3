"""The event loop: descriptors that it watches while somebody waits, and turns that are bounded."""

from __future__ import annotations

import asyncio
import threading

LOOK_SECONDS = 0.25  # FETCH-20: a fetch each, of which one in half a second looks at the directory
CALLS_IN_A_TURN = 64
_LONGEST_SLEEP = 3600.0  # seconds: no loop has a timer without end


class Registration:
    """Tasks of one event loop that wait until a descriptor is readable, once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self.loop = loop
        self._descriptor = descriptor
        self._waiters: list[asyncio.Future[bool]] = []
        self._has_ended = False

    @property
    def is_over(self) -> bool:
        """Whether no more task can wait here."""
        return self._has_ended or self.loop.is_closed()

    async def wait(self, seconds: float) -> bool:
        """Sleep until the descriptor is readable or the time is over. False: the channel closes."""
        waiter: asyncio.Future[bool] = self.loop.create_future()
        try:
            if not self._waiters:
                self.loop.add_reader(self._descriptor, self.end)
            self._waiters.append(waiter)
            return await sleep(waiter, seconds)
        finally:
            self._waiters = [other for other in self._waiters if other is not waiter]
            if not self._waiters:
                self.end()

    def end(self, is_open: bool = True) -> None:
        """Remove the reader and wake the tasks. May be repeated."""
        if not self.is_over:
            self.loop.remove_reader(self._descriptor)
        self._has_ended = True  # from now on the number may be another file's
        if not self.loop.is_closed():
            for waiter in self._waiters:
                settle(waiter, is_open)

    def check_thread(self) -> None:
        """Raise RuntimeError if the loop runs in another thread."""
        if self.is_over or not self.loop.is_running():
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self.loop:
            raise RuntimeError(
                "tasks of an event loop in another thread wait on the channel:"
                " call loop.call_soon_threadsafe(channel.close)"
            )


async def sleep(waiter: asyncio.Future[bool], seconds: float) -> bool:
    """Sleep until the future is settled, or settle it when the time is over. Returns its result."""
    timer = waiter.get_loop().call_later(min(seconds, _LONGEST_SLEEP), settle, waiter)
    try:
        return await waiter
    finally:
        timer.cancel()


def settle(waiter: asyncio.Future[bool], result: bool = True) -> None:
    """Wake who waits for this, unless that is done."""
    if not waiter.done():
        waiter.set_result(result)


class _Calls(threading.local):
    """The calls in this thread since the last one that let other tasks run."""

    number = 0


calls = _Calls()


def is_turn_over() -> bool:
    """Whether this call has to let other tasks run."""
    calls.number += 1
    if calls.number < CALLS_IN_A_TURN:
        return False
    calls.number = 0
    return True
