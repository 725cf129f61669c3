"""What the tests of several pages share."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pubsub_conformance.driver import (
    Driver,
    DriverError,
    NameTwice,
    NoReply,
    OpenChannel,
    Rejected,
)
from pubsub_conformance.oracle.base import CHANNEL_NAME
from pubsub_conformance.oracle.message import Message
from pubsub_conformance.plugin import not_run

Start = Callable[..., Driver]
"""The type of the fixture `start`."""


@contextlib.contextmanager
def refuses(*codes: str, what: str = "the request") -> Iterator[None]:
    """The request inside has to fail with one of these error codes."""
    expected = " or ".join(codes)
    try:
        yield
    except Rejected as refusal:
        if refusal.code not in codes:
            pytest.fail(f"{what}: expected the error {expected}, found {refusal}")
    except NameTwice as error:  # headers that it should have refused (MSG-9)
        pytest.fail(f"{what}: expected the error {expected}, but it was accepted: {error.what}")
    else:
        pytest.fail(f"{what}: expected the error {expected}, but it was accepted")


@contextlib.contextmanager
def answers(what: str) -> Iterator[None]:
    """The driver has to reply to the request inside: a crash or a hang fails the test.

    A reply that breaks the protocol is a driver error here, as elsewhere.
    """
    try:
        yield
    except NoReply as error:
        _, *more = str(error).splitlines()
        pytest.fail("\n".join([f"expected a reply, found: {error.what}: {what}", *more]))


def as_message(fields: Mapping[str, Any]) -> Message:
    """The message with these fields, in the form of the driver protocol and of the vectors."""
    return Message(
        int(fields["id"]),
        int(fields["timestamp"]),
        fields["topic"],
        fields["headers"],
        base64.b64decode(fields["content"]),
    )


def owner(channel: OpenChannel) -> int:
    """The process id in the channel's name."""
    name = CHANNEL_NAME.fullmatch(channel.directory.name)
    assert name, f"{channel.directory.name!r} is not the name of a channel"
    return int(name["pid"])


def through(rule: str, *roles: str) -> pytest.MarkDecorator:
    """Run the test once for each of these roles, which it takes as `role`."""
    marked = [pytest.param(role, marks=pytest.mark.requirement(rule, role=role)) for role in roles]
    return pytest.mark.parametrize("role", marked)


def umask(mask: int) -> list[str]:
    """The prefix of a command that runs it with this umask."""
    return ["sh", "-c", f'umask {mask:03o}; exec "$@"', "sh"]


WITHOUT_STANDARD_ERROR = ("sh", "-c", 'exec "$@" 2>&-', "sh")
"""The prefix of a command that runs it with descriptor 2 free."""


def snapshot(path: Path) -> dict[str, tuple[int, int, int, int]]:
    """Everything at and under a path: name to mode, owner, inode, modification time (ns)."""
    found = {}
    for entry in [path, *sorted(path.rglob("*"))]:
        status = entry.lstat()
        found[str(entry)] = (status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns)
    return found


GROUP = 4711
"""The group of the users that tests run drivers as."""


def as_user(uid: int, *command: str, group: int = GROUP) -> list[str]:
    """The prefix that runs a command as this user, in this group alone. Needs root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        not_run("needs root and setpriv, to run a process as another user")
    return [*command, "setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups"]


def start_as(start: Start, prefix: list[str], **env: str | None) -> Driver:
    """Start a driver behind a prefix of `as_user`, with these environment variables."""
    try:
        return start(prefix=prefix, **env)
    except DriverError as error:
        not_run(f"the driver does not run as another user: {error}")


def most_memory(driver: Driver) -> int:
    """The largest address space that the driver ever had, in octets. Needs Linux."""
    status = Path(f"/proc/{driver.pid}/status")
    peak = re.search(r"VmPeak:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if peak is None:
        not_run("needs VmPeak in /proc/PID/status")
    return int(peak[1]) * 1024
