"""File systems whose clock is coarse: several changes of a file have the same time (Linux)."""

from __future__ import annotations

from pathlib import Path

from .namespace import namespace

_TICKS = """
mount -t ramfs ramfs "$1"
chmod 0700 "$1"
shift
"""

# With inodes of 128 octets, ext2 has no room for fractions of a second.
_SECONDS = """
PATH=$PATH:/usr/sbin:/sbin
truncate -s 8M "$2"
mke2fs -q -t ext2 -I 128 -F "$2" >/dev/null 2>&1
mount -t ext2 -o loop "$2" "$1"
shift 2
"""


def of_ticks(path: Path) -> tuple[str, ...]:
    """The prefix that runs a command with a ramfs at `path`, whose clock ticks every few ms.

    Raises Unavailable.
    """
    return namespace(_TICKS, str(path))


def of_seconds(path: Path) -> tuple[str, ...]:
    """The prefix that runs a command with an ext2 at `path`, whose times are whole seconds.

    It is in a file beside `path`. Raises Unavailable: without root there is no loop device.
    """
    return namespace(_SECONDS, str(path), f"{path}.image")
