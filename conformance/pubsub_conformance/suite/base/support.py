"""What the tests of the base share."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.namespace import empty_places, seen_by
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import Start

SHM = Path("/dev/shm")


def others(path: Path) -> int:
    """The permission bits of a file for group and others."""
    return path.lstat().st_mode & 0o077


def start_on_the_default_base(start: Start, directory: Path) -> tuple[Driver, Base]:
    """A driver without PUBSUB_HOME, and its base, which does not exist yet.

    Where /dev/shm exists, this needs a mount namespace. Elsewhere TMPDIR decides: it is
    `directory`, which this makes.
    """
    if SHM.is_dir():
        driver = start(prefix=empty_places(), PUBSUB_HOME=None)
        return driver, Base(seen_by(driver, SHM / "pubsub"))
    directory.mkdir()
    driver = start(PUBSUB_HOME=None, TMPDIR=str(directory))
    return driver, Base(directory / "pubsub")


def make_things(role: str, driver: Driver, home: Path, opened: ExitStack) -> list[Path]:
    """Have the role make all its entries in a base without any. Returns their paths.

    `opened` closes the kit's channel in the end.
    """
    if role == "subscriber":
        directory = driver.open("a").directory
        made = [directory, directory / "queue"]
    else:
        channel = opened.enter_context(Base(home).open("a", pid=driver.pid))
        (home / "tmp").rmdir()  # for the publisher to make
        driver.publish("a")
        made = [channel.directory / name for name in channel.files()]
    tmp = home / "tmp"
    return [tmp, *made] if tmp.exists() else made  # not every implementation needs it (BASE-11)
