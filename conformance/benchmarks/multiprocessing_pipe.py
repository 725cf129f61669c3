"""multiprocessing.Pipe: one pipe a channel. Each open channel gets every message.

A pipe that is full makes the sender wait for the reader. In one process nobody reads meanwhile, so
a message that an empty pipe does not hold is refused.
"""

from __future__ import annotations

import platform
import resource
from typing import Any

from alternative import Fields, Received, TooLarge
from forked import CHANNELS, FORK, Forked, serve_both

LARGEST = 4096
"""Octets of a content: ten of them fit into the 64 KiB of a pipe."""


def missing() -> str:
    """What is not installed here; empty if everything is."""
    return ""


class Channel:
    def __init__(self, pipes: Pipes, number: int) -> None:
        self._pipes, self._number = pipes, number
        self._connection, _ = pipes.pipes[number]

    def take(self, timeout: float) -> Received | None:
        if not self._connection.poll(timeout):
            return None
        taken: Received = self._connection.recv()
        return taken

    def close(self) -> None:
        self._pipes.closed(self._number)


class Pipes(Forked):
    name = "multiprocessing.Pipe"
    version = platform.python_version()

    def __init__(self) -> None:
        super().__init__()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # a pipe has two descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * CHANNELS, hard)), hard))
        self.pipes: list[Any] = [FORK.Pipe(duplex=False) for _ in range(CHANNELS)]

    def receiver(self, number: int, topic: str) -> Channel:
        return Channel(self, number)

    def send(self, number: int, topic: str, headers: Fields, content: bytes) -> None:
        if len(content) > LARGEST:
            raise TooLarge(f"a content has {len(content)} octets, the most are {LARGEST}")
        _, connection = self.pipes[number]
        connection.send((topic, headers, content))

    def close(self) -> None:
        for reader, writer in self.pipes:
            reader.close()
            writer.close()


if __name__ == "__main__":
    serve_both(Pipes)
