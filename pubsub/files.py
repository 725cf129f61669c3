"""Looking at files: what is there, and of which kind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import chain, filterfalse
from operator import neg

from .interruption import Descriptors, of_system
from .spare import may_try_again


class FileDescriptors(Descriptors):
    """The open descriptors of one file, once its `identity` is known.

    A program may close what it did not open, as daemons do when they start, and then have files of
    its own under the same numbers: these are neither used nor closed here.
    """

    identity: tuple[int, int] | None = None

    def are_ours(self) -> bool:
        """Whether no number was closed by the program."""
        return all(map(self._is_ours, self))

    def forget_foreign(self) -> None:
        """Forget the numbers that the program closed."""
        foreign = [*filterfalse(self._is_ours, self)]
        any(map(self.remove, filter(self.__contains__, foreign)))

    def close(self, *details: object) -> None:
        """Close all descriptors that are ours. May be repeated.

        A signal handler that publishes may close them at any point, so the number of those that
        are left is asked anew before each.
        """
        self.forget_foreign()
        any(map(os.close, map(self.pop, map(neg, iter(self.__len__, 0)))))

    def _is_ours(self, number: int) -> bool:
        """Whether a number is still our file, or may be: the look itself can fail."""
        try:
            return self.identity in (None, identity(os.fstat(number)))
        except of_system(OSError) as error:
            return error.errno != errno.EBADF


def exists(path: str, at: int | None = None) -> bool:
    """Whether there is something at `path`, or may be: the look itself can fail."""
    return is_of_kind(path, lambda mode: True, at)


def is_of_kind(path: str, kind: Callable[[int], bool], at: int | None = None) -> bool:
    """Whether there is something of this kind (stat.S_ISFIFO and the like), or may be.

    Systems differ in the errors with which they refuse to open a file of another kind; a look is
    the same everywhere.
    """
    try:
        return kind(os.stat(path, dir_fd=at, follow_symlinks=False).st_mode)
    except of_system(FileNotFoundError, NotADirectoryError):
        return False
    except of_system(OSError):
        return True


def identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from every other one: device and inode."""
    return status.st_dev, status.st_ino


def entries(directory: str | int) -> list[os.DirEntry[str]]:
    """The entries of a directory. One call of C lists them all, and leaves no descriptor open."""
    try:
        return list(chain.from_iterable(map(os.scandir, (directory,))))
    except of_system(OSError) as error:
        # Python itself does not repeat an interrupted opendir().
        if error.errno != errno.EINTR and not may_try_again(error):
            raise
        return entries(directory)
