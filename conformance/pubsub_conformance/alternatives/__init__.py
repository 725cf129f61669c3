"""What a user would pick instead, as small drivers for `bench` alone.

Each module is a driver (`python -m …`) that speaks the part of the driver protocol that measuring
takes, on topics taken literally; `missing` says what it lacks on this machine, and `hosting` runs
what has to run beside the drivers, a broker for one.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
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

NAMES = ("redis", "zeromq", "multiprocessing")

Fields = dict[str, Any]


class Channel(Protocol):
    def take(self, timeout: float) -> tuple[str, Fields, bytes] | None:
        """The next message: topic, headers, content; waits for it up to `timeout` seconds."""

    def close(self) -> None: ...


class System(Protocol):
    name: str
    version: str

    def open(self, topic: str) -> Channel:
        """Returns once it receives, as far as the system lets it know."""

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        """How many got it; 0 where nobody knows."""

    def close(self) -> None: ...


class Module(Protocol):
    """What `bench` asks of a module of this package."""

    def missing(self) -> str: ...
    def hosting(self, home: Path) -> contextlib.AbstractContextManager[None]: ...


def module(name: str) -> Module:
    found: Any = importlib.import_module(f"{__name__}.{name}")
    return found  # type: ignore[no-any-return]


def command(name: str) -> list[str]:
    return [sys.executable, "-m", f"{__name__}.{name}"]


def home() -> Path:
    return Path(os.environ["PUBSUB_HOME"])


def pack(headers: Fields, content: bytes) -> bytes:
    """For systems whose messages are octets and nothing else."""
    packed = json.dumps(headers).encode()
    return len(packed).to_bytes(4, "big") + packed + content


def unpack(data: bytes) -> tuple[Fields, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    return json.loads(data[4:end]), data[end:]


def serve(start: Callable[[], System], stdin: TextIO, stdout: TextIO) -> None:
    """Answers requests until the end of stdin."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.closing(start()) as system:
        driver = _Driver(system)
        for line in stdin:
            request = json.loads(line)
            for fields in driver.answer(request):
                stdout.write(json.dumps({"seq": request["seq"], **fields}) + "\n")
                stdout.flush()


class _Driver:
    def __init__(self, system: System) -> None:
        self.system = system
        self.channels: dict[str, _Ahead] = {}

    def answer(self, request: Fields) -> Iterator[Fields]:
        op = request["op"]
        answer = getattr(self, f"do_{op}", None)
        if answer is None:
            return iter([{"error": {"code": "unknown-op", "detail": op}}])
        result = answer(request)
        return iter([result]) if isinstance(result, dict) else result

    def do_hello(self, request: Fields) -> Fields:
        return {
            "implementation": self.system.name,
            "version": self.system.version,
            "language": f"{platform.python_implementation()} {platform.python_version()}",
            "spec": "0",  # of none
            "roles": ["publisher", "subscriber"],
        }

    def do_publish(self, request: Fields) -> Fields:
        content = base64.b64decode(request["content"])
        return {"count": self.system.publish(request["topic"], request["headers"], content)}

    def do_open(self, request: Fields) -> Fields:
        handle = f"c{len(self.channels)}"
        self.channels[handle] = _Ahead(self.system.open(request["pattern"]))
        return {"channel": handle, "directory": handle}

    def do_close(self, request: Fields) -> Fields:
        self.channels[request["channel"]].channel.close()
        return {}

    def do_fetch(self, request: Fields) -> Fields:
        message = self.channels[request["channel"]].fetch()
        if message is None:
            return {"message": None}
        topic, headers, content = message
        told = {"id": "1", "timestamp": str(time.time_ns() // 1000)}  # there are none
        body = base64.b64encode(content).decode()
        return {"message": {**told, "topic": topic, "headers": headers, "content": body}}

    def do_wait(self, request: Fields) -> Fields:
        return {"ready": self.channels[request["channel"]].wait(request["timeout"])}

    def do_produce(self, request: Fields) -> Iterator[Fields]:
        topic, prefix, sizes = request["topic"], request["prefix"], request["sizes"]
        rate = request.get("rate")
        total = 0
        first = end = now()
        for n in range(request["count"]):
            if rate and n:
                time.sleep(max(0.0, first / 1e9 + n / rate - now() / 1e9))
            text = f"{prefix}:{n}:".encode()
            size = max(sizes[n % len(sizes)], len(text))
            content = (text * (size // len(text) + 1))[:size]
            headers = {"publisher": prefix, "n": n}
            start = now()
            count = self.system.publish(topic, headers, content)
            end = now()
            total += count
            if n == 0:
                first = start
            if request["report"] == "all":
                yield {"event": {"n": n, "start": str(start), "end": str(end), "count": count}}
        yield {
            "done": {
                "messages": request["count"],
                "count": total,
                "start": str(first),
                "end": str(end),
            }
        }

    def do_consume(self, request: Fields) -> Iterator[Fields]:
        channel = self.channels[request["channel"]]
        began = now()
        idle = request.get("idle", math.inf)
        deadline = began / 1e9 + request.get("deadline", math.inf)
        received = 0
        while received < request.get("count", math.inf):
            start = now()
            left = deadline - start / 1e9
            if left <= 0:
                break
            message = channel.fetch()
            if message is None:
                if not channel.wait(min(idle, left)) and idle < left:
                    break
                continue
            end = now()
            received += 1
            if request["report"] == "all":
                topic, headers, content = message
                told = {"topic": topic, "headers": headers, "size": len(content)}
                times = {"start": str(start), "end": str(end)}
                yield {"event": {**times, **told, "crc": zlib.crc32(content)}}
        yield {"done": {"messages": received, "start": str(began), "end": str(now())}}


class _Ahead:
    """A channel whose waiting takes the message that it waited for, for the next fetch."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._taken: tuple[str, Fields, bytes] | None = None

    def fetch(self) -> tuple[str, Fields, bytes] | None:
        taken, self._taken = self._taken, None
        return taken or self.channel.take(0)

    def wait(self, timeout: float) -> bool:
        self._taken = self._taken or self.channel.take(min(timeout, 3600))
        return self._taken is not None


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
