"""ZeroMQ PUSH/PULL over ipc://, with its default high-water marks: one pair a channel.

A full channel makes the publisher wait, so nothing is lost. Each open channel gets every message.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

import zeromq_pubsub
from alternative import Fields, home
from forked import Forked, serve_both
from zeromq_pubsub import missing as missing


class Channel(zeromq_pubsub.Channel):
    def __init__(self, pairs: Pairs, number: int, socket: Any) -> None:
        super().__init__(socket)
        self._pairs, self._number = pairs, number

    def close(self) -> None:
        self._pairs.closed(self._number)
        super().close()


class Pairs(Forked):
    name = "zeromq"

    def __init__(self) -> None:
        super().__init__()
        self._zmq: Any = importlib.import_module("zmq")
        self.version: str = self._zmq.zmq_version()
        self._made: Any = None
        self._sockets: dict[int, Any] = {}

    def _context(self) -> Any:
        """A context of this process; none outlives a fork."""
        self._made = self._made or self._zmq.Context()
        return self._made

    def receiver(self, number: int, topic: str) -> Channel:
        socket = self._context().socket(self._zmq.PULL)
        socket.bind(f"ipc://{home()}/pull-{number}")
        return Channel(self, number, socket)

    def send(self, number: int, topic: str, headers: Fields, content: bytes) -> None:
        if number not in self._sockets:
            self._sockets[number] = self._context().socket(self._zmq.PUSH)
            self._sockets[number].connect(f"ipc://{home()}/pull-{number}")
        octets = [topic.encode(), json.dumps(headers).encode(), content]
        self._sockets[number].send_multipart(octets)

    def close(self) -> None:
        if self._made:
            self._made.destroy(linger=0)


if __name__ == "__main__":
    serve_both(Pairs)
