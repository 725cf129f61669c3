"""Points: where an operation can be disturbed, and how. A dry run lists its system calls.

At a crash point, the process is killed before a call is done. Others can see no change between one
call and the next, so the crash points, with the one before the reply, are all the states in which a
crash can leave the disk. At an error point, a call fails with an error that it can have, and is not
done.

Not disturbed are
- calls on the driver's own stdin, stdout and stderr, whose failure says nothing about the
  implementation (except that the kill before the reply is a crash point),
- calls that do not concern the base directory: a run time loads modules, allocates memory, reads
  clocks. Calls on `/dev/urandom` are disturbed, for ids and names need it,
- errors of `close`: a system that reports one has still released the descriptor, but strace's
  error keeps it open.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME

KILL = "KILL"
"""The fault of a crash point."""

EVER = "+"
"""The mark of an error that lasts."""

CREATE = ("ENOSPC", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "EIO", "EINTR", "ENOENT")
ENTRY = ("ENOSPC", "EMLINK", "ENOMEM", "EACCES", "EIO", "ENOENT")  # a new name in a directory

_CONTROL = ("fcntl", "fcntl64", "ioctl")

_COMMANDS = {
    "F_DUPFD": "duplicate",
    "FIONREAD": "fill of a queue",
    "F_GETPIPE_SZ": "room of a queue",
    "F_SETPIPE_SZ": "size of a queue",
}
"""The kinds of these calls by their commands. Other commands are not disturbed."""

ERRORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # A call that makes a descriptor can meet the limits of process and system.
    "create": (strace.OPEN, CREATE),
    "open": (strace.OPEN, CREATE[1:]),
    # ENOSPC: a directory grows as well. EMLINK: so many subdirectories, so many links of a file.
    "entry": (
        (*strace.LINK, *strace.RENAME, *strace.MAKE_DIRECTORY, "symlink", "symlinkat"),
        ENTRY,
    ),
    "node": (strace.MAKE_FIFO, ("ENOSPC", "ENOMEM", "EACCES", "EIO", "ENOENT")),
    "remove": ((*strace.UNLINK, "rmdir"), ("ENOMEM", "EACCES", "EIO", "ENOENT")),
    # Not ENOENT: it would say that the directory was removed, and the next call would deny it.
    "list": (strace.LIST, ("ENOMEM", "EIO")),
    # By path or by descriptor: an open file can be neither denied nor gone.
    "look": (strace.LOOK, ("ENOMEM", "EACCES", "EIO", "ENOENT")),
    "look at an open file": (("fstat", "newfstatat", "statx"), ("ENOMEM", "EIO")),
    "mode": (("chmod", "fchmodat", "fchmodat2"), ("EACCES", "EIO", "ENOENT")),
    "mode of an open file": (("fchmod",), ("EIO",)),
    "write a file": (strace.WRITE, ("ENOSPC", "EIO", "EINTR")),
    "write a queue": (strace.WRITE, ("EAGAIN", "EIO", "EINTR")),
    "read a file": (("read", "pread64", "readv"), ("ENOMEM", "EIO", "EINTR")),
    "read a queue": (("read", "readv"), ("EAGAIN", "EIO", "EINTR")),
    "sync": (("fsync", "fdatasync", "ftruncate", "fallocate"), ("ENOSPC", "EIO", "EINTR")),
    "duplicate": (("dup", "dup2", "dup3", *_CONTROL), ("EMFILE",)),
    "fill of a queue": (_CONTROL, ("EINVAL", "ENOTTY")),  # systems that do not say
    "room of a queue": (_CONTROL, ("EINVAL", "ENOTTY")),
    "size of a queue": (_CONTROL, ("EBUSY", "ENOMEM", "EPERM")),
    "sleep": (("poll", "ppoll", "select", "pselect6"), ("ENOMEM", "EINTR")),
}
"""Kinds of calls: their names, and the errors that they can have."""

FAULTS = (KILL, *sorted({error for _, possible in ERRORS.values() for error in possible}))
"""All faults."""


@dataclass(frozen=True)
class Point:
    """The n-th call of this name is disturbed, or (`ever`) this one and all later ones."""

    call: str
    nth: int
    fault: str
    """KILL, or the name of an errno."""
    ever: bool = False

    def __str__(self) -> str:
        return f"{self.call}:{self.nth}:{self.fault}{EVER * self.ever}"

    @property
    def is_crash(self) -> bool:
        """Whether the process is killed there."""
        return self.fault == KILL

    def injection(self, last: int | None = None) -> str:
        """The option of strace. `last` ends a lasting error with the call of this number."""
        what = "signal=KILL" if self.is_crash else f"error={self.fault}"
        until = "" if not self.ever else EVER if last is None else f"..{last}"
        return f"inject={self.call}:{what}:when={self.nth}{until}"

    def describe(self) -> str:
        """The point in words."""
        which = f"{self.call} number {self.nth}"
        if self.is_crash:
            return f"killed at {which}"
        return f"{which} fails with {self.fault}" + (", and so do all later ones" * self.ever)


@dataclass(frozen=True)
class Stop:
    """The process is stopped after the first call of this name that passes a test."""

    call: str
    nth: int
    """Its number among the calls of its thread and name. Another thread may make it next time."""
    passes: Callable[[Call], bool]

    def injection(self) -> str:
        """The option of strace: it stops the process at the calls before this one, too."""
        return f"inject={self.call}:signal=STOP:when=1..{self.nth}"


def parse(text: str) -> Point:
    """The point that `str` writes in this way. Raises ValueError."""
    found = re.fullmatch(r"(\w+):([1-9][0-9]*):(KILL|E[A-Z0-9]+)(\+?)", text)
    if not found or (found[3] == KILL and found[4]):
        raise ValueError(f"{text!r} is no point, such as link:1:EIO, link:1:EIO+ or link:1:KILL")
    return Point(found[1], int(found[2]), found[3], bool(found[4]))


def is_own(call: Call) -> bool:
    """Whether the call is part of the driver's conversation with the kit."""
    return re.match(r"[012](<|$)|\[\{fd=[012]<", call.args) is not None


def concerns(call: Call, where: Path) -> bool:
    """Whether a call concerns the base directory, which is in `where`."""
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
                if may_last(call, errno):
                    found[Point(call.name, nth, errno, ever=True)] = None
        elif call.name in strace.WRITE and is_own(call):
            found[Point(call.name, nth, KILL)] = None
            break  # here the reply begins
    return list(found)


def errors(call: Call) -> tuple[str, ...]:
    """The errors that this call can have."""
    of = kind(call)
    return ERRORS[of][1] if of else ()


def bound(
    point: Point, last: int | None, calls: Iterable[Call], own: Mapping[str, int]
) -> int | None:
    """The number of the last call that may fail, if the error of this point ended there too late,
    or too early.

    Too late: a later call failed that cannot fail so. Such a call is part of the driver's own
    conversation, or cannot have this error: an open file is never gone. Too early: `own` has the
    names of the calls of the conversation, with the number of the last one that is not part of it;
    an operation that meets errors may make more calls than that.
    """
    fit: list[int] = []
    for n, call in numbered(calls):
        if call.name == point.call:
            if not is_own(call) and point.fault in errors(call):
                fit.append(n)
            elif call.injected:
                return n - 1
    if last is None or last != own.get(point.call):
        return None
    return fit[-1] if fit[-1:] > [last] else None


def conversation(calls: Sequence[Call]) -> dict[str, int]:
    """The names of the calls by which the driver speaks to the kit, each with the number of the
    last call of this name that has nothing to do with that."""
    found = {call.name: 0 for call in calls if is_own(call)}
    found |= {
        call.name: n for n, call in numbered(calls) if call.name in found and not is_own(call)
    }
    return found


def may_last(call: Call, errno: str) -> bool:
    """Whether an error may last.

    A call that is always interrupted may be repeated endlessly. So may the removal of an entry, if
    a listing always shows it and its removal always says that it is gone.
    """
    within = len(call.paths) > 1 and "tmp" in call.paths[0].parts[-3:-2]  # tmp/<directory>/<entry>
    removal = call.name in (*strace.UNLINK, "rmdir") or (call.name in strace.RENAME and within)
    return errno != "EINTR" and not (errno == "ENOENT" and removal)


def kind(call: Call) -> str | None:
    """The kind of a call, one of `ERRORS`."""
    if call.name in _CONTROL:
        kinds = (kind for command, kind in _COMMANDS.items() if f", {command}" in call.args)
        return next(kinds, None)
    is_queue = call.descriptor is not None and call.descriptor.name == "queue"
    by_descriptor = call.name == "fstat" or "AT_EMPTY_PATH" in call.args
    unfit = {
        "open" if "O_CREAT" in call.flags else "create",
        "look" if by_descriptor else "look at an open file",
        *(("write a file", "read a file") if is_queue else ("write a queue", "read a queue")),
    }
    for found, (names, _) in ERRORS.items():
        if call.name in names and found not in unfit:
            return found
    return None


@dataclass(frozen=True)
class Hit:
    """A call that was made to fail."""

    call: Call
    where: Path
    """The base."""

    @property
    def errno(self) -> str:
        """The error's name, such as EIO."""
        return self.call.errno or ""

    @property
    def parts(self) -> list[tuple[str, ...]]:
        """The paths in the base that the call names, relative to the base and split."""
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
        """The name of the channel that the call is about, if any."""
        first = (parts[0] for parts in self.parts)
        return next(filter(CHANNEL_NAME.fullmatch, first), None)

    @property
    def entry(self) -> str | None:
        """The entry that the call is about, if any: a channel, or `tmp/…`."""
        inner = ("/".join(parts[:2]) for parts in self.parts if len(parts) > 1)
        return self.channel or next(inner, None)

    @property
    def staged(self) -> bool:
        """Whether the call names a message file in `tmp`."""
        return "tmp" in self._with_messages

    @property
    def message(self) -> bool:
        """Whether the call names a message file in a channel."""
        return bool(self._with_messages - {"tmp"})

    @property
    def _with_messages(self) -> set[str]:
        """The directories in which the call names a message file."""
        twos = (parts for parts in self.parts if len(parts) == 2)
        return {directory for directory, name in twos if MESSAGE_NAME.fullmatch(name)}

    @property
    def removes(self) -> bool:
        """Whether the call was to remove an entry."""
        return self.call.name in (*strace.UNLINK, "rmdir")

    @property
    def says_gone(self) -> bool:
        """Whether the error says that an entry or a reader is gone."""
        return self.errno in ("ENOENT", "ENOTDIR", "ENXIO")

    @property
    def in_tmp(self) -> bool:
        """Whether the call was about `tmp` alone, or entries in it."""
        return bool(self.parts) and all(parts[0] == "tmp" for parts in self.parts)

    @property
    def asks(self) -> bool:
        """Whether the call was to say how much a queue holds, or how much it can hold."""
        return kind(self.call) in ("fill of a queue", "room of a queue")

    @property
    def frees_queue(self) -> bool:
        """Whether the call was to read a queue, to set its size, or to say how much it holds."""
        return self.asks or kind(self.call) in ("read a queue", "size of a queue")

    @property
    def says_full(self) -> bool:
        """Whether the error says that a queue is full."""
        return self.errno == "EAGAIN" and self.call.name in strace.WRITE


def sample(points: list[tuple[str, Point]], size: int) -> list[tuple[str, Point]]:
    """So many of the points, spread evenly, the same ones each time."""
    if size >= len(points):
        return points
    return [points[(2 * i + 1) * len(points) // (2 * size)] for i in range(size)]
