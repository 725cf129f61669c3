"""POSIX message queues, by posix_ipc: one queue a channel. Each open channel gets every message.

Linux allows a queue 10 messages by default (fs.mqueue.msg_max), and a user 819 200 octets in all.
So the groups in which nobody reads meanwhile do not apply, nor do large messages.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from alternative import Fields, Received, TooLarge, pack, unpack
from forked import Forked, serve_both

MESSAGES, LARGEST = 10, 4096
"""The room of a queue: messages, and octets of each."""

PATIENCE = 1.0
"""Seconds for a reader to make room. In one process nobody reads meanwhile."""


def missing() -> str:
    """What is not installed here, or not allowed; empty if everything is."""
    if importlib.util.find_spec("posix_ipc") is None:
        return "the Python package posix_ipc is not installed"
    posix_ipc = _library()
    try:
        queue = _make(posix_ipc, f"/pubsub-{os.getpid()}")
    except (OSError, ValueError, posix_ipc.Error) as error:
        return f"no queue of {MESSAGES} messages can be made: {error}"
    queue.close()
    queue.unlink()
    return ""


def _library() -> Any:
    return importlib.import_module("posix_ipc")


def _make(posix_ipc: Any, name: str) -> Any:
    return posix_ipc.MessageQueue(
        name, posix_ipc.O_CREX, max_messages=MESSAGES, max_message_size=LARGEST
    )


class Channel:
    def __init__(self, queues: PosixQueues, number: int, topic: str, queue: Any) -> None:
        self._queues, self._number, self._topic, self.queue = queues, number, topic, queue

    def take(self, timeout: float) -> Received | None:
        try:
            octets, _ = self.queue.receive(timeout)
        except self._queues.module.BusyError:
            return None
        headers, content = unpack(octets)
        return self._topic, headers, content

    def close(self) -> None:
        self._queues.closed(self._number)
        self._queues.made.remove(self)
        self.queue.unlink()
        self.queue.close()


class PosixQueues(Forked):
    name = "posix_ipc.MessageQueue"

    def __init__(self) -> None:
        super().__init__()
        self.module = _library()
        self.version: str = self.module.VERSION
        self.made: list[Channel] = []
        """The channels of this process, which it has to remove."""
        self._prefix = f"/pubsub-{os.getpid()}"
        self._queues: dict[int, Any] = {}

    def receiver(self, number: int, topic: str) -> Channel:
        try:
            queue = _make(self.module, f"{self._prefix}-{number}")
        except (OSError, self.module.Error) as error:
            raise TooLarge(f"one queue more: {error}") from error
        channel = Channel(self, number, topic, queue)
        self.made.append(channel)
        return channel

    def send(self, number: int, topic: str, headers: Fields, content: bytes) -> None:
        if number not in self._queues:
            self._queues[number] = self.module.MessageQueue(f"{self._prefix}-{number}")
        octets = pack(headers, content)
        if len(octets) > LARGEST:
            raise TooLarge(f"a message has {len(octets)} octets, the most are {LARGEST}")
        try:
            self._queues[number].send(octets, PATIENCE)
        except self.module.BusyError as error:
            raise TooLarge(f"a queue holds {MESSAGES} messages, and nobody reads it") from error

    def close(self) -> None:
        for channel in [*self.made]:
            channel.close()


if __name__ == "__main__":
    serve_both(PosixQueues)
