"""Channels that a process inherits from its parent, as queues and pipes of multiprocessing.

The first process of a measurement makes the channels and forks the second one. The kit starts a
process of its own for that: it passes its stdin and stdout on, through two FIFOs.
"""

from __future__ import annotations

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from alternative import Channel, Fields, home, serve

CHANNELS = 128
"""For a whole round; none is used twice."""

FORK: Any = multiprocessing.get_context("fork")

_CLOSED, _OPEN = b"\0", b"\1"

_RELAY = 'cat "$1" & cat > "$2"; wait'


class Forked(ABC):
    """Numbered channels, and which of them are open, for both processes."""

    name: str
    version: str

    def __init__(self) -> None:
        self._states: Any = FORK.RawArray("c", CHANNELS)
        self._used = FORK.Value("i", 0)
        self._seen = b""
        self._open: list[int] = []

    @abstractmethod
    def receiver(self, number: int, topic: str) -> Channel:
        """The channel of this number, which has not been open before."""

    @abstractmethod
    def send(self, number: int, topic: str, headers: Fields, content: bytes) -> None:
        """Send a message to an open channel."""

    def open(self, topic: str) -> Channel:
        with self._used.get_lock():
            number = self._used.value
            self._used.value += 1
        channel = self.receiver(number, topic)
        self._states[number] = _OPEN
        return channel

    def closed(self, number: int) -> None:
        """Note that a channel is closed: nothing more is sent to it."""
        self._states[number] = _CLOSED

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        states = self._states.raw
        if states != self._seen:
            self._seen = states
            self._open = [number for number in range(CHANNELS) if states[number] == _OPEN[0]]
        for number in self._open:
            self.send(number, topic, headers, content)
        return len(self._open)

    @abstractmethod
    def close(self) -> None: ...


def serve_both(make: Callable[[], Forked]) -> None:
    """Answer requests as the first process of a measurement, or as the second one."""
    requests, replies = home() / "requests", home() / "replies"
    if requests.exists():
        os.execvp("sh", ["sh", "-c", _RELAY, "sh", str(replies), str(requests)])
    os.mkfifo(requests)
    os.mkfifo(replies)
    system = make()
    FORK.Process(target=_child, args=(system,), daemon=True).start()  # it ends with its parent
    serve(lambda: system)


def _child(system: Forked) -> None:
    with open(home() / "requests") as stdin, open(home() / "replies", "w") as stdout:
        serve(lambda: system, stdin, stdout)
