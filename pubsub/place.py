"""Where the base directory is, and whether it can be trusted (BASE-1 to BASE-5)."""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from typing import NamedTuple

from .files import exists, is_of_kind
from .interruption import of_system


class BaseUnusable(OSError):
    """The base directory cannot be made, or must not be trusted (BASE-4, BASE-5, BASE-12)."""


class Place(NamedTuple):
    """The place of a base: its path, and whether PUBSUB_HOME names it."""

    path: str
    explicit: bool

    @staticmethod
    def here() -> Place:
        """The place that the environment names now (BASE-1, BASE-2). Raises BaseUnusable."""
        # The octets of the variables: os.environ takes a microsecond to encode and decode them.
        variables = getattr(os.environ, "_data", None)
        if variables is not None:
            place = _absolute(variables.get(b"PUBSUB_HOME"))
            if place is not None:
                return place
        explicit = os.environ.get("PUBSUB_HOME")
        path = explicit or _default()
        if path[0] != "/":
            try:
                path = os.path.join(os.getcwd(), path)  # abspath() would drop `link/..`
            except of_system(OSError) as error:
                raise Place(path, bool(explicit)).unusable(error) from error
        return _place(path, bool(explicit))

    def status(self) -> os.stat_result:
        """The status of the base; a default base is not reached through a link (BASE-4)."""
        return os.stat(self.path) if self.explicit else os.lstat(self.path)

    def key(self) -> tuple[int, int, int, int] | None:
        """A value that changes whenever an entry of the base does; None if there is no base."""
        try:
            found = os.stat(self.path) if self.explicit else os.lstat(self.path)  # as `status`
        except of_system(OSError):
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns

    def look(self) -> int | None:
        """The mode of a base that can be trusted; None if there is none. Raises BaseUnusable."""
        try:
            found = self.status()
        except of_system(FileNotFoundError) as error:
            if is_of_kind(self.path, stat.S_ISLNK):  # a link to nowhere
                raise self.unusable(error) from error
            return None
        except of_system(OSError) as error:
            raise self.unusable(error) from error
        return self._trusted(found)

    def make(self) -> int:
        """Make the base if there is none (BASE-3); its mode. Raises BaseUnusable."""
        try:
            try:
                found = self.status()
            except of_system(FileNotFoundError):
                self._make_directories()
                found = self.status()
        except of_system(OSError) as error:
            raise self.unusable(error) from error
        return self._trusted(found)

    def _make_directories(self) -> None:
        missing = []
        parent = os.path.dirname(self.path)
        while not exists(parent) and parent != os.path.dirname(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        # In new/sub/.. the base is a parent of the last component.
        mode = 0o700 if ".." in self.path.split("/") else 0o777
        for parent in reversed(missing):
            _make_directory(parent, mode)
        _make_directory(self.path, 0o700)

    def _trusted(self, found: os.stat_result) -> int:
        """The mode of the base, if it can be trusted (BASE-4, BASE-5)."""
        mode = found.st_mode
        writers = 0o002 if self.explicit else 0o022
        if not stat.S_ISDIR(mode):
            fault = "it is a symbolic link" if stat.S_ISLNK(mode) else "it is not a directory"
        elif not self.explicit and found.st_uid not in (os.geteuid(), 0):
            fault = f"it belongs to user {found.st_uid}, not to you"
        elif mode & writers and not mode & stat.S_ISVTX:
            fault = f"its mode {stat.S_IMODE(mode):o} lets others write to it"
        else:
            return stat.S_IMODE(mode)
        raise BaseUnusable(
            errno.EPERM, f"{fault}; set PUBSUB_HOME to a directory that you can trust", self.path
        )

    def unusable(self, error: OSError) -> BaseUnusable:
        """The system's error, with the place and the remedy (BASE-6)."""
        remedy = _REMEDIES.get(error.errno or 0, _USABLE)
        return BaseUnusable(error.errno, f"{error.strerror}; {remedy}", self.path)


_DEEPEST = 1 + 224 + 1 + 20  # octets of /CHANNEL/ID, the longest path in a base


@lru_cache(maxsize=4)
def _absolute(explicit: bytes | None) -> Place | None:
    """The place that this value of PUBSUB_HOME names, if nothing else has to be looked at."""
    if explicit and explicit.startswith(b"/"):
        return _place(os.fsdecode(explicit), True)
    return _place(_default(), False) if not explicit and _has_shared_memory() else None


@lru_cache(maxsize=4)  # a place takes longer to make than to find
def _place(path: str, explicit: bool) -> Place:
    """The place at an absolute path. Raises BaseUnusable if paths in it would be too long.

    Later, an opening would not find what it made, and could not remove it (CHAN-21).
    """
    while path.endswith(("/", "/.")) and len(path) > 1:
        path = path[:-1]  # the last component is then the base, and is made with its mode
    limit = os.pathconf("/", "PC_PATH_MAX")  # octets, with a NUL at the end; -1: none
    if 0 < limit <= len(os.fsencode(path)) + _DEEPEST:
        raise BaseUnusable(
            errno.ENAMETOOLONG, "its path is too long; set PUBSUB_HOME to a shorter one", path
        )
    return Place(path, explicit)


def located(error: OSError, path: str) -> OSError:
    """The system's error, with a path that the user knows, and the remedy if there is one."""
    if isinstance(error, BaseUnusable):
        return error  # it has both
    remedy = _REMEDIES.get(error.errno or 0)
    text = f"{error.strerror}; {remedy}" if remedy else error.strerror
    return OSError(error.errno, text, path)


_USABLE = "set PUBSUB_HOME to a directory that you can use"
_ROOM = "make room on this file system, or set PUBSUB_HOME to a directory on another one"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _USABLE,
    errno.EACCES: _USABLE,
    errno.EPERM: f"{_USABLE}, on a file system with FIFOs and hard links",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or open fewer channels",
}


def _make_directory(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except of_system(FileExistsError):
        pass  # another process was faster, or it is a link to nowhere


def _default() -> str:
    """The path of the base if PUBSUB_HOME names none (BASE-2)."""
    if _has_shared_memory():
        return "/dev/shm/pubsub"
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", "pubsub")


@lru_cache(maxsize=1)
def _has_shared_memory() -> bool:
    try:
        return stat.S_ISDIR(os.stat("/dev/shm").st_mode)
    except of_system(OSError):
        return False
