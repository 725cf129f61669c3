"""What the tests of the base share."""

from __future__ import annotations

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
