"""Redis pub/sub: redis-server on a Unix socket, without persistence; one connection a channel."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import server
from alternative import Fields, Received, home, pack, serve, unpack


def missing() -> str:
    """What is not installed here; empty if everything is."""
    if importlib.util.find_spec("redis") is None:
        return "the Python package redis is not installed"
    return "" if shutil.which("redis-server") else "there is no redis-server on PATH"


def _start_server(path: Path) -> subprocess.Popen[bytes]:
    """Start a server that listens at this path. Raises OSError."""
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(path.parent)]
    return server.start(["redis-server", *options], lambda: server.listens(path))


class Channel:
    def __init__(self, client: Any, topic: str) -> None:
        self._subscription = client.pubsub()
        self._subscription.subscribe(topic)
        while self._subscription.get_message(timeout=None)["type"] != "subscribe":
            pass

    def take(self, timeout: float) -> Received | None:
        # Not get_message(timeout=0): if a large message has come in part, the client takes that for
        # a time-out, connects anew and loses the rest.
        if not self._subscription.connection.can_read(timeout=timeout):
            return None
        message = self._subscription.get_message(timeout=None)
        headers, content = unpack(message["data"])
        return message["channel"].decode(), headers, content

    def close(self) -> None:
        self._subscription.close()


class Redis:
    """The first process of a measurement starts the server, and ends it."""

    name = "redis"

    def __init__(self) -> None:
        path = home() / "redis"
        self._server = None if path.exists() else _start_server(path)
        redis: Any = importlib.import_module("redis")
        self._client = redis.Redis(unix_socket_path=str(path))
        self.version: str = self._client.info("server")["redis_version"]

    def open(self, topic: str) -> Channel:
        return Channel(self._client, topic)

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        return int(self._client.publish(topic, pack(headers, content)))

    def close(self) -> None:
        self._client.close()
        if self._server:
            server.end(self._server)


if __name__ == "__main__":
    serve(Redis)
