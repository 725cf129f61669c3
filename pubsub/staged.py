"""Staged copies: message files in `tmp`, on their way to channels (spec/publish.md, step 3)."""

from __future__ import annotations

import errno
import os

from . import queue
from .base import ATTEMPTS, Base, make
from .ids import next_id
from .interruption import Descriptors, of_system
from .message_file import Encoded
from .place import located


class Staged:
    """A copy of a message in `tmp`: its name, the word that announces it, and its path.

    It never changes: another copy is another object.
    """

    __slots__ = ("name", "path", "word")

    name: str
    path: str
    word: bytes

    def __init__(self, base: Base, id: int) -> None:
        self.name = str(id)
        self.word = queue.word(id)
        self.path = f"{base.path}/tmp/{self.name}"


class Copies:
    """The staged copies of one message: one at a time, and another where its id is taken."""

    _attempts = ATTEMPTS
    _making = ""  # a path that is ours once the file is open: nothing else tells

    def __init__(self, id: int, encoded: Encoded) -> None:
        """`encoded` is a message file with this id, of which nothing is staged yet."""
        self._id = id
        self._encoded = encoded
        self._file = Descriptors()
        self._made: list[str] = []  # the paths that are ours

    def stage(self, base: Base) -> Staged:
        """Write a new file, never over one that is there (PUB-6); under a fresh id if need be."""
        while True:
            staged = Staged(base, self._id)
            try:
                self._write(staged, base.message_mode)
            except of_system(FileExistsError):
                self._count_attempt(staged.path)
                self._take_fresh_id()
            except of_system(FileNotFoundError):
                raise
            except of_system(OSError) as error:
                raise located(error, staged.path) from error
            else:
                return staged

    def _write(self, staged: Staged, mode: int) -> None:
        """Write a new file of this mode, whatever the umask (BASE-9)."""
        self._making = staged.path
        file = self._file.open(staged.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._made.append(staged.path)
        try:
            if mode & 0o077:
                os.fchmod(file, mode)
            for octets in filter(None, self._encoded):
                written = os.write(file, octets)
                while written < len(octets):
                    written += os.write(file, memoryview(octets)[written:])
        finally:
            self._file.close()

    def _take_fresh_id(self) -> None:
        self._id = next_id()
        self._encoded = self._encoded.with_id(self._id)

    def _count_attempt(self, path: str) -> None:
        if not self._attempts:
            # Not EAGAIN, the error of a full queue.
            raise OSError(errno.EBUSY, f"gave up after {ATTEMPTS} attempts", path)
        self._attempts -= 1

    def renew(self, staged: Staged) -> Staged:
        """Stage another copy under a fresh id, and remove this one (PUB-3).

        Raises OSError; this copy is still there then, for the next channel may take it.
        """
        base = make()  # it may have been removed since
        self._count_attempt(staged.path)
        self._take_fresh_id()
        fresh = self.stage(base)
        self.remove(staged)
        return fresh

    def restage(self, staged: Staged) -> Staged:
        """Stage again what another process removed; the base may have to be made again (PUB-12).

        Under a fresh id: if this fails, no later channel may link the half of a file (PUB-5).
        """
        self._count_attempt(staged.path)
        self._take_fresh_id()
        return self.stage(make())

    def remove(self, staged: Staged) -> None:
        """Remove a copy (PUB-14). Raises OSError."""
        try:
            os.unlink(staged.path)
        except of_system(FileNotFoundError):
            pass
        self._made.remove(staged.path)

    def give_back(self) -> None:
        """Remove the copies that are left. May be repeated."""
        if self._file:
            self._made.append(self._making)
            self._file.close()
        while self._made:
            try:
                os.unlink(self._made[-1])
            except of_system(OSError):
                pass  # it is for a reaper
            self._made.pop()
