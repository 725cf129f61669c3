"""The base directory (spec/base.md): where it is, whom it trusts, what is made in it."""

from __future__ import annotations

import errno
import os
import random
import re
import stat
import string
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from .topics import MAX_OCTETS, PATTERN

STALE_AGE = 3600.0
"""Seconds without a change after which a file counts as left over."""

ATTEMPTS = 100
"""How often a step is tried again that only a race with another process can have undone."""

WRITE_QUEUE = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
"""How a queue is opened for writing, whoever looks or writes: never waiting, through no link."""

# BASE-15: to be reached by name from a descriptor, wherever its path may lead later.
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW

_CHANNEL_NAME = re.compile(rf"({PATTERN})_[A-Za-z0-9]{{12}}_([1-9][0-9]{{0,9}})")  # CHAN-1
_ALPHABET = string.ascii_letters + string.digits
_system_random = random.SystemRandom()  # differs between processes and after a fork


class BaseUnusable(OSError):
    """The base directory cannot be made, or must not be trusted (BASE-4, BASE-5, BASE-12)."""


class ChannelEntry(NamedTuple):
    """A directory in the base that has a channel's name."""

    path: str
    pattern: str
    pid: int


class Base(NamedTuple):
    """A base directory that was looked at and found good."""

    path: str
    mode: int

    @property
    def tmp(self) -> str:
        return f"{self.path}/tmp"

    def make_tmp(self) -> None:
        """Make `tmp` if it is not there (BASE-11, BASE-12)."""
        try:
            os.mkdir(self.tmp, 0o700 | self.mode & 0o077)  # BASE-8
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(self.tmp).st_mode):
                raise BaseUnusable(
                    errno.ENOTDIR,
                    "it has an entry tmp that is not a directory; remove that, or set PUBSUB_HOME",
                    self.path,
                ) from None
        else:
            if self.mode & 0o077:
                os.close(self._open_up(self.tmp))

    def open_tmp(self) -> int:
        """A descriptor of `tmp`, to reach by name what is in it; the caller closes it."""
        self.make_tmp()
        return os.open(self.tmp, _PLACE)

    def make_directory(self, tmp: int, name: str) -> int:
        """Make a directory in `tmp`; a descriptor of it, which the caller closes."""
        os.mkdir(name, 0o700 | self.mode & 0o077, dir_fd=tmp)  # BASE-8
        return self._open_up(name, tmp)

    def make_queue(self, directory: int, name: str) -> None:
        """Make the queue in a directory of `tmp`."""
        mode = 0o600 | self.mode & 0o022  # nobody else may read it (CHAN-4)
        if os.mkfifo in os.supports_dir_fd:
            os.mkfifo("queue", mode, dir_fd=directory)
        else:  # macOS before 13
            os.mkfifo(f"{self.tmp}/{name}/queue", mode)

    def share_queue(self, queue: int) -> None:
        self._share(queue, self.mode & 0o022)

    def make_file(self, path: str, *parts: bytes) -> None:
        """Write a new file, never over one that is there (PUB-6)."""
        bits = self.mode & 0o044  # nobody needs to write a message that was published
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 | bits)
        try:
            if bits:
                os.fchmod(file, 0o600 | bits)  # BASE-9
            for part in parts:
                written = os.write(file, part)
                while written < len(part):
                    written += os.write(file, memoryview(part)[written:])
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(path)
            raise
        finally:
            os.close(file)

    def _open_up(self, name: str, at: int | None = None) -> int:
        """Share a directory that was made; a descriptor of it."""
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        try:
            self._share(directory, self.mode & 0o077)
        except BaseException:
            os.close(directory)
            raise
        return directory

    def _share(self, made: int, bits: int) -> None:
        """Give what others of a shared base need, whatever the umask took (BASE-9)."""
        if bits:
            mode = stat.S_IMODE(os.fstat(made).st_mode)  # a set-group-id bit stays
            if mode & bits != bits:
                os.fchmod(made, mode | bits)

    def channels(self) -> list[ChannelEntry]:
        """All directories that have a channel's name; everything else is ignored (BASE-10)."""
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                name = _CHANNEL_NAME.fullmatch(entry.name)
                if name and len(name[1]) <= MAX_OCTETS and entry.is_dir(follow_symlinks=False):
                    found.append(ChannelEntry(entry.path, name[1], int(name[2])))
        return found


def is_there(path: str, kind: Callable[[int], bool], at: int | None = None) -> bool:
    """Whether something of this kind (stat.S_ISFIFO and the like) stands there, or may stand there.

    Systems have various errors for opening what is of another kind: one look tells more.
    """
    try:
        return kind(os.stat(path, dir_fd=at, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def fresh_name() -> str:
    return "".join(_system_random.choices(_ALPHABET, k=12))


def fresh_in_tmp() -> str:
    """A name in `tmp` that nobody has used, and that no message file could have."""
    return f"-{fresh_name()}"


def location() -> tuple[str, bool]:
    """The path of the base, and whether PUBSUB_HOME names it (BASE-1, BASE-2)."""
    explicit = os.environ.get("PUBSUB_HOME")
    path = explicit or _default(os.environ.get("TMPDIR"))
    return (path if path[0] == "/" else os.path.abspath(path)), bool(explicit)


@lru_cache(maxsize=1)
def _default(tmpdir: str | None) -> str:
    if os.path.isdir("/dev/shm"):
        return "/dev/shm/pubsub"
    return os.path.join(tmpdir or "/tmp", "pubsub")


def status(path: str, explicit: bool) -> os.stat_result:
    """The status of a base: a default one is not looked at through a symbolic link (BASE-4)."""
    return os.stat(path) if explicit else os.lstat(path)


def look() -> Base | None:
    """The base with its `tmp`, if it is there. Raises BaseUnusable."""
    path, explicit = location()
    try:
        found = status(path, explicit)
    except FileNotFoundError as error:
        if os.path.islink(path):  # to nowhere
            raise _unusable(path, error) from error
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    return _trusted(path, explicit, found)


def make() -> Base:
    """The base with its `tmp`, made if it is not there (BASE-3). Raises BaseUnusable."""
    path, explicit = location()
    try:
        try:
            found = status(path, explicit)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with suppress(FileExistsError):  # another was faster, or it is a dangling link
                os.mkdir(path, 0o700)
            found = status(path, explicit)
    except OSError as error:
        raise _unusable(path, error) from error
    return _trusted(path, explicit, found)


def _trusted(path: str, explicit: bool, found: os.stat_result) -> Base:
    """BASE-4 and BASE-5."""
    mode = found.st_mode
    writers = 0o002 if explicit else 0o022
    if not stat.S_ISDIR(mode):
        fault = "it is a symbolic link" if stat.S_ISLNK(mode) else "it is not a directory"
    elif not explicit and found.st_uid not in (os.geteuid(), 0):
        fault = f"it belongs to user {found.st_uid}, not to you"
    elif mode & writers and not mode & stat.S_ISVTX:
        fault = f"its mode {stat.S_IMODE(mode):o} lets others write to it"
    else:
        base = Base(path, stat.S_IMODE(mode))
        try:
            base.make_tmp()
        except BaseUnusable:
            raise
        except OSError as error:
            raise _unusable(path, error) from error
        return base
    raise BaseUnusable(
        errno.EPERM, f"{fault}; set PUBSUB_HOME to a directory that you can trust", path
    )


def _unusable(path: str, error: OSError) -> BaseUnusable:
    return BaseUnusable(
        error.errno, f"{error.strerror}; set PUBSUB_HOME to a directory that you can use", path
    )
