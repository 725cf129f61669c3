"""NATS: nats-server on the loopback interface, and nats-py, whose loops run in asyncio.

A publish puts the message into a buffer of the client, which a task sends. The server drops a
subscriber that is too slow. A core NATS server has no other promise.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import server
from alternative import Driver, Fields, Received, home, messages_of, pack, serve_by, unpack
from pubsub_conformance.waiting import now


def missing() -> str:
    """What is not installed here; empty if everything is."""
    if importlib.util.find_spec("nats") is None:
        return "the Python package nats-py is not installed"
    return "" if shutil.which("nats-server") else "there is no nats-server on PATH"


def _start_server(directory: Path) -> subprocess.Popen[bytes]:
    """Start a server that writes its port to this directory. Raises OSError."""
    directory.mkdir()
    options = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(directory)]
    return server.start(["nats-server", *options], lambda: bool(_url(directory)))


def _url(directory: Path) -> str:
    """Where the server listens; empty if it does not say yet."""
    for path in directory.glob("nats-server_*.ports"):
        if text := path.read_text():
            return str(json.loads(text)["nats"][0])
    return ""


class Channel:
    def __init__(self, nats: Nats, subscription: Any) -> None:
        self._nats, self.subscription = nats, subscription

    def close(self) -> None:
        self._nats.run(self.subscription.unsubscribe())

    def take(self, timeout: float) -> Received | None:
        """Never called: `Nats.fetches` takes messages."""
        raise NotImplementedError


class Nats:
    """The first process of a measurement starts the server, and ends it."""

    name = "nats-server, by nats-py"

    def __init__(self) -> None:
        directory = home() / "nats"
        self._server = None if directory.exists() else _start_server(directory)
        nats: Any = importlib.import_module("nats")
        self._loop = asyncio.new_event_loop()
        self.client: Any = self.run(nats.connect(_url(directory)))
        self.version: str = str(self.client.connected_server_version)

    def run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)

    def open(self, topic: str) -> Channel:
        async def subscribe() -> Any:
            subscription = await self.client.subscribe(topic)
            await self.client.flush()  # now the server knows it
            return subscription

        return Channel(self, self.run(subscribe()))

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        """Never called: `Nats.publishes` publishes."""
        raise NotImplementedError

    def close(self) -> None:
        self.run(self.client.close())
        self._loop.close()
        if self._server:
            server.end(self._server)


class NatsDriver(Driver):
    """A stream is one run of the event loop: without it, the client does nothing."""

    system: Nats

    def publishes(self, request: Fields) -> Iterator[tuple[int, int, int]]:
        return iter(self.system.run(self._publish(request)))

    async def _publish(self, request: Fields) -> list[tuple[int, int, int]]:
        client, topic, rate = self.system.client, request["topic"], request.get("rate")
        published = []
        first = now()
        for n, (headers, content) in enumerate(messages_of(request)):
            if rate and n:
                await asyncio.sleep(max(0.0, first / 1e9 + n / rate - now() / 1e9))
            start = now()
            await client.publish(topic, pack(headers, content))
            published.append((start, now(), 0))
        await client.flush()
        return published

    def fetches(
        self, channel: Any, count: float, idle: float
    ) -> Iterator[tuple[int, int, Received]]:
        return iter(self.system.run(self._fetch(channel.subscription, count, idle)))

    async def _fetch(
        self, subscription: Any, count: float, idle: float
    ) -> list[tuple[int, int, Received]]:
        fetched: list[tuple[int, int, Received]] = []
        while len(fetched) < count:
            start = now()
            try:
                message = await subscription.next_msg(timeout=idle)
            except asyncio.TimeoutError:
                break
            headers, content = unpack(message.data)
            fetched.append((start, now(), (message.subject, headers, content)))
        return fetched


if __name__ == "__main__":
    serve_by(lambda: NatsDriver(Nats()))
