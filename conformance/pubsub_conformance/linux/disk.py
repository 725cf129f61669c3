"""A file system of the kit, which has no room now and then (Linux).

The kit starts itself again in a new mount namespace, which nobody else sees and which ends with the
kit, and mounts a tmpfs there. To fill that file system it is made as small as its content; nothing
has to be written.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from . import Unavailable
from .namespace import own_tmpfs

MOUNTED = "PUBSUB_CONFORMANCE_DISK"
"""The environment variable that says, in a kit that was started again, where it is mounted."""


class NoDisk(Unavailable):
    """This machine does not let the kit mount a file system. The text is the reason."""


_libc = ctypes.CDLL(None, use_errno=True)
_MS_REMOUNT = 32
_TRIES = 100
"""How often a size is tried: the content may grow before the remount."""


def mounted() -> Path | None:
    """Where the file system is mounted, in a kit that was started again; otherwise None."""
    path = os.environ.get(MOUNTED)
    return Path(path) if path else None


def start_again(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a kit with these arguments, in which `mounted` returns a path.

    Raises NoDisk if the machine does not allow it.
    """
    path = tempfile.mkdtemp(prefix="pubsub-disk-")
    try:
        enter = own_tmpfs(Path(path), "size=50%")
    except Unavailable as reason:
        os.rmdir(path)
        raise NoDisk(str(reason)) from reason
    os.environ[MOUNTED] = path
    os.execvp(enter[0], [*enter, sys.executable, "-m", "pubsub_conformance", *arguments])


@contextmanager
def scratch(home: str | None) -> Iterator[str]:
    """A directory that is removed in the end: the mounted file system, or one in `home`."""
    own = mounted()
    if own is None or home:
        with tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory:
            yield directory
        return
    try:
        yield str(own)
    finally:
        subprocess.run(["umount", "--lazy", own], capture_output=True, check=False)
        os.rmdir(own)


class Disk:
    """The tmpfs that is mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = os.statvfs(path)
        self._whole = whole.f_blocks * whole.f_frsize, whole.f_files

    def shrink(self, blocks: int | None = None, inodes: int | None = None) -> None:
        """Leave so many blocks and inodes free; None: as many as there were at first.

        Raises OSError if the file system cannot be made smaller.
        """
        for _ in range(_TRIES):
            now = os.statvfs(self.path)
            size, files = self._whole
            if blocks is not None:
                size = max(1, now.f_blocks - now.f_bfree + blocks) * now.f_frsize
            if inodes is not None:
                files = now.f_files - now.f_ffree + inodes
            options = f"size={size},nr_inodes={files}".encode()
            # Not mount(8): it repeats the options that /proc shows, with a uid that a user
            # namespace may not know.
            if not _libc.mount(b"pubsub", os.fsencode(self.path), None, _MS_REMOUNT, options):
                return
            error = ctypes.get_errno()
        raise OSError(error, f"cannot be made smaller: {os.strerror(error)}", str(self.path))

    def grow(self) -> None:
        """Give the file system its first size again."""
        self.shrink()
