"""What the tests of reaping share."""

from __future__ import annotations

import os
from pathlib import Path

from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import a_message, encode

RUNNING = os.getpid()
"""The id of a process that runs as long as the test."""

LONG_AGO = (0, 0)
"""1970, for st_atime and st_mtime: the times that a user can set."""


def furnish(directory: Path) -> None:
    """Put messages and foreign entries into a directory, which is made if it does not exist."""
    directory.mkdir(exist_ok=True)
    for number in range(3):
        message = a_message("a", b"unread %d" % number)
        (directory / str(message.id)).write_bytes(encode(message))
    (directory / "foreign").mkdir()
    (directory / "foreign" / "file").write_bytes(b"not of this layout")


def entry_names(base: Base) -> set[str]:
    """The names of all entries of the base, at any depth."""
    return {str(entry.relative_to(base.path)) for entry in base.path.rglob("*")}
