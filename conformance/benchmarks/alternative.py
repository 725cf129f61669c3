"""What every alternative shares: a driver for the operations that `bench` measures by.

It speaks the part of the driver protocol (DRIVER.md) that `pubsub_conformance.bench` uses. Topics
are plain names; there are no patterns.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO

from pubsub_conformance.driver.produced import content_of
from pubsub_conformance.waiting import now

Fields = dict[str, Any]
Received = tuple[str, Fields, bytes]
"""Topic, headers, content."""


class Channel(Protocol):
    def take(self, timeout: float) -> Received | None:
        """The next message; waits for it up to `timeout` seconds."""

    def close(self) -> None: ...


class System(Protocol):
    name: str
    version: str

    def open(self, topic: str) -> Channel:
        """Subscribe. Returns when the channel receives messages, as far as the system knows."""

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        """Publish. Returns how many channels got the message, 0 if the system does not know."""

    def close(self) -> None: ...


class TooLarge(Exception):
    """The system has no room for such a message, or for one channel more."""


def pack(headers: Fields, content: bytes) -> bytes:
    """Headers and content in one string, where a message has nothing else."""
    packed = json.dumps(headers).encode()
    return len(packed).to_bytes(4, "big") + packed + content


def unpack(data: bytes) -> tuple[Fields, bytes]:
    """The headers and the content of a packed message."""
    end = 4 + int.from_bytes(data[:4], "big")
    return json.loads(data[4:end]), data[end:]


def home() -> Path:
    """A directory that all processes of one measurement share."""
    path = Path(os.environ["PUBSUB_HOME"])
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def serve(
    start: Callable[[], System], stdin: TextIO = sys.stdin, stdout: TextIO = sys.stdout
) -> None:
    """Answer requests until the end of stdin."""
    serve_by(lambda: Driver(start()), stdin, stdout)


def serve_by(
    start: Callable[[], Driver], stdin: TextIO = sys.stdin, stdout: TextIO = sys.stdout
) -> None:
    """Answer requests by a driver of its own until the end of stdin."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    driver = start()
    with contextlib.closing(driver.system):
        for line in stdin:
            request = json.loads(line)
            for reply in _replies(driver, request):
                stdout.write(json.dumps({"seq": request["seq"], **reply}) + "\n")
                stdout.flush()


def _replies(driver: Driver, request: Fields) -> Iterator[Fields]:
    try:
        yield from getattr(driver, request["op"])(request)
    except TooLarge as error:
        yield {"error": {"code": "too-large", "detail": str(error)}}


class Driver:
    """A method for each operation, which yields the replies to a request.

    A system whose loops are not in Python, or not like these, has `publishes` and `fetches` of its
    own.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.channels: dict[str, Channel] = {}

    def hello(self, request: Fields) -> Iterator[Fields]:
        yield {
            "implementation": self.system.name,
            "version": self.system.version,
            "language": f"{platform.python_implementation()} {platform.python_version()}",
            "spec": "0",  # none
            "roles": ["publisher", "subscriber"],
        }

    def open(self, request: Fields) -> Iterator[Fields]:
        name = f"channel-{len(self.channels)}"
        self.channels[name] = self.system.open(request["pattern"])
        yield {"channel": name, "directory": name}  # there is no such directory

    def close(self, request: Fields) -> Iterator[Fields]:
        self.channels[request["channel"]].close()
        yield {}

    def produce(self, request: Fields) -> Iterator[Fields]:
        total = messages = 0
        first = end = now()
        for start, end, count in self.publishes(request):
            if messages == 0:
                first = start
            if request["report"] == "all":
                times = {"start": str(start), "end": str(end)}
                yield {"event": {"n": messages, **times, "count": count}}
            messages += 1
            total += count
        times = {"start": str(first), "end": str(end)}
        yield {"done": {"messages": messages, "count": total, **times}}

    def publishes(self, request: Fields) -> Iterator[tuple[int, int, int]]:
        """Publish. Yields start and end of each publish, and how many channels got the message."""
        rate = request.get("rate")
        first = now()
        for n, (headers, content) in enumerate(messages_of(request)):
            if rate and n:
                time.sleep(max(0.0, first / 1e9 + n / rate - now() / 1e9))
            start = now()
            count = self.system.publish(request["topic"], headers, content)
            yield start, now(), count
            first = first if n else start

    def consume(self, request: Fields) -> Iterator[Fields]:
        received = 0
        began = now()
        for start, end, (topic, headers, content) in self.fetches(
            self.channels[request["channel"]], request.get("count", math.inf), request["idle"]
        ):
            received += 1
            if request["report"] == "all":
                sums = {"size": len(content), "crc": zlib.crc32(content)}
                times = {"start": str(start), "end": str(end)}
                yield {"event": {"topic": topic, "headers": headers, **sums, **times}}
        yield {"done": {"messages": received, "start": str(began), "end": str(now())}}

    def fetches(
        self, channel: Channel, count: float, idle: float
    ) -> Iterator[tuple[int, int, Received]]:
        """Fetch. Yields start and end of each fetch, and its message."""
        ahead: Received | None = None  # what waiting took, for the next fetch
        received = 0
        while received < count:
            start = now()
            message, ahead = ahead or channel.take(0), None
            if message is None:
                ahead = channel.take(idle)
                if ahead is None:
                    break
                continue
            received += 1
            yield start, now(), message


def messages_of(request: Fields) -> Iterator[tuple[Fields, bytes]]:
    """The headers and the content of each message that a `produce` asks for."""
    prefix = request["prefix"]
    for n in range(request["count"]):
        yield {"publisher": prefix, "n": n}, content_of(prefix, n, request["sizes"])
