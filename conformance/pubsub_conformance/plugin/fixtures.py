"""What the tests of the suite get: a base directory, drivers on it, the oracle, the seed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ..driver import Driver
from ..driver.protocol import OPS
from ..oracle.base import Base
from . import left_open
from .outcome import not_applicable
from .session import FAILED, HOME, SESSION, STARTED


class _Claimed(Driver):
    """A driver that is never asked for what it does not claim.

    A requirement of two roles is tested through each; a publish-only driver meets half of it. It
    also knows which channels are open, to find out what else is (BASE-16).
    """

    def __init__(
        self, command: Sequence[str], home: Path, *, env: Mapping[str, str | None] | None = None
    ) -> None:
        self._channels: dict[object, set[left_open.Identity]] = {}
        self._is_known = True
        """Whether all its open channels are in `_channels`."""
        self.marked: set[left_open.Identity] = set()
        """The queues of the channels that it was asked to mark."""
        super().__init__(command, home, env=env)

    def request(self, op: str, *, within: float | None = None, **fields: object) -> dict[str, Any]:
        """As of every driver."""
        try:
            reply = super().request(op, within=within, **fields)
        finally:
            if op == "close":
                self._channels.pop(fields.get("channel"), None)
        if op == "open":
            directory = self.home / reply["directory"]
            self._note_channel(reply["channel"], directory, bool(fields.get("inline")))
        return reply

    def raw(self, line: bytes, *, within: float | None = None) -> dict[str, Any]:
        """As of every driver."""
        self._is_known = False
        return super().raw(line, within=within)

    def _note_channel(self, handle: str, directory: Path, inline: bool) -> None:
        try:
            both = directory.stat(), (directory / "queue").stat()
        except OSError:  # it is gone already, or it is in a place that the kit does not see
            self._is_known = False
        else:
            self._channels[handle] = {(found.st_dev, found.st_ino) for found in both}
            if inline:
                self.marked.add((both[1].st_dev, both[1].st_ino))

    def check_descriptors(self, top: Path, marked: set[left_open.Identity]) -> None:
        """Raise LeftOpen if the driver has more of `top` open than its channels need.

        `marked` are the queues of which a publisher with the role inline may keep some (INLINE-22).
        """
        if self._is_known and self.is_idle:
            own = set().union(*self._channels.values())
            keeps = {"publisher", "inline"} <= self.hello.roles
            left_open.check(self.pid, top, own, len(self._channels), marked if keeps else set())

    def __repr__(self) -> str:  # in assertions
        return "driver"

    def _send(self, op: str, fields: Mapping[str, object], within: float) -> None:
        roles = [OPS[op].role] if op in OPS else []
        roles += ["inline"] if fields.get("inline") else []
        for role in roles:
            if role is not None and role not in self.hello.roles:
                not_applicable(role)
        super()._send(op, fields, within)


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The path of a base directory for this test alone; it does not exist yet."""
    where = request.config.getoption("home")
    parent = tempfile.mkdtemp(prefix="pubsub-", dir=where)
    try:
        # The BSDs give it the group of the directory that it is in, as Linux does if that one is
        # setgid: then only a member of that group may make something setgid.
        os.chown(parent, -1, os.getegid())
        os.chmod(parent, 0o700)
        path = request.node.stash[HOME] = Path(parent, "base")
        yield path
    finally:
        if not (request.config.getoption("keep") and FAILED in request.node.stash):
            # Its cleanup gives back the permissions that a test took away.
            with tempfile.TemporaryDirectory(
                prefix="pubsub-", dir=where, ignore_cleanup_errors=True
            ) as grave:
                os.rename(parent, os.path.join(grave, "parent"))


@pytest.fixture
def start(
    request: pytest.FixtureRequest, home: Path, base: Base
) -> Iterator[Callable[..., Driver]]:
    """A function that starts a driver on `home`.

    `prefix` runs its command (`env`, `strace` and the like); environment variables by keyword,
    None removes one.
    """
    kit = request.config.stash.get(SESSION, None)
    if kit is None:
        raise pytest.UsageError("--driver is missing")
    started: list[_Claimed] = []
    request.node.stash[STARTED] = started
    with contextlib.ExitStack() as closing:

        def start(prefix: Sequence[str] = (), **env: str | None) -> Driver:
            driver = _Claimed([*prefix, *kit.command], home, env=env)
            closing.enter_context(driver)
            started.append(driver)
            return driver

        yield start
        if FAILED not in request.node.stash and left_open.REQUIREMENT in kit.selected:
            marked = base.marked.union(*(driver.marked for driver in started))
            for driver in started:
                driver.check_descriptors(home.parent, marked)


@pytest.fixture
def driver(start: Callable[..., Driver]) -> Driver:
    """A driver on `home`."""
    return start()


@pytest.fixture
def base(home: Path) -> Base:
    """The kit's own publisher and subscriber on `home`."""
    return Base(home)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of all random choices in a test."""
    return int(request.config.getoption("seed"))
