"""A file system of the kit's own, to be without room now and then (Linux).

The kit starts itself again in a mount namespace of its own, which nobody else sees and which ends
with it, and mounts a tmpfs there. That one is made as small as what it holds, and large again:
nothing has to be written to fill it.
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
"""Environment variable: where it is mounted, in a kit that was started again."""


class NoDisk(Unavailable):
    """This machine does not let the kit have one; why."""


_libc = ctypes.CDLL(None, use_errno=True)
_MS_REMOUNT = 32
_TRIES = 100  # for what is used grows between looking and remounting


def mounted() -> Path | None:
    """Where it is, in a kit that was started again."""
    path = os.environ.get(MOUNTED)
    return Path(path) if path else None


def start_again(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the kit with these arguments, where `mounted` says so.

    Raises NoDisk where that cannot be done.
    """
    path = tempfile.mkdtemp(prefix="pubsub-disk-")
    try:
        enter = own_tmpfs(Path(path), "size=50%")
    except Unavailable as lacking:
        os.rmdir(path)
        raise NoDisk(str(lacking)) from lacking
    os.environ[MOUNTED] = path
    os.execvp(enter[0], [*enter, sys.executable, "-m", "pubsub_conformance", *arguments])


@contextmanager
def scratch(home: str | None) -> Iterator[str]:
    """A directory that is removed in the end: the file system of our own, or one below `home`."""
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
        """Leaves so many blocks, so many inodes free; None: as many as there were at first."""
        for _ in range(_TRIES):
            now = os.statvfs(self.path)
            size, files = self._whole
            if blocks is not None:
                size = max(1, now.f_blocks - now.f_bfree + blocks) * now.f_frsize
            if inodes is not None:
                files = now.f_files - now.f_ffree + inodes
            options = f"size={size},nr_inodes={files}".encode()
            # Not mount(8): it repeats what /proc says of the mount, a uid that a user namespace
            # does not know among it.
            if not _libc.mount(b"pubsub", os.fsencode(self.path), None, _MS_REMOUNT, options):
                return
            error = ctypes.get_errno()
        raise OSError(error, f"cannot be made smaller: {os.strerror(error)}", str(self.path))

    def grow(self) -> None:
        self.shrink()
