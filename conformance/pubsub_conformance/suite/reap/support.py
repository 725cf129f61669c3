"""What several tests of reaping share."""

from __future__ import annotations

import os
from pathlib import Path

from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import a_message, encode

RUNNING = os.getpid()  # a process id that runs for as long as the test does

LONG_AGO = (0, 0)  # 1970, for st_atime and st_mtime: the times that a file's user may set


def _furnish(directory: Path) -> None:
    """Put into a directory what a channel may hold: messages, and what somebody else put there."""
    directory.mkdir(exist_ok=True)
    for number in range(3):
        message = a_message("a", b"unread %d" % number)
        (directory / str(message.id)).write_bytes(encode(message))
    (directory / "foreign").mkdir()
    (directory / "foreign" / "file").write_bytes(b"not of this layout")


def _names(base: Base) -> set[str]:
    """All that stands in the base, at any depth."""
    return {str(entry.relative_to(base.path)) for entry in base.path.rglob("*")}
