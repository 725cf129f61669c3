"""What a driver writes, read by a thread as it comes."""

from __future__ import annotations

import os
import queue
import selectors
import threading
import time
from collections import deque
from contextlib import suppress

from ..waiting import put_off

STDERR_OCTETS = 64 * 2**10
"""How many octets of stderr are kept: the last ones."""

_READ = 64 * 2**10


class Flood(Exception):
    """There is more on stdout than is kept in memory."""


class Output:
    """Reads stdout and stderr of a driver all the time, so that it never blocks on either.

    A thread and not the requests themselves: a driver that streams to a kit busy elsewhere would
    otherwise be slowed down by its pipe, and its history distorted. `limit` is in octets: so many
    of stdout are kept in memory.

    There is no lock. Whoever asks may be interrupted anywhere, by Ctrl-C or the time limit of a
    test, and would leave a lock held: then the thread would wait for it for ever. Each attribute
    is assigned by one of the two alone.
    """

    def __init__(self, stdout: int, stderr: int, limit: int) -> None:
        self._limit = limit
        self._stopping, self._to_stop = os.pipe()
        self._taken = 0  # octets of stdout; all that follow are the thread's
        self._came = 0
        self._lines: deque[tuple[float, bytes]] = deque()  # with the time of arrival
        self._flooded = False
        self._ended = False
        self._errors = b""
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Wakes who waits. One is enough, whatever came."""
        self._thread = threading.Thread(
            target=self._run, args=(stdout, stderr), name="driver output", daemon=True
        )
        with put_off():
            self._thread.start()

    def line(self, deadline: float) -> bytes | None:
        """The next line; None if none came before `deadline`, empty at the end of stdout.

        The deadline is on time.monotonic(). Raises Flood.
        """
        while True:
            flooded, ended = self._flooded, self._ended  # first: then no line follows
            if self._lines:
                came, line = self._lines[0]
                if came > deadline:
                    return None
                self._lines.popleft()
                self._taken += len(line)
                return line
            if flooded:
                raise Flood(f"more than {self._limit} octets on stdout that nobody could read")
            if ended:
                return b""
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            with suppress(queue.Empty):
                self._news.get(timeout=remaining)

    def unread(self) -> bytes:
        """The first line that lies unread; empty if there is none."""
        return self._lines[0][1] if self._lines else b""

    def ended(self) -> bool:
        """Whether stdout has ended."""
        return self._ended

    def stderr(self) -> str:
        """The tail of stderr so far."""
        return self._errors.decode("utf-8", "replace")

    def stop(self, patience: float) -> None:
        """Waits up to `patience` seconds for the ends of both, then reads no more."""
        self._thread.join(patience)
        os.close(self._to_stop)
        self._thread.join()
        os.close(self._stopping)

    def _run(self, stdout: int, stderr: int) -> None:
        part: list[bytes] = []  # of a line that has not ended
        with selectors.DefaultSelector() as selector:
            for descriptor in (stdout, stderr, self._stopping):
                selector.register(descriptor, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:  # more than the pipe to stop it
                for key, _ in selector.select():
                    if key.fd == self._stopping:
                        return
                    data = os.read(key.fd, _READ)
                    if not data:
                        selector.unregister(key.fd)
                    if key.fd == stderr:
                        self._errors = (self._errors + data)[-STDERR_OCTETS:]
                    elif not self._take(data, part):
                        selector.unregister(key.fd)

    def _take(self, data: bytes, part: list[bytes]) -> bool:
        """Takes what stdout gave; False once it is too much."""
        now = time.monotonic()
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._lines.append((now, b"".join(part) + line + b"\n"))
            part.clear()
        if rest:
            part.append(rest)
        self._came += len(data)
        self._flooded = self._came - self._taken > self._limit
        self._ended = not data  # a rest without a newline is no line: its writer died
        if self._news.empty():  # else who takes that one finds this, too
            self._news.put(None)
        return not self._flooded
