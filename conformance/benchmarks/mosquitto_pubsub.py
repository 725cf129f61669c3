"""MQTT with QoS 0: mosquitto on a Unix socket, and paho-mqtt with its thread; one client a channel.

A publish hands the message to the client. The server drops what a subscriber does not take.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import queue
import shutil
import subprocess
from pathlib import Path
from typing import Any

import server
from alternative import Fields, Received, home, pack, serve, unpack
from pubsub_conformance.waiting import until

SERVER_PATHS = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
"""Debian has the server where only root looks."""

CONFIGURATION = """\
listener 0 {path}
allow_anonymous true
persistence false
user root
"""
"""The user is that of a server that root starts: another one could not make the socket."""


def missing() -> str:
    """What is not installed here; empty if everything is."""
    if importlib.util.find_spec("paho") is None:
        return "the Python package paho-mqtt is not installed"
    found = shutil.which("mosquitto", path=SERVER_PATHS)
    return "" if found else "there is no mosquitto on PATH or in /usr/sbin"


def _start_server(path: Path) -> subprocess.Popen[bytes]:
    """Start a server that listens at this path. Raises OSError."""
    configuration = path.with_suffix(".conf")
    configuration.write_text(CONFIGURATION.format(path=path))
    command = [str(shutil.which("mosquitto", path=SERVER_PATHS)), "-c", str(configuration)]
    return server.start(command, lambda: server.listens(path))


def _connect(path: Path) -> Any:
    """A connected client, whose thread works. Raises OSError."""
    paho: Any = importlib.import_module("paho.mqtt.client")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="unix")
    client.connect(str(path))
    client.loop_start()
    if not until(client.is_connected, server.START_SECONDS):
        raise OSError("mosquitto does not answer")
    return client


class Channel:
    def __init__(self, path: Path, topic: str) -> None:
        self._received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        subscribed: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._client = _connect(path)
        self._client.on_subscribe = lambda *_: subscribed.put(None)
        self._client.on_message = lambda client, data, message: self._received.put(message)
        self._client.subscribe(topic)
        subscribed.get(timeout=server.START_SECONDS)

    def take(self, timeout: float) -> Received | None:
        try:
            message = self._received.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        headers, content = unpack(message.payload)
        return message.topic, headers, content

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Mosquitto:
    """The first process of a measurement starts the server, and ends it."""

    name = "mosquitto, by paho-mqtt"

    def __init__(self) -> None:
        self._path = home() / "mosquitto"
        self._server = None if self._path.exists() else _start_server(self._path)
        self._client = _connect(self._path)
        self.version: str = importlib.import_module("paho.mqtt").__version__

    def open(self, topic: str) -> Channel:
        return Channel(self._path, topic)

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        self._client.publish(topic, pack(headers, content))
        return 0

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        if self._server:
            server.end(self._server)


if __name__ == "__main__":
    serve(Mosquitto)
