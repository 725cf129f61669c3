"""A real nats-server on the loopback interface, and machines: each is a base and its bridge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pubsub_conformance.waiting import until

import pubsub
from pubsub.headers import HeaderValue

ROOT = Path(pubsub.__file__).parent.parent
SECONDS = 30.0  # for what takes a moment on an idle machine


class Server:
    """One nats-server: it keeps its port and its directory when it is started again."""

    def __init__(self, directory: Path, options: list[str]) -> None:
        self.directory = directory
        self.directory.mkdir()
        self._options = options
        self._port = "-1"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        here = str(self.directory)
        places = ["--ports_file_dir", here, "-sd", f"{here}/js", "-l", f"{here}/log"]
        self._process = subprocess.Popen(
            ["nats-server", "-a", "127.0.0.1", "-p", self._port, *places, *self._options]
        )
        ports = self.directory / f"nats-server_{self._process.pid}.ports"
        assert until(lambda: ports.exists() and bool(ports.read_text()), SECONDS)
        self._port = json.loads(ports.read_text())["nats"][0].rpartition(":")[2]

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)


class Machine:
    """A base, and a bridge for it."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.state = directory / "state"
        self.errors = directory / "stderr"
        directory.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._channels: list[pubsub.Channel] = []

    def start(self, *arguments: str, **environment: str) -> None:
        """Start the bridge."""
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pubsub",
            "bridge",
            "--state",
            str(self.state),
        ]
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, *arguments],
                env={**os.environ, "PUBSUB_HOME": str(self.home), **environment},
                cwd=ROOT,
                stderr=errors,
            )

    def wait(self) -> int:
        assert self._process
        return self._process.wait(SECONDS)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int | None:
        if not self._process:
            return None
        self._process.send_signal(number)
        code = self.wait()
        self._process = None
        return code

    def kill(self) -> None:
        self.end()

    def until_started(self, times: int) -> None:
        """Wait until all its runs together have been connected so often. It hears signals then."""

        def has_said() -> bool:
            return sum("bridge: connected to" in line for line in self.lines()) == times

        assert until(has_said, SECONDS), self.lines()

    def lines(self) -> list[str]:
        return self.errors.read_text().splitlines() if self.errors.exists() else []

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines())

    def status(self) -> dict[str, Any]:
        assert self._process
        shown = [line for line in self.lines() if line.startswith("{")]
        self._process.send_signal(signal.SIGUSR1)

        def now() -> list[str]:
            return [line for line in self.lines() if line.startswith("{") and line.endswith("}")]

        assert until(lambda: len(now()) > len(shown), SECONDS), self.lines()
        status: dict[str, Any] = json.loads(now()[-1])
        return status

    def until(self, **expected: object) -> dict[str, Any]:
        """Wait until the status has these values."""
        found: dict[str, Any] = {}

        def holds() -> bool:
            nonlocal found
            found = self.status()
            return all(found[name] == value for name, value in expected.items())

        assert until(holds, SECONDS, poll=0.05), f"{expected} expected:\n" + "\n".join(self.lines())
        return found

    def until_connected(self, connections: int = 1) -> None:
        """Wait until the bridge has a connection, and sent what it had: the n-th connection."""
        assert until(lambda: self.said("connected to"), SECONDS), self.lines()
        assert until(lambda: self.status()["connections"] >= connections, SECONDS), self.lines()
        self.until(connected=True, waiting=0, sent_and_unconfirmed=0)

    @contextmanager
    def here(self) -> Iterator[None]:
        """The library serves this base."""
        before = os.environ["PUBSUB_HOME"]
        os.environ["PUBSUB_HOME"] = str(self.home)
        try:
            yield
        finally:
            os.environ["PUBSUB_HOME"] = before

    def open(self, pattern: str) -> pubsub.Channel:
        channel = pubsub.Channel(pattern)
        with self.here():
            channel.open()
        self._channels.append(channel)
        return channel

    def publish(
        self, topic: str, content: bytes = b"", headers: Mapping[str, HeaderValue] | None = None
    ) -> int:
        with self.here():
            return pubsub.publish(topic, content, headers, timeout=SECONDS)

    def close(self) -> None:
        self.end()
        for channel in self._channels:
            channel.close()


Serve = Callable[..., Server]
Make = Callable[[str], Machine]


def serving(tmp_path: Path) -> Iterator[Serve]:
    """Start a server with these further options."""
    servers: list[Server] = []

    def serve(*options: str, started: bool = True) -> Server:
        server = Server(tmp_path / f"server{len(servers)}", [*options])
        servers.append(server)
        server.start()
        if not started:  # its port is known, and nobody is there
            server.end()
        return server

    yield serve
    for server in servers:
        server.end()


def making(tmp_path: Path) -> Iterator[Make]:
    """Make a machine of this name."""
    machines: list[Machine] = []

    def machine(name: str) -> Machine:
        machines.append(Machine(tmp_path / name))
        return machines[-1]

    yield machine
    for made in machines:
        made.close()


needs_server = pytest.mark.skipif(  # .ci/bridge.sh sees to it that CI has one
    shutil.which("nats-server") is None, reason="nats-server is not installed"
)
