"""multiprocessing.Queue: one queue a channel. Each open channel gets every message."""

from __future__ import annotations

import platform
import queue
import resource
from typing import Any

from alternative import Fields, Received
from forked import CHANNELS, FORK, Forked, serve_both


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
        self._queues.closed(self._number)


class Queues(Forked):
    name = "multiprocessing.Queue"
    version = platform.python_version()

    def __init__(self) -> None:
        super().__init__()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # a queue has two descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * CHANNELS, hard)), hard))
        self.queues: list[Any] = [FORK.Queue() for _ in range(CHANNELS)]

    def receiver(self, number: int, topic: str) -> Channel:
        return Channel(self, number)

    def send(self, number: int, topic: str, headers: Fields, content: bytes) -> None:
        self.queues[number].put((topic, headers, content))

    def close(self) -> None:
        for each in self.queues:
            each.cancel_join_thread()  # nobody reads what is left in it


if __name__ == "__main__":
    serve_both(Queues)
