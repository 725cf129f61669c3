"""multiprocessing.Queue: one queue a channel, each open one gets every message, topics or not.

Such a queue goes from parent to child alone. So a host makes them all, and the drivers are its
children: the process that the kit starts lends its stdin and stdout to one of them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import queue
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import Fields, command, home, serve

QUEUES = 128
"""For all channels of a round; none is used twice. Each takes two descriptors."""

CLOSED, OPEN = b"\0", b"\1"


def missing() -> str:
    return ""


@contextlib.contextmanager
def hosting(home: Path) -> Iterator[None]:
    with subprocess.Popen(
        [*command("multiprocessing"), "host", str(home / "host")],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as host:
        try:
            assert host.stdout
            if not host.stdout.readline():
                raise OSError("the host of the queues does not start")
            yield
        finally:
            host.terminate()


class Channel:
    def __init__(self, queues: Queues, number: int) -> None:
        self._queues, self._number = queues, number
        self._queue = queues.queues[number]

    def take(self, timeout: float) -> tuple[str, Fields, bytes] | None:
        try:
            taken: tuple[str, Fields, bytes] = self._queue.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        return taken

    def close(self) -> None:
        self._queues.states[self._number] = CLOSED


class Queues:
    name = "multiprocessing.Queue"
    version = platform.python_version()

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.queues: list[Any] = [context.Queue() for _ in range(QUEUES)]
        self.states: Any = context.RawArray("c", QUEUES)
        self._used = context.Value("i", 0)
        self._seen = b""
        self._open: list[Any] = []

    def open(self, topic: str) -> Channel:
        with self._used.get_lock():
            number = self._used.value
            self._used.value += 1
        self.states[number] = OPEN
        return Channel(self, number)

    def publish(self, topic: str, headers: Fields, content: bytes) -> int:
        states = self.states.raw
        if states != self._seen:
            self._seen = states
            self._open = [self.queues[n] for n in range(QUEUES) if states[n] == OPEN[0]]
        for one in self._open:
            one.put((topic, headers, content))
        return len(self._open)

    def close(self) -> None:
        pass


def _host(path: str) -> None:
    """Forks a driver for each connection, for the stdin and stdout that come through it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * QUEUES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * QUEUES, hard), hard))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    queues = Queues()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while True:
            client = listening.accept()[0]
            _, lent, _, _ = socket.recv_fds(client, 1, 2)
            if os.fork() == 0:
                listening.close()
                with os.fdopen(lent[0]) as stdin, os.fdopen(lent[1], "w") as stdout:
                    serve(lambda: queues, stdin, stdout)
                os._exit(0)  # the threads of the queues need not write what nobody reads
            for descriptor in lent:
                os.close(descriptor)
            client.close()


def _lend(path: str) -> None:
    """Ends when the child that works with this process's stdin and stdout does."""
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(path)
        socket.send_fds(host, [b"."], [0, 1])
        host.recv(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["host"]:
        _host(sys.argv[2])
    else:
        _lend(str(home() / "host"))
