"""A server on this machine, which the first process of a measurement starts and ends."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from pubsub_conformance.waiting import until

START_SECONDS = 10.0


def start(command: Sequence[str], is_ready: Callable[[], bool]) -> subprocess.Popen[bytes]:
    """Start a server that says nothing, and wait until it is ready. Raises OSError."""
    nothing = subprocess.DEVNULL
    server = subprocess.Popen([*command], stdin=nothing, stdout=nothing, stderr=nothing)
    until(lambda: is_ready() or server.poll() is not None, START_SECONDS)
    if not is_ready():
        end(server)
        raise OSError(f"{command[0]} does not start")
    return server


def end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def listens(path: Path) -> bool:
    """Whether a server listens on the Unix socket at this path."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
