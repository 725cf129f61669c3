"""ZeroMQ PUB/SUB over ipc://, with its default high-water marks.

The publisher hands messages to a thread, drops what a full subscriber does not take, and does not
know which subscriber got what.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import Any

from alternative import Fields, Received, home, serve


def missing() -> str:
    """What is not installed here; empty if everything is."""
    there = importlib.util.find_spec("zmq")
    return "" if there else "the Python package pyzmq is not installed"


class Channel:
    def __init__(self, socket: Any) -> None:
        self._socket = socket

    def take(self, timeout: float) -> Received | None:
        if not self._socket.poll(timeout * 1000):
            return None
        topic, headers, content = self._socket.recv_multipart()
        return topic.decode(), json.loads(headers), content

    def close(self) -> None:
        self._socket.close(linger=0)


class ZeroMQ:
    """The first process of a measurement is the publisher; channels connect to it."""

    name = "zeromq"

    def __init__(self) -> None:
        self._zmq: Any = importlib.import_module("zmq")
        self.version: str = self._zmq.zmq_version()
        self._context = self._zmq.Context()
        path = home() / "zeromq"
        self._endpoint = f"ipc://{path}"
        if not path.exists():
            self._publisher = self._context.socket(self._zmq.PUB)
            self._publisher.bind(self._endpoint)

    def open(self, topic: str) -> Channel:
        socket = self._context.socket(self._zmq.SUB)
        socket.connect(self._endpoint)
        socket.subscribe(topic)
        return Channel(socket)

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        self._publisher.send_multipart([topic.encode(), json.dumps(headers).encode(), content])
        return 0

    def close(self) -> None:
        self._context.destroy(linger=0)


if __name__ == "__main__":
    serve(ZeroMQ)
