"""The operation of each role, for tests that hold for every role."""

from __future__ import annotations

from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import refuses, snapshot

EVERYBODY = ("publisher", "subscriber", "reaper")
"""The roles that work in a base directory."""


def check_that_it_works(role: str, driver: Driver, base: Base) -> None:
    """The role's operation has to succeed in this base, and its effect has to be on the disk."""
    if role == "publisher":
        # The pid of a process that runs: an implementation that looks at it breaks CHAN-9 only.
        with base.open("a", pid=driver.pid) as channel:
            assert driver.publish("a") == 1, f"{base.path} holds one channel that matches"
            assert len(channel.fetch_all()) == 1
    elif role == "subscriber":
        opened = driver.open("a")
        directory = base.path / opened.directory.name
        assert directory.is_dir(), f"the channel was opened, but {directory} does not exist"
        message = base.publish("a")
        assert driver.fetch(opened) == message
        driver.close_channel(opened)
    else:
        dead = base.dead_channel("a", dead_pid())
        driver.reap()
        assert not dead.exists(), f"the reaper left the dead channel {dead}"


def settle(driver: Driver, base: Base, topic: str) -> None:
    """Publish until an implementation that keeps a listing of the base (PUB-21) has kept it."""
    probe = base.path.with_name("probe")
    listed = base.path.stat()
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_mtime_ns > max(listed.st_mtime_ns, listed.st_ctime_ns):
            break
    for _ in range(2):
        driver.publish(topic)


cold_or_warm = pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
"""Run the test with a driver that has done nothing, and with one that has worked in the base.

Only the second shows what an implementation keeps from one operation to the next.
"""


def warm_up(role: str, driver: Driver, base: Base) -> None:
    """Have the role work in the base until it has kept whatever it keeps."""
    for _ in range(2):
        check_that_it_works(role, driver, base)
    if role == "publisher":
        with base.open("a"):
            settle(driver, base, "a")


def attempt(role: str, driver: Driver) -> None:
    """Do the role's operation. Raises Rejected."""
    if role == "publisher":
        driver.publish("a")
    elif role == "subscriber":
        driver.open("a")
    else:
        driver.reap()


def check_that_it_is_refused(role: str, driver: Driver, top: Path, what: str) -> None:
    """The role's operation has to fail with base-unusable, and to change nothing under `top`."""
    before = snapshot(top)
    with refuses("base-unusable", what=f"{role}: {what}"):
        attempt(role, driver)
    assert snapshot(top) == before, f"{what}: the operation was refused, but changed something"
