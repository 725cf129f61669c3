"""The system calls of the file layout in C (floor.c): as fast as an implementation by files can be.

Nothing is checked, the publisher keeps the descriptors of the queues, and the messages are made
before the clock starts. With this, a figure of an implementation says how much is its own.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alternative import Driver, Fields, Received, home, messages_of, pack, serve_by, unpack
from pubsub_conformance.waiting import now

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = "cc"

MOST = 4096
"""Messages of one call of floor_fetch."""

LARGEST = 2 * 2**20
ROOM = 16 * 2**20
"""Octets of a message, and of those of one call."""


def missing() -> str:
    """What is not installed here; empty if everything is."""
    return "" if shutil.which(COMPILER) else f"there is no C compiler ({COMPILER}) on PATH"


def _library() -> Any:
    """The functions of floor.c, which the first process of a measurement compiles."""
    path = home() / "floor.so"
    if not path.exists():
        options = ["-std=c11", "-O2", "-shared", "-fPIC", "-o"]
        subprocess.run([COMPILER, *options, str(path), str(SOURCE)], check=True)
    return ctypes.CDLL(str(path), use_errno=True)


def _succeed(result: int) -> int:
    """The result of a call. Raises OSError."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Channel:
    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        os.mkfifo(directory / "queue")
        self._path = directory
        self.topic = directory.name.partition("_")[0]
        self.directory = os.open(directory, os.O_RDONLY)
        self.queue = os.open(directory / "queue", os.O_RDONLY | os.O_NONBLOCK)
        self._write_end = os.open(directory / "queue", os.O_WRONLY | os.O_NONBLOCK)

    def take(self, timeout: float) -> Received | None:
        """Never called: `FloorDriver.consume` fetches."""
        raise NotImplementedError

    def close(self) -> None:
        for descriptor in (self.directory, self.queue, self._write_end):
            os.close(descriptor)
        shutil.rmtree(self._path)


class Floor:
    name = "floor: the system calls of the file layout in C"
    version = "1"

    def __init__(self) -> None:
        self.calls = _library()
        self.base = home() / "floor"
        self.base.mkdir(exist_ok=True)
        (self.base / "tmp").mkdir(exist_ok=True)
        self.tmp = os.open(self.base / "tmp", os.O_RDONLY)
        self.ids = itertools.count(time.time_ns())

    def open(self, topic: str) -> Channel:
        return Channel(self.base / f"{topic}_{os.getpid()}-{next(self.ids)}")

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        """Never called: `FloorDriver.produce` publishes."""
        raise NotImplementedError

    def close(self) -> None:
        os.close(self.tmp)


class FloorDriver(Driver):
    """Each stream is a loop in C."""

    system: Floor

    def __init__(self, floor: Floor) -> None:
        super().__init__(floor)
        self._store = (ctypes.c_char * ROOM)()
        self._times = (ctypes.c_int64 * (2 * MOST))()
        self._lengths = (ctypes.c_size_t * MOST)()

    def publishes(self, request: Fields) -> Iterator[tuple[int, int, int]]:
        floor, count = self.system, request["count"]
        octets = [pack(*message) for message in messages_of(request)]
        paths = [path for path in floor.base.iterdir() if path.name != "tmp"]
        directories = [os.open(path, os.O_RDONLY) for path in paths]
        queues = [os.open(path / "queue", os.O_WRONLY | os.O_NONBLOCK) for path in paths]
        times = (ctypes.c_int64 * (2 * count))()
        first = next(floor.ids)
        try:
            _succeed(
                floor.calls.floor_publish(
                    floor.tmp,
                    len(paths),
                    (ctypes.c_int * len(paths))(*directories),
                    (ctypes.c_int * len(paths))(*queues),
                    ctypes.c_uint64(first),
                    count,
                    (ctypes.c_char_p * count)(*octets),
                    (ctypes.c_size_t * count)(*map(len, octets)),
                    ctypes.c_double(request.get("rate", 0)),
                    times,
                )
            )
        finally:
            for descriptor in (*directories, *queues):
                os.close(descriptor)
        floor.ids = itertools.count(first + count)
        return ((times[2 * n], times[2 * n + 1], len(paths)) for n in range(count))

    def consume(self, request: Fields) -> Iterator[Fields]:
        if request["report"] == "all":
            yield from super().consume(request)
            return
        channel: Any = self.channels[request["channel"]]
        began = now()
        runs = self._runs(channel, request.get("count", math.inf), request["idle"], keep=False)
        received = sum(runs)
        yield {"done": {"messages": received, "start": str(began), "end": str(now())}}

    def fetches(
        self, channel: Any, count: float, idle: float
    ) -> Iterator[tuple[int, int, Received]]:
        for received in self._runs(channel, count, idle, keep=True):
            begin, store = 0, memoryview(self._store)
            for n in range(received):
                end = begin + self._lengths[n]
                headers, content = unpack(bytes(store[begin:end]))
                begin = end
                times = self._times[2 * n], self._times[2 * n + 1]
                yield *times, (channel.topic, headers, content)

    def _runs(self, channel: Channel, count: float, idle: float, *, keep: bool) -> Iterator[int]:
        """Fetch. Yields how many messages each call fetched, and keeps them."""
        patience = ctypes.c_int(math.ceil(idle * 1000))
        while count > 0 and patience.value:
            received = _succeed(
                self.system.calls.floor_fetch(
                    channel.queue,
                    channel.directory,
                    int(min(count, MOST)),
                    ctypes.byref(patience),
                    self._store,
                    ctypes.c_size_t(ROOM),
                    ctypes.c_size_t(LARGEST),
                    ctypes.c_bool(keep),
                    self._times,
                    self._lengths,
                )
            )
            count -= received
            yield received


if __name__ == "__main__":
    serve_by(lambda: FloorDriver(Floor()))
