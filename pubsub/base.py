"""The base directory (spec/base.md): what is in it, and how directories are made in it."""

from __future__ import annotations

import errno
import os
import re
import stat
import string
from typing import NamedTuple

from .files import entries
from .interruption import Descriptors, of_system
from .place import BaseUnusable, Place
from .topics import MAX_TOPIC_OCTETS, PATTERN

STALE_AGE = 3600.0
"""Seconds without a change after which a file counts as left over."""

ATTEMPTS = 100
"""How often a step is tried again that only a race with another process can have undone."""

# BASE-15: names are reached from a descriptor, wherever the path may lead later.
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""Flags for opening a directory to list it."""

_CHANNEL_NAME = re.compile(rf"({PATTERN})_[A-Za-z0-9]{{12}}_([1-9][0-9]{{0,9}})")  # CHAN-1
_ALPHABET = (5 * (string.ascii_letters + string.digits)).encode()[:256]  # for each octet one


class ChannelEntry(NamedTuple):
    """A directory in the base that has a channel's name."""

    path: str
    pattern: str
    pid: int


class Base(NamedTuple):
    """A base directory that was found good, and its mode."""

    path: str
    mode: int

    @property
    def tmp(self) -> str:
        """The path of the directory `tmp`."""
        return f"{self.path}/tmp"

    def make_tmp(self) -> None:
        """Make `tmp` if it is not there (BASE-11). Raises BaseUnusable (BASE-12), OSError."""
        try:
            os.mkdir(self.tmp, self.directory_mode)
        except of_system(FileExistsError):
            if not stat.S_ISDIR(os.lstat(self.tmp).st_mode):
                raise BaseUnusable(
                    errno.ENOTDIR,
                    "it has an entry tmp that is not a directory; remove that, or set PUBSUB_HOME",
                    self.path,
                ) from None
        else:
            if self.mode & 0o077:
                held = Descriptors()
                with held, held:
                    self.share(held.open(self.tmp, LIST), 0o077)

    def open_tmp(self, held: Descriptors) -> int:
        """Open `tmp`, which is made if it is not there, to reach its entries by name."""
        self.make_tmp()
        return held.open(self.tmp, _PLACE)

    @property
    def directory_mode(self) -> int:
        """The mode of directories in the base (BASE-8)."""
        return 0o700 | self.mode & 0o077

    @property
    def message_mode(self) -> int:
        """The mode of message files: who may not write in the base reads none (BASE-8, BASE-9)."""
        return 0o600 | self.mode & (self.mode & 0o022) << 1

    def make_directory(self, held: Descriptors, tmp: int, name: str) -> int:
        """Make a directory in `tmp`, and open it."""
        os.mkdir(name, self.directory_mode, dir_fd=tmp)
        directory = held.open(name, LIST, dir_fd=tmp)
        self.share(directory, 0o077)
        return directory

    def make_queue(self, directory: int, name: str) -> None:
        """Make the queue in the open directory of that name in `tmp`."""
        mode = 0o600 | self.mode & 0o022  # nobody else may read it (CHAN-4)
        if os.mkfifo in os.supports_dir_fd:
            os.mkfifo("queue", mode, dir_fd=directory)
        else:  # macOS before 13
            os.mkfifo(f"{self.tmp}/{name}/queue", mode)

    def share(self, made: int, mask: int) -> None:
        """Give a new file those permissions of the base, within `mask`, that the umask took.

        BASE-9 demands it, for others of a shared base.
        """
        bits = self.mode & mask
        if bits:
            mode = stat.S_IMODE(os.fstat(made).st_mode)  # a set-group-id bit is kept
            if mode & bits != bits:
                os.fchmod(made, mode | bits)

    def channels(self) -> list[ChannelEntry]:
        """All directories that have a channel's name; other entries are ignored (BASE-10).

        Raises OSError if the base cannot be listed.
        """
        found = []
        for entry in entries(self.path):
            name = _CHANNEL_NAME.fullmatch(entry.name)
            if name and len(name[1]) <= MAX_TOPIC_OCTETS and entry.is_dir(follow_symlinks=False):
                found.append(ChannelEntry(entry.path, name[1], int(name[2])))
        return found


def look() -> Base | None:
    """The base with its `tmp`; None if there is no base (REAP-15). Raises BaseUnusable."""
    place = Place.here()
    mode = place.look()
    return None if mode is None else with_tmp(place, mode)


def make(place: Place | None = None) -> Base:
    """The base with its `tmp`, both made if they are not there. Raises BaseUnusable."""
    place = place or Place.here()
    return with_tmp(place, place.make())


def with_tmp(place: Place, mode: int) -> Base:
    """The base of this mode, with `tmp`, made if it is not there. Raises BaseUnusable."""
    base = Base(place.path, mode)
    try:
        base.make_tmp()
    except BaseUnusable:
        raise
    except of_system(OSError) as error:
        raise place.unusable(error) from error
    return base


def fresh_name() -> str:
    """Twelve characters that nobody has drawn before (CHAN-1)."""
    return os.urandom(12).translate(_ALPHABET).decode()


def fresh_in_tmp() -> str:
    """A fresh name in `tmp` that no message file can have."""
    return f"-{fresh_name()}"
