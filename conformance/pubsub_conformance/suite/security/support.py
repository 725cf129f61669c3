"""Another user, and what several attempts share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    GROUP,
    as_user,
)

marked = pytest.mark.requirement

ATTEMPT_SECONDS = 10.0
"""For what an attacker runs: none of it waits for anything."""

GIB = 2**30


@dataclass(frozen=True)
class User:
    """Somebody on this machine; what is run as this user is a process of its own."""

    uid: int
    group: int = GROUP

    def prefix(self, *command: str) -> list[str]:
        return as_user(self.uid, *command, group=self.group)

    def can(self, script: str, *arguments: object, beside: Driver | None = None) -> bool:
        """Whether this shell script ends well, run in the mount namespace of a driver or ours."""
        there = ["nsenter", f"--mount=/proc/{beside.pid}/ns/mnt"] if beside else []
        command = self.prefix(*there)
        try:
            done = subprocess.run(
                [*command, "sh", "-euc", script, "sh", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ATTEMPT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True  # nobody kept it from waiting there
        return done.returncode == 0


VICTIM = User(4712)
MEMBER = User(4713)  # of the victim's group
OUTSIDER = User(4714, group=4715)


def let_in(home: Path) -> None:
    """Make the place where the victim works: all may pass through it, and nobody else write."""
    VICTIM.prefix()  # not run without root
    os.chown(home.parent, VICTIM.uid, GROUP)
    home.parent.chmod(0o755)
    for user in (VICTIM, MEMBER, OUTSIDER):
        if not user.can('cd "$1"', home.parent):
            not_run(f"another user cannot reach {home.parent}")


def everything(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything at and under a path: its mode, inode, links and content."""
    found = {}
    for entry in [path, *sorted(path.rglob("*"))]:
        status = entry.lstat()
        content = entry.read_bytes() if entry.is_file() else b""
        found[str(entry)] = (status.st_mode, status.st_ino, status.st_nlink, content)
    return found


@contextmanager
def untouched(outside: Path) -> Iterator[None]:
    """Whatever is done inside, and to whatever end: nothing there may have changed."""
    before = everything(outside)
    try:
        yield
    finally:
        assert everything(outside) == before, f"outside the base, {outside} was changed"


def check_that_it_receives(driver: Driver, channel: OpenChannel, where: str) -> None:
    message = a_message("a", where.encode())
    put(channel.directory, message)
    found = driver.fetch(channel)
    assert found == message, f"{where}: expected {message}, found {found}"


def make_outside(home: Path) -> Path:
    """A directory of the victim's beside the base, with old files in it."""
    path = home.parent / "outside"
    (path / "inner").mkdir(parents=True)
    path.chmod(0o700)
    for name in ("precious", "inner/precious"):
        (path / name).write_bytes(b"precious")
        (path / name).chmod(0o600)
    return path
