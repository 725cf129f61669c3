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


def home() -> Path:
    """A directory that all processes of one measurement share."""
    return Path(os.environ["PUBSUB_HOME"])


def serve(
    start: Callable[[], System], stdin: TextIO = sys.stdin, stdout: TextIO = sys.stdout
) -> None:
    """Answer requests until the end of stdin."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.closing(start()) as system:
        driver = _Driver(system)
        for line in stdin:
            request = json.loads(line)
            for reply in getattr(driver, request["op"])(request):
                stdout.write(json.dumps({"seq": request["seq"], **reply}) + "\n")
                stdout.flush()


class _Driver:
    """A method for each operation, which yields the replies to a request."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._channels: dict[str, Channel] = {}

    def hello(self, request: Fields) -> Iterator[Fields]:
        yield {
            "implementation": self._system.name,
            "version": self._system.version,
            "language": f"{platform.python_implementation()} {platform.python_version()}",
            "spec": "0",  # none
            "roles": ["publisher", "subscriber"],
        }

    def open(self, request: Fields) -> Iterator[Fields]:
        name = f"channel-{len(self._channels)}"
        self._channels[name] = self._system.open(request["pattern"])
        yield {"channel": name, "directory": name}  # there is no such directory

    def close(self, request: Fields) -> Iterator[Fields]:
        self._channels[request["channel"]].close()
        yield {}

    def produce(self, request: Fields) -> Iterator[Fields]:
        prefix, rate = request["prefix"], request.get("rate")
        total = 0
        first = end = now()
        for n in range(request["count"]):
            if rate and n:
                time.sleep(max(0.0, first / 1e9 + n / rate - now() / 1e9))
            content = content_of(prefix, n, request["sizes"])
            headers = {"publisher": prefix, "n": n}
            start = now()
            count = self._system.publish(request["topic"], headers, content)
            end = now()
            total += count
            if n == 0:
                first = start
            if request["report"] == "all":
                yield {"event": {"n": n, "start": str(start), "end": str(end), "count": count}}
        times = {"start": str(first), "end": str(end)}
        yield {"done": {"messages": request["count"], "count": total, **times}}

    def consume(self, request: Fields) -> Iterator[Fields]:
        channel = self._channels[request["channel"]]
        ahead: Received | None = None  # what waiting took, for the next fetch
        received = 0
        began = now()
        while received < request.get("count", math.inf):
            start = now()
            message, ahead = ahead or channel.take(0), None
            if message is None:
                ahead = channel.take(request["idle"])
                if ahead is None:
                    break
                continue
            end = now()
            received += 1
            if request["report"] == "all":
                topic, headers, content = message
                sums = {"size": len(content), "crc": zlib.crc32(content)}
                times = {"start": str(start), "end": str(end)}
                yield {"event": {"topic": topic, "headers": headers, **sums, **times}}
        yield {"done": {"messages": received, "start": str(began), "end": str(now())}}
