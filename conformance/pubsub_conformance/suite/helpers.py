"""What several of the suite's modules share."""

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

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.oracle.message import Message
from pubsub_conformance.plugin import not_run

Start = Callable[..., Driver]  # the fixture `start`


@contextlib.contextmanager
def refuses(*codes: str, what: str = "the request") -> Iterator[None]:
    """The implementation has to refuse what is done inside, with one of these error codes."""
    expected = " or ".join(codes)
    try:
        yield
    except Rejected as no:
        if no.code not in codes:
            pytest.fail(f"{what}: expected the error {expected}, found {no}")
    else:
        pytest.fail(f"{what}: expected the error {expected}, but it was accepted")


@contextlib.contextmanager
def answers(what: str) -> Iterator[None]:
    """For what kills or hangs an implementation: no answer is then a failure of its own."""
    try:
        yield
    except DriverError as error:
        pytest.fail(f"{what}: expected an answer, found {error}")


def as_message(fields: Mapping[str, Any]) -> Message:
    """A message of the specification's vectors, written as a driver shows one."""
    return Message(
        int(fields["id"]),
        int(fields["timestamp"]),
        fields["topic"],
        fields["headers"],
        base64.b64decode(fields["content"]),
    )


def through(rule: str, *roles: str) -> pytest.MarkDecorator:
    """Run the test once for each of these roles, which it gets as `role`."""
    marked = [pytest.param(role, marks=pytest.mark.requirement(rule, role=role)) for role in roles]
    return pytest.mark.parametrize("role", marked)


def umask(mask: int) -> list[str]:
    """The prefix of a command that runs it with this umask."""
    return ["sh", "-c", f'umask {mask:03o}; exec "$@"', "sh"]


def snapshot(path: Path) -> dict[str, tuple[int, int, int, int]]:
    """Everything at and under a path: name to mode, owner, inode, time of the last change."""
    found = {}
    for entry in [path, *sorted(path.rglob("*"))]:
        status = entry.lstat()
        found[str(entry)] = (status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns)
    return found


GROUP = 4711


def as_user(uid: int, *command: str, group: int = GROUP) -> list[str]:
    """The prefix that runs a command as this user, of this group alone."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        not_run("another user's process needs root, and setpriv")
    return [*command, "setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups"]


def start_as(start: Start, prefix: list[str], **env: str | None) -> Driver:
    try:
        return start(prefix=prefix, **env)
    except DriverError as error:
        not_run(f"the driver does not run as another user: {error.what}")


def most_memory(driver: Driver) -> int:
    """The most address space that the driver ever had, in octets."""
    status = Path(f"/proc/{driver.pid}/status")
    peak = re.search(r"VmPeak:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if peak is None:
        not_run("needs VmPeak in /proc/PID/status")
    return int(peak[1]) * 1024
