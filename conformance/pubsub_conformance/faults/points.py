"""Where an operation can be disturbed, and how: its system calls, listed in a dry run.

A crash point is a call at which the process is killed before the call is done. Nothing that others
can see happens between one call and the next, so these points, and the one before the reply, are
all the states in which a crash can leave the disk. An error point is a call that fails, without
being done, with an error that it can have.

Left out are
- the driver's own stdin, stdout and stderr, whose failure says nothing about the implementation
  (but that the kill before the reply is one of the crash points),
- calls that do not concern the base directory: the language's run time loads modules, allocates
  memory, reads clocks; `/dev/urandom` is not one of these, for ids and names need it,
- errors of `close`: a system releases the descriptor all the same, an injected error does not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pubsub_conformance.linux import strace
from pubsub_conformance.linux.strace import Call
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME

KILL = "KILL"
EVER = "+"

CREATE = ("ENOSPC", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "EIO", "EINTR", "ENOENT")
ENTRY = ("ENOSPC", "EMLINK", "ENOMEM", "EACCES", "EIO", "ENOENT")  # a new name in a directory

ERRORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # What makes or opens a descriptor can meet the limits of process and system.
    "create": (strace.OPEN, CREATE),
    "open": (strace.OPEN, CREATE[1:]),
    # ENOSPC: a directory grows as well. EMLINK: so many subdirectories, so many links of a file.
    "entry": (
        (*strace.LINK, *strace.RENAME, *strace.MAKE_DIRECTORY, "symlink", "symlinkat"),
        ENTRY,
    ),
    "node": (strace.MAKE_FIFO, ("ENOSPC", "ENOMEM", "EACCES", "EIO", "ENOENT")),
    "remove": ((*strace.UNLINK, "rmdir"), ("ENOMEM", "EACCES", "EIO", "ENOENT")),
    # Not ENOENT: it says that the directory is removed, which no later call would confirm.
    "list": (strace.LIST, ("ENOMEM", "EIO")),
    # By path, by descriptor: what is open can be neither denied nor gone.
    "look": (strace.LOOK, ("ENOMEM", "EACCES", "EIO", "ENOENT")),
    "look at what is open": (("fstat", "newfstatat", "statx"), ("ENOMEM", "EIO")),
    "mode": (("chmod", "fchmodat", "fchmodat2"), ("EACCES", "EIO", "ENOENT")),
    "mode of what is open": (("fchmod",), ("EIO",)),
    "write a file": (strace.WRITE, ("ENOSPC", "EIO", "EINTR")),
    "write a queue": (strace.WRITE, ("EAGAIN", "EIO", "EINTR")),
    "read a file": (("read", "pread64", "readv"), ("ENOMEM", "EIO", "EINTR")),
    "read a queue": (("read", "readv"), ("EAGAIN", "EIO", "EINTR")),
    "sync": (("fsync", "fdatasync", "ftruncate", "fallocate"), ("ENOSPC", "EIO", "EINTR")),
    "duplicate": (("dup", "dup2", "dup3"), ("EMFILE",)),
    "sleep": (("poll", "ppoll", "select", "pselect6"), ("ENOMEM", "EINTR")),
}
"""Kinds of calls: their names, and the errors that they can have."""


@dataclass(frozen=True)
class Point:
    """The n-th call of this name is disturbed, or (`ever`) this and all later ones."""

    call: str
    nth: int
    fault: str  # KILL or the name of an errno
    ever: bool = False

    def __str__(self) -> str:
        return f"{self.call}:{self.nth}:{self.fault}{EVER * self.ever}"

    @property
    def is_crash(self) -> bool:
        return self.fault == KILL

    def injection(self, last: int | None = None) -> str:
        """For strace; `last` ends what is for ever with the call of this number."""
        what = "signal=KILL" if self.is_crash else f"error={self.fault}"
        until = "" if not self.ever else EVER if last is None else f"..{last}"
        return f"inject={self.call}:{what}:when={self.nth}{until}"

    @property
    def told(self) -> str:
        """In words."""
        which = f"{self.call} number {self.nth}"
        if self.is_crash:
            return f"killed at {which}"
        return f"{which} fails with {self.fault}" + (", and so do all later ones" * self.ever)


def parse(text: str) -> Point:
    """A point as `str` writes it; ValueError."""
    found = re.fullmatch(r"(\w+):([1-9][0-9]*):(KILL|E[A-Z0-9]+)(\+?)", text)
    if not found or (found[3] == KILL and found[4]):
        raise ValueError(f"{text!r} is no point, such as link:1:EIO, link:1:EIO+ or link:1:KILL")
    return Point(found[1], int(found[2]), found[3], bool(found[4]))


def is_own(call: Call) -> bool:
    """Whether this is the driver's own conversation with the kit."""
    return re.match(r"[012](<|$)|\[\{fd=[012]<", call.args) is not None


def concerns(call: Call, where: Path) -> bool:
    """Whether a call has to do with the base directory, which is in `where`."""
    return (str(where) in call.args or '"/dev/urandom"' in call.args) and not is_own(call)


def numbered(calls: Iterable[Call]) -> Iterator[tuple[int, Call]]:
    """Each call with its number among those of its thread and name."""
    counts: Counter[tuple[int, str]] = Counter()
    for call in calls:
        counts[call.pid, call.name] += 1
        yield counts[call.pid, call.name], call


def points(calls: Iterable[Call], where: Path) -> list[Point]:
    """All points of an operation that made these calls."""
    found: dict[Point, None] = {}  # a set that keeps its order; threads may share points
    for nth, call in numbered(calls):
        if concerns(call, where):
            found[Point(call.name, nth, KILL)] = None
            for errno in errors(call):
                found[Point(call.name, nth, errno)] = None
                if _may_last(call, errno):
                    found[Point(call.name, nth, errno, ever=True)] = None
        elif call.name in strace.WRITE and is_own(call):
            found[Point(call.name, nth, KILL)] = None
            break  # here the reply begins
    return list(found)


def errors(call: Call) -> tuple[str, ...]:
    """The errors that this call can have."""
    kind = _kind(call)
    return ERRORS[kind][1] if kind else ()


def _may_last(call: Call, errno: str) -> bool:
    """Whether an error may come for ever.

    A call that is interrupted for ever may be repeated for ever, and so may the removal of
    something of which the system says for ever that it is there and that it is gone.
    """
    within = len(call.paths) > 1 and "tmp" in call.paths[0].parts[-3:-2]  # tmp/<directory>/<entry>
    removal = call.name in (*strace.UNLINK, "rmdir") or (call.name in strace.RENAME and within)
    return errno != "EINTR" and not (errno == "ENOENT" and removal)


def _kind(call: Call) -> str | None:
    is_queue = call.descriptor is not None and call.descriptor.name == "queue"
    by_descriptor = call.name == "fstat" or "AT_EMPTY_PATH" in call.args
    unfit = {
        "open" if "O_CREAT" in call.flags else "create",
        "look" if by_descriptor else "look at what is open",
        *(("write a file", "read a file") if is_queue else ("write a queue", "read a queue")),
    }
    for kind, (names, _) in ERRORS.items():
        if call.name in names and kind not in unfit:
            return kind
    return None


@dataclass(frozen=True)
class Hit:
    """A call that was made to fail."""

    call: Call
    where: Path  # the base

    @property
    def errno(self) -> str:
        return self.call.errno or ""

    @property
    def parts(self) -> list[tuple[str, ...]]:
        """The paths that it names, in the base."""
        paths = self.call.paths
        if self.call.descriptor:
            paths.append(self.call.descriptor)
        return [
            path.relative_to(self.where).parts
            for path in paths
            if path.is_relative_to(self.where) and path != self.where
        ]

    @property
    def channel(self) -> str | None:
        """The channel that it is about, if it is about one."""
        for parts in self.parts:
            if CHANNEL_NAME.fullmatch(parts[0]):
                return parts[0]
        return None

    @property
    def entry(self) -> str | None:
        """What it is about in the base: a channel, or `tmp/…`."""
        for parts in self.parts:
            if CHANNEL_NAME.fullmatch(parts[0]):
                return parts[0]
        for parts in self.parts:
            if len(parts) > 1:
                return "/".join(parts[:2])
        return None

    @property
    def staged(self) -> bool:
        """Whether it names a message file in `tmp`."""
        return any(
            len(parts) == 2 and parts[0] == "tmp" and MESSAGE_NAME.fullmatch(parts[1])
            for parts in self.parts
        )

    @property
    def message(self) -> bool:
        """Whether it names a message file in a channel."""
        return any(
            len(parts) == 2 and MESSAGE_NAME.fullmatch(parts[1]) and parts[0] != "tmp"
            for parts in self.parts
        )

    @property
    def removes(self) -> bool:
        return self.call.name in (*strace.UNLINK, "rmdir")

    @property
    def says_gone(self) -> bool:
        return self.errno in ("ENOENT", "ENOTDIR", "ENXIO")

    @property
    def says_full(self) -> bool:
        return self.errno == "EAGAIN" and self.call.name in strace.WRITE


def sample(points: list[tuple[str, Point]], size: int) -> list[tuple[str, Point]]:
    """So many of them, spread evenly, the same each time."""
    if size >= len(points):
        return points
    return [points[(2 * i + 1) * len(points) // (2 * size)] for i in range(size)]
