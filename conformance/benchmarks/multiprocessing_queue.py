"""multiprocessing.Queue: one queue a channel. Each open channel gets every message.

A child inherits such queues from its parent. So the first process of a measurement makes all queues
and forks the second one. The kit starts a process of its own for that: it passes its stdin and
stdout on, through two FIFOs.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import queue
import resource
from typing import Any

from alternative import Fields, Received, home, serve

QUEUES = 128
"""For all channels of a round; none is used twice. Each has two descriptors."""

CLOSED, OPEN = b"\0", b"\1"

FORK: Any = multiprocessing.get_context("fork")

RELAY = 'cat "$1" & cat > "$2"; wait'


def missing() -> str:
    """What is not installed here; empty if everything is."""
    return ""


class Channel:
    def __init__(self, queues: Queues, number: int) -> None:
        self._queues, self._number = queues, number
        self._queue = queues.queues[number]

    def take(self, timeout: float) -> Received | None:
        try:
            taken: Received = self._queue.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        return taken

    def close(self) -> None:
        self._queues.states[self._number] = CLOSED


class Queues:
    """The queues, and which of them are open, for both processes."""

    name = "multiprocessing.Queue"
    version = platform.python_version()

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * QUEUES, hard)), hard))
        self.queues: list[Any] = [FORK.Queue() for _ in range(QUEUES)]
        self.states: Any = FORK.RawArray("c", QUEUES)
        self._used = FORK.Value("i", 0)
        self._seen = b""
        self._open: list[Any] = []

    def open(self, topic: str) -> Channel:
        with self._used.get_lock():
            number = self._used.value
            self._used.value += 1
        self.states[number] = OPEN
        return Channel(self, number)

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        states = self.states.raw
        if states != self._seen:
            self._seen = states
            self._open = [self.queues[n] for n in range(QUEUES) if states[n] == OPEN[0]]
        for each in self._open:
            each.put((topic, headers, content))
        return len(self._open)

    def close(self) -> None:
        for each in self.queues:
            each.cancel_join_thread()  # nobody reads what is left in it


def _child(queues: Queues) -> None:
    with open(home() / "requests") as stdin, open(home() / "replies", "w") as stdout:
        serve(lambda: queues, stdin, stdout)


def _main() -> None:
    requests, replies = home() / "requests", home() / "replies"
    if requests.exists():
        os.execvp("sh", ["sh", "-c", RELAY, "sh", str(replies), str(requests)])
    os.mkfifo(requests)
    os.mkfifo(replies)
    queues = Queues()
    FORK.Process(target=_child, args=(queues,), daemon=True).start()  # it ends with its parent
    serve(lambda: queues)


if __name__ == "__main__":
    _main()
