"""Redis pub/sub: redis-server on a Unix socket, without persistence; one connection a channel."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import Fields, home, pack, serve, unpack

START_SECONDS = 10.0


def missing() -> str:
    if importlib.util.find_spec("redis") is None:
        return "the Python package redis is not installed"
    return "" if shutil.which("redis-server") else "there is no redis-server on PATH"


@contextlib.contextmanager
def hosting(home: Path) -> Iterator[None]:
    path = home / "redis"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(home)]
    with subprocess.Popen(
        ["redis-server", *options], stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(path):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise OSError("redis-server does not start")
                time.sleep(0.01)
            yield
        finally:
            server.terminate()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class Channel:
    def __init__(self, client: Any, topic: str) -> None:
        self._subscription = client.pubsub()
        self._subscription.subscribe(topic)
        while self._subscription.get_message(timeout=None)["type"] != "subscribe":
            pass

    def take(self, timeout: float) -> tuple[str, Fields, bytes] | None:
        # Not get_message(timeout=0): of a large message that is on its way, it takes what has come
        # for a time-out, connects anew and loses the rest.
        if not self._subscription.connection.can_read(timeout=timeout):
            return None
        message = self._subscription.get_message(timeout=None)
        headers, content = unpack(message["data"])
        return message["channel"].decode(), headers, content

    def close(self) -> None:
        self._subscription.close()


class Redis:
    name = "redis"

    def __init__(self) -> None:
        redis: Any = importlib.import_module("redis")
        self._client = redis.Redis(unix_socket_path=str(home() / "redis"))
        self.version: str = self._client.info("server")["redis_version"]

    def open(self, topic: str) -> Channel:
        return Channel(self._client, topic)

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        return int(self._client.publish(topic, pack(headers, content)))

    def close(self) -> None:
        self._client.close()


if __name__ == "__main__":
    serve(Redis, sys.stdin, sys.stdout)
