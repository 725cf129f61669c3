"""Other users, and what several attacks share."""

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
"""The time limit for an attacker's command. None of them waits for anything."""

GIB = 2**30


@dataclass(frozen=True)
class User:
    """A user of this machine, as whom the kit runs commands."""

    uid: int
    group: int = GROUP

    def prefix(self, *command: str) -> list[str]:
        """The prefix that runs a command as this user. Needs root."""
        return as_user(self.uid, *command, group=self.group)

    def can(self, script: str, *arguments: object, beside: Driver | None = None) -> bool:
        """Whether a shell script of this user succeeds, in a driver's mount namespace or ours."""
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
            return True  # it got as far as waiting
        return done.returncode == 0


VICTIM = User(4712)

MEMBER = User(4713)
"""Another user of the victim's group."""

OUTSIDER = User(4714, group=4715)
"""A user of another group."""


def let_in(home: Path) -> None:
    """Give the directory of the base to the victim: others may pass through it, but not write."""
    VICTIM.prefix()  # without root, the test is not run
    os.chown(home.parent, VICTIM.uid, GROUP)
    home.parent.chmod(0o755)
    for user in (VICTIM, MEMBER, OUTSIDER):
        if not user.can('cd "$1"', home.parent):
            not_run(f"another user cannot reach {home.parent}")


def everything(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything at and under a path: name to mode, inode, number of links, and content."""
    found = {}
    for entry in [path, *sorted(path.rglob("*"))]:
        status = entry.lstat()
        content = entry.read_bytes() if entry.is_file() else b""
        found[str(entry)] = (status.st_mode, status.st_ino, status.st_nlink, content)
    return found


@contextmanager
def untouched(outside: Path) -> Iterator[None]:
    """The steps inside may not change anything in this directory, whether they fail or not."""
    before = everything(outside)
    try:
        yield
    finally:
        assert everything(outside) == before, f"outside the base, {outside} was changed"


def check_that_it_receives(driver: Driver, channel: OpenChannel, where: str) -> None:
    """The driver has to fetch a message that the kit puts into its channel now."""
    message = a_message("a", where.encode())
    put(channel.directory, message)
    found = driver.fetch(channel)
    assert found == message, f"{where}: expected {message}, found {found}"


def make_outside(home: Path) -> Path:
    """Make a directory of the victim beside the base, with files in it."""
    path = home.parent / "outside"
    (path / "inner").mkdir(parents=True)
    path.chmod(0o700)
    for name in ("precious", "inner/precious"):
        (path / name).write_bytes(b"precious")
        (path / name).chmod(0o600)
    return path
