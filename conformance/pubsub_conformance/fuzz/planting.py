"""Entries planted in the base, `tmp` and channels, and what a reaper does with each."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME
from pubsub_conformance.oracle.message import a_message, encode
from pubsub_conformance.oracle.topics import is_pattern, matches

from .names import FILES
from .target import Violation
from .trees import Look, clear, difference, look, make_deep, make_special

TOPIC = "a.b"

REFUSALS = (
    "EEXIST",
    "EADDRINUSE",
    "EILSEQ",
    "EPERM",
    "EACCES",
    "EINVAL",
    "ENOTSUP",
    "ENAMETOOLONG",
)
"""The errors for an entry that exists, cannot have such a name, or that we may not make."""

Age = Literal["young", "stale"]
Fate = Literal["stays", "goes", "either"]


@dataclass(frozen=True)
class Rule:
    """What a reaper does with an entry, by its age."""

    young: Fate
    stale: Fate
    stay: str
    """The requirement by which it stays."""
    go: str = ""
    """The requirement by which it goes."""


@dataclass(frozen=True)
class Planted:
    """An entry that the kit made."""

    where: str
    name: str
    kind: str
    path: Path
    before: Look
    rule: Rule


class Planter:
    """Makes entries beside channels at work, and checks what became of them."""

    def __init__(self, outside: Path, directories: Mapping[str, Path]) -> None:
        self.outside = outside
        self.directories = directories
        """Where entries are planted: "base", "tmp", and the channels "mine" and "other"."""
        self.planted: list[Planted] = []
        self.restricted = False
        """Whether the kit, or the driver, may not look at some entry."""
        self._readers: list[int] = []
        self._links = 0

    def plant(self, where: str, name: str, kind: str, mode: int | None) -> None:
        """Make an entry, if the system lets us, and note what has to become of it."""
        name = name.replace("_self", f"_{os.getpid()}")
        path = self.directories[where] / name
        if name == "queue" and where in ("mine", "other"):
            return
        try:
            self.make(path, kind)
        except OSError as error:
            if errno.errorcode.get(error.errno or 0) not in REFUSALS:
                raise
            return
        if mode is not None and kind not in ("symlink", "dangling", "loop", "hard link"):
            path.chmod(mode)
            if os.geteuid() != 0 and mode in (0, 0o444):
                self.restricted = True
        rule = _rule(where, name, kind)
        self.planted.append(Planted(where, name, kind, path, look(path), rule))

    def make(self, path: Path, kind: str) -> None:
        """Make an entry of this kind. Raises OSError."""
        if kind == "file":
            path.touch(exist_ok=False)
            path.write_bytes(encode(a_message(TOPIC)))
        elif kind == "hard link":
            os.link(self._outside_file(), path)
        elif kind == "symlink":
            path.symlink_to(self.outside / "directory")
        elif kind == "dangling":
            path.symlink_to(self.outside / "nothing")
        elif kind == "loop":
            path.symlink_to(path)
        elif kind in ("FIFO", "socket", "device"):
            make_special(path, kind)
        else:
            path.mkdir()
            try:
                self._fill(path, kind)
            except OSError:
                clear(path)  # else it would pass for something that the driver left
                raise

    def _outside_file(self) -> Path:
        """A new file outside the base: the removal of one of its links makes the others young."""
        self._links += 1
        file = self.outside / f"file-{self._links}"
        file.write_bytes(b"kept")
        return file

    def _fill(self, path: Path, kind: str) -> None:
        queue = path / "queue"
        if kind in ("tree", "queue FIFO", "queue file"):
            (path / "17").write_bytes(b"no message")
            (path / "link").symlink_to(self.outside)
            (path / "up").symlink_to("..")
            (path / "queue2" / "a" / "b").mkdir(parents=True)
            (path / "queue2" / "a" / "link").symlink_to(self.outside / "file")
            os.link(self._outside_file(), path / "queue2" / "a" / "b" / "18")
        if kind == "deep":
            make_deep(path)
        elif kind in ("queue FIFO", "read FIFO"):
            os.mkfifo(queue)
        elif kind == "queue file":
            queue.write_bytes(b"")
        elif kind == "queue directory":
            queue.mkdir()
        elif kind == "queue link":
            queue.symlink_to(self.directories["other"] / "queue")
        elif kind == "queue loop":
            queue.symlink_to("queue")
        elif kind == "queue socket":
            make_special(queue, "socket")
        if kind == "read FIFO":
            self._readers.append(os.open(queue, os.O_RDONLY | os.O_NONBLOCK))

    def receivers(self) -> int:
        """How many of the planted entries are living channels that match the topic."""
        found = 0
        for planted in self.planted:
            name = CHANNEL_NAME.fullmatch(planted.name)
            if planted.where == "base" and planted.kind == "read FIFO" and name:
                pattern = name["pattern"]
                found += is_pattern(pattern) and matches(pattern, TOPIC)
        return found

    def check(self, age: Age, after: str, *, reaped: bool | None) -> None:
        """Every entry has to be as it was, or gone if its rule says so. Raises Violation.

        `reaped` says whether a reaper was at work. None: one may have been.
        """
        for planted in list(self.planted):
            rule = planted.rule
            fate = (
                (rule.young if age == "young" else rule.stale) if reaped is not False else "stays"
            )
            entry = f"{planted.kind} {planted.name!r} in {planted.where}, after {after}"
            found = look(planted.path)
            if not found:
                if fate == "stays" and not self.restricted:
                    requirement = rule.stay if reaped is not False else "REAP-2"
                    raise Violation(requirement, f"{entry}: gone, but must stay")
                self.planted.remove(planted)
                continue
            if fate == "goes" and reaped and not self.restricted:
                raise Violation(rule.go, f"{entry}: still there, but must go")
            if planted.kind == "read FIFO":  # it may be a living channel, which gets messages
                found = {name: seen for name, seen in found.items() if name in planted.before}
            if changed := difference(planted.before, found):
                raise Violation(rule.stay, f"{entry}: {changed}")

    def check_only(self, where: str, names: set[str]) -> None:
        """After closing, a directory may hold only planted entries and these. Raises Violation."""
        due = names | {planted.name for planted in self.planted if planted.where == where}
        left = {entry.name for entry in self.directories[where].iterdir()} - due
        if left:
            raise Violation("CHAN-14", f"left in {where} after all was closed: {sorted(left)}")

    def close(self) -> None:
        """Close the queues that the kit reads."""
        for reader in self._readers:
            os.close(reader)


def _rule(where: str, name: str, kind: str) -> Rule:
    is_directory = kind not in FILES
    if where == "tmp":
        if kind == "read FIFO":
            return Rule("stays", "stays", "REAP-10")
        if is_directory:
            return Rule("stays", "goes", "REAP-10", "REAP-9")
        return Rule("stays", "goes", "REAP-8", "REAP-7")
    if where in ("mine", "other"):
        is_orphan = where == "mine" and MESSAGE_NAME.fullmatch(name)
        return (
            Rule("stays", "either", "FETCH-17") if is_orphan else Rule("stays", "stays", "CHAN-3")
        )
    channel = CHANNEL_NAME.fullmatch(name)
    if channel is None or not is_pattern(channel["pattern"]) or not is_directory:
        return Rule("stays", "stays", "BASE-10")
    runs = channel["pid"] in ("1", str(os.getpid()))
    if kind == "read FIFO":
        return Rule("stays", "stays", "REAP-4")
    if kind == "queue FIFO":
        return Rule("stays" if runs else "goes", "goes", "REAP-5", "REAP-3")
    if kind in ("directory", "tree", "deep"):  # these have no queue
        return Rule("stays", "stays" if runs else "goes", "REAP-6", "REAP-6")
    return Rule("stays", "stays", "BASE-10")
